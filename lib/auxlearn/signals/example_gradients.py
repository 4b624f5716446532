"""Multiply every row's gradient with a probe's target gradients, exactly, many rows at a time.

One pass over a batch: the rows' losses are summed, so that each row's activations receive the gradient of that row's
own loss, and parameters are frozen. What a row's gradient of a parameter would be is read off a module's input x and
the gradient delta of its output as the backward pass goes by. For a linear module's weight, [out, in], it is delta^T x,
formed for a few rows at a time, multiplied with all targets and dropped. Nothing is projected; LESS (Xia et al., 2024)
has to project what it keeps for targets not yet known.

One could form no row gradient at all, by sum(delta * x G^T) for a target's G and sum(x x^T * delta delta^T) for the
squared norm (Goodfellow, 2015, 1510.01799; the "ghost norm" of Li et al., 2022, 2110.05679). That takes more
multiplications unless a row has fewer than some sqrt(in out / (in + out)) tokens, 14 for MiniLM, and a forward pass's
work for every target.

`Probe.scores` does one target by forward differentiation instead, and gives no norms.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from auxlearn.errors import InputError
from auxlearn.models import devices
from auxlearn.models.multitask import Batch, n_terms
from auxlearn.signals import head_importance
from auxlearn.signals.target_gradients import Probe

# Bytes of one weight's row gradients formed at once: enough rows that the targets, read anew for each lot, cost little.
SCRATCH = {"cpu": 16 << 20, "cuda": 256 << 20}
BETAS, EPS = (0.9, 0.999), 1e-8  # of AdamW
Slots = dict[str, torch.Tensor]  # of a module: parameter name -> targets [H, *shape]


def products(probe: Probe, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    """Multiply the gradients of a batch's rows with the target chunks of a probe.

    A row's gradient is that of its own loss (`head_importance.example_losses`) by the probe's parameters; the products
    divided by both norms are cosines. For several targets at once, give `Probe.target` one chunk per target. The
    model's mode, gradients and flags are left as found.

    Args:
        probe: A probe that has measured its H target chunks.
        batch: A batch of B rows of one task.

    Returns:
        Inner products, fp32 [B, H], and the rows' squared norms, fp32 [B].

    Raises:
        InputError: A row has no label, a parameter's module is neither linear, embedding nor layer norm, two modules
            share a parameter, or a result is not finite.
    """
    with ExitStack() as stack:
        stack.enter_context(probe._quiet(()))
        results = listen(stack, probe, batch)
        with torch.inference_mode(False), torch.enable_grad():
            logits = probe.model(batch, probe.precision).logits
            head_importance.example_losses(probe.model, batch, logits).sum().backward()
    return results()


def listen(
    stack: ExitStack, probe: Probe, batch: Batch, verdicts: devices.Verdicts | None = None
) -> Callable[[], tuple[torch.Tensor, torch.Tensor]]:
    """Measure during one forward and backward pass that the caller makes, until `stack` is closed.

    The backward pass must be that of the summed row losses, with parameters frozen.

    Args:
        stack: Holds the hooks.
        probe: A probe that has measured its target chunks.
        batch: The batch that the caller will run.
        verdicts: Takes the check of the results, for the caller to settle; None to settle it at once.

    Returns:
        A function to call after the backward pass; it returns what `products` does. Of a probe with Adam's moments a
        row's gradient g is replaced by the step that it would give, as in LESS (Xia et al., 2024):
        (b1 m + (1 - b1) g) / sqrt(b2 v + (1 - b2) g^2 + eps).

    Raises:
        InputError: As in `products`; for a result that is not finite, from the returned function.
    """
    probe.check_target()
    n_terms(probe.model, batch, every_row=True)
    size, sums = len(batch["input_ids"]), _Sums(len(batch["input_ids"]), len(probe._target), probe.model.device)
    biased = {encoder.relative_attention_bias: encoder for encoder in probe.model.modules()
              if hasattr(encoder, "relative_attention_bias") and hasattr(encoder, "compute_position_bias")}  # fmt: skip
    for module, slots in _modules(probe):
        if module in biased:
            _position_bias(stack, biased[module], slots, sums)
        else:
            _hook(stack, module, slots, size, sums)
        if probe.moments is not None:
            if not isinstance(module, nn.Linear):
                raise InputError(f"moments: rows' steps are known of linear layers, not of {type(module).__name__}")
            sums.moments |= {(module, own): probe.moments[getattr(module, own)] for own in slots}

    def results() -> tuple[torch.Tensor, torch.Tensor]:
        checks, task = verdicts or devices.Verdicts(), batch["task"]
        finite = torch.isfinite(sums.dots).all() & torch.isfinite(sums.squares).all()
        why = f"task {task!r}: a row's gradient is not finite; look at the model's weights"
        checks.add(finite, lambda: InputError(why))
        if verdicts is None:
            checks.settle()
        return sums.dots, sums.squares

    return results


class _Sums:
    def __init__(self, rows: int, targets: int, device: torch.device):
        self.dots = torch.zeros(rows, targets, device=device)
        self.squares = torch.zeros(rows, device=device)
        self.modules: set[nn.Module] = set()  # that the forward pass has met
        self.moments: dict[tuple[nn.Module, str], tuple[torch.Tensor, torch.Tensor]] = {}  # Adam's, where rows take it

    def step(self, module: nn.Module, own: str, gradients: torch.Tensor) -> torch.Tensor:
        """Return rows' gradients [B, n] of a parameter, or the steps that Adam makes of them."""
        if (module, own) not in self.moments:
            return gradients
        m, v = self.moments[module, own]
        above = m * BETAS[0] + gradients * (1 - BETAS[0])
        return above / (gradients.square() * (1 - BETAS[1]) + v * BETAS[1] + EPS).sqrt()


