"""Exact, normalised and near duplicates between training rows (the pool) and the dev and test rows of target tasks.

Whole rows are compared: a row is its one or two texts in any order (tagging: its tokens joined by spaces), labels are
not looked at, and a row of one text never equals a row of two. A paraphrase or a reworded row is not found, nor is one
that shares a single sentence of two; `shared_sentences` counts the latter.
"""

from __future__ import annotations

import functools
import html
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, pairwise
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auxlearn.errors import InputError

if TYPE_CHECKING:
    from scipy.sparse import csr_array

    from auxlearn.data.suites import Suite

Texts = tuple[str, ...]  # of one row
KINDS = ("exact", "normalised", "near")  # strongest first
COLUMNS = ("task", "row", "row_id", "target", "split", "target_row", "kind", "similarity")
N = 3  # words in an n-gram
MIN_SHARED = 6  # n-grams that near rows share at least, so that they are alike over eight words or more
EACH_TEXT = 0.5  # near pairs: the Jaccard similarity that each text and its counterpart have at least
COMMON = 1_000  # n-grams of more target rows than this do not count on either side: phrases of a template, and slow
SENTENCE_WORDS = 5  # a shared sentence has at least so many words
CHUNK_CHARS = 8_000_000  # of pool text at a time: about 100 MB as words
CHUNK_PRODUCTS = 4_000_000  # multiplications in one sparse product: at most about 150 MB

_ENTITY = re.compile(r"&\s?(#?\w+)\s?;")
_BRACKETS = re.compile(r"-[lr][rsc]b-")  # how treebanks write brackets
_NEGATION = re.compile(r"\s+n\s?'\s?t\b")
_CLITIC = re.compile(r"\s?'\s?(?=(?:s|m|d|t|re|ve|ll)\b)")
_ASCII = {i: None if chr(i) == "'" else " " for i in range(128) if not chr(i).isalnum()}


def normalise(text: str) -> str:
    """Reduce a text to its words of letters and digits, joined by single spaces.

    The text is NFKC-normalised and casefolded; HTML entities and -LRB- are undone. Clitics are joined to their word and
    apostrophes dropped ("do n't" and "don't" are "dont"). What tokenisers still split differently ("gon na") differs in
    spaces alone. Marks that are no letters by Unicode (Indic vowel signs) go.
    """
    if "&" in text:
        text = html.unescape(_ENTITY.sub(r"&\1;", text))
    text = unicodedata.normalize("NFKC", text).casefold().replace("’", "'").replace("‘", "'")
    if "b-" in text:
        text = _BRACKETS.sub(" ", text)
    if "'" in text:
        text = _CLITIC.sub("", _NEGATION.sub("nt", text))
    if not text.isascii():
        text = "".join(c if c.isalnum() or c == "'" else " " for c in text)
    return " ".join(text.translate(_ASCII).split())


@dataclass(frozen=True)
class Rows:
    """Rows of equally many texts: where each stands (task, split, row, row_id), its texts, and these normalised."""

    place: pd.DataFrame
    texts: list[Texts]
    words: list[Texts]


def rows(suite: Suite, names: Iterable[str], splits: Sequence[str], width: int) -> Rows:
    """Collect all rows with `width` texts of some tasks and splits, in order.

    Args:
        suite: The suite that the tasks are of.
        names: The tasks.
        splits: The splits; those that a task does not have are passed over.
        width: Texts per row, 1 or 2; tasks with another number are passed over.

    Returns:
        The rows with their places, their texts and their normalised texts.
    """
    places = [pd.DataFrame(columns=["task", "split", "row", "row_id"])]
    texts: list[Texts] = []
    for name, split in ((name, split) for name in names for split in splits):
        task, data = suite[name], getattr(suite[name], split)
        if not data or len(task.inputs) != width:
            continue
        columns = [data[column][:] for column in task.inputs]
        if task.kind == "tagging":
            columns = [[" ".join(tokens) for tokens in column] for column in columns]
        texts.extend(zip(*columns, strict=True))
        ids = {"row": range(len(data)), "row_id": data["row_id"][:]}
        places.append(pd.DataFrame({"task": name, "split": split, **ids}))
    place = pd.concat(places[1:] or places, ignore_index=True)
    return Rows(place, texts, [tuple(map(normalise, row)) for row in texts])


