"""A selection inside a stock Hugging Face `Trainer`, with a model of your own: its rows, a sampler, and weights.

The Trainer's arguments need `remove_unused_columns=False`: a row's task and weight are no inputs of a model, and it
would drop them. What the collator hands over as `labels` holds both, and `WeightedLoss` reads it (docs/trainer.md).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import Dataset, Sampler
from transformers import TrainerCallback

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.data.tokens import token_store
from auxlearn.data.tokens.encoded import IGNORE, Encoded
from auxlearn.errors import InputError
from auxlearn.files import documents
from auxlearn.methods.tawt import cosine
from auxlearn.methods.tawt.task_weights import Updater, Weights
from auxlearn.signals.gradient_moments import Moments

STATE = "auxlearn_tawt.json"  # in each of the Trainer's checkpoints
AGAIN = "train from the start, or go on from another checkpoint"
RowLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits and labels of some rows to a loss for each


class Rows(Dataset):
    """Tokenised rows of several tasks, each with its task and its weight.

    Args:
        suite: The suite that the tasks are of.
        encoded: Each task's rows, by its name; a row's task is a position among these.
        weights: Row weights by task, float [N]; of a task that is not named all are 1.

    Attributes:
        tasks: The tasks' names.
        task_ids: The task of each row, int64 [N].

    Raises:
        InputError: Weights are not one number of 0 or above for each row of a task that is there.
    """

    def __init__(
        self, suite: Suite, encoded: Mapping[str, Encoded], weights: Mapping[str, np.ndarray] | None = None
    ):  # fmt: skip
        self.tasks, self._encoded = list(encoded), list(encoded.values())
        self._tagging = [suite[name].kind == "tagging" for name in self.tasks]
        sizes, told = [len(each) for each in self._encoded], weights or {}
        if unknown := [name for name in told if name not in encoded]:
            raise InputError(f"weights: no row of {unknown[0]!r} is here; there are {', '.join(self.tasks)}")
        parts = []
        for name, size in zip(self.tasks, sizes, strict=True):
            part = np.asarray(told.get(name, np.ones(size)), float)
            if part.shape != (size,) or not (np.isfinite(part) & (part >= 0)).all():
                raise InputError(f"weights: {name!r} needs one number of 0 or above for each of its {size} rows")
            parts.append(part)
        self.task_ids = np.repeat(np.arange(len(sizes)), sizes)
        self._at = np.concatenate([np.arange(size) for size in sizes])
        self._weights = np.concatenate(parts)

    def __len__(self) -> int:
        return len(self.task_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a row.

        Args:
            index: Its position.

        Returns:
            input_ids and token_type_ids (lists), labels (a class, a number, or a class per token), task, weight.
        """
        task, at = int(self.task_ids[index]), int(self._at[index])
        own = self._encoded[task]
        span = slice(int(own.starts[at]), int(own.starts[at] + own.lengths[at]))
        return {
            "input_ids": own.ids[span].tolist(), "token_type_ids": own.types[span].tolist(),
            "labels": own.labels[span].tolist() if self._tagging[task] else own.labels[at].item(),
            "task": task, "weight": float(self._weights[index]),
        }  # fmt: skip

    def of(self, task: str) -> np.ndarray:
        """Return the positions of a task's rows, int64 [n]."""
        return np.flatnonzero(self.task_ids == self.tasks.index(task))


