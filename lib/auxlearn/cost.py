"""What a stage cost: seconds, FLOPs, tokens, steps, examples, peak memory and, on an NVIDIA device, joules.

FLOPs are counted analytically, because PyTorch's counter sees no attention under fused kernels on CPU. One ledger row
is one stage; a method's cost is the sum of the rows of everything it ran, whether or not another run could share them.
"""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

# Stages of ledgers. Those of training an arm; all others choose rows or tasks, or find weights.
TRAINING = ("pretrain", "joint", "stage2", "tune")
BY_TASK = ("embedding", "task_tuning", "importance", "fisher")  # of each task alone: one more task adds its part
SHARED = ("proxy", "warm_up", "scoring", *BY_TASK)  # made once, whatever the primary
# Set where several processes train on one device, whose joules then cannot be told apart and are charged to none.
SHARED_DEVICE = "AUXLEARN_SHARED_DEVICE"


def encoder_flops(config: Any, lengths: Iterable[int] | np.ndarray, training: bool, frozen: int = 0) -> float:
    """Count the FLOPs of the encoder layers' matrix products, attention computed over all pairs of tokens.

    Per layer and sequence of L tokens, width d and feed-forward width f: 8 L d² for the four attention projections, 4
    L² d for scores and values, 4 L d f for the feed-forward pair. This is exact for BERT, RoBERTa, XLM-R, DistilBERT,
    ELECTRA, ALBERT and MPNet; other kinds of encoders that are not named here are counted alike. More is counted for

    - ModernBERT: 2 L d f, as its feed-forward is gated;
    - DeBERTa-v2 and v3: 4 L S d for each of content-to-position and position-to-content, S being the span of relative
      positions to one side. Left out are the projections of the 2 S positions, which a batch makes once for all its
      sequences, and the convolution of v2-xlarge: together some 2 % of a batch of 32 sequences of 128 tokens;
    - XLNet: 4 L d² for the projection of 2 L relative positions, 4 L² d for their scores, and 4 L d + 4 L² h for those
      of segments, h being the number of heads.

    Embeddings, with their projection to the layers' width, pooler and heads do not count.

    Args:
        config: The encoder's Hugging Face configuration.
        lengths: Tokens of each sequence as computed, padding included [N].
        training: Whether to count the backward pass too: three times the forward pass, since activation and weight
            gradients cost one forward each.
        frozen: First layers that take no gradient, and none passes through: they cost a forward pass, and the layer
            above them needs no gradient of what its queries, keys and values are made from, 6 L d² (ModernBERT's
            does, for the norm that comes first in a layer).

    Returns:
        FLOPs of all sequences together.
    """
    kind, width, layers = getattr(config, "model_type", ""), config.hidden_size, config.num_hidden_layers
    sizes = (getattr(config, name, None) for name in ("intermediate_size", "hidden_dim", "d_inner"))
    inner = next(filter(None, sizes), 4 * width)
    of_token, of_pair = 8 * width**2 + (6 if kind == "modernbert" else 4) * width * inner, 4 * width
    if kind == "albert":
        layers *= config.inner_group_num
    if kind == "deberta-v2" and config.relative_attention:
        spans = (getattr(config, "position_buckets", -1), config.max_relative_positions, config.max_position_embeddings)
        ways = sum(way in (config.pos_att_type or ()) for way in ("c2p", "p2c"))
        of_token += 4 * next(span for span in spans if span > 0) * width * ways
    if kind == "xlnet":
        of_token += 4 * width**2 + 4 * width
        of_pair += 4 * width + 4 * config.n_head
    n = np.asarray(lengths if isinstance(lengths, np.ndarray) else list(lengths), dtype=np.float64)
    per_layer = n * of_token + of_pair * n**2
    if training and frozen:
        spared = 0 if kind == "modernbert" else 6 * width**2
        return float((layers + 2 * (layers - frozen)) * per_layer.sum() - spared * n.sum())
    return float(layers * per_layer.sum() * (3 if training else 1))


