"""Metrics of resampled rows: what a metric needs of each row is counted once, and then only added up.

Accuracy, F1 in its three forms and Matthews' correlation depend on rows only through sums: of correct labels, of the
confusion matrix, of entities. A bootstrap that calls the metric anew for each draw takes many minutes over entities.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from auxlearn.data import tag_schemes

METRICS = ("accuracy", "f1", "macro_f1", "matthews", "entity_f1")  # of `metrics.FUNCTIONS`


def counts(metric: str, labels: Sequence[str], predictions: Any, references: Any) -> np.ndarray:
    """Count what a metric needs of each row.

    Args:
        metric: One of METRICS.
        labels: The task's label names, in the order of ids.
        predictions: Label id per row, or for tagging a list of ids per row.
        references: The gold ids, in the same form.

    Returns:
        float64 [N, k], to be summed over rows for `value`: (correct, all) for accuracy; (true positives, predicted,
        gold) for f1 (label 1) and entity_f1; the flat confusion matrix [gold, predicted] otherwise.

    Raises:
        InputError: For entity_f1, if the labels are of no scheme of tags (see `data.tag_schemes`).
    """
    if metric == "entity_f1":
        scheme = tag_schemes.scheme(tuple(labels))
        sentences = zip(predictions, references, strict=True)
        spans = [(scheme.spans(predicted), scheme.spans(gold)) for predicted, gold in sentences]
        return np.array([(len(p & r), len(p), len(r)) for p, r in spans], float)
    pairs = zip(predictions, references, strict=True)
    rows = [[np.atleast_1d(np.asarray(ids, np.int64)) for ids in pair] for pair in pairs]
    if metric == "accuracy":
        return np.array([((p == r).sum(), len(r)) for p, r in rows], float)
    if metric == "f1":  # binary: label 1 is what counts, as in `metrics`
        return np.array([(((p == 1) & (r == 1)).sum(), (p == 1).sum(), (r == 1).sum()) for p, r in rows], float)
    size = len(labels)
    return np.array([np.bincount(r * size + p, minlength=size * size) for p, r in rows], float)


def value(metric: str, sums: np.ndarray) -> np.ndarray:
    """Compute a metric from sums of counts.

    Args:
        metric: One of METRICS.
        sums: `counts` summed over rows, float [..., k].

    Returns:
        The metric as a fraction (or correlation), float64 [...]; 0 where it is undefined, as in `metrics`.
    """
    if metric == "accuracy":
        return _ratio(sums[..., 0], sums[..., 1])
    if metric in ("f1", "entity_f1"):
        return _ratio(2 * sums[..., 0], sums[..., 1] + sums[..., 2])
    size = round(sums.shape[-1] ** 0.5)
    table = sums.reshape(*sums.shape[:-1], size, size)  # [..., gold, predicted]
    right, gold, predicted = np.diagonal(table, axis1=-2, axis2=-1), table.sum(-1), table.sum(-2)
    if metric == "macro_f1":  # over the labels that occur
        return _ratio(_ratio(2 * right, gold + predicted).sum(-1), ((gold + predicted) > 0).sum(-1))
    n = gold.sum(-1)
    spread = (n**2 - (predicted**2).sum(-1)) * (n**2 - (gold**2).sum(-1))
    return _ratio(right.sum(-1) * n - (predicted * gold).sum(-1), np.sqrt(spread))


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=np.asarray(below) > 0)
