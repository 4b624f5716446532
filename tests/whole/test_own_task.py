"""Somebody's own CSV task, as a new user would run it: params/examples, by the starter's two edits."""

import re

import pytest
import yaml

from auxlearn.data import suites, usable_rows
from auxlearn.paths import PROJECT
from helpers import EXAMPLE as STUDY

EXAMPLES = PROJECT / "params" / "examples"
# What docs/own_data.md says a user edits, and what makes it small: sizes, arms, and the encoder with its learning rate.
EDITS = {"base.suite", "base.primary"}
SIZES = {
    "base.encoder", "base.seeds", "base.rows", "grid.arm", "grid.n", "notebooks.02_td_proxy.proxy_rows",
    "notebooks.02_td_proxy.watch_rows", "notebooks.02_td_proxy.epochs", "notebooks.02_td_proxy.lr",
    "notebooks.06_mtl.stage2_epochs", "notebooks.06_mtl.tune_epochs", "notebooks.06_mtl.lr",
    "methods.single.epochs",
}  # fmt: skip
LABELS = {"study", "title"}


def flat(path, content=None, prefix=""):
    content = yaml.safe_load(path.read_text()) if content is None else content
    out = {}
    for name, value in content.items():
        nested = isinstance(value, dict)
        out |= flat(path, value, f"{prefix}{name}.") if nested else {f"{prefix}{name}": value}
    return out


def test_the_example_is_the_starter_with_two_edits_and_small_sizes():
    starter, mine = flat(PROJECT / "params" / "starter.yaml"), flat(STUDY)
    assert starter.keys() == mine.keys()
    changed = {name for name in starter if starter[name] != mine[name]}
    assert EDITS < changed <= EDITS | SIZES | LABELS
    assert mine["base.size"] == "full"
    suite = suites.load(mine["base.suite"])
    assert mine["base.primary"] in suite
    # docs/own_data.md and the starter itself name these two, and the starter marks no third.
    lines = (PROJECT / "params" / "starter.yaml").read_text().splitlines()
    assert [line.split(":")[0].strip() for line in lines if "←" in line] == ["suite", "primary"]
    assert "name your primary: two edits" in (PROJECT / "docs" / "own_data.md").read_text()


def test_the_example_s_data_is_small_whole_and_without_leaks():
    suite = suites.load("params/examples/my_suite.yaml")
    sizes = {name: (len(task.train), len(task.dev), task.is_pair) for name, task in suite.items()}
    assert sizes == {"same_order": (200, 60, True), "tone": (135, 15, False)}
    assert suite["tone"].dev_carved
    for task in suite.values():
        assert 0.4 < sum(task.train[task.label]) / len(task.train) < 0.6
    assert all(mask.all() for mask in usable_rows.usable(suite, None).values())
    assert sum(file.stat().st_size for file in EXAMPLES.rglob("*.csv")) < 30_000


@pytest.mark.timeout(900)
def test_a_new_user_s_own_task_runs_to_its_report(unharmed):
    assert unharmed.study == STUDY
    assert unharmed.returncode == 0, unharmed.stdout
    index = unharmed.folder / "studies" / "my_study" / "report" / "index.html"
    assert f"report: {index}" in unharmed.stdout
    text = index.read_text()
    assert "Is it the same order?" in text
    assert "undecided (2 seeds)" in text
    assert text.count('data-status="finished"') == 7
    # The comparison: its figure, and a row an arm.
    assert (index.parent / "result.png").stat().st_size > 0
    assert 'src="result.png"' in text
    for arm in ("single", "random", "td_bce"):
        assert re.search(f'<th scope="row"( title="[^"]*")?>{arm}</th>', text)
    assert "Traceback" not in unharmed.stdout
