"""What other methods make of a notebook's question, beside its own: rows (03), scores of tasks (04), weights (05).

All by their defaults and for the first seed; what it costs informs the reader and is charged to no arm.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pandas as pd

from auxlearn import cost
from auxlearn.evaluation import agreement
from auxlearn.methods import context
from auxlearn.methods.context import Context
from auxlearn.methods.tawt import weight_tables
from auxlearn.records import runs
from auxlearn.studies import parameters
from auxlearn.training import training_cache

if TYPE_CHECKING:
    from auxlearn.reporting.notebook import Session


def _asked(session: Session) -> Iterator[Context]:
    for arm in parameters.others(session.params):
        yield Context(session.suite, arm.resolved(), session.params.seeds[0], session.upstream, session.progress)


def rows(session: Session, chosen: pd.DataFrame, pool: pd.DataFrame) -> tuple[pd.DataFrame, list[runs.Manifest]]:
    """Compare the rows that other methods choose with a notebook's own.

    Args:
        session: Of a notebook with `others`.
        chosen: The rows of its own choice: task, row.
        pool: All rows: task, row, and helpful where it is known.

    Returns:
        Index method, this notebook's own choice first; columns rows, common (share of its own choice that the method
        chose too), helpful (share of the chosen rows that were made to help, where it is known), TFLOP (of choosing;
        NaN of its own) and a share for each task. Then the trainings and passes that were read.
    """
    made, units = {"this ranking": (chosen[["task", "row"]], float("nan"))}, []
    for asked in _asked(session):
        found = context.choose(asked).rows
        spent = cost.total("choice", [*asked.needed(), *asked.searched()]).flops / 1e12
        made[asked.params.arm] = (chosen.iloc[:0] if found is None else found)[["task", "row"]], spent
        units += asked.units()
    own = pd.MultiIndex.from_frame(chosen[["task", "row"]].astype({"task": str}))
    known = ["helpful"] if "helpful" in pool else []
    lines = {}
    for name, (taken, spent) in made.items():
        taken = taken.astype({"task": str})
        common = pd.MultiIndex.from_frame(taken).isin(own).sum() / max(1, len(own))
        about = taken.merge(pool[["task", "row", *known]].astype({"task": str}), on=["task", "row"])
        lines[name] = {"rows": len(taken), "common": common} | {each: about[each].mean() for each in known}
        lines[name] |= {"TFLOP": spent} | taken["task"].value_counts(normalize=True).to_dict()
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")
    shares = [name for name in dict.fromkeys(pool["task"].astype(str)) if name in table]
    return table.fillna(dict.fromkeys(shares, 0.0))[["rows", "common", *known, "TFLOP", *shares]], units


def tasks(session: Session, own: pd.Series) -> tuple[pd.DataFrame, pd.Series, list[runs.Manifest]]:
    """Compare other methods' scores of tasks with a notebook's own.

    Args:
        session: Of a notebook with `others`.
        own: Its own scores by task.

    Returns:
        Index task, the highest of its own first; one column per method, NaN where it scores none. Kendall's tau of each
        method's order with its own. The trainings and passes that were read.
    """
    made, units = {"this notebook": own}, []
    for asked in _asked(session):
        why = context.choose(asked).why
        made[asked.params.arm] = pd.Series(next(iter(why.values()), {}), dtype=float)
        units += asked.units()
    table = pd.DataFrame(made).reindex(own.index).rename_axis("task")
    both = {name: table[["this notebook", name]].dropna().to_numpy() for name in list(table)[1:]}
    taus = {
        name: agreement.kendall_tau(*values.T) if len(values) > 1 else float("nan") for name, values in both.items()
    }
    return table.sort_values("this notebook", ascending=False, kind="stable"), pd.Series(taus, dtype=float), units


def weights(session: Session, own: pd.Series) -> tuple[pd.DataFrame, list[runs.Manifest]]:
    """Compare where other policies' weights end with a notebook's own, in a training of all rows each.

    Args:
        session: Of a notebook with `others`.
        own: Its own weights at the end, by task.

    Returns:
        Index task; one column per policy, of sum 1; the trainings and passes that were read.
    """
    made, units = {session.params.policy: own}, []
    for asked in _asked(session):
        _, plan = context.select(asked)
        training = training_cache.trained(plan, asked.suite, asked.progress)
        made[asked.params.arm] = weight_tables.finals({asked.seed: training})[asked.seed]
        units += [*asked.units(), training.manifest]
    return pd.DataFrame(made).reindex(own.index).rename_axis("task"), units
