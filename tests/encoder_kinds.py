"""Tiny encoders of several architectures with random weights, saved as folders and built into models."""

import json
import re
from collections import Counter

import torch

from auxlearn.models import multitask

WIDTH, HEADS, LAYERS = 24, 3, 3
COMMON = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "intermediate_size": 40}


def body(kind, vocabulary):
    import transformers as hf

    if kind == "bert":
        return hf.BertModel(hf.BertConfig(vocab_size=vocabulary, **COMMON))
    if kind == "roberta":
        made = hf.RobertaConfig(vocab_size=vocabulary, pad_token_id=0, type_vocab_size=2, **COMMON)
        return hf.RobertaModel(made)
    if kind == "electra":
        return hf.ElectraModel(hf.ElectraConfig(vocab_size=vocabulary, embedding_size=16, **COMMON))
    if kind == "distilbert":
        made = hf.DistilBertConfig(vocab_size=vocabulary, dim=WIDTH, n_layers=LAYERS, n_heads=HEADS, hidden_dim=40)
        return hf.DistilBertModel(made)
    if kind == "modernbert":
        ids = {"pad_token_id": 0, "cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
        windows = {"local_attention": 8, "max_position_embeddings": 256}
        made = hf.ModernBertConfig(vocab_size=vocabulary, **windows, **ids, **COMMON)
        return hf.ModernBertModel(made)
    if kind in ("deberta-v2", "deberta-v3"):
        v3 = {"position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm"}
        relative = {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]} | (v3 if kind == "deberta-v3" else {})
        made = hf.DebertaV2Config(vocab_size=vocabulary, max_position_embeddings=64, **relative, **COMMON)
        return hf.DebertaV2Model(made)
    if kind == "mpnet":
        return hf.MPNetModel(hf.MPNetConfig(vocab_size=vocabulary, **COMMON))
    if kind == "xlm-roberta":
        made = hf.XLMRobertaConfig(vocab_size=vocabulary, pad_token_id=0, type_vocab_size=2, **COMMON)
        return hf.XLMRobertaModel(made)
    if kind == "xlnet":
        made = hf.XLNetConfig(vocab_size=vocabulary, d_model=WIDTH, n_layer=LAYERS, n_head=HEADS, d_inner=40)
        return hf.XLNetModel(made)
    if kind == "albert":
        return hf.AlbertModel(hf.AlbertConfig(vocab_size=vocabulary, embedding_size=16, **COMMON))
    raise KeyError(kind)


def built(kind, suite, folder):
    tokenizer = multitask.build("tiny", suite).tokenizer
    with torch.random.fork_rng():
        torch.manual_seed(3)
        encoder = body(kind, len(tokenizer))
        # Initial weights are small enough to leave attention uniform; larger ones tell heads apart.
        for p in encoder.parameters():
            p.data += 0.1 * torch.randn_like(p)
    encoder.save_pretrained(folder / kind)
    tokenizer.save_pretrained(folder / kind)
    return multitask.build(str(folder / kind), suite, pool="mean")


# --- each family with its own kind of tokenizer --------------------------------------------------------------------

FAMILIES = ("bert", "roberta", "distilbert", "electra", "albert", "deberta-v3", "mpnet", "xlm-roberta", "xlnet",
            "modernbert")  # fmt: skip
WORDPIECE = ("bert", "distilbert", "electra", "mpnet")
POSITIONS = 64


def texts_of(suite):
    rows = [row for task in suite.values() for column in task.inputs for row in task.train[column]]
    return [" ".join(row) if isinstance(row, list) else row for row in rows]


def own_tokenizer(kind, texts):
    """A tokenizer of the family's own kind and class, its vocabulary learnt from texts."""
    import tokenizers as rust
    import transformers as hf

    if kind in WORDPIECE:
        special = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"] if kind == "mpnet" else [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # fmt: skip
        counts = Counter(word for text in texts for word in text.lower().split())
        words = [word for word, n in counts.most_common() if n > 2]
        letters = sorted({letter for word in counts for letter in word} | set("abcdefghijklmnopqrstuvwxyz0123456789,."))
        pieces = [*special, *letters, *("##" + letter for letter in letters), *words]
        names = {"bert": "BertTokenizer", "distilbert": "BertTokenizer", "electra": "BertTokenizer",
                 "mpnet": "MPNetTokenizer"}  # fmt: skip
        return getattr(hf, names[kind])(vocab={piece: i for i, piece in enumerate(dict.fromkeys(pieces))})
    if kind in ("roberta", "modernbert"):
        special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"] if kind == "roberta" else [
            "[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]  # fmt: skip
        bpe = rust.Tokenizer(rust.models.BPE())
        bpe.pre_tokenizer = rust.pre_tokenizers.ByteLevel(add_prefix_space=False)
        alphabet = rust.pre_tokenizers.ByteLevel.alphabet()
        trainer = rust.trainers.BpeTrainer(
            vocab_size=900, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
        bpe.train_from_iterator(texts, trainer)
        if kind == "modernbert":
            bpe.normalizer = rust.normalizers.NFC()
            bpe.post_processor = rust.processors.TemplateProcessing(
                single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
            )
            return hf.PreTrainedTokenizerFast(
                tokenizer_object=bpe, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]", sep_token="[SEP]",
                mask_token="[MASK]", model_input_names=["input_ids", "attention_mask"],
            )  # fmt: skip
        model = json.loads(bpe.to_str())["model"]
        return hf.RobertaTokenizer(vocab=model["vocab"], merges=[tuple(pair) for pair in model["merges"]])
    special = {
        "albert": ["<pad>", "<unk>", "[CLS]", "[SEP]", "[MASK]"], "deberta-v3": ["[PAD]", "[UNK]", "[CLS]", "[SEP]",
        "[MASK]"], "xlm-roberta": ["<s>", "<pad>", "</s>", "<unk>", "<mask>"],
        "xlnet": ["<unk>", "<s>", "</s>", "<cls>", "<sep>", "<pad>", "<mask>", "<eod>", "<eop>"],
    }[kind]  # fmt: skip
    unigram = rust.Tokenizer(rust.models.Unigram())
    unigram.pre_tokenizer = rust.pre_tokenizers.Metaspace()
    trainer = rust.trainers.UnigramTrainer(vocab_size=400, unk_token="<unk>", special_tokens=["<unk>"],
                                           show_progress=False)  # fmt: skip
    unigram.train_from_iterator([text.lower() for text in texts], trainer)
    pieces = [(piece, score) for piece, score in json.loads(unigram.to_str())["model"]["vocab"] if piece != "<unk>"]
    pieces = [*((name, 0.0) for name in special), *map(tuple, pieces)]
    names = {"albert": "AlbertTokenizer", "deberta-v3": "DebertaV2Tokenizer", "xlm-roberta": "XLMRobertaTokenizer",
             "xlnet": "XLNetTokenizer"}  # fmt: skip
    return getattr(hf, names[kind])(vocab=pieces)


