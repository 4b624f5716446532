"""How parameters become training plans: the proxy's, and each arm's."""

from __future__ import annotations

import numpy as np
import pandas as pd

from . import seeds
from .errors import InputError
from .params import MTL, Common, TDProxy
from .tasks import Suite
from .train import Phase, Plan, Recipe


def _common(p: Common) -> dict[str, object]:
    return {name: getattr(p, name) for name in ("encoder", "max_length", "precision", "device", "threads")}


def proxy_sample(suite: Suite, rows: int, watch: int, seed: int) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Training rows and disjoint watched rows for the proxy: up to `rows` and `watch` of every task, uniform.

    All tasks, the primary included, are sampled alike, so that one proxy serves every target (FastMTL, stage 1). A
    task too small for both gives a quarter of its rows to be watched.
    """
    train, held = {}, {}
    for name, task in suite.items():
        order = seeds.rng(seed, "sample", "proxy", name).permutation(len(task.train))
        if len(order) < 4:
            raise InputError(f"task {name!r}: {len(order)} training rows are too few for a proxy")
        cut = min(watch, max(1, len(order) // 4))
        held[name], train[name] = np.sort(order[:cut]), np.sort(order[cut : cut + rows])
    return train, held


def proxy(p: TDProxy, suite: Suite) -> Plan:
    """The multi-task model with a task discriminator that FastMTL ranks by."""
    rows, watch = proxy_sample(suite, p.proxy_rows, p.watch_rows, p.seed)
    phase = Phase("proxy", rows, p.epochs, Recipe(p.lr, p.batch_size), p.discriminator, p.disc_weight)
    return Plan(
        phases=(phase,),
        seeds=seeds.record(p.seed),
        watch=watch,
        regression=p.regression,
        keep_model=True,
        **_common(p),
    )


def holdout(suite: Suite, primary: str, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The primary's training rows, split into those trained on and those that choose the epoch. Same for every arm."""
    size = len(suite[primary].train)
    cut = round(fraction * size)
    if not 0 < cut < size:
        raise InputError(
            f"holdout: {fraction} of the {size} rows of {primary!r} leaves nothing to hold out or to train on"
        )
    order = seeds.rng(seed, "holdout", primary).permutation(size)
    return np.sort(order[cut:]), np.sort(order[:cut])


def arm(p: MTL, suite: Suite, seed: int, chosen: pd.DataFrame | None = None) -> Plan:
    """One arm and seed: fine-tuning alone, or stage 2 over primary and chosen rows, then fine-tuning (FastMTL, 3).

    `chosen` has columns task and row. Every arm of a seed shares held-out rows, initial heads, and order and dropout
    streams. The epoch of fine-tuning is chosen on the held-out rows (the authors choose it on dev, which they report).
    """
    kept, held = holdout(suite, p.primary, p.holdout, seed)
    recipe = Recipe(p.lr, p.batch_size)
    if chosen is None:
        phases = (Phase("tune", {p.primary: kept}, p.single_epochs, recipe, choose=True),)
    else:
        rows = {p.primary: kept} | {str(name): np.sort(part["row"].to_numpy()) for name, part in chosen.groupby("task")}
        rows = {name: rows[name] for name in suite.names if name in rows}
        phases = (
            Phase("stage2", rows, p.stage2_epochs, recipe),
            Phase("tune", {p.primary: kept}, p.tune_epochs, recipe, choose=True),
        )
    return Plan(
        phases=phases,
        seeds=seeds.record(seed),
        primary=p.primary,
        holdout=held,
        regression=p.regression,
        **_common(p),
    )
