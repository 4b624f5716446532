"""Rows that stand for many others: facility location among those that are most like the targets."""

from __future__ import annotations

import heapq
import math

import numpy as np

from auxlearn.methods import ranking
from auxlearn.methods.rules.similarities import Choice, Similarities

CELLS = 1 << 24  # of a product of profiles: 128 MB
AMONG = 4.0  # rows on a short list for each row to take


def diverse(similarities: Similarities, n: int, seed: int = 0, among: float = AMONG) -> Choice:
    """Take n rows such that every row of a short list is like one of them.

    The short list is the `among` times n rows of the highest mean similarity. Each is described by its similarities
    with all targets, and two are alike by the cosine of these. Rows are taken one by one, each the one by which the
    sum over the short list of max over taken rows of the cosine grows most: the greedy rule, which reaches 1 - 1/e of
    the best sum. Gains only shrink, so that most are not computed anew (Minoux, 1978). The time grows with the square
    of `among` times n.

    Args:
        similarities: Of N candidates with Q targets, two or more.
        n: The number of rows to take.
        seed: Decides among ties.
        among: How many times n the short list is, 1 or more; with 1 it decides the order alone.

    Returns:
        The rows in the order in which they are taken, and each candidate's mean similarity.

    Raises:
        ValueError: n is negative or above N, a similarity is NaN, there is one target, or `among` is below 1.

    Reference:
        Facility location as in Wei et al., 2015 (Submodularity in data subset selection). submodlib and apricot do the
        same from a whole matrix in memory; this needs the profiles alone.
    """
    if similarities.targets < 2:
        raise ValueError("rule diverse: rows with one score each are all alike; it needs two targets or more")
    if among < 1:
        raise ValueError(f"among: {among} is below 1; the short list needs n rows")
    ranking.check_n(n, similarities.size)
    scores = similarities.means()
    short = ranking.top_n(scores, min(similarities.size, math.ceil(among * n)), seed)
    profiles = np.asarray(similarities.at(short), np.float64)
    lengths = np.sqrt(np.square(profiles).sum(1, keepdims=True))
    taken = _facility_location(profiles / np.where(lengths > 0, lengths, 1.0), n, ranking.tie_hash(short, seed))
    return Choice(short[taken], scores)


def _facility_location(unit: np.ndarray, n: int, ties: np.ndarray) -> np.ndarray:
    """Take n rows of `unit`, float64 [M, Q] with rows of length 1 or 0, greedily; return positions."""
    reached = np.full(len(unit), -1.0)  # by the rows that are taken: no cosine is lower
    step = max(1, CELLS // max(1, len(unit)))
    gains = np.concatenate([
        (unit[at : at + step] @ unit.T - reached).sum(1) for at in range(0, len(unit), step)
    ] or [np.zeros(0)])  # fmt: skip
    heap = [(-gain, int(tie), row, 0) for row, (gain, tie) in enumerate(zip(gains, ties, strict=True))]
    heapq.heapify(heap)
    taken: list[int] = []
    while len(taken) < n:
        gain, tie, row, known = heapq.heappop(heap)
        cosines = unit @ unit[row]
        if known < len(taken):  # computed before the last row was taken: an upper bound
            gain = -float(np.maximum(cosines - reached, 0).sum())
            heapq.heappush(heap, (gain, tie, row, len(taken)))
            continue
        taken.append(row)
        np.maximum(reached, cosines, out=reached)
    return np.array(taken, np.int64)
