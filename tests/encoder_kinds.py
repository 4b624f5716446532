"""Tiny encoders of several architectures with random weights, saved as folders and built into models."""

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
