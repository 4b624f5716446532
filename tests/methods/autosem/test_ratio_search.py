import functools
import json
import math

import numpy as np
import pytest

from auxlearn.errors import InputError
from auxlearn.methods.autosem import ratio_search
from auxlearn.training import mixing

TARGET = np.array([0.6, 0.3, 0.1])


def quadratic(r):
    """1 at shares of 6 : 3 : 1, less elsewhere."""
    return 1 - float(((np.array(r) / sum(r) - TARGET) ** 2).sum())


@functools.cache
def grown(seed, scale, **options):
    """The one search of these settings that all tests share; `searched` lets it grow and gives parts of its log."""
    return ratio_search.Search(3, seed, **options)


def searched(trials, seed=0, scale=1.0, **options):
    """A search after so many trials, the test's own: its log is the start of the longest that any test has needed."""
    whole = grown(seed, scale, **options)
    while len(whole.log) < trials:
        r = whole.suggest()
        whole.observe(r, scale * quadratic(r))
    return ratio_search.Search(3, seed, **options, log=json.loads(json.dumps(whole.log[:trials])))


# --- the search ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rule", "trials", "among"),
    [
        ("corrected", 12, 3),  # finds 0.05 of what is drawn, of the half that is asked for
        pytest.param("corrected", 14, 4, marks=pytest.mark.slow),
        pytest.param("paper", 18, 4, marks=pytest.mark.slow),
        ("paper", 18, 2),
    ],
)
def test_finds_a_known_optimum_better_than_random(rule, trials, among):
    found, drawn = [], []
    for seed in range(among):
        found.append(1 - quadratic(searched(trials, seed, rule=rule).best()))
        rows = np.random.default_rng(seed).integers(0, 21, (4 * trials, 3))
        rows = rows[rows[:, 0] > 0][:trials]
        drawn.append(1 - max(map(quadratic, rows)))
    assert np.mean(found) < np.mean(drawn) / 2
    assert sum(f < d for f, d in zip(found, drawn, strict=True)) >= min(among, 3)


@pytest.mark.parametrize("rule", ["corrected", "paper"])
def test_resumed_equals_uninterrupted(rule):
    """Begun again from its log, as JSON, before and after each suggestion: the same trials in the end."""

    def again(search):
        return ratio_search.Search(3, rule=rule, n_initial=5, log=json.loads(json.dumps(search.log)))

    whole, resumed = ratio_search.Search(3, rule=rule, n_initial=5), ratio_search.Search(3, rule=rule, n_initial=5)
    for _ in range(9):
        r = whole.suggest()
        whole.observe(r, quadratic(r))
        resumed = again(resumed)
        assert resumed.suggest() == r
        assert resumed.suggest() == r
        resumed = again(resumed)  # even while a trial is trained
        resumed.observe(r, quadratic(r))
    assert resumed.log == whole.log
    assert {row["by"] for row in whole.log[5:]} <= set(ratio_search.PORTFOLIO)


def test_corrected_starts_alone_and_even_and_always_trains_the_primary():
    search = searched(10)
    tried = [row["ratios"] for row in search.log]
    assert tried[:2] == [[1, 0, 0], [1, 1, 1]]
    assert [row["by"] for row in search.log[:6]].count("design") == 5
    assert all(r[0] > 0 and math.gcd(*r) == 1 for r in tried)
    assert len({tuple(r) for r in tried}) == 10


def test_paper_draws_ten_and_admits_what_the_code_admits():
    search = ratio_search.Search(3, 0, highest=2, rule="paper")
    for _ in range(10):
        search.observe(search.suggest(), 0.5)
    assert [row["by"] for row in search.log] == ["design"] * 10
    tried = [row["ratios"] for row in search.log]
    assert all(sum(x > 0 for x in r) >= 2 for r in tried)
    assert any(r[0] == 0 for r in tried)  # a mixture without the primary
    assert any(math.gcd(*r) == 2 for r in tried)  # (2, 2, 0) as something else than (1, 1, 0)


