"""A cell of a real study is run again in the foreground: one that had finished, and one that fails."""

import os
import re
import shutil
import subprocess
import sys

import nbformat
import pytest
import yaml

from auxlearn.errors import InputError
from auxlearn.paths import NOTEBOOKS
from auxlearn.records import runs
from auxlearn.studies.engine import foreground


@pytest.fixture
def cells(failing, runs_folder):
    """By stage, the keys of a study whose 01 finished and whose 02 failed, in this test's own run folder."""
    shutil.copytree(failing.folder, runs_folder)
    return {stage: next((runs_folder / stage).iterdir()).name for stage in ("01_data_prep", "02_td_proxy")}


def cell_command(*arguments, typed=""):
    """`auxlearn cell …` as a person starts it, who types `typed`."""
    command = [sys.executable, "-m", "auxlearn.cli", "cell", *arguments]
    return subprocess.run(
        command, input=typed, capture_output=True, text=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
    )


def code_cells(stage):
    cells = nbformat.read(NOTEBOOKS / f"{stage}.ipynb", as_version=4).cells
    return sum(cell.cell_type == "code" for cell in cells)


def test_a_finished_cell_runs_again_and_stays_finished(cells, runs_folder):
    key = cells["01_data_prep"]
    ended = runs.read("01_data_prep", key)[1].data["finished"]
    made = cell_command(f"01_data_prep/{key[:6]}")
    assert made.returncode == 0, made.stdout + made.stderr
    assert made.stdout.startswith(f"01_data_prep/{key} (finished)")
    of = code_cells("01_data_prep")
    assert f"\n── 01_data_prep, code cell {of - 1} of {of} ──\nfinished 01_data_prep" in made.stdout
    assert "\nrows = 60\n" in made.stdout  # the study's, not the notebook's own
    status, manifest = runs.read("01_data_prep", key)
    assert status == "finished"
    assert manifest.data["finished"] >= ended
    assert manifest.params["rows"] == 60


def test_a_failing_cell_shows_where_and_opens_the_debugger_if_asked(cells, runs_folder):
    """The debugger stands where the error was raised, in the library; what it is asked for it answers."""
    made = cell_command(cells["02_td_proxy"][:8], "--pdb", typed="p phase.recipe.lr\nq\n")
    assert made.returncode == 1, made.stdout + made.stderr
    assert re.search(r"\nsuite planted \(\w+\), primary topic_side", made.stdout)  # of the cell before
    assert "InputError: phase 'proxy'" in made.stdout
    assert "raise InputError(" in made.stdout
    assert '\n   1  artifacts = session.artifacts("proxy")' in made.stdout
    last = next(line for line in made.stdout.splitlines() if " failed: " in line)
    of = code_cells("02_td_proxy")
    assert last.startswith(f"02_td_proxy, code cell 3 of {of}, failed: InputError: phase 'proxy': the loss of task")
    assert "ipdb> 1e+30\n" in made.stdout.split(last)[1]
    assert "code cell 4" not in made.stdout
    assert runs.read("02_td_proxy", cells["02_td_proxy"])[0] == "interrupted"


@pytest.fixture
def in_this_process(runs_folder, monkeypatch):
    """A cell can be run by a function that stands for its notebook, and leaves this process as it was."""
    monkeypatch.chdir(runs_folder)
    monkeypatch.setattr(os, "environ", os.environ.copy())
    monkeypatch.setattr(foreground, "_shell", lambda: None)
    return lambda cells: monkeypatch.setattr(foreground, "_run_cells", cells)


def test_without_the_debugger_the_status_alone_says_that_it_failed(cells, in_this_process, runs_folder):
    in_this_process(lambda *_: True)
    assert foreground.run(cells["02_td_proxy"]) == 1
    assert os.getcwd() == str(runs_folder)  # where Snakemake starts its jobs


def test_a_run_that_the_study_has_not_finished_is_left_to_it(cells, in_this_process, runs_folder, capsys):
    """No executed notebook shows what it found, so that its manifest does not count."""
    one, other = (runs_folder / stage / key for stage, key in cells.items())
    in_this_process(lambda *_: bool(shutil.copyfile(one / "manifest.json", other / "manifest.json")) and False)
    assert foreground.run(other.name) == 0
    assert "run the study again" in capsys.readouterr().out
    assert (other / "manifest.foreground.json").is_file()
    assert runs.read(other.parent.name, other.name)[0] == "interrupted"


def test_progress_is_shown_while_a_cell_runs(monkeypatch, capsys):
    monkeypatch.setattr(os, "environ", os.environ.copy())
    with foreground._progress(), open(os.environ["AUXLEARN_PROGRESS"], "a") as log:
        log.write("2026-01-01T00:00:00+00:00 02_td_proxy/0123 proxy: epoch 1/3\n")
    assert "AUXLEARN_PROGRESS" not in os.environ
    assert capsys.readouterr().err == "  … proxy: epoch 1/3\n"


@pytest.mark.parametrize(
    ("key", "remedy"),
    [
        ("", "16 hex digits"),
        ("../02_td_proxy/00", "is no key of 01_data_prep or 02_td_proxy"),
        ("train/00", "is no key of 01_data_prep or 02_td_proxy"),
        ("00*", "16 hex digits"),
        ("ff", "run its study first"),
        ("03_ranking/00", "run its study first"),
        ("00", "2 runs have a key that begins with '00'; give more of it:\n  01_data_prep/00a1\n  02_td_proxy/00a1"),
        ("02_td_proxy/00", "no parameters in params.yaml; run its study again"),
    ],
)
def test_what_names_no_cell_is_refused_with_a_remedy(runs_folder, key, remedy):
    for stage in ("01_data_prep", "02_td_proxy", "train"):
        (runs_folder / stage / "00a1").mkdir(parents=True)
    with pytest.raises(InputError) as error:
        foreground.run(key)
    assert remedy in str(error.value)


PLUGIN = """from auxlearn.methods.base import Method
from auxlearn.methods.registry import register

@register
class OfAFile(Method):
    name, title, contrasts = "of_a_file", "of a file", ()
"""


@pytest.mark.parametrize("own", [True, False])
def test_a_cell_of_a_study_with_a_plugin_runs_again_but_none_from_a_run_folder(tmp_path, runs_folder, own):
    plugin = (tmp_path if own else runs_folder) / "of_a_file.py"
    plugin.parent.mkdir(exist_ok=True)
    plugin.write_text(PLUGIN)
    params = {"suite": "planted", "primary": "topic_side", "rows": 60, "settings": {"plugins": [str(plugin)]}}
    folder = runs_folder / "01_data_prep" / ("a" * 16)
    folder.mkdir(parents=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    made = cell_command("aaaa")
    assert (made.returncode == 0) == own, made.stdout + made.stderr
    assert ("code that no study of this command names" in made.stderr) == (not own)
