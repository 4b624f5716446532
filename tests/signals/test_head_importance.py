"""Batched importance against its definition: one row at a time, autograd on the weights or on an explicit gate."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from auxlearn.data import batching
from auxlearn.errors import InputError
from auxlearn.models import fast_dropout, multitask
from auxlearn.signals import head_importance
from encoder_kinds import HEADS, LAYERS, WIDTH, built

KINDS = ["topic_side", "side_share", "word_class"]  # classification, regression, tagging


pytestmark = pytest.mark.usefixtures("one_thread")


def rows(task, n=6):
    some = sorted((task.train[i] for i in range(40)), key=lambda row: len(row[task.inputs[0]]))
    return some[:: 40 // n][:n]


def parts(kind, encoder):
    """By hand: (key weight, its rows; value weight, its rows; output module) of every layer."""
    whole, second, third = slice(0, WIDTH), slice(WIDTH, 2 * WIDTH), slice(2 * WIDTH, 3 * WIDTH)
    if kind == "distilbert":
        each = [layer.attention for layer in encoder.transformer.layer]
        return [(a.k_lin.weight, whole, a.v_lin.weight, whole, a.out_lin) for a in each]
    if kind == "modernbert":
        return [(x.attn.Wqkv.weight, second, x.attn.Wqkv.weight, third, x.attn.Wo) for x in encoder.layers]
    each = [layer.attention for layer in encoder.encoder.layer]
    return [(a.self.key.weight, whole, a.self.value.weight, whole, a.output.dense) for a in each]


def naive(kind, net, task, row):
    """All three definitions for one row, [L, H] each, from weight gradients and gates in so many words."""
    batch, layers = multitask.collate([row], task, net), parts(kind, net.encoder)
    gates = [torch.ones(HEADS, requires_grad=True) for _ in layers]

    def gate(xi):
        return lambda module, args: ((args[0].unflatten(-1, (HEADS, -1)) * xi[:, None]).flatten(-2),)

    hooks = [part[4].register_forward_pre_hook(gate(xi)) for part, xi in zip(layers, gates, strict=True)]
    weights = [w for k, _, v, _, _ in layers for w in (k, v)]
    loss = net.task_loss(batch, net(batch).logits)
    grads = torch.autograd.grad(loss, [*gates, *weights])
    for hook in hooks:
        hook.remove()
    tables = {"gate": torch.stack(grads[:LAYERS]).abs(), "kv_rows": [], "kv_columns": []}
    for number, (_, key_rows, _, value_rows, _) in enumerate(layers):
        key, value = grads[LAYERS + 2 * number][key_rows], grads[LAYERS + 2 * number + 1][value_rows]
        cells, size = key.abs() + value.abs(), WIDTH // HEADS
        tables["kv_rows"].append([cells[h * size : (h + 1) * size].mean() for h in range(HEADS)])
        tables["kv_columns"].append([cells[:, h * size : (h + 1) * size].mean() for h in range(HEADS)])
    return {name: torch.as_tensor(v) for name, v in tables.items()}


def same(measured, exact, rtol=1e-4):
    """Equal to `rtol` of each cell and, for gates that nearly cancel, a tenth of that of the row's largest cell."""
    assert measured.shape == exact.shape
    assert measured.dtype == torch.float32
    largest = exact.amax((-2, -1), keepdim=True)
    assert (largest > 0).all()
    worst = ((measured - exact).abs() / (rtol * exact + 0.1 * rtol * largest)).max().item()
    assert worst < 1, f"off by {worst:.2g} tolerances"


def padded(batch, net, more):
    def grown(name, value):
        return F.pad(batch[name], (0, more), value=value)

    longer = dict(batch, input_ids=grown("input_ids", net.pad_id), attention_mask=grown("attention_mask", 0))
    longer["token_type_ids"] = grown("token_type_ids", 0)
    if batch["labels"].dim() == 2:
        longer["labels"] = grown("labels", batching.IGNORE)
    return longer


