"""Figures of notebook 05: task weights over a training and the cosines that move them."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .plots import PRIMARY, QUIET, style


def _colours(tasks: Sequence[str], primary: str) -> dict[str, object]:
    import seaborn as sns

    others = [task for task in tasks if task != primary]
    return {primary: PRIMARY} | dict(zip(others, sns.color_palette("husl", len(others)), strict=True))


def trajectories(table: pd.DataFrame, null: pd.DataFrame, primary: str, column: str = "weight") -> Figure:
    """Weights (or effective shares) against steps: a thin line a seed, dotted what no gradient would have given."""
    style()
    tasks = list(dict.fromkeys(table["task"]))
    colours = _colours(tasks, primary)
    figure, axis = plt.subplots(figsize=(8, 4))
    for task in tasks:
        for number, (_, part) in enumerate(table[table["task"] == task].groupby("seed")):
            axis.step(part["step"], part[column], where="post", color=colours[task], lw=1.2, alpha=0.8,
                      label=task if not number else None)  # fmt: skip
        part = null[null["task"] == task]
        axis.step(part["step"], part[column], where="post", color=colours[task], lw=1.6, ls=":")
    axis.plot([], [], color=QUIET, ls=":", label="no gradient")
    names = {"weight": "weight", "share": "effective share"}
    axis.set(
        xlabel="optimiser steps", ylabel=names[column], ylim=(0, None), title=f"Task {names[column]}s, seed by seed"
    )
    _legend(axis)
    return figure


def cosines(table: pd.DataFrame, primary: str) -> Figure:
    """Measured cosines with the target at every update, with their standard errors; seeds side by side."""
    style()
    table = table[table["update"] > 0]
    tasks = list(dict.fromkeys(table["task"]))
    colours = _colours(tasks, primary)
    figure, axis = plt.subplots(figsize=(8, 4))
    places = [(task, seed) for task in tasks for seed in table["seed"].unique()]
    for number, (task, seed) in enumerate(places):
        part = table[(table["task"] == task) & (table["seed"] == seed)]
        at = part["update"] + 0.7 * ((number + 0.5) / len(places) - 0.5)
        axis.errorbar(at, part["cosine"], part["error"], fmt="o", ms=3, lw=0.8, color=colours[task],
                      label=task if seed == places[0][1] else None)  # fmt: skip
    axis.axhline(0, color=QUIET, lw=0.8)
    axis.set(xlabel="update", ylabel="cosine with the target", title="Gradient cosines, with standard errors")
    axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    axis.set_ylim(max(-2.5, axis.get_ylim()[0]), min(2.5, axis.get_ylim()[1]))
    _legend(axis)
    return figure


def _legend(axis: Axes) -> None:
    axis.legend(loc="upper left", bbox_to_anchor=(1.01, 1), frameon=False, fontsize=8)
