"""Steps and passes on PyTorch's meta device, whose tensors have shapes and no values.

Whatever reads a value off it raises, as it would make a GPU wait; so does mixing its tensors with the CPU's. Reads that
belong there (losses at the end of an epoch, results that were asked for) are left out of what is run.
"""

import sys
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

import encoder_kinds
from auxlearn import seeding
from auxlearn.data import batching
from auxlearn.methods.tawt import weighted_trainer
from auxlearn.models import devices, fast_dropout, multitask
from auxlearn.signals import example_gradients, head_importance, row_signals, target_gradients
from auxlearn.training import prediction, train
from auxlearn.training.phases import Phase, Plan, Recipe, Weighting
from helpers import with_long_sentences

RECIPE = Recipe(lr=1e-3, batch_size=8)
ROWS = {"topic_side": np.arange(16), "side_share": np.arange(20), "word_class": np.arange(12)}
OTHERS = ("topic_name", "topic_mixed", "away_topic", "cross_group", "look_alike")
EVERY = ROWS | {name: np.arange(8) for name in OTHERS}
THIRD = (1 / 3, 1 / 3, 1 / 3)
KINDS = ("topic_side", "side_share", "word_class")  # classification, regression, tagging
COPIES = ("aten::_to_copy", "aten::copy_")

pytestmark = pytest.mark.usefixtures("one_thread")


class Apart(TorchDispatchMode):
    """Refuses an operation on tensors of both devices, which meta kernels let pass; and lists all operations."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor) and x.dim()]
        self.seen.append(function.name().partition(".")[0])
        if self.seen[-1] not in COPIES and len({x.device.type for x in tensors}) > 1:
            raise RuntimeError(f"{function.name()} mixes {[(x.device.type, list(x.shape)) for x in tensors]}")
        return function(*args, **(kwargs or {}))


@pytest.fixture
def apart(monkeypatch):
    """Within it devices are held apart; autocast, which knows no meta device, does nothing there."""
    autocast = torch.autocast
    monkeypatch.setattr(
        torch, "autocast", lambda kind, *a, **k: nullcontext() if kind == "meta" else autocast(kind, *a, **k)
    )
    optim = sys.modules["torch.optim.optimizer"]
    fused = optim._get_fused_kernels_supported_devices()
    monkeypatch.setattr(optim, "_get_fused_kernels_supported_devices", lambda: [*fused, "meta"])
    with Apart() as mode:
        yield mode


@pytest.fixture(scope="module")
def small(small):
    return with_long_sentences(small)


@pytest.fixture
def net(small):
    return multitask.build("tiny", small, max_length=32).to("meta").eval()


def encoded(net, small, name, rows=12):
    return batching.encode(small[name].train.select(range(rows)), small[name], net.tokenizer, net.max_length)


def batch_of(net, small, name, index=range(8)):
    rows = encoded(net, small, name)
    return batching.to_batch(rows, np.array(index), small[name], net.columns[name], net.pad_id)


# --- that the device tells ------------------------------------------------------------------------------------------


def test_a_read_and_a_mixture_of_devices_raise(apart):
    there = torch.zeros(3, 4, device="meta")
    for read in (lambda: bool((there > 0).all()), lambda: there.sum().item(), lambda: there.cpu()):
        with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
            read()
    for mixed in (lambda: there @ torch.zeros(4, 2), lambda: there[torch.arange(3)], lambda: there + torch.zeros(3, 4)):
        with pytest.raises(RuntimeError, match="mixes"):
            mixed()


def test_transformers_own_mask_asks_the_device(net, small, apart):
    net.encoder.config._attn_implementation = "sdpa"
    with pytest.raises(RuntimeError, match="meta"):
        net(batch_of(net, small, "topic_side"))


# --- a step of each kind --------------------------------------------------------------------------------------------

STEPS = {
    "one task": Phase("joint", ROWS, 1, RECIPE),
    "mixed": Phase("joint", ROWS, 1, RECIPE, mixing="mixed", loss_scale="log_classes"),
    "bce": Phase("joint", EVERY, 1, RECIPE, discriminator="bce"),
    "ce, mixed": Phase("joint", ROWS, 1, RECIPE, discriminator="ce", mixing="mixed"),
    "adamax, idle heads": Phase("joint", ROWS, 1, replace(RECIPE, optimiser="adamax", idle_heads="coasts")),
    "weight decay": Phase("joint", ROWS, 1, replace(RECIPE, weight_decay=0.01)),
    "weighted": Phase("joint", ROWS, 1, RECIPE, weighting=Weighting(THIRD, "fixed")),
    "scaled": Phase("joint", ROWS, 1, RECIPE, weighting=Weighting(THIRD, "fixed", combine="scaled")),
    "reused": Phase(
        "joint", ROWS, 1, RECIPE,
        weighting=Weighting(THIRD, combine="scaled_then_clipped", estimator="reused", chunks=2, chunk_rows=4),
    ),
    "aggregated": Phase(
        "joint", ROWS, 1, RECIPE,
        weighting=Weighting(THIRD, "fixed", combine="aggregated", policy="mean_gradient", options={}),
    ),
    "by losses": Phase("joint", ROWS, 1, RECIPE, weighting=Weighting(THIRD, "losses", 1, policy="famo", options={})),
    "by norms": Phase(
        "joint", ROWS, 1, RECIPE,
        weighting=Weighting(THIRD, "losses", 1, combine="aggregated", policy="gradnorm", options={}),
    ),
}  # fmt: skip


def given_target(probe, chunks):
    """Take a probe's target gradient, but for what is read of it in the end."""
    probe._target = probe._buffer(probe._target, len(chunks), len(chunks))
    table = probe._measure(chunks, None, probe._target)
    assert table.shape == (len(chunks), len(chunks))
    probe.gram = np.eye(len(chunks))
    return probe.gram


