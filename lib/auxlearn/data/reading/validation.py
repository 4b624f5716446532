"""Raw rows become typed rows, column by column: inputs checked, labels to ids, every fault named with task and row."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn.data.reading import labels, raw_rows
from auxlearn.data.reading.labels import UNKNOWN, UNLABELLED, Coded
from auxlearn.data.reading.raw_rows import ABSENT, RawRows, is_missing
from auxlearn.data.reading.split_files import SPLITS
from auxlearn.data.schema import TaskSpec
from auxlearn.errors import InputError, shown

if TYPE_CHECKING:
    import pyarrow as pa

CHUNK = 10_000  # rows of which the texts take less than 2 GiB
SHOWN = 5  # rows of a kind of fault that are named


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        task: The task's name.
        what: What is wrong with the first row, or with the column.
        split: The split, if it is of one.
        rows: All rows that have it, int64.
    """

    task: str
    what: str
    split: str = ""
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __str__(self) -> str:
        where = f", {self.split} row {self.rows[0]}" if len(self.rows) else ", " * bool(self.split) + self.split
        return f"task {self.task!r}{where}: {self.what}"

    def in_full(self) -> str:
        """Describe the fault with its first rows and their number."""
        if len(self.rows) < 2:
            return str(self)
        more = f" and {len(self.rows) - SHOWN:,} more" if len(self.rows) > SHOWN else ""
        return f"{self} (rows {', '.join(map(str, self.rows[:SHOWN]))}{more})"


class Faults(InputError):
    """All that is wrong with the rows of a task; as a message, the first.

    Args:
        faults: One at least.
    """

    def __init__(self, faults: list[Fault]):
        more = len(faults) - 1
        others = f" ({more} more fault{'s' * (more > 1)}: `auxlearn check FILE --data` lists all)" if more else ""
        super().__init__(f"{faults[0]}{others}")
        self.faults = faults


@dataclass(frozen=True)
class Typed:
    """The typed rows of a task.

    Attributes:
        splits: Tables of `row_id`, the inputs, and the label as an id, a number or a list of ids, null where a test row
            has none; `helpful` too, bool, where the source declares it.
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
            absent = _absent(rows, column)
            if len(absent):
                faults.append(Fault(name, _no_column(column, rows), split, absent))
            if len(absent) == len(rows):
                continue
            array, wrong = (_tokens if spec.kind == "tagging" else _texts)(rows, column, len(spec.inputs) == 2)
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
    label_columns = _Labels(name, spec, raw, splits).typed(faults)
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


def _absent(rows: RawRows, column: str) -> np.ndarray:
    """Return the rows that lack a column."""
    if column not in rows.table.column_names:
        return np.arange(len(rows))
    if not raw_rows.is_json(rows.table.schema.field(column)):
        return np.zeros(0, np.int64)
    return np.flatnonzero(rows.table.column(column).is_null())


def _no_column(column: str, rows: RawRows) -> str:
    if column in rows.names:
        return f"no {column!r} in this row, as other rows have"
    has = ", ".join(map(str, rows.names))
    mark = next((mark for mark in ";|\t," if len(rows.names) == 1 and mark in has), None)
    asked = f"; is it separated by {mark!r}? CSV takes commas, TSV takes tabs" if mark else ""
    return f"no column {column!r}; it has {has[:500]}{asked}"


# --- inputs ------------------------------------------------------------------------------------------------------


def _texts(rows: RawRows, column: str, may_be_empty: bool) -> tuple[Any, np.ndarray]:
    """Return a column as text, and which rows have none, bool [N]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = _strings(_decoded(rows.table.column(column)))
    if raw_rows.is_json(rows.table.schema.field(column)) or not _is_text(array.type):
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
    import pyarrow.compute as pc

    blank = [np.asarray(pc.fill_null(pc.equal(pc.utf8_trim_whitespace(column), ""), False)) for column in columns]
    return np.flatnonzero(np.logical_and.reduce(blank))


