"""What the benchmarks find, as one table: printed at the end, and written to the folder AUXLEARN_BENCH (`make bench`).

Each kind of processor has its own file there. Sessions of one commit add to it, so that it may be made piece by piece.
"""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from auxlearn.models import devices
from auxlearn.records import checkout
from auxlearn.reporting.pages import pages
from auxlearn.training import shared_parameters

ROWS: list[dict[str, str]] = []
COLUMNS = ("what", "against", "ratio", "range", "aim", "raw")


@pytest.fixture(scope="session")
def precision():
    """What studies of full size train in on this processor: bf16 where it multiplies in it, else fp32."""
    return "bf16" if shared_parameters.has_bf16("cpu") else "fp32"


@pytest.fixture
def ratios():
    """Record ratios of runs that alternated: `ratios(what, against, values, aim="at least 4", raw="430 GFLOP/s")`."""

    def add(what: str, against: str, values: Sequence[float], aim: str = "", raw: str = "") -> None:
        low, middle, high = min(values), statistics.median(values), max(values)
        shown = [f"{x:.3g}" for x in (middle, low, high)]
        ROWS.append(dict(zip(COLUMNS, (what, against, shown[0], f"{shown[1]} to {shown[2]}", aim, raw), strict=True)))

    return add


def table(rows: Sequence[dict[str, str]]) -> str:
    cells = [COLUMNS, *([row[c] for c in COLUMNS] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
    lines = ["| " + " | ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def earlier(text: str, head: str) -> list[dict[str, str]]:
    """Rows of a table under the same heading: of the same machine and commit."""
    if not text.startswith(head):
        return []
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [dict(zip(COLUMNS, map(str.strip, line.strip("|").split("|")), strict=True)) for line in lines[1:]]


def joined(old: Sequence[dict[str, str]], new: Sequence[dict[str, str]]) -> list[dict[str, str]]:
    """Both, what was measured again in the place that it had."""
    return list({(row["what"], row["against"]): row for row in (*old, *new)}.values())


def kind() -> str:
    """The GPU's name, or else the processor's newest extension that matters to matrix products.

    AMD's have the same extension in two generations, of which the second multiplies twice as much.
    """
    if torch.cuda.is_available():
        return "-".join(torch.cuda.get_device_name().lower().split())
    known = devices.capabilities()
    newest = next((name for name in ("amx_bf16", "avx512_bf16", "avx512_f", "avx2") if known.get(name)), "none")
    family = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("cpu family")]
    generation = {"25": "zen4", "26": "zen5"}.get(family[0], "") if family and newest == "avx512_bf16" else ""
    return f"{newest}-{generation}" if generation else newest


def machine() -> str:
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    name = names[0] if names else platform.processor() or platform.machine()
    return f"{os.cpu_count()} cores of {name} ({kind()}), PyTorch {torch.__version__}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def pytest_terminal_summary(terminalreporter):
    if not ROWS:
        return
    terminalreporter.write_line("")
    terminalreporter.write_line(machine())
    terminalreporter.write_line(table(ROWS))
    if folder := os.environ.get("AUXLEARN_BENCH"):
        target = Path(folder) / f"results-{kind()}.md"
        state = pages.commit(checkout.state())
        head = f"# Benchmarks\n\nMade by `make bench` on {machine()}, commit {state}.\n"
        rows = joined(earlier(target.read_text(encoding="utf-8"), head) if target.is_file() else [], ROWS)
        text = f"{head}Ratios of runs that alternated: median and range.\n\n{table(rows)}\n"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, encoding="utf-8")