def find(suite: Suite, targets: list[str] | None = None, near: float = 0.8) -> pd.DataFrame:
    """Find every pair of a training row of any task and a dev or test row of a target that are duplicates.

    A target's own train is part of the pool. n copies against m copies are n x m hits.

    Args:
        suite: The suite whose training rows make up the pool.
        targets: Tasks whose dev and test rows to compare with; all if None.
        near: Jaccard similarity of n-grams from which rows are near duplicates, above 0 and up to 1.

    Returns:
        A table of one row per pair: task, row, row_id (the training row: its position and its id), target, split ("dev"
        or "test"), target_row (a position), kind (the strongest that holds) and similarity (1.0, or for near rows the
        Jaccard similarity of their n-grams).

    Raises:
        InputError: If `near` is no such similarity, or a target is not in the suite.
    """
    if not 0 < near <= 1:
        raise InputError(f"near: {near} is not a similarity above 0 and up to 1")
    names = suite.names if targets is None else list(dict.fromkeys(suite[name].name for name in targets))
    parts = []
    for width in (1, 2):
        pool, target = rows(suite, suite, ["train"], width), rows(suite, names, ["dev", "test"], width)
        pairs = between(pool, target, near)
        left = pool.place.iloc[pairs["pool"]].reset_index(drop=True)[["task", "row", "row_id"]]
        right = target.place.iloc[pairs["target"]].reset_index(drop=True)[["task", "split", "row"]]
        right.columns = ["target", "split", "target_row"]
        parts.append(pd.concat([left, right, pairs[["kind", "similarity"]]], axis=1))
    hits = pd.concat(parts, ignore_index=True).astype({"row": int, "row_id": int, "target_row": int})
    order = {name: i for i, name in enumerate(suite.names)}
    by = ["task", "target", "split", "row", "target_row"]
    hits = hits.sort_values(by, key=lambda c: c.map(order) if c.name in ("task", "target") else c, ignore_index=True)
    return hits[list(COLUMNS)]


def between(pool: Rows, target: Rows, near: float) -> pd.DataFrame:
    """Find the duplicates between two sets of rows.

    Args:
        pool: One set; it may be large.
        target: The other set; its rows are held as keys.
        near: Jaccard similarity of n-grams from which rows are near duplicates.

    Returns:
        A table of one row per pair: pool and target (positions), kind, similarity.
    """
    raw, glued = _equal(pool.texts, target.texts, _raw), _equal(pool.words, target.words, _glued)
    close = _near(pool.words, target.words, near)
    parts = [part.assign(kind=kind) for part, kind in zip((raw, glued, close), KINDS, strict=True)]
    return pd.concat(parts).drop_duplicates(["pool", "target"], ignore_index=True)  # keeps the first, the strongest


def _raw(row: Texts) -> str:
    return "\x1f".join(sorted(row))


def _glued(row: Texts) -> str | None:
    """Letters and digits without spaces, texts sorted; None where a text has none, since "?" is not "!"."""
    return _raw(tuple(text.replace(" ", "") for text in row)) if all(row) else None


def _equal(pool: list[Texts], target: list[Texts], key: Callable[[Texts], str | None]) -> pd.DataFrame:
    """Pair rows of equal key; only the target's keys are held, since the pool may be large."""
    where: dict[str | None, list[int]] = {}
    for j, row in enumerate(target):
        where.setdefault(key(row), []).append(j)
    where.pop(None, None)
    pairs = np.array([(i, j) for i, row in enumerate(pool) for j in where.get(key(row), ())], np.int64).reshape(-1, 2)
    return pd.DataFrame({"pool": pairs[:, 0], "target": pairs[:, 1], "similarity": 1.0})


# --- near --------------------------------------------------------------------------------------------------------


def _near(pool: list[Texts], target: list[Texts], near: float) -> pd.DataFrame:
    """Pair rows whose sets of n-grams, united over their texts, are alike by `near`, and each text by EACH_TEXT."""
    grams = _row_grams(target)
    number = grams["gram"].value_counts(sort=False)
    vocabulary, common = number.index[number <= COMMON], number.index[number > COMMON]
    right, right_size = _matrix(grams, len(target), vocabulary, common)
    frequency = np.asarray(right.sum(axis=0), np.int64)
    pairs = [np.zeros((3, 0))]
    for batch in _chunks(_characters(pool), CHUNK_CHARS):
        left, left_size = _matrix(_row_grams(pool[batch]), batch.stop - batch.start, vocabulary, common)
        for part in _chunks(left @ frequency, CHUNK_PRODUCTS):
            product = (left[part] @ right.T).tocoo()
            enough = product.data >= MIN_SHARED
            i, j, shared = product.coords[0][enough] + part.start, product.coords[1][enough], product.data[enough]
            similarity = shared / (left_size[i] + right_size[j] - shared)
            close = similarity >= near
            pairs.append(np.stack([i[close] + batch.start, j[close], similarity[close]]))
    i, j, similarity = np.concatenate(pairs, axis=1)
    table = pd.DataFrame({"pool": i.astype(np.int64), "target": j.astype(np.int64), "similarity": similarity})
    return table[_texts_alike([pool[k] for k in table["pool"]], [target[k] for k in table["target"]])]


