"""What a method has chosen, checked whoever wrote it: rows that an arm may train on, and as many as were asked for."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn.errors import InputError
from auxlearn.methods.base import Selection

if TYPE_CHECKING:
    import pandas as pd

    from auxlearn.methods.base import Method

COLUMNS = ("task", "row")


def check(
    selection: Any, method: Method, n: int, auxiliaries: Collection[str], usable: Mapping[str, np.ndarray]
) -> None:
    """Refuse a selection that no arm may train on.

    Args:
        selection: What the method's `select` has returned.
        method: The method.
        n: Rows that were asked for.
        auxiliaries: The tasks that rows may be of.
        usable: By task, which of its rows may be trained on: bool [rows].

    Raises:
        InputError: It is no `Selection`, has no rows or lacks a column, holds a row twice, one that there is not or
            one that leaks, has scores that are no numbers, or other than n rows where the method chooses n rows.
    """
    import pandas as pd

    name = method.name
    if not isinstance(selection, Selection):
        raise InputError(f"{name}: select must return a Selection, not {_called(selection)}")
    if unknown := [task for task in selection.tasks if task not in auxiliaries]:
        raise InputError(f"{name}: its Selection's tasks name {unknown[0]!r}, which is no auxiliary here")
    rows: Any = selection.rows
    if rows is None:
        return
    if not isinstance(rows, pd.DataFrame) or any(column not in rows for column in COLUMNS):
        has = f"columns {', '.join(map(str, rows))}" if isinstance(rows, pd.DataFrame) else _called(rows)
        raise InputError(
            f"{name}: a Selection's rows are a data frame with {' and '.join(COLUMNS)}, such as rows of "
            f"context.pool(), not {has}"
        )
    if not len(rows):
        raise InputError(f"{name}: it has chosen no rows; a Selection() says so where nothing is to be added")
    if not pd.api.types.is_integer_dtype(rows["row"].dtype):
        raise InputError(
            f"{name}: row must hold positions in a task's train as whole numbers, not {rows['row'].dtype}; take them "
            "from context.pool()"
        )
    _check_rows(name, rows, auxiliaries, usable)
    if "score" in rows and not np.isfinite(pd.to_numeric(rows["score"], errors="coerce")).all():
        at = int(np.flatnonzero(~np.isfinite(pd.to_numeric(rows["score"], errors="coerce")))[0])
        where = f"row {rows['row'].iloc[at]} of {rows['task'].iloc[at]!r}"
        raise InputError(f"{name}: the score of {where} is {rows['score'].iloc[at]}; a score must be a finite number")
    if "row_id" not in rows:
        raise InputError(f"{name}: its rows lack row_id, by which exports name them; take them from context.pool()")
    if method.level == "rows" and method.uses_n and not method.follows and len(rows) != n:
        raise InputError(
            f"{name}: it has chosen {len(rows)} rows where n is {n}, so that arms of n rows could not be compared with "
            "it; choose n, or set uses_n = False where the method settles how many"
        )


def _check_rows(
    method: str, rows: pd.DataFrame, auxiliaries: Collection[str], usable: Mapping[str, np.ndarray]
) -> None:
    """Refuse rows that may not be chosen, or are chosen twice."""
    if rows.duplicated(["task", "row"]).any():
        task, row = rows.loc[rows.duplicated(["task", "row"]), ["task", "row"]].iloc[0]
        raise InputError(f"{method}: it has chosen row {row} of {task!r} twice")
    for name, part in rows.groupby("task", sort=False, observed=True):
        if name not in auxiliaries:
            raise InputError(f"{method}: it has chosen rows of {name!r}, which is no auxiliary here")
        positions, mask = part["row"].to_numpy(), usable[str(name)]
        outside = (positions < 0) | (positions >= len(mask))
        if outside.any():
            raise InputError(f"{method}: it has chosen row {positions[outside][0]} of {name!r}, which has {len(mask)}")
        if len(leaks := positions[~mask[positions]]):
            raise InputError(
                f"{method}: it has chosen row {leaks[0]} of {name!r}, which leaks; choose from context.pool()"
            )


def _called(thing: Any) -> str:
    """Say what something is, as a reader would: None is None."""
    return "None" if thing is None else f"a {type(thing).__name__}"
