"""Which training rows may be used: leaks are found once per suite, and kept out of every pool alike."""

from __future__ import annotations

import numpy as np
import pandas as pd

from auxlearn.data import duplicates, leakage, parquet
from auxlearn.data.suites import Suite
from auxlearn.records import runs

NEAR = duplicates.NEAR  # Jaccard similarity from which a row counts as a near-duplicate


def hits(suite: Suite) -> pd.DataFrame:
    """Find the leaks of the whole suite, once: the table is kept in the run folder.

    Args:
        suite: The suite of all tasks.

    Returns:
        The table of `leakage.find` for all targets, at the similarity NEAR.

    Raises:
        InputError: If this process is older than the code.
    """
    content = {"near": NEAR}
    key = runs.key("leaks", content, suite.fingerprint, [])
    run = runs.Run("leaks", key, content, suite.fingerprint, code_roots=("data.usable_rows",))

    def find() -> runs.Manifest:
        duplicates = leakage.find(suite, near=NEAR)
        duplicates.to_parquet(run.path("hits.parquet"))
        return run.finish(["hits.parquet"], {"hits": len(duplicates)})

    return parquet.read_frame(run.once(find).path("hits.parquet"))


def usable(suite: Suite, target: str | None, keep_leaks: bool = False) -> dict[str, np.ndarray]:
    """Mark the training rows that may be used: those that do not also stand in dev or test of `target`.

    Args:
        suite: The suite of all tasks.
        target: The task to keep clean. None stands for every task: a proxy serves every target, so its sample must be
            clean for all of them.
        keep_leaks: Whether to use all rows all the same.

    Returns:
        Per task a mask over its training rows, bool [N].
    """
    if keep_leaks:
        return {name: np.ones(len(task.train), bool) for name, task in suite.items()}
    return {name: ~mask for name, mask in leakage.flagged(hits(suite), suite, target).items()}