def training_rows(
    suite: Suite, chosen: pd.DataFrame | None, primary: str, tokenizer: Any, *, max_length: int = 128,
    own: np.ndarray | None = None, weights: Mapping[str, np.ndarray] | None = None,
) -> Rows:  # fmt: skip
    """Tokenise the primary's training rows and the chosen ones for a Trainer.

    Args:
        suite: The suite.
        chosen: The auxiliary rows, with columns task and row, such as a selection's table; None for none.
        primary: The primary task, which is task 0.
        tokenizer: Your model's tokenizer.
        max_length: Tokens at which a row is cut.
        own: Positions of the primary's rows to train on, int [N]; None for all.
        weights: Row weights by task, in the order of `own` and of the chosen rows of each task.

    Returns:
        The rows, those of the primary first.

    Raises:
        InputError: A chosen row is of no task of the suite, or of the primary; or weights do not fit.
    """
    picked = {primary: np.arange(len(suite[primary].train)) if own is None else np.asarray(own)}
    for name, part in () if chosen is None else chosen.groupby("task", sort=False):
        if name == primary or name not in suite.names:
            raise InputError(
                f"chosen: {name!r} is no auxiliary task of {primary!r}; there are {', '.join(suite.names)}"
            )
        picked[str(name)] = part["row"].to_numpy()
    encoded = {
        name: token_store.encoded(suite[name], "train", tokenizer, max_length, rows=rows)
        for name, rows in picked.items()
    }
    return Rows(suite, encoded, weights)


@dataclass
class Collator:
    """Pads rows of `Rows` to a batch; `labels` then holds labels, task and weight of each row.

    Rows of other datasets, such as those that the Trainer evaluates on, keep plain labels.

    Args:
        tokenizer: Your model's tokenizer.
        task_ids: Whether the model is told each row's task, as the input `task_ids`, int64 [B].
    """

    tokenizer: Any
    task_ids: bool = False

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Pad rows.

        Args:
            rows: Of one task, or of several whose labels have one form.

        Returns:
            The model's inputs, int64 [B, T], and labels.
        """
        names = [n for n in ("input_ids", "token_type_ids") if n in rows[0] and n in self.tokenizer.model_input_names]
        batch = dict(self.tokenizer.pad([{n: row[n] for n in names} for row in rows], return_tensors="pt"))
        if isinstance(rows[0]["labels"], list):
            labels = torch.full(batch["input_ids"].shape, IGNORE)
            left = getattr(self.tokenizer, "padding_side", "right") == "left"
            for at, row in enumerate(rows):
                width = len(row["labels"])
                labels[at, slice(-width, None) if left else slice(width)] = torch.tensor(row["labels"])
        else:
            labels = torch.tensor([row["labels"] for row in rows])
        if "task" not in rows[0]:
            return batch | {"labels": labels}
        task = torch.tensor([row["task"] for row in rows])
        weight = torch.tensor([row["weight"] for row in rows], dtype=torch.float32)
        given = {"task_ids": task} if self.task_ids else {}
        return batch | given | {"labels": {"labels": labels, "task": task, "weight": weight}}


def row_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute each row's loss: cross-entropy (over tokens, their mean), or the squared error of numbers.

    Args:
        logits: [B, classes], [B, T, classes], or of a regression [B, 1].
        labels: int64 [B] or [B, T], IGNORE where there is none; float [B].

    Returns:
        fp32 [B]; 0 for a row without a label.
    """
    if labels.is_floating_point():
        known = torch.isfinite(labels)
        return torch.where(known, (logits.float().view(-1) - labels.nan_to_num()) ** 2, 0.0)
    losses = F.cross_entropy(logits.float().flatten(0, -2), labels.flatten(), ignore_index=IGNORE, reduction="none")
    if labels.ndim == 1:
        return losses
    return losses.view(labels.shape).sum(1) / (labels != IGNORE).sum(1).clamp(min=1)