@pytest.mark.parametrize("attention", [fast_dropout.NAME, "sdpa", "eager"])
@pytest.mark.parametrize("kind", ["bert", "roberta", "electra", "distilbert", "modernbert"])
def test_batched_is_naive_is_padded_more(kind, attention, small, tmp_path):
    net = built(kind, small, tmp_path).eval()
    assert net.encoder.config._attn_implementation == fast_dropout.NAME
    net.encoder.config._attn_implementation = attention
    for name in KINDS:
        task = small[name]
        some = rows(task)
        batch = multitask.collate(some, task, net)
        assert (batch["attention_mask"] == 0).any()
        one = [naive(kind, net, task, row) for row in some]
        whole, more = (
            head_importance.all_importances(net, batch),
            head_importance.all_importances(net, padded(batch, net, 21)),
        )
        for definition in head_importance.DEFINITIONS:
            alone = torch.stack([x[definition] for x in one])
            same(whole[definition], alone)
            same(more[definition], alone)
            same(head_importance.head_importance(net, batch, definition), alone)
        assert not torch.allclose(whole["kv_rows"], whole["kv_columns"], rtol=0.05)  # the authors' axis is another one


def test_everything_is_left_as_found(small):
    task, net = small["topic_side"], multitask.build("tiny", small)
    batch = multitask.collate(rows(task), task, net)
    net.task_loss(batch, net(batch).logits).backward()
    net.heads["side_share"].weight.requires_grad_(False)
    net.encoder.encoder.layer[0].eval()  # a mixed mode survives
    modes = [m.training for m in net.modules()]
    flags = [p.requires_grad for p in net.parameters()]
    grads = [None if p.grad is None else p.grad.clone() for p in net.parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()]
    random, bits = torch.get_rng_state(), net.source.bits.state["state"]["state"].copy()
    for dropped in (False, True):
        with torch.no_grad():
            head_importance.all_importances(net, batch, dropout=dropped)
        with pytest.raises(ValueError, match="row 1"):
            head_importance.all_importances(
                net, batch | {"labels": torch.tensor([0, -100, 0, 0, 0, 0])}, dropout=dropped
            )
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == flags
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in net.modules()] == hooks
    for p, grad in zip(net.parameters(), grads, strict=True):
        assert (p.grad is None) if grad is None else torch.equal(p.grad, grad)
    assert torch.equal(torch.get_rng_state(), random)
    assert (net.source.bits.state["state"]["state"] == bits).all()


