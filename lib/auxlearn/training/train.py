"""`run(plan)`: the one training function. A plan is a list of phases over one model.

Pre-train then tune, stage 2 then tune, single-task and a discriminator proxy are all plans. What makes it fast: rows
are tokenised once, batches hold rows of similar length, bf16 autocast, a fused optimiser, no device sync inside an
epoch. What makes it repeatable: order and dropout are reseeded from (seed, phase, epoch), so that a run resumed at an
epoch boundary gives the same bits as one that was never interrupted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auxlearn import cost, seeding
from auxlearn.cost import Ledger
from auxlearn.data import batching
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.models import devices, encoders, trimmed_embedding
from auxlearn.models import multitask as model
from auxlearn.training import data_parallel, drawing, extension_points, optimisers, phases, resuming
from auxlearn.training.drawing import Lengths, Parts
from auxlearn.training.phases import Phase, Plan, Recipe
from auxlearn.training.resuming import Progress, Running
from auxlearn.training.step_table import Steps

__all__ = ["Phase", "Plan", "Progress", "Recipe", "Result", "Running", "run"]


@dataclass
class Result:
    """What a plan yields. Predictions are of the primary's dev split, in row order."""

    model: model.MultiTaskModel
    history: list[dict[str, Any]]  # one row per epoch: phase, epoch, step (taken so far), loss, …
    looks: list[dict[str, Any]]  # one row per look at the model: phase, step (taken so far), score (see `Phase.choose`)
    steps: Steps  # one row per step: phase, task, task_loss, disc_loss
    ledgers: list[Ledger]  # one per phase
    scores: dict[str, float]  # the primary's metrics on dev
    predictions: Any = None
    references: Any = None
    chosen: dict[str, int] = field(default_factory=dict)  # phase -> the step whose state is kept, counted from 1
    updates: list[dict[str, Any]] = field(default_factory=list)  # TAWT's weights: see `methods.tawt.weighted_trainer`
    truncated: int = 0
    moments: dict[str, torch.Tensor] = field(default_factory=dict)  # see `Plan.keep_moments`


def run(plan: Plan, suite: Suite, folder: Path | None = None, progress: Progress | None = None) -> Result:
    """Train a plan.

    Args:
        plan: The plan.
        suite: Its suite.
        folder: Where checkpoints are kept, from the last of which an interrupted run goes on; None to keep none.
        progress: Called with a message per epoch.

    Returns:
        The trained model, its history and, if the plan has a primary task, its scores and predictions on dev.

    Raises:
        InputError: The plan cannot work; or a loss is not finite, and the message names phase, task and step.
    """
    return Trainer(plan, suite, folder, progress or (lambda message: None)).run()


