"""Uncertainty weighting: a learned variance per task divides its loss (Kendall et al., CVPR 2018)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from auxlearn.methods.balancing.balancer import Balancer
from auxlearn.methods.base import Options
from auxlearn.methods.registry import register


class UncertaintyOptions(Options):
    """Options of uncertainty."""

    variance_rate: float = Field(0.02, gt=0, le=1)
    """step size of the log variances, which gradient descent moves at every step"""


def descend(log_variances: np.ndarray, losses: np.ndarray, rate: float) -> np.ndarray:
    """Take one step of gradient descent on sum_k exp(-s_k) L_k + s_k / 2 in the log variances s.

    Args:
        log_variances: s, float [K].
        losses: L, float [K]; NaN leaves a task's s where it is.
        rate: The step size.

    Returns:
        float64 [K].
    """
    slope = 0.5 - np.exp(-log_variances) * losses
    return log_variances - rate * np.where(np.isnan(slope), 0.0, slope)


@register
class Uncertainty(Balancer):
    """Weights exp(-s) by log variances s that start at 0.

    The loss is that of the paper for classification, exp(-s) L + s / 2, for regression too. It trains s with the
    model's optimiser; here s takes plain steps of `variance_rate`, and weights are put on a scale at which their mean
    is 1, so that the learning rate is that of every other policy: only the tasks' proportions are learned.
    """

    name, title = "uncertainty", "weights by learned variances of the tasks"
    reference = "Kendall et al., 2018"
    formula = "w ~ exp(-s); s <- s - rate (1/2 - exp(-s) loss) after every step"
    cost, use = "nothing", "as the common answer to unequal losses; it knows nothing of the primary"
    every = 1
    Options = UncertaintyOptions

    def balance(
        self, losses: np.ndarray, more: np.ndarray | None, memory: dict[str, Any], options: UncertaintyOptions
    ) -> np.ndarray:  # fmt: skip
        """Move the log variances, and weigh by them."""
        s = descend(np.array(memory.get("log_variances", [0.0] * len(losses))), losses, options.variance_rate)
        memory["log_variances"] = s.tolist()
        return np.exp(-(s - s.min()))
