"""Suites of data sets in memory: what features say, what has to be given, the same checks as for files."""

import json

import datasets
import pytest

from auxlearn import Suite
from auxlearn.data.reading import hub_sets, labels, readers
from auxlearn.errors import InputError

CLASSES = datasets.ClassLabel(names=["no", "yes"])
TEXT, NUMBER = datasets.Value("string"), datasets.Value("float32")


def dataset(features, n=30, **columns):
    return datasets.Dataset.from_dict(
        {k: [f(i) for i in range(n)] for k, f in columns.items()}, datasets.Features(features)
    )


def pairs(n=30, label=lambda i: i % 2):
    return dataset(
        {"a": TEXT, "b": TEXT, "label": CLASSES}, n, a=lambda i: f"first {i}", b=lambda i: f"second {i}", label=label
    )


def scores(n=30, label=lambda i: i / 10):
    return dataset({"text": TEXT, "label": NUMBER}, n, text=lambda i: f"number {i}", label=label)


def tags(names=("O", "B-X", "I-X"), n=30):
    features = {"tokens": datasets.List(TEXT), "ner": datasets.List(datasets.ClassLabel(names=list(names)))}
    return dataset(features, n, tokens=lambda i: ["w", str(i)], ner=lambda i: [0, 1 + i % 2])


def test_features_say_kind_columns_labels_and_metric():
    suite = Suite.from_datasets({"pair": pairs(), "score": scores(), "tag": tags()}, "pair", score={"range": [0, 5]})
    assert suite.names == ["pair", "score", "tag"]
    pair, score, tag = suite.values()
    assert (pair.kind, pair.inputs, pair.labels, pair.metric) == (
        "classification",
        ("a", "b"),
        ("no", "yes"),
        "accuracy",
    )
    assert (score.kind, score.inputs, score.range, score.metric) == ("regression", ("text",), (0.0, 5.0), "pearson")
    assert (tag.kind, tag.inputs, tag.labels, tag.metric) == ("tagging", ("tokens",), ("O", "B-X", "I-X"), "entity_f1")
    assert all(task.dev_carved and (len(task.train), len(task.dev)) == (27, 3) for task in suite.values())
    row = score.train[0]
    assert row["label"] == pytest.approx(row["row_id"] / 10)
    assert tag.train[0]["ner"] == [0, 1 + tag.train[0]["row_id"] % 2]
    assert Suite.from_datasets({"tag": tags(("x", "y", "z"))})["tag"].metric == "accuracy"


def test_what_is_given_comes_first():
    rows = dataset({"q": TEXT, "c": TEXT, "why": TEXT, "gold": datasets.Value("int64")}, 30,
                   q=str, c=lambda i: f"c{i}", why=str, gold=lambda i: i % 2)  # fmt: skip
    given = {"inputs": ["q", "c"], "label": "gold", "labels": ["bad", "good"], "metric": "f1"}
    task = Suite.from_datasets({"t": rows}, t=given)["t"]
    assert (task.inputs, task.label, task.labels, task.metric) == (("q", "c"), "gold", ("bad", "good"), "f1")
    assert task.train[3]["gold"] == task.train[3]["row_id"] % 2
    reordered = Suite.from_datasets({"t": pairs()}, t={"labels": ["yes", "no"]})["t"]
    assert all(row["label"] == 1 - row["row_id"] % 2 for row in reordered.train)


def test_splits_go_by_their_usual_names_and_test_may_be_unlabelled():
    given = datasets.DatasetDict(train=pairs(), validation=pairs(12), test=pairs(5, lambda i: -1))
    task = Suite.from_datasets({"t": given})["t"]
    assert (len(task.train), len(task.dev), len(task.test), task.dev_carved) == (30, 12, 5, False)
    assert task.test["label"][:] == [None] * 5


