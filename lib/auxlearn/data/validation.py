"""Raw rows become typed rows: columns checked, labels to ids, every fault named with task, split and row."""

from __future__ import annotations

import math
from typing import Any

from auxlearn.data.schema import TaskSpec
from auxlearn.errors import InputError, shown


def clean(name: str, split: str, spec: TaskSpec, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Turn raw rows into typed rows.

    Args:
        name: The task's name, for messages.
        split: "train", "dev" or "test"; only test rows may be unlabelled.
        spec: The task's columns, labels and range.
        rows: The rows as read.

    Returns:
        Rows of `row_id`, the inputs, and the label as an id, a number or a list of ids (None where a test row has
        none); `helpful` too where planted.

    Raises:
        InputError: If a row lacks a column, an input is not text, or a label is missing, unknown or out of range; it
            names task, split and row.
    """
    ids = {label: i for i, label in enumerate(spec.labels or ())}
    typed_rows = []
    for number, row in enumerate(rows):
        where = f"task {name!r}, {split} row {number}"
        missing = [c for c in (*spec.inputs, spec.label) if c not in row]
        if missing and not (split == "test" and missing == [spec.label]):
            raise InputError(f"{where}: no column {missing[0]!r}; it has {', '.join(map(str, row))[:500]}")
        typed: dict[str, Any] = {"row_id": number}
        for column in spec.inputs:
            value = "" if row[column] is None and len(spec.inputs) == 2 else row[column]  # an empty cell
            if spec.kind == "tagging":
                if not isinstance(value, (list, tuple)) or not value or not all(isinstance(t, str) for t in value):
                    raise InputError(f"{where}: {column!r} must be a list of one or more strings")
                value = list(value)
            elif not isinstance(value, str):
                raise InputError(f"{where}: {column!r} must be text, not {shown(value)}")
            typed[column] = value
        # One text of a pair may be empty, as a few of GLUE's are.
        if spec.kind != "tagging" and not any(typed[column].strip() for column in spec.inputs):
            raise InputError(f"{where}: {' and '.join(map(repr, spec.inputs))} must be text, not empty")
        typed[spec.label] = _label(where, split, spec, ids, row.get(spec.label), typed)
        if "helpful" in row:  # the planted truth
            typed["helpful"] = bool(row["helpful"])
        typed_rows.append(typed)
    return typed_rows


def _label(where: str, split: str, spec: TaskSpec, ids: dict[str, int], value: Any, row: dict[str, Any]) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        if split == "test":
            return None
        raise InputError(f"{where}: the label is missing; only test rows may be unlabelled")
    if spec.kind == "tagging":
        if not isinstance(value, (list, tuple)) or len(value) != len(row[spec.inputs[0]]):
            raise InputError(f"{where}: {spec.label!r} must list one tag per token")
        return [_label_id(where, spec, ids, tag) for tag in value]
    if spec.kind == "classification":
        if split == "test" and value == -1:  # how GLUE marks unlabelled test rows on the hub
            return None
        return _label_id(where, spec, ids, value)
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{where}: the label {shown(value)} is not a number") from None
    low, high = spec.range or (0.0, 0.0)
    if split == "test" and number == -1.0 and low > -1:
        return None
    if not low <= number <= high:
        raise InputError(f"{where}: the label {number} is outside the range {low} to {high}")
    return number


def _label_id(where: str, spec: TaskSpec, ids: dict[str, int], value: Any) -> int:
    """Look up a label by name, else by id.

    Names come first: labels called 1 and 0 are not ids, whatever type a file gives.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, (str, int)) and not isinstance(value, bool):
        text = str(value)
        if text in ids:
            return ids[text]
        if text.isascii() and text.isdecimal() and len(text) < 19 and int(text) < len(ids):
            return int(text)
    raise InputError(f"{where}: unknown label {shown(value)}; labels are {', '.join(ids)} or ids 0 to {len(ids) - 1}")
