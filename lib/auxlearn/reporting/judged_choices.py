"""What methods choose against what is known of the rows: planted as helpful, or a twin, a shuffled twin, another's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from auxlearn import cost
from auxlearn.data import row_texts
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.evaluation import agreement
from auxlearn.methods import context
from auxlearn.methods.base import Selection
from auxlearn.methods.context import Context
from auxlearn.methods.scores import dsir
from auxlearn.methods.scores.base import target_table
from auxlearn.records import runs
from auxlearn.studies.validity import Validity

if TYPE_CHECKING:
    from auxlearn.reporting.notebook import Session

PLANTED = ("helpful", "unrelated")
TWINS = ("twin", "shuffled", "other")
DRAWS = 5  # of random rows, that the words of a choice are compared with


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
            best class, of the order in which the method takes all rows, quotas of tasks aside, or of its scores of
            their tasks; NaN where it has neither), kl (DSIR's KL reduction: how much nearer the words of the chosen
            rows are to the primary's than those of random rows with as many words, in nats; NaN where none was chosen),
            TFLOP (all that choosing ran) and tasks (the set that was chosen, as A+B; "" where rows were).
        tasks: What each method made of each task: method, seed, task, score (the method's own, or how many times its
            share of the pool is the task's share of the chosen rows; by quotas of tasks the mean of its
            rows' scores) and mean (the method's own score of the task, or
            the mean over its rows of theirs; NaN where it has neither).
        units: The trainings and passes that choosing ran or read back.
        sizes: Usable rows by auxiliary.
    """

    rows: pd.DataFrame
    tasks: pd.DataFrame
    units: list[runs.Manifest]
    sizes: pd.Series


def judge(session: Session) -> Choices:
    """Let every method choose, for every seed.

    Args:
        session: The notebook's; its workers are started, and make what methods train and score (see `seed_workers`).
    """
    p: Validity = session.params
    order = list(session.contexts())
    rows: list[dict[str, Any]] = []
    tasks: list[dict[str, Any]] = []
    units: list[runs.Manifest] = []
    words: _Words | None = None
    for arm in p.arms:
        first = Context(session.suite, arm, p.seeds[0], session.upstream, session.progress)
        asked = {seed: first.at(seed) for seed in p.seeds}
        chosen = {seed: context.choose(asked[seed]) for seed in order}
        words = words or _Words(first, p.seeds)
        for seed in p.seeds:
            at = {"method": arm.arm, "seed": seed}
            row, of_tasks = _judge(asked[seed], chosen[seed])
            rows.append(at | row | {"kl": words.kl_reduction(seed, chosen[seed].rows)})
            tasks += [at | each for each in of_tasks]
            units += asked[seed].units()
    sizes = _known(asked[p.seeds[-1]])["task"].astype(str).value_counts(sort=False)
    return Choices(pd.DataFrame(rows), pd.DataFrame(tasks), units, sizes)