def _tokens(rows: RawRows, column: str, _: bool) -> tuple[Any, np.ndarray]:
    """Return a column as lists of text, and which rows are no list of one or more strings, bool [N]."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = rows.table.column(column)
    if not raw_rows.is_json(rows.table.schema.field(column)) and _is_list(array.type):
        values = _strings(_decoded(pc.list_flatten(array)))
        if _is_text(values.type) or pa.types.is_null(values.type):
            length = _lengths(array)
            owner = np.repeat(np.arange(len(array)), length)
            wrong = length == 0
            wrong[owner[np.asarray(values.is_null())]] = True
            return _lists(length, values.cast(pa.string())), wrong
    given = rows.values(column)
    good = [isinstance(v, list) and bool(v) and all(isinstance(t, str) for t in v) for v in given]
    lists = pa.array([v if ok else None for v, ok in zip(given, good, strict=True)], pa.list_(pa.string()))
    return lists, ~np.array(good, bool)


def _decoded(column: Any) -> Any:
    """Write out a dictionary-encoded column, and read bytes as text where they are UTF-8."""
    import pyarrow as pa

    column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    if pa.types.is_binary(column.type) or pa.types.is_large_binary(column.type):
        with contextlib.suppress(pa.ArrowInvalid):
            return column.cast(pa.large_string())
    return column


def _strings(column: Any) -> Any:
    """Return text of any Arrow type as strings, in chunks that their offsets fit; another column as it is."""
    import pyarrow as pa

    if not _is_text(column.type) or column.type == pa.string():
        return column
    parts = [chunk.slice(i, CHUNK) for chunk in column.chunks for i in range(0, len(chunk), CHUNK)]
    return pa.chunked_array([part.cast(pa.string()) for part in parts], pa.string())


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    return types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind)


def _is_list(kind: pa.DataType) -> bool:
    import pyarrow.types as types

    tests = (types.is_list, types.is_large_list, types.is_fixed_size_list, types.is_list_view, types.is_large_list_view)
    return any(test(kind) for test in tests)


def _lengths(column: Any) -> np.ndarray:
    import pyarrow.compute as pc

    return np.asarray(pc.fill_null(pc.list_value_length(column), 0)).astype(np.int64)


def _lists(length: np.ndarray, values: Any) -> Any:
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


# --- labels ------------------------------------------------------------------------------------------------------


@dataclass
class _Labels:
    """The label column of every split of a task."""

    name: str
    spec: TaskSpec
    raw: Mapping[str, RawRows]
    inputs: Mapping[str, Mapping[str, Any]]  # typed, by split and column

    def typed(self, faults: list[Fault]) -> dict[str, Any]:
        """Return the labels of every split as an Arrow array; what is wrong is added to the faults."""
        absent = {split: _absent(rows, self.spec.label) for split, rows in self.raw.items()}
        for split, rows in self.raw.items():
            if split != "test" and len(absent[split]):
                faults.append(Fault(self.name, _no_column(self.spec.label, rows), split, absent[split]))
        if any(len(rows) for split, rows in absent.items() if split != "test"):
            return {}
        length = {}
        columns = {}
        for split in self.raw:
            values, length[split] = self._values(split, faults)
            columns[split] = values
        if self.spec.kind == "regression":
            return {split: self._scores(split, values, faults) for split, values in columns.items()}
        ids = self._ids(columns, length, faults)
        return {split: self._array(split, column, length[split]) for split, column in ids.items()}

    def _values(self, split: str, faults: list[Fault]) -> tuple[Coded, np.ndarray | None]:
        """Return a split's labels, of tagging those of all tokens; and of tagging each row's number of tags."""
        import pyarrow as pa
        import pyarrow.compute as pc

        rows, label = self.raw[split], self.spec.label
        if label not in rows.table.column_names:
            values: list[Any] = [None] * len(rows)
            return labels.coded_values(values if self.spec.kind != "tagging" else []), np.zeros(len(rows), np.int64)
        column = rows.table.column(label)
        plain = raw_rows.is_json(rows.table.schema.field(label))
        if self.spec.kind != "tagging":
            if plain or pa.types.is_nested(column.type):
                return labels.coded_values(rows.values(label)), None
            return labels.coded(_floats(_decoded(column))), None
        if not plain and _is_list(column.type):
            length, flat = _lengths(column), labels.coded(_floats(_decoded(pc.list_flatten(column))))
            is_list = np.asarray(column.is_valid())
        else:
            given = rows.values(label)
            is_list = np.array([isinstance(tags, list) for tags in given], bool)
            length = np.array([len(tags) if isinstance(tags, list) else 0 for tags in given], np.int64)
            flat = labels.coded_values(tag for tags in given if isinstance(tags, list) for tag in tags)
        self._counts(split, is_list, length, faults)
        return flat, length

    def _counts(self, split: str, is_list: np.ndarray, length: np.ndarray, faults: list[Fault]) -> None:
        """Find the rows without one tag per token."""
        missing = np.zeros(len(length), bool)
        if not is_list.all():
            given = self.raw[split].values(self.spec.label)
            missing = np.array([is_missing(value) for value in given], bool)
        if split == "test":
            missing |= is_list & (length == 0)
        if split != "test" and not self.spec.drop_unlabelled and missing.any():
            faults.append(self._missing(split, np.flatnonzero(missing)))
        tokens = self.inputs[split].get(self.spec.inputs[0])
        if tokens is not None:
            wrong = np.flatnonzero(~missing & (~is_list | (length != _lengths(tokens))))
            if len(wrong):
                faults.append(Fault(self.name, f"{self.spec.label!r} must list one tag per token", split, wrong))

    def _missing(self, split: str, rows: np.ndarray) -> Fault:
        what = "the label is missing; only test rows may be unlabelled (`drop_unlabelled: true` leaves such rows out)"
        return Fault(self.name, what, split, rows)

    def _ids(
        self, columns: dict[str, Coded], length: Mapping[str, np.ndarray | None], faults: list[Fault]
    ) -> dict[str, np.ndarray]:
        """Look the values up; returns the ids of every split, UNLABELLED where there is none."""
        spec = self.spec
        names = labels.Names(spec.labels or ())
        own = {split: rows.named[spec.label] for split, rows in self.raw.items() if spec.label in rows.named}
        decision = labels.decide(columns, names, spec.label, own, spec.label_values)
        if decision.problem:
            faults.append(Fault(self.name, decision.problem))
            return {}
        out = {}
        for split, column in columns.items():
            ids = np.append(decision.ids[split], UNLABELLED)[column.codes]
            if spec.drop_unlabelled:  # SNLI's annotators without a majority
                dash = [k for k, v in enumerate(column.values) if v == "-" and decision.ids[split][k] == UNKNOWN]
                ids[np.isin(column.codes, dash)] = UNLABELLED
            counts = length[split] if spec.kind == "tagging" else None
            owner = np.arange(len(ids)) if counts is None else np.repeat(np.arange(len(counts)), counts)
            unknown = np.flatnonzero(ids == UNKNOWN)
            if len(unknown):
                value = column.values[column.codes[unknown[0]]]
                what = labels.unknown(value, names, own.get(split), spec.label_values)
                faults.append(Fault(self.name, what, split, np.unique(owner[unknown])))
            lacking = np.unique(owner[ids == UNLABELLED])
            if counts is not None and len(lacking):
                value = None if (column.codes < 0).any() else column.values[column.codes[ids == UNLABELLED][0]]
                what = f"unknown label {shown(value)}; labels are {names}"
                faults.append(Fault(self.name, what, split, lacking))
            elif split != "test" and not spec.drop_unlabelled and len(lacking):
                faults.append(self._missing(split, lacking))
            out[split] = ids
        return out

    def _array(self, split: str, ids: np.ndarray, length: np.ndarray | None) -> Any:
        """Return ids as an Arrow array, or as lists, null where there is no label."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.spec.kind == "classification":
            return pa.array(np.maximum(ids, 0), mask=ids < 0)
        assert length is not None
        lists = _lists(length, pa.array(ids))
        return pc.if_else(pa.array(length > 0), lists, pa.scalar(None, lists.type)) if (length == 0).any() else lists

    def _scores(self, split: str, column: Coded, faults: list[Fault]) -> Any:
        import pyarrow as pa

        low, high = self.spec.range or (0.0, 0.0)
        values, bad = labels.numbers(column)
        unlabelled = (values == -1) & ((split == "test") | self.spec.drop_unlabelled) & (low > -1)
        outside = ~((low <= values) & (values <= high)) & ~unlabelled & ~bad
        for wrong, what in ((bad, "is not a number"), (outside, f"is outside the range {low} to {high}")):
            rows = np.flatnonzero(np.append(wrong, False)[column.codes])
            if len(rows):
                code = column.codes[rows[0]]
                text = f"the label {shown(column.values[code]) if bad[code] else values[code]} {what}"
                faults.append(Fault(self.name, text, split, rows))
        scores = np.append(np.where(unlabelled, np.nan, values), np.nan)[column.codes]
        lacking = np.flatnonzero((column.codes < 0) | np.append(unlabelled, False)[column.codes])
        if split != "test" and not self.spec.drop_unlabelled and len(lacking):
            faults.append(self._missing(split, lacking))
        return pa.array(scores, mask=np.isnan(scores))


def _floats(column: Any) -> Any:
    """Return decimals and small floats as float64, anything else as it is."""
    import pyarrow as pa

    kind = column.type
    return column.cast(pa.float64()) if pa.types.is_decimal(kind) or pa.types.is_floating(kind) else column


def in_full(error: InputError) -> Iterable[str]:
    """List all that an error says."""
    return [fault.in_full() for fault in error.faults] if isinstance(error, Faults) else [str(error)]
