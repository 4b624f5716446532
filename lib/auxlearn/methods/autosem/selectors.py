"""AUTOSEM's methods: a bandit's tasks, and the mixing ratios that a Gaussian process finds for them.

| | default | `autosem_rule="paper"` |
|---|---|---|
| reward | a tie earns 0.5; the first score is held against that before training | ties and the first score earn 1 |
| tasks kept | mean utility over rounds above 0.5 | the highest final utilities, whatever they are |
| ratios | see `ratio_search.Search` | see `ratio_search.Search` |
| stage 2 | tasks interleaved by their share of the steps | short cycles of the ratios, as AUTOSEM's `_task_selector` |

Both train as many steps as the other arms do, with the right learning rate schedule, on at most n auxiliary rows, which
the ratios share out; the paper trains on whole tasks. GradTS's own rerun of AUTOSEM does neither: see
`mixing.schedule`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from auxlearn import seeding
from auxlearn.methods import ranking
from auxlearn.methods.autosem import bandit_plans
from auxlearn.methods.autosem.options import BanditOptions, RatioOptions
from auxlearn.methods.base import Cell, Context, Method, Search, Selection, SizedContext
from auxlearn.methods.registry import register
from auxlearn.training import mixing
from auxlearn.training.phases import Plan, arms


@register
class Bandit(Method):
    """n rows of the tasks that AUTOSEM's bandit keeps."""

    name, family, level = "autosem_p1", "autosem", "tasks"
    title = "n rows of the tasks that a bandit found to help"
    reference = "Guo et al., 2019 (AUTOSEM), stage 1"
    formula = "a task's utility is Beta(alpha, beta); Thompson sampling plays it, the primary's held-out score pays it"
    cost = "one long training of all tasks together, for each primary"
    use = "where tasks are few and no model of each can be kept"
    contrasts = ("random",)
    Options: type[BanditOptions] = BanditOptions

    def searches(self, options: BanditOptions) -> bool:
        """Say yes: the bandit trains."""
        return True

    def select(self, context: Context, cell: Cell, options: BanditOptions) -> Selection:
        """Play the bandit, and draw n rows of the tasks that it keeps."""
        selection = self._tasks(context, cell, options)
        selection.rows = ranking.draw(context.pool(), selection.tasks, cell.n, cell.seed)
        return selection

    def forecast_search(self, context: SizedContext, cell: Cell, options: BanditOptions) -> list[Search]:
        """Count one training of the bandit."""
        return [Search("bandit", self._plan(context, cell, options), 1, 1)]

    def _plan(self, context: Context, cell: Cell, options: BanditOptions) -> Plan:
        return bandit_plans.bandit(cell.params, options, context.suite, cell.seed, context.usable(cell.primary))

    def _tasks(self, context: Context, cell: Cell, options: BanditOptions) -> Selection:
        from auxlearn.methods.autosem import bandit_trainer, bandits

        paper = options.autosem_rule == "paper"
        plan = self._plan(context, cell, options)
        training = context.train(plan, "bandit")
        names = arms(plan.phases[0], cell.primary)
        bandit = bandit_trainer.replayed(plan, plan.phases[0], training.history.to_dict("records"))
        utilities = bandit.utilities if paper else bandits.mean_utilities(bandit)
        best = bandits.select(bandit, 0, options.bandit_most, options.autosem_rule, seed=cell.seed)
        return Selection(
            tasks=tuple(names[i] for i in best), style="cycle" if paper else "interleaved",
            why={"utilities": dict(zip(names, map(float, utilities), strict=True))},
        )  # fmt: skip


