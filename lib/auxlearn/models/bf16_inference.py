"""Run frozen weights forward in bf16 on a CPU, with less work around the matrix products.

Under autocast every batch converts all weights again, and a layer's input three times: for queries, keys and values.
PyTorch's fused attention multiplies in blocks so small that on sentences it took a quarter of a pass. Here weights are
converted once per pass and inputs once per layer, which changes no bit, and attention is computed over a few rows at a
time, whose scores stay in cache. That rounds differently but no worse: features and head importance are as far from
those of fp32 as before. A pass over sentence pairs was 1.2 times as fast, over single sentences 1.1, with head
importance 1.1 (tests/benchmarks/test_one_pass.py). Where products are so fast that copies cost more than they (AMX), a
pass that takes no gradient keeps PyTorch's attention: there it was 1.1 to 1.2 times as fast as ours.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from typing import Any

import torch
from torch import nn

from auxlearn.models import devices, fast_dropout
from auxlearn.models.multitask import MultiTaskModel

Ready = Callable[[], AbstractContextManager[None]]
NAME = "auxlearn_in_cache"  # of the attention function, in the encoder's config
SCRATCH = 2 << 20  # bytes of attention scores at a time


def prepare(model: MultiTaskModel, precision: str) -> Ready:
    """Prepare a model for one pass in which no weight changes.

    Use it as `with ready():` around each batch of the pass, and only there. Within it the model may be run forward, and
    backward to activations, but not to weights. Unless `precision` is "bf16" and the model is on a CPU, it does
    nothing.

    Args:
        model: The model to run.
        precision: "fp32" or "bf16", as the pass will run.

    Returns:
        A function that makes the context manager for one batch.
    """
    if precision != "bf16" or model.device.type != "cpu":
        return nullcontext
    config = model.encoder.config
    linear = [module for module in model.encoder.modules() if type(module) is nn.Linear]
    originals = [dict(module._parameters) for module in linear]
    with torch.inference_mode(False):
        rounded = [
            {n: None if p is None else nn.Parameter(p.detach().bfloat16(), False) for n, p in each.items()}
            for each in originals
        ]
    owners = [m for m in model.encoder.modules() if {"q", "k", "v"} <= _initials(m)]
    ours = getattr(config, "_attn_implementation", None) == fast_dropout.NAME
    if ours:
        fast_dropout.register(NAME, attention)

    @contextmanager
    def ready() -> Iterator[None]:
        hooks = [module.register_forward_pre_hook(_round_input) for module in owners]
        try:
            for module, each in zip(linear, rounded, strict=True):
                module._parameters.update(each)
            if ours:
                config._attn_implementation = NAME
            yield
        finally:
            for module, each in zip(linear, originals, strict=True):
                module._parameters.update(each)
            if ours:
                config._attn_implementation = fast_dropout.NAME
            for hook in hooks:
                hook.remove()

    return ready


@cache
def has_tiles() -> bool:
    """Tell whether this process multiplies bf16 in tiles (AMX): the processor does, and no setting forbids it."""
    allowed = os.environ.get("DNNL_MAX_CPU_ISA", os.environ.get("ONEDNN_MAX_CPU_ISA", "")).upper()
    return devices.capabilities().get("amx_bf16", False) and (allowed in ("", "DEFAULT", "ALL") or "AMX" in allowed)


def _initials(module: nn.Module) -> set[str]:
    """First letters of its linear modules' names: a layer's attention owns q…, k… and v…."""
    return {name[0] for name, child in module.named_children() if isinstance(child, nn.Linear)}


def _round_input(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Round what queries, keys and values are made from once, rather than in each of their projections.

    An input that takes a gradient is left alone: the three gradients would then be summed in bf16.
    """
    if args and isinstance(args[0], torch.Tensor) and args[0].dtype == torch.float32 and not args[0].requires_grad:
        return args[0].bfloat16(), *args[1:]
    return args


def attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, scaling: float | None = None, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Compute attention as transformers calls it, a few rows at a time.

    Softmax is taken in fp32, products in the type of the inputs. Whatever is unusual, dropout included, is passed on to
    `fast_dropout.attention`, and so is what takes no gradient on a processor with AMX.

    Args:
        module: The attention module that calls.
        query: [B, H, T, D].
        key: [B, H, T, D].
        value: [B, H, T, D].
        attention_mask: Boolean (true where attended to) or added to the scores; None for no mask.
        scaling: Factor of the scores; None for D ** -0.5.
        **kwargs: Further options of transformers.

    Returns:
        The attended values [B, T, H, D], and None in place of the attention weights.
    """
    forward_only = not (torch.is_grad_enabled() and any(x.requires_grad for x in (query, key, value)))
    if kwargs.get("dropout") or fast_dropout.unusual(module, query, key, kwargs) or (forward_only and has_tiles()):
        return fast_dropout.attention(module, query, key, value, attention_mask, scaling=scaling, **kwargs)
    scaling = query.shape[-1] ** -0.5 if scaling is None else scaling
    if attention_mask is not None:
        attention_mask = fast_dropout.to_add(attention_mask, torch.float32)
    with torch.autocast("cpu", enabled=False):
        return _InCache.apply(query, key, value, attention_mask, scaling), None


class _InCache(torch.autograd.Function):
    """Compute softmax(scaling * query key^T + mask) value and its gradients, over rows whose scores fit in SCRATCH."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, mask: torch.Tensor | None, scaling: float
    ) -> torch.Tensor:
        size, heads, length, _ = query.shape
        attended = query.new_empty(size, length, heads, value.shape[-1])
        weights_of_lots = []
        for rows in _lots(query, key):
            scores = torch.matmul(query[rows], key[rows].transpose(2, 3)).float().mul_(scaling)
            if mask is not None:
                scores += mask[rows] if len(mask) == size else mask
            weights = torch.softmax(scores, dim=-1).to(value.dtype)
            attended[rows] = torch.matmul(weights, value[rows]).transpose(1, 2)
            if any(ctx.needs_input_grad):
                weights_of_lots.append(weights)
        ctx.save_for_backward(query, key, value, *weights_of_lots)
        ctx.scaling = scaling
        return attended

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, *weights_of_lots = ctx.saved_tensors
        inputs = zip((query, key, value), ctx.needs_input_grad[:3], strict=True)
        grads = [torch.empty_like(x) if needed else None for x, needed in inputs]
        for rows, weights in zip(_lots(query, key), weights_of_lots, strict=True):
            received = grad[rows].transpose(1, 2)
            if grads[2] is not None:
                grads[2][rows] = torch.matmul(weights.transpose(2, 3), received)
            if grads[0] is None and grads[1] is None:
                continue
            # The gradient through a softmax: weights * (slope - sum(weights * slope)).
            slope, exact = torch.matmul(received, value[rows].transpose(2, 3)).float(), weights.float()
            slope.mul_(exact)
            slope.addcmul_(exact, slope.sum(-1, keepdim=True), value=-1.0)
            slope = slope.mul_(ctx.scaling).to(query.dtype)
            if grads[0] is not None:
                grads[0][rows] = torch.matmul(slope, key[rows])
            if grads[1] is not None:
                grads[1][rows] = torch.matmul(slope.transpose(2, 3), query[rows])
        return *grads, None, None


def _lots(query: torch.Tensor, key: torch.Tensor) -> list[slice]:
    """Cut the rows into slices whose attention scores, in fp32, take at most SCRATCH bytes (or are one row's)."""
    size, heads, length, _ = query.shape
    step = max(1, SCRATCH // (4 * heads * length * key.shape[2]))
    return [slice(start, start + step) for start in range(0, size, step)]
