"""RDS+: rows whose hidden states in the task's own model are near the primary's rows'."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd

from auxlearn.methods.base import Cell, Context, Need
from auxlearn.methods.registry import register
from auxlearn.methods.rules.similarities import Similarities
from auxlearn.methods.scores import features, row_pass
from auxlearn.methods.scores.base import RowScore, ScoreOptions, target_table


class RDSOptions(ScoreOptions, row_pass.WarmOptions):
    """Options of rds."""

    model: Literal["warmed", "untrained"] = "warmed"
    """whose states: of a model warmed up on all tasks, or of the encoder as it is (the authors', and what knn reads)"""


@register
class RDS(RowScore):
    """Representation-based data selection.

    The authors weigh a state by its position, as in a model that reads from left to right the last have seen most. An
    encoder's tokens see all others, so that the plain mean is taken (also of an encoder that does read from left to
    right); padding counts for nothing (in their code only at a batch of one row).
    """

    name, reference = "rds", "Ivison et al., 2025 (RDS+)"
    title = "n rows that are nearest to the primary's by the hidden states of a model warmed up on all tasks"
    formula = "s(row, target) = cos of the means of the warmed-up model's last states; then the selection rule"
    cost = "a warm-up on some rows of every task, and one forward pass over the pool, for all primaries and n alike"
    use = "where the encoder as it is knows little of the tasks; beside knn, which has no warm-up"
    Options = RDSOptions

    def reads(self, cell: Cell, options: Any) -> list[Need]:
        """Need hidden states of the auxiliaries' and the primary's rows."""
        warm = {} if options.model == "untrained" else options.model_dump(include={"warm_rows", "warm_epochs"})
        return [row_pass.need(cell, options.model, ["features"], pool="mean", **warm)]

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Compare hidden states."""
        read = context.obtain(*self.reads(cell, options))
        return features.cosines(read, pool, target_table(context, cell, options.target_rows))
