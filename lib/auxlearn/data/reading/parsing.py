"""Text formats: JSON lines, CSV and TSV, plain or gzipped, each fault with its line. `conll` has tagged sentences."""

from __future__ import annotations

import csv
import gzip
import itertools
import re
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from auxlearn.data.reading import raw_rows
from auxlearn.data.reading.raw_rows import ABSENT, BATCH, RawRows
from auxlearn.errors import InputError
from auxlearn.files.bounded_files import MAX_BYTES, most_bytes, open_of
from auxlearn.files.documents import loads, repeated

# What a gz file may expand to, and one of its lines; where AUXLEARN_MAX_BYTES is set, that.
GZIP_MOST, GZIP_LINE = 4 << 30, 64 << 20
# What files begin with that are no text, whatever they are called.
_UTF16 = "UTF-16; convert it to UTF-8, as with iconv"
_PACKED = {
    b"\x1f\x8b": "gzip; name it .gz, or unpack it", b"BZh": "bzip2; unpack it", b"\xfd7zXZ": "xz; unpack it",
    b"PK\x03\x04": "a zip archive or a spreadsheet; unpack it, or save it as CSV",
    b"\x28\xb5\x2f\xfd": "zstandard; unpack it",
    b"PAR1": "Parquet; name it .parquet", b"\xff\xfe": _UTF16, b"\xfe\xff": _UTF16,
}  # fmt: skip
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1f]")  # what texts do not hold
_LONGEST_PATH = 200  # characters of the path to a nested object whose fields are columns
_SEPARATORS, _LOOKED = ",;\t", 100  # of CSV; the records by which one is told from another
Lines = Iterator[tuple[int, list[str]]]


def filled(path: Path, rows: RawRows) -> RawRows:
    """Return the rows as they are, if there are any.

    Raises:
        InputError: If there are none; it names the file.
    """
    if not len(rows):
        raise InputError(f"{path}: is empty or holds no rows; give a file with data, or leave the split out")
    return rows


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Read the lines of a UTF-8 text file, plain or gzipped (.gz), one by one.

    A BOM is dropped, line ends are kept.

    Args:
        path: A file from anyone.

    Yields:
        Line number, from 1, and line.

    Raises:
        InputError: If the file is not UTF-8, damaged gzip, or expands beyond the bound (a zip bomb); it names the line.
    """
    number, packed, head = 0, path.suffix == ".gz", b""
    with open_of(path) as raw:
        left, longest = most_bytes(GZIP_MOST), most_bytes(GZIP_LINE)
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        while True:
            try:
                line = file.readline(min(left, longest) + 1 if packed else -1)
                if not line:
                    return
                number += 1
                head = head or line[:8]
                if packed and len(line) > min(left, longest):
                    size = f"{most_bytes(GZIP_MOST):,} bytes, or {longest:,} in one line"
                    what = f"expands beyond {size} (a zip bomb?); if it is sound, unpack it or set {MAX_BYTES} to more"
                    raise InputError(f"{path}, line {number}: {what}")
                if number == 1 and _CONTROL.search(line) and (kind := _packed_as(head)):
                    raise InputError(f"{path}, line 1: not text but {kind}")
                if number == 1 and not line.endswith(b"\n") and b"\r" in line.rstrip(b"\r"):
                    raise InputError(
                        f"{path}: its lines end in carriage returns alone; end them in newlines, as by tr '\\r' '\\n'"
                    )
                text = line.decode("utf-8" if number > 1 else "utf-8-sig")
            except UnicodeDecodeError as error:
                what = f"not UTF-8 ({error.reason} at byte {error.start} of the line); convert it, as with iconv"
                what = f"not text but {_packed_as(head)}" if _packed_as(head) else what
                raise InputError(f"{path}, line {number}: {what}") from None
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                what = f"truncated or damaged gzip ({error}); copy or pack the file again"
                raise InputError(f"{path}, after line {number}: {what}") from None
            left -= len(line)
            yield number, text


def _packed_as(head: bytes) -> str | None:
    return next((kind for start, kind in _PACKED.items() if head.startswith(start)), None)


def read_jsonl(path: Path, only: Iterable[str] | None = None) -> RawRows:
    """Read JSON lines: one object per line, blank lines passed over.

    Fields of nested objects are columns too, by their path: `pair.question1`, as `datasets` calls them when flattened.
    Where all columns are asked for, those of the first row are there.

    Args:
        path: The file.
        only: The columns to keep; all if None.

    Raises:
        InputError: If a line is not a JSON object; it names the line.
    """
    names: dict[str, None] = {}

    def objects() -> Iterator[dict[str, Any]]:
        for number, line in lines_of(path):
            if not line.strip():
                continue
            try:
                row = loads(line)
            except (ValueError, RecursionError) as error:
                reason = getattr(error, "msg", error)
                raise InputError(f"{path}, line {number}: not JSON ({reason}); one object per line") from None
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: a JSON object is expected, not {type(row).__name__}")
            yield row

    def batches() -> Iterator[dict[str, list[Any]]]:
        rows = objects()
        while batch := list(itertools.islice(rows, BATCH)):
            here = dict.fromkeys(itertools.chain(itertools.chain.from_iterable(batch), _paths(batch[0])))
            names.update(here)
            kept = here if only is None else (name for name in only if name in names or "." in name)
            columns = {name: [_value(row, name) for row in batch] for name in kept}
            there = [name for name, values in columns.items() if name in names or any(v is not ABSENT for v in values)]
            # A batch needs a column to be counted by, whatever is asked for.
            yield {name: columns[name] for name in there} or {"": [ABSENT] * len(batch)}

    return raw_rows.from_batches(batches(), names)


def _value(row: Any, path: str) -> Any:
    """Return what stands in a row under a key, or at a path of keys (`pair.question1`); ABSENT if nothing does."""
    if path in row:
        return row[path]
    for key in path.split("."):
        if type(row) is not dict or key not in row:
            return ABSENT
        row = row[key]
    return row


def _paths(row: Mapping[str, Any], start: str = "") -> Iterator[str]:
    """Yield the paths to the fields of a row's nested objects; not of those that are nested beyond reason."""
    for key, value in row.items():
        if type(value) is dict and len(start) + len(key) < _LONGEST_PATH:
            yield from _paths(value, f"{start}{key}.")
        elif start:
            yield start + key


