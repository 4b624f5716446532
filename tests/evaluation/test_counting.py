"""Metrics from counts are the metrics, and a bootstrap over them is the one that calls the metric for every draw."""

from types import SimpleNamespace

import numpy as np
import pytest

from auxlearn.data import suites
from auxlearn.evaluation import counting, metrics
from auxlearn.reporting import comparison

LABELS = ("O", "B-X", "I-X", "B-Y", "I-Y")


def sentences(rng, n=40, labels=LABELS):
    return [rng.integers(0, len(labels), rng.integers(1, 9)).tolist() for _ in range(n)]


def changed(rng, rows, share, labels=LABELS):
    return [[rng.integers(0, len(labels)) if rng.random() < share else x for x in row] for row in rows]


@pytest.mark.parametrize("metric", counting.METRICS)
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_tagging_metric_is_a_function_of_summed_counts(metric, share):
    rng, labels = np.random.default_rng(0), LABELS[:2] if metric == "f1" else LABELS  # f1 is binary
    gold = sentences(rng, labels=labels)
    predicted = changed(rng, gold, share, labels)
    counts = counting.counts(metric, labels, predicted, gold)
    for rows in (np.arange(40), rng.integers(0, 40, 40), np.array([3, 3])):
        want = metrics.FUNCTIONS[metric]([predicted[i] for i in rows], [gold[i] for i in rows], labels)
        assert counting.value(metric, counts[rows].sum(0)) == pytest.approx(want, abs=1e-12)


@pytest.mark.parametrize("metric", [m for m in counting.METRICS if m != "entity_f1"])
@pytest.mark.parametrize("classes", [2, 3])
def test_a_classification_metric_is_a_function_of_summed_counts(metric, classes):
    if metric == "f1" and classes > 2:
        pytest.skip("binary")
    rng, labels = np.random.default_rng(1), [str(i) for i in range(classes)]
    gold, predicted = rng.integers(0, classes, 60), rng.integers(0, classes, 60)
    counts = counting.counts(metric, labels, predicted, gold)
    for rows in (np.arange(60), rng.integers(0, 60, 60), np.flatnonzero(gold == 0)[:5]):
        want = metrics.FUNCTIONS[metric](predicted[rows], gold[rows], labels)
        assert counting.value(metric, counts[rows].sum(0)) == pytest.approx(want, abs=1e-12)


def test_nothing_to_find_and_nothing_found_is_0():
    nothing = [[0, 0], [0]]
    assert counting.value("entity_f1", counting.counts("entity_f1", LABELS, nothing, nothing).sum(0)) == 0
    assert counting.value("f1", np.zeros(3)) == 0


def naive(a, b, gold, metric, seed=0):
    """The spread over draws of rows, the metric called anew for each draw."""
    function, rng, draws = metrics.FUNCTIONS[metric], np.random.default_rng(seed), []
    for _ in range(1000):
        rows = rng.integers(0, len(gold), len(gold))
        truth = [gold[i] for i in rows]
        draws.append(np.mean([
            function([a[s][i] for i in rows], truth, LABELS) - function([b[s][i] for i in rows], truth, LABELS)
            for s in range(len(a))
        ]))  # fmt: skip
    return np.std(draws, ddof=1)


@pytest.mark.parametrize("metric", ["entity_f1", "accuracy"])
def test_the_spread_is_that_of_the_metric_called_for_each_draw(tmp_path, metric):
    rng = np.random.default_rng(2)
    gold = sentences(rng, 12)
    a, b = ([changed(rng, gold, share) for _ in range(2)] for share in (0.2, 0.5))
    flat = lambda rows: np.concatenate([np.asarray(r, np.int64) for r in rows])  # noqa: E731

    def arm(name, predictions):
        path = tmp_path / f"{name}.npz"
        np.savez(path, predictions=np.stack([flat(p) for p in predictions]), references=flat(gold),
                 lengths=[len(g) for g in gold])  # fmt: skip
        return SimpleNamespace(path=lambda _: path)

    task = suites.Task("t", "tagging", ("tokens",), "tags", LABELS, None, metric, (metric,), None, None, None)
    spread = comparison.row_spread(arm("a", a), arm("b", b), task)
    assert spread == pytest.approx(naive(a, b, gold, metric), abs=1e-9)


@pytest.mark.parametrize("metric", ["pearson", "f1"])
def test_so_it_is_of_rows_without_sentences(tmp_path, metric):
    rng = np.random.default_rng(3)
    gold = rng.integers(0, 2, 30).astype(float if metric == "pearson" else int)
    a, b = (np.stack([np.where(rng.random(30) < share, 1 - gold, gold) for _ in range(2)]) for share in (0.1, 0.4))

    def arm(name, predictions):
        path = tmp_path / f"{name}.npz"
        np.savez(path, predictions=predictions, references=gold)
        return SimpleNamespace(path=lambda _: path)

    labels = ("no", "yes") if metric == "f1" else None
    kind = "classification" if metric == "f1" else "regression"
    task = suites.Task("t", kind, ("x",), "y", labels, None, metric, (metric,), None, None, None)
    function, draw, draws = metrics.FUNCTIONS[metric], np.random.default_rng(0), []
    for _ in range(1000):
        rows = draw.integers(0, 30, 30)
        draws.append(np.mean([
            function(a[s][rows], gold[rows], labels) - function(b[s][rows], gold[rows], labels) for s in (0, 1)
        ]))  # fmt: skip
    spread = comparison.row_spread(arm("a", a), arm("b", b), task)
    assert spread == pytest.approx(np.std(draws, ddof=1), abs=1e-9)
