"""The step of task weights and its null schedule: closed forms, the authors' rule, shares of an epoch."""

import math

import numpy as np
import pytest

from auxlearn.errors import InputError
from auxlearn.methods.tawt import cosine, weight_rule
from auxlearn.methods.tawt.options import WeightOptions
from auxlearn.methods.tawt.weight_rule import Updater
from auxlearn.signals.gradient_moments import Moments

SIZES = {"pos": 9000, "chunk": 9000, "pred": 9000, "ner": 500}
UNIFORM = np.full(4, 0.25)


def test_the_null_schedule_has_its_closed_form():
    for prior in (UNIFORM, cosine.prior("inverse_size", SIZES)):
        for eta, c in ((1.0, 1.0), (0.3, 10.0)):
            made = weight_rule.null_schedule(prior, 5, Updater(eta=eta, c=c))
            grown = prior[-1] * np.exp(np.arange(6) * eta * c)
            np.testing.assert_allclose(made[:, -1], grown / (grown + 1 - prior[-1]), rtol=1e-12)
            np.testing.assert_allclose(made[:, :-1], prior[:-1] / (grown + 1 - prior[-1])[:, None], rtol=1e-12)
            np.testing.assert_allclose(made.sum(1), 1.0, rtol=1e-14)


def test_three_updates_without_a_gradient_give_the_weights_that_the_authors_learned():
    """Their scripts' final weights, to the digits given there; fixed-weight runs use them as learned."""
    for prior, sources, target in (
        (UNIFORM, 0.04, 0.87),  # weighted joint training
        (np.array([0.05, 0.05, 0.05, 0.85]), 0.003, 0.990),  # its normalised form: NER,
        (np.array([0.03, 0.03, 0.03, 0.91]), 0.002, 0.995),  # predicates,
        (np.array([0.01, 0.01, 0.01, 0.97]), 0.0005, 0.9987),  # chunks
    ):
        end = weight_rule.null_schedule(prior, 3)[-1]
        assert end[-1] == pytest.approx(target, abs=0.0015)
        assert end[0] == pytest.approx(sources, abs=0.005 if sources > 0.01 else 0.0005)


def test_without_a_target_among_the_weighted_tasks_the_null_schedule_stands_still():
    np.testing.assert_allclose(weight_rule.null_schedule([0.2, 0.8], 4, target=None), [[0.2, 0.8]] * 5, rtol=1e-12)


def test_the_constant_share_is_the_share_asked_for():
    for share in (0.004, 0.25, 0.87):
        w = weight_rule.constant_share(share, SIZES, "ner")
        assert w.sum() == pytest.approx(1.0)
        shares = weight_rule.effective_shares(w, list(SIZES.values()))
        assert shares[-1] == pytest.approx(share)
        np.testing.assert_allclose(shares[:3], (1 - share) / 3)
    sizes = {"a": 100, "target": 50, "b": 300}
    shares = weight_rule.effective_shares(weight_rule.constant_share(0.5, sizes, "target"), list(sizes.values()))
    np.testing.assert_allclose(shares, [0.125, 0.5, 0.375])  # sources by size
    uniform = weight_rule.effective_shares(UNIFORM, list(SIZES.values()))
    assert uniform[-1] == pytest.approx(500 / 27500)
    np.testing.assert_allclose(
        weight_rule.effective_shares(cosine.prior("inverse_size", SIZES), list(SIZES.values())), 0.25, rtol=1e-12
    )


def test_the_authors_updater_is_the_bare_mirror_step():
    rng, log_w = np.random.default_rng(0), np.log(UNIFORM)
    cosines = rng.uniform(-1, 1, (6, 4))
    made = weight_rule.trajectory(UNIFORM, cosines, Updater(c=10.0, rule="paper"))
    for number, row in enumerate(cosines):
        log_w = cosine.mirror_step(log_w, -10.0 * row, 1.0)
        np.testing.assert_allclose(made[number + 1], np.exp(log_w), rtol=1e-12)
    whole = UNIFORM * np.exp(10 * cosines.sum(0))
    np.testing.assert_allclose(made[-1], whole / whole.sum(), rtol=1e-9)


def test_the_same_evidence_in_more_steps_ends_in_the_same_place():
    cos = np.array([0.1, -0.2, 0.0, 1.0])
    ends = [
        weight_rule.trajectory(UNIFORM, np.tile(cos, (n, 1)), Updater.spread(3.0, n, c=2.0))[-1] for n in (1, 3, 30)
    ]
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-12)
    np.testing.assert_allclose(ends[0], ends[2], rtol=1e-11)


def test_the_floor_keeps_every_live_task_alive():
    prior = np.array([0.0, 0.5, 0.3, 0.2])
    made = weight_rule.trajectory(prior, np.tile([-1.0, -1.0, 0.0, 1.0], (200, 1)), Updater(floor=0.06))
    assert (made[1:, 1:] >= 0.02 - 1e-12).all()  # a third each of 0.06
    assert (made[:, 0] == 0).all()
    np.testing.assert_allclose(made.sum(1), 1.0)
    one = weight_rule.trajectory(prior, [[0.0, 0.0, 0.0, 1.0]], Updater(floor=0.06))[1]
    bare = weight_rule.trajectory(prior, [[0.0, 0.0, 0.0, 1.0]])[1]
    np.testing.assert_allclose(one, 0.94 * bare + 0.06 * np.array([0, 1, 1, 1]) / 3)