def _modules(probe: Probe) -> list[tuple[nn.Module, Slots]]:
    """List each module that owns some of the probe's parameters, with the targets' parts of them."""
    owners: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {p: [] for _, p in probe.named}
    for module in probe.model.modules():
        for own, p in module.named_parameters(recurse=False):
            if p in owners:
                owners[p].append((module, own))
    modules: dict[nn.Module, Slots] = {}
    for (name, p), span in zip(probe.named, probe._spans, strict=True):
        module, own = owners[p][0]
        if len(owners[p]) != 1 or not isinstance(module, (nn.Linear, nn.Embedding, nn.LayerNorm)):
            what = "is shared by modules" if len(owners[p]) > 1 else f"belongs to {type(module).__name__}"
            raise InputError(
                f"parameter {name!r} {what}; rows' gradients are known of linear, embedding and norm layers"
            )
        modules.setdefault(module, {})[own] = probe._target[:, span].view(-1, *p.shape)
    return list(modules.items())


def _hook(stack: ExitStack, module: nn.Module, slots: Slots, size: int, sums: _Sums) -> None:
    """Read a module's rows off its input and its output's gradient, in fp32."""
    rules: dict[Any, Any] = {nn.Linear: _linear, nn.Embedding: _embedding, nn.LayerNorm: _norm}
    read = next(function for kind, function in rules.items() if isinstance(module, kind))
    if isinstance(module, nn.Embedding):  # positions are looked up once for all rows: let each have its own

        def expand(module: nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
            if len(args[0]) not in (1, size):
                what = f"an embedding of {module.num_embeddings} vectors"
                raise InputError(f"{what} is looked up for all rows at once; rows' gradients cannot be told apart")
            return (args[0].expand(size, *args[0].shape[1:]),)

        stack.callback(module.register_forward_pre_hook(expand).remove)

    def after(module: nn.Module, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        if module in sums.modules:  # two gradients of one parameter: their squared norms do not add up
            raise InputError(
                f"{type(module).__name__} is used twice in one forward pass; its rows cannot be told apart"
            )
        sums.modules.add(module)
        x = args[0].detach()
        if not output.requires_grad:
            output.requires_grad_()

        def on_gradient(grad: torch.Tensor) -> None:
            with torch.autocast(grad.device.type, enabled=False):
                read(module, slots, x, grad.float(), sums)

        output.register_hook(on_gradient)

    stack.callback(module.register_forward_hook(after).remove)


def _position_bias(stack: ExitStack, encoder: Any, slots: Slots, sums: _Sums) -> None:
    """Read rows off MPNet's table of relative positions, whose lookup all rows and all layers share.

    What each row's attention scores are biased by is a copy of it, and the gradient of that copy is the row's own.
    """
    table, own = encoder.relative_attention_bias, encoder.compute_position_bias
    buckets: list[torch.Tensor] = []
    stack.callback(table.register_forward_pre_hook(lambda _, args: buckets.append(args[0])).remove)

    def biased(*args: Any, **given: Any) -> torch.Tensor:
        if table in sums.modules:
            raise InputError("relative positions are used twice in one forward pass; its rows cannot be told apart")
        sums.modules.add(table)
        bias = own(*args, **given)  # [B, heads, L, L]
        at = buckets[-1].flatten()
        if not bias.requires_grad:
            bias.requires_grad_()

        def on_gradient(grad: torch.Tensor) -> None:
            delta = grad.float().flatten(2).transpose(1, 2)  # [B, L L, heads]
            gradients = delta.new_zeros(len(delta), *table.weight.shape).index_add_(1, at, delta).flatten(1)
            sums.dots += gradients @ slots["weight"].flatten(1).T
            sums.squares += gradients.square().sum(1)

        bias.register_hook(on_gradient)
        return bias

    encoder.compute_position_bias = biased
    stack.callback(lambda: delattr(encoder, "compute_position_bias"))


def _linear(module: nn.Linear, slots: Slots, x: torch.Tensor, delta: torch.Tensor, sums: _Sums) -> None:
    rows = len(sums.squares)
    x, delta = x.float().reshape(rows, -1, x.shape[-1]), delta.reshape(rows, -1, delta.shape[-1])
    if "weight" in slots:
        flat = slots["weight"].reshape(len(slots["weight"]), -1).T
        step = max(1, SCRATCH.get(x.device.type, SCRATCH["cpu"]) // (flat.shape[0] * x.element_size()))
        for start in range(0, rows, step):
            lot = slice(start, start + step)
            gradients = sums.step(module, "weight", torch.bmm(delta[lot].mT, x[lot]).flatten(1))
            sums.dots[lot] += gradients @ flat
            sums.squares[lot] += gradients.square_().sum(1)
    if "bias" in slots:
        _add(slots["bias"], sums.step(module, "bias", delta.sum(1)), sums)


def _norm(module: nn.LayerNorm, slots: Slots, x: torch.Tensor, delta: torch.Tensor, sums: _Sums) -> None:
    rows = len(sums.squares)
    plain = F.layer_norm(x.float(), module.normalized_shape, None, None, module.eps)
    if "weight" in slots:
        _add(slots["weight"], (delta * plain).reshape(rows, -1, plain.shape[-1]).sum(1), sums)
    if "bias" in slots:
        _add(slots["bias"], delta.reshape(rows, -1, plain.shape[-1]).sum(1), sums)


def _embedding(module: nn.Embedding, slots: Slots, ids: torch.Tensor, delta: torch.Tensor, sums: _Sums) -> None:
    if module.padding_idx is not None:  # its vector is never trained
        delta = delta * (ids != module.padding_idx).unsqueeze(-1)
    for at, target in enumerate(slots["weight"]):
        sums.dots[:, at] += (F.embedding(ids, target) * delta).sum((1, 2))
    same = (ids.unsqueeze(2) == ids.unsqueeze(1)).to(delta.dtype)  # a word's tokens add up in its vector
    sums.squares += (same * torch.bmm(delta, delta.mT)).sum((1, 2))


def _add(targets: torch.Tensor, rows: torch.Tensor, sums: _Sums) -> None:
    """Add the rows' gradients [B, d] of a vector of parameters."""
    sums.dots += rows @ targets.reshape(len(targets), -1).T
    sums.squares += rows.square().sum(1)
