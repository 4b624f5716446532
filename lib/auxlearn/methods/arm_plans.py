"""How parameters become training plans: the proxy's, and each arm's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods.arm_parameters import ArmParameters
from auxlearn.training import mixing
from auxlearn.training.phases import Phase, Plan, Recipe, arms
from auxlearn.training.shared_parameters import Trained

if TYPE_CHECKING:
    import pandas as pd

# The FastMTL scripts train stage 2 with seed 84 and tune with 42, whatever the seed of the proxy.
FIXED_STAGE2, FIXED_TUNE = 84, 42


def common(p: Trained) -> dict[str, Any]:
    """Return the fields that every plan takes over from a notebook's parameters."""
    names = ("encoder", "max_length", "precision", "device", "threads", "processes", "pool", "regression")
    return {name: getattr(p, name) for name in names}


def of_arm(p: Any) -> dict[str, Any]:
    """Return what an artifact that is made as an arm is trained takes over of the arm's parameters."""
    names = (
        "primary", "auxiliaries", "batch_size", "lr", "regression", "pool", "mixing", "loss_scale", "idle_heads",
        "keep_leaks", "processes",
    )  # fmt: skip
    return {name: getattr(p, name) for name in names}


def untrained(p: Trained, suite: Suite, seed: int) -> Plan:
    """Plan the model as it is before any training: passes are of trained ones, and a step at a rate of 0 leaves it so.

    Args:
        p: The parameters.
        suite: The suite.
        seed: The seed that its heads are drawn by.
    """
    phase = Phase("untrained", {next(iter(suite)): np.zeros(1, np.int64)}, 1, Recipe(0.0, 1))
    return Plan(phases=(phase,), seeds=seeding.record(seed), keep_model=True, **common(p))