def test_state_survives_a_failing_pass(small):
    task, net = small["topic_side"], multitask.build("tiny", small)
    batch = multitask.collate(rows(task), task, net)
    net.encoder.encoder.layer[1].attention.self.value.weight.data[0, 0] = torch.nan
    with pytest.raises(ValueError, match="row 0: its gate importance is not finite"):
        head_importance.head_importance(net, batch, "gate")
    assert net.training
    assert all(p.requires_grad and p.grad is None for p in net.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_dropout_is_a_switch_with_a_seed(small):
    task, net = small["topic_side"], multitask.build("tiny", small)
    batch = multitask.collate(rows(task), task, net)

    def measured(**options):
        return head_importance.head_importance(net, batch, "kv_rows", **options)

    plain = measured()
    assert torch.equal(plain, measured(seed=5))
    assert torch.equal(measured(dropout=True, seed=1), measured(dropout=True, seed=1))
    noisy = [measured(dropout=True, seed=s) for s in (1, 2)]
    assert not torch.allclose(noisy[0], noisy[1], rtol=0.01)
    assert not torch.allclose(noisy[0], plain, rtol=0.01)


def test_bf16_keeps_the_order_of_heads(small):
    from auxlearn.methods.gradts.correlation import kendall_tau

    task, net = small["topic_side"], multitask.build("tiny", small)
    batch = multitask.collate(rows(task), task, net)
    exact, rough = (head_importance.all_importances(net, batch, precision=p) for p in ("fp32", "bf16"))
    for name in head_importance.DEFINITIONS:
        assert rough[name].dtype == torch.float32
        assert not torch.equal(exact[name], rough[name])
        taus = kendall_tau(exact[name].mean(0).reshape(1, -1), rough[name].mean(0).reshape(1, -1))
        assert taus.item() > 0.8  # of 8 cells, so that one swapped pair costs 0.07


def test_no_weight_keeps_a_gradient_and_no_memory_stays(small):
    """A hook that held its own tensor would leave every batch's activations alive."""
    import gc

    task, net = small["topic_side"], multitask.build("tiny", small)
    batch = multitask.collate(rows(task), task, net)

    def alive():
        gc.collect()
        return sum(type(x) is torch.Tensor for x in gc.get_objects())

    head_importance.all_importances(net, batch)
    before = alive()
    for _ in range(5):
        head_importance.all_importances(net, batch)
    assert alive() == before
    assert all(p.grad is None for p in net.parameters())


def test_weight_gradients_in_small_pieces_are_the_same(small, monkeypatch):
    task, net = small["topic_side"], multitask.build("tiny", small)
    batch, width = multitask.collate(rows(task), task, net), net.encoder.config.hidden_size
    whole = head_importance.all_importances(net, batch)
    for held in (1, 4):  # one row at a time; four, and then the other two
        monkeypatch.setitem(head_importance.SCRATCH, "cpu", held * width * width * 4)
        for name, values in head_importance.all_importances(net, batch).items():
            assert torch.allclose(values, whole[name], rtol=1e-5), (held, name)


def test_masks_of_different_batches_are_independent():
    streams = {
        head_importance._stream(s, {"input_ids": torch.tensor(ids)}) for s in (0, 1) for ids in ([[2, 5]], [[2, 6]])
    }
    assert len(streams) == 4


def test_over_rows_gives_each_row_once(small):
    task, net = small["word_class"], multitask.build("tiny", small)
    some = [task.train[i] for i in range(20)]
    encoded = batching.encode(some, task, net.tokenizer)
    table, batches = np.zeros((20, 2, 4), np.float32), 0
    for index, measured in head_importance.over_rows(net, encoded, task, ("kv_rows",), budget=60):
        assert set(measured) == {"kv_rows"}
        table[index] += measured["kv_rows"].numpy()
        batches += 1
    assert batches > 2
    together = head_importance.head_importance(net, multitask.collate(some, task, net), "kv_rows")
    same(torch.from_numpy(table), together)


@pytest.mark.parametrize(("name", "value"), [("topic_side", -100), ("side_share", float("nan")), ("word_class", -100)])
def test_a_row_without_a_label_is_named(name, value, small):
    task, net = small[name], multitask.build("tiny", small)
    batch = multitask.collate(rows(task), task, net)
    batch["labels"][4] = value
    with pytest.raises(ValueError, match=f"row 4 of task '{name}' has no label"):
        head_importance.head_importance(net, batch, "gate")


def test_rows_of_one_class_are_fine(small):
    task, net = small["topic_side"], multitask.build("tiny", small)
    batch = multitask.collate(rows(task), task, net)
    batch["labels"][:] = 1
    assert (head_importance.head_importance(net, batch, "gate") > 0).any()


def test_what_cannot_be_measured_is_refused(small, tmp_path):
    task, net = small["topic_side"], multitask.build("tiny", small)
    batch = multitask.collate(rows(task), task, net)
    with pytest.raises(ValueError, match="choose from gate, kv_rows, kv_columns"):
        head_importance.head_importance(net, batch, "kv")
    with pytest.raises(ValueError, match="one task"):
        head_importance.head_importance(net, batching.join([batch, batch], net.pad_id), "gate")
    shared = built("albert", small, tmp_path)
    with pytest.raises(InputError, match="AlbertModel: heads cannot be told apart: 1 attention modules found for 3"):
        head_importance.head_importance(shared, batch, "gate")
    plain = torch.nn.Sequential(torch.nn.Linear(4, 4))
    plain.config = net.encoder.config
    with pytest.raises(InputError, match="0 attention modules"):
        head_importance.attention_layers(plain)


def test_masks_that_pytorch_draws_follow_from_the_seed_too(small, tmp_path):
    """As on a GPU, and in attention that is left to transformers; the library's own masks have a generator apart."""
    net, task = built("bert", small, tmp_path).eval(), small["topic_side"]
    batch = multitask.collate(rows(task), task, net)
    net.encoder.embeddings.register_forward_hook(lambda module, _, out: F.dropout(out, 0.3, module.training))
    measured = []
    for state in (5, 6):
        torch.manual_seed(state)
        measured.append(head_importance.head_importance(net, batch, "gate", dropout=True, seed=1))
    assert torch.equal(*measured)
