"""Passes on a GPU whose memory is too small for a batch, with a stand-in: the forward pass says so of many tokens."""

import warnings

import numpy as np
import pytest
import torch

from auxlearn.cost import Ledger
from auxlearn.data import batching
from auxlearn.errors import InputError
from auxlearn.methods.fastmtl import early_exit
from auxlearn.models import devices, multitask
from auxlearn.signals import head_importance, row_signals, target_gradients
from auxlearn.training import prediction

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def memory(monkeypatch):
    """Padded tokens that the GPU has memory for, to be set by the test; and what was tried, in rows."""
    found = {"tokens": 10**9, "tried": []}
    forward = multitask.MultiTaskModel.inputs

    def inputs(self, batch):
        found["tried"].append(len(batch["input_ids"]))
        if batch["input_ids"].numel() > found["tokens"]:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, batch)

    monkeypatch.setattr(multitask.MultiTaskModel, "inputs", inputs)
    monkeypatch.setattr(devices, "HALVINGS", {})
    return found


@pytest.fixture(scope="module")
def net(small):
    return multitask.build("tiny", small, max_length=32).eval()


@pytest.fixture(scope="module")
def rows(net, small):
    return batching.encode(small["topic_side"].train.select(range(30)), small["topic_side"], net.tokenizer, 32)


def passes(net, task, rows, ledger):
    reader = early_exit._reader(net, [1], "fp32")
    return {
        "scoring": lambda: ((i, {"f": o.features}) for i, o in prediction.outputs(net, rows, task, ledger=ledger)),
        "exits": lambda: reader(rows, task, ledger),
        "head importance": lambda: head_importance.over_rows(net, rows, task, budget=10**6),
        "row gradients": lambda: row_signals.over_rows(net, rows, task, ["gate", "loss"], budget=10**6, ledger=ledger),
    }


def gathered(batches):
    order, values = [], {}
    for index, batch in batches:
        order += index.tolist()
        for name, block in batch.items():
            values.setdefault(name, []).append(block)
    back = np.argsort(order)
    assert sorted(order) == list(range(30))
    return {name: torch.cat(blocks)[back] for name, blocks in values.items()}


@pytest.mark.parametrize("name", ["scoring", "exits", "head importance", "row gradients"])
def test_batches_are_halved_until_they_fit_and_it_is_said_once(net, small, rows, memory, name):
    ledger = Ledger("pass")
    run = passes(net, small["topic_side"], rows, ledger)[name]
    expected = gathered(run())
    whole, memory["tried"][:] = memory["tried"].copy(), []
    assert whole == [30]
    charged, ledger.examples, ledger.tokens = (ledger.examples, ledger.tokens), 0, 0
    memory["tokens"] = 9 * int(rows.lengths.max())
    with pytest.warns(UserWarning, match="30 rows do not fit in the GPU's memory") as said:
        found = gathered(run())
    assert len(said) == 1
    assert memory["tried"] == [30, 15, 8, 7, 8, 7]
    assert (ledger.examples, ledger.tokens) == charged  # what did not fit is not charged
    for kind, values in expected.items():
        assert torch.allclose(values, found[kind], rtol=1e-3, atol=1e-6)
    memory["tried"].clear()
    with warnings.catch_warnings():  # the next pass begins where this one ended, and says nothing
        warnings.simplefilter("error")
        gathered(run())
    assert memory["tried"] == [8, 8, 7, 7]


def test_a_row_that_does_not_fit_alone_is_an_error_with_its_remedy(net, small, rows, memory):
    memory["tokens"] = 3
    hooks = [len(module._forward_hooks) for module in net.modules()]
    with (
        pytest.warns(UserWarning, match="do not fit"),
        pytest.raises(InputError, match=r"scoring: one row alone .* lower max_length"),
    ):
        list(prediction.outputs(net, rows, small["topic_side"]))
    assert not net.training
    with (
        pytest.warns(UserWarning, match="do not fit"),
        pytest.raises(InputError, match="head importance: one row alone"),
    ):
        list(head_importance.over_rows(net, rows, small["topic_side"]))
    assert all(p.requires_grad for p in net.parameters())
    assert [len(module._forward_hooks) for module in net.modules()] == hooks


@pytest.mark.parametrize("task", ["topic_side", "word_class", "side_share"])
def test_a_target_s_gradient_is_measured_in_batches_that_fit(net, small, memory, task):
    """Begun anew: what a batch has left of its gradient before memory was too small counts once."""
    chunks = [
        [multitask.collate(small[task].train.select(at), small[task], net) for at in (range(10), range(10, 30))],
        [multitask.collate(small[task].train.select(range(30, 42)), small[task], net)],
    ]
    probe = target_gradients.Probe(net)
    expected = probe.target(chunks)
    memory["tried"].clear()
    memory["tokens"] = max(batch["input_ids"].shape[1] for chunk in chunks for batch in chunk) * 10
    with pytest.warns(UserWarning, match="targets' gradients: 20 rows do not fit") as said:
        found = probe.target(chunks)
    assert len(said) == 1
    assert memory["tried"] == [10, 20, 5, 5, 10, 10, 6, 6]
    assert found == pytest.approx(expected, rel=1e-4)
    moments = probe.source(chunks)  # TAWT's probe, on the same path
    assert np.diag(moments.dots) == pytest.approx(np.diag(expected), rel=1e-4)


def test_half_a_batch_without_labels_is_left_out(net, small, memory):
    task = small["word_class"]
    batch = multitask.collate(task.train.select(range(6)), task, net)
    batch["labels"][:3] = batching.IGNORE
    probe = target_gradients.Probe(net)
    expected = probe.target([[batch]])
    memory["tokens"] = 3 * batch["input_ids"].shape[1]
    with pytest.warns(UserWarning, match="do not fit"):
        assert probe.target([[batch]]) == pytest.approx(expected, rel=1e-4)
    memory["tokens"] = 3
    with pytest.raises(InputError, match="targets' gradients: one row alone"):
        probe.target([[batch]])
    assert all(p.grad is None for p in net.parameters())
