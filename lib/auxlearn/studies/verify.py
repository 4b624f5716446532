"""Whether a report still stands: its files and, as far as they are here, its runs, code and data, hashed again."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.files import bounded_files
from auxlearn.paths import NOTEBOOKS, PROJECT, runs_root, short
from auxlearn.records import runs
from auxlearn.records.code_hash import code_hash
from auxlearn.studies import provenance


@dataclass
class Finding:
    """What a check found, in lines for a person.

    Attributes:
        folder: The report's folder.
        changed: What is not as it was; empty if all that could be checked is.
        unchecked: What could not be checked.
        checked: How many things of each kind were checked.
    """

    folder: Path
    changed: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)

    def shown(self) -> str:
        """Return the finding as text: one line per change or thing not checked, then the verdict."""
        lines = [f"changed: {line}" for line in self.changed] + [f"not checked: {line}" for line in self.unchecked]
        what = ", ".join(f"{name} {count:,}" for name, count in self.checked.items()) or "nothing"
        verdict = (
            f"{len(self.changed)} changed" if self.changed else "nothing changed" if self.checked else "no verdict"
        )
        return "\n".join([*lines, f"{short(self.folder)}: {verdict}; checked: {what}"])

    def count(self, name: str, number: int = 1) -> None:
        """Count things that were checked.

        Args:
            name: Their kind.
            number: How many.
        """
        self.checked[name] = self.checked.get(name, 0) + number


def verify(name: str) -> Finding:
    """Check a published report, or that of a study in the run folder where none is published.

    Args:
        name: The study's name.

    Returns:
        What changed, what could not be checked, and what was.

    Raises:
        InputError: If there is no such report, or its record cannot be read.
    """
    folder = _folder(name)
    found = Finding(folder)
    content = provenance.read(folder)
    if content is None:
        found.unchecked.append(
            f"everything: this report has no {provenance.NAME}, for it was published before there was one; publish the "
            "study again to record what it is made of"
        )
        return found
    _files(found, content)
    _runs(found, content)
    _code(found, content)
    _data(found, content)
    return found


def _folder(name: str) -> Path:
    reports, studies = PROJECT / "reports", runs_root() / "studies"
    places = [bounded_files.inside(reports, name, "report"), bounded_files.inside(studies, name, "report") / "report"]
    for folder in places:
        if (folder / "index.html").is_file() or (folder / provenance.NAME).is_file():
            return folder
    raise InputError(f"no report {name!r} in {' or '.join(short(folder.parent) for folder in places)}")


def _files(found: Finding, content: Mapping[str, Any]) -> None:
    now = provenance.files(found.folder)
    for name, hash in content["files"].items():
        if name not in now:
            found.changed.append(f"file {name} of the report is gone")
        elif now[name] != hash:
            found.changed.append(f"file {name} of the report was altered")
    found.changed += [f"file {name} was added to the report" for name in now if name not in content["files"]]
    found.count("files of the report", len(content["files"]))


def _runs(found: Finding, content: Mapping[str, Any]) -> None:
    """Check manifests and outputs of the runs that are here."""
    gone = []
    for label, run in content["runs"].items():
        folder = runs_root() / label
        if not folder.is_dir():
            gone.append(label)
            continue
        if (now := provenance.file_hash(folder / "manifest.json")) != run["manifest"]:
            aside = [p for p in folder.glob("manifest.*.json") if provenance.file_hash(p) == run["manifest"]]
            how = (
                "was set aside" if aside and not now else "is gone" if not now else "is another: the run was made anew"
            )
            found.changed.append(f"run {label}: its manifest {how}")
            continue
        for name, hash in run["outputs"].items():
            if not (folder / name).is_file():
                found.changed.append(f"run {label}: {name} is gone")
            elif runs.file_hash(folder / name) != hash:
                found.changed.append(f"run {label}: {name} was altered")
        found.count("runs")
        found.count("outputs of runs", len(run["outputs"]))
    if gone:
        some = ", ".join(gone[:3]) + (", …" if len(gone) > 3 else "")
        found.unchecked.append(f"{len(gone)} of {len(content['runs'])} runs, not in {short(runs_root())}: {some}")


def _code(found: Finding, content: Mapping[str, Any]) -> None:
    """Check whether today's code is that of the runs. No run needs to be here, only the hash of its code."""

    @functools.cache
    def hashed(roots: tuple[str, ...], notebook: str | None) -> str | None:
        path = NOTEBOOKS / notebook if notebook else None
        try:
            return code_hash(roots, path)
        except OSError:  # a module or notebook that is no longer there
            return None

    differing: dict[tuple[str, str], list[str]] = {}
    for label, run in content["runs"].items():
        code = run["code"]
        now = hashed(tuple(code.get("roots", ())), code.get("notebook"))
        if now != code["hash"]:
            commit = run["git"].get("commit", "")[:10] or "no git"
            differing.setdefault((code.get("notebook") or ", ".join(code.get("roots", ())), commit), []).append(label)
        found.count("hashes of code")
    for (what, commit), labels in differing.items():
        found.changed.append(f"code of {what} since commit {commit}: {_counted(labels)}")
    dirty = [label for label, run in content["runs"].items() if run["git"].get("dirty", True)]
    if dirty:
        found.unchecked.append(f"code of {_counted(dirty)} against a commit: made from a tree that no commit holds")


def _counted(labels: list[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{len(labels)} runs, {labels[0]} among them"


def _data(found: Finding, content: Mapping[str, Any]) -> None:
    for fingerprint, suite in content["suites"].items():
        shown = f"data of {suite['name']}"
        try:
            now = suites.load(suite["name"], suite["rows"]).fingerprint
        except InputError as error:
            found.unchecked.append(f"{shown}: {str(error).splitlines()[0]}")
        else:
            found.count("fingerprints of data")
            if now != fingerprint:
                found.changed.append(f"{shown}: fingerprint {now}, was {fingerprint}")
