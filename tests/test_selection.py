import numpy as np
import pandas as pd
import pytest

from auxlearn import selection


def test_top_n_is_best_first_and_exact():
    assert selection.top_n(np.array([0.1, 0.9, 0.5, 0.7]), 3).tolist() == [1, 3, 2]


@pytest.mark.parametrize("n", [1, 7, 499, 500, 501, 999])
def test_exactly_n_under_ties(n):
    """Saturated scores, as fp16 sigmoids give them: blocks of ties larger than n."""
    scores = np.repeat([1.0, 0.5], 500).astype(np.float16)
    best = selection.top_n(scores, n, seed=3)
    assert len(set(best.tolist())) == n
    assert (best < 500).sum() == min(n, 500)


def test_ties_are_broken_by_seed_and_not_by_place():
    scores = np.zeros(10_000)
    first, again, other = (selection.top_n(scores, 1000, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert len(np.intersect1d(first, other)) < 200
    assert 4500 < first.mean() < 5500


def test_a_tie_break_does_not_depend_on_who_else_is_eligible():
    scores = np.zeros(100)
    order = selection.top_n(scores, 100, seed=5)
    some = np.arange(0, 100, 3)
    assert selection.top_n(scores, len(some), 5, some).tolist() == [i for i in order if i % 3 == 0]


def test_eligible_rows_only():
    scores = np.arange(10.0)
    mask = scores < 5
    assert selection.top_n(scores, 2, eligible=mask).tolist() == [4, 3]
    assert selection.top_n(scores, 2, eligible=np.array([1, 8])).tolist() == [8, 1]
    assert set(selection.random_n(10, 5, 0, mask)) == {0, 1, 2, 3, 4}
    for call in (lambda: selection.top_n(scores, 6, 0, mask), lambda: selection.random_n(10, 6, 0, mask)):
        with pytest.raises(ValueError, match="6 rows asked for, but 5 are eligible"):
            call()


def test_nan_is_refused_only_where_it_matters():
    scores = np.array([1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="row 1 is NaN"):
        selection.top_n(scores, 1)
    assert selection.top_n(scores, 1, eligible=np.array([0, 2])).tolist() == [2]


def test_random_n_is_uniform_over_rows():
    hits = np.zeros(50)
    for seed in range(2000):
        hits[selection.random_n(50, 10, seed)] += 1
    # Each row is drawn with probability 0.2; 5 standard errors of 2,000 draws.
    assert np.abs(hits / 2000 - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 2000)


def test_matched_random_keeps_counts_and_may_draw_chosen_rows():
    groups = np.array(["a"] * 60 + ["b"] * 40)
    chosen = np.array([0, 1, 2, 60, 61])
    drawn = selection.matched_random(chosen, groups, seed=0)
    assert np.unique(groups[drawn], return_counts=True)[1].tolist() == [3, 2]
    assert len(set(drawn.tolist())) == 5
    everything = [set(selection.matched_random(chosen, groups, s).tolist()) & {0, 1, 2} for s in range(200)]
    assert any(everything)
    with pytest.raises(ValueError, match="group 'a'"):
        selection.matched_random(chosen, groups, 0, eligible=np.array([0, 1, 60, 61]))


def test_shares_and_lift():
    pool = pd.DataFrame({"task": ["a"] * 75 + ["b"] * 25, "row": range(100)})
    chosen = selection.table(pool, np.array([0, 80, 81, 82]), np.linspace(1, 0, 100))
    shares = selection.shares(chosen, pool)
    assert shares["chosen"].to_dict() == {"a": 1, "b": 3}
    assert shares["lift"].to_dict() == pytest.approx({"a": 1 / 3, "b": 3.0})
    assert chosen["rank"].tolist() == [1, 2, 3, 4]
