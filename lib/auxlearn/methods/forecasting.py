"""What methods and makers will cost, before anything is run: their own plans over sizes, counted as ledgers count.

A `SizedContext` stands in for the context of a run: it knows how many rows there are and how long they are, and takes
any rows for chosen ones, mixed as the pool is. Whatever a method would train or pass over is planned by the code that
plans it in a run, and counted by the code that checks a run's ledger (`plan_costs`, `signals.pass_counting`).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
from pydantic import BaseModel

from auxlearn.cost import Ledger
from auxlearn.data.suites import Suite, Task
from auxlearn.errors import InputError
from auxlearn.methods import plan_costs, registry
from auxlearn.methods.base import Charge, Method, Need, Search, Selection, WeightPolicy
from auxlearn.methods.context import SELECTION, Context
from auxlearn.models import encoder_files
from auxlearn.records.manifests import digest
from auxlearn.training import phases
from auxlearn.training.counting import Lengths
from auxlearn.training.phases import Plan
from auxlearn.training.shared_parameters import Common

OF_ARMS = {"arm", "n", "methods", "seeds", "inputs", "study", "keep_model"}  # parameters that no artifact depends on


@dataclass(frozen=True)
class Sizes:
    """What a forecast is counted over.

    Attributes:
        lengths: Tokens of the rows of every task, by split ("train" and "dev").
        encoder: The encoder's sizes, under their Hugging Face names.
        source: Where the figures are from, for people.
        counted: What has been counted over them: ledger, FLOP to expect and at most, by plan.
        made: What artifacts cost, by what they are made of.
    """

    lengths: Lengths
    encoder: Any
    source: str
    counted: dict[str, list[tuple[str, float, float]]] = field(default_factory=dict, compare=False, repr=False)
    made: dict[str, list[Charge]] = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def rows(self) -> dict[str, int]:
        """Training rows of every task."""
        return {name: splits["train"].n_rows for name, splits in self.lengths.items()}

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

    @property
    def auxiliaries(self) -> list[str]:
        """Names of the auxiliary tasks; none for a suite of one, whose price is asked all the same."""
        return self.suite.auxiliaries(self.params.primary, self.params.auxiliaries)

    def usable(self, target: str | None) -> dict[str, np.ndarray]:
        """Take every row for usable, as leaks are not known yet; of the primary, as many as a seed draws."""
        masks = {name: np.ones(count, bool) for name, count in self.sizes.rows.items()}
        if self.params.primary_rows:
            masks[self.params.primary][self.params.primary_rows :] = False
        return masks

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
        names = sorted(name for name, count in counts.items() if count)
        sizes = [counts[name] for name in names]
        task = pd.Categorical.from_codes(np.repeat(np.arange(len(names)), sizes), names)  # a million words are slow
        rows = np.concatenate([*map(np.arange, sizes), np.zeros(0, np.int64)])
        return pd.DataFrame({"task": task, "row": rows, "score": 0.0})

    def encoder(self, plan: Plan) -> Any:
        """Return the sizes of a plan's encoder: of the parameters', with as many layers as the plan has of it."""
        sizes, (_, layers) = self.sizes.encoder, encoder_files.parse(plan.encoder)
        if plan.encoder == self.params.encoder or layers in (None, sizes.num_hidden_layers):
            return sizes
        if isinstance(sizes, BaseModel):
            return sizes.model_copy(update={"num_hidden_layers": layers})
        cut = copy.copy(sizes)
        cut.num_hidden_layers = layers
        return cut

    def obtain(self, need: Need) -> Any:
        """Return an artifact such as its maker expects to make."""
        return registry.maker(need.artifact).expected(self, self.parameters(need), self.seed)

    # --- charges -----------------------------------------------------------------------------------------------------

    def needs(self, needs: Iterable[Need]) -> list[Charge]:
        """Forecast what artifacts cost the method that needs them."""
        return [charge for need in needs if need.charged for charge in self._need(need)]

    def _need(self, need: Need) -> list[Charge]:
        if need.artifact.startswith(SELECTION):
            return self.choosing(_selecting(need))
        p, read = self.parameters(need), [(q.stage, q.key_params()) for q in self.upstream]
        asks = self.params.model_dump(exclude=OF_ARMS)  # artifacts are the same whatever arm reads them
        at = digest([repr(need), p.key_params(), read, asks, self.seed])
        if at not in self.sizes.made:
            self.sizes.made[at] = registry.maker(need.artifact).forecast(self, p, self.seed)
        return self.sizes.made[at]

    def choosing(self, method: Method, final: Plan | None = None) -> list[Charge]:
        """Forecast what a method runs in order to choose.

        Args:
            method: The method.
            final: The training of what it chooses; a trial that is the same training is counted once.
        """
        options = registry.options(method, self.params.methods)
        needs = method.needs(self.cell, options)
        searches = method.forecast_search(self, self.cell, options)
        return [*self.needs(needs), *self.searching(searches, self._read(needs), final)]

    def searching(self, searches: Iterable[Search], by: Any, final: Plan | None = None) -> list[Charge]:
        """Forecast the trainings of searches.

        Args:
            searches: The searches.
            by: What tells them from others of which the same plans are expected, beside what each says itself.
            final: The arm's own training; a trial that is the same training is counted once.
        """
        charges: list[Charge] = []
        for search in (Search(*each) for each in searches):
            same = int(search.last and final is not None and unit(final) == unit(search.plan))
            own = digest(["search", by, search.by])
            charges += self.trained(search.plan, search.stage, search.expected, search.most, own, True, same)
        return charges

    def decided_by(self, items: Iterable[Method | WeightPolicy]) -> str:
        """Tell what the rows and weights of a training depend on that its forecast's plan does not show.

        Args:
            items: The method, and the policy if there is one.

        Returns:
            A digest of them, their options and what they read; "" where nothing is chosen, so that the plan says all.
        """
        parts = []
        for item in items:
            options = registry.options(item, self.params.methods)
            needs = item.needs(self.cell, options)
            if needs or getattr(item, "level", "none") != "none" or item.searches(options):
                parts.append([item.name, options.model_dump(), self._read(needs)])
        return digest(parts) if parts else ""

    def _read(self, needs: Iterable[Need]) -> list[Any]:
        """Tell artifacts from others: their parameters, and what they are made of."""
        parts: list[Any] = []
        for need in needs:
            if need.artifact.startswith(SELECTION):
                parts.append(self.decided_by([_selecting(need)]))
            else:
                made = [charge.unit for charge in self._need(need)]
                parts.append([need.artifact, self.parameters(need).key_params(), made])
        return parts

    def trained(
        self, plan: Plan, stage: str = "", expected: float = 1, most: float = 1, by: str = "", chosen: bool = False,
        spared: int = 0,
    ) -> list[Charge]:  # fmt: skip
        """Forecast a training.

        Args:
            plan: The plan.
            stage: The stage that it is charged to; "" for those of its own ledgers.
            expected: How many such trainings to expect.
            most: How many there are at most.
            by: What tells it from other trainings of which the same plan is expected.
            chosen: Whether its auxiliary rows may be others of the pool.
            spared: How many of them are charged elsewhere.
        """
        key, pool = unit(plan), self.auxiliaries if chosen else []
        known = self.sizes.counted
        at = digest([key, pool])
        if at not in known:
            given = self.sizes.lengths, self.encoder(plan)
            costs = zip(plan_costs.usual(plan, *given), plan_costs.dearest(plan, *given, pool), strict=True)
            known[at] = [(name, flops, max(flops, top)) for (name, flops), (_, top) in costs]
        return [
            Charge(digest([key, by, name]), stage or name, (expected - spared) * flops, (most - spared) * top,
                   (spared * flops, spared * top))
            for name, flops, top in known[at]
        ]  # fmt: skip

    def passed(
        self, plan: Plan, rows: Mapping[str, np.ndarray], stage: str, reads: Sequence[str] = (),
        targets: Mapping[str, np.ndarray] | None = None,
    ) -> Charge:  # fmt: skip
        """Forecast a pass over rows of some tasks by a plan's model.

        Args:
            plan: The plan of the model.
            rows: Positions in each task's train split.
            stage: The stage that it is charged to.
            reads: What is read, some of `row_signals.KNOWN`; by default features and logits.
            targets: For "products": rows of each target.
        """
        from auxlearn.signals import pass_counting, pass_store

        config = self.encoder(plan)
        given = plan, self.sizes.lengths, config, rows, reads or pass_store.PLAIN
        count = lambda: pass_counting.scoring(*given, targets, pass_counting.cells(config))  # noqa: E731
        more = [list(reads), {name: phases.hash_rows(own) for name, own in (targets or {}).items()}] if reads else []
        return self._pass(plan, rows, stage, count, *more)

    def measured(self, plan: Plan, name: str, rows: np.ndarray, dropout: bool = False) -> Charge:
        """Forecast the head importance of some rows of a task.

        Args:
            plan: The plan of the model that measures.
            name: The task.
            rows: Positions in its train split.
            dropout: Whether dropout is left on, which makes it another pass at the same cost.
        """
        from auxlearn.signals import pass_counting

        given = plan, self.sizes.lengths, self.encoder(plan)
        count = lambda: pass_counting.importance(*given, name, rows)  # noqa: E731
        return self._pass(plan, {name: rows}, "importance", count, dropout)

    def in_batches(
        self, plan: Plan, name: str, rows: np.ndarray, size: int, stage: str, backward: bool = True, times: int = 1
    ) -> Charge:
        """Forecast passes over rows of a task, by a plan's model, that no optimiser step follows.

        Args:
            plan: The plan of the model.
            name: The task.
            rows: Positions in its train split.
            size: Rows of a batch.
            stage: The stage that it is charged to.
            backward: Whether each forward pass is followed by one back.
            times: How often.
        """
        from auxlearn.signals import pass_counting

        given = plan, self.sizes.lengths, self.encoder(plan)
        count = lambda: pass_counting.in_batches(*given, name, rows, size, stage, backward)  # noqa: E731
        once = self._pass(plan, {name: rows}, stage, count, size, backward)
        return replace(once, expected=times * once.expected, most=times * once.most)

    def _pass(
        self, plan: Plan, rows: Mapping[str, np.ndarray], stage: str, count: Callable[[], Ledger], *more: Any
    ) -> Charge:
        """Count a pass, whose rows are known, so that it cannot cost more."""
        at = digest([unit(plan), stage, {name: phases.hash_rows(own) for name, own in rows.items()}, *more])
        if at not in self.sizes.counted:
            flops = count().flops
            self.sizes.counted[at] = [(stage, flops, flops)]
        ((_, expected, most),) = self.sizes.counted[at]
        return Charge(at, stage, expected, most)


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
    by = context.decided_by([method, *([policy] if policy else [])])
    if policy is None or selection.rows is None:
        plan, more = method.plan(context, context.cell, selection, options), []
    else:
        own = registry.options(policy, context.params.methods)
        plan = policy.plan(context, context.cell, selection, own)
        searches = policy.forecast_search(context, context.cell, selection, own)
        more = [*context.needs(policy.needs(context.cell, own)), *context.searching(searches, by, plan)]
    charges = [*context.choosing(method, plan), *more]
    last = context.trained(plan, by=by, chosen=method.level != "none")
    if method.level == "tasks":  # it may choose nothing, and spend its steps on the primary
        nothing = context.trained(method.plan(context, context.cell, Selection(), options))
        alone, most = (sum(charge.most for charge in each) for each in (nothing, last))
        last = [replace(charge, most=charge.most * max(1.0, alone / most)) for charge in last]
    return [*charges, *last]


def unit(plan: Plan) -> str:
    """Return what tells a plan from others: a digest of all that it says, rows by hash."""
    return digest(json.loads(json.dumps(asdict(plan), default=phases.hash_rows)))


def _selecting(need: Need) -> Method:
    method = registry.get(need.artifact.removeprefix(SELECTION))
    assert isinstance(method, Method), "a policy selects nothing"
    return method