def test_the_same_rows_have_the_same_fingerprint_whatever_holds_them(tmp_path):
    given = datasets.DatasetDict(train=pairs(), validation=pairs(12))
    first = Suite.from_datasets({"t": given})
    shuffled = datasets.DatasetDict(given).copy()
    shuffled["train"] = pairs(60).select(range(30)).with_format("numpy")
    assert Suite.from_datasets({"t": shuffled}).fingerprint == first.fingerprint
    shuffled["train"] = pairs().select(range(29, -1, -1))
    other = Suite.from_datasets({"t": shuffled})
    assert other.fingerprint != first.fingerprint
    assert other["t"].train[0]["a"] == "first 29"
    (tmp_path / "own").mkdir()
    for split, rows in given.items():
        rows.to_parquet(tmp_path / "own" / f"{split}.parquet")
    (tmp_path / "suite.yaml").write_text(json.dumps({"name": "x", "root": str(tmp_path), "tasks": {"t": {
        "kind": "classification", "inputs": ["a", "b"], "label": "label", "labels": ["no", "yes"], "metric": "accuracy",
        "source": {"hub": "own"}}}}))  # fmt: skip
    assert Suite.from_yaml(tmp_path / "suite.yaml").fingerprint == first.fingerprint


def named(names, n=30):
    """Rows of ids 0 and 1 by turns, which such names or none stand for."""
    kind = datasets.ClassLabel(names=names) if names else datasets.Value("int64")
    return dataset({"text": TEXT, "label": kind}, n, text=lambda i: f"text {i}", label=lambda i: i % 2)


def read(rows, **given):
    suite = Suite.from_datasets({"t": rows}, **({"t": given} if given else {}))
    task = suite["t"]
    label = {row["row_id"]: row["label"] for row in [*task.train, *task.dev]}
    return suite.fingerprint, [label[0], label[1]]


def test_names_that_give_ids_other_labels_count_in_the_fingerprint():
    """Of the fingerprint are the keys of trainings: those of wrong labels are not read back once names are mended."""
    right, wrong = (read(named(names), labels=["neg", "pos"]) for names in (["neg", "pos"], ["pos", "neg"]))
    assert (right[1], wrong[1]) == ([0, 1], [1, 0])
    assert right[0] != wrong[0]
    assert (
        right[0] == read(named(["neg", "pos"]))[0] == read(named(None), labels=["neg", "pos"])[0] == "645f781a7b75a22e"
    )  # as it was before names counted
    more = read(named(["neg", "pos", "mixed"]), labels=["neg", "pos"])  # of no row
    assert more == right


@pytest.mark.parametrize("split", ["dev", "test"])
def test_names_of_one_split_count_in_the_fingerprint(split):
    def suite(names):
        rows = datasets.DatasetDict(
            {"train": named(["neg", "pos"]), "dev": named(["neg", "pos"], 8), split: named(names, 8)}
        )
        return Suite.from_datasets({"t": rows})

    right, wrong = suite(["neg", "pos"]), suite(["pos", "neg"])
    assert [getattr(s["t"], split)["label"][:2] for s in (right, wrong)] == [[0, 1], [1, 0]]
    assert right.fingerprint != wrong.fingerprint


def test_labels_that_are_called_like_other_ids_are_not_those_ids():
    given = {"labels": ["1", "0"], "label_values": "names"}
    bare, as_ids = read(named(None), **given), read(named(["1", "0"]), **given)
    assert (bare[1], as_ids[1]) == ([1, 0], [0, 1])
    assert bare[0] != as_ids[0]
    assert bare[0] == "bf19f58c31fdba2d"
    assert read(named(["1", "0"]))[0] == "e8554e034f1bbd89"


def test_names_that_are_an_input_s_texts_count_in_the_fingerprint():
    def suite(names):
        kind = {"topic": datasets.ClassLabel(names=names), "label": CLASSES}
        rows = dataset(kind, topic=lambda i: i % 2, label=lambda i: i % 2)
        return Suite.from_datasets({"t": rows}, t={"label": "label", "inputs": ["topic"]})

    first, second = suite(["sea", "air"]), suite(["air", "sea"])
    texts = [{row["label"]: row["topic"] for row in s["t"].train} for s in (first, second)]
    assert texts == [{0: "sea", 1: "air"}, {0: "air", 1: "sea"}]
    assert first.fingerprint != second.fingerprint