@dataclass
class Ledger:
    """The cost of one stage: counts add up over steps, memory is the peak."""

    stage: str
    seconds: float = 0.0
    flops: float = 0.0  # matrix products of the encoder layers, padding included
    tokens: int = 0  # real tokens
    padded_tokens: int = 0  # tokens computed, padding included
    steps: int = 0  # optimiser steps
    examples: int = 0  # rows passed through the encoder
    peak_bytes: int = 0  # of the process (CPU) or of the device allocator (GPU)
    joules: float | None = None  # of the whole device while the stage ran; None where it cannot be read

    def add_batch(self, config: Any, lengths: np.ndarray, padded: int, training: bool, frozen: int = 0) -> None:
        """Count one batch.

        Args:
            config: The encoder's Hugging Face configuration.
            lengths: Real tokens of each row, int [B].
            padded: The length in tokens that all rows are padded to.
            training: Whether the batch is one optimiser step, with a backward pass.
            frozen: First layers that take no gradient.
        """
        self.examples += len(lengths)
        self.tokens += int(lengths.sum())
        self.padded_tokens += padded * len(lengths)
        self.flops += encoder_flops(config, np.full(len(lengths), padded), training, frozen)
        self.steps += int(training)

    def add_gradient(self, config: Any, lengths: np.ndarray, padded: int) -> None:
        """Count one batch, forward and backward, of which no optimiser step is taken; arguments as of `add_batch`."""
        self.add_batch(config, lengths, padded, True)
        self.steps -= 1

    def as_dict(self) -> dict[str, Any]:
        """Return the ledger as a row of a manifest."""
        return asdict(self)

    @classmethod
    def from_dict(cls, row: dict[str, Any]) -> Ledger:
        """Read a ledger back from a row of `as_dict`.

        Raises:
            KeyError: If the row lacks a field.
        """
        return cls(**{f.name: row[f.name] for f in fields(cls)})


def total(stage: str, ledgers: Sequence[Ledger]) -> Ledger:
    """Add up several ledgers of the same stage.

    Args:
        stage: Name of the sum.
        ledgers: What to add up; may be empty.

    Returns:
        A ledger with counts and seconds added and the highest memory; its joules are the sum of those that could be
        read, or None where none could.
    """
    ledger_sum = Ledger(stage)
    for name in ("seconds", "flops", "tokens", "padded_tokens", "steps", "examples"):
        setattr(ledger_sum, name, sum(getattr(ledger, name) for ledger in ledgers))
    ledger_sum.peak_bytes = max((ledger.peak_bytes for ledger in ledgers), default=0)
    joules = [ledger.joules for ledger in ledgers if ledger.joules is not None]
    ledger_sum.joules = sum(joules) if joules else None
    return ledger_sum


def card() -> str | None:
    """Name the current CUDA device as NVML does, by UUID; None where there is none, or other processes use it too.

    NVML counts all devices of the machine, PyTorch those that the process may use, in another order.
    """
    if os.environ.get(SHARED_DEVICE):
        return None
    try:
        import torch

        return f"GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    except Exception:  # no driver or no device
        return None


def energy(cards: Sequence[str | None]) -> float | None:
    """Read the energy that some devices have used since their driver loaded.

    Args:
        cards: The devices, by `card`.

    Returns:
        Their sum in joules; None unless all can be read.
    """
    try:
        import pynvml

        pynvml.nvmlInit()
        handles = [pynvml.nvmlDeviceGetHandleByUUID(name) for name in cards]
        return sum(map(pynvml.nvmlDeviceGetTotalEnergyConsumption, handles)) / 1e3
    except Exception:  # no driver, no device, or a device without the counter
        return None


def clock(device: str) -> float:
    """Return the time in seconds at which a device has done all that it was given.

    Args:
        device: "cpu", or the name of a CUDA device.
    """
    if device.startswith("cuda"):
        import torch

        torch.cuda.synchronize()
    return time.perf_counter()


class Meter:
    """A context manager that fills a ledger's seconds, peak memory and joules while its body runs.

    Args:
        ledger: The ledger to add to; `with` yields it.
        device: "cpu", or any other name for the current CUDA device.
        cards: The devices whose energy is this stage's, by `card`; None for the current one alone.
    """

    def __init__(self, ledger: Ledger, device: str = "cpu", cards: Sequence[str | None] | None = None):
        self.ledger, self.device, self.cards = ledger, device, cards

    def __enter__(self) -> Ledger:
        if self.cards is None and self.device != "cpu":
            self.cards = [card()]
        self._joules = energy(self.cards) if self.cards else None
        if self.device != "cpu":
            import torch

            torch.cuda.reset_peak_memory_stats()
        self._start = clock(self.device)  # what was given before is not this stage's
        return self.ledger

    def lap(self) -> None:
        """Bring the ledger up to now, before it is written into a checkpoint."""
        now = clock(self.device)
        if self.device != "cpu":
            import torch

            peak = torch.cuda.max_memory_allocated()
        else:
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.ledger.seconds += now - self._start
        self._start = now
        self.ledger.peak_bytes = max(self.ledger.peak_bytes, peak)
        if self._joules is not None and self.cards and (joules := energy(self.cards)) is not None:
            self.ledger.joules = (self.ledger.joules or 0.0) + joules - self._joules
            self._joules = joules

    def __exit__(self, *exc: object) -> None:
        self.lap()
