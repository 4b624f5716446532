"""Follow task weights over a training: where they start, what moves them, and controls that need no gradient.

There are K weighted tasks in a fixed order, with weights w on the simplex. In joint training the target is one of them;
in the pre-training form it is not. What a weight does to a loss:

- the authors scale a task-pure batch's loss by K w_t (`Weights.multipliers`; exactly 1 for uniform weights), so that
  over an epoch, in which task t is visited n_t times, its effective share is n_t w_t / sum_s n_s w_s
  (`effective_shares`), and clip the gradient *after* that scaling, which undoes the weights where the raw norm is above
  the limit. Better: mix tasks in a batch, weigh its parts, and clip the total;
- sampling tasks by effective share, with losses unscaled, needs no multiplier at all.

The authors' joint training starts uniform or at 1/n (typed with two decimals: give those as "explicit"), takes steps
of eta = 1 once per epoch, and moves by about (0, ..., 0, 1) each time, whatever the data: that is `null_schedule`.
Facts about their code: github.com/CogComp/TAWT (run_weighted_joint_training_multi.py).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np

from auxlearn import seeding
from auxlearn.errors import InputError
from auxlearn.methods.tawt import cosine

# measured: TAWT. null: sources 0, target 1. shuffled: each source moves by another's cosine. fixed: never moves.
# losses: a policy moves them by the tasks' losses.
Evidence = Literal["measured", "null", "shuffled", "fixed", "losses"]


class Mover(Protocol):
    """What moves weights in place of TAWT's rule: a policy, see `methods.base.WeightPolicy`."""

    def __call__(
        self, weights: np.ndarray, read: np.ndarray | None, more: np.ndarray | None, memory: dict[str, Any], step: int
    ) -> np.ndarray:
        """Return the next weights, float64 [K], from those in force and from cosines or losses, float64 [K]."""


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
    uniform, at = cosine.prior("uniform", sizes), _position(list(sizes), target)
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
    first = _log(cosine.normalised(start, [str(i) for i in range(len(start))]))
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


def in_force(updates: Sequence[Mapping[str, Any]], steps: int) -> Mapping[str, Any]:
    """Return the last update that some step of training followed.

    An update after the last step moves weights that nothing is trained with: of the null schedule over four epochs the
    target ends at 0.95, but was trained with 0.87. What the authors print, and fix for their "final weights", is what
    was in force.

    Args:
        updates: Rows of one phase with step, in order; update 0 is the prior.
        steps: Steps of the phase.
    """
    return [row for row in updates if row["step"] < steps][-1]


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


def other_identities(size: int, target: int | None, seed: int) -> np.ndarray:
    """Return whose cosine each task is given when source identities are shuffled: a seeded permutation.

    The target keeps its own, no source does: a control that left some in place would be part treatment. The permutation
    is the same at every update, so that a lasting difference between sources still moves the weights, but the wrong
    ones.

    Args:
        size: The number of tasks, K.
        target: The target's position; None where it is not among them.
        seed: The seed of the permutation.

    Returns:
        int64 [K].

    Raises:
        InputError: There are fewer than two sources.
    """
    at = None if target is None else target % size
    sources = np.array([i for i in range(size) if i != at], np.int64)
    if len(sources) < 2:
        raise InputError(f"shuffled: {len(sources)} source tasks; exchanging identities needs two")
    rng, owners = seeding.rng(seed, "tawt", "shuffled"), np.arange(size)
    while (owners[sources] == sources).any():  # a random order moves all of them in more than one of three draws
        owners[sources] = rng.permutation(sources)
    return owners


