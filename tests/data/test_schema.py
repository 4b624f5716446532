"""What a suite YAML may say: words as written, metrics that fit, files that are read once."""

import pytest
import yaml

from auxlearn.data import schema, suite_files, suites
from auxlearn.errors import InputError
from own_rows import SCORE, SPEC, TAGS, csv, suite_file, write


def spec_of(path, **changes):
    write(path, yaml.safe_dump({"name": "s", "tasks": {"t": SPEC | {"source": {"folder": "t"}} | changes}}))
    return suite_files.read_suite(path)[0].tasks["t"]


@pytest.mark.parametrize(
    ("written", "labels"),
    [
        ("[yes, no]", ["yes", "no"]),
        ("[on, off]", ["on", "off"]),
        ("[True, false]", ["True", "false"]),
        ("[1, 2]", ["1", "2"]),
        ("[01, 2.50, 1e3]", ["01", "2.50", "1e3"]),
        ("[null, x]", ["null", "x"]),
        ("[~, 2024-01-31]", ["~", "2024-01-31"]),
        ("\n      - no\n      - 'yes'", ["no", "yes"]),
    ],
)
def test_labels_are_the_words_that_were_written(tmp_path, written, labels):
    base = "kind: classification, inputs: [no, on], label: yes, metric: accuracy, source: {folder: t}"
    path = write(tmp_path / "x.yaml", "name: s\ntasks:\n  t:\n    <<: {" + base + "}\n    labels: " + written + "\n")
    task = suite_files.read_suite(path)[0].tasks["t"]
    assert (task.labels, task.inputs, task.label) == (labels, ["no", "on"], "yes")


def test_yes_and_no_in_a_file_are_labels_called_yes_and_no(tmp_path):
    files = {"train.csv": csv(["no", "yes"]), "dev.csv": csv(["yes"], "dev")}
    path = suite_file(tmp_path, files, SPEC | {"labels": ["LABELS"]})
    path.write_text(path.read_text().replace("- LABELS", "- yes\n    - no"))
    assert suites.Suite.from_yaml(path)["t"].train["label"][:] == [1, 0]


def test_a_label_list_may_be_taken_back_or_is_named_where_it_is_empty(tmp_path):
    path = tmp_path / "x.yaml"
    assert spec_of(path, **SCORE, labels=None).labels is None
    for wrong in ("[, x]", "[' ', x]", "['', x]"):
        spec_of(path, labels=["LABELS", "x"])
        path.write_text(path.read_text().replace("- LABELS\n      - x", "").replace("labels:", f"labels: {wrong}"))
        with pytest.raises(InputError, match=r"x\.yaml"):
            suite_files.read_suite(path)


# --- metrics -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "metric", "fits"),
    [
        (SPEC | {"labels": ["a", "b", "c"]}, "f1", "accuracy, macro_f1, matthews do"),
        (SPEC, "pearson", "accuracy, f1, macro_f1, matthews do"),
        (SPEC, "entity_f1", "accuracy, f1, macro_f1, matthews do"),
        (SCORE, "accuracy", "pearson, spearman do"),
        (SCORE, "f1", "pearson, spearman do"),
        (TAGS, "f1", "accuracy, macro_f1, matthews, entity_f1 do"),
        (TAGS, "spearman", "accuracy, macro_f1, matthews, entity_f1 do"),
    ],
)
@pytest.mark.parametrize("further", [False, True])
def test_a_metric_that_does_not_fit_is_refused_with_those_that_do(tmp_path, changes, metric, fits, further):
    given = {"metrics": [metric]} if further else {"metric": metric}
    path = tmp_path / "x.yaml"
    content = {"name": "s", "tasks": {"t": changes | {"source": {"folder": "t"}} | given}}
    write(path, yaml.safe_dump(content))
    with pytest.raises(InputError, match=rf"x\.yaml: tasks\.t: .*{metric} does not judge a .* task .*{fits}"):
        suite_files.read_suite(path)


@pytest.mark.parametrize(
    ("changes", "metrics"),
    [
        (SPEC, ["accuracy", "f1", "macro_f1", "matthews"]),
        (SPEC | {"labels": ["a", "b", "c"]}, ["accuracy", "macro_f1", "matthews"]),
        (SCORE, ["pearson", "spearman"]),
        (TAGS | {"labels": ["O", "B-X", "I-X"]}, ["accuracy", "macro_f1", "entity_f1"]),
        (TAGS | {"labels": ["O", "V"]}, ["f1", "accuracy"]),
    ],
)
def test_metrics_that_fit_are_taken(tmp_path, changes, metrics):
    path = tmp_path / "x.yaml"
    content = {"name": "s", "tasks": {"t": changes | {"source": {"folder": "t"}, "metrics": metrics}}}
    write(path, yaml.safe_dump(content))
    assert suite_files.read_suite(path)[0].tasks["t"].metrics == metrics


@pytest.mark.parametrize(
    ("files", "where"),
    [
        ({"train": "a.csv", "dev": "./a.csv"}, "dev"), ({"train": ["a.csv", "b.csv"], "test": "b.csv"}, "test"),
        ({"train": ["a.csv", "x/../a.csv"]}, "train"), ({"train": "a.csv", "dev": ["b.csv", "b.csv"]}, "dev"),
    ],
)  # fmt: skip
def test_a_file_that_is_read_twice_is_refused(files, where):
    with pytest.raises(ValueError, match=rf"files.{where}: '.\.csv' is read already"):
        schema.Source(files=files)
    schema.Source(files={"train": ["a.csv", "x/a.csv"], "dev": "b.csv", "test": "b.csv"})  # dev may be judged as test
