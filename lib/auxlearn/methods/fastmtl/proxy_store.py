"""02's store: every pool row's discriminator logits, from one proxy or from two that were cross-fitted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from auxlearn.cost import Ledger
from auxlearn.data import auxiliary_rows
from auxlearn.data.suites import Suite
from auxlearn.evaluation import metrics
from auxlearn.records import runs
from auxlearn.signals import pass_store
from auxlearn.training import training_cache
from auxlearn.training.phases import Plan


@dataclass
class Scored:
    """Every training row of the suite with the logits of the proxy that scores it."""

    rows: pd.DataFrame  # task, row, row_id, length, proxy (which one scores the row), in_proxy (was trained on by it)
    logits: np.ndarray  # float32 [N, K]
    manifests: list[runs.Manifest]  # the passes, one per proxy
    features_of: tuple[list[np.ndarray], np.ndarray]  # the passes' features, and the order of the rows in them

    @functools.cached_property
    def features(self) -> np.ndarray:
        """Pooled features, float16 [N, d]; of two proxies: two unrelated spaces. Read when they are asked for."""
        return _in_order(*self.features_of)

    def ledgers(self) -> list[Ledger]:
        """Return the ledgers of all passes."""
        return [Ledger.from_dict(row) for manifest in self.manifests for row in manifest.ledger]

    def ids(self, suite: Suite) -> np.ndarray:
        """Return each row's own discriminator column, int [N]."""
        return self.rows["task"].map({name: i for i, name in enumerate(suite.names)}).to_numpy()


@dataclass
class Proxies:
    """The trained proxies of one seed, and what they say of every row."""

    plans: Sequence[Plan]
    folds: Mapping[str, np.ndarray]  # each row's fold by task, int8
    trainings: Sequence[training_cache.Training]
    store: Scored


def score(
    plans: Sequence[Plan], trainings: Sequence[training_cache.Training], folds: Mapping[str, np.ndarray], suite: Suite,
    progress: Callable[[str], None] | None = None,
) -> Scored:  # fmt: skip
    """Run one pass over the pool: a single proxy scores all rows, of two each scores the half it was not drawn from.

    Args:
        plans: The proxies' plans, one per fold.
        trainings: Their trainings.
        folds: Each row's fold by task.
        suite: The suite with every task's rows.
        progress: Called with a line of text whenever something has been done.
    """
    stores = []
    for fold, (plan, training) in enumerate(zip(plans, trainings, strict=True)):
        only = {name: np.flatnonzero(of != fold) for name, of in folds.items()} if len(plans) > 1 else None
        store = pass_store.scored(training.manifest, plan, suite, progress, only)
        sample = plan.phases[0].rows
        trained = [np.isin(part["row"], sample[name]) for name, part in store.rows.groupby("task", sort=False)]
        stores.append((store, store.rows.assign(proxy=fold, in_proxy=np.concatenate(trained))))
    rows = pd.concat([table for _, table in stores], ignore_index=True)
    order = np.lexsort((rows["row"], rows["task"].map(suite.names.index)))
    logits, features = ([getattr(s, x) for s, _ in stores] for x in ("logits", "features"))
    rows = rows.iloc[order].reset_index(drop=True)
    return Scored(rows, _in_order(logits, order), [s.manifest for s, _ in stores], (features, order))


def column_aucs(stores: Mapping[int, Scored], suite: Suite) -> pd.DataFrame:
    """Tabulate how well each discriminator column tells its task's rows from others, over rows new to the proxy.

    Args:
        stores: Scored rows by seed.
        suite: The suite with every task's rows.

    Returns:
        AUC in 0 … 1; index task, one column per seed.
    """
    aucs = {}
    for seed, store in stores.items():
        unseen = ~store.rows["in_proxy"].to_numpy()
        aucs[seed] = pd.Series(metrics.column_auc(store.logits[unseen], store.ids(suite)[unseen]), suite.names)
    return pd.DataFrame(aucs)


def _in_order(parts: Sequence[np.ndarray], order: np.ndarray) -> np.ndarray:
    """Join the parts into one array whose row i is their row `order[i]`; a single part in order stays on disk."""
    if len(parts) == 1 and (order == np.arange(len(order))).all():
        return parts[0]
    place, start = np.empty_like(order), 0
    place[order] = np.arange(len(order))
    whole = np.empty((len(order), *parts[0].shape[1:]), parts[0].dtype)
    for part in parts:
        whole[place[start : start + len(part)]] = part
        start += len(part)
    return whole


def candidates(
    store: Scored, suite: Suite, auxiliaries: list[str], usable: Mapping[str, np.ndarray] | None = None
) -> tuple[pd.DataFrame, np.ndarray]:
    """Return the pool and its logits, in the same order.

    Args:
        store: Every row of the suite, scored.
        suite: The suite with every task's rows.
        auxiliaries: The tasks in the pool.
        usable: By task, a mask over its training rows, bool [rows]; None means all.

    Returns:
        The pool (as `auxiliary_rows.pool`, with `proxy` and `in_proxy`); its logits, float32 [N, K].
    """
    rows = store.rows[["task", "row", "proxy", "in_proxy"]].assign(at=np.arange(len(store.rows)))
    pool = auxiliary_rows.pool(suite, auxiliaries, usable).merge(
        rows, on=["task", "row"], how="left", validate="one_to_one"
    )
    return pool, np.asarray(store.logits)[pool.pop("at").to_numpy(np.int64)]
