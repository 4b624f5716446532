"""Early exit: the states after a proxy's first layers are those of the whole proxy."""

import numpy as np
import pandas as pd
import pytest
import torch

from auxlearn import seeding
from auxlearn.cost import Ledger, encoder_flops
from auxlearn.data import batching
from auxlearn.errors import InputError
from auxlearn.methods.fastmtl import early_exit
from auxlearn.records import runs
from auxlearn.signals import pass_store, pool_pass
from auxlearn.training import phases, training_cache


@pytest.fixture
def trained(small):
    rows = {name: np.arange(16) for name in small.names}
    phase = phases.Phase("proxy", rows, 1, phases.Recipe(1e-3), "bce", 1.0)
    plan = phases.Plan(phases=(phase,), encoder="tiny", seeds=seeding.record(0), keep_model=True, max_length=32)
    return plan, training_cache.trained(plan, small).manifest


def test_states_are_those_of_the_whole_model(small, trained):
    """Row by row, in the order asked for, whatever rows they are batched with; computed once."""
    plan, training = trained
    names = [small.names[2], small.names[0]]
    rows = pd.DataFrame({"task": names * 9, "row": np.arange(18)[::-1]})
    manifest, made = early_exit.states(training, plan, small, rows, [1])
    net = pass_store.load_model(training, plan, small)
    for i, (name, row) in enumerate(zip(rows["task"], rows["row"], strict=True)):
        encoded = batching.encode(small[name].train.select([row]), small[name], net.tokenizer, net.max_length)
        batch = batching.to_batch(encoded, np.array([0]), small[name], net.columns[name], net.pad_id)
        with torch.inference_mode():
            inputs = {k: batch[k] for k in ("input_ids", "attention_mask", "token_type_ids")}
            wanted = net.encoder(**inputs, output_hidden_states=True).hidden_states[1].mean(1)
        assert made[1][i] == pytest.approx(wanted[0].numpy(), abs=2e-3)  # kept in fp16
    before = manifest.path("layer_1.npy").stat().st_mtime_ns
    again, _ = early_exit.states(training, plan, small, rows, [1])
    assert again.key == manifest.key
    assert again.path("layer_1.npy").stat().st_mtime_ns == before


def test_an_interrupted_pass_goes_on_with_the_shards_that_are_missing(small, trained, monkeypatch):
    plan, training = trained
    rows = pd.DataFrame({"task": small.names[0], "row": np.arange(20)})
    monkeypatch.setattr(pool_pass, "SHARD", 8)
    fill, filled = pool_pass.PoolPass.fill, []

    def until(self, shard, *rest):
        if len(filled) == 2:
            raise KeyboardInterrupt
        fill(self, shard, *rest)
        filled.append(shard.place)

    with monkeypatch.context() as patch:
        patch.setattr(pool_pass.PoolPass, "fill", until)
        with pytest.raises(KeyboardInterrupt):
            early_exit.states(training, plan, small, rows, [0, 1])
        filled[:] = [None]  # room for the one that is left, and for no other
        manifest, made = early_exit.states(training, plan, small, rows, [0, 1])
    assert filled == [None, 16]
    assert Ledger.from_dict(manifest.ledger[0]).examples == 20
    monkeypatch.undo()
    net = early_exit.first_layers(training, _short(plan), small)
    task = small[small.names[0]]
    encoded = batching.encode(task.train.select(range(20)), task, net.tokenizer, 32)
    batch = batching.to_batch(encoded, np.arange(20), task, net.columns[task.name], net.pad_id)
    for layer, values in early_exit.pooled(net, batch, [0, 1]).items():
        assert made[layer] == pytest.approx(values.detach().numpy(), abs=2e-3)


def test_only_the_first_layers_are_run_and_charged(small, trained):
    plan, training = trained
    rows = pd.DataFrame({"task": small.names[0], "row": np.arange(20)})
    manifest, _ = early_exit.states(training, plan, small, rows, [1])
    ledger = Ledger.from_dict(manifest.ledger[0])
    net = pass_store.load_model(training, plan, small)
    encoded = batching.encode(small[small.names[0]].train.select(range(20)), small[small.names[0]], net.tokenizer, 32)
    assert ledger.examples == 20
    assert ledger.tokens == encoded.lengths.sum()
    longest = np.full(20, encoded.lengths.max())
    whole = encoder_flops(net.encoder.config, longest, False)
    assert ledger.flops == pytest.approx(whole / 2)  # one of two layers
    assert len(early_exit.first_layers(training, _short(plan), small).encoder.encoder.layer) == 1


def _short(plan):
    from dataclasses import replace

    return replace(plan, encoder="tiny:1")


@pytest.mark.parametrize("layers", [[], [-1], [3]])
def test_layers_that_are_not_there(small, trained, layers):
    plan, training = trained
    with pytest.raises(InputError, match="layer"):
        early_exit.states(training, plan, small, pd.DataFrame({"task": small.names[0], "row": [0]}), layers)


def test_another_model_s_weights_are_refused(small, trained, tmp_path):
    plan, training = trained
    from safetensors.torch import load_file, save_file

    kept = load_file(training.path("model.safetensors"))
    (tmp_path / "other").mkdir()
    save_file({k: v for k, v in kept.items() if "layer.0" not in k}, tmp_path / "other" / "model.safetensors")
    other = runs.Manifest(training.data, tmp_path / "other")
    with pytest.raises(InputError, match="holds no"):
        early_exit.first_layers(other, _short(plan), small)