def holdout(
    suite: Suite, primary: str, fraction: float, seed: int, usable: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Split the primary's usable training rows into those trained on and those that choose the state that is kept.

    The split is the same for every arm.

    Args:
        suite: The suite with the primary.
        primary: The primary's name.
        fraction: The share of rows to hold out, in 0 … 1; 0 holds out none.
        seed: The seed of the split.
        usable: A mask over the primary's training rows, bool [rows]; None means all.

    Returns:
        Rows to train on and rows held out, each int64 positions in the primary's train split, sorted.

    Raises:
        InputError: The fraction leaves nothing to hold out or nothing to train on.
    """
    size = len(suite[primary].train)
    order = seeding.rng(seed, "holdout", primary).permutation(size)
    order = order if usable is None else order[usable[order]]
    cut = round(fraction * len(order))
    if fraction and not 0 < cut < len(order):
        raise InputError(
            f"holdout: {fraction} of the {len(order)} rows of {primary!r} leaves nothing to hold out or to train on"
        )
    return np.sort(order[cut:]), np.sort(order[:cut])


def alone(p: ArmParameters, suite: Suite, seed: int, usable: np.ndarray | None, epochs: int) -> Plan:
    """Plan fine-tuning on the primary alone.

    Args:
        p: The arm's parameters.
        suite: The suite with every task's rows.
        seed: The arm's seed.
        usable: A mask over the primary's training rows, bool [rows]; None means all.
        epochs: Epochs, unless `p.steps` says how long.

    Returns:
        The plan, of one phase.

    Raises:
        InputError: The primary has too few rows to hold any out.
    """
    trained, held = holdout(suite, p.primary, p.held_out, seed, usable)
    phase = Phase(
        "tune", {p.primary: trained}, epochs, Recipe(p.lr, p.batch_size, idle_heads=p.idle_heads),
        steps=p.steps or None, choose=p.choose, looks=p.looks, loss_scale=p.loss_scale,
        seed=FIXED_TUNE if p.seed_policy == "fixed" else None,
    )  # fmt: skip
    return _plan(p, seed, held, phase)


def two_stages(
    p: ArmParameters, suite: Suite, seed: int, chosen: pd.DataFrame | None = None, usable: np.ndarray | None = None,
    shares: Mapping[str, int] | None = None, style: mixing.Style = "interleaved", recipe: Recipe | None = None,
) -> Plan:  # fmt: skip
    """Plan stage 2 over primary and chosen rows, then fine-tuning on the primary alone.

    Every arm of a seed shares held-out rows, initial heads, and order and dropout streams. Without chosen rows stage 2
    is as many steps on the primary: n more rows are worth nothing if the same steps do as well without them.
    (Task-pure batches make stage 2 itself a step or so per task longer.)

    Args:
        p: The arm's parameters.
        suite: The suite with every task's rows.
        seed: The arm's seed.
        chosen: The auxiliary rows, with columns task and row; None for none.
        usable: A mask over the primary's training rows, bool [rows]; None means all.
        shares: By task, its share of stage 2's steps; None divides them by the tasks' sizes.
        style: The order in which `shares` are trained (see `mixing.schedule`).
        recipe: Stage 2's optimiser; None for that of the parameters.

    Returns:
        The plan, of one or two phases.

    Raises:
        InputError: The primary has too few rows to hold any out.

    Reference:
        FastMTL (Kung et al., EMNLP 2021), section 3.
    """
    trained, held = holdout(suite, p.primary, p.held_out, seed, usable)
    own, rows = Recipe(p.lr, p.batch_size, idle_heads=p.idle_heads), {p.primary: trained}
    fixed = p.seed_policy == "fixed"
    first: dict[str, Any] = {"mixing": p.mixing, "loss_scale": p.loss_scale, "seed": FIXED_STAGE2 if fixed else None}
    steps = p.stage2_epochs * -(-(len(trained) + p.n) // p.batch_size)
    if p.steps:
        steps = p.steps - p.tune_steps
        first |= {"steps": steps}
    tuned = bool(p.tune_steps or not p.steps)
    if not tuned:  # stage 2 is then the last phase, of which a state is chosen
        first |= {"choose": p.choose, "looks": p.looks}
    if chosen is None:
        first |= {"steps": steps, "mixing": "homogeneous"}
    else:
        parts = {str(name): np.sort(part["row"].to_numpy(), kind="stable") for name, part in chosen.groupby("task")}
        rows = {name: (rows | parts)[name] for name in suite.names if name in rows | parts}
        if shares is not None:
            first |= {"order": _order(p, rows, shares, steps, seed, style), "mixing": "homogeneous", "steps": None}
    phases = [Phase("stage2", rows, p.stage2_epochs, recipe or own, **first)]
    if tuned:
        phases.append(Phase(
            "tune", {p.primary: trained}, p.tune_epochs, own, steps=p.tune_steps or None, choose=p.choose,
            looks=p.looks, loss_scale=p.loss_scale, seed=FIXED_TUNE if fixed else None,
        ))  # fmt: skip
    return _plan(p, seed, held, *phases)


def _plan(p: ArmParameters, seed: int, held: np.ndarray, *phases: Phase) -> Plan:
    drawn = seeding.record(FIXED_STAGE2 if p.seed_policy == "fixed" else seed)
    return Plan(phases=phases, seeds=drawn, primary=p.primary, holdout=held, keep_model=p.keep_model, **common(p))


def _order(
    p: ArmParameters, rows: Mapping[str, np.ndarray], shares: Mapping[str, int], steps: int, seed: int,
    style: mixing.Style,
) -> np.ndarray:  # fmt: skip
    """Return the task of each of stage 2's steps, by the tasks' shares of them (see `mixing.schedule`)."""
    names = arms(Phase("stage2", rows, 1, Recipe(p.lr)), p.primary)
    sizes = [-(-len(rows[name]) // p.batch_size) for name in names]
    return mixing.schedule([shares.get(name, 0) for name in names], sizes, steps, seed, style)
