"""SIGKILL at random moments of a real study, then the same command: nothing is lost, run twice, left behind or changed.

One kill of the part of a study that makes one arm in `make test-slow`; `make kills` makes twenty of the whole and
writes what happened to reports/kills/results.md.
"""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import yaml

from auxlearn.paths import NOTEBOOKS
from auxlearn.records import checkout
from auxlearn.reporting.pages import pages
from helpers import assert_part_of_findings, assert_same_findings

KILLS = int(os.environ.get("AUXLEARN_KILLS", "1"))
WHOLE = "AUXLEARN_KILLS" in os.environ
RESULTS = os.environ.get("AUXLEARN_KILLS_RESULTS", "")
SEED = 0
VICTIMS = {
    "engine": "auxlearn.cli",
    "snakemake": "snakemake",
    "job": "auxlearn.studies.engine.job",
    "kernel": "ipykernel_launcher",
}
STAGES = {file.stem for file in NOTEBOOKS.glob("*.ipynb")}
GONE_SECONDS = 10  # within which everything that the victim started must have ended


def start(study, folder):
    environment = os.environ | {"AUXLEARN_RUNS": str(folder)}
    command = [sys.executable, "-m", "auxlearn.cli", "study", str(study)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)


def part(study, path):
    """The proxy, the ranking and the arm of one seed: three runs that read each other."""
    content = yaml.safe_load(study.read_text())
    content |= {"base": content["base"] | {"seeds": [0]}, "grid": content["grid"] | {"arm": ["td_bce"]}}
    path.write_text(yaml.safe_dump(content | {"stages": ["06_mtl"]}))
    return path


def processes(folder):
    """Living processes of this run folder."""
    found = []
    for process in psutil.process_iter():
        try:
            mine = process.environ().get("AUXLEARN_RUNS") == str(folder) and process.pid != os.getpid()
            if mine and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def role(process):
    try:
        words = " ".join(process.cmdline())
    except psutil.Error:
        return None
    return next((name for name, mark in VICTIMS.items() if mark in words), None)


def manifests(folder):
    return {str(p.parent.relative_to(folder)): p.stat().st_mtime_ns for p in folder.glob("*/*/manifest.json")}


def what(folder):
    """The cells that have begun and are not finished."""
    begun = {log.parent for log in folder.glob("*/*/papermill.log")}
    return (
        ", ".join(sorted(f"{p.parent.name}" for p in begun if not (p / "manifest.json").is_file())) or "between cells"
    )


def strike(study, folder, draw, longest, first):
    """Start the study, kill one of its processes after a while; a row for the table, None where it had ended before."""
    engine = start(study, folder)
    wait = draw.uniform(2, longest)
    try:
        engine.wait(wait)
        return None
    except subprocess.TimeoutExpired:
        pass
    wanted = "engine" if first else draw.choice(list(VICTIMS))
    standing = {role(p): p for p in processes(folder) if role(p)}
    victim = wanted if wanted in standing else "engine"
    during = what(folder)
    standing[victim].kill()
    if victim == "engine":
        end = time.monotonic() + GONE_SECONDS
        engine.wait()
        while (left := processes(folder)) and time.monotonic() < end:
            time.sleep(0.1)
        assert not left, f"{len(left)} processes outlived the engine by {GONE_SECONDS} s: {[role(p) for p in left]}"
        after = "the same command"
    else:
        engine.wait(600)  # the engine goes on: it tries the cell again, or says that it failed
        after = "went on by itself" if engine.returncode == 0 else "the same command"
    return {"victim": victim, "after": f"{wait:.1f} s", "during": during, "then": after}


@pytest.mark.slow
def test_a_killed_study_ends_as_an_unharmed_one(unharmed, tmp_path):
    assert unharmed.returncode == 0, unharmed.stdout
    study, took, cells = unharmed.study, unharmed.seconds, unharmed.stdout.count("start  ")
    if not WHOLE:
        study, took, cells = part(study, tmp_path / "part.yaml"), took * 3 / cells, 3
    draw, rows, lap = random.Random(SEED), [], 0
    while len(rows) < KILLS:  # a study that is finished cannot be killed: begin another
        lap += 1
        folder, finished = tmp_path / f"killed-{lap}", {}
        while len(rows) < KILLS:
            row = strike(study, folder, draw, min(took, 30.0), first=not rows)
            now = manifests(folder)
            again = [name for name, time_ns in finished.items() if now.get(name) != time_ns]
            assert not again, f"finished and yet run again, or lost: {again}"
            finished = now
            if row is None or (row["victim"] != "engine" and row["then"] == "went on by itself"):
                rows += [row | {"study": lap}] if row else []
                break
            rows.append(row | {"study": lap})
        assert start(study, folder).wait() == 0
        assert all(manifests(folder)[name] == time_ns for name, time_ns in finished.items())
        assert sum(name.split("/")[0] in STAGES for name in manifests(folder)) == cells
        (assert_same_findings if WHOLE else assert_part_of_findings)(folder, unharmed.folder)
        assert not processes(folder)
    if RESULTS:
        write(Path(RESULTS), rows, lap, took, cells)


def write(path, rows, laps, took, cells):
    path.parent.mkdir(parents=True, exist_ok=True)
    names = ["study", "after", "victim", "during", "then"]
    lines = [
        "# Killed at random moments",
        "",
        f"`make kills`: {len(rows)} SIGKILLs (seed {SEED}) over {laps} runs of a study of {cells} notebook runs that "
        f"takes {took:.0f} s unharmed. After each, the same command again. In every study all metrics and files "
        "equalled those of an unharmed run bit for bit (but for measured times), no finished run was made twice, and "
        f"no process or lock was left. Commit {pages.commit(checkout.state())}.",
        "",
        "| " + " | ".join(names) + " |",
        "|" + " --- |" * len(names),
        *("| " + " | ".join(str(row[name]) for name in names) + " |" for row in rows),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
