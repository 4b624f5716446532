"""Twins: further training rows of a task under another name, so that what they are good for is known beforehand.

A twin is drawn from the training rows that the task's `resplit` leaves out. It shares no row with the task (its train,
dev and test) nor with another twin of it, and none of its rows is a duplicate of theirs, as the search for leaks finds
duplicates. Its `row_id` counts in the task's own train file.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn import seeding
from auxlearn.data.reading import arrow_columns, readers, stored_rows, task_rows
from auxlearn.data.reading.stored_rows import Entry
from auxlearn.data.schema import Source, SuiteSpec, TaskSpec
from auxlearn.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

LEAST = 256  # rows that are compared with those taken at a time


def obtained(name: str, spec: SuiteSpec, root: Path) -> Entry:
    """Open the rows of any task of a suite, a twin's or another's, or read, check and keep them.

    Args:
        name: The task's name.
        spec: The suite.
        root: The suite's root.

    Returns:
        As from `task_rows.obtain`. A twin has train, and as many as a tenth of its rows as dev.

    Raises:
        InputError: If the source or a row is wrong, or too few rows are left for a twin; it names the task.
    """
    original = spec.tasks[name].source.twin_of
    if original is None:
        return task_rows.obtain(name, spec.tasks[name], root)
    task = spec.tasks[original]
    whole = task_rows.obtain(original, task.model_copy(update={"resplit": None}), root).tables["train"]
    kept = task_rows.obtain(original, task, root).tables
    twins = {other: each.source for other, each in spec.tasks.items() if each.source.twin_of == original}
    read = [rows._fingerprint for rows in (whole, *kept.values())]
    declared = [[other, source.model_dump()] for other, source in twins.items()]
    entry = stored_rows.obtain(["twins", read, declared], lambda: _made(original, task, whole, kept, twins))
    tables = {split: entry.tables[f"{name}-{split}"] for split in ("train", "dev")}
    return Entry(tables, {"digest": entry.values[name], "carved": True, "dropped": {}})


def _made(
    original: str, task: TaskSpec, whole: Dataset, kept: dict[str, Dataset], twins: dict[str, Source]
) -> task_rows.TypedRows:  # fmt: skip
    """Draw all twins of a task, one after the other, and digest what each has got."""
    from auxlearn.data import duplicates

    taken = [texts for rows in kept.values() for texts in duplicates.texts(rows, task.inputs)]
    left = np.flatnonzero(~np.isin(whole["row_id"][:], kept["train"]["row_id"][:]))
    tables: dict[str, pa.Table] = {}
    values: dict[str, Any] = {}
    for name, source in twins.items():
        assert source.rows is not None  # the schema has looked
        dev = max(1, round(task_rows.DEV_FRACTION * source.rows))
        order = seeding.rng(source.seed, "twin", name).permutation(left)
        drawn = _drawn(whole, task.inputs, order, source.rows + dev, taken)
        if len(drawn) < source.rows + dev:
            raise InputError(
                f"task {name!r}: {source.rows} training and {dev} dev rows are wanted of those that {original!r} "
                f"leaves out (`resplit`), and {len(drawn)} are free: no other twin's, and no duplicates of rows taken; "
                f"lower `rows` of a twin, or `train` of {original}'s `resplit`"
            )
        for split, part in (("train", drawn[: source.rows]), ("dev", drawn[source.rows :])):
            rows = whole.select(np.sort(part)).with_format("arrow")[:].select(["row_id", *task.inputs, task.label])
            if source.labels == "shuffled":
                rng = seeding.rng(source.seed, "twin", name, "labels", split)
                rows = rows.set_column(rows.num_columns - 1, task.label, _shuffled(rows.column(task.label), rng))
            tables[f"{name}-{split}"] = rows
        taken += duplicates.texts(whole.select(drawn), task.inputs)
        left = np.setdiff1d(left, drawn)
        own = {split: tables[f"{name}-{split}"].to_pylist() for split in ("train", "dev")}
        values[name] = json.dumps([original, readers.digest(own)])
    return tables, values


def _drawn(
    whole: Dataset, inputs: Sequence[str], order: np.ndarray, wanted: int, taken: list[tuple[str, ...]]
) -> np.ndarray:  # fmt: skip
    """Return the first rows of `order`, int64, that are no duplicates of those taken: so many, or all there are."""
    from auxlearn.data import duplicates

    drawn, at = order[:0], 0
    while len(drawn) < wanted and at < len(order):
        batch = order[at : at + max(wanted - len(drawn), LEAST)]
        at += len(batch)
        drawn = np.concatenate([drawn, batch[~duplicates.marked(duplicates.texts(whole.select(batch), inputs), taken)]])
    return drawn[:wanted]


def _shuffled(labels: pa.ChunkedArray, rng: np.random.Generator) -> Any:
    """Permute labels among rows; of lists of tags, the tags of all rows among all places."""
    import pyarrow.compute as pc

    if not arrow_columns.is_list(labels.type):
        return labels.take(rng.permutation(len(labels)))
    tags = pc.list_flatten(labels)
    return arrow_columns.lists(arrow_columns.lengths(labels), tags.take(rng.permutation(len(tags))))
