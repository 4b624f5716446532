"""Which tasks and rows GradTS takes by their correlation with the primary (Ma et al., EMNLP 2021).

Everything here is a pure function of correlations or of a training callback. Read in github.com/RenzeLou/GradTS; where
its code does what a corrected method would not, a switch restores it:

| | default | as the GradTS code has it |
|---|---|---|
| tasks | a threshold; or `above_null`, where chance ends; or the top k | a threshold |
| trial | one statistic, no auxiliary a candidate, shorter set on ties | `rule="code"` |
| trial's length | `trial_most` tasks at most | no limit: `trial_most` as many as there are |
| fg by fraction | exactly that many rows | `rule="code"`: one more, and all that tie with it |
| fg by threshold | not offered to arms (`fg_threshold` is it) | the rows whose tau reaches it |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from auxlearn.methods import ranking
from auxlearn.methods.gradts.correlation import permutation_null


def thres(tau_by_task: Mapping[str, float], threshold: float) -> tuple[str, ...]:
    """Return the candidates of GradTS-thres: those with tau at or above the threshold, best first, ties by name.

    (The GradTS code: 0.60 for bert-base-cased with kv_columns; a threshold serves only its own encoder and definition.)

    Args:
        tau_by_task: By candidate, its tau with the primary.
        threshold: The lowest tau to keep.

    Raises:
        ValueError: A tau is not finite.
    """
    return tuple(name for name in _ordered(tau_by_task) if tau_by_task[name] >= threshold)


def above_null(
    matrices: np.ndarray, names: Sequence[str], level: float = 0.05, permutations: int = 999, seed: int = 0
) -> tuple[str, ...]:
    """Return the candidates whose tau is higher than chance gives: `permutation_null`'s p is at most `level`.

    Not in GradTS, whose threshold serves one encoder: with another no candidate may reach it, or all may.

    Args:
        matrices: Task matrices [1 + K, L, H], the primary's first.
        names: The candidates, K of them.
        level: The share of permutations that may reach a candidate's tau.
        permutations: The number of permutations.
        seed: The seed of the permutations.

    Returns:
        Names, the highest tau first, ties by name.
    """
    known = {}
    for name, matrix in zip(names, matrices[1:], strict=True):
        tau, _, p = permutation_null(matrix, matrices[0], permutations, seed)
        if np.isfinite(tau) and p <= level:  # a constant matrix has no tau
            known[name] = tau
    return tuple(_ordered(known))


def _ordered(tau_by_task: Mapping[str, float]) -> list[str]:
    for name, tau in tau_by_task.items():
        if not np.isfinite(tau):
            raise ValueError(f"task {name!r}: its tau is {tau}; was its matrix constant?")
    return sorted(tau_by_task, key=lambda name: (-tau_by_task[name], name))


@dataclass
class Trial:
    """What a trial search chose, its score, and every prefix it scored in order: (tasks, score)."""

    chosen: tuple[str, ...]
    score: float
    visited: list[tuple[tuple[str, ...], float]] = field(default_factory=list)


Score = float | tuple[float, float]


def trial(
    tau_by_task: Mapping[str, float], score: Callable[[tuple[str, ...]], Score], *,
    rule: Literal["corrected", "code"] = "corrected", patience: int = 1,
    cache: MutableMapping[frozenset[str], Score] | None = None,
) -> Trial:  # fmt: skip
    """Search by GradTS-trial: score nested prefixes of the candidates in tau order while they help; keep the best.

    The search ends after `patience` prefixes in a row below the best so far. By default the primary alone comes first
    and may win, and ties go to the fewer tasks.

    Under `rule="code"` (train_with_corr.py, read_trial_results.py) there is at least one auxiliary. A prefix goes on if
    its *best* epoch is at or above its predecessor's *last* epoch, so that `score` may return (best, last). The best
    best epoch wins. Not copied: deciding by another metric than the one that wins; and ties, which go to the more tasks
    here, and there to whichever result the file system lists last.

    Args:
        tau_by_task: By candidate, its tau with the primary.
        score: Trains the primary with these auxiliaries and returns what to maximise on rows held out from both
            training and test. It is called once per set.
        rule: "corrected" or "code".
        patience: Under "corrected", the number of misses in a row that end the search; under "code" it is 1.
        cache: Scores that are known, by set; new ones are added.

    Returns:
        The tasks chosen, their score, and every prefix that was scored.

    Raises:
        ValueError: `rule` or `patience` is impossible, a tau or score is not finite, or "code" has no candidate.
    """
    if rule not in ("corrected", "code") or patience < 1 or (rule == "code" and patience != 1):
        raise ValueError(
            f"rule {rule!r} with patience {patience}: choose corrected or code (patience 1), patience >= 1"
        )
    order, known = _ordered(tau_by_task), {} if cache is None else cache
    if rule == "code" and not order:
        raise ValueError("rule 'code' always takes an auxiliary, but there is no candidate")
    search, misses, bar = Trial((), -np.inf), 0, -np.inf
    for k in range(1 if rule == "code" else 0, len(order) + 1):
        tasks = tuple(order[:k])
        key = frozenset(tasks)
        if key not in known:
            known[key] = score(tasks)
        value = known[key]
        best, last = value if isinstance(value, tuple) else (value, value)
        if not (np.isfinite(best) and np.isfinite(last)):
            raise ValueError(f"score of {tasks}: {value}; a search needs finite scores")
        search.visited.append((tasks, float(best)))
        misses = 0 if best >= bar else misses + 1
        if not search.visited[1:] or best > search.score or (rule == "code" and best == search.score):
            search.chosen, search.score = tasks, float(best)
        if misses >= patience:
            break
        bar = last if rule == "code" else max(bar, best)
    return search


def fg_threshold(taus: np.ndarray, threshold: float) -> np.ndarray:
    """Return the rows of an auxiliary that GradTS-fg keeps by a threshold, in row order.

    A row without a tau (NaN: a constant matrix, as of an example whose gradient vanished) is not kept.

    Args:
        taus: The rows' taus, float [N].
        threshold: The lowest tau to keep.

    Returns:
        Positions, int64.

    Raises:
        ValueError: A tau is outside [-1, 1].
    """
    return np.flatnonzero(_taus(taus) >= threshold).astype(np.int64)


def fg_fraction(
    taus: np.ndarray, fraction: float, seed: int = 0, rule: Literal["corrected", "code"] = "corrected"
) -> np.ndarray:
    """Return the top fraction of an auxiliary's rows by tau, in row order. A fraction carries over between encoders.

    Args:
        taus: The rows' taus, float [N].
        fraction: In 0 … 1.
        seed: The seed of the tie-breaking hash.
        rule: "corrected": exactly round(fraction N) rows, ties by seeded hash, rows without a tau last and never kept
            (fewer rows then). "code" (ex_generator_GradTS-fg_old.py): the threshold is entry int(fraction N) of the
            taus sorted descending, and rows at or above it are kept: one more than asked for, and all that tie;
            fraction 1 keeps all that have a tau.

    Returns:
        Positions, int64.

    Raises:
        ValueError: A tau is outside [-1, 1], or `fraction` or `rule` is impossible.
    """
    taus = _taus(taus)
    if not 0 <= fraction <= 1 or rule not in ("corrected", "code"):
        raise ValueError(f"fraction {fraction}, rule {rule!r}: choose 0 to 1, and corrected or code")
    known = ~np.isnan(taus)
    if rule == "code":
        order = np.sort(taus[known])[::-1]
        place = int(len(taus) * fraction)
        return fg_threshold(taus, order[place] if place < len(order) else -np.inf)
    count = min(round(fraction * len(taus)), int(known.sum()))
    return np.sort(ranking.top_n(taus, count, seed, known))


def _taus(taus: np.ndarray) -> np.ndarray:
    taus = np.asarray(taus, np.float64)
    if taus.ndim != 1 or (np.abs(taus[~np.isnan(taus)]) > 1 + 1e-9).any():
        raise ValueError(f"taus of shape {list(taus.shape)}: expected [rows] with values from -1 to 1")
    return taus
