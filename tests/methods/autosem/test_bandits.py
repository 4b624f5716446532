import json
import math

import numpy as np
import pytest

from auxlearn.errors import InputError
from auxlearn.methods.autosem import bandits
from auxlearn.methods.autosem.bandits import Bandit

# --- the bandit ----------------------------------------------------------------------------------------------------


def test_updates_by_hand_with_decay():
    """g = 0.5, prior (1, 1): halve the way to 1, then add. The arm not played only decays."""
    bandit = Bandit(2, 0.5, 0)
    bandit.update(0, 1)  # (2, 1), (1, 1)
    bandit.update(0, 1)  # 1.5 + 1
    bandit.update(1, 0)  # 0: 1 + 1.5 / 2; 1: beta 1 + 1
    alpha, beta = bandit.posterior
    assert alpha.tolist() == [1.75, 1.0]
    assert beta.tolist() == [1.0, 2.0]
    assert bandit.utilities.tolist() == [1.75 / 2.75, 1 / 3]
    assert [row["alpha"] for row in bandit.history] == [[2.0, 1.0], [2.5, 1.0], [1.75, 1.0]]


def test_decay_comes_before_the_credit_and_goes_to_the_prior():
    bandit = Bandit(1, 0.25, 0, prior=(2.0, 4.0))
    bandit.update(0, 1)
    assert [x.tolist() for x in bandit.posterior] == [[3.0], [4.0]]  # decayed after the credit, alpha would be 2.75


def test_without_decay_the_posterior_counts():
    bandit = Bandit(2, 0.0, 0)
    for value in (1, 0, 1, 1, 0.25):
        bandit.update(1, value)
    assert [x.tolist() for x in bandit.posterior] == [[1.0, 4.25], [1.0, 2.75]]


def test_an_arm_that_always_pays_saturates():
    bandit = Bandit(2, 0.3, 0)
    for _ in range(100):
        bandit.update(0, 1)
    assert bandit.posterior[0][0] == pytest.approx(1 + 1 / 0.3)
    assert bandit.utilities[0] == pytest.approx(0.8125)


def test_the_best_arm_is_found():
    chances = np.tile([0.3, 0.5, 0.8], (200, 1))
    best = 0
    for seed in range(10):
        bandit = Bandit(3, 0.0, seed)
        arms = bandits.simulate(bandit, chances, seed)
        best += bandit.utilities.argmax() == 2 and np.bincount(arms, minlength=3).argmax() == 2
    assert best >= 9


def test_decay_forgets_a_change():
    chances = np.repeat([[0.9, 0.1], [0.1, 0.9]], 150, axis=0)
    late = {}
    for decay in (0.0, 0.1):
        late[decay] = [bandits.simulate(Bandit(2, decay, seed), chances, seed)[150:190].mean() for seed in range(10)]
    assert min(late[0.1]) > max(late[0.0])
    assert np.mean(late[0.1]) > 0.6


def test_equal_rewards_leave_the_choice_uniform():
    counts = np.zeros(4)
    for seed in range(20):
        bandit = Bandit(4, 0.2, seed)
        for _ in range(100):
            arm = bandit.choose()
            bandit.update(arm, 0.5)
            counts[arm] += 1
        assert bandit.utilities == pytest.approx(0.5)
    assert (abs(counts - 500) < 75).all()


def test_ties_are_broken_at_random():
    """A prior so small that nearly all draws are exactly 0: the first arm must not win them."""
    bandit = Bandit(4, 0.0, 0, prior=(1e-4, 1.0))
    counts = np.bincount([bandit.choose() for _ in range(400)], minlength=4)
    assert (abs(counts - 100) < 40).all()


def test_a_seed_decides_the_choices():
    choices = [[bandit.choose() for _ in range(50)] for bandit in (Bandit(5, 0, 1), Bandit(5, 0, 1), Bandit(5, 0, 2))]
    assert choices[0] == choices[1] != choices[2]


def test_a_state_resumes_bit_for_bit():
    chances = np.tile([0.4, 0.6, 0.5], (30, 1))
    bandit = Bandit(3, 0.1, 7)
    bandits.simulate(bandit, chances, 1)
    other = Bandit.from_state(json.loads(json.dumps(bandit.state())))
    assert bandits.simulate(other, chances, 2).tolist() == bandits.simulate(bandit, chances, 2).tolist()
    assert other.state() == bandit.state()
    assert len(other.history) == 60


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"n_arms": 0}, "n_arms: 0"),
        ({"n_arms": -1}, "n_arms: -1"),
        ({"n_arms": 2.5}, "whole number"),
        ({"n_arms": 2, "decay": 1.0}, "decay: 1.0"),
        ({"n_arms": 2, "decay": -0.1}, "decay: -0.1"),
        ({"n_arms": 2, "decay": math.nan}, "decay: nan"),
        ({"n_arms": 2, "prior": (0, 1)}, "prior"),
    ],
)
def test_bad_bandits(settings, words):
    with pytest.raises(InputError, match=words):
        Bandit(**settings)


