"""Everything read in one pass is what a pass for each of them reads."""

import numpy as np
import pytest
import torch

from auxlearn.cost import Ledger
from auxlearn.data import batch_order, batching
from auxlearn.errors import InputError
from auxlearn.models import bf16_inference, multitask
from auxlearn.signals import example_gradients, head_importance, row_signals, target_gradients
from auxlearn.training import prediction

KINDS = ["topic_side", "side_share", "word_class"]
ROWS = np.arange(23)


@pytest.fixture(scope="module")
def net(small):
    model = multitask.build("tiny", small)
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in model.parameters():
            p += 0.05 * torch.randn(p.shape, generator=noise)
    return model


@pytest.fixture(scope="module")
def probe(net, small):
    return row_signals.targets(net, small, {"topic_side": np.arange(60, 70), "word_class": np.arange(5)})


def encoded(net, suite, name, rows=ROWS):
    return batching.encode(suite[name].train.select(rows), suite[name], net.tokenizer, net.max_length)


def gathered(batches, size):
    """Batches of (rows, name -> values) as whole arrays in row order."""
    tables = {}
    for index, values in batches:
        for name, value in values.items():
            tables.setdefault(name, torch.full((size, *value.shape[1:]), torch.nan))[index] = value
    return tables


def apart(net, suite, name, probe, budget):
    """Each reading by the function that reads it alone, batches held equal."""
    task, rows = suite[name], encoded(net, suite, name)
    tables = {}
    for index in batch_order.by_tokens(rows.lengths, budget):
        batch = batching.to_batch(rows, index, task, net.columns[name], net.pad_id)
        net.eval()
        with torch.no_grad():
            output = net(batch)
            alone = {"features": output.features, "logits": output.discriminator}
            alone["loss"] = head_importance.example_losses(net, batch, output.logits)
        net.train()
        alone |= head_importance.all_importances(net, batch)
        alone |= dict(zip(("dots", "squares"), example_gradients.products(probe, batch), strict=True))
        for key, value in alone.items():
            tables.setdefault(key, torch.full((len(rows), *value.shape[1:]), torch.nan))[index] = value
    return tables


@pytest.mark.parametrize("name", KINDS)
def test_one_pass_reads_what_a_pass_for_each_does(net, small, probe, name):
    expected = apart(net, small, name, probe, 300)
    read = row_signals.over_rows(
        net, encoded(net, small, name), small[name], row_signals.READS, probe=probe, budget=300
    )
    together = gathered(read, len(ROWS))
    assert together.keys() == expected.keys()
    for key, value in expected.items():
        assert torch.isfinite(value).all()
        assert (together[key] - value).abs().max() <= 1e-5 * value.abs().max(), key


@pytest.mark.parametrize("reads", [["loss"], ["gate"], ["features", "kv_rows"], ["logits", "products"], ["kv_columns"]])
def test_what_is_not_asked_for_is_neither_given_nor_changes_the_rest(net, small, probe, reads):
    aim = probe if "products" in reads else None
    part = gathered(
        row_signals.over_rows(
            net, encoded(net, small, "word_class"), small["word_class"], reads, probe=aim, budget=300
        ),
        len(ROWS),
    )
    assert part.keys() == {x for name in reads for x in (["dots", "squares"] if name == "products" else [name])}
    whole = apart(net, small, "word_class", probe, 300)
    for key, value in part.items():
        assert (value - whole[key]).abs().max() <= 1e-5 * whole[key].abs().max(), key


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_forward_readings_are_bit_for_bit_those_of_the_forward_pass(net, small, name, precision):
    rows, task = encoded(net, small, name, np.arange(80)), small[name]
    pairs = zip(
        prediction.outputs(net, rows, task, precision, ready=bf16_inference.prepare(net, precision)),
        row_signals.over_rows(net, rows, task, ["features", "logits", "loss"], precision=precision),
        strict=True,
    )
    for (index, output), (same, signals) in pairs:
        assert index.tolist() == same.tolist()
        assert torch.equal(output.features, signals["features"])
        assert torch.equal(output.discriminator, signals["logits"])
        batch = batching.to_batch(rows, index, task, net.columns[name], net.pad_id)
        assert torch.equal(head_importance.example_losses(net, batch, output.logits), signals["loss"])


