import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from auxlearn import cost


def test_flops_by_hand():
    """One layer, width 4, feed-forward 8, one sequence of 3: 8*3*16 + 4*9*4 + 4*3*4*8."""
    config = SimpleNamespace(hidden_size=4, num_hidden_layers=1, intermediate_size=8)
    forward = 8 * 3 * 16 + 4 * 9 * 4 + 4 * 3 * 4 * 8
    assert cost.encoder_flops(config, [3], training=False) == forward
    assert cost.encoder_flops(config, [3, 3], training=True) == 6 * forward


@pytest.mark.parametrize("length", [16, 128])
def test_flops_agree_with_the_counter_on_meta(length):
    """PyTorch's own counter, with attention written out as matrix products so that it sees them."""
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import BertConfig, BertModel

    config = BertConfig(num_hidden_layers=2, hidden_size=64, num_attention_heads=4, intermediate_size=128)
    config._attn_implementation = "eager"
    with torch.device("meta"):
        body = BertModel(config, add_pooling_layer=False)
        ids = torch.zeros(5, length, dtype=torch.long)
    with FlopCounterMode(display=False) as counter:
        body(ids, attention_mask=torch.zeros(5, 1, length, length, device="meta"))
    assert cost.encoder_flops(config, [length] * 5, training=False) == counter.get_total_flops()


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


def test_energy_is_what_the_first_device_used_meanwhile(monkeypatch):
    """Of two devices, by counters in millijoules; a device without a counter leaves the ledger without energy."""
    used = {0: 5_000, 1: 70_000}
    driver = SimpleNamespace(
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda at: at,
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: used[handle],
    )
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    for name in ("reset_peak_memory_stats", "synchronize"):
        monkeypatch.setattr(torch.cuda, name, lambda: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda: 123)
    ledger = cost.Ledger("x")
    with cost.Meter(ledger, "cuda") as same:
        used[0] += 2_500
        used[1] += 9_000
    assert (same.joules, same.peak_bytes) == (2.5, 123)
    del used[0]
    with cost.Meter(cost.Ledger("y"), "cuda") as bare:
        pass
    assert bare.joules is None


def test_joules_are_added_where_they_were_read_and_unknown_where_they_never_were():
    rows = [cost.Ledger("proxy", joules=2.0), cost.Ledger("proxy"), cost.Ledger("proxy", joules=0.5)]
    assert cost.total("proxy", rows).joules == 2.5
    assert cost.total("proxy", rows[1:2]).joules is None