def own_body(kind, tokenizer):
    """A body with the family's own ways of types, positions and padding."""
    import transformers as hf

    size, pad, most = len(tokenizer), tokenizer.pad_token_id, {"max_position_embeddings": POSITIONS}
    common = {"vocab_size": size, "pad_token_id": pad} | COMMON
    with_offset = {"max_position_embeddings": POSITIONS + 2}
    if kind == "bert":
        return hf.BertModel(hf.BertConfig(**common, **most))
    if kind in ("roberta", "xlm-roberta"):
        names = {"roberta": "Roberta", "xlm-roberta": "XLMRoberta"}[kind]
        made = getattr(hf, f"{names}Config")(type_vocab_size=1, **common, **with_offset)
        return getattr(hf, f"{names}Model")(made)
    if kind == "distilbert":
        made = hf.DistilBertConfig(vocab_size=size, dim=WIDTH, n_layers=LAYERS, n_heads=HEADS, hidden_dim=40, **most)
        return hf.DistilBertModel(made)
    if kind == "electra":
        return hf.ElectraModel(hf.ElectraConfig(embedding_size=16, **common, **most))
    if kind == "albert":
        return hf.AlbertModel(hf.AlbertConfig(embedding_size=16, **common, **most))
    if kind == "deberta-v3":
        v3 = {"position_buckets": 16, "share_att_key": True, "norm_rel_ebd": "layer_norm", "type_vocab_size": 0,
              "position_biased_input": False, "relative_attention": True, "pos_att_type": ["p2c", "c2p"]}  # fmt: skip
        return hf.DebertaV2Model(hf.DebertaV2Config(**v3, **common, **most))
    if kind == "mpnet":
        return hf.MPNetModel(hf.MPNetConfig(**common, **with_offset))
    if kind == "xlnet":
        made = hf.XLNetConfig(vocab_size=size, d_model=WIDTH, n_layer=LAYERS, n_head=HEADS, d_inner=40)
        return hf.XLNetModel(made)
    ids = {"cls_token_id": 2, "bos_token_id": 2, "sep_token_id": 3, "eos_token_id": 3}
    return hf.ModernBertModel(hf.ModernBertConfig(local_attention=8, **ids, **common, **most))


def own_folder(kind, suite, folder):
    """A folder of the family: random weights, and a tokenizer of its own kind."""
    with torch.random.fork_rng():
        torch.manual_seed(3)
        tokenizer = own_tokenizer(kind, texts_of(suite))
        encoder = own_body(kind, tokenizer)
        for p in encoder.parameters():
            p.data += 0.1 * torch.randn_like(p)
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


# --- encoders that read from left to right --------------------------------------------------------------------------

CAUSAL = ("gpt2", "llama", "opt", "bert decoder")


def causal_folder(kind, suite, folder):
    """A folder of a left-to-right encoder: random weights, and byte-level BPE that adds no token and pads with none."""
    import tokenizers as rust
    import transformers as hf

    with torch.random.fork_rng():
        torch.manual_seed(3)
        bpe = own_tokenizer("roberta", texts_of(suite)).backend_tokenizer
        bpe.post_processor = rust.processors.ByteLevel(trim_offsets=False)
        tokenizer = hf.PreTrainedTokenizerFast(tokenizer_object=bpe, unk_token="<unk>", eos_token="</s>")
        size = {"vocab_size": len(tokenizer), "max_position_embeddings": POSITIONS}
        ids = {"bos_token_id": 2, "eos_token_id": 2}
        if kind == "gpt2":
            made = hf.GPT2Config(n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS, n_positions=POSITIONS, **ids, **size)
            encoder = hf.GPT2Model(made)
        elif kind == "llama":
            encoder = hf.LlamaModel(hf.LlamaConfig(**COMMON, **ids, **size))
        elif kind == "opt":
            encoder = hf.OPTModel(hf.OPTConfig(ffn_dim=40, word_embed_proj_dim=WIDTH, **ids, **size, **COMMON))
        else:
            encoder = hf.BertModel(hf.BertConfig(is_decoder=True, **size, **COMMON))
        for p in encoder.parameters():
            p.data += 0.1 * torch.randn_like(p)
    encoder.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def by_readme(folder, monkeypatch):
    """The outputs of the example in an exported folder's README, run as it stands."""
    monkeypatch.chdir(folder)
    code = re.search(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL).group(1)
    space = {}
    exec(compile(code, "README.md", "exec"), space)
    return space["outputs"]