def test_decay_leads_back_to_the_prior_and_bounds_what_steady_evidence_can_do():
    prior = np.array([0.1, 0.2, 0.3, 0.4])
    moved = weight_rule.trajectory(prior, [[1.0, 0, 0, 0]], Updater(eta=3.0, decay=0.5))[-1]
    assert moved[0] > 0.5
    back = weight_rule.trajectory(moved, np.zeros((1, 4)))[-1]
    np.testing.assert_allclose(back, moved)  # without decay nothing leads back
    log_w, updater = np.log(moved), Updater(decay=0.5)
    for _ in range(60):
        log_w = updater.step(log_w, np.zeros(4), np.log(prior))
    np.testing.assert_allclose(np.exp(log_w), prior, rtol=1e-9)
    steady = weight_rule.trajectory(prior, np.tile([1.0, 0, 0, 0], (200, 1)), Updater(decay=0.2))[-1]
    wanted = prior * np.exp([1 / 0.2, 0, 0, 0])  # eta c cos / decay
    np.testing.assert_allclose(steady, wanted / wanted.sum(), rtol=1e-9)
    off = weight_rule.trajectory([0.0, 0.5, 0.5], np.ones((3, 3)), Updater(decay=0.5))
    assert (off[:, 0] == 0).all()


@pytest.mark.parametrize(
    ("signal", "true", "undefined", "moves", "keeps"),
    [(0.0, 0.0, (0.6, 0.9), 0.03, 0.0), (0.01, 0.0, (0.3, 0.6), 0.04, 0.0), (0.1, 0.0, (0, 0.01), 0.06, 0.0),
     (1.0, 0.0, (0, 0), 0.03, 0.0), (1.0, 0.5, (0, 0), 0.03, 0.45), (10.0, 0.5, (0, 0), 0.01, 0.48)],
)  # fmt: skip
def test_by_default_weights_do_not_move_where_noise_hides_the_cosine(signal, true, undefined, moves, keeps):
    """Gradients of norm 1, `signal` times the squared norm of a chunk's noise; two chunks per side, as by default."""
    rng, size, cosines = np.random.default_rng(0), 4000, []
    target, source = np.eye(2, size)
    source = true * target + np.sqrt(1 - true**2) * source
    noise, scale = (1 / np.sqrt(signal * size), 1.0) if signal else (1.0, 0.0)
    for _ in range(400):
        own, other = (scale * g + noise * rng.standard_normal((2, size)) for g in (target, source))
        cosines.append(cosine.debiased(Moments(own @ other.T, own @ own.T, other @ other.T)))
    values, errors = np.array(cosines).T
    used = Updater(tau=WeightOptions().weight_tau).usable(values, errors)
    assert undefined[0] <= np.isnan(values).mean() <= undefined[1]
    assert used.std() < moves
    assert (used.mean() > keeps) if keeps else abs(used.mean()) < 0.01


def test_what_the_step_makes_of_odd_cosines():
    odd = np.array([np.nan, 1.7, -3.0, 0.4])
    assert Updater().usable(odd).tolist() == [0.0, 1.0, -1.0, 0.4]
    shrunk = Updater(tau=0.1).usable(np.array([0.4, 0.4, 0.4, 1.0]), np.array([0.1, 0.0, np.nan, 0.3]))
    np.testing.assert_allclose(shrunk, [0.2, 0.4, 0.0, 0.1])
    np.testing.assert_array_equal(Updater(tau=0.1).usable([0.4]), [0.4])  # no errors are measured
    np.testing.assert_array_equal(Updater(rule="paper").usable(odd), odd)
    with pytest.raises(InputError, match="g: entry 0 is nan"):
        weight_rule.trajectory(UNIFORM, [odd], Updater(rule="paper"))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Updater(eta=0.0), "eta: 0.0"),
        (lambda: Updater(eta=-1.0), "eta: -1.0"),
        (lambda: Updater(c=0.0), "c: 0.0"),
        (lambda: Updater(c=math.nan), "c: nan"),
        (lambda: Updater(floor=1.0), "floor: 1.0 is outside"),
        (lambda: Updater(decay=-0.1), "decay: -0.1 is outside"),
        (lambda: Updater(tau=0.0), "tau: 0.0"),
        (lambda: Updater(floor=0.1, rule="paper"), "'paper' has no floor"),
        (lambda: Updater(rule="authors"), "neither 'corrected' nor 'paper'"),
        (lambda: Updater.spread(3.0, 0), "updates: 0"),
        (lambda: weight_rule.null_schedule(UNIFORM, -1), "updates: -1"),
        (lambda: weight_rule.constant_share(1.0, SIZES, "ner"), "share: 1.0"),
        (lambda: weight_rule.constant_share(0.5, {"ner": 5}, "ner"), "with a source"),
        (lambda: weight_rule.constant_share(0.5, SIZES, "wsd"), "target: 'wsd'"),
    ],
)
def test_bad_input_is_one_clear_error(make, says):
    with pytest.raises(InputError, match=says):
        make()
