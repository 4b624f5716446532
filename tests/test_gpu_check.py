"""The script of `make gpu-check`, without a GPU: as a dry run at tiny size, and what it makes of wrong results."""

import json
import os
import warnings

import numpy as np
import pytest
import torch

import gpu_check
from auxlearn.cost import Ledger
from auxlearn.errors import InputError


@pytest.mark.usefixtures("one_thread")
def test_a_dry_run_goes_through_every_part_and_writes_one_file(tmp_path, capsys):
    out = tmp_path / "answer.json"
    assert gpu_check.main(["--dry-run", "--out", str(out)]) == 0
    answer = json.loads(out.read_text())
    assert answer["failed"] == []
    assert answer["dry_run"]
    assert all(part["difference"] == 0 for name, part in answer["results"].items() if name != "features, bf16")
    assert {name.partition(",")[0] for name in answer["results"]} == set(gpu_check.TOLERANCE)
    assert answer["repeats"] == {"same bits": True, "deterministic kernels still on": False}
    assert answer["waits"] == {
        "epoch of steps": 0, "epoch of mixed batches": 0, "epoch with a discriminator": 0, "scoring pass": 0,
        "head importance": 0,
    }  # fmt: skip
    speed = answer["speed"]
    for name in (
        "training, share of peak",
        "training, against Trainer",
        "pool pass, share of peak",
        "importance, rows/s",
    ):
        assert speed[name]["median"] > 0
    assert answer["compiled"]["times as fast"] > 0
    assert str(out) in capsys.readouterr().out


def test_an_encoder_that_cannot_be_compiled_is_no_failure(tmp_path, monkeypatch):
    check = gpu_check.Check("cpu", gpu_check.DRY, tmp_path, 60)
    monkeypatch.setattr(torch, "compile", broken)
    found = check.compiled()
    assert "no such argument" in found["could not be compiled"]
    assert check.answer["failed"] == []


def broken(*_, **__):
    raise TypeError("no such argument")


def test_what_was_timed_stays_when_the_trainer_or_a_later_part_fails(tmp_path, monkeypatch, capsys):
    check = gpu_check.Check("cpu", gpu_check.DRY, tmp_path, 60)
    for name in ("machine", "results", "repeats", "waits", "compiled"):
        monkeypatch.setattr(check, name, named(dict, name))
    monkeypatch.setattr(check, "trainer", broken)
    monkeypatch.setattr(check, "training", lambda *_: Ledger("joint", seconds=2.0, flops=4.0))
    monkeypatch.setattr(check, "peak", lambda precision: 8.0)
    monkeypatch.setattr(check, "passed", broken)
    speed = check.run()["speed"]
    assert speed["training, share of peak"]["median"] == 0.25
    assert "no such argument" in speed["Trainer failed"]
    assert "no such argument" in speed["error"]
    assert [failure.partition(":")[0] for failure in check.answer["failed"]] == ["speed"]
    missed = {
        "failed": [],
        "speed": {"aims missed": ["pool pass, share of peak"], "pool pass, share of peak": {"median": 0.2}},
    }
    monkeypatch.setattr(gpu_check.Check, "run", lambda self: missed)
    assert gpu_check.main(["--dry-run", "--out", str(tmp_path / "answer.json")]) == 0
    assert "below its aim: pool pass, share of peak 0.2, aim 0.5" in capsys.readouterr().out


def test_without_a_gpu_it_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpu_check.main(["--out", str(tmp_path / "answer.json")]) == 2
    assert "PyTorch sees no CUDA device here" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_it_takes_one_gpu_that_no_study_has(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-a,MIG-b")
    monkeypatch.setattr(gpu_check.gpu_leases, "folder", lambda: tmp_path / "leases")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    seen = []
    run = lambda self: {"failed": seen.append(os.environ["CUDA_VISIBLE_DEVICES"]) or []}  # noqa: E731
    monkeypatch.setattr(gpu_check.Check, "run", run)
    assert gpu_check.main(["--out", str(tmp_path / "answer.json")]) == 0
    assert seen == ["MIG-a"]
    monkeypatch.setattr(gpu_check.gpu_leases, "acquire", taken)
    assert gpu_check.main(["--out", str(tmp_path / "answer.json")]) == 2
    assert "other jobs lease" in capsys.readouterr().out


def taken(wait):
    raise InputError("no 1 GPU came free in 0 s: other jobs lease MIG-a")


def test_wrong_results_parts_that_break_and_a_time_that_is_up_are_said(tmp_path, monkeypatch):
    check = gpu_check.Check("cpu", gpu_check.DRY, tmp_path, 60)
    assert check.compared("features", np.array([1.0, -4.0]), np.array([1.0, -4.002]))["holds"]
    assert not check.compared("features", np.array([1.0, -4.0]), np.array([1.0, -4.1]))["holds"]
    assert check.compared("logits", np.array([1.0]), np.array([np.nan]))["difference"] == "not finite"
    assert [failure.partition(" ")[0] for failure in check.answer["failed"]] == ["features", "logits"]
    for name, part in {
        "machine": dict, "results": lambda: 1 / 0, "repeats": lambda: setattr(check, "end", 0.0),
    }.items():  # fmt: skip
        monkeypatch.setattr(check, name, named(part, name))
    answer = check.run()
    assert "ZeroDivisionError" in answer["results"]["error"]
    assert answer["waits"] == answer["speed"] == {"left out": "the time was up"}


def named(work, name):
    def part():
        return work()

    part.__name__ = name
    return part


def test_what_made_the_host_wait_is_counted_and_the_switch_is_set_back(monkeypatch):
    modes, seen = [], []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)

    def work():
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("something else", stacklevel=1)
        return 3

    assert gpu_check.counted(work, seen) == 3
    assert (seen, modes) == ([2], ["warn", "default"])
