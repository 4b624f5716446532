"""What a row score is: a method that compares candidate rows with target rows, and leaves the choice to a rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from auxlearn.errors import InputError
from auxlearn.methods import arm_plans, ranking
from auxlearn.methods.base import Cell, Context, Method, Options, Selection
from auxlearn.methods.rules import by_name
from auxlearn.methods.rules.similarities import Similarities


class ScoreOptions(Options):
    """Options of the scores that compare rows with target rows."""

    rule: by_name.Rule = "round_robin"
    """how n rows are chosen by the scores (see `methods.rules`)"""
    target_rows: int = Field(256, ge=0)
    """rows of the primary that others are compared with, drawn from those that it is trained on (0: all)"""


class RowScore(Method):
    """A method whose rows are chosen by a score and a selection rule; subclasses override `similarities`.

    Rows that a model was warmed up on are no candidates of a score that reads it.

    Attributes:
        per_target: Whether a row has a score with each target row; if not, only some rules apply.
    """

    family, level, scores = "scores", "rows", "rows"
    contrasts = ("random",)
    Options: type[Options] = ScoreOptions
    per_target = True

    def check(self, cell: Cell, options: Any) -> None:
        """Refuse a rule that chooses among target rows where the score knows none."""
        if not self.per_target and options.rule not in by_name.OF_ONE_SCORE:
            raise ValueError(
                f"rule: {options.rule!r} chooses among target rows, and {self.name} gives a row one score for all; "
                f"take {' or '.join(by_name.OF_ONE_SCORE)}"
            )

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Compare candidates with target rows.

        Args:
            context: Data, artifacts and trainings.
            cell: What is asked.
            options: An instance of `Options`.
            pool: The candidates: columns task and row.

        Returns:
            Similarities of N candidates with the target rows, or with what stands for them; one column if not
            `per_target`.
        """
        raise NotImplementedError

    def select(self, context: Context, cell: Cell, options: Any) -> Selection:
        """Choose n rows by the score and the rule."""
        self.check(cell, options)
        rows, allowed = context.candidates(self.name)
        pool = rows[allowed].reset_index(drop=True)
        ranking.check_n(cell.n, len(pool))
        similarities = self.similarities(context, cell, options, pool)
        choice = by_name.choose(options.rule, similarities, cell.n, pool["task"].to_numpy(str), cell.seed)
        return Selection(ranking.table(pool, choice.rows, choice.scores))


def target_rows(context: Context, cell: Cell, most: int) -> np.ndarray:
    """Draw the rows of the primary that candidates are compared with.

    They are usable rows that the arm is trained on: those that are held out choose the state that is kept.

    Args:
        context: Data.
        cell: What is asked; the draw depends on its seed.
        most: The most rows; 0 for all.

    Returns:
        Positions in the primary's train split, int64 [Q], sorted.
    """
    p = cell.params
    usable = context.usable(p.primary)[p.primary]
    held = p.holdout if p.choose == "holdout" else 0.0
    trained, _ = arm_plans.holdout(context.suite, p.primary, held, cell.seed, usable)
    if not len(trained):
        raise InputError(
            f"{p.primary!r}: no training row is left to compare candidates with, as all leak into its dev or test "
            "split; give it other training rows, or keep_leaks"
        )
    order = context.rng("targets", p.primary).permutation(trained)
    return np.sort(order[: most or None])


def target_table(context: Context, cell: Cell, most: int) -> pd.DataFrame:
    """Draw target rows as `target_rows` does, and return a table of columns task and row."""
    return pd.DataFrame({"task": cell.primary, "row": target_rows(context, cell, most)})
