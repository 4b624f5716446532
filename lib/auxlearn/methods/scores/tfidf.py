"""TF-IDF: rows that share rare words with the primary's rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.data import row_texts
from auxlearn.methods.base import Cell, Context
from auxlearn.methods.registry import register
from auxlearn.methods.rules.similarities import Similarities
from auxlearn.methods.scores import words
from auxlearn.methods.scores.base import RowScore, target_table


@register
class TfIdf(RowScore):
    """Cosines of TF-IDF vectors: the paper's raw counts times inverse document frequency, with length 1.

    What differs: document frequencies are smoothed as in scikit-learn, as if one more row had every word.
    """

    name, reference = "tfidf", "Salton and Buckley, 1988"
    title = "n rows that are alike to the primary's by the cosine of their TF-IDF vectors"
    formula = (
        "s(row, target) = cos of vectors of tf (ln((1 + N) / (1 + df)) + 1), df among the N rows of the pool; then "
        "the selection rule"
    )
    cost = "no model: words of all rows are counted, a minute for a million rows"
    use = "first of all selectors: what it does as well needs no model"

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Compare TF-IDF vectors."""
        own = target_table(context, cell, options.target_rows)
        return cosines(row_texts.stream(context.suite, pool), row_texts.stream(context.suite, own))


def cosines(candidates: Iterable[str], targets: Iterable[str]) -> Similarities:
    """Compare texts by the cosine of their TF-IDF vectors, as scikit-learn's `TfidfVectorizer` makes them.

    Lower-cased runs of letters and digits are words, single letters among them; document frequencies are the
    candidates'.

    Args:
        candidates: N texts.
        targets: Q texts.

    Returns:
        Cosines of N candidates with Q targets; 0 with a text of which no candidate has a word.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    reader = TfidfVectorizer(tokenizer=words.split, token_pattern=None, lowercase=False, dtype=np.float32)
    return words.products(words.fitted(reader, candidates), reader.transform(targets), (-1.0, 1.0))
