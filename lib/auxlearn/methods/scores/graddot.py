"""Gradient products: rows whose gradient points where the primary's does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from auxlearn.methods.base import Cell, Context, Need
from auxlearn.methods.registry import register
from auxlearn.methods.rules.by_name import Rule
from auxlearn.methods.rules.similarities import Similarities
from auxlearn.methods.scores import row_pass
from auxlearn.methods.scores.base import RowScore, ScoreOptions


class GradDotOptions(ScoreOptions, row_pass.WarmOptions):
    """Options of graddot."""

    rule: Rule = "top_mean"
    """how n rows are chosen by the scores (see `methods.rules`); a target is a part of the target rows"""
    target_parts: int = Field(4, ge=1)
    """equal parts that the target rows are cut into in order of label (one may have two), each with a mean gradient"""
    unit: bool = False
    """divide by the length of a row's gradient, so that rows of high loss have no longer arm"""


@register
class GradDot(RowScore):
    """Exact inner products of every row's gradient with target gradients (see `signals.example_gradients`).

    Gradients are of all parameters that tasks share, at one model, with dropout off. What differs from TracIn: that
    sums products over the checkpoints of a training, times their learning rates, for each target row. Others project
    gradients of LoRA or of some layers to a few thousand numbers; as the targets are known here, nothing is projected.
    """

    name, reference = "graddot", "Pruthi et al., 2020 (TracIn), at one model"
    title = "n rows whose gradients have the highest inner product with the primary's"
    formula = (
        "s(row, part) = <gradient of the row's loss, mean gradient of a part of the target rows> at a model warmed up "
        "on all tasks; then the selection rule"
    )
    cost = "a warm-up for all primaries alike, and for each primary a forward and backward pass over the pool"
    use = "where some forward and backward passes are affordable: it asks what a step on a row would do"
    Options, targets = GradDotOptions, "target_parts"

    def reads(self, cell: Cell, options: Any) -> list[Need]:
        """Need inner products of the auxiliaries' rows with target gradients."""
        p: Any = cell.params
        given = options.model_dump(include={"warm_rows", "warm_epochs", "target_rows", "target_parts"})
        held = p.held_out
        return [row_pass.need(cell, "warmed", ["products"], holdout=held, **given)]

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Look the products up."""
        read = context.obtain(*self.reads(cell, options))
        places, store = read.places(pool), read.store
        products = np.asarray(store.dots[places], np.float32)
        if options.unit:
            products = products / np.sqrt(np.maximum(store.squares[places], 1e-30))[:, None]
        return Similarities.of(products)
