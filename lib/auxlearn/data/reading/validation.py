"""Raw rows become typed rows, column by column: inputs checked, labels to ids, every fault named with task and row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn.data.reading import arrow_columns, raw_rows
from auxlearn.data.reading.faults import Fault, Faults, no_column
from auxlearn.data.reading.label_column import LabelColumn
from auxlearn.data.reading.raw_rows import ABSENT, RawRows
from auxlearn.data.reading.split_files import SPLITS
from auxlearn.data.schema import TaskSpec
from auxlearn.errors import shown

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Typed:
    """The typed rows of a task.

    Attributes:
        splits: Tables of `row_id`, the inputs (dictionary-encoded where the source's are), and the label as an id, a
            number or a list of ids, null where a test row has none; `helpful` too, bool, where the source declares it.
        dropped: Rows without a label that were left out, by split.
    """

    splits: dict[str, pa.Table]
    dropped: dict[str, int] = field(default_factory=dict)


def typed(name: str, spec: TaskSpec, raw: Mapping[str, RawRows]) -> Typed:
    """Turn raw rows into typed rows.

    Args:
        name: The task's name, for messages.
        spec: The task's columns, labels and range.
        raw: The rows as read, by split; only those of test may be unlabelled, unless `spec` says to drop others.

    Returns:
        The typed rows.

    Raises:
        Faults: If rows lack a column, an input is not text, or a label is missing, unknown or out of range, or labels
            may be read in two ways.
    """
    import pyarrow as pa

    raw = {split: raw[split] for split in SPLITS if split in raw}
    faults: list[Fault] = []
    splits: dict[str, dict[str, Any]] = {}
    for split, rows in raw.items():
        columns = splits[split] = {"row_id": pa.array(np.arange(len(rows)))}
        for column in spec.inputs:
            absent = raw_rows.absent(rows, column)
            if len(absent):
                faults.append(Fault(name, no_column(column, rows), split, absent))
            if len(absent) == len(rows):
                continue
            if spec.kind == "tagging":
                array, wrong = _tokens(rows, column)
            else:
                array, wrong = _texts(rows, column, len(spec.inputs) == 2, not spec.resplit)
            wrong[absent] = False
            if wrong.any():
                value = None if spec.kind == "tagging" else rows.value(column, int(wrong.argmax()))
                what = "a list of one or more strings" if spec.kind == "tagging" else f"text, not {shown(value)}"
                faults.append(Fault(name, f"{column!r} must be {what}", split, np.flatnonzero(wrong)))
            columns[column] = array
        if spec.kind != "tagging" and all(columns.get(column) is not None for column in spec.inputs):
            empty = _empty([columns[column] for column in spec.inputs])
            if len(empty):
                what = f"{' and '.join(map(repr, spec.inputs))} must be text, not empty"
                faults.append(Fault(name, what, split, empty))
        if spec.source.planted and "helpful" in rows.table.column_names:
            columns["helpful"] = rows.table.column("helpful")
    label_columns = LabelColumn(name, spec, raw, splits).typed(faults)
    if faults:
        raise Faults(faults)
    tables, dropped = {}, {}
    for split, columns in splits.items():
        order = ["row_id", *spec.inputs, spec.label, *(["helpful"] if "helpful" in columns else [])]
        table = pa.table(
            {column: label_columns[split] if column == spec.label else columns[column] for column in order}
        )
        if split != "test" and spec.drop_unlabelled:
            kept = table.filter(table.column(spec.label).is_valid())
            dropped[split] = len(table) - len(kept)
            table = kept
        tables[split] = table
    return Typed(tables, {split: count for split, count in dropped.items() if count})


# --- inputs ------------------------------------------------------------------------------------------------------


def _texts(rows: RawRows, column: str, may_be_empty: bool, shared: bool) -> tuple[Any, np.ndarray]:
    """Return a column as text, and which rows have none, bool [N]; where `shared`, texts stay shared if they are."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if shared and arrow_columns.is_shared(rows.table.column(column)):
        array = arrow_columns.shared_strings(rows.table.column(column), "" if may_be_empty else None)
        return array, np.array(array.is_null())
    array = arrow_columns.strings(arrow_columns.decoded(rows.table.column(column)))
    if raw_rows.is_json(rows.table.schema.field(column)) or not arrow_columns.is_text(array.type):
        values = [None if value is ABSENT else value for value in rows.values(column)]
        wrong = np.array([not isinstance(v, str) and not (v is None and may_be_empty) for v in values], bool)
        array = pa.chunked_array([pa.array([v if isinstance(v, str) else None for v in values], pa.string())])
    else:
        wrong = np.zeros(len(array), bool) if may_be_empty else np.array(array.is_null())
    if may_be_empty:  # one text of a pair may be empty, as a few of GLUE's are
        array = pc.fill_null(array, pa.scalar("", array.type))
    return array, wrong


def _empty(columns: list[Any]) -> np.ndarray:
    """Return the rows whose texts are all white space; null is another fault."""
    return np.flatnonzero(np.logical_and.reduce([arrow_columns.blank(column) for column in columns]))


def _tokens(rows: RawRows, column: str) -> tuple[Any, np.ndarray]:
    """Return a column as lists of text, and which rows are no list of one or more strings, bool [N]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = rows.table.column(column)
    if not raw_rows.is_json(rows.table.schema.field(column)) and arrow_columns.is_list(array.type):
        values = arrow_columns.strings(arrow_columns.decoded(pc.list_flatten(array)))
        if arrow_columns.is_text(values.type) or pa.types.is_null(values.type):
            length = arrow_columns.lengths(array)
            owner = np.repeat(np.arange(len(array)), length)
            wrong = length == 0
            wrong[owner[np.asarray(values.is_null())]] = True
            return arrow_columns.lists(length, values.cast(pa.string())), wrong
    given = rows.values(column)
    good = [isinstance(v, list) and bool(v) and all(isinstance(t, str) for t in v) for v in given]
    lists = pa.array([v if ok else None for v, ok in zip(given, good, strict=True)], pa.list_(pa.string()))
    return lists, ~np.array(good, bool)
