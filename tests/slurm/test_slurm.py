"""A study's cells as Slurm jobs, on a Slurm that this module starts (see `cluster`); run by `make slurm`."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cluster
import pytest
import yaml

from auxlearn.paths import PROJECT
from helpers import STUDY as GRID
from helpers import assert_same_findings

pytestmark = pytest.mark.slurm

BASE = GRID["base"] | {"device": "cpu"}
STUDY = GRID | {"base": BASE, "grid": {"arm": ["single", "random", "td_bce"], "n": [30]}}

STARTED: list[subprocess.Popen] = []


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    """The environment of a running Slurm."""
    if reason := cluster.why_not():
        pytest.skip(reason)
    begun = time.monotonic()
    with cluster.installed():
        ready = time.monotonic()
        with cluster.running(tmp_path_factory.mktemp("slurm")) as environment:
            said(f"packages there after {ready - begun:.0f} s, node idle after {time.monotonic() - ready:.1f} s more")
            yield environment


@pytest.fixture(autouse=True)
def none_left():
    """A test that fails leaves no command running beside the next."""
    yield
    for process in STARTED:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture(scope="module")
def profile(tmp_path_factory):
    """The committed profile as a user fills it in, and impatient."""
    text = (PROJECT / "params" / "profiles" / "slurm" / "config.yaml").read_text()
    filled = re.sub(r'# slurm_partition: ""', f"slurm_partition: {cluster.PARTITION}", text)
    filled = re.sub(r"(status-checks:) 20", r"\1 2", filled)
    assert len({text, filled}) == 2
    folder = tmp_path_factory.mktemp("profile")
    (folder / "config.yaml").write_text(filled)
    return folder


def said(text):
    print(f"\n  measured: {text}", flush=True)


def start(environment, folder, study, *more):
    """`auxlearn study` in a process group of its own, as a terminal starts it; its output goes to a file."""
    folder.mkdir(exist_ok=True)
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    environment = environment | {"AUXLEARN_RUNS": str(folder / "runs"), "HF_HUB_OFFLINE": "1"}
    environment |= {"AUXLEARN_DATA": str(folder / "data")}
    command = [sys.executable, "-m", "auxlearn.cli", "study", str(folder / "study.yaml"), *map(str, more)]
    with open(folder / "output.txt", "a") as output:
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )  # fmt: skip
    STARTED.append(process)
    return process


def ask(environment, *command):
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def jobs(environment, folder, states="all"):
    """Slurm's jobs of a run folder: {number: (state, stage/key)}."""
    lines = ask(environment, "squeue", "--noheader", f"--states={states}", "--format=%i|%T|%Z|%k").splitlines()
    rows = [line.split("|") for line in lines]
    found = {row[0]: (row[1], re.sub(r".*wildcards_", "", row[3])) for row in rows if row[2] == str(folder / "runs")}
    return {job: (state, "/".join(cell.rsplit("_", 1))) for job, (state, cell) in found.items()}


def training(environment, folder, stage):
    """A job of a stage whose notebook's kernel has begun, and that kernel: (number, stage/key, pid) or None."""
    for job, (_, cell) in jobs(environment, folder, "running").items():
        if cell.startswith(stage) and not (folder / "runs" / cell / "manifest.json").is_file():
            for pid in cluster.processes(SLURM_JOB_ID=job):
                if "ipykernel" in _read(f"/proc/{pid}/cmdline"):
                    return job, cell, pid
    return None


def began(environment, folder, stage, process):
    """What `training` finds, once it does."""

    def found():
        assert process.poll() is None, output(folder)
        return training(environment, folder, stage)

    return cluster.until(found, 900, f"no kernel of {stage} began")


def _read(path):
    try:
        return Path(path).read_text(errors="replace")
    except OSError:  # the process has ended
        return ""


def output(folder):
    log = folder / "runs" / "studies" / "small" / "snakemake.log"
    return (folder / "output.txt").read_text() + (log.read_text() if log.is_file() else "")


def test_a_job_asks_for_what_its_cell_needs(slurm, profile, tmp_path):
    """Cells for a GPU that is not here, sent to a partition that starts nothing; Ctrl-C takes them back."""
    study = STUDY | {"base": BASE | {"device": "cuda", "threads": 2}}
    closed = (profile / "config.yaml").read_text().replace(cluster.PARTITION, "closed")
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "config.yaml").write_text(closed)
    process = start(slurm, tmp_path, study, "--profile", tmp_path / "profile")
    waiting = cluster.until(lambda: jobs(slurm, tmp_path, "pending"), 600, "nothing was submitted")
    job, (_, cell) = next(iter(waiting.items()))
    shown = dict(part.split("=", 1) for part in ask(slurm, "scontrol", "show", "job", "-o", job).split() if "=" in part)
    assert (tmp_path / "runs" / cell / "params.yaml").is_file()
    assert (shown["CPUs/Task"], shown["MinMemoryNode"], shown["TimeLimit"]) == ("2", "8000M", "04:00:00")
    assert shown["TresPerJob"] == "gres:gpu:1"
    assert shown["Partition"] == "closed"
    assert shown["Requeue"] == "1"
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(600) == 130, output(tmp_path)
    assert {state for state, _ in jobs(slurm, tmp_path).values()} == {"CANCELLED"}


