"""What the GradTS arms add: 04's correlations become tasks, tasks become n rows; the trial search trains to decide.

Every arm draws n rows from what it has chosen, so that arms compare at one budget; the paper trains on all of them.
With fewer rows than n it takes them all; where it chooses no task, the primary is trained for as many steps alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from . import arms, gradts, plans, runs, seeds, train, units
from .cost import Ledger
from .params import MTL
from .tasks import Suite


@dataclass
class Chosen:
    """The rows of one seed, why, and what the search ran."""

    rows: pd.DataFrame | None  # task, row, row_id (and helpful where planted); None where nothing is added
    tasks: tuple[str, ...]
    taus: dict[str, float]  # of each auxiliary's task matrix with the primary's
    visited: list[tuple[tuple[str, ...], float]] = field(default_factory=list)  # trial's sets and held-out scores
    ledgers: list[Ledger] = field(default_factory=list)
    trainings: list[runs.Manifest] = field(default_factory=list)

    def as_dict(self) -> dict[str, object]:
        """For a run's record: tasks, taus, the sets tried with scores, the ledger of the search; {} for none."""
        if not self.taus:
            return {}
        visited = [[list(tasks), score] for tasks, score in self.visited]
        ledger = [row.as_dict() for row in self.ledgers]
        return {"tasks": list(self.tasks), "taus": self.taus, "visited": visited, "ledger": ledger}


def task_taus(source: runs.Manifest, seed: int, primary: str, auxiliaries: list[str]) -> dict[str, float]:
    """tau between the primary's task matrix and each auxiliary's, as 04 wrote them."""
    table = pd.read_parquet(source.path("task_taus.parquet"))
    table = table[(table["seed"] == seed) & (table["task"] == primary)].set_index("other")["tau"]
    return {name: float(table[name]) for name in auxiliaries}


def row_taus(source: runs.Manifest, seed: int, primary: str) -> pd.DataFrame:
    """tau between the primary's task matrix and each measured row's: task, row, tau."""
    table = pd.read_parquet(source.path("row_taus.parquet"))
    return table.loc[table["seed"] == seed, ["task", "row", primary]].rename(columns={primary: "tau"})


def for_arm(
    p: MTL, suite: Suite, seed: int, inputs: list[runs.Manifest], usable: Mapping[str, np.ndarray],
    progress: train.Progress | None = None,
) -> Chosen:  # fmt: skip
    """The auxiliary rows of any arm for one seed: of a gradts arm as `chosen`, of others as `arms.chosen`."""
    if p.gradts:
        return chosen(p, suite, seed, inputs[0], usable, progress)
    return Chosen(arms.chosen(p, suite, seed, inputs, usable), (), {})


def chosen(
    p: MTL, suite: Suite, seed: int, source: runs.Manifest, usable: Mapping[str, np.ndarray],
    progress: train.Progress | None = None,
) -> Chosen:  # fmt: skip
    """The auxiliary rows of a gradts arm for one seed."""
    names = suite.auxiliaries(p.primary, p.auxiliaries)
    taus = task_taus(source, seed, p.primary, names)
    pool = arms.pool(suite, names, usable)
    pool = pool[pool.pop("usable")].reset_index(drop=True)
    made = Chosen(None, (), taus)
    rule = p.arm.removeprefix("gradts_")
    if rule == "thres" or (rule == "fg" and p.fg_tasks == "thres"):
        made.tasks = gradts.thres(taus, p.task_threshold)
    elif rule == "fg" and p.fg_tasks == "all":
        made.tasks = gradts.thres(taus, -1.0)
    else:
        _search(p, suite, seed, pool, usable, made, progress)
    if rule == "fg":
        pool = _finest(p, pool, row_taus(source, seed, p.primary), made.tasks, seed)
    made.rows = draw(pool, made.tasks, p.n, seed)
    return made


def draw(pool: pd.DataFrame, tasks: tuple[str, ...], n: int, seed: int) -> pd.DataFrame | None:
    """n rows of these tasks, uniform over their rows together; all of them where they are fewer. None for no task.

    The draw depends on the set of tasks and the seed, not on who asks, so that a set is trained once.
    """
    inside = pool[pool["task"].isin(tasks)]
    if inside.empty:
        return None
    order = seeds.rng(seed, "sample", "tasks", *sorted(tasks)).permutation(len(inside))[:n]
    return inside.iloc[np.sort(order)].reset_index(drop=True)


def _finest(p: MTL, pool: pd.DataFrame, taus: pd.DataFrame, tasks: tuple[str, ...], seed: int) -> pd.DataFrame:
    """The pool's measured rows of these tasks whose tau is among the highest `fg_fraction` of their task's."""
    rated = pool.merge(taus, on=["task", "row"], how="inner", validate="one_to_one")
    kept = [
        part.iloc[gradts.fg_fraction(part["tau"].to_numpy(), p.fg_fraction, seed)]
        for name, part in rated.groupby("task", sort=False) if name in tasks
    ]  # fmt: skip
    return pd.concat(kept, ignore_index=True) if kept else rated.iloc[:0]


def _search(
    p: MTL, suite: Suite, seed: int, pool: pd.DataFrame, usable: Mapping[str, np.ndarray], made: Chosen,
    progress: train.Progress | None,
) -> None:  # fmt: skip
    """GradTS-trial: each prefix is trained as the arm will be, and judged on rows held out from the primary's train."""
    held = p.model_copy(update={"choose": "holdout"})

    def score(tasks: tuple[str, ...]) -> tuple[float, float]:
        rows = draw(pool, tasks, p.n, seed)
        arm = held if rows is not None else held.model_copy(update={"arm": "step_matched"})
        training = units.trained(plans.arm(arm, suite, seed, rows, usable[p.primary]), suite, progress)
        made.trainings.append(training.manifest)
        made.ledgers += [_renamed(ledger) for ledger in training.ledgers]
        tune = training.history[training.history["phase"] == "tune"]["holdout"]
        return float(tune.max()), float(tune.iloc[-1])

    best = sorted(made.taus, key=lambda name: (-made.taus[name], name))[: p.trial_most]
    judge = score if p.trial_rule == "code" else lambda tasks: score(tasks)[0]
    found = gradts.trial(
        {name: made.taus[name] for name in best}, judge, rule=p.trial_rule, patience=p.trial_patience
    )  # fmt: skip
    made.tasks, made.visited = found.chosen, found.visited


def _renamed(ledger: Ledger) -> Ledger:
    return Ledger.from_dict(ledger.as_dict() | {"stage": "trial"})
