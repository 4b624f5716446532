"""Figures of what training gives and costs: 06's and 07's (house style: `figures`)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from auxlearn.reporting.plots.figures import COLOURS, PRIMARY, QUIET, _figure

TICKS = 10  # the most that name an axis's values one by one
MANY = 30  # values along an axis, up to which each is named
APART = 1.06  # the most that an arm's share of data is drawn off, as a factor


def _look(number: int) -> tuple[str, str]:
    """Return the colour and the marker of an arm: after ten, colours come again with another marker."""
    return COLOURS[number % 10], "oxs^v+D"[number // 10 % 7]


def learning_curves(looks: pd.DataFrame, label: str, kept: bool = True) -> Figure:
    """One value per look at the model in its last phase, one line per seed.

    Args:
        looks: Columns seed, step, value and kept (bool).
        label: What the value is.
        kept: Whether a state was chosen among those looked at, and is marked.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(height=3.4)
    for i, (seed, part) in enumerate(looks.groupby("seed")):
        axis.plot(part["step"], part["value"], marker="o", ms=4, color=COLOURS[i % 10], label=f"seed {seed}")
        best = part[part["kept"]]
        axis.plot(best["step"], best["value"], "*", ms=15, color=COLOURS[i % 10])
    title = "Which state is kept (★)" if kept else "The last state is kept (★)"
    axis.set(xlabel="optimiser steps in the last phase", ylabel=label, title=title)
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _narrow(arm: str) -> str:
    """Fit an arm's name into the width that there is: a long one on two lines."""
    at = max(arm.find("+"), arm.find("_"))
    return arm if len(arm) <= 13 or at < 0 else f"{arm[: at + 1]}\n{arm[at + 1 :]}"


