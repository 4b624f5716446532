"""The shared encoder: tiny and made from the suite, MiniLM from its package, a hub id, or a folder.

A folder may come from anyone: none of its code is run, nothing is unpickled, and what its config describes must be
what its weights hold.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn.data.tokens import pieces
from auxlearn.errors import InputError
from auxlearn.models import tiny_encoder
from auxlearn.models.encoder_files import GIVE, TINY, config_file, origin

if TYPE_CHECKING:
    from auxlearn.data.suites import Suite

LAYERS = 1000  # of an encoder, at most


def load(name: str, suite: Suite, pool: str, layers: int | None = None) -> tuple[Any, Any]:
    """Load an encoder of Hugging Face and its tokenizer.

    "tiny" gets random weights, drawn from torch's global generator.

    Args:
        name: "tiny", "minilm", a hub id or a folder, without a number of layers (see `encoder_files.parse`).
        suite: The suite whose training texts give "tiny" its vocabulary.
        pool: How features are pooled; a pooler that it does not ask for is left out.
        layers: Load only this many first layers; None for all.

    Returns:
        The encoder, its weights in fp32, and its tokenizer.

    Raises:
        InputError: The encoder cannot be loaded whole; the message names the remedy.
    """
    return tiny_encoder.load(suite, layers) if name == "tiny" else _pretrained(name, pool, layers)


def most_tokens(config: Any, max_length: int) -> int:
    """Return how many tokens a sequence may have: `max_length`, or what the encoder has positions for if that is less.

    Args:
        config: The encoder's configuration.
        max_length: The most that is asked for.
    """
    positions = getattr(config, "max_position_embeddings", None) or 0
    if positions <= 0:  # XLNet says -1, as it needs none
        return max_length
    # RoBERTa and its like count positions from after that of padding, so that their table holds fewer than it has rows.
    padding = max(getattr(config, "pad_token_id", None) or 0, 1) + 1
    if max_length > positions - padding:
        positions -= _position_offset(json.dumps(config.to_dict(), sort_keys=True, default=str))
    return min(max_length, positions)


@functools.cache
def _position_offset(config: str) -> int:
    """Count the rows of a table of positions that no token gets, from the encoder's structure; config as JSON."""
    import torch
    from transformers import AutoConfig, AutoModel

    try:
        shape = AutoConfig.for_model(**json.loads(config) | {"num_hidden_layers": 1})
        with torch.device("meta"):
            body = AutoModel.from_config(shape)
    except Exception:  # a config of this kind with one layer only does not work: then loading says what is wrong
        return 0
    for name, module in body.named_modules():
        if "position" in name.rpartition(".")[2] and isinstance(module, torch.nn.Embedding):
            return 0 if module.padding_idx is None else module.padding_idx + 1
    return 0


def is_causal(encoder: Any, tokenizer: Any) -> bool:
    """Tell whether an encoder reads from left to right, as GPT-2 does: what follows a token does not change its state.

    It is measured rather than looked up, as configs name it in many ways, or not at all.

    Args:
        encoder: An encoder of transformers; its mode and its random numbers are left as they are.
        tokenizer: The encoder's tokenizer.
    """
    import torch

    ids = np.resize(
        pieces.pieces([pieces.PROBE], tokenizer)[0], 4
    )  # four tokens, which every encoder has positions for
    texts = torch.from_numpy(np.stack([ids, ids])).long().to(encoder.device)
    texts[1, -1] = int(ids[-1] == 0)  # another token, whichever
    mode = encoder.training
    encoder.eval()
    try:
        with torch.no_grad():
            states = encoder(input_ids=texts, attention_mask=torch.ones_like(texts)).last_hidden_state
    finally:
        encoder.train(mode)
    moved = (states[0] - states[1]).abs()
    return bool(moved[:-1].max() <= 1e-6 * moved[-1].max())  # what is masked adds exactly nothing


def described(name: str, layers: int | None = None) -> tuple[Any, Any]:
    """Read the config and the tokenizer of an encoder other than "tiny", without its weights.

    Args:
        name: "minilm", a hub id or a folder.
        layers: How many of its layers are wanted; None for all.

    Returns:
        The config, cut to that many layers, and the tokenizer.

    Raises:
        InputError: As in `load`.
    """
    from transformers import AutoConfig, AutoTokenizer

    files = origin(name)
    with _loading(name):
        config = _cut(AutoConfig.from_pretrained(files.path, trust_remote_code=False, **files.options), layers)
        tokenizer = AutoTokenizer.from_pretrained(files.path, config=config, trust_remote_code=False, **files.options)
        if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes up where there is no tokenizer
            raise ValueError("its tokenizer knows no words (are its files missing?)")
        special = dict(zip(tokenizer.all_special_tokens, tokenizer.all_special_ids, strict=True))
        ids = tokenizer.get_vocab() | {token: number for token, number in special.items() if number is not None}
    _check_ids(name, ids, getattr(config, "vocab_size", None))
    return config, tokenizer


def _check_ids(encoder: str, tokens: dict[str, int], rows: Any) -> None:
    """Refuse a tokenizer with ids, by token, that the table of embeddings has no row for."""
    last = max(tokens, key=tokens.__getitem__)
    if not isinstance(rows, int) or tokens[last] < rows:  # tables are often padded to a multiple of 64
        return
    outside = sum(number >= rows for number in tokens.values())
    raise InputError(
        f"encoder {encoder!r}: its tokenizer has ids up to {tokens[last]} ({last!r}), but its table of embeddings only "
        f"{rows} rows: {outside} of {len(tokens)} tokens have none. If the tokenizer is another model's, put its own "
        f"there; if tokens were added, load the model, call resize_token_embeddings({tokens[last] + 1}) and save it"
    )


