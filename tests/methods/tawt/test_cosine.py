"""TAWT's arithmetic against hand-computed values, SciPy and simulations whose truth is known."""

import math

import numpy as np
import pytest
import torch
from scipy.spatial import distance
from scipy.special import logsumexp, softmax

from auxlearn.errors import InputError
from auxlearn.methods.tawt import cosine
from auxlearn.signals import gradient_moments


def moments(a, b):
    """Of chunk gradients: target [H, P], task [M, P]."""
    return gradient_moments.Moments(a @ b.T, a @ a.T, b @ b.T)


# --- the mirror step -----------------------------------------------------------------------------------------------


def test_a_step_is_the_papers_formula():
    rng = np.random.default_rng(0)
    for _ in range(50):
        size, eta = rng.integers(1, 9), rng.uniform(0.1, 5)
        w, g = rng.dirichlet(np.ones(size)), rng.normal(size=size)
        made = cosine.mirror_step(np.log(w), g, eta)
        wanted = w * np.exp(-eta * g)
        np.testing.assert_allclose(np.exp(made), wanted / wanted.sum(), rtol=1e-12)
        np.testing.assert_allclose(made, np.log(w) - eta * g - logsumexp(np.log(w) - eta * g), atol=1e-12)


def test_a_step_by_hand():
    """Two tasks at 1/2, cosines 1 and 0: e / (e + 1)."""
    made = np.exp(cosine.mirror_step(np.log([0.5, 0.5]), cosine.hypergradient(np.array([1.0, 0.0])), 1.0))
    assert made == pytest.approx([math.e / (1 + math.e), 1 / (1 + math.e)])
    assert cosine.hypergradient([0.5, -0.1], 30.0).tolist() == [-15.0, 3.0]


def test_a_constant_added_to_the_hypergradient_changes_nothing():
    rng = np.random.default_rng(1)
    for constant in (-3.0, 0.25, 1e6):
        log_w, g = np.log(rng.dirichlet(np.ones(6))), rng.normal(size=6)
        np.testing.assert_allclose(
            cosine.mirror_step(log_w, g + constant, 1.5), cosine.mirror_step(log_w, g, 1.5), atol=1e-8
        )
    made = cosine.mirror_step(np.log([0.25, 0.75]), np.array([7.0, 7.0]), 2.0)
    np.testing.assert_allclose(np.exp(made), [0.25, 0.75], rtol=1e-14)


def test_steps_add_up_and_unnormalised_weights_are_normalised():
    rng = np.random.default_rng(2)
    log_w, g, h = rng.normal(size=(3, 5))
    twice = cosine.mirror_step(cosine.mirror_step(log_w, g, 0.5), h, 0.5)
    np.testing.assert_allclose(twice, cosine.mirror_step(log_w, g + h, 0.5), atol=1e-12)
    np.testing.assert_allclose(cosine.mirror_step(log_w + 900, g, 0.5), cosine.mirror_step(log_w, g, 0.5), atol=1e-12)
    assert np.exp(twice).sum() == pytest.approx(1.0, abs=1e-14)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_numpy_dtypes_are_kept(dtype):
    made = cosine.mirror_step(np.log(np.array([0.5, 0.3, 0.2], dtype)), np.array([0.1, 0.2, 0.3]), 1.0)
    assert isinstance(made, np.ndarray)
    assert made.dtype == dtype
    wanted = softmax(np.log([0.5, 0.3, 0.2]) - [0.1, 0.2, 0.3])
    np.testing.assert_allclose(np.exp(made.astype(float)), wanted, rtol=2e-3 if dtype == np.float16 else 1e-6)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_torch_dtypes_are_kept(dtype):
    log_w, g = torch.tensor([0.5, 0.3, 0.2]).log().to(dtype), torch.tensor([0.1, 0.2, 0.3])
    made = cosine.mirror_step(log_w, g, 1.0)
    assert isinstance(made, torch.Tensor)
    assert made.dtype == dtype
    wanted = cosine.mirror_step(log_w.double().numpy(), g.numpy(), 1.0)
    np.testing.assert_allclose(made.double().numpy(), wanted, rtol=1e-2 if dtype == torch.bfloat16 else 1e-6)


