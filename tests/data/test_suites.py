import json

import pytest

from auxlearn.data import schema, suite_files
from auxlearn.data import suites as tasks
from auxlearn.data.reading import readers, split_files
from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from helpers import write_jsonl

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
    write_jsonl(tmp_path / "dev.jsonl", rows)
    spec = "{kind: classification, inputs: [text], label: label, labels: [n, p], metric: accuracy"
    for suffix in ("csv", "tsv", "parquet", "jsonl"):
        source = f"source: {{files: {{train: x.{suffix}, dev: dev.jsonl}}}}"
        (tmp_path / "suite.yaml").write_text(f"name: s\ntasks: {{t: {spec}, {source}}}}}")
        train = tasks.Suite.from_yaml(tmp_path / "suite.yaml")["t"].train
        assert train.remove_columns("row_id").to_list() == rows


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


# --- resplit, extends, further sources ---------------------------------------------------------------------------


@pytest.fixture
def resplit(tmp_path):
    """A task of 40 training, 6 dev and 5 test rows, of which test's rows 1 and 3 are unlabelled; a suite by resplit."""
    for split, size in (("train", 40), ("dev", 6), ("test", 5)):
        rows = [{"a": f"{split} {i}", "y": i % 2} for i in range(size)]
        for row in rows[1:4:2] if split == "test" else []:
            row["y"] = None
        write_jsonl(tmp_path / "t" / f"{split}.jsonl", rows)

    def make(**fields):
        spec = {"kind": "classification", "inputs": ["a"], "label": "y", "labels": ["n", "p"], "metric": "accuracy"}
        content = {"name": "s", "tasks": {"t": spec | {"source": {"folder": "t"}} | fields}}
        (tmp_path / "suite.yaml").write_text(json.dumps(content))
        return tasks.Suite.from_yaml(tmp_path / "suite.yaml")

    return make


def test_resplit_judges_by_every_labelled_row_that_it_does_not_train_on(resplit):
    task = resplit(resplit={"train": 15})["t"]
    assert (len(task.train), len(task.dev), task.test) == (15, 40 - 15 + 6 + 3, None)
    assert set(task.train["origin"]) == {"train"}
    both = [(row["origin"], row["row_id"]) for part in (task.train, task.dev) for row in part]
    labelled = [("train", i) for i in range(40)] + [("dev", i) for i in range(6)] + [("test", i) for i in (0, 2, 4)]
    assert sorted(both) == sorted(labelled)
    for part in (task.train, task.dev):
        assert all(row["a"] == f"{row['origin']} {row['row_id']}" and row["y"] == row["row_id"] % 2 for row in part)
    assert task.dev["origin"][-9:] == ["dev"] * 6 + ["test"] * 3


def test_resplit_follows_its_seed(resplit):
    suites = [resplit(resplit=spec) for spec in ({"train": 15}, {"train": 15, "seed": 0}, {"train": 15, "seed": 1})]
    first, again, other = (suite["t"].train["row_id"][:] for suite in suites)
    assert first == again == sorted(first)
    assert first != other
    assert first != list(range(15))
    assert suites[0].fingerprint == suites[1].fingerprint
    marks = {suites[0].fingerprint, suites[2].fingerprint, resplit(resplit={"train": 16}).fingerprint}
    assert len(marks | {resplit().fingerprint}) == 4
    assert "origin" not in resplit()["t"].train.column_names


def test_power_suite_keeps_a_thousand_rows_and_judges_by_the_rest(data):
    suite = tasks.load("params/suites/power.yaml")
    assert suite.name == "power"
    sizes = {name: (len(suite[name].train), len(suite[name].dev)) for name in ("rte", "mrpc", "stsb")}
    assert sizes == {"rte": (1000, 1767), "mrpc": (1000, 4801), "stsb": (1000, 7628)}
    assert all(suite[name].test is None for name in sizes)
    # What is not resplit is as in the suite that it extends.
    spec, root = suite_files.read_suite(PROJECT / "params" / "suites" / "sentence.yaml")
    assert suite.names == list(spec.tasks)
    assert len(suite["cola"].train) + len(suite["cola"].dev) == sum(
        len(raw)
        for split, raw in readers.read_files(split_files.folder_files(root / "cola")).items()
        if split != "test"
    )


def test_extends_replaces_fields_and_adds_tasks(tmp_path):
    one = "{kind: classification, inputs: [a], label: y, labels: [n, p], metric: accuracy, source: {folder: one}}"
    base = tmp_path / "base.yaml"
    base.write_text(f"name: base\nroot: data\ntasks:\n  one: {one}\n  two: {one}\n")
    middle = tmp_path / "middle.yaml"
    middle.write_text("name: middle\nextends: base.yaml\ntasks: {two: {metric: f1, resplit: {train: 5}}}\n")
    last = tmp_path / "last.yaml"
    last.write_text(f"name: last\nextends: middle.yaml\ntasks:\n  two: {{metric: matthews}}\n  three: {one}\n")
    (before, _), (spec, root) = suite_files.read_suite(base), suite_files.read_suite(last)
    assert (spec.name, root, list(spec.tasks)) == ("last", tmp_path / "data", ["one", "two", "three"])
    assert spec.tasks["one"] == spec.tasks["three"] == before.tasks["two"]
    assert spec.tasks["two"] == before.tasks["two"].model_copy(
        update={"metric": "matthews", "resplit": schema.Resplit(train=5)}
    )
    less = tmp_path / "less.yaml"
    less.write_text("name: less\nextends: base.yaml\ntasks: {one: }\n")
    assert list(suite_files.read_suite(less)[0].tasks) == ["two"]
    bare = tmp_path / "bare.yaml"
    bare.write_text("name: bare\nroot: elsewhere\nextends: base.yaml\n")
    spec, root = suite_files.read_suite(bare)
    assert (spec.tasks, root) == (before.tasks, tmp_path / "elsewhere")