def test_the_order_of_tags_counts_in_the_fingerprint():
    given = {"labels": ["O", "B-X", "I-X"], "label": "ner"}
    right, wrong = (
        Suite.from_datasets({"t": tags(names)}, t=given) for names in (("O", "B-X", "I-X"), ("O", "I-X", "B-X"))
    )
    assert right["t"].train[0]["ner"] == [0, 1 + right["t"].train[0]["row_id"] % 2]
    assert [3 - row["ner"][1] for row in right["t"].train] == [row["ner"][1] for row in wrong["t"].train]
    assert right.fingerprint != wrong.fingerprint


def test_images_beside_the_texts_count_in_no_fingerprint():
    """Shown as objects, they would be others at every call, and nothing would be found again."""
    from PIL import Image

    def suite(colour):
        rows = dataset({"text": TEXT, "label": CLASSES}, text=lambda i: f"text {i}", label=lambda i: i % 2)
        picture = datasets.Image().encode_example(Image.new("RGB", (2, 2), colour))
        return Suite.from_datasets({"t": rows.add_column("picture", [picture] * len(rows), feature=datasets.Image())})

    assert suite("red").fingerprint == suite("red").fingerprint == suite("blue").fingerprint


def test_what_cannot_be_written_down_is_refused():
    with pytest.raises(InputError, match="a row holds object, which cannot be told from another; leave that column"):
        readers.digest({"train": [{"a": object()}]})


def test_rows_are_checked_once_and_kept(monkeypatch):
    Suite.from_datasets({"t": pairs()})
    monkeypatch.setattr(hub_sets.HubSet, "rows", lambda *_: pytest.fail("read again"))
    assert len(Suite.from_datasets({"t": pairs()})["t"].train) == 27


