"""Plan TAWT's paradigms as trainings: joint, normalised and pre-training, under every kind of task weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import pandas as pd

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import arm_plans
from auxlearn.methods.tawt import cosine, task_weights
from auxlearn.methods.tawt.options import BY_SCORE, WEIGHINGS
from auxlearn.training import phases
from auxlearn.training.phases import Phase, Plan, Recipe, Weighting

# What the authors' code does, beside eta 1 (see `weighted_trainer`).
PAPER: dict[str, Any] = {
    "rule": "paper", "combine": "scaled_then_clipped", "target_rows": "train", "itself": True, "parameters": "encoder",
    "chunks": 1, "chunk_rows": 64, "every": 0, "eta": 1.0,
}  # fmt: skip


def plan(
    p: Any, suite: Suite, seed: int, weighing: str, chosen: pd.DataFrame, usable: np.ndarray,
    final: Mapping[str, float] | None = None, keep_model: bool = False,
) -> Plan:  # fmt: skip
    """Plan one weighted training on chosen rows and the primary's usable ones.

    Joint paradigms are one phase over all rows. Pre-training is one phase over the sources and one over the primary
    alone. Both are by steps (`steps`, of which `tune_steps` for the primary alone) or by epochs.

    Args:
        p: The parameters of 05 or of a weighted arm.
        suite: The suite with every task's rows.
        seed: The seed of the training.
        weighing: The way to weigh, a key of `WEIGHINGS`.
        chosen: The sources' rows; columns task and row, and score where "scored" or "deciles" reads it (ties among
            scores go by row).
        usable: A mask over the primary's training rows, bool [rows].
        final: By task, the weights that 05 ended with; for "final".
        keep_model: Keep the trained model.

    Returns:
        The plan, of one or two phases.

    Raises:
        InputError: There is no source row, pre-training has no steps for the primary, or weights are missing or
            impossible.
    """
    trained, held = arm_plans.holdout(suite, p.primary, p.holdout if p.choose == "holdout" else 0.0, seed, usable)
    chosen = chosen.sort_values(["task", "row"])
    tables = {str(name): part for name, part in chosen.groupby("task")}
    parts = {name: part["row"].to_numpy() for name, part in tables.items()}
    if not parts:
        raise InputError(f"{p.primary!r}: no source rows to weigh; name auxiliaries that have usable rows")
    paradigm, _ = WEIGHINGS[weighing]
    alone, recipe = {p.primary: trained}, Recipe(p.lr, p.batch_size)
    common: dict[str, Any] = {"loss_scale": p.loss_scale}
    tune = p.tune_steps if p.steps else 0
    if paradigm == "pretrain":
        if p.steps and not tune:
            raise InputError("tune_steps: pre-training needs steps for the primary alone")
        first = Phase("pretrain", parts, recipe=recipe, **common | _length(p.steps - tune, p.stage2_epochs))
    else:
        epochs = p.stage2_epochs + p.tune_epochs
        first = Phase("joint", parts | alone, recipe=recipe, choose=p.choose, **common | _length(p.steps, epochs))
    scores = {name: part["score"].to_numpy(float) for name, part in tables.items()} if paradigm in BY_SCORE else {}
    first = replace(first, weighting=_weighting(p, first, weighing, final, scores))
    stages = [first]
    if paradigm == "pretrain":
        stages.append(Phase("tune", alone, recipe=recipe, choose=p.choose, **common | _length(tune, p.tune_epochs)))
    drawn = seeding.record(seed)
    return Plan(
        phases=tuple(stages), seeds=drawn, primary=p.primary, holdout=held, keep_model=keep_model, **arm_plans.common(p)
    )  # fmt: skip


def _length(steps: int, epochs: int) -> dict[str, Any]:
    return {"steps": steps, "epochs": 1} if steps else {"epochs": epochs}


def _weighting(
    p: Any, phase: Phase, weighing: str, final: Mapping[str, float] | None, scores: Mapping[str, np.ndarray]
) -> Weighting:  # fmt: skip
    paradigm, kind = WEIGHINGS[weighing]
    parts: dict[str, np.ndarray] = {}
    if paradigm == "deciles":
        parts = {name: deciles(values, p.score_buckets, 2 * p.probe_chunks) for name, values in scores.items()}
        phase = replace(phase, weighting=Weighting((), parts=parts))
    sizes = {name: len(rows) for name, (_, rows) in phases.groups(phase, p.primary).items()}
    if kind == "final":
        if final is None:
            raise InputError("final weights: 05 has none for this seed")
        prior = cosine.prior("explicit", sizes, weights=final)
    elif kind == "share":
        prior = task_weights.constant_share(int(weighing.rpartition("_")[2]) / 100, sizes, p.primary)
    elif paradigm == "normalised":
        prior = cosine.prior("inverse_size", sizes)
    elif paradigm == "power":
        prior = cosine.prior("power", sizes, p.prior_power)
    elif paradigm == "given":
        told = p.told_weights()
        if unknown := [name for name in sizes if name not in told]:
            raise InputError(f"prior_given: no weight for {', '.join(unknown)}; it has {', '.join(told)}")
        # Of a task that no row was chosen from there is nothing to weigh.
        prior = cosine.prior("explicit", sizes, weights={name: told[name] for name in sizes})
    elif paradigm == "scored":
        means = {name: float(values.mean()) for name, values in scores.items()}
        prior = score_prior(means, sizes, p.primary, p.score_temperature)
    else:
        prior = cosine.prior("uniform", sizes)
    evidence = cast(task_weights.Evidence, "fixed" if kind in ("final", "share") else kind)
    if p.tawt_rule == "paper":
        return Weighting(tuple(prior), evidence, c=p.weight_c, **PAPER)
    updates = updates_in_force(phase, p.weight_every)
    return Weighting(
        tuple(prior), evidence, p.weight_every, p.weight_total / max(1, updates), p.weight_c, p.weight_floor,
        p.weight_decay, p.weight_tau or None, combine=p.combine, parameters=p.probe_parameters,
        estimator=p.probe_estimator, chunks=p.probe_chunks, chunk_rows=p.probe_rows, parts=parts,
    )  # fmt: skip


def score_prior(
    means: Mapping[str, float], sizes: Mapping[str, int], primary: str, temperature: float
) -> np.ndarray:  # fmt: skip
    """Return starting weights under which sources follow exp(mean score / temperature).

    The primary has 1/K, what uniform weights give it, so that scores move the sources alone.

    Args:
        means: By source, the mean score of its rows.
        sizes: By task, its rows; only the tasks' names and order are read.
        primary: The primary's name.
        temperature: Above 0; the higher, the more even the weights.

    Returns:
        float64 [K], in the order of `sizes`, sum 1.

    Raises:
        InputError: A mean score is not finite.
    """
    names = [name for name in sizes if name != primary]
    logs = np.array([means[name] for name in names]) / temperature
    if not np.isfinite(logs).all():
        name = names[int(np.flatnonzero(~np.isfinite(logs))[0])]
        raise InputError(f"scores: the mean score of {name!r} is {means[name]}; a prior needs finite scores")
    sources = np.exp(logs - logs.max())
    sources *= len(names) / len(sizes) / sources.sum()
    weights = dict(zip(names, sources, strict=True)) | {primary: 1 / len(sizes)}
    return cosine.normalised([weights[name] for name in sizes], list(sizes))


def deciles(scores: np.ndarray, buckets: int, least: int) -> np.ndarray:
    """Cut rows into parts by score.

    Args:
        scores: float [N].
        buckets: The number of equal parts; fewer where a part would have fewer than `least` rows.
        least: The fewest rows per part.

    Returns:
        Each row's part, int64 [N]; 0 has the highest scores.
    """
    parts = np.empty(len(scores), np.int64)
    order = np.argsort(-scores, kind="stable")
    for part, rows in enumerate(np.array_split(order, max(1, min(buckets, len(scores) // least)))):
        parts[rows] = part
    return parts


def updates_in_force(phase: Phase, every: int) -> int:
    """Count the updates after which some step is still to come, with mixed batches.

    Args:
        phase: The weighted phase.
        every: Steps between updates; 0 updates once per epoch.

    Returns:
        The number of updates; 0 where the first comes too late.
    """
    sizes = {name: len(rows) for name, rows in phase.rows.items()}
    epochs = phases.schedule(replace(phase, mixing="mixed"), sizes)
    return (sum(epochs) - 1) // every if every else len(epochs) - 1
