"""A cascade in front of FastMTL's scoring: a cheap scorer keeps a fraction of the pool, the proxy ranks what is left.

The proxy's pass over the pool is most of what FastMTL's selection costs at the published size. Whether a pass over a
fraction would have done is asked of a store that holds the whole pass: of the n rows that the proxy ranks highest, how
many does the cheap scorer keep? One scorer here knows words: hashed one- and two-word n-grams and a logistic regression
that tells the tasks apart, fitted to the rows that the proxy was trained on (cross-fitted as the proxies are, so that
no row is scored by a model that has seen it).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from . import discriminator, features, filters, plans, runs, selection
from .errors import InputError
from .params import TDProxy
from .tasks import Suite, Task

FEATURES = 1 << 16
FRACTIONS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0)


def hashed_logits(suite: Suite, sample: Mapping[str, np.ndarray], rows: pd.DataFrame) -> np.ndarray:
    """Log-probability of each task by its words: float32 [N, K], columns in the suite's order.

    `sample`: task -> positions in its train split to fit to; `rows`: columns task and row. Lower-cased words and pairs
    of neighbours of all a row's texts, hashed to 65,536 features, each row scaled to length 1; multinomial logistic
    regression (L2 with C = 10, lbfgs). A task without sampled rows gets `features.ABSENT`. Deterministic. InputError
    for fewer than two tasks with rows.
    """
    from scipy.special import log_softmax
    from sklearn.feature_extraction.text import HashingVectorizer
    from sklearn.linear_model import LogisticRegression

    known = [name for name in suite.names if len(sample.get(name, ()))]
    if len(known) < 2:
        raise InputError(f"cascade: {len(known)} tasks with rows to fit to; telling tasks apart needs two")
    reader = HashingVectorizer(n_features=FEATURES, ngram_range=(1, 2), alternate_sign=False, token_pattern=r"\w+")
    texts = [text for name in known for text in _texts(suite[name], sample[name])]
    names = np.repeat(known, [len(sample[name]) for name in known])
    model = LogisticRegression(C=10.0, max_iter=200).fit(reader.transform(texts), names)
    made = np.full((len(rows), len(suite)), features.ABSENT, np.float32)
    columns = [suite.names.index(name) for name in model.classes_]
    for name, part in rows.groupby("task", sort=False):
        found = model.decision_function(reader.transform(_texts(suite[str(name)], part["row"].to_numpy())))
        if len(known) == 2:  # one column, of the second
            found = np.stack([-found / 2, found / 2], 1)
        made[np.ix_(rows.index.get_indexer(part.index), columns)] = log_softmax(found, 1)
    return made


def _texts(task: Task, rows: np.ndarray) -> list[str]:
    columns = task.train.select(rows.tolist()).select_columns(list(task.inputs))[:]
    one = (lambda x: " ".join(x)) if task.kind == "tagging" else str
    return [" ".join(map(one, texts)) for texts in zip(*columns.values(), strict=True)]


def cheap_scores(suite: Suite, proxy: runs.Manifest, pool: pd.DataFrame, primary: str) -> dict[str, np.ndarray]:
    """Log-odds of the primary [N] by scorer ("words", "form") of a pool that 02's run has scored.

    `pool`: columns task, row and proxy, as from `stores.candidates`. Each scorer is fitted to the rows of the proxy
    that scores the row; "form" knows lengths, casing and punctuation alone (`features.surface_logits`).
    """
    p, target = TDProxy(**proxy.params), suite.index(primary)
    found, _ = plans.proxies(p, suite, filters.usable(suite, None, p.keep_leaks))
    made = {name: np.zeros(len(pool), np.float32) for name in ("words", "form")}
    for fold, plan in enumerate(found):
        mine = (pool["proxy"] == fold).to_numpy()
        rows = pool[mine].reset_index(drop=True)
        for name, logits in (("words", hashed_logits), ("form", features.surface_logits)):
            made[name][mine] = discriminator.scores(logits(suite, plan.phases[0].rows, rows), target, "margin")
    return made


def recall(
    full: np.ndarray, cheap: Mapping[str, np.ndarray], n: int, folds: np.ndarray, eligible: np.ndarray, seed: int = 0,
    fractions: Sequence[float] = FRACTIONS,
) -> pd.DataFrame:  # fmt: skip
    """What a cascade keeps of the n rows that `full` scores rank highest, in 0 … 1: index fraction, a column a scorer.

    A fraction of the eligible rows, at least n, is what the proxy would still have to score. Both are compared within
    `folds` where there are two, as `selection.choose` does. A scorer that knows nothing keeps the fraction itself.
    """
    best = selection.choose("global", full, n, np.zeros(len(full), int), folds, seed, eligible)
    size, made = int(eligible.sum()), {}
    for name, scores in cheap.items():
        ranks = selection.fold_ranks(scores, folds, eligible) if len(np.unique(folds)) > 1 else scores
        place = np.empty(len(full), np.int64)
        place[selection.top_n(ranks, size, seed, eligible)] = np.arange(size)
        made[name] = [float((place[best] < min(size, max(n, round(f * size)))).mean()) for f in fractions]
    return pd.DataFrame(made, index=pd.Index(fractions, name="fraction"))
