"""A run folder has one writer; a disk that is full or read-only is refused before anything runs."""

import subprocess
import sys

import pytest

from auxlearn.errors import InputError
from auxlearn.records import run_lock
from auxlearn.studies.engine import runner

HOLD = """
import sys, time
from pathlib import Path
from auxlearn.records import run_lock
run_lock.claim(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""


def test_one_process_a_folder_until_it_is_killed(tmp_path):
    folder = tmp_path / "06_mtl" / "abc"
    other = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(InputError, match="another process is making this run"):
            run_lock.claim(folder, wait=0.1)
    finally:
        other.kill()
        other.wait()
    run_lock.claim(folder, wait=5)
    run_lock.claim(folder, wait=0)  # a cell run twice in one kernel


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"file/runs cannot be written: Not a directory. .* AUXLEARN_RUNS"):
        run_lock.claim(tmp_path / "file" / "runs")


@pytest.fixture
def disk(tmp_path):
    """A disk of 128 MiB."""
    made = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=128m", "tmpfs", str(tmp_path)], capture_output=True)
    if made.returncode:
        pytest.skip("mounting a small disk needs root")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def test_a_full_and_a_read_only_disk(disk, monkeypatch):
    run_lock.writable(disk / "runs")
    (disk / "filler").write_bytes(bytes(100 << 20))
    with pytest.raises(InputError, match=r"2\d MiB are free on its disk, 64 are needed"):
        run_lock.writable(disk / "runs")
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
    monkeypatch.setenv("AUXLEARN_RUNS", str(disk / "runs"))
    with pytest.raises(InputError, match="cannot be written: Read-only file system"):
        runner.run(runner.PROJECT / "params" / "studies" / "quickstart.yaml")