@dataclass(eq=False)
class Weights:
    """The weights of one training, and how they came about. Deterministic: no draw but the shuffle, from `seed`.

    `history` has one JSON-able row per update: update (from 1), step, cosines as measured, errors (their standard
    errors), used (what moved the weights) and weights after it, each a list [K] or None where nothing was measured;
    None in place of a number that is undefined.

    Args:
        names: The weighted tasks, K of them.
        prior: Starting weights, float [K].
        updater: The step.
        target: The target's name if it is one of the tasks (joint training), else None.
        evidence: What moves the weights: "measured" cosines (TAWT), "null" (sources 0, target 1), "shuffled" (each
            source moves by another's cosine), or "fixed" (never moves).
        seed: The seed of the shuffle.
        history: Rows of the updates so far.
        mover: What moves the weights in place of the updater; None for the updater.
        memory: What the mover keeps from update to update, plain JSON values.

    Raises:
        InputError: Tasks, prior, target or evidence are impossible.
    """

    names: Sequence[str]
    prior: np.ndarray
    updater: Updater = field(default_factory=Updater)
    target: str | None = None
    evidence: Evidence = "measured"
    seed: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)
    mover: Mover | None = None
    memory: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.names = list(self.names)
        if not self.names or len(set(self.names)) < len(self.names):
            raise InputError(f"weights: tasks {self.names}; they must be at least one, each named once")
        if self.evidence not in get_args(Evidence):
            raise InputError(f"evidence: {self.evidence!r} is none of {', '.join(get_args(Evidence))}")
        self.prior = cosine.normalised(self.prior, self.names)
        self.log_w = self._log_prior = _log(self.prior)
        self._at = None if self.target is None else _position(self.names, self.target)
        if len(self.names) < 2 and self._at is not None:
            raise InputError(f"weights: only the target {self.target!r}; name at least one source")
        self._given = np.arange(len(self.names))
        if self.evidence == "shuffled":
            self._given = other_identities(len(self.names), self._at, self.seed)

    @property
    def needs_probe(self) -> bool:
        """Whether an update needs measured cosines; the null schedule and fixed weights do not."""
        return self.evidence in ("measured", "shuffled")

    @property
    def values(self) -> np.ndarray:
        """The weights in force, float64 [K], sum 1; exactly 1/K where all log weights are equal."""
        weights = np.exp(self.log_w - self.log_w.max())
        return weights / weights.sum()

    @property
    def multipliers(self) -> dict[str, float]:
        """K w by task, by which the authors scale a task-pure batch's loss; exactly 1 for uniform weights."""
        weights = np.exp(self.log_w - self.log_w.max())
        return dict(zip(self.names, (weights * (len(weights) / weights.sum())).tolist(), strict=True))

    def update(
        self, cosines: Any = None, errors: Any = None, step: int = 0, losses: Any = None, more: Any = None
    ) -> np.ndarray:  # fmt: skip
        """Move the weights by measured cosines, or by losses.

        The null schedule and fixed weights take cosines only to record them.

        Args:
            cosines: float [K]; None where nothing was measured.
            errors: Their standard errors, float [K]; None for none.
            step: Optimiser steps done so far.
            losses: Mean losses since the last update, float [K], NaN where a task had no row; None where not followed.
            more: What the mover asked for besides, float [K]; None where it did not.

        Returns:
            The new weights, float64 [K].

        Raises:
            InputError: Shapes do not fit, or cosines are needed and missing.
        """
        size = len(self.names)
        seen = {"cosines": cosines, "errors": errors}
        seen |= {} if losses is None else {"losses": losses}
        seen = {k: None if v is None else np.asarray(v, np.float64) for k, v in seen.items()}
        for name, values in seen.items():
            if values is not None and values.shape != (size,):
                raise InputError(f"{name}: shape {list(values.shape)} does not fit the {size} tasks {self.names}")
        if self.needs_probe and cosines is None:
            raise InputError(f"cosines: evidence {self.evidence!r} needs them measured")
        used = None
        if self.mover:
            read = seen.get("losses", seen["cosines"])
            moved = self.mover(self.values, read, more, self.memory, step)
            self.log_w = _log(cosine.normalised(moved, list(self.names)))
        elif self.needs_probe:
            errors = None if errors is None else seen["errors"][self._given]
            used = self.updater.usable(seen["cosines"][self._given], errors)
        elif self.evidence == "null":
            used = null_cosines(size, self._at)
        if used is not None:
            self.log_w = self.updater.step(self.log_w, used, self._log_prior)
        row = {k: _json(v) for k, v in {**seen, "used": used, "weights": self.values}.items()}
        self.history.append({"update": len(self.history) + 1, "step": int(step), **row})
        return self.values

    def state(self) -> dict[str, Any]:
        """Return the whole object as strict JSON can hold it."""
        settings = {k: getattr(self, k) for k in ("names", "target", "evidence", "seed")}
        logs = {"prior": self.prior.tolist(), "log_w": _json(self.log_w), "memory": dict(self.memory)}
        return settings | logs | {"updater": asdict(self.updater), "history": [dict(row) for row in self.history]}

    @classmethod
    def from_state(cls, state: Mapping[str, Any], mover: Mover | None = None) -> Weights:
        """Restore the weights from which `state` was taken; they go on as they would have.

        Raises:
            InputError: It is not the state of task weights.
        """
        try:
            settings = {k: state[k] for k in ("names", "target", "evidence", "seed")}
            weights = cls(prior=np.array(state["prior"]), updater=Updater(**state["updater"]), mover=mover, **settings)
            weights.prior, weights._log_prior = np.array(state["prior"], float), _log(np.array(state["prior"], float))
            weights.log_w = np.array([-np.inf if v is None else v for v in state["log_w"]], float)
            weights.history = [dict(row) for row in state["history"]]
            weights.memory = dict(state["memory"])
        except (KeyError, TypeError) as error:
            raise InputError(f"not the state of task weights: {type(error).__name__} {error}") from error
        if weights.log_w.shape != weights.prior.shape:
            raise InputError(f"not the state of {len(weights.names)} task weights: log_w has another length")
        return weights


def _log(weights: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(weights)


def _position(names: list[str], target: str) -> int:
    if target not in names:
        raise InputError(f"target: {target!r} is not one of the weighted tasks {', '.join(names)}")
    return names.index(target)


def _json(values: np.ndarray | None) -> list[float | None] | None:
    return None if values is None else [float(v) if math.isfinite(v) else None for v in values]
