import itertools

import numpy as np
import pytest
from scipy import stats as reference

from auxlearn.evaluation import stats, verdicts


@pytest.mark.parametrize(("pairs", "smallest"), [(3, 0.25), (5, 0.0625), (8, 2 / 256)])
def test_smallest_p_of_a_sign_flip_test(pairs, smallest):
    """Why few seeds cannot decide: all differences agree, and p is still 2 / 2^n."""
    a = np.arange(pairs) + 10.0
    assert stats.paired_permutation_test(a, a - 1 - np.arange(pairs)) == pytest.approx(smallest)


def test_sign_flip_test_by_hand():
    """Differences 1, 2, -1: of 8 flips, |sum| >= 2 for 1+2-1, 1+2+1, -1+2+1 (=2) and their mirrors."""
    assert stats.paired_permutation_test([1, 2, 0], [0, 0, 1]) == pytest.approx(6 / 8)
    assert stats.paired_permutation_test([1, 2, 3], [1, 2, 3]) == 1.0
    with pytest.raises(ValueError, match="finite"):
        stats.paired_permutation_test([1, np.nan], [0, 0])


def test_flips_that_tie_count_though_scores_are_rounded():
    """Right answers of 1,767 rows by 8 seeds; several flips tie with what was seen. By whole numbers p is 16 / 256."""
    base = np.array([1033, 1093, 1045, 1011, 908, 1092, 986, 943])
    more = np.array([3, 2, 3, -1, 1, -1, 5, 5])
    assert stats.paired_permutation_test((base + more) / 1767, base / 1767) == 16 / 256
    rng = np.random.default_rng(0)
    flips = np.array(list(itertools.product([1, -1], repeat=8)))
    for n in (200, 277, 1767):
        for _ in range(50):
            base, more = rng.integers(n // 2, n // 4 * 3, 8), rng.integers(-6, 7, 8)
            share = np.mean(np.abs(flips @ more) >= abs(more.sum()))
            assert stats.paired_permutation_test((base + more) / n, base / n) == share


def test_of_many_pairs_flips_are_drawn():
    rng = np.random.default_rng(3)
    a, b = rng.normal(0.4, 1, 20), rng.normal(0, 1, 20)
    p = stats.paired_permutation_test(a, b)
    assert p == stats.paired_permutation_test(a, b)
    assert p != stats.paired_permutation_test(a, b, seed=1)
    assert p == pytest.approx(reference.ttest_rel(a, b).pvalue, abs=0.03)
    assert stats.paired_permutation_test(a + 100, b) == 1 / 10_000


def test_sign_flip_test_holds_its_level():
    rng = np.random.default_rng(0)
    ps = [stats.paired_permutation_test(rng.normal(size=8), rng.normal(size=8), i) for i in range(300)]
    assert np.mean(np.array(ps) <= 0.05) < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 300)


def test_bootstrap_interval_and_its_undercoverage():
    """A "95 %" percentile interval of 3 values covers about 74 %: the reason that t intervals are shown."""
    rng = np.random.default_rng(1)
    covered, t_covered = [], []
    for i in range(400):
        x = rng.normal(size=3)
        low, high = stats.bootstrap_interval(x, seed=i)
        covered.append(low <= 0 <= high)
        low, high = stats.t_interval(x)
        t_covered.append(low <= 0 <= high)
    assert 0.66 < np.mean(covered) < 0.82
    assert np.mean(t_covered) > 0.92
    assert stats.bootstrap_interval([2.0, 2.0]) == (2.0, 2.0)


def test_t_interval_is_scipys():
    x = [1.0, 2.0, 4.0]
    want = reference.t.interval(0.9, 2, np.mean(x), reference.sem(x))
    assert stats.t_interval(x, 0.9) == pytest.approx(want)


def test_holm_by_hand():
    assert stats.holm([0.01, 0.04, 0.03]).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert len(stats.holm([])) == 0
    assert stats.holm([0.01, 0.04, 0.03], 5).tolist() == pytest.approx([0.05, 0.12, 0.12])
    assert stats.holm([0.01, 0.04, 0.03], 2).tolist() == stats.holm([0.01, 0.04, 0.03]).tolist()


@pytest.mark.parametrize("seeds", [2, 3, 5, 10])
@pytest.mark.parametrize(("between", "rows"), [(0.05, 0.2), (0.02, 1.0), (0.0, 1.0), (0.1, 0.0)])
def test_the_interval_over_seeds_and_rows_covers_what_it_says(seeds, between, rows):
    """Differences of 1 + seed's part + row's part + noise, over 200 rows."""
    rng, covered, wider = np.random.default_rng(3), [], []
    for _ in range(400):
        d = 1 + rng.normal(0, between, (seeds, 1)) + rng.normal(0, rows, (1, 200)) + rng.normal(0, 0.5, (seeds, 200))
        low, high = stats.seeds_and_rows_interval(d.mean(1), d.mean(0).std(ddof=1) / np.sqrt(200))
        t_low, t_high = stats.t_interval(d.mean(1))
        covered.append(low <= 1 <= high)
        wider.append(low < t_low and high > t_high)
    assert np.mean(covered) > 0.93
    assert all(wider)


