"""Whether a report still stands: its files and, as far as they are here, its runs, code and data, hashed again.

A report has one of five verdicts:

    failed            a file of it, an output of its runs or its data were altered
    stale             the code of its runs has moved on, and golden values that count for them have moved since
    stands            its code is as it was; or has moved on, and those golden values have not moved
    cannot be told    its code has moved on, and no golden values reach back to it
    no provenance     it was published before reports recorded what they are made of

That golden values have not moved means that those stored have not: `tests/golden` checks that the code gives them. They
are of small inputs, so they say that methods compute what they did, and no more. Reports older than the first golden
values are not called stale, for nothing is known against them; nor do they stand.
"""

from __future__ import annotations

import csv
import functools
import io
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.files import bounded_files
from auxlearn.paths import NOTEBOOKS, PROJECT, runs_root, short
from auxlearn.records import manifests, plugins, runs
from auxlearn.records.code_hash import code_hash
from auxlearn.studies import golden_values, provenance
from auxlearn.studies.golden_history import Checkout, Code

Verdict = Literal["failed", "stale", "stands", "cannot be told", "no provenance"]
MEANING: dict[Verdict, str] = {
    "stands": "the code of its runs is as it was, or has moved on while no golden value of its methods has",
    "cannot be told": "the code of its runs has moved on, and no golden values reach back to it",
    "stale": "the code of its runs has moved on, and golden values of its methods with it",
    "failed": "a file of it, an output of its runs or its data were altered",
    "no provenance": "published before reports recorded what they are made of",
}
RESULTS_BYTES = 16 << 20
SHOWN = 5  # moved golden values that a finding lists; it counts the rest


@dataclass
class Finding:
    """What a check found, in lines for a person.

    Attributes:
        folder: The report's folder.
        recorded: Whether the report says what it is made of.
        changed: What was altered; empty if all that could be checked is as it was.
        moved_on: Whose code has moved on since the runs were made.
        moved: Golden values that have moved since, as far as they count for these runs.
        untold: Why golden values cannot tell.
        told: What they were compared with, where they can.
        unchecked: What could not be checked.
        checked: How many things of each kind were checked.
    """

    folder: Path
    recorded: bool = True
    changed: list[str] = field(default_factory=list)
    moved_on: list[str] = field(default_factory=list)
    moved: list[str] = field(default_factory=list)
    untold: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    unchecked: list[str] = field(default_factory=list)
    checked: dict[str, int] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """The verdict, the worst that was found."""
        if not self.recorded:
            return "no provenance"
        if self.changed:
            return "failed"
        if self.moved:
            return "stale"
        return "cannot be told" if self.untold else "stands"

    @property
    def status(self) -> int:
        """The exit status: 1 where the report failed or is stale."""
        return int(self.verdict in ("failed", "stale"))

    @property
    def reason(self) -> str:
        """The verdict's reason, in a line."""
        if self.verdict == "no provenance":
            return f"{MEANING[self.verdict]}; to be published again"
        if self.verdict == "failed":
            return f"{len(self.changed)} changed: {self.changed[0]}" + (", …" if len(self.changed) > 1 else "")
        if self.verdict == "stale":
            return f"code has moved on, and golden values of its methods with it: {len(self.moved)}"
        if self.verdict == "cannot be told":
            return f"code has moved on; {'; '.join(self.untold)}"
        if self.moved_on:
            return f"code has moved on; no golden value of its methods has moved since ({'; '.join(self.told)})"
        return "nothing changed"

    def shown(self) -> str:
        """Return the finding as text: one line per thing found or not checked, then the verdict."""
        lines = [f"changed: {line}" for line in self.changed]
        lines += [f"code has moved on: {line}" for line in self.moved_on]
        lines += [f"golden value moved: {line}" for line in self.moved[:SHOWN]]
        lines += [f"golden values moved: {len(self.moved) - SHOWN} more"] if len(self.moved) > SHOWN else []
        lines += [f"not checked: {line}" for line in self.unchecked]
        if not self.recorded:
            return "\n".join([*lines, f"{short(self.folder)}: no provenance, no verdict; checked: {self.counts()}"])
        return "\n".join([*lines, f"{short(self.folder)}: {self.verdict}: {self.reason}; checked: {self.counts()}"])

    def line(self) -> str:
        """Return the verdict and its reason in one line."""
        return f"{self.folder.name}: {self.verdict}: {self.reason}"

    def counts(self) -> str:
        """Return what was checked, as text."""
        return ", ".join(f"{name} {count:,}" for name, count in self.checked.items()) or "nothing"

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
    return check(_folder(name), Checkout(PROJECT))


