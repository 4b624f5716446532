"""A supervised program ends with its parent."""

import os
import signal
import subprocess
import sys
import time

import pytest

from auxlearn.paths import PROJECT

# A parent that starts a supervised child, tells its process id, and waits to be killed.
PARENT = """
import subprocess, sys, time
sleep = ["timeit", "-n1", "-r1", "import time; time.sleep(60)"]
child = subprocess.Popen([sys.executable, "-m", "auxlearn.processes", *sleep])
print(child.pid, flush=True)
time.sleep(60)
"""
# The command line, then a look at what was imported.
STARTED = """
import contextlib
from auxlearn import cli
with contextlib.suppress(SystemExit):
    cli.main(["--help"])
import shown
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


def threads(pid):
    return len(os.listdir(f"/proc/{pid}/task")) if alive(pid) else 0


def test_it_dies_with_its_parent():
    parent = subprocess.Popen([sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    assert until(lambda: threads(child) > 1), "the watching thread never started"
    assert alive(child)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert until(lambda: not alive(child)), "the child outlived its parent"


def test_it_is_the_module_otherwise():
    command = [sys.executable, "-m", "auxlearn.processes"]
    made = subprocess.run([*command, "json.tool"], input='{"a": 1}', capture_output=True, text=True)
    assert made.stdout.split() == ["{", '"a":', "1", "}"]
    assert subprocess.run([*command, "json.tool"], input="{", capture_output=True, text=True).returncode == 1
    lost = subprocess.run(
        [*command, "--parent", "1", "timeit", "-n1", "-r1", "import time; time.sleep(60)"], timeout=20
    )
    assert lost.returncode == -signal.SIGKILL  # its parent was gone before it looked


@pytest.mark.parametrize("begun", [["-m", "auxlearn.processes", "shown"], ["-c", STARTED]], ids=["module", "command"])
def test_no_grammar_of_addresses_is_built_for_notebooks(begun, tmp_path):
    """What jsonschema builds of rfc3987_syntax takes longer than the rest of papermill's start."""
    (tmp_path / "shown.py").write_text(
        "import nbformat, sys\nprint(sys.modules['rfc3987_syntax'], 'lark' in sys.modules)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(PROJECT / "lib")])}
    shown = subprocess.run([sys.executable, *begun], env=environment, capture_output=True, text=True)
    assert shown.stdout.splitlines()[-1:] == ["None False"], shown.stderr


def test_whoever_imports_the_library_keeps_all_formats():
    code = "import sys, auxlearn, auxlearn.processes; print('rfc3987_syntax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"
