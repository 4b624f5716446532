"""Dropout whose masks cost little on a CPU.

PyTorch draws one Mersenne-Twister number per element of a CPU dropout mask, which takes a fifth of a MiniLM training
step; and under dropout its attention runs in fp32 whatever autocast says. Here one draw of a 64-bit generator gives
four mask elements, and attention stays in the type that autocast chose. The distribution is the same, but for p being
rounded to a multiple of 1/65536. On other devices everything is PyTorch's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, cast

import numpy as np
import torch
from torch import nn

NAME = "auxlearn"  # of the attention function, in the encoder's config
_PADDED: ContextVar[bool] = ContextVar("padded", default=True)  # whether the batch at hand may have padding


class Source:
    """The generator of one model's masks, reseeded at every epoch so that a run can resume between epochs."""

    def __init__(self) -> None:
        self.reseed(0)

    def reseed(self, seed: int) -> None:
        """Start the generator anew from a seed."""
        self.bits = np.random.SFC64(seed)

    def mask(self, shape: torch.Size, p: float, dtype: torch.dtype) -> torch.Tensor:
        """Draw a dropout mask.

        Args:
            shape: Shape of the mask.
            p: Probability of a zero, rounded to a multiple of 1/65536.
            dtype: A floating type of 2, 4 or 8 bytes.

        Returns:
            A tensor of 0 with probability `p`, else 1 / (1 - p).
        """
        size = shape.numel()
        draws = self.bits.random_raw(-(-size // 4)).view(np.uint16)[:size]
        mask = (draws >= round(p * 65536)).view(np.uint8)
        # 0 or 1 times the scale's bit pattern: PyTorch's own conversion of booleans to bf16 is eight times as slow.
        scale = torch.tensor(1.0, dtype=dtype).mul_(1 / (1 - p))
        bits = {2: torch.int16, 4: torch.int32, 8: torch.int64}[scale.element_size()]
        pattern = scale.view(bits).numpy()
        return torch.from_numpy(np.multiply(mask, pattern, dtype=pattern.dtype)).view(dtype).view(shape)


class Dropout(nn.Module):
    """`nn.Dropout` that draws from a source on a CPU.

    Args:
        p: Probability that an element is dropped.
        source: The generator of the masks.
    """

    def __init__(self, p: float, source: Source):
        super().__init__()
        self.p, self.source = p, source

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop elements of `x` and scale the others, in training mode only."""
        if not self.training or self.p == 0:
            return x
        if x.device.type != "cpu":
            return nn.functional.dropout(x, self.p)
        return x * self.source.mask(x.shape, self.p, x.dtype)

    def extra_repr(self) -> str:
        """Show the probability, as `nn.Dropout` does."""
        return f"p={self.p}"


def unusual(module: nn.Module, query: torch.Tensor, key: torch.Tensor, options: Mapping[str, Any]) -> bool:
    """Tell whether attention is more than the softmax of scaled products under a mask, and best left to transformers.

    Args:
        module: The attention module.
        query: [B, H, T, D].
        key: [B, H', T, D]; unusual where H' differs from H.
        options: Further options that transformers passes.

    Returns:
        True for causal attention, a position bias, a soft cap, or fewer key heads than query heads.
    """
    causal = options.get("is_causal") or getattr(module, "is_causal", False)
    more = any(options.get(name) is not None for name in ("position_bias", "softcap"))
    return bool(causal or more or key.shape[1] != query.shape[1])


def to_add(mask: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Turn a mask into what is added to the scores.

    Args:
        mask: Boolean, true where attended to; or of another type, which is returned as it is.
        dtype: Type of the scores.

    Returns:
        For a boolean mask: 0 where it is true, the lowest number of `dtype` elsewhere.
    """
    if mask.dtype != torch.bool:
        return mask
    return torch.zeros_like(mask, dtype=dtype).masked_fill_(~mask, torch.finfo(dtype).min)


def attention(
    module: nn.Module, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor,
    attention_mask: torch.Tensor | None, scaling: float | None = None, dropout: float = 0.0, **kwargs: Any,
) -> tuple[torch.Tensor, None]:  # fmt: skip
    """Compute attention as transformers calls it; PyTorch's own except under dropout on a CPU.

    Args:
        module: The attention module that calls; its `dropout_source` draws the masks.
        query: [B, H, T, D].
        key: [B, H, T, D].
        value: [B, H, T, D].
        attention_mask: Boolean (true where attended to) or added to the scores; None for no mask.
        scaling: Factor of the scores; None for D ** -0.5.
        dropout: Probability that an attention weight is dropped.
        **kwargs: Further options of transformers.

    Returns:
        The attended values [B, T, H, D], and None in place of the attention weights.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    if dropout == 0 or query.device.type != "cpu" or unusual(module, query, key, kwargs):
        return sdpa_attention_forward(
            module, query, key, value, attention_mask, scaling=scaling, dropout=dropout, **kwargs
        )
    source = cast(Source, module.dropout_source)
    with torch.autocast("cpu", enabled=False):
        scores = torch.matmul(query * (query.shape[-1] ** -0.5 if scaling is None else scaling), key.transpose(2, 3))
        if attention_mask is not None:
            scores = scores + to_add(attention_mask, scores.dtype)
        weights = torch.softmax(scores, dim=-1)
        attended = torch.matmul(weights * source.mask(weights.shape, dropout, weights.dtype), value)
    return attended.transpose(1, 2).contiguous(), None


def install(encoder: nn.Module, source: Source) -> None:
    """Give a source to an encoder's dropouts, and to its attention where that is SDPA; other attention keeps its own.

    Args:
        encoder: The encoder, changed in place.
        source: The generator of the masks.
    """
    for module in encoder.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, Dropout(child.p, source))
    config: Any = encoder.config
    if getattr(config, "_attn_implementation", None) != "sdpa":
        return
    register(NAME, attention)
    config._attn_implementation = NAME
    for module in encoder.modules():
        cast(Any, module).dropout_source = source


def register(name: str, function: Callable[..., Any]) -> None:
    """Make an attention function known to transformers, with the masks of `mask`.

    Args:
        name: Name of the function in an encoder's config.
        function: Called as `attention` is.
    """
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface

    AttentionInterface.register(name, function)
    AttentionMaskInterface.register(name, mask)


@contextmanager
def padding(padded: bool) -> Iterator[None]:
    """Say of the batch that an encoder is run on whether it may have padding, so that `mask` need not look.

    Args:
        padded: False if every position of the batch is a token.
    """
    token = _PADDED.set(padded)
    try:
        yield
    finally:
        _PADDED.reset(token)


def mask(**options: Any) -> torch.Tensor | None:
    """Make the mask of an encoder's attention, as transformers asks for it; no value is read off a GPU.

    transformers leaves the mask out where nothing is masked, and asks the device for that in every forward pass. Here
    `padding` has said so.

    Args:
        **options: As transformers gives them to its own function for SDPA.

    Returns:
        Boolean [B, 1, T, T], true where attended to; None if attention needs none.
    """
    from transformers.masking_utils import ALL_MASK_ATTENTION_FUNCTIONS

    sdpa: Callable[..., torch.Tensor | None] = ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]
    given = options.get("attention_mask")
    if given is None or given.device.type == "cpu":
        return sdpa(**options)
    if not _PADDED.get():
        return sdpa(**options | {"attention_mask": None})
    return sdpa(**options | {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False})
