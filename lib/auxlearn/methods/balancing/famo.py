"""FAMO: weights under which all losses fall at the same rate, at the price of a forward pass (Liu et al., 2023)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from auxlearn.methods.balancing.balancer import Balancer
from auxlearn.methods.base import Options
from auxlearn.methods.registry import register

LEAST = 1e-8  # added to losses before their logarithm, as the authors do


class FAMOOptions(Options):
    """Options of famo."""

    famo_rate: float = Field(0.025, gt=0)
    """step size of the logits, which the authors' Adam has too"""
    famo_decay: float = Field(0.001, ge=0)
    """how fast logits return to 0"""


def moved(logits: np.ndarray, before: np.ndarray, after: np.ndarray, rate: float, decay: float) -> np.ndarray:
    """Take one step on the logits: up for tasks whose log loss fell less than their weighted mean.

    Args:
        logits: float [K].
        before: Losses of a batch before the model's step, float [K]; NaN of tasks that are not in it.
        after: The same after it.
        rate: The step size.
        decay: How fast logits return to 0.

    Returns:
        logits - rate (z * (d - sum z d / sum z) + decay logits), z = softmax(logits), d = log before - log after,
        float64 [K]; sums are over the tasks of the batch, and the other tasks' logits only decay.
    """
    fell = np.log(before + LEAST) - np.log(after + LEAST)
    there, z = ~np.isnan(fell), softmax(logits)
    mean = np.average(fell[there], weights=z[there]) if there.any() else 0.0
    slope = np.where(there, z * (np.where(there, fell, 0.0) - mean), 0.0)
    return logits - rate * (slope + decay * logits)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return exp(logits) / sum, float64 [K]."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


@register
class FAMO(Balancer):
    """Weights z / loss, with z = softmax(logits), whose logits follow how far each log loss fell by a step.

    What differs from the authors: they move the logits by Adam, with a decay of 0.01 in their code; here they take
    plain steps. Their weights divide by the losses of the batch that is trained, ours by those of the batch before it,
    read after its step, as weights are set between steps; the first step has even weights. A mixed batch may lack a
    task, whose logits then stay but for the decay. Losses before and after a step have dropout masks of their own.
    """

    name, title = "famo", "weights under which all losses fall at the same rate"
    reference = "Liu et al., 2023 (FAMO)"
    formula = (
        "w ~ z / loss, z = softmax(x); x <- x - rate (z (d - sum z d) + decay x), d: fall of each log loss by a step, "
        "over the tasks in the batch"
    )
    cost, use = "a forward pass of every batch", "beside uncertainty and dwa: it needs no gradient of any task either"
    again, every = True, 1
    Options = FAMOOptions

    def balance(
        self, losses: np.ndarray, more: np.ndarray | None, memory: dict[str, Any], options: FAMOOptions
    ) -> np.ndarray:  # fmt: skip
        """Move the logits, and weigh each log loss by them."""
        assert more is not None, "asked for by `again`"
        known = np.array(memory.get("losses", [1.0] * len(losses)))
        logits = np.array(memory.get("logits", [0.0] * len(losses)))
        logits = moved(logits, losses, more, options.famo_rate, options.famo_decay)
        known = np.where(np.isnan(more), known, more)
        memory["logits"], memory["losses"] = logits.tolist(), known.tolist()
        return softmax(logits) / (known + LEAST)
