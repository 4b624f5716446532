"""Reading 02's store: the candidate rows of a target with their discriminator logits."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import arms, runs
from .tasks import Suite


def candidates(proxy: runs.Manifest, suite: Suite, auxiliaries: list[str]) -> tuple[pd.DataFrame, np.ndarray]:
    """The pool (as `arms.pool`, with `in_proxy`) and its logits [N, K], in the same order."""
    rows = pd.read_parquet(proxy.path("rows.parquet"))
    store = runs.load("score", proxy.metrics["score_run"])
    with np.load(store.path("scores.npz"), allow_pickle=False) as saved:
        logits = saved["logits"]
    rows["at"] = np.arange(len(rows))
    pool = arms.pool(suite, auxiliaries).merge(
        rows[["task", "row", "in_proxy", "at"]], on=["task", "row"], how="left", validate="one_to_one"
    )
    at = pool.pop("at").to_numpy(np.int64)
    return pool, logits[at]
