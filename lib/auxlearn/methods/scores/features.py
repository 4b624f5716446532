"""Cosines of pooled features, computed when they are read."""

from __future__ import annotations

import numpy as np
import pandas as pd

from auxlearn.methods.rules.similarities import Similarities
from auxlearn.methods.scores.row_pass import Read


def cosines(read: Read, pool: pd.DataFrame, targets: pd.DataFrame) -> Similarities:
    """Compare candidates with target rows by the cosine of their features.

    Args:
        read: A pass that read the features of all these rows.
        pool: The N candidates: columns task and row.
        targets: The Q target rows.

    Returns:
        Similarities of N candidates with Q targets.
    """
    held, own, others = read.store.features, read.places(pool), read.places(targets)
    assert held is not None, "the pass was asked for features"
    wanted = _unit(held[others]).T.copy()
    return Similarities(len(own), len(others), lambda part: _unit(held[own[part]]) @ wanted, (-1.0, 1.0))


def _unit(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
