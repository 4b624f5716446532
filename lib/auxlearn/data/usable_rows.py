"""Which training rows may be used: leaks are found once a suite, and leave every pool alike."""

from __future__ import annotations

import numpy as np
import pandas as pd

from auxlearn.data import leakage, parquet
from auxlearn.data.suites import Suite
from auxlearn.records import runs

NEAR = 0.8  # Jaccard similarity from which a row counts as a near-duplicate


def hits(suite: Suite) -> pd.DataFrame:
    """`leakage.find` over the whole suite, kept in the run folder."""
    content = {"near": NEAR}
    key = runs.key("leaks", content, suite.fingerprint, [])
    run = runs.Run("leaks", key, content, suite.fingerprint, code_roots=("data.leakage",))
    with run.lock():
        status, manifest = runs.read("leaks", key)
        if status != "finished" or manifest is None:
            found = leakage.find(suite, near=NEAR)
            found.to_parquet(run.path("hits.parquet"))
            manifest = run.finish(["hits.parquet"], {"hits": len(found)})
    return parquet.read_frame(manifest.path("hits.parquet"))


def usable(suite: Suite, target: str | None, keep_leaks: bool = False) -> dict[str, np.ndarray]:
    """Per task a mask over its training rows: False where the row also stands in dev or test of `target`.

    `target` None means of any task: a proxy serves every target, so its sample must be clean for all of them.
    """
    if keep_leaks:
        return {name: np.ones(len(task.train), bool) for name, task in suite.items()}
    return {name: ~mask for name, mask in leakage.flagged(hits(suite), suite, target).items()}
