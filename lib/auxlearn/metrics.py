"""Task metrics as `evaluate.Metric` subclasses, so that nothing is fetched from a hub.

Every task declares one primary metric; further ones are reported beside it. All are fractions (or correlations), never
percentages. `accuracy` and `f1` of a tagging task count tokens; `entity_f1` is exact-span F1 by seqeval.
"""

from __future__ import annotations

from typing import Any

import datasets
import evaluate
import numpy as np
from scipy import stats
from sklearn import metrics as sk

from .tasks import Task


def _flat(labels: Any) -> np.ndarray:
    """Token lists to one flat array; flat input stays as it is."""
    first = labels[0] if len(labels) else 0
    return np.concatenate([np.asarray(x) for x in labels]) if np.ndim(first) else np.asarray(labels)


def _constant(*arrays: np.ndarray) -> bool:
    return any(np.ptp(a) == 0 for a in arrays)


def _entity_f1(p: Any, r: Any, labels: tuple[str, ...]) -> float:
    from seqeval.metrics import f1_score

    names = lambda rows: [[labels[i] for i in row] for row in rows]  # noqa: E731
    return f1_score(names(r), names(p), zero_division=0)


# f1 is binary and counts label 1 as positive, as GLUE does for MRPC and QQP.
FUNCTIONS = {
    "accuracy": lambda p, r, labels: sk.accuracy_score(_flat(r), _flat(p)),
    "f1": lambda p, r, labels: sk.f1_score(_flat(r), _flat(p), zero_division=0),
    "macro_f1": lambda p, r, labels: sk.f1_score(_flat(r), _flat(p), average="macro", zero_division=0),
    "matthews": lambda p, r, labels: sk.matthews_corrcoef(_flat(r), _flat(p)),
    # A constant prediction has no correlation; 0 says so without a NaN that would poison a mean.
    "pearson": lambda p, r, labels: 0.0 if _constant(p, r) else stats.pearsonr(p, r).statistic,
    "spearman": lambda p, r, labels: 0.0 if _constant(p, r) else stats.spearmanr(p, r).statistic,
    "entity_f1": _entity_f1,
}


class TaskMetric(evaluate.Metric):
    """One named metric of one task; `compute(predictions=…, references=…)` gives `{name: value}`."""

    def __init__(self, name: str, task: Task):
        self.metric, self.task = name, task
        super().__init__(config_name=name, keep_in_memory=True, experiment_id=f"{task.name}-{name}")

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value("float32" if self.task.kind == "regression" else "int64")
        feature = datasets.Sequence(value) if self.task.kind == "tagging" else value
        return evaluate.MetricInfo(
            description=f"{self.metric} of {self.task.name}",
            citation="",
            features=datasets.Features({"predictions": feature, "references": feature}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        value = FUNCTIONS[self.metric](predictions, references, self.task.labels)
        return {self.metric: float(value)}


def score(task: Task, predictions: Any, references: Any) -> dict[str, float]:
    """All declared metrics of a task, the primary first. Tagging: lists of label-id lists, one a sentence."""
    out: dict[str, float] = {}
    for name in task.metrics:
        out |= TaskMetric(name, task).compute(predictions=predictions, references=references)
    return out
