"""Rows to token ids: each distinct text or word is tokenised once, and sequences are put together from these pieces.

Any family of tokenizers gives the ids that it gives by itself: `tokenizer(first, second)`, or for words
`tokenizer(" ".join(words))`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn.data.suites import Task
from auxlearn.data.tokens.pieces import (
    PLAIN,
    THREADED,
    entangled,
    filler,
    layout,
    pieces,
    splits_at_spaces,
    starts_of,
    word_prefix,
)  # fmt: skip
from auxlearn.errors import InputError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Sequences:
    """Tokenised rows as flat arrays, which may lie on disk.

    Sequence i is `[starts[i]:starts[i + 1]]`, and is row i unless a row was split.
    """

    ids: np.ndarray  # int32, all tokens
    types: np.ndarray  # uint8, segment of each token
    starts: np.ndarray  # int64 [S + 1]
    cut: np.ndarray  # bool [S], whether it did not fit max_length
    firsts: np.ndarray | None = None  # tagging: bool, whether a token is a word's first piece
    rows: np.ndarray | None = None  # int64 [S], the row of each sequence, in order, where some row has several

    def __len__(self) -> int:
        return len(self.starts) - 1

    @cached_property
    def lengths(self) -> np.ndarray:
        """Tokens of each sequence, int64 [S]."""
        return np.diff(self.starts)

    @property
    def truncated(self) -> int:
        """Sequences that did not fit max_length."""
        return int(self.cut.sum())

    @property
    def n_rows(self) -> int:
        """The number of rows."""
        return len(self) if self.rows is None else int(self.rows[-1]) + 1 if len(self) else 0

    def take(self, rows: np.ndarray) -> Sequences:
        """Select rows, in the order given.

        Args:
            rows: Positions of rows, int [N].
        """
        at, of = np.asarray(rows, np.int64), None
        if self.rows is not None:
            first, stop = (np.searchsorted(self.rows, at, side) for side in ("left", "right"))
            of = np.repeat(np.arange(len(at)), stop - first)
            at = spans(first, stop - first)
            of = None if len(of) == len(rows) else of
        lengths = self.lengths[at]
        tokens = spans(self.starts[at], lengths)
        firsts = None if self.firsts is None else self.firsts[tokens]
        return Sequences(self.ids[tokens], self.types[tokens], starts_of(lengths), self.cut[at], firsts, of)


def spans(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """List the positions of some spans one after another: [start, start + length) of each, int64 [lengths.sum()]."""
    ends = np.cumsum(lengths)
    return np.arange(ends[-1] if len(ends) else 0) + np.repeat(np.asarray(starts) - (ends - lengths), lengths)


def table(rows: Any, columns: Sequence[str], first: int = 0, stop: int | None = None) -> pa.Table:
    """Read columns of some rows as Arrow.

    Args:
        rows: A dataset, or rows as dicts; a column that a dict lacks is null.
        columns: Names of the columns.
        first: The first row to read.
        stop: The row to stop before; None for the last.
    """
    import pyarrow as pa

    stop = len(rows) if stop is None else min(stop, len(rows))
    if hasattr(rows, "with_format"):
        there = [name for name in columns if name in rows.column_names]
        arrow = rows.select_columns(there).with_format("arrow")[first:stop]
        parts = {name: arrow[name] if name in there else pa.nulls(stop - first) for name in columns}
        return pa.table(parts)
    some = rows[first:stop]
    return pa.table({name: pa.array([row.get(name) for row in some]) for name in columns})


def _distinct(texts: Any) -> tuple[np.ndarray, pa.Array]:
    """Return which of the distinct texts each text is, int64 [N], and these."""
    import pyarrow as pa

    coded = (texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts).dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), coded.dictionary


class Tokeniser:
    """Tokenises rows of one task with one tokenizer.

    Pairs lose tokens from their longer side first. Tags sit on a word's first piece, and every word has one: a word of
    which the tokenizer makes nothing (a zero-width space, say) is read as its unknown token. A sentence to be tagged
    that is over `max_length` pieces is cut there. With `split` it becomes several sequences instead, split between
    words and each as long as fits (the TAWT authors' preprocess_max_len.py does so to files); then every word has its
    first piece in one of them.

    Args:
        task: The task that the rows are of.
        tokenizer: A tokenizer of Hugging Face.
        max_length: Tokens that a sequence may have, special tokens included.
        split: Whether to split long sentences of a tagging task rather than cut them.

    Raises:
        InputError: The tokenizer does not do for the task, or leaves no room for a text.
    """

    def __init__(self, task: Task, tokenizer: Any, max_length: int, split: bool = False):
        self.tagging, self.columns, self.tokenizer, self.split = task.kind == "tagging", task.inputs, tokenizer, split
        self.layout = layout(tokenizer, len(task.inputs))
        self.prefix, self.special = word_prefix(tokenizer), entangled(tokenizer)
        if self.tagging and self.prefix is None:
            raise InputError(
                f"task {task.name!r}: the tokenizer {type(tokenizer).__name__} gives a text other pieces than its "
                "words, so that words cannot be tagged; use an encoder whose tokenizer splits at spaces"
            )
        if not splits_at_spaces(tokenizer) and not self.tagging:
            self.prefix = None  # texts are then read whole
        self.room = max_length - self.layout.size
        self.left = tokenizer.truncation_side == "left" and not self.tagging
        if self.room < len(task.inputs):
            raise InputError(
                f"max_length: {max_length} leaves no room for a text of task {task.name!r} beside {self.layout.size} "
                "special tokens; raise it"
            )

    def __call__(self, rows: pa.Table) -> Sequences:
        """Tokenise rows.

        Args:
            rows: The task's input columns.
        """
        if not len(rows):
            none = np.zeros(0, np.int32)
            firsts = np.zeros(0, bool) if self.tagging else None
            return Sequences(none, none.astype(np.uint8), np.zeros(1, np.int64), np.zeros(0, bool), firsts)
        return self._sentences(rows[self.columns[0]]) if self.tagging else self._texts(rows)

    def _texts(self, rows: pa.Table) -> Sequences:
        import pyarrow as pa

        columns = [rows[c].cast(pa.large_string()) for c in self.columns]
        of, distinct = _distinct(pa.chunked_array(list(chain.from_iterable(c.chunks for c in columns))))
        ids, starts = self._pieces(distinct)
        of = of.reshape(len(columns), -1)  # [texts, N], which of the distinct texts each is
        own, begin = np.diff(starts)[of], starts[of]
        if not self.layout.size and (bare := own.sum(0) == 0).any():  # no sequence is empty
            own[0, bare], begin[0, bare], ids = 1, len(ids), np.append(ids, np.int32(filler(self.tokenizer)))
        kept = self._kept(own)
        begin = begin + (own - kept if self.left else 0)
        return self._composed(list(zip(begin, kept, strict=True)), ids, own.sum(0) > self.room)

    def _pieces(self, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
        """Get the pieces of texts; where a tokenizer reads words alone, each distinct word is read once."""
        import pyarrow.compute as pc

        if self.prefix is None or len(texts) < THREADED:
            return pieces(texts.to_pylist(), self.tokenizer)
        plain = pc.match_substring_regex(texts, PLAIN)
        for content in self.special:
            plain = pc.and_not(plain, pc.match_substring(texts, content))
        words = pc.split_pattern(texts.filter(plain), " ")
        by_word, begin, size, bounds = self._words(words)
        others, their_starts = pieces(texts.filter(pc.invert(plain)).to_pylist(), self.tokenizer)
        is_plain = plain.to_numpy(zero_copy_only=False)
        lengths = np.empty(len(texts), np.int64)
        lengths[is_plain], lengths[~is_plain] = np.diff(np.append(0, np.cumsum(size))[bounds]), np.diff(their_starts)
        starts = starts_of(lengths)
        ids = np.empty(starts[-1], np.int32)
        ids[spans(starts[:-1][is_plain], lengths[is_plain])] = by_word[spans(begin, size)]
        ids[spans(starts[:-1][~is_plain], lengths[~is_plain])] = others
        return ids, starts

    def _words(self, lists: pa.ListArray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Tokenise each distinct word once.

        Args:
            lists: Lists of words, each the words of a text in turn.

        Returns:
            Ids; of each word in turn where its pieces begin among them, and their number; and which word is each
            list's first, with a last one for the end.
        """
        of, distinct = _distinct(lists.flatten())
        own, n = distinct.to_pylist(), len(distinct)
        counts = np.diff(lists.offsets.to_numpy())
        bounds = starts_of(counts)
        if self.prefix:
            own += [self.prefix + word for word in own]
            later = np.ones(len(of), bool)
            later[bounds[:-1][counts > 0]] = False
            of = of + n * later
        ids, starts = pieces(own, self.tokenizer)
        return ids, starts[of], np.diff(starts)[of], bounds

    def _kept(self, own: np.ndarray) -> np.ndarray:
        """Say how many tokens of each text are kept, int64 [texts, N], as the tokenizers' "longest_first" does."""
        if len(own) == 1:
            return np.minimum(own, self.room)
        shorter, half = own.min(0), self.room // 2
        longer = np.where(shorter <= self.room - shorter, self.room - shorter, self.room - half)
        shorter = np.where(shorter <= self.room - shorter, shorter, half)
        second = np.where(own[0] <= own[1], longer, shorter)
        return np.where(own.sum(0) <= self.room, own, np.stack([self.room - second, second]))

    def _composed(self, texts: Sequence[tuple[np.ndarray, np.ndarray]], ids: np.ndarray, cut: np.ndarray) -> Sequences:
        """Put special tokens around pieces: of each text of a sequence, where they begin and how many are kept."""
        starts = starts_of(self.layout.size + np.sum([lengths for _, lengths in texts], axis=0))
        composed, types = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.uint8)
        at = starts[:-1].copy()
        for number, (specials, special_types) in enumerate(
            zip(self.layout.specials, self.layout.special_types, strict=True)
        ):
            for special, kind in zip(specials, special_types, strict=True):
                composed[at], types[at] = special, kind
                at += 1
            if number < len(texts):
                begin, lengths = texts[number]
                where = spans(at, lengths)
                composed[where], types[where] = ids[spans(begin, lengths)], self.layout.types[number]
                at += lengths
        return Sequences(composed, types, starts, cut)

    def _sentences(self, rows: pa.ChunkedArray) -> Sequences:
        import pyarrow as pa

        lists = rows.cast(pa.large_list(pa.large_string())).combine_chunks()
        ids, begin, size, words = self._words(lists)
        ids = np.append(ids, np.int32(filler(self.tokenizer)))
        begin, size = np.where(size > 0, begin, len(ids) - 1), np.maximum(size, 1)
        ends = starts_of(size)
        counts, of_row = np.diff(words), None
        over = np.flatnonzero(np.diff(ends[words]) > self.room)
        if self.split and len(over):
            runs = {int(row): self._runs(size[words[row] : words[row + 1]]) for row in over}
            if any(len(own) > 1 for own in runs.values()):
                of_row = np.repeat(np.arange(len(counts)), [len(runs.get(row, "1")) for row in range(len(counts))])
            counts = np.array(list(chain.from_iterable(runs.get(row, [n]) for row, n in enumerate(counts.tolist()))))
        bounds = ends[starts_of(counts)]
        kept = np.minimum(np.diff(bounds), self.room)
        sequences = self._composed([(bounds[:-1], kept)], ids[spans(begin, size)], np.diff(bounds) > self.room)
        first, firsts = np.zeros(ends[-1], bool), np.zeros(len(sequences.ids), bool)
        first[ends[:-1]] = True
        at = sequences.starts[:-1] + len(self.layout.specials[0])
        firsts[spans(at, kept)] = first[spans(bounds[:-1], kept)]
        return replace(sequences, firsts=firsts, rows=of_row)

    def _runs(self, sizes: np.ndarray) -> list[int]:
        """Split words of these sizes into runs that fit, and count the words of each; an overlong word stands alone."""
        runs, filled = [0], 0
        for size in sizes:
            if runs[-1] and filled + size > self.room:
                runs.append(0)
                filled = 0
            runs[-1] += 1
            filled += size
        return runs


def tokenised(rows: Any, task: Task, tokenizer: Any, max_length: int, split: bool = False) -> Sequences:
    """Tokenise rows of one task in memory; see `Tokeniser`."""
    return Tokeniser(task, tokenizer, max_length, split)(table(rows, task.inputs))
