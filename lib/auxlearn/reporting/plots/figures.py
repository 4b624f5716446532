"""One function per figure, one house style. Figures draw tables that the caller has computed and printed.

The first line of a figure's docstring is its alternative text in reports (`pages.alt`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

# Okabe-Ito: told apart with any colour vision, and in print.
COLOURS = [
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#8C7A00", "#444444", "#9467BD", "#7F7F7F",
]  # fmt: skip
PRIMARY = "#D55E00"
QUIET = "#9AA5B1"
MARKERS = "os^Dv"  # of tasks


# seaborn's theme (context "notebook", style "whitegrid") and what is changed in it here. Written out, because seaborn
# imports scipy.stats, statsmodels and ipywidgets, a second that most notebooks spend on nothing else.
STYLE: dict[Any, Any] = {
    "axes.axisbelow": True, "axes.edgecolor": ".8", "axes.grid": True, "axes.labelcolor": ".15", "axes.labelsize": 10,
    "axes.linewidth": 1.25, "axes.prop_cycle": cycler(color=COLOURS), "axes.spines.right": False,
    "axes.spines.top": False, "axes.titlelocation": "left", "axes.titlesize": 11, "axes.titleweight": "bold",
    "figure.constrained_layout.use": True, "figure.dpi": 96, "font.size": 12, "grid.color": "#E8ECEF",
    "font.sans-serif": ["Arial", "DejaVu Sans", "Liberation Sans", "Bitstream Vera Sans", "sans-serif"],
    "grid.linewidth": 1, "legend.fontsize": 11, "legend.frameon": False, "legend.title_fontsize": 12,
    "lines.solid_capstyle": "round", "patch.edgecolor": "w", "patch.force_edgecolor": True, "savefig.dpi": 96,
    "text.color": ".15", "xtick.bottom": False, "ytick.left": False,
} | {
    f"{axis}tick.{name}": value
    for axis in "xy"
    for name, value in {
        "color": ".15", "labelsize": 11, "major.size": 6, "major.width": 1.25, "minor.size": 4, "minor.width": 1,
    }.items()
}  # fmt: skip


def style() -> None:
    """Set the house style for all figures drawn from here on."""
    plt.rcParams.update(STYLE)


def _figure(
    columns: int = 1, width: float = 8.0, height: float = 3.4, rows: Sequence[float] = ()
) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """Make a figure of panels side by side, or of some heights below one another."""
    style()
    if rows:
        figure, axes = plt.subplots(len(rows), 1, figsize=(width, height), squeeze=False, height_ratios=list(rows))
        return figure, axes[:, 0]
    figure, axes = plt.subplots(1, columns, figsize=(width, height), squeeze=False)
    return figure, axes[0]


def _bar_height(rows: int) -> float:
    return 1.3 + 0.34 * rows


def _bars(values: pd.Series, primary: str, form: str) -> tuple[Figure, Axes]:
    """One bar per task, its value beside it in the given format."""
    figure, (axis,) = _figure(height=_bar_height(len(values)))
    axis.barh(values.index, values, color=[PRIMARY if task == primary else COLOURS[0] for task in values.index])
    for place, value in enumerate(values):
        axis.text(value, place, f" {value:{form}}", va="center", fontsize=9)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return figure, axis


def violins(axis: Axes, table: pd.DataFrame, column: str, order: Sequence[str]) -> None:
    """Draw the distribution of a column per task.

    Args:
        axis: Where to draw.
        table: Columns task and the one to draw.
        column: The column to draw.
        order: The tasks, from the top.
    """
    import seaborn as sns

    sns.violinplot(
        data=table, x=column, y="task", order=list(order), ax=axis, color=COLOURS[4], inner="quart", cut=0,
        linewidth=0.8, density_norm="width",
    )  # fmt: skip


def task_sizes(table: pd.DataFrame, primary: str) -> Figure:
    """Training rows per task, log scale.

    Args:
        table: Index task, columns train, dev, test (rows).
        primary: The task to mark.

    Returns:
        The figure.
    """
    figure, axis = _bars(table["train"], primary, ",")
    axis.set(xscale="log", xlabel="training rows (log scale)", title="How much data each task has")
    axis.set_xlim(table["train"].min() / 2, table["train"].max() * 2)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    return figure


def token_lengths(table: pd.DataFrame, limit: int, primary: str) -> Figure:
    """Token lengths per task as 5-25-50-75-95 % boxes.

    Args:
        table: Index task, columns p5, p25, p50, p75, p95 (tokens).
        limit: Tokens at which rows are truncated; drawn where it is near.
        primary: The task to mark.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(height=_bar_height(len(table)))
    stats = [
        {"whislo": r.p5, "q1": r.p25, "med": r.p50, "q3": r.p75, "whishi": r.p95, "fliers": []}
        for r in table.itertuples()
    ]
    boxes = axis.bxp(stats, orientation="horizontal", patch_artist=True, showfliers=False, widths=0.55)
    for box, median, task in zip(boxes["boxes"], boxes["medians"], table.index, strict=True):
        box.set(facecolor=PRIMARY if task == primary else COLOURS[4], edgecolor="#333333", linewidth=0.8)
        median.set(color="#111111", linewidth=1.6)
    axis.set_yticklabels(table.index)
    if table["p95"].max() > 0.8 * limit:
        axis.axvline(limit, color=QUIET, linestyle="--", linewidth=1)
    axis.set(xlabel="tokens per row (5, 25, 50, 75, 95 %)", title="How long the rows are", xlim=(0, None))
    axis.invert_yaxis()
    return figure


