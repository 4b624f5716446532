"""Targets take turns: each takes the row that is most like it and not taken yet."""

from __future__ import annotations

import numpy as np

from auxlearn import seeding
from auxlearn.methods import ranking
from auxlearn.methods.rules.similarities import Choice, Similarities


def round_robin(similarities: Similarities, n: int, seed: int = 0) -> Choice:
    """Let the targets take rows in turn until n are taken; their order is drawn from the seed.

    Memory holds the n best rows of each target: one of them is still free at any turn, so that no more are needed.

    Args:
        similarities: Of N candidates with Q targets.
        n: The number of rows to take.
        seed: Decides on the order of the targets, and among ties.

    Returns:
        The rows in the order in which they are taken, and each candidate's highest similarity.

    Raises:
        ValueError: n is negative or above N, or a similarity is NaN.

    Reference:
        RDS+ (Ivison et al., 2025, 2503.01807). Their code goes through the targets in the order of their file.
    """
    ranking.check_n(n, similarities.size)
    wishes, scores = _wishes(similarities, n, ranking.tie_hash(np.arange(similarities.size), seed))
    turns = seeding.rng(seed, "ties", "targets").permutation(similarities.targets).tolist()
    taken, places = np.zeros(similarities.size, bool), [0] * similarities.targets
    rows: list[int] = []
    while len(rows) < n:
        for target in turns[: n - len(rows)]:
            wish, place = wishes[target], places[target]
            while taken[wish[place]]:
                place += 1
            places[target] = place + 1
            taken[wish[place]] = True
            rows.append(wish[place])
    return Choice(np.array(rows, np.int64), scores)


def _wishes(similarities: Similarities, n: int, ties: np.ndarray) -> tuple[list[np.ndarray], np.ndarray]:
    """Return each target's n best rows, best first, and each candidate's highest similarity, float64 [N]."""
    wishes = [np.zeros(0, np.int64) for _ in range(similarities.targets)]
    values = [np.zeros(0) for _ in wishes]
    scores = np.empty(similarities.size)
    for part, block in similarities.blocks():
        scores[part] = block.max(1)
        for target, column in enumerate(np.ascontiguousarray(block.T)):
            at = np.arange(part.start, part.stop)
            if n and len(wishes[target]) == n:  # beaten by all that are held: most rows, once some have been seen
                worst, last = values[target][-1], wishes[target][-1]
                better = (column > worst) | ((column == worst) & (ties[part] < ties[last]))
                if not better.any():
                    continue
                at, column = at[better], column[better]
            at, column = np.concatenate([wishes[target], at]), np.concatenate([values[target], column])
            best = np.lexsort((ties[at], -column))[:n]
            wishes[target], values[target] = at[best], column[best]
    return wishes, scores
