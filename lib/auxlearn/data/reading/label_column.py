"""The label column of a task, over all its splits: values to ids or scores, faults named."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from auxlearn.data.reading import arrow_columns, labels, raw_rows
from auxlearn.data.reading.faults import Fault, no_column
from auxlearn.data.reading.labels import UNKNOWN, UNLABELLED, Coded
from auxlearn.data.reading.raw_rows import RawRows, is_missing
from auxlearn.data.schema import TaskSpec
from auxlearn.errors import shown


@dataclass
class LabelColumn:
    """The label column of every split of a task."""

    name: str
    spec: TaskSpec
    raw: Mapping[str, RawRows]
    inputs: Mapping[str, Mapping[str, Any]]  # typed, by split and column

    def typed(self, faults: list[Fault]) -> dict[str, Any]:
        """Return the labels of every split as an Arrow array; what is wrong is added to the faults."""
        absent = {split: raw_rows.absent(rows, self.spec.label) for split, rows in self.raw.items()}
        for split, rows in self.raw.items():
            if split != "test" and len(absent[split]):
                faults.append(Fault(self.name, no_column(self.spec.label, rows), split, absent[split]))
        if any(len(rows) for split, rows in absent.items() if split != "test"):
            return {}
        length: dict[str, np.ndarray | None] = {}
        columns = {}
        for split in self.raw:
            values, length[split] = self._values(split, faults)
            columns[split] = values
        if self.spec.kind == "regression":
            return {split: self._scores(split, values, faults) for split, values in columns.items()}
        ids = self._ids(columns, length, faults)
        return {split: self._array(column, length[split]) for split, column in ids.items()}

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
            return labels.coded(arrow_columns.floats(arrow_columns.decoded(column))), None
        if not plain and arrow_columns.is_list(column.type) and not pa.types.is_nested(column.type.value_type):
            length = arrow_columns.lengths(column)
            flat = labels.coded(arrow_columns.floats(arrow_columns.decoded(pc.list_flatten(column))))
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
            wrong = np.flatnonzero(~missing & (~is_list | (length != arrow_columns.lengths(tokens))))
            if len(wrong):
                faults.append(Fault(self.name, f"{self.spec.label!r} must list one tag per token", split, wrong))

    def _missing(self, split: str, rows: np.ndarray) -> Fault:
        what = "the label is missing; only test rows may be unlabelled (`drop_unlabelled: true` leaves such rows out)"
        return Fault(self.name, what, split, rows)

    def _ids(
        self, columns: dict[str, Coded], length: dict[str, np.ndarray | None], faults: list[Fault]
    ) -> dict[str, np.ndarray]:
        """Look the values up; returns the ids of every split, UNLABELLED where there is none.

        A test row of which no tag is known has none: its length becomes 0.
        """
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
            codes = column.codes
            counts = length[split] if spec.kind == "tagging" else None
            owner = np.arange(len(ids)) if counts is None else np.repeat(np.arange(len(counts)), counts)
            if counts is not None and split == "test":
                tagged = np.bincount(owner, ids != UNLABELLED, len(counts)) > 0
                ids, codes, owner = (each[tagged[owner]] for each in (ids, codes, owner))
                counts = length[split] = counts * tagged
            unknown = np.flatnonzero(ids == UNKNOWN)
            if len(unknown):
                value = column.values[codes[unknown[0]]]
                what = labels.unknown(value, names, own.get(split), spec.label_values)
                faults.append(Fault(self.name, what, split, np.unique(owner[unknown])))
            lacking = np.unique(owner[ids == UNLABELLED])
            if counts is not None and len(lacking):
                value = None if (codes < 0).any() else column.values[codes[ids == UNLABELLED][0]]
                what = f"unknown label {shown(value)}; labels are {names}"
                faults.append(Fault(self.name, what, split, lacking))
            elif split != "test" and not spec.drop_unlabelled and len(lacking):
                faults.append(self._missing(split, lacking))
            out[split] = ids
        return out

    def _array(self, ids: np.ndarray, length: np.ndarray | None) -> Any:
        """Return ids as an Arrow array, or as lists, null where there is no label."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.spec.kind == "classification":
            return pa.array(np.maximum(ids, 0), mask=ids < 0)
        assert length is not None
        lists = arrow_columns.lists(length, pa.array(ids))
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
