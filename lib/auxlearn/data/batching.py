"""Rows to arrays once, arrays to padded batches every epoch; `batch_order` decides which rows go together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F

from auxlearn.data import tokenisation
from auxlearn.data.suites import Task
from auxlearn.data.tokenisation import Sequences
from auxlearn.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa

IGNORE = -100  # label of what no loss sees: missing labels, special tokens, all but a word's first piece


@dataclass(frozen=True)
class Encoded(Sequences):
    """The tokenised rows of one task with their labels."""

    labels: np.ndarray = field(kw_only=True)  # [S] int64 or float32; tagging: int64, one per token
    lost: int = field(default=0, kw_only=True)  # tags of words that were cut off


def encode(
    rows: Any, task: Task, tokenizer: Any, max_length: int = 128, split: bool = False
) -> Encoded:  # fmt: skip
    """Tokenise rows of one task in memory; `token_store.encoded` keeps the tokens of large splits.

    Args:
        rows: A dataset, or a list of rows as dicts, with the task's input columns and, where there is one, its label.
        task: The task that the rows are of.
        tokenizer: A tokenizer of Hugging Face.
        max_length: Tokens that a sequence may have, special tokens included.
        split: Whether to split long sentences of a tagging task rather than cut them, see `Tokeniser`. The tags of
            words that are cut off are neither trained on nor scored.

    Returns:
        The rows as arrays; a missing label is IGNORE, or NaN for regression.
    """
    sequences = tokenisation.tokenised(rows, task, tokenizer, max_length, split)
    return labelled(sequences, tokenisation.table(rows, [task.label])[task.label], task)


def labelled(sequences: Sequences, values: pa.ChunkedArray, task: Task) -> Encoded:
    """Put labels beside tokenised rows.

    Args:
        sequences: The tokenised rows.
        values: The label of each row; null where it has none.
        task: Their task.

    Returns:
        The rows with labels; a missing one is IGNORE, or NaN for regression.
    """
    import pyarrow as pa

    lost = 0
    if task.kind == "tagging":
        labels = np.full(len(sequences.ids), IGNORE, np.int64)
        assert sequences.firsts is not None  # as `Tokeniser` gives them for tagging
        tags = values.cast(pa.large_list(pa.int64())).combine_chunks()
        heads = np.add.reduceat(np.append(sequences.firsts, False), sequences.starts[:-1], dtype=np.int64)
        heads *= sequences.lengths > 0
        if sequences.rows is not None:
            heads = np.bincount(sequences.rows, heads, len(tags)).astype(np.int64)
        known, given = tags.is_valid().to_numpy(zero_copy_only=False), np.diff(tags.offsets.to_numpy())
        if (short := known & (given < heads)).any():
            row = int(short.argmax())
            raise InputError(f"task {task.name!r}: row {row} has {given[row]} tags for {heads[row]} tokens or more")
        lost = int((given - heads)[known].sum())
        own = np.repeat(known, heads)
        flat = tags.values.to_numpy(zero_copy_only=False)
        starts = tags.offsets.to_numpy()[:-1]
        labels[np.flatnonzero(sequences.firsts)[own]] = flat[tokenisation.spans(starts[known], heads[known])]
    elif task.kind == "regression":
        labels = values.cast(pa.float64()).fill_null(float("nan")).to_numpy().astype(np.float32)
    else:
        labels = values.cast(pa.int64()).fill_null(IGNORE).to_numpy()
    return Encoded(**{each.name: getattr(sequences, each.name) for each in fields(sequences)}, labels=labels, lost=lost)


def is_known(labels: torch.Tensor) -> torch.Tensor:
    """Tell which labels are there, as a boolean tensor of the same shape."""
    return torch.isfinite(labels) if labels.is_floating_point() else labels != IGNORE


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
