import numpy as np
import pandas as pd
import pytest

from auxlearn.methods import ranking


def test_top_n_is_best_first_and_exact():
    assert ranking.top_n(np.array([0.1, 0.9, 0.5, 0.7]), 3).tolist() == [1, 3, 2]


@pytest.mark.parametrize("n", [1, 7, 499, 500, 501, 999])
def test_exactly_n_under_ties(n):
    """Saturated scores, as fp16 sigmoids give them: blocks of ties larger than n."""
    scores = np.repeat([1.0, 0.5], 500).astype(np.float16)
    best = ranking.top_n(scores, n, seed=3)
    assert len(set(best.tolist())) == n
    assert (best < 500).sum() == min(n, 500)


def test_ties_are_broken_by_seed_and_not_by_place():
    scores = np.zeros(10_000)
    first, again, other = (ranking.top_n(scores, 1000, seed) for seed in (0, 0, 1))
    assert (first == again).all()
    assert len(np.intersect1d(first, other)) < 200
    assert 4500 < first.mean() < 5500


def test_ties_are_broken_by_seed_0_where_none_is_given():
    scores, groups = np.zeros(100), np.repeat(["a", "b"], 50)
    assert ranking.top_n(scores, 9).tolist() == ranking.top_n(scores, 9, 0).tolist()
    assert ranking.top_quota(scores, 9, groups).tolist() == ranking.top_quota(scores, 9, groups, 0).tolist()


def test_a_tie_break_does_not_depend_on_who_else_is_eligible():
    scores = np.zeros(100)
    order = ranking.top_n(scores, 100, seed=5)
    some = np.arange(0, 100, 3)
    assert ranking.top_n(scores, len(some), 5, some).tolist() == [i for i in order if i % 3 == 0]


def test_eligible_rows_only():
    scores = np.arange(10.0)
    mask = scores < 5
    assert ranking.top_n(scores, 2, eligible=mask).tolist() == [4, 3]
    assert ranking.top_n(scores, 2, eligible=np.array([1, 8])).tolist() == [8, 1]
    assert set(ranking.random_n(10, 5, 0, mask)) == {0, 1, 2, 3, 4}
    for call in (lambda: ranking.top_n(scores, 6, 0, mask), lambda: ranking.random_n(10, 6, 0, mask)):
        with pytest.raises(ValueError, match="positions from -1 to 4 do not fit"):
            ranking.top_n(np.arange(5.0), 2, eligible=np.array([-1, 4]))
        with pytest.raises(ValueError, match="6 rows asked for, but 5 are eligible"):
            call()


def test_nan_is_refused_only_where_it_matters():
    scores = np.array([1.0, np.nan, 2.0])
    with pytest.raises(ValueError, match="row 1 is NaN"):
        ranking.top_n(scores, 1)
    assert ranking.top_n(scores, 1, eligible=np.array([0, 2])).tolist() == [2]


def test_random_n_is_uniform_over_rows():
    hits = np.zeros(50)
    for seed in range(2000):
        hits[ranking.random_n(50, 10, seed)] += 1
    # Each row is drawn with probability 0.2; 5 standard errors of 2,000 draws.
    assert np.abs(hits / 2000 - 0.2).max() < 5 * np.sqrt(0.2 * 0.8 / 2000)


def test_matched_random_keeps_counts_and_may_draw_chosen_rows():
    groups = np.array(["a"] * 60 + ["b"] * 40)
    chosen = np.array([0, 1, 2, 60, 61])
    drawn = ranking.matched_random(chosen, groups, seed=0)
    assert np.unique(groups[drawn], return_counts=True)[1].tolist() == [3, 2]
    assert len(set(drawn.tolist())) == 5
    everything = [set(ranking.matched_random(chosen, groups, s).tolist()) & {0, 1, 2} for s in range(200)]
    assert any(everything)
    with pytest.raises(ValueError, match="group 'a'"):
        ranking.matched_random(chosen, groups, 0, eligible=np.array([0, 1, 60, 61]))


def test_matched_random_is_uniform_within_a_group():
    groups, chosen, hits = np.array(["a"] * 60 + ["b"] * 40), np.array([0, 1, 2, 60, 61]), np.zeros(100)
    for seed in range(2000):
        hits[ranking.matched_random(chosen, groups, seed)] += 1
    assert np.abs(hits / 2000 - 0.05).max() < 5 * np.sqrt(0.05 * 0.95 / 2000)


def test_shares_and_lift():
    pool = pd.DataFrame({"task": ["a"] * 75 + ["b"] * 25, "row": range(100)})
    chosen = ranking.table(pool, np.array([0, 80, 81, 82]), np.linspace(1, 0, 100))
    shares = ranking.shares(chosen, pool)
    assert shares["chosen"].to_dict() == {"a": 1, "b": 3}
    assert shares["lift"].to_dict() == pytest.approx({"a": 1 / 3, "b": 3.0})
    assert chosen["rank"].tolist() == [1, 2, 3, 4]


def test_standardised_takes_each_group_s_own_mean_and_spread():
    scores = np.array([1.0, 3.0, 10.0, 10.0, 5.0])
    groups = np.array(["a", "a", "b", "b", "c"])
    assert ranking.standardised(scores, groups).tolist() == [-1.0, 1.0, 0.0, 0.0, 0.0]
    # Over eligible rows only; a group that has none stays 0.
    made = ranking.standardised(np.array([1.0, 3.0, 7.0, 4.0, 9.0]), np.array(list("aaabb")), np.array([0, 1]))
    assert made.tolist() == [-1.0, 1.0, 5.0, 0.0, 0.0]
    for equal in (0.1, 1.1, -2.3):  # their mean is rounded, and is not always what they are
        assert not ranking.standardised(np.full(1000, equal), np.zeros(1000)).any()


