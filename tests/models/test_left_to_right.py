"""Encoders that read from left to right: a row's first token has seen no other, so that its last stands for it."""

import numpy as np
import pytest
import torch

import encoder_kinds
from auxlearn import seeding
from auxlearn.errors import InputError
from auxlearn.export import models
from auxlearn.models import encoders, multitask
from auxlearn.training import train
from auxlearn.training.phases import Phase, Plan, Recipe
from encoder_kinds import CAUSAL, FAMILIES, by_readme

TASKS = ("topic_side", "away_topic", "side_share", "word_class")  # a pair, single texts, a regression, tags

pytestmark = pytest.mark.usefixtures("one_thread")


def some(task, n=10):
    return [task.train[i] for i in range(n)]


@pytest.fixture(scope="module")
def folders(small, tmp_path_factory):
    home = tmp_path_factory.mktemp("causal")
    return {kind: str(encoder_kinds.causal_folder(kind, small, home / kind)) for kind in CAUSAL}


@pytest.mark.parametrize("kind", CAUSAL)
@pytest.mark.parametrize("pool", ["auto", "cls"])
def test_the_last_token_stands_for_a_row(small, folders, kind, pool):
    net = multitask.build(folders[kind], small, pool=pool, max_length=64).eval()
    batch = multitask.collate(some(small["topic_side"]), small["topic_side"], net)
    mask = batch["attention_mask"]
    assert (mask.sum(1) < mask.shape[1]).any()  # padding follows some
    with torch.no_grad():
        states, features = net.encoder(**net.inputs(batch)).last_hidden_state, net(batch).features
    for row, tokens in enumerate(mask.sum(1)):
        assert torch.equal(features[row], states[row, tokens - 1])
    # What stands anywhere in a row, its first word too, changes what stands for it.
    for place in (0, int(mask.sum(1).min()) // 2):
        other = {name: value.clone() if torch.is_tensor(value) else value for name, value in batch.items()}
        other["input_ids"][:, place] = 5
        with torch.no_grad():
            assert ((net(other).features - features).abs().max(1).values > 1e-4).all()


def test_others_are_pooled_as_before(small, tmp_path):
    for kind in FAMILIES:
        net = multitask.build(str(encoder_kinds.own_folder(kind, small, tmp_path / kind)), small, max_length=64)
        assert not encoders.is_causal(net.encoder, net.tokenizer)
        assert net.cls_last == (kind == "xlnet")
    tiny = multitask.build("tiny", small)
    assert tiny.pool == "mean"
    assert not encoders.is_causal(tiny.encoder, tiny.tokenizer)


def test_a_pooler_of_the_first_token_is_refused(small, folders):
    with pytest.raises(InputError, match="pooler reads the first token, which sees no other in this encoder; set mean"):
        multitask.build(folders["bert decoder"], small, pool="pooler", max_length=64)
    assert multitask.build(folders["bert decoder"], small, pool="mean", max_length=64).pool == "mean"


@pytest.mark.parametrize("kind", CAUSAL)
def test_every_kind_of_task_is_trained_and_exported(small, folders, kind, tmp_path, monkeypatch):
    suite = type(small)("four", {name: small[name] for name in TASKS}, "f")
    phase = Phase("joint", {name: np.arange(12) for name in TASKS}, 1, Recipe(1e-3, 8), mixing="mixed")
    net = train.run(Plan(folders[kind], (phase,), seeding.record(0), max_length=48), suite).model.eval()
    for name in ("topic_side", "word_class"):
        task = suite[name]
        models.model_folder(net, task, tmp_path / name)
        rows = some(task)
        batch = multitask.collate(rows, task, net)
        with torch.no_grad():
            logits = net(batch).logits
        given = by_readme(tmp_path / name, monkeypatch)(*([row[c] for row in rows] for c in task.inputs))
        if task.kind == "tagging":
            given, logits = (x[batch["attention_mask"].bool()] for x in (given, logits))
        assert (given - logits).abs().max() < 1e-4


@pytest.mark.parametrize("kind", ["t5", "bart"])
def test_a_model_with_a_decoder_on_top_is_refused_by_its_config(small, tmp_path, kind):
    import transformers as hf

    tokenizer = encoder_kinds.own_tokenizer("roberta", encoder_kinds.texts_of(small))
    sizes = {"d_model": 24, "vocab_size": len(tokenizer)}
    config = hf.T5Config(d_kv=8, num_layers=2, num_heads=3, **sizes) if kind == "t5" else hf.BartConfig(**sizes)
    config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    for read in (lambda: multitask.build(str(tmp_path), small), lambda: encoders.config_at_hand(str(tmp_path))):
        with pytest.raises(InputError, match=f"a {kind} has a decoder on top of its encoder"):
            read()
