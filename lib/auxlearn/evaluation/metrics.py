"""Task metrics, computed through `evaluate.Metric` subclasses of our own, so that nothing is fetched from a hub.

Every task declares one primary metric; further ones are reported beside it. All are fractions (or correlations), never
percentages. `accuracy` and `f1` of a tagging task count tokens; `entity_f1` is exact-span F1
by seqeval, in the scheme that the labels are of (`data.tag_schemes`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from auxlearn.data.suites import Task
from auxlearn.errors import InputError
from auxlearn.evaluation import counting

Metric = Callable[[Any, Any, Any], float]  # of predictions, references, label names


def _flat(labels: Any) -> np.ndarray:
    """Join token lists into one flat array; flat input stays as it is."""
    first = labels[0] if len(labels) else 0
    return np.concatenate([np.asarray(x) for x in labels]) if np.ndim(first) else np.asarray(labels)


def _entity_f1(p: Any, r: Any, labels: tuple[str, ...]) -> float:
    return float(counting.value("entity_f1", counting.counts("entity_f1", labels, p, r).sum(0)))


def _sk(name: str, **options: Any) -> Metric:
    def metric(p: Any, r: Any, labels: tuple[str, ...]) -> float:
        from sklearn import metrics as sk  # late: a second of import that most notebooks never need

        return getattr(sk, name)(_flat(r), _flat(p), **options)

    return metric


def _correlation(name: str) -> Metric:
    def metric(p: Any, r: Any, labels: tuple[str, ...]) -> float:
        from scipy import stats

        # A constant prediction has no correlation; 0 says so without a NaN that would poison a mean.
        return 0.0 if np.ptp(p) == 0 or np.ptp(r) == 0 else getattr(stats, name)(p, r).statistic

    return metric


# f1 is binary and counts label 1 as positive, as GLUE does for MRPC and QQP.
FUNCTIONS: dict[str, Metric] = {
    "accuracy": _sk("accuracy_score"),
    "f1": _sk("f1_score", zero_division=0),
    "macro_f1": _sk("f1_score", average="macro", zero_division=0),
    "matthews": _sk("matthews_corrcoef"),
    "pearson": _correlation("pearsonr"),
    "spearman": _correlation("spearmanr"),
    "entity_f1": _entity_f1,
}


def by_row(task: Task, predictions: Any, references: Any) -> np.ndarray:
    """Compute the primary metric of each row alone.

    For tagging it is the metric of each sentence, else accuracy: whether the row is right. It is no substitute for the
    corpus metric: a sentence without entities scores 0 whether or not one is made up, and the mean over sentences may
    order two models otherwise than the corpus does.

    Args:
        task: The task.
        predictions: Label ids, or for tagging a list of ids per sentence.
        references: The gold ids, in the same form.

    Returns:
        float64 [N].

    Raises:
        InputError: If a single row does not have the metric (a correlation, say).

    Reference:
        What the TAWT authors test with (testing/significance_testing.py).
    """
    if task.kind != "tagging" and task.metric != "accuracy":
        raise InputError(f"{task.name!r}: {task.metric} is not defined for one row; only accuracy is")
    if task.kind != "tagging":
        return (np.asarray(predictions) == np.asarray(references)).astype(float)
    metric = FUNCTIONS[task.metric]
    return np.array([metric([p], [r], task.labels) for p, r in zip(predictions, references, strict=True)], float)


def score(task: Task, predictions: Any, references: Any) -> dict[str, float]:
    """Compute all declared metrics of a task.

    Args:
        task: The task.
        predictions: Label ids, numbers (regression), or for tagging a list of label ids per sentence.
        references: The gold values, in the same form.

    Returns:
        Metric by name, the primary first; fractions or correlations.
    """
    scores: dict[str, float] = {}
    for name in task.metrics:
        scores |= _task_metric()(name, task).compute(predictions=predictions, references=references)
    return scores


@functools.cache
def _task_metric() -> type:
    """Return the class of one named metric of one task; it is made late, for importing evaluate takes seconds."""
    import datasets
    import evaluate

    class TaskMetric(evaluate.Metric):
        def __init__(self, name: str, task: Task):
            self.metric, self.task = name, task
            super().__init__(config_name=name, keep_in_memory=True, experiment_id=f"{task.name}-{name}")

        def _info(self) -> evaluate.MetricInfo:
            value = datasets.Value("float32" if self.task.kind == "regression" else "int64")
            column = datasets.Sequence(value) if self.task.kind == "tagging" else value
            features = datasets.Features({"predictions": column, "references": column})
            return evaluate.MetricInfo(description=f"{self.metric} of {self.task.name}", citation="", features=features)

        def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
            return {self.metric: float(FUNCTIONS[self.metric](predictions, references, self.task.labels))}

    return TaskMetric


def column_auc(logits: np.ndarray, task_id: np.ndarray) -> np.ndarray:
    """Measure how well column k of the discriminator ranks task k's rows above the others'.

    A column near 1 means that the task is told apart by something, which may be no more than its format.

    Args:
        logits: Outputs on rows that the discriminator was not trained on, float [N, K].
        task_id: The column of each row's own task, int [N].

    Returns:
        AUC of each column, float64 [K]; NaN where a side is empty.
    """
    from sklearn.metrics import roc_auc_score

    own = [task_id == k for k in range(logits.shape[1])]
    return np.array([
        roc_auc_score(o, logits[:, k]) if o.any() and not o.all() else np.nan for k, o in enumerate(own)
    ])  # fmt: skip
