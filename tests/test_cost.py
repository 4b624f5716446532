import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import encoder_kinds
from auxlearn import cost
from auxlearn.models import encoders


def test_flops_by_hand():
    """One layer, width 4, feed-forward 8, one sequence of 3: 8*3*16 + 4*9*4 + 4*3*4*8."""
    config = SimpleNamespace(hidden_size=4, num_hidden_layers=1, intermediate_size=8)
    forward = 8 * 3 * 16 + 4 * 9 * 4 + 4 * 3 * 4 * 8
    assert cost.encoder_flops(config, [3], training=False) == forward
    assert cost.encoder_flops(config, [3, 3], training=True) == 6 * forward


# Of each kind of encoder: what torch counts beside the layers' own products, by the module that makes them.
ASIDE = {"albert": "encoder.embedding_hidden_mapping_in", "electra": "embeddings_project"}
KINDS = (
    "bert", "roberta", "xlm-roberta", "electra", "distilbert", "albert", "mpnet", "modernbert", "deberta-v2",
    "deberta-v3", "xlnet",
)  # fmt: skip


def counted_by_torch(body, rows, length):
    """FLOPs of a forward pass by PyTorch's own counter, without poolers and the embeddings' projections.

    Attention is "eager", written out as matrix products so that the counter sees them.
    """
    from torch.utils.flop_counter import FlopCounterMode

    body.set_attn_implementation("eager")
    ids, kind = torch.ones(rows, length, dtype=torch.long), body.config.model_type
    given = {"attention_mask": torch.ones_like(ids)}
    if kind in ("bert", "albert", "electra", "xlnet"):
        given["token_type_ids"] = torch.zeros_like(ids)
    with FlopCounterMode(display=False, depth=9) as counter, torch.no_grad():
        body.eval().requires_grad_(False)(ids, **given)
    by_module = {name: sum(each.values()) for name, each in counter.get_flop_counts().items()}
    aside = [f"{type(body).__name__}.{name}" for name in ("pooler", ASIDE.get(kind, "pooler"))]
    return by_module["Global"] - sum(by_module.get(name, 0) for name in dict.fromkeys(aside))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("rows", "length"), [(5, 16), (2, 48)])
def test_flops_of_every_kind_of_encoder_agree_with_torch_s_counter(kind, rows, length):
    body = encoder_kinds.body(kind, 50)
    seen = counted_by_torch(body, rows, length)
    if kind.startswith("deberta"):  # positions are projected once for a batch, whatever rows it has
        span = {"deberta-v2": 64, "deberta-v3": 16}[kind]
        seen -= encoder_kinds.LAYERS * 2 * 2 * (2 * span) * encoder_kinds.WIDTH**2
    assert cost.encoder_flops(body.config, [length] * rows, training=False) == seen


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("albert", "deberta-v2", "deberta-v3", "xlnet")])
@pytest.mark.parametrize("frozen", [1, 2])
def test_flops_of_training_above_frozen_layers_agree_with_torch_s_counter(kind, frozen):
    """A step of six texts: all layers forward, and back through those above the frozen ones alone."""
    from torch.utils.flop_counter import FlopCounterMode

    body = encoder_kinds.body(kind, 50)
    body.set_attn_implementation("eager")
    encoders.freeze(body, frozen)
    ids = torch.ones(6, 14, dtype=torch.long)
    with FlopCounterMode(display=False, depth=9) as counter:
        body(ids, attention_mask=torch.ones_like(ids)).last_hidden_state.sum().backward()
    by_module = {name: sum(each.values()) for name, each in counter.get_flop_counts().items()}
    aside = [f"{type(body).__name__}.{name}" for name in ("pooler", ASIDE.get(kind, "pooler"))]
    seen = by_module["Global"] - sum(by_module.get(name, 0) for name in dict.fromkeys(aside))
    assert cost.encoder_flops(body.config, [14] * 6, True, frozen) == seen
    ledger = cost.Ledger("x")
    ledger.add_batch(body.config, np.full(6, 9), 14, True, frozen)
    assert (ledger.flops, ledger.steps, ledger.examples) == (seen, 1, 6)


def test_layers_that_albert_holds_in_a_group_count_each():
    from transformers import AlbertConfig, AlbertModel

    body = AlbertModel(AlbertConfig(vocab_size=50, embedding_size=16, inner_group_num=2, **encoder_kinds.COMMON))
    assert cost.encoder_flops(body.config, [20] * 3, training=False) == counted_by_torch(body, 3, 20)


