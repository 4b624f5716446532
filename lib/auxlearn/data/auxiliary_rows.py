"""The rows that may help: every training row of the auxiliaries, and which of them may be used."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from auxlearn.data.suites import Suite


def pool(suite: Suite, auxiliaries: list[str], usable: Mapping[str, np.ndarray] | None = None) -> pd.DataFrame:
    """List all training rows of the auxiliaries.

    Args:
        suite: The suite that the tasks are of.
        auxiliaries: Names of the tasks, in the order wanted.
        usable: Per task a mask over its training rows, bool [N]; None takes every row as usable.

    Returns:
        A table of one row per training row: task, row (position in train), row_id, usable; and helpful where the
        sources of all auxiliaries declare it (`Task.truth`).
    """
    tables = []
    truth = all(suite[name].truth for name in auxiliaries)
    for name in auxiliaries:
        train = suite[name].train
        table = pd.DataFrame({"task": name, "row": np.arange(len(train)), "row_id": train["row_id"][:]})
        table["usable"] = True if usable is None else usable[name]
        if truth:
            table["helpful"] = train["helpful"][:]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def pool_size(suite: Suite, auxiliaries: list[str], usable: Mapping[str, np.ndarray]) -> int:
    """Count the rows that an arm may add: those of `pool` that are usable."""
    return int(pool(suite, auxiliaries, usable)["usable"].sum())
