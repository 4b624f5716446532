"""What a suite YAML may say: words as written, suites to extend, metrics that fit, paths as people write them."""

import re

import pytest
import yaml

from auxlearn.data import schema, suites
from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from own_rows import SCORE, SPEC, TAGS, csv, suite_file, write


def spec_of(path, **changes):
    write(path, yaml.safe_dump({"name": "s", "tasks": {"t": SPEC | {"source": {"folder": "t"}} | changes}}))
    return schema.read_suite(path)[0].tasks["t"]


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
    task = schema.read_suite(path)[0].tasks["t"]
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
            schema.read_suite(path)


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
        schema.read_suite(path)


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
    assert schema.read_suite(path)[0].tasks["t"].metrics == metrics


# --- paths -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sentence", "sentence.yaml", "params/suites/sentence.yaml"])
def test_a_shipped_suite_is_extended_by_name_from_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.setenv("AUXLEARN_DATA", str(tmp_path / "data"))
    path = write(tmp_path / "far" / "x.yaml", f"name: x\nextends: {name}\ntasks: {{cola: {{metric: accuracy}}}}\n")
    spec, root = schema.read_suite(path)
    shipped, _ = schema.read_suite(PROJECT / "params" / "suites" / "sentence.yaml")
    assert (spec.name, list(spec.tasks), root) == ("x", list(shipped.tasks), tmp_path / "data")
    assert (spec.tasks["cola"].metric, shipped.tasks["cola"].metric) == ("accuracy", "matthews")


@pytest.mark.parametrize("how", ["../base/b.yaml", "{home}/base/b.yaml", "~/base/b.yaml"])
def test_a_suite_is_extended_by_any_path_and_keeps_its_own_root(tmp_path, monkeypatch, how):
    monkeypatch.setenv("HOME", str(tmp_path))
    base = {"name": "b", "root": "data", "tasks": {"t": SPEC | {"source": {"folder": "t"}}}}
    write(tmp_path / "base" / "b.yaml", yaml.safe_dump(base))
    path = write(tmp_path / "own" / "x.yaml", f"name: x\nextends: {how.format(home=tmp_path)}\n")
    assert schema.read_suite(path)[1] == tmp_path / "base" / "data"
    path.write_text(path.read_text() + "root: here\n")
    assert schema.read_suite(path)[1] == tmp_path / "own" / "here"


def test_what_lies_beside_comes_before_what_is_shipped(tmp_path):
    own = {"name": "b", "tasks": {"mine": SPEC | {"source": {"folder": "t"}}}}
    write(tmp_path / "sentence.yaml", yaml.safe_dump(own))
    path = write(tmp_path / "x.yaml", "name: x\nextends: sentence.yaml\n")
    assert list(schema.read_suite(path)[0].tasks) == ["mine"]


@pytest.mark.parametrize("root", ["~/d", "${AUXLEARN_DATA}", "$AUXLEARN_DATA/"])
def test_a_tilde_is_the_user_s_home(tmp_path, monkeypatch, root):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AUXLEARN_DATA", "~/d")
    content = {"name": "s", "root": root, "tasks": {"t": SPEC | {"source": {"folder": "t"}}}}
    path = write(tmp_path / "elsewhere" / "x.yaml", yaml.safe_dump(content))
    assert schema.read_suite(path)[1] == tmp_path / "d"


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("params/suites/sentnce.yaml", "did you mean params/suites/sentence.yaml?"),
        ("sentence", "did you mean params/suites/sentence.yaml?"),
        ("sentence.yml", "did you mean params/suites/sentence.yaml?"),
        ("plantd", "did you mean planted?"),
        ("params/suites/xyzzy.yaml", "; suites are params/suites/folder.yaml, "),
    ],
)
def test_a_mistyped_suite_is_told_what_is_near(given, meant):
    with pytest.raises(InputError) as caught:
        suites.load(given)
    assert str(caught.value).startswith(f"{given}: no such file")
    assert meant in str(caught.value)


def test_a_mistyped_suite_of_one_s_own_is_told_what_lies_beside(tmp_path):
    write(tmp_path / "reviews.yaml", "name: x\n")
    with pytest.raises(InputError, match=r"review\.yaml: no such file; did you mean .*reviews\.yaml\?"):
        suites.load(str(tmp_path / "review.yaml"))
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: is not a regular file"):
        suites.load(str(tmp_path / "folder"))


def test_a_mistyped_suite_to_extend_is_named_with_what_is_near(tmp_path):
    path = tmp_path / "own.yaml"
    path.write_text("name: own\nextends: sentense\n")
    with pytest.raises(
        InputError, match=r"own.yaml: extends sentense: no such file; did you mean params/suites/sentence.yaml\?"
    ):
        schema.read_suite(path)
    (tmp_path / "reviews.yaml").write_text("")
    path.write_text("name: own\nextends: review.yaml\n")
    with pytest.raises(InputError, match=r"no such file; did you mean .*reviews.yaml\?"):
        schema.read_suite(path)


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


def test_a_task_is_not_called_like_what_a_module_has_for_itself():
    """A model has a head per task by its name: PyTorch would refuse these, once all has been read."""
    from torch import nn

    own = {name for name in {*dir(nn.ModuleDict), *vars(nn.ModuleDict())} if re.fullmatch(r"[A-Za-z0-9_-]+", name)}
    assert [name for name in sorted(own) if not schema.taken(name)] == []
    for name in ("type", "train", "values", "_apply"):
        with pytest.raises(InputError, match=f"a task is called '{name}', which a PyTorch module keeps for itself"):
            schema.check_name(name)
    for name in ("types", "training_set", "Type", "sst2", "value"):
        schema.check_name(name)
        nn.ModuleDict({name: nn.Identity()})
