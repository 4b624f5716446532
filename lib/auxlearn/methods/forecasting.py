"""What methods and makers will cost, before anything is run: their own plans over sizes, counted as ledgers count.

A `SizedContext` stands in for the context of a run: it knows how many rows there are and how long they are, and takes
any rows for chosen ones, mixed as the pool is. Whatever a method would train or pass over is planned by the code that
plans it in a run, and counted by the code that checks a run's ledger (`training.counting`).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd

from auxlearn.cost import Ledger
from auxlearn.data.suites import Suite, Task
from auxlearn.errors import InputError
from auxlearn.methods import registry
from auxlearn.methods.base import Charge, Method, Need
from auxlearn.methods.context import SELECTION, Context
from auxlearn.records.manifests import digest
from auxlearn.signals import pass_counting
from auxlearn.training import counting, phases
from auxlearn.training.counting import Lengths, Tokens
from auxlearn.training.phases import Phase, Plan
from auxlearn.training.shared_parameters import Common

MANY = 20_000  # rows of a phase, from which every k-th stands for k


@dataclass(frozen=True)
class Sizes:
    """What a forecast is counted over.

    Attributes:
        lengths: Tokens of the rows of every task, by split ("train" and "dev").
        encoder: The encoder's sizes, under their Hugging Face names.
        source: Where the figures are from, for people.
    """

    lengths: Lengths
    encoder: Any
    source: str

    @cached_property
    def rows(self) -> dict[str, int]:
        """Training rows of every task."""
        return {name: _rows(splits["train"]) for name, splits in self.lengths.items()}

    @cached_property
    def suite(self) -> Suite:
        """A suite of which nothing is known but how many rows its tasks have."""
        tasks = {name: cast(Task, SimpleNamespace(name=name, train=range(count))) for name, count in self.rows.items()}
        return Suite("sizes", tasks, "sizes")


class SizedContext(Context):
    """The context of a run that is not made: plans are made over sizes, and nothing is trained.

    Args:
        sizes: The sizes.
        params: The parameters of the notebook or call.
        seed: The seed.
        upstream: Parameters of the notebooks' runs that it reads.
    """

    def __init__(self, sizes: Sizes, params: Any, seed: int, upstream: Sequence[Common] = ()):
        super().__init__(sizes.suite, params, seed, upstream)
        self.sizes = sizes

    def usable(self, target: str | None) -> dict[str, np.ndarray]:
        """Take every row for usable: leaks are not known before the rows are."""
        return {name: np.ones(count, bool) for name, count in self.sizes.rows.items()}

    def whole_pool(self) -> tuple[pd.DataFrame, np.ndarray]:
        """List all rows of the auxiliaries: task, row and a score of 0."""
        counts = {name: self.sizes.rows[name] for name in self.auxiliaries}
        rows = self._table(counts)
        return rows, np.ones(len(rows), bool)

    def mixed(self, n: int) -> pd.DataFrame:
        """Return n rows of the auxiliaries, mixed as the pool is.

        Raises:
            InputError: The pool has fewer rows.
        """
        pool = {name: self.sizes.rows[name] for name in self.auxiliaries}
        total = sum(pool.values())
        if n > total:
            raise InputError(f"n: {n} rows asked for, but the pool has {total}")
        exact = {name: n * count / total for name, count in pool.items()}
        counts = {name: int(x + 1e-9) for name, x in exact.items()}
        for name in sorted(pool, key=lambda name: counts[name] - exact[name])[: n - sum(counts.values())]:
            counts[name] += 1
        return self._table(counts)

    @staticmethod
    def _table(counts: Mapping[str, int]) -> pd.DataFrame:
        rows = [np.arange(count) for count in counts.values()]
        task = np.repeat(list(counts), list(counts.values()))
        return pd.DataFrame({"task": task, "row": np.concatenate([*rows, np.zeros(0, np.int64)]), "score": 0.0})

    def obtain(self, need: Need) -> Any:
        """Return an artifact such as its maker expects to make."""
        return registry.maker(need.artifact).expected(self, self.parameters(need), self.seed)

    # --- charges -----------------------------------------------------------------------------------------------------

    def needs(self, needs: Iterable[Need]) -> list[Charge]:
        """Forecast what artifacts cost the method that needs them."""
        charges: list[Charge] = []
        for need in needs:
            if need.artifact.startswith(SELECTION):
                method = registry.get(need.artifact.removeprefix(SELECTION))
                assert isinstance(method, Method), "a policy selects nothing"
                charges += self.choosing(method)
            else:
                maker = registry.maker(need.artifact)
                charges += maker.forecast(self, self.parameters(need), self.seed)
        return charges

    def choosing(self, method: Method, final: Plan | None = None) -> list[Charge]:
        """Forecast what a method runs in order to choose.

        Args:
            method: The method.
            final: The training of what it chooses; a trial that is the same training is counted once.
        """
        options = registry.options(method, self.params.methods)
        charges = self.needs(method.needs(self.cell, options))
        for stage, plan, expected, most in method.forecast_search(self, self.cell, options):
            same = int(final is not None and unit(final) == unit(plan))
            charges += self.trained(plan, stage, expected - same, most - same, True)
        return charges

    def trained(
        self, plan: Plan, stage: str = "", expected: float = 1, most: float = 1, search: bool = False
    ) -> list[Charge]:
        """Forecast a training.

        Args:
            plan: The plan.
            stage: The stage that it is charged to; "" for those of its own ledgers.
            expected: How many such trainings to expect.
            most: How many there are at most.
            search: Whether it is one of a search's, which counts beside the same training made for itself.
        """
        usual = self._count(plan)
        longest = max((_longest(self.sizes.lengths[name]) for name in self.sizes.rows), default=0)
        dearest = {
            name: {split: Tokens(np.full(len(part), longest), part.rows) for split, part in splits.items()}
            if name != plan.primary else splits for name, splits in self.sizes.lengths.items()
        }  # fmt: skip
        bounds = self._count(plan, dearest)
        return [
            Charge(f"{unit(plan)} {ledger.stage} {stage * search}", stage or ledger.stage, expected * ledger.flops,
                   most * max(ledger.flops, top.flops))
            for ledger, top in zip(usual, bounds, strict=True)
        ]  # fmt: skip

    def passed(self, plan: Plan, rows: Mapping[str, np.ndarray], stage: str) -> Charge:
        """Forecast a pass over rows of some tasks by a plan's model.

        Args:
            plan: The plan of the model.
            rows: Positions in each task's train split.
            stage: The stage that it is charged to.
        """

        def count(some: Mapping[str, np.ndarray]) -> Ledger:
            return pass_counting.scoring(plan, self.sizes.lengths, self.sizes.encoder, some)

        return self._pass(plan, rows, stage, count)

    def measured(self, plan: Plan, name: str, rows: np.ndarray) -> Charge:
        """Forecast the head importance of some rows of a task.

        Args:
            plan: The plan of the model that measures.
            name: The task.
            rows: Positions in its train split.
        """

        def count(some: Mapping[str, np.ndarray]) -> Ledger:
            return pass_counting.importance(plan, self.sizes.lengths, self.sizes.encoder, name, some[name])

        return self._pass(plan, {name: rows}, "importance", count)

    def _pass(
        self,
        plan: Plan,
        rows: Mapping[str, np.ndarray],
        stage: str,
        count: Callable[[Mapping[str, np.ndarray]], Ledger],
    ) -> Charge:
        """Count a pass; of many rows every k-th stands for k. Its rows are known, so that it cannot cost more."""
        total = sum(map(len, rows.values()))
        some = {name: own[:: -(-total // MANY) or 1] for name, own in rows.items()}
        flops = count(some).flops * total / max(1, sum(map(len, some.values())))
        sizes = {name: phases.hash_rows(own) for name, own in rows.items()}
        return Charge(digest([unit(plan), stage, sizes]), stage, flops, flops)

    def _count(self, plan: Plan, most: Lengths | None = None) -> list[Ledger]:
        ledgers = []
        if any(phase.weighting or phase.rounds for phase in plan.phases):
            return self._counted(plan, most)
        for phase in plan.phases:
            times, thin = _thinned(phase)
            held = plan.holdout[:: max(1, round(times / max(1, phase.epochs / thin.epochs)))]
            (ledger,) = self._counted(replace(plan, phases=(thin,), holdout=held), most)
            ledger.flops *= times
            ledgers.append(ledger)
        return ledgers

    def _counted(self, plan: Plan, most: Lengths | None) -> list[Ledger]:
        if most is None:
            return counting.count(plan, self.sizes.lengths, self.sizes.encoder)
        return counting.bound(plan, most, self.sizes.encoder)


def _thinned(phase: Phase) -> tuple[float, Phase]:
    """Return a phase of few rows and one epoch in place of a long one, and how many times it counts."""
    total = sum(map(len, phase.rows.values()))
    if total <= MANY:
        return 1.0, phase
    every = -(-total // MANY)
    rows = {name: own[::every] for name, own in phase.rows.items()}
    if phase.order is not None:
        order = phase.order[:: every * phase.epochs]
        return len(phase.order) / len(order), replace(phase, rows=rows, order=order, epochs=1)
    if phase.steps:
        steps = max(1, phase.steps // every)
        return phase.steps / steps, replace(phase, rows=rows, steps=steps)
    return phase.epochs * total / sum(map(len, rows.values())), replace(phase, rows=rows, epochs=1)


def arm(context: SizedContext) -> list[Charge]:
    """Forecast one seed of an arm: what it needs, what it runs to choose, and its training.

    Args:
        context: The context; `params.arm` names the arm.

    Returns:
        Its charges.
    """
    method, policy = registry.parse(context.params.arm)
    options = registry.options(method, context.params.methods)
    selection = method.expected(context, context.cell, options)
    if policy is None or selection.rows is None:
        plan, needs = method.plan(context, context.cell, selection, options), []
    else:
        own = registry.options(policy, context.params.methods)
        plan, needs = policy.plan(context, context.cell, selection, own), policy.needs(context.cell, own)
    charges = [*context.choosing(method, plan), *context.needs(needs)]
    last = context.trained(plan)
    if method.level == "tasks" and policy is None:  # it may choose nothing, and spend its steps on the primary
        alone = sum(charge.most for charge in context.trained(context.trial_plan(None)))
        most = sum(charge.most for charge in last)
        last = [replace(charge, most=charge.most * max(1.0, alone / most)) for charge in last]
    return [*charges, *last]


def unit(plan: Plan) -> str:
    """Return what tells a plan from others: a digest of all that it says, rows by hash."""
    return digest(json.loads(json.dumps(asdict(plan), default=phases.hash_rows)))


def _rows(tokens: Tokens) -> int:
    return len(tokens) if tokens.rows is None else int(tokens.rows[-1]) + 1


def _longest(splits: Mapping[str, Tokens]) -> int:
    return max((int(part.lengths.max()) for part in splits.values() if len(part)), default=0)
