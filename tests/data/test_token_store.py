"""Tokens of whole splits: made once whoever asks, found again, made anew where they are damaged."""

import os
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from datasets import Dataset

from auxlearn.data import batching
from auxlearn.data.tokens import token_store
from auxlearn.models import multitask

LIMIT = 10


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Splits of more than ten rows are large; each test begins as a process does."""
    monkeypatch.setattr(token_store, "SMALL", LIMIT)
    forget()
    yield
    forget()


def forget():
    token_store._open.clear()
    token_store._digests.clear()


@pytest.fixture(scope="module")
def tokenizer(small):
    return multitask.build("tiny", small).tokenizer


@pytest.fixture
def made(monkeypatch):
    """How many rows were tokenised, call by call."""
    sizes, real = [], token_store.Tokeniser.__call__
    monkeypatch.setattr(
        token_store.Tokeniser, "__call__", lambda self, rows: sizes.append(len(rows)) or real(self, rows)
    )
    return sizes


def same(one, other):
    for name in ("ids", "types", "starts", "cut", "labels", "firsts", "rows"):
        a, b = getattr(one, name), getattr(other, name)
        assert (a is None) == (b is None), name
        if a is not None:
            assert a.dtype == b.dtype
            np.testing.assert_array_equal(a, b, name)


def entries(folder):
    return sorted(path for path in (folder / "tokens").glob("*") if path.is_dir())


@pytest.mark.parametrize("name", ["topic_side", "away_topic", "side_share", "word_class"])
@pytest.mark.parametrize("parts", [False, True])
@pytest.mark.parametrize("chunk", [7, 1000])
def test_stored_tokens_are_those_made_in_memory(small, tokenizer, monkeypatch, made, runs_folder, name, parts, chunk):
    monkeypatch.setattr(token_store, "CHUNK", chunk)
    task, some = small[name], np.array([70, 3, 3, 12, *range(20, 60)])
    for again in range(2):
        whole = token_store.encoded(task, "train", tokenizer, 12, parts=parts)
        same(whole, batching.encode(task.train, task, tokenizer, 12, split=parts))
        for rows in (some, np.arange(80)[::-1]):
            taken = token_store.encoded(task, "train", tokenizer, 12, rows=rows, parts=parts)
            same(taken, batching.encode(task.train.select(rows), task, tokenizer, 12, split=parts))
        if not again:
            forget()
    assert len(entries(runs_folder)) == 1
    assert sum(made) - 2 * (80 + 44 + 80) == 80  # once for the store, the others for comparison here


def test_few_rows_of_a_large_split_and_small_splits_leave_no_file(small, tokenizer, made, runs_folder, monkeypatch):
    task = small["topic_side"]
    token_store.encoded(task, "train", tokenizer, 128, rows=np.arange(19))
    assert made == [19]
    monkeypatch.setattr(token_store, "SMALL", 80)
    token_store.encoded(task, "train", tokenizer, 128)
    assert made == [19, 80]
    assert not (runs_folder / "tokens").exists()
    monkeypatch.setattr(token_store, "SMALL", LIMIT)
    for first in range(0, 80, 8):  # shards of a pass over all rows
        token_store.encoded(task, "train", tokenizer, 128, rows=np.arange(first, first + 8), of=80)
    assert made == [19, 80, 80]
    assert len(entries(runs_folder)) == 1


def test_a_key_is_made_of_content_alone(small, tokenizer, made, runs_folder):
    task = small["topic_side"]
    copy = Dataset.from_list([dict(row) for row in task.train])
    token_store.encoded(task, "train", tokenizer, 64)
    relabelled = copy.remove_columns("label").add_column("label", [1 - row["label"] for row in copy])
    other = replace(task, name="other", train=relabelled)
    encoded = token_store.encoded(other, "train", multitask.build("tiny", small).tokenizer, 64)
    assert encoded.labels.tolist() == relabelled["label"][:]
    token_store.encoded(replace(task, train=copy.select(np.arange(80))), "train", tokenizer, 64, parts=True)
    assert made == [80]
    # One letter, a moved boundary between two texts, another length, another tokenizer: each makes its own.
    rows = [dict(row) for row in copy]
    rows[5]["sentence2"] += "x"
    token_store.encoded(replace(task, train=Dataset.from_list(rows)), "train", tokenizer, 64)
    rows[5]["sentence2"], rows[6]["sentence2"] = rows[5]["sentence2"][:-1], "x" + rows[6]["sentence2"]
    token_store.encoded(replace(task, train=Dataset.from_list(rows)), "train", tokenizer, 64)
    token_store.encoded(task, "train", tokenizer, 32)
    token_store.encoded(task, "train", multitask.build("tiny", type(small)("a", {"a": task}, "f")).tokenizer, 64)
    token_store.encoded(replace(task, inputs=task.inputs[::-1]), "train", tokenizer, 64)
    assert made == [80] * 6
    assert len(entries(runs_folder)) == 6


DAMAGE = {
    "cut short": lambda f: f.write_bytes(f.read_bytes()[:-4]),
    "one bit": lambda f: f.write_bytes(f.read_bytes()[:-3] + bytes([f.read_bytes()[-3] ^ 1]) + f.read_bytes()[-2:]),
    "gone": lambda f: f.unlink(),
    "no array": lambda f: f.write_bytes(b"x"),
    "empty": lambda f: f.write_bytes(b""),
}


@pytest.mark.parametrize("file", ["ids.npy", "types.npy", "lengths.npy", "cut.npy", "hashes.json"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_tokens_are_made_anew(small, tokenizer, made, runs_folder, file, damage):
    task = small["topic_side"]
    right = token_store.encoded(task, "train", tokenizer, 64)
    (entry,) = entries(runs_folder)
    right = batching.encode(task.train, task, tokenizer, 64)
    DAMAGE[damage](entry / file)
    forget()
    made.clear()
    same(token_store.encoded(task, "train", tokenizer, 64), right)
    assert made == [80]
    forget()
    token_store.encoded(task, "train", tokenizer, 64)
    assert made == [80]


def test_a_folder_that_cannot_be_written_means_memory(small, tokenizer, monkeypatch, tmp_path, made):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("AUXLEARN_RUNS", str(tmp_path / "file" / "runs"))
    task = small["word_class"]
    for _ in range(2):
        same(token_store.encoded(task, "train", tokenizer, 64), batching.encode(task.train, task, tokenizer, 64))
    assert made == [80, 80, 80]  # one for the store, two for comparison


def test_processes_that_ask_at_once_make_tokens_once(runs_folder):
    program = """
import numpy as np
from auxlearn.data import suites
from auxlearn.data.tokens import token_store
from auxlearn.models import multitask
token_store.SMALL = 10
suite = suites.Suite.from_yaml("planted").capped(500)
tokenizer, task, real = multitask.build("tiny", suite).tokenizer, suite["topic_name"], token_store._write
token_store._write = lambda *args: print("made") or real(*args)
print(token_store.encoded(task, "train", tokenizer, 64).ids.sum())
"""
    environment = os.environ | {"AUXLEARN_RUNS": str(runs_folder)}
    both = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=environment)
            for _ in range(2)]  # fmt: skip
    said = [process.communicate(timeout=120)[0].split() for process in both]
    assert sorted(len(lines) for lines in said) == [1, 2]
    assert said[0][-1] == said[1][-1]
