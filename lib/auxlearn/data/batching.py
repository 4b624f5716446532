"""Rows to arrays once, arrays to padded batches every epoch; `batch_order` decides which rows go together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from auxlearn.data.suites import Task
from auxlearn.data.tokens.encoded import IGNORE, Encoded, encode, is_known

__all__ = ["IGNORE", "Encoded", "encode", "in_two", "is_known", "join", "to_batch"]


def to_batch(encoded: Encoded, index: np.ndarray, task: Task, task_id: int, pad_id: int) -> dict[str, Any]:
    """Pad some rows of one task to the longest of them.

    Args:
        encoded: All rows of the task.
        index: Sequences to take, int [B].
        task: The task that the rows are of.
        task_id: The task's discriminator column.
        pad_id: Token id to pad with.

    Returns:
        input_ids, attention_mask, token_type_ids int64 [B, T]; labels int64 [B] (classification), float32 [B]
        (regression) or int64 [B, T] (tagging); task (its name) and task_id.
    """
    starts, lengths = encoded.starts[index], encoded.lengths[index]
    columns = np.arange(lengths.max())
    mask = columns[None, :] < lengths[:, None]
    where = (starts[:, None] + columns[None, :])[mask]

    def padded(flat: np.ndarray, fill: int) -> torch.Tensor:
        table = np.full(mask.shape, fill, np.int64)
        table[mask] = flat[where]
        return torch.from_numpy(table)

    labels = padded(encoded.labels, IGNORE) if task.kind == "tagging" else torch.from_numpy(encoded.labels[index])
    return {
        "input_ids": padded(encoded.ids, pad_id),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        "token_type_ids": padded(encoded.types, 0),
        "labels": labels,
        "task": task.name,
        "task_id": task_id,
    }


def in_two(batch: dict[str, Any]) -> list[dict[str, Any]]:
    """Cut a batch of one task into halves.

    Args:
        batch: A batch of `to_batch`.

    Returns:
        Two batches, no wider than their longest row; one if the batch is of one row.
    """
    rows = len(batch["input_ids"])
    if rows == 1:
        return [batch]
    halves = []
    for at in (slice(0, rows // 2), slice(rows // 2, rows)):
        width = int(batch["attention_mask"][at].sum(1).max())
        cut = {k: v[at] if isinstance(v, torch.Tensor) else v for k, v in batch.items()}
        halves.append({k: v[:, :width] if isinstance(v, torch.Tensor) and v.dim() > 1 else v for k, v in cut.items()})
    return halves


def join(batches: Sequence[dict[str, Any]], pad_id: int) -> dict[str, Any]:
    """Join several task-pure batches into one, padded to the longest; a single batch is returned as it is.

    Args:
        batches: Batches of `to_batch`, one at least.
        pad_id: Token id to pad with.

    Returns:
        A batch like that of `to_batch` but without `task` and `labels`: `parts` lists (task, slice of its rows, its
        labels) instead, and `task_id` is int64 [B].
    """
    if len(batches) == 1:
        return batches[0]
    width = max(b["input_ids"].shape[1] for b in batches)

    def stacked(name: str, fill: int) -> torch.Tensor:
        return torch.cat([F.pad(b[name], (0, width - b[name].shape[1]), value=fill) for b in batches])

    stops = np.cumsum([len(b["input_ids"]) for b in batches]).tolist()
    return {
        "input_ids": stacked("input_ids", pad_id),
        "attention_mask": stacked("attention_mask", 0),
        "token_type_ids": stacked("token_type_ids", 0),
        "parts": [
            (b["task"], slice(stop - len(b["input_ids"]), stop), b["labels"])
            for b, stop in zip(batches, stops, strict=True)
        ],
        "task_id": torch.cat([torch.full((len(b["input_ids"]),), b["task_id"]) for b in batches]),
    }
