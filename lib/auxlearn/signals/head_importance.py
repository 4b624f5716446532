"""How much each attention head matters to each example's own loss: one backward pass over a whole batch.

GradTS measures this with a batch of one, every weight's gradient and a copy of it to the CPU. None of that is needed.
The losses of a batch are summed, so that each row's activations receive exactly the gradient of that row's own loss.
Parameters are frozen, so that only activation gradients are computed. What needs a weight's gradient per example (an
absolute value is taken after its sum over tokens) is formed layer by layer as the backward pass reaches it, reduced to
one number per head, and dropped.

Three definitions:

- "gate": |dL/dxi| at xi = 1 for a gate xi multiplied into the head's output (Michel et al., 2019);
- "kv_rows": mean of |dL/dW_K| + |dL/dW_V| over the head's own rows of both weights;
- "kv_columns": the same over blocks of the weights' *columns*, as the GradTS code has it (mt_dnn/model.py,
  `update_no_grad`). `nn.Linear.weight` is [out, in] and heads are rows, so these are blocks of the layer's input.

It differs from the GradTS code in three ways. Dropout is off while measuring (`dropout=True` restores it). A tagging
row's loss is of its words alone; theirs also gives [CLS] and [SEP] labels of their own. A regression's targets are as
they are; theirs are cut to whole numbers. Neither of the two is offered: the one teaches the model labels that are no
task's, the other is an accident of a conversion.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from auxlearn import seeding
from auxlearn.data import batch_order, batching
from auxlearn.data.batching import IGNORE, Encoded
from auxlearn.data.suites import Task
from auxlearn.errors import InputError
from auxlearn.models import bf16_inference, devices
from auxlearn.models.attention_heads import TWICE, Layer, attention_layers, inseparable
from auxlearn.models.multitask import MultiTaskModel, n_terms

DEFINITIONS = ("gate", "kv_rows", "kv_columns")
# Weight gradients held at once: on a CPU what stays in its cache until it is reduced, elsewhere enough for the device.
SCRATCH = {"cpu": 2 << 20, "cuda": 256 << 20}
TOKENS = {"cpu": 512, "cuda": 32768}  # padded tokens per batch in `over_rows`; on a CPU 2048 measured 1.5 times slower


def head_importance(
    model: MultiTaskModel, batch: dict[str, Any], definition: str, *, precision: str = "fp32", dropout: bool = False,
    seed: int = 0,
) -> torch.Tensor:  # fmt: skip
    """Measure the importance of every head for every row of a batch.

    Row b is what the row alone would give: the gradient of its own loss (cross-entropy, squared error on the head's
    scale, or the mean over its own labelled tokens). Mode, `.grad`, `requires_grad` and random state are left as found.

    Args:
        model: The model.
        batch: A batch of B rows of one task.
        definition: One of DEFINITIONS.
        precision: "bf16" runs the encoder under autocast; reductions are fp32 either way.
        dropout: Measure with dropout on, as the GradTS code does.
        seed: Seed of the dropout masks, which also depend on the batch's tokens.

    Returns:
        float32 [B, L, H] >= 0, on the model's device.

    Raises:
        ValueError: The definition is unknown, or a result is not finite.
        InputError: The batch joins tasks, a row has no label, or the encoder's heads cannot be told apart.
    """
    ready = bf16_inference.prepare(model, precision)
    return _measure(model, batch, (definition,), precision, dropout, seed, ready)[definition]


def all_importances(
    model: MultiTaskModel, batch: dict[str, Any], *, precision: str = "fp32", dropout: bool = False, seed: int = 0
) -> dict[str, torch.Tensor]:
    """Measure all definitions in one pass; arguments and errors as in `head_importance`.

    Args:
        model: The model.
        batch: A batch of B rows of one task.
        precision: "fp32" or "bf16".
        dropout: Measure with dropout on.
        seed: Seed of the dropout masks.

    Returns:
        float32 [B, L, H] by definition.
    """
    return _measure(model, batch, DEFINITIONS, precision, dropout, seed, bf16_inference.prepare(model, precision))


def over_rows(
    model: MultiTaskModel, encoded: Encoded, task: Task, definitions: Sequence[str] = DEFINITIONS, *,
    precision: str = "fp32", dropout: bool = False, seed: int = 0, budget: int | None = None,
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:  # fmt: skip
    """Measure head importance over a task's rows, batch by batch in length order.

    Memory does not depend on the number of rows.

    Args:
        model: The model.
        encoded: Rows of one task.
        task: Their task.
        definitions: Some of DEFINITIONS.
        precision: "fp32" or "bf16", as in `head_importance`.
        dropout: Measure with dropout on.
        seed: Seed of the dropout masks.
        budget: Padded tokens per batch; None for what suits the device.

    Yields:
        Positions in `encoded`, int64 [B], and float32 [B, L, H] by definition.

    Raises:
        ValueError: As in `head_importance`.
        InputError: As in `head_importance`.
    """
    ready, verdicts = bf16_inference.prepare(model, precision), devices.Verdicts()

    def run(index: np.ndarray) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
        batch = batching.to_batch(encoded, index, task, model.columns[task.name], model.pad_id)
        return index, _measure(model, batch, tuple(definitions), precision, dropout, seed, ready, verdicts)

    batches = batch_order.by_tokens(encoded.lengths, budget or tokens(model.device.type))
    yield from devices.fitting("head importance", batches, run)
    verdicts.settle()


def tokens(kind: str) -> int:
    """Return how many padded tokens a batch may hold on this kind of device."""
    return TOKENS.get(kind, TOKENS["cpu"])


def _measure(
    model: MultiTaskModel, batch: dict[str, Any], definitions: tuple[str, ...], precision: str, dropout: bool,
    seed: int, ready: bf16_inference.Ready, verdicts: devices.Verdicts | None = None,
) -> dict[str, torch.Tensor]:  # fmt: skip
    with ExitStack() as stack:
        stack.enter_context(left_as_found(model, dropout, _stream(seed, batch)))
        results = listen(stack, model, batch, definitions, verdicts)
        stack.enter_context(ready())
        with torch.inference_mode(False), torch.enable_grad():
            example_losses(model, batch, model(batch, precision).logits).sum().backward()
    return results()


def listen(
    stack: ExitStack, model: MultiTaskModel, batch: dict[str, Any], definitions: Sequence[str],
    verdicts: devices.Verdicts | None = None,
) -> Callable[[], dict[str, torch.Tensor]]:  # fmt: skip
    """Measure during one forward and backward pass that the caller makes, until `stack` is closed.

    The backward pass must be that of the summed row losses, within `left_as_found`.

    Args:
        stack: Holds the hooks.
        model: The model.
        batch: The batch that the caller will run.
        definitions: Some of DEFINITIONS.
        verdicts: Takes the checks of the results, for the caller to settle; None to settle them at once.

    Returns:
        A function to call after the backward pass; it returns float32 [B, L, H] by definition.

    Raises:
        ValueError: As in `head_importance`; for a result that is not finite, from the returned function.
        InputError: As in `head_importance`.
    """
    unknown = [name for name in definitions if name not in DEFINITIONS]
    if unknown or not definitions:
        raise ValueError(f"definition {unknown}: choose from {', '.join(DEFINITIONS)}")
    n_terms(model, batch, every_row=True)
    layers, heads = attention_layers(model.encoder), model.encoder.config.num_attention_heads
    size = tuple(batch["input_ids"].shape)
    importances = {name: torch.zeros(size[0], len(layers), heads, device=model.device) for name in definitions}
    pending = _hook(stack, model.encoder, layers, size, importances)

    def all_met(*_: Any) -> None:
        if pending:
            raise inseparable(model.encoder, f"{', '.join(sorted(pending))} took no part in the forward pass")

    stack.callback(model.register_forward_hook(all_met).remove)
    # Not a fused kernel on a CPU: those were slower at these lengths and rounded twice as coarsely. Elsewhere the
    # attention of all heads, T^2 a row, need not be held at once.
    if model.device.type == "cpu":
        stack.enter_context(sdpa_kernel(SDPBackend.MATH))

    def results() -> dict[str, torch.Tensor]:
        checks = verdicts or devices.Verdicts()
        for name, values in importances.items():
            bad = (~torch.isfinite(values)).flatten(1).any(1)
            checks.add(~bad.any(), functools.partial(_not_finite, bad, name))
        if verdicts is None:
            checks.settle()
        return importances

    return results


def _not_finite(bad: torch.Tensor, name: str) -> ValueError:
    row = int(bad.nonzero()[0])
    return ValueError(f"row {row}: its {name} importance is not finite; look at the model's weights")


def example_losses(model: MultiTaskModel, batch: dict[str, Any], logits: torch.Tensor) -> torch.Tensor:
    """Compute each row's own loss.

    Their mean is `MultiTaskModel.task_loss`, but for tagging, where that weighs all tokens alike.

    Args:
        model: The model.
        batch: A batch of one task, with labels.
        logits: The model's logits of this batch.

    Returns:
        [B].
    """
    name, labels = batch["task"], devices.to_device(batch["labels"], logits.device)
    if model.kinds[name] == "regression":
        return (logits.squeeze(-1) - model.scaled(labels, name)) ** 2
    if model.kinds[name] == "classification":
        return F.cross_entropy(logits, labels, reduction="none")
    if logits.device.type == "cpu":
        losses = F.cross_entropy(logits.transpose(1, 2), labels, ignore_index=IGNORE, reduction="none")
    else:
        losses = _token_losses(logits, labels)
    return losses.sum(1) / (labels != IGNORE).sum(1)


def _token_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Compute each token's loss [B, T] by a kernel that a GPU has a deterministic form of."""
    flat = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none")
    return flat.view(labels.shape)


