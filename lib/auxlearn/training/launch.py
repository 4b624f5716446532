"""Run a training or a pass in several processes.

Plan and rows go to a folder, torchrun starts the processes, and a result comes back.

A notebook's own process cannot become one of them (with CUDA in use it cannot even fork), so they are processes of
their own that share nothing with it but files: JSON, arrays without pickle and Arrow tables. They end with it
(`auxlearn.processes`). `training.worker` is what torchrun runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from auxlearn import processes
from auxlearn.data.suites import Suite, Task
from auxlearn.errors import InputError
from auxlearn.training.phases import Phase, Plan, Recipe, Rounds, Weighting

JOB, ANSWER, LOG = "job", "answer", "processes.log"
SAID = "progress: "


def write(plan: Plan, suite: Suite, folder: Path, asked: Mapping[str, Any] | None = None) -> None:
    """Put a plan, its suite and a request into a folder, which is emptied first.

    Args:
        plan: The plan.
        suite: Its suite, with all rows.
        folder: The folder.
        asked: What `fill` asks for, plain values and arrays; None for a training.

    Raises:
        TypeError: The plan or the request holds anything but plain values and arrays.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    arrays: dict[str, Any] = {}

    def named(value: Any) -> str:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"a plan holds plain values and arrays, not {type(value)}")
        arrays[f"a{len(arrays)}"] = value
        return f"array:a{len(arrays) - 1}"

    tasks = []
    for number, task in enumerate(suite.values()):
        splits = {split: getattr(task, split) for split in ("train", "dev", "test")}
        for split, rows in splits.items():
            if rows is not None:
                rows.save_to_disk(folder / f"{number}-{split}")
        entry = {f.name: getattr(task, f.name) for f in fields(Task) if f.name not in splits}
        tasks.append(entry | {"splits": [split for split, rows in splits.items() if rows is not None]})
    job = {"plan": asdict(plan), "tasks": tasks, "suite": [suite.name, suite.fingerprint], "asked": asked}
    (folder / "job.json").write_text(json.dumps(job, default=named), encoding="utf-8")
    np.savez(folder / "arrays.npz", **arrays)


def read(folder: Path) -> tuple[Plan, Suite, dict[str, Any] | None]:
    """Read what `write` put into a folder.

    Args:
        folder: The folder.

    Returns:
        The plan, the suite, and the request or None.
    """
    from datasets import load_from_disk

    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    with np.load(folder / "arrays.npz", allow_pickle=False) as saved:
        arrays = dict(saved)

    def filled(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: filled(part) for name, part in value.items()}
        if isinstance(value, list):
            return [filled(part) for part in value]
        return arrays[value[6:]] if isinstance(value, str) and value.startswith("array:") else value

    plan = filled(job["plan"])
    phases = []
    for phase in plan["phases"]:
        parts: dict[str, Any] = {"recipe": Recipe(**phase["recipe"])}
        if phase["weighting"]:
            parts["weighting"] = Weighting(**phase["weighting"] | {"prior": tuple(phase["weighting"]["prior"])})
        if phase["rounds"]:
            parts["rounds"] = Rounds(**phase["rounds"])
        phases.append(Phase(**phase | parts))
    tasks = {}
    for number, entry in enumerate(job["tasks"]):
        splits = dict.fromkeys(("train", "dev", "test"))
        splits |= {split: load_from_disk(str(folder / f"{number}-{split}")) for split in entry.pop("splits")}
        plain = {name: tuple(value) if isinstance(value, list) else value for name, value in entry.items()}
        tasks[entry["name"]] = Task(**plain | splits)
    name, fingerprint = job["suite"]
    return Plan(**plan | {"phases": tuple(phases)}), Suite(name, tasks, fingerprint), filled(job["asked"])


def train(plan: Plan, suite: Suite, folder: Path, progress: Callable[[str], None] | None = None) -> dict[str, Any]:
    """Run a plan in `plan.processes` processes.

    An interrupted training goes on from its checkpoint in the folder.

    Args:
        plan: The plan.
        suite: Its suite.
        folder: Where the training's files go.
        progress: Called with each message of the first process.

    Returns:
        What `training_cache.written` returns.

    Raises:
        InputError: As from `train.run`; or a process died, and the message names the log.
    """
    return _run(plan, suite, folder, None, progress)


def fill(
    plan: Plan, suite: Suite, folder: Path, asked: Mapping[str, Any], progress: Callable[[str], None] | None = None
) -> None:
    """Deal the missing shards of a pass to `plan.processes` processes.

    Each process calls `signals.pass_store.fill` for its own shards.

    Args:
        plan: The plan of the model that reads.
        suite: Its suite.
        folder: Where the pass puts its arrays.
        asked: The request, plain values and arrays.
        progress: Called with each message of the first process.

    Raises:
        InputError: As in `train`; what the others have finished by then stays.
    """
    _run(plan, suite, folder, asked, progress)


def _run(
    plan: Plan, suite: Suite, folder: Path, asked: Mapping[str, Any] | None, progress: Callable[[str], None] | None
) -> dict[str, Any]:
    """Start the processes, wait for them, and return the first one's answer."""
    job, log = folder / JOB, folder / LOG
    answers = [answer_file(folder, rank) for rank in range(plan.processes)]
    write(plan, suite, job, asked)
    for answer in answers:
        answer.unlink(missing_ok=True)
    command = processes.command(
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        plan.processes,
        "-m",
        "auxlearn.training.worker",
        folder,
    )
    environment = os.environ | {"OMP_NUM_THREADS": str(plan.threads)}
    with open(log, "w") as errors:
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace", env=environment
        )
        try:
            assert process.stdout is not None  # PIPE
            for line in process.stdout:
                if progress and line.startswith(SAID):
                    progress(line[len(SAID) :].rstrip())
            process.wait()
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    replies = [json.loads(answer.read_text(encoding="utf-8")) for answer in answers if answer.is_file()]
    for each in replies:
        if "error" in each:
            raise InputError(each["error"])
    if process.returncode or len(replies) < len(answers):
        what = "training" if asked is None else "scoring"
        raise InputError(f"one of the {plan.processes} {what} processes died (exit {process.returncode}); see {log}")
    shutil.rmtree(job)
    for path in (*answers, log):
        path.unlink()
    return replies[0]


def answer_file(folder: Path, rank: int) -> Path:
    """Return the file in which the process of this rank answers."""
    return folder / f"{ANSWER}-{rank}.json"
