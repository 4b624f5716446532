import json

import pytest

from auxlearn import readers, tasks
from auxlearn.errors import InputError
from conftest import write_jsonl

PAIR = """{kind: classification, inputs: [a, b], label: label, labels: ["no", "yes"], metric: accuracy,
  source: {folder: pair}}"""


def test_folder_suite_is_read_and_checked(folder_suite):
    suite = tasks.Suite.from_yaml(folder_suite)
    assert suite.names == ["pair", "one"]
    pair, one = suite["pair"], suite["one"]
    assert (len(pair.train), len(pair.dev), len(pair.test)) == (30, 30, 1)
    assert pair.train[3] == {"row_id": 3, "a": "first text 3", "b": "second text 3", "label": 1}
    assert pair.test[0]["label"] is None
    assert one.dev_carved
    assert not pair.dev_carved
    assert (len(one.train), len(one.dev)) == (36, 4)
    assert set(one.train["row_id"]) | set(one.dev["row_id"]) == set(range(40))
    assert one.train[0]["label"] in (0, 1)
    assert suite.index("one") == 1


def test_fingerprint_follows_content_and_not_place(folder_suite, tmp_path):
    first = tasks.Suite.from_yaml(folder_suite).fingerprint
    elsewhere = tmp_path / "moved"
    elsewhere.mkdir()
    (tmp_path / "data").rename(elsewhere / "data")
    folder_suite.rename(elsewhere / "suite.yaml")
    assert tasks.Suite.from_yaml(elsewhere / "suite.yaml").fingerprint == first
    file = elsewhere / "data" / "pair" / "train.jsonl"
    file.write_text(file.read_text().replace("first text 7", "first text seven"))
    assert tasks.Suite.from_yaml(elsewhere / "suite.yaml").fingerprint != first


def test_cap_draws_rows_by_seed_and_keeps_dev(folder_suite):
    suite = tasks.Suite.from_yaml(folder_suite)
    capped = suite.capped(10)
    assert len(capped["pair"].train) == len(capped["one"].train) == 10
    assert len(capped["pair"].dev) == 30
    assert capped["pair"].train["row_id"][:] == suite.capped(10)["pair"].train["row_id"][:]
    assert capped["pair"].train["row_id"][:] != suite.capped(10, seed=1)["pair"].train["row_id"][:]
    assert len({suite.fingerprint, capped.fingerprint, suite.capped(11).fingerprint}) == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\ntasks: {", "not valid YAML"),
        ("name: x\ntasks:\n  pair: " + PAIR + "\n  pair: " + PAIR, "'pair' is given twice"),
        (
            "name: x\nroot: $NO_SUCH_VARIABLE\ntasks: {pair: " + PAIR + "}",
            "environment variable that is not set",
        ),
        ("name: x\nroot: nowhere\ntasks: {pair: " + PAIR + "}", "no such folder"),
        ("name: x\nroot: data\ntasks: {pair: " + PAIR.replace("[a, b]", "[a, c]") + "}", "no column 'c'"),
        ("name: x\nroot: data\ntasks: {pair: " + PAIR.replace("accuracy", "accurracy") + "}", "metric"),
        ("name: x\nroot: data\ntasks: {pair: " + PAIR.replace("kind: ", "kin: ") + "}", "kind"),
        ("name: x\nroot: data\ntasks: {pair: " + PAIR.replace('"', "") + "}", "words like no, yes, on, off in quotes"),
        ("name: x\nroot: data\ntasks: {'a b': " + PAIR + "}", "letters, digits"),
        (
            "name: x\ntasks: {p: {kind: regression, inputs: [a], label: l, metric: pearson, source: planted}}",
            "range",
        ),
    ],
)
def test_bad_suite_yaml_is_one_clear_error(folder_suite, text, message):
    folder_suite.write_text(text)
    with pytest.raises(InputError, match=message):
        tasks.Suite.from_yaml(folder_suite)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"a": "x", "b": "y", "label": 2}, r"train row 1: unknown label 2; labels are no, yes"),
        ({"a": "x", "b": "y", "label": "maybe"}, "unknown label 'maybe'"),
        ({"a": "x", "b": "y", "label": None}, "the label is missing"),
        ({"a": "", "b": "  ", "label": 0}, "'a' and 'b' must be text"),
        ({"a": 7, "b": "y", "label": 0}, "'a' must be text"),
    ],
)
def test_bad_row_is_named(folder_suite, row, message):
    good = {"a": "x", "b": "y", "label": 0}
    write_jsonl(folder_suite.parent / "data" / "pair" / "train.jsonl", [good, row])
    with pytest.raises(InputError, match=message):
        tasks.Suite.from_yaml(folder_suite)


