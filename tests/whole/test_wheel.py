"""The wheel, installed away from any checkout: the calls work in an empty folder, and what cannot work says so."""

import os
import shutil
import subprocess
import sys
import zipfile

import pytest

from auxlearn.paths import PROJECT

CALLS = """
import sys
import auxlearn
assert not {"torch", "datasets", "pandas"} & set(sys.modules), "import auxlearn is light"
from pathlib import Path
assert Path(auxlearn.__file__).is_relative_to(HOME), auxlearn.__file__
from datasets import ClassLabel, Dataset, Features, Value
features = Features(text=Value("string"), label=ClassLabel(names=["a", "b"]))
own = {
    name: Dataset.from_dict({"text": [f"{name} says {i * k}" for i in range(60)], "label": [0, 1] * 30}, features)
    for k, name in enumerate(("mine", "one", "two"), 3)
}
suite = auxlearn.Suite.from_datasets(own, primary="mine")
little = dict(encoder="tiny", proxy_rows=15, watch_rows=10, stage2_epochs=1, tune_epochs=1)
chosen = auxlearn.select(suite, "mine", "td_bce", 30, **little)
print(chosen)
print(chosen.save("chosen")[0])
print(auxlearn.compare(suite, "mine", ["random"], [0], n=30, **little).table["arm"].tolist())
print(auxlearn.check(suite).floors)
print(auxlearn.planted().names, len(auxlearn.methods.names()), auxlearn.methods.ranking.top_n([1.0, 2.0], 1))
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The wheel's files, in a folder of their own."""
    home = tmp_path_factory.mktemp("wheel")
    source = home / "source"
    shutil.copytree(PROJECT / "lib", source / "lib", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(PROJECT / name, source)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", home, source], check=True)
    (wheel,) = home.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(home / "site")
    return home / "site"


def run(installed, folder, *arguments):
    """Python in an empty folder, with the wheel and the libraries that it asks for, and no checkout."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1", "HF_HUB_OFFLINE": "1"}
    environment.pop("AUXLEARN_RUNS", None)
    return subprocess.run([sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True)


def test_calls_work_in_an_empty_folder(installed, tmp_path):
    made = run(installed, tmp_path / "empty", "-c", CALLS.replace("HOME", repr(str(installed))))
    assert made.returncode == 0, made.stderr
    assert "td_bce for mine, seed 0: 30 rows" in made.stdout
    assert "['single', 'random']" in made.stdout
    assert "\r" not in made.stderr  # no bar in what is no terminal
    assert sorted(path.name for path in (tmp_path / "empty").iterdir()) == ["auxlearn-runs", "chosen"]
    assert list((tmp_path / "empty" / "auxlearn-runs" / "train").iterdir())


@pytest.mark.parametrize("command", ["study x.yaml", "plan x.yaml", "cell e76a", "publish x", "verify", "notebooks"])
def test_what_needs_a_checkout_says_so_in_one_line(installed, tmp_path, command):
    made = run(installed, tmp_path / "empty", "-m", "auxlearn.cli", *command.split())
    assert made.returncode == 2
    assert made.stderr.startswith(f"auxlearn: `auxlearn {command.split()[0]}` needs a checkout")
    assert made.stderr.count("\n") == 1


def test_commands_that_need_none_work(installed, tmp_path):
    assert "td_bce" in run(installed, tmp_path / "empty", "-m", "auxlearn.cli", "methods").stdout


def test_a_notebook_s_session_says_so_too(installed, tmp_path):
    lines = "from auxlearn.reporting import notebook\nnotebook.start('06_mtl', {})"
    made = run(installed, tmp_path / "empty", "-c", lines)
    assert "notebook 06_mtl needs a checkout" in made.stderr
