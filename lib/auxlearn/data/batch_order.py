"""Which rows form a batch: orders of training batches, cuts of a pass by tokens. It takes lengths, and reads no text.

Padding to a fixed length wastes most of the arithmetic on short texts, so batches are cut from rows of similar length:
inside a shuffled window for training (randomness kept), over everything for inference (order does not matter there).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

TOKEN_BUDGET = 4096  # padded tokens per batch of a forward pass; beyond this a CPU gains nothing
TOKEN_BUDGET_GPU = 65536


def homogeneous(
    lengths: Mapping[str, np.ndarray], batch_size: int, rng: np.random.Generator, window: int = 16
) -> list[tuple[str, np.ndarray]]:
    """Draw one epoch of task-pure batches in random order: every row once, ceil(N / batch_size) batches per task.

    Tasks thus mix in proportion to their sizes, as in MT-DNN and FastMTL. Rows of a task are shuffled, and every
    `window` batches of them are sorted by length before they are cut; only the last batch of a task may be smaller.

    Args:
        lengths: Per task the tokens of each row, int [N].
        batch_size: Rows per batch.
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
    """Cut shuffled rows into batches, after sorting every `window` batches of them by length."""
    order = rng.permutation(len(lengths))
    for start in range(0, len(order), window * batch_size):
        chunk = order[start : start + window * batch_size]
        # Longest first: the one short batch then holds the shortest rows, which is the cheapest place for it.
        chunk = chunk[np.argsort(-lengths[chunk], kind="stable")]
        yield from (chunk[i : i + batch_size] for i in range(0, len(chunk), batch_size))


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

    Rows are sorted by length within a shuffled window, as in `homogeneous`.

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
