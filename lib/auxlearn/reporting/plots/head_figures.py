"""Figures of notebook 04: head importance and its correlations."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from auxlearn.reporting.plots.figures import COLOURS, PRIMARY, QUIET, _figure, style, violins


def matrices(values: np.ndarray, tasks: Sequence[str], primary: str) -> Figure:
    """One small heat map per task, all of one scale.

    Layers run downwards.

    Args:
        values: Importance in 0..1, [tasks, layers, heads].
        tasks: Names, in the order of `values`.
        primary: The task to mark.

    Returns:
        The figure.
    """
    style()
    columns = min(5, len(tasks))
    lines = -(-len(tasks) // columns)
    figure, axes = plt.subplots(lines, columns, figsize=(1.9 * columns, 1.65 * lines + 0.3), squeeze=False)
    for axis, name, matrix in zip(axes.flat, tasks, values, strict=False):
        image = axis.imshow(matrix, cmap="viridis", vmin=0, vmax=1, aspect="auto")
        axis.set_title(name, fontsize=9, color=PRIMARY if name == primary else "#222222")
        axis.set(xticks=[], yticks=[])
        axis.grid(False)
    for axis in axes.flat[len(tasks) :]:
        axis.set_visible(False)
    axes[0, 0].set_ylabel("layers", fontsize=8)
    axes[0, 0].set_xlabel("heads", fontsize=8)
    bar = figure.colorbar(image, ax=axes, fraction=0.02, pad=0.01, ticks=[0, 0.5, 1])
    bar.set_label("importance, scaled (first seed)", fontsize=8)
    bar.ax.tick_params(labelsize=8)
    return figure


def correlations(table: pd.DataFrame, tasks: Sequence[str]) -> Figure:
    """tau between tasks, raw and centred, means over seeds.

    Args:
        table: Columns task, other, tau, centred; one row per pair and seed.
        tasks: The tasks to draw, in order.

    Returns:
        The figure.
    """
    import seaborn as sns

    side = 1.6 + 0.42 * len(tasks)
    figure, axes = _figure(2, 2 * side + 1.2, side + 0.4)
    for axis, column, title in zip(
        axes, ("tau", "centred"), ("tau as measured, mean over seeds", "tau, mean profile removed"), strict=True
    ):
        wide = table.pivot_table(index="task", columns="other", values=column, aggfunc="mean")
        wide = wide.reindex(index=tasks, columns=tasks)
        sns.heatmap(
            wide, ax=axis, annot=True, fmt=".2f", cmap="vlag", vmin=-1, vmax=1, center=0, cbar=False, linewidths=0.5,
            annot_kws={"fontsize": 7},
        )  # fmt: skip
        filled = wide.notna().to_numpy().ravel()  # cells without a number have no text
        for text, (red, green, blue, _) in zip(axis.texts, axis.collections[0].get_facecolors()[filled], strict=True):
            # WCAG's luminance; seaborn takes white for colours on which dark reads better.
            linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (red, green, blue)]
            text.set_color("black" if np.dot(linear, (0.2126, 0.7152, 0.0722)) > 0.179 else "white")
        axis.set(title=title, xlabel="", ylabel="")
        axis.tick_params(axis="x", rotation=60, labelsize=8)
        axis.tick_params(axis="y", rotation=0, labelsize=8)
    return figure


def against_chance(null: pd.DataFrame, ceiling: pd.DataFrame, primary: str) -> Figure:
    """tau with the primary between what chance reaches and what a task reaches with itself.

    Args:
        null: Index task, columns tau, null_95.
        ceiling: Index task, columns halves, seeds; seeds are drawn where they are known.
        primary: The primary's name.

    Returns:
        The figure.
    """
    order = null.sort_values("tau", ascending=False)
    figure, (axis,) = _figure(height=1.5 + 0.36 * len(order))
    place, seeds = np.arange(len(order)), ceiling.loc[order.index, "seeds"]
    most = seeds.fillna(ceiling["halves"])
    axis.hlines(place, order["null_95"], most, color=QUIET, lw=6, alpha=0.35)
    axis.plot(order["null_95"], place, "|", color="#333333", ms=14, mew=2, label="chance (95 % of permutations below)")
    if seeds.notna().any():
        axis.plot(seeds, place, "|", color=COLOURS[2], ms=14, mew=2, label="itself, two seeds")
    axis.plot(ceiling.loc[order.index, "halves"], place, "x", color=COLOURS[2], ms=7, label="itself, two halves")
    axis.plot(order["tau"], place, "o", color=PRIMARY, ms=8, label=f"with {primary}")
    axis.set_yticks(place, order.index)
    axis.invert_yaxis()
    axis.set(xlabel="Kendall's tau of head importance", title="Between chance and the ceiling, means over seeds")
    axis.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.6 / figure.get_figheight()), ncols=2)
    axis.grid(axis="y", visible=False)
    return figure


def row_taus(table: pd.DataFrame, order: Sequence[str], primary: str) -> Figure:
    """Distribution of rows' tau with the primary, by task.

    Args:
        table: Columns task, and one named as the primary (tau of each row).
        order: The tasks to draw, from the top.
        primary: The primary's name.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(height=1.5 + 0.42 * len(order))
    violins(axis, table[table["task"].isin(order)], primary, order)
    axis.set(xlabel=f"tau with the matrix of {primary}", ylabel="", title="Single rows of all seeds")
    return figure