@pytest.mark.parametrize(
    ("tasks", "given", "message"),
    [
        ({}, {}, "give the data sets by task"),
        ({"t": pairs()}, {"primary": "u"}, "no task 'u'; there are t"),
        ({"tasks": pairs()}, {"task": {}}, "no task 'task'; did you mean 'tasks'"),
        ({"t t": pairs()}, {}, "task name 't t' may hold"),
        ({"t": [1]}, {}, "task 't', train: a datasets.Dataset is needed, not list"),
        ({"t": pairs().to_iterable_dataset()}, {}, "not IterableDataset; load it without streaming"),
        ({"t": {"test": pairs()}}, {}, "task 't' has no train split (it has test)"),
        ({"t": {"train": pairs(), "dev": pairs(), "val": pairs()}}, {}, "dev and val are both dev; rename"),
        ({"t": pairs()}, {"t": {"lables": []}}, "no field 'lables'; did you mean 'labels'"),
        ({"t": pairs()}, {"t": {"label": "labels"}}, "no column 'labels'; did you mean 'label'"),
        ({"t": pairs()}, {"t": {"label": "label.x"}}, "no column 'label.x'; flatten nested fields first"),
        ({"t": pairs()}, {"t": {"metric": "pearson"}}, "task 't': pearson does not judge"),
        ({"t": pairs().rename_column("label", "a2").remove_columns("a2")}, {}, "give label: COLUMN"),
        ({"t": pairs().cast_column("label", datasets.Value("int64"))}, {}, "names no labels; give labels"),
        ({"t": pairs().add_column("c", ["x"] * 30)}, {}, "these may be it: a, b, c; give inputs"),
        ({"t": scores()}, {}, "features tell no range of 'label'; give range"),
        ({"t": scores()}, {"t": {"range": [0, 1]}}, "task 't', train row 11: the label 1.1"),
        ({"t": pairs(30, lambda i: -1 if i == 4 else 0)}, {}, "task 't', train row 4: the label is missing"),
        ({"t": pairs(10)}, {}, "10 training rows are too few to carve one"),
        ({"t": pairs(0)}, {}, "task 't': train is empty"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(tasks, given, message):
    with pytest.raises(InputError) as raised:
        Suite.from_datasets(tasks, **given)
    assert message in str(raised.value)


def test_all_that_is_wrong_with_rows_is_named_at_once():
    rows = pairs(30, lambda i: -1 if i == 4 else 0).map(
        lambda row, i: {"a": None if i < 2 else row["a"]}, with_indices=True
    )
    with pytest.raises(InputError) as raised:
        Suite.from_datasets({"t": rows.remove_columns("b")})
    first, second = str(raised.value).splitlines()
    assert first == "task 't', train row 0: 'a' must be text, not None (rows 0, 1)"
    assert second.startswith("task 't', train row 4: the label is missing")


def test_a_kind_that_is_given_needs_no_feature_that_tells():
    whole = scores(label=lambda i: i % 5).cast_column("label", datasets.Value("int64"))
    task = Suite.from_datasets({"t": whole}, t={"kind": "regression", "range": [0, 5], "metric": "spearman"})["t"]
    assert (task.kind, task.metric, task.train["label"][4]) == ("regression", "spearman", 4.0)


@pytest.mark.parametrize("name", ["dev_clean", "validation-2", "held_out", "Test.a"])
def test_a_split_that_looks_like_dev_or_test_is_not_left_out_in_silence(name):
    with pytest.raises(InputError, match=f"task 'a': '{name}' looks like a split and is none that is read"):
        Suite.from_datasets({"a": {"train": pairs(), name: pairs()}})
    assert Suite.from_datasets({"a": {"train": pairs(), "train_more": pairs(), "test": pairs()}})["a"].dev_carved
    both = {"train": pairs(), "validation": pairs(label=lambda i: 1 - i % 2), "dev_clean": pairs()}
    assert len(Suite.from_datasets({"a": both})["a"].dev) == 30


def test_a_transform_is_not_left_out_in_silence():
    upper = pairs().with_transform(lambda batch: batch | {"a": [text.upper() for text in batch["a"]]})
    with pytest.raises(InputError, match=r"task 'a', train: it has a transform, which reading leaves out"):
        Suite.from_datasets({"a": upper})


@pytest.mark.parametrize("written", ["1_0", "\u0663", True])
def test_a_score_is_written_in_plain_digits(written):
    assert labels.as_float(written) is None
    assert labels.as_float("10") == 10.0
    assert labels.as_float("-1,5") == -1.5


NAMES = ("very bad", "not so good", "good")


@pytest.mark.parametrize(("column", "value"), [
    ("label_text", lambda i: NAMES[i % 3]),
    ("verdict", lambda i: NAMES[i % 3]),
    ("id", lambda i: f"some text of row {i}"),
    ("__index_level_0__", lambda i: f"row {i}"),
    ("sample", lambda i: f"uuid-{i:05}-abc"),
])  # fmt: skip
def test_a_column_that_says_the_label_or_marks_the_row_is_no_input(column, value):
    """With the label in words among its inputs, any model scores 1.0."""
    rows = dataset({"text": TEXT, "label": datasets.Value("int64"), column: TEXT}, 60, text=lambda i: f"some {i}",
                   label=lambda i: i % 3, **{column: value})  # fmt: skip
    given = {"labels": ["bad", "fair", "good"]}
    assert Suite.from_datasets({"t": rows}, t=given)["t"].inputs == ("text",)
    assert Suite.from_datasets({"t": rows}, t=given | {"inputs": ["text", column]})["t"].inputs == ("text", column)


def test_a_second_text_is_an_input_though_few_of_its_values_occur():
    rows = dataset({"text": TEXT, "topic": TEXT, "label": CLASSES}, 60, text=lambda i: f"some {i}",
                   topic=lambda i: ("war", "peace")[i % 2], label=lambda i: i // 2 % 2)  # fmt: skip
    assert Suite.from_datasets({"t": rows})["t"].inputs == ("text", "topic")
