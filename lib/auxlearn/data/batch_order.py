"""Which rows form a batch: orders of training batches, cuts of a pass by tokens. It takes lengths, and reads no text.

Padding to a fixed length wastes most of the arithmetic on short texts, so batches are cut from rows of similar length:
inside a shuffled window for training, over everything for inference (order does not matter there). In training, lengths
are jittered before they are sorted, or the rows of a small task would meet the same rows in every epoch (how often they
do: tests/data/test_batch_order.py). Batches of a pass are equally large but for one row, so that rows weigh alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

TOKEN_BUDGET = 4096  # padded tokens per batch of a forward pass; beyond this a CPU gains nothing
TOKEN_BUDGET_GPU = 65536
JITTER = 0.25  # a length is taken up to so much shorter or longer when batches of training are cut


def homogeneous(
    lengths: Mapping[str, np.ndarray], batch_size: int, rng: np.random.Generator, window: int = 16
) -> list[tuple[str, np.ndarray]]:
    """Draw one epoch of task-pure batches in random order: every row once, ceil(N / batch_size) batches per task.

    Tasks thus mix in proportion to their sizes, as in MT-DNN and FastMTL. Rows of a task are shuffled, and every
    `window` batches of them are sorted by jittered length before they are cut; a task's batches differ by one row.

    Args:
        lengths: Per task the tokens of each row, int [N].
        batch_size: Rows per batch, at most.
        rng: Source of both orders.
        window: Batches per shuffled window.

    Returns:
        Batches as (task, row numbers int [B]).

    Reference:
        FastMTL's code, run_glue.py, `MultitaskDataLoader`.
    """
    batches = [(task, rows) for task, size in lengths.items() for rows in _shuffled(size, batch_size, rng, window)]
    return [batches[i] for i in rng.permutation(len(batches))]


def _shuffled(lengths: np.ndarray, batch_size: int, rng: np.random.Generator, window: int) -> Iterator[np.ndarray]:
    """Cut shuffled rows into equal batches, after sorting every `window` batches of them by jittered length."""
    if not len(lengths):
        return
    order = rng.permutation(len(lengths))
    jittered = lengths * rng.uniform(1 - JITTER, 1 + JITTER, len(lengths))
    batches = np.array_split(order, -(-len(order) // batch_size))
    for start in range(0, len(batches), window):
        part = batches[start : start + window]
        rows = np.concatenate(part)
        rows = rows[np.argsort(-jittered[rows], kind="stable")]
        yield from np.split(rows, np.cumsum([len(batch) for batch in part])[:-1])


def in_order(
    tasks: Sequence[str], lengths: Mapping[str, np.ndarray], batch_size: int, rng: np.random.Generator
) -> list[tuple[str, np.ndarray]]:
    """Draw task-pure batches in a given order of tasks; a task's rows are all used before any is used again.

    Each pass over a task is one of `homogeneous`.

    Args:
        tasks: The task of each step.
        lengths: Per task the tokens of each row, int [N].
        batch_size: Rows per batch.
        rng: Source of the orders of rows.

    Returns:
        One batch per step as (task, row numbers int [B]).
    """
    streams: dict[str, list[tuple[str, np.ndarray]]] = {}
    for task, steps in sorted(Counter(tasks).items()):
        batches: list[tuple[str, np.ndarray]] = []
        while len(batches) < steps:
            batches += homogeneous({task: lengths[task]}, batch_size, rng)
        streams[task] = batches[:steps][::-1]
    return [streams[task].pop() for task in tasks]


def mixed(
    lengths: Mapping[str, np.ndarray], batch_size: int, rng: np.random.Generator, window: int = 16
) -> list[list[tuple[str, np.ndarray]]]:
    """Draw one epoch of batches over all tasks' rows together: every row once, ceil(N / batch_size) batches.

    Rows are sorted by jittered length within a shuffled window, as in `homogeneous`.

    Args:
        lengths: Per task the tokens of each row, int [N].
        batch_size: Rows per batch, of all its tasks together.
        rng: Source of both orders.
        window: Batches per shuffled window.

    Returns:
        Batches, each a list of (task, row numbers) with one entry per task in it.
    """
    names = list(lengths)
    task = np.repeat(np.arange(len(names)), [len(lengths[n]) for n in names])
    row = np.concatenate([np.arange(len(lengths[n])) for n in names])
    size = np.concatenate([lengths[n] for n in names])
    return [
        [(names[t], row[batch[task[batch] == t]]) for t in np.unique(task[batch])]
        for _, batch in homogeneous({"": size}, batch_size, rng, window)
    ]


def by_tokens(lengths: np.ndarray, budget: int) -> list[np.ndarray]:
    """Cut rows into batches by length, longest first, of at most `budget` padded tokens each (one row at least).

    Args:
        lengths: Tokens of each row, int [N].
        budget: Tokens per batch, padding included.

    Returns:
        Row numbers of each batch, int [B].
    """
    order, batches, start = np.argsort(-lengths, kind="stable"), [], 0
    while start < len(order):
        size = max(1, budget // int(lengths[order[start]]))
        batches.append(order[start : start + size])
        start += size
    return batches


def budget(kind: str) -> int:
    """Return how many padded tokens a batch of a forward pass may hold on this kind of device."""
    return TOKEN_BUDGET if kind == "cpu" else TOKEN_BUDGET_GPU
