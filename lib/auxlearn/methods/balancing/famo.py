"""FAMO: weights under which all losses fall at the same rate, at the price of a forward pass (Liu et al., 2023)."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from auxlearn.methods.balancing.balancer import Balancer
from auxlearn.methods.base import Options
from auxlearn.methods.registry import register

LEAST = 1e-8  # added to losses before their logarithm, as the authors do
BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam, PyTorch's defaults, which the authors use


class FAMOOptions(Options):
    """Options of famo."""

    famo_rate: float = Field(0.025, gt=0)
    """step size of the logits"""
    famo_decay: float = Field(0.001, ge=0)
    """how fast logits return to 0"""
    famo_step: Literal["adam", "plain"] = "adam"
    """how logits are moved: by Adam, as the authors do, or by plain steps, which at this rate hardly move them"""
    famo_smooth: float = Field(0.9, ge=0, lt=1)
    """share of a task's earlier losses in the loss that its weight is divided by (0: its last batch's alone)"""


def slope(logits: np.ndarray, before: np.ndarray, after: np.ndarray, decay: float) -> np.ndarray:
    """Return the gradient of the logits: negative for tasks whose log loss fell less than their weighted mean.

    Args:
        logits: float [K].
        before: Losses of a batch before the model's step, float [K]; NaN of tasks that are not in it.
        after: The same after it.
        decay: How fast logits return to 0.

    Returns:
        z * (d - sum z d / sum z) + decay logits, z = softmax(logits), d = log before - log after, float64 [K]; sums are
        over the tasks of the batch, and NaN of the others, which have no news.
    """
    fell = np.log(before + LEAST) - np.log(after + LEAST)
    there, z = ~np.isnan(fell), softmax(logits)
    mean = np.average(fell[there], weights=z[there]) if there.any() else 0.0
    return z * (fell - mean) + decay * logits


def adam_step(
    logits: np.ndarray, gradient: np.ndarray, memory: dict[str, Any], rate: float
) -> np.ndarray:  # fmt: skip
    """Take one step of Adam for every logit that has a gradient; the others, and their moments, stay.

    Args:
        logits: float [K].
        gradient: float [K]; NaN where there is none.
        memory: Holds "first" and "second" (moments) and "steps", each of K values, and is updated.
        rate: The step size.

    Returns:
        The logits, float64 [K].
    """
    there = ~np.isnan(gradient)
    first, second, steps = (np.array(memory.get(name, [0.0] * len(logits))) for name in ("first", "second", "steps"))
    first[there] = BETAS[0] * first[there] + (1 - BETAS[0]) * gradient[there]
    second[there] = BETAS[1] * second[there] + (1 - BETAS[1]) * gradient[there] ** 2
    steps[there] += 1
    memory |= {"first": first.tolist(), "second": second.tolist(), "steps": steps.tolist()}
    out = np.array(logits, dtype=float)
    mean = first[there] / (1 - BETAS[0] ** steps[there])
    out[there] -= rate * mean / (np.sqrt(second[there] / (1 - BETAS[1] ** steps[there])) + EPSILON)
    return out


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return exp(logits) / sum, float64 [K]."""
    powers = np.exp(logits - logits.max())
    return powers / powers.sum()


@register
class FAMO(Balancer):
    """Weights z / loss, made to sum to 1, with z = softmax(logits), whose logits follow how far each log loss fell.

    What differs from the authors: their weights divide by the losses of the batch that is trained, of many rows of
    every task; here a mixed batch has a few rows of some tasks, whose losses vary more from batch to batch than from
    task to task, so that weights divide by a running mean of each task's losses (`famo_smooth`), read after steps, as
    weights are set between them. The first step has even weights. The logits of a task that a batch lacks stay, and so
    do their moments. The decay is the paper's 0.001; the code has 0.01. Losses before and after a step have dropout
    masks of their own.
    """

    name, title = "famo", "weights under which all losses fall at the same rate"
    reference = "Liu et al., 2023 (FAMO)"
    formula = (
        "w ~ z / running mean of the loss, z = softmax(x); x moves by Adam along z (d - sum z d) + decay x, d: fall of "
        "each log loss by a step, over the tasks in the batch"
    )
    cost, use = "a forward pass of every batch", "beside uncertainty and dwa: it needs no gradient of any task either"
    again, every = True, 1
    Options = FAMOOptions

    def balance(
        self, losses: np.ndarray, more: np.ndarray | None, memory: dict[str, Any], options: FAMOOptions
    ) -> np.ndarray:  # fmt: skip
        """Move the logits, and weigh each log loss by them."""
        assert more is not None, "asked for by `again`"
        logits = np.array(memory.get("logits", [0.0] * len(losses)))
        gradient = slope(logits, losses, more, options.famo_decay)
        if options.famo_step == "adam":
            logits = adam_step(logits, gradient, memory, options.famo_rate)
        else:
            logits = logits - options.famo_rate * np.where(np.isnan(gradient), 0.0, gradient)
        before = np.array(memory.get("losses", [None] * len(losses)), dtype=float)
        running = options.famo_smooth * before + (1 - options.famo_smooth) * more
        running = np.where(np.isnan(before), more, np.where(np.isnan(more), before, running))
        memory["logits"] = logits.tolist()
        memory["losses"] = [None if np.isnan(loss) else float(loss) for loss in running]
        weights = softmax(logits) / (np.where(np.isnan(running), 1.0, running) + LEAST)
        return weights / weights.sum()
