import numpy as np
import pytest

from auxlearn.data.suites import Task
from auxlearn.evaluation import metrics


def task(kind, metric, *more, labels=("a", "b"), limits=None):
    return Task("t", kind, ("x",), "y", labels, limits, metric, (metric, *more), None, None, None)


def test_classification_metrics():
    gold, predicted = np.array([0, 1, 1, 0]), np.array([0, 1, 0, 0])
    scores = metrics.score(task("classification", "accuracy", "f1", "matthews", "macro_f1"), predicted, gold)
    assert scores["accuracy"] == 0.75
    assert scores["f1"] == pytest.approx(2 / 3)
    assert scores["matthews"] == pytest.approx(1 / np.sqrt(3))
    assert scores["macro_f1"] == pytest.approx((0.8 + 2 / 3) / 2)
    assert next(iter(scores)) == "accuracy"


def test_regression_metrics_and_a_constant_answer():
    it = task("regression", "pearson", "spearman", labels=None, limits=(0.0, 5.0))
    scores = metrics.score(it, np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 3.0]))
    assert scores["spearman"] == 1.0
    assert 0.9 < scores["pearson"] < 1
    assert metrics.score(it, np.array([2.0, 2.0, 2.0]), np.array([1.0, 2.0, 3.0])) == {"pearson": 0.0, "spearman": 0.0}


def test_tagging_counts_tokens_and_entities_count_whole_spans():
    it = task("tagging", "accuracy", "entity_f1", labels=("O", "B-X", "I-X"))
    gold, predicted = [[1, 2, 0], [0, 1]], [[1, 0, 0], [0, 1]]
    scores = metrics.score(it, predicted, gold)
    assert scores["accuracy"] == pytest.approx(4 / 5)
    assert scores["entity_f1"] == pytest.approx(0.5)  # one of two spans on either side


def test_a_single_row_is_scored():
    it = task("classification", "accuracy", "f1")
    assert metrics.score(it, np.array([1]), np.array([1])) == {"accuracy": 1.0, "f1": 1.0}
    tags = task("tagging", "accuracy", "entity_f1", labels=("O", "B-X", "I-X"))
    assert metrics.score(tags, [[1, 0]], [[1, 2]]) == {"accuracy": 0.5, "entity_f1": 0.0}