def test_a_weight_of_zero_stays_zero_and_the_rest_ignore_it():
    log_w, g = np.array([-np.inf, math.log(0.5), math.log(0.5)]), np.array([-50.0, 0.3, 0.1])
    for _ in range(3):
        log_w = cosine.mirror_step(log_w, g, 1.0)
    assert log_w[0] == -np.inf
    alone = np.log([0.5, 0.5])
    for _ in range(3):
        alone = cosine.mirror_step(alone, g[1:], 1.0)
    np.testing.assert_allclose(log_w[1:], alone)


def test_weights_sum_to_one_after_ten_thousand_steps():
    rng, log_w = np.random.default_rng(3), np.log(np.full(7, 1 / 7))
    for g in rng.normal(0.0, 0.3, (10_000, 7)):
        log_w = cosine.mirror_step(log_w, g, 0.5)
    assert np.exp(log_w).sum() == pytest.approx(1.0, abs=1e-12)
    assert np.isfinite(log_w).all()  # weights themselves may have underflowed; their logs have not


@pytest.mark.parametrize(
    ("log_w", "g", "eta", "says"),
    [
        (np.zeros(2), np.zeros(2), 0.0, "eta: 0.0 is not a positive"),
        (np.zeros(2), np.zeros(2), -1.0, "eta: -1.0"),
        (np.zeros(2), np.zeros(2), math.nan, "eta: nan"),
        (np.zeros(2), np.zeros(3), 1.0, r"g: shape \[3\] does not fit log_w of shape \[2\]"),
        (np.zeros((2, 2)), np.zeros((2, 2)), 1.0, r"log_w: shape \[2, 2\]"),
        (np.zeros(0), np.zeros(0), 1.0, "at least one task"),
        (np.zeros(2), np.array([0.0, math.nan]), 1.0, "g: entry 1 is nan"),
        (np.zeros(2), np.array([-math.inf, 0.0]), 1.0, "g: entry 0 is -inf"),
        (np.array([math.nan, 0.0]), np.zeros(2), 1.0, "log_w: entry 0 is nan"),
        (np.array([math.inf, 0.0]), np.zeros(2), 1.0, "log_w: entry 0 is inf"),
        (np.full(2, -math.inf), np.zeros(2), 1.0, "every weight is 0"),
        (np.zeros(2, int), np.zeros(2), 1.0, "int64 cannot hold log weights"),
        (torch.zeros(2, dtype=torch.int64), torch.zeros(2), 1.0, "int64 cannot hold log weights"),
        (torch.zeros(2), torch.tensor([0.0, math.nan]), 1.0, "g: entry 1 is nan"),
    ],
)
def test_an_impossible_step_is_refused(log_w, g, eta, says):
    with pytest.raises(ValueError, match=says):
        cosine.mirror_step(log_w, g, eta)


@pytest.mark.parametrize("c", [0.0, -1.0, math.nan])
def test_c_must_be_positive(c):
    with pytest.raises(InputError, match="c: "):
        cosine.hypergradient(np.zeros(2), c)


def test_on_quadratics_with_a_known_hypergradient_cosines_have_its_sign_and_rank():
    """L_t = |phi - m_t|^2 / 2 has the identity for a Hessian; phi^w is the weighted mean of the m_t."""
    angles = 2 * np.pi * np.arange(3) / 3
    means, target = np.stack([np.cos(angles), np.sin(angles)], 1), np.array([0.6, 0.1])

    def phi(w):
        return w @ means / w.sum()

    def exact(w):  # dL_0/dw_t of the implicit function theorem, with sum(w) = 1
        return -(phi(w) - means) @ (phi(w) - target)

    w = np.full(3, 1 / 3)
    for t in range(3):
        ahead, behind = (0.5 * ((phi(w + s * np.eye(3)[t]) - target) ** 2).sum() for s in (1e-5, -1e-5))
        assert exact(w)[t] == pytest.approx((ahead - behind) / 2e-5, abs=1e-8)
    cos = np.array([1 - distance.cosine(phi(w) - target, phi(w) - m) for m in means])
    assert (np.sign(cosine.hypergradient(cos)) == np.sign(exact(w))).all()
    assert (np.argsort(cosine.hypergradient(cos)) == np.argsort(exact(w))).all()
    log_w = np.log(np.array([0.2, 0.5, 0.3]))
    for _ in range(500):
        assert np.exp(log_w) @ exact(np.exp(log_w)) == pytest.approx(0.0, abs=1e-12)  # inner stationarity
        log_w = cosine.mirror_step(log_w, exact(np.exp(log_w)), 0.5)
    np.testing.assert_allclose(phi(np.exp(log_w)), target, atol=1e-6)  # inside the triangle: the target is reached


