"""Delta loss: rows whose loss falls most while a model is warmed up on all tasks."""

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


class DeltaLossOptions(row_pass.WarmOptions):
    """Options of delta_loss."""

    rule: Rule = "quota"
    """how n rows are chosen: quota, as losses of two tasks are on two scales, or another (see `dsir`)"""


@register
class DeltaLoss(RowScore):
    """A row's loss before the warm-up minus that after it: what can be learnt soon.

    Before it, heads are drawn at random, so that a task's rows start at about chance, and the fall is mostly chance
    minus the loss after it. What differs from DataFlex: that has one language model and no heads, orders rows anew
    during training, and takes a window of them that moves; here rows are chosen once, from the top.
    """

    name, reference = "delta_loss", "as in DataFlex (OpenDCAI)"
    title = "the n rows whose loss falls most while a model is warmed up on all tasks, each task its share"
    formula = "s(row) = its loss before the warm-up - its loss after it"
    cost = "a warm-up on some rows of every task, and two forward passes over the pool, for all primaries and n alike"
    use = "beside loss: it puts rows first that a model learns at once"
    Options, per_target = DeltaLossOptions, False

    def reads(self, cell: Cell, options: Any) -> list[Need]:
        """Need the losses of the auxiliaries' rows before and after the warm-up."""
        warm = options.model_dump(include={"warm_rows", "warm_epochs"})
        return [row_pass.need(cell, "untrained", ["loss"]), row_pass.need(cell, "warmed", ["loss"], **warm)]

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Subtract the losses."""
        before, after = (context.obtain(need) for need in self.reads(cell, options))
        losses = [np.asarray(read.store.loss[read.places(pool)], np.float64) for read in (before, after)]
        return Similarities.of(losses[0] - losses[1])
