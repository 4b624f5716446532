"""Methods that choose by no signal, and the controls that take one thing away from a selection."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
from pydantic import Field

from auxlearn.data.suites import Suite
from auxlearn.methods import arm_plans, ranking, registry
from auxlearn.methods.base import Cell, Context, Method, Need, Options, Selection, SizedContext
from auxlearn.methods.registry import register
from auxlearn.training.phases import Plan, Recipe

LENGTH_BINS = 5  # quantiles of text length within a task, for the control that matches length
MTDNN = "Liu et al., 2019 (MT-DNN)"


class SingleOptions(Options):
    """Options of single."""

    epochs: int = Field(5, ge=1)
    """epochs on the primary alone"""


@register
class Single(Method):
    """Fine-tuning alone."""

    name, title, level = "single", "none: fine-tuning on the primary alone", "none"
    cost = "nothing"
    use = "always: it is the baseline of every comparison"
    uses_n, adds_rows, Options = False, False, SingleOptions

    def select(self, context: Context, cell: Cell, options: SingleOptions) -> Selection:
        """Choose nothing."""
        return Selection()

    def plan(self, context: Context, cell: Cell, selection: Selection, options: SingleOptions) -> Plan:
        """Plan fine-tuning alone."""
        usable = context.usable(cell.primary)[cell.primary]
        return arm_plans.alone(cell.params, context.suite, cell.seed, usable, options.epochs)


@register
class StepMatched(Method):
    """Fine-tuning alone, for as many steps as stage 2 would have taken."""

    name, title, level = "step_matched", "none, but as many steps as with n more rows", "none"
    cost = "nothing"
    use = "beside every arm that adds rows: it says what longer training alone gives"
    adds_rows = False

    def select(self, context: Context, cell: Cell, options: Options) -> Selection:
        """Choose nothing."""
        return Selection()


@register
class StepMatchedAll(StepMatched):
    """Fine-tuning alone, for as many steps as all_data takes."""

    name, title = "step_matched_all", "none, but as many steps as with all rows of all auxiliaries"
    use = "beside all_data"
    uses_n, counts_pool = False, True

    def plan(self, context: Context, cell: Cell, selection: Selection, options: Options) -> Plan:
        """Plan stage 2 over the primary for the steps of all rows."""
        p = cell.params.model_copy(update={"n": len(context.pool())})
        return arm_plans.two_stages(p, context.suite, cell.seed, None, context.usable(cell.primary)[cell.primary])


class RandomOptions(Options):
    """Options of random."""

    candidates_of: str = ""
    """draw only from rows that this method may choose: of td_bce with `proxies: one`, none that trained the proxy"""


IN_NOTEBOOKS = ("fastmtl", "gradts")  # families that read nothing but what 02 to 04 make


@register
class Random(Method):
    """Rows drawn uniformly over the whole usable pool, so that tasks are taken in proportion to size."""

    name, title, contrasts = "random", "n rows drawn uniformly over the pool", ("step_matched",)
    cost = "nothing"
    use = "beside every choice of rows or tasks: what is not better than random rows chose nothing"
    Options = RandomOptions

    def check(self, cell: Cell, options: RandomOptions) -> None:
        """Refuse a name that is no other method's."""
        other = registry.get(options.candidates_of) if options.candidates_of else None
        if other is self or (other and not isinstance(other, Method)):
            raise ValueError(f"candidates_of: {options.candidates_of!r} is no other method")

    def followed(self, options: RandomOptions) -> list[str]:
        """Name the method whose candidates are drawn from, unless runs of notebooks hold all that decides them."""
        if not options.candidates_of or registry.get(options.candidates_of).family in IN_NOTEBOOKS:
            return []
        return [options.candidates_of]

    def needs(self, cell: Cell, options: RandomOptions) -> list[Need]:
        """Need to know how what the other method reads is made."""
        if not options.candidates_of:
            return []
        other = registry.get(options.candidates_of)
        needed = other.needs(cell, registry.options(other, cast(Any, cell.params).methods))
        return [replace(need, charged=False) for need in needed]

    def select(self, context: Context, cell: Cell, options: RandomOptions) -> Selection:
        """Draw n rows."""
        rows, allowed = context.candidates(options.candidates_of) if options.candidates_of else context.whole_pool()
        return Selection(ranking.table(rows, ranking.random_n(len(rows), cell.n, cell.seed, allowed)))


