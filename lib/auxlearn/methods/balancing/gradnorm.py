"""GradNorm: weights under which all tasks' gradients are about equally long (Chen et al., ICML 2018)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from pydantic import Field

from auxlearn.methods.base import Options, WeightPolicy
from auxlearn.methods.registry import register

LEAST = 1e-3  # of a weight, whose mean is 1: a step too far must not turn a task's gradient round


class GradNormOptions(Options):
    """Options of gradnorm."""

    gradnorm_alpha: float = Field(1.5, ge=0)
    """how much longer gradients of tasks are to be whose loss has fallen less (0: all equally long)"""
    gradnorm_rate: float = Field(0.025, gt=0)
    """step size of the weights, which gradient descent moves at every step"""


def moved(
    weights: np.ndarray, lengths: np.ndarray, losses: np.ndarray, first: np.ndarray, alpha: float, rate: float
) -> np.ndarray:
    """Take one step on the weights towards gradients of the lengths that are aimed at.

    Args:
        weights: w, float [K], mean 1.
        lengths: n, the length of each task's gradient without its weight, float [K]; NaN of tasks without one, which
            count for nothing and stay, but for the scale.
        losses: L, float [K]; NaN of the same tasks.
        first: Each task's loss at the start, float [K], above 0.
        alpha: How much slow tasks are favoured.
        rate: The step size.

    Returns:
        w - rate n sign(w n - mean(w n) r^alpha), r = L / first divided by its mean; none below `LEAST`, on the scale at
        which their mean is 1, float64 [K].
    """
    there = ~np.isnan(lengths)
    if not there.any():
        return weights
    speed = losses / first
    weighted = weights * lengths
    aims = weighted[there].mean() * (speed / max(float(speed[there].mean()), 1e-12)) ** alpha
    slopes = np.where(there, lengths * np.sign(weighted - aims), 0.0)  # of |w n - aim|, the aim held
    stepped = np.maximum(weights - rate * slopes, LEAST)
    return stepped * (len(stepped) / stepped.sum())


@register
class GradNorm(WeightPolicy):
    """Weights of the tasks' mean losses that follow the lengths of their gradients.

    A gradient's length is that over the encoder's last layer, as the paper proposes to save time. What differs from it:

    - A batch may lack a task, whose weight then stays; weights of those that it has are put on a sum of 1, so that even
      weights are `mean_gradient`, the control. A task's first loss is that of the first batch that has it.
    - Weights take plain steps, of a size of their own, and stay above 0.001, where their mean is 1.
    - Heads keep their task's own gradient, without its weight.
    """

    name, title, family = "gradnorm", "weights under which all tasks' gradients are about equally long", "balancing"
    reference = "Chen et al., 2018 (GradNorm)"
    formula = (
        "w <- w - rate n sign(w n - mean(w n) r^alpha), mean 1; n: length of the task's gradient over the last layer, "
        "r: loss / first loss over its mean"
    )
    cost = "nothing, but a batch's tasks pass one by one, and a gradient of the encoder is kept for each"
    use = "where tasks' losses are on unequal scales; beside mean_gradient, which has even weights"
    follows = aggregates = norms = True
    every = 1
    contrasts = ("mean_gradient", "")
    Options = GradNormOptions

    def follow(
        self, names: Sequence[str], weights: np.ndarray, losses: np.ndarray, more: np.ndarray | None,
        memory: dict[str, Any], step: int, options: Any,
    ) -> np.ndarray:  # fmt: skip
        """Move the weights by the lengths of the last step's gradients."""
        assert more is not None, "asked for by `norms`"
        first = np.array(memory.get("first", [np.nan] * len(losses)), float)
        first = np.where(np.isnan(first), np.maximum(losses, 1e-12), first)
        memory["first"] = [None if np.isnan(loss) else float(loss) for loss in first]
        return moved(weights * len(weights), more, losses, first, options.gradnorm_alpha, options.gradnorm_rate)
