"""What a suite's data holds and all that is wrong with it, before anything is trained: `auxlearn check FILE --data`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.data import suite_files
from auxlearn.data.reading import faults, twins
from auxlearn.data.suites import Suite, Task
from auxlearn.errors import InputError
from auxlearn.files import documents
from auxlearn.reporting import summaries
from auxlearn.studies import graph, study_file

LABELS = 6  # of a task that are shown with their shares


@dataclass
class Checked:
    """What a check has found.

    Attributes:
        lines: What is there, for people.
        problems: All that is wrong, a line each.
    """

    lines: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The exit status: 1 if there is any problem."""
        return int(bool(self.problems))

    def __str__(self) -> str:
        count = len(self.problems)
        said = [f"{count} problem{'s' * (count > 1)}:", *(f"- {problem}" for problem in self.problems)] if count else []
        return "\n".join([*self.lines, *said])


def check(path: Path, data: bool) -> Checked:
    """Check a study file or a suite.

    Args:
        path: The file.
        data: Whether to read the rows of the suites too.

    Returns:
        What there is. With `data`, all problems; without, the first one is raised.

    Raises:
        InputError: If `data` is not asked for and anything is wrong.
    """
    checked, study = Checked(), False
    try:
        raw = documents.read_yaml(path)
        if isinstance(raw, dict) and "study" not in raw and {"tasks", "extends"} & raw.keys():
            spec, _ = suite_files.read_suite(path)
            checked.lines.append(f"{path}: valid; suite {spec.name} of {len(spec.tasks)} tasks")
            suites = [str(path.absolute())]
        else:
            suites, study = _suites(path) if data else [], True
            counts = Counter(stage for stage, _ in graph.validated(path))
            checked.lines.append(f"{path}: valid; " + ", ".join(f"{s} {count}" for s, count in sorted(counts.items())))
    except InputError as error:
        if not data:
            raise
        checked.problems.append(str(error))
        suites, study = _suites(path), False
    sound = {suite: Suite.from_yaml(_located(suite)) for suite in suites if data and _read(suite, checked)}
    if study:
        _compare_n(path, sound, data, checked)
    return checked


def _compare_n(path: Path, sound: Mapping[str, Suite], data: bool, checked: Checked) -> None:
    """Report each n and `primary_rows` that there are too few rows for, of the suites that could be read."""
    try:
        short, known = graph.exceeding(path, sound)
    except InputError as error:
        checked.problems.append(str(error))
        return
    checked.problems += short
    if not (known or data):
        checked.lines.append(
            "not compared: n, or primary_rows, with the rows that there are to choose from; --data counts them"
        )


def _suites(path: Path) -> list[str]:
    """List the suites that a study file names; none if it is no such file."""
    try:
        file = study_file.read(path)
    except InputError:
        return []
    named = [file.base.get("suite"), *file.grid.get("suite", [])]
    return list(dict.fromkeys(name for name in named if isinstance(name, str))) or ["planted"]


def _located(suite: str) -> str | Path:
    return suite if suite == "planted" else suite_files.located(suite)


def _read(suite: str, checked: Checked) -> bool:
    """Read a suite task by task, tabulate what is sound, and say whether all of it is."""
    faulty = len(checked.problems)
    tasks: dict[str, Task] = {}
    try:
        if suite == "planted":
            tasks = dict(Suite.from_yaml(suite))
        else:
            spec, root = suite_files.read_suite(suite_files.located(suite))
            for name, task in spec.tasks.items():
                try:
                    entry = twins.obtained(name, spec, root)
                    tasks[name] = Task.of(name, task, entry.tables, entry.values)
                except InputError as error:
                    found = faults.in_full(error)  # a twin has those of its original
                    checked.problems += [fault for fault in found if fault not in checked.problems]
    except InputError as error:
        checked.problems.append(str(error))
    if tasks:
        checked.lines += ["", f"suite {suite}", table(tasks).to_string()]
        told = [*summaries.few_dev_rows(tasks), *summaries.one_answer(tasks)]
        checked.lines += [f"warning: {text}" for text in told]
    return len(checked.problems) == faulty


def table(tasks: Mapping[str, Task]) -> pd.DataFrame:
    """Tabulate what tasks hold.

    Args:
        tasks: The tasks by name.

    Returns:
        Index task. Columns kind, train, dev and test (rows), "dev from" (the file), unlabelled (test rows), dropped
        (rows of train and dev that were left out), longest (words of a training row), labels (shares of train).
    """
    rows = {
        name: {
            "kind": task.kind, "train": len(task.train), "dev": len(task.dev),
            "test": len(task.test) if task.test is not None else 0, "dev from": "train" if task.dev_carved else "dev",
            "unlabelled": _column(task.test, task.label).null_count if task.test is not None else 0,
            "dropped": sum(task.dropped.values()), "longest": _longest(task), "labels": _shares(task),
        }
        for name, task in tasks.items()
    }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def _column(rows: Any, name: str) -> Any:
    return rows.with_format("arrow")[:].column(name)


def _longest(task: Task) -> int:
    import pyarrow.compute as pc

    words = np.zeros(len(task.train), np.int64)
    for column in task.inputs:
        values = _column(task.train, column)
        count = pc.list_value_length(values) if task.kind == "tagging" else pc.count_substring_regex(values, r"\S+")
        words += np.asarray(count)
    return int(words.max(initial=0))


def _shares(task: Task) -> str:
    import pyarrow.compute as pc

    values = _column(task.train, task.label)
    if task.labels is None:
        low, high = (getattr(pc, name)(values).as_py() for name in ("min", "max"))
        return f"{low:g} to {high:g}, mean {pc.mean(values).as_py():.3g}"
    flat = np.asarray(pc.list_flatten(values) if task.kind == "tagging" else values)
    counts = np.bincount(flat, minlength=len(task.labels))
    most = np.argsort(-counts, kind="stable")[:LABELS]
    shown = [f"{task.labels[i]} {counts[i] / max(1, len(flat)):.0%}" for i in most]
    never = int((counts == 0).sum())
    shown += [f"… of {len(task.labels)}"] * (len(task.labels) > LABELS) + [f"{never} never"] * bool(never)
    return ", ".join(shown)
