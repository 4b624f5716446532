"""What is made of judged choices: summaries over seeds, what tasks and sets are worth, and how methods foretell it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.evaluation import agreement, stats
from auxlearn.methods.oracle import members
from auxlearn.records import runs
from auxlearn.reporting import results
from auxlearn.reporting.judged_choices import PLANTED, TWINS, Choices

# Between which values a measure lies; an interval is cut there. Others have no end that is known.
ENDS = dict.fromkeys([*PLANTED, *TWINS, "auc", "ndcg"], (0.0, 1.0)) | dict.fromkeys(["tau", "lds"], (-1.0, 1.0))
ENDS |= dict.fromkeys(["regret", "regret_2"], (0.0, np.inf))


def over_seeds(table: pd.DataFrame, column: str, level: float) -> pd.DataFrame:
    """Summarise one column over seeds.

    Args:
        table: With columns method and `column`, a row per method and seed.
        column: The column; seeds without a value are left out.
        level: Confidence level of the interval.

    Returns:
        Index method, in order; columns mean, low and high (t interval over seeds, cut at the ends of what the column
        measures; NaN for fewer than two), seeds.
    """
    ends = ENDS.get(column, (-np.inf, np.inf))
    rows = {}
    for name, part in table.groupby("method", sort=False):
        values = part[column].dropna().to_numpy()
        low, high = np.clip(stats.t_interval(values, level), *ends) if len(values) > 1 else (np.nan, np.nan)
        rows[name] = {"mean": values.mean() if len(values) else np.nan, "low": low, "high": high, "seeds": len(values)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def oracle(inputs: Sequence[runs.Manifest], metric: str) -> dict[str, float]:
    """Return what each auxiliary, or set of them, is worth: the primary's mean dev score with rows of it alone.

    Args:
        inputs: Runs that the notebook reads; those of the arm only count.
        metric: The primary's metric.

    Returns:
        By task, or set as A+B; empty where no such run is read.
    """
    return {name: float(np.mean(list(by_seed.values()))) for name, by_seed in _alone(inputs, metric).items()}


def worth(inputs: Sequence[runs.Manifest], metric: str, level: float) -> pd.DataFrame:
    """Tabulate what each auxiliary, or set of them, is worth, with an interval.

    Args:
        inputs: As for `oracle`.
        metric: The primary's metric.
        level: Confidence level of the interval.

    Returns:
        Index task, the best first; columns mean, low and high (t interval over seeds; NaN for fewer than two), seeds.
    """
    alone = _alone(inputs, metric).items()
    table = pd.DataFrame(
        [{"method": name, "score": score} for name, by_seed in alone for score in by_seed.values()],
        columns=["method", "score"],
    )
    means = over_seeds(table, "score", level).rename_axis("task").reindex(columns=["mean", "low", "high", "seeds"])
    return means.sort_values("mean", ascending=False, kind="stable")


def _alone(inputs: Sequence[runs.Manifest], metric: str) -> dict[str, dict[str, float]]:
    """Return the primary's dev score by seed, with rows of each auxiliary or set alone."""
    alone = [m for m in inputs if m.stage == "06_mtl" and m.params["arm"] == "only"]
    return {
        m.params["methods"]["only"]["task"]: {seed: s["dev"][metric] for seed, s in m.metrics["seeds"].items()}
        for m in alone
    }


