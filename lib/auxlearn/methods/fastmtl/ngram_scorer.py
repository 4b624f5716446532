"""Hashed words: what a row says, at the price of a hash a word (Weinberger et al., 2009).

Lower-cased words and pairs of neighbours of all a row's texts fall into 65,536 features, each row scaled to length 1.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auxlearn.data.suites import Suite, Task
from auxlearn.errors import InputError
from auxlearn.signals import features

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

    from auxlearn.cost import Ledger

FEATURES = 1 << 16


def counts(suite: Suite, rows: pd.DataFrame) -> csr_matrix:
    """Hashed one- and two-word n-grams [N, 65536] of rows with columns task and row, in their order."""
    from scipy.sparse import vstack
    from sklearn.feature_extraction.text import HashingVectorizer

    reader = HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2), alternate_sign=False, token_pattern=r"\w+")
    parts, order, owner = [], [], rows["task"].to_numpy()
    for name in rows["task"].unique():
        own = np.flatnonzero(owner == name)
        parts.append(reader.transform(_texts(suite[str(name)], rows["row"].to_numpy()[own])))
        order.append(own)
    return vstack(parts).tocsr()[np.argsort(np.concatenate(order))]


def logits(
    suite: Suite, sample: Mapping[str, np.ndarray], rows: pd.DataFrame, ledger: Ledger | None = None
) -> np.ndarray:
    """Log-probability of each task by its words: float32 [N, K], columns in the suite's order.

    `sample`: task -> positions in its train split to fit to; `rows`: columns task and row. Multinomial logistic
    regression (L2 with C = 10, lbfgs). A task without sampled rows gets `features.ABSENT`. Deterministic. The ledger is
    given the FLOPs of fitting and predicting. InputError for fewer than two tasks with rows.
    """
    from sklearn.linear_model import LogisticRegression

    known = [name for name in suite.names if len(sample.get(name, ()))]
    if len(known) < 2:
        raise InputError(f"cascade: {len(known)} tasks with rows to fit to; telling tasks apart needs two")
    fitted_to = features.as_rows({name: sample[name] for name in known})
    seen, asked = counts(suite, fitted_to), counts(suite, rows)
    # A column that no fitted row has keeps a weight of 0: left out, the fit is the same and far faster.
    used = np.unique(seen.indices)
    model = LogisticRegression(C=10.0, max_iter=200).fit(seen[:, used], fitted_to["task"].to_numpy(str))
    if ledger is not None:  # an iteration: forward and gradient
        ledger.flops += len(known) * (4.0 * int(model.n_iter_.max()) * seen.nnz + 2.0 * asked.nnz)
    columns = [suite.index(name) for name in model.classes_]
    return features.log_probabilities(model.decision_function(asked[:, used]), columns, len(suite))


def _texts(task: Task, rows: np.ndarray) -> list[str]:
    columns = task.train.select(rows.tolist()).select_columns(list(task.inputs))[:]
    one = (lambda x: " ".join(x)) if task.kind == "tagging" else str
    return [" ".join(map(one, texts)) for texts in zip(*columns.values(), strict=True)]
