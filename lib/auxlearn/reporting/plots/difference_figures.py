"""Figures of numbers beside one another with their intervals: differences between arms, and what methods choose."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from auxlearn.evaluation import verdicts
from auxlearn.reporting.plots.figures import COLOURS, _figure

SHOWN, TESTED, UNTESTED = "shown", "tested", "untested"
MARKS = {
    SHOWN: "filled: shown by a corrected test", TESTED: "hollow: tested or undecided, not shown",
    UNTESTED: "bar: not tested",
}  # fmt: skip


def _forest(
    axis: Axes, table: pd.DataFrame, colour: str, shift: float, label: str, low: str, high: str,
    marks: Sequence[str] | None = None,
) -> None:  # fmt: skip
    place = np.arange(len(table)) + shift
    axis.hlines(place, table[low], table[high], color=colour, lw=2.2, label=label)
    for at, (value, mark) in enumerate(zip(table["difference"], marks or [SHOWN] * len(table), strict=True)):
        if mark == UNTESTED:
            axis.plot(value, place[at], "|", color=colour, mew=2.2, ms=11)
        elif mark:
            axis.plot(value, place[at], "o", color=colour, mfc=colour if mark == SHOWN else "white", mew=1.8, ms=7)


def differences(
    table: pd.DataFrame, metric: str, baseline: str = "single-task", seeds: int = 0, tested: pd.DataFrame | None = None
) -> Figure:
    """Paired differences with both intervals; index (arm, baseline) names each pair, index arm those to `baseline`.

    A filled point is a difference that a test shows after correction, a hollow one is tested and not shown, a bar was
    not tested; an arm that chose no row is named as such.

    Args:
        table: Index (arm, baseline) or arm; columns difference, low, high (over seeds), row_low, row_high (over seeds
            and dev rows), verdict.
        metric: The metric's name.
        baseline: What arms are compared with where the index does not name it.
        seeds: How many seeds, said on the axis; 0 for nothing.
        tested: The same of pairs of arms, drawn below.

    Returns:
        The figure.
    """
    pairs = table.index.nlevels > 1
    both = [table] + ([] if tested is None else [tested])
    heights = [0.5 + 0.6 * len(each) for each in both]
    figure, grid = _figure(width=8, height=1.2 + sum(heights), rows=heights)
    used: list[str] = []
    for axis, each in zip(grid, both, strict=True):
        told = [verdicts.parse_verdict(verdict) for verdict in each["verdict"]]
        marks = [_mark(word) for _, word in told]
        used += marks
        _forest(axis, each, COLOURS[0], -0.14, "t interval over seeds", "low", "high", marks)
        if each["row_low"].notna().all():
            _forest(axis, each, COLOURS[1], 0.14, "over seeds and dev rows", "row_low", "row_high", [""] * len(each))
        axis.axvline(0, color="#333333", linewidth=1)
        if np.ptp(axis.get_xlim()) < 1e-6:  # all differences are 0, and their intervals too
            axis.set_xlim(-0.01, 0.01)
        of_pairs = each.index.nlevels > 1
        names = [f"{a} − {b}" for a, b in each.index] if of_pairs else list(each.index)
        for at, (notes, _) in enumerate(told):
            names[at] = "\n".join([names[at], *notes])
        axis.set_yticks(range(len(each)), names)
        axis.set_ylim(len(each) - 0.5, -0.5)
        axis.grid(axis="y", visible=False)
        axis.set_title("What is it that helps?" if of_pairs else "Does the auxiliary data help?")
    if tested is not None:
        grid[1].set_title("Tested against each other")
    ends = [axis.get_xlim() for axis in grid]
    for axis in grid:
        axis.set_xlim(min(low for low, _ in ends), max(high for _, high in ends))
    of = f" ({seeds} seed{'s' * (seeds != 1)})" if seeds else ""
    to = "" if pairs else f" to {baseline}" if tested is None else f" to {baseline} (above), or between arms"
    grid[-1].set(xlabel=f"{metric}: difference{to}{of}")
    for mark in (mark for mark in MARKS if mark in used):
        style = {"marker": "|", "ms": 11} if mark == UNTESTED else {"marker": "o", "ms": 7}
        fill = "#333333" if mark == SHOWN else "white"
        grid[0].plot([], [], ls="", color="#333333", mfc=fill, mew=1.8, label=MARKS[mark], **style)  # type: ignore[arg-type]
    handles, labels = grid[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, fontsize=9, loc="outside lower center", ncols=2
    )  # in the axis it would end at the right edge
    return figure


def _mark(word: str) -> str:
    """Return how a verdict is marked."""
    return SHOWN if word in ("better", "worse") else UNTESTED if word == "not tested" else TESTED


def chosen_shares(table: pd.DataFrame, what: str, pool: float) -> Figure:
    """The share of rows that help among those that each method has chosen, the highest first; intervals over seeds.

    Args:
        table: Index method; columns mean, low, high; NaN of a method that chose no row, which comes last.
        what: What rows that help are called.
        pool: Their share of the pool.

    Returns:
        The figure.
    """
    table = table.sort_values("mean", ascending=False, kind="stable")
    figure, (axis,) = _figure(width=8, height=1.9 + 0.3 * len(table))
    _forest(axis, table.rename(columns={"mean": "difference"}), COLOURS[0], 0.0, "t interval over seeds", "low", "high")
    axis.axvline(pool, color="#333333", linewidth=1, label="the pool")
    names = [name if np.isfinite(mean) else f"{name} (chose nothing)" for name, mean in table["mean"].items()]
    axis.set_yticks(range(len(table)), names)
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.set(xlabel=f"share of {what} rows among those chosen", xlim=(-0.02, 1.02))
    axis.set_title("Does it choose what is known to help?")
    figure.legend(fontsize=9, loc="outside lower center", ncols=2)  # within a long board no place is free for sure
    axis.grid(axis="y", visible=False)
    return figure
