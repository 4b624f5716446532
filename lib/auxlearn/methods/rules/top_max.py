"""The rows that are most like some target."""

from __future__ import annotations

from auxlearn.methods import ranking
from auxlearn.methods.rules.similarities import Choice, Similarities


def top_max(similarities: Similarities, n: int, seed: int = 0) -> Choice:
    """Take the n rows whose highest similarity with a target is highest.

    One target that is like many rows may fill the whole choice: `round_robin` gives each its turn.

    Args:
        similarities: Of N candidates with Q targets.
        n: The number of rows to take.
        seed: Decides among ties.

    Returns:
        The rows and each candidate's highest similarity.

    Raises:
        ValueError: n is negative or above N, or a similarity is NaN.

    Reference:
        LESS (Xia et al., 2024), over the subtasks of a target; "doubly greedy" of Nayak et al., 2026.
    """
    scores = similarities.reduced(lambda block: block.max(1))
    return Choice(ranking.top_n(scores, n, seed), scores)
