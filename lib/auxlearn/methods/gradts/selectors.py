"""GradTS's methods: correlations of head importance become tasks, and tasks become n rows.

Every method draws n rows from what it has chosen, so that all compare at one budget; the paper trains on all of them.
With fewer rows than n it takes them all; where it chooses no task, the primary is trained for as many steps alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import pandas as pd

from auxlearn.methods import ranking
from auxlearn.methods.base import Cell, Context, Method, Need, Search, Selection, SizedContext
from auxlearn.methods.gradts.importance_maker import Importance
from auxlearn.methods.gradts.options import (
    FineOptions,
    HeadOptions,
    ThresholdOptions,
    TopOptions,
    TrialOptions,
)
from auxlearn.methods.registry import register

REFERENCE = "Ma et al., 2021 (GradTS)"


class _GradTS(Method):
    """What all GradTS methods share: they read correlations, and draw n rows of the tasks that they take."""

    family, level, reference = "gradts", "tasks", REFERENCE
    scores: Literal["rows", "tasks"] | None = "tasks"
    contrasts: Sequence[str] = ("random",)
    at = "task"
    formula = "tau(task) = Kendall's tau-b of the primary's and the task's head importance, |gradient| summed over rows"
    cost = "a model tuned on each task alone, and a pass back through it, for all primaries and n alike"

    def needs(self, cell: Cell, options: HeadOptions) -> list[Need]:
        """Need head importance."""
        wanted = {"keep_leaks": cell.params.keep_leaks, "definition": options.definition, "at": self.at}
        return [Need("importance", wanted)]

    def select(self, context: Context, cell: Cell, options: HeadOptions) -> Selection:
        """Take tasks, and draw n of their rows."""
        importance: Importance = context.obtain(*self.needs(cell, options))
        selection = Selection(why={"taus": importance.taus})
        self.take(context, cell, options, selection, importance)
        selection.rows = ranking.draw(
            self.rows(context, options, importance, selection), selection.tasks, cell.n, cell.seed
        )
        return selection

    def take(
        self, context: Context, cell: Cell, options: HeadOptions, selection: Selection, importance: Importance
    ) -> None:
        """Put the tasks that are taken into the selection."""
        raise NotImplementedError

    def rows(
        self, context: Context, options: HeadOptions, importance: Importance, selection: Selection
    ) -> pd.DataFrame:
        """Return the rows that may be drawn."""
        return context.pool()


@register
class Threshold(_GradTS):
    """The tasks whose correlation with the primary reaches a threshold, or is above chance."""

    name, Options = "gradts_thres", ThresholdOptions
    title = "n rows of the tasks whose head importance correlates with the primary's"
    use = "where tasks come and go: a new one is measured alone; its threshold is to be set for the encoder"

    def take(
        self, context: Context, cell: Cell, options: HeadOptions, selection: Selection, importance: Importance
    ) -> None:
        """Take the tasks at or above the threshold, or above the null."""
        selection.tasks = _cut(cell, options, importance)


@register
class Top(_GradTS):
    """The k tasks whose correlation with the primary is highest, whatever it is."""

    name, Options, reference = "gradts_top", TopOptions, f"after {REFERENCE}"
    title = "n rows of the k tasks whose head importance correlates best"
    use = "where no threshold is known for the encoder: it always takes k tasks"

    def take(
        self, context: Context, cell: Cell, options: HeadOptions, selection: Selection, importance: Importance
    ) -> None:
        """Take the k best tasks."""
        from auxlearn.methods.gradts import choices

        assert isinstance(options, TopOptions)
        selection.tasks = choices.thres(importance.taus, -1.0)[: options.top_tasks]


def _cut(cell: Cell, options: HeadOptions, importance: Importance) -> tuple[str, ...]:
    """Return the tasks that a threshold, or the permutation null, lets through."""
    from auxlearn.methods.gradts import choices

    assert isinstance(options, ThresholdOptions)
    if options.task_cut == "threshold":
        return choices.thres(importance.taus, options.task_threshold)
    heads = importance.heads
    matrices = heads.matrices(cell.seed, importance.definition)
    above = choices.above_null(matrices, heads.tasks[1:], seed=cell.seed)
    return tuple(name for name in above if name in importance.taus)


def _trial(context: Context, cell: Cell, options: TrialOptions, selection: Selection) -> None:
    """Search by GradTS-trial: train each prefix as the arm will be; judge it on rows held out from the primary's."""
    from auxlearn.methods.gradts import choices

    pool, taus = context.pool(), selection.why["taus"]

    def score(tasks: tuple[str, ...]) -> tuple[float, float]:
        return context.trial(ranking.draw(pool, tasks, cell.n, cell.seed))

    best = sorted(taus, key=lambda name: (-taus[name], name))[: options.trial_most]
    judge = score if options.trial_rule == "code" else lambda tasks: score(tasks)[0]
    search = choices.trial(
        {name: taus[name] for name in best}, judge, rule=options.trial_rule, patience=options.trial_patience
    )
    selection.tasks, selection.visited = search.chosen, search.visited


