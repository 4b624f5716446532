"""What a study has before it: its cells, what is finished, and what the rest will take on this machine.

FLOPs are projected (`prices`); how many this machine does in a second is read from trainings that it has finished, with
the same encoder, precision and threads, or else measured by a few steps of one. An estimate: it leaves out notebooks'
start (some seconds each), evaluation and what the price leaves out, and jobs beside one another slow each other down.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from auxlearn.data import suites
from auxlearn.records import runs
from auxlearn.studies import graph, parameters
from auxlearn.studies.pricing import prices

ROWS, BATCH = 192, 32  # of the training that is measured


@dataclass(frozen=True)
class Planned:
    """A cell before it runs."""

    status: str
    cell: graph.Cell
    flops: float  # that it adds, were nothing finished
    rate: float  # FLOP/s of its kind on this machine; 0 where it has none to do

    @property
    def seconds(self) -> float:
        """That it has before it: none when it is finished."""
        return max(0.0, self.flops / self.rate) if self.rate and self.status != "finished" else 0.0


def plan(path: Path) -> list[Planned]:
    """Every cell of a study in the order of its keys' making, upstream first. InputError as from `graph.load`."""
    cells = graph.load(path).cells
    flops = prices.by_cell(path, cells)
    statuses = [runs.read(cell.stage, cell.key)[0] for cell in cells]
    rates: dict[tuple[object, ...], float] = {}
    made = []
    for cell, flop, status in zip(cells, flops, statuses, strict=True):
        at = _kind(cell.params)
        if flop and status != "finished" and at not in rates:
            rates[at] = seen(cell.params) or measured(cell.params)
        made.append(Planned(status, cell, flop, rates.get(at, 0.0)))
    return made


def _kind(p: parameters.Common) -> tuple[object, ...]:
    return p.encoder, p.precision, p.threads, p.device


def seen(p: parameters.Common) -> float:
    """FLOP/s over this run folder's trainings of the same encoder, precision, threads and device; 0 without any."""
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
    """FLOP/s of a short training of the primary's rows, after one that only warms up."""
    from auxlearn import seeding
    from auxlearn.training import train

    suite = suites.load(p.suite, p.rows)
    rows = {p.primary: np.arange(min(len(suite[p.primary].train), ROWS))}
    short = [train.Phase(name, rows, 1, train.Recipe(lr=1e-6, batch_size=BATCH)) for name in ("warm_up", "measured")]
    plan = train.Plan(
        p.encoder, tuple(short), seeding.record(0), max_length=p.max_length, precision=p.precision, device=p.device,
        threads=p.threads,
    )  # fmt: skip
    ledger = train.run(plan, suite).ledgers[-1]
    return ledger.flops / ledger.seconds


def shown(cells: Sequence[Planned], cores: int | None = None) -> str:
    """The plan as text: a line a cell, then what is left."""
    lines = [f"{'status':11s} {'key':16s} {'TFLOP':>8s} {'about':>8s}  run"]
    for planned in cells:
        cost = f"{planned.flops / 1e12:8.3g}" if planned.flops else " " * 8
        lines.append(
            f"{planned.status:11s} {planned.cell.key:16s} {cost} {duration(planned.seconds):>8s}  {planned.cell.label}"
        )
    left = [planned for planned in cells if planned.status != "finished"]
    if not left:
        return "\n".join([*lines, f"{len(cells)} runs, all finished"])
    cores = cores or os.cpu_count() or 1
    at_once = max(1, cores // max(p.cell.params.threads for p in left))
    seconds = sum(p.seconds for p in left)
    rates = sorted({p.rate for p in left if p.rate})
    wall = duration(max(seconds / at_once, max(p.seconds for p in left))) or "seconds"
    speed = " to ".join(f"{rate / 1e9:,.0f}" for rate in dict.fromkeys((rates[0], rates[-1]))) if rates else "no"
    lines.append(
        f"{len(left)} of {len(cells)} runs to do: {sum(p.flops for p in left) / 1e12:,.3g} TFLOP at {speed} GFLOP/s a "
        f"run, about {wall} with {at_once} at once"
    )
    return "\n".join(
        [*lines, "What several runs share is counted with the first; an interrupted run has less before it."]
    )


def duration(seconds: float) -> str:
    """ "3 h 20 min", "12 min", "40 s"; empty for none."""
    if seconds < 1:
        return ""
    if seconds < 90:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{hours} h {minutes:02d}" if hours else f"{minutes} min"
