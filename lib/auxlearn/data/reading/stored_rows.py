"""Typed rows on disk: written once for each content, and mapped into memory from then on by every process.

An entry is a folder `rows/KEY` of the run folder: an Arrow stream per table and `entry.json`, with each file's checksum
and whatever else its maker wants to know again. The key holds the content of the source and the code that types it, so
that an entry is never out of date. Where one cannot be written, rows stay in memory.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import shutil
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlearn import paths
from auxlearn.data import parquet
from auxlearn.data.reading import arrow_columns
from auxlearn.errors import InputError
from auxlearn.files import bounded_files, documents, writing

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

BATCH = 10_000  # rows of a record batch
DESCRIPTION = "entry.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Entry:
    """Tables by name, and plain values that go with them."""

    tables: dict[str, Dataset]
    values: dict[str, Any]


def obtain(content: Any, make: Callable[[], tuple[Mapping[str, pa.Table], Mapping[str, Any]]]) -> Entry:
    """Open the entry of some content, or make it.

    Args:
        content: What decides the rows, as plain values; the code that makes rows is added.
        make: Makes the tables, and plain values to keep with them.

    Returns:
        The entry; its data sets are mapped from disk, or in memory where that cannot be written.
    """
    key = hashlib.sha256(json.dumps([content, _code()], sort_keys=True).encode()).hexdigest()[:16]
    folder = paths.runs_root() / "rows" / key
    if entry := _opened(folder, key):
        return entry
    tables, values = make()
    if entry := _opened(folder, key):  # another process has made it meanwhile
        return entry
    with contextlib.suppress(InputError):  # no space, no permission, or another process was faster
        _write(folder, tables, values)
    if entry := _opened(folder, key):
        return entry
    # Rows without shared texts are in memory already.
    size = sum(parquet.written_bytes(table) for table in tables.values() if table.schema != _plain(table))
    if size > bounded_files.most_bytes(parquet.TABLE_BYTES):
        raise InputError(
            f"{folder}: cannot be written, and {size:,} bytes of rows are too many to be held in memory; make room "
            "there, or set AUXLEARN_RUNS to a folder on another disk"
        )
    return Entry({n: _dataset(arrow_columns.written_out(t), key, n) for n, t in tables.items()}, dict(values))


@functools.cache
def _code() -> str:
    """Hash the modules that make rows."""
    code, here = hashlib.sha256(), Path(__file__).parent
    for file in (
        *sorted(here.glob("*.py")),
        *(
            here.parent / f"{name}.py"
            for name in ("duplicates", "near_duplicates", "normalisation", "parquet", "planted", "schema")
        ),
    ):
        code.update(file.read_bytes())
    return code.hexdigest()


def _plain(table: pa.Table) -> pa.Schema:
    """Return the schema that the table has once its shared texts are written out."""
    return arrow_columns.written_out(table.slice(0, 0)).schema


def _write(folder: Path, tables: Mapping[str, pa.Table], values: Mapping[str, Any]) -> None:
    import pyarrow as pa

    shutil.rmtree(folder, ignore_errors=True)  # what is there could not be opened
    with writing.new_folder(folder) as part:
        sums = {}
        for name, table in tables.items():
            file = part / f"{name}.arrow"
            plain = _plain(table)
            step = (len(table) if table.schema == plain else BATCH) or 1  # of shared texts, few at a time
            with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_stream(sink, plain) as writer:
                for start in range(0, len(table), step):
                    writer.write_table(arrow_columns.written_out(table.slice(start, step)), max_chunksize=BATCH)
            sums[name] = [file.stat().st_size, _checksum(file)]
        description = json.dumps({"tables": sums, "values": values})
        (part / DESCRIPTION).write_text(description, encoding="utf-8")


def _opened(folder: Path, key: str) -> Entry | None:
    """Open an entry; None if there is none, or it is damaged."""
    import pyarrow as pa
    from datasets.table import MemoryMappedTable

    try:
        description = documents.read_object(folder / DESCRIPTION)
        tables = {}
        for name, (size, checksum) in description["tables"].items():
            file = folder / f"{name}.arrow"
            if file.stat().st_size != size or _checksum(file) != checksum:
                return None
            table = MemoryMappedTable.from_file(str(file))
            table.validate()
            tables[name] = _dataset(table, key, name)
        return Entry(tables, description["values"])
    except (InputError, OSError, KeyError, TypeError, ValueError, AttributeError, pa.ArrowException):
        return None


def _checksum(file: Path) -> int:
    value = 0
    with file.open("rb") as content:
        while chunk := content.read(_CHUNK):
            value = zlib.crc32(chunk, value)
    return value


def _dataset(table: Any, key: str, name: str) -> Dataset:
    """Return a data set whose fingerprint is that of its content, the same in every process."""
    from datasets import Dataset

    return Dataset(table, fingerprint=hashlib.sha256(f"{key}/{name}".encode()).hexdigest()[:16])