def _trials(context: SizedContext, cell: Cell, options: TrialOptions, last: bool = True) -> list[Search]:
    """Forecast a search: two sets per trial of patience, about what searches on the planted suite have tried."""
    alone = options.trial_rule == "corrected"  # the authors' rule never tries the primary alone
    most = min(options.trial_most, len(context.auxiliaries))
    expected = float(min(most, 2 * options.trial_patience))
    by = options.trial_rule, options.trial_patience
    trials = [Search("trial", context.trial_plan(context.mixed(cell.n)), expected, float(most), by, last)]
    return [*trials, Search("trial", context.trial_plan(None), 1.0, 1.0, by, last)] if alone else trials


@register
class Trial(_GradTS):
    """The best of nested sets of tasks, each trained and judged on rows held out from the primary's."""

    name, Options = "gradts_trial", TrialOptions
    title = "n rows of the best of nested sets of tasks, ordered by their head importance, each of which is tried"
    cost = "as gradts_thres, and a training per set that is tried, for each primary"
    use = "where a few more trainings are affordable: it needs no threshold"
    contrasts = ("random", "autosem_p1", "td_bce")

    def searches(self, options: HeadOptions) -> bool:
        """Say yes: sets of tasks are trained."""
        return True

    def take(
        self, context: Context, cell: Cell, options: HeadOptions, selection: Selection, importance: Importance
    ) -> None:
        """Take the tasks of the best trial."""
        assert isinstance(options, TrialOptions)
        _trial(context, cell, options, selection)

    def forecast_search(self, context: SizedContext, cell: Cell, options: HeadOptions) -> list[Search]:
        """Count the trials."""
        assert isinstance(options, TrialOptions)
        return _trials(context, cell, options)


@register
class Fine(_GradTS):
    """Of the tasks that another rule takes, the measured rows with the highest correlation."""

    name, Options, scores = "gradts_fg", FineOptions, "rows"
    title = "of tasks chosen as by gradts_trial, the n rows whose own head importance correlates best"
    formula = "tau(row) = Kendall's tau-b of the primary's head importance and the row's own"
    cost = "as the rule that takes its tasks, and the importance of single rows"
    use = "where tasks are large and mixed: it keeps the rows that use the primary's heads"
    contrasts = ("random", "autosem")

    def searches(self, options: HeadOptions) -> bool:
        """Say whether the tasks are taken by trials."""
        assert isinstance(options, FineOptions)
        return options.fg_tasks == "trial"

    def take(
        self, context: Context, cell: Cell, options: HeadOptions, selection: Selection, importance: Importance
    ) -> None:
        """Take the tasks that `fg_tasks` says."""
        from auxlearn.methods.gradts import choices

        assert isinstance(options, FineOptions)
        if options.fg_tasks == "trial":
            _trial(context, cell, options, selection)
        elif options.fg_tasks == "all":
            selection.tasks = choices.thres(importance.taus, -1.0)
        else:
            selection.tasks = _cut(cell, options, importance)

    def rows(
        self, context: Context, options: HeadOptions, importance: Importance, selection: Selection
    ) -> pd.DataFrame:
        """Return the measured rows of these tasks whose tau is among the highest `fg_fraction` of their task's."""
        from auxlearn.methods.gradts import choices

        assert isinstance(options, FineOptions)
        rated = context.pool().merge(importance.rows(), on=["task", "row"], how="inner", validate="one_to_one")
        how = options.fg_fraction, context.seed, options.fg_rule
        finest = [
            part.iloc[choices.fg_fraction(part["tau"].to_numpy(), *how)]
            for name, part in rated.groupby("task", sort=False) if name in selection.tasks
        ]  # fmt: skip
        return pd.concat(finest, ignore_index=True) if finest else rated.iloc[:0]

    def expected(self, context: SizedContext, cell: Cell, options: HeadOptions) -> Selection:
        """Expect n rows, or what is left of the measured rows of all tasks, if anything is."""
        assert isinstance(options, FineOptions)
        p = context.parameters(*self.needs(cell, options))
        left = sum(
            round(options.fg_fraction * min(p.importance_rows or len(context.suite[name].train), count))
            for name, count in context.pool()["task"].value_counts().items()
        )
        return Selection(context.mixed(min(cell.n, left)) if left else None)

    def forecast_search(self, context: SizedContext, cell: Cell, options: HeadOptions) -> list[Search]:
        """Count the trials, if the tasks are taken by them."""
        assert isinstance(options, FineOptions)
        return _trials(context, cell, options, last=False) if options.fg_tasks == "trial" else []


@register
class AtProxy(Threshold):
    """gradts_thres with importance read at FastMTL's shared proxy: a cheaper relative, no task is tuned alone."""

    name, at, reference = "gradts_proxy", "proxy", f"after {REFERENCE}"
    title = "as gradts_thres, importance read off FastMTL's proxy"
    cost = "FastMTL's proxies, and a pass back through them, for all primaries and n alike"
    use = "where proxies are at hand already, and tuning each task alone is too dear"
