"""Profiles that say where cells run: what they must hold, and what becomes of them."""

import json
import os
import subprocess
import sys
import types

import pytest
import yaml

from auxlearn.errors import InputError
from auxlearn.paths import NOTEBOOKS, PROJECT
from auxlearn.records import runs
from auxlearn.studies import graph, parameters
from auxlearn.studies.engine import profiles
from auxlearn.training import shared_parameters

SLURM = PROJECT / "params" / "profiles" / "slurm"


@pytest.fixture
def written(tmp_path):
    def write(content):
        (tmp_path / "config.yaml").write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        return tmp_path

    return write


@pytest.fixture
def with_plugin(monkeypatch, tmp_path):
    """A module of the plugin's name, and a folder for commands of Slurm's names on the PATH."""
    monkeypatch.setitem(sys.modules, "snakemake_executor_plugin_slurm", _module("snakemake_executor_plugin_slurm"))
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")

    def command(name, text):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)

    command("sbatch", "exit 1")
    return command


def _module(name):
    made = types.ModuleType(name)
    made.__spec__ = types.SimpleNamespace(name=name)
    return made


def test_without_a_profile_this_machine_is_the_bound():
    assert profiles.read(None).options(None, 0) == ["--cores", str(os.cpu_count()), "--resources", "gpu=0"]
    assert profiles.read(None).options(3, 2) == ["--cores", "3", "--resources", "gpu=2"]
    assert not profiles.HERE.elsewhere
    assert profiles.HERE.environment == {}


def test_a_profile_for_this_machine_may_name_its_cores(written):
    place = profiles.read(written({"cores": 1, "printshellcmds": True}))
    assert place.options(None, 0) == ["--profile", str(place.folder), "--resources", "gpu=0"]
    assert place.options(2, 0)[2:4] == ["--cores", "2"]
    assert not place.elsewhere


def test_elsewhere_neither_cores_nor_gpus_of_this_machine_count(with_plugin):
    place = profiles.read(SLURM)
    assert place.elsewhere
    assert place.options(None, 1) == ["--profile", str(SLURM)]
    assert place.options(64, 1) == ["--profile", str(SLURM), "--cores", "64"]
    assert place.environment == {"AUXLEARN_ELSEWHERE": "1"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "maps Snakemake's options"),
        ({"executor": "no-such", "jobs": 2}, "no executor 'no-such' here.*snakemake-executor-plugin-no-such"),
        ({"executor": "slurm"}, "jobs: say how many"),
    ],
)
def test_a_bad_profile_is_refused_by_name(written, with_plugin, content, message):
    folder = written(content)
    with pytest.raises(InputError, match=message) as caught:
        profiles.read(folder)
    assert str(folder / "config.yaml") in str(caught.value)


def test_what_is_not_there_is_said(tmp_path, with_plugin, monkeypatch):
    with pytest.raises(InputError, match=r"no config\.yaml there"):
        profiles.read(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="sbatch is not on the PATH"):
        profiles.read(SLURM)


def test_slurm_jobs_left_in_the_run_folder_stop_a_second_command_and_a_stopped_one_cancels_its_own(
    tmp_path, with_plugin, capsys
):
    root, said = tmp_path / "a run folder", tmp_path / "said"
    with_plugin("squeue", f"[ -s {said} ] && cat {said}; exit 0")
    with_plugin("scancel", f'echo "$@" >> {said}.cancelled; : > {said}')
    place = profiles.read(SLURM)
    said.write_text(f"3 {tmp_path}\n12 {root}\n14 {root}\n")
    with pytest.raises(InputError, match="`scancel 12 14`"), place.watched(root):
        raise AssertionError("not refused")
    assert not (tmp_path / "said.cancelled").exists()
    said.write_text(f"3 {tmp_path}\n")

    def interrupted():
        with place.watched(root):
            said.write_text(f"3 {tmp_path}\n15 {root}\n")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (tmp_path / "said.cancelled").read_text() == "15\n"
    with place.watched(root):
        with_plugin("squeue", "echo no controller >&2; exit 1")
    assert "jobs may be left" in capsys.readouterr().out
    with pytest.raises(InputError, match="does not answer: no controller"), place.watched(root):
        raise AssertionError("not refused")


def test_a_cell_elsewhere_may_want_a_device_that_is_not_here_and_must_say_what_cannot_be_seen(monkeypatch):
    monkeypatch.setattr(shared_parameters, "_cuda", lambda: False)
    there = lambda **given: parameters.validate("06_mtl", {"size": "full", **given}).resolved(elsewhere=True)  # noqa: E731
    made = there(device="cuda", precision="bf16", threads=2)
    assert (made.device, made.precision, made.threads) == ("cuda", "bf16", 2)
    assert there(device="cpu", precision="fp32").device == "cpu"
    assert there(size="demo").device == "cpu"
    with pytest.raises(InputError, match="device: name cpu or cuda"):
        there(precision="fp32")
    with pytest.raises(InputError, match="precision: name bf16, tf32 or fp32"):
        there(device="cuda")
    with pytest.raises(InputError, match="threads: 0 means all cores of this machine"):
        there(threads=0)


def test_snakemake_asks_for_the_gpus_of_cells_that_are_planned_for_elsewhere(tmp_path, monkeypatch):
    """A study for GPUs, planned without one and shown by Snakemake without running it."""
    monkeypatch.setattr(shared_parameters, "_cuda", lambda: False)
    base = {"device": "cuda", "precision": "fp32", "threads": 3, "size": "full", "rows": 60}
    stages = {"study": "x", "base": base, "stages": ["01_data_prep"]}
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(stages))
    with pytest.raises(InputError, match="no CUDA device"):
        graph.load(tmp_path / "x.yaml")
    plan = graph.as_plan(graph.load(tmp_path / "x.yaml", elsewhere=True))
    runs.write_json(tmp_path / "plan.json", json.loads(json.dumps(plan)))
    command = [
        sys.executable, "-m", "snakemake", "--snakefile", str(PROJECT / "Snakefile"), "--directory", str(tmp_path),
        "--dry-run", "--cores", "4", "--config", f"plan={tmp_path / 'plan.json'}", f"notebooks={NOTEBOOKS}",
    ]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    text = shown.stdout + shown.stderr
    assert "threads: 3" in text
    assert "gpu=1" in text
