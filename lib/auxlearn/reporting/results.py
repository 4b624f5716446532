"""Finished arms side by side: their scores per seed, and these beside their costs (`comparison` pairs arms)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auxlearn.evaluation import stats
from auxlearn.records import runs
from auxlearn.studies.parameters import MODELS

if TYPE_CHECKING:  # 07 needs no torch
    from auxlearn.training.phases import Plan
    from auxlearn.training.training_cache import Training


def at(arms: Sequence[runs.Manifest], n: int) -> list[runs.Manifest]:
    """Return the arms at one n, with those that do not depend on n.

    Args:
        arms: Manifests of 06 runs.
        n: Auxiliary rows asked for.

    Returns:
        Their manifests, in the order given.
    """
    return [m for m in arms if m.key_params.get("n", n) == n]


def by_pool(arms: Sequence[runs.Manifest], joined: Sequence[str]) -> tuple[list[runs.Manifest], list[runs.Manifest]]:
    """Part runs over the whole pool from those over the pool before some auxiliaries joined it.

    Args:
        arms: Manifests of 06 runs.
        joined: The auxiliaries that joined; none leaves all in the first part.

    Returns:
        Both parts, in the order given.
    """
    before = [m for m in arms if joined and not set(joined) & set(m.key_params.get("auxiliaries", joined))]
    return [m for m in arms if m not in before], before


def run_again(now: Sequence[runs.Manifest], before: Sequence[runs.Manifest]) -> pd.DataFrame:
    """Tell what each arm runs again when auxiliaries join the pool, and what it reads back.

    It is counted from the trainings and passes that the runs name: those that the run before had already made, such as
    GradTS's importance of a task, or a trial of tasks that were there, are read back. The arm's own training counts.

    Args:
        now: Manifests of 06 runs over the whole pool.
        before: Those over the pool before; arms that are not among them are left out.

    Returns:
        TFLOP per seed; index arm, columns "at first", "again from nothing", "read back" and "run again".
    """
    earlier, rows = {m.params["arm"]: m for m in before}, {}
    for m in now:
        if (first := earlier.get(m.params["arm"])) is not None:
            units, known = _units(m), _units(first)
            back = sum(flops for at, flops in units.items() if at in known)
            whole, per = sum(units.values()), 1e12 * len(m.params["seeds"])
            rows[m.params["arm"]] = {
                "at first": sum(known.values()) / per, "again from nothing": whole / per, "read back": back / per,
                "run again": (whole - back) / per,
            }  # fmt: skip
    columns = ["at first", "again from nothing", "read back", "run again"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns).rename_axis("arm")


def _units(m: runs.Manifest) -> dict[str, float]:
    """Return the FLOPs of each training and pass that a run reads; notebooks' runs train none of their own."""
    named = {f"{each['stage']}/{each['key']}": each for each in m.inputs if each["stage"] not in MODELS}
    ledgers = {at: runs.load(each["stage"], each["key"]).data["ledger"] for at, each in named.items()}
    return {at: sum(row["flops"] for row in rows) for at, rows in ledgers.items()}


def looks(training: Training, plan: Plan) -> pd.DataFrame:
    """Tabulate what a training's last phase looked like on its way, and which of its states was kept.

    Args:
        training: The finished training.
        plan: Its plan.

    Returns:
        One row per look at the model, or, where the last state is kept, per epoch. Columns step (taken so far), value
        (the score that states are chosen by, or the epoch's mean training loss) and kept (bool).
    """
    phase = plan.phases[-1]
    last = phase.choose == "last"
    rows = training.history if last else training.looks
    table = rows[rows["phase"] == phase.name][["step", "loss" if last else "score"]].set_axis(["step", "value"], axis=1)
    return table.assign(kept=table["step"] == training.manifest.metrics["chosen"][phase.name])


