"""Rows of a selection as a Trainer's dataset and its collator: tokens, labels, and each row's task and weight."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch.utils.data import Dataset

from auxlearn.data import auxiliary_rows
from auxlearn.data.suites import Suite
from auxlearn.data.tokens import token_store
from auxlearn.data.tokens.encoded import IGNORE, Encoded
from auxlearn.errors import InputError


class Rows(Dataset):
    """Tokenised rows of several tasks, each with its task and its weight.

    Args:
        suite: The suite that the tasks are of.
        encoded: Each task's rows, by its name; a row's task is a position among these.
        weights: Row weights by task, float [N]; of a task that is not named all are 1.

    Attributes:
        tasks: The tasks' names.
        task_ids: The task of each row, int64 [N].

    Raises:
        InputError: Weights are not one number of 0 or above for each row of a task that is there.
    """

    def __init__(
        self, suite: Suite, encoded: Mapping[str, Encoded], weights: Mapping[str, np.ndarray] | None = None
    ):  # fmt: skip
        self.tasks, self._encoded = list(encoded), list(encoded.values())
        self._tagging = [suite[name].kind == "tagging" for name in self.tasks]
        sizes, told = [len(each) for each in self._encoded], weights or {}
        if unknown := [name for name in told if name not in encoded]:
            raise InputError(f"weights: no row of {unknown[0]!r} is here; there are {', '.join(self.tasks)}")
        parts = []
        for name, size in zip(self.tasks, sizes, strict=True):
            part = np.asarray(told.get(name, np.ones(size)), float)
            if part.shape != (size,) or not (np.isfinite(part) & (part >= 0)).all():
                raise InputError(f"weights: {name!r} needs one number of 0 or above for each of its {size} rows")
            parts.append(part)
        self.task_ids = np.repeat(np.arange(len(sizes)), sizes)
        self._at = np.concatenate([np.arange(size) for size in sizes])
        self._weights = np.concatenate(parts)

    def __len__(self) -> int:
        return len(self.task_ids)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return a row.

        Args:
            index: Its position.

        Returns:
            input_ids and token_type_ids (lists), labels (a class, a number, or a class per token), task, weight.
        """
        task, at = int(self.task_ids[index]), int(self._at[index])
        own = self._encoded[task]
        span = slice(int(own.starts[at]), int(own.starts[at] + own.lengths[at]))
        return {
            "input_ids": own.ids[span].tolist(), "token_type_ids": own.types[span].tolist(),
            "labels": own.labels[span].tolist() if self._tagging[task] else own.labels[at].item(),
            "task": task, "weight": float(self._weights[index]),
        }  # fmt: skip

    def of(self, task: str) -> np.ndarray:
        """Return the positions of a task's rows, int64 [n]."""
        return np.flatnonzero(self.task_ids == self.tasks.index(task))


def training_rows(
    suite: Suite, chosen: Any, primary: str, tokenizer: Any, *, max_length: int = 128,
    own: np.ndarray | None = None, weights: Mapping[str, np.ndarray] | None = None,
) -> Rows:  # fmt: skip
    """Tokenise the primary's training rows and the chosen ones for a Trainer.

    Args:
        suite: The suite.
        chosen: The auxiliary rows: what `auxlearn.select` returns, or a DataFrame with columns task and row, such as
            an exported selection; None for none.
        primary: The primary task, which is task 0.
        tokenizer: Your model's tokenizer.
        max_length: Tokens at which a row is cut.
        own: Positions of the primary's rows to train on, int [N]; None for all.
        weights: Row weights by task, in the order of `own` and of the chosen rows of each task.

    Returns:
        The rows, those of the primary first.

    Raises:
        InputError: What is chosen has no such columns, a chosen row is of no task of the suite, of the primary, not
            there or, by its row_id, another one than was chosen, or weights do not fit.
    """
    every = np.arange(len(suite[primary].train))
    picked = {primary: every if own is None else _positions(own, len(every), "own")}
    table = getattr(chosen, "table", chosen)
    if table is not None and not (isinstance(table, pd.DataFrame) and {"task", "row"} <= set(table.columns)):
        what = (
            f"columns {', '.join(map(str, table.columns))}" if isinstance(table, pd.DataFrame) else type(table).__name__
        )
        raise InputError(f"chosen: give a selection, or a DataFrame with columns task and row, not {what}")
    for name, part in () if table is None else table.groupby("task", sort=False):
        if name == primary or name not in suite.names:
            raise InputError(
                f"chosen: {name!r} is no auxiliary task of {primary!r}; there are {', '.join(suite.names)}"
            )
        picked[str(name)] = _positions(part["row"], None, f"chosen: rows of {name!r}")
    for name, positions in picked.items():
        outside = positions[(positions < 0) | (positions >= len(suite[name].train))]
        if len(outside):
            raise InputError(
                f"{'own' if name == primary else 'chosen'}: {name!r} has no training row {outside[0]}, it has "
                f"{len(suite[name].train)}; give positions in this suite's train, from 0"
            )
    if table is not None and "row_id" in table:
        for name, part in table.groupby("task", sort=False):
            auxiliary_rows.check_ids(suite[str(name)], part, "chosen")
    encoded = {
        name: token_store.encoded(suite[name], "train", tokenizer, max_length, rows=rows)
        for name, rows in picked.items()
    }
    return Rows(suite, encoded, weights)


def _positions(given: Any, size: int | None, what: str) -> np.ndarray:
    """Return positions of rows; a mask of `size` rows stands for those that it holds."""
    found = np.asarray(given)
    if size is not None and found.dtype == bool and found.shape == (size,):
        return np.flatnonzero(found)
    if found.size and (found.ndim != 1 or found.dtype.kind not in "iu"):
        raise InputError(
            f"{what}: give positions in the train split, whole numbers in one list, not "
            f"{found.ndim}-dimensional {found.dtype}"
        )
    return found.astype(np.int64).reshape(-1)


@dataclass
class Collator:
    """Pads rows of `Rows` to a batch; `labels` then holds labels, task and weight of each row.

    Rows of other datasets, such as those that the Trainer evaluates on, keep plain labels.

    Args:
        tokenizer: Your model's tokenizer.
        task_ids: Whether the model is told each row's task, as the input `task_ids`, int64 [B].
    """

    tokenizer: Any
    task_ids: bool = False

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Pad rows.

        Args:
            rows: Of one task, or of several whose labels have one form.

        Returns:
            The model's inputs, int64 [B, T], and labels.
        """
        names = [n for n in ("input_ids", "token_type_ids") if n in rows[0] and n in self.tokenizer.model_input_names]
        batch = dict(self.tokenizer.pad([{n: row[n] for n in names} for row in rows], return_tensors="pt"))
        if isinstance(rows[0]["labels"], list):
            labels = torch.full(batch["input_ids"].shape, IGNORE)
            left = getattr(self.tokenizer, "padding_side", "right") == "left"
            for at, row in enumerate(rows):
                width = len(row["labels"])
                labels[at, slice(-width, None) if left else slice(width)] = torch.tensor(row["labels"])
        else:
            labels = torch.tensor([row["labels"] for row in rows])
        if "task" not in rows[0]:
            return batch | {"labels": labels}
        task = torch.tensor([row["task"] for row in rows])
        weight = torch.tensor([row["weight"] for row in rows], dtype=torch.float32)
        given = {"task_ids": task} if self.task_ids else {}
        return batch | given | {"labels": {"labels": labels, "task": task, "weight": weight}}
