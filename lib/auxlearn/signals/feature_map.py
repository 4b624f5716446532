"""A map of rows' features in two dimensions: which rows are drawn, and their t-SNE coordinates."""

from __future__ import annotations

import numpy as np
import pandas as pd

from auxlearn import seeding

LEAST_POINTS = 5


def subsample(rows: pd.DataFrame, per_task: int, seed: int) -> np.ndarray:
    """Draw at most `per_task` rows of each task, uniformly.

    FastMTL's authors plot the *first* 2,000 unused rows of each task; files are often ordered by source, so a uniform
    draw is made here. A task's draw depends on the seed and its own rows only.

    Args:
        rows: Column task, one row per row.
        per_task: Most rows per task.
        seed: Seed of the draw.

    Returns:
        Positions in `rows`, int64, ascending.

    Raises:
        ValueError: `per_task` is below 1.
    """
    if per_task < 1:
        raise ValueError(f"per_task: {per_task} is below 1")
    owner, positions = rows["task"].to_numpy(), [np.zeros(0, np.int64)]
    for name in pd.unique(owner):
        own = np.flatnonzero(owner == name)
        if len(own) > per_task:
            own = seeding.rng(seed, "tsne-rows", str(name)).choice(own, per_task, replace=False)
        positions.append(own.astype(np.int64))
    return np.sort(np.concatenate(positions))


def tsne_table(rows: pd.DataFrame, features: np.ndarray, seed: int) -> pd.DataFrame:
    """Map rows to two dimensions as a table; see `tsne`.

    Args:
        rows: Column task, for N rows.
        features: [N, d].
        seed: Seed of the map.

    Returns:
        Columns task, x and y.
    """
    x, y = tsne(features, seed).T
    return pd.DataFrame({"task": rows["task"].to_numpy(), "x": x, "y": y})


def tsne(features: np.ndarray, seed: int, perplexity: float = 30.0) -> np.ndarray:
    """Compute two t-SNE coordinates per row.

    Features are centred and reduced to at most 50 principal components; the first two start the map, which keeps the
    large-scale layout more stable than a random start (Kobak and Berens, 2019). FastMTL's authors give MulticoreTSNE
    the raw features and a random start. It runs on one thread (about 6 ms per point), so the map is the same each time
    on one machine; another BLAS may round differently, and t-SNE amplifies that. After a start from components the seed
    changes little or nothing: to see how stable a map is, draw other rows (`subsample`). Who neighbours whom is what a
    map shows; distances between clusters, their sizes and densities carry no meaning.

    Args:
        features: [N, d].
        seed: Seed of the map.
        perplexity: t-SNE's perplexity, lowered to (N - 1) / 3 where N is small.

    Returns:
        Coordinates without unit, float32 [N, 2].

    Raises:
        ValueError: Features are NaN, infinite or without spread, d < 2, N < 5, or the perplexity is not above 0.

    Reference:
        van der Maaten and Hinton, 2008.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    x = np.asarray(features, np.float64)
    if x.ndim != 2 or x.shape[0] < LEAST_POINTS or x.shape[1] < 2:
        raise ValueError(f"features: {LEAST_POINTS} or more rows of 2 or more values are needed, got shape {x.shape}")
    if not np.isfinite(x).all():
        raise ValueError(f"features: {int((~np.isfinite(x)).any(1).sum())} rows hold NaN or infinity")
    if np.ptp(x, axis=0).max() == 0:
        raise ValueError("features: all rows are equal; there is nothing to map")
    if perplexity <= 0:
        raise ValueError(f"perplexity: {perplexity} is not above 0")
    state = seeding.derive(seed, "tsne") % 2**32
    model = TSNE(
        2, perplexity=min(perplexity, (len(x) - 1) / 3), init="pca", learning_rate="auto", random_state=state, n_jobs=1
    )
    with threadpool_limits(1):  # sums over threads depend on how many there are
        reduced = PCA(min(50, *x.shape), svd_solver="full").fit_transform(x)
        return model.fit_transform(reduced.astype(np.float32)).astype(np.float32)
