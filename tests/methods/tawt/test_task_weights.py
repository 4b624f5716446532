"""Weights over a training: controls, history, and a state that goes on as if nothing had happened."""

import json
import math

import numpy as np
import pytest

from auxlearn.errors import InputError
from auxlearn.methods.tawt import task_weights, weight_rule
from auxlearn.methods.tawt.task_weights import Weights
from auxlearn.methods.tawt.weight_rule import Updater

NAMES = ["pos", "chunk", "pred", "ner"]
SIZES = {"pos": 9000, "chunk": 9000, "pred": 9000, "ner": 500}
UNIFORM = np.full(4, 0.25)


def joint(**changes):
    return Weights(**({"names": NAMES, "prior": UNIFORM, "target": "ner"} | changes))


def test_shuffled_identities_leave_no_source_in_place_and_the_target_alone():
    seen = set()
    for seed in range(40):
        made = task_weights.other_identities(5, 1, seed)
        assert sorted(made) == list(range(5))
        assert made[1] == 1
        assert all(made[i] != i for i in (0, 2, 3, 4))
        assert made.tolist() == task_weights.other_identities(5, 1, seed).tolist()
        seen.add(tuple(made))
    assert len(seen) > 5  # of the nine derangements of four
    assert task_weights.other_identities(2, None, 0).tolist() == [1, 0]
    assert task_weights.other_identities(3, -1, 0).tolist() == [1, 0, 2]


def test_what_the_authors_print_is_what_was_in_force():
    """Null schedule, uniform start, one update per epoch, four epochs of ten steps, the last after the last step."""
    weights = weight_rule.null_schedule(np.full(4, 0.25), 4, Updater(rule="paper"), target=3)
    rows = [{"step": 10 * update, "weights": row} for update, row in enumerate(weights)]
    assert task_weights.in_force(rows, 40)["weights"][3] == pytest.approx(0.870, abs=5e-4)
    assert rows[-1]["weights"][3] == pytest.approx(0.948, abs=5e-4)


def test_uniform_weights_multiply_by_exactly_one():
    for size in range(1, 40):
        made = Weights([f"t{i}" for i in range(size)], np.full(size, 1 / size))
        assert set(made.multipliers.values()) == {1.0}
        assert (made.values == 1 / size).all()
        made.update(np.full(size, 0.3))
        assert set(made.multipliers.values()) == {1.0}  # equal evidence leaves equal weights, to the bit


def test_an_update_and_its_row_of_history():
    weights = joint()
    made = weights.update([0.1, np.nan, -0.2, 1.4], [0.01, np.nan, 0.02, 0.5], step=120)
    wanted = np.exp([0.1, 0.0, -0.2, 1.0])
    np.testing.assert_allclose(made, wanted / wanted.sum())
    assert weights.multipliers["ner"] == pytest.approx(4 * made[3])
    (row,) = weights.history
    assert row == {
        "update": 1, "step": 120, "cosines": [0.1, None, -0.2, 1.4], "errors": [0.01, None, 0.02, 0.5],
        "used": [0.1, 0.0, -0.2, 1.0], "weights": made.tolist(),
    }  # fmt: skip
    assert json.loads(json.dumps(weights.history, allow_nan=False)) == weights.history


def test_the_null_evidence_needs_no_probe_and_follows_its_schedule():
    weights = joint(evidence="null", updater=Updater(eta=0.5, floor=0.01))
    assert not weights.needs_probe
    made = [weights.update(step=k) for k in range(4)]
    np.testing.assert_allclose(made, weight_rule.null_schedule(UNIFORM, 4, weights.updater)[1:])
    assert weights.history[0]["cosines"] is None
    assert weights.history[0]["used"] == [0, 0, 0, 1]


def test_fixed_weights_stay_and_record_what_they_are_shown():
    weights = joint(evidence="fixed", prior=[0.05, 0.05, 0.05, 0.85])
    assert not weights.needs_probe
    before = weights.values
    np.testing.assert_array_equal(weights.update([0.9, 0.9, 0.9, 0.9]), before)
    assert weights.history[0]["cosines"] == [0.9] * 4
    assert weights.history[0]["used"] is None


def test_shuffled_evidence_moves_each_source_by_another_ones_cosine():
    cosines, errors = np.array([0.1, 0.2, 0.3, 1.0]), np.array([0.05, 0.1, 0.2, 0.0])
    weights = joint(evidence="shuffled", seed=3, updater=Updater(tau=0.2))
    assert weights.needs_probe
    weights.update(cosines, errors)
    given = task_weights.other_identities(4, 3, 3)
    (row,) = weights.history
    assert row["cosines"] == cosines.tolist()
    assert row["used"] == pytest.approx(Updater(tau=0.2).usable(cosines[given], errors[given]))
    np.testing.assert_allclose(row["weights"], weight_rule.trajectory(UNIFORM, [row["used"]])[1])


@pytest.mark.parametrize("evidence", ["measured", "null", "shuffled", "fixed"])
def test_a_saved_state_goes_on_with_the_same_bits(evidence):
    rng, changes = np.random.default_rng(1), {"evidence": evidence, "seed": 4}
    changes |= {"prior": [0.0, 0.1, 0.3, 0.7], "updater": Updater(eta=0.3, c=2.0, floor=0.02, decay=0.1, tau=0.5)}
    one, other = joint(**changes), joint(**changes)
    for number in range(6):
        if number == 3:
            other = Weights.from_state(json.loads(json.dumps(other.state(), allow_nan=False)))
        cosines, errors = rng.uniform(-1, 1, 4), rng.uniform(0, 0.3, 4)
        np.testing.assert_array_equal(one.update(cosines, errors, number), other.update(cosines, errors, number))
    assert one.history == other.history
    assert one.state() == other.state()
    assert other.values[0] == 0


def test_the_history_of_a_state_is_a_copy():
    weights = joint()
    weights.update(np.zeros(4))
    state = weights.state()
    weights.update(np.zeros(4))
    assert len(state["history"]) == 1


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: task_weights.other_identities(2, 1, 0), "1 source tasks"),
        (lambda: joint(names=["a", "a", "b", "c"], target="a"), "each named once"),
        (lambda: Weights([], np.zeros(0)), "at least one"),
        (lambda: Weights(["ner"], np.ones(1), target="ner"), "name at least one source"),
        (lambda: joint(target="wsd"), "target: 'wsd' is not one of"),
        (lambda: joint(evidence="guess"), "evidence: 'guess'"),
        (lambda: joint(prior=[0.5, 0.5]), r"prior: shape \[2\]"),
        (lambda: joint(prior=[0.5, 0.5, math.nan, 0.1]), "weight of 'pred' is nan"),
        (lambda: joint().update(), "needs them measured"),
        (lambda: joint().update([0.1, 0.2]), r"cosines: shape \[2\]"),
        (lambda: joint().update(np.zeros(4), [0.1]), r"errors: shape \[1\]"),
        (lambda: Weights.from_state({"names": NAMES}), "not the state of task weights: KeyError"),
        (lambda: Weights.from_state(joint().state() | {"log_w": [0.0]}), "log_w has another length"),
        (lambda: Weights.from_state(joint().state() | {"updater": {"rate": 1}}), "not the state of task weights"),
    ],
)
def test_bad_input_is_one_clear_error(make, says):
    with pytest.raises(InputError, match=says):
        make()
