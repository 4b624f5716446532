"""Plan GradTS's models of single tasks as trainings, and choose the rows whose head importance is read."""

from __future__ import annotations

import numpy as np

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods.arm_plans import common
from auxlearn.methods.gradts.options import GradTS
from auxlearn.training.phases import Phase, Plan, Recipe


def task_tuning(p: GradTS, suite: Suite, name: str, seed: int, usable: np.ndarray) -> tuple[Plan, np.ndarray]:
    """Plan GradTS's model of one task, tuned on that task alone, and choose the rows whose importance it reads.

    Both are drawn from the task's usable rows: at most `tune_rows` and `importance_rows` (0 = all). The draws do not
    depend on which other tasks there are, so that a new candidate costs its own rows and nothing else.

    Args:
        p: GradTS's parameters.
        suite: The suite with every task's rows.
        name: The task.
        seed: The seed of draws and training.
        usable: A mask over the task's training rows, bool [rows].

    Returns:
        The plan; the rows, int64 positions in the task's train split, sorted.

    Raises:
        InputError: The task has no usable row.
    """
    order = _measurable(name, seed, usable)
    rows = np.sort(order[: p.tune_rows or len(order)])
    recipe = Recipe(p.lr, p.batch_size, idle_heads=p.idle_heads)
    phase = Phase("tune", {name: rows}, p.epochs, recipe, loss_scale=p.loss_scale)
    plan = Plan(phases=(phase,), seeds=seeding.record(seed), keep_model=True, **common(p))
    return plan, measured_rows(p, name, seed, usable)


def measured_rows(p: GradTS, name: str, seed: int, usable: np.ndarray) -> np.ndarray:
    """Return the rows of a task whose importance is read.

    Args:
        p: GradTS's parameters.
        name: The task.
        seed: The seed of the draw.
        usable: A mask over the task's training rows, bool [rows].

    Returns:
        int64 positions in the task's train split, sorted.

    Raises:
        InputError: The task has no usable row.
    """
    order = _measurable(name, seed, usable)
    return np.sort(order[: p.importance_rows or len(order)])


def _measurable(name: str, seed: int, usable: np.ndarray) -> np.ndarray:
    order = seeding.rng(seed, "sample", "gradts", name).permutation(len(usable))
    order = order[usable[order]]
    if not len(order):
        raise InputError(f"task {name!r}: no usable training rows to read its heads' importance from")
    return order
