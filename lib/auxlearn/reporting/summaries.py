"""Tables of what a suite holds, before anything is trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.data.suites import Suite, Task

QUANTILES = (5, 25, 50, 75, 95)
FEW_DEV = 100  # dev rows, under which a task's scores say little
DISAGREEMENT = 0.2  # assumed share of dev rows that two models answer differently
SEED_SD = 0.015  # assumed standard deviation over seeds of a difference in accuracy


def sizes(suite: Suite) -> pd.DataFrame:
    """Tabulate each task's kind, inputs, outputs, metric and rows per split.

    Args:
        suite: The suite.

    Returns:
        Index task. Columns kind, texts (inputs), outputs, metric, train, dev and test (rows), "dev from" (the files
        that dev rows come from); where rows without a label were left out, also dropped (rows).
    """
    rows = {
        name: {
            "kind": task.kind, "texts": len(task.inputs), "outputs": task.n_outputs, "metric": task.metric,
            "train": len(task.train), "dev": len(task.dev), "test": len(task.test) if task.test is not None else 0,
            "dev from": _dev_source(task),
        }
        for name, task in suite.items()
    }  # fmt: skip
    table = pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")
    dropped = pd.Series({name: sum(task.dropped.values()) for name, task in suite.items()})
    return table.assign(dropped=dropped) if dropped.any() else table


def design(suite: Mapping[str, Task]) -> pd.DataFrame | None:
    """Tabulate how the planted suite was made: which task helps the primary, which does not, and why.

    Args:
        suite: The tasks by name.

    Returns:
        Index task. Columns role, helpful (the share of its training rows that were made to help the primary) and why
        (`planted.WHY`). None for a suite of which this is not declared.
    """
    from auxlearn.data import planted

    if not all(task.truth for task in suite.values()):
        return None
    rows = {
        name: {
            "role": planted.PLAN[name][0].replace("_", " "),
            "helpful": float(np.mean(task.train["helpful"][:])),
            "why": planted.WHY[name],
        }
        for name, task in suite.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def _dev_source(task: Task) -> str:
    if "origin" in task.dev.column_names:
        return "+".join(dict.fromkeys(task.dev["origin"][:]))
    return "train" if task.dev_carved else "dev"


def lengths(suite: Suite, tokenizer: Any, max_length: int) -> pd.DataFrame:
    """Tabulate the token lengths of each task's training rows.

    Args:
        suite: The suite.
        tokenizer: The encoder's tokenizer.
        max_length: Tokens at which rows are truncated.

    Returns:
        Index task. Columns p5, p25, p50, p75, p95 (quantiles), mean, truncated (rows).
    """
    from auxlearn.data.tokens import token_store

    rows = {}
    for name, task in suite.items():
        encoded = token_store.encoded(task, "train", tokenizer, max_length)
        quantiles = np.percentile(encoded.lengths, QUANTILES)
        rows[name] = dict(zip([f"p{q}" for q in QUANTILES], quantiles, strict=True)) | {
            "mean": encoded.lengths.mean(), "truncated": encoded.truncated,
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def detectable(
    suite: Mapping[str, Task], seeds: Sequence[int] = (3, 8), disagreement: float = DISAGREEMENT,
    seed_sd: float = SEED_SD,
) -> pd.DataFrame:  # fmt: skip
    """Compute the smallest difference to a baseline that a design can be expected to show (80 % power, 5 % two-sided).

    There are two sources of noise: dev rows, of which the two models answer `disagreement` differently (a paired
    difference of accuracies then has variance disagreement / rows), and paired seeds, between which a difference has
    standard deviation `seed_sd` (t quantiles). Both are assumptions made before anything is run. They are of accuracy
    over rows: of a task with another metric, or whose rows hold many answers, nothing is said.

    Args:
        suite: The tasks by name.
        seeds: Numbers of seeds to consider.
        disagreement: Share of dev rows that the two models answer differently.
        seed_sd: Standard deviation of a difference between seeds.

    Returns:
        Index task; columns dev rows, rows alone (no noise of seeds), and one for each number of seeds; NaN of tasks
        that are not judged by accuracy over rows.
    """
    from scipy import stats

    normal = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    rows = {}
    for name, task in suite.items():
        alone = normal * np.sqrt(disagreement / len(task.dev)) if _by_accuracy(task) else np.nan
        rows[name] = {"dev rows": len(task.dev), "rows alone": alone}
        for n in seeds:
            student = stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)
            rows[name][f"{n} seeds"] = np.hypot(alone, student * seed_sd / np.sqrt(n))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def _by_accuracy(task: Task) -> bool:
    return task.metric == "accuracy" and task.kind != "tagging"


def few_dev_rows(tasks: Mapping[str, Task]) -> list[str]:
    """Warn of tasks whose dev split is too small to judge arms by.

    Args:
        tasks: The tasks by name.

    Returns:
        One sentence per task with fewer than `FEW_DEV` dev rows: how many, whether they were carved from train, which
        difference they cannot be expected to show where it is judged by accuracy, and the remedy.
    """
    warnings = []
    for name, task in tasks.items():
        if (size := len(task.dev)) >= FEW_DEV:
            continue
        least = detectable({name: task}).loc[name, "rows alone"]
        where = "they are a part of its train file: give it a dev file" if task.dev_carved else "give it more"
        what = f"a difference in accuracy below {least:.2f}" if _by_accuracy(task) else "any but a large difference"
        warnings.append(f"{name!r} has {size} dev rows: as a primary it can hardly show {what}; {where}")
    return warnings


def one_answer(tasks: Mapping[str, Task]) -> list[str]:
    """Warn of tasks whose dev rows all have the same label or score: no arm can be told from another there.

    Args:
        tasks: The tasks by name.

    Returns:
        One sentence per such task.
    """
    warnings = []
    for name, task in tasks.items():
        values = task.dev[task.label][:]
        flat = {tag for row in values for tag in row} if task.kind == "tagging" else set(values)
        if len(flat) == 1:
            (value,) = flat
            said = f"{value:g}" if task.labels is None else repr(task.labels[value])
            warnings.append(
                f"{name!r} has {said} alone in dev: as a primary it tells no arm from another; mend its dev"
            )
    return warnings


def constant_scores(suite: Suite) -> pd.DataFrame:
    """Tabulate what always answering the commonest training label scores on dev, by each task's metric.

    Args:
        suite: The suite.

    Returns:
        Index task; columns as in `constant_score`.
    """
    return pd.DataFrame.from_dict({n: constant_score(t) for n, t in suite.items()}, orient="index").rename_axis("task")


def constant_score(task: Task) -> dict[str, Any]:
    """Score a constant answer on dev: the commonest training label, or the mean of a regression.

    Args:
        task: The task.

    Returns:
        "constant answer" (text), "metric" (its name) and "scores" (the answer's score).
    """
    from auxlearn.evaluation import metrics

    labels = task.train[task.label][:]
    flat = [tag for tags in labels for tag in tags] if task.kind == "tagging" else labels
    answer = float(np.mean(flat)) if task.kind == "regression" else int(np.bincount(flat).argmax())
    gold = task.dev[task.label][:]
    answers = [[answer] * len(tags) for tags in gold] if task.kind == "tagging" else [answer] * len(gold)
    return {
        "constant answer": f"{answer:.2f}" if task.labels is None else task.labels[int(answer)],
        "metric": task.metric, "scores": metrics.score(task, answers, gold)[task.metric],
    }  # fmt: skip


def example(task: Task, row: int = 0, width: int = 60) -> str:
    """Show one training row.

    Args:
        task: The task.
        row: Position of the row.
        width: Characters of a field, at most.

    Returns:
        The text: the task's name, then one line per field.
    """
    values = task.train[row]
    lines = []
    for column in (*task.inputs, task.label):
        value = values[column]
        if column == task.label and task.labels:
            value = [task.labels[v] for v in value] if task.kind == "tagging" else task.labels[value]
        text = " ".join(value) if isinstance(value, list) else str(value)
        lines.append(f"  {column}: {text if len(text) <= width else text[: width - 1] + '…'}")
    return "\n".join([task.name, *lines])