def _stream(seed: int, batch: dict[str, Any]) -> int:
    """Derive a seed for the batch's dropout masks: equal batches get equal masks, different ones independent masks."""
    digest = hashlib.sha256(batch["input_ids"].cpu().numpy().tobytes()).hexdigest()
    return seeding.derive(seed, "dropout", "importance", digest)


@contextmanager
def left_as_found(model: MultiTaskModel, dropout: bool = False, stream: int = 0) -> Iterator[None]:
    """Freeze the parameters and set the mode; afterwards mode, flags and random state are what they were.

    Args:
        model: The model.
        dropout: Whether dropout is on within.
        stream: Seed of the dropout masks.
    """
    flags = [(p, p.requires_grad) for p in model.parameters()]
    modes = [(m, m.training) for m in model.modules()]
    bits = model.source.bits
    devices = range(torch.cuda.device_count()) if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices, enabled=dropout):
            if dropout:
                torch.manual_seed(stream)
                model.source.reseed(stream)
            model.train(dropout)
            model.requires_grad_(False)
            yield
    finally:
        model.source.bits = bits
        for p, flag in flags:
            p.requires_grad_(flag)
        for module, mode in modes:
            module.training = mode


def _hook(
    stack: ExitStack, encoder: Any, layers: Sequence[Layer], size: tuple[int, int], importances: dict[str, torch.Tensor]
) -> set[str]:
    """Place hooks that measure during the backward pass; return the names of modules that forward has yet to meet.

    Tensor hooks hold detached aliases: a hook that holds its own tensor is a cycle Python cannot free.
    """
    pending: set[str] = set()
    heads = encoder.config.num_attention_heads

    def meet(mark: str, x: torch.Tensor) -> None:
        if mark not in pending:
            raise inseparable(encoder, f"{mark} {TWICE}")
        if x.shape[:2] != size:
            raise InputError(f"{mark}: sees {list(x.shape)}, not [B, T, width]; use attention 'sdpa' or 'eager'")
        pending.discard(mark)

    def begin(x: torch.Tensor) -> None:
        if not x.requires_grad:  # the first layer's: nothing below it needs a gradient, so backward ends here
            x.requires_grad_()

    def on_gate(number: int, mark: str):
        def before(module: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            meet(mark, args[0])
            begin(args[0])
            x = args[0].detach()

            def gate(grad: torch.Tensor) -> None:
                product = (grad.float() * x.float()).unflatten(-1, (heads, -1))
                importances["gate"][:, number] = product.sum((1, 3)).abs()

            args[0].register_hook(gate)

        return before

    def on_source(number: int, mark: str, first: int, width: int):
        def after(module: nn.Linear, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            meet(mark, args[0])
            begin(output)
            x = args[0].detach()
            output.register_hook(lambda grad: _weights(grad[..., first:], x, width, number, importances))

        return after

    for number, layer in enumerate(layers):
        width = layer.output.in_features
        if "gate" in importances:
            pending.add(mark := f"{layer.name} (output)")
            stack.callback(layer.output.register_forward_pre_hook(on_gate(number, mark)).remove)
        if importances.keys() - {"gate"}:
            for place, (module, first) in enumerate(layer.sources):
                pending.add(mark := f"{layer.name} (key and value, {place})")
                stack.callback(module.register_forward_hook(on_source(number, mark, first, width)).remove)
    return pending


def _weights(
    delta: torch.Tensor, x: torch.Tensor, width: int, number: int, importances: dict[str, torch.Tensor]
) -> None:
    """Add one projection's share (or keys' and values', stacked) to a layer's kv importances.

    delta [B, T, O]: gradient at the projection's output, O a multiple of `width` (all heads); x [B, T, I]: its input.
    A row's weight gradient is delta^T x, [O, I]; at most SCRATCH bytes of them exist at a time.
    """
    heads, inner = next(iter(importances.values())).shape[-1], x.shape[-1]
    cells = width * inner / heads  # of a slice, whether of rows or of columns
    x = x.to(delta.dtype)
    step = max(1, SCRATCH.get(x.device.type, SCRATCH["cpu"]) // (delta.shape[-1] * inner * x.element_size()))
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        weight = torch.bmm(delta[rows].transpose(1, 2), x[rows]).abs_()
        if "kv_rows" in importances:
            sums = weight.sum(-1, dtype=torch.float32).view(len(weight), -1, heads, width // heads)
            importances["kv_rows"][rows, number] += sums.sum((1, 3)) / cells
        if "kv_columns" in importances:
            sums = weight.sum(-2, dtype=torch.float32).view(len(weight), heads, inner // heads)
            importances["kv_columns"][rows, number] += sums.sum(-1) / cells
