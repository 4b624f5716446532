"""Tables of what a suite holds, before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.data.suites import Suite, Task

QUANTILES = (5, 25, 50, 75, 95)


def sizes(suite: Suite) -> pd.DataFrame:
    """Kind, inputs, outputs, metric and rows a split; index task."""
    rows = {
        name: {
            "kind": task.kind, "texts": len(task.inputs), "outputs": task.n_outputs, "metric": task.metric,
            "train": len(task.train), "dev": len(task.dev), "test": len(task.test) if task.test is not None else 0,
            "dev from": _dev_source(task),
        }
        for name, task in suite.items()
    }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def _dev_source(task: Task) -> str:
    if "origin" in task.dev.column_names:
        return "+".join(dict.fromkeys(task.dev["origin"][:]))
    return "train" if task.dev_carved else "dev"


def lengths(suite: Suite, tokenizer: Any, max_length: int) -> pd.DataFrame:
    """Quantiles (p5 … p95) and mean of token lengths a task, and how many rows were truncated; index task."""
    from auxlearn.data import batching

    rows = {}
    for name, task in suite.items():
        encoded = batching.encode(task.train, task, tokenizer, max_length)
        quantiles = np.percentile(encoded.lengths, QUANTILES)
        rows[name] = dict(zip([f"p{q}" for q in QUANTILES], quantiles, strict=True)) | {
            "mean": encoded.lengths.mean(), "truncated": encoded.truncated,
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def detectable(
    suite: Suite, seeds: Sequence[int] = (3, 8), disagreement: float = 0.2, seed_sd: float = 0.015
) -> pd.DataFrame:
    """The smallest difference to a baseline that a design can be expected to show (80 % power, 5 % two-sided), a task.

    Two sources of noise: dev rows, of which the two models answer `disagreement` differently (a paired difference of
    accuracies then has variance disagreement / rows), and paired seeds, between which a difference has standard
    deviation `seed_sd` (t quantiles). Both are assumptions made before anything is run. In accuracy, whatever the
    task's metric. Index task; columns dev rows, rows alone (no noise of seeds), and one for each number of seeds.
    """
    from scipy import stats

    normal = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    rows = {}
    for name, task in suite.items():
        alone = normal * np.sqrt(disagreement / len(task.dev))
        rows[name] = {"dev rows": len(task.dev), "rows alone": alone}
        for n in seeds:
            student = stats.t.ppf(0.975, n - 1) + stats.t.ppf(0.8, n - 1)
            rows[name][f"{n} seeds"] = np.hypot(alone, student * seed_sd / np.sqrt(n))
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def constant_scores(suite: Suite) -> pd.DataFrame:
    """What always answering the commonest training label scores on dev, by each task's metric; index task."""
    return pd.DataFrame.from_dict({n: constant_score(t) for n, t in suite.items()}, orient="index").rename_axis("task")


def constant_score(task: Task) -> dict[str, Any]:
    """The commonest training label (a regression's mean), the metric, and what always answering it scores on dev."""
    from auxlearn.evaluation import metrics

    labels = task.train[task.label][:]
    flat = [tag for tags in labels for tag in tags] if task.kind == "tagging" else labels
    answer = float(np.mean(flat)) if task.kind == "regression" else int(np.bincount(flat).argmax())
    gold = task.dev[task.label][:]
    made = [[answer] * len(tags) for tags in gold] if task.kind == "tagging" else [answer] * len(gold)
    return {
        "constant answer": f"{answer:.2f}" if task.labels is None else task.labels[answer],
        "metric": task.metric, "scores": metrics.score(task, made, gold)[task.metric],
    }  # fmt: skip


def example(task: Task, row: int = 0, width: int = 60) -> str:
    """One training row in one line a field, cut to `width` characters."""
    values = task.train[row]
    shown = []
    for column in (*task.inputs, task.label):
        value = values[column]
        if column == task.label and task.labels:
            value = [task.labels[v] for v in value] if task.kind == "tagging" else task.labels[value]
        text = " ".join(value) if isinstance(value, list) else str(value)
        shown.append(f"  {column}: {text if len(text) <= width else text[: width - 1] + '…'}")
    return "\n".join([task.name, *shown])
