"""A training that goes on where it was interrupted: what it has found so far, and the checkpoints that hold it.

Checkpoints are written at the end of epochs (of a bandit: rounds), where order and dropout are drawn anew, so that a
resumed training gives the bits of one that was never interrupted. `training.checkpoint` is their form on disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auxlearn import cost, errors
from auxlearn.cost import Ledger, Meter
from auxlearn.data import batching
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.files import stored_arrays
from auxlearn.models import multitask, trimmed_embedding
from auxlearn.training import checkpoint, data_parallel, evaluator, optimisers
from auxlearn.training.phases import Phase, Plan
from auxlearn.training.step_table import Steps

CHECKPOINT_SECONDS = 60.0  # an epoch boundary writes a checkpoint when the last one is older than this
Progress = Callable[[str], None]


@dataclass
class Running:
    """A phase while it is trained."""

    number: int
    phase: Phase
    data: dict[str, batching.Encoded]
    epochs: list[int]  # steps of each
    looks: frozenset[int]  # steps after which the model is judged, counted from 1
    first: int  # epoch to start from
    optimiser: torch.optim.Optimizer
    weight: torch.Tensor | None  # of the discriminator's columns
    ledger: Ledger


class _Progress(BaseModel):
    """What a checkpoint must say of how far its training had come."""

    model_config = ConfigDict(extra="allow")

    phase: int = Field(ge=0)
    epoch: int = Field(ge=0)
    history: list[dict[str, Any]]
    looks: list[dict[str, Any]]
    chosen: dict[str, int]
    ledgers: list[Ledger]


class Resumable(evaluator.Evaluator):
    """What a training has found so far, kept on disk by the first of its processes.

    Args:
        plan: The plan.
        suite: Its suite.
        net: The model to be trained.
        folder: Where checkpoints are kept; None to keep none.
        progress: Called with messages for whoever waits.
    """

    def __init__(
        self, plan: Plan, suite: Suite, net: multitask.MultiTaskModel, folder: Path | None, progress: Progress
    ):  # fmt: skip
        super().__init__(plan, suite, net)
        self.progress = progress
        self.rank, self.size = data_parallel.world()
        self.file = folder / "checkpoint.safetensors" if folder else None
        self.history: list[dict[str, Any]] = []
        self.looks: list[dict[str, Any]] = []
        self.steps = Steps()
        self.ledgers = [Ledger(phase.name) for phase in plan.phases]
        self.chosen: dict[str, int] = {}
        self.updates: list[dict[str, Any]] = []
        self.best: dict[str, torch.Tensor] | None = None
        self.saved = time.monotonic()
        # The first process keeps the ledgers, and reads the energy of all.
        self.cards = None if plan.device == "cpu" else data_parallel.gathered(cost.card())

    def meter(self, number: int) -> Meter:
        """Make the meter of a phase, by the phase's number; it fills the phase's ledger."""
        self._meter = Meter(self.ledgers[number], self.plan.device, self.cards)
        return self._meter

    def checkpoint_if_due(self, running: Running, epoch: int) -> None:
        """Write a checkpoint at the end of an epoch if the last one is older than CHECKPOINT_SECONDS.

        Args:
            running: The phase that is trained.
            epoch: The epoch that has ended, from 0.
        """
        if self.file and not self.rank and time.monotonic() - self.saved > CHECKPOINT_SECONDS:
            self._checkpoint(running.number, epoch + 1, running.optimiser)

    def _checkpoint(self, phase: int, epoch: int, optimiser: torch.optim.Optimizer) -> None:
        assert self.file is not None  # as checked by whoever calls
        self._meter.lap()
        progress = {
            "phase": phase, "epoch": epoch, "history": self.history, "looks": self.looks, "chosen": self.chosen,
            "ledgers": [ledger.as_dict() for ledger in self.ledgers],
        } | self._extra()  # fmt: skip
        net, best = self.model, self.best
        checkpoint.save(
            self.file, trimmed_embedding.whole_state(net, net.state_dict()),
            best and trimmed_embedding.whole_state(net, best),
            trimmed_embedding.whole_optimiser(net, optimiser.state_dict()["state"]), progress, self.steps,
        )  # fmt: skip
        self.saved = time.monotonic()

    def restore(self) -> dict[str, Any]:
        """Take up the last checkpoint.

        Returns:
            Its progress, with "phase" (-1 if there is no checkpoint), "epoch" and the "optimiser"'s state.

        Raises:
            InputError: The file is not a checkpoint of this plan.
        """
        if not (self.file and self.file.is_file()):
            return {"phase": -1}
        saved = checkpoint.load(self.file, str(self.model.device))  # of several GPUs, this process's
        progress = saved.progress
        self._check(saved)
        for state in (saved.best, saved.model) if saved.best else (saved.model,):
            stored_arrays.fitted(self.model, state, self.file, checkpoint.AGAIN)
        self.best = saved.best
        self.history, self.looks = progress["history"], progress["looks"]
        self.steps, self.chosen = saved.steps, progress["chosen"]
        self.ledgers = [Ledger.from_dict(row) for row in progress["ledgers"]]
        self._take(progress)
        phase = self.plan.phases[progress["phase"]]
        state = optimisers.optimiser_for(self.model, phase.recipe).state_dict() | {"state": saved.optimiser}
        self.progress(f"resumed {phase.name} after epoch {progress['epoch']}")
        return progress | {"optimiser": state}

    def _check(self, saved: checkpoint.Saved) -> None:
        """Refuse a checkpoint that is not of this plan: run folders may come from anyone."""
        wrong = ""
        try:
            progress = _Progress.model_validate(saved.progress)
        except ValidationError as error:
            wrong = errors.explain(error)[:500]
        else:
            if progress.phase >= len(self.plan.phases) or len(progress.ledgers) < len(self.plan.phases):
                wrong = f"its phase {progress.phase} or its ledgers are not of this plan"
            shapes = [p.shape for p in self.model.parameters()]
            for at, state in saved.optimiser.items():
                if at >= len(shapes) or any(value.dim() and value.shape != shapes[at] for value in state.values()):
                    wrong = f"the optimiser's state {at} is of no parameter of this model"
        if wrong:
            raise InputError(f"{self.file}: not a checkpoint of this training: {wrong}; {checkpoint.AGAIN}")

    def forget(self) -> None:
        """Remove the checkpoint of a training that is finished."""
        if self.file and not self.rank:
            self.file.unlink(missing_ok=True)

    # What `methods.tawt.weighted_trainer` adds.

    def _extra(self) -> dict[str, Any]:
        """Return what a checkpoint holds besides, for JSON."""
        return {}

    def _take(self, progress: dict[str, Any]) -> None:
        """Take up what `_extra` put into a checkpoint."""
