"""What a study has left to do: its cells, which of them are finished, and how long the rest will take on this machine.

FLOPs are forecast (`forecasts`). How many this machine does per second is read from trainings that it has
finished with the same encoder, precision, threads and device, or else measured on a few steps of one. The result is an
estimate: it leaves out leaks, tables and figures, and jobs that run side by side slow each other down.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

import numpy as np

from auxlearn.data import suites
from auxlearn.records import runs
from auxlearn.studies import forecasts, graph, parameters
from auxlearn.studies.engine import gpu_leases

ROWS, BATCH = 192, 32  # of the training that is measured
PROCESSES = 3  # that a notebook starts: its job, papermill and the kernel


@dataclass(frozen=True)
class Planned:
    """A cell before it runs."""

    status: str
    cell: graph.Cell
    flops: float  # that it adds, were nothing finished
    rate: float  # FLOP/s of its kind on this machine; 0 where it has none to do
    start: float = 0.0  # seconds until a notebook's first cell

    @property
    def seconds(self) -> float:
        """Seconds that the cell still needs, its seeds dealt to its workers; 0 if it is finished."""
        if self.status == "finished":
            return 0.0
        p = self.cell.params
        share = max(1, min(p.workers, len(getattr(p, "seeds", [0]))))
        return self.start + (max(0.0, self.flops / self.rate) / share if self.rate else 0.0)


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
        FLOP/s over all such trainings of this run folder; 0 without any.
    """
    from auxlearn.models import encoders

    encoder, here = encoders.fingerprint(p.encoder), runs.device_name(p.device)
    flops = seconds = 0.0
    for manifest in runs.all_runs("train"):
        q = manifest.params
        alike = (q["encoder"], q["precision"], q["threads"], q["device"]) == (encoder, p.precision, p.threads, p.device)
        if alike and manifest.device == here:
            flops += sum(row["flops"] for row in manifest.ledger)
            seconds += sum(row["seconds"] for row in manifest.ledger)
    return flops / seconds if seconds else 0.0


def measured(p: parameters.Common) -> float:
    """Measure the rate on a short training of the primary's rows, after one that only warms up.

    Args:
        p: Parameters of the cell that is to run.

    Returns:
        FLOP/s.
    """
    from auxlearn import seeding
    from auxlearn.training import train

    suite = suites.load(p.suite, p.rows)
    rows = {p.primary: np.arange(min(len(suite[p.primary].train), ROWS))}
    short = [train.Phase(name, rows, 1, train.Recipe(lr=1e-6, batch_size=BATCH)) for name in ("warm_up", "measured")]
    precision = cast(Literal["fp32", "bf16"], p.precision)  # "auto" is decided when a cell is resolved
    plan = train.Plan(
        p.encoder, tuple(short), seeding.record(0), max_length=p.max_length, precision=precision, device=p.device,
        threads=p.threads,
    )  # fmt: skip
    ledger = train.run(plan, suite).ledgers[-1]
    return ledger.flops / ledger.seconds


def shown(cells: Sequence[Planned], cores: int | None = None, gpus: int | None = None) -> str:
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
    """Estimate how long runs take together: no less than cores, GPUs or the longest chain of runs allow.

    Args:
        left: The runs to do.
        cores: Cores for all of them together.
        gpus: GPUs for all of them together.

    Returns:
        Seconds, and how many of the widest run fit side by side.
    """
    ends: dict[int, float] = {}
    of = {id(planned.cell): planned for planned in left}
    for planned in left:  # upstream first
        begins = max((ends.get(id(read), 0.0) for read in planned.cell.reads if id(read) in of), default=0.0)
        ends[id(planned.cell)] = begins + planned.seconds
    uses = [(min(p.cell.cores, cores), min(p.cell.gpus, gpus) if gpus else 0, p.seconds) for p in left]
    busy = [sum(use[0] * use[2] for use in uses) / cores]
    busy += [sum(use[1] * use[2] for use in uses) / gpus] if gpus else []
    widest = max(uses)
    at_once = max(1, cores // max(1, widest[0]))
    if most := max(use[1] for use in uses):
        at_once = min(at_once, gpus // most)
    return max([*busy, *ends.values()]), min(at_once, len(left))


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
