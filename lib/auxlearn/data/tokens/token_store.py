"""Tokens of whole splits, made once for each (texts, tokenizer, max_length) and mapped from disk by whoever asks again.

A key is made of content: the texts, the tokenizer's own JSON and this code. Labels are kept apart, so that they never
make tokens anew. Small splits, and few rows of a large one, are tokenised where they are needed, and leave no file.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
import threading
import weakref
from collections import OrderedDict
from contextlib import ExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from auxlearn.data.suites import Task
from auxlearn.data.tokens import pieces, sequences
from auxlearn.data.tokens.encoded import Encoded, labelled
from auxlearn.data.tokens.sequences import Sequences, Tokeniser
from auxlearn.errors import InputError
from auxlearn.files import documents, stored_arrays
from auxlearn.files.bounded_files import file_hash
from auxlearn.files.writing import new_folder
from auxlearn.paths import runs_root

SMALL = 2000  # rows that are tokenised in memory, in a fifth of a second
WHOLE = 4  # a split is tokenised whole if one of so many of its rows is asked for
CHUNK = 1 << 16  # rows that are in memory at a time
OPEN = 16  # splits whose arrays stay mapped
DTYPES = {
    "ids": np.int32,
    "types": np.uint8,
    "lengths": np.int64,
    "cut": np.bool_,
    "firsts": np.bool_,
    "rows": np.int64,
}
_open: OrderedDict[str, Sequences] = OrderedDict()
_guard = threading.Lock()
_digests: weakref.WeakKeyDictionary[Any, dict[Any, str]] = weakref.WeakKeyDictionary()
# Small splits' columns: Arrow picks rows of them in a hundredth of the time that a dataset does.
_tables: weakref.WeakKeyDictionary[Any, dict[tuple[str, ...], Any]] = weakref.WeakKeyDictionary()


def encoded(
    task: Task, split: str, tokenizer: Any, max_length: int, *, rows: np.ndarray | None = None, parts: bool = False,
    of: int | None = None,
) -> Encoded:  # fmt: skip
    """Encode rows of a task's split; see `Tokeniser` for how.

    Args:
        task: The task.
        split: "train", "dev" or "test".
        tokenizer: A tokenizer of Hugging Face.
        max_length: Tokens that a sequence may have, special tokens included.
        rows: Positions in the split, int [N]; None for all.
        parts: Whether to split long sentences of a tagging task into several sequences rather than cut them.
        of: How many rows of the split will be asked for in all, where these are a part; None for no more than these.

    Returns:
        The rows as arrays, in the order given.
    """
    data = getattr(task, split)
    if rows is not None and np.array_equal(rows, np.arange(len(data))):
        rows = None
    columns = [*task.inputs, task.label]
    if len(data) > SMALL and task.kind != "tagging":
        parts = False  # which then says nothing: both ask for the same tokens
    asked = len(data) if rows is None else max(len(rows), of or 0)
    if len(data) > SMALL and asked * WHOLE >= len(data):
        whole = split_tokens(data, task, tokenizer, max_length, parts)
        labels = sequences.table(data if rows is None else data.select(rows), [task.label])[task.label]
        return labelled(whole if rows is None else whole.take(rows), labels, task)
    if len(data) <= SMALL:
        known = _tables.setdefault(data, {})
        if (named := tuple(columns)) not in known:
            known[named] = sequences.table(data, columns)
        part = known[named] if rows is None else known[named].take(rows)
    else:
        part = sequences.table(data.select(rows), columns)
    tokens = Tokeniser(task, tokenizer, max_length, parts)(part)
    return labelled(tokens, part[task.label], task)


def split_tokens(data: Any, task: Task, tokenizer: Any, max_length: int, parts: bool) -> Sequences:
    """Get the tokens of a whole split: mapped from disk, or made now and written there.

    Args:
        data: The split's rows.
        task: Their task.
        tokenizer: A tokenizer of Hugging Face.
        max_length: Tokens that a sequence may have, special tokens included.
        parts: As for `encoded`.

    Returns:
        The tokens; where the run folder cannot be written, in memory.
    """
    content = [texts_digest(data, task), tokenizer_digest(tokenizer), max_length, parts, task.kind == "tagging"]
    key = hashlib.sha256(json.dumps([content, _code()]).encode()).hexdigest()[:16]
    with _guard:
        if key not in _open:
            _open[key] = _read_or_make(key, data, Tokeniser(task, tokenizer, max_length, parts))
        _open.move_to_end(key)
        while len(_open) > OPEN:
            _open.popitem(last=False)
        return _open[key]


def _read_or_make(key: str, data: Any, tokenise: Tokeniser) -> Sequences:
    home = runs_root() / "tokens"
    try:
        home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / f".{key}.lock"):
            folder = home / key
            try:
                return _read(folder)
            except InputError:  # not there, or damaged
                shutil.rmtree(folder, ignore_errors=True)
            with new_folder(folder) as part:
                _write(part, data, tokenise)
            return _read(folder)
    except (OSError, InputError):
        with tempfile.TemporaryDirectory() as scratch:
            _write(Path(scratch), data, tokenise)
            return _read(Path(scratch), in_memory=True)


def _write(folder: Path, data: Any, tokenise: Tokeniser) -> None:
    """Tokenise rows chunk by chunk, and write the arrays as they come."""
    with ExitStack() as stack:
        arrays: dict[str, stored_arrays.Appended] = {}
        for first in range(0, len(data), CHUNK):
            chunk = tokenise(sequences.table(data, tokenise.columns, first, first + CHUNK))
            rows = np.arange(len(chunk)) if chunk.rows is None else chunk.rows
            values = {"ids": chunk.ids, "types": chunk.types, "lengths": chunk.lengths, "cut": chunk.cut}
            if chunk.firsts is not None:
                values |= {"firsts": chunk.firsts, "rows": rows + first}
            for name, value in values.items():
                if name not in arrays:
                    file = stored_arrays.Appended(folder / f"{name}.npy", DTYPES[name])
                    arrays[name] = stack.enter_context(file)
                arrays[name].append(value)
    hashes = {name: file_hash(folder / f"{name}.npy") for name in arrays}
    (folder / "hashes.json").write_text(json.dumps(hashes))


def _read(folder: Path, in_memory: bool = False) -> Sequences:
    """Map the arrays of a folder.

    Raises:
        InputError: A file is missing, or is not as it was written.
    """
    hashes = documents.read_object(folder / "hashes.json")
    arrays = {name: stored_arrays.array(folder / f"{name}.npy") for name in DTYPES if name in hashes}
    for name, array in arrays.items():
        if file_hash(folder / f"{name}.npy") != hashes[name]:
            raise InputError(f"{folder}: {name} has been altered")
        if in_memory:
            arrays[name] = np.array(array)
    lengths, rows = arrays.pop("lengths"), arrays.pop("rows", None)
    if rows is not None and np.array_equal(rows, np.arange(len(rows))):
        rows = None
    return Sequences(starts=np.concatenate([[0], np.cumsum(lengths)]), rows=rows, **arrays)


# --- keys ----------------------------------------------------------------------------------------------------------


def texts_digest(data: Any, task: Task) -> str:
    """Hash the texts of some rows, as Arrow holds them; within a process once for each dataset."""
    known = _digests.setdefault(data, {})
    if task.inputs not in known:
        digest = hashlib.blake2b(repr([task.inputs, len(data)]).encode(), digest_size=16)
        for first in range(0, len(data), CHUNK):
            for column in sequences.table(data, task.inputs, first, first + CHUNK).columns:
                _enter(digest, column)
        known[task.inputs] = digest.hexdigest()
    return known[task.inputs]


def _enter(digest: Any, column: Any) -> None:
    """Enter lengths and bytes of a column of texts, or of lists of them, into a digest."""
    import pyarrow as pa
    import pyarrow.types as kinds

    if kinds.is_list(column.type) or kinds.is_large_list(column.type):
        lists = column.cast(pa.large_list(pa.large_string())).combine_chunks()
        digest.update(np.diff(lists.offsets.to_numpy()))
        texts = lists.flatten()
    else:
        texts = column.cast(pa.large_string()).combine_chunks()
    _, offsets, data = texts.buffers()
    bounds = np.frombuffer(offsets, np.int64)[texts.offset : texts.offset + len(texts) + 1]
    digest.update(np.diff(bounds))
    if data is not None:
        digest.update(memoryview(data)[bounds[0] : bounds[-1]])


def tokenizer_digest(tokenizer: Any) -> str:
    """Hash what a tokenizer does to texts; within a process once for each tokenizer."""
    known = _digests.setdefault(tokenizer, {})
    if "" not in known:
        digest = hashlib.blake2b(digest_size=16)
        if tokenizer.is_fast:
            tokenizer.backend_tokenizer.no_truncation()
            tokenizer.backend_tokenizer.no_padding()
            digest.update(tokenizer.backend_tokenizer.to_str().encode())
        else:
            with tempfile.TemporaryDirectory() as folder:
                for file in sorted(tokenizer.save_pretrained(folder)):
                    if Path(file).is_file():
                        digest.update(Path(file).read_bytes())
        own = [tokenizer.truncation_side, tokenizer.split_special_tokens, pieces.filler(tokenizer)]
        digest.update(json.dumps([type(tokenizer).__name__, own]).encode())
        known[""] = digest.hexdigest()
    return known[""]


def _code() -> list[str]:
    """Say by what code tokens are made: another may make others."""
    import tokenizers

    files = (pieces.__file__, sequences.__file__, __file__)
    return [tokenizers.__version__, *(file_hash(Path(file)) for file in files)]


assert set(DTYPES) >= {field.name for field in fields(Sequences)} - {"starts"}
