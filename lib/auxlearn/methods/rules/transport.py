"""Rows that receive most when the targets' mass is moved to the candidates at the least cost."""

from __future__ import annotations

import numpy as np

from auxlearn.methods import ranking
from auxlearn.methods.rules.similarities import Choice, Similarities

MOST = 1000  # rounds; 4 are usual, as the candidates' side is nearly free
CLOSE = 1e-9  # relative change of the targets' scaling after which nothing moves any more


def transport(similarities: Similarities, n: int, seed: int = 0, epsilon: float = 0.01, slack: float = 1e-4) -> Choice:
    """Take the n rows that receive most mass under unbalanced entropic optimal transport.

    Every target gives 1/Q in full. A candidate that receives other than 1/N pays `slack` times the KL divergence from
    that; a distance d costs its mass times d, and `epsilon` times the plan's entropy is deducted. With these defaults
    the candidates' side is nearly free, and a target's mass falls to its nearest rows as exp(-d / epsilon).

    The distance is (high - similarity) / (high - low): of cosines (1 - cos) / 2; where the similarities have no bounds,
    low and high are those that occur.

    Args:
        similarities: Of N candidates with Q targets.
        n: The number of rows to take.
        seed: Decides among ties.
        epsilon: Weight of the entropy, above 0.
        slack: Weight of the candidates' divergence, above 0.

    Returns:
        The rows, and the mass that each candidate receives; all masses sum to 1.

    Raises:
        ValueError: n is negative or above N, a similarity is NaN or infinite, or scaling has not settled.

    Reference:
        Sinkhorn's scaling with a KL penalty (Chizat et al., 2018), with the constants of Nayak et al., 2026. POT's
        `sinkhorn_unbalanced` gives the same plan, from a matrix of N times Q in memory; this holds a block of it.
    """
    ranking.check_n(n, similarities.size)
    low, high, best = np.inf, -np.inf, np.full(similarities.targets, -np.inf)
    for _, block in similarities.blocks():
        low, best = min(low, float(block.min())), np.maximum(best, block.max(0))
    high = float(best.max()) if similarities.size else 0.0
    if similarities.size and not np.isfinite([low, high]).all():
        raise ValueError("scores: a similarity is infinite; transport needs finite distances")
    if similarities.bounds:
        low, high = similarities.bounds
    scale = epsilon * ((high - low) or 1.0)
    power, give, get = slack / (slack + epsilon), 1.0 / max(1, similarities.targets), 1.0 / max(1, similarities.size)
    scaling, mass = np.ones(similarities.targets), np.zeros(similarities.size)
    for _ in range(MOST):
        arrives = np.zeros(similarities.targets)
        for part, block in similarities.blocks():
            # Each target's kernel is divided by its highest value, which its scaling makes up for: none underflows.
            kernel = np.exp((block - best) / scale)
            met = kernel @ scaling
            with np.errstate(divide="ignore"):
                free = np.where(met > 0, (get / met) ** power, 0.0)
            arrives += free @ kernel
            mass[part] = free * met
        before, scaling = scaling, give / arrives
        if np.abs(scaling / before - 1).max(initial=0) < CLOSE:
            return Choice(ranking.top_n(mass, n, seed), mass)
    raise ValueError(f"transport: not settled after {MOST} rounds; raise epsilon or lower slack")