@pytest.mark.parametrize("kind", STEPS)
def test_an_epoch_of_steps_reads_nothing_off_the_device(small, apart, monkeypatch, kind):
    plan = Plan("tiny", (STEPS[kind],), seeding.record(0), "topic_side", holdout=np.arange(50, 62), max_length=32)
    made = weighted_trainer._Weigher if STEPS[kind].weighting else train.Trainer
    trainer = made(replace(plan, device="meta"), small, None, print)
    steps = []
    monkeypatch.setattr(made, "_values", lambda self, running, epoch, batches, losses: (
        ["mixed"] * len(steps.append(losses) or losses), np.zeros((len(losses), 2))
    ))  # fmt: skip
    monkeypatch.setattr(target_gradients.Probe, "target", given_target)
    monkeypatch.setattr(weighted_trainer._Weigher, "_update", lambda self, running, done: None)
    trainer._phase(0, STEPS[kind], None)
    (losses,) = steps
    assert len(losses) == trainer.ledgers[0].steps > 5
    assert {loss.device.type for loss in losses} == {"meta"}
    if kind == "reused":
        reads = [read for own in trainer.reads.values() for read in own]
        assert len(reads) == len(losses)
        assert {(tuple(read.shape), read.device.type) for read in reads} == {((3,), "meta")}


def test_rows_without_a_label_are_left_out_without_asking_the_device(net, small, apart):
    for name in KINDS:
        batch = batch_of(net, small, name)
        batch["labels"][1] = float("nan") if name == "side_share" else batching.IGNORE
        assert net.task_loss(batch, net(batch).logits).device.type == "meta"


# --- passes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_a_scoring_pass_reads_nothing_before_its_end(net, small, apart, name):
    rows = encoded(net, small, name)
    passed = prediction.outputs(net, rows, small[name])
    seen = next(passed)[1]
    assert seen.features.device.type == "meta"
    with pytest.raises(RuntimeError, match="meta"):  # the check of all batches together
        next(passed)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dropout", [False, True])
def test_head_importance_reads_nothing_before_its_end(net, small, apart, name, dropout):
    passed = head_importance.over_rows(net, encoded(net, small, name), small[name], budget=64, dropout=dropout)
    for _ in range(3):
        assert {values.device.type for values in next(passed)[1].values()} == {"meta"}


@pytest.mark.parametrize("name", KINDS)
def test_everything_that_a_pass_can_read_comes_without_waiting(net, small, apart, name):
    probe = target_gradients.Probe(net)
    given_target(probe, [[batch_of(net, small, "topic_side", range(0, 4))], [batch_of(net, small, "topic_side")]])
    passed = row_signals.over_rows(
        net, encoded(net, small, name), small[name], row_signals.READS, probe=probe, budget=64
    )
    for _ in range(2):
        _, values = next(passed)
        assert values["dots"].shape == (len(values["squares"]), 2)
        assert {value.device.type for value in values.values()} == {"meta"}