def test_only_corrected_is_invariant_to_the_unit_of_the_score():
    """Accuracies in 0..1 or in 0..64: GP-Hedge should learn as fast from either; by raw gains it does not."""
    small, large = searched(9, n_initial=5), searched(9, n_initial=5, scale=64.0)
    assert [row["ratios"] for row in small.log] == [row["ratios"] for row in large.log]
    assert [row["gains"] for row in small.log] == [row["gains"] for row in large.log]
    small, large = searched(9, n_initial=5, rule="paper"), searched(9, n_initial=5, rule="paper", scale=64.0)
    assert 0 < 5 * np.ptp(small.log[-1]["gains"]) < np.ptp(large.log[-1]["gains"])


def test_gains_add_up_what_is_expected_of_the_proposals():
    for rule in ("corrected", "paper"):
        search = searched(7, n_initial=5, rule=rule)
        assert search.log[5]["gains"] == [0, 0, 0]
        scores = np.array([row["score"] for row in search.log[:6]])
        before = ratio_search.Search(3, n_initial=5, rule=rule, log=search.log[:6])._fit()
        expected = before.mean(np.array(search.log[5]["proposals"]))
        assert search.log[6]["gains"] == pytest.approx(expected * (scores.std() if rule == "paper" else 1))


def test_acquisitions_by_hand():
    """EI, PI and UCB from the process's own mean and deviation, against their integrals."""
    process = searched(6)._fit()
    rows = np.array([[1, 2, 3], [6, 3, 1], [1, 0, 20]])
    ei, pi, ucb = process.acquisitions(rows)
    mean, std = process.mean(rows), (ucb - process.mean(rows)) / 1.96
    draws = mean[:, None] + std[:, None] * np.random.default_rng(0).normal(size=(3, 400_000))
    over = draws - process.incumbent - 0.01
    assert ei == pytest.approx(over.clip(0).mean(1), abs=5e-3)
    assert pi == pytest.approx((over > 0).mean(1), abs=5e-3)


@pytest.mark.parametrize("rule", ["corrected", "paper"])
def test_improvements_are_in_the_rule_s_unit(rule):
    process = searched(6, scale=0.1, rule=rule, n_initial=5)._fit()
    xi = 0.01 / process.spread if rule == "paper" else 0.01
    assert rule == "corrected" or xi > 0.1
    some = np.array([[1, 2, 3], [6, 3, 1], [1, 1, 20]])
    ei, pi, ucb = process.acquisitions(some)
    mean, std = process.mean(some), (ucb - process.mean(some)) / 1.96
    over = mean[:, None] + std[:, None] * np.random.default_rng(0).normal(size=(3, 400_000)) - process.incumbent - xi
    assert ei == pytest.approx(over.clip(0).mean(1), abs=5e-3)
    assert pi == pytest.approx((over > 0).mean(1), abs=5e-3)


@pytest.mark.parametrize(("rule", "shape"), [("corrected", ()), ("paper", (3,))])
def test_length_scales(rule, shape):
    assert np.shape(searched(6, rule=rule, n_initial=5)._fit().model.kernel_.k1.k2.length_scale) == shape


