"""Tabulate finished weighted trainings: weights, cosines, what the null schedule would have done, cheap probes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.data.suites import Suite
from auxlearn.methods.tawt import task_weights, weight_rule
from auxlearn.training import phases, train, training_cache
from auxlearn.training.phases import Plan

# Ways to measure the same cosines; see `compared`. All on task-pure batches, so that gradients of training can be
# reused, and all but the last with noise left in, so that they differ in nothing but what they are named for.
_NOISY: dict[str, Any] = {"rule": "paper", "chunks": 1}
PROBES: dict[str, dict[str, Any]] = {
    "exact": _NOISY, "last layer": _NOISY | {"parameters": "last_layer"},
    "training gradients": _NOISY | {"estimator": "reused"}, "debiased": {"rule": "corrected", "chunks": 2},
}  # fmt: skip
# The weights stay where they start, whatever would move them.
_STILL: dict[str, Any] = {
    "evidence": "fixed", "watch": True, "combine": "scaled", "itself": False, "floor": 0.0, "decay": 0.0, "tau": None,
}  # fmt: skip


def updates(trainings: Mapping[int, training_cache.Training]) -> pd.DataFrame:
    """Tabulate the updates of trainings.

    Args:
        trainings: Weighted trainings by seed.

    Returns:
        One row per seed, update and task; columns seed, update, step, task, weight (after it), cosine and error (NaN
        for none).
    """
    rows = []
    for seed, training in trainings.items():
        for row in training.updates:
            for i, task in enumerate(row["names"]):
                seen = {k: (row.get(k) or [None] * len(row["names"]))[i] for k in ("cosines", "errors")}
                rows.append({
                    "seed": seed, "update": row["update"], "step": row["step"], "task": task,
                    "weight": row["weights"][i], "cosine": seen["cosines"], "error": seen["errors"],
                })  # fmt: skip
    return pd.DataFrame(rows).astype({"cosine": float, "error": float})


def followed(table: pd.DataFrame, trainings: Mapping[int, training_cache.Training]) -> pd.DataFrame:
    """Leave of a table of updates those whose weights some step was taken with (see `task_weights.in_force`).

    Args:
        table: From `updates`.
        trainings: The same trainings.
    """
    ends = {seed: _steps(each, each.updates[-1]["phase"]) for seed, each in trainings.items()}
    return table[table["step"] < table["seed"].map(ends)]


def null(plan: Plan, steps: list[int]) -> pd.DataFrame:
    """Tabulate what the plan's weights would be without any gradient (see `weight_rule.null_schedule`).

    Args:
        plan: A plan whose first phase is weighted.
        steps: The step of each update, update 0 included.

    Returns:
        Columns update, step, task and weight.
    """
    phase = plan.phases[0]
    w, names = phase.weighting, list(phases.groups(phase, plan.primary))
    assert w is not None, "the first phase is weighted"
    updater = weight_rule.Updater(w.eta, w.c, w.floor, w.decay, w.tau, w.rule)
    target = names.index(plan.primary) if plan.primary in names else None
    weights = weight_rule.null_schedule(np.array(w.prior), len(steps) - 1, updater, target)
    return pd.DataFrame([
        {"update": u, "step": steps[u], "task": name, "weight": weights[u, i]}
        for u in range(len(steps)) for i, name in enumerate(names)
    ])  # fmt: skip


def shares(table: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Add a column share to a table of weights: effective shares, n w / sum n w.

    Args:
        table: From `updates` or `null`.
        plan: The plan of the training.
    """
    weighed = phases.groups(plan.phases[0], plan.primary)
    sizes = table["task"].map({name: len(rows) for name, (_, rows) in weighed.items()})
    table = table.assign(share=table["weight"] * sizes)
    keys = [k for k in ("seed", "update") if k in table]
    table["share"] /= table.groupby(keys)["share"].transform("sum")
    return table


