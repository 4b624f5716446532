"""Rows on disk: written once for each content, mapped from then on, made anew where they are damaged."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from auxlearn.data import parquet
from auxlearn.data.reading import stored_rows, validation
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from own_rows import SPEC, csv, rows, suite_file, task, write

FILES = {"train.jsonl": rows([0, 1] * 15), "dev.jsonl": rows([1, 0], "dev")}


@pytest.fixture
def path(tmp_path):
    return suite_file(tmp_path / "data", FILES)


@pytest.fixture
def readings(monkeypatch):
    """Counts how often rows are checked."""
    calls, real = [], validation.typed
    monkeypatch.setattr(validation, "typed", lambda *given: calls.append(given[0]) or real(*given))
    return calls


def content(suite):
    return {name: [part[:] for part in (task.train, task.dev)] for name, task in suite.items()}


def test_rows_are_read_once_and_mapped_from_then_on(path, readings, runs_folder):
    first, second = Suite.from_yaml(path), Suite.from_yaml(path)
    assert readings == ["t"]
    assert content(first) == content(second)
    assert first.fingerprint == second.fingerprint
    (folder,) = (runs_folder / "rows").iterdir()
    assert {file.name for file in folder.iterdir()} == {"train.arrow", "dev.arrow", "entry.json"}
    files = [task.train.cache_files for task in (first["t"], second["t"])]
    assert files[0] == files[1] == [{"filename": str(folder / "train.arrow")}]


def test_another_process_maps_the_same_files(path, readings):
    suite = Suite.from_yaml(path)
    code = f"""
