"""What a tokenizer makes of texts and words, and what it adds around them: all learnt from the tokenizer itself."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from auxlearn.errors import InputError

THREADED = 256  # texts from which on all threads are worth their start
PARALLEL = "TOKENIZERS_PARALLELISM"
PROBE = "the minister visited a town , in 1999 ."
# Texts whose words are read alike alone and in the text: one space between words, and no character that a normaliser
# joins with a space or turns into one. Others, a small part of most data, are tokenised whole.
_LETTERS = r"[!-~\x{c0}-\x{24f}\x{388}-\x{3ff}\x{400}-\x{481}\x{48a}-\x{52f}\x{2013}\x{2014}\x{2018}-\x{201d}\x{2026}]+"
PLAIN = f"^{_LETTERS}( {_LETTERS})*$"
_forked = [False]
# Threads of the Rust tokenizers do not outlive a fork: in the child none would answer.
os.register_at_fork(after_in_child=lambda: _forked.__setitem__(0, True))


def starts_of(lengths: np.ndarray) -> np.ndarray:
    """Return where runs of these lengths begin, and where the last ends, int64 [N + 1]."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


@dataclass(frozen=True)
class Layout:
    """What a tokenizer puts around one text, or around and between two: n + 1 runs of special tokens for n texts."""

    specials: tuple[np.ndarray, ...]  # int32, ids of each run
    special_types: tuple[np.ndarray, ...]  # uint8, segments of each run's tokens
    types: tuple[int, ...]  # the segment of each text's own tokens

    @property
    def size(self) -> int:
        """The number of special tokens of a sequence."""
        return sum(map(len, self.specials))


def layout(tokenizer: Any, texts: int) -> Layout:
    """Learn what a tokenizer puts around one or two texts.

    Args:
        tokenizer: A tokenizer of Hugging Face.
        texts: 1 or 2.

    Raises:
        InputError: It gives no token for a plain word.
    """
    own = pieces([PROBE], tokenizer)[0].tolist()
    if not own:
        raise InputError(f"the tokenizer {type(tokenizer).__name__} gives no token for {PROBE!r}; are its files whole?")
    if tokenizer.is_fast:
        whole = tokenizer.backend_tokenizer.encode(*[PROBE] * texts)
        ids, types, of = whole.ids, whole.type_ids, whole.sequence_ids
    else:
        both = (own, own)[:texts]
        ids = tokenizer.build_inputs_with_special_tokens(*both)
        types = tokenizer.create_token_type_ids_from_sequences(*both)
        special = tokenizer.get_special_tokens_mask(*both)
        seen = np.cumsum([not s for s in special])
        of = [None if s else int(n > len(own)) for s, n in zip(special, seen, strict=True)]
    places = [[i for i, text in enumerate(of) if text == number] for number in range(texts)]
    bounds = [0, *chain.from_iterable((at[0], at[-1] + 1) for at in places), len(ids)]
    runs = list(zip(bounds[::2], bounds[1::2], strict=True))
    return Layout(
        tuple(np.array(ids[a:b], np.int32) for a, b in runs),
        tuple(np.array(types[a:b], np.uint8) for a, b in runs),
        tuple(types[at[0]] for at in places),
    )


def word_prefix(tokenizer: Any) -> str | None:
    """Learn what a word that is not its text's first must be preceded by, to give the pieces that it has in the text.

    It is a space for byte-level BPE, whose pieces tell "a" and " a" apart, and nothing for WordPiece.

    Args:
        tokenizer: A tokenizer of Hugging Face.

    Returns:
        What precedes a word; None if the pieces of a text are not those of its words.
    """
    words = PROBE.split()
    text = pieces([PROBE], tokenizer)[0].tolist()
    for prefix in ("", " "):
        if pieces([words[0], *(prefix + word for word in words[1:])], tokenizer)[0].tolist() == text:
            return prefix
    return None


def splits_at_spaces(tokenizer: Any) -> bool:
    """Tell whether a tokenizer is known to read each word between spaces for itself."""
    if not tokenizer.is_fast:
        return False
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    step = {} if splitter is None else json.loads(splitter.__getstate__())
    return any(
        each["type"] in ("BertPreTokenizer", "Whitespace", "WhitespaceSplit")
        or (each["type"] == "ByteLevel" and each.get("use_regex", True))
        or (each["type"] == "Metaspace" and each.get("split", True))
        for each in step.get("pretokenizers", [step] if step else [])
    )


def entangled(tokenizer: Any) -> list[str]:
    """List added tokens that read the spaces around them, so that a text with one of them is no row of single words."""
    added = tokenizer.added_tokens_decoder.values()
    return [each.content for each in added if each.lstrip or each.rstrip or " " in each.content]


def filler(tokenizer: Any) -> int:
    """Return the id that a word without any piece is read as: the unknown token, or else another special one."""
    names = ("unk_token_id", "mask_token_id", "sep_token_id", "eos_token_id", "pad_token_id")
    return next((id for name in names if (id := getattr(tokenizer, name, None)) is not None), 0)


def pieces(texts: Sequence[str], tokenizer: Any) -> tuple[np.ndarray, np.ndarray]:
    """Tokenise texts, without special tokens and without a limit.

    Args:
        texts: The texts.
        tokenizer: A tokenizer of Hugging Face; one without a fast implementation will do.

    Returns:
        All ids, int32, and where each text's begin, int64 [N + 1].
    """
    if tokenizer.is_fast:
        rust = tokenizer.backend_tokenizer
        rust.no_truncation()
        rust.no_padding()
        rust.encode_special_tokens = tokenizer.split_special_tokens
        before = os.environ.get(PARALLEL)
        if len(texts) >= THREADED and not _forked[0]:
            os.environ[PARALLEL] = "true"  # read at each call
        try:
            lists = [encoding.ids for encoding in rust.encode_batch_fast(list(texts), add_special_tokens=False)]
        finally:
            if before is None:
                os.environ.pop(PARALLEL, None)
            else:
                os.environ[PARALLEL] = before
    else:
        lists = tokenizer(
            list(texts), add_special_tokens=False, return_attention_mask=False, return_token_type_ids=False,
            verbose=False,
        )["input_ids"]  # fmt: skip
    starts = starts_of(np.fromiter(map(len, lists), np.int64, len(lists)))
    return np.fromiter(chain.from_iterable(lists), np.int32, int(starts[-1])), starts
