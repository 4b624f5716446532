"""Tell which task a row comes from: FastMTL's task discriminator (Kung et al., EMNLP 2021, and the authors' code).

A linear layer on the pooled features, trained together with the task heads and without gradient reversal. A row of
another task with a high logit in the primary's column is taken to be similar to the primary.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F

from auxlearn.models import devices

Kind = Literal["sigmoid", "softmax", "margin"]


def pos_weight(sizes: Sequence[int]) -> torch.Tensor:
    """Return the BCE weight of each column's positives, (M - m_k) / m_k, with m_k the rows of task k and M their sum.

    Eight equal tasks give 7. The authors count batches instead of rows, which differs only for unequal tasks with a
    short last batch.

    Args:
        sizes: Rows of each task [K].

    Returns:
        float32 [K].

    Raises:
        ValueError: There are fewer than two tasks, or one has no rows.
    """
    m = torch.as_tensor(list(sizes), dtype=torch.float64)
    if (m <= 0).any() or len(m) < 2:
        raise ValueError(f"pos_weight: needs two or more tasks with rows each, got sizes {list(sizes)}")
    return ((m.sum() - m) / m).float()


def _ids(logits: torch.Tensor, task_id: int | torch.Tensor) -> torch.Tensor:
    if isinstance(task_id, torch.Tensor):
        return devices.to_device(task_id, logits.device)
    return torch.full((len(logits),), task_id, device=logits.device)


def bce_loss(logits: torch.Tensor, task_id: int | torch.Tensor, pos_weight: torch.Tensor) -> torch.Tensor:
    """Return the mean over B x K of the weighted binary cross-entropy against the one-hot task, one sigmoid per column.

    Args:
        logits: float [B, K].
        task_id: An int, or int64 [B].
        pos_weight: The weight of each column's positives, float [K].

    Returns:
        A scalar.
    """
    target = F.one_hot(_ids(logits, task_id), logits.shape[1]).to(logits.dtype)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=pos_weight.to(logits))


def ce_loss(logits: torch.Tensor, task_id: int | torch.Tensor) -> torch.Tensor:
    """Return the softmax cross-entropy over the K tasks, mean over B.

    Args:
        logits: float [B, K].
        task_id: An int, or int64 [B].

    Returns:
        A scalar.
    """
    return F.cross_entropy(logits, _ids(logits, task_id))


class BCE:
    """The objective of training that `bce_loss` is (see `extension_points.Objective`)."""

    def weight(self, sizes: Sequence[int]) -> torch.Tensor | None:
        """Return `pos_weight` of the tasks' rows."""
        return pos_weight(sizes)

    def loss(self, logits: torch.Tensor, task_id: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """Return `bce_loss`, a scalar."""
        assert weight is not None, "`weight` gives one"
        return bce_loss(logits, task_id, weight)


class CE:
    """The objective of training that `ce_loss` is (see `extension_points.Objective`)."""

    def weight(self, sizes: Sequence[int]) -> torch.Tensor | None:
        """Return None: the loss needs no weight."""
        return None

    def loss(self, logits: torch.Tensor, task_id: torch.Tensor, weight: torch.Tensor | None) -> torch.Tensor:
        """Return `ce_loss`, a scalar."""
        return ce_loss(logits, task_id)


def scores(logits: torch.Tensor | np.ndarray, target: int, kind: Kind) -> torch.Tensor | np.ndarray:
    """Return the similarity of N rows to one task from their logits.

    Args:
        logits: float [N, K], NumPy or torch.
        target: The task's column.
        kind: "sigmoid" of the column (the authors' choice for both losses); "softmax" over the columns (right for
            cross-entropy, whose logits are only defined up to one shift per row); or "margin", the log-odds z_t -
            logsumexp of the others: the softmax's order without its saturation.

    Returns:
        float32 [N], in the type that came in.

    Raises:
        ValueError: There is no such column, or `kind` is unknown.
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
