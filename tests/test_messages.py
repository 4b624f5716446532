"""What a user meant is guessed at in the message, and no message holds what only a programmer understands."""

import os
import signal
import subprocess
import sys
import time

import nbformat.v4 as nb
import psutil
import pytest
import yaml
from nbclient import NotebookClient

from auxlearn import cli, hosts

BASE = {"suite": "planted", "primary": "topic_side"}


@pytest.mark.parametrize(
    ("study", "parts"),
    [
        ({"grid": {"arm": ["single", "td_bcee"]}},
         ["06_mtl: arm: 'td_bcee' is no arm; did you mean 'td_bce'? Methods"]),
        ({"grid": {"arm": ["single", "td_bce+joynt"]}}, ["'td_bce+joynt' is no arm; did you mean 'td_bce+joint'?"]),
        ({"base": BASE | {"primary": "topic_sid"}},
         ["'topic_sid' is not in suite 'planted'; did you mean 'topic_side'?"]),
        ({"base": BASE | {"auxiliaries": ["side_shar"]}}, ["'side_shar'", "did you mean 'side_share'?"]),
        ({"base": BASE | {"suite": "params/suites/sentense.yaml", "size": "full"}},
         ["params/suites/sentense.yaml: no such file", "did you mean params/suites/sentence.yaml?"]),
        ({"base": BASE | {"encodr": "tiny"}}, ["base: no notebook has a parameter 'encodr'; did you mean 'encoder'?"]),
        ({"base": BASE | {"size": "ful"}},
         ["size: Input should be 'demo' or 'full' (given: 'ful'); did you mean 'full'?"]),
        ({"stages": ["06_mlt"]}, ["no notebook is called '06_mlt'; did you mean '06_mtl'?"]),
        ({"notebooks": {"06-mtl": {"lr": 0.1}}}, ["'06-mtl'; did you mean '06_mtl'?"]),
        ({"notebooks": {"06_mtl": {"batchsize": 3}}},
         ["06_mtl: unknown parameter 'batchsize'; did you mean 'batch_size'?"]),
        ({"methods": {"singel": {"epochs": 3}}}, ["methods: 'singel'", "did you mean 'single'?"]),
        ({"methods": {"single": {"epoch": 3}}}, ["methods: single has no option 'epoch'; did you mean 'epochs'?"]),
        ({"methods": {"single": {"epochs": 0}}}, ["methods: single: epochs: Input should be greater than"]),
        ({"grid": {"arm": ["single", "random"]}, "exclude": [{"arn": "random"}]}, ["arn", "did you mean 'arm'?"]),
        ({"bse": {}}, ["bse: there is no such entry; did you mean 'base'?"]),
        ({"base": BASE | {"encoder": "minilm"}}, ["01_data_prep: demo size only shows"]),
    ],
)  # fmt: skip
def test_a_mistyped_study_says_what_was_meant(tmp_path, capsys, study, parts):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({"study": "s", "base": BASE} | study))
    assert cli.main(["check", str(path)]) == 2
    said = capsys.readouterr().err
    assert said.startswith(f"auxlearn: {path}: ")
    for part in parts:
        assert part in said
    assert "Value error" not in said
    assert "value:" not in said


@pytest.mark.parametrize(
    ("name", "content", "part"),
    [
        ("empty.yaml", "", "is empty; a study file begins with `study: NAME`"),
        ("list.yaml", "[a, b]", "no study file, but ['a', 'b']"),
        ("suite.yaml", "name: s\ntasks: {}\n", "a suite, which a study names in its base"),
        ("x.ipynb", '{"cells": [], "nbformat": 4}', "a notebook, which papermill runs"),
        ("none.yaml", "base: {}\n", "has no `study`"),
        ("folder", None, "is not a regular file but a folder"),
        ("binary.yaml", "\0\1", "not valid YAML"),
    ],
)
def test_what_is_no_study_file_is_named_for_what_it_is(tmp_path, capsys, name, content, part):
    path = tmp_path / name
    if content is None:
        path.mkdir()
    else:
        path.write_text(content)
    for command in ("check", "plan", "price", "study")[name == "suite.yaml" :]:  # a suite can be checked
        assert cli.main([command, str(path)]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert f"auxlearn: {path}: {part}" in said


def test_a_file_of_a_near_name_is_meant(tmp_path, capsys):
    (tmp_path / "quickstart.yaml").write_text("")
    assert cli.main(["check", str(tmp_path / "quickstrt.yaml")]) == 2
    assert "no such file; did you mean 'quickstart.yaml'?" in capsys.readouterr().err
    assert cli.main(["check", str(tmp_path / "none" / "quickstart.yaml")]) == 2
    assert "no such file; check its name" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["parameters", "notebooks"])
def test_a_mistyped_notebook(command, capsys):
    assert cli.main([command, "06_mlt"]) == 2
    assert "no notebook is called '06_mlt'; did you mean '06_mtl'?" in capsys.readouterr().err


def test_an_input_error_ends_a_notebook_with_its_message_alone():
    quiet = "from auxlearn.reporting.notebook import *\nshow_messages_alone()"
    cells = [nb.new_code_cell(text) for text in (quiet, "raise InputError('lr: too high')", "raise ValueError('x')")]
    book = nb.new_notebook(cells=cells)
    with hosts.own_kernel() as environment, pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        NotebookClient(book, kernel_name="python3", allow_errors=True).execute()
    (mine,), (other,) = (cell.outputs for cell in book.cells[1:])
    assert (mine.ename, mine.evalue, mine.traceback) == ("InputError", "lr: too high", ["InputError: lr: too high"])
    assert "Traceback" in "".join(other.traceback)  # anything else is a fault of ours


@pytest.mark.parametrize("command", ["study", "notebooks"])
def test_an_interrupt_from_a_script_ends_a_command_and_all_that_it_started(tmp_path, command):
    """A shell without a terminal starts its background jobs with interrupts ignored."""
    path, ready = tmp_path / "s.yaml", tmp_path / "ready"
    path.write_text(yaml.safe_dump({"study": "s", "base": BASE, "stages": ["01_data_prep"]}))
    environment = os.environ | {"AUXLEARN_RUNS": str(tmp_path / "runs"), "TMPDIR": str(tmp_path)}
    with open(ready, "w") as said:
        process = subprocess.Popen(
            [sys.executable, "-m", "auxlearn.cli", command, str(path) if command == "study" else "01_data_prep"],
            stdout=said, stderr=subprocess.STDOUT, env=environment, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
        )  # fmt: skip
    started = []
    while process.poll() is None and not any("ipykernel_launcher" in each.cmdline() for each in started):
        time.sleep(0.1)
        started = [each for each in psutil.Process(process.pid).children(recursive=True) if each.is_running()]
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130, ready.read_text()
    _, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    said = ready.read_text()
    assert "Traceback" not in said.replace("IPKernelApp", "")
    assert ("interrupted: waiting" in said) == (command == "study")
    assert not list(tmp_path.glob("auxlearn-*"))
