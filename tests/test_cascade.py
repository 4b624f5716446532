"""A cheap scorer in front of the proxy: what it knows, and what it would have lost."""

import numpy as np
import pandas as pd
import pytest

from auxlearn import cascade, discriminator, features, selection
from auxlearn.errors import InputError


def rows_of(suite, count, start=40):
    return pd.concat(
        [pd.DataFrame({"task": name, "row": np.arange(start, start + count)}) for name in suite.names],
        ignore_index=True,
    )


def test_words_tell_tasks_apart_by_hand(small):
    """Fitted to some rows, a task's other rows are told from other tasks' by their words; in any order of rows."""
    sample = {name: np.arange(40) for name in small.names}
    rows = rows_of(small, 30)
    made = cascade.hashed_logits(small, sample, rows)
    ids = rows["task"].map({name: i for i, name in enumerate(small.names)}).to_numpy()
    auc = discriminator.column_auc(made, ids)
    assert np.exp(made).sum(1) == pytest.approx(1, abs=1e-4)
    assert auc[small.index("away_topic")] > 0.65  # words of its own, among many that all tasks share
    assert np.array_equal(cascade.hashed_logits(small, sample, rows), made)
    order = np.random.default_rng(0).permutation(len(rows))
    mixed = cascade.hashed_logits(small, sample, rows.iloc[order])
    assert mixed == pytest.approx(made[order], abs=1e-4)


def test_two_tasks_and_absent_ones(small):
    rows = rows_of(small, 10)
    made = cascade.hashed_logits(small, {name: np.arange(40) for name in ("topic_side", "away_topic")}, rows)
    at = [small.index(name) for name in ("topic_side", "away_topic")]
    assert np.exp(made[:, at]).sum(1) == pytest.approx(1, abs=1e-4)
    mine = (rows["task"] == "away_topic").to_numpy()
    assert (made[mine, at[1]] > made[mine, at[0]]).mean() > 0.8
    mine = (rows["task"] == "topic_side").to_numpy()
    assert (made[mine, at[0]] > made[mine, at[1]]).mean() > 0.8
    absent = [i for i in range(len(small)) if i not in at]
    assert (made[:, absent] == features.ABSENT).all()
    with pytest.raises(InputError, match="needs two"):
        cascade.hashed_logits(small, {"topic_side": np.arange(9)}, rows)


def test_recall_by_hand():
    """Ten rows, one not eligible; the cheap order swaps the second best with the worst."""
    full = np.arange(10, 0, -1.0)
    eligible = np.ones(10, bool)
    eligible[0] = False  # the highest score may not be chosen
    cheap = full.copy()
    cheap[[2, 9]] = cheap[[9, 2]]
    made = cascade.recall(
        full, {"swapped": cheap, "same": full}, 3, np.zeros(10, int), eligible, fractions=(0.1, 0.5, 1)
    )
    assert made["same"].tolist() == [1, 1, 1]
    assert made["swapped"].tolist() == pytest.approx([2 / 3, 2 / 3, 1])  # 0.1 of 9 rows is below n: three are kept


def test_recall_is_compared_within_folds():
    """A fold whose scores are all higher takes no more than its half, in both rankings."""
    rng = np.random.default_rng(0)
    full, folds = rng.normal(size=400), np.arange(400) % 2
    shifted = full + 100 * folds
    made = cascade.recall(full, {"shifted": shifted}, 40, folds, np.ones(400, bool), fractions=(0.1, 0.2))
    assert made["shifted"].tolist() == [1, 1]
    chance = cascade.recall(full, {"noise": rng.normal(size=400)}, 40, folds, np.ones(400, bool), fractions=(0.5,))
    assert chance["noise"].item() == pytest.approx(0.5, abs=0.25)
    best = selection.choose("global", full, 40, np.zeros(400, int), folds, 0, np.ones(400, bool))
    assert len(best) == 40
