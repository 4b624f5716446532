"""DSIR: rows whose words are more frequent in the primary than in the pool."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from pydantic import Field

from auxlearn.data import row_texts
from auxlearn.methods.base import Cell, Context
from auxlearn.methods.registry import register
from auxlearn.methods.rules.by_name import Rule
from auxlearn.methods.rules.similarities import Similarities
from auxlearn.methods.scores import words
from auxlearn.methods.scores.base import RowScore, ScoreOptions, target_table

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

FLOOR = 1e-8  # the authors' code adds it to every probability


class DSIROptions(ScoreOptions):
    """Options of dsir."""

    rule: Rule = "top_mean"
    """how n rows are chosen by the scores (see `methods.rules`); one over target rows chooses among the 4 n best"""
    target_rows: int = Field(0, ge=0)
    """rows of the primary whose words are counted (0: all that it is trained on)"""
    resample: bool = True
    """draw rows by their weights without replacement, or take those of the highest weights"""
    buckets: int = Field(10_000, ge=2)
    """hash buckets that words and pairs of words fall into"""
    smoothing: float = Field(0.0, ge=0)
    """added to the primary's count of every bucket: where it has few rows, words that it lacks count for less"""
    per_word: bool = False
    """take a row's mean over its words, not the sum, which short rows win where a small primary lacks most words"""


@register
class DSIR(RowScore):
    """Data selection by importance resampling over hashed n-grams.

    What differs from the authors' package: another hash, no least length of rows (see `counts` and `log_weights`), and
    the switches `smoothing`, `per_word` and `resample`, whose defaults are the package's.
    """

    name, reference = "dsir", "Xie et al., 2023 (DSIR)"
    title = "n rows drawn by how much more their words are the primary's than the pool's"
    formula = (
        "log w(row) = sum over its words and pairs of words of log p_primary - log p_pool, p over hash buckets; drawn "
        "without replacement with probability ~ w: the n highest of log w + Gumbel noise"
    )
    cost = "no model: words of all rows are counted, a minute for a million rows"
    use = "where the primary has thousands of rows; of a small one with per_word: true and resample: false"
    Options, per_target = DSIROptions, False

    def similarities(self, context: Context, cell: Cell, options: Any, pool: pd.DataFrame) -> Similarities:
        """Weigh candidates."""
        own = target_table(context, cell, options.target_rows)
        target, counted = (counts(row_texts.stream(context.suite, rows), options.buckets) for rows in (own, pool))
        weights = log_weights(target, counted, options.smoothing)
        if options.per_word:
            weights /= np.maximum(np.asarray(counted.sum(1)).ravel(), 1)
        if options.resample:
            weights += context.rng("sample", "dsir").gumbel(size=len(weights))
        return Similarities.of(weights)


def counts(texts: Any, buckets: int = 10_000) -> csr_matrix:
    """Count the words of texts, and pairs of neighbours, in hash buckets.

    Lower-cased runs of letters and digits, and runs of punctuation, are words, as in the authors' code. That hashes by
    SHA-256, this by scikit-learn's MurmurHash3, which is many times faster: other words share a bucket, as many do.

    Args:
        texts: N texts, an iterable of str.
        buckets: The number of buckets.

    Returns:
        float32 counts, sparse [N, buckets].
    """
    from scipy.sparse import csr_matrix
    from sklearn.feature_extraction.text import HashingVectorizer

    reader = HashingVectorizer(
        n_features=buckets, ngram_range=(1, 2), alternate_sign=False, norm=None, dtype=np.float32,
        token_pattern=words.WORDS_AND_PUNCTUATION,
    )  # fmt: skip
    texts = iter(texts)
    first = list(itertools.islice(texts, 1))  # the vectorizer refuses none
    return reader.transform(itertools.chain(first, texts)) if first else csr_matrix((0, buckets), dtype=np.float32)


def log_weights(target: csr_matrix, pool: csr_matrix, smoothing: float = 0.0) -> np.ndarray:
    """Compute the log importance weight of every row of the pool.

    The authors' package drops rows of fewer than 100 words by default, which are nearly all rows of GLUE; here none is.

    Args:
        target: Counts of the target's rows, [M, buckets].
        pool: Counts of the candidates, [N, buckets].
        smoothing: Added to the target's count of every bucket.

    Returns:
        float64 [N].
    """
    here = np.asarray(target.sum(0, dtype=np.float64)).ravel() + smoothing
    there = np.asarray(pool.sum(0, dtype=np.float64)).ravel()
    ratio = np.log(here / max(here.sum(), 1.0) + FLOOR) - np.log(there / max(there.sum(), 1.0) + FLOOR)
    return np.asarray(pool @ ratio)


def kl_reduction(target: csr_matrix, reference: csr_matrix, chosen: csr_matrix) -> float:
    """Measure how much nearer a choice's words are to the target's than a reference's are.

    That is KL(target || reference) - KL(target || chosen) over hash buckets, `FLOOR` added to every probability. It
    tells alike words, not rows that help; in the authors' pre-trainings it correlated with what models scored.

    What differs: their reference is all raw data. A word of the target that a choice lacks counts for some 18 nats, and
    few words lack many, so that random rows with as many words are the fair reference where few are chosen.

    Args:
        target: Counts of the target's rows, [M, buckets].
        reference: Counts of the rows compared with, [N, buckets].
        chosen: Counts of those chosen, [n, buckets].

    Returns:
        Nats; below 0 where the choice is farther from the target than the reference is. NaN where one of the three has
        no word.

    Reference:
        Xie et al., 2023 (DSIR), section 4.
    """
    wanted, before, after = (np.asarray(rows.sum(0, dtype=np.float64)).ravel() for rows in (target, reference, chosen))
    if not (wanted.any() and before.any() and after.any()):
        return float("nan")
    of_reference, of_chosen = (np.log(words / words.sum() + FLOOR) for words in (before, after))
    return float(wanted / wanted.sum() @ (of_chosen - of_reference))
