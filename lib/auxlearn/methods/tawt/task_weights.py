"""Follow task weights over a training: where they start, what moves them, and controls that need no gradient.

In joint training the target is one of the weighted tasks; in the pre-training form it is not. The step itself is
`weight_rule`'s.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol, get_args

import numpy as np

from auxlearn import seeding
from auxlearn.errors import InputError
from auxlearn.methods.tawt import cosine, weight_rule
from auxlearn.methods.tawt.weight_rule import Updater

# measured: TAWT. null: sources 0, target 1. shuffled: each source moves by another's cosine. fixed: never moves.
# losses: a policy moves them by the tasks' losses.
Evidence = Literal["measured", "null", "shuffled", "fixed", "losses"]


class Mover(Protocol):
    """What moves weights in place of TAWT's rule: a policy, see `methods.base.WeightPolicy`."""

    def __call__(
        self, weights: np.ndarray, read: np.ndarray | None, more: np.ndarray | None, memory: dict[str, Any], step: int
    ) -> np.ndarray:
        """Return the next weights, float64 [K], from those in force and from cosines or losses, float64 [K]."""


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
        self.log_w = self._log_prior = weight_rule.log_weights(self.prior)
        self._at = None if self.target is None else weight_rule.position_of(self.names, self.target)
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
            self.log_w = weight_rule.log_weights(
                cosine.normalised(moved, list(self.names), "the weights that its policy moves to")
            )
        elif self.needs_probe:
            errors = None if errors is None else seen["errors"][self._given]
            used = self.updater.usable(seen["cosines"][self._given], errors)
        elif self.evidence == "null":
            used = weight_rule.null_cosines(size, self._at)
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
            weights.prior = np.array(state["prior"], float)
            weights._log_prior = weight_rule.log_weights(weights.prior)
            weights.log_w = np.array([-np.inf if v is None else v for v in state["log_w"]], float)
            weights.history = [dict(row) for row in state["history"]]
            weights.memory = dict(state["memory"])
        except (KeyError, TypeError) as error:
            raise InputError(f"not the state of task weights: {type(error).__name__} {error}") from error
        if weights.log_w.shape != weights.prior.shape:
            raise InputError(f"not the state of {len(weights.names)} task weights: log_w has another length")
        return weights


def _json(values: np.ndarray | None) -> list[float | None] | None:
    return None if values is None else [float(v) if math.isfinite(v) else None for v in values]
