"""What a plan asks for by a word and a method brings: objectives beside the task loss, trainers of phases.

Names in place of imports: training lies below the methods and knows none of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Protocol

import torch


class Objective(Protocol):
    """A loss beside the task loss, on the logits of the model's discriminator [B, K]."""

    def weight(self, sizes: Sequence[int]) -> torch.Tensor | None:
        """What the loss needs to know of the tasks' rows, float32 [K]; None for nothing."""

    def loss(self, logits: torch.Tensor, task_id: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """The mean loss over the batch, a scalar."""


OBJECTIVES = {"bce": "methods.fastmtl.discriminator:BCE", "ce": "methods.fastmtl.discriminator:CE"}
# By the field of a phase that needs one.
TRAINERS = {"rounds": "methods.autosem.bandit_trainer", "weighting": "methods.tawt.weighted_trainer"}
PASS_SHARE = "signals.pass_store:fill"  # one process's share of a pass over the pool


def found(name: str) -> Any:
    """The object that a registered name ("module:attribute" within the package) stands for."""
    module, _, attribute = name.partition(":")
    loaded = importlib.import_module(f"auxlearn.{module}")
    return getattr(loaded, attribute) if attribute else loaded


def objective(name: str) -> Objective:
    """The objective that `Phase.discriminator` names."""
    return found(OBJECTIVES[name])()


def trainer(fields: Sequence[str]) -> ModuleType:
    """The module whose `run` trains phases that have these fields."""
    return found(next((module for field, module in TRAINERS.items() if field in fields), "training.train"))
