"""Data-parallel training: processes share each batch's rows, and their gradients are added up before every step.

Where no process group was started there is one process, and nothing here changes a bit. With more, every process holds
the model, orders the same batches and takes every `size`-th row of each, so that lengths stay alike. What it adds to
the gradient is its rows' part of the loss of the whole batch. Clipping, optimiser, evaluation and TAWT's probes then
see the same numbers everywhere; what is decided by them (the state that is kept, weights) the first process decides.
Results differ from one process's by rounding and by dropout, whose masks each process draws for itself.
`training.launch` starts the processes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed

from auxlearn.data.batching import IGNORE, Encoded
from auxlearn.data.tokens import sequences
from auxlearn.models.multitask import MultiTaskModel
from auxlearn.training.drawing import Parts

BUCKET = 1 << 22  # numbers that are added up in one call: 16 MiB
Result = TypeVar("Result")


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


class GradientSums:
    """Replaces every `.grad` by its sum over processes, while the backward pass goes on.

    Parameters are added up in buckets, last layers first, as the backward pass reaches them. A bucket is sent when all
    its gradients are there, and not before those ahead of it, so that all processes send in one order. A gradient stays
    None where no process has one: of a task's head where the batch has no labelled row of the task, and of what else
    nothing reaches, which is asked once per set of kinds of task; in that step gradients are sent when the backward
    pass has ended. (PyTorch's DistributedDataParallel waits for ever where a process has no row of a batch, and asks in
    every step where heads take turns.)

    Args:
        parameters: The same parameters in the same order in every process; those that are not trained are left out.
        heads: The parameters that only one task reaches, by task.
        kinds: The kind of each task; tasks without one are all of one kind.
        bucket: Numbers that are added up in one call.
    """

    def __init__(
        self, parameters: Iterable[torch.nn.Parameter],
        heads: Mapping[str, Iterable[torch.nn.Parameter]] = MappingProxyType({}),
        kinds: Mapping[str, str] = MappingProxyType({}), bucket: int = BUCKET,
    ):  # fmt: skip
        self._parameters, self._bucket = [p for p in parameters if p.requires_grad][::-1], bucket
        self._owners, self._kinds = {p: name for name, own in heads.items() for p in own}, kinds
        self._reachable: dict[frozenset[str | None], set[torch.nn.Parameter]] = {}  # of no task's own, by kinds
        self._waiting: list[tuple[list[torch.nn.Parameter], torch.Tensor, distributed.Work]] = []
        self._buckets: list[list[torch.nn.Parameter]] = []  # that are still to be sent in this step
        self._ready: set[torch.nn.Parameter] = set()
        self._handles = [p.register_post_accumulate_grad_hook(self._reached) for p in self._parameters]

    def step(self, tasks: Collection[str], backward: Callable[[], Result]) -> Result:
        """Go backward once, and add up.

        Args:
            tasks: The tasks that have labelled rows in the whole batch, the same in every process.
            backward: Computes this process's gradients in one backward pass, or none.

        Returns:
            What `backward` returns.
        """
        kinds = frozenset(self._kinds.get(name) for name in tasks)
        known = kinds in self._reachable
        self._ready, self._buckets = set(), self._cut(tasks, kinds) if known else []
        result = backward()
        if not known:
            self._reachable[kinds] = self._ask()
            self._buckets = self._cut(tasks, kinds)
        while self._buckets:
            self._send()
        for bucket, flat, work in self._waiting:
            work.wait()
            for p, part in zip(bucket, flat.split([p.numel() for p in bucket]), strict=True):
                assert p.grad is not None  # `_send` has seen to it
                p.grad.copy_(part.view_as(p))
        self._waiting = []
        return result

    def close(self) -> None:
        """Leave the parameters as they were found."""
        for handle in self._handles:
            handle.remove()

    def _ask(self) -> set[torch.nn.Parameter]:
        """Ask which of the parameters that are no task's own have a gradient somewhere."""
        shared = [p for p in self._parameters if p not in self._owners]
        known = torch.tensor([p.grad is not None for p in shared], dtype=torch.int32)
        known = known.to(self._parameters[0].device)
        distributed.all_reduce(known, distributed.ReduceOp.MAX)
        return {p for p, one in zip(shared, known.tolist(), strict=True) if one}

    def _cut(self, tasks: Collection[str], kinds: frozenset[str | None]) -> list[list[torch.nn.Parameter]]:
        """Cut the parameters that a batch of these tasks reaches into buckets."""
        reachable, buckets = self._reachable[kinds], list[list[torch.nn.Parameter]]([[]])
        for p in self._parameters:
            if p in reachable or self._owners.get(p) in tasks:
                if sum(q.numel() for q in buckets[-1]) >= self._bucket:
                    buckets.append([])
                buckets[-1].append(p)
        return [bucket for bucket in buckets if bucket]

    def _reached(self, p: torch.nn.Parameter) -> None:
        """Take note of a gradient that is there, and send what is complete; nothing outside of `step`."""
        self._ready.add(p)
        while self._buckets and self._ready.issuperset(self._buckets[0]):
            self._send()

    def _send(self) -> None:
        bucket = self._buckets.pop(0)
        for p in bucket:
            if p.grad is None:
                p.grad = torch.zeros_like(p)
        flat = torch.cat([p.grad.flatten() for p in bucket if p.grad is not None])
        work = distributed.all_reduce(flat, async_op=True)
        assert work is not None  # as it is asynchronous
        self._waiting.append((bucket, flat, work))


@contextmanager
def summed(net: MultiTaskModel) -> Iterator[GradientSums | None]:
    """Add up a model's gradients while the context lasts.

    Args:
        net: The model.

    Yields:
        The sums; None where there is one process.
    """
    if world()[1] == 1:
        yield None
        return
    shared = set(net.encoder.parameters())
    # What only some tasks reach is sent last, so that the encoder does not wait for the end of the backward pass.
    heads = {name: list(head.parameters()) for name, head in net.heads.items()}
    sums = GradientSums(sorted(net.parameters(), key=lambda p: p in shared), heads, net.kinds)
    try:
        yield sums
    finally:
        sums.close()


def add_up(values: torch.Tensor) -> torch.Tensor:
    """Sum a tensor over processes, in place; with one process it is returned as it is."""
    if world()[1] > 1:
        distributed.all_reduce(values)
    return values


def agreed(*values: Any) -> tuple[Any, ...]:
    """Return what the first process has found, so that no decision hangs on another device's last bits.

    Args:
        *values: Numbers, arrays or None; the same number of them in every process.

    Returns:
        The first process's values; with one process those given.
    """
    if world()[1] == 1:
        return values
    found = [values]
    distributed.broadcast_object_list(found, 0)
    return found[0]


def gathered(value: Any) -> list[Any]:
    """Return every process's value, by rank."""
    if world()[1] == 1:
        return [value]
    found: list[Any] = [None] * world()[1]
    distributed.all_gather_object(found, value)
    return found