class WeightedLoss:
    """The mean over a batch of each row's loss, times its own weight and its task's: a Trainer's `compute_loss_func`.

    Args:
        tasks: The names of the tasks, as `Rows.tasks` has them.
        task_weights: What a task's losses are multiplied by; of a task that is not named 1. May change while training.
        row_loss: From logits and labels of rows to a loss for each, float [B].
        accumulation: The Trainer's `gradient_accumulation_steps`, by which a loss of one's own must be divided.

    Raises:
        InputError: A weight is of no task, negative, or not finite.
    """

    def __init__(
        self, tasks: Sequence[str], task_weights: Mapping[str, float] | None = None, row_loss: RowLoss = row_losses,
        accumulation: int = 1,
    ):  # fmt: skip
        self.tasks, self.row_loss, self.accumulation = list(tasks), row_loss, accumulation
        self.task_weights = dict(task_weights or {})

    @property
    def task_weights(self) -> dict[str, float]:
        """What each named task's losses are multiplied by."""
        return dict(self._task_weights)

    @task_weights.setter
    def task_weights(self, given: Mapping[str, float]) -> None:
        for name, weight in given.items():
            if name not in self.tasks:
                raise InputError(f"task_weights: no task is called {name!r}; there are {', '.join(self.tasks)}")
            if not 0 <= weight < float("inf"):
                raise InputError(f"task_weights: {name!r} has {weight}; it must be 0 or above, and finite")
        self._task_weights = dict(given)
        self._factors = torch.tensor([float(given.get(name, 1.0)) for name in self.tasks])

    def __call__(self, outputs: Any, labels: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Return the loss of a batch.

        Args:
            outputs: The model's, with `logits`, or the logits first.
            labels: As from `Collator`; plain labels have weight 1.
            num_items_in_batch: Unused: rows count alike, whatever they hold.

        Returns:
            A scalar.

        Raises:
            InputError: Tasks are missing, because the Trainer dropped them.
        """
        losses = self.losses(outputs, labels)
        if isinstance(labels, Mapping):
            factors = self._factors.to(losses.device)[labels["task"]]
            losses = losses * labels["weight"] * factors
        return losses.mean() / self.accumulation

    def losses(self, outputs: Any, labels: Any) -> torch.Tensor:
        """Return the unweighted loss of each row of a batch, float [B]; arguments are those of a call."""
        logits = outputs["logits"] if isinstance(outputs, Mapping) else getattr(outputs, "logits", None)
        plain = labels["labels"] if isinstance(labels, Mapping) else labels
        return self.row_loss(outputs[0] if logits is None else logits, plain)


class TaskSampler(Sampler):
    """Draws as many rows per epoch as there are, tasks by their shares; a task's rows are all used before one returns.

    A stock Trainer takes it where a subclass's `_get_train_sampler` returns it.

    Args:
        rows: The rows.
        shares: By task, how often it is drawn, in proportion; a task that is not named is not drawn.
        seed: The seed of the order.

    Raises:
        InputError: A share is of no task that has rows, negative, or all are 0.
    """

    def __init__(self, rows: Rows, shares: Mapping[str, float], seed: int = 0):
        if unknown := [name for name in shares if name not in rows.tasks or not len(rows.of(name))]:
            raise InputError(f"shares: no row of {unknown[0]!r} is here; there are {', '.join(rows.tasks)}")
        self.names = list(shares)
        self.shares = cosine.normalised(list(shares.values()), self.names)
        self.rows, self.seed, self.epoch = rows, seed, 0

    def __len__(self) -> int:
        return len(self.rows)

    def set_epoch(self, epoch: int) -> None:
        """Say which epoch is drawn next; the Trainer does."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[int]:
        rng = seeding.rng(self.seed, "order", "tasks", self.epoch)
        tasks = rng.choice(len(self.names), len(self.rows), p=self.shares)
        order = np.empty(len(tasks), np.int64)
        for number, name in enumerate(self.names):
            at, own = np.flatnonzero(tasks == number), self.rows.of(name)
            passes = [rng.permutation(own) for _ in range(-(-len(at) // len(own)))]
            order[at] = np.concatenate(passes)[: len(at)] if passes else []
        self.epoch += 1
        yield from order.tolist()


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
        start = np.ones(len(rows.tasks)) if prior is None else np.array([prior.get(name, 0.0) for name in rows.tasks])
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
        drawn = seeding.rng(self.seed, "sample", "tawt", what, step).permutation(among)[: self.chunks * self.chunk_rows]
        gradients = []
        for part in np.array_split(drawn, self.chunks):
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
