"""Label names that a source carries beside its ids: where they stand, and rows in which they take the ids' place."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from auxlearn.data.reading import arrow_columns
from auxlearn.data.reading.raw_rows import RawRows
from auxlearn.errors import InputError, shown

if TYPE_CHECKING:
    import pyarrow as pa


def of_schema(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the label names in the metadata that `datasets` writes into Parquet, by column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: _json_names(feature) for name, feature in features.items() if name in schema.names}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}  # no metadata, or no such metadata
    return {name: names for name, names in found.items() if names is not None}


def _json_names(feature: Any) -> list[str] | None:
    while isinstance(feature, (list, dict)):
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            names = feature.get("names")
            return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
        if isinstance(feature, list) and len(feature) != 1:
            return None
        feature = feature[0] if isinstance(feature, list) else feature.get("feature")
    return None


def of_feature(feature: Any) -> list[str] | None:
    """Return the label names of a feature of `datasets`, or of its items; None for one that names none."""
    while feature is not None and not hasattr(feature, "names"):
        feature = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    return None if feature is None else feature.names


def in_place(rows: RawRows, names: Mapping[str, list[str]], where: str) -> RawRows:
    """Put the source's own names in place of its ids: splits and shards may number them differently."""
    import pyarrow as pa
    import pyarrow.compute as pc

    table, named = rows.table, dict(rows.named)
    for column, own in names.items():
        chunks = []
        for chunk in table.column(column).chunks:
            nested = arrow_columns.is_list(chunk.type)
            ids = _ids(pc.list_flatten(chunk) if nested else chunk, own, f"{where}: {column!r}")
            if ids is None:
                break  # names already
            unlabelled = pc.equal(ids, -1)
            outside = pc.and_not(pc.invert(pc.and_(pc.greater_equal(ids, 0), pc.less(ids, len(own)))), unlabelled)
            if pc.any(outside).as_py():
                value = ids.filter(outside)[0].as_py()
                what = (
                    f"{column!r} holds {shown(value)}, for which its own names ({', '.join(own)[:300]}) have no entry"
                )
                raise InputError(f"{where}: {what}; mend the file")
            safe = pc.if_else(unlabelled, pa.scalar(None, ids.type), ids)
            texts = pa.array(own, pa.string()).take(safe)
            chunks.append(_nested_as(chunk, texts) if nested else texts)
        else:
            place = table.column_names.index(column)
            kind = chunks[0].type if chunks else pa.string()
            table = table.set_column(place, pa.field(column, kind), pa.chunked_array(chunks, kind))
            named[column] = tuple(own)
    return replace(rows, table=table, named=named)


def _ids(values: pa.Array, own: list[str], what: str) -> pa.Array | None:
    """Return ids as whole numbers, however they are stored; None for texts that are no numbers, or names.

    Raises:
        InputError: Numbers that are not whole.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    if types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if types.is_integer(values.type):
        return values
    if types.is_floating(values.type):
        values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)  # how tables say null
    if arrow_columns.is_text(values.type):
        present = values.drop_null()
        if not len(present):  # says nothing of what the others are
            return pa.nulls(len(values), pa.int64())
        if pc.all(pc.is_in(present, pa.array(own, present.type))).as_py():
            return None
        if not pc.all(pc.match_substring_regex(present, r"^\s*-?[0-9]+\s*$")).as_py():
            return None
        values = pc.utf8_trim_whitespace(values)
    elif types.is_nested(values.type) or types.is_temporal(values.type) or types.is_binary(values.type):
        return None  # of which a task finds fault itself
    try:
        return values.cast(pa.int64())
    except pa.ArrowInvalid:
        raise InputError(
            f"{what} has names for its ids ({', '.join(own)[:300]}), and holds numbers that are not whole; mend the "
            "file"
        ) from None


def _nested_as(lists: pa.Array, values: pa.Array) -> pa.Array:
    """Return lists as long as those given, null where they are, over other values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.cast(pc.list_value_length(lists), pa.int64()), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    return pa.LargeListArray.from_arrays(offsets, values, mask=pc.is_null(lists) if lists.null_count else None)
