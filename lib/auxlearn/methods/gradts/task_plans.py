"""GradTS's models of single tasks as training plans, and the rows whose head importance is read."""

from __future__ import annotations

import numpy as np

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods.arm_plans import common
from auxlearn.methods.gradts.options import GradTS
from auxlearn.training.phases import Phase, Plan, Recipe


def task_tuning(p: GradTS, suite: Suite, name: str, seed: int, usable: np.ndarray) -> tuple[Plan, np.ndarray]:
    """GradTS's model of one task, tuned on that task alone, and the rows whose importance it is read for.

    Both are drawn from the task's usable rows: at most `tune_rows` and `importance_rows` (0 = all). The draws do not
    depend on which other tasks there are, so that a new candidate costs its own rows and nothing else.
    """
    order = _measurable(name, seed, usable)
    rows = np.sort(order[: p.tune_rows or len(order)])
    recipe = Recipe(p.lr, p.batch_size)
    phase = Phase("tune", {name: rows}, p.epochs, recipe, loss_scale=p.loss_scale)
    plan = Plan(phases=(phase,), seeds=seeding.record(seed), keep_model=True, **common(p))
    return plan, measured_rows(p, name, seed, usable)


def measured_rows(p: GradTS, name: str, seed: int, usable: np.ndarray) -> np.ndarray:
    """The rows of a task whose importance is read, in order."""
    order = _measurable(name, seed, usable)
    return np.sort(order[: p.importance_rows or len(order)])


def _measurable(name: str, seed: int, usable: np.ndarray) -> np.ndarray:
    order = seeding.rng(seed, "sample", "gradts", name).permutation(len(usable))
    order = order[usable[order]]
    if not len(order):
        raise InputError(f"task {name!r}: no usable training rows to read its heads' importance from")
    return order