def _texts_alike(left: list[Texts], right: list[Texts]) -> np.ndarray:
    """Tell, bool [rows], whether each text has a counterpart of its own: a long text cannot speak for a short one."""
    if not left or len(left[0]) == 1:
        return np.ones(len(left), bool)
    (a, b), (c, d) = zip(*left, strict=True), zip(*right, strict=True)
    straight, crossed = np.minimum(_jaccard(a, c), _jaccard(b, d)), np.minimum(_jaccard(a, d), _jaccard(b, c))
    return np.maximum(straight, crossed) >= EACH_TEXT


def _jaccard(left: Texts, right: Texts) -> np.ndarray:
    """Return the Jaccard similarity of the n-grams of left[i] and right[i], float [texts]; 0 where neither has any."""
    a, b = (_row_grams([(text,) for text in texts]) for texts in (left, right))
    n, m, shared = (np.bincount(grams["row"], minlength=len(left)) for grams in (a, b, a.merge(b)))
    return shared / np.maximum(1, n + m - shared)


def _characters(texts: list[Texts]) -> np.ndarray:
    return np.fromiter((sum(map(len, row)) for row in texts), np.int64, len(texts))


def _chunks(cost: np.ndarray, limit: int) -> Iterator[slice]:
    """Slices of consecutive rows that cost about `limit` together, or one row alone that costs more."""
    ends = np.flatnonzero(np.diff(np.cumsum(cost) // limit)) + 1
    return (slice(a, b) for a, b in pairwise([0, *ends.tolist(), len(cost)]) if a < b)


def _row_grams(texts: list[Texts]) -> pd.DataFrame:
    """List the distinct (row, gram) of some rows, the n-grams of all texts of a row together."""
    parts = [pd.DataFrame({"row": np.zeros(0, np.int64), "gram": np.zeros(0, np.uint64)})]
    for part in _chunks(_characters(texts), CHUNK_CHARS):
        for column in zip(*texts[part], strict=True):
            owner, gram = _grams(column)
            parts.append(pd.DataFrame({"row": owner + part.start, "gram": gram}))
    return pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True)


def _grams(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return text number and 64-bit hash of every word n-gram; a text of fewer words is one gram, an empty one none."""
    from pandas.util import hash_array  # the same in every process, unlike hash()

    words = [text.split() for text in texts]
    length = np.fromiter(map(len, words), np.int64, len(words))
    code = hash_array(np.array(list(chain.from_iterable(words)), dtype=object))
    owner = np.repeat(np.arange(len(words)), length)
    size, odd = max(0, len(code) - N + 1), np.uint64(0x9E3779B97F4A7C15)  # products wrap around
    gram = functools.reduce(lambda acc, k: acc * odd + code[k : k + size], range(1, N), code[:size])
    inside = owner[:size] == owner[N - 1 :]
    short = np.flatnonzero((length > 0) & (length < N))
    alone = hash_array(np.array([texts[i] for i in short.tolist()], dtype=object))
    return np.concatenate([owner[:size][inside], short]), np.concatenate([gram[inside], alone])


def _matrix(grams: pd.DataFrame, size: int, vocabulary: pd.Index, common: pd.Index) -> tuple[csr_array, np.ndarray]:
    """Return a 0/1 matrix rows x vocabulary, and each row's number of n-grams.

    That number counts n-grams outside the vocabulary too, but none of the common ones.
    """
    from scipy.sparse import csr_array

    grams = grams[~grams["gram"].isin(common)]
    column = vocabulary.get_indexer(grams["gram"])
    known = column >= 0
    where = (grams["row"].to_numpy()[known], column[known])
    matrix = csr_array((np.ones(known.sum(), np.int32), where), shape=(size, len(vocabulary)))
    return matrix, np.bincount(grams["row"], minlength=size)


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
    judged = rows(suite, [target], ["dev", "test"], len(suite[target].inputs)).words
    known = set(chain.from_iterable(map(_sentences, judged)))
    per_task = {}
    for name, mask in flagged(hits, suite, target).items():
        words = rows(suite, [name], ["train"], len(suite[name].inputs)).words
        shares = np.array([not known.isdisjoint(_sentences(row)) for row in words], bool)
        per_task[name] = {"rows": len(words), "shared": int((shares & ~mask).sum())}
    return pd.DataFrame(per_task).T.rename_axis("task")


def _sentences(row: Texts) -> list[str]:
    return [text.replace(" ", "") for text in row if text.count(" ") >= SENTENCE_WORDS - 1]
