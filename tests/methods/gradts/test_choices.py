"""The tasks and rows that GradTS takes: thresholds, trials and shares, by hand and against the authors' code."""

import numpy as np
import pytest

from auxlearn.methods.gradts import choices

TAUS = {"d": 0.1, "b": 0.7, "a": 0.9, "c": 0.6}


def test_thres_takes_the_threshold_itself_and_orders():
    assert choices.thres(TAUS, 0.6) == ("a", "b", "c")
    assert choices.thres(TAUS, 0.95) == ()
    assert choices.thres({"y": 0.5, "x": 0.5}, 0.5) == ("x", "y")
    with pytest.raises(ValueError, match="task 'q'"):
        choices.thres({"q": float("nan")}, 0)


def searched(scores, taus=TAUS, **given):
    """The trial over a table of scores by number of auxiliaries, and the sets it trained."""
    asked = []

    def score(tasks):
        asked.append(tasks)
        return scores[len(tasks)]

    return choices.trial(taus, score, **given), asked


def test_trial_stops_at_the_first_drop_and_keeps_the_best():
    made, asked = searched([0.5, 0.6, 0.7, 0.65, 0.9])
    assert asked == [(), ("a",), ("a", "b"), ("a", "b", "c")]
    assert (made.chosen, made.score) == (("a", "b"), 0.7)
    assert made.visited == [((), 0.5), (("a",), 0.6), (("a", "b"), 0.7), (("a", "b", "c"), 0.65)]


def test_trial_by_both_rules():
    # A primary that no auxiliary helps: only the corrected rule may leave it alone.
    scores = [0.9, 0.6, 0.5, 0.4, 0.3]
    assert searched(scores)[0].chosen == ()
    assert len(searched(scores)[1]) == 2
    made, asked = searched(scores, rule="code")
    assert (made.chosen, asked) == (("a",), [("a",), ("a", "b")])
    # The code compares this run's best epoch with the last epoch of the one before.
    pairs = [None, (0.8, 0.5), (0.6, 0.6), (0.55, 0.5), (0.9, 0.9)]
    made, asked = searched(pairs, rule="code")
    assert (made.chosen, len(asked)) == (("a",), 3)
    corrected = [0.0, *(best for best, _ in pairs[1:])]
    assert len(searched(corrected)[1]) == 3  # (), (a), (a, b): 0.6 is below 0.8
    # Ties: fewer tasks by default, more by the code.
    tie = [0.5, 0.5, 0.5, 0.5, 0.4]
    assert searched(tie)[0].chosen == ()
    assert searched(tie, rule="code")[0].chosen == ("a", "b", "c")


def test_a_tie_goes_on_by_both_rules():
    for rule in ("corrected", "code"):
        assert searched([0.5, 0.5, 0.5, 0.6, 0.1], rule=rule)[0].chosen == ("a", "b", "c")


def test_trial_patience_looks_past_a_drop():
    scores = [0.5, 0.4, 0.6, 0.55, 0.5]
    assert searched(scores)[0].chosen == ()
    made, asked = searched(scores, patience=2)
    assert (made.chosen, len(asked)) == (("a", "b"), 5)
    assert len(searched([0.5, 0.4, 0.45, 0.9, 0.9], patience=2)[1]) == 3  # both below the best, not each its last


def test_trial_asks_once_a_set():
    cache = {frozenset(): 0.5, frozenset({"b", "a"}): 0.7}
    made, asked = searched([None, 0.6, None, 0.1, None], cache=cache)
    assert asked == [("a",), ("a", "b", "c")]
    assert made.chosen == ("a", "b")
    assert cache[frozenset({"c", "b", "a"})] == 0.1
    assert searched([], cache=cache)[1] == []


def test_trial_without_candidates_and_bad_input():
    assert searched([0.5], taus={})[0].chosen == ()
    with pytest.raises(ValueError, match="no candidate"):
        searched([0.5], taus={}, rule="code")
    with pytest.raises(ValueError, match=r"score of \('a',\): nan"):
        searched([0.5, float("nan")])
    for given in ({"rule": "paper"}, {"patience": 0}, {"rule": "code", "patience": 2}):
        with pytest.raises(ValueError, match="choose corrected or code"):
            searched([0.5], **given)


def test_fg_threshold():
    taus = np.array([0.5, np.nan, 0.62, 0.61999, -0.3, 0.9])
    assert choices.fg_threshold(taus, 0.62).tolist() == [2, 5]
    assert choices.fg_threshold(taus, -1).tolist() == [0, 2, 3, 4, 5]
    with pytest.raises(ValueError, match="from -1 to 1"):
        choices.fg_threshold(np.array([1.5]), 0)
    with pytest.raises(ValueError, match=r"\[2, 2\]"):
        choices.fg_threshold(np.zeros((2, 2)), 0)


def test_fg_fraction_by_both_rules():
    taus = np.array([0.1, 0.9, 0.5, 0.7, 0.3])
    assert choices.fg_fraction(taus, 0.4).tolist() == [1, 3]
    assert choices.fg_fraction(taus, 0.4, rule="code").tolist() == [1, 2, 3]  # one more than asked for
    assert choices.fg_fraction(taus, 0).tolist() == []
    for rule in ("corrected", "code"):
        assert choices.fg_fraction(taus, 1, rule=rule).tolist() == [0, 1, 2, 3, 4]
    tied = np.full(10, 0.5)
    chosen = [choices.fg_fraction(tied, 0.3, seed).tolist() for seed in range(3)]
    assert all(len(set(c)) == 3 for c in chosen)
    assert chosen[0] != chosen[1] or chosen[1] != chosen[2]
    assert len(choices.fg_fraction(tied, 0.3, rule="code")) == 10
    assert choices.fg_fraction(np.array([np.nan, 0.2, np.nan, 0.1]), 0.75).tolist() == [1, 3]
    for given in ({"fraction": 1.1}, {"fraction": 0.5, "rule": "paper"}):
        with pytest.raises(ValueError, match="0 to 1, and corrected or code"):
            choices.fg_fraction(taus, **given)


def test_fractions_of_a_row():
    taus = np.array([0.1, 0.9, 0.5, 0.7, 0.3])
    assert choices.fg_fraction(taus, 0.7).tolist() == [1, 2, 3, 4]  # round(3.5)
    assert choices.fg_fraction(taus, 0.75, rule="code").tolist() == [1, 2, 3, 4]  # entry int(3.75)
