"""Everything that one pass over rows can read from one model.

Pooled features, the discriminator's logits and the rows' losses take a forward pass. Head importance
(`head_importance`) and inner products with targets' gradients (`example_gradients`) listen to one backward pass of the
summed losses, so that asked for together they share both passes, and the forward pass with features, logits and losses.

Without anything that needs a gradient a batch's numbers are those of `pool_pass.plain`, bit for bit. With it batches
are smaller and in fp32 attention is computed otherwise (see `head_importance`), which moves the last bits.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from torch import nn

from auxlearn import cost
from auxlearn.cost import Ledger
from auxlearn.data import batch_order, batching
from auxlearn.data.batching import Encoded
from auxlearn.data.suites import Suite, Task
from auxlearn.data.tokens import token_store
from auxlearn.errors import InputError
from auxlearn.models import bf16_inference, devices
from auxlearn.models.multitask import MultiTaskModel, n_terms
from auxlearn.signals import example_gradients, head_importance, target_gradients
from auxlearn.training import prediction

FORWARD = ("features", "logits", "loss")
READS = (*FORWARD, *head_importance.DEFINITIONS, "products")  # what one pass can read together
KNOWN = (*READS, "cosines")
OF_TARGETS = ("products", "cosines")
KV = ("kv_rows", "kv_columns")


def check(reads: Collection[str], targets: bool) -> None:
    """Refuse a request that cannot be read.

    Args:
        reads: What to read.
        targets: Whether there are targets.

    Raises:
        InputError: A reading is unknown, there is none at all, or one of products and targets comes without the other.
    """
    if unknown := [name for name in reads if name not in KNOWN]:
        raise InputError(f"reads: {', '.join(map(repr, unknown))} cannot be read; choose from {', '.join(KNOWN)}")
    if not reads:
        raise InputError(f"reads: nothing is asked for; choose from {', '.join(KNOWN)}")
    taken = [name for name in OF_TARGETS if name in reads]
    if taken and not targets:
        raise InputError(
            f"reads: {taken[0]} are taken with targets' gradients; name rows of one task or more in `targets`"
        )
    if targets and not taken:
        raise InputError("targets: nothing that is read needs them; add 'products' to what is read")
    if len(taken) > 1:
        raise InputError("reads: products are of gradients, cosines of Adam's steps; read them in two passes")


def differentiates(reads: Collection[str]) -> bool:
    """Tell whether some of this needs a backward pass."""
    return any(name not in FORWARD for name in reads)


def read(
    model: MultiTaskModel, batch: dict[str, Any], reads: Collection[str], *, precision: str = "fp32",
    probe: target_gradients.Probe | None = None, ready: bf16_inference.Ready | None = None,
    verdicts: devices.Verdicts | None = None,
) -> dict[str, torch.Tensor]:  # fmt: skip
    """Read a batch of one task, with dropout off; the model is left as found.

    Args:
        model: The model.
        batch: A batch of B rows of one task, with labels for everything but features and logits.
        reads: What to read, some of KNOWN.
        precision: "fp32" or "bf16".
        probe: For "products" and "cosines": a probe that has measured its T target chunks; for "cosines" with Adam's
            moments.
        ready: Makes the context that the batch is run in, see `bf16_inference.prepare`; None to prepare one.
        verdicts: Takes the checks of the results, for the caller to settle; None to settle them at once.

    Returns:
        What is asked for by name, fp32 on the model's device: features [B, d], pooled; logits [B, K], of the
        discriminator; loss [B] (`head_importance.example_losses`); gate, kv_rows and kv_columns [B, L, H]
        (`head_importance.head_importance`); for "products" dots [B, T] and squares [B], squared norms
        (`example_gradients.products`); cosines [B, T] of the step that Adam makes of each row's gradient with the
        targets' gradients (`example_gradients.listen`).

    Raises:
        InputError: The request cannot be read (see `check`), a row has no label, the heads or parameters are of no
            known form, or the head's outputs or the products are not finite.
        ValueError: A head importance is not finite.
    """
    check(reads, probe is not None)
    backward, heads = differentiates(reads), [name for name in head_importance.DEFINITIONS if name in reads]
    if backward or "loss" in reads:
        n_terms(model, batch, every_row=True)
    checks = verdicts or devices.Verdicts()
    with ExitStack() as stack:
        stack.enter_context(head_importance.left_as_found(model))
        importances = head_importance.listen(stack, model, batch, heads, checks) if heads else dict
        if any(name in reads for name in OF_TARGETS):
            assert probe is not None  # as `check` demands
            products = example_gradients.listen(stack, probe, batch, checks)
        stack.enter_context(torch.inference_mode(not backward))
        if backward:
            stack.enter_context(torch.enable_grad())
        stack.enter_context((ready or bf16_inference.prepare(model, precision))())
        output = model(batch, precision)
        checks.add(torch.isfinite(output.logits).all(), functools.partial(prediction.diverged, batch["task"]))
        signals = {"features": output.features.detach(), "logits": output.discriminator.detach()}
        if backward or "loss" in reads:
            losses = head_importance.example_losses(model, batch, output.logits)
            signals["loss"] = losses.detach()
        if backward:
            losses.sum().backward()
    signals = {name: signals[name] for name in FORWARD if name in reads} | importances()
    if "products" in reads:
        signals |= dict(zip(("dots", "squares"), products(), strict=True))
    elif "cosines" in reads:
        assert probe is not None  # as `check` demands
        dots, squares = products()
        lengths = devices.to_device(torch.from_numpy(np.sqrt(np.diag(probe.gram))).to(dots.dtype), dots.device)
        signals["cosines"] = dots / (squares.sqrt()[:, None] * lengths).clamp_min(1e-30)
    if verdicts is None:
        checks.settle()
    return signals


def over_rows(
    model: MultiTaskModel, encoded: Encoded, task: Task, reads: Collection[str], *, precision: str = "fp32",
    probe: target_gradients.Probe | None = None, budget: int | None = None, ledger: Ledger | None = None,
) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:  # fmt: skip
    """Read a task's rows, batch by batch in length order.

    Memory does not depend on the number of rows.

    Args:
        model: The model.
        encoded: Rows of one task.
        task: Their task.
        reads: What to read, some of KNOWN.
        precision: "fp32" or "bf16".
        probe: For "products" and "cosines": a probe that has measured its target chunks.
        budget: Padded tokens per batch; None for what suits the device and the request.
        ledger: Where the cost is entered, if anywhere.

    Yields:
        Positions in `encoded`, int64 [B], and what `read` returns.
    """
    cells, chunks = (0, 0) if probe is None else (_cells(model, probe), len(probe.gram))
    ready, verdicts = bf16_inference.prepare(model, precision), devices.Verdicts()

    def run(index: np.ndarray) -> tuple[np.ndarray, dict[str, torch.Tensor]]:
        batch = batching.to_batch(encoded, index, task, model.columns[task.name], model.pad_id)
        return index, read(model, batch, reads, precision=precision, probe=probe, ready=ready, verdicts=verdicts)

    batches = batch_order.by_tokens(encoded.lengths, budget or tokens(model.device.type, reads))
    for index, signals in devices.fitting("row gradients" if differentiates(reads) else "scoring", batches, run):
        if ledger is not None:
            enter(ledger, model.encoder.config, encoded.lengths[index], reads, cells, chunks)
        yield index, signals
    verdicts.settle()


def targets(
    model: MultiTaskModel, suite: Suite, rows: Mapping[str, np.ndarray], parameters: target_gradients.Which = "shared",
    precision: str = "fp32", ledger: Ledger | None = None,
) -> target_gradients.Probe:  # fmt: skip
    """Measure the gradients of targets: of each, the mean gradient of some rows of its task's train split.

    Args:
        model: The model.
        suite: The suite.
        rows: Positions in the train split by target; a target is named by its task, or as "task#part".
        parameters: Which parameters the gradients are taken of.
        precision: "fp32" or "bf16".
        ledger: Where the cost is entered, if anywhere.

    Returns:
        A probe with one chunk per target, in the order of `rows`.

    Raises:
        InputError: A task is unknown or gives no row, or a gradient cannot be measured (see `Probe.target`).
    """
    probe, chunks = target_gradients.Probe(model, parameters, precision), []
    for name, at in rows.items():
        of = name.partition("#")[0]
        if of not in suite.names or not len(at):
            raise InputError(f"targets: {name!r} needs rows of a task of the suite ({', '.join(suite.names)})")
        task = suite[of]
        encoded = token_store.encoded(task, "train", model.tokenizer, model.max_length, rows=at)
        batches = batch_order.by_tokens(encoded.lengths, head_importance.tokens(model.device.type))
        if ledger is not None:  # forward, and backward to activations and weights; no optimiser step
            for index in batches:
                lengths = encoded.lengths[index]
                ledger.add_gradient(model.encoder.config, lengths, int(lengths.max()))
        chunks.append([batching.to_batch(encoded, index, task, model.columns[of], model.pad_id) for index in batches])
    probe.target(chunks)
    return probe


def reader(
    model: MultiTaskModel, suite: Suite, reads: Collection[str], rows: Mapping[str, np.ndarray],
    parameters: target_gradients.Which = "shared", precision: str = "fp32",
    moments: Mapping[str, torch.Tensor] | None = None,
) -> Callable[[Encoded, Task, Ledger], Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]]:  # fmt: skip
    """Make an `over_rows` for a pass over several tasks, with `targets` that are measured once, at the first call.

    Args:
        model: The model.
        suite: The suite.
        reads: What to read, some of KNOWN.
        rows: Rows of each target by task; empty for none.
        parameters: Which parameters the targets' gradients are taken of.
        precision: "fp32" or "bf16".
        moments: For "cosines": Adam's, as from `optimisers.moments`.

    Returns:
        The reader, for `PoolPass.fill`.
    """
    probe: list[target_gradients.Probe] = []

    def read_rows(encoded: Encoded, task: Task, ledger: Ledger) -> Iterator[tuple[np.ndarray, dict[str, torch.Tensor]]]:
        if rows and not probe:
            probe.append(targets(model, suite, rows, parameters, precision, ledger))
            if moments is not None:
                probe[0].take_moments(moments)
        measured = probe[0] if probe else None
        return over_rows(model, encoded, task, reads, precision=precision, probe=measured, ledger=ledger)

    return read_rows


def tokens(kind: str, reads: Collection[str]) -> int:
    """Return how many padded tokens a batch may hold on this kind of device, for what is read."""
    return head_importance.tokens(kind) if differentiates(reads) else batch_order.budget(kind)


def enter(
    ledger: Ledger, config: Any, lengths: np.ndarray, reads: Collection[str], cells: int = 0, targets: int = 0
) -> None:
    """Enter a batch's cost: forward, the gradient of activations (as much again), and row gradients that are formed.

    Args:
        ledger: The pass's ledger.
        config: The encoder's Hugging Face configuration.
        lengths: Tokens of each row, int [B].
        reads: What is read, some of KNOWN.
        cells: For "products" and "cosines": numbers in the weights of linear modules whose gradients are multiplied.
        targets: For "products" and "cosines": the number of target chunks.
    """
    rows, padded = len(lengths), int(lengths.max())
    ledger.add_batch(config, lengths, padded, False)
    if differentiates(reads):
        ledger.flops += cost.encoder_flops(config, np.full(rows, padded), False)
    if any(name in reads for name in KV):
        ledger.flops += config.num_hidden_layers * 4.0 * config.hidden_size**2 * rows * padded
    if any(name in reads for name in OF_TARGETS):
        ledger.flops += 2.0 * cells * rows * (padded + targets + 1)


def _cells(model: MultiTaskModel, probe: target_gradients.Probe) -> int:
    """Count the numbers in the probe's weights of linear modules."""
    weights: set[torch.Tensor] = {p for _, p in probe.named}
    linear = [m.weight for m in model.encoder.modules() if isinstance(m, nn.Linear) and m.weight in weights]
    return sum(p.numel() for p in linear)
