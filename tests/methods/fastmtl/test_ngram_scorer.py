"""Hashed words: what they tell of a row's task."""

import numpy as np
import pandas as pd
import pytest

from auxlearn.cost import Ledger
from auxlearn.errors import InputError
from auxlearn.evaluation import metrics
from auxlearn.methods.fastmtl import ngram_scorer
from auxlearn.signals import features


def rows_of(suite, count, start=40):
    return pd.concat(
        [pd.DataFrame({"task": name, "row": np.arange(start, start + count)}) for name in suite.names],
        ignore_index=True,
    )


def test_words_tell_tasks_apart_by_hand(small):
    """Fitted to some rows, a task's other rows are told from other tasks' by their words; in any order of rows."""
    sample = {name: np.arange(40) for name in small.names}
    rows = rows_of(small, 30)
    made = ngram_scorer.logits(small, sample, rows)
    ids = rows["task"].map({name: i for i, name in enumerate(small.names)}).to_numpy()
    auc = metrics.column_auc(made, ids)
    assert np.exp(made).sum(1) == pytest.approx(1, abs=1e-4)
    assert auc[small.index("away_topic")] > 0.65  # words of its own, among many that all tasks share
    ledger = Ledger("words")
    assert np.array_equal(ngram_scorer.logits(small, sample, rows, ledger), made)
    assert ledger.flops > 0
    order = np.random.default_rng(0).permutation(len(rows))
    mixed = ngram_scorer.logits(small, sample, rows.iloc[order])
    assert mixed == pytest.approx(made[order], abs=1e-4)


def test_two_tasks_and_absent_ones(small):
    rows = rows_of(small, 10)
    made = ngram_scorer.logits(small, {name: np.arange(40) for name in ("topic_side", "away_topic")}, rows)
    at = [small.index(name) for name in ("topic_side", "away_topic")]
    assert np.exp(made[:, at]).sum(1) == pytest.approx(1, abs=1e-4)
    mine = (rows["task"] == "away_topic").to_numpy()
    assert (made[mine, at[1]] > made[mine, at[0]]).mean() > 0.8
    mine = (rows["task"] == "topic_side").to_numpy()
    assert (made[mine, at[0]] > made[mine, at[1]]).mean() > 0.8
    absent = [i for i in range(len(small)) if i not in at]
    assert (made[:, absent] == features.ABSENT).all()
    with pytest.raises(InputError, match="needs two"):
        ngram_scorer.logits(small, {"topic_side": np.arange(9)}, rows)


def test_counts_are_of_the_rows_in_their_order(small):
    rows = rows_of(small, 5)
    made = ngram_scorer.counts(small, rows)
    assert made.shape == (len(rows), ngram_scorer.FEATURES)
    assert np.sqrt(made.power(2).sum(1)) == pytest.approx(1)
    order = np.random.default_rng(0).permutation(len(rows))
    assert (ngram_scorer.counts(small, rows.iloc[order]) != made[order]).nnz == 0
