"""Data-parallel training: processes share each batch's rows, and their gradients are added up before every step.

Where no process group was started there is one process, and nothing here changes a bit. With more, every process holds
the model, orders the same batches and takes every `size`-th row of each, so that lengths stay alike; what it adds to
the gradient is its rows' part of the loss of the whole batch. Clipping, optimiser, evaluation and TAWT's probes then
see the same numbers everywhere. Results differ from one process's by rounding and by dropout, whose masks each process
draws for itself. `launched` starts the processes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import distributed

from auxlearn.data.batching import IGNORE, Encoded

BUCKET = 1 << 24  # values that are added up in one call

Parts = list[tuple[str, np.ndarray]]  # a batch: rows of each task in it


def world() -> tuple[int, int]:
    """(rank, size) of this process; (0, 1) where there is no process group."""
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


def terms(encoded: Encoded, rows: np.ndarray) -> int:
    """How many terms the mean loss of these rows has: rows, or for tagging their labelled tokens."""
    if len(encoded.labels) == len(encoded):
        return len(rows)
    return sum(int((encoded.labels[encoded.starts[i] : encoded.starts[i + 1]] != IGNORE).sum()) for i in rows)


def share(
    parts: Parts, data: Mapping[str, Encoded], divisors: Sequence[float] | None, rank: int, size: int
) -> tuple[Parts, list[float]]:
    """This process's rows of a batch, and what to divide each part's mean loss by in place of `divisors`.

    So divided, `MultiTaskModel.task_loss` of the shares adds up over processes to that of the batch. A share may be
    empty; its process then adds nothing.
    """
    whole, start, kept = sum(len(rows) for _, rows in parts), 0, []
    for (name, rows), divisor in zip(parts, divisors or [1.0] * len(parts), strict=True):
        mine = rows[(rank - start) % size :: size]
        start += len(rows)
        if len(mine) and (own := terms(data[name], mine)):
            weight = own / terms(data[name], rows) * len(rows) / whole / divisor
            kept.append((name, mine, weight))
    here = sum(len(mine) for _, mine, _ in kept)
    scales = [len(mine) / here / weight if weight else float("inf") for _, mine, weight in kept]
    return [(name, mine) for name, mine, _ in kept], scales


def add_up_gradients(parameters: Sequence[torch.nn.Parameter]) -> None:
    """Replace every `.grad` by its sum over processes; a parameter that no process has a gradient of keeps None."""
    known = torch.tensor([p.grad is not None for p in parameters], dtype=torch.int32, device=parameters[0].device)
    distributed.all_reduce(known, distributed.ReduceOp.MAX)
    used = [p for p, one in zip(parameters, known.tolist(), strict=True) if one]
    bucket: list[torch.nn.Parameter] = []
    for number, p in enumerate(used):
        if p.grad is None:
            p.grad = torch.zeros_like(p)
        bucket.append(p)
        if number + 1 == len(used) or sum(q.numel() for q in bucket) >= BUCKET:
            flat = torch.cat([q.grad.flatten() for q in bucket])
            distributed.all_reduce(flat)
            for q, part in zip(bucket, flat.split([q.numel() for q in bucket]), strict=True):
                q.grad.copy_(part.view_as(q))
            bucket = []


def add_up(values: torch.Tensor) -> torch.Tensor:
    """The sum over processes; `values` itself where there is one."""
    if world()[1] > 1:
        distributed.all_reduce(values)
    return values
