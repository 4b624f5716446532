"""kNN: rows whose sentence embedding is near the primary's rows'."""

from __future__ import annotations

from typing import Any

import pandas as pd

from auxlearn.methods.base import Cell, Context, Need
from auxlearn.methods.registry import register
from auxlearn.methods.rules.similarities import Similarities
from auxlearn.methods.scores import features, row_pass
from auxlearn.methods.scores.base import RowScore, target_table


@register
class KNN(RowScore):
    """Nearest neighbours by sentence embeddings.

    An embedding is the mean of the last states of the study's own encoder as it is published, which of MiniLM is the
    sentence embedding that it was trained to give. The studies named use another model for embeddings (GTR); that would
    be one more to load, and another price. scikit-learn's NearestNeighbors is left aside: the rules need similarities
    with all rows, which one matrix product per block gives.
    """

    name, reference = "knn", "Nayak et al., 2026 (EMBED)"
    title = "n rows that are nearest to the primary's by the encoder's sentence embeddings"
    formula = "s(row, target) = cos of the means of the untrained encoder's last states; then the selection rule"
    cost = "one forward pass of the encoder over the pool, for all primaries, seeds and n alike"
    use = "where the encoder is one of sentences, such as MiniLM"

    def reads(self, cell: Cell, options: Any) -> list[Need]:
        """Need embeddings of the auxiliaries' and the primary's rows."""
        return [row_pass.need(cell, "untrained", ["features"], pool="mean")]

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Compare embeddings."""
        read = context.obtain(*self.reads(cell, options))
        return features.cosines(read, pool, target_table(context, cell, options.target_rows))