@pytest.fixture(scope="module")
def here(tmp_path_factory, slurm):
    """The grid on this machine, without Slurm: the folder and its seconds."""
    folder, begun = tmp_path_factory.mktemp("here"), time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "SLURM_CONF"}
    process = start(environment, folder, STUDY, "--cores", cluster.CPUS)
    assert process.wait(3600) == 0, output(folder)
    said(f"the grid here, {cluster.CPUS} cores: {time.monotonic() - begun:.0f} s")
    return folder


def test_the_grid_is_the_same_though_a_job_is_killed_and_another_requeued(here, slurm, profile, tmp_path_factory):
    folder, begun = tmp_path_factory.mktemp("there"), time.monotonic()
    process = start(slurm, folder, STUDY, "--profile", profile)
    # As the system does that runs out of memory: Slurm calls the job failed, Snakemake sends it again.
    killed, proxy, kernel = began(slurm, folder, "02_td_proxy", process)
    seen = dict(line.split("=", 1) for line in _read(f"/proc/{kernel}/environ").split("\0") if "=" in line)
    for pid in [pid for pid in cluster.processes(SLURM_JOB_ID=killed) if "stepd" not in _read(f"/proc/{pid}/comm")]:
        cluster.kill(pid)
    dead = time.monotonic()
    requeued, arm, _ = began(slurm, folder, "06_mtl", process)
    ask(slurm, "scontrol", "requeue", requeued)
    back = time.monotonic()
    manifest = folder / "runs" / arm / "manifest.json"
    cluster.until(lambda: jobs(slurm, folder)[requeued][0] == "PENDING", 60, "it was not requeued")
    assert not manifest.exists()
    began(slurm, folder, arm, process)
    said(f"a requeued job's kernel runs again after {time.monotonic() - back:.0f} s")
    cluster.until(manifest.is_file, 900, "it did not finish")
    said(f"it is finished after {time.monotonic() - back:.0f} s")
    assert process.wait(3600) == 0, output(folder)
    took = time.monotonic() - begun

    made = jobs(slurm, folder)
    cells = [cell for _, cell in made.values()]
    assert len(cells) == len(set(cells)) + 1 == 10
    assert cells.count(proxy) == 2  # failed once, sent twice
    assert made.pop(killed) == ("FAILED", proxy)
    assert {state for state, _ in made.values()} == {"COMPLETED"}
    assert "Restarts=1" in ask(slurm, "scontrol", "show", "job", requeued)
    again = next(job for job, (_, cell) in made.items() if cell == proxy)
    assert "MinMemoryNode=16000M" in ask(slurm, "scontrol", "show", "job", again)
    said(f"the grid on Slurm: 9 cells, 10 jobs, one of them run twice: {took:.0f} s")
    said(f"of which after the kill: {begun + took - dead:.0f} s")

    assert seen["AUXLEARN_RUNS"] == str(folder / "runs")
    assert seen["AUXLEARN_DATA"] == str(folder / "data")
    assert seen["HF_HUB_OFFLINE"] == seen["OMP_NUM_THREADS"] == "1"
    assert seen["GLIBC_TUNABLES"].startswith("glibc.malloc.mmap_threshold")
    assert (seen["SLURM_CPUS_PER_TASK"], seen["SLURM_JOB_ID"]) == ("1", killed)

    plans = [(where / "runs" / "studies" / "small" / "plan.json").read_text() for where in (here, folder)]
    assert plans[0] == plans[1]
    assert len(json.loads(plans[0])["cells"]) == 9
    assert_same_findings(here / "runs", folder / "runs")
    assert "0 of 9 left" in output(folder)
    assert (folder / "runs" / "studies" / "small" / "report" / "index.html").is_file()

    process = start(slurm, folder, STUDY, "--profile", profile)
    assert process.wait(600) == 0
    assert "nothing to be done" in output(folder)


def test_ctrl_c_cancels_what_runs(slurm, profile, tmp_path):
    process = start(slurm, tmp_path, STUDY, "--profile", profile)
    job, cell, _ = began(slurm, tmp_path, "0", process)
    begun = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(600) == 130, output(tmp_path)
    said(f"after Ctrl-C the command has ended in {time.monotonic() - begun:.1f} s")
    active = "pending,running,completing"
    cluster.until(lambda: not jobs(slurm, tmp_path, active), 120, f"jobs are left: {jobs(slurm, tmp_path)}")
    said(f"and its last job in {time.monotonic() - begun:.1f} s")
    assert jobs(slurm, tmp_path)[job][0] == "CANCELLED"
    cluster.until(lambda: not cluster.processes(SLURM_JOB_ID=job), 30, "a process of the job is left")
    assert not (tmp_path / "runs" / cell / "manifest.json").exists()


def test_jobs_of_a_killed_command_are_not_run_twice(slurm, profile, tmp_path):
    process = start(slurm, tmp_path, STUDY, "--profile", profile)
    job, _, _ = began(slurm, tmp_path, "0", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    refused = start(slurm, tmp_path, STUDY, "--profile", profile)
    assert refused.wait(600) == 2, output(tmp_path)
    named = re.search(r"`scancel ([\d ]+)`", output(tmp_path)).group(1).split()
    assert set(named) == set(jobs(slurm, tmp_path, "pending,running,completing"))
    assert job in named
    ask(slurm, "scancel", *named)
    cluster.until(lambda: not cluster.processes(SLURM_JOB_ID=job), 60, "the job is still there")