def test_example_gradients_of_adam_s_steps(net, small, apart):
    probe = target_gradients.Probe(net, "linear")
    given_target(probe, [[batch_of(net, small, "topic_side")]])
    probe.take_moments({})
    verdicts = devices.Verdicts()
    row_signals.read(net, batch_of(net, small, "topic_side"), ["cosines"], probe=probe, verdicts=verdicts)
    assert len(verdicts.pending) == 2  # logits, products
    with pytest.raises(RuntimeError, match="meta"):
        example_gradients.products(probe, batch_of(net, small, "topic_side"))


def test_products_take_a_few_calls_however_many_parameters_there_are(net, small, apart):
    probe = target_gradients.Probe(net)
    given_target(probe, [[batch_of(net, small, "topic_side")]])
    for p in net.parameters():
        p.grad = torch.zeros_like(p)
    before = len(apart.seen)
    assert probe.read().shape == (2,)
    launched = [name for name in apart.seen[before:] if name in ("aten::bmm", "aten::mm", "aten::mv", "aten::dot")]
    assert len(launched) <= 4 < len(probe.named)


@pytest.mark.parametrize("kind", ["roberta", "electra", "distilbert", "modernbert", "xlm-roberta"])  # MPNet has no SDPA
def test_encoders_of_other_families_are_run_without_asking_the_device(small, tmp_path, apart, kind):
    net = encoder_kinds.built(kind, small, tmp_path).to("meta")
    for index in (range(8), [0]):  # one row alone has no padding
        batch = batch_of(net, small, "topic_side", index)
        net.task_loss(batch, net(batch).logits).backward()


# --- that the other ways give the same ------------------------------------------------------------------------------


def test_the_mask_that_is_prepared_is_the_one_that_transformers_makes():
    """Asked on the CPU, with the look at the device's values left out, by every kind of padding and of attention."""
    from transformers import masking_utils as hf

    bidirectional, causal = hf.bidirectional_mask_function, hf.causal_mask_function
    near = hf.and_masks(bidirectional, hf.sliding_window_bidirectional_overlay(2))
    sdpa = hf.ALL_MASK_ATTENTION_FUNCTIONS["sdpa"]
    padded, whole = torch.ones(3, 6, dtype=torch.bool), torch.ones(3, 6, dtype=torch.bool)
    padded[1, 4:] = False

    class Elsewhere(torch.Tensor):
        """A tensor of the CPU that says it is on a GPU."""

        device = torch.device("cuda")

    for function in (bidirectional, causal, near):
        for given in (padded, whole):
            options = {"batch_size": 3, "q_length": 6, "kv_length": 6, "mask_function": function, "device": "cpu"}
            expected = sdpa(**options, attention_mask=given, allow_is_causal_skip=False)
            with fast_dropout.padding(not given.all()):
                there = given.as_subclass(Elsewhere)
                mask = fast_dropout.mask(**options, attention_mask=there, allow_is_causal_skip=False)
            assert torch.equal(torch.as_tensor(mask).as_subclass(torch.Tensor), expected)
    with fast_dropout.padding(False):  # nothing is masked: none is needed
        options = {"mask_function": bidirectional, "allow_is_causal_skip": False}
        there = whole.as_subclass(Elsewhere)
        size = {"batch_size": 3, "q_length": 6, "kv_length": 6}
        assert fast_dropout.mask(**size, **options, attention_mask=there, allow_is_bidirectional_skip=True) is None


def test_products_in_a_few_calls_are_those_in_many(monkeypatch):
    monkeypatch.setattr(target_gradients, "BLOCK", 16)
    for size in (5, 16, 80, 93):
        rows, g = torch.randn(3, size), torch.randn(size)
        assert torch.allclose(target_gradients._stacked(rows, g), (rows.double() @ g.double()), atol=1e-5)


def test_a_tagging_row_s_loss_is_the_same_by_either_kernel(small, monkeypatch):
    """The CPU's is of three axes, which a GPU has no deterministic kernel for; the other joins two of them."""
    net = multitask.build("tiny", small, max_length=32).eval()
    batch = batch_of(net, small, "word_class")
    logits = net(batch).logits.detach()
    expected = head_importance.example_losses(net, batch, logits)
    assert torch.allclose(head_importance._token_losses(logits, batch["labels"]).sum(1) / (
        (batch["labels"] != batching.IGNORE).sum(1)), expected, rtol=1e-6)  # fmt: skip
