"""What the arms that train in order to choose share: a trial, the rows of a set of tasks, and the record."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from auxlearn import seeding
from auxlearn.cost import Ledger
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import arm_plans
from auxlearn.methods.arm_parameters import ArmParameters
from auxlearn.records import runs
from auxlearn.training import mixing, train, training_cache


@dataclass
class Chosen:
    """The auxiliary rows of one arm and seed, why they were chosen, and what the search for them ran."""

    rows: pd.DataFrame | None = None  # task, row, row_id (and helpful where planted); None where nothing is added
    tasks: tuple[str, ...] = ()
    shares: dict[str, int] | None = None  # of stage 2's steps, where they are not by size (AUTOSEM)
    style: mixing.Style = "interleaved"  # the order that shares are trained in
    taus: dict[str, float] | None = None  # GradTS: of each auxiliary's task matrix with the primary's
    utilities: dict[str, float] | None = None  # AUTOSEM: of each arm of the bandit, averaged over its rounds
    final: dict[str, float] | None = None  # TAWT: the weights that 05 ended with
    visited: list[tuple[Any, float]] = field(default_factory=list)  # sets of tasks, or ratios, and held-out scores
    spent: dict[str, list[Ledger]] = field(default_factory=dict)  # by the key of each training that the search ran
    trainings: list[runs.Manifest] = field(default_factory=list)

    @property
    def ledgers(self) -> list[Ledger]:
        """All ledgers of the search, training by training."""
        return [ledger for ledgers in self.spent.values() for ledger in ledgers]

    def scored(self) -> pd.DataFrame:
        """Return the rows with a column score: their ranking's, their own tau, or the tau of their task.

        Raises:
            InputError: Neither the rows nor their tasks have a score.
        """
        rows = self.rows
        assert rows is not None, "asked only of an arm that adds rows"
        if "score" in rows:
            return rows
        if "tau" in rows:
            return rows.assign(score=rows["tau"])
        if self.taus is None:
            raise InputError("scores: these rows were not chosen by any; weigh the rows of a ranking or of GradTS")
        return rows.assign(score=rows["task"].map(self.taus))

    def ran(self, training: training_cache.Training, stage: str) -> None:
        """Charge a training to the search; one that is charged twice counts once.

        Args:
            training: The finished training.
            stage: The name that its ledgers get.
        """
        self.spent[training.manifest.key] = [renamed(ledger, stage) for ledger in training.ledgers]
        self.trainings.append(training.manifest)

    def as_dict(self, final: str | None = None) -> dict[str, Any]:
        """Return what a run's record holds: why these rows, what was tried with its scores, the ledger of the search.

        Args:
            final: The key of the arm's own training; a trial that was the same training is not charged twice.

        Returns:
            JSON-able; {} where nothing was searched.
        """
        if self.taus is None and self.utilities is None:
            return {}
        shown = {"taus": self.taus, "utilities": self.utilities, "shares": self.shares}
        visited = [[list(what), score] for what, score in self.visited]
        ledger = [row.as_dict() for key, rows in self.spent.items() if key != final for row in rows]
        record = {"tasks": list(self.tasks), "visited": visited, "ledger": ledger}
        return record | {name: value for name, value in shown.items() if value is not None}


def draw(pool: pd.DataFrame, tasks: tuple[str, ...], n: int, seed: int) -> pd.DataFrame | None:
    """Draw n rows of these tasks, uniformly over their rows together.

    The draw depends on the set of tasks and the seed alone, so that a set is trained once, whichever arm tries it.

    Args:
        pool: The pool, with a column task.
        tasks: The tasks to draw from.
        n: The number of rows.
        seed: The seed of the draw.

    Returns:
        The rows in the pool's order, all of them where they are fewer than n; None where the tasks have no row.
    """
    inside = pool[pool["task"].isin(tasks)]
    if inside.empty:
        return None
    order = seeding.rng(seed, "sample", "tasks", *sorted(tasks)).permutation(len(inside))[:n]
    return inside.iloc[np.sort(order)].reset_index(drop=True)


def trial(
    p: ArmParameters, suite: Suite, seed: int, rows: pd.DataFrame | None, usable: Mapping[str, np.ndarray],
    made: Chosen,
    progress: train.Progress | None = None, shares: Mapping[str, int] | None = None,
    style: mixing.Style = "interleaved",
) -> tuple[float, float]:  # fmt: skip
    """Train these rows as the arm will, and score the primary on its held-out rows.

    Cost and run go into `made`. Without rows the primary is trained alone for as many steps.

    Args:
        p: The arm's parameters.
        suite: The suite with every task's rows.
        seed: The arm's seed.
        rows: The auxiliary rows to try; None for none.
        usable: By task, a mask over its training rows, bool [rows].
        made: The record that the trial is charged to.
        progress: Called with a line of text whenever something has been done.
        shares: By task, its share of stage 2's steps; None divides them by the tasks' sizes.
        style: The order in which `shares` are trained.

    Returns:
        The held-out score at the last phase's best epoch, and at its last epoch.
    """
    held = p.model_copy(update={"choose": "holdout"})
    plan = arm_plans.arm(held, suite, seed, rows, usable[p.primary], shares, style)
    training = training_cache.trained(plan, suite, progress)
    made.ran(training, "trial")
    last = training.history[training.history["phase"] == plan.phases[-1].name]["holdout"]
    return float(last.max()), float(last.iloc[-1])


def renamed(ledger: Ledger, stage: str) -> Ledger:
    """Return the ledger under another stage's name."""
    return Ledger.from_dict(ledger.as_dict() | {"stage": stage})
