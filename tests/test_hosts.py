"""Studies run without a home or a name for the user, and where a user's own Jupyter would start another Python."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from auxlearn import hosts
from auxlearn.paths import PROJECT
from auxlearn.studies import run_status

NOWHERE = "/dev/null/nowhere"  # can be made by nobody, root included
SETTLED = """
import getpass, json, os, pathlib, tempfile
from auxlearn import hosts
hosts.settle()
folders = {name: os.environ.get(name, "") for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "HF_HOME", "IPYTHONDIR")}
tempfile.TemporaryFile(dir=pathlib.Path.home()).close()
print(json.dumps({"home": str(pathlib.Path.home()), "user": getpass.getuser(), **folders}))
"""


def settled(tmp_path, prefix=(), **environment):
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(PROJECT / "lib"),
        "TMPDIR": str(tmp_path),
    } | environment
    made = subprocess.run(
        [*prefix, sys.executable, "-c", SETTLED], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    assert made.returncode == 0, made.stderr
    assert not list(tmp_path.glob("auxlearn-home-*"))  # gone with its process
    return json.loads(made.stdout)


def test_a_usable_home_stays_as_it_is(tmp_path):
    found = settled(tmp_path, HOME=str(tmp_path), IPYTHONDIR=str(tmp_path / "mine"))
    assert found["home"] == str(tmp_path)
    assert (found["XDG_CACHE_HOME"], found["HF_HOME"], found["IPYTHONDIR"]) == ("", "", str(tmp_path / "mine"))


def test_a_home_that_cannot_be_written_is_replaced(tmp_path):
    found = settled(
        tmp_path, HOME=NOWHERE, XDG_CONFIG_HOME=NOWHERE, HF_HOME=NOWHERE, XDG_CACHE_HOME=str(tmp_path / "c")
    )
    assert Path(found["home"]).parent == tmp_path
    assert found["XDG_CACHE_HOME"] == str(tmp_path / "c")
    assert all(Path(found[name]).is_relative_to(found["home"]) for name in ("XDG_CONFIG_HOME", "HF_HOME"))


def test_a_hub_cache_that_is_there_stays_in_use(tmp_path):
    hub = tmp_path / ".cache" / "huggingface"
    hub.mkdir(parents=True)
    (tmp_path / ".cache" / "snakemake").write_text("")  # in the way of Snakemake's folder
    found = settled(tmp_path, HOME=str(tmp_path))
    assert (found["home"], found["HF_HOME"]) == (str(tmp_path), str(hub))
    assert found["XDG_CACHE_HOME"] != ""


@pytest.mark.skipif(os.getuid() != 0 or not shutil.which("setpriv"), reason="needs root, to be another user")
def test_a_user_without_entry_and_home(tmp_path):
    tmp_path.chmod(0o777)
    prefix = ["setpriv", "--reuid", "54321", "--regid", "54321", "--clear-groups", "--inh-caps=-all,+dac_read_search",
              "--ambient-caps=+dac_read_search"]  # fmt: skip
    found = settled(tmp_path, prefix)
    assert found["user"] == "user54321"
    assert Path(found["home"]).parent == tmp_path


def kernel(folder, *argv):
    spec = folder / "kernels" / "python3" / "kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": list(argv), "display_name": "Mine", "language": "python"}))
    return str(folder)


def study(tmp_path, **environment):
    path = tmp_path / "one.yaml"
    base = {"suite": "planted", "primary": "topic_side", "rows": 60, "size": "demo"}
    path.write_text(yaml.safe_dump({"study": "one", "base": base, "stages": ["01_data_prep"]}))
    environment = os.environ | {"AUXLEARN_RUNS": str(tmp_path / "runs")} | environment
    environment["PYTHONPATH"] = os.pathsep.join([*environment.get("FIRST", "").split(), str(PROJECT / "lib")])
    return subprocess.run(
        [sys.executable, "-m", "auxlearn.cli", "study", str(path), "--cores", "1"],
        env=environment, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def test_a_study_runs_without_a_home_and_in_its_own_python(tmp_path):
    theirs = kernel(tmp_path / "jupyter", "/bin/false", "-f", "{connection_file}")
    startup = tmp_path / "ipython" / "profile_default" / "startup" / "00.py"
    startup.parent.mkdir(parents=True)
    startup.write_text("raise SystemExit('a start-up file of the user')")
    made = study(tmp_path, HOME=NOWHERE, XDG_CACHE_HOME=NOWHERE, JUPYTER_PATH=theirs, JUPYTER_DATA_DIR=theirs,
                 JUPYTER_RUNTIME_DIR=NOWHERE, IPYTHONDIR=str(tmp_path / "ipython"), MPLCONFIGDIR=NOWHERE)  # fmt: skip
    assert made.returncode == 0, made.stdout
    assert "0 of 1 left" in made.stdout
    (notebook,) = tmp_path.glob("runs/01_data_prep/*/notebook.ipynb")
    assert "start-up file" not in notebook.read_text()


def test_a_kernel_that_does_not_start_is_explained_by_what_it_wrote(tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / "ipykernel_launcher.py").write_text("raise ImportError('libzmq.so.5 is missing')")
    made = study(tmp_path, FIRST=str(broken))
    assert made.returncode != 0
    assert made.stdout.count("ImportError: libzmq.so.5 is missing") >= 1
    assert "papermill/execute.py" not in made.stdout
    (folder,) = tmp_path.glob("runs/01_data_prep/*")
    assert run_status.cause(folder)[-1] == "ImportError: libzmq.so.5 is missing"


def test_what_ends_snakemake_is_shown(tmp_path):
    broken = tmp_path / "broken" / "snakemake"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text("raise OSError('the disk of Snakemake is gone')")
    made = study(tmp_path, FIRST=str(broken.parent))
    assert made.returncode != 0
    assert "OSError: the disk of Snakemake is gone" in made.stdout


def test_a_kernel_killed_without_a_word(tmp_path):
    frames = ["Traceback (most recent call last):", '  File "/x/papermill/execute.py", line 1, in execute_notebook']
    log = ["Input Notebook:  a.ipynb", *frames, "nbclient.exceptions.DeadKernelError: Kernel died"]
    (tmp_path / "papermill.log").write_text("\n".join(log))
    assert run_status.cause(tmp_path) == [
        "Kernel died without a word, as one does that the system ends for want of memory"
    ]
    (tmp_path / "papermill.log").write_text("\n".join([*log[:1], "CUDA is out of order", *log[1:]]))
    assert run_status.cause(tmp_path) == ["CUDA is out of order"]


def test_the_own_kernel_is_this_python():
    with hosts.own_kernel() as environment:
        code = "from jupyter_client.kernelspec import get_kernel_spec as get; print(get('python3').argv)"
        listed = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
        )
        assert sys.executable in listed.stdout
    assert not Path(environment["JUPYTER_PATH"]).exists()
