"""Find an encoder's attention heads by structure: the key, value and output projections of its layers."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from auxlearn.errors import InputError
from auxlearn.models import encoder_files, encoders

TWICE = "is used twice in one forward pass, so that its gradient is not one layer's"


@dataclass(frozen=True)
class Layer:
    """One layer's attention: the linear modules that make keys and values, and the one that reads the heads."""

    name: str
    sources: tuple[tuple[nn.Linear, int], ...]  # (module, its first row that belongs to a key or a value)
    output: nn.Linear


def attention_layers(encoder: nn.Module) -> list[Layer]:
    """List the attention layers of an encoder, first layer first, told by structure.

    An attention module owns either three `nn.Linear` named for query, key and value (q…, k…, v…: BERT, RoBERTa,
    ELECTRA, DistilBERT, MPNet) or, beside its output, one three times as high that stacks [query, key, value]
    (ModernBERT). Its output projection is its own further linear module, or else the first one after it.

    Args:
        encoder: An encoder of transformers, with its `config`.

    Returns:
        One `Layer` per hidden layer of the encoder.

    Raises:
        InputError: The heads cannot be told apart.
    """
    ordered = list(encoder.named_modules())
    layers: list[Layer] = []
    for place, (name, module) in enumerate(ordered):
        linear = {n: m for n, m in module.named_children() if isinstance(m, nn.Linear)}
        roles = {letter: [m for n, m in linear.items() if n[0] == letter] for letter in "qkv"}
        if all(len(modules) == 1 for modules in roles.values()):
            (key,), (value,) = roles["k"], roles["v"]
            rest = [m for m in linear.values() if m not in (*roles["q"], key, value)]
            after = (m for _, m in ordered[place + 1 :] if isinstance(m, nn.Linear) and m not in linear.values())
            output = rest[0] if rest else next(after, None)
            alike = len(rest) < 2 and key.weight.shape == value.weight.shape
            if not alike or output is None or output.in_features != value.out_features:
                raise inseparable(encoder, f"{name} does not fit query, key, value and output projections")
            layers.append(Layer(name, ((key, 0), (value, 0)), output))
        elif len(linear) == 2:
            fused, output = linear.values()
            if fused.out_features == 3 * output.in_features:
                layers.append(Layer(name, ((fused, output.in_features),), output))
    config: Any = encoder.config
    heads, depth = getattr(config, "num_attention_heads", None), config.num_hidden_layers
    if not isinstance(heads, int) or len(layers) != depth:
        raise inseparable(encoder, f"{len(layers)} attention modules found for {depth} layers")
    for layer in layers:
        if layer.output.in_features % heads or layer.sources[0][0].in_features % heads:
            raise inseparable(encoder, f"{layer.name} does not divide into {heads} heads")
    return layers


def check_encoder(encoder: str) -> None:
    """Refuse an encoder whose heads cannot be told apart, before its weights are read or anything is trained.

    Its config is enough. An encoder whose config is not at hand is let through: loading it says what is wrong.

    Args:
        encoder: An encoder as a parameter names it.

    Raises:
        InputError: Layers share their weights, attention is not made of the projections looked for, or a projection
            serves something else too.
    """
    name, layers = encoder_files.parse(encoder)
    if name in encoder_files.NAMED or (config := encoders.config_at_hand(name, layers)) is None:
        return
    if why := _refusal(json.dumps(config.to_dict(), sort_keys=True, default=str)):
        raise InputError(f"{encoder}: {why}")


@functools.cache
def _refusal(config: str) -> str:
    """Say why the heads of an encoder of this config (as JSON) cannot be told apart; "" if they can."""
    from transformers import AutoConfig, AutoModel

    try:
        with torch.device("meta"):
            encoder = AutoModel.from_config(AutoConfig.for_model(**json.loads(config))).eval()
    except Exception:  # no sound config: loading says what is wrong
        return ""
    try:
        _try_out(encoder, attention_layers(encoder))
    except InputError as error:
        return str(error)
    return ""


def _try_out(encoder: nn.Module, layers: list[Layer]) -> None:
    """Run an encoder without weights once, to see that each projection is used once."""
    names: dict[nn.Module, str] = {layer.output: f"{layer.name} (output)" for layer in layers}
    names |= {module: f"{layer.name} (key and value)" for layer in layers for module, _ in layer.sources}
    uses: list[nn.Module] = []

    def use(module: nn.Module, _: Any) -> None:
        if module in uses:
            raise inseparable(encoder, f"{names[module]} {TWICE}")
        uses.append(module)

    hooks = [module.register_forward_pre_hook(use) for module in names]
    ids = torch.ones(1, 4, dtype=torch.long, device="meta")
    inputs: list[Mapping[str, torch.Tensor]] = [{"attention_mask": ids}, {}]
    for given in inputs:  # some look into the mask, which has no values here; others into what they make without one
        uses.clear()
        try:
            with torch.no_grad():
                encoder(input_ids=ids, **given)
            break
        except InputError:
            raise
        except Exception:  # then the first batch shows it
            continue
    for hook in hooks:
        hook.remove()


def inseparable(encoder: nn.Module, why: str) -> InputError:
    """Build the error for an encoder whose heads are not where this module looks for them.

    Args:
        encoder: The encoder; its class is named in the message.
        why: What does not fit.

    Returns:
        The error, to be raised by the caller.
    """
    return InputError(
        f"encoder {type(encoder).__name__}: heads cannot be told apart: {why}. Head importance needs an encoder whose "
        "layers each own query, key, value and output projections (BERT, RoBERTa, ELECTRA, DistilBERT, MPNet, "
        "ModernBERT)"
    )
