"""What methods choose against what is known of the rows: planted as helpful, or a twin, a shuffled twin, another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auxlearn import cost
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.evaluation import agreement, stats
from auxlearn.methods.base import Selection
from auxlearn.methods.context import Context
from auxlearn.records import runs
from auxlearn.reporting import results
from auxlearn.studies.validity import Validity

if TYPE_CHECKING:
    from auxlearn.reporting.notebook import Session

PLANTED = ("helpful", "unrelated")
TWINS = ("twin", "shuffled", "other")


def classes(suite: Suite, primary: str, pool: pd.DataFrame) -> pd.Series:
    """Return what is known of each row of a pool, best first.

    Args:
        suite: The suite.
        primary: The task that is to be helped.
        pool: As from `auxiliary_rows.pool`.

    Returns:
        Categories PLANTED where the suite says which rows help, else TWINS: rows of the primary's twins, of its twins
        with shuffled labels, and of other tasks.

    Raises:
        InputError: Neither is known.
    """
    if "helpful" in pool:
        return pd.Series(pd.Categorical(np.where(pool["helpful"], *PLANTED), PLANTED), pool.index)
    own = {name: suite[name] for name in dict.fromkeys(pool["task"])}
    known = {name: TWINS[int(t.shuffled)] if t.twin_of == primary else TWINS[2] for name, t in own.items()}
    if TWINS[0] not in known.values():
        raise InputError(
            f"suite {suite.name!r}: nothing is known of the rows that may help {primary!r}; take the planted suite, or "
            f"give it a twin (source: {{twin_of: {primary}, rows: N}})"
        )
    return pd.Series(pd.Categorical(pool["task"].map(known), TWINS), pool.index)


@dataclass
class Choices:
    """What every method chose, for every seed.

    Attributes:
        rows: One row per method and seed: method, seed, rows (chosen), the share of each class among them, auc (for the
            best class, of the order in which the method takes all rows, or of its scores of their tasks; NaN where it
            has neither) and TFLOP (all that choosing ran).
        tasks: What each method made of each task: method, seed, task, score (the method's own, or how many times its
            share of the pool is the task's share of the chosen rows).
        units: The trainings and passes that choosing ran or read back.
    """

    rows: pd.DataFrame
    tasks: pd.DataFrame
    units: list[runs.Manifest]


def judged(session: Session) -> Choices:
    """Let every method choose, for every seed.

    Args:
        session: The notebook's.
    """
    p: Validity = session.params
    rows: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    units: list[runs.Manifest] = []
    for arm in p.arms:
        first = Context(session.suite, arm, p.seeds[0], session.upstream, session.progress)
        for seed in p.seeds:
            asked = first.at(seed)
            options = arm.options(arm.method)
            chosen = arm.method.select(asked, asked.cell, options)
            known = _known(asked)
            at = {"method": arm.arm, "seed": seed}
            flops = cost.total(arm.arm, [*asked.needed(), *asked.searched()]).flops
            shares = _shares(chosen.rows, known)
            rows.append(at | shares | {"auc": _auc(asked, chosen, known), "TFLOP": flops / 1e12})
            tasks += [at | {"task": name, "score": score} for name, score in _task_scores(chosen, known).items()]
            units += asked.units()
    return Choices(pd.DataFrame(rows), pd.DataFrame(tasks), units)


def pool_shares(session: Session) -> pd.Series:
    """Return the share of each class among the usable rows of the pool."""
    known = _known(session.context(session.params.seeds[0]))
    return known["class"].value_counts(normalize=True, sort=False)


def _known(asked: Context) -> pd.DataFrame:
    pool = asked.pool()
    return pool.assign(**{"class": classes(asked.suite, asked.params.primary, pool)})


def _shares(chosen: pd.DataFrame | None, known: pd.DataFrame) -> dict[str, float]:
    names = list(known["class"].cat.categories)
    if chosen is None or chosen.empty:
        return {"rows": 0} | dict.fromkeys(names, np.nan)
    found = chosen[["task", "row"]].merge(known, on=["task", "row"])
    return {"rows": len(chosen)} | found["class"].value_counts(normalize=True).reindex(names).to_dict()


def _auc(asked: Context, chosen: Selection, known: pd.DataFrame) -> float:
    """Return the AUC for the best class: of the order of all rows that may be chosen, or of their tasks' scores."""
    method = asked.params.method
    scores = _of_tasks(chosen)
    if method.scores == "rows" and not method.searches(asked.params.options(method)):  # of another n it would train
        most = int(asked.candidates(method.name)[1].sum())
        every = asked.params.model_copy(update={"n": most})
        other = Context(asked.suite, every, asked.seed, asked.upstream, asked.progress)
        ranked = method.select(other, other.cell, every.options(method)).rows
        if ranked is not None and len(ranked) == most and "rank" in ranked:
            known = known.merge(ranked[["task", "row", "rank"]], on=["task", "row"])
            return _auc_of(-known["rank"], known)
    return _auc_of(known["task"].map(scores), known) if scores else float("nan")


def _auc_of(scores: pd.Series, known: pd.DataFrame) -> float:
    scored = scores.notna().to_numpy()
    truth = (known["class"] == known["class"].cat.categories[0]).to_numpy()
    return agreement.auc(scores[scored].to_numpy(), truth[scored])


def _of_tasks(chosen: Selection) -> Mapping[str, float]:
    """Return a method's own scores of tasks, such as its taus; empty where it has none."""
    return next(iter(chosen.why.values()), {})


def _task_scores(chosen: Selection, known: pd.DataFrame) -> dict[str, float]:
    pool = known["task"].value_counts(normalize=True, sort=False)
    if own := _of_tasks(chosen):
        lowest = min(own.values())  # a task without a score is not known to be better than the worst
        return {str(name): float(own.get(str(name), lowest)) for name in pool.index}
    if chosen.rows is None:
        return {str(name): 0.0 for name in pool.index}
    share = chosen.rows["task"].value_counts(normalize=True).reindex(pool.index, fill_value=0.0)
    return {str(name): float(value) for name, value in (share / pool).items()}


# --- over seeds --------------------------------------------------------------------------------------------------


def over_seeds(table: pd.DataFrame, column: str, level: float) -> pd.DataFrame:
    """Summarise one column over seeds.

    Args:
        table: With columns method and `column`, a row per method and seed.
        column: The column; seeds without a value are left out.
        level: Confidence level of the interval.

    Returns:
        Index method, in order; columns mean, low and high (t interval over seeds; NaN for fewer than two), seeds.
    """
    rows = {}
    for name, part in table.groupby("method", sort=False):
        values = part[column].dropna().to_numpy()
        low, high = stats.t_interval(values, level) if len(values) > 1 else (np.nan, np.nan)
        rows[name] = {"mean": values.mean() if len(values) else np.nan, "low": low, "high": high, "seeds": len(values)}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("method")


def oracle(inputs: Sequence[runs.Manifest], metric: str) -> dict[str, float]:
    """Return what each auxiliary is worth: the primary's mean dev score with rows of that one alone.

    Args:
        inputs: Runs that the notebook reads; those of the arm only count.
        metric: The primary's metric.

    Returns:
        By task; empty where no such run is read.
    """
    alone = [m for m in inputs if m.stage == "06_mtl" and m.params["arm"] == "only"]
    return {
        m.params["methods"]["only"]["task"]: float(np.mean([s["dev"][metric] for s in m.metrics["seeds"].values()]))
        for m in alone
    }  # fmt: skip


def agreements(tasks: pd.DataFrame, truth: Mapping[str, float]) -> pd.DataFrame:
    """Judge the methods' scores of tasks by what each is worth.

    Args:
        tasks: As from `judged`.
        truth: As from `oracle`.

    Returns:
        One row per method and seed: method, seed, tau, ndcg and regret (of the first task, in the primary's metric).
    """
    rows: list[dict[str, Any]] = []
    for (method, seed), part in tasks[tasks["task"].isin(truth)].groupby(["method", "seed"], sort=False):
        scores, worth = part["score"].to_numpy(), part["task"].map(truth).to_numpy()
        rows.append({
            "method": method, "seed": seed, "tau": agreement.kendall_tau(scores, worth),
            "ndcg": agreement.ndcg(scores, worth), "regret": agreement.regret(scores, worth),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["method", "seed", "tau", "ndcg", "regret"])


def board(found: pd.DataFrame, auc: pd.DataFrame, spent: pd.Series) -> dict[str, dict[str, float | None]]:
    """Join what a run's record holds of each method.

    Args:
        found: As from `over_seeds`, of the best class.
        auc: As from `over_seeds`, of the AUC.
        spent: TFLOP by method.

    Returns:
        By method mean, low and high (of the best class's share), auc and TFLOP; None where there is no value.
    """
    table = found[["mean", "low", "high"]].assign(auc=auc["mean"], TFLOP=spent)
    return results.plain(table).to_dict("index")
