"""Raw rows in columns: what a source holds, before labels are decided."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn.data.reading import arrow_columns
from auxlearn.errors import shown

if TYPE_CHECKING:
    import pyarrow as pa

ABSENT = object()  # in a row that lacks the column
BATCH = 20_000  # rows that are Python values at a time
_JSON = {b"json": b"1"}


@dataclass(frozen=True)
class RawRows:
    """The rows of one split as its source has them.

    Attributes:
        table: The columns asked for that are there. Arrow types where all values are of one kind (text, numbers,
            booleans, lists of these); else JSON text of each value, null where a row lacks the column (`is_json`).
        names: All columns of the source, for messages.
        named: Label names that the source carries, by column: its values are these names, not its own ids.
    """

    table: pa.Table
    names: tuple[str, ...]
    named: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def __len__(self) -> int:
        return self.table.num_rows

    def values(self, column: str) -> list[Any]:
        """Return a column as Python values; ABSENT where a row lacks it."""
        return plain(self.table.column(column), self.table.schema.field(column))

    def value(self, column: str, row: int) -> Any:
        """Return one value of a column; ABSENT where the row lacks it."""
        return plain(self.table.column(column).slice(row, 1), self.table.schema.field(column))[0]

    def rows(self) -> Iterator[dict[str, Any]]:
        """Yield one dict per row, of the columns that it has."""
        for start in range(0, len(self), BATCH):
            part = self.table.slice(start, BATCH)
            columns = [plain(part.column(name), part.schema.field(name)) for name in part.column_names]
            for row in zip(*columns, strict=True):
                yield {name: value for name, value in zip(part.column_names, row, strict=True) if value is not ABSENT}


def is_json(column: pa.Field) -> bool:
    """Tell whether a column holds JSON text of each value."""
    return bool(column.metadata) and b"json" in column.metadata


def plain(column: pa.ChunkedArray, kind: pa.Field) -> list[Any]:
    """Return an Arrow column as Python values; ABSENT where a row lacks it."""
    values = column.to_pylist()
    return [ABSENT if text is None else json.loads(text) for text in values] if is_json(kind) else values


def absent(rows: RawRows, column: str) -> np.ndarray:
    """Return the rows that lack a column, int64."""
    if column not in rows.table.column_names:
        return np.arange(len(rows))
    if not is_json(rows.table.schema.field(column)):
        return np.zeros(0, np.int64)
    return np.flatnonzero(rows.table.column(column).is_null())


def from_batches(batches: Iterable[dict[str, list[Any]]], names: Iterable[str] = ()) -> RawRows:
    """Gather batches of Python values in columns.

    Args:
        batches: Values by column, all columns of a batch equally long; a column may be left out of a batch.
        names: All columns of the source; read after the batches.

    Returns:
        The rows. A column that no batch has is not there.
    """
    import pyarrow as pa

    parts: dict[str, list[tuple[int, pa.Array, bool]]] = {}
    rows = 0
    for batch in batches:
        for name, values in batch.items():
            array, as_json = _array(values)
            parts.setdefault(name, []).append((rows, array, as_json))
        rows += max(map(len, batch.values()), default=0)
    columns, fields = [], []
    for name, chunks in parts.items():
        column, as_json = _column(chunks, rows)
        columns.append(column)
        fields.append(pa.field(name, column.type, metadata=_JSON if as_json else None))
    return RawRows(pa.table(columns, schema=pa.schema(fields)), tuple(names) or tuple(parts))


def of_table(table: pa.Table, names: Iterable[str]) -> RawRows:
    """Return the rows of an Arrow table; JSON values, which Arrow has a type of its own for, become plain ones.

    Args:
        table: The columns that are kept.
        names: All columns of the source.
    """
    import pyarrow as pa

    for place, kind in enumerate(table.schema):
        inner = kind.type.value_type if arrow_columns.is_list(kind.type) else kind.type
        if isinstance(inner, pa.BaseExtensionType) and inner.extension_name == "arrow.json":
            texts = table.column(place).to_pylist()
            array, as_json = _array([_of_json(text) for text in texts])
            column = pa.field(kind.name, array.type, metadata=_JSON if as_json else None)
            table = table.set_column(place, column, pa.chunked_array([array], array.type))
    return RawRows(table, tuple(names))


def _of_json(text: Any) -> Any:
    if isinstance(text, list):
        return [_of_json(each) for each in text]
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def joined(parts: Sequence[RawRows]) -> RawRows:
    """Join the shards of one split, in order."""
    if len(parts) == 1:
        return parts[0]
    import pyarrow as pa

    names = list(dict.fromkeys(name for part in parts for name in part.names))
    total = sum(map(len, parts))
    columns, fields = [], []
    for name in dict.fromkeys(name for part in parts for name in part.table.column_names):
        chunks, start = [], 0
        for part in parts:
            if name in part.table.column_names:
                as_json = is_json(part.table.schema.field(name))
                at = start
                for chunk in part.table.column(name).chunks:
                    chunks.append((at, chunk, as_json))
                    at += len(chunk)
            start += len(part)
        column, as_json = _column(chunks, total)
        columns.append(column)
        fields.append(pa.field(name, column.type, metadata=_JSON if as_json else None))
    own = [(column, names_of) for part in parts for column, names_of in part.named.items()]
    named = {column: tuple(dict.fromkeys(n for c, ns in own if c == column for n in ns)) for column, _ in own}
    return RawRows(pa.table(columns, schema=pa.schema(fields)), tuple(names), named)


def _array(values: list[Any]) -> tuple[pa.Array, bool]:
    """Return values as an Arrow array where they are of one kind, else as JSON text."""
    import pyarrow as pa

    if not set(map(type, values)) & {object, dict}:  # ABSENT is an object; dicts would get each other's names
        try:
            array = pa.array(values)
        except (pa.ArrowException, OverflowError, RecursionError, ValueError, TypeError):
            array = None
        if array is not None and _simple(array.type):
            return array, False
    return _as_json(values), True


def _as_json(values: Iterable[Any]) -> pa.Array:
    import pyarrow as pa

    return pa.array([None if value is ABSENT else _json_text(value) for value in values], pa.string())


def _json_text(value: Any) -> str:
    try:
        return json.dumps(value)
    except RecursionError:  # nested too deeply to be text or label of any kind, as lists that are shown abridged
        return json.dumps([[shown(value)]])


def _simple(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    if types.is_list(kind):
        kind = kind.value_type
    return any(
        test(kind) for test in (types.is_string, types.is_int64, types.is_float64, types.is_boolean, types.is_null)
    )


def _column(chunks: list[tuple[int, pa.Array, bool]], rows: int) -> tuple[pa.ChunkedArray, bool]:
    """Join the chunks of a column, each with the row that it starts at, into one of `rows` rows and one type."""
    import pyarrow as pa

    whole = sum(len(array) for _, array, _ in chunks) == rows
    if whole and not any(as_json for *_, as_json in chunks):
        arrays = arrow_columns.alike([array for _, array, _ in chunks])
        chunks = [(start, array, False) for (start, *_), array in zip(chunks, arrays, strict=True)]
    types = {array.type for _, array, as_json in chunks if not as_json}
    if whole and not any(as_json for *_, as_json in chunks):
        kind = types.pop() if len(types) == 1 else _common(types)
        try:
            if kind is not None:
                return pa.chunked_array([array.cast(kind) for _, array, _ in chunks], kind), False
        except pa.ArrowInvalid:  # a whole number that no float holds
            pass
    texts, at = [], 0
    for start, array, as_json in chunks:
        texts.append(pa.nulls(start - at, pa.string()))
        texts.append(array if as_json else _as_json(array.to_pylist()))
        at = start + len(array)
    return pa.chunked_array([*texts, pa.nulls(rows - at, pa.string())], pa.string()), True


def _common(types: set[pa.DataType]) -> pa.DataType | None:
    """Return the type that differs from the others in nulls alone; None where there is none."""
    import pyarrow as pa

    rest = types - {pa.null(), pa.list_(pa.null())}
    if rest == {pa.int64(), pa.float64()}:
        return pa.float64()
    if len(rest) != 1:
        return pa.list_(pa.null()) if not rest else None
    (kind,) = rest
    return kind if pa.list_(pa.null()) not in types or pa.types.is_list(kind) else None


def is_missing(value: Any) -> bool:
    """Tell whether a value stands for none: null, NaN, or no text at all."""
    return value is None or value is ABSENT or value == "" or (isinstance(value, float) and math.isnan(value))
