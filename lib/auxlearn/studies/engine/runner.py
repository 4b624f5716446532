"""Runs a study: writes its cells' parameters, calls Snakemake, prints progress, renders the report."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from auxlearn import processes
from auxlearn.errors import InputError
from auxlearn.files import bounded_files
from auxlearn.paths import NOTEBOOKS, PROJECT, runs_root
from auxlearn.records import run_lock, runs
from auxlearn.studies import graph, parameters, run_status
from auxlearn.studies.engine import gpu_leases, profiles

POLL_SECONDS = 0.5
HEARTBEAT_SECONDS = 30.0
LINES = 12  # of a log that are shown
TAIL = 10_000  # bytes of the progress file that are looked at
# A manifest is written last and in one step, so that one that is there is whole, whatever became of its job. Left to
# itself Snakemake deletes it where the job was killed between that step and its end, and makes a finished run again.
MANIFEST_DECIDES = ("--ignore-incomplete", "--keep-incomplete")
# A training step takes and returns hundreds of large tensors. glibc gives such memory back to the system at once and
# gets it again as empty pages, each of them a fault; kept, steps were 1.03 to 1.08 times as fast at the same peak of
# memory (tests/benchmarks/test_allocator.py).
KEEP_MEMORY = (
    "glibc.malloc.mmap_threshold=4294967296:glibc.malloc.trim_threshold=8589934592:glibc.malloc.top_pad=268435456"
)


def study_folder(name: str) -> Path:
    """Return the folder of a study's plan, logs and report; `name` may not lead out of the run folder."""
    return bounded_files.inside(runs_root() / "studies", name, "study")


def prepare(study: graph.Study) -> tuple[Path, list[dict[str, Any]]]:
    """Write a study's plan and the parameters of every cell.

    A stale or damaged manifest is set aside (renamed), so that Snakemake runs exactly what this library calls stale.

    Args:
        study: The study, as from `graph.load`.

    Returns:
        The plan's path, and the plan's entries of the cells that are not finished.
    """
    plan = graph.as_plan(study)
    folder = study_folder(study.name)
    folder.mkdir(parents=True, exist_ok=True)
    runs.write_json(folder / "plan.json", plan)
    statuses = {(c["stage"], c["key"]): runs.read(c["stage"], c["key"])[0] for c in plan["cells"]}
    for cell in plan["cells"]:
        status = statuses[cell["stage"], cell["key"]]
        home = runs_root() / cell["stage"] / cell["key"]
        home.mkdir(parents=True, exist_ok=True)
        if status in ("stale", "damaged"):
            (home / "manifest.json").replace(home / f"manifest.{status}.json")
        if status != "finished":
            (home / "papermill.log").unlink(missing_ok=True)  # there again when the cell has begun
        values = parameters.for_notebook(cell["stage"], cell["params"])
        (home / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")
        line = f"papermill notebooks/{cell['stage']}.ipynb {cell['stage']}.out.ipynb -f params.yaml\n"
        (home / "command.txt").write_text(line, encoding="utf-8")
    return folder / "plan.json", [c for c in plan["cells"] if statuses[c["stage"], c["key"]] != "finished"]


def run(
    path: Path, cores: int | None = None, profile: Path | None = None, render: Callable[[str], Path] | None = None
) -> int:
    """Run a study file, on this machine or where a profile sends its cells.

    Args:
        path: The study file.
        cores: Cores for all jobs together; None leaves it to the profile, or takes all of this machine.
        profile: Folder of a Snakemake profile; None runs the cells here.
        render: Called with the study's name after the cells have run; writes the report and returns its path.

    Returns:
        0 if every cell is finished, else Snakemake's exit status.

    Raises:
        InputError: If the study file, the profile or the run folder cannot be used, or another study is running there.
    """
    place = profiles.read(profile)
    run_lock.writable(runs_root())
    study = graph.load(path, place.elsewhere)
    # Of ours rather than Snakemake's: it dies with its process, so that a kill leaves nothing for a person to unlock.
    lock = FileLock(runs_root() / ".engine.lock")
    try:
        with lock.acquire(timeout=0), place.watched(runs_root()):
            return _run(study, cores, place, render)
    except Timeout:
        raise InputError(
            f"another study is running in {runs_root()}; wait for it, or set AUXLEARN_RUNS elsewhere"
        ) from None


def _run(study: graph.Study, cores: int | None, place: profiles.Place, render: Callable[[str], Path] | None) -> int:
    plan, todo = prepare(study)
    total = len(study.cells)
    print(f"study {study.name}: {total} notebook runs, {total - len(todo)} of them already finished", flush=True)
    code = 0
    if todo:
        code = _snakemake(plan, todo, cores, place)
    else:
        print("nothing to be done", flush=True)
    if render:
        print(f"report: {render(study.name)}", flush=True)
    return code


def _snakemake(plan: Path, todo: list[dict[str, Any]], cores: int | None, place: profiles.Place) -> int:
    log_path, progress = plan.with_name("snakemake.log"), plan.with_name("progress.log")
    gpus = len(gpu_leases.devices()) if any(cell["gpus"] for cell in todo) else 0
    command = processes.command(
        "snakemake", "--snakefile", PROJECT / "Snakefile", "--directory", runs_root(), *place.options(cores, gpus),
        "--rerun-triggers", "params", "input", *MANIFEST_DECIDES, "--keep-going", "--nolock",
        "--config", f"plan={plan}", f"notebooks={NOTEBOOKS}",
    )  # fmt: skip
    environment = {"GLIBC_TUNABLES": KEEP_MEMORY} | os.environ  # other C libraries do not read it
    environment |= {"AUXLEARN_RUNS": str(runs_root()), "AUXLEARN_PROGRESS": str(progress)}
    environment |= place.environment
    progress.write_text("")
    with open(log_path, "w") as log:
        # In a group of its own, which is interrupted as a whole whether a terminal or a script interrupts this process.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, env=environment, cwd=runs_root(),
            process_group=0,
        )  # fmt: skip
        watcher = _Watcher(todo, progress)
        try:
            while process.poll() is None:
                watcher.look()
                time.sleep(POLL_SECONDS)
        except KeyboardInterrupt:
            print("\ninterrupted: waiting for the running notebooks to stop; the same command goes on from here")
            with contextlib.suppress(ProcessLookupError):  # it has just ended
                os.killpg(process.pid, signal.SIGINT)
            place.stopped(process)
            raise
        watcher.look()
    if process.returncode:
        _explain_failure(todo, log_path)
    return process.returncode


