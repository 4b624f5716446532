"""Arrow columns of whatever types files have, as the few that rows have."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 10_000  # rows of which the texts take less than 2 GiB


def decoded(column: Any) -> Any:
    """Write out a dictionary-encoded column, and read bytes as text where they are UTF-8."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        kind, chunks = column.type.value_type, getattr(column, "chunks", [column])
        parts = [chunk.slice(i, CHUNK).cast(kind) for chunk in chunks for i in range(0, len(chunk), CHUNK)]
        column = pa.chunked_array(parts, kind)
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        with contextlib.suppress(pa.ArrowInvalid):
            return column.cast(pa.large_string())
    return column


def is_shared(column: Any) -> bool:
    """Tell whether a column holds each text once, however many rows have it: it is dictionary-encoded."""
    import pyarrow as pa

    shared = pa.types.is_dictionary(column.type) and is_text(column.type.value_type)
    return shared and not any(chunk.dictionary.null_count for chunk in column.chunks)


def shared_strings(column: Any, missing: str | None = None) -> Any:
    """Return a column that `is_shared` with its texts as strings, still shared, and nulls as `missing`."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = []
    for chunk in column.chunks:
        indices, texts = chunk.indices.cast(pa.int32()), chunk.dictionary.cast(pa.string())
        if missing is not None and indices.null_count:
            indices, texts = pc.fill_null(indices, len(texts)), pa.concat_arrays([texts, pa.array([missing])])
        parts.append(pa.DictionaryArray.from_arrays(indices, texts))
    return pa.chunked_array(parts, pa.dictionary(pa.int32(), pa.string()))


def alike(chunks: list[Any]) -> list[Any]:
    """Return chunks of text with all texts shared if those of some are; chunks of anything else as they are."""
    import pyarrow as pa

    columns = [pa.chunked_array([chunk]) for chunk in chunks]
    if not any(map(is_shared, columns)) or not all(is_shared(c) or is_text(c.type) for c in columns):
        return chunks
    columns = [c if is_shared(c) else c.dictionary_encode() for c in columns]
    return [shared_strings(c).chunk(0) for c in columns]


def written_out(table: pa.Table) -> pa.Table:
    """Return a table whose shared texts are written out in every row."""
    import pyarrow as pa

    columns = [strings(decoded(c)) if pa.types.is_dictionary(c.type) else c for c in table.columns]
    return pa.table(columns, names=table.column_names)


def blank(column: Any) -> np.ndarray:
    """Return the rows whose text is white space alone, bool [N]; null is not."""
    import pyarrow as pa
    import pyarrow.compute as pc

    parts = [np.zeros(0, bool)]
    for chunk in column.chunks:
        texts = chunk.dictionary if pa.types.is_dictionary(chunk.type) else chunk
        empty = pc.equal(pc.utf8_trim_whitespace(texts), "")
        empty = empty if texts is chunk else empty.take(chunk.indices)
        parts.append(np.asarray(pc.fill_null(empty, False)))
    return np.concatenate(parts)


def strings(column: Any) -> Any:
    """Return text of any Arrow type as strings, in chunks that their offsets fit; another column as it is."""
    import pyarrow as pa

    if not is_text(column.type) or column.type == pa.string():
        return column
    parts = [chunk.slice(i, CHUNK) for chunk in column.chunks for i in range(0, len(chunk), CHUNK)]
    return pa.chunked_array([part.cast(pa.string()) for part in parts], pa.string())


def is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    return any(test(kind) for test in tests)


def lengths(column: Any) -> np.ndarray:
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)


def lists(length: np.ndarray, values: Any) -> Any:
    """Return lists of given lengths over values that stand one after the other, in chunks that their offsets fit."""
    import pyarrow as pa

    values = values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values
    ends, chunks, start = np.cumsum(length), [], 0
    while start < len(length):
        first = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, first + (1 << 24), side="right")))
        offsets = np.concatenate([[0], ends[start:stop] - first]).astype(np.int32)
        part = values.slice(int(first), int(ends[stop - 1] - first))
        chunks.append(pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), part))
        start = stop
    return pa.chunked_array(chunks, pa.list_(values.type))


def floats(column: Any) -> Any:
    """Return decimals and small floats as float64, anything else as it is."""
    import pyarrow as pa

    kind = column.type
    return column.cast(pa.float64()) if pa.types.is_decimal(kind) or pa.types.is_floating(kind) else column
