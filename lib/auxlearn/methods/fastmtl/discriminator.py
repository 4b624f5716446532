"""FastMTL's task discriminator: which task does this row come from? (Kung et al., EMNLP 2021, and the authors' code.)

A linear layer on the pooled features, trained together with the task heads and without gradient reversal. A row of
another task with a high logit in the primary's column is taken to be similar to the primary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

Kind = Literal["sigmoid", "softmax", "margin"]


def pos_weight(sizes: Sequence[int]) -> torch.Tensor:
    """BCE weight of each column's positives, (M - m_k) / m_k with m_k the rows of task k and M their sum; float32 [K].

    Eight equal tasks give 7. The authors count batches instead of rows, which differs only for unequal tasks with a
    short last batch.
    """
    m = torch.as_tensor(list(sizes), dtype=torch.float64)
    if (m <= 0).any() or len(m) < 2:
        raise ValueError(f"pos_weight: needs two or more tasks with rows each, got sizes {list(sizes)}")
    return ((m.sum() - m) / m).float()


def _ids(logits: torch.Tensor, task_id: int | torch.Tensor) -> torch.Tensor:
    if isinstance(task_id, torch.Tensor):
        return task_id.to(logits.device)
    return torch.full((len(logits),), task_id, device=logits.device)


def bce_loss(logits: torch.Tensor, task_id: int | torch.Tensor, pos_weight: torch.Tensor) -> torch.Tensor:
    """One sigmoid a column: mean over B x K of weighted binary cross-entropy against the one-hot task. Scalar.

    `logits` [B, K]; `task_id` an int or int64 [B]; `pos_weight` [K].
    """
    target = F.one_hot(_ids(logits, task_id), logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=pos_weight.to(logits))


def ce_loss(logits: torch.Tensor, task_id: int | torch.Tensor) -> torch.Tensor:
    """Softmax cross-entropy over the K tasks, mean over B. Scalar. `logits` [B, K]; `task_id` an int or int64 [B]."""
    return F.cross_entropy(logits, _ids(logits, task_id))


class BCE:
    """`bce_loss` as an objective of training (see `extension_points.Objective`)."""

    def weight(self, sizes: Sequence[int]) -> torch.Tensor | None:
        return pos_weight(sizes)

    def loss(self, logits: torch.Tensor, task_id: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        return bce_loss(logits, task_id, weight)


class CE:
    """`ce_loss` as an objective of training."""

    def weight(self, sizes: Sequence[int]) -> torch.Tensor | None:
        return None

    def loss(self, logits: torch.Tensor, task_id: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        return ce_loss(logits, task_id)


def scores(logits: torch.Tensor | np.ndarray, target: int, kind: Kind) -> torch.Tensor | np.ndarray:
    """Similarity of N rows to task `target` from their logits [N, K]; float32 [N], in the type that came in.

    "sigmoid" of the column (the authors' choice for both losses), "softmax" over the columns (right for cross-entropy,
    whose logits are only defined up to a shift a row), or "margin", the log-odds z_t - logsumexp of the others: the
    softmax's order without its saturation.
    """
    z = torch.as_tensor(logits).float()
    if not 0 <= target < z.shape[1]:
        raise ValueError(f"scores: target {target} is not one of the {z.shape[1]} columns")
    if kind == "sigmoid":
        out = torch.sigmoid(z[:, target])
    elif kind == "softmax":
        out = torch.softmax(z, dim=1)[:, target]
    elif kind == "margin":
        others = torch.arange(z.shape[1]) != target
        out = z[:, target] - torch.logsumexp(z[:, others], dim=1)
    else:
        raise ValueError(f"scores: kind {kind!r} is not sigmoid, softmax or margin")
    return out.numpy() if isinstance(logits, np.ndarray) else out
