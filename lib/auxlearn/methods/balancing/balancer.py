"""What policies that follow losses share: they weigh each task's mean loss, whatever its number of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from auxlearn.methods.base import Cell, Context, WeightPolicy


class Balancer(WeightPolicy):
    """Weights over the tasks' mean losses; subclasses say which by `balance`.

    A batch has rows of all tasks, and a weight multiplies a row's loss. The papers weigh each task's mean: a row's
    weight is therefore its task's divided by the task's rows. Even weights are then those of `normalised`, the control.
    """

    family = "balancing"
    follows = True
    contrasts = ("normalised", "")

    def prior(self, context: Context, cell: Cell, sizes: Mapping[str, int], options: Any) -> Mapping[str, float]:
        """Start with even weights of the tasks' means."""
        return {name: 1.0 / rows for name, rows in sizes.items()}

    def follow(
        self, names: Sequence[str], weights: np.ndarray, losses: np.ndarray, more: np.ndarray | None,
        memory: dict[str, Any], step: int, options: Any,
    ) -> np.ndarray:  # fmt: skip
        """Multiply the starting weights by those of `balance`."""
        start = np.array(memory.setdefault("start", weights.tolist()))
        return start * self.balance(losses, more, memory, options)

    def balance(
        self, losses: np.ndarray, more: np.ndarray | None, memory: dict[str, Any], options: Any
    ) -> np.ndarray:  # fmt: skip
        """Return the weight of each task's mean loss, float64 [K], none negative; arguments as of `follow`."""
        raise NotImplementedError
