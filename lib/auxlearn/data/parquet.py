"""Parquet of others, as columns or as a data frame: sizes are checked before they are believed, nothing is executed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from auxlearn.errors import InputError
from auxlearn.files.bounded_files import MAX_BYTES, Value, converted, most_bytes, open_of
from auxlearn.files.documents import repeated

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

# Where AUXLEARN_MAX_BYTES is set, that: what the rows of one file may take in memory, and on disk when written out.
TABLE_BYTES, WRITTEN_BYTES = 4 << 30, 64 << 30
SHARED_FROM, SHARED_RATIO = (
    64 << 20,
    4,
)  # a column that takes so much written out, and so many times what it does shared
CELL_BYTES = 8  # that a cell takes at least


def read_table(path: Path, only: Iterable[str] | None = None, shared: Sequence[str] = ()) -> tuple[pa.Table, list[str]]:
    """Read columns of a data file.

    Args:
        path: A Parquet file from anyone.
        only: The columns to read, as far as they are there; all if None.
        shared: Columns that stay dictionary-encoded if they are large and hold few different texts.

    Returns:
        The columns as Arrow has them, metadata included; and the names of all columns.

    Raises:
        InputError: If the file is no readable Parquet, is too large when written out, or has a column twice.
    """
    import pyarrow.parquet

    again = "write or copy it again"
    with open_of(path) as file:
        names = _converted(path, lambda: pyarrow.parquet.ParquetFile(file).schema_arrow.names, again)
        if twice := repeated(names):
            what = f"column {twice[0][:80]!r} is there twice; name every column differently"
            raise InputError(f"{path}: {what}")
        wanted = names if only is None else [name for name in only if name in names]
        kept = _bounded(path, file, again, wanted, shared)
        return _converted(path, lambda: _columns(file, wanted, read_dictionary=kept), again), names


def _columns(file: BinaryIO, names: Sequence[str], **options: Any) -> pa.Table:
    """Read whole columns: `columns=` of Arrow's reader takes "a" for "a.b" too, and a dot in a name for a path."""
    import pyarrow.parquet

    reader = pyarrow.parquet.ParquetFile(file, **options)
    if list(names) == reader.schema_arrow.names:
        return reader.read()
    return reader.read(columns=list(names)).select(names)


def read_frame(path: Path, columns: Iterable[str] = (), remedy: str = "make its run anew") -> pd.DataFrame:
    """Read a table of a run folder as pandas does.

    Args:
        path: A Parquet file.
        columns: Columns that it must have.
        remedy: What a message tells the user to do.

    Returns:
        The table, with all its columns.

    Raises:
        InputError: If the file is no readable Parquet, is too large when written out, or lacks a column.
    """
    import pandas as pd

    with open_of(path, remedy) as file:
        _bounded(path, file, remedy)
    table = _converted(path, lambda: pd.read_parquet(path), remedy)
    if missing := [name for name in columns if name not in table]:
        raise InputError(f"{path}: no column {missing[0]!r}; it has {', '.join(map(str, table))[:200]}; {remedy}")
    return table


def _bounded(
    path: Path, file: BinaryIO, remedy: str, names: Sequence[str] | None = None, shared: Sequence[str] = ()
) -> list[str]:
    """Refuse a file whose rows take more than the bounds; of these columns alone, where they are named.

    Parquet holds a text that many rows share once, and a run of equal numbers as one: a few KB may stand for terabytes.
    Texts stay shared here while they are counted. Returned are those of `shared` that are worth it.
    """
    import pyarrow.parquet

    most = most_bytes(TABLE_BYTES)
    reader = _converted(path, lambda: pyarrow.parquet.ParquetFile(file), remedy)
    metadata, leaves = reader.metadata, [reader.schema.column(i) for i in range(len(reader.schema))]
    if names is not None:
        leaves = [leaf for leaf in leaves if leaf.path in names or leaf.path.split(".")[0] in names]
    paths = {leaf.path for leaf in leaves}
    groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
    chunks = [group.column(j) for group in groups for j in range(group.num_columns)]
    size = sum(chunk.total_uncompressed_size for chunk in chunks if chunk.path_in_schema in paths)
    held = max(size, metadata.num_rows * len(leaves) * CELL_BYTES)
    kept: list[str] = []
    if held <= most:
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]
        wanted = reader.schema_arrow.names if names is None else list(names)
        table = _converted(path, lambda: _columns(file, wanted, read_dictionary=texts), remedy)
        written = {name: written_bytes(table.select([name])) for name in wanted}
        small = {name: table.column(name).nbytes for name in wanted if name in texts and name in shared}
        kept = [name for name, size in small.items() if written[name] >= max(SHARED_FROM, SHARED_RATIO * size)]
        held = sum(small[name] if name in kept else written[name] for name in wanted)
        _fits(path, sum(written.values()), most_bytes(WRITTEN_BYTES), "on disk")
    _fits(path, held, most, "in memory")
    return kept


def _fits(path: Path, size: int, most: int, where: str) -> None:
    if size > most:
        what = f"its rows would take more than {most:,} bytes {where} ({size:,} of them; a zip bomb?)"
        raise InputError(f"{path}: {what}; if it is sound, set {MAX_BYTES} to more, or give a part of it")


def written_bytes(table: pa.Table) -> int:
    """Count the bytes of a table with shared texts written out."""
    return sum(_bytes(chunk) for column in table.columns for chunk in column.chunks)


def _bytes(array: pa.Array) -> int:
    """Count the bytes of an array with shared texts written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_dictionary(array.type) and not _text(array.type.value_type):
        return max(CELL_BYTES, array.dictionary.type.bit_width // 8) * len(array)
    if pa.types.is_dictionary(array.type):
        lengths = pc.binary_length(array.dictionary) if len(array.dictionary) else None
        used = lengths.take(array.indices.drop_null()) if lengths is not None else pa.array([], pa.int64())
        return CELL_BYTES * len(array) + (pc.sum(pc.cast(used, pa.int64())).as_py() or 0)
    if pa.types.is_list(array.type) or pa.types.is_large_list(array.type) or pa.types.is_map(array.type):
        inner = pa.ListArray.flatten(array) if not pa.types.is_map(array.type) else array.items
        return CELL_BYTES * len(array) + _bytes(inner)
    if pa.types.is_struct(array.type):
        return CELL_BYTES * len(array) + sum(map(_bytes, array.flatten()))
    return max(array.nbytes, CELL_BYTES * len(array))


def _text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_binary(kind) or types.is_large_binary(kind)


def _converted(path: Path, call: Callable[[], Value], remedy: str) -> Value:
    import pyarrow as pa

    # OSError: what Arrow makes of damaged pages; the others: of text that is none, dates beyond a year, wrong metadata.
    faults = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError)
    return converted(path, call, faults, "a readable Parquet file", remedy)
