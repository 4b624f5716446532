"""What rows say: all their texts as one."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from auxlearn.data.suites import Suite, Task

CHUNK = 20_000  # rows whose texts are in memory together


def joined(task: Task, rows: np.ndarray) -> list[str]:
    """Return training rows of a task as one text each: its inputs, or the tokens of tagging, joined by spaces.

    Args:
        task: The task.
        rows: Positions in its train split, int [N].

    Returns:
        N texts.
    """
    columns = task.train.select(rows.tolist()).select_columns(list(task.inputs))[:]
    one = (lambda x: " ".join(x)) if task.kind == "tagging" else str
    return [" ".join(map(one, texts)) for texts in zip(*columns.values(), strict=True)]


def stream(suite: Suite, rows: pd.DataFrame) -> Iterator[str]:
    """Yield rows of several tasks as one text each, some thousands of rows at a time, so that memory stays flat.

    Args:
        suite: The suite with the rows' texts.
        rows: Columns task and row, rows of a task best side by side.
    """
    tasks, places = rows["task"].to_numpy(str), rows["row"].to_numpy(np.int64)
    ends = [*(np.flatnonzero(tasks[1:] != tasks[:-1]) + 1), len(rows)]
    start = 0
    for end in ends:
        for first in range(start, end, CHUNK):
            yield from joined(suite[tasks[first]], places[first : min(first + CHUNK, end)])
        start = end