@dataclass
class _Watcher:
    """Prints a line when a cell starts or finishes, and a sign of life in between."""

    todo: list[dict[str, Any]]
    progress: Path
    begun: float = field(default_factory=time.monotonic)
    started: dict[str, float] = field(default_factory=dict)
    done: set[str] = field(default_factory=set)
    last: float = field(default_factory=time.monotonic)
    shown: str = ""

    def look(self) -> None:
        for cell in self.todo:
            key, home = cell["key"], runs_root() / cell["stage"] / cell["key"]
            log = home / "papermill.log"
            if key not in self.started and log.is_file():
                self.started[key] = time.monotonic()
                self._say(f"start  {cell['label']}")
            if key in self.started and key not in self.done and (home / "manifest.json").is_file():
                self.done.add(key)
                left = len(self.todo) - len(self.done)
                took = time.monotonic() - self.started[key]
                self._say(f"done   {cell['label']} ({took:.0f} s); {left} of {len(self.todo)} left")
        if time.monotonic() - self.last > HEARTBEAT_SECONDS:
            latest = last_message(self.progress)
            if latest not in ("", self.shown):
                self.shown = latest
                self._say(f"  …    {latest}")

    def _say(self, text: str) -> None:
        self.last = time.monotonic()
        minutes, seconds = divmod(int(self.last - self.begun), 60)
        print(f"[{minutes:3d}:{seconds:02d}] {text}", flush=True)


def last_message(progress: Path) -> str:
    """Return the last message that notebooks have written of their progress, as people read it.

    Args:
        progress: The file that they write to, each line "TIME STAGE/KEY MESSAGE"; several write at once, and a crash or
            a full disk may leave anything in it.

    Returns:
        The message and its run; empty where the end of the file holds no whole line of that form.
    """
    try:
        with open(progress, "rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
            end = file.read(TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
    lines = re.findall(r"(?m)^\d\S{,40} (\w+/\w+) (.+)\n", end)
    whole = [f"{message} [{run}]" for run, message in lines if message.isprintable()]
    return whole[-1] if whole else ""


def _explain_failure(todo: list[dict[str, Any]], log: Path) -> None:
    print(f"\nnot every run finished; Snakemake's log: {log}")
    explained = False
    for cell in todo:
        home = runs_root() / cell["stage"] / cell["key"]
        if (home / "papermill.log").is_file() and not (home / "manifest.json").is_file():
            print(f"\n{cell['label']} failed; its notebook as far as it came: {home / 'notebook.ipynb'}")
            print(f"  here and now, to see where: auxlearn cell {cell['stage']}/{cell['key']} --pdb")
            said = run_status.cause(home)[-LINES:]
            print("", *said, sep="\n  ")
            explained |= bool(said)
    if not explained:  # it ended before any cell could say anything
        said = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        print("", *said[-LINES:], sep="\n  ")
