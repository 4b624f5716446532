"""Count what weighted training and its probes enter into their ledgers, as `training.counting` does for others."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from auxlearn.cost import Ledger
from auxlearn.methods.tawt import weighted_steps
from auxlearn.training import counting, drawing, phases
from auxlearn.training.counting import Sizes, Tokens
from auxlearn.training.phases import Phase


class Counter(counting.Counter):
    """Counts plans of which some phase has a `weighting`; the last ledger, "weighting", is the probes'.

    Args:
        *given: As for `counting.Counter`.
        **more: As for `counting.Counter`.
    """

    def __init__(self, *given: Any, **more: Any):
        super().__init__(*given, **more)
        self.cost = Ledger("weighting")
        self.in_force: Iterator[dict[str, float]] = iter(())  # the weights at the start of each epoch of the phase
        self.again = False  # whether each step's batch is read once more

    def run(self) -> list[Ledger]:
        """Count all phases, and the probes."""
        return [*super().run(), self.cost]

    def enter_phase(self, phase: Phase, data: Mapping[str, Tokens], steps: Sequence[int], ledger: Ledger) -> None:
        """Enter a phase and its probes."""
        w = phase.weighting
        own = w and weighted_steps.policy(w)
        self.again = bool(own and own.follows and own.again)
        if w is not None:
            self.in_force = self._weights(phase, steps)
            if weighted_steps.probes(w):
                self._enter_probes(phase, data, steps)
        if w is None or w.combine != "aggregated" or self.most:
            super().enter_phase(phase, data, steps, ledger)
            return
        lengths = {name: each.lengths for name, each in data.items()}
        drawn = drawing.epochs(self.plan, phase, lengths, steps, functools.partial(weighted_steps.epoch, weights={}))
        for epoch in range(len(steps)):
            batches = drawn(epoch)
            self.enter(ledger, lengths, [[part] for parts in batches for part in parts])  # each passes on its own
            ledger.steps -= sum(len(parts) - 1 for parts in batches)
        for _ in phases.looks(phase, steps):
            self.judge(phase, ledger)

    def enter(self, ledger: Ledger, lengths: drawing.Lengths, batches: Sequence[drawing.Parts]) -> None:
        """Enter optimiser steps, and where a policy looks again a forward pass of each."""
        super().enter(ledger, lengths, batches)
        for parts in batches if self.again else ():
            own = np.concatenate([lengths[name][index] for name, index in parts])
            self.cost.add_batch(self.config, own, int(own.max()), False)

    def enter_dearest(self, ledger: Ledger, sizes: Sizes, taken: int) -> None:
        """Enter the dearest of some batches; see `enter`."""
        super().enter_dearest(ledger, sizes, taken)
        if self.again:
            once = Ledger("")
            super().enter_dearest(once, sizes, taken)
            self.cost.examples += once.examples
            self.cost.tokens += once.tokens
            self.cost.padded_tokens += once.padded_tokens
            self.cost.flops += once.flops / 3

    def draw(self, phase: Phase, lengths: drawing.Lengths, rng: np.random.Generator) -> list[drawing.Parts]:
        """Draw the batches of one epoch."""
        if phase.weighting is None or phases.joins(phase):
            return super().draw(phase, lengths, rng)
        return weighted_steps.epoch(phase, lengths, rng, next(self.in_force))

    def choices(
        self, phase: Phase, lengths: drawing.Lengths, steps: Sequence[int]
    ) -> Iterator[tuple[Sizes, int]]:  # fmt: skip
        """List, for a bound, what is trained some of; where tasks are sampled, every step may be of any task."""
        if phase.weighting is None or phase.weighting.combine != "sampled":
            yield from super().choices(phase, lengths, steps)
            return
        size = phase.recipe.batch_size
        full = [batch for own in lengths.values() for batch in counting.batches_of(own[:size], size)]
        for taken in steps:
            yield full * taken, taken

    def _weights(self, phase: Phase, steps: Sequence[int]) -> Iterator[dict[str, float]]:
        """Yield the weights at the start of each epoch: as recorded, or as far as they are known beforehand."""
        weights = weighted_steps.start(self.plan, phase)
        rows = [row for row in self.updates or () if row["phase"] == phase.name]
        if not rows:
            rows = [{"step": 0, "weights": weights.values.tolist()}]
            moments = weighted_steps.moments(weighted_steps.weighting(phase), steps)
            for step in () if weights.needs_probe else moments:
                rows.append({"step": step, "weights": weights.update().tolist()})
        for epoch in range(len(steps)):
            values = next(row["weights"] for row in reversed(rows) if row["step"] <= sum(steps[:epoch]))
            yield dict(zip(weights.names, values, strict=True))

    def _enter_probes(self, phase: Phase, data: Mapping[str, Tokens], steps: Sequence[int]) -> None:
        """Enter each update's measurement of the target and its tasks, or each epoch's of the target alone."""
        w, primary = weighted_steps.weighting(phase), self.plan.primary
        assert primary is not None, "phases.check refuses weights without a primary"
        weighed = weighted_steps.groups(self.plan, phase, data)
        target = self.train_rows(primary, weighted_steps.target_rows(self.plan, w)).lengths
        head = np.zeros(0, np.int64)
        if primary not in weighed:  # its head is fitted anew
            head = self.train_rows(primary, weighted_steps.kept_steps(self.plan)).lengths
        exact = w.estimator == "exact"
        names = weighted_steps.measured(self.plan, w, weighed) if exact else []
        numbers = range(1, len(weighted_steps.moments(w, steps)) + 1) if exact else range(len(steps))
        for when in ((w.estimator, number) for number in numbers):
            drawn = weighted_steps.chunks(self.plan, phase, primary, np.arange(len(target)), when, target=True)
            self._enter_chunks(target, drawn)
            self._enter_chunks(head, [np.arange(len(head))], gradient=False)
            for name in names:
                task, members = weighed[name]
                self._enter_chunks(data[task].lengths, weighted_steps.chunks(self.plan, phase, name, members, when))

    def _enter_chunks(self, lengths: np.ndarray, chunks: Sequence[np.ndarray], gradient: bool = True) -> None:
        for index in chunks:
            for at in weighted_steps.in_batches(lengths, index):
                weighted_steps.charge(self.cost, self.config, lengths[at], gradient)