def target_share(plan: Plan, training: training_cache.Training) -> float:
    """Return the primary's part of the objective, averaged over all optimiser steps of the plan.

    In a weighted phase it is the primary's effective share under the weights in force at each step; elsewhere its part
    of the rows, or of the steps where their tasks are ordered. Weights that decide nothing but this are no better than
    a constant share.

    Args:
        plan: The plan.
        training: Its training.

    Returns:
        In 0 … 1.
    """
    assert plan.primary is not None, "an arm's plan has a primary"
    done = total = 0.0
    for phase in plan.phases:
        sizes = {name: len(rows) for name, rows in phase.rows.items() if len(rows)}
        steps = _steps(training, phase.name)
        moments = [row for row in training.updates if row["phase"] == phase.name]
        if moments:
            ends = [*(row["step"] for row in moments[1:]), steps]
            weighed = phases.groups(phase, plan.primary)
            rows = [len(members) for _, members in weighed.values()]
            own = [task == plan.primary for task, _ in weighed.values()]
            shares = [weight_rule.effective_shares(np.array(row["weights"]), rows)[own].sum() for row in moments]
            done += float(np.dot(shares, np.diff([0, *ends])))
        elif phase.order is not None:
            at = phases.arms(phase, plan.primary).index(plan.primary) if plan.primary in phase.rows else -1
            done += float((phase.order == at).sum())
        else:
            done += steps * sizes.get(plan.primary, 0) / sum(sizes.values())
        total += steps
    return done / total


def finals(trainings: Mapping[int, training_cache.Training]) -> pd.DataFrame:
    """Tabulate the weights that were in force when trainings ended.

    Args:
        trainings: Trainings by seed.

    Returns:
        Index task (or part of one); one column per seed that had any weights.
    """
    last = {seed: last_in_force(each) for seed, each in trainings.items() if each.updates}
    weights = {seed: dict(zip(row["names"], row["weights"], strict=True)) for seed, row in last.items()}
    return pd.DataFrame(weights).rename_axis("task")


def last_in_force(training: training_cache.Training) -> Mapping[str, Any]:
    """Return the update whose weights the last step of a training's weighted phase was taken with.

    Args:
        training: A training with weighted phases, of which the last counts.
    """
    phase = training.updates[-1]["phase"]
    rows = [row for row in training.updates if row["phase"] == phase]
    return task_weights.in_force(rows, _steps(training, phase))


def _steps(training: training_cache.Training, phase: str) -> int:
    """Count a phase's real steps: long tagged sentences are split, so that there may be more sequences than rows."""
    return int((training.steps["phase"] == phase).sum())


def compared(
    plan: Plan, suite: Suite, progress: train.Progress | None = None, wanted: bool = True
) -> pd.DataFrame:  # fmt: skip
    """Measure the cosines by each way in `PROBES` along one and the same training.

    The weights stay at the prior, so that every way sees the same models; probing disturbs nothing.

    Args:
        plan: A plan whose first phase is weighted.
        suite: The suite with every task's rows.
        progress: Called with a line of text whenever something has been done.
        wanted: If false, train nothing and return an empty table.

    Returns:
        Index update and task; one column per way to measure.
    """
    columns = {}
    if not wanted:
        index = pd.MultiIndex.from_arrays([np.zeros(0, int), np.zeros(0, str)], names=["update", "task"])
        return pd.DataFrame(columns=list(PROBES), index=index, dtype=float)
    for name, watched in probe_plans(plan).items():
        table = updates({0: training_cache.trained(watched, suite, progress)})
        columns[name] = table[table["update"] > 0].set_index(["update", "task"])["cosine"]
    return pd.DataFrame(columns)


def probe_plans(plan: Plan) -> dict[str, Plan]:
    """Return the plan once per way in `PROBES`, its weights held still and watched."""
    phase, plans = plan.phases[0], {}
    weighting = phase.weighting
    assert weighting is not None, "the first phase is weighted"
    for name, options in PROBES.items():
        rows = weighting.chunks * weighting.chunk_rows  # as many for each, however they are cut
        w = replace(weighting, **_STILL | options | {"chunk_rows": max(1, rows // options["chunks"])})
        plans[name] = replace(plan, phases=(replace(phase, weighting=w), *plan.phases[1:]))
    return plans


def agreement(cosines: pd.DataFrame) -> pd.DataFrame:
    """Measure how cheaper probes agree with the exact one over all updates and tasks.

    Args:
        cosines: From `compared`.

    Returns:
        Index probe. rank: Spearman's correlation. gap: the mean absolute difference. Undefined cosines are left out;
        known counts the others.
    """
    exact, rows = cosines["exact"], {}
    for name in cosines.columns.drop("exact"):
        both = cosines[[name]].assign(exact=exact).dropna()
        rows[name] = {
            "known": len(both), "rank": both[name].corr(both["exact"], method="spearman") if len(both) > 2 else np.nan,
            "gap": (both[name] - both["exact"]).abs().mean(),
        }  # fmt: skip
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("probe")
