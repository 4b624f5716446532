"""Figures of the proxy's features: t-SNE maps, how reliable its probabilities are, what form alone explains."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from auxlearn.reporting.plots.figures import COLOURS, PRIMARY, QUIET, _figure, task_marks

INK = "#333333"


def tsne(left: pd.DataFrame, right: pd.DataFrame, primary: str, titles: tuple[str, str]) -> Figure:
    """Two maps of the same kind of rows, e.g. without and with a discriminator; the primary lies on top.

    The axes have no unit and no ticks. Points of the other tasks are drawn in a mixed, fixed order, so that no task
    covers another for being later in the table.

    Args:
        left: Columns x, y, task; one row per point (`feature_map.tsne_table`).
        right: The same for the second map.
        primary: The task to draw on top.
        titles: Of the two maps.

    Returns:
        The figure.
    """
    figure, axes = _figure(2, 9.5, 4.7)
    names = list(dict.fromkeys([*left["task"], *right["task"]]))
    marks = task_marks(names, primary)
    size = float(np.clip(9000 / max(len(left), len(right), 1), 5, 22))
    for axis, points, title in zip(axes, (left, right), titles, strict=True):
        mixed = points.iloc[np.random.default_rng(0).permutation(len(points))]
        for marker in dict.fromkeys(m for _, m in marks.values()):
            others = mixed[[t != primary and marks[t][1] == marker for t in mixed["task"]]]
            colours = [marks[t][0] for t in others["task"]]
            axis.scatter(others["x"], others["y"], s=size, c=colours or None, marker=marker, alpha=0.55, lw=0)
        own = points[points["task"] == primary]
        axis.scatter(own["x"], own["y"], s=1.5 * size, color=PRIMARY, edgecolor="white", lw=0.3, zorder=3)
        axis.set(title=title, xticks=[], yticks=[], aspect="equal", adjustable="datalim")
        axis.margins(0.04)
        for side in axis.spines.values():
            side.set(visible=True, color="#C9D0D6")
    handles = [
        Line2D([], [], linestyle="", marker=marker, color=colour, ms=8 if name == primary else 6, label=name)
        for name, (colour, marker) in marks.items()
    ]
    legend = figure.legend(
        handles=handles, loc="outside lower center", ncols=min(len(handles), 6), fontsize=9, handletextpad=0.2
    )
    legend.get_texts()[0].set(fontweight="bold")
    return figure


def reliability(tables: Mapping[str, pd.DataFrame], primary: str) -> Figure:
    """Predicted against observed, one line per task: the primary with 95 % Wilson intervals, and beside it the others.

    On the diagonal a probability means what it says; below it, too much is promised.

    Args:
        tables: By task, as from `calibration.reliability`: columns predicted, observed, low, high.
        primary: The task to mark.

    Returns:
        The figure.
    """
    others = {name: table for name, table in tables.items() if name != primary}
    figure, axes = _figure(columns=1 + bool(others), width=4.6 * (1 + bool(others)), height=4.6)
    for axis, own in zip(axes, ({primary: tables[primary]}, others), strict=False):
        for i, (name, part) in enumerate(own.items()):
            if name == primary:
                # Wilson's interval can exclude 0 or 1 by rounding alone: no bar shorter than nothing.
                bars = np.stack([part["observed"] - part["low"], part["high"] - part["observed"]]).clip(min=0)
                axis.errorbar(
                    part["predicted"], part["observed"], yerr=bars, fmt="-o", color=PRIMARY, ms=6, lw=1.8,
                    elinewidth=1.3, capsize=3, label=primary, zorder=3,
                )  # fmt: skip
            else:
                axis.plot(
                    part["predicted"], part["observed"], "-o", color=QUIET, ms=3, lw=1, alpha=0.8,
                    label=f"{len(own)} other task{'s' if len(own) > 1 else ''}" if not i else None,
                )  # fmt: skip
        # A task of few rows has small probabilities alone: each panel is as wide as what it shows.
        most = max(float(part[["predicted", "observed", "high"]].max().max()) for part in own.values())
        most = min(1.0, 1.1 * most) if most > 0 else 1.0
        axis.plot([0, most], [0, most], color=INK, linestyle="--", lw=1, label="perfect", zorder=1)
        axis.set(
            xlim=(-0.03 * most, 1.03 * most), ylim=(-0.03 * most, 1.03 * most), aspect="equal",
            xlabel="predicted probability of the task (bin mean)", ylabel="share of rows that are the task's",
        )  # fmt: skip
        axis.locator_params(nbins=5)
        axis.legend(fontsize=9, loc="upper left")
    figure.suptitle("Do the probabilities mean what they say? (first seed)")
    return figure


def auc_beside(table: pd.DataFrame) -> Figure:
    """How well each task is told from the others, by the discriminator and by surface cues alone.

    A short bar at a high AUC is a task that form alone gives away.

    Args:
        table: Index task, columns discriminator and surface, each an AUC.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(height=1.9 + 0.36 * len(table))
    place = np.arange(len(table))
    lower, upper = table[["discriminator", "surface"]].min(axis=1), table[["discriminator", "surface"]].max(axis=1)
    axis.axvline(0.5, color=INK, linestyle="--", lw=1, zorder=1)
    axis.hlines(place, lower, upper, color="#C9D0D6", lw=3, zorder=2)
    # An open diamond around a full dot: both are seen where they coincide.
    axis.plot(table["surface"], place, "D", mfc="white", mec=COLOURS[1], ms=10, mew=2, label="surface cues", zorder=3)
    axis.plot(table["discriminator"], place, "o", color=COLOURS[0], ms=6, label="discriminator", zorder=4)
    left = min(0.47, np.nanmin(lower) - 0.03) if lower.notna().any() else 0.47
    axis.set(xlim=(left, 1.02), xlabel="AUC on rows not trained on (0.5 = cannot tell)", yticks=place)
    axis.set_yticklabels(table.index)
    axis.set_ylim(len(table) - 0.5, -0.75)
    across = axis.get_yaxis_transform()  # the numbers stand in two columns beside the axes, clear of the dots
    columns = ((1.06, "discriminator", "discr.", COLOURS[0]), (1.15, "surface", "surface", "#9A6700"))
    for x, column, head, colour in columns:
        for y, value in zip(place, table[column], strict=True):
            text = "–" if np.isnan(value) else f"{value:.3f}"
            axis.text(x, y, text, transform=across, ha="center", va="center", fontsize=9, color=colour)
        axis.text(x, -0.62, head, transform=across, ha="center", va="bottom", fontsize=9, color=colour)
    axis.set_title("How much of the separation is only format? (first seed)", pad=14)
    axis.grid(axis="y", visible=False)
    handles, labels = axis.get_legend_handles_labels()
    figure.legend(handles[::-1], labels[::-1], loc="outside lower center", ncols=2, fontsize=9)
    return figure