class Trainer(resuming.Resumable):
    """One plan's training, from start or checkpoint to result.

    `methods.autosem.bandit_trainer` plays rounds in place of epochs, `methods.tawt.weighted_trainer` weighs tasks.

    Args:
        plan: The plan.
        suite: Its suite.
        folder: Where checkpoints are kept; None to keep none.
        progress: Called with messages for whoever waits.
    """

    def __init__(self, plan: Plan, suite: Suite, folder: Path | None, progress: Progress):
        phases.check(plan, suite)
        if plan.device == "cpu":
            torch.set_num_threads(plan.threads)
        net = model.build(
            plan.encoder, suite, plan.seeds["init"], pool=plan.pool, regression=plan.regression,
            max_length=plan.max_length,
        )  # fmt: skip
        encoders.freeze(net.encoder, plan.frozen_layers)
        super().__init__(plan, suite, net.to(plan.device), folder, progress)
        self.scales = {name: _chance_loss(suite, name) for name in suite.names}
        self.adam: dict[str, torch.Tensor] = {}  # its moments, where they are kept
        self.sums: data_parallel.GradientSums | None = None  # of the phase that is trained, where processes share it

    def run(self) -> Result:
        """Train the phases that are not finished yet, and score the model; see `run` of the module."""
        with devices.repeatable(self.plan.device, self.plan.precision):
            return self._run()

    def _run(self) -> Result:
        start = self.restore()
        for number, phase in enumerate(self.plan.phases):
            if number < start["phase"]:
                continue
            with self.meter(number):
                self._phase(number, phase, start if number == start["phase"] else None)
        scores: dict[str, float] = {}
        predictions, references = None, None
        if self.plan.primary:
            scores, predictions, references = self._score("dev", None)
        self.forget()
        cut = sum(e.truncated for e in self.encoded.values())
        return Result(
            self.model, self.history, self.looks, self.steps, self.ledgers, scores, predictions, references,
            self.chosen, self.updates, cut, self.adam,
        )  # fmt: skip

    def _phase(self, number: int, phase: Phase, resumed: dict[str, Any] | None) -> None:
        plan, net = self.plan, self.model
        data = {name: self._train_rows(name, rows, phase.name) for name, rows in phase.rows.items() if len(rows)}
        self.objective, weight = None, None
        if phase.discriminator:
            self.objective = extension_points.objective(phase.discriminator)
            weight = self.objective.weight([len(data[name]) if name in data else 0 for name in self.suite.names])
            weight = None if weight is None else weight.to(plan.device)
        epochs = phases.schedule(phase, {name: len(e) for name, e in data.items()})
        with trimmed_embedding.in_use(
            net, (e.ids for e in (*data.values(), *self._others(phase))), phase.recipe.weight_decay
        ):
            optimiser = optimisers.optimiser_for(net, phase.recipe)
            if resumed:
                state = trimmed_embedding.cut_optimiser(net, resumed["optimiser"]["state"])
                optimiser.load_state_dict(resumed["optimiser"] | {"state": state})
                self.best = self.best and trimmed_embedding.cut_state(net, self.best)
            else:
                self.best = None
            net.train()
            first = resumed["epoch"] if resumed else 0
            looks = frozenset(phases.looks(phase, epochs))
            with data_parallel.summed(net) as self.sums:
                self._epochs(
                    Running(number, phase, data, epochs, looks, first, optimiser, weight, self.ledgers[number])
                )
            if self.best is not None:
                net.load_state_dict(self.best)
            if plan.keep_moments and number == len(plan.phases) - 1:
                self.adam = optimisers.moments(net, optimiser)

    def _epochs(self, running: Running) -> None:
        lengths = {name: e.lengths for name, e in running.data.items()}
        drawn = drawing.epochs(self.plan, running.phase, lengths, running.epochs, self._batches)
        for epoch in range(running.first, len(running.epochs)):
            batches = drawn(epoch)
            self._close_epoch(running, epoch, batches, self._train(running, epoch, batches))
            self.checkpoint_if_due(running, epoch)

    def _train(self, running: Running, epoch: int, batches: list[Parts]) -> list[torch.Tensor]:
        """Take the steps of one epoch, at the rates that its place in the phase gives them."""
        phase, epochs = running.phase, running.epochs
        other = [self.rank] if self.rank else []  # each process draws its own masks
        masks = seeding.derive(phases.seed(self.plan, phase, "dropout"), phase.name, epoch, *other)
        torch.manual_seed(masks)
        self.model.source.reseed(masks)
        losses = []
        for step, parts in enumerate(batches):
            done = sum(epochs[:epoch]) + step
            rate = phases.rate(done, sum(epochs), phase.recipe)
            for group in running.optimiser.param_groups:
                group["lr"] = rate
            losses.append(self._step(running, parts))
            self._stepped(running, epoch, step)
            if done + 1 in running.looks:
                self._values(running, epoch, batches, losses)  # what is not finite is said here, and not judged
                self._look(running, done + 1)
        return losses

    def _look(self, running: Running, step: int) -> None:
        """Judge the model after a step of a phase, counted from 1, and keep its state if it is the best so far."""
        phase = running.phase
        score = self._judge(phase, running.ledger)
        earlier = [look["score"] for look in self.looks if look["phase"] == phase.name]
        self.looks.append({"phase": phase.name, "step": step, "score": score})
        if not earlier or score > max(earlier):  # the first of equals wins
            self.chosen[phase.name] = step
            self.best = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.train()

    # What `methods.tawt.weighted_trainer` does otherwise.

    def _others(self, phase: Phase) -> list[batching.Encoded]:
        """List texts beside the phase's own of which gradients are taken."""
        return []

    def _batches(self, phase: Phase, lengths: Lengths, rng: np.random.Generator) -> list[Parts]:
        return drawing.epoch(phase, lengths, rng)

    def _divisors(self, phase: Phase, parts: Parts) -> list[float] | None:
        """Say what the loss of each part of a batch is divided by."""
        return [self.scales[name] for name, _ in parts] if phase.loss_scale == "log_classes" else None

    def _charge(self, running: Running, lengths: np.ndarray, parts: Parts) -> None:
        """Enter a step's batch, whose sequences have these lengths."""
        config, frozen = self.model.encoder.config, self.plan.frozen_layers
        running.ledger.add_batch(config, lengths, int(lengths.max()), True, frozen)

    def _loss(self, batch: dict[str, Any], logits: Any, divisors: Sequence[float] | None) -> torch.Tensor:
        return self.model.task_loss(batch, logits, divisors)

    def _clip(self, running: Running, parts: Parts) -> None:
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), running.phase.recipe.clip)

    def _stepped(self, running: Running, epoch: int, step: int) -> None:
        """Do what follows a step of an epoch, both counted from 0: here, nothing."""

    def _step(self, running: Running, parts: Parts) -> torch.Tensor:
        """Take one optimiser step; return (task loss, discriminator loss) without waiting for the device."""
        net, data, divisors = self.model, running.data, self._divisors(running.phase, parts)
        lengths = np.concatenate([data[name].lengths[index] for name, index in parts])
        self._charge(running, lengths, parts)
        if self.sums is None:
            losses = self._backward(running, parts, divisors, 1.0)
        else:
            own, scales = data_parallel.share(parts, data, divisors, self.rank, self.size)
            fraction = sum(len(rows) for _, rows in own) / len(lengths)
            losses = self.sums.step(
                frozenset(name for name, rows in parts if data_parallel.terms(data[name], rows)),
                lambda: self._backward(running, own, scales, fraction) if own else torch.zeros(2, device=net.device),
            )
        self._clip(running, parts)
        running.optimiser.step()
        running.optimiser.zero_grad(set_to_none=running.phase.recipe.idle_heads == "still")
        return losses

    def _backward(
        self, running: Running, parts: Parts, divisors: Sequence[float] | None, fraction: float
    ) -> torch.Tensor:  # fmt: skip
        """Add up the gradients of these parts, `fraction` of a batch; return (task loss, discriminator loss)."""
        net, phase, data = self.model, running.phase, running.data
        batch = batching.join([
            batching.to_batch(data[name], index, self.suite[name], net.columns[name], net.pad_id)
            for name, index in parts
        ], net.pad_id)  # fmt: skip
        out = net(batch, self.plan.precision)
        task_loss = self._loss(batch, out.logits, divisors)
        disc_loss = torch.zeros((), device=task_loss.device)
        if self.objective:
            disc_loss = self.objective.loss(out.discriminator, batch["task_id"], running.weight) * fraction
        (task_loss + phase.disc_weight * disc_loss).backward()
        return torch.stack([task_loss.detach(), disc_loss.detach()])

    def _values(
        self, running: Running, epoch: int, batches: list[Parts], losses: list[torch.Tensor]
    ) -> tuple[list[str], np.ndarray]:  # fmt: skip
        """Return the tasks and losses (float [steps, 2]) of the steps of an epoch so far; refuse what is not finite."""
        phase = running.phase
        values = data_parallel.add_up(torch.stack(losses)).cpu().numpy()
        names = [parts[0][0] if len(parts) == 1 else "mixed" for parts in batches[: len(losses)]]
        bad = np.flatnonzero(~np.isfinite(values).all(1))
        if len(bad):
            raise InputError(
                f"phase {phase.name!r}: the loss of task {names[bad[0]]!r} is not finite at epoch {epoch + 1}, "
                f"step {bad[0] + 1}; lower lr (now {phase.recipe.lr}) or use precision fp32"
            )
        return names, values

    def _close_epoch(
        self, running: Running, epoch: int, batches: list[Parts], losses: list[torch.Tensor]
    ) -> dict[str, Any]:  # fmt: skip
        """Record an epoch, and return its row of the history."""
        phase, ledger = running.phase, running.ledger
        names, values = self._values(running, epoch, batches, losses)
        self.steps.add(phase.name, names, values)
        done = sum(running.epochs[: epoch + 1])
        row: dict[str, Any] = {
            "phase": phase.name,
            "epoch": epoch + 1,
            "step": done,
            "loss": float(values[:, 0].mean()),
        }
        if phase.discriminator:
            row["disc_loss"] = float(values[:, 1].mean())
        if self.plan.watch:  # it only informs the reader, and is nobody's cost
            start = cost.clock(self.plan.device)
            row["auc"] = self._watch()
            ledger.seconds -= cost.clock(self.plan.device) - start
        if phase.rounds:
            row["holdout"] = self._judge(phase, ledger)
        if phase.choose == "last":
            self.chosen[phase.name] = done
        self.history.append(row)
        scores = [look["score"] for look in self.looks if look["phase"] == phase.name][-1:]
        shown = ", ".join(f"{k} {row[k]:.3f}" for k in ("loss", "disc_loss", "holdout") if k in row)
        shown += "".join(f", {phase.choose} {score:.3f}" for score in scores)
        self.progress(f"{phase.name}: epoch {epoch + 1}/{len(running.epochs)}, {shown}")
        return row


def _chance_loss(suite: Suite, name: str) -> float:
    """Return ln(classes), the cross-entropy of a uniform guess; 1 for a regression."""
    return math.log(suite[name].n_outputs) if suite[name].labels else 1.0
