"""Text formats as rows: JSON lines, CSV, TSV and CoNLL columns, plain or gzipped, each fault with its line."""

from __future__ import annotations

import csv
import gzip
import os
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from auxlearn.errors import InputError
from auxlearn.files.bounded_files import MAX_BYTES, most_bytes, open_of
from auxlearn.files.documents import loads, repeated

Row = dict[str, Any]

# A gz file may expand to GZIP_FREE bytes, or to GZIP_RATIO times its size and never above GZIP_MOST (text: 3 to 20 x);
# where AUXLEARN_MAX_BYTES is set, to that.
GZIP_FREE, GZIP_RATIO, GZIP_MOST = 64 << 20, 200, 4 << 30
_SUBWORD = re.compile(r"[0-9]+[-.][0-9]+")  # CoNLL-U: multi-word ids and empty nodes
_NUMBERS: tuple[tuple[re.Pattern[str], Callable[[str], Any]], ...] = (
    (re.compile(r" *-?(0|[1-9][0-9]{0,17}) *"), int),
    (re.compile(r" *-?(0|[1-9][0-9]{0,14})(\.[0-9]+)?([eE][-+]?[0-9]{1,2})? *"), float),
)


def filled(path: Path, rows: list[Any]) -> list[Any]:
    """Return the rows as they are, if there are any.

    Raises:
        InputError: If there are none; it names the file.
    """
    if not rows:
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
    number, packed = 0, path.suffix == ".gz"
    with open_of(path) as raw:
        size = os.fstat(raw.fileno()).st_size
        left = most_bytes(min(GZIP_MOST, max(GZIP_FREE, GZIP_RATIO * size)))
        file = gzip.GzipFile(fileobj=raw) if packed else raw
        while True:
            try:
                line = file.readline(left + 1 if packed else -1)
                if not line:
                    return
                number += 1
                text = line.decode("utf-8" if number > 1 else "utf-8-sig")
            except UnicodeDecodeError as error:
                what = f"not UTF-8 ({error.reason} at byte {error.start} of the line); convert it, as with iconv"
                raise InputError(f"{path}, line {number}: {what}") from None
            except (EOFError, gzip.BadGzipFile, zlib.error) as error:
                what = f"truncated or damaged gzip ({error}); copy or pack the file again"
                raise InputError(f"{path}, after line {number}: {what}") from None
            left -= len(line)
            if packed and left < 0:
                what = f"expands beyond {GZIP_RATIO} x its size or {GZIP_MOST >> 30} GiB (a zip bomb?)"
                raise InputError(f"{path}, line {number}: {what}; if it is sound, unpack it or set {MAX_BYTES}")
            yield number, text


def read_jsonl(path: Path) -> list[Row]:
    """Read JSON lines: one object per line, blank lines passed over.

    Raises:
        InputError: If a line is not a JSON object; it names the line.
    """
    rows = []
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
        rows.append(row)
    return rows


def table(path: Path, names: list[str] | None = None) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Read a CSV or TSV file whose rows are all equally wide.

    Quotes are data in TSV (the GLUE convention), and markup in CSV.

    Args:
        path: The file; any suffix but .csv is read as TSV.
        names: Column names, for a file without a header; None takes its first row.

    Returns:
        Column names, and rows as (line number, cells).

    Raises:
        InputError: If the file is empty, names a column twice or has a row of another width; it names the lines.
    """
    tsv = ((number, text.split("\t")) for number, line in lines_of(path) if (text := line.rstrip("\r\n")))
    records = filled(path, list(csv_records(path) if path.suffix == ".csv" else tsv))
    if names is None:
        names = records.pop(0)[1]
        unique(path, names)
    bad = [number for number, cells in filled(path, records) if len(cells) != len(names)]
    if bad:
        width = next(len(cells) for number, cells in records if number == bad[0])
        which = f" (as {len(bad)} lines: {', '.join(map(str, bad[:20]))}{', …' * (len(bad) > 20)})" * (len(bad) > 1)
        known = "; QQP as published holds such lines, the hub's drops them" * (path.absolute().parent.name == "QQP")
        what = f"{width} columns instead of {len(names)}{which}; mend or delete every such line{known}"
        raise InputError(f"{path}, line {bad[0]}: {what}")
    return names, records


def csv_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Read CSV records; a quoted cell may span several lines.

    Args:
        path: The file.

    Yields:
        Number of the record's first line, and its cells.

    Raises:
        InputError: If the file is not CSV; it names the line.
    """
    csv.field_size_limit((1 << 31) - 1)  # the default refuses a text of 128 KiB
    reader = csv.reader((line for _, line in lines_of(path)), strict=True)
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


