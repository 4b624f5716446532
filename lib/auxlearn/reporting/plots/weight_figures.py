"""Figures of notebook 05: task weights over a training and the cosines that move them."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from auxlearn.reporting.plots.figures import COLOURS, PRIMARY, QUIET, style

INK = "#333333"
MOST = 2.5  # of cosines that are drawn to scale: as ratios of estimates they have no bound


def trajectories(table: pd.DataFrame, null: pd.DataFrame, primary: str, column: str = "weight") -> Figure:
    """Weights (or effective shares) against steps, one axis per task: seeds thin, their mean thick, no gradient dotted.

    All axes share one scale; the primary's is red.

    Args:
        table: Columns task, seed, step, weight and share.
        null: The same without gradients.
        primary: The task to mark.
        column: What to draw, "weight" or "share".

    Returns:
        The figure.
    """
    style()
    name = {"weight": "weight", "share": "effective share"}[column]
    figure, axes = _axes(list(dict.fromkeys(table["task"])), primary)
    seeds = table["seed"].nunique()
    for task, axis in axes.items():
        colour = _colour(task, primary)
        own, still = table[table["task"] == task], null[null["task"] == task]
        for _, part in own.groupby("seed"):
            axis.step(part["step"], part[column], where="post", color=colour, lw=0.8, alpha=0.5)
        mean = own.groupby("step")[column].mean()
        axis.step(mean.index, mean, where="post", color=colour, lw=2.4)
        axis.step(still["step"], still[column], where="post", color=INK, lw=1.6, ls=":")
    axis.set_ylim(0, None)  # of all: a scale is fixed once everything is drawn
    handles = [Line2D([], [], color=INK, ls=":", lw=1.6, label="what no gradient gives")]
    handles.insert(
        0, Line2D([], [], color=COLOURS[0], lw=2.4, label=f"mean of {seeds} seeds" if seeds > 1 else "one seed")
    )
    if seeds > 1:
        handles.insert(0, Line2D([], [], color=COLOURS[0], lw=0.8, alpha=0.5, label="a seed"))
    _label(figure, "optimiser steps", name, f"Task {name}s", handles)
    return figure


def cosines(table: pd.DataFrame, primary: str) -> Figure:
    """Measured cosines with the target at every update, one axis per task, seeds side by side; bars: standard errors.

    All axes share one scale, of 2.5 either way at most; triangles at its edges stand for what lies beyond.

    Args:
        table: Columns task, seed, update, cosine, error.
        primary: The task to mark.

    Returns:
        The figure.
    """
    style()
    table = table[table["update"] > 0]
    seeds = list(table["seed"].unique())
    figure, axes = _axes(list(dict.fromkeys(table["task"])), primary)
    for (task, seed), part in table.groupby(["task", "seed"], sort=False):
        axes[task].errorbar(
            part["update"] + _beside(seeds, seed), part["cosine"], part["error"], fmt="o", ms=3, lw=0.8,
            color=_colour(task, primary),
        )  # fmt: skip
    for axis in axes.values():
        axis.axhline(0, color=QUIET, lw=0.8)
        axis.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    low, high = max(-MOST, axis.get_ylim()[0]), min(MOST, axis.get_ylim()[1])
    axis.set_ylim(low, high)
    beyond = table[table["cosine"].abs() > MOST]
    for (task, seed), part in beyond.groupby(["task", "seed"], sort=False):
        above = (part["cosine"] > 0).to_numpy()
        for where, edge, marker in ((above, high, "^"), (~above, low, "v")):
            if where.any():
                at, colour = part["update"][where] + _beside(seeds, seed), _colour(task, primary)
                axes[task].plot(at, [edge] * len(at), marker, ms=7, color=colour, mfc="white", clip_on=False)
    of = f"{len(seeds)} seeds side by side" if len(seeds) > 1 else "one seed"
    outside = "; triangles: beyond the axis" if len(beyond) else ""
    _label(figure, "update", "cosine with the target", f"Gradient cosines, {of}; bars: one standard error{outside}")
    return figure


def _beside(seeds: Sequence[int], seed: int) -> float:
    """Say how far a seed is drawn from the middle of its update."""
    return 0.7 * ((seeds.index(seed) + 0.5) / len(seeds) - 0.5)


def _colour(task: str, primary: str) -> str:
    return PRIMARY if task == primary else COLOURS[0]


def _axes(tasks: Sequence[str], primary: str) -> tuple[Figure, dict[str, Axes]]:
    """Draw a titled panel for each task, four to a row, all of one scale."""
    columns = min(4, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(max(2.4 * columns, 5.0), 1.1 + 1.8 * rows), sharex=True, sharey=True, squeeze=False
    )
    panels = list(grid.flat)
    for axis, task in zip(panels, tasks, strict=False):
        axis.set_title(task, fontsize=10, color=PRIMARY if task == primary else INK)
        axis.tick_params(labelsize=9)
        axis.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    for number, axis in enumerate(panels[len(tasks) :], len(tasks)):
        panels[number - columns].tick_params(labelbottom=True)  # its axis is the lowest of its column
        axis.remove()
    return figure, dict(zip(tasks, panels, strict=False))


def _label(figure: Figure, x: str, y: str, title: str, handles: Sequence[Line2D] = ()) -> None:
    """Label all panels together, with a legend above them."""
    figure.supxlabel(x, fontsize=10)
    figure.supylabel(y, fontsize=10)
    figure.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold")
    if handles:
        figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=9)