def test_what_is_left_out_of_deberta_is_little_of_a_usual_batch():
    """deberta-v3-small's shape: 6 layers, 768 wide, 256 positions to a side; 32 sequences of 128 tokens."""
    config = SimpleNamespace(
        model_type="deberta-v2", hidden_size=768, num_hidden_layers=6, intermediate_size=3072, relative_attention=True,
        position_buckets=256, max_relative_positions=-1, max_position_embeddings=512, pos_att_type=["p2c", "c2p"],
    )  # fmt: skip
    left_out = 6 * 2 * 2 * 512 * 768**2
    assert left_out / cost.encoder_flops(config, [128] * 32, False) < 0.02
    assert left_out / cost.encoder_flops(config, [128], False) > 0.3  # but much of a row alone


def test_bert_base_at_128_costs_what_is_known():
    """22.35 GFLOP a sequence forward."""
    config = SimpleNamespace(hidden_size=768, num_hidden_layers=12, intermediate_size=3072)
    assert cost.encoder_flops(config, [128], False) / 1e9 == pytest.approx(22.35, abs=0.01)


def test_ledger_counts_batches_and_survives_a_round_trip():
    config = SimpleNamespace(hidden_size=4, num_hidden_layers=1, intermediate_size=8)
    ledger = cost.Ledger("stage2")
    ledger.add_batch(config, np.array([3, 2]), 3, training=True)
    ledger.add_batch(config, np.array([2]), 2, training=False)
    assert (ledger.examples, ledger.tokens, ledger.padded_tokens, ledger.steps) == (3, 7, 8, 1)
    assert cost.Ledger.from_dict(ledger.as_dict()) == ledger


def test_meter_adds_time_and_peak_memory():
    ledger = cost.Ledger("x")
    with cost.Meter(ledger) as same:
        assert same is ledger
        time.sleep(0.02)
    first = ledger.seconds
    assert 0.02 <= first < 1
    assert ledger.peak_bytes > 10 * 2**20
    with cost.Meter(ledger):
        time.sleep(0.01)
    assert ledger.seconds >= first + 0.01


@pytest.fixture
def used(monkeypatch):
    """Counters in millijoules by UUID, for the test to fill: a driver's stand-in reads them."""
    counters: dict[str, int] = {}
    driver = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: counters[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    for name in ("reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123)
    return counters


def test_energy_is_what_the_leased_device_used_meanwhile(monkeypatch, used):
    """Of two devices, by counters in millijoules; a device without a counter leaves the ledger without energy."""
    used |= {"GPU-other": 5_000, "GPU-leased": 70_000}
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda at: SimpleNamespace(uuid=["leased"][at]))
    ledger = cost.Ledger("x")
    with cost.Meter(ledger, "cuda") as same:
        used["GPU-leased"] += 2_500
        used["GPU-other"] += 9_000
    assert (same.joules, same.peak_bytes) == (2.5, 123)
    monkeypatch.setenv(cost.SHARED_DEVICE, "1")  # another process trains on it too
    with cost.Meter(cost.Ledger("y"), "cuda") as shared:
        used["GPU-leased"] += 2_500
    assert shared.joules is None
    monkeypatch.delenv(cost.SHARED_DEVICE)
    del used["GPU-leased"]
    with cost.Meter(cost.Ledger("y"), "cuda") as bare:
        pass
    assert bare.joules is None


def test_energy_of_a_training_in_processes_is_that_of_all_their_devices(used):
    used |= {"GPU-a": 5_000, "GPU-b": 70_000}
    for cards, joules in ((["GPU-a", "GPU-b"], 3.5), (["GPU-a", None], None)):
        with cost.Meter(cost.Ledger("x"), "cuda", cards) as ledger:
            used["GPU-a"] += 2_500
            used["GPU-b"] += 1_000
        assert ledger.joules == joules


def test_joules_are_added_where_they_were_read_and_unknown_where_they_never_were():
    rows = [cost.Ledger("proxy", joules=2.0), cost.Ledger("proxy"), cost.Ledger("proxy", joules=0.5)]
    assert cost.total("proxy", rows).joules == 2.5
    assert cost.total("proxy", rows[1:2]).joules is None