def typed(cells: tuple[str, ...]) -> list[Any]:
    """Convert a column to numbers where every cell is one, else leave it as text; empty cells are None."""
    for pattern, kind in _NUMBERS:
        if all(pattern.fullmatch(cell) for cell in cells if cell):
            return [kind(cell) if cell else None for cell in cells]
    return [cell or None for cell in cells]


def read_conll(path: Path, columns: tuple[int, int]) -> list[Row]:
    """Read sentences that blank lines separate, one token per line.

    `# …` may be a comment or the token #, as CoNLL-2000 and tweets have it: it is a token if it has the columns of one,
    and stands inside a sentence or has a tag that other tokens have.

    Args:
        path: A file in columns, separated by tabs or by spaces.
        columns: Positions of token and tag, from 0, negative from the end.

    Returns:
        One dict per sentence: tokens and tags.

    Raises:
        InputError: If there are no such columns, a line has another number of them or an empty token or tag, or the
            column of tokens only numbers them (CoNLL-U).
    """
    lines = []
    for number, raw in lines_of(path):
        line = raw.rstrip("\r\n")
        tabs = "\t" in line
        cells = [cell.strip(" ") for cell in line.split("\t")] if tabs else [cell for cell in line.split(" ") if cell]
        what = "hash" if line.startswith("# ") else "token"
        what = what if any(cells) and cells[0] != "-DOCSTART-" else "gap"
        lines.append((number, what, (tabs, len(cells)), cells))
    first = next((line for line in lines if line[1] == "token"), None)
    if first is None:
        return []
    shape, width = first[2], max(2, first[2][1])
    if not all(-width <= column < width for column in columns):
        raise InputError(f"{path}, line {first[0]}: {width} columns; `columns` asks for {list(columns)}")
    known = {cells[columns[1]] for _, what, _, cells in lines if what == "token" and len(cells) == width}
    rows: list[Row] = []
    inside = False
    for number, what, form, cells in lines:
        # A token # has the columns of a token, and stands inside a sentence or has a tag that other tokens have.
        comment = what == "hash" and not (form == shape and (inside or cells[columns[1]] in known))
        if what == "gap":
            inside = False
        if what == "gap" or comment or (columns[0] != 0 and _SUBWORD.fullmatch(cells[0])):
            continue
        if len(cells) != width:
            raise InputError(f"{path}, line {number}: {len(cells)} columns instead of {width}; mend the line")
        token, tag = (cells[column] for column in columns)
        if not token or not tag:
            raise InputError(f"{path}, line {number}: the {'tag' if token else 'token'} is empty; mend the line")
        if not inside:
            rows.append({"tokens": [], "tags": []})
        rows[-1]["tokens"].append(token)
        rows[-1]["tags"].append(tag)
        inside = True
    words = [[token for token in row["tokens"] if not _SUBWORD.fullmatch(token)] for row in rows]
    if any(len(w) > 1 for w in words) and all(w == [str(i + 1) for i in range(len(w))] for w in words):
        raise InputError(f"{path}: its first column numbers the tokens; give `columns`, as [1, 3] for words and UPOS")
    return rows
