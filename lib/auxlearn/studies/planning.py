"""What a study has left to do: its cells, which of them are finished, and how long the rest will take on this machine.

FLOPs are forecast (`forecasts`). How many a process of this machine does per second is read from trainings that it has
finished with the same encoder, precision, threads and device, or else measured on a few steps of one. The result is an
estimate: it leaves out leaks, tables and figures, takes processes that share a batch to lose nothing by it, and jobs
that run side by side slow each other down.
"""

from __future__ import annotations

import heapq
import math
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from auxlearn.cost import Ledger
from auxlearn.data import suites
from auxlearn.records import run_search, runs
from auxlearn.studies import expansion, forecasts, graph, parameters
from auxlearn.studies.engine import gpu_leases, seed_workers

ROWS, BATCH = 192, 32  # of the training that is measured
STEADY = 1.0  # seconds that it takes at least: of less, other processes on the machine make anything
PROCESSES = 3  # that a notebook starts: its job, papermill and the kernel


@dataclass(frozen=True)
class Planned:
    """A cell before it runs."""

    status: str
    cell: expansion.Cell
    flops: float  # that it adds, were nothing finished
    rate: float  # FLOP/s of one process of its kind on this machine; 0 where it has none to do
    start: float = 0.0  # seconds until a notebook's first cell

    @property
    def seconds(self) -> float:
        """Seconds that the cell still needs, its seeds dealt to its workers; 0 if it is finished."""
        if self.status == "finished":
            return 0.0
        if not self.rate:
            return self.start
        p = self.cell.params
        seeds = len(getattr(p, "seeds", [0]))
        longest = -(-seeds // seed_workers.shares(p)) / seeds  # of all seeds, what one worker has
        return self.start + max(0.0, self.flops) / self.rate * longest / getattr(p, "processes", 1)


def plan(path: Path) -> list[Planned]:
    """Plan a study: find every cell's status and estimate its cost.

    Args:
        path: The study file.

    Returns:
        Every cell of the study, upstream first.

    Raises:
        InputError: As from `graph.load`.
    """
    cells = graph.load(path).cells
    flops = forecasts.by_cell(path, cells)
    statuses = [runs.read(cell.stage, cell.key)[0] for cell in cells]
    rates: dict[tuple[object, ...], float] = {}
    start = start_up() if set(statuses) != {"finished"} else 0.0
    planned = []
    for cell, flop, status in zip(cells, flops, statuses, strict=True):
        at = _kind(cell.params)
        if flop and status != "finished" and at not in rates:
            rates[at] = seen(cell.params) or measured(cell.params)
        planned.append(Planned(status, cell, flop, rates.get(at, 0.0), start))
    return planned


def start_up() -> float:
    """Measure how long a notebook takes to its first cell: a job, papermill and a kernel import one after another."""
    begun = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import auxlearn.reporting.notebook, torch"], check=True)
    return PROCESSES * (time.perf_counter() - begun)


def _kind(p: parameters.Common) -> tuple[object, ...]:
    return p.encoder, p.precision, p.threads, p.device


def seen(p: parameters.Common) -> float:
    """Read the rate from finished trainings with the same encoder, precision, threads and device.

    Args:
        p: Parameters of the cell that is to run.

    Returns:
        FLOP/s of one process over all such trainings of this run folder; 0 without any.
    """
    from auxlearn.models import encoder_files

    encoder, here = encoder_files.fingerprint(p.encoder), runs.device_name(p.device)
    wanted: dict[str, Any] = {"encoder": encoder, "precision": p.precision, "device": p.device}
    wanted |= {} if p.device == "cuda" else {"threads": p.threads}  # which change nothing on a GPU, and are not kept
    flops = seconds = 0.0
    for manifest in run_search.all_runs("train"):
        q, ledger = manifest.params, manifest.data.get("ledger", [])
        if all(q.get(name) == value for name, value in wanted.items()) and manifest.data.get("device") == here:
            flops += sum(row.get("flops") or 0 for row in ledger) / (q.get("processes") or 1)
            seconds += sum(row.get("seconds") or 0 for row in ledger)
    return flops / seconds if seconds else 0.0


def measured(p: parameters.Common) -> float:
    """Measure the rate on a short training of the primary's rows, after one that only warms up.

    Args:
        p: Parameters of the cell that is to run.

    Returns:
        FLOP/s.
    """
    ledger = _trained(p, 1)
    if ledger.seconds < STEADY:
        ledger = _trained(p, math.ceil(STEADY / ledger.seconds))
    return ledger.flops / ledger.seconds


def _trained(p: parameters.Common, epochs: int) -> Ledger:
    """Train for some epochs, after one that only warms up, and return what they cost."""
    from auxlearn import seeding
    from auxlearn.training import train

    suite = suites.load(p.suite, p.rows)
    rows = {p.primary: np.arange(min(len(suite[p.primary].train), ROWS))}
    recipe = train.Recipe(lr=1e-6, batch_size=BATCH)
    short = [train.Phase("warm_up", rows, 1, recipe), train.Phase("measured", rows, epochs, recipe)]
    precision = cast(Literal["fp32", "tf32", "bf16"], p.precision)  # "auto" is decided when a cell is resolved
    plan = train.Plan(
        p.encoder, tuple(short), seeding.record(0), max_length=p.max_length, precision=precision, device=p.device,
        threads=p.threads,
    )  # fmt: skip
    return train.run(plan, suite).ledgers[-1]


def summary(cells: Sequence[Planned], cores: int | None = None, gpus: int | None = None) -> str:
    """Write the plan as text: one line per cell, then what is left.

    Args:
        cells: As from `plan`.
        cores: Cores for all jobs together; by default all of this machine.
        gpus: GPUs for all jobs together; by default all of this machine.

    Returns:
        The text, several lines.
    """
    lines = [f"{'status':11s} {'key':16s} {'TFLOP':>8s} {'about':>8s}  run"]
    for planned in cells:
        cost = f"{planned.flops / 1e12:8.3g}" if planned.flops else " " * 8
        lines.append(
            f"{planned.status:11s} {planned.cell.key:16s} {cost} {duration(planned.seconds):>8s}  {planned.cell.label}"
        )
    left = [planned for planned in cells if planned.status != "finished"]
    if not left:
        return "\n".join([*lines, f"{len(cells)} runs, all finished"])
    rates = sorted({p.rate for p in left if p.rate})
    speed = " to ".join(f"{rate / 1e9:,.0f}" for rate in dict.fromkeys((rates[0], rates[-1]))) if rates else "no"
    seconds, at_once = wall(left, cores or os.cpu_count() or 1, len(gpu_leases.devices()) if gpus is None else gpus)
    lines.append(
        f"{len(left)} of {len(cells)} runs to do: {sum(p.flops for p in left) / 1e12:,.3g} TFLOP at {speed} GFLOP/s "
        f"per process, about {duration(seconds) or 'seconds'} with up to {at_once} at once, start-up included"
    )
    return "\n".join(
        [*lines, "What several runs share is counted with the first; an interrupted run has less before it."]
    )


def wall(left: Sequence[Planned], cores: int, gpus: int) -> tuple[float, int]:
    """Estimate how long runs take together, each begun as soon as it fits and what it reads is finished.

    Args:
        left: The runs to do, upstream first.
        cores: Cores for all of them together.
        gpus: GPUs for all of them together.

    Returns:
        Seconds, and how many run side by side at most.
    """
    number = {id(planned.cell): i for i, planned in enumerate(left)}
    missing = [{number[id(read)] for read in planned.cell.reads if id(read) in number} for planned in left]
    uses = [(min(planned.cell.cores, cores), min(planned.cell.gpus, gpus)) for planned in left]
    waiting, free, clock, at_once = list(range(len(left))), (cores, gpus), 0.0, 0
    running: list[tuple[float, int]] = []
    while waiting or running:
        for i in waiting.copy():
            if not missing[i] and uses[i][0] <= free[0] and uses[i][1] <= free[1]:
                free = free[0] - uses[i][0], free[1] - uses[i][1]
                heapq.heappush(running, (clock + left[i].seconds, i))
                waiting.remove(i)
        at_once = max(at_once, len(running))
        clock, done = heapq.heappop(running)
        free = free[0] + uses[done][0], free[1] + uses[done][1]
        for reads in missing:
            reads.discard(done)
    return clock, at_once


def duration(seconds: float) -> str:
    """Write a duration in at most two units: "3 h 20", "12 min", "40 s".

    Args:
        seconds: The duration in seconds.

    Returns:
        The text; empty below one second.
    """
    if seconds < 1:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d}" if hours else f"{minutes} min"