# --- priors --------------------------------------------------------------------------------------------------------

SIZES = {"pos": 9000, "chunk": 9000, "ner": 500}


def test_priors_by_hand():
    assert cosine.prior("uniform", SIZES).tolist() == [1 / 3] * 3
    np.testing.assert_allclose(cosine.prior("inverse_size", SIZES), [0.05, 0.05, 0.9], rtol=1e-12)
    np.testing.assert_allclose(cosine.prior("power", SIZES, power=1.0), np.array([18, 18, 1]) / 37, rtol=1e-12)
    np.testing.assert_allclose(cosine.prior("power", SIZES, power=0.0), 1 / 3, rtol=1e-12)
    roots = np.sqrt([9000, 9000, 500])
    np.testing.assert_allclose(cosine.prior("power", SIZES, power=0.5), roots / roots.sum(), rtol=1e-12)
    assert np.isfinite(cosine.prior("power", SIZES, power=200.0)).all()
    explicit = cosine.prior("explicit", SIZES, weights={"ner": 2, "pos": 1, "chunk": 1})
    assert explicit.tolist() == [0.25, 0.25, 0.5]


def test_the_authors_inverse_sizes():
    """Three sources of 9,000: targets of 500, 300 and 100 sentences start at .857, .909 and .968."""
    for rows, wanted in ((500, 0.857), (300, 0.909), (100, 0.968)):
        sizes = {"a": 9000, "b": 9000, "c": 9000, "target": rows}
        assert cosine.prior("inverse_size", sizes)[-1] == pytest.approx(wanted, abs=5e-4)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("uniform", {}), "at least one source"),
        (("uniform", {"a": 3, "b": 0}), "task 'b' has 0 usable rows"),
        (("inverse_size", {"a": -1}), "task 'a' has -1 usable rows"),
        (("other", SIZES), "'other' is none of"),
        (("power", SIZES), "'power' with power None"),
        (("power", SIZES, math.nan), "power: nan"),
        (("uniform", SIZES, 1.0), "'uniform' with power 1.0"),
        (("explicit", SIZES), "'explicit' with power None and weights None"),
        (("explicit", SIZES, None, {"pos": 1}), "weights for pos, but the tasks are pos, chunk, ner"),
        (("explicit", SIZES, None, {"pos": 1, "chunk": -1, "ner": 1}), "weight of 'chunk' is -1"),
        (("explicit", SIZES, None, {"pos": 1, "chunk": math.nan, "ner": 1}), "weight of 'chunk' is nan"),
        (("explicit", SIZES, None, {"pos": 0, "chunk": 0, "ner": 0}), "every weight is 0"),
    ],
)
def test_an_impossible_prior_is_refused(arguments, says):
    with pytest.raises(InputError, match=says):
        cosine.prior(*arguments)


# --- cosines -------------------------------------------------------------------------------------------------------


