"""Suite YAMLs by path and by name: what one extends, where its root is, and what is near a mistyped one."""

import pytest
import yaml

from auxlearn.data import suite_files, suites
from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from own_rows import SPEC, write


@pytest.mark.parametrize("name", ["sentence", "sentence.yaml", "params/suites/sentence.yaml"])
def test_a_shipped_suite_is_extended_by_name_from_anywhere(tmp_path, monkeypatch, name):
    monkeypatch.setenv("AUXLEARN_DATA", str(tmp_path / "data"))
    path = write(tmp_path / "far" / "x.yaml", f"name: x\nextends: {name}\ntasks: {{cola: {{metric: accuracy}}}}\n")
    spec, root = suite_files.read_suite(path)
    shipped, _ = suite_files.read_suite(PROJECT / "params" / "suites" / "sentence.yaml")
    assert (spec.name, list(spec.tasks), root) == ("x", list(shipped.tasks), tmp_path / "data")
    assert (spec.tasks["cola"].metric, shipped.tasks["cola"].metric) == ("accuracy", "matthews")


@pytest.mark.parametrize("how", ["../base/b.yaml", "{home}/base/b.yaml", "~/base/b.yaml"])
def test_a_suite_is_extended_by_any_path_and_keeps_its_own_root(tmp_path, monkeypatch, how):
    monkeypatch.setenv("HOME", str(tmp_path))
    base = {"name": "b", "root": "data", "tasks": {"t": SPEC | {"source": {"folder": "t"}}}}
    write(tmp_path / "base" / "b.yaml", yaml.safe_dump(base))
    path = write(tmp_path / "own" / "x.yaml", f"name: x\nextends: {how.format(home=tmp_path)}\n")
    assert suite_files.read_suite(path)[1] == tmp_path / "base" / "data"
    path.write_text(path.read_text() + "root: here\n")
    assert suite_files.read_suite(path)[1] == tmp_path / "own" / "here"


def test_what_lies_beside_comes_before_what_is_shipped(tmp_path):
    own = {"name": "b", "tasks": {"mine": SPEC | {"source": {"folder": "t"}}}}
    write(tmp_path / "sentence.yaml", yaml.safe_dump(own))
    path = write(tmp_path / "x.yaml", "name: x\nextends: sentence.yaml\n")
    assert list(suite_files.read_suite(path)[0].tasks) == ["mine"]


@pytest.mark.parametrize("root", ["~/d", "${AUXLEARN_DATA}", "$AUXLEARN_DATA/"])
def test_a_tilde_is_the_user_s_home(tmp_path, monkeypatch, root):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AUXLEARN_DATA", "~/d")
    content = {"name": "s", "root": root, "tasks": {"t": SPEC | {"source": {"folder": "t"}}}}
    path = write(tmp_path / "elsewhere" / "x.yaml", yaml.safe_dump(content))
    assert suite_files.read_suite(path)[1] == tmp_path / "d"


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
        suite_files.read_suite(path)
    (tmp_path / "reviews.yaml").write_text("")
    path.write_text("name: own\nextends: review.yaml\n")
    with pytest.raises(InputError, match=r"no such file; did you mean .*reviews.yaml\?"):
        suite_files.read_suite(path)