def thinned(table: pd.DataFrame, most: int = 10) -> pd.DataFrame:
    """Leave out looks, where there are many, so that a table of them can be read.

    Args:
        table: From `looks`, of all seeds: columns seed, step, value, kept.
        most: Steps that are shown beside those of the states that were kept.

    Returns:
        The rows of at most `most` steps, evenly spaced, the first and the last among them, and of every kept one.
    """
    steps = np.unique(table["step"])
    spaced = steps[np.linspace(0, len(steps) - 1, min(most, len(steps))).round().astype(int)]
    return table[table["step"].isin([*spaced, *table.loc[table["kept"], "step"]])]


def scores(arms: Sequence[runs.Manifest], metric: str) -> pd.DataFrame:
    """Tabulate scores: one row per arm and seed.

    Args:
        arms: Manifests of 06 runs.
        metric: The metric, as in their dev scores.

    Returns:
        Columns arm, seed, score (on dev), step (after which the state was kept), added (rows) and target_share (the
        primary's share of training).
    """
    return pd.DataFrame([
        {"arm": m.params["arm"], "seed": int(seed), "score": part["dev"][metric], "step": part["step"],
         "added": part["added"], "target_share": part["target_share"]}
        for m in arms for seed, part in m.metrics["seeds"].items()
    ])  # fmt: skip


def curve(arms: Sequence[runs.Manifest], metric: str, pool: int, level: float = 0.95) -> pd.DataFrame:
    """Tabulate the mean score against the share of the auxiliary pool that was added.

    Args:
        arms: Manifests of 06 runs.
        metric: The metric, as in their dev scores.
        pool: Rows in the auxiliary pool; 0 for a suite of one task, whose arms add none.
        level: Confidence level of the intervals.

    Returns:
        One row per run, sorted by arm and n. Columns arm, n (rows added, the mean over seeds, for a search may choose
        none), share, score, low and high (t interval over seeds; NaN for one seed), seeds.
    """
    rows = []
    for m in arms:
        values = [part["dev"][metric] for part in m.metrics["seeds"].values()]
        low, high = stats.t_interval(values, level) if len(values) > 1 else (np.nan, np.nan)
        added = round(np.mean([part["added"] for part in m.metrics["seeds"].values()]))
        rows.append({"arm": m.params["arm"], "n": added, "share": added / max(pool, 1), "score": np.mean(values),
                     "low": low, "high": high, "seeds": len(values)})  # fmt: skip
    return pd.DataFrame(rows).sort_values(["arm", "n"], kind="stable").reset_index(drop=True)


def summary(table: pd.DataFrame, stages: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Summarise each arm by its mean dev score and its total cost.

    Args:
        table: As from `scores`.
        stages: As from `cost_tables.by_stage`.
        level: Confidence level of the interval.

    Returns:
        Index arm. Columns score, low and high (t interval over seeds; NaN for one seed), cost (total per seed).
    """
    rows = {}
    for arm, part in table.groupby("arm", sort=False):
        values = part["score"].to_numpy()
        low, high = stats.t_interval(values, level) if len(values) > 1 else (np.nan, np.nan)
        rows[arm] = {"score": values.mean(), "low": low, "high": high, "cost": stages.loc[arm].sum()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")


def tidy(table: pd.DataFrame, compared: pd.DataFrame, totals: pd.DataFrame) -> pd.DataFrame:
    """Join everything that a report's index shows, one row per arm.

    Args:
        table: As from `scores`.
        compared: As from `comparison.comparisons`.
        totals: As from `summary`, costs in TFLOP.

    Returns:
        Index arm; None where there is no value. The baseline has no difference.
    """
    out = totals.rename(columns={"low": "score_low", "high": "score_high", "cost": "tflop"})
    out["seeds"] = table.groupby("arm")["seed"].nunique()
    out["added"] = table.groupby("arm")["added"].mean().round().astype(int)  # a search may choose none for a seed
    extra = compared.drop(columns="seeds")
    out = out.join(extra)
    out["verdict"] = out["verdict"].fillna("baseline")
    return plain(out)


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with None for NaN, as JSON needs it."""
    return table.astype(object).where(table.notna(), None)
