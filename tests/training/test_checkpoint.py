"""Checkpoints and step tables of trainings that are long."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from auxlearn.errors import InputError
from auxlearn.training import checkpoint
from auxlearn.training.step_table import Steps

STEPS = 1_500_000  # as JSON their losses would take 130 MB; the header of a safetensors file holds 100


@pytest.fixture(scope="module")
def steps():
    rng, table = np.random.default_rng(0), Steps()
    for phase in ("stage2", "tune"):
        tasks = np.array(["topic_side", "word_class", "mixed"])[rng.integers(0, 3, STEPS // 2)]
        table.add(phase, tasks.tolist(), rng.random((STEPS // 2, 2), np.float32))
    return table


def test_a_checkpoint_holds_a_million_steps(steps, tmp_path):
    file, weights = tmp_path / "checkpoint.safetensors", {"a": torch.arange(3.0)}
    progress = {"phase": 1, "epoch": 2, "history": [{"phase": "tune", "loss": 0.1}]}
    checkpoint.save(file, weights, None, {0: {"exp_avg": torch.ones(3)}}, progress, steps)
    saved = checkpoint.load(file, "cpu")
    assert saved.progress == progress
    assert saved.steps.names == steps.names == [(p, t) for p, t in saved.steps.names]
    assert all(np.array_equal(a, b) for a, b in zip(saved.steps.columns(), steps.columns(), strict=True))
    assert torch.equal(saved.model["a"], weights["a"])
    assert saved.best is None
    assert torch.equal(saved.optimiser[0]["exp_avg"], torch.ones(3))
    assert file.stat().st_size < 40e6


def test_progress_may_be_larger_than_a_header(tmp_path):
    file, progress = tmp_path / "checkpoint.safetensors", {"updates": ["x" * 1_000_000] * 101}
    checkpoint.save(file, {"a": torch.zeros(1)}, None, {}, progress, Steps())
    assert checkpoint.load(file, "cpu").progress == progress


def test_a_checkpoint_of_another_form_is_refused(tmp_path, steps):
    file = tmp_path / "checkpoint.safetensors"
    said = {"phase": 0, "epoch": 1, "history": [], "looks": [], "steps": [], "chosen": {}, "ledgers": []}
    text = torch.tensor(list(json.dumps({"progress": said, "steps": [["a", "b"]]}).encode()), dtype=torch.uint8)
    sound = {
        "progress": text,
        "steps/codes": torch.zeros(2, dtype=torch.int32),
        "steps/losses": torch.zeros(2, 2).double(),
    }
    save_file(sound, file)
    assert checkpoint.load(file, "cpu").steps[1] == {"phase": "a", "task": "b", "task_loss": 0, "disc_loss": 0}
    wrong = [
        ({}, {"progress": json.dumps(said)}),  # the form of earlier versions
        (sound | {"steps/codes": torch.ones(2, dtype=torch.int32)}, None),
        (sound | {"steps/codes": torch.zeros(3, dtype=torch.int32)}, None),
        (sound | {"steps/losses": torch.zeros(2, 2)}, None),
        (sound | {"progress": text.float()}, None),
        (sound | {"progress": text[:-1].clone()}, None),
        (sound | {"other": torch.zeros(1)}, None),
    ]
    for tensors, metadata in wrong:
        save_file(tensors, file, metadata)
        with pytest.raises(InputError, match=r"not a checkpoint.*begins anew"):
            checkpoint.load(file, "cpu")


def test_steps_are_rows_and_a_parquet_table(tmp_path):
    table = Steps()
    table.add("a", ["x", "y"], np.array([[1.0, 0.0], [2.0, 0.5]]))
    table.add("b", ["x"], np.array([[3.0, 0.0]]))
    rows = [
        {"phase": "a", "task": "x", "task_loss": 1.0, "disc_loss": 0.0},
        {"phase": "a", "task": "y", "task_loss": 2.0, "disc_loss": 0.5},
        {"phase": "b", "task": "x", "task_loss": 3.0, "disc_loss": 0.0},
    ]
    assert list(table) == rows == table
    assert (table[-1], table[1:], len(table)) == (rows[2], rows[1:], 3)
    table.write(tmp_path / "steps.parquet")
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "steps.parquet"), pd.DataFrame(rows))
    Steps().write(tmp_path / "none.parquet")
    assert pd.read_parquet(tmp_path / "none.parquet").columns.tolist() == list(rows[0])
