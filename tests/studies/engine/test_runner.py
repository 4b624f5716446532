"""A whole study for real: Snakemake, papermill, kernels, report."""

import base64
import json
import shutil

import pytest
import yaml

from auxlearn.records import runs
from auxlearn.reporting.pages import front_page, report
from auxlearn.studies import graph
from auxlearn.studies.engine import runner
from helpers import EXAMPLE, study_command


@pytest.fixture(scope="module")
def home(tmp_path_factory, unharmed):
    """A copy of a study's finished runs, for these tests to go on with."""
    assert unharmed.returncode == 0, unharmed.stdout
    folder = tmp_path_factory.mktemp("study")
    shutil.copytree(unharmed.folder, folder / "runs")
    return folder


@pytest.fixture
def here(home, monkeypatch):
    monkeypatch.setenv("AUXLEARN_RUNS", str(home / "runs"))


def plan(home):
    return json.loads((home / "runs" / "studies" / "my_study" / "plan.json").read_text())["cells"]


def changed(path, **changes):
    """The study file with other content, at `path`."""
    path.write_text(yaml.safe_dump(yaml.safe_load(EXAMPLE.read_text()) | changes))
    return path


def test_runs_to_its_report(home, unharmed):
    assert "study my_study: 7 notebook runs, 0 of them already finished" in unharmed.stdout
    assert "start  07_efficiency" in unharmed.stdout
    assert "0 of 7 left" in unharmed.stdout
    report_at = "studies/my_study/report/index.html"
    assert f"report: {unharmed.folder / report_at}" in unharmed.stdout
    index = home / "runs" / report_at
    text = index.read_text()
    assert text.count('data-status="finished"') == 7
    assert "undecided (2 seeds)" in text
    assert not any(mark in text for mark in ("http://", "https://", "<script "))
    assert text.count("<script>") == 1
    assert len(plan(home)) == 7
    for cell in plan(home):
        folder = home / "runs" / cell["stage"] / cell["key"]
        assert (folder / "params.yaml").is_file()
        assert (folder / "notebook.ipynb").is_file()
        page = (index.parent / f"{cell['stage']}-{cell['key']}.html").read_text()
        assert "<h1" in page
        assert "<script" not in page


def test_run_again_has_nothing_to_do(here, tmp_path, capsys, monkeypatch):
    """Of the whole study no cell is left; a part of it, run again, starts no Snakemake and is reported."""
    assert runner.prepare(graph.load(EXAMPLE))[1] == []
    part = changed(tmp_path / "part.yaml", study="part", stages=["01_data_prep"])
    monkeypatch.setattr(runner, "_snakemake", lambda *_: pytest.fail("there is nothing to run"))
    assert runner.run(part, render=report.render) == 0
    said = capsys.readouterr().out
    assert "study part: 1 notebook runs, 1 of them already finished" in said
    assert "nothing to be done" in said
    assert "report: " in said


def test_only_what_depends_on_a_changed_parameter_runs_again(home, tmp_path):
    """Nor does a run whose job SIGKILL ended after its manifest: its files, and Snakemake's mark that it had not ended.

    One start shows both: the marked run is read by what has to run.
    """
    shutil.copytree(home / "runs", tmp_path / "runs")
    study = changed(tmp_path / "changed.yaml", methods={"single": {"epochs": 2}})
    manifests = {cell["label"]: tmp_path / "runs" / cell["stage"] / cell["key"] for cell in plan(home)}
    manifests = {label: folder / "manifest.json" for label, folder in manifests.items()}
    before = {label: file.stat().st_mtime_ns for label, file in manifests.items()}
    done = next(file for label, file in manifests.items() if label.startswith("06_mtl same_order random"))
    snakemake = tmp_path / "runs" / ".snakemake"
    name = base64.urlsafe_b64encode(done.relative_to(tmp_path / "runs").as_posix().encode()).decode()
    (snakemake / "metadata" / name).rename(snakemake / "incomplete" / name)
    made = study_command(study, tmp_path / "runs")
    assert made.returncode == 0, made.stdout
    assert "7 notebook runs, 5 of them already finished" in made.stdout
    started = [line.split("start  ")[1] for line in made.stdout.splitlines() if "start  " in line]
    assert [line.split()[0] for line in started] == ["06_mtl", "07_efficiency"]
    assert started[0].startswith("06_mtl same_order single")
    assert {label: file.stat().st_mtime_ns for label, file in manifests.items()} == before


