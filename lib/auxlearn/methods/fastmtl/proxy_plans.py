"""Plan FastMTL's proxies as trainings: what they train on, what is watched, which proxy scores a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods.arm_plans import common
from auxlearn.methods.fastmtl.options import TDProxy
from auxlearn.models import encoder_files, encoders
from auxlearn.training.phases import Phase, Plan, Recipe


def proxy_sample(
    suite: Suite, rows: int, watch: int, seed: int, usable: Mapping[str, np.ndarray] | None = None, folds: int = 1
) -> tuple[list[dict[str, np.ndarray]], dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Draw the rows that the proxies train on, the rows that are only watched, and every row's fold.

    All tasks, the primary included, are sampled alike, so that one proxy serves every target (FastMTL, stage 1). The
    fold of a row is the one whose proxy may be drawn from it; the *other* proxy scores it. A task too small gives a
    quarter of its rows to be watched and shares the rest.

    Args:
        suite: The suite with every task's rows.
        rows: The most training rows of each task and fold.
        watch: The most watched rows of each task.
        seed: The seed of the draws.
        usable: By task, a mask over its training rows, bool [rows]; draws are uniform over them. None means all.
        folds: The number of proxies.

    Returns:
        For each fold, rows to train on by task; rows to watch by task; each row's fold by task, int8 [size of its
        train].

    Raises:
        InputError: A task has too few usable rows.
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
            own = drawn[cut:][fold_of[name][drawn[cut:]] == fold]
            train[fold][name] = np.sort(own[:rows])
    return train, held, fold_of


def encoder(p: TDProxy) -> str:
    """Return the encoder of the proxies, cut to `p.proxy_layers`.

    Raises:
        InputError: It has fewer layers, or more of them are to be frozen than leave one to train.
    """
    name, has = encoder_files.parse(p.encoder)
    if not p.proxy_layers and not p.frozen_layers:
        return p.encoder
    if (depth := has or encoders.depth(name)) is not None:
        if p.proxy_layers > depth:
            raise InputError(f"proxy_layers: {p.proxy_layers} asked for, but encoder {p.encoder!r} has {depth} layers")
        depth = p.proxy_layers or depth
        if p.frozen_layers >= depth:
            raise InputError(
                f"frozen_layers: {p.frozen_layers} of a proxy's {depth} layers leave none to train; lower it"
            )
    return f"{name}:{p.proxy_layers}" if p.proxy_layers else p.encoder


def folds(p: TDProxy) -> int:
    """Return the number of proxies: 2 if they are cross-fitted, else 1."""
    return 2 if p.proxies == "crossfit" else 1


def proxies(
    p: TDProxy, suite: Suite, seed: int, usable: Mapping[str, np.ndarray] | None = None
) -> tuple[list[Plan], dict[str, np.ndarray]]:
    """Plan the multi-task models with a task discriminator that FastMTL ranks by, one per fold.

    Args:
        p: The proxy's parameters.
        suite: The suite with every task's rows.
        seed: The seed of draws and training.
        usable: By task, a mask over its training rows, bool [rows]; None means all.

    Returns:
        The plans; each row's fold by task, int8.

    Raises:
        InputError: A task has too few usable rows, or the encoder too few layers.
    """
    samples, watch, fold_of = proxy_sample(suite, p.proxy_rows, p.watch_rows, seed, usable, folds(p))
    recipe = Recipe(p.lr, p.batch_size, idle_heads=p.idle_heads)
    phases = [
        Phase("proxy", rows, p.epochs, recipe, p.discriminator, p.disc_weight, "last", p.mixing, p.loss_scale)
        for rows in samples
    ]
    plans = [
        Plan(phases=(phase,), seeds=seeding.record(seed), watch=watch, keep_model=True, frozen_layers=p.frozen_layers,
             **common(p) | {"encoder": encoder(p)})
        for phase in phases
    ]  # fmt: skip
    return plans, fold_of


def without_discriminator(plan: Plan) -> Plan:
    """Return the plan without the discriminator's loss and with nothing watched.

    Its training shows the features as they are without that loss.
    """
    return replace(plan, phases=tuple(replace(phase, discriminator=None) for phase in plan.phases), watch={})
