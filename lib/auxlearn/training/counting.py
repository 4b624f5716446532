"""Count what a plan's training will enter into its ledgers, from the lengths of rows alone: no model, nothing trained.

A counter goes the way of the trainer: the same seeds draw the same batches, so that padding is that of the training.
What depends on the training itself (the tasks that a bandit plays, and the order of tasks that are sampled by measured
weights) is read off the record of a finished one, or else expected: tasks played alike, weights where they start.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auxlearn import cost
from auxlearn.cost import Ledger
from auxlearn.data import batch_order
from auxlearn.data.suites import Suite
from auxlearn.training import drawing, extension_points, phases
from auxlearn.training.phases import Phase, Plan


@dataclass(frozen=True)
class Tokens:
    """How long the rows of one split are, as tokens that the encoder reads.

    Sequence i is row i unless a long row was split (see `tokens.sequences.Tokeniser`).
    """

    lengths: np.ndarray  # int64 [S], tokens of each sequence, special tokens included
    rows: np.ndarray | None = None  # int64 [S], the row of each sequence, in order, where some row has several

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return len(self) if self.rows is None else int(self.rows[-1]) + 1

    def take(self, rows: np.ndarray) -> Tokens:
        """Select rows.

        Args:
            rows: Positions of rows, int [N].

        Returns:
            Their sequences in the order that a trainer encodes them in, and which of the N rows each is of.
        """
        if self.rows is None:
            return Tokens(self.lengths[rows])
        first, stop = (np.searchsorted(self.rows, rows, side) for side in ("left", "right"))
        of = np.repeat(np.arange(len(rows)), stop - first)
        within = np.arange(len(of)) - np.searchsorted(of, of, "left")
        return Tokens(self.lengths[first[of] + within], of)

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Return the lengths of the sequences of some rows, int64 [S], in the order that a trainer encodes them in."""
        return self.take(rows).lengths

    def cut(self, rows: np.ndarray, max_length: int) -> np.ndarray:
        """Return the lengths of some rows, int64 [N], where a pass cuts what a training would split."""
        if self.rows is None:
            return self.lengths[rows]
        first, stop = (np.searchsorted(self.rows, rows, side) for side in ("left", "right"))
        return np.where(stop - first > 1, max_length, self.lengths[first])


Lengths = Mapping[str, Mapping[str, Tokens]]  # by task and split, "train" and "dev"
Sizes = list[tuple[int, int]]  # of batches: rows, and tokens that each is padded to


def tokens(suite: Suite, tokenizer: Any, max_length: int) -> dict[str, dict[str, Tokens]]:
    """Tokenise all rows of a suite as the trainer does, and keep their lengths.

    Args:
        suite: The suite.
        tokenizer: The encoder's tokenizer.
        max_length: Tokens that a sequence may have: `encoders.most_tokens` of its config and the plan's `max_length`.

    Returns:
        Lengths by task and split, "train" and "dev".
    """
    from auxlearn.data.tokens import token_store

    def measured(name: str, split: str) -> Tokens:
        encoded = token_store.encoded(suite[name], split, tokenizer, max_length, parts=True)
        return Tokens(encoded.lengths, encoded.rows)

    return {name: {split: measured(name, split) for split in ("train", "dev")} for name in suite.names}  # fmt: skip


def count(
    plan: Plan, lengths: Lengths, config: Any, rounds: Sequence[str] | None = None,
    updates: Sequence[Mapping[str, Any]] | None = None,
) -> list[Ledger]:  # fmt: skip
    """Count what a plan's training enters into its ledgers.

    Args:
        plan: The plan.
        lengths: Lengths of the rows of all its tasks, from `tokens`.
        config: The encoder's Hugging Face configuration.
        rounds: Of a bandit's finished training: the task of each round ("arm" in its history). Without it all tasks
            are played alike, in turn.
        updates: Of a finished weighted training: its `updates`. They matter only where tasks are sampled by measured
            weights; without them the weights stay where they start.

    Returns:
        The ledgers in the training's order, one per phase, and for a weighted plan "weighting"; seconds are 0.
    """
    return extension_points.counter(plan)(plan, lengths, config, rounds, updates).run()


