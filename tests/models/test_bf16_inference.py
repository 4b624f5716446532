"""The pass in bf16 with fewer conversions and attention in cache: what it changes and what it leaves."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch

from auxlearn.data import batching
from auxlearn.models import bf16_inference, fast_dropout
from auxlearn.models import multitask as model
from auxlearn.signals import head_importance
from auxlearn.training import prediction
from encoder_kinds import built

KINDS = ("bert", "roberta", "electra", "distilbert", "modernbert", "albert")


@pytest.fixture(autouse=True, params=[False, True], ids=["", "tiles"])
def tiles(request, monkeypatch):
    """Every test as on a processor without AMX, and as on one with it."""
    monkeypatch.setattr(bf16_inference, "has_tiles", lambda: request.param)
    return request.param


@pytest.fixture(scope="module")
def nets(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    return {kind: built(kind, small, folder).eval() for kind in KINDS}


def features(net, suite, name="topic_side", precision="bf16", quick=False):
    task = suite[name]
    rows = batching.encode(task.train.select(range(60)), task, net.tokenizer)
    ready = {"ready": bf16_inference.prepare(net, precision)} if quick else {}
    table = torch.zeros(60, net.encoder.config.hidden_size)
    for index, output in prediction.outputs(net, rows, task, precision, **ready):
        table[index] = output.features.clone()
    return table


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_as_near_to_fp32_as_autocast_is(nets, small, kind):
    net = nets[kind]
    exact, usual, quick = features(net, small, precision="fp32"), features(net, small), features(net, small, quick=True)
    far = (usual - exact).abs().mean()
    assert far > 0
    assert (quick - exact).abs().mean() < 1.5 * far
    assert (quick - usual).abs().mean() < 1.5 * far


@pytest.mark.parametrize("kind", KINDS)
def test_but_for_attention_no_bit_changes(nets, small, kind, monkeypatch):
    usual = features(nets[kind], small)
    dtypes = []

    def theirs(*args, **kwargs):
        dtypes.append(args[1].dtype)
        return fast_dropout.attention(*args, **kwargs)

    monkeypatch.setattr(bf16_inference, "attention", theirs)
    assert torch.equal(features(nets[kind], small, quick=True), usual)
    assert set(dtypes) == {torch.bfloat16}


@pytest.mark.parametrize("gradient", [False, True])
def test_with_tiles_a_pass_without_gradient_takes_pytorch_s_attention(monkeypatch, tiles, gradient):
    asked = []
    monkeypatch.setattr(fast_dropout, "attention", lambda *args, **kwargs: asked.append(1))
    inputs = [torch.randn(2, 3, 5, 4, requires_grad=gradient) for _ in range(3)]
    bf16_inference.attention(torch.nn.Identity(), *inputs, None)
    with torch.no_grad():
        bf16_inference.attention(torch.nn.Identity(), *inputs, None)
    assert len(asked) == (2 - gradient if tiles else 0)


def importances(net, suite, name="topic_side", precision="bf16", dropped=False):
    task = suite[name]
    rows = batching.encode(task.train.select(range(60)), task, net.tokenizer)
    tables = {}
    for index, blocks in head_importance.over_rows(net, rows, task, precision=precision, dropout=dropped):
        for definition, values in blocks.items():
            tables.setdefault(definition, values.new_zeros(60, *values.shape[1:]))[index] = values
    return tables


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "albert"])  # whose layers share their heads
def test_importance_is_as_near_to_fp32_as_under_autocast(nets, small, kind, monkeypatch):
    exact, quick = importances(nets[kind], small, precision="fp32"), importances(nets[kind], small)
    monkeypatch.setattr(bf16_inference, "prepare", lambda model, precision: nullcontext)
    usual = importances(nets[kind], small)
    for definition in head_importance.DEFINITIONS:
        far = (usual[definition] - exact[definition]).abs().mean()
        assert far > 0
        assert (quick[definition] - exact[definition]).abs().mean() < 1.5 * far


def test_importance_under_dropout_keeps_its_bits(nets, small, monkeypatch):
    quick = importances(nets["bert"], small, dropped=True)
    monkeypatch.setattr(bf16_inference, "prepare", lambda model, precision: nullcontext)
    usual = importances(nets["bert"], small, dropped=True)
    assert all(torch.equal(quick[definition], usual[definition]) for definition in head_importance.DEFINITIONS)


@pytest.mark.parametrize("scratch", [1, 5000, 1 << 30])
@pytest.mark.parametrize("mask", ["none", "rows", "shared", "added"])
@pytest.mark.parametrize("trained", ["", "query", "key", "value", "query key value"])
def test_attention_is_softmax_of_products_however_rows_are_dealt(monkeypatch, scratch, mask, trained):
    monkeypatch.setattr(bf16_inference, "SCRATCH", scratch)
    rng = torch.Generator().manual_seed(0)
    projections = dict(zip(("query", "key", "value"), torch.randn(3, 5, 2, 7, 4, generator=rng), strict=True))
    keep = torch.rand(5, 1, 7, 7, generator=rng) > 0.3
    keep[..., 0] = True
    added = {"none": None, "rows": keep, "shared": keep[:1], "added": torch.randn(5, 1, 7, 7, generator=rng)}[mask]
    arriving = torch.randn(5, 7, 2, 4, generator=rng)
    module = torch.nn.Identity()
    module.is_causal = False
    results = []
    for ours in (True, False):
        inputs = {name: x.clone().requires_grad_(name in trained) for name, x in projections.items()}
        if ours:
            values, _ = bf16_inference.attention(module, *inputs.values(), added, scaling=0.3)
        else:
            values = torch.nn.functional.scaled_dot_product_attention(*inputs.values(), added, scale=0.3).transpose(
                1, 2
            )
        if trained:
            values.backward(arriving)
        results.append([values.detach()] + [x.grad for x in inputs.values() if x.requires_grad])
    assert len(results[0]) == 1 + len(trained.split())
    for result, reference in zip(*results, strict=True):
        assert torch.allclose(result, reference, atol=2e-6)


@pytest.mark.parametrize("failing", [False, True])
def test_the_model_is_left_as_it_was(nets, small, failing):
    net, usual = nets["bert"], features(nets["bert"], small)
    before = dict(net.named_parameters())
    ready = bf16_inference.prepare(net, "bf16")
    try:
        with ready():
            assert net.encoder.encoder.layer[0].attention.self.key.weight.dtype == torch.bfloat16
            assert net.encoder.embeddings.word_embeddings.weight is before["encoder.embeddings.word_embeddings.weight"]
            assert net.encoder.config._attn_implementation == bf16_inference.NAME
            if failing:
                raise KeyError
    except KeyError:
        pass
    after = dict(net.named_parameters())
    assert before.keys() == after.keys()
    assert all(before[name] is p and p.requires_grad and p.dtype == torch.float32 for name, p in after.items())
    assert net.encoder.config._attn_implementation == fast_dropout.NAME
    assert not any(m._forward_pre_hooks for m in net.modules())
    assert torch.equal(features(net, small), usual)


def test_in_fp32_nothing_changes(nets, small):
    net = nets["bert"]
    with bf16_inference.prepare(net, "fp32")():
        assert net.encoder.encoder.layer[0].attention.self.key.weight.dtype == torch.float32
        assert net.encoder.config._attn_implementation == fast_dropout.NAME
    assert torch.equal(features(net, small, precision="fp32", quick=True), features(net, small, precision="fp32"))


def test_passes_over_one_model_in_turn_do_not_meet(small):
    """A batch of one, then one of the other: each is what it is alone."""
    net, task = model.build("tiny", small).eval(), small["topic_side"]
    rows = batching.encode(task.train.select(range(60)), task, net.tokenizer)
    alone = {quick: features(net, small, quick=quick) for quick in (False, True)}
    passes = [prediction.outputs(net, rows, task, "bf16"),
              prediction.outputs(net, rows, task, "bf16", ready=bf16_inference.prepare(net, "bf16"))]  # fmt: skip
    for (index, usual), (same, quick) in zip(*passes, strict=True):
        assert np.array_equal(index, same)
        assert torch.equal(usual.features, alone[False][index])
        assert torch.equal(quick.features, alone[True][index])
    assert not torch.is_inference_mode_enabled()
