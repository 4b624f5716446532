"""Scores of tasks against what each is worth, by hand; ties against all orders of the tied."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from auxlearn.evaluation import agreement

TRUTH = [0.75, 0.81, 0.77, 0.71]


@pytest.mark.parametrize(
    ("scores", "tau"),
    [
        ([2, 4, 3, 1], 1.0),
        ([3, 1, 2, 4], -1.0),
        ([1, 4, 3, 2], 4 / 6),  # one of six pairs is the other way round
        ([1, 4, 4, 0], 5 / math.sqrt(5 * 6)),  # of six pairs one ties
        ([1, 1, 1, 1], float("nan")),
    ],
)
def test_tau_counts_pairs(scores, tau):
    assert agreement.kendall_tau(scores, TRUTH) == pytest.approx(tau, nan_ok=True)


def test_ndcg_discounts_what_each_task_is_worth_above_the_worst():
    best = 0.10 / math.log2(2) + 0.06 / math.log2(3) + 0.04 / math.log2(4)
    assert agreement.ndcg([2, 4, 3, 1], TRUTH) == pytest.approx(1)
    found = 0.04 / math.log2(2) + 0.06 / math.log2(3) + 0.10 / math.log2(5)
    assert agreement.ndcg([4, 1, 3, 2], TRUTH) == pytest.approx(found / best)
    assert agreement.ndcg([4, 1, 3, 2], np.add(TRUTH, 5)) == pytest.approx(found / best)
    assert agreement.ndcg([4, 1, 3, 2], TRUTH, k=1) == pytest.approx(0.04 / 0.10)
    tied = (0.04 + 0.10 + 0.06) / 3 * sum(1 / math.log2(i) for i in (2, 3, 4))
    assert agreement.ndcg([1, 1, 1, 0], TRUTH) == pytest.approx(tied / best)
    assert math.isnan(agreement.ndcg([1, 2], [0.5, 0.5]))


@pytest.mark.parametrize(
    ("scores", "k", "lost"),
    [
        ([2, 4, 3, 1], 1, 0.0),
        ([4, 2, 1, 3], 1, 0.06),
        ([4, 2, 1, 3], 2, 0.06),
        ([4, 2, 1, 3], 3, 0.0),
        ([0, 1, 1, 1], 1, (0.0 + 0.04 + 0.10) / 3),
        ([1, 0, 0, 0], 2, (0.0 + 0.04 + 0.06) / 3),
        ([1, 1, 1, 1], 9, 0.0),
    ],
)
def test_regret_is_the_distance_to_the_best_task(scores, k, lost):
    assert agreement.regret(scores, TRUTH, k) == pytest.approx(lost)


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(-3, 3)), min_size=2, max_size=6), st.integers(1, 6))
def test_regret_of_tied_scores_is_the_mean_over_their_orders(tasks, k):
    scores, truth = map(list, zip(*tasks, strict=True))
    orders = [
        o for o in itertools.permutations(range(len(tasks))) if sorted(scores, reverse=True) == [scores[i] for i in o]
    ]
    wanted = np.mean([max(truth) - max(truth[i] for i in order[:k]) for order in orders])
    assert agreement.regret(scores, truth, k) == pytest.approx(wanted)


@pytest.mark.parametrize("function", [agreement.kendall_tau, agreement.ndcg, agreement.regret])
def test_what_cannot_be_compared_is_named(function):
    for scores, truth, message in (
        ([1, 2], [1, 2, 3], "one of each per task"),
        ([1], [1], "two tasks or more"),
        ([1, float("nan")], [1, 2], "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            function(scores, truth)
    if function is not agreement.kendall_tau:
        with pytest.raises(ValueError, match="k: 0 places"):
            function([1, 2], [1, 2], k=0)


# --- sums of scores ----------------------------------------------------------------------------------------------


def test_the_linear_datamodelling_score_of_a_linear_truth_is_one():
    """All subsets of four members, and a truth that is a rising function of their sums; its negative gives -1."""
    worth = np.array([0.5, -1.0, 2.0, 0.25])
    counts = np.array([[m >> i & 1 for i in range(4)] for m in range(1, 16)], float)
    truth = np.exp(counts @ worth)
    assert agreement.linear_datamodelling_score(worth, counts, truth) == pytest.approx(1)
    assert agreement.linear_datamodelling_score(3 * worth, counts, truth) == pytest.approx(1)
    assert agreement.linear_datamodelling_score(-worth, counts, truth) == pytest.approx(-1)
    # Subsets of one size, whose rows are shared out: a constant added to all scores changes nothing.
    even = 100 * counts / counts.sum(1, keepdims=True)
    truth = np.round(even @ worth, 9)  # 0.5 alone, and the mean of 0.5, -1 and 2, tie
    assert agreement.linear_datamodelling_score(worth, even, truth) == pytest.approx(1)
    assert agreement.linear_datamodelling_score(worth + 7, even, truth) == pytest.approx(1)


def test_the_linear_datamodelling_score_by_hand():
    """Sums 3, 1, 2 and 1 of ranks 4, 1.5, 3, 1.5 against ranks 4, 2, 1, 3: the correlation of these ranks."""
    counts = np.array([[1, 1], [1, 0], [0, 1], [1, 0]])
    measured = [0.9, 0.5, 0.4, 0.6]
    a, b = np.array([4, 1.5, 3, 1.5]), np.array([4, 2, 1, 3])
    wanted = np.corrcoef(a, b)[0, 1]
    assert agreement.linear_datamodelling_score([1, 2], counts, measured) == pytest.approx(wanted)
    # Sums that are equal but for rounding tie: 0.1 + 0.2 and 0.3.
    tied = agreement.linear_datamodelling_score([0.1, 0.2, 0.3], [[1, 1, 0], [0, 0, 1], [1, 1, 1]], [1, 2, 3])
    assert tied == pytest.approx(np.corrcoef([1.5, 1.5, 3], [1, 2, 3])[0, 1])


def test_a_linear_datamodelling_score_that_cannot_be_told_is_nan_or_refused():
    counts = np.array([[1, 0], [0, 1], [1, 1]])
    assert np.isnan(agreement.linear_datamodelling_score([0, 0], counts, [1, 2, 3]))
    assert np.isnan(agreement.linear_datamodelling_score([1, 2], counts, [1, 1, 1]))
    assert np.isnan(agreement.linear_datamodelling_score([0.1, 0.1], [[1, 2], [2, 1], [3, 0]], [1, 2, 3]))
    for bad in (([1], counts, [1, 2, 3]), ([1, 2], counts, [1, 2]), ([1, 2], counts[:1], [1]),
                ([1, np.nan], counts, [1, 2, 3]), ([1, 2], counts + np.inf, [1, 2, 3])):  # fmt: skip
        with pytest.raises(ValueError, match=r"counts of shape|a score, or the truth|one of each per task"):
            agreement.linear_datamodelling_score(*bad)
