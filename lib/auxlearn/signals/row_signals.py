"""Everything that one pass over rows can read from one model.

Pooled features, the discriminator's logits and the rows' losses take a forward pass. Head importance (`importance`) and
inner products with targets' gradients (`example_gradients`) listen to one backward pass of the summed losses, so that
asked together they share both passes, and with features, logits and losses the forward pass.

Without anything that needs a gradient a batch's numbers are those of `pool_pass.plain`, bit for bit. With it batches
are smaller and in fp32 attention is another (see `importance`), which moves the last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import nn

from auxlearn import cost
from auxlearn.cost import Ledger
from auxlearn.data import batching
from auxlearn.data.batching import Encoded
from auxlearn.data.suites import Suite, Task
from auxlearn.errors import InputError
from auxlearn.models import bf16_inference
from auxlearn.models.multitask import MultiTaskModel, n_terms
from auxlearn.signals import example_gradients, head_importance, target_gradients
from auxlearn.training import prediction

FORWARD = ("features", "logits", "loss")
READS = (*FORWARD, *head_importance.DEFINITIONS, "products")
KV = ("kv_rows", "kv_columns")


def check(reads: Collection[str], targets: bool) -> None:
    """InputError for a reading that is not known, none at all, or products without targets."""
    if unknown := [name for name in reads if name not in READS]:
        raise InputError(f"reads: {', '.join(map(repr, unknown))} cannot be read; choose from {', '.join(READS)}")
    if not reads:
        raise InputError(f"reads: nothing is asked for; choose from {', '.join(READS)}")
    if "products" in reads and not targets:
        raise InputError(
            "reads: products are taken with targets' gradients; name rows of one task or more in `targets`"
        )
    if targets and "products" not in reads:
        raise InputError("targets: nothing that is read needs them; add 'products' to what is read")


def differentiates(reads: Collection[str]) -> bool:
    """Whether some of this needs a backward pass."""
    return any(name not in FORWARD for name in reads)


def read(
    model: MultiTaskModel, batch: dict[str, Any], reads: Collection[str], *, precision: str = "fp32",
    probe: target_gradients.Probe | None = None, ready: bf16_inference.Ready | None = None,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """What is asked of a task-pure batch, fp32 on the model's device; dropout off, the model is left as found.

    features [B, d] pooled; logits [B, K] of the discriminator; loss [B] (`head_importance.example_losses`); gate,
    kv_rows and kv_columns [B, L, H] (`head_importance.head_importance`); products: dots [B, T] with the T target chunks
    of `probe` and squares [B], squared norms (`example_gradients.products`). InputError as there, or where the head's
    outputs are not finite.
    """
    check(reads, probe is not None)
    backward, heads = differentiates(reads), [name for name in head_importance.DEFINITIONS if name in reads]
    if backward or "loss" in reads:
        n_terms(model, batch, every_row=True)
    with ExitStack() as stack:
        stack.enter_context(head_importance.left_as_found(model))
        weighed = head_importance.listen(stack, model, batch, heads) if heads else dict
        if "products" in reads:
            multiplied = example_gradients.listen(stack, probe, batch)
        stack.enter_context(torch.inference_mode(not backward))
        if backward:
            stack.enter_context(torch.enable_grad())
        stack.enter_context((ready or bf16_inference.prepare(model, precision))())
        out = model(batch, precision)
        if not torch.isfinite(out.logits).all():
            raise InputError(f"predictions for {batch['task']!r} are not finite: training diverged; lower lr")
        made = {"features": out.features.detach(), "logits": out.discriminator.detach()}
        if backward or "loss" in reads:
            losses = head_importance.example_losses(model, batch, out.logits)
            made["loss"] = losses.detach()
        if backward:
            losses.sum().backward()
    made = {name: made[name] for name in FORWARD if name in reads} | weighed()
    return made | dict(zip(("dots", "squares"), multiplied(), strict=True)) if "products" in reads else made


def over_rows(
    model: MultiTaskModel, encoded: Encoded, task: Task, reads: Collection[str], *, precision: str = "fp32",
    probe: target_gradients.Probe | None = None, budget: int | None = None, ledger: Ledger | None = None,
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:  # fmt: skip
    """Batches of (row positions [B], what `read` returns) over a task's rows, in length order.

    `budget`: padded tokens a batch. Memory does not depend on the number of rows.
    """
    kind = model.device.type
    usual = (
        prediction.budget(kind)
        if not differentiates(reads)
        else head_importance.TOKENS.get(kind, head_importance.TOKENS["cpu"])
    )
    ready = bf16_inference.prepare(model, precision)
    for index in batching.by_tokens(encoded.lengths, budget or usual):
        batch = batching.to_batch(encoded, index, task, model.columns[task.name], model.pad_id)
        if ledger is not None:
            _count(ledger, model, encoded.lengths[index], batch["input_ids"].shape[1], reads, probe)
        yield index, read(model, batch, reads, precision=precision, probe=probe, ready=ready)


def targets(
    model: MultiTaskModel, suite: Suite, rows: Mapping[str, np.ndarray], parameters: target_gradients.Which = "shared",
    precision: str = "fp32", ledger: Ledger | None = None,
) -> target_gradients.Probe:  # fmt: skip
    """A probe of one target a task, in the order of `rows`: the mean gradient of these rows of its train split."""
    probe, chunks = target_gradients.Probe(model, parameters, precision), []
    for name, at in rows.items():
        if name not in suite.names or not len(at):
            raise InputError(f"targets: {name!r} needs rows of a task of the suite ({', '.join(suite.names)})")
        task = suite[name]
        encoded = batching.encode(task.train.select(at.tolist()), task, model.tokenizer, model.max_length)
        budget = head_importance.TOKENS.get(model.device.type, head_importance.TOKENS["cpu"])
        batches = batching.by_tokens(encoded.lengths, budget)
        if ledger is not None:  # forward, and backward to activations and weights; no optimiser step
            for index in batches:
                lengths = encoded.lengths[index]
                padded = np.full(len(index), int(lengths.max()))
                ledger.add_batch(model.encoder.config, lengths, int(lengths.max()), False)
                ledger.flops += 2 * cost.encoder_flops(model.encoder.config, padded, False)
        chunks.append([batching.to_batch(encoded, index, task, model.columns[name], model.pad_id) for index in batches])
    probe.target(chunks)
    return probe


def reader(
    model: MultiTaskModel, suite: Suite, reads: Collection[str], rows: Mapping[str, np.ndarray],
    parameters: target_gradients.Which = "shared", precision: str = "fp32",
) -> Callable[[Encoded, Task, Ledger], Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]]:  # fmt: skip
    """`over_rows` for a pass over several tasks, with `targets` that are measured once, at the first call."""
    probe: list[target_gradients.Probe] = []

    def read_rows(encoded: Encoded, task: Task, ledger: Ledger) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
        if rows and not probe:
            probe.append(targets(model, suite, rows, parameters, precision, ledger))
        aim = probe[0] if probe else None
        return over_rows(model, encoded, task, reads, precision=precision, probe=aim, ledger=ledger)

    return read_rows


def _count(
    ledger: Ledger, model: MultiTaskModel, lengths: np.ndarray, padded: int, reads: Collection[str],
    probe: target_gradients.Probe | None,
) -> None:  # fmt: skip
    """Forward; the gradient of activations, as much again; and the row gradients of weights that are formed."""
    config = model.encoder.config
    ledger.add_batch(config, lengths, padded, False)
    rows = len(lengths)
    if differentiates(reads):
        ledger.flops += cost.encoder_flops(config, np.full(rows, padded), False)
    if any(name in reads for name in KV):
        ledger.flops += config.num_hidden_layers * 4.0 * config.hidden_size**2 * rows * padded
    if "products" in reads:
        cells = sum(p.numel() for p in _linear(model, probe))
        ledger.flops += 2.0 * cells * rows * (padded + len(probe.gram) + 1)


def _linear(model: MultiTaskModel, probe: target_gradients.Probe) -> list[nn.Parameter]:
    """The probe's weights of linear modules."""
    known = {p for _, p in probe.named}
    return [m.weight for m in model.encoder.modules() if isinstance(m, nn.Linear) and m.weight in known]
