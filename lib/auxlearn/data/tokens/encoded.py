"""Tokenised rows with their labels."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from auxlearn.data.suites import Task
from auxlearn.data.tokens import sequences
from auxlearn.data.tokens.sequences import Sequences
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
    tokens = sequences.tokenised(rows, task, tokenizer, max_length, split)
    return labelled(tokens, sequences.table(rows, [task.label])[task.label], task)


def labelled(tokens: Sequences, values: pa.ChunkedArray, task: Task) -> Encoded:
    """Put labels beside tokenised rows.

    Args:
        tokens: The tokenised rows.
        values: The label of each row; null where it has none.
        task: Their task.

    Returns:
        The rows with labels; a missing one is IGNORE, or NaN for regression.
    """
    import pyarrow as pa

    lost = 0
    if task.kind == "tagging":
        labels = np.full(len(tokens.ids), IGNORE, np.int64)
        assert tokens.firsts is not None  # as `Tokeniser` gives them for tagging
        tags = values.cast(pa.large_list(pa.int64())).combine_chunks()
        heads = np.add.reduceat(np.append(tokens.firsts, False), tokens.starts[:-1], dtype=np.int64)
        heads *= tokens.lengths > 0
        if tokens.rows is not None:
            heads = np.bincount(tokens.rows, heads, len(tags)).astype(np.int64)
        known, given = tags.is_valid().to_numpy(zero_copy_only=False), np.diff(tags.offsets.to_numpy())
        if (short := known & (given < heads)).any():
            row = int(short.argmax())
            raise InputError(f"task {task.name!r}: row {row} has {given[row]} tags for {heads[row]} tokens or more")
        lost = int((given - heads)[known].sum())
        own = np.repeat(known, heads)
        flat = tags.values.to_numpy(zero_copy_only=False)
        starts = tags.offsets.to_numpy()[:-1]
        labels[np.flatnonzero(tokens.firsts)[own]] = flat[sequences.spans(starts[known], heads[known])]
    elif task.kind == "regression":
        labels = values.cast(pa.float64()).fill_null(float("nan")).to_numpy().astype(np.float32)
    else:
        labels = values.cast(pa.int64()).fill_null(IGNORE).to_numpy()
    return Encoded(**{each.name: getattr(tokens, each.name) for each in fields(tokens)}, labels=labels, lost=lost)


def is_known(labels: torch.Tensor) -> torch.Tensor:
    """Tell which labels are there, as a boolean tensor of the same shape."""
    return torch.isfinite(labels) if labels.is_floating_point() else labels != IGNORE
