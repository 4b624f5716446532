"""What the benchmarks find, as one table: printed at the end, and written where AUXLEARN_BENCH says (`make bench`)."""

import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

ROWS: list[dict[str, str]] = []
COLUMNS = ("what", "against", "ratio", "range", "aim")


@pytest.fixture
def ratios():
    """Record ratios of runs that alternated: `ratios(what, against, values, aim="at least 4")`."""

    def add(what: str, against: str, values: Sequence[float], aim: str = "") -> None:
        low, middle, high = min(values), statistics.median(values), max(values)
        shown = [f"{x:.3g}" for x in (middle, low, high)]
        ROWS.append(dict(zip(COLUMNS, (what, against, shown[0], f"{shown[1]} to {shown[2]}", aim), strict=True)))

    return add


def table() -> str:
    cells = [COLUMNS, *([row[c] for c in COLUMNS] for row in ROWS)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(COLUMNS))]
    lines = ["| " + " | ".join(x.ljust(w) for x, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def machine() -> str:
    names = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    known = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    kinds = [name for name in ("avx2", "avx512_bf16", "amx_bf16") if known.get(name)]
    return (
        f"{os.cpu_count()} cores of {names[0] if names else platform.processor() or platform.machine()} "
        f"({', '.join(kinds) or 'no vector extension known'}), PyTorch {torch.__version__}"
    )


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
    terminalreporter.write_line(table())
    if target := os.environ.get("AUXLEARN_BENCH"):
        head = f"# Benchmarks\n\nMade by `make bench` on {machine()}.\n"
        text = f"{head}Ratios of runs that alternated: median and range.\n\n{table()}\n"
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        Path(target).write_text(text, encoding="utf-8")
