"""The task of every step of a training: orders that give each task its share of the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from auxlearn import seeding
from auxlearn.errors import InputError

Style = Literal["interleaved", "cycle", "blocks"]


def schedule(
    ratios: Sequence[float], sizes: Sequence[int], steps: int, seed: int = 0,
    style: Style = "interleaved",
) -> np.ndarray:  # fmt: skip
    """Decide the task of every step.

    Steps are optimiser steps: rows of long tasks still cost more. See `passes` for how often data repeats.

    Args:
        ratios: Share of each task, [K], primary first; their scale does not matter but for "cycle".
        sizes: Batches in each task's data, [K].
        steps: Number of steps.
        seed: Seed of the order among equals.
        style: One of the following.
            "interleaved": Task i has its share of the steps, rounded by largest remainder, and after every t steps is
                less than one step from its share of t. Zero means zero; ties are broken by seeded order.
            "cycle": AUTOSEM's `_task_selector`: step t trains task t mod sum(ratios) of [0] * r_0 + [1] * r_1 + ...;
                integers, in short blocks, and with sum(ratios) near `steps` in long ones.
            "blocks": GradTS's rerun of it (deprecated/train_with_mix_ratio.py), as a baseline was starved there: an
                epoch is the primary's whole data, then each auxiliary in turn for int(r_i / r_0 * sizes[0]) batches, at
                least one even for a ratio of zero. Its length is *not* `steps` but as many epochs as proportional
                mixing makes of them, steps // sum(sizes), at least one; that script's learning rate was to decay over
                `steps` all the same.

    Returns:
        Positions in `ratios`, int64 [steps] (but see "blocks").

    Raises:
        InputError: Ratios, sizes, steps or style are not as described.

    Reference:
        Tijdeman, Discrete Math. 32, 1980 ("interleaved").
    """
    r, n = np.asarray(ratios, float), np.asarray(sizes)
    if r.ndim != 1 or n.shape != r.shape or len(r) < 1:
        raise InputError(f"ratios, sizes: one number per task is needed, got shapes {r.shape} and {n.shape}")
    if not np.isfinite(r).all() or (r < 0).any() or not r.any():
        raise InputError(f"ratios: {r.tolist()} are not finite, non-negative and somewhere above 0")
    if steps < 1 or (n[r > 0] < 1).any():
        raise InputError(f"steps {steps}, sizes {n.tolist()}: needs a step, and a batch wherever the ratio is above 0")
    if style == "interleaved":
        return _interleaved(r, steps, seed)
    if style == "cycle":
        if (r != np.round(r)).any():
            raise InputError(f"ratios: {r.tolist()} are not whole numbers, as a cycle needs")
        return np.resize(np.repeat(np.arange(len(r)), r.astype(int)), steps)
    if style == "blocks":
        if r[0] <= 0 or (n < 1).any():
            raise InputError(f"ratios {r.tolist()}, sizes {n.tolist()}: blocks need the primary's and data everywhere")
        length = [int(n[0]), *(max(1, int(x / r[0] * n[0])) for x in r[1:])]
        return np.tile(np.repeat(np.arange(len(r)), length), max(1, steps // int(n.sum())))
    raise InputError(f"style: {style!r} is not 'interleaved', 'cycle' or 'blocks'")


def _interleaved(ratios: np.ndarray, steps: int, seed: int) -> np.ndarray:
    order = seeding.rng(seed, "ties", "schedule").permutation(len(ratios))  # who comes first among equals
    exact = steps * ratios[order] / ratios.sum()
    count = np.floor(exact).astype(np.int64)
    count[np.argsort(count - exact, kind="stable")[: steps - count.sum()]] += 1
    tasks, count = order[count > 0], count[count > 0]
    done, out, slack = np.zeros(len(count), np.int64), np.zeros(steps, np.int64), max(1, 2 * len(count) - 2)
    for t in range(steps):
        # Of the tasks behind their share, the one that would first be a step behind; in whole numbers, so exact.
        due = np.flatnonzero(slack * ((t + 1) * count - steps * done) >= steps)
        chosen = due[np.argmin((slack * (done[due] + 1) - 1) / count[due])]
        done[chosen] += 1
        out[t] = tasks[chosen]
    return out


def passes(tasks: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Count how often a schedule goes through each task's data.

    Args:
        tasks: The task of every step, as from `schedule`.
        sizes: Batches in each task's data, [K].

    Returns:
        float64 [K]; 0 for a task that the schedule leaves out.
    """
    return np.bincount(tasks, minlength=len(sizes)) / np.maximum(np.asarray(sizes), 1)