def leaks(table: pd.DataFrame) -> Figure:
    """Training rows that also stand in a target's dev or test.

    Args:
        table: Counts of rows; index pool task, one column per target.

    Returns:
        The figure.
    """
    import seaborn as sns

    side = 2.2 + 0.42 * len(table)
    figure, (axis,) = _figure(width=side + 1.6, height=side)
    sns.heatmap(
        np.log10(1 + table), ax=axis, annot=table.to_numpy(), fmt=",d", cbar=False, cmap="Oranges", linewidths=0.5,
        annot_kws={"fontsize": 8},
    )  # fmt: skip
    axis.set(xlabel="… also stand in dev or test of", ylabel="training rows of …", title="Leaks, in rows")
    axis.tick_params(axis="x", rotation=45)
    axis.tick_params(axis="y", rotation=0)
    return figure


def task_marks(names: Sequence[str], primary: str) -> dict[str, tuple[str, str]]:
    """Colour and marker per task, the primary's its own; five others each share a marker, which parts near colours."""
    colours = [c for c in COLOURS if c != PRIMARY]
    others = [name for name in names if name != primary]
    marks = {name: (colours[i % len(colours)], MARKERS[i // 5 % len(MARKERS)]) for i, name in enumerate(others)}
    return {primary: (PRIMARY, MARKERS[0])} | marks


def proxy_curves(epochs: pd.DataFrame, auc: pd.DataFrame, primary: str) -> Figure:
    """Losses and held-out AUC per epoch.

    Args:
        epochs: Columns epoch, loss, disc_loss.
        auc: Index epoch, one column per task.
        primary: The task whose line is drawn in its own colour.

    Returns:
        The figure.
    """
    figure, (left, right) = _figure(2, 9.5, 3.8)
    left.plot(epochs["epoch"], epochs["disc_loss"], marker="o", color=COLOURS[0], label="discriminator")
    left.plot(epochs["epoch"], epochs["loss"], marker="s", color=COLOURS[1], label="task heads")
    left.set(xlabel="epoch", ylabel="mean training loss", title="Training losses (first seed)", ylim=(0, None))
    left.legend()
    for task, (colour, marker) in task_marks(list(auc.columns), primary).items():
        right.plot(auc.index, auc[task], marker=marker, ms=5, label=task, color=colour)
    right.axhline(0.5, color=QUIET, linestyle="--", linewidth=1, label="chance")
    right.set(xlabel="epoch", ylabel="AUC on held-out rows", title="Told from others (first seed)", ylim=(0.4, 1.02))
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axis in (left, right):
        axis.set_xticks(epochs["epoch"].iloc[:: -(-len(epochs) // 10)])
    return figure


def score_distributions(pool: pd.DataFrame, cuts: Sequence[float], order: Sequence[str]) -> Figure:
    """Score quantiles per task with each proxy's cut.

    Args:
        pool: Columns task, score (a logit or log-odds).
        cuts: Lowest chosen score, one per proxy.
        order: The tasks, from the top.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(height=1.6 + 0.42 * len(order))
    violins(axis, pool, "score", order)
    for cut in cuts:
        axis.axvline(cut, color=PRIMARY, linewidth=1.6)
    axis.text(max(cuts), -0.62, " chosen →", color=PRIMARY, fontsize=9, va="bottom")
    axis.set(xlabel="logit of the primary's column", ylabel="", title="Likeness to the primary, by task (first seed)\n")
    return figure


def cascade(table: pd.DataFrame, aim: tuple[float, float]) -> Figure:
    """How much of the proxy's choice a cascade finds, by its cost.

    Args:
        table: As from `cascade.recall`.
        aim: A cost and the recall that is hoped for at it.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(width=7, height=4.0)
    axis.plot([0, 1], [0, 1], ":", color=QUIET, label="rows at random")
    for i, name in enumerate(table.columns):
        axis.plot(table.index, table[name], "o-", ms=5, color=COLOURS[i], label=name)
    axis.plot(*aim, "*", ms=15, color=PRIMARY, mec="white", label=f"aim: {aim[1]:.2f} at {aim[0]:.1f}", zorder=4)
    axis.set(xlabel="cost, of scoring the whole pool in full", ylabel="of the proxy's choice, found")
    axis.set(xlim=(0, 1.03), ylim=(0, 1.03), title="What would a cheap scorer in front have found? (first seed)")
    axis.legend(fontsize=9, loc="lower right")
    return figure


def selection_shares(table: pd.DataFrame) -> Figure:
    """A task's share of the pool and of the selection.

    Args:
        table: Index task, columns pool (rows), share (of the selection).

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(height=1.3 + 0.42 * len(table))
    place, pool = np.arange(len(table)), table["pool"] / table["pool"].sum()
    axis.barh(place - 0.2, pool, 0.38, color=QUIET, label="of the pool (what random gives)")
    axis.barh(place + 0.2, table["share"], 0.38, color=COLOURS[0], label="of the selection")
    axis.set_yticks(place, table.index)
    axis.xaxis.set_major_formatter("{x:.0%}")
    axis.set(xlabel="share of rows", title="Where the chosen rows come from (first seed)")
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.legend(loc="best", fontsize=9)
    return figure