def bound(plan: Plan, lengths: Lengths, config: Any) -> list[Ledger]:
    """Bound what a plan's training enters into its ledgers, whatever the order of its rows.

    Every batch is padded to the longest sequence of the tasks that it may hold; where the training decides which tasks
    it trains, and of an epoch cut short, the dearest batches are taken. Tokens are counted with padding.

    Args:
        plan: The plan.
        lengths: Lengths of the rows of all its tasks, from `tokens`.
        config: The encoder's Hugging Face configuration.

    Returns:
        Ledgers as those of `count`, of which none holds less.
    """
    return extension_points.counter(plan)(plan, lengths, config, most=True).run()


class Counter:
    """Goes through a plan as `train.Trainer` does, and enters into ledgers what that enters; see `count` and `bound`.

    Args:
        plan: The plan.
        lengths: Lengths of the rows of all its tasks.
        config: The encoder's configuration.
        rounds: As for `count`.
        updates: As for `count`.
        most: Whether to bound rather than to count.
    """

    def __init__(
        self, plan: Plan, lengths: Lengths, config: Any, rounds: Sequence[str] | None = None,
        updates: Sequence[Mapping[str, Any]] | None = None, most: bool = False,
    ):  # fmt: skip
        self.plan, self.lengths, self.config, self.updates, self.most = plan, lengths, config, updates, most
        self.rounds = None if rounds is None else iter(rounds)
        self.ledgers = [Ledger(phase.name) for phase in plan.phases]

    def run(self) -> list[Ledger]:
        """Count all phases."""
        for phase, ledger in zip(self.plan.phases, self.ledgers, strict=True):
            data = {name: self.train_rows(name, rows) for name, rows in phase.rows.items() if len(rows)}
            steps = phases.schedule(phase, {name: len(each) for name, each in data.items()})
            self.enter_phase(phase, data, steps, ledger)
        return self.ledgers

    def train_rows(self, name: str, rows: np.ndarray) -> Tokens:
        """Return the sequences of some rows of a task's train split; in a bound all as long as the longest."""
        taken = self.lengths[name]["train"].take(rows)
        return Tokens(np.full(len(taken), taken.lengths.max()), taken.rows) if self.most and len(taken) else taken

    def enter_phase(self, phase: Phase, data: Mapping[str, Tokens], steps: Sequence[int], ledger: Ledger) -> None:
        """Enter a phase.

        Args:
            phase: The phase.
            data: Sequences of its rows by task.
            steps: Steps of each of its epochs.
            ledger: Its ledger.
        """
        lengths = {name: each.lengths for name, each in data.items()}
        if phases.joins(phase):
            lengths = {"": np.concatenate(list(lengths.values()))}
        if self.most:
            for sizes, taken in self.choices(phase, lengths, steps):
                self.enter_dearest(ledger, sizes, taken)
        else:
            drawn = drawing.epochs(self.plan, phase, lengths, steps, self.draw)
            for epoch in range(len(steps)):
                self.enter(ledger, lengths, drawn(epoch))
        for _ in range(len(steps) if phase.rounds else len(phases.looks(phase, steps))):
            self.judge(phase, ledger)

    def draw(self, phase: Phase, lengths: drawing.Lengths, rng: np.random.Generator) -> list[drawing.Parts]:
        """Draw the batches of one epoch; where they join tasks, as of one task, which spares telling them apart."""
        return [[batch] for batch in batch_order.homogeneous(lengths, phase.recipe.batch_size, rng)]

    def choices(
        self, phase: Phase, lengths: drawing.Lengths, steps: Sequence[int]
    ) -> Iterator[tuple[Sizes, int]]:  # fmt: skip
        """List, for a bound, batches of which a phase trains some.

        Args:
            phase: The phase.
            lengths: Tokens of each of its sequences by task; of tasks that batches join, as of one.
            steps: Steps of each of its epochs.

        Yields:
            Batches, and how many of them are trained at most.
        """
        size = phase.recipe.batch_size
        if phase.order is not None:
            names = phases.arms(phase, self.plan.primary)
            for at, taken in zip(*np.unique(phase.order, return_counts=True), strict=True):
                yield batches_of(lengths[names[at]], size, int(taken)), int(taken)
            return
        whole = [batch for own in lengths.values() for batch in batches_of(own, size)]
        for taken in steps:
            yield whole, taken

    # --- what is entered -----------------------------------------------------------------------------------------

    def enter(self, ledger: Ledger, lengths: drawing.Lengths, batches: Sequence[drawing.Parts]) -> None:
        """Enter optimiser steps as `train.Trainer` does, all at once.

        Args:
            ledger: The phase's ledger.
            lengths: Tokens of each of its sequences by task.
            batches: A batch per step.
        """
        own = np.concatenate([lengths[name][index] for parts in batches for name, index in parts])
        rows = np.array([sum(len(index) for _, index in parts) for parts in batches])
        longest = np.maximum.reduceat(own, np.cumsum(rows) - rows)
        ledger.tokens += int(own.sum())
        self._enter(ledger, rows, rows * longest, self._flops(rows, longest))

    def _flops(self, rows: np.ndarray, longest: np.ndarray) -> np.ndarray:
        """Return the FLOPs of each step, from its rows and the tokens that each is padded to."""
        lengths, at = np.unique(longest, return_inverse=True)
        config, frozen = self.config, self.plan.frozen_layers
        return rows * np.array([cost.encoder_flops(config, [length], True, frozen) for length in lengths.tolist()])[at]

    def _enter(self, ledger: Ledger, rows: np.ndarray, padded: np.ndarray, flops: np.ndarray) -> None:
        """Enter all of some steps but their tokens."""
        ledger.examples += int(rows.sum())
        ledger.padded_tokens += int(padded.sum())
        ledger.flops += float(flops.sum())
        ledger.steps += len(rows)

    def enter_dearest(self, ledger: Ledger, sizes: Sizes, taken: int) -> None:
        """Enter the dearest of some batches, by each count on its own.

        Args:
            ledger: The phase's ledger.
            sizes: The batches.
            taken: How many of them are trained.
        """
        rows, longest = np.array(sizes, np.int64).T
        each = (rows, rows * longest, self._flops(rows, longest))
        dearest, padded, flops = (np.sort(values)[::-1][:taken] for values in each)
        ledger.tokens += int(padded.sum())
        self._enter(ledger, dearest, padded, flops)

    def judge(self, phase: Phase, ledger: Ledger) -> None:
        """Enter a pass over the rows that a phase is judged by: see `Phase.choose`."""
        assert self.plan.primary is not None, "phases.check refuses plans that are judged without a primary"
        own = self.lengths[self.plan.primary]
        self.enter_pass(ledger, own["dev"].lengths if phase.choose == "dev" else own["train"].of(self.plan.holdout))

    def enter_pass(self, ledger: Ledger, lengths: np.ndarray) -> None:
        """Enter a forward pass as `prediction.outputs` does."""
        kind = self.plan.device.partition(":")[0]
        for index in batch_order.by_tokens(lengths, batch_order.budget(kind)):
            ledger.add_batch(self.config, lengths[index], int(lengths[index].max()), False)


def batches_of(lengths: np.ndarray, batch_size: int, taken: int | None = None) -> Sizes:
    """List the dearest batches of going through a task's rows once, or again and again.

    Args:
        lengths: Tokens of each sequence; every batch is padded to the longest.
        batch_size: Rows per batch.
        taken: The number of batches; None for one pass.

    Returns:
        The batches.
    """
    full, rest = divmod(len(lengths), batch_size)
    longest = int(lengths.max())
    once = [(rows, longest) for rows in [batch_size] * full + [rest] * (rest > 0)]
    return once if taken is None else [once[i % len(once)] for i in range(taken)]
