"""Exact, normalised and near duplicates between training rows (the pool) and the dev and test rows of target tasks.

Whole rows are compared: a row is its one or two texts in any order (tagging: its tokens joined by spaces), labels are
not looked at, and a row of one text never equals a row of two. `near_duplicates` says what is near. A paraphrase or a
reworded row is not found, nor is one that shares a single sentence of two; `shared_sentences` counts the latter.

Rows that are equal are compared once, and of each training row at most MATCHES matched rows are listed per split of a
target, so that n copies against m cost neither n x m comparisons nor as many lines. The count of all of them is a lower
bound: a row is compared with no more than `near_duplicates.MOST_CANDIDATES` different texts that are like it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auxlearn.data import near_duplicates
from auxlearn.data.near_duplicates import Texts
from auxlearn.data.normalisation import normalise, words
from auxlearn.errors import InputError

if TYPE_CHECKING:
    from auxlearn.data.suites import Suite

KINDS = ("exact", "normalised", "near")  # strongest first
COLUMNS = ("task", "row", "row_id", "target", "split", "target_row", "kind", "similarity", "pairs")
MATCHES = 5  # matched rows that are listed, per training row and split of a target
SENTENCE_WORDS = 5  # a shared sentence has at least so many words
READ_ROWS = 50_000  # held as Python texts at a time


def _texts(suite: Suite, name: str, split: str) -> Iterator[Texts]:
    """Yield the texts of each row of a split, a tagging task's tokens joined by spaces."""
    task, data = suite[name], getattr(suite[name], split)
    for first in range(0, len(data), READ_ROWS):
        columns = [data[column][first : first + READ_ROWS] for column in task.inputs]
        if task.kind == "tagging":
            columns = [[" ".join(tokens) for tokens in column] for column in columns]
        yield from zip(*columns, strict=True)


class _Distinct:
    """Numbers for distinct texts: as they stand, and in groups that are equal once normalised.

    Keys are digests, and of a group only its first row's normalised texts are held.
    """

    def __init__(self) -> None:
        self.texts: list[Texts] = []  # of each group, normalised
        self.group: list[int] = []  # of each number
        self._numbers: dict[bytes, int] = {}
        self._groups: dict[bytes, int] = {}

    def number(self, row: Texts) -> int:
        """Return the number of the rows that are equal to this one as it stands."""
        raw = "\x1f".join(sorted(row))
        number = self._numbers.setdefault(_digest(raw), len(self.group))
        if number == len(self.group):
            texts = tuple(map(normalise, row))
            # Letters and digits without spaces; of a text that has none, all of it, since "?" is not "!".
            key = "\x1f".join(sorted(text.replace(" ", "") for text in texts)) if all(texts) else f"\x1e{raw}"
            group = self._groups.setdefault(_digest(key), len(self.texts))
            if group == len(self.texts):
                self.texts.append(texts)
            self.group.append(group)
        return number


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _numbered(
    suite: Suite, names: Iterable[str], splits: Sequence[str], width: int, distinct: _Distinct
) -> pd.DataFrame:  # fmt: skip
    """List rows of `width` texts with the number of their text; a task without a split is passed over."""
    tables = [pd.DataFrame({"part": [], "row": [], "number": []}, dtype=np.int64)]
    for at, (name, split) in enumerate((name, split) for name in names for split in splits):
        if getattr(suite[name], split) and len(suite[name].inputs) == width:
            number = np.fromiter(map(distinct.number, _texts(suite, name, split)), np.int64)
            tables.append(pd.DataFrame({"part": at, "row": np.arange(len(number)), "number": number}))
    return pd.concat(tables, ignore_index=True)


def find(suite: Suite, targets: list[str] | None = None, near: float = 0.8) -> pd.DataFrame:
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
        distinct = _Distinct()
        pool = _numbered(suite, suite.names, ["train"], width, distinct)
        target = _numbered(suite, names, ["dev", "test"], width, distinct)
        tables.append(pool.merge(_matches(pool["number"], target, distinct, near), on="number", suffixes=("", "_of")))
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


def _matches(numbers: pd.Series, target: pd.DataFrame, distinct: _Distinct, near: float) -> pd.DataFrame:
    """List what matches each distinct text of the pool: number, part, target_row, kind, similarity, pairs."""
    group = np.array(distinct.group, np.int64)
    target = target.rename(columns={"row": "target_row"}).assign(group=group[target["number"]], similarity=1.0)
    own = pd.DataFrame({"number": np.unique(numbers)})
    own["group"] = group[own["number"]]
    split = ["group", "part"]
    sizes = target.groupby(split, as_index=False).agg(pairs=("target_row", "size"))
    heads = target.groupby(split).head(2 * MATCHES)  # MATCHES at least beside equal ones
    exact = own.merge(target.groupby(["number", "part"]).head(MATCHES), on=["number", "group"]).assign(kind=0)
    equal = own.merge(heads, on="group", suffixes=("", "_of")).assign(kind=1)
    near_pairs, near_sizes = _near(own["group"], sizes, distinct, near)
    close = near_pairs.merge(heads.drop(columns="similarity"), left_on=["match", "part"], right_on=split)
    close = own.merge(close.rename(columns={"group_x": "group"}), on="group", suffixes=("", "_of")).assign(kind=2)
    lines = pd.concat([exact, equal[equal["number"] != equal["number_of"]], close])
    lines["distance"] = -lines["similarity"]
    lines = lines.sort_values(["number", "part", "kind", "distance", "target_row"])
    lines = lines.groupby(["number", "part"]).head(MATCHES)
    counts = pd.concat([sizes, near_sizes]).groupby(split, as_index=False)["pairs"].sum()
    return lines.merge(counts, on=split)[["number", "part", "target_row", "kind", "similarity", "pairs"]]


def _near(own: pd.Series, sizes: pd.DataFrame, distinct: _Distinct, near: float) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Find near groups: of each group and split the MATCHES most alike (group, part, match, similarity), and how many.

    How many are near, among those compared, is counted in rows (group, part, pairs).
    """
    left, right = np.unique(own), np.unique(sizes["group"])
    texts = [distinct.texts[g] for g in left], [distinct.texts[g] for g in right]
    best = [pd.DataFrame({"group": left[:0], "part": left[:0], "match": left[:0], "similarity": np.zeros(0)})]
    total = [sizes[:0]]
    for i, j, similarity in near_duplicates.pairs(*texts, near):
        found = pd.DataFrame({"group": left[i], "match": right[j], "similarity": similarity})
        found = found[found["group"] != found["match"]].merge(sizes.rename(columns={"group": "match"}), on="match")
        total.append(found.groupby(["group", "part"], as_index=False)["pairs"].sum())
        found = found.sort_values(["similarity", "match"], ascending=[False, True])
        best.append(found.groupby(["group", "part"]).head(MATCHES).drop(columns="pairs"))
    return pd.concat(best, ignore_index=True), pd.concat(total, ignore_index=True)


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