def read_table(path: Path, only: Iterable[str] | None = None) -> RawRows:
    """Read a CSV or TSV file whose first row names the columns; every cell is text, null where it is empty.

    Raises:
        InputError: As from `table`.
    """
    header, batches = table(path)
    kept = [(name, place) for place, name in enumerate(header) if only is None or name in set(only)]

    def columns() -> Iterator[dict[str, list[Any]]]:
        for _, cells in batches:
            yield {name: cells[place] for name, place in kept} or {"": cells[0]}

    return raw_rows.from_batches(columns(), header)


def table(
    path: Path, names: list[str] | None = None
) -> tuple[list[str], Iterator[tuple[array[int], list[list[str | None]]]]]:
    """Read a CSV or TSV file whose rows are all equally wide.

    Quotes are data in TSV (the GLUE convention), and markup in CSV. CSV is separated by commas, or, as spreadsheets
    write it where the comma is the decimal point, by semicolons or tabs.

    Args:
        path: The file; any suffix but .csv is read as TSV.
        names: Column names, for a file without a header; None takes its first row.

    Returns:
        Column names; and batches of rows, as line numbers and cells by column, None where one is empty.

    Raises:
        InputError: If the file names a column twice, or has no rows, or (from the batches) one of another width; it
            names the lines.
    """
    tsv = ((number, text.split("\t")) for number, line in lines_of(path) if (text := line.rstrip("\r\n")))
    records = csv_records(path, _separator(path)) if path.suffix == ".csv" else tsv
    if names is None:
        _, names = next(records, (0, []))
        unique(path, names)
    first = next(records, None)
    if first is None:
        raise InputError(f"{path}: is empty or holds no rows; give a file with data, or leave the split out")
    return names, _batches(path, itertools.chain([first], records), len(names))


def _batches(path: Path, records: Lines, wide: int) -> Iterator[tuple[array[int], list[list[str | None]]]]:
    bad, width = [], 0  # lines of another width, and the first one's
    while batch := list(itertools.islice(records, BATCH)):
        for number, cells in batch:
            if len(cells) != wide:
                width = width or len(cells)
                bad.append(number)
        if not bad:
            columns = zip(*(cells for _, cells in batch), strict=True)
            yield array("q", [n for n, _ in batch]), [[cell or None for cell in column] for column in columns]
    if bad:
        which = f" (as {len(bad)} lines: {', '.join(map(str, bad[:20]))}{', …' * (len(bad) > 20)})" * (len(bad) > 1)
        known = "; QQP as published holds such lines, the hub's drops them" * (path.absolute().parent.name == "QQP")
        what = f"{width} columns instead of {wide}{which}; mend or delete every such line{known}"
        raise InputError(f"{path}, line {bad[0]}: {what}")


def _separator(path: Path) -> str:
    """Return the separator by which the first records are equally wide, or by which the header has most columns."""
    widths = {}
    for separator in _SEPARATORS:
        try:
            widths[separator] = [len(cells) for _, cells in itertools.islice(csv_records(path, separator), _LOOKED)]
        except InputError:
            continue
        if widths[separator] and widths[separator][0] > 1 and len(set(widths[separator])) == 1:
            return separator
    return max(_SEPARATORS, key=lambda separator: (widths.get(separator) or [0])[0])


def other_as_tsv(path: Path, columns: Iterable[str]) -> bool:
    """Tell whether a sound file is CSV, and as TSV would have these columns too but other cells.

    Other suffixes have no such double: what is sound as one is not as another, or reads the same.
    """
    if path.suffix != ".csv":
        return False
    lines = (text for _, line in lines_of(path) if (text := line.rstrip("\r\n")))
    header = next(lines, "")
    if not set(columns) <= set(header.split("\t")):
        return False
    # A quote is markup where a cell begins with it, and data elsewhere, in both.
    return _separator(path) != "\t" or any('\t"' in f"\t{line}" for line in itertools.chain([header], lines))


def csv_records(path: Path, separator: str = ",") -> Lines:
    """Read CSV records; a quoted cell may span several lines.

    Args:
        path: The file.
        separator: What stands between cells.

    Yields:
        Number of the record's first line, and its cells.

    Raises:
        InputError: If the file is not CSV; it names the line.
    """
    csv.field_size_limit((1 << 31) - 1)  # the default refuses a text of 128 KiB
    reader = csv.reader((line for _, line in lines_of(path)), delimiter=separator, strict=True)
    start = 1
    try:
        for cells in reader:
            if cells:
                yield start, cells
            start = reader.line_num + 1
    except csv.Error as error:
        raise InputError(f'{path}, line {start}: not CSV ({error}); quote a cell as "…", a quote in it as ""') from None


def unique(path: Path, names: list[str]) -> None:
    """Check that no column name occurs twice.

    Raises:
        InputError: If one does; it names the file and the column.
    """
    if twice := repeated(names):
        raise InputError(f"{path}: column {twice[0][:80]!r} is there twice; name every column differently")