def test_verdicts():
    base = np.linspace(0.5, 0.6, 8)
    few = stats.compare(base[:5] + 0.1, base[:5])
    assert few.p is None
    assert verdicts.verdict(few, None).startswith("undecided")
    seven = stats.compare(base[:7] + 0.1, base[:7])
    assert "no test" in verdicts.verdict(seven, seven.p)
    enough = stats.compare(base + 0.1, base)
    assert verdicts.verdict(enough, enough.p) == "better"
    assert verdicts.verdict(stats.compare(base - 0.1, base), enough.p) == "worse"
    assert verdicts.verdict(enough, 0.2) == "no difference shown"
    assert verdicts.verdict(enough, 6 * enough.p, comparisons=6) == "better"
    assert verdicts.verdict(enough, 0.2, comparisons=6) == "no difference shown"
    assert verdicts.verdict(enough, 7 * enough.p, comparisons=7) == "undecided (8 seeds for 7 tests)"
    assert verdicts.verdict(enough, 7 * enough.p, 0.9, comparisons=7) == "better"
    more = stats.compare(np.linspace(0.5, 0.6, 10) + 0.1, np.linspace(0.5, 0.6, 10))
    assert verdicts.verdict(more, 0.2, comparisons=20) == "no difference shown"


def test_auc_interval():
    scores, truth = np.arange(100.0), np.arange(100) >= 50
    assert stats.auc_interval(scores, truth)[0] == 1.0
    auc, low, high = stats.auc_interval(np.random.default_rng(0).normal(size=400), np.arange(400) % 2 == 0)
    assert low < 0.5 < high
    assert low < auc < high


def compared(low, high, seeds=10):
    return stats.Comparison((low + high) / 2, low, high, seeds, None)


def test_an_arm_reaches_all_data_only_where_that_gains_more_than_the_margin():
    gains, none = compared(0.011, 0.05), compared(0.01, 0.09)
    assert verdicts.reaches(compared(-0.009, 0.03), gains, 0.01) == "reaches"
    assert verdicts.reaches(compared(0.01, 0.03), gains, 0.01) == "reaches"  # more than it is as good
    assert verdicts.reaches(compared(-0.01, 0.03), gains, 0.01) == "not shown"
    assert verdicts.reaches(compared(-0.03, -0.01), gains, 0.01) == "falls short"
    assert verdicts.reaches(compared(-0.009, 0.03), none, 0.01) == "not asked"
    assert verdicts.reaches(compared(-0.009, 0.03, 5), gains, 0.01) == "undecided (5 seeds)"
    assert verdicts.reaches(compared(np.nan, np.nan, 1), compared(np.nan, np.nan, 1), 0.01) == "undecided (1 seed)"
    with pytest.raises(ValueError, match="margin: 0 is not above 0"):
        verdicts.reaches(gains, gains, 0)


def test_the_rule_of_one_standard_deviation_is_the_baseline_s():
    baseline = [0.4, 0.5, 0.6]  # deviation 0.1
    assert verdicts.by_one_deviation([0.5, 0.6, 0.71], baseline) == "improved"
    assert verdicts.by_one_deviation([0.3, 0.4, 0.49], baseline) == "dropped"
    assert verdicts.by_one_deviation([0.5, 0.5, 0.5], baseline) == "neutral"
    assert verdicts.by_one_deviation([0.1, 0.9, 0.75], baseline) == "neutral"  # its own spread does not count
    with pytest.raises(ValueError, match="two or more pairs"):
        verdicts.by_one_deviation([0.4], [0.5])


def test_a_verdict_is_told_from_what_stands_before_it():
    assert verdicts.parse_verdict("better") == ([], "better")
    assert verdicts.parse_verdict("no test (7 seeds; needs 8)") == ([], "no test (7 seeds; needs 8)")
    assert verdicts.parse_verdict("chose nothing (8 of 8 seeds)") == (["chose nothing (8 of 8 seeds)"], "")
    both = "chose nothing (2 of 8 seeds); gradts_thres chose nothing (1 of 8 seeds); no difference shown"
    assert verdicts.parse_verdict(both) == (
        ["chose nothing (2 of 8 seeds)", "gradts_thres chose nothing (1 of 8 seeds)"], "no difference shown",
    )  # fmt: skip
