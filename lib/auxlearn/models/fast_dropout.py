"""Dropout whose masks cost little on a CPU.

PyTorch draws CPU dropout masks one Mersenne-Twister number an element, a fifth of a MiniLM training step; and under
dropout its attention runs in fp32 whatever autocast says. Here a 64-bit generator gives four mask elements a draw, and
attention stays in the type that autocast chose. The distribution is the same up to p rounded to 1/65536. On other
devices everything is PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

NAME = "auxlearn"  # of the attention function, in the encoder's config


class Source:
    """The generator of one model's masks; reseeded at every epoch, so that a run can resume between epochs."""

    def __init__(self) -> None:
        self.reseed(0)

    def reseed(self, seed: int) -> None:
        self.bits = np.random.SFC64(seed)

    def mask(self, shape: torch.Size, p: float, dtype: torch.dtype) -> torch.Tensor:
        """0 with probability p, else 1 / (1 - p)."""
        size = shape.numel()
        draws = self.bits.random_raw(-(-size // 4)).view(np.uint16)[:size]
        kept = (draws >= round(p * 65536)).view(np.uint8)
        # 0 or 1 times the scale's bit pattern: PyTorch's own conversion of booleans to bf16 is eight times as slow.
        scale = torch.tensor(1.0, dtype=dtype).mul_(1 / (1 - p))
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[scale.element_size()]
        pattern = scale.view(bits).numpy()
        return torch.from_numpy(np.multiply(kept, pattern, dtype=pattern.dtype)).view(dtype).view(shape)


class Dropout(nn.Module):
    """`nn.Dropout` that draws from a source on CPU."""

    def __init__(self, p: float, source: Source):
        super().__init__()
        self.p, self.source = p, source

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p)
        return x * self.source.mask(x.shape, self.p, x.dtype)

    def extra_repr(self) -> str:
        return f"p={self.p}"


def unusual(module: nn.Module, query: torch.Tensor, key: torch.Tensor, options: Mapping[str, Any]) -> bool:
    """Whether attention is more than softmax of scaled products under a mask, and best left to transformers."""
    causal = options.get("is_causal") or getattr(module, "is_causal", False)
    more = any(options.get(name) is not None for name in ("position_bias", "softcap"))
    return bool(causal or more or key.shape[1] != query.shape[1])


def to_add(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """What a mask adds to scores of this type: nothing where a boolean one is true; others are given as they add."""
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


def attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, scaling: float | None = None, dropout: float = 0.0, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Attention as transformers calls it: [B, H, T, D] in, [B, T, H, D] out. PyTorch's own but under CPU dropout."""
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if dropout == 0 or query.device.type != "cpu" or unusual(module, query, key, kwargs):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    with torch.autocast("cpu", enabled=False):
        scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(2, 3))
        if attention_mask is not None:
            scores = scores + to_add(attention_mask, scores.dtype)
        weights = torch.softmax(scores, dim=-1)
        out = torch.matmul(weights * module.dropout_source.mask(weights.shape, dropout, weights.dtype), value)
    return out.transpose(1, 2).contiguous(), None


def install(encoder: nn.Module, source: Source) -> None:
    """Give an encoder's dropouts, those of its attention included, a source. Encoders without SDPA keep their own."""
    for module in encoder.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p, source))
    if getattr(encoder.config, "_attn_implementation", None) != "sdpa":
        return
    register(NAME, attention)
    encoder.config._attn_implementation = NAME
    for module in encoder.modules():
        module.dropout_source = source


def register(name: str, function: Callable[..., Any]) -> None:
    """Make an attention function known to transformers, with masks as its SDPA takes them."""
    from transformers import AttentionInterface
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS, AttentionMaskInterface

    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, ALL_MASK_ATTENTION_FUNCTIONS["sdpa"])
