import numpy as np
import pytest
import torch
from scipy.stats import kendalltau

from auxlearn.methods.gradts import correlation


def scipy_taus(instances, references):
    return np.array([[kendalltau(x, y).statistic for y in references] for x in instances])


# normalise and task_matrix


def test_normalise_by_hand():
    m = np.array([[1.0, 3.0], [6.0, 2.0]])  # layers become (1/4, 3/4) and (3/4, 1/4)
    assert correlation.normalise(m) == pytest.approx(np.array([[0.0, 1.0], [1.0, 0.0]]))
    m = np.array([[1.0, 1.0], [1.0, 3.0]])  # (1/2, 1/2), (1/4, 3/4)
    assert correlation.normalise(m) == pytest.approx(np.array([[0.5, 0.5], [0.0, 1.0]]))


def test_normalise_takes_stacks_and_keeps_kind_and_type():
    stack = np.random.default_rng(0).random((3, 5, 4, 6)).astype(np.float32)
    made = correlation.normalise(stack)
    assert made.dtype == np.float32
    assert made[2, 3] == pytest.approx(correlation.normalise(stack[2, 3]), abs=1e-6)
    assert made.min((-2, -1)) == pytest.approx(0)
    assert made.max((-2, -1)) == pytest.approx(1)
    tensor = correlation.normalise(torch.from_numpy(stack))
    assert torch.equal(tensor, torch.from_numpy(made))
    # Neither an instance's loss scale nor a layer's gradient scale matters.
    assert correlation.normalise(stack * 7) == pytest.approx(made, abs=1e-6)
    assert correlation.normalise(stack * np.array([1, 2, 3, 4])[:, None]) == pytest.approx(made, abs=1e-6)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_normalise_of_nothing_is_zero(kind):
    rng = np.random.default_rng(0)
    layers = np.repeat(rng.random((12, 1)), 12, axis=1).astype(kind)  # constant in each layer
    noisy = np.full((12, 12), 0.1, kind) * (1 + np.finfo(kind).eps * rng.integers(-1, 2, (12, 12))).astype(kind)
    for m in (np.zeros((3, 4), kind), np.full((3, 4), 0.1, kind), layers, noisy):
        assert (correlation.normalise(m) == 0).all()
    dead = np.array([[0, 0], [1, 3]], kind)  # a layer without gradient
    assert correlation.normalise(dead) == pytest.approx(np.array([[0, 0], [1 / 3, 1]]))
    one = np.stack([np.zeros((2, 2)), [[1, 3], [1, 1]]]).astype(kind)  # a zero row among others
    assert (correlation.normalise(one)[0] == 0).all()
    assert correlation.normalise(one)[1].max() == 1


@pytest.mark.parametrize("bad", [-1.0, np.nan, np.inf])
def test_normalise_refuses_what_is_no_importance(bad):
    m = np.ones((2, 3))
    m[1, 2] = bad
    with pytest.raises(ValueError, match="negative or not finite"):
        correlation.normalise(m)
    with pytest.raises(ValueError, match="layers, heads"):
        correlation.normalise(np.ones(3))


def test_task_matrix_weighs_rows_by_size_or_alike():
    small, large = np.array([[1.0, 3.0], [1.0, 1.0]]), np.array([[300.0, 100.0], [100.0, 100.0]])
    rows = np.stack([small, large])
    raw = correlation.task_matrix(rows)
    assert raw == pytest.approx(correlation.normalise(small + large))
    assert raw == pytest.approx(correlation.normalise(large), abs=0.02)  # the code's way: the large row decides
    assert (correlation.task_matrix(rows, "equal") == 0).all()  # the two cancel
    assert correlation.task_matrix(rows.astype(np.float32)).dtype == np.float32
    for wrong in (rows[0], rows[:0]):
        with pytest.raises(ValueError, match="at least one row"):
            correlation.task_matrix(wrong)
    with pytest.raises(ValueError, match="weigh"):
        correlation.task_matrix(rows, "both")


# kendall_tau


@pytest.mark.parametrize("cells", [2, 7, 144])
@pytest.mark.parametrize("digits", [None, 1, 0])
def test_tau_is_scipys_ties_included(cells, digits):
    rng = np.random.default_rng(cells)
    x, y = rng.random((30, cells)).astype(np.float32), rng.random((5, cells)).astype(np.float32)
    if digits is not None:
        x, y = np.round(x, digits), np.round(y, digits)
        y[1:] = np.round(rng.random((4, cells)), 3)  # ties on one side alone, too
    x[0], x[1], y[0, :2] = y[1], -y[1], (0, 1)
    with np.errstate(invalid="ignore"):
        wanted = scipy_taus(x, y)
    made = correlation.kendall_tau(x, y)
    assert made.shape == (30, 5)
    assert np.isnan(made).tolist() == np.isnan(wanted).tolist()
    assert np.nan_to_num(made) == pytest.approx(np.nan_to_num(wanted), abs=1e-9)
    assert made[:2, 1] == pytest.approx([1, -1])


def test_tau_chunks_and_kinds_agree(monkeypatch):
    rng = np.random.default_rng(1)
    x, y = rng.random((50, 24)), rng.random((3, 24))
    whole = correlation.kendall_tau(x, y)
    monkeypatch.setattr(correlation, "CHUNK", 7)
    assert (correlation.kendall_tau(x, y) == whole).all()
    assert torch.equal(correlation.kendall_tau(torch.from_numpy(x), torch.from_numpy(y)), torch.from_numpy(whole))
    # Differences far below float32's are differences.
    close = 1 + np.arange(24) * 1e-15
    assert correlation.kendall_tau(close[None], np.arange(24.0)[None]).item() == 1
    assert correlation.kendall_tau(rng.permuted(np.tile(np.arange(24), (2, 1)), axis=1), y).shape == (2, 3)  # integers
    assert correlation.kendall_tau(x[:0], y).shape == (0, 3)


