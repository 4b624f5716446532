"""Choose what each arm adds to the primary's own rows, and the pool from which it is taken."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from auxlearn.data import parquet
from auxlearn.data.auxiliary_rows import pool
from auxlearn.data.suites import Suite
from auxlearn.methods import ranking
from auxlearn.methods.arm_parameters import ArmParameters
from auxlearn.records import runs

LENGTH_BINS = 5  # quantiles of text length within a task, for the control that matches length


def strata(suite: Suite, rows: pd.DataFrame) -> np.ndarray:
    """Return each pool row's task, label and length bin as one word: groups for a control matched in all three.

    Length is in characters, in quantiles of the task's own rows. A regression's label counts by its fifth of the range.
    A tagging row has no label of its own and is matched by task and length.

    Args:
        suite: The suite with the rows' texts and labels.
        rows: The pool, with columns task and row.

    Returns:
        str [N], "task/label/bin".
    """
    out = np.empty(len(rows), object)
    for name, part in rows.groupby("task", sort=False):
        task = suite[str(name)]
        train = task.train.select(part["row"].tolist())
        texts = zip(*(train[c][:] for c in task.inputs), strict=True)
        length = np.array([sum(len(t) if isinstance(t, str) else sum(map(len, t)) for t in text) for text in texts])
        bins = np.searchsorted(np.quantile(length, np.linspace(0, 1, LENGTH_BINS + 1)[1:-1]), length)
        if task.kind == "tagging":
            labels = np.zeros(len(part), int)
        elif task.range:
            low, high = task.range
            labels = np.minimum(4, (5 * (np.array(train[task.label][:]) - low) / (high - low)).astype(int))
        else:
            labels = np.array(train[task.label][:])
        out[rows.index.get_indexer(part.index)] = [f"{name}/{a}/{b}" for a, b in zip(labels, bins, strict=True)]
    return out.astype(str)


def chosen(
    p: ArmParameters,
    suite: Suite,
    seed: int,
    inputs: list[runs.Manifest],
    usable: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame | None:
    """Return the auxiliary rows of an arm for one seed.

    "random" is uniform over the whole usable pool, so tasks are taken in proportion to size. td, quota and calibrated
    read the selection that 03 made for this seed. cie and matched draw random rows in the proportions of the td
    selection: of its tasks (FastMTL's "check in-task efficacy"), or of its tasks, labels and lengths.

    Args:
        p: The arm's parameters.
        suite: The suite with every task's rows.
        seed: The arm's seed.
        inputs: Manifests of 03's runs, one of them of this seed.
        usable: By task, a mask over its training rows, bool [rows]; None means all.

    Returns:
        Columns task, row and row_id at least; None where the arm adds no rows.
    """
    if p.arm in ("single", "step_matched"):
        return None
    rows = pool(suite, suite.auxiliaries(p.primary, p.auxiliaries), usable)
    allowed = rows.pop("usable").to_numpy()
    if p.arm == "all_data":
        return rows[allowed].reset_index(drop=True)
    if p.arm == "random":
        return ranking.table(rows, ranking.random_n(len(rows), p.n, seed, allowed))
    (source,) = (m for m in inputs if m.params["seed"] == seed)
    best = parquet.read_frame(source.path("selection.parquet"), ("task", "row"))
    control = p.arm.partition("_")[0]
    if control not in ("cie", "matched"):
        return best
    at = rows.reset_index().merge(best[["task", "row"]], on=["task", "row"])["index"].to_numpy()
    groups = rows["task"].to_numpy(str) if control == "cie" else strata(suite, rows)
    return ranking.table(rows, ranking.matched_random(at, groups, seed, allowed))
