"""The step from cosines to the next weights, the line that it draws without a gradient, and what weights do to a loss.

There are K weighted tasks in a fixed order, with weights w on the simplex. What a weight does to a loss:

- the authors scale a task-pure batch's loss by K w_t (exactly 1 for uniform weights), so that over an epoch, in which
  task t is visited n_t times, its effective share is n_t w_t / sum_s n_s w_s (`effective_shares`), and clip the
  gradient *after* that scaling, which undoes the weights where the raw norm is above the limit. Better: mix tasks in a
  batch, weigh its parts, and clip the total;
- sampling tasks by effective share, with losses unscaled, needs no multiplier at all.

The authors' joint training starts uniform or at 1/n (typed with two decimals: give those as "explicit"), takes steps
of eta = 1 once per epoch, and moves by about (0, ..., 0, 1) each time, whatever the data: that is `null_schedule`.
Facts about their code: github.com/CogComp/TAWT (run_weighted_joint_training_multi.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from auxlearn.errors import InputError
from auxlearn.methods.tawt import cosine


def effective_shares(weights: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """Return each task's part of an epoch's objective when batches follow sizes: n_t w_t / sum_s n_s w_s.

    Args:
        weights: float [K].
        sizes: Training rows per task [K].

    Returns:
        float64 [K], sum 1.
    """
    parts = np.asarray(weights, np.float64) * np.asarray(sizes, np.float64)
    return parts / parts.sum()


def constant_share(share: float, sizes: Mapping[str, int], target: str) -> np.ndarray:
    """Return weights that give the target a fixed effective share, and sources the rest by size (as unweighted).

    For a sweep: if scores follow the share alone, learned weights added nothing.

    Args:
        share: The target's effective share, in (0, 1).
        sizes: Training rows per task.
        target: The target's name.

    Returns:
        float64 [K], sum 1.

    Raises:
        InputError: The share is outside (0, 1), there is no source, or the target is not among the tasks.
    """
    uniform, at = cosine.prior("uniform", sizes), position_of(list(sizes), target)
    if not 0 < share < 1 or len(sizes) < 2:
        raise InputError(f"share: {share} of {len(sizes)} tasks; it must lie between 0 and 1, with a source to share")
    rows = np.array(list(sizes.values()), float)
    uniform[at] = share / (1 - share) * (rows.sum() - rows[at]) / rows[at] * uniform[at]
    return uniform / uniform.sum()


@dataclass(frozen=True)
class Updater:
    """The step from cosines to the next weights: decay towards the prior, one mirror step, then the floor.

    Args:
        eta: The step size of the mirror step.
        c: The factor of the hypergradient, -c cos.
        floor: In [0, 1): this much of all weight is spread evenly over tasks whose prior is above 0, so that none is
            lost for good.
        decay: In [0, 1): log w <- (1 - decay) log w + decay log prior, so that evidence fades.
        tau: Multiplies each cosine by tau^2 / (tau^2 + error^2), its posterior mean if true cosines spread by tau
            around 0; one whose error is unknown counts for nothing. Without it, a debiased cosine measured on too few
            rows moves the weights by its noise, which the naive one is too small to do. None switches it off.
        rule: "corrected" takes an undefined cosine (NaN) for 0, no evidence, and cuts cosines to [-1, 1], which
            debiased ones may leave. "paper": the bare mirror step, eta 1 and c as the authors picked it; NaN is an
            error.

    Raises:
        InputError: A setting is outside its range, or "paper" comes with floor, decay or tau.
    """

    eta: float = 1.0
    c: float = 1.0
    floor: float = 0.0
    decay: float = 0.0
    tau: float | None = None  # not used
    rule: cosine.Rule = "corrected"

    def __post_init__(self) -> None:
        cosine.mirror_step(np.zeros(1), np.zeros(1), self.eta)  # these two refuse an eta or c of 0 or below
        cosine.hypergradient(np.zeros(1), self.c)
        for name in ("floor", "decay"):
            if not 0 <= getattr(self, name) < 1:
                raise InputError(f"{name}: {getattr(self, name)} is outside [0, 1)")
        if self.tau is not None and not (math.isfinite(self.tau) and self.tau > 0):
            raise InputError(f"tau: {self.tau} is not a positive number; None switches it off")
        if cosine.paper(self.rule) and (self.floor or self.decay or self.tau):
            raise InputError("rule: 'paper' has no floor, decay or tau; leave them out or use 'corrected'")

    @classmethod
    def spread(cls, total: float, updates: int, **settings: Any) -> Updater:
        """Return an updater whose `updates` steps together weigh as much as `total`.

        Args:
            total: The sum of all steps' eta (the authors': 3 in force, eta 1 each).
            updates: The number of steps.
            **settings: The updater's other fields.

        Raises:
            InputError: There is no update.
        """
        if updates < 1:
            raise InputError(f"updates: {updates}; the weights would never move")
        return cls(eta=total / updates, **settings)

    def usable(self, cosines: np.ndarray, errors: np.ndarray | None = None) -> np.ndarray:
        """Return the cosines that the step takes: see the class.

        Args:
            cosines: float [K].
            errors: Standard errors, float [K]; NaN where a cosine's error is unknown. None shrinks nothing.

        Returns:
            float64 [K].
        """
        values = np.asarray(cosines, np.float64)
        if cosine.paper(self.rule):
            return values
        values = np.nan_to_num(values, nan=0.0)
        if self.tau is not None and errors is not None:
            noise = np.nan_to_num(np.asarray(errors, np.float64), nan=np.inf)
            values = values * self.tau**2 / (self.tau**2 + noise**2)
        return np.clip(values, -1.0, 1.0)

    def step(self, log_w: np.ndarray, cosines: np.ndarray, log_prior: np.ndarray) -> np.ndarray:
        """Return the next log weights. A task whose prior is 0 keeps weight 0.

        Args:
            log_w: Log weights in force, float [K].
            cosines: From `usable`, float [K].
            log_prior: Log weights of the prior, float [K].

        Returns:
            Log weights [K], normalised.
        """
        if self.decay:
            log_w = (1 - self.decay) * log_w + self.decay * log_prior
        new = cosine.mirror_step(log_w, cosine.hypergradient(cosines, self.c), self.eta)
        if self.floor:
            live = np.isfinite(log_prior)
            mixed = (1 - self.floor) * np.exp(new) + self.floor * live / live.sum()
            new = np.where(live, np.log(np.where(live, mixed, 1.0)), -np.inf)
        return new


def trajectory(start: np.ndarray, cosines: np.ndarray, updater: Updater | None = None) -> np.ndarray:
    """Return the weights before any update and after each.

    Args:
        start: Starting weights, float [K].
        cosines: float [U, K].
        updater: The step; None for the default one.

    Returns:
        float64 [U + 1, K].
    """
    updater = updater or Updater()
    first = log_weights(cosine.normalised(start, [str(i) for i in range(len(start))]))
    logs = [first]
    for row in cosines:
        logs.append(updater.step(logs[-1], updater.usable(row), first))
    return np.exp(np.stack(logs))


def null_schedule(
    start: np.ndarray, updates: int, updater: Updater | None = None, target: int | None = -1
) -> np.ndarray:
    """Return the weights if every source's cosine were 0 and the target's 1: with no gradient at all.

    Learned weights have to leave this line. Without floor and decay
    w_target(k) = w(0) e^(k c eta) / (w(0) e^(k c eta) + 1 - w(0)). Three updates at eta 1 take four uniform tasks to
    .870 and .043, what the authors' scripts give for weighted joint training's learned weights.

    Args:
        start: Starting weights, float [K].
        updates: The number of updates.
        updater: The step; None for the default one.
        target: The target's position; None (pre-training form) moves nothing.

    Returns:
        float64 [updates + 1, K].

    Raises:
        InputError: `updates` is negative, or the starting weights are impossible.
    """
    if updates < 0:
        raise InputError(f"updates: {updates} is negative")
    return trajectory(start, np.tile(null_cosines(len(start), target), (updates, 1)), updater)


def null_cosines(size: int, target: int | None) -> np.ndarray:
    """Return cosines of 0 for each source and 1 for the target.

    Args:
        size: The number of tasks, K.
        target: The target's position; None where no entry is the target's.

    Returns:
        float64 [K].
    """
    cosines = np.zeros(size)
    if target is not None:
        cosines[target] = 1.0
    return cosines


def log_weights(weights: np.ndarray) -> np.ndarray:
    """Return logarithms of weights, -inf for a weight of 0."""
    with np.errstate(divide="ignore"):
        return np.log(weights)


def position_of(names: list[str], target: str) -> int:
    """Return where the target stands among the tasks; an InputError if it is none of them."""
    if target not in names:
        raise InputError(f"target: {target!r} is not one of the weighted tasks {', '.join(names)}")
    return names.index(target)
