"""A whole study for real: Snakemake, papermill, kernels, report."""

import base64
import json
import shutil

import pytest
import yaml

from auxlearn import engine, report, runs
from helpers import STUDY, study_command


@pytest.fixture(scope="module")
def home(tmp_path_factory, unharmed):
    """A folder with the study and a copy of its finished runs, for these tests to go on with."""
    assert unharmed.returncode == 0, unharmed.stdout
    folder = tmp_path_factory.mktemp("study")
    shutil.copy2(unharmed.study, folder)
    shutil.copytree(unharmed.folder, folder / "runs")
    return folder


@pytest.fixture(autouse=True)
def here(home, monkeypatch):
    monkeypatch.setenv("AUXLEARN_RUNS", str(home / "runs"))


def plan(home):
    return json.loads((home / "runs" / "studies" / "small" / "plan.json").read_text())["cells"]


def test_runs_to_its_report(home, unharmed):
    assert "study small: 8 notebook runs, 0 of them already finished" in unharmed.stdout
    assert "start  07_efficiency" in unharmed.stdout
    assert "0 of 8 left" in unharmed.stdout
    report_at = "studies/small/report/index.html"
    assert f"report: {unharmed.folder / report_at}" in unharmed.stdout
    index = home / "runs" / report_at
    text = index.read_text()
    assert "A &lt;b&gt;small&lt;/b&gt; study" in text  # escaped
    assert text.count('data-status="finished"') == 8
    assert "undecided (2 seeds)" in text
    assert "Against the planted truth" in text
    assert not any(mark in text for mark in ("http://", "https://", "<script "))
    assert text.count("<script>") == 1
    for cell in plan(home):
        folder = home / "runs" / cell["stage"] / cell["key"]
        assert (folder / "params.yaml").is_file()
        assert (folder / "notebook.ipynb").is_file()
        page = (index.parent / f"{cell['stage']}-{cell['key']}.html").read_text()
        assert "<h1" in page
        assert "<script" not in page


def test_run_again_has_nothing_to_do(home):
    again = study_command(home / "small.yaml", home / "runs")
    assert "8 of them already finished" in again.stdout
    assert "nothing to be done" in again.stdout
    assert again.returncode == 0


def test_a_run_whose_job_was_killed_after_its_manifest_is_not_made_again(home, tmp_path):
    """As SIGKILL leaves it there: all files, and Snakemake's mark that the job had not ended."""
    shutil.copytree(home / "runs", tmp_path / "runs")
    cells = {cell["stage"]: tmp_path / "runs" / cell["stage"] / cell["key"] for cell in plan(home)}
    (cells["07_efficiency"] / "manifest.json").unlink()  # something is left to do
    done = cells["06_mtl"] / "manifest.json"
    before, snakemake = done.stat().st_mtime_ns, tmp_path / "runs" / ".snakemake"
    name = base64.urlsafe_b64encode(done.relative_to(tmp_path / "runs").as_posix().encode()).decode()
    (snakemake / "metadata" / name).rename(snakemake / "incomplete" / name)
    made = study_command(home / "small.yaml", tmp_path / "runs")
    assert made.returncode == 0, made.stdout
    assert "start  07_efficiency" in made.stdout
    assert done.stat().st_mtime_ns == before


def test_one_parameter_changed_runs_only_what_depends_on_it(home):
    changed = STUDY | {"notebooks": STUDY["notebooks"] | {"06_mtl": STUDY["notebooks"]["06_mtl"] | {"tune_epochs": 2}}}
    (home / "changed.yaml").write_text(yaml.safe_dump(changed))
    made = study_command(home / "changed.yaml", home / "runs")
    assert "6 of them already finished" in made.stdout
    assert "start  06_mtl topic_side td_bce" in made.stdout
    assert "start  06_mtl topic_side single" not in made.stdout
    assert "02_td_proxy" not in made.stdout
    assert made.returncode == 0, made.stdout


def test_a_failing_cell_leaves_its_notebook_and_the_rest_goes_on(home):
    """A learning rate at which the proxy's loss is not finite: it and what reads it fail, and the report says so."""
    bad = {
        "notebooks": STUDY["notebooks"] | {"02_td_proxy": {"proxy_rows": 15, "watch_rows": 10, "epochs": 1, "lr": 1e30}}
    }
    (home / "failing.yaml").write_text(yaml.safe_dump(STUDY | {"study": "failing"} | bad))
    made = study_command(home / "failing.yaml", home / "runs")
    assert made.returncode != 0
    assert "02_td_proxy bce seed=0 failed" in made.stdout
    assert "is not finite at epoch 1" in made.stdout
    assert "notebook.ipynb" in made.stdout
    assert runs.all_runs("06_mtl")
    text = (home / "runs" / "studies" / "failing" / "report" / "index.html").read_text()
    assert 'class="status bad">failed<' in text
    assert "is not finite at epoch 1" in text


def test_the_ledger_charges_an_arm_for_its_selection(home):
    import pandas as pd

    (cell,) = (c for c in plan(home) if c["stage"] == "07_efficiency")
    costs = pd.read_parquet(home / "runs" / cell["stage"] / cell["key"] / "costs.parquet")
    assert set(costs[costs["arm"] == "single"]["stage"]) == {"tune"}
    assert set(costs[costs["arm"] == "td_bce"]["stage"]) == {"proxy", "scoring", "stage2", "tune"}
    assert costs.groupby(["arm", "seed"]).ngroups == 4
    scoring = costs[costs["stage"] == "scoring"]
    assert (scoring["examples"] == 8 * 60).all()
    assert (costs["flops"] > 0).all()


def test_only_clean_runs_are_published(home, monkeypatch, tmp_path):
    monkeypatch.setattr(report, "PROJECT", tmp_path)
    real = runs.load

    def with_tree(dirty):
        def load(*args):
            manifest = real(*args)
            manifest.data["git"] = {"commit": "a" * 40, "dirty": dirty}
            return manifest

        return load

    monkeypatch.setattr(runs, "load", with_tree(True))
    with pytest.raises(engine.InputError, match="uncommitted changes"):
        engine.publish("small")
    monkeypatch.setattr(runs, "load", with_tree(False))
    index = engine.publish("small")
    assert index == tmp_path / "reports" / "small" / "index.html"
    names = sorted(p.name for p in index.parent.iterdir())
    assert names == [
        "01_data_prep.html", "02_td_proxy.html", "03_ranking.html", "06_mtl.html", "07_efficiency.html", "index.html",
        "provenance.json", "result.png", "results.csv",
    ]  # fmt: skip
    assert str(home) not in "".join(p.read_text() for p in index.parent.glob("*.[hj]*"))


def test_a_report_can_be_marked_stale_and_says_so_on_the_front_page(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "PROJECT", tmp_path)
    folder = tmp_path / "reports" / "old"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("<title>Old &amp; done</title>\n<body>\n<h1>x</h1>\n</body>\n")
    report.mark_stale("old", "first <reason>")
    index = report.mark_stale("old", "made before x < y")
    text = index.read_text()
    assert text.count("Stale.") == 1
    assert "made before x &lt; y" in text
    assert "reason" not in text
    front = (tmp_path / "reports" / "index.html").read_text()
    assert "Old &amp; done</a>" in front
    assert "<b>Stale.</b> made before x &lt; y" in front
    with pytest.raises(engine.InputError, match="no report 'gone'"):
        report.mark_stale("gone", "x")
