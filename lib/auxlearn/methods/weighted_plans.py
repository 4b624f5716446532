"""Plan trainings whose tasks are weighed: joint over all rows, or over the sources first and then the primary alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import arm_plans
from auxlearn.training import phases
from auxlearn.training.phases import Phase, Plan, Recipe, Weighting
from auxlearn.training.shared_parameters import Budget

if TYPE_CHECKING:
    import pandas as pd

Weigh = Callable[[Phase, Mapping[str, "pd.DataFrame"]], Weighting]


def plan(
    p: Budget, suite: Suite, seed: int, chosen: pd.DataFrame, usable: np.ndarray, weigh: Weigh, pretrain: bool = False
) -> Plan:
    """Plan one weighted training on chosen rows and the primary's usable ones.

    Joint training is one phase over all rows, pre-training one phase over the sources and one over the primary alone.
    Both are by steps (`steps`, of which `tune_steps` for the primary alone) or by epochs.

    Args:
        p: The parameters of 05 or of an arm.
        suite: The suite with every task's rows.
        seed: The seed of the training.
        chosen: The sources' rows, with columns task and row.
        usable: A mask over the primary's training rows, bool [rows].
        weigh: Called with the phase that is to be weighed and the chosen rows by task, in the phase's order.
        pretrain: Whether to pre-train.

    Returns:
        The plan, of one or two phases.

    Raises:
        InputError: There is no source row, or pre-training has no steps for the primary.
    """
    trained, held = arm_plans.holdout(suite, p.primary, p.held_out, seed, usable)
    tables = {str(name): part for name, part in chosen.sort_values(["task", "row"]).groupby("task")}
    parts = {name: part["row"].to_numpy() for name, part in tables.items()}
    if not parts:
        raise InputError(f"{p.primary!r}: no source rows to weigh; name auxiliaries that have usable rows")
    alone, recipe = {p.primary: trained}, Recipe(p.lr, p.batch_size, idle_heads=p.idle_heads)
    common: dict[str, Any] = {"loss_scale": p.loss_scale}
    choice: dict[str, Any] = {"choose": p.choose, "looks": p.looks}
    tune = p.tune_steps if p.steps else 0
    if pretrain:
        if p.steps and not tune:
            raise InputError("tune_steps: pre-training needs steps for the primary alone")
        first = Phase("pretrain", parts, recipe=recipe, **common | _length(p.steps - tune, p.stage2_epochs))
    else:
        epochs = p.stage2_epochs + p.tune_epochs
        first = Phase("joint", parts | alone, recipe=recipe, **choice | common | _length(p.steps, epochs))
    stages = [replace(first, weighting=weigh(first, tables))]
    if pretrain:
        stages.append(Phase("tune", alone, recipe=recipe, **choice | common | _length(tune, p.tune_epochs)))
    return Plan(
        phases=tuple(stages), seeds=seeding.record(seed), primary=p.primary, holdout=held,
        keep_model=getattr(p, "keep_model", False), **arm_plans.common(p),
    )  # fmt: skip


def _length(steps: int, epochs: int) -> dict[str, Any]:
    return {"steps": steps, "epochs": 1} if steps else {"epochs": epochs}


def sizes(phase: Phase, primary: str) -> dict[str, int]:
    """Count the rows of what a phase weighs, in the order of its weights."""
    return {name: len(rows) for name, (_, rows) in phases.groups(phase, primary).items()}