@pytest.mark.parametrize(
    ("arm", "reward", "words"),
    [
        (2, 1, "arm: 2"),
        (-1, 1, "arm: -1"),
        ("rte", 1, "arm: 'rte'"),
        (0, math.nan, "nan"),
        (0, 1.5, "1.5"),
        (0, -1, "-1"),
    ],
)
def test_bad_updates_change_nothing(arm, reward, words):
    bandit = Bandit(2, 0.5, 0)
    before = bandit.state()
    with pytest.raises(InputError, match=words):
        bandit.update(arm, reward)
    assert bandit.state() == before


def test_bad_states():
    state = Bandit(2, 0.1, 0).state()
    with pytest.raises(InputError, match="alpha or beta"):
        Bandit.from_state(state | {"alpha": [1.0]})
    with pytest.raises(InputError, match="rng"):
        Bandit.from_state({k: v for k, v in state.items() if k != "rng"})


# --- rewards -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("score", "earlier", "paper", "corrected"),
    [
        (0.6, [0.5], 1, 1),
        (0.4, [0.5], 0, 0),
        (0.5, [0.5], 1, 0.5),  # the authors pay a tie in full
        (0.3, [], 1, 0.5),  # and the first arm, against a score of 0
        (-0.1, [], 0, 0.5),
        (0.6, [0.7, 0.5], 1, 1),
    ],
)
def test_rewards(score, earlier, paper, corrected):
    assert bandits.reward(score, earlier, "paper") == paper
    assert bandits.reward(score, earlier) == corrected


def test_rewards_against_the_best():
    assert bandits.reward(0.6, [0.7, 0.5], against="best") == 0
    assert bandits.reward(0.8, [0.7, 0.5], against="best") == 1
    assert bandits.reward(0.7, [0.7, 0.5], against="best") == 0.5


def test_against_the_best_by_both_rules_and_in_rounds():
    assert bandits.reward(0.6, [0.7, 0.5], "paper", "best") == 0
    assert bandits.reward(0.7, [0.7, 0.5], "paper", "best") == 1
    for rule, paid in (("corrected", [0.5, 1, 0, 0]), ("paper", [1, 1, 0, 0])):
        log, scores = [], [2.5, 2.0, 3.0, 1.0]
        bandits.rounds(Bandit(2, 0, 0), lambda arm, left=scores: left.pop(), 4, log, rule=rule, against="best")
        assert [row["reward"] for row in log] == paid


def test_bad_rewards():
    with pytest.raises(InputError, match="finite"):
        bandits.reward(math.nan, [0.5])
    with pytest.raises(InputError, match="finite"):
        bandits.reward(0.5, [math.inf])
    with pytest.raises(InputError, match="rule"):
        bandits.reward(0.5, [], "fixed")
    with pytest.raises(InputError, match="against"):
        bandits.reward(0.5, [0.5], against="mean")


# --- rounds --------------------------------------------------------------------------------------------------------


class Learner:
    """Arm 2 raises the score by 1, the others lower it by 1: a stand-in for a model."""

    def __init__(self, score=10.0):
        self.score, self.played = score, []

    def __call__(self, arm):
        self.played.append(arm)
        self.score += 1 if arm == 2 else -1
        return self.score


def test_rounds_log_and_reward():
    log, learner, saves = [], Learner(), []
    bandits.rounds(Bandit(3, 0.1, 0), learner, 60, log, start=10.0, saved=lambda: saves.append(len(log)))
    assert learner.played == [row["arm"] for row in log]
    assert learner.played[0] == 0  # the primary opens
    assert saves == list(range(1, 61))
    assert all(row["reward"] == (row["arm"] == 2) for row in log)
    assert [row["round"] for row in log] == list(range(60))
    assert learner.played.count(2) > 40
    assert json.loads(json.dumps(log)) == log


@pytest.mark.parametrize(
    ("rule", "start", "first_reward"), [("paper", 10.0, 1), ("corrected", 10.0, 0), ("corrected", None, 0.5)]
)
def test_what_the_first_round_is_held_against(rule, start, first_reward):
    """9 after a start of 10 is a loss; the authors' code compares with 0."""
    log = []
    bandits.rounds(Bandit(3, 0.1, 0), Learner(), 1, log, rule=rule, start=start)
    assert log[0]["reward"] == first_reward


def test_first_arm_is_free_if_asked():
    firsts = set()
    for seed in range(20):
        log = []
        bandits.rounds(Bandit(3, 0.1, seed), Learner(), 1, log, first=None)
        firsts.add(log[0]["arm"])
    assert firsts == {0, 1, 2}


