"""Fixtures: a run folder of its own for every test, small suites on disk, the real data where it is."""

import functools
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import long_forms
from auxlearn.data import leakage, suites, usable_rows
from helpers import failing_study, mixed_study, unharmed_study, write_jsonl

# Real data lies outside the project: where AUXLEARN_DATA says, or nowhere.
DATA = os.environ.get("AUXLEARN_DATA", "")


@pytest.fixture(autouse=True)
def runs_folder(tmp_path, monkeypatch):
    """Every test has an empty run folder."""
    folder = tmp_path / "runs"
    monkeypatch.setenv("AUXLEARN_RUNS", str(folder))
    return folder


LEAKS = {}


@pytest.fixture(autouse=True, scope="module")
def leaks_once():
    """Leaks of a suite are searched for once, not in every test's run folder; modules that test it take it back."""

    def find(suite, near):
        if (suite.fingerprint, near) not in LEAKS:
            LEAKS[suite.fingerprint, near] = leakage.find(suite, near=near)
        return LEAKS[suite.fingerprint, near].copy()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(usable_rows, "leakage", SimpleNamespace(find=find, flagged=leakage.flagged))
        yield


@pytest.fixture(scope="session")
def planted():
    return suites.Suite.from_yaml("planted")


@pytest.fixture(scope="session")
def small(planted):
    """The planted suite with 80 training rows a task: enough for shapes, too few for science."""
    return planted.capped(80)


@pytest.fixture
def data():
    if not Path(DATA, "rte").is_dir():
        pytest.skip("the real task folders are not here; set AUXLEARN_DATA")
    return Path(DATA)


@pytest.fixture
def folder_suite(tmp_path):
    """A suite on disk: a pair task in jsonl and a single-sentence task in CSV without dev. Returns its YAML's path."""
    pairs = [{"a": f"first text {i}", "b": f"second text {i}", "label": i % 2} for i in range(30)]
    for split in ("train", "dev"):
        write_jsonl(tmp_path / "data" / "pair" / f"{split}.jsonl", pairs)
    write_jsonl(tmp_path / "data" / "pair" / "test.jsonl", [{"a": "x", "b": "y", "label": None}])
    lines = ["text,label", *(f'"number {i}, quoted",{"good" if i % 3 else "bad"}' for i in range(40))]
    (tmp_path / "data" / "one").mkdir()
    (tmp_path / "data" / "one" / "train.csv").write_text("\n".join(lines) + "\n")
    path = tmp_path / "suite.yaml"
    path.write_text(
        """name: demo
root: data
tasks:
  pair: {kind: classification, inputs: [a, b], label: label, labels: ["no", "yes"], metric: accuracy,
    source: {folder: pair}}
  one: {kind: classification, inputs: [text], label: label, labels: [bad, good], metric: f1, source: {folder: one}}
"""
    )
    return path


@pytest.fixture(scope="module")
def planted_once():
    """The planted suite is generated once for a module that reads it often, not once a call."""
    real = suites.Suite.from_yaml
    made = functools.cache(lambda: real("planted"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suites.Suite, "from_yaml", lambda path: made() if str(path) == "planted" else real(path))
        yield


@pytest.fixture(scope="session")
def shared_by_workers(tmp_path_factory):
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@pytest.fixture(scope="session")
def failing(shared_by_workers):
    """A study one of whose runs failed (see `helpers.failing_study`), which every worker reads and none writes to."""
    return failing_study(shared_by_workers / "failing")


@pytest.fixture(scope="session")
def mixed_runs(failing, tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed") / "runs"
    mixed_study(failing, folder)
    return folder


@pytest.fixture
def mixed(mixed_runs, runs_folder):
    """The run folder of a study whose runs ended in every way there is (see `helpers.mixed_study`); the test's own."""
    shutil.copytree(mixed_runs, runs_folder)
    return runs_folder


@pytest.fixture(scope="session")
def unharmed(shared_by_workers):
    """A finished run of `helpers.EXAMPLE`, which every worker reads and none writes to: see `helpers.Ran`."""
    return unharmed_study(shared_by_workers / "unharmed")


# Begun first, so that no worker ends alone with one; the second does not wait for `unharmed`, which the first makes.
LONGEST = ("test_runner.py", "test_planted.py", "test_kills.py")


def pytest_collection_modifyitems(items):
    for item in items:
        path = item.path.relative_to(Path(__file__).parent).as_posix()
        if long_forms.is_long(
            path, getattr(item, "originalname", item.name), getattr(getattr(item, "callspec", None), "id", None)
        ):
            item.add_marker(pytest.mark.slow)
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


@pytest.fixture(scope="module")
def one_thread():
    """Torch on one thread, as tiny models are fastest."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
