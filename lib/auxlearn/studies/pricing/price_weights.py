"""What weighted training (TAWT) and training by steps cost, projected from FLOPs as `price_fastmtl` does it.

Unit and omissions are the same. Rows are counted by phase: whole epochs, and for an epoch that `steps` cuts short a
rest of full batches. The probe is charged as its ledger charges it: all passes as training, of as many rows as it
draws, and in pre-training a pass without gradients over the target's rows, to fit its head. Two things are left out:
that a last batch may be smaller, or padded; and what the weights do to the order of tasks: where tasks are drawn by
weight (`combine` "sampled"), they are taken by size.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, cast

import numpy as np

from auxlearn import cost
from auxlearn.errors import InputError
from auxlearn.methods.tawt.options import WEIGHINGS, Weighed
from auxlearn.methods.tawt.weight_tables import PROBES
from auxlearn.methods.tawt.weighted_plans import PAPER
from auxlearn.studies.parameters import MTL, TAWT, GradTS
from auxlearn.studies.pricing import price_fastmtl
from auxlearn.studies.pricing.price_fastmtl import Length
from auxlearn.training import phases

STAGES = ("weighting", "pretrain", "joint", "tune")  # of a weighted training, as its ledgers call them


def phase(
    rows: Mapping[str, int], config: Any, length: Length, *, batch_size: int, epochs: int = 1, steps: int = 0,
    mixed: bool = False,
) -> dict[str, float]:  # fmt: skip
    """Project the cost of one phase over some rows of each task.

    An epoch cut short has full batches if it has one kind of them; if each task has its own, their mean.

    Args:
        rows: Training rows per task.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence.
        batch_size: Rows per batch.
        epochs: Passes over the rows, unless `steps` says otherwise.
        steps: Optimiser steps; 0 to train by `epochs`.
        mixed: Whether batches are drawn over all rows; otherwise each is of one task.

    Returns:
        Sequences, steps and flops.

    Raises:
        InputError: For a task without rows, an epoch count or batch size below 1, or negative steps.
    """
    price_fastmtl.check(rows, next(iter(rows), ""), 0, epochs, batch_size)
    if steps < 0:
        raise InputError(f"steps: {steps} is negative")
    total, each = sum(rows.values()), _epochs(rows, epochs, steps, batch_size, mixed)
    whole, last = _epochs(rows, 1, 0, batch_size, mixed)[0], each[-1]
    full = len(each) - (last < whole)
    part = 0.0
    if last < whole:
        part = min(1.0, last * batch_size / total) if mixed or len(rows) == 1 else last / whole
    once = price_fastmtl.stage(rows, 1, config, length, batch_size)["flops"]
    return {"sequences": round(total * (full + part)), "steps": sum(each), "flops": once * (full + part)}


def added(p: MTL, made: GradTS | None, pool: Mapping[str, int]) -> dict[str, int]:
    """Count the rows of each auxiliary task that an arm trains on, mixed as the pool is.

    GradTS-fg takes measured rows only, and the best of them.

    Args:
        p: Parameters of 06.
        made: Parameters of the 04 that the arm reads; None where it reads none.
        pool: Rows per auxiliary task.

    Returns:
        Rows per task; empty where the arm adds none.

    Raises:
        InputError: If the pool holds fewer than n rows.
    """
    if p.rows_arm in ("single", "step_matched"):
        return {}
    if p.rows_arm == "all_data":
        return dict(pool)
    n = p.n
    if p.rows_arm == "gradts_fg" and made is not None:
        best = {name: round(p.fg_fraction * min(made.importance_rows or k, k)) for name, k in pool.items()}
        pool = {name: k for name, k in best.items() if k}
        n = min(n, sum(pool.values()))
    return price_fastmtl.chosen_of(pool, n, None)


def by_steps(
    p: MTL, kept: int, chosen: Mapping[str, int], config: Any, length: Length
) -> dict[str, float]:  # fmt: skip
    """Price one seed of an arm that trains by `steps` without weights.

    `single` spends all steps on the primary. Other arms spend all but `tune_steps` on both, and those on the primary.

    Args:
        p: Parameters of 06.
        kept: The primary's rows that the arm trains on.
        chosen: Rows per auxiliary task, as from `added`.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence.

    Returns:
        FLOP by stage: stage2 and tune.
    """
    given, alone = {"config": config, "length": length, "batch_size": p.batch_size}, {p.primary: kept}
    if p.arm == "single":
        return {"stage2": 0.0, "tune": phase(alone, steps=p.steps, **given)["flops"]}
    rows, mixed = alone | dict(chosen), bool(chosen) and p.mixing == "mixed"
    tune = phase(alone, steps=p.tune_steps, **given)["flops"] if p.tune_steps else 0.0
    return {"stage2": phase(rows, steps=p.steps - p.tune_steps, mixed=mixed, **given)["flops"], "tune": tune}


def weighted(
    p: Weighed, weighing: str, size: int, chosen: Mapping[str, int], config: Any, length: Length
) -> dict[str, float]:  # fmt: skip
    """Price one seed of a weighted training.

    What "final" weights cost besides, callers add: `stages_of_05`.

    Args:
        p: Parameters of 05 or 06.
        weighing: A name in `WEIGHINGS`.
        size: The primary's training rows, of which `holdout` are held out if `choose` says so.
        chosen: Rows per source task.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence.

    Returns:
        FLOP by stage: weighting (the probe), pretrain, joint, tune; 0 where a stage is not used.

    Raises:
        InputError: If such a training would be refused.
    """
    paradigm, evidence = WEIGHINGS[weighing]
    probe = _probe(p) if evidence in ("measured", "shuffled") else None
    if probe is not None and paradigm == "deciles":
        probe["buckets"] = cast(MTL, p).score_buckets  # 05 has no such weighing
    return _weighted(p, paradigm, _combine(p), probe, size, chosen, config, length)


def stages_of_05(
    p: TAWT, size: int, chosen: Mapping[str, int], config: Any, length: Length
) -> dict[str, float]:  # fmt: skip
    """Price one seed of the training that 05 watches; 06's arm tawt_<paradigm> runs the same.

    Arguments, result and errors are those of `weighted`.
    """
    return weighted(p, f"tawt_{p.paradigm}", size, chosen, config, length)


def compared(p: TAWT, size: int, chosen: Mapping[str, int], config: Any, length: Length) -> float:
    """Price 05's comparison of probes, for its first seed: the same training again for each way to probe.

    Batches are then of one task each, and weights are held still but watched (`weight_tables.compared`). Arguments and
    errors are those of `weighted`.

    Returns:
        FLOP of all trainings together.
    """
    total = 0.0
    for options in PROBES.values():
        estimator = {k: v for k, v in options.items() if k == "estimator"}
        probe = _probe(p) | {"itself": False} | estimator
        total += sum(_weighted(p, p.paradigm, "scaled", probe, size, chosen, config, length).values())
    return total


# --- inside ----------------------------------------------------------------------------------------------------------


def _weighted(
    p: Weighed, paradigm: str, combine: str, probe: Mapping[str, Any] | None, size: int, chosen: Mapping[str, int],
    config: Any, length: Length,
) -> dict[str, float]:  # fmt: skip
    held = round(p.holdout * size) if p.choose == "holdout" else 0
    if p.choose == "holdout" and not 0 < held < size:
        raise InputError(f"holdout: {p.holdout} of {size} rows leaves nothing to hold out or to train on")
    if not chosen:
        raise InputError(f"{p.primary!r}: no source rows to weigh")
    given, alone = {"config": config, "length": length, "batch_size": p.batch_size}, {p.primary: size - held}
    stages, mixed = dict.fromkeys(STAGES, 0.0), combine == "mixed"
    if paradigm == "pretrain":
        if p.steps and not p.tune_steps:
            raise InputError("tune_steps: pre-training needs steps for the primary alone")
        rows, epochs, steps = dict(chosen), p.stage2_epochs, p.steps - p.tune_steps if p.steps else 0
        stages["tune"] = phase(alone, epochs=p.tune_epochs, steps=p.tune_steps, **given)["flops"]
    else:
        rows, epochs, steps = alone | dict(chosen), p.stage2_epochs + p.tune_epochs, p.steps
    first = "pretrain" if paradigm == "pretrain" else "joint"
    stages[first] = phase(rows, epochs=epochs, steps=steps, mixed=mixed, **given)["flops"]
    if probe is not None:
        each = _epochs(rows, epochs, steps, p.batch_size, mixed)
        stages["weighting"] = _probing(p, probe, each, mixed, rows, size - held, held, config, length)
    return stages


def _combine(p: Weighed) -> str:
    return PAPER["combine"] if p.tawt_rule == "paper" else p.combine


def _probe(p: Weighed) -> dict[str, Any]:
    """Collect from a `phases.Weighting` what decides how much is probed."""
    names = ("every", "chunks", "chunk_rows", "target_rows", "itself", "estimator")
    plain = {name: getattr(phases.Weighting, name) for name in names} | {"buckets": 1}
    if p.tawt_rule == "paper":
        return plain | {name: PAPER[name] for name in names if name in PAPER}
    own = {"every": p.weight_every, "chunks": p.probe_chunks, "chunk_rows": p.probe_rows}
    return plain | own | {"estimator": p.probe_estimator}


def _probing(
    p: Weighed, probe: Mapping[str, Any], epochs: list[int], mixed: bool, rows: Mapping[str, int], kept: int,
    held: int, config: Any, length: Length,
) -> float:  # fmt: skip
    """FLOP of a phase's probe; `rows` are of the weighted tasks, `kept` and `held` of the target."""
    reuse = probe["estimator"] == "reused"
    if reuse and mixed:
        raise InputError("probe_estimator: gradients of mixed batches cannot be told apart; reuse another `combine`")

    def drawn(name: str, count: int) -> float:
        if count < probe["chunks"] and name == p.primary:
            raise InputError(f"probe: {count} rows of {name!r} for {probe['chunks']} disjoint chunks")
        taken = probe["chunks"] * min(probe["chunk_rows"], count // probe["chunks"])
        return taken * cost.encoder_flops(config, np.array([price_fastmtl.tokens(length, name)]), True)

    target = drawn(p.primary, held if probe["target_rows"] == "holdout" else kept)
    if p.primary not in rows:  # its head is fitted anew
        target += kept * cost.encoder_flops(config, np.array([price_fastmtl.tokens(length, p.primary)]), False)
    if reuse:  # once an epoch; the sources' gradients are those of training
        return len(epochs) * target
    tasks = [name for name in rows if not (name == p.primary and probe["itself"])]
    updates = sum(epochs) // probe["every"] if probe["every"] else len(epochs)
    parts = {name: 1 if name == p.primary else _parts(rows[name], probe) for name in tasks}
    return updates * (target + sum(k * drawn(name, rows[name] // k) for name, k in parts.items()))


def _parts(rows: int, probe: Mapping[str, Any]) -> int:
    """Count a source's parts that have weights of their own (see `weighted_plans.deciles`)."""
    return max(1, min(probe["buckets"], rows // (2 * probe["chunks"])))


def _epochs(rows: Mapping[str, int], epochs: int, steps: int, batch_size: int, mixed: bool) -> list[int]:
    """Count the steps of each epoch as training has them; what is left of `steps` is an epoch of its own."""
    mixing: Literal["homogeneous", "mixed"] = "mixed" if mixed else "homogeneous"
    plan = phases.Phase("", {}, epochs, phases.Recipe(1.0, batch_size), mixing=mixing, steps=steps or None)
    return phases.schedule(plan, rows)
