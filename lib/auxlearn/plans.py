"""How parameters become training plans: the proxy's, and each arm's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from . import ratios, seeds
from .errors import InputError
from .params import MTL, GradTS, TDProxy, Trained
from .phases import Phase, Plan, Recipe, Rounds, arms
from .tasks import Suite

# The FastMTL scripts train stage 2 with seed 84 and tune with 42, whatever the seed of the proxy.
FIXED_STAGE2, FIXED_TUNE = 84, 42


def common(p: Trained) -> dict[str, Any]:
    """What every plan takes over from a notebook's parameters."""
    names = ("encoder", "max_length", "precision", "device", "threads", "processes", "pool", "regression")
    return {name: getattr(p, name) for name in names}


def proxy_sample(
    suite: Suite, rows: int, watch: int, seed: int, usable: Mapping[str, np.ndarray] | None = None, folds: int = 1
) -> tuple[list[dict[str, np.ndarray]], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Rows that the proxies train on, rows that are only watched, and every row's fold.

    All tasks, the primary included, are sampled alike, so that one proxy serves every target (FastMTL, stage 1): up to
    `rows` training rows of each task and fold and `watch` watched rows of each task, uniform over `usable` ones
    (masks). The fold of a row, int8 [size of the task's train], is the one whose proxy may be drawn from it; the
    *other* proxy scores it. A task too small gives a quarter of its rows to be watched and shares the rest.
    """
    train: list[dict[str, np.ndarray]] = [{} for _ in range(folds)]
    held, fold_of = {}, {}
    for name, task in suite.items():
        order = seeds.rng(seed, "sample", "proxy", name).permutation(len(task.train))
        fold_of[name] = np.zeros(len(order), np.int8)
        fold_of[name][order] = np.arange(len(order)) % folds
        drawn = order[usable[name][order]] if usable else order
        if len(drawn) < 4 * folds:
            raise InputError(f"task {name!r}: {len(drawn)} usable training rows are too few for {folds} proxies")
        cut = min(watch, max(1, len(drawn) // 4))
        held[name] = np.sort(drawn[:cut])
        for fold in range(folds):
            mine = drawn[cut:][fold_of[name][drawn[cut:]] == fold]
            train[fold][name] = np.sort(mine[:rows])
    return train, held, fold_of


def folds(p: TDProxy) -> int:
    return 2 if p.proxies == "crossfit" else 1


def proxies(
    p: TDProxy, suite: Suite, usable: Mapping[str, np.ndarray] | None = None
) -> tuple[list[Plan], dict[str, np.ndarray]]:
    """The multi-task models with a task discriminator that FastMTL ranks by, one a fold, and every row's fold."""
    samples, watch, fold_of = proxy_sample(suite, p.proxy_rows, p.watch_rows, p.seed, usable, folds(p))
    recipe = Recipe(p.lr, p.batch_size)
    phases = [
        Phase("proxy", rows, p.epochs, recipe, p.discriminator, p.disc_weight, "last", p.mixing, p.loss_scale)
        for rows in samples
    ]
    made = [
        Plan(phases=(phase,), seeds=seeds.record(p.seed), watch=watch, keep_model=True, **common(p))
        for phase in phases
    ]  # fmt: skip
    return made, fold_of


def task_tuning(p: GradTS, suite: Suite, name: str, seed: int, usable: np.ndarray) -> tuple[Plan, np.ndarray]:
    """GradTS's model of one task, tuned on that task alone, and the rows whose importance it is read for.

    Both are drawn from the task's usable rows: at most `tune_rows` and `importance_rows` (0 = all). The draws do not
    depend on which other tasks there are, so that a new candidate costs its own rows and nothing else.
    """
    order = _measurable(name, seed, usable)
    rows = np.sort(order[: p.tune_rows or len(order)])
    recipe = Recipe(p.lr, p.batch_size)
    phase = Phase("tune", {name: rows}, p.epochs, recipe, loss_scale=p.loss_scale)
    plan = Plan(phases=(phase,), seeds=seeds.record(seed), keep_model=True, **common(p))
    return plan, measured_rows(p, name, seed, usable)


def measured_rows(p: GradTS, name: str, seed: int, usable: np.ndarray) -> np.ndarray:
    """The rows of a task whose importance is read, in order."""
    order = _measurable(name, seed, usable)
    return np.sort(order[: p.importance_rows or len(order)])


def _measurable(name: str, seed: int, usable: np.ndarray) -> np.ndarray:
    order = seeds.rng(seed, "sample", "gradts", name).permutation(len(usable))
    order = order[usable[order]]
    if not len(order):
        raise InputError(f"task {name!r}: no usable training rows to read its heads' importance from")
    return order


def without_discriminator(plan: Plan) -> Plan:
    """The same proxy, but for the discriminator's loss: what its features look like without it."""
    return replace(plan, phases=tuple(replace(phase, discriminator=None) for phase in plan.phases), watch={})


def holdout(
    suite: Suite, primary: str, fraction: float, seed: int, usable: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """The primary's (usable) training rows: those trained on, those that choose the epoch. Same for every arm."""
    size = len(suite[primary].train)
    order = seeds.rng(seed, "holdout", primary).permutation(size)
    order = order if usable is None else order[usable[order]]
    cut = round(fraction * len(order))
    if fraction and not 0 < cut < len(order):
        raise InputError(
            f"holdout: {fraction} of the {len(order)} rows of {primary!r} leaves nothing to hold out or to train on"
        )
    return np.sort(order[cut:]), np.sort(order[:cut])


def arm(
    p: MTL, suite: Suite, seed: int, chosen: pd.DataFrame | None = None, usable: np.ndarray | None = None,
    shares: Mapping[str, int] | None = None,
) -> Plan:  # fmt: skip
    """One arm and seed: fine-tuning alone, or stage 2 over primary and chosen rows, then fine-tuning (FastMTL, 3).

    `chosen` has columns task and row; `usable` is a mask over the primary's training rows. Every arm of a seed shares
    held-out rows, initial heads, and order and dropout streams. "step_matched" is fine-tuning alone with stage 2's
    number of steps spent on the primary: n rows more are worth nothing if the same steps do as well without them.
    (Task-pure batches make stage 2 itself a step or so a task longer.) `shares`, AUTOSEM's mixing ratios by task,
    divide stage 2's steps among the tasks in place of their sizes.
    """
    kept, held = holdout(suite, p.primary, p.holdout if p.choose == "holdout" else 0.0, seed, usable)
    recipe, alone = Recipe(p.lr, p.batch_size), {p.primary: kept}
    fixed = p.seed_policy == "fixed"
    options: dict[str, Any] = {"loss_scale": p.loss_scale}
    first = options | {"mixing": p.mixing, "seed": FIXED_STAGE2 if fixed else None}
    tune = options | {"choose": p.choose, "seed": FIXED_TUNE if fixed else None}
    if p.arm == "single":
        phases = (Phase("tune", alone, p.single_epochs, recipe, steps=p.steps or None, **tune),)
    else:
        steps = p.stage2_epochs * -(-(len(kept) + p.n) // p.batch_size)
        if p.steps:
            steps = p.steps - p.tune_steps
            first |= {"steps": steps}
        tuned = bool(p.tune_steps or not p.steps)
        if not tuned:  # stage 2 is then the last phase, whose epoch is chosen
            first |= {"choose": p.choose}
        if p.arm == "step_matched" or chosen is None:  # a selection that chose nothing spends its steps all the same
            rows = alone
            first |= {"steps": steps, "mixing": "homogeneous"}
        else:
            parts = {str(name): np.sort(part["row"].to_numpy()) for name, part in chosen.groupby("task")}
            rows = {name: (alone | parts)[name] for name in suite.names if name in alone | parts}
            if shares is not None:
                first |= {"order": _order(p, rows, shares, steps, seed), "mixing": "homogeneous", "steps": None}
        mtdnn = p.arm == "all_data" and p.all_data_recipe == "mtdnn"
        stage2 = Recipe(p.mtdnn_lr, p.batch_size, warmup=0.1, optimiser="adamax") if mtdnn else recipe
        phases = (
            Phase("stage2", rows, p.stage2_epochs, stage2, **first),
            Phase("tune", alone, p.tune_epochs, recipe, steps=p.tune_steps or None, **tune),
        )[: 1 + tuned]
    drawn = seeds.record(FIXED_STAGE2 if fixed else seed)
    return Plan(
        phases=phases, seeds=drawn, primary=p.primary, holdout=held, keep_model=p.keep_model, **common(p)
    )  # fmt: skip


def _order(
    p: MTL, rows: Mapping[str, np.ndarray], shares: Mapping[str, int], steps: int, seed: int
) -> np.ndarray:  # fmt: skip
    """The task of each of stage 2's steps by AUTOSEM's ratios: see `ratios.schedule`."""
    names = arms(Phase("stage2", rows, 1, Recipe(p.lr)), p.primary)
    sizes = [-(-len(rows[name]) // p.batch_size) for name in names]
    style = "cycle" if p.autosem_rule == "paper" else "interleaved"
    return ratios.schedule([shares.get(name, 0) for name in names], sizes, steps, seed, style)


def bandit(p: MTL, suite: Suite, seed: int, usable: Mapping[str, np.ndarray]) -> Plan:
    """AUTOSEM's stage 1 for one seed: rounds over the primary and its auxiliaries, at a constant rate.

    The primary is judged on the rows that the arm's trials are judged on, and never on dev.
    """
    kept, held = holdout(suite, p.primary, p.holdout, seed, usable[p.primary])
    rows = {p.primary: kept}
    rows |= {name: np.flatnonzero(usable[name]) for name in suite.auxiliaries(p.primary, p.auxiliaries)}
    recipe = Recipe(p.lr, p.batch_size, decay="none")
    rounds = Rounds(p.bandit_batches, p.bandit_decay, p.autosem_rule)
    phase = Phase("bandit", rows, p.bandit_rounds, recipe, loss_scale=p.loss_scale, rounds=rounds)
    return Plan(phases=(phase,), seeds=seeds.record(seed), primary=p.primary, holdout=held, **common(p))
