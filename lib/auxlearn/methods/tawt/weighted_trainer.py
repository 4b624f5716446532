"""Train with TAWT: every paradigm is a plan whose phases have a `phases.Weighting` (Chen et al., ICLR 2022).

Joint training weighs the target with its sources; in pre-training only the sources are weighed, and the target's head
is fitted anew before each update, on the rows that the target trains on. The authors' code does what `Weighting` says
with rule "paper", combine "scaled_then_clipped", target_rows "train", itself, parameters "encoder", chunks 1,
chunk_rows 64 and every 0; their pre-training head instead gets one epoch from a random start (see
`training.linear_head`), and their batches are composed once and then only reordered, where ours are drawn anew each
epoch: neither is offered.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from auxlearn import cost
from auxlearn.cost import Ledger
from auxlearn.data import batching
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods.tawt import cosine, weighted_steps
from auxlearn.methods.tawt.task_weights import Weights
from auxlearn.signals import target_gradients
from auxlearn.training import checkpoint, data_parallel, linear_head, phases, train
from auxlearn.training.phases import Phase, Plan


def run(plan: Plan, suite: Suite, folder: Path | None = None, progress: train.Progress | None = None) -> train.Result:
    """Train a plan of which some phase has a `weighting`, as `train.run` does.

    Args:
        plan: The plan.
        suite: The suite with every task's rows.
        folder: Where checkpoints go; None for none.
        progress: Called with a line of text whenever something has been done.

    Returns:
        A result whose `updates` has one row per update: phase, names, and what `task_weights.Weights.history` holds;
        update 0 is the prior. Its last ledger, "weighting", is the probe's cost, which is not in the phases' own.
    """
    return _Weigher(plan, suite, folder, progress or (lambda message: None)).run()


def _cut(parts: train.Parts, cut: Mapping[str, np.ndarray]) -> train.Parts:
    """Return the batch with the rows of tasks that are cut into weighed parts listed part by part."""
    pieces = []
    for name, rows in parts:
        of = cut[name][rows] if name in cut else np.zeros(len(rows), np.int64)
        pieces += [(name, rows[of == part]) for part in np.unique(of)]
    return pieces


class _Weigher(train.Trainer):
    def __init__(self, plan: Plan, suite: Suite, folder: Path | None, progress: train.Progress):
        super().__init__(plan, suite, folder, progress)
        self.cost = Ledger("weighting")
        self.ledgers.append(self.cost)
        self.weights: Weights | None = None
        self.restored: dict[str, Any] | None = None

    @property
    def _moving(self) -> Weights:
        """The weights of the weighted phase that is being trained."""
        assert self.weights is not None, "`_epochs` starts them with every weighted phase"
        return self.weights

    def _epochs(self, running: train.Running) -> None:
        w = running.phase.weighting
        if w is None:
            self.weights = None
            return super()._epochs(running)
        self.cost = self.ledgers[-1]
        self.groups = weighted_steps.groups(self.plan, running.phase, running.data)
        self.parts = {}  # of sequences, where the phase's are of rows
        for task, part in w.parts.items():
            of = running.data[task].rows
            self.parts[task] = part if of is None else part[of]
        self.moments = set(weighted_steps.moments(w, running.epochs))
        self.weights = self._start(running.phase)
        if not self.weights.history and not any(row["phase"] == running.phase.name for row in self.updates):
            self._record(running.phase, {"update": 0, "step": 0, "weights": self.weights.values.tolist()})
        self.probe = target_gradients.Probe(self.model, w.parameters, self.plan.precision)
        self.reads: dict[str, list[torch.Tensor]] = {name: [] for name in self.weights.names}
        self.losses: list[tuple[str, int, torch.Tensor]] = []  # of parts of batches since the last update
        self.lengths: list[tuple[str, torch.Tensor]] = []  # of the gradients of the last step's parts
        self.policy = weighted_steps.policy(w)
        self.running = running
        return super()._epochs(running)

    def _start(self, phase: Phase) -> Weights:
        if self.restored and self.restored["phase"] == phase.name:
            return Weights.from_state(self.restored["state"], weighted_steps.mover(self.plan, phase))
        return weighted_steps.start(self.plan, phase)

    # --- what the weights do -------------------------------------------------------------------------------------

    def _batches(self, phase: Phase, lengths: train.Lengths, rng: np.random.Generator) -> list[train.Parts]:
        if phase.weighting is None:
            return super()._batches(phase, lengths, rng)
        weights = dict(zip(self._moving.names, self._moving.values.tolist(), strict=True))
        batches = weighted_steps.epoch(phase, lengths, rng, weights)
        return [_cut(parts, self.parts) for parts in batches] if phase.weighting.combine == "mixed" else batches

    def _divisors(self, phase: Phase, parts: train.Parts) -> list[float] | None:
        plain = super()._divisors(phase, parts)
        if phase.weighting is None or phase.weighting.combine in ("sampled", "scaled"):
            return plain
        factors, cut = self._moving.multipliers, self.parts
        weights = [factors[f"{name}#{cut[name][rows[0]]}" if name in cut else name] for name, rows in parts]
        return [p / f if f else float("inf") for p, f in zip(plain or [1.0] * len(weights), weights, strict=True)]

    def _loss(self, batch: dict[str, Any], logits: Any, divisors: Any) -> torch.Tensor:
        w = self.running.phase.weighting if self.weights else None
        if w and w.evidence == "losses":
            self.losses += self._scaled(self.model.part_losses(batch, logits))
        return super()._loss(batch, logits, divisors)

    def _scaled(self, parts: list[tuple[str, int, torch.Tensor]]) -> list[tuple[str, int, torch.Tensor]]:
        """Return losses of parts as they are trained: without their gradient, and divided as the phase says."""
        divided = self.running.phase.loss_scale == "log_classes"
        return [(name, rows, loss.detach() / (self.scales[name] if divided else 1.0)) for name, rows, loss in parts]

    def _charge(self, running: train.Running, lengths: np.ndarray, parts: train.Parts) -> None:
        if not self._aggregates(running):
            return super()._charge(running, lengths, parts)
        for number, (name, index) in enumerate(parts):
            own, ledger = running.data[name].lengths[index], running.ledger
            enter = ledger.add_gradient if number else functools.partial(ledger.add_batch, training=True)
            enter(self.model.encoder.config, own, int(own.max()))

    def _aggregates(self, running: train.Running) -> bool:
        w = running.phase.weighting
        return bool(w and w.combine == "aggregated")

    def _backward(
        self, running: train.Running, parts: train.Parts, divisors: Any, fraction: float
    ) -> torch.Tensor:  # fmt: skip
        """Where a policy aggregates, take the parts' gradients one by one and put what becomes of them in place.

        Heads keep their own gradient, of the mean loss of their task's rows in the batch.
        """
        if not self._aggregates(running):
            self.last = parts
            return super()._backward(running, parts, divisors, fraction)
        assert self.policy is not None, "phases.check refuses aggregation without a policy"
        shared, rows = list(self.model.encoder.parameters()), sum(len(index) for _, index in parts)
        gradients, total, self.lengths = [], torch.zeros(2, device=self.model.device), []
        for part in parts:
            for p in shared:
                p.grad = None
            plain = train.Trainer._divisors(self, running.phase, [part])
            total += super()._backward(running, [part], plain, fraction) * (len(part[1]) / rows)
            own = [torch.zeros_like(p) if p.grad is None else p.grad for p in shared]
            gradients.append(torch.cat([each.flatten() for each in own]))
            if self.policy.norms:
                last = [p for _, p in target_gradients.parameters(self.model, "last_layer")]
                norms = [p.grad.norm() for p in last if p.grad is not None]
                self.lengths.append((part[0], torch.stack(norms).norm()))
        w = weighted_steps.weighting(running.phase)
        if self.policy.follows:
            factors = np.array([self._moving.multipliers[name] for name, _ in parts])
            factors /= factors.sum()
            joined = sum((own * factor for own, factor in zip(gradients, factors.tolist(), strict=True)))
        else:
            aggregate = self.policy.aggregator(self.policy.Options.model_validate(w.options or {}))
            joined = aggregate(torch.stack(gradients))
        for p, own in zip(shared, joined.split([p.numel() for p in shared]), strict=True):
            p.grad = own.view_as(p)
        return total

    def _clip(self, running: train.Running, parts: train.Parts) -> None:
        w = running.phase.weighting
        if w and self._reuses(running):
            ((name, _),) = parts
            factor = self._moving.multipliers[name] if w.combine == "scaled_then_clipped" else 1.0
            scale = self.scales[name] if running.phase.loss_scale == "log_classes" else 1.0
            if factor:
                self.reads[name].append(self.probe.read(factor / scale))
        super()._clip(running, parts)
        if w and w.combine == "scaled":
            ((name, _),) = parts
            factor = self._moving.multipliers[name]
            if factor != 1.0:
                grads = [p.grad for p in self.model.parameters() if p.grad is not None]
                torch._foreach_mul_(grads, factor)

    # --- what moves them -----------------------------------------------------------------------------------------

    def _train(self, running: train.Running, epoch: int, batches: list[train.Parts]) -> list[torch.Tensor]:
        if self._reuses(running):
            # Anew each epoch, so that a training resumed at one holds the same gradient.
            self._timed(lambda: self._measure_target(running, ("reused", epoch)))
            self.reads = {name: [] for name in self._moving.names}
        return super()._train(running, epoch, batches)

    def _stepped(self, running: train.Running, epoch: int, step: int) -> None:
        done = sum(running.epochs[:epoch]) + step + 1
        if running.phase.weighting and done in self.moments:
            self._timed(lambda: self._update(running, done))

    def _reuses(self, running: train.Running) -> bool:
        w = running.phase.weighting
        return bool(w and w.estimator == "reused" and weighted_steps.probes(w))

    def _timed(self, work: Any) -> None:
        """Charge the time that the work takes to the probe instead of the phase."""
        start = cost.clock(self.plan.device)
        work()
        took = cost.clock(self.plan.device) - start
        self.cost.seconds += took
        self.running.ledger.seconds -= took

    def _update(self, running: train.Running, done: int) -> None:
        values = errors = losses = more = None
        w, weights = weighted_steps.weighting(running.phase), self._moving
        if weighted_steps.probes(w):
            measure = self._reused if w.estimator == "reused" else self._exact
            values, errors = data_parallel.agreed(*measure(running, len(weights.history) + 1))
        if w.evidence == "losses":
            losses, self.losses = self._means(self.losses), []
            if self.policy and (self.policy.again or self.policy.norms):
                more = self._again(running) if self.policy.again else self._lengths()
        weights.update(values, errors, done, losses, more)
        self._record(running.phase, weights.history[-1])
        if w.evidence == "losses" and done not in np.cumsum(running.epochs):
            return  # every step would be a message
        shown = ", ".join(f"{n} {v:.3f}" for n, v in zip(weights.names, weights.values, strict=True))
        self.progress(f"{running.phase.name}: step {done}, weights {shown}")

    def _means(self, parts: list[tuple[str, int, torch.Tensor]]) -> np.ndarray:
        """Return each weighed task's mean loss per row, float64 [K]; NaN of those without a part."""
        losses = torch.stack([loss for *_, loss in parts]).double().cpu().numpy()
        at = np.array([self._moving.names.index(name) for name, *_ in parts])
        rows, size = np.array([count for _, count, _ in parts]), len(self._moving.names)
        with np.errstate(invalid="ignore"):
            return np.bincount(at, losses * rows, size) / np.bincount(at, rows, size)

    def _lengths(self) -> np.ndarray:
        """Return the length of each weighed task's gradient in the last step, float64 [K]; NaN of those without."""
        lengths = np.full(len(self._moving.names), np.nan)
        at = [self._moving.names.index(name) for name, _ in self.lengths]
        lengths[at] = torch.stack([length for _, length in self.lengths]).double().cpu().numpy()
        return lengths

    def _again(self, running: train.Running) -> np.ndarray:
        """Return the losses of the last batch once more, after its step; charged as a forward pass."""
        data = running.data
        lengths = np.concatenate([data[name].lengths[index] for name, index in self.last])
        self.cost.add_batch(self.model.encoder.config, lengths, int(lengths.max()), False)
        batch = batching.join([
            batching.to_batch(data[name], index, self.suite[name], self.model.columns[name], self.model.pad_id)
            for name, index in self.last
        ], self.model.pad_id)  # fmt: skip
        with torch.no_grad():
            return self._means(
                self._scaled(self.model.part_losses(batch, self.model(batch, self.plan.precision).logits))
            )

    def _record(self, phase: Phase, row: dict[str, Any]) -> None:
        self.updates.append({"phase": phase.name, "names": self._moving.names, **row})

    def _exact(self, running: train.Running, update: int) -> tuple[np.ndarray, np.ndarray]:
        w, primary, weighed = weighted_steps.weighting(running.phase), self._primary(), self._moving.names
        self._measure_target(running, ("exact", update))
        size = len(weighed)
        values, errors = np.full(size, np.nan), np.full(size, np.nan)
        if w.itself and primary in weighed:
            at = weighed.index(primary)
            values[at], errors[at] = 1.0, 0.0
        names = weighted_steps.measured(self.plan, w, self.groups)
        moments = [self.probe.source(self._chunks(running, name, ("exact", update))) for name in names]
        if moments:
            measured = [weighed.index(name) for name in names]
            values[measured], errors[measured] = cosine.cosines(moments, w.rule)
        return values, errors

    def _reused(self, running: train.Running, update: int) -> tuple[np.ndarray, np.ndarray]:
        """Read cosines off the steps since the last update; a task that had no step since tells nothing (NaN)."""
        w, pairs = weighted_steps.weighting(running.phase), []
        for name in self._moving.names:
            if name == self.plan.primary and w.itself:
                pairs.append((1.0, 0.0))
            elif self.reads[name]:
                pairs.append(cosine.reused(torch.stack(self.reads[name]).cpu().numpy(), self.probe.gram))
            else:
                pairs.append((np.nan, np.nan))
        self.reads = {name: [] for name in self._moving.names}
        values, errors = np.array(pairs).T
        return values, errors

    def _measure_target(self, running: train.Running, when: tuple[str, int]) -> None:
        """Measure the target's gradient, through its own head or, where that is not trained here, the best one."""
        primary = self._primary()
        chunks = self._chunks(running, primary, when, target=True)
        if primary in self._moving.names:
            self.probe.target(chunks)
            return
        layer = cast(torch.nn.Linear, self.model.heads[primary])
        before = (layer.weight.detach().clone(), layer.bias.detach().clone())
        rows = weighted_steps.kept_steps(self.plan)
        encoded = self._encode(primary, "train/head", rows)
        inputs = self._to_batches(primary, encoded, np.arange(len(encoded)), gradient=False)
        features, labels = linear_head.head_inputs(self.model, inputs, self.plan.precision)
        task = self.suite[primary]
        linear_head.fit_head(features, labels, task.kind, task.n_outputs).copy_to(layer)
        try:
            self.probe.target(chunks)
        finally:
            with torch.no_grad():
                layer.weight.copy_(before[0])
                layer.bias.copy_(before[1])

    def _target_rows(self, w: phases.Weighting) -> batching.Encoded:
        """Return the rows that the target's gradient is measured on."""
        name, rows = self._primary(), weighted_steps.target_rows(self.plan, w)
        return self._encode(name, f"train/{w.target_rows}", rows)

    def _others(self, phase: Phase) -> list[batching.Encoded]:
        return [self._target_rows(phase.weighting)] if phase.weighting else []

    def _chunks(
        self, running: train.Running, name: str, when: tuple[str, int], target: bool = False
    ) -> list[list[dict[str, Any]]]:
        """Draw disjoint chunks of rows: a weighed task's or, with `target`, those for the target's gradient."""
        if target:
            encoded = self._target_rows(weighted_steps.weighting(running.phase))
            task, members = name, np.arange(len(encoded))
        else:
            task, members = self.groups[name]
            encoded = running.data[task]
        drawn = weighted_steps.chunks(self.plan, running.phase, name, members, when, target)
        return [self._to_batches(task, encoded, index) for index in drawn]

    def _to_batches(
        self, name: str, encoded: batching.Encoded, index: np.ndarray, gradient: bool = True
    ) -> list[dict[str, Any]]:
        """Collate rows in order of length, charged to the probe."""
        batches = []
        for at in weighted_steps.in_batches(encoded.lengths, index):
            batch = batching.to_batch(encoded, at, self.suite[name], self.model.columns[name], self.model.pad_id)
            weighted_steps.charge(self.cost, self.model.encoder.config, encoded.lengths[at], gradient)
            batches.append(batch)
        return batches

    # --- checkpoints ---------------------------------------------------------------------------------------------

    def _extra(self) -> dict[str, Any]:
        weights = None
        if self.weights is not None:
            weights = {"phase": self.running.phase.name, "state": self.weights.state()}
        return {"updates": self.updates, "weights": weights}

    def _take(self, progress: dict[str, Any]) -> None:
        if missing := {"updates", "weights"} - progress.keys():
            raise InputError(f"{self.file}: a checkpoint without its {min(missing)}; {checkpoint.AGAIN}")
        self.updates, self.restored = progress["updates"], progress["weights"]
        self.cost = self.ledgers[-1]
