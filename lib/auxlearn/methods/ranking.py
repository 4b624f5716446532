"""Turn scores into exactly n rows, and draw the controls that tell a score from luck.

All functions are pure: the same scores, n and seed give the same rows on any machine.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from auxlearn import seeding


def _eligible(size: int, eligible: np.ndarray | None) -> np.ndarray:
    """Return the positions that may be chosen, from a boolean mask or from positions."""
    if eligible is None:
        return np.arange(size)
    mask = np.asarray(eligible)
    if mask.dtype == bool:
        if mask.shape != (size,):
            raise ValueError(f"eligible: a mask of shape {mask.shape} does not fit {size} rows")
        return np.flatnonzero(mask)
    positions = np.unique(mask.astype(np.int64))
    if len(positions) and not 0 <= positions[0] <= positions[-1] < size:
        raise ValueError(f"eligible: positions from {positions[0]} to {positions[-1]} do not fit {size} rows")
    return positions


def check_n(n: int, available: int) -> None:
    """Refuse a number of rows that cannot be taken.

    Args:
        n: The number asked for.
        available: The number of eligible rows.

    Raises:
        ValueError: n is negative or above the number of eligible rows.
    """
    if n < 0 or n > available:
        raise ValueError(f"n: {n} rows asked for, but {available} are eligible; lower n or widen the pool")


def _refuse_nan(scores: np.ndarray, rows: np.ndarray) -> None:
    bad = rows[np.isnan(scores[rows])]
    if len(bad):
        raise ValueError(f"scores: row {bad[0]} is NaN; a ranking needs a number for every row")


def tie_hash(index: np.ndarray, seed: int) -> np.ndarray:
    """Return one seeded pseudo-random number per row (splitmix64), whatever the number of rows.

    Args:
        index: Positions of the rows, int [N].
        seed: The seed.

    Returns:
        uint64 [N]; among equal scores the lowest comes first.
    """
    with np.errstate(over="ignore"):
        z = index.astype(np.uint64) + np.uint64(seeding.derive(seed, "ties")) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def top_n(scores: np.ndarray, n: int, seed: int = 0, eligible: np.ndarray | None = None) -> np.ndarray:
    """Return the n eligible rows with the highest scores, best first.

    Ties are broken by a seeded hash of the row's position, so that equal scores favour neither early rows nor early
    tasks. (The FastMTL code ranks fp16 sigmoids with average ties and keeps ranks up to n, which keeps or drops whole
    blocks of ties and so rarely yields n.)

    Args:
        scores: One score per row, float [N]; higher is better.
        n: The number of rows to take.
        seed: The seed of the tie-breaking hash.
        eligible: The rows that may be taken: bool [N] or positions; None means all.

    Returns:
        int64 [n], distinct positions.

    Raises:
        ValueError: n is negative or above the number of eligible rows, an eligible score is NaN, or the mask does not
            fit.
    """
    scores = np.asarray(scores)
    rows = _eligible(len(scores), eligible)
    check_n(n, len(rows))
    _refuse_nan(scores, rows)
    order = np.lexsort((tie_hash(rows, seed), -scores[rows].astype(np.float64)))
    return rows[order[:n]].astype(np.int64)


def standardised(scores: np.ndarray, groups: np.ndarray, eligible: np.ndarray | None = None) -> np.ndarray:
    """Subtract from each score its group's mean and divide by its standard deviation, both over eligible rows.

    Otherwise a ranking over several tasks is decided by the task whose scores have the hottest tail. A group without
    spread becomes 0.

    Args:
        scores: One score per row, float [N].
        groups: The group of each row [N].
        eligible: The rows that count: bool [N] or positions; None means all.

    Returns:
        float64 [N].

    Raises:
        ValueError: An eligible score is NaN, or the mask does not fit.
    """
    scores, groups = np.asarray(scores, np.float64), np.asarray(groups)
    rows = _eligible(len(scores), eligible)
    if np.isnan(scores[rows]).any():
        raise ValueError(
            f"scores: row {rows[np.isnan(scores[rows])][0]} is NaN; a ranking needs a number for every row"
        )
    out = np.zeros(len(scores))
    for group in np.unique(groups):
        at, inside = groups == group, rows[groups[rows] == group]
        if len(inside):
            own = scores[inside]  # the mean of equal numbers may be another, and their spread not 0
            out[at] = (scores[at] - own.mean()) / own.std() if np.ptp(own) > 0 else 0.0
    return out


def fold_ranks(scores: np.ndarray, folds: np.ndarray, eligible: np.ndarray | None = None) -> np.ndarray:
    """Make scores of several models comparable: the share of its fold's eligible rows that each row beats.

    Two cross-fitted proxies need not put their logits on one scale. Their halves are random, so ranks within a half are
    comparable. Ties share their mean rank. With one fold the order is that of the scores.

    Args:
        scores: One score per row, float [N].
        folds: The model that scored each row [N].
        eligible: The rows that count: bool [N] or positions; None means all.

    Returns:
        float64 [N], in 0 … 1; -1 for rows that are not eligible.
    """
    from scipy.stats import rankdata

    scores, folds = np.asarray(scores, np.float64), np.asarray(folds)
    rows, out = _eligible(len(scores), eligible), np.full(len(scores), -1.0)
    for fold in np.unique(folds[rows]):
        inside = rows[folds[rows] == fold]
        out[inside] = (rankdata(scores[inside]) - 0.5) / len(inside)
    return out


def top_quota(
    scores: np.ndarray, n: int, groups: np.ndarray, seed: int = 0, eligible: np.ndarray | None = None
) -> np.ndarray:
    """Return the n best rows under quotas: each group gives its best rows in proportion to its eligible rows.

    Largest remainders make the quotas add up to n. From each task it takes as many rows as random takes on average, so
    that it differs from random only by the score within tasks.

    Args:
        scores: One score per row, float [N]; higher is better.
        n: The number of rows to take.
        groups: The group of each row [N], usually its task.
        seed: The seed of the tie-breaking hash.
        eligible: The rows that may be taken: bool [N] or positions; None means all.

    Returns:
        int64 [n], best first over all groups.

    Raises:
        ValueError: As for `top_n`.
    """
    groups = np.asarray(groups)
    rows = _eligible(len(groups), eligible)
    check_n(n, len(rows))
    names, counts = np.unique(groups[rows], return_counts=True)
    exact = n * counts / max(1, counts.sum())
    quota = np.floor(exact).astype(int)
    order = np.lexsort((tie_hash(np.arange(len(names)), seed), -(exact - quota)))
    quota[order[: n - quota.sum()]] += 1
    taken = [
        top_n(scores, k, seed, rows[groups[rows] == name]) for name, k in zip(names, quota, strict=True)
    ]  # fmt: skip
    chosen = np.concatenate(taken) if taken else np.zeros(0, np.int64)
    return top_n(scores, n, seed, chosen)


def choose(
    rule: str, scores: np.ndarray, n: int, tasks: np.ndarray, folds: np.ndarray, seed: int, eligible: np.ndarray
) -> np.ndarray:
    """Return the n rows that a ranking rule takes, best first.

    Args:
        rule: "global" is one ranking over all tasks (FastMTL); "quota" gives each task its share of the pool;
            "calibrated" standardises scores within a task.
        scores: float [N], on an additive scale (logits or log-odds).
        n: The number of rows to take.
        tasks: The task of each row [N].
        folds: The model that scored each row [N].
        seed: The seed of the tie-breaking hash.
        eligible: The rows that may be taken, bool [N].

    Returns:
        int64 [n].

    Raises:
        ValueError: As for `top_n`.
    """
    if rule == "calibrated":
        where = np.char.add(np.asarray(tasks, str), np.asarray(folds).astype(str))
        return top_n(standardised(scores, where, eligible), n, seed, eligible)
    ranks = fold_ranks(scores, folds, eligible) if len(np.unique(folds)) > 1 else scores
    if rule == "quota":
        return top_quota(ranks, n, tasks, seed, eligible)
    return top_n(ranks, n, seed, eligible)


def random_n(size: int, n: int, seed: int, eligible: np.ndarray | None = None) -> np.ndarray:
    """Draw n distinct eligible rows uniformly.

    Args:
        size: The number of rows, N.
        n: The number of rows to draw.
        seed: The seed of the draw.
        eligible: The rows that may be drawn: bool [N] or positions; None means all.

    Returns:
        int64 [n], in drawn order.

    Raises:
        ValueError: n is negative or above the number of eligible rows, or the mask does not fit.
    """
    rows = _eligible(size, eligible)
    check_n(n, len(rows))
    return seeding.rng(seed, "sample", "random").permutation(rows)[:n].astype(np.int64)


def matched_random(chosen: np.ndarray, groups: np.ndarray, seed: int, eligible: np.ndarray | None = None) -> np.ndarray:
    """Draw as many random rows from each group as `chosen` has.

    They are drawn from all eligible rows of the group, chosen ones included, so that the draw differs from `chosen`
    only by what the score adds within a group (FastMTL's "check in-task efficacy" with groups = tasks).

    Args:
        chosen: The selection to match, int [n].
        groups: The group of each row [N].
        seed: The seed of the draw.
        eligible: The rows that may be drawn: bool [N] or positions; None means all.

    Returns:
        int64 [n], grouped.

    Raises:
        ValueError: A group has fewer eligible rows than `chosen` takes from it, or the mask does not fit.
    """
    groups = np.asarray(groups)
    rows = _eligible(len(groups), eligible)
    rng, out = seeding.rng(seed, "sample", "matched"), []
    for group, count in zip(*np.unique(groups[chosen], return_counts=True), strict=True):
        members = rows[groups[rows] == group]
        if count > len(members):
            raise ValueError(f"group {str(group)!r}: {count} rows asked for, but {len(members)} are eligible")
        out.append(rng.permutation(members)[:count])
    return np.concatenate(out).astype(np.int64) if out else np.zeros(0, np.int64)


def draw(pool: pd.DataFrame, tasks: tuple[str, ...], n: int, seed: int) -> pd.DataFrame | None:
    """Draw n rows of these tasks, uniformly over their rows together.

    The draw depends on the set of tasks and the seed alone, so that a set is trained once, whichever arm tries it.

    Args:
        pool: The pool, with a column task.
        tasks: The tasks to draw from.
        n: The number of rows.
        seed: The seed of the draw.

    Returns:
        The rows in the pool's order, all of them where they are fewer than n; None where the tasks have no row.
    """
    inside = pool[pool["task"].isin(tasks)]
    if inside.empty:
        return None
    order = seeding.rng(seed, "sample", "tasks", *sorted(tasks)).permutation(len(inside))[:n]
    return inside.iloc[np.sort(order)].reset_index(drop=True)


def table(pool: pd.DataFrame, chosen: np.ndarray, scores: np.ndarray | None = None) -> pd.DataFrame:
    """Return the chosen rows of a pool as a table.

    Args:
        pool: The pool, one row per candidate.
        chosen: Positions in the pool, best first, int [n].
        scores: One score per pool row, float [N]; None for none.

    Returns:
        The pool's columns; with `scores` also score (float32) and rank (1 = best).
    """
    out = pool.iloc[chosen].reset_index(drop=True)
    if scores is not None:
        out["score"] = np.asarray(scores, np.float32)[chosen]
        out["rank"] = np.arange(1, len(out) + 1)
    return out


def shares(chosen: pd.DataFrame, pool: pd.DataFrame) -> pd.DataFrame:
    """Count the rows of each task in the pool and in the selection.

    Args:
        chosen: The selection, with a column task.
        pool: The pool, with a column task.

    Returns:
        Index task, in the pool's order; columns pool and chosen (rows), share (of the selection) and lift (share
        divided by the task's share of the pool).
    """
    counts = pd.DataFrame({"pool": pool["task"].value_counts(), "chosen": chosen["task"].value_counts()})
    counts = counts.fillna(0).astype(int).loc[list(dict.fromkeys(pool["task"]))]
    counts["share"] = counts["chosen"] / max(1, counts["chosen"].sum())
    counts["lift"] = counts["share"] / (counts["pool"] / counts["pool"].sum())
    return counts
