"""Rows to arrays once, arrays to padded batches every epoch; `batch_order` decides which rows go together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from auxlearn.data.suites import Task

IGNORE = -100  # label of what no loss sees: missing labels, special tokens, all but a word's first piece


@dataclass(frozen=True)
class Encoded:
    """The tokenised rows of one task as flat arrays.

    Sequence i is `[starts[i]:starts[i + 1]]`, and is row i unless a row was split.
    """

    ids: np.ndarray  # int32, all tokens
    types: np.ndarray  # uint8, segment of each token
    starts: np.ndarray  # int64 [N + 1]
    labels: np.ndarray  # [N] int64 or float32; tagging: int64, one per token
    truncated: int  # rows that did not fit max_length
    rows: np.ndarray | None = None  # int64, the row of each sequence, in order, where some row has several

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, int64 [N]."""
        return np.diff(self.starts)


def encode(
    rows: Iterable[Mapping[str, Any]], task: Task, tokenizer: Any, max_length: int = 128, split: bool = False
) -> Encoded:  # fmt: skip
    """Tokenise rows of one task.

    Pairs lose tokens from their longer side first; tags sit on a word's first piece. A sentence to be tagged that is
    over `max_length` pieces is cut there: the tags of the words cut off are neither trained on nor scored, and
    `truncated` counts the sentence. With `split` it becomes several sequences instead, split between words and each as
    long as fits (the TAWT authors' preprocess_max_len.py does so to files); then no tag is lost but those of a word
    that is too long by itself.

    Args:
        rows: Rows with the task's input columns and, where there is one, its label.
        task: The task that the rows are of.
        tokenizer: A fast Hugging Face tokenizer.
        max_length: Tokens that a sequence may have, special tokens included.
        split: Whether to split long sentences of a tagging task rather than cut them.

    Returns:
        The rows as arrays; a missing label is IGNORE, or NaN for regression.
    """
    columns: dict[str, list[Any]] = {c: [] for c in (*task.inputs, task.label)}
    for row in rows:
        for column in columns:
            columns[column].append(row.get(column))
    texts = [columns[c] for c in task.inputs]
    tagging = task.kind == "tagging"
    if not texts[0]:
        empty = np.zeros(0)
        return Encoded(empty.astype(np.int32), empty.astype(np.uint8), np.zeros(1, np.int64), empty, 0)
    tokens = tokenizer(
        *texts, truncation=True, max_length=max_length, is_split_into_words=tagging, return_token_type_ids=True,
        return_attention_mask=False,
    )  # fmt: skip
    starts = np.concatenate([[0], np.cumsum([len(x) for x in tokens["input_ids"]])]).astype(np.int64)
    values = columns[task.label]
    if tagging:
        labels = np.concatenate([
            _first_pieces(e.word_ids, tags) for e, tags in zip(tokens.encodings, values, strict=True)
        ])  # fmt: skip
    elif task.kind == "regression":
        labels = np.array([np.nan if v is None else v for v in values], np.float32)
    else:
        labels = np.array([IGNORE if v is None else v for v in values], np.int64)
    cut = [i for i, e in enumerate(tokens.encodings) if e.overflowing]
    if split and tagging and cut:
        parts = {i: _parts(texts[0][i], tokenizer, max_length) for i in cut}
        if any(len(runs) > 1 for runs in parts.values()):
            return _split(columns, task, tokenizer, max_length, parts)
    return Encoded(
        np.concatenate([np.asarray(x, np.int32) for x in tokens["input_ids"]]),
        np.concatenate([np.asarray(x, np.uint8) for x in tokens["token_type_ids"]]),
        starts,
        labels,
        len(cut),
    )


def _parts(words: Sequence[str], tokenizer: Any, max_length: int) -> list[slice]:
    """Split words into runs that fit `max_length` tokens, special tokens included; an overlong word stands alone."""
    whole = tokenizer([list(words)], is_split_into_words=True, return_attention_mask=False).encodings[0]
    pieces = np.bincount([w for w in whole.word_ids if w is not None], minlength=len(words))
    room, runs, start, filled = max_length - sum(w is None for w in whole.word_ids), [], 0, 0
    for at, size in enumerate(pieces):
        if filled and filled + size > room:
            runs.append(slice(start, at))
            start, filled = at, 0
        filled += size
    return [*runs, slice(start, len(words))]


def _split(
    columns: Mapping[str, list[Any]], task: Task, tokenizer: Any, max_length: int, parts: Mapping[int, list[slice]]
) -> Encoded:  # fmt: skip
    """Encode the rows, each row of `parts` as several sequences."""
    rows, pieces = [], []
    for i, (words, tags) in enumerate(zip(columns[task.inputs[0]], columns[task.label], strict=True)):
        for part in parts.get(i, [slice(None)]):
            rows.append(i)
            pieces.append({task.inputs[0]: words[part], task.label: None if tags is None else tags[part]})
    return replace(encode(pieces, task, tokenizer, max_length), rows=np.array(rows))


def _first_pieces(words: Sequence[int | None], tags: Sequence[int] | None) -> np.ndarray:
    labels, last = np.full(len(words), IGNORE, np.int64), -1
    for position, word in enumerate(words):
        if word is not None and word != last and tags is not None:
            labels[position], last = tags[word], word
    return labels


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
