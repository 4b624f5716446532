"""TAWT's task weights, moved by a callback while a stock Trainer trains, and kept in its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import TrainerCallback

from auxlearn import seeding
from auxlearn.errors import InputError
from auxlearn.files import documents
from auxlearn.integrations.transformers.rows import Collator, Rows
from auxlearn.integrations.transformers.weighting import WeightedLoss
from auxlearn.methods.tawt import cosine
from auxlearn.methods.tawt.task_weights import Weights
from auxlearn.methods.tawt.weight_rule import Updater
from auxlearn.signals import target_gradients
from auxlearn.signals.gradient_moments import Moments

STATE = "auxlearn_tawt.json"  # in each of the Trainer's checkpoints
AGAIN = "train from the start, or go on from another checkpoint"


class Tawt(TrainerCallback):
    """Moves the task weights of a `WeightedLoss` while a stock Trainer trains, as TAWT does.

    Every few steps the gradients of each task's rows and of the primary's held-out rows are measured, dropout off, and
    weights follow their cosines, debiased and shrunk by their own noise (`methods.tawt`). They are in the Trainer's
    checkpoints.

    Args:
        rows: The training rows; task 0 is the primary.
        loss: The Trainer's loss, whose `task_weights` are moved.
        held_out: Rows of the primary that are not trained on.
        collator: The Trainer's collator.
        every: Optimiser steps between updates.
        updater: The step of an update.
        prior: Starting weights by task; None for even ones.
        chunks: Disjoint chunks of rows per task and update, between which noise is told from signal.
        chunk_rows: Rows per chunk.
        parameters: From the model to the parameters whose gradient is measured; None for those of its base model.
        seed: The seed of the chunks.

    Attributes:
        weights: The weights and their history (`task_weights.Weights`).

    Raises:
        InputError: A task has too few rows, or a prior does not fit.

    Reference:
        Chen et al., 2022 (TAWT).
    """

    def __init__(
        self, rows: Rows, loss: WeightedLoss, held_out: Rows, collator: Collator, *, every: int = 50,
        updater: Updater | None = None, prior: Mapping[str, float] | None = None, chunks: int = 2, chunk_rows: int = 32,
        parameters: Callable[[nn.Module], Sequence[nn.Parameter]] | None = None, seed: int = 0,
    ):  # fmt: skip
        if every < 1 or chunks < 2 or chunk_rows < 1:
            raise InputError(f"tawt: every {every}, chunks {chunks}, chunk_rows {chunk_rows}: 1, 2 and 1 are the least")
        few = [name for name in rows.tasks if len(rows.of(name)) < chunks]
        if few or len(held_out) < chunks:
            what = f"{few[0]!r} has" if few else "held_out has"
            raise InputError(f"tawt: {what} fewer rows than the {chunks} chunks that its gradient is measured on")
        sizes = {name: len(rows.of(name)) for name in rows.tasks}
        start = cosine.prior("uniform" if prior is None else "explicit", sizes, weights=prior)
        self.rows, self.loss, self.held_out, self.collator = rows, loss, held_out, collator
        self.every, self.chunks, self.chunk_rows, self.seed = every, chunks, chunk_rows, seed
        self.parameters = parameters or shared
        self.weights = Weights(rows.tasks, start, updater or Updater(tau=0.1), rows.tasks[0])
        loss.task_weights = self.weights.multipliers

    def on_step_end(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **more: Any) -> None:
        """Measure and move the weights after every `every` steps."""
        if state.global_step % self.every == 0 and model is not None:
            values, errors = self.measure(model, state.global_step)
            self.weights.update(values, errors, state.global_step)
            self.loss.task_weights = self.weights.multipliers

    def measure(self, model: nn.Module, step: int) -> tuple[np.ndarray, np.ndarray]:
        """Measure the tasks' cosines with the held-out rows, and their standard errors.

        Args:
            model: The model; its mode and gradients are left as they are.
            step: Steps taken, by which chunks are drawn.

        Returns:
            float64 [K] each, NaN where nothing is known.
        """
        trained = [p for p in self.parameters(model) if p.requires_grad]
        with _evaluating(model):
            target = self._gradients(model, trained, self.held_out, np.arange(len(self.held_out)), step, "target")
            moments = []
            for name in self.rows.tasks:
                own = self._gradients(model, trained, self.rows, self.rows.of(name), step, name)
                moments.append(Moments(*(_products(*pair) for pair in ((target, own), (target, target), (own, own)))))
        return cosine.cosines(moments)

    def _gradients(
        self, model: nn.Module, trained: Sequence[nn.Parameter], rows: Rows, among: np.ndarray, step: int, what: str
    ) -> list[torch.Tensor]:
        """Compute the gradient of the mean loss of each of some disjoint chunks of rows, flat."""
        device = trained[0].device
        rng = seeding.rng(self.seed, "sample", "tawt", what, step)
        gradients = []
        for part in target_gradients.draw(among, self.chunks, self.chunk_rows, rng):
            batch = self.collator([rows[int(i)] for i in part])
            labels = {name: value.to(device) for name, value in batch.pop("labels").items()}
            outputs = model(**{name: value.to(device) for name, value in batch.items()})
            found = torch.autograd.grad(self.loss.losses(outputs, labels).mean(), trained, allow_unused=True)
            gradients.append(torch.cat([
                (torch.zeros_like(p) if g is None else g).flatten().float() for p, g in zip(trained, found, strict=True)
            ]))  # fmt: skip
        return gradients

    # --- the Trainer's checkpoints -----------------------------------------------------------------------------------

    def on_save(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Put the weights into the checkpoint that was written."""
        folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
        if state.is_world_process_zero and folder.is_dir():
            (folder / STATE).write_text(json.dumps(self.weights.state(), allow_nan=False), encoding="utf-8")

    def on_train_begin(self, args: Any, state: Any, control: Any, **more: Any) -> None:
        """Take the weights up where the Trainer goes on from a checkpoint."""
        if not state.global_step:
            return
        file = Path(args.output_dir) / f"checkpoint-{state.global_step}" / STATE
        if not file.is_file():
            raise InputError(f"{file}: the checkpoint holds no task weights; {AGAIN}")
        weights = Weights.from_state(documents.read_object(file, AGAIN))
        if weights.names != self.weights.names:
            raise InputError(f"{file}: weights of {', '.join(weights.names)}, not {', '.join(self.weights.names)}")
        self.weights = weights
        self.loss.task_weights = weights.multipliers


def shared(model: nn.Module) -> list[nn.Parameter]:
    """List the parameters of a model's base, which its tasks share; of a model without one, all of them."""
    return list(getattr(model, "base_model", model).parameters())


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    try:
        model.eval()
        with torch.enable_grad():
            yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def _products(first: Sequence[torch.Tensor], second: Sequence[torch.Tensor]) -> np.ndarray:
    return np.array([[float(a.double() @ b.double()) for b in second] for a in first])
