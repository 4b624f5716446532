"""FastMTL's proxies as training plans: what they train on, what is watched, which proxy scores a row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from auxlearn import seeding
from auxlearn.data import usable_rows
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods.arm_plans import common
from auxlearn.methods.fastmtl.options import TDProxy
from auxlearn.records.manifests import Manifest
from auxlearn.training.phases import Phase, Plan, Recipe


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
        order = seeding.rng(seed, "sample", "proxy", name).permutation(len(task.train))
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
        Plan(phases=(phase,), seeds=seeding.record(p.seed), watch=watch, keep_model=True, **common(p))
        for phase in phases
    ]  # fmt: skip
    return made, fold_of


def of_runs(runs: Sequence[Manifest], suite: Suite) -> dict[int, tuple[list[Plan], dict[str, np.ndarray]]]:
    """`proxies` of finished 02 runs, by seed."""
    found = {}
    for each in runs:
        p = TDProxy(**each.params)
        found[p.seed] = proxies(p, suite, usable_rows.usable(suite, None, p.keep_leaks))
    return found


def without_discriminator(plan: Plan) -> Plan:
    """The same proxy, but for the discriminator's loss: what its features look like without it."""
    return replace(plan, phases=tuple(replace(phase, discriminator=None) for phase in plan.phases), watch={})