def test_a_failing_cell_leaves_its_notebook_and_the_rest_goes_on(failing):
    """A learning rate at which the proxy's loss is not finite: it fails, what reads it waits, the report says so."""
    assert failing.returncode != 0
    assert "02_td_proxy bce seeds=[0] failed" in failing.stdout
    assert "is not finite at epoch 1" in failing.stdout
    assert "notebook.ipynb" in failing.stdout
    assert "done   01_data_prep" in failing.stdout
    assert "start  03_ranking" not in failing.stdout
    (notebook,) = failing.folder.glob("02_td_proxy/*/notebook.ipynb")
    assert "is not finite at epoch 1" in notebook.read_text()
    text = (failing.folder / "studies" / "failing" / "report" / "index.html").read_text()
    assert 'class="status bad">failed<' in text
    assert "is not finite at epoch 1" in text
    assert [text.count(f'data-status="{status}"') for status in ("finished", "failed", "not run")] == [1, 1, 1]


def test_the_ledger_charges_an_arm_for_its_selection(home):
    import pandas as pd

    (cell,) = (c for c in plan(home) if c["stage"] == "07_efficiency")
    costs = pd.read_parquet(home / "runs" / cell["stage"] / cell["key"] / "costs.parquet")
    assert set(costs[costs["arm"] == "single"]["stage"]) == {"tune"}
    assert set(costs[costs["arm"] == "random"]["stage"]) == {"stage2", "tune"}
    assert set(costs[costs["arm"] == "td_bce"]["stage"]) == {"proxy", "scoring", "stage2", "tune"}
    assert costs.groupby(["arm", "seed"]).ngroups == 3 * 2
    scoring = costs[costs["stage"] == "scoring"]
    assert (scoring["examples"] == 200 + 135).all()  # the training rows of both tasks
    assert (costs["flops"] > 0).all()


def test_only_clean_runs_are_published(home, here, monkeypatch, tmp_path):
    monkeypatch.setattr(report, "PROJECT", tmp_path)
    monkeypatch.setattr(front_page, "PROJECT", tmp_path)
    real = runs.load

    def with_tree(dirty):
        def load(*args):
            manifest = real(*args)
            manifest.data["git"] = {"commit": "a" * 40, "dirty": dirty}
            return manifest

        return load

    monkeypatch.setattr(runs, "load", with_tree(True))
    with pytest.raises(runner.InputError, match="uncommitted changes"):
        report.publish("my_study")
    monkeypatch.setattr(runs, "load", with_tree(False))
    index = report.publish("my_study")
    assert index == tmp_path / "reports" / "my_study" / "index.html"
    names = sorted(p.name for p in index.parent.iterdir())
    assert names == [
        "01_data_prep.html", "02_td_proxy.html", "03_ranking.html", "06_mtl.html", "07_efficiency.html", "index.html",
        "provenance.json", "result.png", "results.csv",
    ]  # fmt: skip
    assert str(home) not in "".join(p.read_text() for p in index.parent.glob("*.[hj]*"))


def test_a_report_can_be_marked_stale_and_says_so_on_the_front_page(monkeypatch, tmp_path):
    monkeypatch.setattr(report, "PROJECT", tmp_path)
    monkeypatch.setattr(front_page, "PROJECT", tmp_path)
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
    with pytest.raises(runner.InputError, match="no report 'gone'"):
        report.mark_stale("gone", "x")


LINE = "2026-01-02T03:04:05+00:00 06_mtl/0123456789abcdef tune: epoch 1/2"


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (LINE.encode() + b"\n", "tune: epoch 1/2 [06_mtl/0123456789abcdef]"),
        (b"", ""),
        (b"\n\n", ""),
        (b"half", ""),
        (
            LINE.encode() + b"\n" + LINE.encode()[:30],
            "tune: epoch 1/2 [06_mtl/0123456789abcdef]",
        ),  # the last is not whole
        (
            b"\x00\xff\xfe\n" + LINE.encode() + b"\n" + b"\x80" * 200 + b"\n",
            "tune: epoch 1/2 [06_mtl/0123456789abcdef]",
        ),
        (LINE.encode() + b"\n" + LINE.encode() + b"\x1b[2J\n", "tune: epoch 1/2 [06_mtl/0123456789abcdef]"),
        (b"9" * 50_000 + b"/" + b"9" * 50_000 + b"\n", ""),
        (b"9" * 50_000 + b"\n" + LINE.encode() + b"\n", "tune: epoch 1/2 [06_mtl/0123456789abcdef]"),
    ],
)
def test_a_garbled_progress_file_is_passed_over(tmp_path, content, shown):
    (tmp_path / "progress.log").write_bytes(content)
    assert runner.last_message(tmp_path / "progress.log") == shown
    assert runner.last_message(tmp_path / "gone.log") == ""


def test_the_engine_looks_on_whatever_the_progress_file_holds(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(runner, "HEARTBEAT_SECONDS", 0.0)
    progress = tmp_path / "progress.log"
    watcher = runner._Watcher([], progress)
    for content in (b"\xff\x00 a", b"one\n", b"one two\n", LINE.encode() + b"\n", b"\n"):
        progress.write_bytes(content)
        watcher.look()
    progress.unlink()
    watcher.look()
    assert capsys.readouterr().out.count("…") == 1
