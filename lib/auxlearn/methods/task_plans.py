"""Plan models of single tasks, and choose the rows that are measured by them: for GradTS and for task scores."""

from __future__ import annotations

import numpy as np
from pydantic import Field

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods.arm_plans import common
from auxlearn.training.phases import Phase, Plan, Recipe
from auxlearn.training.shared_parameters import Seeds, Trained


class TunedAlone(Trained):
    """Parameters of models that are each tuned on one task alone, for each of `seeds`."""

    seeds: Seeds = [0, 1]
    """each task is tuned and measured once per seed"""
    tune_rows: int = Field(100, ge=0)
    """most rows that each task is tuned on (0: all)"""
    importance_rows: int = Field(60, ge=0)
    """most rows of each task that are measured (0: all)"""
    epochs: int = Field(3, ge=1)
    """epochs of tuning each task alone"""


def task_tuning(p: TunedAlone, suite: Suite, name: str, seed: int, usable: np.ndarray) -> tuple[Plan, np.ndarray]:
    """Plan the model of one task, tuned on that task alone, and choose the rows that are measured by it.

    Both are drawn from the task's usable rows: at most `tune_rows` and `importance_rows` (0 = all). The draws do not
    depend on which other tasks there are, so that a new candidate costs its own rows and nothing else.

    Args:
        p: The parameters.
        suite: The suite with every task's rows.
        name: The task.
        seed: The seed of draws and training.
        usable: A mask over the task's training rows, bool [rows].

    Returns:
        The plan; the rows, int64 positions in the task's train split, sorted.

    Raises:
        InputError: The task has no usable row.
    """
    rows = sample("gradts", name, seed, usable, p.tune_rows)
    recipe = Recipe(p.lr, p.batch_size, idle_heads=p.idle_heads)
    phase = Phase("tune", {name: rows}, p.epochs, recipe, loss_scale=p.loss_scale)
    plan = Plan(phases=(phase,), seeds=seeding.record(seed), keep_model=True, **common(p))
    return plan, measured_rows(p, name, seed, usable)


def measured_rows(p: TunedAlone, name: str, seed: int, usable: np.ndarray) -> np.ndarray:
    """Return the rows of a task that are measured.

    Args:
        p: The parameters.
        name: The task.
        seed: The seed of the draw.
        usable: A mask over the task's training rows, bool [rows].

    Returns:
        int64 positions in the task's train split, sorted.

    Raises:
        InputError: The task has no usable row.
    """
    return sample("gradts", name, seed, usable, p.importance_rows)


def sample(purpose: str, name: str, seed: int, usable: np.ndarray, most: int) -> np.ndarray:
    """Draw usable rows of a task; the draw does not depend on which other tasks there are.

    Args:
        purpose: What they are for; each purpose has a draw of its own.
        name: The task.
        seed: The seed of the draw.
        usable: A mask over the task's training rows, bool [rows].
        most: The most rows; 0 for all.

    Returns:
        int64 positions in the task's train split, sorted; a smaller sample is part of a larger one.

    Raises:
        InputError: The task has no usable row.
    """
    order = seeding.rng(seed, "sample", purpose, name).permutation(len(usable))
    order = order[usable[order]]
    if not len(order):
        raise InputError(f"task {name!r}: no usable training rows to measure it by")
    return np.sort(order[: most or len(order)])
