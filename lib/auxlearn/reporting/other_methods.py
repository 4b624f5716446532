"""What other methods make of a notebook's question, beside its own: rows (03), scores of tasks (04), weights (05).

All for the first seed. What they give is there to be looked at: it enters no key, and its cost is charged to no arm.
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
from auxlearn.reporting import judged_choices
from auxlearn.studies import parameters
from auxlearn.training import training_cache

if TYPE_CHECKING:
    from auxlearn.reporting.notebook import Session


def _asked(session: Session) -> Iterator[Context]:
    for arm in parameters.others(session.params):
        yield Context(session.suite, arm.resolved(), session.params.seeds[0], session.upstream, session.progress)


def rows(session: Session, chosen: pd.DataFrame, pool: pd.DataFrame) -> pd.DataFrame:
    """Compare the rows that other methods choose with a notebook's own.

    Args:
        session: Of a notebook with `others`.
        chosen: The rows of its own choice: task, row.
        pool: All rows: task, row, and helpful where it is known.

    Returns:
        Index method, this notebook's own choice first; columns rows, common (share of its own choice that the method
        chose too), helpful (share of the chosen rows that were made to help, where it is known), TFLOP (of choosing;
        NaN of its own), and "of TASK", the share of each task.
    """
    made = {"this ranking": (chosen[["task", "row"]], float("nan"))}
    for asked in _asked(session):
        found = context.choose(asked).rows
        spent = cost.total("choice", [*asked.needed(), *asked.searched()]).flops / 1e12
        made[asked.params.arm] = (chosen.iloc[:0] if found is None else found)[["task", "row"]], spent
    own = pd.MultiIndex.from_frame(chosen[["task", "row"]].astype({"task": str}))
    known = ["helpful"] if "helpful" in pool else []
    lines = {}
    for name, (taken, spent) in made.items():
        taken = taken.astype({"task": str})
        common = pd.MultiIndex.from_frame(taken).isin(own).sum() / max(1, len(own))
        about = taken.merge(pool[["task", "row", *known]].astype({"task": str}), on=["task", "row"])
        lines[name] = {"rows": len(taken), "common": common} | {each: about[each].mean() for each in known}
        shares = taken["task"].value_counts(normalize=True)
        lines[name] |= {"TFLOP": spent} | {f"of {task}": share for task, share in shares.items()}
    table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("method")
    tasks = [f"of {task}" for task in dict.fromkeys(pool["task"].astype(str)) if f"of {task}" in table]
    return table.fillna(dict.fromkeys(tasks, 0.0))[["rows", "common", *known, "TFLOP", *tasks]]


def tasks(session: Session, own: pd.Series) -> tuple[pd.DataFrame, pd.Series]:
    """Compare other methods' scores of tasks with a notebook's own.

    Args:
        session: Of a notebook with `others`.
        own: Its own scores by task.

    Returns:
        Index task, the highest of its own first; one column per method, NaN where it scores none. Kendall's tau of each
        method's order with its own.
    """
    made = {"this notebook": own}
    for asked in _asked(session):
        made[asked.params.arm] = pd.Series(judged_choices.own_scores(context.choose(asked)), dtype=float)
    table = pd.DataFrame(made).reindex(own.index).rename_axis("task")
    both = {name: table[["this notebook", name]].dropna().to_numpy() for name in list(table)[1:]}
    taus = {
        name: agreement.kendall_tau(*values.T) if len(values) > 1 else float("nan") for name, values in both.items()
    }
    return table.sort_values("this notebook", ascending=False, kind="stable"), pd.Series(taus, dtype=float)


def weights(session: Session, own: pd.Series) -> pd.DataFrame:
    """Compare where other policies' weights end with a notebook's own, in a training of all rows each.

    Args:
        session: Of a notebook with `others`.
        own: Its own weights at the end, by task.

    Returns:
        Index task; one column per policy, of sum 1, NaN where it weighs no such task.
    """
    made = {session.params.policy: own}
    for asked in _asked(session):
        _, plan = context.select(asked)
        training = training_cache.trained(plan, asked.suite, asked.progress)
        made[asked.params.arm] = weight_tables.finals({asked.seed: training})[asked.seed]
    index = list(dict.fromkeys(task for each in made.values() for task in each.index))
    return pd.DataFrame(made).reindex(index).rename_axis("task")
