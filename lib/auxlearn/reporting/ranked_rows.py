"""What chosen rows say: the texts of those that a ranking puts first and last, to be read by a person."""

from __future__ import annotations

import numpy as np
import pandas as pd

from auxlearn.data import row_texts
from auxlearn.data.suites import Suite, Task


def extremes(suite: Suite, chosen: pd.DataFrame, eligible: pd.DataFrame, count: int = 5) -> pd.DataFrame:
    """Return the rows that a ranking puts first, and those that it puts last.

    Scores of two proxies share no scale: rows are last by their rank among the rows of their proxy.

    Args:
        suite: The suite with the rows' texts.
        chosen: The selection: columns task, row, score and rank.
        eligible: All rows that could be chosen: columns task, row, score and proxy.
        count: Rows of either end.

    Returns:
        As from `with_texts`, the first ones and then the last ones, the worst at the end; index "best 1", …, "worst 1".
    """
    first = chosen.nsmallest(count, "rank")
    place = eligible.groupby("proxy")["score"].rank(method="first", pct=True)
    last = eligible.loc[place.nsmallest(count).index[::-1]]
    table = with_texts(suite, pd.concat([first, last], ignore_index=True))
    names = [f"best {i + 1}" for i in range(len(first))] + [f"worst {i}" for i in range(len(last), 0, -1)]
    return table.set_axis(names, axis=0)


def with_texts(suite: Suite, rows: pd.DataFrame, width: int = 60) -> pd.DataFrame:
    """Put rows into words.

    Args:
        suite: The suite with the rows' texts.
        rows: Columns task and row; score and helpful, if they are known.
        width: Characters of a text, at most.

    Returns:
        In the order given. Columns task, score (if given), label, helpful ("yes" or "no", if given) and text.
    """
    tasks = [suite[name] for name in rows["task"]]
    places = rows["row"].to_numpy(np.int64)
    texts = [row_texts.joined(task, places[i : i + 1])[0] for i, task in enumerate(tasks)]
    table = pd.DataFrame({"task": rows["task"].to_numpy(str)})
    if "score" in rows:
        table["score"] = rows["score"].to_numpy()
    table["label"] = [_cut(_label(task, int(row)), 20) for task, row in zip(tasks, places, strict=True)]
    if "helpful" in rows:
        table["helpful"] = np.where(rows["helpful"].to_numpy(bool), "yes", "no")
    return table.assign(text=[_cut(text, width) for text in texts])


def _label(task: Task, row: int) -> str:
    value = task.train[row][task.label]
    if task.labels is None:
        return f"{value:.2f}"
    return " ".join(task.labels[tag] for tag in value) if task.kind == "tagging" else task.labels[value]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
