"""What a plan's training will cost over sizes: what to expect, and what it cannot exceed.

What to expect is counted as ledgers are (`training.counting`), of long phases on a part of them that stands for the
whole. What cannot be exceeded is worked out from how many rows there are and how long the longest is: it holds whatever
rows a method chooses, in whatever order they come.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from auxlearn import cost
from auxlearn.cost import Ledger
from auxlearn.methods import registry
from auxlearn.training import counting, extension_points, phases
from auxlearn.training.counting import Lengths, Tokens
from auxlearn.training.phases import Phase, Plan, Weighting

MANY = 20_000  # rows of a phase, all epochs together, beyond which so many stand for all
Costs = list[tuple[str, float]]  # FLOP by ledger, in a training's order
Groups = list[tuple[int, int]]  # sequences that a batch may be cut from, and the longest of them


def usual(plan: Plan, lengths: Lengths, config: Any) -> Costs:
    """Count what to expect.

    Args:
        plan: The plan.
        lengths: Lengths of the rows of all its tasks.
        config: The encoder's sizes.

    Returns:
        FLOP by ledger: that of the plan's own batches, or about that where a phase has many rows.
    """
    if any(phase.weighting for phase in plan.phases):
        return [(ledger.stage, ledger.flops) for ledger in counting.count(plan, lengths, config)]
    return [(phase.name, _usual(plan, phase, lengths, config)) for phase in plan.phases]


def _usual(plan: Plan, phase: Phase, lengths: Lengths, config: Any) -> float:
    if phase.rounds:
        rows = {name: own[:MANY] for name, own in phase.rows.items()}
        return _flops(replace(plan, phases=(replace(phase, rows=rows),)), lengths, config)
    own = {name: lengths[name]["train"].of(rows) for name, rows in phase.rows.items() if len(rows)}
    steps = phases.schedule(phase, {name: len(each) for name, each in own.items()})
    if len(steps) * sum(map(len, own.values())) <= MANY:
        return _flops(replace(plan, phases=(phase,)), lengths, config)
    if phase.order is None:
        trained = sum(steps) * _per_step(plan, phase, own, config)
    else:
        names, often = phases.arms(phase, plan.primary), np.bincount(phase.order)
        trained = sum(k * _per_step(plan, phase, {names[i]: own[names[i]]}, config) for i, k in enumerate(often) if k)
    return trained + _judged(plan, phase, lengths, config, len(phases.looks(phase, steps)))


def _flops(plan: Plan, lengths: Lengths, config: Any) -> float:
    (ledger,) = counting.count(plan, lengths, config)
    return ledger.flops


def _per_step(plan: Plan, phase: Phase, own: Mapping[str, np.ndarray], config: Any) -> float:
    """Return the mean FLOP per step of an epoch over sequences by task, of which at most MANY stand for all."""
    groups = [np.concatenate(list(own.values()))] if phases.joins(phase) else list(own.values())
    flops = 0.0
    for lengths in groups:
        few = _sample(lengths, MANY // len(groups))
        once = Phase(phase.name, {"": np.arange(len(few))}, 1, phase.recipe)
        alone = Plan("", (once,), {"order": 0}, frozen_layers=plan.frozen_layers)
        part = _flops(alone, {"": {"train": Tokens(few)}}, config)
        flops += part * len(lengths) / len(few)
    return flops / sum(-(-len(lengths) // phase.recipe.batch_size) for lengths in groups)


def _sample(lengths: np.ndarray, most: int) -> np.ndarray:
    """Return at most so many lengths, distributed as all are."""
    if len(lengths) <= most:
        return lengths
    return np.sort(lengths)[((np.arange(most) + 0.5) * len(lengths) / most).astype(np.int64)]


def _judged(plan: Plan, phase: Phase, lengths: Lengths, config: Any, times: int) -> float:
    """Return the FLOP of judging the model so many times."""
    ledger = Ledger(phase.name)
    if times:
        extension_points.counter(plan)(plan, lengths, config).judge(phase, ledger)
    return times * ledger.flops


# --- at most ---------------------------------------------------------------------------------------------------------


def dearest(plan: Plan, lengths: Lengths, config: Any, pool: Sequence[str] = ()) -> Costs:
    """Bound what a training costs.

    Args:
        plan: The plan.
        lengths: Lengths of the rows of all its tasks.
        config: The encoder's sizes.
        pool: The tasks that the plan's rows beside the primary's may be of, in whatever shares; () where they are
            those of the plan.

    Returns:
        FLOP by ledger, in the order of `usual`.
    """
    costs, probes = [], 0.0
    for phase in plan.phases:
        bound = _Bound(plan, phase, lengths, config, pool)
        costs.append((phase.name, bound.training() + _judged(plan, phase, lengths, config, bound.judged())))
        probes += bound.probes(phase.weighting) if phase.weighting else 0.0
    return [*costs, ("weighting", probes)] if any(phase.weighting for phase in plan.phases) else costs


class _Bound:
    """Bounds one phase; arguments are those of `dearest`."""

    def __init__(self, plan: Plan, phase: Phase, lengths: Lengths, config: Any, pool: Sequence[str]):
        self.plan, self.phase, self.lengths, self.config = plan, phase, lengths, config
        self.pool = () if phase.rounds else pool
        self.size = phase.recipe.batch_size
        primary = {name: rows for name, rows in phase.rows.items() if name == plan.primary and len(rows)}
        others = {name: rows for name, rows in phase.rows.items() if name != plan.primary and len(rows)}
        self.own, self.others = self._groups(primary), self._groups(others)
        if self.pool and others:
            most = _most_sequences([lengths[name]["train"] for name in self.pool], sum(map(len, others.values())))
            self.others = [(most, max(_longest(lengths[name]["train"]) for name in self.pool))]
        groups = [*self.own, *self.others]
        if phases.joins(phase):
            groups = [(sum(count for count, _ in groups), max(longest for _, longest in groups))]
        self.groups = groups
        self.fewest = sum(-(-count // self.size) for count, _ in groups)  # steps of an epoch
        self.most = self.fewest + (0 if phases.joins(phase) else len(self.pool))

    def _groups(self, rows: Mapping[str, np.ndarray]) -> Groups:
        taken = [self.lengths[name]["train"].of(each) for name, each in rows.items()]
        return [(len(each), int(each.max())) for each in taken]

    def _one(self, longest: int) -> float:
        return cost.encoder_flops(self.config, [longest], True, self.plan.frozen_layers)

    def steps(self) -> int | None:
        """Count the steps where they are told, or drawn by weights; None where a phase goes through its rows."""
        phase = self.phase
        if phase.order is not None:
            return len(phase.order)
        if phase.rounds:
            return phase.epochs * phase.rounds.batches
        if phase.steps is None and phase.weighting and phase.weighting.combine == "sampled":
            return phase.epochs * self.most
        return phase.steps

    def epochs(self) -> int:
        """Count the epochs."""
        by_steps = self.phase.steps is not None
        return -(-self.phase.steps // self.fewest) if by_steps else self.phase.epochs  # type: ignore[operator]

    def judged(self) -> int:
        """Count how often the model is judged; a bandit's once before its rounds."""
        if self.phase.rounds:
            return self.epochs() + 1
        return 0 if self.phase.choose == "last" else self.phase.looks or self.epochs()

    def training(self) -> float:
        """Return the FLOP of all steps: rows at their longest, or where steps are told the dearest batch each time."""
        steps = self.steps()
        if steps is None:
            return self.phase.epochs * sum(count * self._one(longest) for count, longest in self.groups)
        return steps * max(min(self.size, count) * self._one(longest) for count, longest in self.groups)

    def probes(self, w: Weighting) -> float:
        """Return the FLOP of all probes of a weighted phase, or of a policy's second look at each batch."""
        if w.evidence == "losses":
            return self.training() / 3 if registry.get(w.policy or "").again else 0.0  # type: ignore[union-attr]
        if not (w.watch or w.evidence in ("measured", "shuffled")):
            return 0.0
        updates, drawn = self.epochs(), w.chunks * w.chunk_rows
        if w.every and w.estimator == "exact":
            updates = (self.steps() or self.epochs() * self.most) // w.every
        assert self.plan.primary is not None, "weights need a primary"
        train = self.lengths[self.plan.primary]["train"]
        kept = [phase.rows[self.plan.primary] for phase in self.plan.phases if self.plan.primary in phase.rows]
        rows = np.unique(np.concatenate(kept)) if kept else np.zeros(0, np.int64)
        target = train.of(self.plan.holdout if w.target_rows == "holdout" else rows)
        each = min(drawn, len(target)) * self._one(_longest(Tokens(target)))
        if not self.own:  # its head is fitted anew
            head = train.of(rows)
            each += len(head) * self._one(_longest(Tokens(head))) / 3
        if w.estimator == "exact":
            parts = 1 + max((int(np.max(part)) + 1 for part in w.parts.values()), default=0)
            most = len(self.pool) * drawn * parts if self.pool else drawn * parts
            each += sum(min(most, count) * self._one(longest) for count, longest in self.others)
            each += sum(min(drawn, count) * self._one(longest) for count, longest in self.own) * (not w.itself)
        return updates * each


def _longest(tokens: Tokens) -> int:
    return int(tokens.lengths.max()) if len(tokens) else 0


def _most_sequences(pool: Sequence[Tokens], rows: int) -> int:
    """Count the sequences that so many rows of some tasks have at most."""
    if all(tokens.rows is None for tokens in pool):
        return rows
    each = [np.bincount(t.rows) if t.rows is not None else np.ones(len(t), np.int64) for t in pool]
    return int(np.sort(np.concatenate(each))[::-1][:rows].sum())
