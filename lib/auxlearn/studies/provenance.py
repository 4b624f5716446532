"""What a report was made of: runs, code, data, seeds and versions, with sha256 of everything; `provenance.json`.

    schema      1
    study, title, written
    runs        STAGE/KEY: status, started, finished, git, code (roots, notebook, hash), suite (its fingerprint), seeds,
                environment, device, threads, manifest (sha256), inputs (STAGE/KEY of each), outputs (name: sha256);
                where it trains one, arm
    suites      fingerprint: name (as the parameters name it), rows (the cap per task, 0 = none)
    environments  digest: versions
    figures     file of the report: the runs that it was made from
    files       file of the report: sha256 (all but this one)
    golden      group: case: hash of its golden value; empty where runs were not of this code, or beside no checkout

Runs that another run read are recorded too, down to single trainings and passes; their status is "read". Of them a
record has neither started, seeds nor outputs: their manifests have, whose sha256 it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from auxlearn import errors
from auxlearn.errors import InputError
from auxlearn.files import documents
from auxlearn.paths import PROJECT, runs_root
from auxlearn.records import manifests, plugins, runs
from auxlearn.studies import golden_values

NAME = "provenance.json"
SCHEMA = 1
AGAIN = "publish the study again"
IN_MANIFEST = ("started", "seeds", "outputs")  # of a run that another read: only its manifest has them


class _Code(manifests.Code):
    hash: str


class _Run(manifests.Shape):
    manifest: str
    outputs: dict[manifests.FileName, str] = {}
    code: _Code
    git: manifests.Git
    arm: str | None = None


class _Suite(manifests.Shape):
    name: str
    rows: int


class _Record(manifests.Shape):
    """What `verify` and the front page read of a record that may come from anyone."""

    written: str
    runs: dict[manifests.Label, _Run]
    suites: dict[str, _Suite]
    files: dict[str, str]
    golden: dict[str, dict[str, str]] = {}


def run(manifest: runs.Manifest, status: str) -> dict[str, Any]:
    """Make the record of one run, as its page shows it.

    Args:
        manifest: The run's manifest; what a manifest of another version does not have is left empty.
        status: The run's status, as from `run_status.read`.

    Returns:
        A JSON-able record.
    """
    data = manifest.data
    p = data.get("params", {})
    code = {"hash": ""} | data.get("code", {})
    code["roots"] = [plugins.without_folder(root) for root in code.get("roots", [])]
    return {
        "stage": data.get("stage", manifest.folder.parent.name), "key": data.get("key", manifest.folder.name),
        "status": status, "started": data.get("started", ""), "finished": data.get("finished", ""),
        "git": data.get("git", {}), "code": code,
        "suite": {"fingerprint": data.get("suite", ""), "name": p.get("suite", ""), "rows": p.get("rows", 0)},
        "device": data.get("device", ""), "threads": data.get("threads"), "precision": p.get("precision", ""),
        "versions": data.get("versions", {}), "seeds": data.get("seeds", {}), "outputs": data.get("outputs", {}),
        "manifest": file_hash(_at(manifest)),
        "inputs": [
            {"run": _label(wanted), "manifest": file_hash(runs_root() / _label(wanted) / "manifest.json")}
            for wanted in data.get("inputs", [])
        ],
    } | ({"arm": p["arm"]} if isinstance(p.get("arm"), str) else {})  # fmt: skip


def record(
    name: str, title: str, made: Iterable[tuple[str, runs.Manifest]], figures: Mapping[str, list[str]], target: Path
) -> dict[str, Any]:
    """Make the whole record of a report.

    Args:
        name: The study's name.
        title: The report's title.
        made: Status and manifest of each run of the study.
        figures: Files of the report, each with the runs (STAGE/KEY) that it was made from.
        target: The report's folder, whose files are hashed.

    Returns:
        The content of `provenance.json`.
    """
    out: dict[str, Any] = {
        "schema": SCHEMA, "study": name, "title": title, "written": runs.now(),
        "runs": {}, "suites": {}, "environments": {}, "figures": dict(figures), "files": files(target),
        "golden": {},
    }  # fmt: skip
    queue = [(status, manifest) for status, manifest in made]
    while queue:
        status, manifest = queue.pop()
        one = run(manifest, status)
        label, suite, versions = f"{one.pop('stage')}/{one.pop('key')}", one.pop("suite"), one.pop("versions")
        if label in out["runs"]:
            continue
        one |= {"suite": suite["fingerprint"], "environment": runs.digest(versions)}
        one["inputs"] = [source["run"] for source in one["inputs"]]
        for name in ("precision", *(IN_MANIFEST if status == "read" else ())):
            del one[name]
        out["runs"][label] = one
        out["environments"][one["environment"]] = versions
        if suite["name"] not in ("", suite["fingerprint"]):  # what a run reads knows a suite by its content alone
            out["suites"][suite["fingerprint"]] = {"name": suite["name"], "rows": suite["rows"]}
        for wanted in manifest.data.get("inputs", []):
            # By the manifest alone: whether a unit's files are whole and its code is today's, the study's runs say.
            if (read := _read(wanted)) is not None and _label(wanted) not in out["runs"]:
                queue.append(("read", read))
    if all(one["status"] in ("finished", "read") for one in out["runs"].values()):
        out["golden"] = golden_values.digests(PROJECT)
    return out


def write(target: Path, content: Mapping[str, Any]) -> Path:
    """Write a record to `provenance.json`.

    Args:
        target: The report's folder.
        content: The record.

    Returns:
        The file's path.
    """
    runs.write_json(target / NAME, content)
    return target / NAME


def read(target: Path) -> dict[str, Any] | None:
    """Read and check a report's record.

    Args:
        target: The report's folder.

    Returns:
        The record; None where the report has none.

    Raises:
        InputError: If the file is not such a record.
    """
    path = target / NAME
    if not path.is_file():
        return None
    content = documents.read_object(path, AGAIN)
    if content.get("schema") != SCHEMA:
        raise InputError(f"{path}: not a record of provenance of schema {SCHEMA}; {AGAIN}")
    try:
        _Record.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: not a record of provenance: {errors.explain(error)[:500]}; {AGAIN}") from None
    return content


def files(target: Path) -> dict[str, str]:
    """Hash every file of a report but its provenance.

    Args:
        target: The report's folder.

    Returns:
        sha256 by path, relative to `target`.
    """
    paths = sorted(path for path in target.rglob("*") if path.is_file() and path != target / NAME)
    return {path.relative_to(target).as_posix(): runs.file_hash(path) for path in paths}


def rehash(target: Path, names: Iterable[str]) -> None:
    """Record some files of a report anew, after this library itself has changed them.

    Args:
        target: The report's folder; without a record nothing is done.
        names: Files, relative to `target`.
    """
    if (content := read(target)) is not None:
        content["files"] |= {name: runs.file_hash(target / name) for name in names}
        write(target, content)


def file_hash(path: Path) -> str:
    """Return a file's sha256; empty where there is no file."""
    return runs.file_hash(path) if path.is_file() else ""


def _at(manifest: runs.Manifest) -> Path:
    """Find where a manifest lies, also one that was set aside."""
    places = (manifest.path(f"manifest{mark}.json") for mark in ("", ".stale", ".damaged"))
    return next((path for path in places if path.is_file()), manifest.path("manifest.json"))


def _label(wanted: Mapping[str, Any]) -> str:
    return f"{wanted['stage']}/{wanted['key']}"


def _read(wanted: Mapping[str, Any]) -> runs.Manifest | None:
    try:
        return manifests.read(runs_root() / _label(wanted) / "manifest.json")
    except InputError:
        return None
