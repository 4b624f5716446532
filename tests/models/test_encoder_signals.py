"""What one pass reads off a model, for ten families of encoders: early exits, rows' gradients, trimmed embeddings."""

import warnings

import numpy as np
import pandas as pd
import pytest
import torch

import encoder_kinds
from auxlearn import seeding
from auxlearn.errors import InputError
from auxlearn.methods.fastmtl import early_exit
from auxlearn.models import multitask, trimmed_embedding
from auxlearn.signals import example_gradients, head_importance, pass_store, target_gradients
from auxlearn.training import train, training_cache
from auxlearn.training.phases import Phase, Plan, Recipe
from encoder_kinds import FAMILIES

TASKS = ("topic_side", "side_share", "word_class")
NO_ROWS = {"deberta-v3": "is used twice", "albert": "is used twice", "xlnet": "belongs to XLNet"}

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def folders(small, tmp_path_factory):
    home = tmp_path_factory.mktemp("families")
    return {kind: str(encoder_kinds.own_folder(kind, small, home / kind)) for kind in FAMILIES}


@pytest.fixture(scope="module")
def three(small):
    return type(small)("three", {name: small[name] for name in TASKS}, "f")


def net_of(folder, suite):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return multitask.build(folder, suite).eval()


def batch(net, suite, name, rows):
    return multitask.collate([suite[name].train[int(i)] for i in rows], suite[name], net)


def formed(net, some, probe):
    """Every row's gradient, one at a time, by autograd alone: fp64 [B, P]."""
    params = [p for _, p in probe.named]
    rows = []
    for loss in head_importance.example_losses(net, some, net(some).logits):
        grads = torch.autograd.grad(loss, params, retain_graph=True, allow_unused=True)
        rows.append(torch.cat([(torch.zeros_like(p) if g is None else g).flatten()
                               for p, g in zip(params, grads, strict=True)]))  # fmt: skip
    return torch.stack(rows).double()


@pytest.mark.parametrize("kind", FAMILIES)
def test_rows_gradients_are_those_of_autograd_or_refused(small, folders, kind):
    """Of as many rows as a row has tokens too, where a table of positions looks like one of words."""
    net = net_of(folders[kind], small)
    probe = target_gradients.Probe(net)
    probe.target([[batch(net, small, name, range(4))] for name in TASKS])
    for name in TASKS:
        some = batch(net, small, name, [5, 9, 31, 2, 40])
        length = some["input_ids"].shape[1]
        for rows in (some, batch(net, small, name, range(length))):
            if kind in NO_ROWS:
                with pytest.raises(InputError, match=NO_ROWS[kind]):
                    example_gradients.products(probe, rows)
                continue
            dots, squares = example_gradients.products(probe, rows)
            own, targets = formed(net, rows, probe), probe._target.double()
            scale = own.norm(dim=1, keepdim=True) * targets.norm(dim=1)
            assert ((dots - own @ targets.T).abs() <= 1e-4 * scale).all()
            assert torch.allclose(squares.double(), own.square().sum(1), rtol=1e-4)


@pytest.mark.parametrize("kind", FAMILIES)
def test_early_exits_are_the_whole_model_s_states(three, folders, runs_folder, kind):
    phase = Phase("proxy", {name: np.arange(8) for name in TASKS}, 1, Recipe(1e-3, 8), "bce", 1.0)
    plan = Plan(folders[kind], (phase,), seeding.record(0), keep_model=True, max_length=32)
    training = training_cache.trained(plan, three).manifest
    rows = pd.DataFrame({"task": "side_share", "row": [3, 0, 7]})
    _, made = early_exit.states(training, plan, three, rows, [0, 2])
    net = pass_store.load_model(training, plan, three)
    for i, row in enumerate(rows["row"]):
        given = net.inputs(batch(net, three, "side_share", [row]))
        with torch.inference_mode():
            states = net.encoder(**given, output_hidden_states=True).hidden_states
        for layer in (0, 2):
            assert made[layer][i] == pytest.approx(states[layer][0].mean(0).numpy(), abs=5e-3)  # kept in fp16


@pytest.mark.parametrize("kind", FAMILIES)
def test_trained_with_the_embeddings_in_use_alone_it_is_the_same(three, folders, monkeypatch, kind):
    rows = {name: np.arange(10) for name in TASKS}
    plan = Plan(folders[kind], (Phase("joint", rows, 2, Recipe(1e-3, 8)),), seeding.record(0), max_length=32)
    monkeypatch.setattr(trimmed_embedding, "SPARED", 1 << 30)
    whole = train.run(plan, three)
    monkeypatch.setattr(trimmed_embedding, "SPARED", 1)
    trimmed = train.run(plan, three)
    assert [s["task_loss"] for s in trimmed.steps] == pytest.approx([s["task_loss"] for s in whole.steps], rel=1e-3)
    other = whole.model.state_dict()
    for name, value in trimmed.model.state_dict().items():
        torch.testing.assert_close(value, other[name], rtol=1e-2, atol=1e-4)
