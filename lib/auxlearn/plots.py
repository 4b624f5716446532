"""One function a figure, one house style. Figures draw tables that the caller has computed and printed."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

# Okabe-Ito: told apart with any colour vision, and in print.
COLOURS = [
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#CC79A7",
    "#56B4E9",
    "#D55E00",
    "#8C7A00",
    "#444444",
    "#9467BD",
    "#7F7F7F",
]
PRIMARY = "#D55E00"
QUIET = "#9AA5B1"


def style() -> None:
    sns.set_theme(
        context="notebook", style="whitegrid", palette=COLOURS,
        rc={"figure.dpi": 96, "savefig.dpi": 96, "axes.spines.right": False, "axes.spines.top": False,
            "axes.titleweight": "bold", "axes.titlesize": 11, "axes.titlelocation": "left", "axes.labelsize": 10,
            "grid.color": "#E8ECEF", "legend.frameon": False, "figure.constrained_layout.use": True},
    )  # fmt: skip


def _figure(columns: int = 1, width: float = 8.0, height: float = 3.4) -> tuple[Figure, np.ndarray]:
    style()
    figure, axes = plt.subplots(1, columns, figsize=(width, height), squeeze=False)
    return figure, axes[0]


def _bar_height(rows: int) -> float:
    return 1.3 + 0.34 * rows


def task_sizes(table: pd.DataFrame, primary: str) -> Figure:
    """Training rows a task, log scale. `table`: index task, columns train, dev, test."""
    figure, (axis,) = _figure(height=_bar_height(len(table)))
    colours = [PRIMARY if t == primary else COLOURS[0] for t in table.index]
    axis.barh(table.index, table["train"], color=colours)
    axis.set(xscale="log", xlabel="training rows (log scale)", title="How much data each task has")
    axis.set_xlim(table["train"].min() / 2, table["train"].max() * 2)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter("{x:,.0f}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    for place, value in enumerate(table["train"]):
        axis.text(value, place, f" {value:,}", va="center", fontsize=9)
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return figure


def token_lengths(table: pd.DataFrame, limit: int, primary: str) -> Figure:
    """Token lengths a task as 5-25-50-75-95 % boxes. `table`: index task, columns p5, p25, p50, p75, p95."""
    figure, (axis,) = _figure(height=_bar_height(len(table)))
    stats = [
        {"whislo": r.p5, "q1": r.p25, "med": r.p50, "q3": r.p75, "whishi": r.p95, "fliers": []}
        for r in table.itertuples()
    ]
    made = axis.bxp(stats, orientation="horizontal", patch_artist=True, showfliers=False, widths=0.55)
    for box, median, task in zip(made["boxes"], made["medians"], table.index, strict=True):
        box.set(facecolor=PRIMARY if task == primary else COLOURS[4], edgecolor="#333333", linewidth=0.8)
        median.set(color="#111111", linewidth=1.6)
    axis.set_yticklabels(table.index)
    if table["p95"].max() > 0.8 * limit:
        axis.axvline(limit, color=QUIET, linestyle="--", linewidth=1)
    axis.set(xlabel="tokens a row (5, 25, 50, 75, 95 %)", title="How long the rows are", xlim=(0, None))
    axis.invert_yaxis()
    return figure


def leaks(table: pd.DataFrame) -> Figure:
    """Training rows that also stand in a target's dev or test. `table`: index pool task, a column a target, counts."""
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


def proxy_curves(epochs: pd.DataFrame, auc: pd.DataFrame) -> Figure:
    """Losses and held-out AUC an epoch. `epochs`: epoch, loss, disc_loss; `auc`: index epoch, a column a task."""
    figure, (left, right) = _figure(2, 9.5, 3.8)
    left.plot(epochs["epoch"], epochs["disc_loss"], marker="o", color=COLOURS[0], label="discriminator")
    left.plot(epochs["epoch"], epochs["loss"], marker="s", color=COLOURS[1], label="task heads")
    left.set(xlabel="epoch", ylabel="mean training loss", title="Training losses", ylim=(0, None))
    left.legend()
    styles = ["-", "--", ":", "-."]
    for i, task in enumerate(auc.columns):
        right.plot(
            auc.index,
            auc[task],
            marker="o",
            ms=4,
            label=task,
            color=COLOURS[i % 10],
            linestyle=styles[i // 5 % 4],
        )
    right.axhline(0.5, color=QUIET, linestyle="--", linewidth=1)
    right.set(xlabel="epoch", ylabel="AUC on held-out rows", title="Told apart from other tasks", ylim=(0.4, 1.02))
    right.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5))
    for axis in (left, right):
        axis.set_xticks(epochs["epoch"])
    return figure


