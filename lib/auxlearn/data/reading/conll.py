"""Tagged sentences in columns: CoNLL-2000, CoNLL-2003, CoNLL-U and their like, each fault with its line."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auxlearn.data.reading import raw_rows
from auxlearn.data.reading.parsing import lines_of
from auxlearn.data.reading.raw_rows import BATCH, RawRows
from auxlearn.errors import InputError

_SUBWORD = re.compile(r"[0-9]+[-.][0-9]+")  # CoNLL-U: multi-word ids and empty nodes


def read_conll(path: Path, columns: tuple[int, int]) -> RawRows:
    """Read sentences that blank lines separate, one token per line, as the columns tokens and tags.

    `# …` may be a comment or the token #, as CoNLL-2000 and tweets have it: it is a token if it has the columns of one,
    and stands inside a sentence or has a tag that other tokens have.

    Args:
        path: A file in columns, separated by tabs or by spaces.
        columns: Positions of token and tag, from 0, negative from the end.

    Returns:
        One row per sentence.

    Raises:
        InputError: If there are no such columns, a line has another number of them or an empty token or tag, or the
            column of tokens only numbers them (CoNLL-U).
    """
    first = next((line for line in _cells(path) if line[1] == "token"), None)
    if first is None:
        return raw_rows.from_batches([])
    shape, width = first[2], max(2, first[2][1])
    if not all(-width <= column < width for column in columns):
        raise InputError(f"{path}, line {first[0]}: {width} columns; `columns` asks for {list(columns)}")
    known = {
        cells[columns[1]] for _, what, _, cells in _cells(path) if what == "token" and len(cells) == width
    }  # fmt: skip
    counted = [True, False]  # whether every sentence numbers its tokens; whether one has several

    def sentences() -> Iterator[tuple[list[str], list[str]]]:
        tokens: list[str] = []
        tags: list[str] = []
        for number, what, form, cells in _cells(path):
            # A token # has the columns of a token, and stands inside a sentence or has a tag that other tokens have.
            comment = what == "hash" and not (form == shape and (tokens or cells[columns[1]] in known))
            if what == "gap" and tokens:
                yield tokens, tags
                tokens, tags = [], []
            if what == "gap" or comment or (columns[0] != 0 and _SUBWORD.fullmatch(cells[0])):
                continue
            if len(cells) != width:
                raise InputError(f"{path}, line {number}: {len(cells)} columns instead of {width}; mend the line")
            token, tag = (cells[column] for column in columns)
            if not token or not tag:
                raise InputError(f"{path}, line {number}: the {'tag' if token else 'token'} is empty; mend the line")
            tokens.append(token)
            tags.append(tag)
        if tokens:
            yield tokens, tags

    def batches() -> Iterator[dict[str, list[Any]]]:
        rows = sentences()
        while batch := list(itertools.islice(rows, BATCH)):
            for tokens, _ in batch:
                words = [token for token in tokens if not _SUBWORD.fullmatch(token)]
                counted[0] &= words == [str(i + 1) for i in range(len(words))]
                counted[1] |= len(words) > 1
            yield {"tokens": [tokens for tokens, _ in batch], "tags": [tags for _, tags in batch]}

    rows = raw_rows.from_batches(batches())
    if all(counted):
        raise InputError(f"{path}: its first column numbers the tokens; give `columns`, as [1, 3] for words and UPOS")
    return rows


def _cells(path: Path) -> Iterator[tuple[int, str, tuple[bool, int], list[str]]]:
    """Number, kind (token, hash or gap), form (has tabs, number of cells) and cells of each line."""
    for number, raw in lines_of(path):
        line = raw.rstrip("\r\n")
        tabs = "\t" in line
        cells = [cell.strip(" ") for cell in line.split("\t")] if tabs else [cell for cell in line.split(" ") if cell]
        what = "hash" if line.startswith("# ") else "token"
        yield number, what if any(cells) and cells[0] != "-DOCSTART-" else "gap", (tabs, len(cells)), cells
