"""Figures of notebook 05: task weights over a training and the cosines that move them."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from auxlearn.reporting.plots.figures import PRIMARY, QUIET, style

TOGETHER = 3  # seeds that one axis shows of every task


def _colours(tasks: Sequence[str], primary: str) -> dict[str, object]:
    import seaborn as sns

    others = [task for task in tasks if task != primary]
    return {primary: PRIMARY} | dict(zip(others, sns.color_palette("husl", len(others)), strict=True))


def trajectories(table: pd.DataFrame, null: pd.DataFrame, primary: str, column: str = "weight") -> Figure:
    """Weights (or effective shares) against steps: one thin line per seed, dotted what no gradient would have given.

    From 4 seeds on each task has a panel of its own, with the mean over seeds as a thick line.

    Args:
        table: Columns task, seed, step, weight and share.
        null: The same without gradients.
        primary: The task to mark.
        column: What to draw, "weight" or "share".

    Returns:
        The figure.
    """
    style()
    tasks = list(dict.fromkeys(table["task"]))
    colours = _colours(tasks, primary)
    name = {"weight": "weight", "share": "effective share"}[column]
    apart = table["seed"].nunique() > TOGETHER
    figure, axes = _axes(tasks, apart)
    for task in tasks:
        axis, colour = axes[task], colours[task]
        own, still = table[table["task"] == task], null[null["task"] == task]
        for number, (_, part) in enumerate(own.groupby("seed")):
            axis.step(part["step"], part[column], where="post", color=colour, lw=0.8 if apart else 1.2,
                      alpha=0.5 if apart else 0.8, label=task if not number else None)  # fmt: skip
        if apart:
            mean = own.groupby("step")[column].mean()
            axis.step(mean.index, mean, where="post", color=colour, lw=2.4)
        axis.step(still["step"], still[column], where="post", color="#333333" if apart else colour, lw=1.6, ls=":")
    for axis in set(axes.values()):
        axis.set_ylim(0, None)
    title = f"Task {name}s: seeds, their mean, and what no gradient gives (dotted)"
    if not apart:
        axis.plot([], [], color=QUIET, ls=":", label="no gradient")
        title = f"Task {name}s, seed by seed"
    _label(figure, None if apart else axis, "optimiser steps", name, title)
    return figure


def cosines(table: pd.DataFrame, primary: str) -> Figure:
    """Measured cosines with the target at every update, with their standard errors; seeds side by side.

    From 4 seeds on each task has a panel of its own. What lies beyond 2.5 either way is not drawn.

    Args:
        table: Columns task, seed, update, cosine, error.
        primary: The task to mark.

    Returns:
        The figure.
    """
    style()
    table = table[table["update"] > 0]
    tasks, seeds = list(dict.fromkeys(table["task"])), table["seed"].unique()
    colours = _colours(tasks, primary)
    apart = len(seeds) > TOGETHER
    figure, axes = _axes(tasks, apart)
    places = [(task, seed) for task in tasks for seed in seeds]
    for number, (task, seed) in enumerate(places):
        part = table[(table["task"] == task) & (table["seed"] == seed)]
        place, among = (number % len(seeds), len(seeds)) if apart else (number, len(places))
        at = part["update"] + 0.7 * ((place + 0.5) / among - 0.5)
        axes[task].errorbar(at, part["cosine"], part["error"], fmt="o", ms=2 if apart else 3, lw=0.8,
                            color=colours[task], label=task if seed == seeds[0] else None)  # fmt: skip
    for axis in set(axes.values()):
        axis.axhline(0, color=QUIET, lw=0.8)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_ylim(max(-2.5, axis.get_ylim()[0]), min(2.5, axis.get_ylim()[1]))
    title = "Gradient cosines, with standard errors"
    _label(figure, None if apart else axis, "update", "cosine with the target", title)
    return figure


def _axes(tasks: Sequence[str], apart: bool) -> tuple[Figure, dict[str, Axes]]:
    """One axis for all tasks, or a titled panel for each, four to a row."""
    if not apart:
        figure, axis = plt.subplots(figsize=(8, 4))
        return figure, dict.fromkeys(tasks, axis)
    columns = min(4, len(tasks))
    rows = -(-len(tasks) // columns)
    figure, grid = plt.subplots(
        rows, columns, figsize=(2.4 * columns, 0.7 + 1.9 * rows), sharex=True, sharey=True, squeeze=False
    )
    panels = list(grid.flat)
    for axis, task in zip(panels, tasks, strict=False):
        axis.set_title(task, fontsize=9)
    for axis in panels[len(tasks) :]:
        axis.remove()
    return figure, dict(zip(tasks, panels, strict=False))


def _label(figure: Figure, axis: Axes | None, x: str, y: str, title: str) -> None:
    """Label the one axis, with a legend beside it, or all panels together."""
    if axis is not None:
        axis.set(xlabel=x, ylabel=y, title=title)
        axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)
        return
    figure.supxlabel(x, fontsize=10)
    figure.supylabel(y, fontsize=10)
    figure.suptitle(title, x=0.02, ha="left", fontsize=11, fontweight="bold")