def test_tau_of_a_constant_row_is_nan_and_of_no_other():
    x = np.random.default_rng(2).random((4, 6))
    x[2] = 0.5
    made = correlation.kendall_tau(x, x)
    assert np.isnan(made[2]).all()
    assert np.isnan(made[:, 2]).all()
    assert np.isfinite(np.delete(np.delete(made, 2, 0), 2, 1)).all()


def test_min_max_moves_no_tau_but_layer_sums_do():
    m, n = np.random.default_rng(3).random((2, 4, 6)) * np.array([1, 5, 25, 125])[:, None]
    layered = [x / x.sum(1, keepdims=True) for x in (m, n)]
    flat = [x.reshape(1, -1) for x in (m, n, *layered, correlation.normalise(m), correlation.normalise(n))]
    raw, summed, full = (correlation.kendall_tau(a, b).item() for a, b in zip(flat[::2], flat[1::2], strict=True))
    assert summed == pytest.approx(full)
    assert abs(raw - full) > 0.2


def test_tau_refuses_bad_input():
    x = np.random.default_rng(0).random((4, 6))
    x[3, 1] = np.nan
    with pytest.raises(ValueError, match="instances: row 3 has a cell that is not finite"):
        correlation.kendall_tau(x, x[:1])
    with pytest.raises(ValueError, match="references: row 3"):
        correlation.kendall_tau(x[:1], x)
    with pytest.raises(ValueError, match="6 cells an instance, 5 a reference"):
        correlation.kendall_tau(x[:2], x[:2, :5])
    with pytest.raises(ValueError, match=r"expected \[rows, cells\]"):
        correlation.kendall_tau(x[0], x[:2])
    with pytest.raises(ValueError, match="two or more"):
        correlation.kendall_tau(x[:2, :1], x[:2, :1])


# What a tau is worth


def test_equal_rows_weigh_layer_by_layer():
    rows = np.array([[[1.0, 3], [1, 1]], [[300, 100], [1, 3]]])
    assert correlation.task_matrix(rows, "equal") == pytest.approx(np.array([[0.5, 0.5], [0, 1]]))


def test_centring_removes_what_all_tasks_share():
    rng = np.random.default_rng(4)
    shared, own = 5 * rng.random((6, 8)), rng.random((12, 6, 8))
    own[1] = own[0] + 0.1 * rng.random((6, 8))
    plain, centred = correlation.task_taus(shared + own), correlation.task_taus(correlation.centre(shared + own))
    unrelated = np.triu(np.ones((12, 12), bool), 2)
    assert plain[unrelated].min() > 0.6
    assert plain == pytest.approx(plain.T)
    assert centred[0, 1] > 0.7
    assert -0.15 < centred[unrelated].mean() < -0.02  # about -1 / 11 in correlation, tau somewhat nearer 0
    assert correlation.centre((shared + own)[:1], shared) == pytest.approx(own[:1])


def test_split_half_falls_with_noise_and_rises_with_rows():
    rng = np.random.default_rng(5)
    profile = rng.random((4, 6))
    rows = (profile + rng.exponential(1.0, (400, 4, 6))).astype(np.float32)
    whole, few = correlation.split_half(rows), correlation.split_half(rows, size=10)
    assert whole.shape == (20,)
    assert whole.mean() > few.mean() + 0.1
    assert correlation.split_half(rows, seed=1).tolist() != whole.tolist() == correlation.split_half(rows).tolist()
    assert correlation.split_half(np.repeat(rows[:1], 6, 0)) == pytest.approx(1)
    with pytest.raises(ValueError, match="halves of 201 rows do not fit 400 rows"):
        correlation.split_half(rows, size=201)


def test_halves_share_no_row_and_weigh_as_asked():
    rows = np.random.default_rng(0).exponential(1.0, (4, 3, 4)) * np.array([1, 10, 100, 1000])[:, None, None]
    flat = [correlation.task_matrix(rows[[i]]).reshape(1, -1) for i in (0, 1)]
    assert correlation.split_half(rows[:2]) == pytest.approx(correlation.kendall_tau(*flat).item())
    assert correlation.split_half(rows, weigh="equal").tolist() != correlation.split_half(rows).tolist()


def test_p_is_one_sided():
    a = np.random.default_rng(6).random((6, 8))
    tau, _, p = correlation.permutation_null(a, 1 - a)
    assert (tau, p) == (-1, 1)  # two-sided it would be the smallest there is


def test_permutation_null_knows_luck_and_layers():
    rng = np.random.default_rng(6)
    a, b = rng.random((2, 6, 8))
    tau, null, p = correlation.permutation_null(a, a)
    assert (tau, p) == (1, 1 / 1000)
    assert null.shape == (999,)
    assert null.max() < 0.5
    assert correlation.permutation_null(a, b, within_layers=False)[1].mean() == pytest.approx(0, abs=0.02)
    assert 0.01 < correlation.permutation_null(a, b)[2] < 0.99
    # Two matrices that agree on layers alone: remarkable over all cells, not within layers.
    layers = 3 * np.arange(6.0)[:, None]
    assert correlation.permutation_null(a + layers, b + layers, within_layers=False)[2] == 1 / 1000
    assert correlation.permutation_null(a + layers, b + layers)[2] > 0.01
