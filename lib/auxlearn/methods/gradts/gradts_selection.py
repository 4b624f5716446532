"""Choose what the GradTS arms add: 04's correlations become tasks, and tasks become n rows; a trial search trains too.

Every arm draws n rows from what it has chosen, so that arms compare at one budget; the paper trains on all of them.
With fewer rows than n it takes them all; where it chooses no task, the primary is trained for as many steps alone.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from auxlearn.data import auxiliary_rows, parquet
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import trials
from auxlearn.methods.gradts import correlation
from auxlearn.methods.gradts.options import GradTSArm
from auxlearn.methods.trials import Chosen
from auxlearn.records import runs
from auxlearn.training import train


def task_taus(source: runs.Manifest, seed: int, primary: str, auxiliaries: list[str]) -> dict[str, float]:
    """Read tau between the primary's task matrix and each auxiliary's, as 04 wrote them.

    An auxiliary whose matrix is constant (no gradient reached a head) has no tau and is no candidate.

    Args:
        source: 04's run.
        seed: One of its seeds.
        primary: The primary's name.
        auxiliaries: The tasks to read.

    Returns:
        tau by auxiliary, for those that have one.

    Raises:
        InputError: No auxiliary has a tau, as when the primary's own matrix is constant.
    """
    table = parquet.read_frame(source.path("task_taus.parquet"), ("seed", "task", "other", "tau"))
    table = table[(table["seed"] == seed) & (table["task"] == primary)].set_index("other")["tau"]
    taus = {name: float(table[name]) for name in auxiliaries if np.isfinite(table[name])}
    if not taus:
        raise InputError(
            f"{primary!r}, seed {seed}: its head importance correlates with no task's, because it is constant; has its "
            "training loss vanished? Fewer epochs in 04 leave gradients to measure"
        )
    return taus


def row_taus(source: runs.Manifest, seed: int, primary: str) -> pd.DataFrame:
    """Read tau between the primary's task matrix and each measured row's, as 04 wrote them.

    Args:
        source: 04's run.
        seed: One of its seeds.
        primary: The primary's name.

    Returns:
        Columns task, row and tau.
    """
    table = parquet.read_frame(source.path("row_taus.parquet"), ("seed", "task", "row", primary))
    return table.loc[table["seed"] == seed, ["task", "row", primary]].rename(columns={primary: "tau"})


def chosen(
    p: GradTSArm, suite: Suite, seed: int, source: runs.Manifest, usable: Mapping[str, np.ndarray],
    progress: train.Progress | None = None,
) -> Chosen:  # fmt: skip
    """Return the auxiliary rows of a gradts arm for one seed.

    Args:
        p: The arm's parameters.
        suite: The suite with every task's rows.
        seed: The arm's seed.
        source: 04's run.
        usable: By task, a mask over its training rows, bool [rows].
        progress: Called with a line of text whenever something has been done.

    Returns:
        The rows, the tasks with all taus, and the trials that were run.

    Raises:
        InputError: No auxiliary has a tau.
    """
    names = suite.auxiliaries(p.primary, p.auxiliaries)
    taus = task_taus(source, seed, p.primary, names)
    pool = auxiliary_rows.pool(suite, names, usable)
    pool = pool[pool.pop("usable")].reset_index(drop=True)
    selection = Chosen(taus=taus)
    rule = p.arm.removeprefix("gradts_")
    if rule in ("thres", "proxy") or (rule == "fg" and p.fg_tasks == "thres"):
        selection.tasks = correlation.thres(taus, p.task_threshold)
    elif rule == "fg" and p.fg_tasks == "all":
        selection.tasks = correlation.thres(taus, -1.0)
    else:
        _search(p, suite, seed, pool, usable, selection, progress)
    if rule == "fg":
        pool = _finest(p, pool, row_taus(source, seed, p.primary), selection.tasks, seed)
    selection.rows = trials.draw(pool, selection.tasks, p.n, seed)
    return selection


def _finest(p: GradTSArm, pool: pd.DataFrame, taus: pd.DataFrame, tasks: tuple[str, ...], seed: int) -> pd.DataFrame:
    """Return the pool's measured rows of these tasks whose tau is among the highest `fg_fraction` of their task's."""
    rated = pool.merge(taus, on=["task", "row"], how="inner", validate="one_to_one")
    finest = [
        part.iloc[correlation.fg_fraction(part["tau"].to_numpy(), p.fg_fraction, seed)]
        for name, part in rated.groupby("task", sort=False) if name in tasks
    ]  # fmt: skip
    return pd.concat(finest, ignore_index=True) if finest else rated.iloc[:0]


def _search(
    p: GradTSArm, suite: Suite, seed: int, pool: pd.DataFrame, usable: Mapping[str, np.ndarray], made: Chosen,
    progress: train.Progress | None,
) -> None:  # fmt: skip
    """Search by GradTS-trial: train each prefix as the arm will be; judge it on rows held out from the primary's."""

    def score(tasks: tuple[str, ...]) -> tuple[float, float]:
        rows = trials.draw(pool, tasks, p.n, seed)
        return trials.trial(p, suite, seed, rows, usable, made, progress)

    taus = made.taus
    assert taus is not None, "`chosen` has read them"
    best = sorted(taus, key=lambda name: (-taus[name], name))[: p.trial_most]
    judge = score if p.trial_rule == "code" else lambda tasks: score(tasks)[0]
    search = correlation.trial(
        {name: taus[name] for name in best}, judge, rule=p.trial_rule, patience=p.trial_patience
    )  # fmt: skip
    made.tasks, made.visited = search.chosen, search.visited
