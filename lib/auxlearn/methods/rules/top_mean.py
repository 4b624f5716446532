"""The rows that are most like all targets on average."""

from __future__ import annotations

from auxlearn.methods import ranking
from auxlearn.methods.rules.similarities import Choice, Similarities


def top_mean(similarities: Similarities, n: int, seed: int = 0) -> Choice:
    """Take the n rows whose mean similarity with the targets is highest.

    Of scores that do not depend on a target, which are one column, it takes the n highest.

    Args:
        similarities: Of N candidates with Q targets.
        n: The number of rows to take.
        seed: Decides among ties.

    Returns:
        The rows and each candidate's mean.

    Raises:
        ValueError: n is negative or above N, or a similarity is NaN.
    """
    scores = similarities.means()
    return Choice(ranking.top_n(scores, n, seed), scores)
