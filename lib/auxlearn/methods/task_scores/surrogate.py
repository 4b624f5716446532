"""Surrogate: what each task adds, by a linear model of short trainings with random sets of tasks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from auxlearn import seeding
from auxlearn.methods import arm_plans, ranking
from auxlearn.methods.base import Cell, Context, Search, Selection, SizedContext
from auxlearn.methods.registry import register
from auxlearn.methods.task_scores import base
from auxlearn.training.phases import Plan


class SurrogateOptions(base.TaskScoreOptions):
    """Options of surrogate."""

    subsets: int = Field(16, ge=1)
    """random sets of auxiliaries that are trained, all there are where these are fewer"""
    subset_tasks: int = Field(3, ge=1)
    """auxiliaries in each set, at most all but one"""
    subset_epochs: int = Field(1, ge=1)
    """epochs of stage 2, and of tuning, of each such training"""
    ridge: float = Field(1.0, gt=0)
    """penalty on what tasks add: it counts as so many more trainings in which a task added nothing"""


@register
class Surrogate(base.TaskScore):
    """A ridge regression from which tasks are in a set to how the primary does after training with it.

    Each set gives n rows, drawn as the arm's are, and is trained as the arm but for few epochs; the primary is judged
    on held-out rows at the end. What differs from the authors (paper and code, VirtuosoResearch/Task-Modeling):

    - They fit the primary's loss by least squares, and take tasks below a threshold; here it is its score, with a
      penalty on squares, and tasks from the top or above a threshold.
    - They draw sets uniformly, and pass over one that was drawn before (200 of three tasks in their example). Here sets
      have each task about equally often, which says more of few trainings.
    - They train each set in full, on all rows of its tasks, and several times. Here it is one short training on n rows.
    - Here the primary is trained alone too, so that 0 means no help.
    """

    name, reference = "surrogate", "Li, Nguyen and Zhang, 2023 (2303.14582)"
    title = "n rows of the tasks that add most to the primary in short trainings with random sets of tasks"
    formula = (
        "score(S) ~ c + sum of s(task) over tasks in S, by least squares over random sets S with a penalty of ridge "
        "times the squares of s; score(S) is the primary's on held-out rows"
    )
    cost = "a short training per set, for each primary"
    use = "where short trainings are affordable: it alone of task scores trains with the primary and judges by it"
    Options = SurrogateOptions

    def searches(self, options: Any) -> bool:
        """Say yes: sets of tasks are trained."""
        return True

    def task_scores(self, context: Context, cell: Cell, options: Any) -> Mapping[str, float]:
        """Fit what each task adds."""
        return added(base.measurable(context), self.tried(context, cell, options), options.ridge)

    def select(self, context: Context, cell: Cell, options: Any) -> Selection:
        """Take tasks by what they add, and draw n of their rows; what was tried is kept."""
        tried = self.tried(context, cell, options)
        selection = self.chosen(context, cell, added(base.measurable(context), tried, options.ridge), options)
        selection.visited = tried
        return selection

    def tried(self, context: Context, cell: Cell, options: Any) -> list[tuple[tuple[str, ...], float]]:
        """Train every set, and none; return them with the primary's score on held-out rows at the end."""
        pool, tried = context.pool(), []
        for tasks in ((), *subsets(base.measurable(context), options.subsets, options.subset_tasks, cell.seed)):
            plan = self.trial(context, cell, options, ranking.draw(pool, tasks, cell.n, cell.seed))
            tried.append((tasks, float(context.train(plan, "trial").looks["score"].iloc[-1])))
        return tried

    def trial(self, context: Context, cell: Cell, options: Any, rows: pd.DataFrame | None) -> Plan:
        """Plan a short training: as the arm's, but of few epochs, and judged once, at its end."""
        short = {"stage2_epochs": options.subset_epochs, "tune_epochs": options.subset_epochs}
        judged = {"choose": "holdout", "looks": 1, "steps": 0, "tune_steps": 0, "keep_model": False}
        p = cell.params.model_copy(update=short | judged)
        return arm_plans.two_stages(p, context.suite, cell.seed, rows, context.usable(p.primary)[p.primary])

    def forecast_search(self, context: SizedContext, cell: Cell, options: Any) -> list[Search]:
        """Count the sets, and the primary alone."""
        count = len(subsets(base.measurable(context), options.subsets, options.subset_tasks, cell.seed))
        by = options.subsets, options.subset_tasks
        each, alone = (self.trial(context, cell, options, rows) for rows in (context.mixed(cell.n), None))
        return [Search("trial", each, count, count, by, False), Search("trial", alone, 1, 1, by, False)]


def subsets(names: Sequence[str], count: int, size: int, seed: int) -> list[tuple[str, ...]]:
    """Draw distinct sets of tasks that have each task about equally often.

    Args:
        names: K tasks.
        count: Sets to draw.
        size: Tasks of each, at most K - 1, but one at least.
        seed: The seed of the draw.

    Returns:
        The sets, each in the order of the names; all there are where these are no more than `count`.
    """
    size = max(1, min(size, len(names) - 1))
    if math.comb(len(names), size) <= count:
        return list(combinations(names, size))
    rng, often = seeding.rng(seed, "sample", "subsets"), np.zeros(len(names), int)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        rarest = np.lexsort((rng.random(len(names)), often))
        at = tuple(sorted(rarest[:size].tolist()))
        if at in drawn:  # those left over from the last round may have been a set before
            at = tuple(sorted(rng.permutation(len(names))[:size].tolist()))
        if at not in drawn:
            drawn[at] = None
            often[list(at)] += 1
    return [tuple(names[i] for i in at) for at in drawn]


def added(names: Sequence[str], tried: Sequence[tuple[tuple[str, ...], float]], ridge: float) -> dict[str, float]:
    """Fit what each task adds to the primary's score, with a constant that is not penalised.

    Args:
        names: K tasks.
        tried: Sets of tasks, and the primary's score after training with each.
        ridge: The penalty on squares of what tasks add.

    Returns:
        By task, in the unit of the scores.
    """
    x = np.array([[name in tasks for name in names] for tasks, _ in tried], float)
    y = np.array([score for _, score in tried])
    x, y = x - x.mean(0), y - y.mean()
    fitted = np.linalg.solve(x.T @ x + ridge * np.eye(len(names)), x.T @ y)
    return dict(zip(names, fitted.tolist(), strict=True))