def column_auc(table: pd.DataFrame, primary: str) -> Figure:
    """AUC a discriminator column over all rows outside the proxy sample. `table`: index task, column auc."""
    figure, (axis,) = _figure(height=_bar_height(len(table)))
    axis.barh(table.index, table["auc"], color=[PRIMARY if t == primary else COLOURS[0] for t in table.index])
    axis.axvline(0.5, color="#333333", linestyle="--", linewidth=1)
    for place, value in enumerate(table["auc"]):
        axis.text(value, place, f" {value:.3f}", va="center", fontsize=9)
    axis.set(xlim=(0.4, 1.08), xlabel="AUC (0.5 = cannot tell)", title="How well each task is told from all others")
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    return figure


def score_distributions(pool: pd.DataFrame, cuts: Sequence[float], order: Sequence[str]) -> Figure:
    """Score quantiles a task with each proxy's cut. `pool`: columns task, score (a logit or log-odds)."""
    figure, (axis,) = _figure(height=1.6 + 0.42 * len(order))
    sns.violinplot(
        data=pool, x="score", y="task", order=list(order), ax=axis, color=COLOURS[4], inner="quart", cut=0,
        linewidth=0.8, density_norm="width",
    )  # fmt: skip
    for cut in cuts:
        axis.axvline(cut, color=PRIMARY, linewidth=1.6)
    axis.text(max(cuts), -0.62, " chosen →", color=PRIMARY, fontsize=9, va="bottom")
    axis.set(xlabel="logit of the primary's column", ylabel="", title="Similarity to the primary, by task\n")
    return figure


def selection_shares(table: pd.DataFrame) -> Figure:
    """A task's share of the pool and of the selection. `table`: index task, columns pool, share."""
    figure, (axis,) = _figure(height=1.3 + 0.42 * len(table))
    place, pool = np.arange(len(table)), table["pool"] / table["pool"].sum()
    axis.barh(place - 0.2, pool, 0.38, color=QUIET, label="of the pool (what random gives)")
    axis.barh(place + 0.2, table["share"], 0.38, color=COLOURS[0], label="of the selection")
    axis.set_yticks(place, table.index)
    axis.xaxis.set_major_formatter("{x:.0%}")
    axis.set(xlabel="share of rows", title="Where the chosen rows come from")
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.legend(loc="best", fontsize=9)
    return figure