def everything(reports: Path | None = None) -> list[Finding]:
    """Check every published report.

    Args:
        reports: Their folder; by default that of the project.

    Returns:
        A finding for each, by name; a record that cannot be read is found to be changed.
    """
    reports = reports or PROJECT / "reports"
    checkout, read, found = Checkout(reports.parent), functools.cache(_fingerprint), []
    for index in sorted(reports.glob("*/index.html")):
        try:
            found.append(check(index.parent, checkout, read))
        except InputError as error:
            found.append(Finding(index.parent, changed=[str(error).splitlines()[0]]))
    return found


def _fingerprint(name: str, rows: int) -> str:
    return suites.load(name, rows).fingerprint


def check(folder: Path, checkout: Checkout, fingerprint: Callable[[str, int], str] = _fingerprint) -> Finding:
    """Check the report in a folder.

    Args:
        folder: The report's folder.
        checkout: Golden values to tell by.
        fingerprint: Reads a suite, by its name and the rows per task that it is capped at.

    Raises:
        InputError: If its record cannot be read.
    """
    found = Finding(folder)
    content = provenance.read(folder)
    if content is None:
        found.recorded = False
        found.unchecked.append(
            f"everything: this report has no {provenance.NAME}, for it was published before there was one; publish the "
            "study again to record what it is made of"
        )
        return found
    _files(found, content)
    _runs(found, content)
    _results(found, content, _code(found, content), checkout)
    _data(found, content, fingerprint)
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
    gone, anew = [], []
    for label, run in content["runs"].items():
        folder = runs_root() / label
        if not folder.is_dir():
            gone.append(label)
            continue
        if (now := provenance.file_hash(folder / "manifest.json")) != run["manifest"]:
            if _by_other_code(label, run):
                anew.append(label)
                continue
            aside = [p for p in folder.glob("manifest.*.json") if provenance.file_hash(p) == run["manifest"]]
            how = (
                "was set aside" if aside and not now else "is gone" if not now else "is another: the run was made anew"
            )
            found.changed.append(f"run {label}: its manifest {how}")
            continue
        outputs = run["outputs"] if "outputs" in run else manifests.read(folder / "manifest.json").outputs
        for name, hash in outputs.items():
            if not (folder / name).is_file():
                found.changed.append(f"run {label}: {name} is gone")
            elif runs.file_hash(folder / name) != hash:
                found.changed.append(f"run {label}: {name} was altered")
        found.count("runs")
        found.count("outputs of runs", len(outputs))
    for labels, where in ((gone, f"not in {short(runs_root())}"), (anew, "made anew since, by other code")):
        if labels:
            some = ", ".join(labels[:3]) + (", …" if len(labels) > 3 else "")
            found.unchecked.append(f"{len(labels)} of {len(content['runs'])} runs, {where}: {some}")


def _by_other_code(label: str, run: Mapping[str, Any]) -> bool:
    """Tell whether the run that is here now in place of a recorded one was made by other code, so is another run."""
    stage, _, key = label.partition("/")
    manifest = runs.read(stage, key)[1]
    return manifest is not None and manifest.code.get("hash") not in ("", None, run["code"]["hash"])


