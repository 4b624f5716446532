"""Folders of encoders whose config, tokenizer or weights have been damaged, the other two files whole."""

from __future__ import annotations

import json
import random
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import fuzz_inputs as inputs
import torch

from auxlearn.models import encoders

FILES = ("config.json", "tokenizer.json", "model.safetensors")


@cache
def whole() -> dict[str, bytes]:
    """A BERT of one layer and some words, by file."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "b", "##c"]
    made = Tokenizer(models.WordPiece({word: i for i, word in enumerate(words)}, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        BertModel(BertConfig(vocab_size=len(words), max_position_embeddings=16, **size)).save_pretrained(folder)
        PreTrainedTokenizerFast(tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]").save_pretrained(folder)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def make(name: str) -> Any:
    """Inputs for one of FILES."""

    def one(rng: random.Random) -> bytes:
        if name == "model.safetensors":
            return inputs.safetensors(whole()[name])(rng)
        return inputs.document([json.loads(whole()[name])])(rng)

    return one


def read(path: Path) -> Any:
    for name, data in whole().items():
        if name != path.name:
            (path.parent / name).write_bytes(data)
    return encoders.load(str(path.parent), {}, "auto")