@pytest.mark.parametrize("rule", ["corrected", "paper"])
@pytest.mark.parametrize("cut", [0, 1, 17])
def test_resumed_rounds_equal_uninterrupted(rule, cut):
    options = {"rule": rule, "start": 10.0}
    whole, bandit = [], Bandit(3, 0.2, 4)
    bandits.rounds(bandit, Learner(), 40, whole, **options)
    part = []
    bandits.rounds(Bandit(3, 0.2, 4), Learner(), cut, part, **options)
    part = json.loads(json.dumps(part))
    again, rest = Bandit(3, 0.2, 4), Learner(part[-1]["score"] if part else 10.0)
    bandits.rounds(again, rest, 40, part, **options)
    assert part == whole
    assert len(rest.played) == 40 - cut  # nothing trained twice
    assert again.state() == bandit.state()


def test_a_bandit_at_hand_goes_on():
    whole, log = [], []
    bandits.rounds(Bandit(3, 0.2, 4), Learner(), 40, whole)
    bandit, learner = Bandit(3, 0.2, 4), Learner()
    for n in (10, 25, 40):
        bandits.rounds(bandit, learner, n, log)
    assert log == whole


def test_a_foreign_log_is_refused():
    log = []
    bandits.rounds(Bandit(3, 0.2, 4), Learner(), 30, log, start=10.0)
    for other, options in (
        (Bandit(3, 0.2, 5), {"start": 10.0}),  # another seed
        (Bandit(3, 0.2, 4), {"start": 10.0, "rule": "paper"}),  # pays the first round
        (Bandit(3, 0.2, 4), {"start": 5.0}),
    ):
        with pytest.raises(InputError, match="not what this bandit plays"):
            bandits.rounds(other, Learner(), 31, list(log), **options)
    played = Bandit(3, 0.2, 4)
    played.update(0, 1)
    with pytest.raises(InputError, match="fresh"):
        bandits.rounds(played, Learner(), 31, list(log))


def test_a_score_that_is_not_finite_stops_the_rounds():
    log = []
    with pytest.raises(InputError, match="round 0: arm 0"):
        bandits.rounds(Bandit(2, 0, 0), lambda arm: math.nan, 5, log)
    assert log == []
    with pytest.raises(InputError, match="first: 2"):
        bandits.rounds(Bandit(2, 0, 0), Learner(), 5, log, first=2)


# --- selection -----------------------------------------------------------------------------------------------------


def played(*updates, decay=0.0, n_arms=4):
    bandit = Bandit(n_arms, decay, 0)
    for arm, value in updates:
        bandit.update(arm, value)
    return bandit


def test_selection_drops_the_primary_and_what_does_not_help():
    bandit = played((0, 1), (0, 1), (1, 0), (2, 1), (3, 1), (3, 1))
    assert bandits.select(bandit, burn_in=0).tolist() == [2, 3]  # on average over the rounds 2 was ahead
    assert bandits.select(bandit, rule="paper").tolist() == [3, 2, 1]  # final utilities; a useless task is kept
    assert bandits.select(bandit, most=1, rule="paper").tolist() == [3]
    assert bandits.select(bandit, primary=3).tolist() == [0, 2]


def test_selection_may_be_empty():
    bandit = played((1, 0), (2, 0), (3, 0))
    assert bandits.select(bandit).tolist() == []
    assert len(bandits.select(bandit, rule="paper")) == 3
    assert bandits.select(Bandit(3, 0, 0)).tolist() == []


def test_select_s_threshold_and_ties():
    bandit = played(*((arm, 1) for arm in (1, 2, 3, 1, 2, 3)))
    assert bandits.select(bandit, threshold=0.9).tolist() == []
    for rule in ("corrected", "paper"):
        even = played((0, 1))  # all that may be chosen tie
        found = {tuple(bandits.select(even, most=1, rule=rule, threshold=0.4, seed=s)) for s in range(20)}
        assert len(found) == 3


def test_mean_utilities_by_hand():
    bandit = played((1, 1), (1, 0), n_arms=2)  # (2, 1) then (2, 2)
    assert bandits.mean_utilities(bandit, 0) == pytest.approx([0.5, (2 / 3 + 1 / 2) / 2])
    assert bandits.mean_utilities(bandit, 0.5) == pytest.approx([0.5, 0.5])


def test_averages_pick_better_than_snapshots():
    """With the authors' decay of 0.3, the last rounds decide a snapshot."""
    chances, right = np.tile([0.5, 0.7, 0.3, 0.3], (200, 1)), {"paper": 0, "corrected": 0}
    for seed in range(30):
        bandit = Bandit(4, 0.3, seed)
        bandits.simulate(bandit, chances, seed)
        for rule in right:
            right[rule] += bandits.select(bandit, most=1, rule=rule).tolist() == [1]
    assert right["corrected"] >= 29
    assert right["corrected"] > right["paper"] + 3


def test_bad_selections():
    bandit = Bandit(3, 0, 0)
    for options, words in (
        ({"primary": 3}, "primary"), ({"most": -1}, "most"), ({"rule": "mean"}, "rule"), ({"burn_in": 1.0}, "burn_in"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            bandits.select(bandit, **options)
    with pytest.raises(InputError, match="shape"):
        bandits.simulate(bandit, np.ones((5, 2)))
