"""Leases: one device a process, given back however the process ends."""

import os
import signal
import subprocess
import sys

import pytest

from auxlearn.errors import InputError
from auxlearn.studies.engine import gpu_leases

HOLD = """
import os, sys, time
from auxlearn.studies.engine import gpu_leases
held = gpu_leases.acquire(wait=0)
print(os.environ["CUDA_VISIBLE_DEVICES"], flush=True)
time.sleep(60)
"""


@pytest.fixture(autouse=True)
def two(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0, 3")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(gpu_leases.tempfile, "tempdir", None)


def holder():
    process = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    return process, process.stdout.readline().strip()


def test_each_process_has_a_device_of_its_own_and_a_kill_gives_it_back(monkeypatch):
    (first, one), (second, other) = holder(), holder()
    try:
        assert {one, other} == {"0", "3"}
        with pytest.raises(InputError, match="no 1 GPU came free in 0 s: other jobs lease 0, 3"):
            gpu_leases.acquire(wait=0)
        with pytest.raises(InputError, match="names 0, 3; set `device: cpu`"):
            gpu_leases.acquire(3)
        first.send_signal(signal.SIGKILL)
        first.wait()
        (lock,) = gpu_leases.acquire(wait=0)
        assert os.environ["CUDA_VISIBLE_DEVICES"] == one
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,3")
        lock.release()
        with pytest.raises(InputError, match="no 2 GPU came free"):
            gpu_leases.acquire(2, wait=0)
        gpu_leases.acquire(wait=0)[0].release()  # none was kept
    finally:
        for process in (first, second):
            process.kill()
            process.wait()


@pytest.fixture
def listed(monkeypatch, tmp_path):
    """A machine of two cards, as `nvidia-smi` lists them."""
    tool = tmp_path / "bin" / "nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\necho '0, GPU-aa11, One'\necho '1, GPU-bb22, One'\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")


def test_a_device_is_one_whatever_it_is_called(monkeypatch, listed):
    """By index, by UUID, by the first letters of it, and named twice."""
    for names, cards in {
        "0,GPU-aa11,0": ["GPU-aa11"],
        "1,GPU-aa": ["GPU-bb22", "GPU-aa11"],
        "MIG-1": ["MIG-1"],
    }.items():
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", names)
        assert gpu_leases.devices() == cards
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert gpu_leases.devices() == ["GPU-aa11", "GPU-bb22"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (lock,) = gpu_leases.acquire(wait=0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-aa11"  # whatever order CUDA counts in
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aa11")
    with pytest.raises(InputError, match="no 1 GPU came free"):
        gpu_leases.acquire(wait=0)
    lock.release()


def test_two_containers_that_both_call_theirs_0_do_not_exclude_each_other(monkeypatch, listed, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (first,) = gpu_leases.acquire(wait=0)
    (tmp_path / "bin" / "nvidia-smi").write_text("#!/bin/sh\necho '0, GPU-bb22'\n")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    (second,) = gpu_leases.acquire(wait=0)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-bb22"
    first.release()
    second.release()


def test_no_device_is_an_error(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(InputError, match="1 GPU to lease, but CUDA_VISIBLE_DEVICES or nvidia-smi names none"):
        gpu_leases.acquire()


def test_cuda_is_asked_where_its_order_may_be_another(monkeypatch, listed):
    """Of two kinds of card it puts the fastest first, unless it is told to count as `nvidia-smi` does."""
    monkeypatch.setattr(gpu_leases, "ASKING", "import os; print(os.environ.get('CUDA_VISIBLE_DEVICES', '0,GPU-bb22'))")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert gpu_leases.devices() == ["GPU-aa11"]  # two of a kind: not asked
    tool = gpu_leases.Path(os.environ["PATH"].partition(":")[0]) / "nvidia-smi"
    tool.write_text(tool.read_text().replace("bb22, One", "bb22, Another"))
    assert gpu_leases.devices() == ["GPU-bb22"]
    monkeypatch.setenv("CUDA_DEVICE_ORDER", "PCI_BUS_ID")
    assert gpu_leases.devices() == ["GPU-aa11"]


def test_cuda_is_asked_where_there_is_a_driver_and_no_tool(monkeypatch, tmp_path):
    monkeypatch.setattr(gpu_leases, "ASKING", "print('0,GPU-aa11'); print('1,GPU-bb22')")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    found = [tmp_path / "nvidia0"]
    monkeypatch.setattr(gpu_leases.Path, "glob", lambda self, pattern: iter(found))
    assert gpu_leases.devices() == ["GPU-aa11", "GPU-bb22"]
    monkeypatch.setattr(gpu_leases, "ASKING", "raise SystemExit(1)")
    assert gpu_leases.devices() == []
    found.clear()
    assert gpu_leases.devices() == []
