"""Tokens put together from pieces, against what each family's tokenizer gives by itself."""

import os
import random
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset

import encoder_kinds
from auxlearn.data import batching
from auxlearn.data.tokens import pieces
from auxlearn.errors import InputError

ODD = [
    "", " ", "two  spaces", " before", "after ", "a\u00a0b", "e\u0301tude \u0301a", "a\tb\nc", "a <mask> b", "[MASK] a",
    "a [SEP] b", "中文 的 句子。", "\u200b", "x\u200by z", "¨ a ´ b", "it 's don't", "1999 , 3.5%", "ÀÉ ñ Ω Ж — “q” …",
    "🙂 smile", "o" * 200, "``quoted''", "</s> x", "ﬁ ½ ①", "a\u0085b", "\ufeffbom", "‿ x", "I\u0307 i\u0307",
]  # fmt: skip


@pytest.fixture(scope="module")
def tokenizers(small):
    return {kind: encoder_kinds.own_tokenizer(kind, encoder_kinds.texts_of(small)) for kind in encoder_kinds.FAMILIES}


def texts(small):
    rng = random.Random(0)
    plain = encoder_kinds.texts_of(small)
    mixed = [rng.choice(ODD) + rng.choice([" ", "  ", "", "\n"]) + rng.choice(plain) for _ in range(100)]
    return [*ODD, *mixed, *plain]


@pytest.mark.parametrize("kind", encoder_kinds.FAMILIES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_texts_get_the_tokens_that_the_tokenizer_gives(tokenizers, small, kind, side):
    tokenizer, first = tokenizers[kind], texts(small)
    second = first[::-1]
    tokenizer.truncation_side = side
    rows = Dataset.from_dict({"a": first, "b": second, "label": [0] * len(first)})
    for inputs in (("a",), ("a", "b")):
        task = replace(small["topic_side"], inputs=inputs)
        for most in (9, 16, 64):
            encoded = batching.encode(rows, task, tokenizer, most)
            given = tokenizer(*(rows[c][:] for c in inputs), truncation=True, max_length=most,
                              return_token_type_ids=True)  # fmt: skip
            ids = [encoded.ids[a:b].tolist() for a, b in zip(encoded.starts, encoded.starts[1:], strict=False)]
            types = [encoded.types[a:b].tolist() for a, b in zip(encoded.starts, encoded.starts[1:], strict=False)]
            assert ids == given["input_ids"]
            assert types == given["token_type_ids"]
            assert encoded.cut.tolist() == [bool(each.overflowing) for each in given.encodings]
    tokenizer.truncation_side = "right"


@pytest.mark.parametrize("kind", encoder_kinds.FAMILIES)
def test_words_are_tokenised_as_their_text_is(tokenizers, small, kind):
    tokenizer, task = tokenizers[kind], small["word_class"]
    sentences = [["The", "minister", "visited", "London", "."], ["a"], ["don't", "«", "ÀÉ", "1999", ",", "中文"],
                 *(row["tokens"] for row in task.train.select(range(20)))]  # fmt: skip
    rows = [{"tokens": words, "tags": [i % 3 for i in range(len(words))]} for words in sentences]
    encoded = batching.encode(rows, task, tokenizer, 128)
    for row, (start, stop) in enumerate(zip(encoded.starts, encoded.starts[1:], strict=False)):
        assert encoded.ids[start:stop].tolist() == tokenizer(" ".join(sentences[row]))["input_ids"]
        # A word's first piece: the text up to it has as many pieces before.
        tokens = np.flatnonzero(encoded.firsts[start:stop])
        lengths = [len(tokenizer(" ".join(sentences[row][:i]), add_special_tokens=False)["input_ids"])
                   for i in range(len(sentences[row]))]  # fmt: skip
        before = len(pieces.layout(tokenizer, 1).specials[0])
        assert tokens.tolist() == [before + n for n in lengths]
        assert encoded.labels[start:stop][tokens].tolist() == rows[row]["tags"]
    if kind == "roberta":
        assert tokenizer.convert_ids_to_tokens(encoded.ids[1:3].tolist())[0] == "T"
        assert "Ġv" in "".join(tokenizer.convert_ids_to_tokens(encoded.ids[: encoded.starts[1]].tolist()))


@pytest.mark.parametrize("kind", encoder_kinds.FAMILIES)
def test_every_family_keeps_the_tags_of_words_that_vanish_or_are_split_off(tokenizers, small, kind):
    words = ["ro", "\u200b", "kepipe", "", "dadoto" * 30, " ", "tu"] * 4
    rows = [{"tokens": words, "tags": [i % 4 for i in range(28)]}, {"tokens": ["\u200b"], "tags": [3]}]
    encoded = batching.encode(rows, small["word_class"], tokenizers[kind], 24, split=True)
    assert encoded.labels[encoded.firsts].tolist() == [*rows[0]["tags"], 3]
    assert encoded.lengths.max() <= 24
    assert encoded.rows[-1] == 1


def test_a_tokenizer_that_joins_words_is_refused_for_tags(small):
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    pieces = {piece: i for i, piece in enumerate(["[UNK]", *"theminsrvdaow,19. "])}
    merged = Tokenizer(models.BPE({**pieces, "e ": len(pieces)}, [("e", " ")], unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=merged, unk_token="[UNK]", pad_token="[UNK]")
    with pytest.raises(InputError, match=r"'word_class'.*other pieces than its words"):
        batching.encode(small["word_class"].train, small["word_class"], tokenizer)
    assert batching.encode([{"sentence1": ""}], small["away_topic"], tokenizer).ids.tolist() == [
        0
    ]  # and no special one
    rows = small["away_topic"].train.select(range(5))
    encoded = batching.encode(rows, small["away_topic"], tokenizer)
    assert encoded.ids.tolist() == np.concatenate(tokenizer(rows["sentence1"][:])["input_ids"]).tolist()


def test_max_length_must_leave_room(small, tokenizers):
    with pytest.raises(InputError, match="max_length: 4 leaves no room for a text of task 'topic_side' beside 3"):
        batching.encode(small["topic_side"].train, small["topic_side"], tokenizers["bert"], 4)


def test_no_rows_are_no_sequences(small, tokenizers):
    for name in ("topic_side", "word_class", "side_share"):
        encoded = batching.encode([], small[name], tokenizers["bert"])
        assert (len(encoded), encoded.n_rows, encoded.lengths.tolist(), encoded.truncated) == (0, 0, [], 0)


def test_a_forked_process_neither_waits_nor_warns():
    """The Rust tokenizers' threads do not outlive a fork; a child that asked for them would wait for ever."""
    program = """
import os, sys
from auxlearn.data import suites, batching
from auxlearn.models import multitask
suite = suites.Suite.from_yaml("planted").capped(400)
net, task = multitask.build("tiny", suite), suite["topic_name"]
first = batching.encode(task.train, task, net.tokenizer)
child = os.fork()
same = (batching.encode(task.train, task, net.tokenizer).ids == first.ids).all()
if child == 0:
    os._exit(0 if same else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"RAYON_NUM_THREADS": "2"})  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("0", "")
