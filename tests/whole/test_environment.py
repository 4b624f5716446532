"""One set of versions, whichever way in: environment.yml, pyproject.toml and requirements.lock agree."""

import re
import tomllib

import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from auxlearn.paths import PROJECT

# Extras that no run, report or check needs, left to whoever wants them. With Slurm, but no controller to ask, its
# plugin makes every start of Snakemake slow.
UNLOCKED = {"tensorboard", "slurm", "fuzz"}


def lock():
    lines = (PROJECT / "requirements.lock").read_text().split()
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+==[^+@/]+", line) for line in lines), "pins only, no local builds or paths"
    return {canonicalize_name(name): version for name, version in (line.split("==") for line in lines)}


def test_the_lock_satisfies_every_range():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    extras = {name: extra for name, extra in project["optional-dependencies"].items() if name not in UNLOCKED}
    wanted = project["dependencies"] + [r for extra in extras.values() for r in extra]
    pinned = lock()
    left = [r for name in UNLOCKED for r in project["optional-dependencies"][name]]
    assert not any(canonicalize_name(Requirement(r).name) in pinned for r in left)
    for text in wanted:
        requirement = Requirement(text)
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version, prereleases=True), text


def test_environment_yml_installs_the_lock():
    environment = yaml.safe_load((PROJECT / "environment.yml").read_text())
    assert environment["name"] == "auxlearn"
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert pip == ["-r requirements.lock", "-e ."]
    plain = [d for d in environment["dependencies"] if isinstance(d, str)]
    (python,) = (d.removeprefix("python") for d in plain if d.startswith("python"))
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert SpecifierSet(python) == SpecifierSet(project["requires-python"])
    assert "pip" in plain


def test_the_lock_is_what_is_installed():
    import importlib.metadata

    pinned = lock()
    for name in ("torch", "transformers", "datasets", "evaluate", "papermill", "snakemake", "pydantic"):
        assert importlib.metadata.version(name).split("+")[0] == pinned[name]


def test_citation_and_version_agree():
    citation = yaml.safe_load((PROJECT / "CITATION.cff").read_text())
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"] == "MIT"
