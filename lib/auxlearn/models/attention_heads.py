"""Where an encoder's attention heads are: its layers' key, value and output projections, found by structure."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from auxlearn.errors import InputError


@dataclass(frozen=True)
class Layer:
    """One layer's attention: the linear modules that make keys and values, and the one that reads the heads."""

    name: str
    sources: tuple[tuple[nn.Linear, int], ...]  # (module, its first row that belongs to a key or a value)
    output: nn.Linear


def attention_layers(encoder: nn.Module) -> list[Layer]:
    """The encoder's attention layers, first layer first, told by structure; InputError where heads cannot be told.

    An attention module owns either three `nn.Linear` named for query, key and value (q…, k…, v…: BERT, RoBERTa,
    ELECTRA, DistilBERT, MPNet) or, beside its output, one three times as high that stacks [query, key, value]
    (ModernBERT). Its output projection is its own further linear module, or else the first one after it.
    """
    ordered = list(encoder.named_modules())
    found: list[Layer] = []
    for place, (name, module) in enumerate(ordered):
        linear = {n: m for n, m in module.named_children() if isinstance(m, nn.Linear)}
        roles = {letter: [m for n, m in linear.items() if n[0] == letter] for letter in "qkv"}
        if all(len(modules) == 1 for modules in roles.values()):
            (key,), (value,) = roles["k"], roles["v"]
            rest = [m for m in linear.values() if m not in (*roles["q"], key, value)]
            after = (m for _, m in ordered[place + 1 :] if isinstance(m, nn.Linear) and m not in linear.values())
            output = rest[0] if rest else next(after, None)
            fits = len(rest) < 2 and output is not None and key.weight.shape == value.weight.shape
            if not fits or output.in_features != value.out_features:
                raise inseparable(encoder, f"{name} does not fit query, key, value and output projections")
            found.append(Layer(name, ((key, 0), (value, 0)), output))
        elif len(linear) == 2:
            fused, output = linear.values()
            if fused.out_features == 3 * output.in_features:
                found.append(Layer(name, ((fused, output.in_features),), output))
    heads, depth = encoder.config.num_attention_heads, encoder.config.num_hidden_layers
    if len(found) != depth:
        raise inseparable(encoder, f"{len(found)} attention modules found for {depth} layers")
    for layer in found:
        if layer.output.in_features % heads or layer.sources[0][0].in_features % heads:
            raise inseparable(encoder, f"{layer.name} does not divide into {heads} heads")
    return found


def inseparable(encoder: nn.Module, why: str) -> InputError:
    """The error of an encoder whose heads are not where this looks for them."""
    return InputError(
        f"encoder {type(encoder).__name__}: heads cannot be told apart: {why}. Head importance needs an encoder whose "
        "layers each own query, key, value and output projections (BERT, RoBERTa, ELECTRA, DistilBERT, ModernBERT)"
    )