def test_the_model_is_left_as_found(net, small, probe):
    net.train()
    batch = multitask.collate([small["topic_side"].train[i] for i in range(4)], small["topic_side"], net)
    net.task_loss(batch, net(batch).logits).backward()
    before = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    for reads in (["features"], row_signals.READS):
        row_signals.read(net, batch, reads, probe=probe if "products" in reads else None)
        assert net.training
        assert all(p.requires_grad for p in net.parameters())
        assert all(torch.equal(p.grad, before[name]) for name, p in net.named_parameters() if name in before)
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    net.zero_grad()


def test_targets_are_the_mean_gradients_of_their_rows(net, small, probe):
    for at, (name, rows) in enumerate({"topic_side": range(60, 70), "word_class": range(5)}.items()):
        alone = target_gradients.Probe(net)
        batch = multitask.collate([small[name].train[i] for i in rows], small[name], net)
        assert probe.gram[at, at] == pytest.approx(alone.target([[batch]])[0, 0], rel=1e-4)


def test_a_pass_counts_forward_backward_and_weight_gradients(net, small, probe):
    def flops(reads):
        ledger = Ledger("scoring")
        aim = probe if "products" in reads else None
        for _ in row_signals.over_rows(
            net, encoded(net, small, "topic_side"), small["topic_side"], reads, probe=aim, ledger=ledger
        ):
            pass
        assert (ledger.examples, ledger.steps) == (len(ROWS), 0)
        return ledger.flops, ledger.padded_tokens

    forward, tokens = flops(["features", "loss"])
    small_batches = flops(["gate"])
    assert 1.9 * forward < small_batches[0] < 2.1 * forward  # batches are smaller, so padding differs a little
    width, layers = net.encoder.config.hidden_size, net.encoder.config.num_hidden_layers
    kv, padded = flops(["kv_rows", "kv_columns"])
    assert kv - small_batches[0] == pytest.approx(layers * 4 * width**2 * padded)
    cells = layers * (4 * width**2 + 2 * width * net.encoder.config.intermediate_size)
    products = flops(["products"])[0] - small_batches[0]
    assert products == pytest.approx(2 * cells * (padded + 3 * len(ROWS)))  # two targets and the norm
    assert tokens > 0


@pytest.mark.parametrize(
    ("reads", "words"),
    [(["gates"], "'gates' cannot be read"), ([], "nothing is asked for"), (["products"], "name rows of one task")],
)
def test_what_cannot_be_read_is_refused(net, small, reads, words):
    batch = multitask.collate([small["topic_side"].train[0]], small["topic_side"], net)
    with pytest.raises(InputError, match=words):
        row_signals.read(net, batch, reads)


def test_targets_and_labels_are_asked_for_where_they_are_needed(net, small, probe):
    batch = multitask.collate([small["topic_side"].train[i] for i in range(2)], small["topic_side"], net)
    with pytest.raises(InputError, match="nothing that is read needs them"):
        row_signals.read(net, batch, ["gate"], probe=probe)
    bare = batch | {"labels": torch.tensor([0, batching.IGNORE])}
    assert row_signals.read(net, bare, ["features"])["features"].shape == (2, 64)
    for name in ("loss", "gate"):
        with pytest.raises(InputError, match="row 1 of task 'topic_side' has no label"):
            row_signals.read(net, bare, [name])
    for rows in ({"topic_side": np.arange(0)}, {"nowhere": np.arange(3)}):
        with pytest.raises(InputError, match="needs rows of a task of the suite"):
            row_signals.targets(net, small, rows)


def test_a_broken_model_is_named(net, small):
    broken = multitask.build("tiny", small)
    with torch.no_grad():
        broken.heads["topic_side"].weight[0, 0] = torch.nan
    batch = multitask.collate([small["topic_side"].train[0]], small["topic_side"], broken)
    for reads in (["features"], ["gate"]):
        with pytest.raises(InputError, match="not finite"):
            row_signals.read(broken, batch, reads)
