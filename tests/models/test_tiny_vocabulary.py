"""The tiny encoder's vocabulary, whose words are counted many texts at a time."""

from collections import Counter
from dataclasses import replace

import pytest
from datasets import Dataset

from auxlearn.data.suites import Suite
from auxlearn.models import tiny_encoder

ODD = ["end", "\u0301start", "\tTab\n", "", "naïve\x00", "不 中", "a-b", "end", "x\r", "ｆull\u200b", "low ", " low"]


@pytest.mark.parametrize("texts_at_a_time", [1, 5, 1000])
def test_words_are_counted_as_if_each_text_were_read_alone(small, monkeypatch, texts_at_a_time):
    """Whatever characters a text begins or ends with, no word is of two texts."""
    from tokenizers import normalizers, pre_tokenizers

    monkeypatch.setattr(tiny_encoder, "TEXTS", texts_at_a_time)
    task = small["topic_name"]
    first, second = task.inputs
    train = Dataset.from_dict({first: ODD, second: ODD[::-1]})
    suite = Suite("odd", {"topic_name": replace(task, train=train)}, "odd")
    splitter, normal = pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(lowercase=True)
    alone = Counter(word for text in ODD for word, _ in splitter.pre_tokenize_str(normal.normalize_str(text)))
    words = [piece for piece in tiny_encoder.vocabulary(suite, splitter, normal) if len(piece) > 1 and piece in alone]
    expected = sorted((word for word in alone if len(word) > 1), key=lambda word: (-alone[word], word))
    assert words == expected
    assert {"end", "start", "tab", "naive", "ｆull", "low"} <= set(words)
