"""What moves the weights, against the papers' formulas worked by hand or by autograd."""

import numpy as np
import pytest
import torch
from torchjd import aggregation

from auxlearn.methods import registry
from auxlearn.methods.balancing import aggregators, dwa, famo, uncertainty


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


def test_famo_moves_its_logits_as_autograd_does():
    logits, before, after = np.array([0.2, -0.1, 0.0]), np.array([1.0, 2.0, 0.5]), np.array([0.9, 1.0, 0.5])
    leaf = torch.tensor(logits, requires_grad=True)
    fell = torch.log(torch.tensor(before) + famo.LEAST) - torch.log(torch.tensor(after) + famo.LEAST)
    (torch.softmax(leaf, 0) * fell).sum().backward()
    expected = logits - 0.025 * (leaf.grad.numpy() + 0.001 * logits)
    assert famo.moved(logits, before, after, 0.025, 0.001) == pytest.approx(expected)
    assert expected[2] > logits[2] > expected[1] - logits[1]  # what did not fall weighs more


def test_famo_weighs_log_losses():
    policy, memory = registry.get("famo"), {}
    losses, after = np.array([1.0, 4.0]), np.array([1.0, 4.0])
    weights = policy.follow(["a", "b"], np.array([0.5, 0.5]), losses, after, memory, 1, policy.Options())
    assert weights[0] / weights[1] == pytest.approx(4.0)  # even logits: d log L = d L / L
    policy.follow(["a", "b"], weights, np.array([1.0, np.nan]), np.array([1.0, np.nan]), memory, 2, policy.Options())
    assert memory["losses"] == pytest.approx([1.0, 4.0])


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
