"""The one figure that a run's row in a report shows, with its interval where it has one, and a note beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from auxlearn.evaluation import stats

LEVEL = 0.95


@dataclass
class Headline:
    """The headline figure of a run.

    Attributes:
        name: What the figure is.
        value: The number, by which rows are sorted; None where there is none.
        text: The number as shown.
        low: Lower end of the interval; None where there is none.
        high: Upper end of the interval.
        of: What the interval is over.
        note: A remark shown beside the figure.
    """

    name: str = ""
    value: float | None = None
    text: str = ""
    low: float | None = None
    high: float | None = None
    of: str = ""
    note: str = ""

    @property
    def interval(self) -> str:
        """The interval as text, signed like the figure; empty where there is none."""
        if self.low is None or self.high is None:
            return ""
        sign = "+" if self.text[:1] in "+-" else ""
        return f"{self.low:{sign}.3f} to {self.high:{sign}.3f}"


def _over_seeds(name: str, values: Sequence[float], note: str = "") -> Headline:
    mean = sum(values) / len(values)
    figure = Headline(name, mean, f"{mean:.3f}", note=note, of="one seed has none")
    if len(values) > 1:
        figure.low, figure.high = stats.t_interval(values, LEVEL)
        figure.of = f"{LEVEL:.0%} t, {len(values)} seeds"
    return figure


def headline(stage: str, metrics: Mapping[str, Any], primary: str = "") -> Headline:
    """Work out a stage's headline figure from its manifest's metrics.

    Args:
        stage: The notebook, such as `06_mtl`.
        metrics: The manifest's metrics. Metrics of another form raise a KeyError, TypeError or the like.
        primary: The study's primary. Only 04 needs it, because its runs serve every primary.

    Returns:
        The headline.
    """
    return _heads(metrics, primary) if stage == "04_gradts_correlation" else _OF[stage](metrics)


def _data(metrics: Mapping[str, Any]) -> Headline:
    rows = metrics["rows"]
    note = f"{metrics['tasks']} tasks; {metrics['leaking']:,} rows are leaks"
    return Headline("training rows", rows, f"{rows:,}", note=note)


def _proxy(metrics: Mapping[str, Any]) -> Headline:
    values = [v for v in metrics["auc"].values() if v is not None]
    form = [v for v in metrics["surface_auc"].values() if v is not None]
    note = f"{min(values):.2f} to {max(values):.2f} by task; surface cues alone {min(form):.2f} to {max(form):.2f}"
    mean = sum(values) / len(values)
    return Headline("column AUC, mean of tasks", mean, f"{mean:.3f}", note=note)


def _ranking(metrics: Mapping[str, Any]) -> Headline:
    top = sorted(metrics["shares"].items(), key=lambda x: -x[1])[:3]
    text = ", ".join(f"{name} {share:.0%}" for name, share in top)
    if not metrics["seeds"]:
        return Headline("largest share", top[0][1], f"{top[0][1]:.3f}", note=text)
    return _over_seeds("AUC against the planted truth", [seed["truth_auc"] for seed in metrics["seeds"].values()], text)


def _heads(metrics: Mapping[str, Any], primary: str) -> Headline:
    top = sorted(metrics["tau"][primary].items(), key=lambda x: -x[1])[:3]
    note = ", ".join(f"{n} {tau:.2f}" for n, tau in top)
    return Headline(f"highest tau with {primary}", top[0][1], f"{top[0][1]:.3f}", note=note)


def _weights(metrics: Mapping[str, Any]) -> Headline:
    seeds = list(metrics["final"].values())
    weights = {task: [seed[task] for seed in seeds] for task in seeds[0]}
    top = sorted(((sum(v) / len(v), task) for task, v in weights.items()), reverse=True)[:3]
    note = ", ".join(f"{task} {weight:.2f}" for weight, task in top)
    return _over_seeds(f"final weight of {top[0][1]}", weights[top[0][1]], note)


def _training(metrics: Mapping[str, Any]) -> Headline:
    values = [seed["dev"][metrics["metric"]] for seed in metrics["seeds"].values()]
    note = "by seed: " + ", ".join(f"{v:.3f}" for v in values) if len(values) > 1 else ""
    return _over_seeds(f"{metrics['metric']}, dev", values, note)


def _comparison(metrics: Mapping[str, Any]) -> Headline:
    """The best arm. Its interval does not account for the search for the best; the note lists all arms."""
    arms = {name: row for name, row in metrics["arms"].items() if row["difference"] is not None}
    name, best = max(arms.items(), key=lambda x: x[1]["difference"])
    note = "; ".join(f"{arm}: {row['verdict']}" for arm, row in arms.items())
    of = "over seeds; the best arm was looked for" if len(arms) > 1 else "over seeds"
    value = best["difference"]
    return Headline(f"{name} − single", value, f"{value:+.3f}", best["low"], best["high"], of, note)


def _validity(metrics: Mapping[str, Any]) -> Headline:
    """The method that finds most. Its interval does not account for the search for it; the note lists all."""
    found = {name: row for name, row in metrics["found"].items() if row["mean"] is not None}
    name, best = max(found.items(), key=lambda x: x[1]["mean"])
    note = f"pool {metrics['pool']:.0%}; " + ", ".join(f"{each} {row['mean']:.0%}" for each, row in found.items())
    what = f"share of {metrics['class']} rows, {name}"
    return Headline(what, best["mean"], f"{best['mean']:.3f}", best["low"], best["high"], "over seeds", note)


_OF = {
    "01_data_prep": _data, "02_td_proxy": _proxy, "03_ranking": _ranking,
    "05_tawt_weighting": _weights, "06_mtl": _training, "07_efficiency": _comparison,
    "08_validity": _validity,
}  # fmt: skip
