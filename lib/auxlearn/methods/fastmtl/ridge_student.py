"""Distil the proxy: a cheap regressor learns the proxy's own score from rows that the proxy has scored.

The proxy scores a small random sample of the pool, and a ridge regression on cheap features of those rows is fitted to
these scores (Hinton et al., 2015, with a linear student). Every row that the proxy goes on to score is one more to
learn from. The features here cost no matrix product: hashed words, surface form, and the row's task, which the proxy is
not told and the pool knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auxlearn import seeding
from auxlearn.methods.fastmtl import ngram_scorer
from auxlearn.signals import features

if TYPE_CHECKING:
    from auxlearn.cost import Ledger
    from auxlearn.data.suites import Suite

PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
LEARNED = 0.5  # of the rows, from which on nothing is fitted anew
HELD = 5  # every HELD-th row of the sample judges the penalties


def sample(folds: np.ndarray, eligible: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Draw the rows for the proxy to score first, uniformly, at least `HELD` per fold. The draw has its own seed.

    Args:
        folds: The proxy that scores each row [N].
        eligible: The rows that may be drawn, bool [N].
        share: The share of each fold's eligible rows to draw.
        seed: The seed from which the draw's own ("sample/cascade") is derived.

    Returns:
        bool [N].
    """
    drawn = np.zeros(len(folds), bool)
    for fold in np.unique(folds):
        own = np.flatnonzero((folds == fold) & eligible)
        size = min(len(own), max(HELD, round(share * len(own))))
        drawn[seeding.rng(seed, "sample", "cascade", int(fold)).permutation(own)[:size]] = True
    return drawn


def cues(suite: Suite, rows: pd.DataFrame) -> Any:
    """Return what is known of a row without any model: hashed words, surface form and its task, each of length 1.

    Form is `features.surface` with counts as logarithms, standardised over these rows.

    Args:
        suite: The suite with the rows' texts.
        rows: Columns task and row.

    Returns:
        Sparse [N, D].
    """
    from scipy.sparse import csr_matrix, hstack

    form = standardised(features.design(suite, rows))
    form /= np.sqrt(form.shape[1])
    task = pd.get_dummies(rows["task"]).to_numpy(np.float64)
    return hstack([ngram_scorer.counts(suite, rows), csr_matrix(form), csr_matrix(task)]).tocsr()


def standardised(x: np.ndarray) -> np.ndarray:
    """Scale columns to mean 0 and standard deviation 1, or to 0 throughout where they do not vary.

    Args:
        x: float [N, D].

    Returns:
        float32 [N, D].
    """
    x = np.asarray(x, np.float32)
    return (x - x.mean(0)) / np.maximum(x.std(0), 1e-6)


def predict(x: Any, scores: np.ndarray, drawn: np.ndarray, ledger: Ledger | None = None) -> np.ndarray:
    """Predict all rows' scores by a ridge regression fitted to those of the drawn rows.

    The penalty is the one of `PENALTIES` that errs least on every fifth drawn row, held out.

    Args:
        x: Features [N, D], sparse or dense.
        scores: float [N], of which only `scores[drawn]` are read.
        drawn: The rows to fit to, bool [N].
        ledger: Gets the FLOPs of fitting, of choosing the penalty and of predicting the rows that were not drawn.

    Returns:
        float32 [N].
    """
    from sklearn.linear_model import Ridge

    rows = np.flatnonzero(drawn)
    held = np.arange(len(rows)) % HELD == HELD - 1
    y, flops = np.asarray(scores, np.float64), 0.0

    def fitted(penalty: float, to: np.ndarray) -> Any:
        nonlocal flops
        model = Ridge(penalty, solver="lsqr", tol=1e-4).fit(x[to], y[to])
        # An iteration is a product with x and one with its transpose.
        flops += 4.0 * _cells(x[to]) * int(np.max(model.n_iter_))
        return model

    errors = []
    for penalty in PENALTIES:
        model = fitted(penalty, rows[~held])
        errors.append(float(np.square(model.predict(x[rows[held]]) - y[rows[held]]).mean()))
    model = fitted(PENALTIES[int(np.argmin(errors))], rows)
    if ledger is not None:
        ledger.flops += flops + 2.0 * (len(PENALTIES) * _cells(x[rows[held]]) + _cells(x[np.flatnonzero(~drawn)]))
    return model.predict(x).astype(np.float32)


def in_rounds(x: Any, scores: np.ndarray, drawn: np.ndarray, ledger: Ledger | None = None) -> np.ndarray:
    """Order rows for the proxy to score, where each round learns from what the proxy said of the rows before it.

    As `predict`, fitted anew after each round. A round is the best of the rows not scored yet, half as many as have
    been scored, until half of all are; the rest follow by the last fit. A row's score is read only once it has had its
    turn. The rows of `drawn` come first.

    Args:
        x: Features [N, D], sparse or dense.
        scores: float [N].
        drawn: The rows that are scored before the first fit, bool [N].
        ledger: Gets the FLOPs of all fits and predictions.

    Returns:
        float32 [N], highest first.

    Reference:
        Active search (Garnett et al., 2012), by the greedy rule.
    """
    known, order = drawn.copy(), [np.flatnonzero(drawn)]
    while not known.all():
        guess = predict(x, np.where(known, scores, np.nan), known, ledger)
        rest = np.flatnonzero(~known)
        rest = rest[np.argsort(-guess[rest], kind="stable")]
        if known.sum() < LEARNED * len(known):
            rest = rest[: max(1, int(known.sum()) // 2)]
        order.append(rest)
        known[rest] = True
    turns = np.empty(len(known), np.float32)
    turns[np.concatenate(order)] = -np.arange(len(known))
    return turns


def _cells(x: Any) -> int:
    """Return how many numbers a product with x multiplies."""
    return x.nnz if hasattr(x, "nnz") else x.size
