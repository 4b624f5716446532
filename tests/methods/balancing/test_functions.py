"""What moves the weights, against the papers' formulas worked by hand or by autograd."""

import numpy as np
import pytest
import torch
from torchjd import aggregation

from auxlearn.methods import registry
from auxlearn.methods.balancing import aggregators, dwa, famo, gradnorm, uncertainty


def test_log_variances_descend_the_loss_of_the_paper():
    s, losses = np.array([0.0, 0.7, -0.4]), np.array([0.5, 2.0, 0.1])
    leaf = torch.tensor(s, requires_grad=True)
    (torch.exp(-leaf) * torch.tensor(losses) + leaf / 2).sum().backward()
    assert uncertainty.descend(s, losses, 0.1) == pytest.approx(s - 0.1 * leaf.grad.numpy())
    assert uncertainty.descend(s, np.array([0.5, np.nan, 0.1]), 0.1)[1] == 0.7  # no row, no news


def test_variances_settle_where_the_loss_is_least():
    """exp(-s) L + s / 2 is least at s = log 2L, so that a loss of a half weighs 1."""
    policy, memory = registry.get("uncertainty"), {}
    for step in range(3000):
        weights = policy.follow(
            ["a", "b"], np.array([0.5, 0.5]), np.array([0.5, 2.0]), None, memory, step, policy.Options()
        )
    assert memory["log_variances"] == pytest.approx(np.log([1.0, 4.0]).tolist(), abs=1e-6)
    assert weights[0] / weights[1] == pytest.approx(4.0)


def test_a_task_whose_loss_falls_slowly_weighs_more():
    weights = dwa.weights_of(np.array([0.9, 0.5]), np.array([1.0, 1.0]), 2.0)
    assert weights == pytest.approx(np.exp([0.45, 0.25]) / np.exp([0.45, 0.25]).sum())
    policy, memory = registry.get("dwa"), {}
    start = np.array([0.75, 0.25])
    asked = (None, memory, 0, policy.Options())
    assert policy.follow(["a", "b"], start, np.array([1.0, 1.0]), *asked) == pytest.approx(start)
    assert policy.follow(["a", "b"], start, np.array([0.9, 0.5]), *asked) == pytest.approx(start * weights)


def test_famo_s_gradient_is_that_of_autograd():
    logits, before, after = np.array([0.2, -0.1, 0.0]), np.array([1.0, 2.0, 0.5]), np.array([0.9, 1.0, 0.5])
    leaf = torch.tensor(logits, requires_grad=True)
    fell = torch.log(torch.tensor(before) + famo.LEAST) - torch.log(torch.tensor(after) + famo.LEAST)
    (torch.softmax(leaf, 0) * fell).sum().backward()
    expected = leaf.grad.numpy() + 0.001 * logits
    assert famo.slope(logits, before, after, 0.001) == pytest.approx(expected)
    assert expected[2] < 0 < expected[1]  # what did not fall is to weigh more


def test_famo_steps_as_torch_s_adam_does_and_plainly_where_asked():
    policy = registry.get("famo")
    leaf = torch.zeros(2, requires_grad=True)
    optimiser, memory, plain = torch.optim.Adam([leaf], lr=0.025, weight_decay=0.001), {}, {}
    options = policy.Options()
    for step in range(5):
        before, after = np.array([1.0, 2.0]), np.array([0.9 - 0.1 * step, 1.9])
        fell = torch.log(torch.tensor(before)) - torch.log(torch.tensor(after))
        (leaf.grad,) = torch.autograd.grad((torch.softmax(leaf, 0) * fell).sum(), leaf)
        optimiser.step()
        policy.balance(before, after, memory, options)
        slow = policy.balance(before, after, plain, policy.Options(famo_step="plain"))
    assert memory["logits"] == pytest.approx(leaf.tolist(), abs=1e-6)
    assert memory["logits"][1] - memory["logits"][0] > 0.2  # five steps of 0.025 each way
    assert abs(plain["logits"][1] - plain["logits"][0]) < 0.05
    assert slow.sum() == pytest.approx(1)