def _code(found: Finding, content: Mapping[str, Any]) -> list[str]:
    """Check whether today's code is that of the runs. No run needs to be here, only the hash of its code.

    Returns:
        The runs whose code has moved on.
    """

    @functools.cache
    def hashed(roots: tuple[str, ...], notebook: str | None) -> str | None:
        path = NOTEBOOKS / notebook if notebook else None
        try:
            return code_hash(roots, path)
        except (OSError, SyntaxError, ValueError):  # a module or notebook that is no longer there, or half written
            return None

    differing: dict[tuple[str, str], list[str]] = {}
    for label, run in content["runs"].items():
        code = run["code"]
        if hashed(*_made_by(run)) != code["hash"]:
            commit = run["git"].get("commit", "")[:10] or "unknown"
            differing.setdefault((code.get("notebook") or ", ".join(code.get("roots", ())), commit), []).append(label)
        found.count("hashes of code")
    for (what, commit), labels in differing.items():
        found.moved_on.append(f"{what} since commit {commit}: {_counted(labels)}")
    unheld: dict[str, list[str]] = {}
    for label, run in content["runs"].items():
        if run["git"].get("dirty", True):
            unheld.setdefault(run["git"].get("unknown") or "made from a tree that no commit holds", []).append(label)
    for why, labels in unheld.items():
        found.unchecked.append(f"code of {_counted(labels)} against a commit: {why}")
    return [label for labels in differing.values() for label in labels]


def _made_by(run: Mapping[str, Any]) -> Code:
    return tuple(run["code"].get("roots", ())), run["code"].get("notebook")


def _results(found: Finding, content: Mapping[str, Any], labels: Iterable[str], checkout: Checkout) -> None:
    """Ask golden values whether the results of runs have moved with their code."""
    arms = _arms(found.folder)
    by_commit: dict[str, list[str]] = {}
    of_plugins: dict[str, set[str]] = {}
    for label in labels:
        run = content["runs"][label]
        # No commit holds a tree with uncommitted changes.
        commit = "" if run["git"].get("dirty", True) else run["git"].get("commit", "")
        theirs = {root: checkout.as_it_was(commit, root) for root in _made_by(run)[0] if plugins.is_plugin(root)}
        if unknown := [plugins.without_folder(root) for root, imports in theirs.items() if imports is None]:
            found.untold.append(f"no golden values are of {', '.join(unknown)}")
        else:
            of_plugins[label] = {one for imports in theirs.values() if imports for one in imports}
            by_commit.setdefault(commit, []).append(label)
    code = {_made_by(run) for run in content["runs"].values()}
    for commit, of_commit in sorted(by_commit.items()):
        families: set[str] | None = set()
        for label in of_commit:
            run = content["runs"][label]
            of = _families(label.partition("/")[0], run, arms, of_plugins[label])
            families = None if families is None or of is None else families | of
        evidence = checkout.since(commit, families, code, content.get("golden", {}))
        (found.told if evidence.told else found.untold).append(evidence.said)
        found.moved += evidence.moved
    for lines in (found.told, found.untold, found.moved):
        lines[:] = dict.fromkeys(lines)


def _families(
    stage: str, run: Mapping[str, Any], arms: Iterable[str], of_plugins: Collection[str] = ()
) -> frozenset[str] | None:
    """Return the families of methods that a run is of, with those that an unchanged plugin of its imports."""
    roots = (*_made_by(run)[0], *of_plugins)
    recorded = run.get("arm")
    if stage != "06_mtl" or recorded or not arms:
        return golden_values.of_run(stage, recorded, roots)
    return frozenset().union(*(golden_values.of_run(stage, arm, roots) or () for arm in arms))


def _arms(folder: Path) -> set[str]:
    """Return the arms that a report compares, for runs that do not record their own; empty if it compares none."""
    try:
        text = bounded_files.read_bytes(folder / "results.csv", RESULTS_BYTES, "publish the study again").decode()
        return {arm for row in csv.DictReader(io.StringIO(text)) if (arm := row.get("arm"))}
    except (InputError, ValueError, csv.Error):
        return set()


def _counted(labels: list[str]) -> str:
    return labels[0] if len(labels) == 1 else f"{len(labels)} runs, {labels[0]} among them"


def _data(found: Finding, content: Mapping[str, Any], fingerprint: Callable[[str, int], str]) -> None:
    for recorded, suite in content["suites"].items():
        shown = f"data of {suite['name']}"
        try:
            now = fingerprint(suite["name"], suite["rows"])
        except InputError as error:
            found.unchecked.append(f"{shown}: {str(error).splitlines()[0]}")
        else:
            found.count("fingerprints of data")
            if now != recorded:
                found.changed.append(f"{shown}: fingerprint {now}, was {recorded}")
