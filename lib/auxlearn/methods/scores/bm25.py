"""BM25: rows that a search engine would find by the primary's rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from auxlearn.data import row_texts
from auxlearn.methods.base import Cell, Context
from auxlearn.methods.registry import register
from auxlearn.methods.rules.similarities import Similarities
from auxlearn.methods.scores import words
from auxlearn.methods.scores.base import RowScore, ScoreOptions, target_table


class BM25Options(ScoreOptions):
    """Options of bm25."""

    k1: float = Field(1.5, ge=0)
    """how much a word counts that a row repeats"""
    b: float = Field(0.75, ge=0, le=1)
    """how much a row's length counts against it"""


@register
class BM25(RowScore):
    """Okapi BM25 with the primary's rows as queries, in the variant of Lucene (see `similarities`).

    What differs from the paper: 1 is added inside the logarithm of a word's rarity, which is then never below 0, and
    the factor k1 + 1, the same for every word, is left out.
    """

    name, reference = "bm25", "Robertson and Zaragoza, 2009"
    title = "n rows that BM25 finds by the primary's rows"
    formula = (
        "s(row, target) = sum over the target's words of ln(1 + (N - df + 0.5) / (df + 0.5)) tf / "
        "(tf + k1 (1 - b + b length / mean length)); then the selection rule"
    )
    cost = "no model: words of all rows are counted, a minute for a million rows"
    use = "first of all selectors, beside tfidf: counted whole, it has done best for its FLOPs (Yin and Rush, 2025)"
    Options = BM25Options

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Look candidates up by the target rows."""
        own = target_table(context, cell, options.target_rows)
        texts = row_texts.stream(context.suite, pool), row_texts.stream(context.suite, own)
        return similarities(*texts, k1=options.k1, b=options.b)


def similarities(candidates: Iterable[str], targets: Iterable[str], k1: float = 1.5, b: float = 0.75) -> Similarities:
    """Score texts by BM25 with other texts as queries, by the variant of Lucene.

    Lower-cased runs of letters and digits are words, no word is left out, and a word that a query repeats counts as
    often. The package bm25s gives the same scores (a test compares them), and is left aside: one sparse product with
    all queries is as fast, and the rules read scores block by block.

    Args:
        candidates: N texts.
        targets: Q texts, the queries.
        k1: Saturation of a word's count in a candidate.
        b: Normalisation by length, 0 to 1.

    Returns:
        Scores of N candidates with Q targets, 0 or more.
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import CountVectorizer

    reader = CountVectorizer(tokenizer=words.split, token_pattern=None, lowercase=False, dtype=np.float32)
    counts = words.fitted(reader, candidates)
    size, width = counts.shape
    lengths = np.asarray(counts.sum(1)).ravel()
    frequency = np.bincount(counts.indices, minlength=width)
    idf = np.log1p((size - frequency + 0.5) / (frequency + 0.5)).astype(np.float32)
    norms = (k1 * (1 - b + b * lengths / max(float(lengths.mean()), 1e-9))).astype(np.float32)
    tf = counts.data
    weights = tf / (tf + np.repeat(norms, np.diff(counts.indptr))) * idf[counts.indices]
    return words.products(csr_matrix((weights, counts.indices, counts.indptr), counts.shape), reader.transform(targets))