def test_famo_leaves_a_task_that_is_not_in_the_batch_where_it_is():
    nan, policy, memory = float("nan"), registry.get("famo"), {}
    for _ in range(3):
        policy.balance(np.array([1.0, 1.0, nan]), np.array([0.5, 1.0, nan]), memory, policy.Options())
    assert memory["logits"][2] == 0
    assert memory["logits"][0] == pytest.approx(-memory["logits"][1])
    assert memory["logits"][0] < -0.05
    memory = {}  # all tasks' losses fall alike, and the first is in one batch of ten
    for step in range(500):
        before = np.array([nan if step % 10 else 1.0, 1.0, 1.0])
        policy.balance(before, before * 0.95, memory, policy.Options())
    assert famo.softmax(np.array(memory["logits"])) == pytest.approx([1 / 3] * 3)


def test_dwa_takes_a_task_that_a_cut_epoch_lacks_for_one_that_stood_still():
    policy, memory = registry.get("dwa"), {}
    for losses in ([1.0, 4.0], [0.5, 2.0], [float("nan"), 1.0]):
        weights = policy.balance(np.array(losses), None, memory, policy.Options())
    assert weights == pytest.approx(dwa.weights_of(np.array([0.5, 1.0]), np.array([0.5, 2.0]), 2.0))
    assert memory["losses"] == [0.5, 1.0]


def test_famo_weighs_log_losses_by_a_running_mean():
    policy, memory = registry.get("famo"), {}
    losses, nan = np.array([1.0, 4.0]), float("nan")
    weights = policy.follow(["a", "b"], np.array([0.5, 0.5]), losses, losses, memory, 1, policy.Options())
    assert weights[0] / weights[1] == pytest.approx(4.0)  # even logits: d log L = d L / L
    assert weights.sum() == pytest.approx(0.5)  # even weights of means are 1 / 2 here
    policy.follow(["a", "b"], weights, np.array([2.0, nan]), np.array([2.0, nan]), memory, 2, policy.Options())
    assert memory["losses"] == pytest.approx([1.1, 4.0])
    policy.balance(losses, np.array([2.0, 1.0]), memory, policy.Options(famo_smooth=0.0))
    assert memory["losses"] == pytest.approx([2.0, 1.0])


@pytest.mark.parametrize("name", aggregators.AGGREGATORS)
def test_an_aggregator_is_torchjd_s(name):
    policy = registry.get(name)
    jacobian = torch.tensor([[1.0, 0.0], [-0.5, 1.0]])
    torch.manual_seed(1)
    made = policy.aggregator(policy.Options())(jacobian)
    torch.manual_seed(1)
    assert torch.equal(made, getattr(aggregation, aggregators.AGGREGATORS[name][0])()(jacobian))


def test_pcgrad_takes_away_what_conflicts():
    """g1 = (1, 0), g2 = (-1/2, 1): g1 - (g1.g2 / g2.g2) g2 = (0.8, 0.4), g2 - (g2.g1) g1 = (0, 1)."""
    made = registry.get("pcgrad").aggregator(None)(torch.tensor([[1.0, 0.0], [-0.5, 1.0]]))
    assert made.tolist() == pytest.approx([0.8, 1.4])


def test_without_torchjd_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "torchjd", None)
    with pytest.raises(ValueError, match=r"pip install 'auxlearn\[aggregators\]'"):
        registry.get("pcgrad").check(None, None)


# --- formulas of the pages, against torchjd --------------------------------------------------------------------------


def _pcgrad(g):
    """Of two gradients, so that no order is drawn."""
    return sum(own - min(own @ other, 0) * other / (other @ other) for own, other in (g, g[::-1]))


def _mgda(g):
    """Of two gradients: the point of the segment between them that is nearest to 0."""
    share = np.clip((g[1] - g[0]) @ g[1] / ((g[1] - g[0]) @ (g[1] - g[0])), 0, 1)
    return share * g[0] + (1 - share) * g[1]


def _imtl_g(g):
    units = g / np.linalg.norm(g, axis=1, keepdims=True)
    a = np.linalg.solve(np.vstack([(units[0] - units[1:]) @ g.T, np.ones(len(g))]), np.eye(len(g))[-1])
    return a @ g


def _aligned_mtl(g):
    u, s, v = np.linalg.svd(g, full_matrices=False)
    return (s.min() * u @ v).mean(0)


def _config(g):
    unit = np.linalg.pinv(g / np.linalg.norm(g, axis=1, keepdims=True)).sum(1)
    unit /= np.linalg.norm(unit)
    return (g @ unit).sum() * unit


