"""RHO: rows whose loss falls when a model that knows all tasks is adapted to the primary."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from auxlearn.methods.base import Cell, Context, Need
from auxlearn.methods.registry import register
from auxlearn.methods.rules.by_name import Rule
from auxlearn.methods.rules.similarities import Similarities
from auxlearn.methods.scores import row_pass
from auxlearn.methods.scores.base import RowScore


class RhoOptions(row_pass.WarmOptions):
    """Options of rho."""

    rule: Rule = "top_mean"
    """how n rows are chosen (see `methods.rules`); one over target rows chooses among the 4 n best"""


@register
class Rho(RowScore):
    """A row's loss under a model of all tasks minus that under the same model adapted to the primary.

    RHO-LOSS subtracts the loss under a model of held-out rows of the same task. Rows here are of other tasks, whose
    heads a model of the primary alone has not: its encoder is trained on, the heads stay those of the warm-up. What is
    left is how much learning the primary helps with the row.
    """

    name, reference = "rho", "after Mindermann et al., 2022 (RHO-LOSS)"
    title = "the n rows whose loss falls most when a warmed-up model is adapted to the primary"
    formula = "s(row) = its loss at a model warmed up on all tasks - its loss once this is trained on the primary alone"
    cost = "a warm-up and a pass for all primaries alike; for each primary a warm-up, adapting it, and another pass"
    use = "beside graddot, whose first order it takes over many steps"
    Options, per_target = RhoOptions, False

    def reads(self, cell: Cell, options: Any) -> list[Need]:
        """Need the losses of the auxiliaries' rows at both models."""
        p: Any = cell.params
        warm = options.model_dump(include={"warm_rows", "warm_epochs"})
        held = p.held_out
        return [
            row_pass.need(cell, "warmed", ["loss"], **warm),
            row_pass.need(cell, "adapted", ["loss"], holdout=held, **warm),
        ]

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Subtract the losses."""
        reads = [context.obtain(need) for need in self.reads(cell, options)]
        general, adapted = (np.asarray(read.store.loss[read.places(pool)], np.float64) for read in reads)
        return Similarities.of(general - adapted)
