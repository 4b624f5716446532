"""The best rows of each task, as many as its share of the candidates."""

from __future__ import annotations

import numpy as np

from auxlearn.methods import ranking
from auxlearn.methods.rules.similarities import Choice, Similarities


def quota(similarities: Similarities, n: int, groups: np.ndarray, seed: int = 0) -> Choice:
    """Take from each group its rows of the highest mean similarity, in proportion to its size.

    Args:
        similarities: Of N candidates with Q targets.
        n: The number of rows to take.
        groups: The group of each candidate [N], usually its task.
        seed: Decides among ties.

    Returns:
        The rows, best first over all groups, and each candidate's mean.

    Raises:
        ValueError: n is negative or above N, or a similarity is NaN.
    """
    scores = similarities.means()
    return Choice(ranking.top_quota(scores, n, groups, seed), scores)