def test_cosines_are_scipys():
    rng = np.random.default_rng(4)
    a, b = rng.normal(size=(2, 20, 50))
    made = cosine.cosine((a * b).sum(1), (a * a).sum(1), (b * b).sum(1))
    wanted = [1 - distance.cosine(x, y) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(made, wanted, atol=1e-12)
    single = moments(a[:1], b[:1])
    assert cosine.naive(single) == pytest.approx(wanted[0], abs=1e-12)
    several = moments(a[:3], b[:4])
    assert cosine.naive(several) == pytest.approx(1 - distance.cosine(a[:3].mean(0), b[:4].mean(0)), abs=1e-12)


def test_tiny_and_huge_gradients_have_cosines_too():
    assert cosine.cosine(1e-200, 1e-200, 1e-200) == pytest.approx(1.0)
    assert cosine.cosine(1e200, 1e200, 1e200) == pytest.approx(1.0)
    assert np.isnan(cosine.cosine([1.0, 0.0, 0.1], [1.0, 0.0, -1.0], [0.0, 1.0, 1.0])).tolist() == [True, True, True]


def test_two_halves_by_hand():
    a, b = np.array([[2.0, 1.0], [2.0, -1.0]]), np.array([[3.0, 0.0], [1.0, 2.0]])
    value, error = cosine.debiased(moments(a, b))
    # Mean product (2, 0) . (2, 1) = 4; between halves of the target 4 - 1 = 3, of the task 3.
    assert value == pytest.approx(4 / 3)
    table = np.array([[6.0, 4.0], [6.0, 0.0]]) / 3  # two chunks: the norm's shares are equal and cancel
    rows, columns = table.mean(1), table.mean(0)
    shared = ((table - rows[:, None] - columns + table.mean()) ** 2).sum() / 4
    assert error == pytest.approx(math.sqrt(rows.var(ddof=1) / 2 + columns.var(ddof=1) / 2 - shared))
    assert cosine.naive(moments(a, b)) == pytest.approx(value * cosine.attenuation(moments(a, b)))


def simulated(rng, truth, chunks, noise, dims=400):
    first, second = np.eye(dims)[0], truth * np.eye(dims)[0] + math.sqrt(1 - truth**2) * np.eye(dims)[1]
    a, b = (x + noise * rng.normal(size=(chunks, dims)) for x in (first, second))
    return moments(a, b)


@pytest.mark.parametrize("chunks", [2, 4])
@pytest.mark.parametrize("truth", [0.0, 0.4, -0.7])
def test_debiasing_recovers_a_known_cosine_and_its_error_is_honest(chunks, truth):
    """A chunk's noise is as long as its gradient, spread over 400 directions: the mean of 2 chunks is 1 part in 1.5."""
    rng = np.random.default_rng(5)
    draws = [simulated(rng, truth, chunks, 0.05) for _ in range(600)]
    values, errors = np.array([cosine.debiased(m) for m in draws]).T
    shrunk = np.array([cosine.naive(m) for m in draws])
    standard = values.std() / math.sqrt(len(values))
    assert abs(values.mean() - truth) < 3 * standard + 0.01 * abs(truth)  # the ratio is unbiased to first order
    assert shrunk.mean() == pytest.approx(truth / (1 + 1 / chunks), abs=0.01)
    if truth:
        assert abs(shrunk.mean() - truth) > 20 * shrunk.std() / math.sqrt(len(shrunk))
    spread = math.sqrt((errors**2).mean()) / values.std()
    # With two chunks the norms' own error is left out, and what is left counts the scale's noise as the cosine's.
    assert 0.85 < spread < (1.25 if chunks == 2 or abs(truth) < 0.5 else 1.15)


def test_a_copy_of_the_target_reaches_the_ceiling():
    rng = np.random.default_rng(6)
    draws = [simulated(rng, 1.0, 4, 0.05) for _ in range(300)]
    assert np.mean([cosine.debiased(m)[0] for m in draws]) == pytest.approx(1.0, abs=0.01)
    assert np.mean([cosine.naive(m) for m in draws]) == pytest.approx(
        np.mean([cosine.attenuation(m) for m in draws]), abs=0.01
    )
    assert all(0 < cosine.attenuation(m) <= 1 for m in draws)


def test_gradients_that_are_noise_have_no_cosine():
    """Halves that point away from each other: the squared norm comes out negative."""
    a, b = np.array([[1.0, 0.1], [-1.0, 0.1]]), np.array([[1.0, 0.0], [1.0, 0.1]])
    value, error = cosine.debiased(moments(a, b))
    assert math.isnan(value)
    assert math.isnan(error)
    assert math.isnan(cosine.naive(moments(np.zeros((2, 2)), b)))


def test_chunks_are_exchangeable():
    rng = np.random.default_rng(7)
    m = simulated(rng, 0.5, 4, 0.05)
    p, q = rng.permutation(4), rng.permutation(4)
    mixed = gradient_moments.Moments(m.dots[np.ix_(p, q)], m.target[np.ix_(p, p)], m.own[np.ix_(q, q)])
    assert cosine.debiased(mixed) == pytest.approx(cosine.debiased(m))
    scaled = gradient_moments.Moments(m.dots * 6, m.target * 4, m.own * 9)
    assert cosine.debiased(scaled) == pytest.approx(cosine.debiased(m))


def test_cosines_of_several_tasks():
    rng = np.random.default_rng(8)
    draws = [simulated(rng, truth, 3, 0.02) for truth in (0.2, -0.5)]
    values, errors = cosine.cosines(draws)
    assert values.tolist() == [cosine.debiased(m)[0] for m in draws]
    assert (errors > 0).all()
    values, errors = cosine.cosines(draws, "paper", itself=True)
    assert values.tolist() == [*(cosine.naive(m) for m in draws), 1.0]
    assert np.isnan(errors[:2]).all()
    assert errors[2] == 0


def test_training_gradients_read_against_a_cached_target():
    """Unbiased but for the shrinkage by a single batch's noise; the error is that of the mean over steps."""
    rng, made = np.random.default_rng(9), []
    for _ in range(400):
        m = simulated(rng, 0.4, 8, 0.05)
        target = m.target[:2, :2]
        reads = np.concatenate([m.dots[:2].T, np.diag(m.own)[:, None]], 1)
        made.append(cosine.reused(reads, target))
    values, errors = np.array(made).T
    assert values.mean() == pytest.approx(0.4 / math.sqrt(2), abs=0.01)
    assert 0.8 < math.sqrt((errors**2).mean()) / values.std() < 1.3
    single = cosine.reused(reads[:1], target)
    assert math.isnan(single[1])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: gradient_moments.Moments(np.zeros((2, 2)), np.zeros((2, 2)), np.zeros((3, 3))), r"\[H, M\]"),
        (lambda: gradient_moments.Moments(np.zeros(2), np.zeros((2, 2)), np.zeros((1, 1))), r"\[H, M\]"),
        (lambda: gradient_moments.Moments(np.zeros((0, 1)), np.zeros((0, 0)), np.zeros((1, 1))), r"\[H, M\]"),
        (lambda: moments(np.full((1, 2), np.nan), np.ones((1, 2))), "target is not finite"),
        (lambda: moments(np.ones((1, 2)), np.full((1, 2), np.inf)), "task is not finite"),
        (lambda: cosine.debiased(moments(np.ones((1, 2)), np.ones((2, 2)))), "1 target and 2 task chunks"),
        (lambda: cosine.debiased(moments(np.ones((2, 2)), np.ones((1, 2)))), "debiasing needs two of each"),
        (lambda: cosine.attenuation(moments(np.ones((2, 2)), np.ones((1, 2)))), "debiasing needs two of each"),
        (lambda: cosine.cosines([]), "no source task"),
        (lambda: cosine.cosines([moments(np.eye(2), np.eye(2))], "authors"), "neither 'corrected' nor 'paper'"),
        (lambda: cosine.reused(np.zeros((3, 2)), np.zeros((2, 2))), "reads: shape"),
        (lambda: cosine.reused(np.zeros((0, 3)), np.zeros((2, 2))), "reads: shape"),
        (lambda: cosine.reused(np.full((2, 2), np.nan), np.ones((1, 1))), "not finite"),
    ],
)
def test_impossible_moments_are_refused(make, says):
    with pytest.raises(InputError, match=says):
        make()