def test_bad_files_are_named(folder_suite):
    file = folder_suite.parent / "data" / "pair" / "train.jsonl"
    file.write_text('{"a": 1}\n{broken\n')
    with pytest.raises(InputError, match=r"train\.jsonl, line 2: not JSON"):
        tasks.Suite.from_yaml(folder_suite)
    file.write_bytes(b'{"a": "\xff\xfe"}\n')
    with pytest.raises(InputError, match="not UTF-8"):
        tasks.Suite.from_yaml(folder_suite)
    file.unlink()
    with pytest.raises(InputError, match="holds no train file"):
        tasks.Suite.from_yaml(folder_suite)


def test_formats_agree(tmp_path):
    import pandas as pd

    rows = [{"text": 'say "no"', "label": 1}, {"text": "a, b", "label": 0}]
    frame = pd.DataFrame(rows)
    frame.to_csv(tmp_path / "x.csv", index=False)
    frame.to_csv(tmp_path / "x.tsv", index=False, sep="\t", quoting=3)
    frame.to_parquet(tmp_path / "x.parquet")
    write_jsonl(tmp_path / "x.jsonl", rows)
    for suffix in ("csv", "tsv", "parquet", "jsonl"):
        assert readers.read_file(tmp_path / f"x.{suffix}") == rows


def test_hub_layout_is_read_from_a_local_copy(tmp_path):
    """The layout of nyu-mll/glue: one folder a config, Parquet splits, validation for dev, -1 for unlabelled test."""
    import pandas as pd

    home = tmp_path / "glue"
    (home / "rte").mkdir(parents=True)
    for split, label in (("train", 1), ("validation", 0), ("test", -1)):
        rows = [{"sentence1": f"{split} {i}", "sentence2": "b", "label": label, "idx": i} for i in range(5)]
        pd.DataFrame(rows).to_parquet(home / "rte" / f"{split}-00000-of-00001.parquet")
    splits = "".join(f"  - split: {s}\n    path: rte/{s}-*\n" for s in ("train", "validation", "test"))
    (home / "README.md").write_text(f"---\nconfigs:\n- config_name: rte\n  data_files:\n{splits}---\n")
    spec = {
        "name": "hub",
        "tasks": {
            "rte": {
                "kind": "classification", "inputs": ["sentence1", "sentence2"], "label": "label",
                "labels": ["entailment", "not_entailment"], "metric": "accuracy",
                "source": {"hub": "glue", "config": "rte"},
            }
        },
    }  # fmt: skip
    (tmp_path / "suite.yaml").write_text(json.dumps(spec))
    suite = tasks.Suite.from_yaml(tmp_path / "suite.yaml")
    task = suite["rte"]
    assert (len(task.train), len(task.dev), len(task.test)) == (5, 5, 5)
    assert task.train[0]["label"] == 1
    assert task.test[0]["label"] is None


def test_planted_suite_has_every_kind_and_is_the_same_twice(planted):
    assert {task.kind for task in planted.values()} == {"classification", "regression", "tagging"}
    assert tasks.Suite.from_yaml("planted").fingerprint == planted.fingerprint
    assert planted["topic_side"].train[0].keys() >= {"row_id", "sentence1", "sentence2", "label", "helpful"}


def test_auxiliaries_are_all_others_unless_named(planted):
    assert planted.auxiliaries("topic_side") == planted.names[1:]
    assert planted.auxiliaries("topic_side", ["look_alike"]) == ["look_alike"]
    with pytest.raises(InputError, match="not in suite"):
        planted.auxiliaries("topic_side", ["nothing"])
    with pytest.raises(InputError, match="own auxiliary"):
        planted.auxiliaries("topic_side", ["topic_side"])


def test_real_tasks_are_read(data, monkeypatch):
    monkeypatch.setenv("AUXLEARN_DATA", str(data))
    suite = tasks.load("params/suites/sentence.yaml")
    sizes = {name: (len(t.train), len(t.dev), len(t.test) if t.test else 0) for name, t in suite.items()}
    assert sizes["rte"] == (2490, 277, 3000)
    assert sizes["stsb"] == (5749, 1500, 1379)
    assert suite["twitterurl"].dev_carved
    assert suite["rte"].test[0]["label"] is None
    assert suite["mnli"].n_outputs == 3