from auxlearn.data import suites
from auxlearn.data.reading import validation
validation.typed = None
task = suites.Suite.from_yaml({str(path)!r})["t"]
print(task.train._fingerprint, task.train["label"][:])"""
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert said.strip() == f"{suite['t'].train._fingerprint} {suite['t'].train['label'][:]}"


@pytest.mark.parametrize(
    "change",
    [
        lambda path: write(path.parent / "dev.jsonl", rows([1, 1], "dev")),
        lambda path: path.write_text(path.read_text().replace("bad", "worse")),
        lambda path: path.write_text(path.read_text() + "    resplit: {train: 10}\n"),
    ],
)
def test_other_content_is_another_entry(path, readings, runs_folder, change):
    Suite.from_yaml(path)
    change(path)
    Suite.from_yaml(path)
    assert readings == ["t", "t"]
    assert len(list((runs_folder / "rows").iterdir())) == 2


def test_what_judges_does_not_decide_rows_but_counts_in_the_fingerprint(path, readings):
    first = Suite.from_yaml(path).fingerprint
    path.write_text(path.read_text().replace("accuracy", "matthews"))
    assert Suite.from_yaml(path).fingerprint != first
    assert readings == ["t"]


def test_other_code_is_another_entry(path, readings, monkeypatch):
    Suite.from_yaml(path)
    monkeypatch.setattr(stored_rows, "_code", lambda: "changed")
    Suite.from_yaml(path)
    assert readings == ["t", "t"]


@pytest.mark.parametrize(
    "damage",
    [
        lambda folder: (folder / "train.arrow").write_bytes((folder / "train.arrow").read_bytes()[:-100]),
        lambda folder: _flip(folder / "train.arrow"),
        lambda folder: (folder / "dev.arrow").unlink(),
        lambda folder: (folder / "entry.json").write_text("{"),
        lambda folder: (folder / "entry.json").write_text("[]"),
        lambda folder: (folder / "entry.json").unlink(),
        lambda folder: (folder / "entry.json").write_text(json.dumps({"tables": {"train": 3}, "values": {}})),
    ],
)
def test_a_damaged_entry_is_made_anew(path, readings, runs_folder, damage):
    good = content(Suite.from_yaml(path))
    (folder,) = (runs_folder / "rows").iterdir()
    damage(folder)
    assert content(Suite.from_yaml(path)) == good
    assert content(Suite.from_yaml(path)) == good
    assert readings == ["t", "t"]


def _flip(file):
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 0xFF
    file.write_bytes(bytes(data))


def test_rows_stay_in_memory_where_nothing_can_be_written(path, readings, runs_folder):
    runs_folder.write_text("a file where the run folder should be")
    suite = Suite.from_yaml(path)
    assert suite["t"].train.cache_files == []
    assert suite["t"].train["label"][:] == [0, 1] * 15
    assert Suite.from_yaml(path).fingerprint == suite.fingerprint
    assert readings == ["t", "t"]


def test_a_file_that_changes_keeps_no_old_rows_whatever_its_time(path):
    file = path.parent / "train.jsonl"
    Suite.from_yaml(path)
    stat = file.stat()
    write(file, rows([1, 0] * 15))
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert Suite.from_yaml(path)["t"].train["label"][:] == [1, 0] * 15


def test_two_tasks_of_one_file_may_carve_differently(tmp_path):
    path = suite_file(tmp_path, {"train.jsonl": rows([0, 1] * 30)})
    path.write_text(path.read_text() + path.read_text().split("tasks:\n")[1].replace("  t:", "  u:"))
    suite = Suite.from_yaml(path)
    assert [task.dev_carved for task in suite.values()] == [True, True]
    assert suite["t"].dev["row_id"][:] != suite["u"].dev["row_id"][:]
    assert sorted([*suite["u"].dev["row_id"][:], *suite["u"].train["row_id"][:]]) == list(range(60))


def test_faults_are_kept_nowhere(path, runs_folder):
    write(path.parent / "dev.jsonl", rows(["x"]))
    for _ in range(2):
        with pytest.raises(InputError, match="dev row 0: unknown label 'x'"):
            Suite.from_yaml(path)
    assert not list(runs_folder.glob("rows/*"))


def test_the_planted_suite_is_generated_once(monkeypatch):
    from auxlearn.data import planted

    first = Suite.from_yaml("planted")
    monkeypatch.setattr(planted, "make", lambda: pytest.fail("generated again"))
    second = Suite.from_yaml("planted")
    assert first.fingerprint == second.fingerprint
    assert content(first) == content(second)
    assert all(task.truth for task in second.values())


def test_a_task_of_the_planted_suite_may_stand_in_another(tmp_path, planted):
    spec = SPEC | {"inputs": ["sentence1", "sentence2"], "labels": ["left", "right"]}
    path = suite_file(tmp_path, {}, spec, source="planted")
    path.write_text(path.read_text().replace("  t:", "  topic_side:"))
    suite = Suite.from_yaml(path)
    assert suite.fingerprint == "7fde4daab755641e"  # as it was when rows were lists of dicts
    assert content(suite)["topic_side"] == content(planted)["topic_side"]
    assert suite["topic_side"].truth


def test_processes_that_open_at_once_agree(path, runs_folder):
    code = f"from auxlearn.data.suites import Suite; print(Suite.from_yaml({str(path)!r})['t'].train['label'][:])"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert {process.communicate()[0].strip() for process in started} == {str([0, 1] * 15)}
    (folder,) = (runs_folder / "rows").iterdir()  # nothing half written is left
    assert (folder / "entry.json").is_file()


# --- few long texts -------------------------------------------------------------------------------------------------

LONG = [" ".join(f"word{k}" for k in range(start, start + 40)) for start in range(5)]  # of 300 bytes or so
MANY = 4000


def repeated(size=MANY, **more):
    """A table of few long texts, which Parquet holds once each."""
    numbers = np.arange(size)
    texts = pa.array(LONG).take(numbers % len(LONG))
    return pa.table({"text": texts, "label": numbers % 2} | more)


def contents(folder, files, spec=SPEC, **more):
    given = task(folder, files, spec, **more)
    splits = {split: getattr(given, split) for split in ("train", "dev", "test")}
    return {s: (d[:], d.features) for s, d in splits.items() if d is not None}


PAIRED = SPEC | {"inputs": ["text", "other"]}
OTHER = pa.array([None, "x" * 300, "", "y" * 300] * (MANY // 4))
CATEGORIES = pa.array(["a", "b " * 200] * (MANY // 2), pa.large_string()).dictionary_encode()


@pytest.mark.parametrize(
    ("files", "spec"),
    [({"train.parquet": repeated()}, SPEC), ({"train.parquet": repeated(other=OTHER)}, PAIRED),
     ({"train.parquet": repeated(other=CATEGORIES)}, PAIRED),
     ({"train.parquet": repeated(), "dev.csv": csv([0, 1], "dev"), "test.parquet": repeated(50)}, SPEC),
     ({"train.parquet": repeated()}, SPEC | {"resplit": {"train": 100}})],
)  # fmt: skip
def test_texts_that_stay_shared_give_the_same_rows(tmp_path, monkeypatch, files, spec):
    plain = contents(tmp_path, files, spec)
    monkeypatch.setattr(parquet, "SHARED_FROM", 1)
    monkeypatch.setattr(stored_rows, "_code", lambda: "anew")
    assert contents(tmp_path, files, spec) == plain
    monkeypatch.setattr(stored_rows, "_write", refuse_to_write)
    monkeypatch.setattr(stored_rows, "_code", lambda: "in memory")
    assert contents(tmp_path, files, spec) == plain


def refuse_to_write(*_):
    raise InputError("no room")


def test_shards_with_shared_texts_and_without_are_joined(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "SHARED_FROM", 1)
    few = pa.table({"text": [f"own text {i}" for i in range(30)], "label": [0, 1] * 15})
    for at, table in enumerate((repeated(), few, repeated(30))):
        write(tmp_path / "t" / f"train-0000{at}-of-00003.parquet", table)
    own = task(tmp_path, {"dev.csv": csv([0], "dev")}, SPEC, source={"folder": "t"})
    assert len(own.train) + len(own.dev) == MANY + 60
    assert set(own.train["text"]) | set(own.dev["text"]) == {*LONG, *few["text"].to_pylist()}


def test_the_bound_is_on_what_is_held_in_memory_and_another_on_what_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet, "SHARED_FROM", 1)
    monkeypatch.setattr(parquet, "TABLE_BYTES", 200_000)
    size = MANY * len(LONG[0])
    path = write(tmp_path / "train.parquet", repeated())
    assert path.stat().st_size * 100 < size
    assert len(task(tmp_path, {"train.parquet": repeated()}).train) == 0.9 * MANY
    monkeypatch.setattr(stored_rows, "_write", refuse_to_write)
    monkeypatch.setattr(stored_rows, "_code", lambda: "anew")
    with pytest.raises(InputError, match=r"cannot be written, and [0-9,]+ bytes of rows are too many .*AUXLEARN_RUNS"):
        task(tmp_path, {"train.parquet": repeated()})
    assert len(task(tmp_path, {"train.jsonl": repeated(1000).to_pylist()}).train) == 900  # is in memory anyway
    # Labels, and texts that are divided anew, are written out in memory.
    for spec in (SPEC | {"label": "text", "inputs": ["label"]}, SPEC | {"resplit": {"train": 100}}):
        with pytest.raises(InputError, match=r"train\.parquet: its rows would take more than 200,000 bytes in memory"):
            task(tmp_path, {"train.parquet": repeated()}, spec)
    monkeypatch.setattr(parquet, "WRITTEN_BYTES", size)
    with pytest.raises(InputError, match=rf"more than {size:,} bytes on disk .* set AUXLEARN_MAX_BYTES to more"):
        task(tmp_path, {"train.parquet": repeated()})