@register
class Autosem(Bandit):
    """The bandit's tasks, mixed by the ratios that a search found best for them."""

    name, title = "autosem", "n rows of a bandit's tasks, mixed by ratios that a search found"
    reference = "Guo et al., 2019 (AUTOSEM)"
    formula = "the bandit's tasks; then ratios r of steps with the highest held-out score that a Gaussian process found"
    cost = "as autosem_p1, and a training of the arm's length per ratio that is tried"
    use = "where many trainings are affordable: it also learns how much of each task"
    Options = RatioOptions

    def check(self, cell: Cell, options: Any) -> None:
        """Refuse a search whose trials would all be drawn before it learns from any."""
        if options.ratio_trials <= (design := options.design(options.bandit_most + 1)):
            raise ValueError(
                f"ratio_trials: {options.ratio_trials} trials would all be drawn at random, as {design} are before the "
                f"search learns from any; give {design + 1} or more"
            )

    def select(self, context: Context, cell: Cell, options: BanditOptions) -> Selection:
        """Play the bandit, search for ratios, and share n rows out by the best."""
        assert isinstance(options, RatioOptions)
        selection, pool = self._tasks(context, cell, options), context.pool()
        if not selection.tasks:
            return selection
        best = self._search(context, cell, options, pool, selection)
        shares = dict(zip((cell.primary, *selection.tasks), best, strict=True))
        selection.rows = shared_out(pool, shares, cell.n, cell.seed)
        selection.shares = None if selection.rows is None else shares
        return selection

    def _search(
        self, context: Context, cell: Cell, options: RatioOptions, pool: pd.DataFrame, selection: Selection
    ) -> list[int]:
        """Run stage 2: return the best ratios of `ratio_trials` trainings, primary first."""
        from auxlearn.methods.autosem import ratio_search

        names = (cell.primary, *selection.tasks)
        design = options.design(len(names))
        search = ratio_search.Search(len(names), cell.seed, options.ratio_highest, design, options.autosem_rule)
        known: dict[tuple[int, ...], float] = {}
        for _ in range(options.ratio_trials):
            tried = search.suggest()
            if tuple(tried) not in known:  # proposed again, it would be the same training
                ratios = dict(zip(names, tried, strict=True))
                rows = shared_out(pool, ratios, cell.n, cell.seed)
                known[tuple(tried)], _ = context.trial(rows, None if rows is None else ratios, selection.style)
            score = known[tuple(tried)]
            search.observe(tried, score)
            selection.visited.append((tuple(tried), score))
        return search.best()

    def expected(self, context: SizedContext, cell: Cell, options: BanditOptions) -> Selection:
        """Expect the tasks that are as large as most, all tasks alike."""
        names = sorted(context.auxiliaries, key=lambda name: (-len(context.suite[name].train), name))
        tasks = tuple(names[: options.bandit_most])
        shares = dict.fromkeys((cell.primary, *tasks), 1)
        rows = shared_out(context.pool(), shares, cell.n, cell.seed)
        style: mixing.Style = "cycle" if options.autosem_rule == "paper" else "interleaved"
        return Selection(rows, tasks, None if rows is None else shares, style)

    def forecast_search(self, context: SizedContext, cell: Cell, options: BanditOptions) -> list[Search]:
        """Count the bandit, and every trial; ratios that are proposed again are not trained again."""
        assert isinstance(options, RatioOptions)
        selection = self.expected(context, cell, options)
        trial = context.trial_plan(selection.rows, selection.shares, selection.style)
        return [*super().forecast_search(context, cell, options),
                Search("trial", trial, options.ratio_trials, options.ratio_trials, options.model_dump())]  # fmt: skip


def shared_out(pool: pd.DataFrame, shares: Mapping[str, int], n: int, seed: int) -> pd.DataFrame | None:
    """Divide n rows among the pool's tasks by their shares (largest remainder), at random within each.

    A task with fewer rows gives all it has, and the others then no more than their own part.

    Args:
        pool: The pool, with a column task.
        shares: By task, its share; tasks that are not in the pool count for nothing.
        n: The number of rows.
        seed: The seed of the draws.

    Returns:
        At most n rows of the pool; None where no task of the pool has a share.
    """
    weights = {name: share for name, share in shares.items() if share and (pool["task"] == name).any()}
    if not weights:
        return None
    exact = {name: n * share / sum(weights.values()) for name, share in weights.items()}
    count = {name: int(x) for name, x in exact.items()}
    for name in sorted(weights, key=lambda name: (count[name] - exact[name], name))[: n - sum(count.values())]:
        count[name] += 1
    parts = []
    for name in sorted(weights):
        inside = pool[pool["task"] == name]
        order = seeding.rng(seed, "sample", "shares", name).permutation(len(inside))[: count[name]]
        parts.append(inside.iloc[np.sort(order)])
    return pd.concat(parts).reset_index(drop=True)
