"""What a plan names by a word and a method provides: objectives beside the task loss, and trainers of phases.

Modules are named by strings rather than imported: training lies below the methods and knows none of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import torch

    from auxlearn.training.phases import Plan


class Objective(Protocol):
    """A loss beside the task loss, computed from the logits of the model's discriminator."""

    def weight(self, sizes: Sequence[int]) -> torch.Tensor | None:
        """Work out what the loss needs to know of the tasks' sizes.

        Args:
            sizes: Rows of each task in the phase, in the suite's order.

        Returns:
            float32 [K], or None if it needs nothing.
        """

    def loss(self, logits: torch.Tensor, task_id: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """Compute the mean loss over a batch.

        Args:
            logits: float32 [B, K], of the discriminator.
            task_id: int64 [B], the task of each row.
            weight: What `weight` returned, on the device of `logits`.

        Returns:
            A scalar.
        """


OBJECTIVES = {"bce": "methods.fastmtl.discriminator:BCE", "ce": "methods.fastmtl.discriminator:CE"}
# By the field of a phase that needs one.
TRAINERS = {"rounds": "methods.autosem.bandit_trainer", "weighting": "methods.tawt.weighted_trainer"}
COUNTERS = {"rounds": "methods.autosem.bandit_counter:Counter", "weighting": "methods.tawt.weighted_counter:Counter"}
PASS_SHARE = "signals.pass_store:fill"  # one process's share of a pass over the pool

POLICY_ROOT = "methods.registry:root"  # names the code of a policy that moves weights


def lookup(name: str) -> Any:
    """Import the object that a registered name stands for.

    Args:
        name: "module" or "module:attribute", the module named within the package.
    """
    module, _, attribute = name.partition(":")
    loaded = importlib.import_module(f"auxlearn.{module}")
    return getattr(loaded, attribute) if attribute else loaded


def objective(name: str) -> Objective:
    """Make the objective that `Phase.discriminator` names."""
    return lookup(OBJECTIVES[name])()


def trainer(fields: Sequence[str]) -> ModuleType:
    """Find the module whose `run` trains phases that have some of the fields of TRAINERS.

    Args:
        fields: The fields of a phase that are set; the first of TRAINERS among them decides.

    Returns:
        The module; `training.train` if none of the fields needs another.
    """
    return lookup(next((module for field, module in TRAINERS.items() if field in fields), "training.train"))


def counter(plan: Plan) -> Any:
    """Find the class that counts what the plan's trainer enters into its ledgers: `counting.Counter` or a subclass."""
    needs = (name for field, name in COUNTERS.items() if any(getattr(phase, field) for phase in plan.phases))
    return lookup(next(needs, "training.counting:Counter"))
