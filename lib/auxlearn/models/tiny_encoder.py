"""The encoder "tiny": a small BERT with random weights, whose words are those of the suite that it reads."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from auxlearn.errors import InputError
from auxlearn.models.encoder_files import TINY, TINY_POSITIONS, TINY_WORDS

if TYPE_CHECKING:
    from auxlearn.data.suites import Suite

TEXTS = 1000  # that are split into words in one call
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def load(suite: Suite, layers: int | None = None) -> tuple[Any, Any]:
    """Make a small BERT with random weights and a WordPiece vocabulary of the suite's own."""
    from transformers import BertConfig, BertModel

    if suite.tokenizer is None:  # made once, not for every model
        suite.tokenizer = _wordpiece(suite)
    if (layers or 1) > TINY["num_hidden_layers"]:
        raise InputError(f"encoder 'tiny:{layers}': it has {TINY['num_hidden_layers']} layers")
    shape: dict[str, Any] = TINY | ({"num_hidden_layers": layers} if layers else {})
    config = BertConfig(vocab_size=len(suite.tokenizer), max_position_embeddings=TINY_POSITIONS, **shape)
    return BertModel(config, add_pooling_layer=False), suite.tokenizer


def _wordpiece(suite: Suite) -> Any:
    """Make a tokenizer whose vocabulary is that of the suite's training texts."""
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    splitter, normal = pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer(lowercase=True)
    words = vocabulary(suite, splitter, normal)
    wordpiece = Tokenizer(models.WordPiece(words, unk_token="[UNK]"))
    wordpiece.normalizer, wordpiece.pre_tokenizer = normal, splitter
    wordpiece.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", words["[CLS]"]), ("[SEP]", words["[SEP]"])],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=wordpiece, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
        mask_token="[MASK]", model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )  # fmt: skip


def vocabulary(suite: Suite, splitter: Any, normal: Any) -> dict[str, int]:
    """List frequent words whole and characters for the rest.

    Words are counted rather than left to a WordPiece trainer, whose ties depend on hash order.
    """
    counts: Counter[str] = Counter()
    for task in suite.values():
        for column in task.inputs:
            for table in task.train.select_columns(column).with_format("arrow").iter(TEXTS):
                texts = table[column].to_pylist()
                # No word reaches over a line's end, so that many texts are split in one call.
                lines = "\n".join(" ".join(text) if isinstance(text, list) else text for text in texts)
                counts.update(word for word, _ in splitter.pre_tokenize_str(normal.normalize_str(lines)))
    letters = sorted({letter for word in counts for letter in word})
    words = sorted(counts, key=lambda w: (-counts[w], w))[:TINY_WORDS]
    pieces = dict.fromkeys([*SPECIAL, *letters, *("##" + letter for letter in letters), *words])
    return {piece: i for i, piece in enumerate(pieces)}