def agreements(tasks: pd.DataFrame, truth: Mapping[str, float]) -> pd.DataFrame:
    """Judge the methods' scores of tasks by what each is worth.

    Args:
        tasks: As from `judged_choices.judge`.
        truth: As from `oracle`.

    Returns:
        One row per method and seed: method, seed, tau, ndcg, regret (of the first task, in the primary's metric) and
        regret_2 (of the better of the first two).
    """
    rows: list[dict[str, Any]] = []
    for (method, seed), part in tasks[tasks["task"].isin(truth)].groupby(["method", "seed"], sort=False):
        if len(part) < 2:  # where the others are known in sets alone, there is no order to judge
            continue
        scores, worth = part["score"].to_numpy(), part["task"].map(truth).to_numpy()
        rows.append({
            "method": method, "seed": seed, "tau": agreement.kendall_tau(scores, worth),
            "ndcg": agreement.ndcg(scores, worth), "regret": agreement.regret(scores, worth),
            "regret_2": agreement.regret(scores, worth, 2),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["method", "seed", "tau", "ndcg", "regret", "regret_2"])


def set_scores(choices: Choices, truth: Mapping[str, float], n: int) -> pd.DataFrame:
    """Judge methods by what training with sets of tasks turned out to give.

    Args:
        choices: As from `judged_choices.judge`.
        truth: As from `oracle`: what each set is worth, as A+B; sets of one among them.
        n: Rows that were drawn of each set.

    Returns:
        One row per method and seed: method, seed, lds (the linear datamodelling score: rank correlation over sets
        between the sum of the method's scores over the n rows and what the set is worth; NaN where it scores neither
        rows nor tasks), worth (of the set that it chose; NaN where it chose rows, or a set that was not trained) and
        regret (what that set loses against the best one).
    """
    columns = ["method", "seed", "lds", "worth", "regret"]
    if len(truth) < 2:
        return pd.DataFrame(columns=columns)
    names = list(choices.sizes.index)
    sets = {"+".join(tasks): tasks for tasks in (members(name, names) for name in truth)}
    worth = dict(zip(sets, truth.values(), strict=True))
    has = np.array([[name in tasks for name in names] for tasks in sets.values()], float) * choices.sizes.to_numpy()
    counts = has * np.minimum(1.0, n / has.sum(1, keepdims=True))
    rows: list[dict[str, Any]] = []
    for _, one in choices.rows.iterrows():
        own = choices.tasks[(choices.tasks["method"] == one["method"]) & (choices.tasks["seed"] == one["seed"])]
        scores = own.set_index("task")["mean"].reindex(names).to_numpy()
        known = bool(np.isfinite(scores).all())
        lds = agreement.linear_datamodelling_score(scores, counts, list(worth.values())) if known else np.nan
        got = worth.get(one["tasks"], np.nan)
        rows.append({
            "method": one["method"], "seed": one["seed"], "lds": lds, "worth": got,
            "regret": max(worth.values()) - got,
        })  # fmt: skip
    return pd.DataFrame(rows, columns=columns)


def ceiling(inputs: Sequence[runs.Manifest], metric: str) -> float:
    """Return how well what sets are truly worth would correlate with their means over the oracle's few seeds.

    No method can be expected to foretell these means better. By classical test theory: two seeds agree by r on average,
    the mean of k seeds is then reliable by k r / (1 + (k - 1) r) (Spearman and Brown), and the truth correlates with it
    by the square root.

    Args:
        inputs: As for `oracle`.
        metric: The primary's metric.

    Returns:
        A correlation, 0 where seeds do not agree at all; NaN for fewer than two sets, or seeds in which sets differ.
    """
    from scipy.stats import spearmanr

    each = list(_alone(inputs, metric).values())
    seeds = sorted(set.intersection(*map(set, each))) if each else []
    scores = np.array([[by_seed[seed] for seed in seeds] for by_seed in each])
    # A seed in which all sets gave the same has no order to agree with.
    ordered = [column for column in scores.T if np.ptp(column) > 0]
    if len(each) < 2 or len(ordered) < 2:
        return float("nan")
    k = len(seeds)
    pairs = [spearmanr(one, other).statistic for i, one in enumerate(ordered) for other in ordered[:i]]
    r = max(0.0, float(np.mean(pairs)))
    return float(np.sqrt(k * r / (1 + (k - 1) * r)))


def by_decile(inputs: Sequence[runs.Manifest], metric: str, level: float) -> pd.DataFrame:
    """Return what each tenth of a method's ranking of all rows gives: the primary's dev score trained with it alone.

    Args:
        inputs: Runs that the notebook reads; those of the arm decile count.
        metric: The primary's metric.
        level: Confidence level of the intervals.

    Returns:
        One row per method and decile, the best first: method, decile, score (mean over seeds), low and high (t interval
        over seeds; NaN for one), seeds.
    """
    rows = []
    for m in inputs:
        if m.stage == "06_mtl" and m.params["arm"] == "decile":
            cut = m.key_params["methods"]["decile"]
            values = [part["dev"][metric] for part in m.metrics["seeds"].values()]
            low, high = stats.t_interval(values, level) if len(values) > 1 else (np.nan, np.nan)
            rows.append({"method": cut["of"], "decile": cut["part"], "score": float(np.mean(values)), "low": low,
                         "high": high, "seeds": len(values)})  # fmt: skip
    columns = ["method", "decile", "score", "low", "high", "seeds"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["method", "decile"], kind="stable").reset_index(drop=True)


def board(
    found: pd.DataFrame, auc: pd.DataFrame, spent: pd.Series, shares: pd.DataFrame, kl: pd.Series
) -> dict[str, dict[str, Any]]:
    """Join what a run's record holds of each method.

    Args:
        found: As from `over_seeds`, of the best class.
        auc: As from `over_seeds`, of the AUC.
        spent: TFLOP by method.
        shares: The mean share of every class among a method's rows, by method.
        kl: The mean KL reduction by method.

    Returns:
        By method mean, low, high and seeds (of the best class's share), auc, TFLOP, kl and shares (by class); None
        where there is no value.
    """
    table = found[["mean", "low", "high", "seeds"]].assign(auc=auc["mean"], TFLOP=spent, kl=kl)
    of_class = results.plain(shares).to_dict("index")
    return {name: row | {"shares": of_class[name]} for name, row in results.plain(table).to_dict("index").items()}
