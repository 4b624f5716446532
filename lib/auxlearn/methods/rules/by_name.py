"""The rules by name, for what chooses one by an option."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np

from auxlearn.methods.rules.diverse import diverse
from auxlearn.methods.rules.quota import quota
from auxlearn.methods.rules.round_robin import round_robin
from auxlearn.methods.rules.similarities import Choice, Similarities
from auxlearn.methods.rules.top_max import top_max
from auxlearn.methods.rules.top_mean import top_mean
from auxlearn.methods.rules.transport import transport

Rule = Literal["top_mean", "top_max", "round_robin", "quota", "diverse", "transport"]
RULES: tuple[Rule, ...] = get_args(Rule)
OF_ONE_SCORE: tuple[Rule, ...] = ("top_mean", "quota")  # that need no target rows to choose among


def choose(rule: Rule, similarities: Similarities, n: int, groups: np.ndarray, seed: int = 0) -> Choice:
    """Take n rows by a rule with its published constants.

    Args:
        rule: The rule.
        similarities: Of N candidates with Q targets.
        n: The number of rows to take.
        groups: The task of each candidate [N].
        seed: Decides among ties, and on turns.

    Returns:
        The rows, and each candidate's score under the rule.

    Raises:
        ValueError: As from the rule.
    """
    if rule == "quota":
        return quota(similarities, n, groups, seed)
    pure = {each.__name__: each for each in (top_mean, top_max, round_robin, diverse, transport)}
    return pure[rule](similarities, n, seed)
