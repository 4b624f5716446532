"""Rows that are alike but not equal: candidates share n-grams of words, and are then compared word by word.

A word is what `normalisation.words` says: a character where a script has no spaces. Two rows are near duplicates if

- their sets of n-grams have a Jaccard similarity of `near` and share MIN_SHARED, and each text of a pair and its
  counterpart are alike by EACH_TEXT; this finds passages moved about in a long text; or
- of each text at most one word in ten is changed, inserted, removed or moved (counted over the longer text, by the
  longest common subsequence), and of a text below LEAST_WORDS none: short texts of one template differ by a word and
  are no duplicates. One in ten goes with `near` 0.8; in general it is `changed`.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from itertools import chain, pairwise, permutations
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auxlearn.data.normalisation import words

if TYPE_CHECKING:
    from scipy.sparse import csr_array

Texts = tuple[str, ...]  # of one row
N = 3  # words in an n-gram
MIN_SHARED = 6  # n-grams that rows alike by these share at least, so that they are alike over eight words or more
MIN_CANDIDATE = 4  # n-grams that rows share which are compared word by word: of ten words, two swapped leave so many
LEAST_WORDS = 12  # of a text of which a word may be changed
EACH_TEXT = 0.5  # the Jaccard similarity that each text and its counterpart have at least
COMMON = 1_000  # n-grams of more target rows than this do not count on either side: phrases of a template, and slow
CHUNK_CHARS = 8_000_000  # of pool text at a time: about 100 MB as words
CHUNK_PRODUCTS = 4_000_000  # multiplications in one sparse product: at most about 150 MB
MOST_CANDIDATES = 20  # target rows, those with the most n-grams in common, that a row of the pool is compared with
EPSILON = 1e-9  # one in ten of twenty is two, whatever 1 - 0.8 is in floats


def changed(near: float) -> float:
    """Return the share of words that may be changed, given the Jaccard similarity of n-grams asked for."""
    return (1 - near) / 2


def pairs(pool: list[Texts], target: list[Texts], near: float) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Find the near duplicates between two sets of rows, equal rows among them.

    Args:
        pool: Normalised texts of one set; it may be large.
        target: Normalised texts of the other, as many per row.
        near: Jaccard similarity of n-grams from which rows are near duplicates.

    Yields:
        Positions in `pool`, positions in `target` and similarities (of n-grams, or else the share of words kept), chunk
        by chunk: a pool row's pairs all stand in one.
    """
    grams, right_words = _row_grams(target)
    number = grams["gram"].value_counts(sort=False)
    vocabulary, common = number.index[number <= COMMON], number.index[number > COMMON]
    right, right_size = _matrix(grams, len(target), vocabulary, common)
    frequency = np.asarray(right.sum(axis=0), np.int64)
    for batch in _chunks(_characters(pool), CHUNK_CHARS):
        texts = pool[batch]
        grams, left_words = _row_grams(texts)
        left, left_size = _matrix(grams, len(texts), vocabulary, common)
        for part in _chunks(left @ frequency, CHUNK_PRODUCTS):
            product = (left[part] @ right.T).tocoo()
            i, j, shared = product.coords[0] + part.start, product.coords[1], product.data
            similarity = shared / (left_size[i] + right_size[j] - shared)
            alike = (similarity >= near) & (shared >= MIN_SHARED)
            # A changed word is in N n-grams at most; two that are swapped, one change, are in N + 1.
            longer = np.maximum(left_words[i], right_words[j])
            least = np.maximum(left_size[i], right_size[j]) - (N + 1) * np.floor(changed(near) * longer + EPSILON)
            candidate = alike | (shared >= np.maximum(MIN_CANDIDATE, least)) & (longer >= LEAST_WORDS)
            i, j, similarity, alike = (x[candidate] for x in (i, j, similarity, alike))
            most = np.lexsort((j, -similarity, i))
            most = most[np.arange(len(i)) - np.searchsorted(i[most], i[most]) < MOST_CANDIDATES]
            i, j, similarity, alike = (x[most] for x in (i, j, similarity, alike))
            a, b = [texts[k] for k in i], [target[k] for k in j]
            alike &= _texts_alike(a, b)
            rest = np.flatnonzero(~alike)
            similarity[rest] = [_kept(a[k], b[k], changed(near)) for k in rest]
            close = similarity > 0
            yield i[close] + batch.start, j[close], similarity[close]


