"""Count what AUTOSEM's stage 1 enters into its ledger, as `training.counting` does for other trainings."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence

from auxlearn.cost import Ledger
from auxlearn.training import counting, drawing, phases
from auxlearn.training.counting import Sizes, Tokens
from auxlearn.training.phases import Phase


class Counter(counting.Counter):
    """Counts plans of which some phase has `rounds`."""

    def enter_phase(self, phase: Phase, data: Mapping[str, Tokens], steps: Sequence[int], ledger: Ledger) -> None:
        """Enter a phase: a score before any training, and for each round its batches and a score."""
        if phase.rounds is not None:
            self.judge(phase, ledger)
        if phase.rounds is None or self.most:
            return super().enter_phase(phase, data, steps, ledger)
        lengths = {name: each.lengths for name, each in data.items()}
        played = itertools.cycle(phases.arms(phase, self.plan.primary)) if self.rounds is None else self.rounds
        tasks = list(itertools.islice(played, phase.epochs))
        if len(tasks) < phase.epochs:
            raise ValueError(f"phase {phase.name!r}: tasks of {len(tasks)} rounds are given, it has {phase.epochs}")
        for number, task in enumerate(tasks):
            self.enter(ledger, lengths, drawing.round_of(self.plan, phase, lengths, task, number))
            self.judge(phase, ledger)
        return None

    def choices(
        self, phase: Phase, lengths: drawing.Lengths, steps: Sequence[int]
    ) -> Iterator[tuple[Sizes, int]]:  # fmt: skip
        """List, for a bound, what each round may train: batches of any task."""
        if phase.rounds is None:
            yield from super().choices(phase, lengths, steps)
            return
        for taken in steps:
            yield [b for x in lengths.values() for b in counting.batches_of(x, phase.recipe.batch_size, taken)], taken
