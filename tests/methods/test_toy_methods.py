"""A method is one class: a row method, a task method and a policy of this file alone run from `check` to contrasts.

No other file knows of them: a study names this file under `plugins`, and a package would by an entry point.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from pydantic import Field

from auxlearn.methods import ranking, registry
from auxlearn.methods.base import Method, Options, Selection, WeightPolicy
from auxlearn.methods.registry import register
from auxlearn.paths import PROJECT

HERE = Path(__file__)


class LongestOptions(Options):
    """Options of toy_longest."""

    shortest: int = Field(0, ge=0)
    """characters that a row must have"""


class Longest(Method):
    """The n longest rows."""

    name, title, reference, contrasts = "toy_longest", "the n longest rows", "nobody, 2026", ("random",)
    Options = LongestOptions

    def select(self, context, cell, options):
        rows = context.pool()
        texts = {name: context.suite[name].train for name in rows["task"].unique()}
        inputs = {name: context.suite[name].inputs for name in texts}
        length = np.array([
            sum(len(" ".join(text) if isinstance(text, list) else text)
                for text in (texts[task][int(row)][column] for column in inputs[task]))
            for task, row in zip(rows["task"], rows["row"], strict=True)
        ])  # fmt: skip
        allowed = length >= options.shortest
        return Selection(ranking.table(rows, ranking.top_n(length, cell.n, cell.seed, allowed), length))


class First(Method):
    """n rows of the first auxiliary by name."""

    name, title, level = "toy_first", "n rows of the first auxiliary by name", "tasks"
    contrasts = ("random", "toy_longest")

    def select(self, context, cell, options):
        tasks = (min(context.auxiliaries),)
        return Selection(ranking.draw(context.pool(), tasks, cell.n, cell.seed), tasks)


class Halving(WeightPolicy):
    """The sources begin with half the primary's weight, and lose half of it at every move."""

    name, title, moves, contrasts = "toy_halving", "sources that lose half their weight each epoch", True, ("joint", "")

    def prior(self, context, cell, sizes, options):
        return {name: 1.0 if name == cell.primary else 0.5 for name in sizes}

    def move(self, names, weights, cosines, step, options):
        return np.where(weights == weights.max(), weights, weights / 2)


TOYS = (Longest, First, Halving)
if not __name__.endswith("test_toy_methods"):  # where pytest collects it, other tests list what is registered
    for toy in TOYS:
        register(toy)

ARMS = ["single", "random", "toy_longest", "toy_first", "toy_longest+toy_halving", "toy_longest+joint", "toy_halving"]
STUDY = {
    "study": "toys",
    "base": {
        "suite": "planted", "primary": "topic_side", "encoder": "tiny", "size": "full", "precision": "fp32", "rows": 60,
        "threads": 1, "seeds": [0, 1], "auxiliaries": ["topic_name", "side_share"],
    },
    "grid": {"arm": ARMS, "n": [24]},
    "methods": {"toy_longest": {"shortest": 20}},
    "notebooks": {"06_mtl": {"stage2_epochs": 1, "tune_epochs": 2, "holdout": 0.2}},
}  # fmt: skip