def _judge(asked: Context, chosen: Selection) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return what `Choices` tells of one method and seed: of its rows, and of each task."""
    known = _known(asked)
    flops = cost.total(asked.params.arm, [*asked.needed(), *asked.searched()]).flops
    ranked, auxiliaries = _ranked(asked), asked.auxiliaries
    means = _means(ranked, chosen, auxiliaries)
    row = _shares(chosen.rows, known) | {
        "auc": _auc(ranked, chosen, known), "TFLOP": flops / 1e12,
        "tasks": "+".join(name for name in auxiliaries if name in chosen.tasks),
    }  # fmt: skip
    # By quotas every task gives its part, whatever its rows are worth.
    by_quota = ranked is not None and not asked.params.method.nested(asked.params.options(asked.params.method))
    scores = means if by_quota else _task_scores(chosen, known)
    return row, [{"task": name, "score": score, "mean": means[name]} for name, score in scores.items()]


class _Words:
    """The words of every seed's primary and of the pool, by which choices are compared with random rows."""

    def __init__(self, first: Context, seeds: Sequence[int]) -> None:
        pool = first.pool()  # the same for every seed
        self.rows = pool[["task", "row"]].astype({"task": str}).assign(place=np.arange(len(pool)))
        self.pool = dsir.counts(row_texts.stream(first.suite, pool))
        self.words = np.asarray(self.pool.sum(1, dtype=np.float64)).ravel()
        self.asked = {seed: first.at(seed) for seed in seeds}
        self.targets = {
            seed: dsir.counts(row_texts.stream(asked.suite, target_table(asked, asked.cell, 0)))
            for seed, asked in self.asked.items()
        }

    def kl_reduction(self, seed: int, chosen: pd.DataFrame | None) -> float:
        """Compare with random rows that have as many words: of more words fewer are lacking, whatever they say."""
        if chosen is None or chosen.empty:
            return float("nan")
        keys = chosen[["task", "row"]].astype({"task": str})
        rows = self.pool[keys.merge(self.rows, on=["task", "row"])["place"].to_numpy()]
        reductions = []
        for draw in range(DRAWS):
            order = self.asked[seed].rng("sample", "kl", str(draw)).permutation(len(self.words))
            drawn = order[: 1 + np.searchsorted(np.cumsum(self.words[order]), rows.sum(dtype=np.float64))]
            reductions.append(dsir.kl_reduction(self.targets[seed], self.pool[drawn], rows))
        return float(np.mean(reductions))


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


def _ranked(asked: Context) -> pd.DataFrame | None:
    """Return all rows that a method may choose, with its scores and in its order; None where it does not rank them."""
    method, options = asked.params.method, asked.params.options(asked.params.method)
    if (
        method.scores != "rows" or not method.ranks(options) or method.searches(options)
    ):  # of another n it searches anew
        return None
    most = int(asked.candidates(method.name)[1].sum())
    every = asked.params.model_copy(update={"n": most})
    other = Context(asked.suite, every, asked.seed, asked.upstream, asked.progress)
    ranked = context.choose(other).rows
    return ranked if ranked is not None and len(ranked) == most and "rank" in ranked else None


def _auc(ranked: pd.DataFrame | None, chosen: Selection, known: pd.DataFrame) -> float:
    """Return the AUC for the best class: of the order of all rows that may be chosen, or of their tasks' scores."""
    if ranked is not None:
        known = known.merge(ranked[["task", "row", "rank"]], on=["task", "row"])
        return _auc_of(-known["rank"], known)
    scores = own_scores(chosen)
    return _auc_of(known["task"].map(scores), known) if scores else float("nan")


def _means(ranked: pd.DataFrame | None, chosen: Selection, names: Sequence[str]) -> dict[str, float]:
    """Return each task's own score, or the mean of its rows' scores; NaN where a method has neither."""
    own = own_scores(chosen)
    if ranked is not None:
        own = ranked.groupby(ranked["task"].astype(str))["score"].mean().to_dict()
    lowest = min(own.values(), default=float("nan"))  # as in `_task_scores`
    return {name: float(own.get(name, lowest)) for name in names}


def _auc_of(scores: pd.Series, known: pd.DataFrame) -> float:
    scored = scores.notna().to_numpy()
    truth = (known["class"] == known["class"].cat.categories[0]).to_numpy()
    return agreement.auc(scores[scored].to_numpy(), truth[scored])


def own_scores(chosen: Selection) -> Mapping[str, float]:
    """Return a method's own scores of tasks, such as its taus; empty where it has none."""
    return next(iter(chosen.why.values()), {})


def _task_scores(chosen: Selection, known: pd.DataFrame) -> dict[str, float]:
    pool = known["task"].value_counts(normalize=True, sort=False)
    if own := own_scores(chosen):
        lowest = min(own.values())  # a task without a score is not known to be better than the worst
        return {str(name): float(own.get(str(name), lowest)) for name in pool.index}
    if chosen.rows is None:
        return {str(name): 0.0 for name in pool.index}
    share = chosen.rows["task"].value_counts(normalize=True).reindex(pool.index, fill_value=0.0)
    return {str(name): float(value) for name, value in (share / pool).items()}
