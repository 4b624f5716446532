"""The forward-only pass: length-sorted batches, dropout off, everything that one pass can yield."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch

from auxlearn.cost import Ledger
from auxlearn.data import batch_order, batching
from auxlearn.data.batching import Encoded
from auxlearn.data.suites import Task
from auxlearn.errors import InputError
from auxlearn.models import bf16_inference, devices
from auxlearn.models.multitask import MultiTaskModel, Output


def outputs(
    model: MultiTaskModel, encoded: Encoded, task: Task, precision: str = "fp32", ledger: Ledger | None = None,
    ready: bf16_inference.Ready = nullcontext,
) -> Iterator[tuple[np.ndarray, Output]]:  # fmt: skip
    """Run a model over encoded rows, batch by batch in length order; its mode is left as found.

    Args:
        model: The model.
        encoded: Rows of one task.
        task: Their task.
        precision: "bf16" runs the encoder under autocast; "fp32" does not.
        ledger: Where the cost is entered, if anywhere.
        ready: Makes the context that each batch is run in, see `bf16_inference.prepare`.

    Yields:
        Positions in `encoded`, int64 [B], and their output.

    Raises:
        InputError: Logits are not finite; on a GPU that is found after the last batch.
    """
    was_training, verdicts = model.training, devices.Verdicts()

    def run(index: np.ndarray) -> tuple[np.ndarray, Output]:
        batch = batching.to_batch(encoded, index, task, model.columns[task.name], model.pad_id)
        with torch.inference_mode(), ready():  # not around the yield: whoever reads is not to run within them
            return index, model(batch, precision)

    model.eval()
    try:
        batches = batch_order.by_tokens(encoded.lengths, batch_order.budget(model.device.type))
        for index, out in devices.fitting("scoring", batches, run):
            if ledger is not None:
                lengths = encoded.lengths[index]
                ledger.add_batch(model.encoder.config, lengths, int(lengths.max()), False)
            # Losses are taken before their step, so only a prediction shows a model that its last step broke.
            verdicts.add(torch.isfinite(out.logits).all(), lambda: diverged(task.name))
            yield index, out
        verdicts.settle()
    finally:
        model.train(was_training)


def diverged(task: str) -> InputError:
    """Build the error for a task whose predictions are not finite."""
    return InputError(f"predictions for {task!r} are not finite: training diverged; lower lr")


def predict(
    model: MultiTaskModel, encoded: Encoded, task: Task, precision: str = "fp32", ledger: Ledger | None = None
) -> tuple[Any, Any]:
    """Predict labels of encoded rows.

    Args:
        model: The model.
        encoded: Rows of one task, with labels.
        task: Their task.
        precision: "bf16" runs the encoder under autocast; "fp32" does not.
        ledger: Where the cost is entered, if anywhere.

    Returns:
        Predictions and references in row order: arrays [N], int64 or for a regression float32; for tagging lists of
        lists of label ids, one for each word of the row (the reference of a row without tags is IGNORE), in which the
        sequences of a split row are joined.

    Raises:
        InputError: Logits are not finite, or words to be tagged were cut off.
    """
    size = len(encoded)

    def predicted(best: Callable[[torch.Tensor], torch.Tensor]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        batches = outputs(model, encoded, task, precision, ledger)
        for index, values in devices.on_host((index, {"": best(out.logits)}) for index, out in batches):
            yield index, values[""]

    if task.kind == "tagging":
        assert encoded.firsts is not None  # as `Tokeniser` gives them for tagging
        if encoded.lost:
            raise InputError(
                f"task {task.name!r}: {encoded.lost} words were cut off, whose tags nothing would predict; encode the "
                "rows with split=True"
            )
        tags: list[list[int]] = [[] for _ in range(size)]
        gold: list[list[int]] = [[] for _ in range(size)]
        for index, best in predicted(lambda logits: logits.argmax(-1)):
            for row, position in enumerate(index):
                tokens = slice(encoded.starts[position], encoded.starts[position + 1])
                heads = np.flatnonzero(encoded.firsts[tokens])
                tags[position] = best[row, heads].tolist()
                gold[position] = encoded.labels[tokens][heads].tolist()
        return _joined(tags, encoded.rows), _joined(gold, encoded.rows)
    predictions = np.zeros(size, np.float32 if task.kind == "regression" else np.int64)
    value = lambda logits: model.unscaled(logits.squeeze(-1), task.name)  # noqa: E731
    for index, best in predicted(value if task.kind == "regression" else lambda logits: logits.argmax(-1)):
        predictions[index] = best
    return predictions, encoded.labels.copy()


def _joined(parts: list[list[int]], rows: np.ndarray | None) -> list[list[int]]:
    """Join the sequences of each row, one or several in order, into one list per row."""
    if rows is None:
        return parts
    joined: list[list[int]] = [[] for _ in range(int(rows[-1]) + 1)]
    for row, part in zip(rows, parts, strict=True):
        joined[row] += part
    return joined
