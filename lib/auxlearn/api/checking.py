"""What is to be known of a suite before anything is trained: `auxlearn.check`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from auxlearn import seeding
from auxlearn.api import cells
from auxlearn.data import leakage, usable_rows
from auxlearn.data.suites import Suite
from auxlearn.evaluation import metrics
from auxlearn.reporting import summaries
from auxlearn.signals import features

ROWS = 500  # of a task, from which cues are learnt, and as many on which they are judged
TELLING = 0.9  # an AUC from which format alone tells a task
TITLES = {
    "leaks": "Training rows (of the task in the row) that also stand in dev or test of the task in the column",
    "floors": "What always giving one answer scores on dev",
    "detectable": "Smallest difference in accuracy that dev can be expected to show, by number of seeds",
    "cues": "How well format alone (length, casing, punctuation) tells a task's rows from the others', as AUC",
}


@dataclass(frozen=True, eq=False)
class Checked:
    """What a check has found.

    Attributes:
        leaks: As from `data.leakage.counts`.
        floors: As from `reporting.summaries.constant_scores`.
        detectable: As from `reporting.summaries.detectable`.
        cues: Index task. Columns format (AUC of all cues together, on rows that they were not fitted to), cue (the one
            that tells most alone) and alone (its AUC; below 0.5 it tells by being small). Empty for a single task.
    """

    leaks: pd.DataFrame
    floors: pd.DataFrame
    detectable: pd.DataFrame
    cues: pd.DataFrame

    @property
    def tables(self) -> dict[str, pd.DataFrame]:
        """The tables by name."""
        return {name: getattr(self, name) for name in TITLES}

    def __repr__(self) -> str:
        parts = [f"{TITLES[name]}:\n{table.round(3).to_string()}" for name, table in self.tables.items() if len(table)]
        told = self.cues.index[self.cues["format"] >= TELLING].tolist()
        if told:
            parts.append(
                f"Format alone gives away {', '.join(told)}: a row that looks like one of these may only be formatted "
                "like it."
            )
        return "\n\n".join(parts)


def check(suite: Suite, seed: int = 0) -> Checked:
    """Tell what is to be known of a suite before anything is trained. No model runs.

    Args:
        suite: The suite.
        seed: Decides which rows cues are learnt from.

    Returns:
        Leaks, floors, detectable differences and cues as tables; printed, they are a report.

    Raises:
        InputError: It is no suite.
    """
    cells.need_suite(suite)
    leaks = leakage.counts(usable_rows.hits(suite), suite)
    return Checked(leaks, summaries.constant_scores(suite), summaries.detectable(suite), _cues(suite, seed))


def _cues(suite: Suite, seed: int) -> pd.DataFrame:
    if len(suite) < 2:
        return pd.DataFrame(columns=["format", "cue", "alone"])
    sample, judged = {}, {}
    for name, task in suite.items():
        order = seeding.rng(seed, "cues", name).permutation(len(task.train))[: 2 * ROWS]
        half = (len(order) + 1) // 2
        sample[name], judged[name] = np.sort(order[:half]), np.sort(order[half:])
    rows = features.as_rows(judged)
    if rows.empty:  # every task has a single row
        return pd.DataFrame(columns=["format", "cue", "alone"])
    ids = rows["task"].map(suite.index).to_numpy()
    together = metrics.column_auc(features.surface_logits(suite, sample, rows), ids)
    cues = features.design(suite, rows)
    table = {}
    for i, name in enumerate(suite.names):
        alone = np.array([metrics.column_auc(np.stack([-cue, cue], 1), (ids == i).astype(int))[1] for cue in cues.T])
        most = int(np.abs(alone - 0.5).argmax())
        table[name] = {"format": together[i], "cue": features.COLUMNS[most], "alone": alone[most]}
    return pd.DataFrame.from_dict(table, orient="index").rename_axis("task")
