"""Rows' gradients against targets, never formed: against forming every one of them."""

import pytest
import torch
from transformers import BertConfig, BertModel

from auxlearn.data import batching
from auxlearn.errors import InputError
from auxlearn.models import multitask
from auxlearn.signals import example_gradients, head_importance, target_gradients

# PyTorch's own forward-mode rules still use what it deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script:DeprecationWarning")
KINDS = ["topic_side", "side_share", "word_class"]


@pytest.fixture(scope="module")
def nets(small, tmp_path_factory):
    """Tiny, and a small encoder from a folder whose pooler the heads read; weights large enough to matter."""
    folder, models = tmp_path_factory.mktemp("encoder"), {"tiny": multitask.build("tiny", small)}
    size = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
    BertModel(BertConfig(vocab_size=len(models["tiny"].tokenizer), **size)).save_pretrained(folder)
    models["tiny"].tokenizer.save_pretrained(folder)
    models["pooler"] = multitask.build(str(folder), small)
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for net in models.values():
            for p in net.parameters():
                p += 0.05 * torch.randn(p.shape, generator=noise)
    return models


def batch(net, suite, name, rows):
    return multitask.collate([suite[name].train[int(i)] for i in rows], suite[name], net)


def aimed(net, suite, which="shared"):
    """A probe of three targets at once, one chunk each, of three tasks."""
    probe = target_gradients.Probe(net, which)
    probe.target([[batch(net, suite, name, range(4))] for name in KINDS])
    return probe


def formed(net, some, which):
    """Every row's gradient, one at a time: fp64 [B, P]."""
    net.eval()
    params = [p for _, p in target_gradients.parameters(net, which)]
    losses = head_importance.example_losses(net, some, net(some).logits)
    rows = []
    for loss in losses:
        grads = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
        rows.append(
            torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(params, grads, strict=True)])
        )
    net.train()
    return torch.stack(rows).double()


@pytest.mark.parametrize("kind", ["tiny", "pooler"])
@pytest.mark.parametrize("which", ["shared", "last_layer"])
@pytest.mark.parametrize("name", KINDS)
def test_products_are_those_of_the_formed_gradients(nets, small, kind, which, name):
    net = nets[kind]
    probe, some = aimed(net, small, which), batch(net, small, name, [5, 9, 31, 2, 40])
    dots, squares = example_gradients.products(probe, some)
    rows, targets = formed(net, some, which), probe._target.double()
    scale = rows.norm(dim=1, keepdim=True) * targets.norm(dim=1)
    assert ((dots - rows @ targets.T).abs() <= 1e-5 * scale).all()
    assert torch.allclose(squares.double(), rows.square().sum(1), rtol=1e-4)


@pytest.mark.parametrize("rows", [1, 2])
def test_how_many_rows_are_formed_at_once_changes_nothing(nets, small, monkeypatch, rows):
    net = nets["tiny"]
    probe, some = aimed(net, small), batch(net, small, "side_share", range(5))
    dots, squares = example_gradients.products(probe, some)
    monkeypatch.setitem(example_gradients.SCRATCH, "cpu", rows * net.encoder.config.hidden_size**2 * 4)
    for whole, part in zip((dots, squares), example_gradients.products(probe, some), strict=True):
        assert torch.allclose(part, whole, rtol=1e-5, atol=1e-6 * float(whole.abs().max()))


def test_a_row_is_what_it_is_alone_and_padded_otherwise(nets, small):
    net = nets["tiny"]
    probe = aimed(net, small)
    dots, squares = example_gradients.products(probe, batch(net, small, "word_class", range(12)))
    for row in (0, 7, 11):
        alone = example_gradients.products(probe, batch(net, small, "word_class", [row]))
        assert torch.allclose(dots[row], alone[0][0], rtol=1e-4, atol=1e-5 * float(squares[row].sqrt()))
        assert torch.allclose(squares[row], alone[1][0], rtol=1e-4)


def test_the_mean_row_is_the_task_and_one_target_is_what_scores_gives(nets, small):
    """For a classification, whose rows weigh alike in the batch's loss."""
    net = nets["tiny"]
    probe, some = aimed(net, small), batch(net, small, "topic_side", range(10, 20))
    dots, _ = example_gradients.products(probe, some)
    whole = probe.source([[some]]).dots[:, 0]
    assert dots.mean(0).numpy() == pytest.approx(whole, rel=1e-4, abs=1e-6)
    one = target_gradients.Probe(net)
    one.target([[batch(net, small, "topic_side", range(4))]])
    alone, _ = example_gradients.products(one, some)
    assert alone[:, 0].numpy() == pytest.approx(one.scores(some).numpy(), rel=1e-3, abs=1e-5)


def test_the_model_is_left_as_found(nets, small):
    net = nets["tiny"]
    net.train()
    some = batch(net, small, "topic_side", range(4))
    net.task_loss(some, net(some).logits).backward()
    before = {name: p.grad.clone() for name, p in net.named_parameters() if p.grad is not None}
    state = torch.random.get_rng_state()
    example_gradients.products(aimed(net, small), some)
    assert net.training
    assert all(p.requires_grad for p in net.parameters())
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(p.grad, before[name]) for name, p in net.named_parameters() if name in before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())
    net.zero_grad()


def test_what_cannot_be_told_is_refused(nets, small):
    net = nets["tiny"]
    some = batch(net, small, "topic_side", range(4))
    with pytest.raises(InputError, match="no target gradient yet"):
        example_gradients.products(target_gradients.Probe(net), some)
    probe = aimed(net, small)
    unlabelled = some | {"labels": torch.full((4,), batching.IGNORE)}
    with pytest.raises(InputError, match="has no label"):
        example_gradients.products(probe, unlabelled)
    twice = multitask.build("tiny", small)
    layers = twice.encoder.encoder.layer
    layers[1].intermediate = layers[0].intermediate
    shared = aimed(twice, small)
    with pytest.raises(InputError, match="is used twice"):
        example_gradients.products(shared, some)
    assert not any(m._forward_hooks for m in twice.modules())
    odd = multitask.build("tiny", small)
    odd.encoder.extra = torch.nn.Bilinear(2, 2, 2)
    with pytest.raises(InputError, match=r"extra.* belongs to Bilinear"):
        example_gradients.products(aimed(odd, small), some)


def test_cosines_of_a_row_with_its_own_gradient_are_one(nets, small):
    net = nets["tiny"]
    probe = target_gradients.Probe(net)
    probe.target([[batch(net, small, "topic_side", [3])]])
    dots, squares = example_gradients.products(probe, batch(net, small, "topic_side", [3, 4]))
    cosines = dots[:, 0] / (squares * float(probe.gram[0, 0])).sqrt()
    assert cosines[0] == pytest.approx(1, abs=1e-4)
    assert abs(cosines[1]) < 1


def test_a_weight_that_two_modules_share_is_refused(small):
    net = multitask.build("tiny", small)
    layers = net.encoder.encoder.layer
    layers[1].output.dense.weight = layers[0].output.dense.weight
    with pytest.raises(InputError, match=r"output\.dense\.weight' is shared by modules"):
        example_gradients.products(aimed(net, small), batch(net, small, "topic_side", range(4)))