@pytest.mark.parametrize(
    ("name", "formula", "tasks"),
    [
        ("mean_gradient", lambda g: g.mean(0), 3), ("pcgrad", _pcgrad, 2), ("mgda", _mgda, 2), ("imtl_g", _imtl_g, 3),
        ("aligned_mtl", _aligned_mtl, 3), ("config", _config, 3),
    ],
)  # fmt: skip
def test_an_aggregator_is_its_formula(name, formula, tasks):
    policy = registry.get(name)
    for seed in range(3):
        g = np.random.default_rng(seed).normal(size=(tasks, 6)) * ([[1.0], [3.0], [0.5]][:tasks])
        g[1] -= 2 * g[0]  # in conflict
        made = policy.aggregator(policy.Options())(torch.tensor(g))
        assert made.numpy() == pytest.approx(formula(g), rel=1e-3, abs=1e-3)


# --- GradNorm --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.0, 1.5])
def test_gradnorm_descends_the_loss_of_the_paper(alpha):
    """By autograd of sum |w n - mean(w n) r^alpha|, with the aim held, then on the scale of mean 1."""
    w, n = np.array([0.8, 1.5, 0.7]), np.array([0.4, 0.2, 0.9])
    losses, first = np.array([0.3, 0.6, 0.2]), np.array([0.7, 0.7, 1.4])
    leaf, lengths = torch.tensor(w, requires_grad=True), torch.tensor(n)
    ratio = torch.tensor(losses / first)
    aim = ((leaf * lengths).mean() * (ratio / ratio.mean()) ** alpha).detach()
    (leaf * lengths - aim).abs().sum().backward()
    by_hand = w - 0.1 * leaf.grad.numpy()
    found = gradnorm.moved(w, n, losses, first, alpha, 0.1)
    assert found == pytest.approx(by_hand * 3 / by_hand.sum())
    assert found.mean() == pytest.approx(1.0)


def test_gradnorm_makes_gradients_equally_long_where_alpha_is_0_and_longer_where_a_loss_stays():
    n, weights = np.array([1.0, 4.0]), np.ones(2)
    for _ in range(4000):
        weights = gradnorm.moved(weights, n, np.array([1.0, 1.0]), np.ones(2), 0.0, 0.001)
    assert weights * n == pytest.approx([1.6, 1.6], rel=0.02)  # w = (1.6, 0.4)
    for _ in range(4000):  # the first task's loss stays, the second's falls to a third: aims are as 1.5 and 0.5
        weights = gradnorm.moved(weights, n, np.array([0.9, 0.3]), np.full(2, 0.9), 1.0, 0.001)
    assert weights[0] / (4 * weights[1]) == pytest.approx(3.0, rel=0.05)


def test_gradnorm_leaves_a_task_that_a_batch_lacks():
    nan = np.nan
    found = gradnorm.moved(np.ones(3), np.array([0.5, nan, 0.1]), np.array([1, nan, 1.0]), np.ones(3), 1.5, 0.1)
    by_hand = np.array([1 - 0.1 * 0.5, 1.0, 1 + 0.1 * 0.1])
    assert found == pytest.approx(by_hand * 3 / by_hand.sum())
    one = gradnorm.moved(np.ones(3), np.array([0.5, nan, nan]), np.array([1, nan, nan]), np.ones(3), 1.5, 0.1)
    assert one == pytest.approx(np.ones(3))
    far = gradnorm.moved(np.ones(2), np.array([9.0, 1.0]), np.ones(2), np.ones(2), 1.5, 1.0)
    assert far[0] == pytest.approx(2 * gradnorm.LEAST / (gradnorm.LEAST + 2), rel=1e-6)  # not below 0


def test_gradnorm_measures_from_each_task_s_first_loss():
    policy, memory, nan = registry.get("gradnorm"), {}, np.nan
    first = policy.follow(
        ["a", "b"], np.array([0.5, 0.5]), np.array([0.8, nan]), np.array([0.3, nan]), memory, 1, policy.Options()
    )
    assert (memory, first.tolist()) == ({"first": [0.8, None]}, [1.0, 1.0])
    second = policy.follow(
        ["a", "b"], first / 2, np.array([0.4, 0.6]), np.array([0.3, 0.2]), memory, 2, policy.Options()
    )
    assert memory == {"first": [0.8, 0.6]}
    by_hand = gradnorm.moved(np.ones(2), np.array([0.3, 0.2]), np.array([0.4, 0.6]), np.array([0.8, 0.6]), 1.5, 0.025)
    assert second == pytest.approx(by_hand)
