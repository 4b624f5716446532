"""How well head importance agrees between tasks and rows: GradTS's correlation (Ma et al., EMNLP 2021).

Everything here is a pure function of importance matrices, which `signals.head_importance` makes. Read in
github.com/RenzeLou/GradTS; where its code does what a corrected method would not, a switch restores it:

| | default | as the GradTS code has it |
|---|---|---|
| heads | `definition` "gate" or "kv_rows" | "kv_columns": slices the weights' input axis |
| dropout while measuring | off | `head_importance(..., dropout=True)` |
| task matrix | mean of raw matrices, then normalised | the same (`weigh="raw"`); "equal" weighs rows alike |
| correlation | plain tau; `centre` removes the profile all tasks share | plain tau |
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch

from auxlearn import seeding

CHUNK = 1024  # instances whose pair signs are compared at once
Array = Any  # np.ndarray or torch.Tensor; what comes in decides what goes out


def normalise(m: Array) -> Array:
    """Make each layer of an importance sum to 1, then scale the matrix to 0 … 1.

    A constant or zero matrix gives zeros, and a zero layer stays zero before the scaling (the GradTS code divides 0 by
    0 in both). Constant means: equal to rounding, in the dtype that came in.

    Args:
        m: Importance [..., L, H], NumPy or torch.

    Returns:
        [..., L, H], in 0 … 1, in the type and dtype that came in (float64 for integers).

    Raises:
        ValueError: A cell is negative or not finite, or there are fewer than two dimensions.
    """
    values = m if isinstance(m, torch.Tensor) else torch.as_tensor(np.asarray(m))
    if values.dim() < 2:
        raise ValueError(f"importance of shape {list(values.shape)}: expected [..., layers, heads]")
    values = values if values.is_floating_point() else values.double()
    x = values.double()
    if not (torch.isfinite(x) & (x >= 0)).all():
        raise ValueError("importance: a cell is negative or not finite")
    sums = x.sum(-1, keepdim=True)
    x = x / torch.where(sums > 0, sums, 1.0)
    low, high = x.amin((-2, -1), keepdim=True), x.amax((-2, -1), keepdim=True)
    # Without this the rounding of a constant matrix would be stretched to 0..1.
    flat = high - low <= 8 * torch.finfo(values.dtype).eps * high
    out = torch.where(flat, 0.0, (x - low) / torch.where(flat, 1.0, high - low)).to(values.dtype)
    return out if isinstance(m, torch.Tensor) else out.numpy()


def task_matrix(importances: Array, weigh: Literal["raw", "equal"] = "raw") -> Array:
    """Average the importances of a task's rows into the task's matrix.

    Args:
        importances: Importances of N rows [N, L, H], NumPy or torch.
        weigh: "raw", as in the GradTS code (`get_head_matrix`): the mean of the raw matrices, then `normalise`, so that
            rows with a larger loss count more. "equal": each row's layers sum to 1 before the mean, so that all rows
            count alike.

    Returns:
        float32 [L, H], in 0 … 1, in the type that came in.

    Raises:
        ValueError: There is no row, the shape is another, a cell is negative or not finite, or `weigh` is unknown.
    """
    x = importances if isinstance(importances, torch.Tensor) else torch.as_tensor(np.asarray(importances))
    if x.dim() != 3 or not len(x):
        raise ValueError(f"importances of shape {list(x.shape)}: expected [rows, layers, heads], at least one row")
    if weigh not in ("raw", "equal"):
        raise ValueError(f"weigh {weigh!r}: choose raw or equal")
    x = x.double()
    if weigh == "equal":
        sums = x.sum(-1, keepdim=True)
        x = x / torch.where(sums > 0, sums, 1.0)
    out = normalise(x.mean(0)).float()
    return out if isinstance(importances, torch.Tensor) else out.numpy()


def kendall_tau(instances: Array, references: Array) -> Array:
    """Return Kendall's tau-b between every instance and every reference.

    As scipy's `kendalltau`, ties included: S / sqrt(n_x n_y), with S the sum over pairs of cells of the product of
    signs, and n the number of pairs that do not tie. As there, a row whose cells all tie gives NaN. For each cell, the
    signs of its differences from the later cells form one matrix per side, and S is the sum of these matrices'
    products, exact because it is of integers. Memory beside the inputs' ranks: 4 CHUNK (C + R) bytes.

    Args:
        instances: [N, C], NumPy or torch.
        references: [R, C], NumPy or torch.

    Returns:
        float64 [N, R], a tensor where `instances` is one, else NumPy.

    Raises:
        ValueError: The shapes do not fit, or a row has a cell that is not finite.
    """
    as_tensor = isinstance(instances, torch.Tensor)
    x, y = _ranks(instances, "instances"), _ranks(references, "references")
    y = y.to(x.device)
    cells = x.shape[1]
    if y.shape[1] != cells or cells < 2:
        raise ValueError(f"{cells} cells an instance, {y.shape[1]} a reference: expected the same, two or more")
    # Sums up to the number of pairs must be exact.
    kind = torch.float32 if cells * (cells - 1) // 2 < 1 << 24 else torch.float64
    out = torch.empty(len(x), len(y), dtype=torch.float64, device=x.device)
    columns = y.T.contiguous()  # cells as rows: the signs against one cell are then one contiguous block
    for start in range(0, len(x), CHUNK):
        block = x[start : start + CHUNK].T.contiguous()
        total = torch.zeros(len(y), block.shape[1], dtype=kind, device=x.device)
        for i in range(cells - 1):
            left, right = ((m[i + 1 :] - m[i]).clamp_(-1, 1).to(kind) for m in (block, columns))
            total.addmm_(right.T, left)
        out[start : start + CHUNK] = total.T
    scale = _untied(x).sqrt()[:, None] * _untied(y).sqrt()
    out = torch.where(scale > 0, (out / scale).clamp(-1, 1), torch.nan)
    return out if as_tensor else out.cpu().numpy()


def _ranks(values: Array, what: str) -> torch.Tensor:
    """Return dense ranks of each row, float32 [N, C]: small integers, whose differences are exact whatever came in."""
    x = values.detach() if isinstance(values, torch.Tensor) else torch.as_tensor(np.asarray(values))
    if x.dim() != 2:
        raise ValueError(f"{what} of shape {list(x.shape)}: expected [rows, cells]")
    if x.is_floating_point() and not torch.isfinite(x).all():
        row = int((~torch.isfinite(x)).any(1).nonzero()[0])
        raise ValueError(f"{what}: row {row} has a cell that is not finite")
    ordered, place = x.sort(dim=1)
    steps = torch.zeros(x.shape, dtype=torch.float32, device=x.device)
    steps[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    return torch.empty_like(steps).scatter_(1, place, steps.cumsum(1))


def _untied(ranks: torch.Tensor) -> torch.Tensor:
    """Count the pairs of cells in each row that do not tie, float64 [N]."""
    ordered = ranks.sort(dim=1).values
    place = torch.arange(ranks.shape[1], device=ranks.device).expand_as(ordered)
    starts = torch.zeros_like(place)
    starts[:, 1:] = torch.where(ordered[:, 1:] != ordered[:, :-1], place[:, 1:], 0)
    ties = (place - starts.cummax(1).values).sum(1)  # a run of t cells adds 0 + 1 + … + (t - 1)
    return (ranks.shape[1] * (ranks.shape[1] - 1) // 2 - ties).double()


def task_taus(matrices: Array) -> Array:
    """Return tau-b between all pairs of task matrices.

    Args:
        matrices: [K, L, H], NumPy or torch.

    Returns:
        float64 [K, K], symmetric.
    """
    flat = matrices.reshape(len(matrices), -1)
    return kendall_tau(flat, flat)


def centre(matrices: Array, profile: Array | None = None) -> Array:
    """Subtract a profile from matrices; not in GradTS.

    Heads that matter to every task raise all taus alike; what is left ranks what a task has of its own. Between K
    matrices less their own mean, unrelated ones correlate about -1 / (K - 1), not 0. Centre instances with the tasks'
    profile.

    Args:
        matrices: [K, L, H], NumPy or torch.
        profile: [L, H]; None for the matrices' own mean.

    Returns:
        [K, L, H].
    """
    return matrices - (matrices.mean(0) if profile is None else profile)


def split_half(
    importances: np.ndarray,
    splits: int = 20,
    seed: int = 0,
    size: int | None = None,
    weigh: Literal["raw", "equal"] = "raw",
) -> np.ndarray:
    """Return tau between the task matrices of two disjoint random halves: how far one such matrix can be trusted.

    It is a ceiling for tau with other tasks' matrices of as many rows.

    Args:
        importances: float [N, L, H].
        splits: The number of splits.
        seed: The seed of the splits.
        size: Rows per half; None for N // 2.
        weigh: As for `task_matrix`.

    Returns:
        float64 [splits].

    Raises:
        ValueError: There are too few rows for two halves.
    """
    rows = len(importances)
    size = rows // 2 if size is None else size
    if size < 1 or 2 * size > rows:
        raise ValueError(f"halves of {size} rows do not fit {rows} rows")
    rng, taus = seeding.rng(seed, "sample", "split_half"), []
    for _ in range(splits):
        order = rng.permutation(rows)
        halves = [task_matrix(np.asarray(importances)[order[i * size : (i + 1) * size]], weigh) for i in (0, 1)]
        taus.append(kendall_tau(halves[0].reshape(1, -1), halves[1].reshape(1, -1))[0, 0])
    return np.array(taus)


def permutation_null(
    matrix: np.ndarray, reference: np.ndarray, permutations: int = 999, seed: int = 0, within_layers: bool = True
) -> tuple[float, np.ndarray, float]:
    """Compare tau of two matrices with its values when one matrix's heads are permuted.

    Args:
        matrix: float [L, H], whose heads are permuted.
        reference: float [L, H].
        permutations: The number of permutations.
        seed: The seed of the permutations.
        within_layers: Permute heads within their layers, because two matrices may agree on layers alone; else over all
            cells.

    Returns:
        tau; its null, float64 [permutations]; the one-sided p of a tau this high, which counts the observed order as
        one permutation, so that it is never 0.
    """
    matrix, rng = np.asarray(matrix), seeding.rng(seed, "sample", "permutation")
    if within_layers:
        permuted = rng.permuted(np.broadcast_to(matrix, (permutations, *matrix.shape)), axis=2)
    else:
        permuted = rng.permuted(np.broadcast_to(matrix.reshape(-1), (permutations, matrix.size)), axis=1)
    rows = np.concatenate([matrix.reshape(1, -1), permuted.reshape(permutations, -1)])
    tau, *null = kendall_tau(rows, np.asarray(reference).reshape(1, -1))[:, 0]
    null = np.array(null)
    return float(tau), null, float((1 + (null >= tau - 1e-12).sum()) / (1 + permutations))