def test_uncertainty_is_of_the_mean_and_not_of_one_more_noisy_score():
    search = ratio_search.Search(2)
    for i in range(20):
        search.observe([1, 1 + 9 * (i % 2)], [0.4, 0.6][i // 2 % 2])
    rows = np.array([[1, 1]])
    process = search._fit()
    std = (process.acquisitions(rows)[2] - process.mean(rows)) / 1.96
    assert std[0] < 0.5  # ten scores of standard deviation 1: about 0.3, where a single further score has above 1


def test_only_corrected_takes_a_mixture_for_its_multiples():
    same = {}
    for rule in ("corrected", "paper"):
        one, two = searched(6, rule=rule, n_initial=5)._fit().mean(np.array([[3, 2, 1], [9, 6, 3]]))
        same[rule] = one == pytest.approx(two, abs=1e-6)
    assert same == {"corrected": True, "paper": False}


def test_the_portfolio_takes_turns_and_its_choice_is_tried():
    rows = [row for seed in range(3) for row in searched(8, seed, n_initial=4).log[4:]]
    assert {row["by"] for row in rows} == set(ratio_search.PORTFOLIO)
    assert all(row["ratios"] == row["proposals"][ratio_search.PORTFOLIO.index(row["by"])] for row in rows)


def test_corrected_proposes_no_mixture_twice():
    """Whatever multiple of it was tried: under an equal budget it is the same training."""
    search = ratio_search.Search(2, highest=4)
    search.observe([2, 2], 0.9)
    search.observe([4, 2], 0.8)
    pool = {tuple(r) for r in search._candidates(np.random.default_rng(0))}
    assert pool == {(1, 0), (1, 2), (1, 3), (1, 4), (2, 3), (3, 1), (3, 2), (3, 4), (4, 1), (4, 3)}


def test_best_is_not_the_luckiest():
    """One mixture tried six times averages 0.55, once luckily 0.8; its neighbours score 0.7 each time."""
    trials = [([9, 1], s) for s in (0.5, 0.5, 0.8, 0.5, 0.5, 0.5)] + [([1, 1], 0.7)] * 4 + [([11, 9], 0.7)] * 2
    best = {}
    for rule in ("corrected", "paper"):
        search = ratio_search.Search(2, rule=rule)
        for r, score in trials:
            search.observe(r, score)
        best[rule] = search.best()
        process = search._fit()  # EI and PI improve upon the same
        assert (process.incumbent == process.y.max()) == (rule == "paper")
    assert best["paper"] == [9, 1]
    assert best["corrected"] in ([1, 1], [11, 9])


def test_equal_scores_and_a_small_grid_still_give_suggestions():
    search = ratio_search.Search(2, highest=2)  # (1, 0), (1, 1), (1, 2), (2, 1) and no more
    seen = []
    for _ in range(7):
        seen.append(tuple(search.suggest()))
        search.observe(seen[-1], 0.5)
    assert set(seen) == {(1, 0), (1, 1), (1, 2), (2, 1)} == set(seen[:4])


def test_single_task_and_the_even_mix_are_tried_whatever_else_was():
    search = ratio_search.Search(3)
    search.observe([3, 7, 1], 0.5)
    search.observe([2, 2, 2], 0.4)  # the even mix
    assert search.suggest() == [1, 0, 0]
    search.observe([1, 0, 0], 0.3)
    assert search.suggest() not in ([1, 0, 0], [1, 1, 1])


def test_own_trials_are_logged_as_given():
    search = ratio_search.Search(2)
    search.observe([3, 7], 0.4)
    assert (search.log[0]["by"], search.log[0]["ratios"]) == ("given", [3, 7])
    assert search.best() == [3, 7]


def test_bad_searches():
    for options, words in (
        ({"n_tasks": 1}, "n_tasks 1"), ({"n_tasks": 2, "highest": 0}, "highest 0"),
        ({"n_tasks": 2, "n_initial": 1}, "n_initial"), ({"n_tasks": 2, "rule": "new"}, "rule"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            ratio_search.Search(**options)
    with pytest.raises(InputError, match="another search"):
        ratio_search.Search(3, seed=1, log=searched(2).log)
    with pytest.raises(InputError, match="no best"):
        ratio_search.Search(2).best()


@pytest.mark.parametrize(
    ("rule", "given", "score", "words"),
    [
        ("corrected", [0, 0], 0.5, "primary"),
        ("corrected", [0, 3], 0.5, "primary"),
        ("paper", [3, 0], 0.5, "two or more"),
        ("paper", [0, 0], 0.5, "two or more"),
        ("corrected", [1, 21], 0.5, "0 to 20"),
        ("corrected", [1, -1], 0.5, "0 to 20"),
        ("corrected", [1, 1, 1], 0.5, "2 numbers"),
        ("corrected", [1, 0.5], 0.5, "whole"),
        ("corrected", [1, 1], math.nan, "finite"),
    ],
)
def test_bad_trials_are_not_logged(rule, given, score, words):
    search = ratio_search.Search(2, rule=rule)
    with pytest.raises(InputError, match=words):
        search.observe(given, score)
    assert search.log == []


# --- schedules -----------------------------------------------------------------------------------------------------


def test_a_schedule_by_hand():
    assert np.bincount(mixing.schedule([4, 2, 1, 0], [9] * 4, 7)).tolist() == [4, 2, 1]
    tasks = mixing.schedule([1, 1], [9, 9], 6, seed=0)
    assert (tasks[:-1] != tasks[1:]).all()  # one after the other, never twice the same


@pytest.mark.parametrize("seed", range(20))
def test_counts_length_and_interleaving_are_exact(seed):
    """Whatever the ratios: `steps` steps, shares to the step, and at no time a whole step from one's share."""
    rng = np.random.default_rng(seed)
    k, steps = int(rng.integers(1, 7)), int(rng.integers(1, 300))
    r = rng.integers(0, 21, k) + np.eye(k)[0]
    tasks = mixing.schedule(r, [5] * k, steps, seed)
    assert len(tasks) == steps
    count = np.bincount(tasks, minlength=k)
    assert (abs(count - steps * r / r.sum()) < 1).all()
    assert not count[r == 0].any()
    so_far = np.cumsum(tasks[:, None] == np.arange(k), axis=0)
    assert abs(so_far - np.arange(1, steps + 1)[:, None] * count / steps).max() < 1


def test_scale_of_ratios_is_nothing_and_ties_go_by_seed():
    a = mixing.schedule([1, 2, 3], [9] * 3, 120, 3)
    assert a.tolist() == mixing.schedule([0.5, 1, 1.5], [9] * 3, 120, 3).tolist()
    starts = {int(mixing.schedule([1, 1, 1], [9] * 3, 9, seed)[0]) for seed in range(20)}
    assert starts == {0, 1, 2}
    odd = {tuple(np.bincount(mixing.schedule([1, 1, 1], [9] * 3, 10, seed))) for seed in range(20)}
    assert odd == {(4, 3, 3), (3, 4, 3), (3, 3, 4)}


def test_cycle_is_autosems_task_selector():
    expected = [[0, 0, 1, 2, 2, 2, 2, 2][t % 8] for t in range(21)]
    assert mixing.schedule([2, 1, 5], [9] * 3, 21, style="cycle").tolist() == expected


def test_blocks_are_those_of_the_gradts_script():
    """int(3 / 4 * 6) = 4 batches after the primary's 6, and one for the ratio of zero; main first, auxiliaries last."""
    epoch = [0] * 6 + [1] * 4 + [2]
    assert mixing.schedule([4, 3, 0], [6, 2, 2], 10, style="blocks").tolist() == epoch
    assert mixing.schedule([4, 3, 0], [6, 2, 2], 35, style="blocks").tolist() == epoch * 3
    assert 2 not in mixing.schedule([4, 3, 0], [6, 2, 2], 35)


def test_only_blocks_let_ratios_decide_the_budget():
    for style, lengths in (("interleaved", {24}), ("cycle", {24}), ("blocks", {3 * 5, 3 * 12, 3 * 20})):
        found = {len(mixing.schedule(r, [4, 4], 24, style=style)) for r in ([8, 0], [1, 2], [1, 4])}
        assert found == lengths


def test_passes():
    assert mixing.passes(np.array([0, 0, 0, 2]), [2, 5, 4]).tolist() == [1.5, 0.0, 0.25]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (([0, 0], [3, 3], 5), "above 0"),
        (([1, -1], [3, 3], 5), "non-negative"),
        (([1, math.nan], [3, 3], 5), "finite"),
        (([1, 1], [3], 5), "shapes"),
        (([], [], 5), "shapes"),
        (([1, 1], [3, 3], 0), "steps 0"),
        (([1, 1], [3, 0], 5), "a batch wherever"),
        (([1, 0.5], [3, 3], 5, 0, "cycle"), "whole"),
        (([0, 1], [3, 3], 5, 0, "blocks"), "primary"),
        (([1, 1], [3, 3], 5, 0, "random"), "style"),
    ],
)
def test_bad_schedules(args, words):
    with pytest.raises(InputError, match=words):
        mixing.schedule(*args)
