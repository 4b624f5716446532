"""What chosen rows say: the texts of those that a ranking puts first and last, to be read by a person."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import numpy as np
import pandas as pd

from auxlearn.data import row_texts
from auxlearn.data.suites import Suite, Task
from auxlearn.reporting import summaries

BETWEEN = " | "  # of a row's texts
NAMED = 2  # words that the primary has too, by name


def extremes(
    suite: Suite, primary: str, chosen: pd.DataFrame, eligible: pd.DataFrame, count: int = 5
) -> pd.DataFrame:  # fmt: skip
    """Return the rows that a ranking puts first, and those that it puts last, with the words that the primary has too.

    Scores of two proxies share no scale: rows are last by their rank among the rows of their proxy.

    Args:
        suite: The suite with the rows' texts.
        primary: The task that rows are to look like.
        chosen: The selection: columns task, row, score and rank.
        eligible: All rows that could be chosen: columns task, row, score and proxy.
        count: Rows of either end.

    Returns:
        As from `with_texts`, the first ones and then the last ones, the worst at the end; index "best 1", …, "worst 1".
        Beside them `primary has`: how many of the row's different words the primary's training rows have, and the
        rarest of these, such as "5 of 12: munede, vuta".
    """
    first = chosen.nsmallest(count, "rank")
    place = eligible.groupby("proxy")["score"].rank(method="first", pct=True)
    last = eligible.loc[place.nsmallest(count).index[::-1]]
    rows = pd.concat([first, last], ignore_index=True)
    table = with_texts(suite, rows)
    table.insert(table.columns.get_loc("text"), "primary has", _in_common(suite, primary, rows))  # type: ignore[arg-type]
    names = [f"best {i + 1}" for i in range(len(first))] + [f"worst {i}" for i in range(len(last), 0, -1)]
    return table.set_axis(names, axis=0)


def reasons(suite: Suite, names: Iterable[str]) -> str:
    """Say what tasks of the planted suite have to do with the primary.

    Args:
        suite: The suite.
        names: Tasks, as often as they come.

    Returns:
        A line per task; "" for any other suite.
    """
    design = summaries.design(suite)
    if design is None:
        return ""
    return "\n".join(f"{name}: {design.loc[name, 'why']}" for name in dict.fromkeys(names))


def with_texts(suite: Suite, rows: pd.DataFrame, width: int = 60) -> pd.DataFrame:
    """Put rows into words.

    Args:
        suite: The suite with the rows' texts.
        rows: Columns task and row; score and helpful, if they are known.
        width: Characters of a row's texts, at most, each of several with the same share.

    Returns:
        In the order given. Columns task, score (if given), label, helpful ("yes" or "no", if given) and text.
    """
    tasks = [suite[name] for name in rows["task"]]
    places = rows["row"].to_numpy(np.int64)
    table = pd.DataFrame({"task": rows["task"].to_numpy(str)})
    if "score" in rows:
        table["score"] = rows["score"].to_numpy()
    table["label"] = [_cut(_label(task, int(row)), 20) for task, row in zip(tasks, places, strict=True)]
    if "helpful" in rows:
        table["helpful"] = np.where(rows["helpful"].to_numpy(bool), "yes", "no")
    return table.assign(text=[_text(task, int(row), width) for task, row in zip(tasks, places, strict=True)])


def _text(task: Task, row: int, width: int) -> str:
    """Return a row's texts, each cut to its share of the width; tokens of tagging are one text."""
    values = [task.train[row][column] for column in task.inputs]
    parts = [" ".join(value) if isinstance(value, list) else str(value) for value in values]
    share = (width - len(BETWEEN) * (len(parts) - 1)) // len(parts)
    return BETWEEN.join(_cut(part, share) for part in parts)


def _in_common(suite: Suite, primary: str, rows: pd.DataFrame) -> list[str]:
    own = pd.DataFrame({"task": primary, "row": np.arange(len(suite[primary].train))})
    counts = Counter(word for text in row_texts.stream(suite, own) for word in set(_words(text)))
    said = []
    for name, row in zip(rows["task"], rows["row"], strict=True):
        words = set(_words(row_texts.joined(suite[name], np.array([row]))[0]))
        known = sorted(words & counts.keys(), key=lambda word: (counts[word], word))
        said.append(f"{len(known)} of {len(words)}" + (f": {', '.join(known[:NAMED])}" if known else ""))
    return said


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", text.lower())


def _label(task: Task, row: int) -> str:
    value = task.train[row][task.label]
    if task.labels is None:
        return f"{value:.2f}"
    return " ".join(task.labels[tag] for tag in value) if task.kind == "tagging" else task.labels[value]


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