def seed_scores(table: pd.DataFrame, metric: str, order: Sequence[str], floor: float) -> Figure:
    """Dev score per arm and seed; a line joins a seed's scores, a bar marks the mean.

    Args:
        table: Columns arm, seed, score.
        metric: The metric's name.
        order: The arms, from the left.
        floor: A constant answer's score, drawn unless it lies so far below that nothing else could be seen.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(width=max(7.0, 1.6 + 1.05 * len(order)), height=3.6)
    low, high = table["score"].min(), table["score"].max()
    if floor > low - 1.5 * (high - low):
        axis.axhline(floor, color="#333333", linestyle=":", linewidth=1)
        axis.text(len(order) - 0.5, floor, "constant answer", fontsize=8, ha="right", va="bottom")
    place = {arm: i for i, arm in enumerate(order)}
    for _, part in table.groupby("seed"):
        part = part.set_index("arm").loc[[a for a in order if a in set(part["arm"])]]
        axis.plot([place[a] for a in part.index], part["score"], "-o", color=QUIET, ms=5, lw=1, mec="white")
    for arm, part in table.groupby("arm"):
        axis.hlines(part["score"].mean(), place[arm] - 0.22, place[arm] + 0.22, color=PRIMARY, lw=2.5)
    axis.set_xticks(range(len(order)), [_narrow(arm) for arm in order])
    axis.set(ylabel=f"{metric}, dev", title="Every seed, paired across arms (bar = mean)")
    axis.set_xlim(-0.5, len(order) - 0.5)
    axis.grid(axis="x", visible=False)
    return figure


def target_share(table: pd.DataFrame, metric: str, order: Sequence[str]) -> Figure:
    """Score against the primary's share of training, one point per arm and seed.

    Args:
        table: As from `results.scores`.
        metric: The metric's name.
        order: The arms.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(width=8, height=4)
    for i, arm in enumerate(order):
        part = table[table["arm"] == arm]
        colour, marker = _look(i)
        axis.plot(part["target_share"], part["score"], marker, ms=6, color=colour, label=arm)
    axis.set(xlabel="the primary's share of training, mean over steps", ylabel=f"{metric}, dev", xlim=(-0.02, 1.02))
    axis.set_title("Score against the target's share, one point per seed")
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:.0%}")
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def data_share(table: pd.DataFrame, metric: str, order: Sequence[str]) -> Figure:
    """Score against the share of the pool added.

    Arms without auxiliary rows are lines across; their band is the interval over seeds.

    Args:
        table: As from `results.curve`: columns arm, n, share, score, low, high.
        metric: The metric's name.
        order: The arms.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(width=8, height=4)
    left = table.loc[table["n"] > 0, "share"].min() / 2 if (table["n"] > 0).any() else 0.01
    for i, arm in enumerate(order):
        part, (colour, marker) = table[table["arm"] == arm], _look(i)
        if (part["n"] == 0).all():
            row = part.iloc[0]
            axis.axhline(row["score"], color=colour, lw=1.6, ls="--", label=arm)
            axis.axhspan(row["low"], row["high"], color=colour, alpha=0.08, lw=0)
            continue
        shift = APART ** (2 * i / max(1, len(order) - 1) - 1)  # arms at the same share would hide each other
        error = [part["score"] - part["low"], part["high"] - part["score"]]
        axis.errorbar(
            part["share"] * shift, part["score"], yerr=error, fmt=f"{marker}-", ms=6, lw=1.5, capsize=3, color=colour,
            label=arm,
        )  # fmt: skip
    axis.set(xscale="log", xlabel="share of the auxiliary rows added (log scale; arms at one share are set apart)")
    axis.set_ylabel(f"{metric}, dev")
    axis.set(title="Score against share of data: mean over seeds, t interval", xlim=(left, 1.6))
    shares = sorted(set(table.loc[table["n"] > 0, "share"].round(3)))
    if 1 < len(shares) <= TICKS:
        axis.set_xticks(shares)
        axis.minorticks_off()
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:.3g}" if x < 0.01 else f"{x:.0%}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def curves(table: pd.DataFrame, metric: str, along: str) -> Figure:
    """Score along a number that a study varies, an arm each; arms that it does not change are lines across.

    Args:
        table: Columns arm, x (the number; NaN of an arm that it does not change), score, low, high (over seeds).
        metric: The metric's name.
        along: What the number is.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(width=8, height=4)
    places = sorted(table["x"].dropna().unique())
    at = {x: place for place, x in enumerate(places)}
    arms = list(dict.fromkeys(table["arm"]))
    for i, arm in enumerate(arms):
        part, (colour, marker) = table[table["arm"] == arm], _look(i)
        if part["x"].isna().all():
            row = part.iloc[0]
            axis.axhline(row["score"], color=colour, lw=1.6, ls="--", label=arm)
            axis.axhspan(row["low"], row["high"], color=colour, alpha=0.08, lw=0)
            continue
        part = part.sort_values("x")
        shift = 0.2 * (i / max(1, len(arms) - 1) - 0.5)  # arms at the same place would hide each other
        error = [part["score"] - part["low"], part["high"] - part["score"]]
        place = part["x"].map(at) + shift
        axis.errorbar(
            place, part["score"], yerr=error, fmt=f"{marker}-", ms=6, lw=1.5, capsize=3, color=colour, label=arm
        )
    if len(places) <= MANY:
        axis.set_xticks(range(len(places)), [f"{x:,.0f}" for x in places])
    axis.set(xlabel=along, ylabel=f"{metric}, dev", title="Mean over seeds, with t intervals")
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def stage_costs(table: pd.DataFrame, unit: str) -> Figure:
    """What each arm ran, stage upon stage.

    Args:
        table: Index arm, one column per stage, values in `unit`.
        unit: Of the costs.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(height=1.8 + 0.5 * len(table))
    left = np.zeros(len(table))
    for i, stage in enumerate(table.columns):
        axis.barh(table.index, table[stage], left=left, color=COLOURS[i % 10], label=stage, edgecolor="white")
        left += table[stage].to_numpy()
    for place, total in enumerate(left):
        axis.text(total, place, f" {total:,.3g}", va="center", fontsize=9)
    title = "Cost of one target, selection included"
    axis.set(xlabel=f"{unit}, mean per seed", title=title, xlim=(0, left.max() * 1.12))
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4, fontsize=9)
    return figure


def amortised(table: pd.DataFrame, unit: str) -> Figure:
    """Cost per target as more targets share the selection.

    Args:
        table: Index targets, one column per arm, values in `unit`.
        unit: Of the costs.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(width=7, height=3.4)
    for i, arm in enumerate(table.columns):
        colour, marker = _look(i)
        axis.plot(table.index, table[arm], marker=marker, ms=4, color=colour, label=arm)
    axis.set(xlabel="targets sharing one selection pass", ylabel=f"{unit} per target", ylim=(0, None))
    axis.set_title("What sharing saves")
    axis.set_xticks(table.index)
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def quality_and_cost(table: pd.DataFrame, metric: str, unit: str) -> Figure:
    """Mean dev score against total cost.

    Args:
        table: Index arm, columns score, low, high, cost.
        metric: The metric's name.
        unit: Of the costs.

    Returns:
        The figure.
    """
    figure, (axis,) = _figure(width=7, height=3.8)
    for i, (arm, row) in enumerate(table.iterrows()):
        colour, marker = _look(i)
        axis.errorbar(
            row["cost"], row["score"], yerr=[[row["score"] - row["low"]], [row["high"] - row["score"]]], fmt=marker,
            ms=8, color=colour, capsize=3, lw=1.5, label=arm,
        )  # fmt: skip
    axis.set(xlabel=f"{unit}, selection included", ylabel=f"{metric}, dev")
    axis.set_title("Quality against cost: mean over seeds, t interval")
    axis.set_xlim(0, None)
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
