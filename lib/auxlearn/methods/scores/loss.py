"""Loss: rows that a model warmed up on all tasks finds hard, or easy."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from auxlearn.methods.base import Cell, Context, Need
from auxlearn.methods.registry import register
from auxlearn.methods.rules.by_name import Rule
from auxlearn.methods.rules.similarities import Similarities
from auxlearn.methods.scores import row_pass
from auxlearn.methods.scores.base import RowScore


class LossOptions(row_pass.WarmOptions):
    """Options of loss."""

    rule: Rule = "quota"
    """how n rows are chosen: quota, as losses of two tasks are on two scales, or another (see `dsir`)"""
    take: Literal["high", "low", "middle"] = "high"
    """rows of the highest losses, of the lowest, or of those nearest to their task's median"""


@register
class Loss(RowScore):
    """A row's own loss. It knows nothing of the primary: what it chooses is hard, or easy, wherever it is from.

    What differs from the study named: it prunes text for pre-training by the perplexity of a language model, and keeps
    rows of the highest, the lowest or middle values; here the loss is that of the row's own label.
    """

    name, reference = "loss", "Marion et al., 2023"
    title = "the n rows of the highest loss under a model warmed up on all tasks, each task its share"
    formula = "s(row) = its own loss at the warmed-up model (of tagging the mean over tokens), or minus it"
    cost = "a warm-up on some rows of every task, and one forward pass over the pool, for all primaries and n alike"
    use = "beside scores that know the primary: it says what hardness alone gives"
    Options, per_target = LossOptions, False

    def reads(self, cell: Cell, options: Any) -> list[Need]:
        """Need the losses of the auxiliaries' rows."""
        return [row_pass.need(cell, "warmed", ["loss"], **options.model_dump(include={"warm_rows", "warm_epochs"}))]

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Look the losses up."""
        read = context.obtain(*self.reads(cell, options))
        losses = pd.Series(np.asarray(read.store.loss[read.places(pool)], np.float64))
        if options.take == "middle":
            medians = losses.groupby(pool["task"].to_numpy(str)).transform("median")
            return Similarities.of(-(losses - medians).abs().to_numpy())
        return Similarities.of(losses.to_numpy() if options.take == "high" else -losses.to_numpy())
