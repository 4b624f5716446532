"""Exact, normalised and near duplicates between training rows (the pool) and the dev and test rows of target tasks.

Whole rows are compared as `duplicates` says, and labels are not looked at. A paraphrase or a reworded row is not found,
nor is one that shares a single sentence of two; `shared_sentences` counts the latter.

Rows that are equal are compared once, and of each training row at most `duplicates.MATCHES` matched rows are listed per
split of a target, so that n copies against m cost neither n x m comparisons nor as many lines. The count of all of them
is a lower bound: a row is compared with at most `near_duplicates.MOST_CANDIDATES` different texts that are like it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auxlearn.data import duplicates
from auxlearn.data.duplicates import Distinct
from auxlearn.data.near_duplicates import Texts
from auxlearn.data.normalisation import normalise, words
from auxlearn.errors import InputError

if TYPE_CHECKING:
    from auxlearn.data.suites import Suite

KINDS = ("exact", "normalised", "near")  # strongest first
COLUMNS = ("task", "row", "row_id", "target", "split", "target_row", "kind", "similarity", "pairs")
SENTENCE_WORDS = 5  # a shared sentence has at least so many words


def _texts(suite: Suite, name: str, split: str) -> Iterator[Texts]:
    return duplicates.texts(getattr(suite[name], split), suite[name].inputs)


def _numbered(
    suite: Suite, names: Iterable[str], splits: Sequence[str], width: int, distinct: Distinct
) -> pd.DataFrame:  # fmt: skip
    """List rows of `width` texts with the number of their text; a task without a split is passed over."""
    tables = [pd.DataFrame({"part": [], "row": [], "number": []}, dtype=np.int64)]
    for at, (name, split) in enumerate((name, split) for name in names for split in splits):
        if getattr(suite[name], split) and len(suite[name].inputs) == width:
            number = np.fromiter(map(distinct.number, _texts(suite, name, split)), np.int64)
            tables.append(pd.DataFrame({"part": at, "row": np.arange(len(number)), "number": number}))
    return pd.concat(tables, ignore_index=True)


def find(suite: Suite, targets: list[str] | None = None, near: float = duplicates.NEAR) -> pd.DataFrame:
    """Find the training rows of any task that are duplicates of a dev or test row of a target.

    A target's own train is part of the pool.

    Args:
        suite: The suite whose training rows make up the pool.
        targets: Tasks whose dev and test rows to compare with; all if None.
        near: Jaccard similarity of n-grams from which rows are near duplicates, above 0 and up to 1; it also says how
            many words may be changed (see `near_duplicates`).

    Returns:
        A table of one row per training row and matched row: task, row, row_id (the training row: its position and its
        id), target, split ("dev" or "test"), target_row (a position), kind (the strongest that holds), similarity (1.0;
        of near rows that of their n-grams or else the share of words kept) and pairs (how many rows of the split match
        the training row at least: equal ones are all counted, near ones up to MOST_CANDIDATES different texts; MATCHES
        of them at most are listed, the strongest first).

    Raises:
        InputError: If `near` is no such similarity, or a target is not in the suite.
    """
    if not 0 < near <= 1:
        raise InputError(f"near: {near} is not a similarity above 0 and up to 1")
    wanted = set(suite.names if targets is None else (suite[name].name for name in targets))
    names = [name for name in suite.names if name in wanted]
    tables = []
    for width in (1, 2):
        distinct = Distinct()
        pool = _numbered(suite, suite.names, ["train"], width, distinct)
        target = _numbered(suite, names, ["dev", "test"], width, distinct)
        tables.append(
            pool.merge(duplicates.matches(pool["number"], target, distinct, near), on="number", suffixes=("", "_of"))
        )
    hits = pd.concat(tables, ignore_index=True)
    hits = hits.sort_values(["part", "part_of", "row", "target_row"], ignore_index=True)
    hits["task"] = np.array(suite.names, object)[hits["part"]]
    hits["target"] = np.array(names, object)[hits["part_of"] // 2]
    hits["split"] = np.array(["dev", "test"], object)[hits["part_of"] % 2]
    hits["kind"] = np.array(KINDS, object)[hits["kind"]]
    hits["row_id"] = hits["row"]
    for name, rows in hits.groupby("task")["row"]:
        hits.loc[rows.index, "row_id"] = np.asarray(suite[str(name)].train["row_id"][:])[rows]
    return hits[list(COLUMNS)]


# --- summaries ---------------------------------------------------------------------------------------------------


def flagged(hits: pd.DataFrame, suite: Suite, target: str | None = None) -> dict[str, np.ndarray]:
    """Mark the training rows that are hits.

    Args:
        hits: A table of `find`.
        suite: The suite it was made of.
        target: The task whose dev and test rows count; any task's if None.

    Returns:
        Per task a mask over its training rows, bool [N].
    """
    if target is not None:
        hits = hits[hits["target"] == suite[target].name]
    masks = {name: np.zeros(len(task.train), bool) for name, task in suite.items()}
    for name, part in hits.groupby("task"):
        masks[str(name)][part["row"].to_numpy()] = True
    return masks


def counts(hits: pd.DataFrame, suite: Suite) -> pd.DataFrame:
    """Count the distinct training rows that hit each target.

    Args:
        hits: A table of `find`.
        suite: The suite it was made of.

    Returns:
        A table of counts, one row per pool task (the index, "task") and one column per target.
    """
    table = {target: {n: int(m.sum()) for n, m in flagged(hits, suite, target).items()} for target in suite.names}
    return pd.DataFrame(table).rename_axis("task")


def shared_sentences(suite: Suite, target: str, hits: pd.DataFrame | None = None) -> pd.DataFrame:
    """Count the training rows that share one sentence with the target's dev or test and are no hit.

    The count is there to be reported; no row is removed for it. A sentence is a text of five words or more, compared as
    normalised letters and digits.

    Args:
        suite: The suite of all tasks.
        target: The task whose dev and test rows to compare with.
        hits: A table of `find`, to save a second search; None searches.

    Returns:
        A table of one row per task (the index, "task"): rows (training rows) and shared.
    """
    hits = find(suite, [target]) if hits is None else hits
    judged = (row for split in ("dev", "test") if getattr(suite[target], split) for row in _texts(suite, target, split))
    known = set(chain.from_iterable(map(_sentences, judged)))
    per_task = {}
    for name, mask in flagged(hits, suite, target).items():
        shares = np.array([not known.isdisjoint(_sentences(row)) for row in _texts(suite, name, "train")], bool)
        per_task[name] = {"rows": len(mask), "shared": int((shares & ~mask).sum())}
    return pd.DataFrame(per_task).T.rename_axis("task")


def _sentences(row: Texts) -> list[str]:
    texts = map(normalise, row)
    return [text.replace(" ", "") for text in texts if len(words(text)) >= SENTENCE_WORDS]
