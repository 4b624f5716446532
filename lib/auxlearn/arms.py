"""What each arm adds to the primary's own rows, and the pool it is taken from."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import runs, selection
from .params import MTL
from .tasks import Suite


def pool(suite: Suite, auxiliaries: list[str]) -> pd.DataFrame:
    """All training rows of the auxiliaries: task, row (position in its train), row_id, and helpful where planted."""
    tables = []
    for name in auxiliaries:
        train = suite[name].train
        table = pd.DataFrame({"task": name, "row": np.arange(len(train)), "row_id": train["row_id"][:]})
        if "helpful" in train.column_names:
            table["helpful"] = train["helpful"][:]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def chosen(p: MTL, suite: Suite, seed: int, inputs: list[runs.Manifest]) -> pd.DataFrame | None:
    """The auxiliary rows of an arm for one seed; None for single-task.

    "random" is uniform over the whole pool, so tasks are taken in proportion to size; "td_*" reads the selection that
    03 made for this seed.
    """
    if p.arm == "single":
        return None
    if p.arm == "random":
        rows = pool(suite, suite.auxiliaries(p.primary, p.auxiliaries))
        return selection.table(rows, selection.random_n(len(rows), p.n, seed))
    (source,) = (m for m in inputs if m.params["seed"] == seed)
    return pd.read_parquet(source.path("selection.parquet"))
