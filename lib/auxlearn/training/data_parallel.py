"""Data-parallel training: processes share each batch's rows, and their gradients are added up before every step.

Where no process group was started there is one process, and nothing here changes a bit. With more, every process holds
the model, orders the same batches and takes every `size`-th row of each, so that lengths stay alike. What it adds to
the gradient is its rows' part of the loss of the whole batch. Clipping, optimiser, evaluation and TAWT's probes then
see the same numbers everywhere. Results differ from one process's by rounding and by dropout, whose masks each process
draws for itself. `training.launch` starts the processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import distributed

from auxlearn.data.batching import IGNORE, Encoded
from auxlearn.data.tokens import sequences
from auxlearn.training.drawing import Parts

BUCKET = 1 << 24  # values that are added up in one call


def world() -> tuple[int, int]:
    """Return (rank, size) of this process; (0, 1) where there is no process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def terms(encoded: Encoded, rows: np.ndarray) -> int:
    """Count the terms that the mean loss of some rows has.

    Args:
        encoded: The encoded rows of a task.
        rows: Positions in `encoded`.

    Returns:
        The number of labelled rows, or for tagging of their labelled tokens.
    """
    if encoded.firsts is not None:
        rows = sequences.spans(encoded.starts[rows], encoded.lengths[rows])
    labels = encoded.labels[rows]
    return int((np.isfinite(labels) if labels.dtype.kind == "f" else labels != IGNORE).sum())


def share(
    parts: Parts, data: Mapping[str, Encoded], divisors: Sequence[float] | None, rank: int, size: int
) -> tuple[Parts, list[float]]:
    """Take this process's rows of a batch, and find what to divide each part's mean loss by.

    So divided, `MultiTaskModel.task_loss` of the shares adds up over processes to that of the batch. A share may be
    empty; its process then adds nothing.

    Args:
        parts: The batch: rows of each task in it.
        data: Encoded rows by task.
        divisors: What the loss of each part of the whole batch is divided by; None for 1.
        rank: Number of this process, from 0.
        size: Number of processes.

    Returns:
        The rows of this process, and what takes the place of `divisors` for them.
    """
    whole, start, shares = sum(len(rows) for _, rows in parts), 0, []
    for (name, rows), divisor in zip(parts, divisors or [1.0] * len(parts), strict=True):
        own_rows = rows[(rank - start) % size :: size]
        start += len(rows)
        if len(own_rows) and (own := terms(data[name], own_rows)):
            weight = own / terms(data[name], rows) * len(rows) / whole / divisor
            shares.append((name, own_rows, weight))
    here = sum(len(own_rows) for _, own_rows, _ in shares)
    scales = [len(own_rows) / here / weight if weight else float("inf") for _, own_rows, weight in shares]
    return [(name, own_rows) for name, own_rows, _ in shares], scales


def add_up_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace every `.grad` by its sum over processes; it stays None where no process has a gradient.

    Args:
        parameters: The same parameters in the same order in every process.
    """
    known = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=parameters[0].device)
    distributed.all_reduce(known, distributed.ReduceOp.MAX)
    used = [p for p, one in zip(parameters, known.tolist(), strict=True) if one]
    bucket: list[tuple[torch.nn.Parameter, torch.Tensor]] = []
    for number, p in enumerate(used):
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        bucket.append((p, p.grad))
        if number + 1 == len(used) or sum(q.numel() for q, _ in bucket) >= BUCKET:
            flat = torch.cat([grad.flatten() for _, grad in bucket])
            distributed.all_reduce(flat)
            for (q, grad), part in zip(bucket, flat.split([q.numel() for q, _ in bucket]), strict=True):
                grad.copy_(part.view_as(q))
            bucket = []


def add_up(values: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over processes, in place; with one process it is returned as it is."""
    if world()[1] > 1:
        distributed.all_reduce(values)
    return values