def _texts_alike(left: list[Texts], right: list[Texts]) -> np.ndarray:
    """Tell, bool [rows], whether each text has a counterpart of its own: a long text cannot speak for a short one."""
    if not left or len(left[0]) == 1:
        return np.ones(len(left), bool)
    (a, b), (c, d) = zip(*left, strict=True), zip(*right, strict=True)
    straight, crossed = np.minimum(_jaccard(a, c), _jaccard(b, d)), np.minimum(_jaccard(a, d), _jaccard(b, c))
    return np.maximum(straight, crossed) >= EACH_TEXT


def _jaccard(left: Texts, right: Texts) -> np.ndarray:
    """Return the Jaccard similarity of the n-grams of left[i] and right[i], float [texts]; 0 where neither has any."""
    a, b = (_row_grams([(text,) for text in texts])[0] for texts in (left, right))
    n, m, shared = (np.bincount(grams["row"], minlength=len(left)) for grams in (a, b, a.merge(b)))
    return shared / np.maximum(1, n + m - shared)


# --- word by word ------------------------------------------------------------------------------------------------


def _kept(left: Texts, right: Texts, share: float) -> float:
    """Return the share of words that two rows have in one order, the texts of a pair matched in the better of two ways.

    It is 0 where more than `share` of a text is changed.
    """
    best = 0.0
    for way in permutations(left):
        kept = total = 0
        for one, other in zip(way, right, strict=True):
            a, b = words(one), words(other)
            longer = max(len(a), len(b))
            least = longer - (int(share * longer + EPSILON) if longer >= LEAST_WORDS else 0)
            common = longer if one == other else _common(a, b) if min(len(a), len(b)) >= least else 0
            if common < least:
                break
            kept, total = kept + common, total + longer
        else:
            best = max(best, kept / max(1, total))
    return best


def _common(left: list[str], right: list[str]) -> int:
    """Return the length of the longest common subsequence, bit-parallel (Hyyrö, 2004): bit k stands for left[k]."""
    places: dict[str, int] = {}
    for k, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << k
    every = free = (1 << len(left)) - 1
    for word in right:
        if match := free & places.get(word, 0):
            free = (free + match | free - match) & every
    return len(left) - free.bit_count()


# --- n-grams -----------------------------------------------------------------------------------------------------


def _characters(texts: list[Texts]) -> np.ndarray:
    return np.fromiter((sum(map(len, row)) for row in texts), np.int64, len(texts))


def _chunks(cost: np.ndarray, limit: int) -> Iterator[slice]:
    """Slices of consecutive rows that cost about `limit` together, or one row alone that costs more."""
    ends = np.flatnonzero(np.diff(np.cumsum(cost) // limit)) + 1
    return (slice(a, b) for a, b in pairwise([0, *ends.tolist(), len(cost)]) if a < b)


def _row_grams(texts: list[Texts]) -> tuple[pd.DataFrame, np.ndarray]:
    """List the distinct (row, gram) of some rows, the n-grams of all texts of a row together, and count rows' words."""
    parts = [pd.DataFrame({"row": np.zeros(0, np.int64), "gram": np.zeros(0, np.uint64)})]
    number = np.zeros(len(texts), np.int64)
    for part in _chunks(_characters(texts), CHUNK_CHARS):
        for column in zip(*texts[part], strict=True):
            owner, gram, length = _grams(column)
            parts.append(pd.DataFrame({"row": owner + part.start, "gram": gram}))
            number[part] += length
    return pd.concat(parts, ignore_index=True).drop_duplicates(ignore_index=True), number


def _grams(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return text number and 64-bit hash of every word n-gram, and each text's number of words.

    A text of fewer words than N is one gram, an empty one none.
    """
    from pandas.util import hash_array  # the same in every process, unlike hash()

    pieces = [words(text) for text in texts]
    length = np.fromiter(map(len, pieces), np.int64, len(pieces))
    code = hash_array(np.array(list(chain.from_iterable(pieces)), dtype=object))
    owner = np.repeat(np.arange(len(pieces)), length)
    size, odd = max(0, len(code) - N + 1), np.uint64(0x9E3779B97F4A7C15)  # products wrap around
    gram = functools.reduce(lambda acc, k: acc * odd + code[k : k + size], range(1, N), code[:size])
    inside = owner[:size] == owner[N - 1 :]
    short = np.flatnonzero((length > 0) & (length < N))
    alone = hash_array(np.array([texts[i] for i in short.tolist()], dtype=object))
    return np.concatenate([owner[:size][inside], short]), np.concatenate([gram[inside], alone]), length


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
