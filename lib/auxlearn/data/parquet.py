"""Parquet of others, as rows or as a table: sizes are checked before they are believed, nothing is executed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from auxlearn.data.parsing import Row, unique
from auxlearn.errors import InputError
from auxlearn.files.bounded_files import MAX_BYTES, Value, converted, most_bytes, open_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

TABLE_BYTES = 4 << 30  # that the rows of one file may take, or AUXLEARN_MAX_BYTES
CELL_BYTES = 8  # that a cell takes at least


def read_rows(path: Path) -> list[Row]:
    """Read the rows of a data file.

    Args:
        path: A Parquet file from anyone.

    Returns:
        One dict per row, by column name.

    Raises:
        InputError: If the file is no readable Parquet, is too large when written out, or has a column twice.
    """
    import pyarrow.parquet

    again = "write or copy it again"
    with open_of(path) as file:
        _bounded(path, file, again)
        table = _converted(path, lambda: pyarrow.parquet.ParquetFile(file).read(), again)
    unique(path, table.column_names)
    return _converted(path, table.to_pylist, again)


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


def _bounded(path: Path, file: BinaryIO, remedy: str) -> None:
    """Refuse a file whose rows, written out, take more than the bound.

    Parquet holds a text that many rows share once, and a run of equal numbers as one: a few KB may stand for terabytes.
    Texts stay shared here while they are counted.
    """
    import pyarrow.parquet

    most = most_bytes(TABLE_BYTES)
    reader = _converted(path, lambda: pyarrow.parquet.ParquetFile(file), remedy)
    metadata, leaves = reader.metadata, [reader.schema.column(i) for i in range(len(reader.schema))]
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    size = max(size, metadata.num_rows * len(leaves) * CELL_BYTES)
    if size <= most:
        texts = [leaf.path for leaf in leaves if leaf.physical_type == "BYTE_ARRAY"]

        def read() -> int:
            table = pyarrow.parquet.ParquetFile(file, read_dictionary=texts).read()
            return sum(_bytes(chunk) for column in table.columns for chunk in column.chunks)

        size = _converted(path, read, remedy)
    if size > most:
        what = f"its rows would take more than {most:,} bytes (a zip bomb?)"
        raise InputError(f"{path}: {what}; if it is sound, set {MAX_BYTES} to more, or give a part of it")


def _bytes(array: pa.Array) -> int:
    """Count the bytes of an array with shared texts written out."""
    import pyarrow as pa
    import pyarrow.compute as pc

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


def _converted(path: Path, call: Callable[[], Value], remedy: str) -> Value:
    import pyarrow as pa

    # OSError: what Arrow makes of damaged pages; the others: of text that is none, dates beyond a year, wrong metadata.
    faults = (pa.ArrowException, OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError)
    return converted(path, call, faults, "a readable Parquet file", remedy)
