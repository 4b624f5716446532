"""Arms over which the truth is measured: what a task, a set of tasks or a part of a ranking is worth to the primary."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from pydantic import Field

from auxlearn.errors import InputError, meant
from auxlearn.methods import ranking, registry
from auxlearn.methods.base import Cell, Context, Method, Need, Options, Selection, SizedContext
from auxlearn.methods.registry import register


class OnlyOptions(Options):
    """Options of only."""

    task: str = ""
    """the auxiliary whose rows are trained ("": the first of the suite), or a set of them, as A+B"""


@register
class Only(Method):
    """Rows of one auxiliary, or of a set, that is named: over all of them the truth that choices are judged by."""

    name, title, level = "only", "n rows of one auxiliary, or of a set of them, that is named", "tasks"
    cost = "nothing"
    use = "for every auxiliary in turn, over many seeds: what each gives is what a choice of tasks should have known"
    contrasts, Options, follows = ("random",), OnlyOptions, True

    def check_auxiliaries(self, names: Sequence[str], options: OnlyOptions) -> None:
        """Refuse a task that is no auxiliary, and a set that names one twice."""
        tasks = members(options.task or names[0], names)
        if unknown := [task for task in tasks if task not in names]:
            has = ", ".join(names)
            raise InputError(f"only: task: {unknown[0]!r} is no auxiliary{meant(unknown[0], names)}; there are {has}")
        if len(set(tasks)) < len(tasks):
            raise InputError(f"only: task: {options.task!r} names a task twice; each counts once")

    def select(self, context: Context, cell: Cell, options: OnlyOptions) -> Selection:
        """Draw n rows of the tasks, uniformly over their rows together, or take all where they have fewer."""
        self.check_auxiliaries(context.auxiliaries, options)
        tasks = members(options.task or context.auxiliaries[0], context.auxiliaries)
        return Selection(ranking.draw(context.pool(), tasks, cell.n, cell.seed), tasks)

    def expected(self, context: SizedContext, cell: Cell, options: OnlyOptions) -> Selection:
        """Expect as many rows of the task."""
        return self.select(context, cell, options)


def members(task: str, names: Sequence[str]) -> tuple[str, ...]:
    """Read the auxiliaries that `only` names: one, whatever its name, or a set as A+B.

    Args:
        task: The name.
        names: The auxiliaries that there are.

    Returns:
        Their names, in the order of `names`; what is no auxiliary is left as it is, at the end.
    """
    if task in names:
        return (task,)
    order = {name: i for i, name in enumerate(names)}
    return tuple(sorted(task.split("+"), key=lambda name: order.get(name, len(order))))


class DecileOptions(Options):
    """Options of decile."""

    of: str = "td_bce"
    """the method whose ranking of all rows is cut; it must rank rows, without training in order to choose"""
    part: int = Field(1, ge=1)
    """the part that is trained; 1 has the highest scores"""
    parts: int = Field(10, ge=2)
    """equal parts that the ranking is cut into"""


@register
class Decile(Method):
    """One tenth of another method's ranking of all rows: over all ten, what a score is worth from top to bottom."""

    name, title = "decile", "one tenth of all rows, as another method ranks them"
    formula = "rows (part - 1) N / parts + 1 to part N / parts of the other's ranking of all N rows it may choose"
    cost = "what the other method costs"
    use = "for every part in turn: where a score says what helps, the primary's falls from the first to the last"
    uses_n, Options, follows = False, DecileOptions, True

    def check(self, cell: Cell, options: DecileOptions) -> None:
        """Refuse a part that there is not, and a method that does not rank rows."""
        if options.part > options.parts:
            raise ValueError(f"part: {options.part} of {options.parts} parts; the last is {options.parts}")
        other = registry.get(options.of)
        if not isinstance(other, Method) or other.scores != "rows":
            raise ValueError(f"of: {options.of!r} gives rows no scores; name a ranking")
        theirs = registry.options(other, cast(Any, cell.params).methods)
        if other.searches(theirs) or not other.nested(theirs):
            raise ValueError(
                f"of: {options.of!r} as it is set trains in order to choose, or takes other rows first where it "
                "may take more; name a ranking, or give it the rule top_mean"
            )

    def followed(self, options: DecileOptions) -> list[str]:
        """Name the method that ranks."""
        return [options.of]

    def needs(self, cell: Cell, options: DecileOptions) -> list[Need]:
        """Need the ranking that is cut; how many rows it has, the data says."""
        return [Need(f"selection:{options.of}")]

    def select(self, context: Context, cell: Cell, options: DecileOptions) -> Selection:
        """Take the part of the ranking of all rows that the other method may choose."""
        most = int(context.candidates(options.of)[1].sum())
        ranked = context.obtain(Need(f"selection:{options.of}", {"n": most})).rows
        if len(ranked) < most or "rank" not in ranked:
            raise InputError(f"decile: {options.of} ranks {len(ranked)} of {most} rows; give it a rule that ranks all")
        if most < options.parts:
            raise InputError(f"decile: {most} rows are fewer than {options.parts} parts; lower `parts`")
        part = np.array_split(np.argsort(ranked["rank"].to_numpy(), kind="stable"), options.parts)[options.part - 1]
        return Selection(ranked.iloc[part].reset_index(drop=True))

    def expected(self, context: SizedContext, cell: Cell, options: DecileOptions) -> Selection:
        """Expect as many rows, mixed as the pool is."""
        return Selection(context.mixed(-(-len(context.pool()) // options.parts)))
