"""What weighs rows and tasks in a Trainer: a loss by row and task weights, and a sampler by shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch.utils.data import Sampler

from auxlearn import seeding
from auxlearn.data.tokens.encoded import IGNORE
from auxlearn.errors import InputError
from auxlearn.integrations.transformers.rows import Rows
from auxlearn.methods.tawt import cosine

RowLoss = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # logits and labels of some rows to a loss for each


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
        InputError: A weight is of no task, negative, or not finite; or `accumulation` is under 1.
    """

    def __init__(
        self, tasks: Sequence[str], task_weights: Mapping[str, float] | None = None, row_loss: RowLoss = row_losses,
        accumulation: int = 1,
    ):  # fmt: skip
        if accumulation < 1:
            raise InputError(f"accumulation: {accumulation} batches make no step; it is 1 or more")
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
        # Where nothing is learned, as when the Trainer evaluates, no gradients are added up.
        return losses.mean() / (self.accumulation if torch.is_grad_enabled() else 1)

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
        self.shares = cosine.normalised(list(shares.values()), self.names, "shares")
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
