"""Which texts are exact, normalised or near duplicates of others: numbers for distinct texts, and what matches each.

Whole rows are compared: a row is its one or two texts in any order (tagging: its tokens joined by spaces), and a row of
one text never equals a row of two. `near_duplicates` says what is near.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auxlearn.data import near_duplicates
from auxlearn.data.near_duplicates import Texts
from auxlearn.data.normalisation import normalise

if TYPE_CHECKING:
    from datasets import Dataset

NEAR = 0.8  # Jaccard similarity from which rows count as near duplicates
MATCHES = 5  # matched rows that are listed, per row and set of others
READ_ROWS = 50_000  # held as Python texts at a time


def texts(rows: Dataset, inputs: Sequence[str]) -> Iterator[Texts]:
    """Yield the texts of each row; of tokens, joined by spaces."""
    for first in range(0, len(rows), READ_ROWS):
        columns = [rows[column][first : first + READ_ROWS] for column in inputs]
        columns = [[v if isinstance(v, str) else " ".join(v) for v in column] for column in columns]
        yield from zip(*columns, strict=True)


def marked(rows: Iterable[Texts], others: Iterable[Texts], near: float = NEAR) -> np.ndarray:
    """Mark the rows that are duplicates of others: exact, normalised or near.

    Args:
        rows: The texts of each row.
        others: The texts of each row that they are compared with, as many per row.
        near: Jaccard similarity of n-grams from which rows are near duplicates (see `near_duplicates`).

    Returns:
        Whether each row has such a duplicate, bool [rows].
    """
    distinct = Distinct()
    own = pd.Series(np.fromiter(map(distinct.number, rows), np.int64))
    target = pd.DataFrame({"number": np.fromiter(map(distinct.number, others), np.int64)})
    target = target.assign(part=0, row=np.arange(len(target)))
    return own.isin(matches(own, target, distinct, near)["number"]).to_numpy()


class Distinct:
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


def matches(numbers: pd.Series, target: pd.DataFrame, distinct: Distinct, near: float) -> pd.DataFrame:
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


def _near(own: pd.Series, sizes: pd.DataFrame, distinct: Distinct, near: float) -> tuple[pd.DataFrame, pd.DataFrame]:
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