def test_glue_data_and_conll_are_sources_of_a_suite(tmp_path):
    for split, end in (("train", "\tentailment"), ("dev", "\tnot_entailment"), ("test", "")):
        head = "index\tsentence1\tsentence2" + ("\tlabel" if end else "")
        lines = [f'{i}\tsome "{split}" {i}\tother {i}{end}' for i in range(4)]
        (tmp_path / "glue" / "RTE").mkdir(parents=True, exist_ok=True)
        (tmp_path / "glue" / "RTE" / f"{split}.tsv").write_text("\n".join([head, *lines]) + "\n")
    (tmp_path / "ner").mkdir()
    for split in ("train", "dev"):
        (tmp_path / "ner" / f"{split}.conll").write_text("1 Ada NNP B-PER\n2 runs VBZ O\n\n1 Go VB O\n")
    path = tmp_path / "suite.yaml"
    path.write_text("""name: files
tasks:
  rte: {kind: classification, inputs: [sentence1, sentence2], label: label, labels: [entailment, not_entailment],
    metric: accuracy, source: {glue_data: glue/RTE}}
  ner: {kind: tagging, inputs: [tokens], label: tags, labels: [O, B-PER], metric: entity_f1,
    source: {folder: ner, columns: [1, 3]}}
  pos: {kind: tagging, inputs: [tokens], label: tags, labels: [NNP, VBZ, VB], metric: accuracy,
    source: {files: {train: ner/train.conll, dev: ner/dev.conll}, columns: [1, -2]}}
""")
    suite = tasks.Suite.from_yaml(path)
    rte, ner, pos = suite.values()
    assert (len(rte.train), len(rte.dev), len(rte.test)) == (4, 4, 4)
    assert rte.train[1] == {"row_id": 1, "sentence1": 'some "train" 1', "sentence2": "other 1", "label": 0}
    assert rte.dev["label"][:] == [1] * 4
    assert rte.test["label"][:] == [None] * 4
    assert ner.train[:] == {"row_id": [0, 1], "tokens": [["Ada", "runs"], ["Go"]], "tags": [[1, 0], [0]]}
    assert pos.dev["tags"][:] == [[0, 1], [2]]
    path.write_text(path.read_text().replace("columns: [1, -2]", "columns: [2, -2]"))
    assert tasks.Suite.from_yaml(path)["pos"].dev["tokens"][:] == [["NNP", "VBZ"], ["VB"]]
    assert tasks.Suite.from_yaml(path).fingerprint != suite.fingerprint
    path.write_text(path.read_text().replace("columns: [2, -2]", "columns: [1, -2]"))
    assert tasks.Suite.from_yaml(path).fingerprint == suite.fingerprint
    file = tmp_path / "glue" / "RTE" / "dev.tsv"
    file.write_text(file.read_text().replace("other 3", "another 3"))
    assert tasks.Suite.from_yaml(path).fingerprint != suite.fingerprint


def test_a_few_shot_task_keeps_its_own_dev_and_test(resplit):
    whole, cut = resplit()["t"], resplit(resplit={"train": 15, "rest": "leave"})["t"]
    assert len(cut.train) == 15
    assert cut.train["row_id"][:] == resplit(resplit={"train": 15})["t"].train["row_id"][:]
    for split in ("dev", "test"):
        assert getattr(cut, split).to_list() == getattr(whole, split).to_list()
    assert "origin" not in cut.train.column_names


def test_a_suite_shows_its_tasks(folder_suite, tmp_path):
    assert repr(tasks.Suite.from_yaml(folder_suite)).splitlines() == [
        "suite demo: 2 tasks",
        "  pair: classification of a + b by accuracy; no, yes; 30 train, 30 dev, 1 test",
        "  one: classification of text by f1; bad, good; 36 train, 4 dev, 0 test",
    ]
    rows = [{"text": f"row {i}", "label": i % 5 + 0.5} for i in range(30)]
    for split in ("train", "dev"):
        write_jsonl(tmp_path / "scores" / f"{split}.jsonl", [r | {"text": r["text"] + split} for r in rows])
    path = tmp_path / "scores.yaml"
    path.write_text("name: mine\ntasks: {scores: {kind: regression, inputs: [text], label: label, range: [0, 5.5], "
                    "metric: pearson, source: {folder: scores}}}")  # fmt: skip
    assert repr(tasks.Suite.from_yaml(path)).splitlines() == [
        "suite mine: 1 task", "  scores: regression of text by pearson; 0 to 5.5; 30 train, 30 dev, 0 test",
    ]  # fmt: skip