class AllDataOptions(Options):
    """Options of all_data."""

    recipe: Literal["same", "mtdnn"] = "same"
    """optimiser of stage 2: that of the other arms, or MT-DNN's (Adamax with warm-up and weight decay, see
    `phases.Recipe`)"""
    mtdnn_lr: float = Field(5e-5, gt=0)
    """learning rate of MT-DNN's recipe"""


@register
class AllData(Method):
    """All usable rows of all auxiliaries."""

    name, title, reference, level = "all_data", "all rows of all auxiliaries", MTDNN, "none"
    uses_n, Options, contrasts = False, AllDataOptions, ("step_matched_all",)
    cost = "nothing, but its training is the longest"
    use = "wherever it can be afforded: it is what a choice has to beat at less cost"

    def select(self, context: Context, cell: Cell, options: AllDataOptions) -> Selection:
        """Choose all usable rows."""
        return Selection(context.pool())

    def expected(self, context: SizedContext, cell: Cell, options: AllDataOptions) -> Selection:
        """Expect all usable rows."""
        return Selection(context.pool())

    def plan(self, context: Context, cell: Cell, selection: Selection, options: AllDataOptions) -> Plan:
        """Plan stage 2 over all rows, by MT-DNN's recipe if so asked."""
        p, recipe = cell.params, None
        if options.recipe == "mtdnn":
            recipe = Recipe(
                options.mtdnn_lr, p.batch_size, 0.01, warmup=0.1, optimiser="adamax", idle_heads=p.idle_heads
            )
        usable = context.usable(cell.primary)[cell.primary]
        return arm_plans.two_stages(p, context.suite, cell.seed, selection.rows, usable, recipe=recipe)


class Matched(Method):
    """Random rows in the proportions of another method's selection: what its score adds within a group is taken away.

    "cie" keeps the proportions of the tasks (FastMTL's "check in-task efficacy"), "matched" those of tasks, labels and
    lengths.

    Args:
        control: "cie" or "matched".
        of: The method whose selection is matched.
        name: The control's own name.
    """

    follows = True

    def __init__(self, control: Literal["cie", "matched"], of: str, name: str):
        self.name, self.control, self.of = name, control, of
        self.title = f"random rows of the same tasks as {of}'s"
        self.cost = f"what {of} costs"
        self.use = f"beside {of}: it says whether its rows matter, or their tasks alone"
        if control == "matched":
            self.title = f"random rows of the same tasks, labels and lengths as {of}'s"
            self.use = f"beside {of}: it says whether more than tasks, labels and lengths matters"

    def needs(self, cell: Cell, options: Options) -> list[Need]:
        """Need the selection that is matched."""
        return [Need(f"selection:{self.of}")]

    def select(self, context: Context, cell: Cell, options: Options) -> Selection:
        """Draw as many random rows from each group as the selection has."""
        best = context.obtain(*self.needs(cell, options)).rows
        rows, allowed = context.candidates(self.of)
        at = rows.reset_index().merge(best[["task", "row"]], on=["task", "row"])["index"].to_numpy()
        groups = rows["task"].to_numpy(str) if self.control == "cie" else strata(context.suite, rows)
        return Selection(ranking.table(rows, ranking.matched_random(at, groups, cell.seed, allowed)))


def strata(suite: Suite, rows: pd.DataFrame) -> np.ndarray:
    """Return each pool row's task, label and length bin as one word: groups for a control matched in all three.

    Length is in characters, in quantiles of the task's own rows. A regression's label counts by its fifth of the range.
    A tagging row has no label of its own and is matched by task and length.

    Args:
        suite: The suite with the rows' texts and labels.
        rows: The pool, with columns task and row.

    Returns:
        str [N], "task/label/bin".
    """
    words = np.empty(len(rows), object)
    for name, part in rows.groupby("task", sort=False):
        task = suite[str(name)]
        train = task.train.select(part["row"].tolist())
        texts = zip(*(train[c][:] for c in task.inputs), strict=True)
        length = np.array([sum(len(t) if isinstance(t, str) else sum(map(len, t)) for t in text) for text in texts])
        bins = np.searchsorted(np.quantile(length, np.linspace(0, 1, LENGTH_BINS + 1)[1:-1]), length)
        if task.kind == "tagging":
            labels = np.zeros(len(part), int)
        elif task.range:
            low, high = task.range
            labels = np.minimum(4, (5 * (np.array(train[task.label][:]) - low) / (high - low)).astype(int))
        else:
            labels = np.array(train[task.label][:])
        words[rows.index.get_indexer(part.index)] = [f"{name}/{a}/{b}" for a, b in zip(labels, bins, strict=True)]
    return words.astype(str)
