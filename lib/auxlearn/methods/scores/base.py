"""What a row score is: a method that scores candidate rows, often against target rows, and leaves the choice to a rule.

Scores and rules are two axes. A rule that chooses among target rows works with a score that knows none in two steps:
the score's best rows are listed, and the rule chooses among these by sentence embeddings (see `RowScore.select`).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from auxlearn.errors import InputError
from auxlearn.methods import arm_plans, ranking
from auxlearn.methods.base import Cell, Context, Method, Need, Options, Selection
from auxlearn.methods.rules import by_name
from auxlearn.methods.rules.diverse import AMONG
from auxlearn.methods.rules.similarities import Choice, Similarities
from auxlearn.methods.scores import features, row_pass

TARGET_ROWS = 256  # that candidates are compared with


class ScoreOptions(Options):
    """Options of the scores that compare rows with target rows."""

    rule: by_name.Rule = "round_robin"
    """how n rows are chosen by the scores (see `methods.rules`)"""
    target_rows: int = Field(TARGET_ROWS, ge=0)
    """rows of the primary that others are compared with, drawn from those that it is trained on (0: all)"""


class RowScore(Method):
    """A method whose rows are chosen by a score and a selection rule; subclasses override `similarities`.

    Rows that a model was warmed up on are no candidates of a score that reads it.

    Attributes:
        per_target: Whether a row has a score with each target row, or one for all.
        targets: The option that says how many targets there are.
    """

    family, level, scores = "scores", "rows", "rows"
    contrasts = ("random",)
    Options: type[Options] = ScoreOptions
    per_target = True
    targets = "target_rows"

    def reads(self, cell: Cell, options: Any) -> list[Need]:
        """List the artifacts that the score itself reads."""
        return []

    def needs(self, cell: Cell, options: Any) -> list[Need]:
        """Need what the score reads, and embeddings where a rule chooses among target rows that the score knows not."""
        return [*self.reads(cell, options), *([_embeddings(cell)] if self._in_two_steps(options) else [])]

    def ranks(self, options: Any) -> bool:
        """Not by a rule that spreads, nor in two steps, where embeddings decide on the order."""
        return options.rule != "diverse" and not self._in_two_steps(options)

    def nested(self, options: Any) -> bool:
        """Not by quotas either: of more rows other tasks' come between."""
        return self.ranks(options) and options.rule != "quota"

    def check(self, cell: Cell, options: Any) -> None:
        """Refuse to spread over a single target."""
        targets = "target_rows" if self._in_two_steps(options) else self.targets
        if options.rule == "diverse" and getattr(options, targets, TARGET_ROWS) == 1:
            raise ValueError(f"rule: 'diverse' spreads over targets and needs two; raise {targets}")

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
        """Choose n rows by the score and the rule.

        Of a score without targets (`per_target`), a rule that chooses among target rows is given the cosines of
        sentence embeddings (as of `knn`), and for candidates only the 4 n rows of the highest score.
        """
        self.check(cell, options)
        rows, allowed = context.candidates(self.name)
        pool = rows[allowed].reset_index(drop=True)
        ranking.check_n(cell.n, len(pool))
        if self._in_two_steps(options) and cell.n * AMONG >= len(pool):
            raise InputError(
                f"n: rule {options.rule!r} chooses among the {AMONG:.0f} n rows that {self.name} puts first, and there "
                f"are {len(pool)} rows in all, so that embeddings alone would choose; take n below "
                f"{len(pool) / AMONG:.0f}, or rule {' or '.join(by_name.OF_ONE_SCORE)}"
            )
        similarities = self.similarities(context, cell, options, pool)
        groups = pool["task"].to_numpy(str)
        if options.rule == "diverse" and self.per_target and similarities.targets < 2:
            raise InputError(f"rule: 'diverse' spreads over targets, and {self.name} has one; take another rule")
        if self._in_two_steps(options):
            choice = _among_the_best(context, cell, options, pool, similarities.means())
        else:
            choice = by_name.choose(options.rule, similarities, cell.n, groups, cell.seed)
        return Selection(ranking.table(pool, choice.rows, choice.scores))

    def _in_two_steps(self, options: Any) -> bool:
        return not self.per_target and options.rule not in by_name.OF_ONE_SCORE


def _embeddings(cell: Cell) -> Need:
    return row_pass.need(cell, "untrained", ["features"], pool="mean")


def _among_the_best(context: Context, cell: Cell, options: Any, pool: pd.DataFrame, scores: np.ndarray) -> Choice:
    """List the rows of the highest score, and choose n of them by a rule that reads embeddings' cosines."""
    short = ranking.top_n(scores, min(len(pool), math.ceil(AMONG * cell.n)), cell.seed)
    listed = pool.iloc[short].reset_index(drop=True)
    targets = target_table(context, cell, getattr(options, "target_rows", TARGET_ROWS))
    if options.rule == "diverse" and len(targets) < 2:
        raise InputError(f"rule: 'diverse' spreads over target rows, and {cell.primary!r} has one; take another rule")
    cosines = features.cosines(context.obtain(_embeddings(cell)), listed, targets)
    choice = by_name.choose(options.rule, cosines, cell.n, listed["task"].to_numpy(str), cell.seed)
    combined = np.full(len(pool), -np.inf)  # rows that are not listed cannot be taken
    combined[short] = choice.scores
    return Choice(short[choice.rows], combined)


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
    held = p.held_out
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
