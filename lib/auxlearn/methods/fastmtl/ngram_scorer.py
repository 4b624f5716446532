"""Score rows by hashed words: what a row says, at the price of one hash per word (Weinberger et al., 2009).

Lower-cased words and pairs of neighbours of all a row's texts fall into 65,536 features, each row scaled to length 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auxlearn.data import row_texts
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.signals import features

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from auxlearn.cost import Ledger

FEATURES = 1 << 16


def counts(suite: Suite, rows: pd.DataFrame) -> csr_matrix:
    """Return the hashed one- and two-word n-grams of rows.

    Args:
        suite: The suite with the rows' texts.
        rows: Columns task and row.

    Returns:
        Sparse [N, 65536], in the order of `rows`.
    """
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import HashingVectorizer

    reader = HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2), alternate_sign=False, token_pattern=r"\w+")
    parts, order, owner = [], [], rows["task"].to_numpy()
    for name in rows["task"].unique():
        own = np.flatnonzero(owner == name)
        parts.append(reader.transform(row_texts.joined(suite[str(name)], rows["row"].to_numpy()[own])))
        order.append(own)
    return vstack(parts).tocsr()[np.argsort(np.concatenate(order))]


def logits(
    suite: Suite, sample: Mapping[str, np.ndarray], rows: pd.DataFrame, ledger: Ledger | None = None
) -> np.ndarray:
    """Return the log-probability of each task by its words.

    A multinomial logistic regression (L2 with C = 10, lbfgs). Deterministic.

    Args:
        suite: The suite with the rows' texts.
        sample: By task, the positions in its train split to fit to.
        rows: The rows to score; columns task and row.
        ledger: Gets the FLOPs of fitting and predicting; None for none.

    Returns:
        float32 [N, K], columns in the suite's order; `features.ABSENT` for a task without sampled rows.

    Raises:
        InputError: Fewer than two tasks have rows to fit to.
    """
    from sklearn.linear_model import LogisticRegression

    known = [name for name in suite.names if len(sample.get(name, ()))]
    if len(known) < 2:
        raise InputError(f"cascade: {len(known)} tasks with rows to fit to; telling tasks apart needs two")
    fitted_to = features.as_rows({name: sample[name] for name in known})
    seen, unseen = counts(suite, fitted_to), counts(suite, rows)
    # A column that no fitted row has keeps a weight of 0: left out, the fit is the same and far faster.
    used = np.unique(seen.indices)
    model = LogisticRegression(C=10.0, max_iter=200).fit(seen[:, used], fitted_to["task"].to_numpy(str))
    if ledger is not None:  # an iteration: forward and gradient
        ledger.flops += len(known) * (4.0 * int(model.n_iter_.max()) * seen.nnz + 2.0 * unseen.nnz)
    columns = [suite.index(name) for name in model.classes_]
    return features.log_probabilities(model.decision_function(unseen[:, used]), columns, len(suite))
