"""Dynamic weight average: tasks whose loss falls slowly weigh more (Liu et al., CVPR 2019)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from pydantic import Field

from auxlearn.errors import InputError
from auxlearn.methods.balancing.balancer import Balancer
from auxlearn.methods.base import Cell, Context, Options, Selection
from auxlearn.methods.registry import register
from auxlearn.training import phases
from auxlearn.training.phases import Plan

EVEN_EPOCHS = 2  # weights follow what the losses did over two whole epochs


class DWAOptions(Options):
    """Options of dwa."""

    dwa_temperature: float = Field(2.0, gt=0)
    """the higher, the more even the weights"""


def weights_of(last: np.ndarray, before: np.ndarray, temperature: float) -> np.ndarray:
    """Return weights from the mean losses of two epochs.

    Args:
        last: Losses of the last epoch, float [K], above 0.
        before: Of the epoch before it, float [K], above 0.
        temperature: Above 0.

    Returns:
        softmax(last / before / temperature), float64 [K], sum 1.
    """
    logs = last / before / temperature
    weights = np.exp(logs - logs.max())
    return weights / weights.sum()


@register
class DWA(Balancer):
    """Weights by how the tasks' losses fell from the last epoch but one to the last; even for the first two epochs.

    What differs from the paper: weights are put on a scale at which their mean is 1, which its factor K does too, and
    losses are those of the rows that were trained, with dropout, averaged over the epoch. A training that ends within
    two epochs, all of it with even weights, is refused.
    """

    name, title = "dwa", "weights by how fast each task's loss falls"
    reference = "Liu et al., 2019"
    formula = "w = softmax(r / T), r = loss of the last epoch / loss of the epoch before"
    cost, use = "nothing", "over three epochs or more; for the first two its weights are even"
    every = 0
    Options = DWAOptions

    def plan(self, context: Context, cell: Cell, selection: Selection, options: DWAOptions) -> Plan:
        """Plan a training of three epochs or more.

        Raises:
            InputError: It ends before any weight has moved.
        """
        plan = super().plan(context, cell, selection, options)
        for phase in plan.phases:
            sizes = {name: len(rows) for name, rows in phase.rows.items()}
            (epoch,) = phases.schedule(replace(phase, epochs=1, steps=None), sizes)
            steps, even = sum(phases.schedule(phase, sizes)), EVEN_EPOCHS * epoch
            if phase.weighting and steps <= even:
                raise InputError(
                    f"dwa: its weights move from the third epoch on, and {phase.name} has {steps} steps, of which the "
                    f"first two epochs take {even}; give `steps` above that, three epochs, or fewer `rows`"
                )
        return plan

    def balance(
        self, losses: np.ndarray, more: np.ndarray | None, memory: dict[str, Any], options: DWAOptions
    ) -> np.ndarray:  # fmt: skip
        """Weigh by the last two epochs."""
        before = memory.get("losses")
        # An epoch that the last step cuts short may lack a task, whose loss then stays what it was.
        last = losses if before is None else np.where(np.isnan(losses), before, losses)
        memory["losses"] = last.tolist()
        if before is None:
            return np.ones(len(losses))
        return weights_of(np.maximum(last, 1e-12), np.maximum(before, 1e-12), options.dwa_temperature)
