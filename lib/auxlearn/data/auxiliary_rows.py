"""The rows that may help: every training row of the auxiliaries, and which of them may be used."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from auxlearn.data.suites import Suite, Task
from auxlearn.errors import InputError

EMPTY = {"task": str, "row": int, "row_id": int, "usable": bool}


def required(suite: Suite, primary: str, only: list[str] | None = None, least: int = 1, by: str = "") -> list[str]:
    """List the tasks that may help `primary`, as `Suite.auxiliaries` does, and refuse a suite that has too few.

    Args:
        suite: The suite.
        primary: The task to help.
        only: The auxiliaries to use; None or an empty list stands for all other tasks.
        least: How many there must be.
        by: What needs them, for the message.

    Raises:
        InputError: There are fewer, or as from `Suite.auxiliaries`.
    """
    names = suite.auxiliaries(primary, only)
    if len(names) < least:
        raise InputError(
            f"{by or 'choosing rows'}: needs {'another task' if least == 1 else f'{least} tasks'} beside the primary "
            f"{primary!r}, and suite {suite.name!r} gives {', '.join(names) or 'none'}; add a task to it, or compare "
            "arms that do with fewer (single and step_matched need none)"
        )
    return names


def check_ids(task: Task, part: pd.DataFrame, what: str) -> None:
    """Refuse rows whose ids are not those at their places in a task's train split.

    Args:
        task: The task.
        part: Its rows: row (position in train, which is there) and row_id.
        what: What they are rows of, such as "selection"; the message names the row by the table's index.

    Raises:
        InputError: One is another row than was chosen.
    """
    ids = task.train.select(part["row"].tolist())["row_id"]
    for at, row, there, chosen in zip(part.index, part["row"], ids, part["row_id"], strict=True):
        if there != chosen:
            raise InputError(
                f"{what} row {at}: {task.name!r} row {row} has row_id {there}, not {chosen}; it was chosen from "
                "another suite, cap or version of the data (what select returns has its own as `suite`)"
            )


def pool(suite: Suite, auxiliaries: list[str], usable: Mapping[str, np.ndarray] | None = None) -> pd.DataFrame:
    """List all training rows of the auxiliaries.

    Args:
        suite: The suite that the tasks are of.
        auxiliaries: Names of the tasks, in the order wanted.
        usable: Per task a mask over its training rows, bool [N]; None takes every row as usable.

    Returns:
        A table of one row per training row: task, row (position in train), row_id, usable; and helpful where the
        sources of all auxiliaries declare it (`Task.truth`).
    """
    tables = [] if auxiliaries else [pd.DataFrame({"task": [], "row": [], "row_id": [], "usable": []}).astype(EMPTY)]
    truth = all(suite[name].truth for name in auxiliaries)
    for name in auxiliaries:
        train = suite[name].train
        table = pd.DataFrame({"task": name, "row": np.arange(len(train)), "row_id": train["row_id"][:]})
        table["usable"] = True if usable is None else usable[name]
        if truth:
            table["helpful"] = train["helpful"][:]
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def pool_size(suite: Suite, auxiliaries: list[str], usable: Mapping[str, np.ndarray]) -> int:
    """Count the rows that an arm may add: those of `pool` that are usable."""
    return int(pool(suite, auxiliaries, usable)["usable"].sum())