def config_at_hand(name: str, layers: int | None = None) -> Any | None:
    """Read the config of an encoder other than "tiny", and nothing else of it.

    Args:
        name: "minilm", a hub id or a folder.
        layers: How many of its layers are wanted; None for all.

    Returns:
        The config, cut to that many layers; None if it is not at hand.

    Raises:
        InputError: It is damaged, or has fewer layers.
    """
    from transformers import AutoConfig

    if (file := config_file(name)) is None:
        return None
    with _loading(name):
        return _cut(AutoConfig.from_pretrained(file.parent, trust_remote_code=False), layers)


def depth(name: str) -> int | None:
    """Return how many layers an encoder has; None if its config is not at hand.

    Args:
        name: "tiny", "minilm", a hub id or a folder, without a number of layers.
    """
    if name == "tiny":
        return TINY["num_hidden_layers"]
    config = config_at_hand(name)
    return None if config is None else config.num_hidden_layers


def _cut(config: Any, layers: int | None) -> Any:
    """Cut the config of an encoder to its first layers."""
    if getattr(config, "is_encoder_decoder", False):  # what comes out of BART are states of its decoder's tokens
        raise ValueError(f"a {config.model_type} has a decoder on top of its encoder; no model of this kind will do")
    depth = config.num_hidden_layers
    if not 1 <= (layers or 1) <= depth <= LAYERS:
        raise ValueError(f"it has {depth} layers, " + (f"not {layers}" if layers else f"not 1 to {LAYERS}"))
    config.num_hidden_layers = layers or depth
    return config


def _pretrained(encoder: str, pool: str, layers: int | None = None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    config, tokenizer = described(encoder, layers)
    files = origin(encoder)
    with _loading(encoder):
        # A pooler that nothing reads would only cost memory and optimiser steps.
        unread = encoder == "minilm" or pool in ("mean", "cls")
        bert = config.model_type in ("bert", "roberta", "xlm-roberta")
        options = {"add_pooling_layer": False} if unread and bert else {}
        if files.folder:  # else memory would be set aside for whatever the config says
            with torch.device("meta"):
                numbers = sum(p.numel() for p in AutoModel.from_config(config, **options).parameters())
            stored = sum(file.stat().st_size for file in files.folder.glob("*.safetensors"))
            if numbers > stored > 0:
                raise ValueError(f"its config describes {numbers:,} numbers, its safetensors hold {stored:,} bytes")
        # Weights are read as fp32 whatever type they were stored in; autocast decides what computes in bf16.
        body, loading = AutoModel.from_pretrained(
            files.path,
            config=config,
            use_safetensors=True,
            dtype=torch.float32,
            output_loading_info=True,
            trust_remote_code=False,
            **files.options,
            **options,
        )
        # transformers draws what is not there at random; only a pooler may be new, as many encoders have none.
        if missing := sorted(name for name in loading["missing_keys"] if not name.startswith("pooler.")):
            raise ValueError(f"its weights lack {missing[0]} ({len(missing)} in all)")
    return body, tokenizer


def stacks(encoder: Any) -> dict[str, Any]:
    """Return the lists of modules of an encoder that may be its layers: those of as many as its config has.

    Args:
        encoder: The encoder.

    Returns:
        By name within the encoder; none where layers share their weights, several where another list is as long.
    """
    import torch

    depth = encoder.config.num_hidden_layers
    return {
        name: module for name, module in encoder.named_modules()
        if isinstance(module, torch.nn.ModuleList) and len(module) == depth
    }  # fmt: skip


def freeze(encoder: Any, layers: int) -> None:
    """Leave an encoder's first layers, and all that is not in a layer, as they are: their parameters take no gradient.

    Only the layers above them are trained, and a pooler. Dropout is as in any other layer.

    Args:
        encoder: The encoder, changed in place.
        layers: How many of its layers to freeze; 0 changes nothing.

    Raises:
        InputError: Its layers share weights or cannot be told apart, or none is left to train.
    """
    if not layers:
        return
    depth, found = encoder.config.num_hidden_layers, list(stacks(encoder).values())
    if len(found) != 1:
        raise InputError(
            f"frozen_layers: the {depth} layers of a {encoder.config.model_type} share weights, or cannot be told "
            "apart; set it to 0"
        )
    if layers >= depth:
        raise InputError(f"frozen_layers: {layers} of {depth} layers leave none to train; lower it")
    encoder.requires_grad_(False)
    for module in (*found[0][layers:], getattr(encoder, "pooler", None)):
        if module is not None:
            module.requires_grad_(True)


@contextmanager
def _loading(encoder: str) -> Iterator[None]:
    """Turn whatever transformers, tokenizers or safetensors raise over an encoder's files into one InputError."""
    try:
        yield
    except Exception as error:  # of any type: what they do with a damaged file is not theirs to say
        why = (str(error) or repr(error)).splitlines()[0]
        raise InputError(f"encoder {encoder!r} cannot be loaded: {why}. {GIVE}") from None