def learning_curves(history: pd.DataFrame, column: str, label: str) -> Figure:
    """One value an epoch of fine-tuning, a line a seed. `history`: seed, epoch, `column`, kept (bool)."""
    figure, (axis,) = _figure(height=3.4)
    for i, (seed, part) in enumerate(history.groupby("seed")):
        axis.plot(part["epoch"], part[column], marker="o", ms=4, color=COLOURS[i % 10], label=f"seed {seed}")
        kept = part[part["kept"]]
        axis.plot(kept["epoch"], kept[column], "*", ms=15, color=COLOURS[i % 10])
    axis.set(xlabel="epoch of fine-tuning", ylabel=label, title="Which epoch is kept (★)")
    axis.set_xticks(sorted(history["epoch"].unique()))
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def seed_scores(table: pd.DataFrame, metric: str, order: Sequence[str], floor: float) -> Figure:
    """Dev score an arm and seed; a line joins a seed's scores, a bar marks the mean. `table`: arm, seed, score.

    `floor`, a constant answer's score, is drawn unless it lies so far below that nothing else could be seen.
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
    axis.set_xticks(range(len(order)), order)
    axis.set(
        ylabel=f"{metric}, dev",
        title="Every seed, paired across arms (bar = mean)",
        xlim=(-0.5, len(order) - 0.5),
    )
    axis.grid(axis="x", visible=False)
    return figure


def data_share(table: pd.DataFrame, metric: str, order: Sequence[str]) -> Figure:
    """Score against the share of the pool added. `table`: arm, n, share, score, low, high, as from `results.curve`.

    Arms without auxiliary rows are lines across; their band is the interval over seeds.
    """
    figure, (axis,) = _figure(width=8, height=4)
    left = table.loc[table["n"] > 0, "share"].min() / 2 if (table["n"] > 0).any() else 0.01
    for i, arm in enumerate(order):
        part, colour = table[table["arm"] == arm], COLOURS[i % 10]
        if (part["n"] == 0).all():
            row = part.iloc[0]
            axis.axhline(row["score"], color=colour, lw=1.6, ls="--", label=arm)
            axis.axhspan(row["low"], row["high"], color=colour, alpha=0.08, lw=0)
            continue
        shift = 1.03 ** (i - len(order) / 2)  # arms at the same share would hide each other
        error = [part["score"] - part["low"], part["high"] - part["score"]]
        axis.errorbar(
            part["share"] * shift, part["score"], yerr=error, fmt="o-", ms=6, lw=1.5, capsize=3, color=colour, label=arm
        )
    axis.set(xscale="log", xlabel="share of the auxiliary rows added (log scale)", ylabel=f"{metric}, dev")
    axis.set(title="Score against share of data", xlim=(left, 1.6))
    axis.xaxis.set_major_formatter(lambda x, _: f"{x:.3g}" if x < 0.01 else f"{x:.0%}")
    axis.xaxis.set_minor_formatter(NullFormatter())
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def _forest(axis: Axes, table: pd.DataFrame, colour: str, shift: float, label: str, columns: tuple[str, str]) -> None:
    place = np.arange(len(table)) + shift
    axis.hlines(place, table[columns[0]], table[columns[1]], color=colour, lw=2.2, label=label)
    axis.plot(table["difference"], place, "o", color=colour, ms=7)


def differences(table: pd.DataFrame, metric: str, baseline: str = "single-task") -> Figure:
    """Paired differences with both intervals; index (arm, baseline) names each pair, index arm those to `baseline`.

    `table`: columns difference, low, high (over seeds), row_low, row_high (over seeds and test rows).
    """
    figure, (axis,) = _figure(width=8, height=1.7 + 0.6 * len(table))
    _forest(axis, table, COLOURS[0], -0.14, "t interval over seeds", ("low", "high"))
    if table["row_low"].notna().all():
        _forest(axis, table, COLOURS[1], 0.14, "bootstrap over seeds × dev rows", ("row_low", "row_high"))
    axis.axvline(0, color="#333333", linewidth=1)
    pairs = table.index.nlevels > 1
    axis.set_yticks(range(len(table)), [f"{a} − {b}" for a, b in table.index] if pairs else table.index)
    axis.set_ylim(len(table) - 0.5, -0.5)
    axis.set(xlabel=f"{metric}: difference" + ("" if pairs else f" to {baseline}"))
    axis.set_title("What is it that helps?" if pairs else "Does the auxiliary data help?")
    axis.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.5 / figure.get_figheight() - 0.1), ncols=2)
    axis.grid(axis="y", visible=False)
    return figure


def stage_costs(table: pd.DataFrame, unit: str) -> Figure:
    """What each arm ran, stage upon stage. `table`: index arm, a column a stage, values in `unit`."""
    figure, (axis,) = _figure(height=1.8 + 0.5 * len(table))
    left = np.zeros(len(table))
    for i, stage in enumerate(table.columns):
        axis.barh(table.index, table[stage], left=left, color=COLOURS[i % 10], label=stage, edgecolor="white")
        left += table[stage].to_numpy()
    for place, total in enumerate(left):
        axis.text(total, place, f" {total:,.3g}", va="center", fontsize=9)
    axis.set(
        xlabel=f"{unit}, mean a seed",
        title="Cost of one target, selection included",
        xlim=(0, left.max() * 1.12),
    )
    axis.invert_yaxis()
    axis.grid(axis="y", visible=False)
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.22), ncols=4, fontsize=9)
    return figure


def amortised(table: pd.DataFrame, unit: str) -> Figure:
    """Cost a target as more targets share the selection. `table`: index targets, a column an arm."""
    figure, (axis,) = _figure(width=7, height=3.4)
    for i, arm in enumerate(table.columns):
        axis.plot(table.index, table[arm], marker="o", ms=4, color=COLOURS[i % 10], label=arm)
    axis.set(xlabel="targets sharing one selection pass", ylabel=f"{unit} a target", ylim=(0, None))
    axis.set_title("What sharing saves")
    axis.set_xticks(table.index)
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure


def quality_and_cost(table: pd.DataFrame, metric: str, unit: str) -> Figure:
    """Mean dev score against total cost. `table`: index arm, columns score, low, high, cost."""
    figure, (axis,) = _figure(width=7, height=3.8)
    for i, (arm, row) in enumerate(table.iterrows()):
        axis.errorbar(
            row["cost"], row["score"], yerr=[[row["score"] - row["low"]], [row["high"] - row["score"]]], fmt="o", ms=8,
            color=COLOURS[i % 10], capsize=3, lw=1.5, label=arm,
        )  # fmt: skip
    axis.set(
        xlabel=f"{unit}, selection included",
        ylabel=f"{metric}, dev",
        title="Quality against cost",
        xlim=(0, None),
    )
    axis.legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