def test_fold_ranks_are_shares_of_the_row_s_own_fold():
    scores = np.array([10.0, 30.0, 20.0, 1.0, 1.0, 2.0])
    folds = np.array([0, 0, 0, 1, 1, 1])
    assert ranking.fold_ranks(scores, folds) == pytest.approx([1 / 6, 5 / 6, 3 / 6, 1 / 3, 1 / 3, 5 / 6])
    mask = np.array([True, False, True, True, True, True])
    assert ranking.fold_ranks(scores, folds, mask) == pytest.approx([1 / 4, -1, 3 / 4, 1 / 3, 1 / 3, 5 / 6])
    one = np.random.default_rng(0).normal(size=50)
    ranks = ranking.fold_ranks(one, np.zeros(50, int))
    assert np.argsort(ranks).tolist() == np.argsort(one).tolist()


def test_quotas_are_proportional_by_largest_remainders_and_the_best_come_first():
    groups = np.array(list("aaaaabbbcc"))
    scores = np.array([9.0, 8.0, 7.0, 6.0, 5.0, 4.0, 3.0, 2.0, 20.0, 0.0])
    # 4 of 10: exactly 2.0, 1.2 and 0.8.
    assert ranking.top_quota(scores, 4, groups).tolist() == [8, 0, 1, 5]
    # Quotas count eligible rows: of 2, 3 and 2 of them, 4 are 1.14, 1.71 and 1.14.
    assert ranking.top_quota(scores, 4, groups, 0, np.arange(3, 10)).tolist() == [8, 3, 5, 6]
    with pytest.raises(ValueError, match="8 rows asked for, but 7 are eligible"):
        ranking.top_quota(scores, 8, groups, 0, np.arange(3, 10))


def test_quotas_add_up_under_ties_and_equal_remainders_fall_by_seed():
    groups, scores = np.repeat(["a", "b", "c"], [50, 30, 7]), np.zeros(87)
    for n in range(88):
        drawn = ranking.top_quota(scores, n, groups, seed=n)
        assert len(set(drawn.tolist())) == n
        counts = pd.Series(groups[drawn]).value_counts().reindex(["a", "b", "c"], fill_value=0)
        assert (np.abs(counts.to_numpy() - n * np.array([50, 30, 7]) / 87) < 1).all()

    picked = {int(ranking.top_quota(scores[:80], 1, np.repeat(["a", "b"], 40), s)[0]) // 40 for s in range(20)}
    assert picked == {0, 1}


TASKS = np.array(["hot"] * 3 + ["cold"] * 3)
LOGITS = np.array([10.0, 9.0, 8.0, 1.0, 0.5, 0.0])
ONE, ALL = np.zeros(6, int), np.ones(6, bool)


def test_each_rule_takes_what_it_says():
    assert ranking.choose("global", LOGITS, 2, TASKS, ONE, 0, ALL).tolist() == [0, 1]
    assert ranking.choose("quota", LOGITS, 2, TASKS, ONE, 0, ALL).tolist() == [0, 3]
    assert set(ranking.choose("calibrated", LOGITS, 2, TASKS, ONE, 0, ALL).tolist()) == {0, 3}
    # The task's spread counts: 9 is 2.0 standard deviations above its mean, 100 is 1.0 above its own.
    spread = np.array([9.0, 0.0, 0.0, 0.0, 0.0, 100.0, 100.0, 0.0, 0.0])
    tasks = np.array(["cold"] * 5 + ["hot"] * 4)
    assert ranking.choose("calibrated", spread, 1, tasks, np.zeros(9, int), 0, np.ones(9, bool)).tolist() == [0]


def test_two_proxies_scales_are_not_compared():
    """One proxy's logits are 100 higher: every rule must take the best of each half, not one half."""
    scores, folds = np.array([0.0, 1.0, 2.0, 100.0, 101.0, 102.0]), np.array([0, 0, 0, 1, 1, 1])
    for rule in ("global", "quota", "calibrated"):
        chosen = ranking.choose(rule, scores, 2, np.array(["a"] * 6), folds, 0, ALL)
        assert set(chosen.tolist()) == {2, 5}, rule


@pytest.mark.parametrize("rule", ["global", "quota", "calibrated"])
@pytest.mark.parametrize("folds", [np.zeros(90, int), np.arange(90) % 2])
def test_every_rule_takes_exactly_n_eligible_rows_under_ties(rule, folds):
    tasks, mask = np.repeat(["a", "b", "c"], [50, 30, 10]), np.arange(90) % 3 > 0
    for n in (0, 1, 7, 59, 60):
        chosen = ranking.choose(rule, np.zeros(90), n, tasks, folds, 1, mask)
        assert len(set(chosen.tolist())) == n
        assert mask[chosen].all()
    with pytest.raises(ValueError, match="61 rows asked for, but 60 are eligible"):
        ranking.choose(rule, np.zeros(90), 61, tasks, folds, 1, mask)


@pytest.mark.parametrize("rule", ["global", "quota", "calibrated"])
def test_no_rule_ranks_a_nan(rule):
    scores = LOGITS.copy()
    scores[4] = np.nan
    with pytest.raises(ValueError, match="is NaN"):
        ranking.choose(rule, scores, 5, TASKS, ONE, 0, ALL)
    assert ranking.choose(rule, scores, 5, TASKS, ONE, 0, np.arange(6) != 4).size == 5
