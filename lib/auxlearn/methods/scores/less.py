"""LESS: rows whose Adam step points where the primary's gradient does, over the epochs of a warm-up."""

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


class LESSOptions(ScoreOptions, row_pass.WarmOptions):
    """Options of less."""

    rule: Rule = "top_max"
    """how n rows are chosen by the scores (see `methods.rules`); a target is a part of the target rows"""
    target_parts: int = Field(4, ge=1)
    """equal parts that the target rows are cut into in order of label (one may have two), each with a mean gradient"""


@register
class LESS(RowScore):
    """Low-rank gradient similarity search, exact.

    A row's gradient g becomes the step that Adam would make of it, with the moments of the warm-up's checkpoint; a
    target's stays as it is. What differs from the authors:

    - Products are exact. Theirs are of random projections to 8,192 numbers, for targets not yet known; here targets are
      known before the pass, and nothing is projected or stored per row but its cosines.
    - Gradients are of all linear layers of the encoder, theirs of LoRA's matrices. Heads differ between tasks and are
      left out.
    - The warm-up's learning rate is constant, so that checkpoints weigh the same, and the state after an epoch is that
      of a training that ends there: each is such a training, of 1 to `warm_epochs` epochs.
    - A subtask is a part of the target rows of like labels. The cosine is with its mean gradient, as in the paper's
      formula; their code averages the cosines with each of its rows.
    - The step has eps within the root, as in their code.
    """

    name, reference = "less", "Xia et al., 2024 (LESS)"
    title = "n rows whose Adam steps are nearest to the primary's gradients over the epochs of a warm-up"
    formula = (
        "s(row, part) = mean over epochs of cos of (b1 m + (1 - b1) g) / sqrt(b2 v + (1 - b2) g^2 + eps), g the row's "
        "gradient, with the mean gradient of a part of the target rows; then the selection rule"
    )
    cost = "warm-ups of 1 to warm_epochs epochs for all primaries alike; for each primary as many backward passes"
    use = "where the pool is small, or several n share it; beside graddot, which reads one model by plain gradients"
    Options, targets = LESSOptions, "target_parts"

    def reads(self, cell: Cell, options: Any) -> list[Need]:
        """Need the auxiliaries' cosines with target gradients after each epoch of the warm-up."""
        p: Any = cell.params
        given = options.model_dump(include={"warm_rows", "target_rows", "target_parts"})
        given["holdout"] = p.held_out
        epochs = range(1, options.warm_epochs + 1)
        return [row_pass.need(cell, "warmed", ["cosines"], warm_epochs=epoch, **given) for epoch in epochs]

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Average the cosines over the checkpoints."""
        reads = [context.obtain(need) for need in self.reads(cell, options)]
        cosines = [np.asarray(read.store.cosines[read.places(pool)], np.float64) for read in reads]
        return Similarities.of(np.mean(cosines, 0), (-1.0, 1.0))
