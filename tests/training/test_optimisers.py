"""Optimisers by hand, one scalar at a time."""

import numpy as np
import pytest
import torch
from torch import nn

from auxlearn.training.optimisers import optimiser_for
from auxlearn.training.phases import Recipe


def test_adamax_is_mt_dnn_s_by_hand():
    """No bias correction: the first step is a tenth of torch's; weight decay beside the gradient, not in it."""
    layer = nn.Linear(2, 1, bias=False)
    start, gradients = np.array([0.5, -2.0]), np.array([[0.3, -0.1], [0.0, 0.4], [-0.2, 0.2]])
    layer.weight.data = torch.tensor(start, dtype=torch.float32)[None]
    optimiser = optimiser_for(layer, Recipe(0.1, weight_decay=0.01, optimiser="adamax"))
    mean, largest, value = np.zeros(2), np.zeros(2), start
    for gradient in gradients:
        layer.weight.grad = torch.tensor(gradient, dtype=torch.float32)[None]
        optimiser.step()
        mean, largest = 0.9 * mean + 0.1 * gradient, np.maximum(0.999 * largest, np.abs(gradient) + 1e-6)
        value = value - 0.1 * (mean / (largest + 1e-6) + 0.01 * value)
        np.testing.assert_allclose(layer.weight.detach().numpy()[0], value, rtol=2e-6)


@pytest.mark.parametrize("name", ["adamw", "adamax"])
def test_biases_and_norms_do_not_decay(name):
    net = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3))
    before = {key: value.clone() for key, value in net.state_dict().items()}
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    optimiser = optimiser_for(net, Recipe(0.1, weight_decay=0.5, optimiser=name))
    optimiser.step()
    for key, value in net.state_dict().items():
        wanted = 0.95 * before[key] if key == "0.weight" else before[key]
        torch.testing.assert_close(value, wanted)
    shapes = [p.shape for group in optimiser.param_groups for p in group["params"]]
    assert shapes == [p.shape for p in net.parameters()]  # by which order a checkpoint knows their state
