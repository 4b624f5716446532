"""The forward-only pass: length-sorted batches, dropout off, everything one pass can yield."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from auxlearn.cost import Ledger
from auxlearn.data import batching
from auxlearn.data.batching import IGNORE, Encoded
from auxlearn.data.suites import Task
from auxlearn.errors import InputError
from auxlearn.models import bf16_inference
from auxlearn.models.multitask import MultiTaskModel, Output

TOKEN_BUDGET = 4096  # padded tokens a batch; beyond this a CPU gains nothing
TOKEN_BUDGET_GPU = 65536


def budget(kind: str) -> int:
    """Padded tokens a batch on this kind of device."""
    return TOKEN_BUDGET if kind == "cpu" else TOKEN_BUDGET_GPU


def outputs(
    model: MultiTaskModel, encoded: Encoded, task: Task, precision: str = "fp32", ledger: Ledger | None = None,
    ready: bf16_inference.Ready = nullcontext,
) -> Iterator[tuple[np.ndarray, Output]]:  # fmt: skip
    """Batches of (row positions, Output) in length order; the model's mode is left as found.

    Each batch is run within `ready()` (see `bf16_inference.prepare`).
    """
    was_training = model.training
    model.eval()
    try:
        for index in batching.by_tokens(encoded.lengths, budget(model.device.type)):
            batch = batching.to_batch(encoded, index, task, model.columns[task.name], model.pad_id)
            if ledger is not None:
                ledger.add_batch(model.encoder.config, encoded.lengths[index], batch["input_ids"].shape[1], False)
            with torch.inference_mode(), ready():  # not around the yield: whoever reads is not to run within them
                out = model(batch, precision)
            # Losses are taken before their step, so only a prediction shows a model that its last step broke.
            if not torch.isfinite(out.logits).all():
                raise InputError(f"predictions for {task.name!r} are not finite: training diverged; lower lr")
            yield index, out
    finally:
        model.train(was_training)


def predict(
    model: MultiTaskModel, encoded: Encoded, task: Task, precision: str = "fp32", ledger: Ledger | None = None
) -> tuple[Any, Any]:
    """Predictions and references in row order: arrays [N]; tagging: lists of label-id lists, split rows joined."""
    size = len(encoded)
    if task.kind == "tagging":
        tags: list[list[int]] = [[] for _ in range(size)]
        gold: list[list[int]] = [[] for _ in range(size)]
        for index, out in outputs(model, encoded, task, precision, ledger):
            best = out.logits.argmax(-1).cpu().numpy()
            for row, position in enumerate(index):
                labels = encoded.labels[encoded.starts[position] : encoded.starts[position + 1]]
                kept = labels != IGNORE
                tags[position] = best[row, : len(labels)][kept].tolist()
                gold[position] = labels[kept].tolist()
        return _joined(tags, encoded.rows), _joined(gold, encoded.rows)
    made = np.zeros(size, np.float32 if task.kind == "regression" else np.int64)
    for index, out in outputs(model, encoded, task, precision, ledger):
        if task.kind == "regression":
            made[index] = model.unscaled(out.logits.squeeze(-1), task.name).cpu().numpy()
        else:
            made[index] = out.logits.argmax(-1).cpu().numpy()
    return made, encoded.labels.copy()


def _joined(parts: list[list[int]], rows: np.ndarray | None) -> list[list[int]]:
    """One list a row, of one or several sequences of it in order."""
    if rows is None:
        return parts
    made: list[list[int]] = [[] for _ in range(int(rows[-1]) + 1)]
    for row, part in zip(rows, parts, strict=True):
        made[row] += part
    return made
