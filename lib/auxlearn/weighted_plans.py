"""TAWT's paradigms as training plans: joint, normalised and pre-training, under every kind of task weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from . import phases, plans, seeds, tawt, weighting
from .errors import InputError
from .params_weighting import WEIGHINGS, Weighed
from .phases import Phase, Plan, Recipe, Weighting
from .tasks import Suite

# What the authors' code does, beside eta 1 (see `weighted_training`).
PAPER: dict[str, Any] = {
    "rule": "paper", "combine": "scaled_then_clipped", "target_rows": "train", "itself": True, "parameters": "encoder",
    "chunks": 1, "chunk_rows": 64, "every": 0, "eta": 1.0,
}  # fmt: skip


def plan(
    p: Weighed, suite: Suite, seed: int, weighing: str, chosen: pd.DataFrame, usable: np.ndarray,
    final: Mapping[str, float] | None = None, keep_model: bool = False,
) -> Plan:  # fmt: skip
    """One weighted training: `chosen` rows (task, row) and the primary's usable ones under `weighing` (`WEIGHINGS`).

    Joint paradigms are one phase over all rows. Pre-training is one over the sources and one over the primary alone.
    By steps (`steps`, of which `tune_steps` for the primary alone) or by epochs. `final`: weights by task, for "final".
    """
    kept, held = plans.holdout(suite, p.primary, p.holdout if p.choose == "holdout" else 0.0, seed, usable)
    parts = {str(name): np.sort(part["row"].to_numpy()) for name, part in chosen.groupby("task")}
    if not parts:
        raise InputError(f"{p.primary!r}: no source rows to weigh; name auxiliaries that have usable rows")
    paradigm, _ = WEIGHINGS[weighing]
    alone, recipe = {p.primary: kept}, Recipe(p.lr, p.batch_size)
    common: dict[str, Any] = {"loss_scale": p.loss_scale}
    tune = p.tune_steps if p.steps else 0
    if paradigm == "pretrain":
        if p.steps and not tune:
            raise InputError("tune_steps: pre-training needs steps for the primary alone")
        first = Phase("pretrain", parts, recipe=recipe, **common | _length(p.steps - tune, p.stage2_epochs))
    else:
        epochs = p.stage2_epochs + p.tune_epochs
        first = Phase("joint", parts | alone, recipe=recipe, choose=p.choose, **common | _length(p.steps, epochs))
    first = plans.replace(first, weighting=_weighting(p, first, weighing, final))
    made = [first]
    if paradigm == "pretrain":
        made.append(Phase("tune", alone, recipe=recipe, choose=p.choose, **common | _length(tune, p.tune_epochs)))
    drawn = seeds.record(seed)
    return Plan(
        phases=tuple(made), seeds=drawn, primary=p.primary, holdout=held, keep_model=keep_model, **plans.common(p)
    )  # fmt: skip


def _length(steps: int, epochs: int) -> dict[str, Any]:
    return {"steps": steps, "epochs": 1} if steps else {"epochs": epochs}


def _weighting(
    p: Weighed, phase: Phase, weighing: str, final: Mapping[str, float] | None
) -> Weighting:  # fmt: skip
    paradigm, kind = WEIGHINGS[weighing]
    sizes = {name: len(phase.rows[name]) for name in phases.arms(phase, p.primary)}
    if kind == "final":
        if final is None:
            raise InputError("final weights: 05 has none for this seed")
        prior = tawt.prior("explicit", sizes, weights=final)
    elif kind == "share":
        prior = weighting.constant_share(int(weighing.rpartition("_")[2]) / 100, sizes, p.primary)
    elif paradigm == "normalised":
        prior = tawt.prior("inverse_size", sizes)
    else:
        prior = tawt.prior("uniform", sizes)
    evidence = "fixed" if kind in ("final", "share") else kind
    if p.tawt_rule == "paper":
        return Weighting(tuple(prior), evidence, c=p.weight_c, **PAPER)
    updates = updates_in_force(phase, p.weight_every)
    return Weighting(
        tuple(prior), evidence, p.weight_every, p.weight_total / max(1, updates), p.weight_c, p.weight_floor,
        p.weight_decay, p.weight_tau or None, combine=p.combine, parameters=p.probe_parameters,
        estimator=p.probe_estimator, chunks=p.probe_chunks, chunk_rows=p.probe_rows,
    )  # fmt: skip


def updates_in_force(phase: Phase, every: int) -> int:
    """Updates after which some step is still to come, with mixed batches; 0 where the first comes too late."""
    sizes = {name: len(rows) for name, rows in phase.rows.items()}
    epochs = phases.schedule(plans.replace(phase, mixing="mixed"), sizes)
    return (sum(epochs) - 1) // every if every else len(epochs) - 1