def command(*arguments, runs, path=""):
    environment = os.environ | {"AUXLEARN_RUNS": str(runs), "HF_HUB_OFFLINE": "1"}
    if path:
        environment["PYTHONPATH"] = os.pathsep.join([path, environment.get("PYTHONPATH", "")])
    return subprocess.run(
        [sys.executable, "-m", "auxlearn.cli", *map(str, arguments)], cwd=PROJECT, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip


@pytest.mark.slow
def test_one_file_from_check_to_contrasts(tmp_path):
    file, runs = tmp_path / "toys.yaml", tmp_path / "runs"
    file.write_text(yaml.safe_dump(STUDY | {"plugins": [str(HERE)]}))

    checked = command("check", file, runs=runs)
    assert "valid; 01_data_prep 1, 06_mtl 7, 07_efficiency 1" in checked.stdout, checked.stdout
    planned = command("plan", file, runs=runs)
    assert "9 of 9 runs to do" in planned.stdout, planned.stdout
    priced = command("price", file, runs=runs)
    assert "toy_longest" in priced.stdout, priced.stdout
    assert "at most" in priced.stdout

    ran = command("study", file, runs=runs)
    assert ran.returncode == 0, ran.stdout[-3000:]
    arms = {}
    for path in (runs / "06_mtl").glob("*/manifest.json"):
        manifest = json.loads(path.read_text())
        arms[manifest["params"]["arm"]] = manifest
    assert set(arms) == set(ARMS)
    assert arms["toy_longest"]["key_params"]["methods"] == {"toy_longest": {"shortest": 20}}
    assert {seed["added"] for seed in arms["toy_first"]["metrics"]["seeds"].values()} == {24}
    # The code of this file is part of what an arm's result depends on, and of no other arm's.
    assert any(HERE.name in root for root in arms["toy_longest"]["code"]["roots"])
    assert not any(HERE.name in root for root in arms["random"]["code"]["roots"])
    # The weights that the policy moved to: 1 : 1/4 for each source after two moves of the one phase's three epochs.
    (comparison,) = (runs / "07_efficiency").glob("*/manifest.json")
    pairs = [(pair["arm"], pair["baseline"]) for pair in json.loads(comparison.read_text())["metrics"]["pairs"]]
    assert pairs == [
        ("toy_longest", "random"), ("toy_first", "random"), ("toy_first", "toy_longest"),
        ("toy_longest+toy_halving", "toy_longest+joint"), ("toy_longest+toy_halving", "toy_longest"),
    ]  # fmt: skip
    report = (runs / "studies" / "toys" / "report" / "index.html").read_text()
    assert all(arm in report for arm in ARMS)


@pytest.fixture
def registered(monkeypatch):
    """The toys are there for one test in this process, whose other tests list what is registered."""
    registry.names()
    for table in ("_METHODS", "_POLICIES"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    for toy in TOYS:
        register(toy)


@pytest.mark.usefixtures("registered")
def test_a_policy_moves_the_weights_of_its_training(small):
    from auxlearn.methods.context import Context, select
    from auxlearn.studies.parameters import validate
    from auxlearn.training import training_cache

    given = {"n": 24, "stage2_epochs": 1, "tune_epochs": 2, "auxiliaries": ["topic_name", "side_share"]}
    p = validate("06_mtl", given | {"arm": "toy_longest+toy_halving"}).resolved()
    chosen, plan = select(Context(small, p, 0))
    lengths = [len(" ".join(small[task].train[row][c] for c in small[task].inputs))
               for task, row in zip(chosen.rows["task"], chosen.rows["row"], strict=True)]  # fmt: skip
    assert lengths == sorted(lengths, reverse=True)
    updates = training_cache.trained(plan, small).updates
    weights = pd.DataFrame([dict(zip(row["names"], row["weights"], strict=True)) for row in updates])
    ratios = weights.div(weights["topic_side"], axis=0).drop(columns="topic_side")
    for source in ratios:  # before the first of three epochs, and after each
        assert ratios[source].tolist() == pytest.approx([1 / 2, 1 / 4, 1 / 8, 1 / 16])


def test_an_installed_package_announces_the_same(tmp_path):
    site = tmp_path / "site"
    info = site / "toy_methods-1.0.dist-info"
    info.mkdir(parents=True)
    (site / "toy_methods.py").write_text(HERE.read_text())
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy-methods\nVersion: 1.0\n")
    (info / "top_level.txt").write_text("toy_methods\n")
    (info / "RECORD").write_text("toy_methods.py,,\n")
    (info / "entry_points.txt").write_text("[auxlearn.methods]\ntoys = toy_methods\n")
    file = tmp_path / "toys.yaml"
    file.write_text(yaml.safe_dump(STUDY))  # names no plug-in

    unknown = command("check", file, runs=tmp_path / "runs")
    assert "'toy_longest' is no method" in unknown.stdout, unknown.stdout
    checked = command("check", file, runs=tmp_path / "runs", path=str(site))
    assert "valid; 01_data_prep 1, 06_mtl 7, 07_efficiency 1" in checked.stdout, checked.stdout
    listed = command("methods", "toy_longest", "toy_halving", runs=tmp_path / "runs", path=str(site))
    assert "toy_longest: the n longest rows (method, chooses rows)" in listed.stdout
    assert "reference: nobody, 2026" in listed.stdout
    assert "shortest = 0  characters that a row must have" in listed.stdout
    assert "toy_halving: sources that lose half their weight each epoch (weight policy)" in listed.stdout
