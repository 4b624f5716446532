"""Rows from files: plain data is parsed, nothing in it is ever executed.

No row is dropped in silence: what cannot be read is an InputError that names the file, the line and the remedy.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from auxlearn.data import parquet
from auxlearn.data.reading import class_names, conll, labels, parsing, raw_rows, split_files
from auxlearn.data.reading.raw_rows import RawRows
from auxlearn.data.reading.split_files import SUFFIXES
from auxlearn.errors import InputError, shown

Raw = dict[str, RawRows]  # by split
# The tasks of the glue_data layout: the file's column for each of the hub's input columns, and the file's label column.
GLUE: dict[str, tuple[dict[str, str], str]] = {
    "CoLA": ({"sentence": "sentence"}, "label"),
    "SST-2": ({"sentence": "sentence"}, "label"),
    "MRPC": ({"sentence1": "#1 String", "sentence2": "#2 String"}, "Quality"),
    "QQP": ({"question1": "question1", "question2": "question2"}, "is_duplicate"),
    "STS-B": ({"sentence1": "sentence1", "sentence2": "sentence2"}, "score"),
    "MNLI": ({"premise": "sentence1", "hypothesis": "sentence2"}, "gold_label"),
    "QNLI": ({"question": "question", "sentence": "sentence"}, "label"),
    "RTE": ({"sentence1": "sentence1", "sentence2": "sentence2"}, "label"),
    "WNLI": ({"sentence1": "sentence1", "sentence2": "sentence2"}, "label"),
}
_COLA = ["source", "label", "mark", "sentence"]  # train and dev of CoLA have no header


def read_file(
    path: Path, columns: tuple[int, int] | None = None, only: tuple[str, ...] | None = None,
    shared: tuple[str, ...] = (),
) -> RawRows:  # fmt: skip
    """Read the rows of one file of a known suffix (SUFFIXES).

    Args:
        path: The file.
        columns: For CoNLL only: positions of token and tag, from 0, negative from the end; first and last if None.
        only: The columns to keep, as far as they are there; all if None.
        shared: Columns that may stay dictionary-encoded (see `parquet.read_table`).

    Returns:
        One row at least. Cells of CSV and TSV are text.

    Raises:
        InputError: If the suffix is unknown, the file is empty or cannot be parsed, or `columns` is given for another
            format.
    """
    kind = split_files.suffix_of(path)
    if kind is None:
        raise InputError(f"{path}: unknown format; use one of {', '.join(SUFFIXES)}")
    if kind.startswith(".conll"):
        return parsing.filled(path, conll.read_conll(path, columns or (0, -1)))
    if columns is not None:
        raise InputError(f"{path}: `columns` is for .conll files; a {kind} file names its columns itself")
    if kind.startswith(".jsonl"):
        return parsing.filled(path, parsing.read_jsonl(path, only))
    if kind == ".parquet":
        table, names = parquet.read_table(path, only, shared)
        return parsing.filled(
            path, class_names.in_place(raw_rows.of_table(table, names), class_names.of_schema(table.schema), str(path))
        )
    return parsing.read_table(path, only)


def read_files(
    files: Mapping[str, Sequence[Path]], columns: tuple[int, int] | None = None, only: tuple[str, ...] | None = None,
    shared: tuple[str, ...] = (),
) -> Raw:  # fmt: skip
    """Read the splits of a task, each from one file or several (see `read_file`)."""
    out = {}
    for split, paths in files.items():
        parts = [read_file(path, columns, only, shared) for path in paths]
        _named_alike(paths, parts)
        out[split] = raw_rows.joined(parts)
    return out


def _named_alike(paths: Sequence[Path], parts: Sequence[RawRows]) -> None:
    """Refuse numbers of a file without label names beside a file that has names for its own: whose are they?"""
    for column in {column for part in parts for column in part.named}:
        named = next(path for path, part in zip(paths, parts, strict=True) if column in part.named)
        for path, part in zip(paths, parts, strict=True):
            if column not in part.named and column in part.table.column_names:
                number = next((value for value in labels.flat(part.values(column)) if labels.is_number(value)), None)
                if number is not None:
                    what = f"{column!r} holds {shown(number)} without label names, which {named.name} has"
                    raise InputError(f"{path}: {what}; write names into both, or give both their `features`")


def glue_files(folder: Path) -> dict[str, list[Path]]:
    """Find the split files of a folder of the classic glue_data layout, such as glue_data/RTE.

    Args:
        folder: The folder, which must have the task's name.

    Returns:
        The files by split, of those splits that are there; for MNLI the matched ones.

    Raises:
        InputError: If the name is no task's, there is no such folder, or it has no train file.
    """
    name = folder.absolute().name
    if name not in GLUE:
        raise InputError(f"{folder}: {name!r} is no task of the glue_data layout; it has {', '.join(GLUE)}")
    end = "_matched.tsv" if name == "MNLI" else ".tsv"
    return split_files.single_files(folder, {"train": "train.tsv", "dev": "dev" + end, "test": "test" + end})


def read_glue(folder: Path) -> Raw:
    """Read the splits of a glue_data folder with the hub's column names.

    Args:
        folder: The folder, which must have the task's name.

    Returns:
        Rows by split; labels are the files' strings, STS-B's are floats. Test rows have no `label` where the file has
        none.

    Raises:
        InputError: If files are not there, or not as GLUE publishes them.
    """
    return {split: _glue(folder.absolute().name, split, path) for split, (path,) in glue_files(folder).items()}


def _glue(name: str, split: str, path: Path) -> RawRows:
    inputs, label = GLUE[name]
    header, batches = parsing.table(path, _COLA if name == "CoLA" and split != "test" else None)
    columns = {**inputs, "label": label} if split != "test" or label in header else inputs
    for column in columns.values():
        if column not in header:
            raise InputError(f"{path}, line 1: no {column!r} in the header ({', '.join(header)}); is this {name}?")
    places = {column: header.index(own) for column, own in columns.items()}

    def score(text: str | None, number: int) -> float | None:
        try:
            return float(text) if text else None
        except ValueError:
            raise InputError(f"{path}, line {number}: the score {text!r} is no number; mend the line") from None

    def renamed() -> Iterator[dict[str, list[Any]]]:
        for numbers, cells in batches:
            batch: dict[str, list[Any]] = {column: cells[place] for column, place in places.items()}
            if name == "STS-B" and "label" in batch:
                batch["label"] = [score(text, n) for text, n in zip(batch["label"], numbers, strict=True)]
            yield batch

    return raw_rows.from_batches(renamed())


def _written(value: Any) -> str:
    text = str(value)
    if re.search(r" at 0x[0-9a-fA-F]+>", text):  # another in every process, so that nothing would be found again
        raise InputError(
            f"a row holds {type(value).__name__}, which cannot be told from another; leave that column out of the data"
        )
    return text


def digest(rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """Hash rows by split: the sha256 of them as JSON, of which no more than a row is in memory.

    Raises:
        InputError: A value is of a type that cannot be written down.
    """
    content = hashlib.sha256(b"{")
    for i, split in enumerate(sorted(rows)):
        content.update(f"{', ' if i else ''}{json.dumps(split)}: [".encode())
        for j, row in enumerate(rows[split]):
            text = json.dumps(row, sort_keys=True, default=_written)
            content.update((", " + text if j else text).encode())
        content.update(b"]")
    content.update(b"}")
    return content.hexdigest()
