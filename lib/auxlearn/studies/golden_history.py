"""What golden values say of runs whose code has moved on: have results moved since the commit that they were made from?

The values of that commit are compared with those of today. They also move when the cases themselves are written anew,
on another suite, say. Then the commit that moved them changes files beside the values and leaves what the library runs
alone; every other move is one of results. A commit older than all golden values is told by the first of them where the
code that made the runs was the same then.
"""

from __future__ import annotations

import ast
import functools
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxlearn.files import documents
from auxlearn.records import checkout, code_hash, manifests, module_syntax, plugins
from auxlearn.studies.golden_values import GOLDEN, INDEX, VALUES, Case, Cases, moved, stored

PINNED = ("requirements.lock", "pyproject.toml")
LIBRARY, NOTEBOOKS = "lib/auxlearn", "notebooks"
Code = tuple[tuple[str, ...], str | None]  # roots, notebook
Recorded = Mapping[str, Mapping[str, str]]  # group -> case -> digest


@dataclass(frozen=True)
class Evidence:
    """What golden values say of code that has moved on.

    Attributes:
        told: Whether they say anything.
        said: In words: since which commit, or why nothing can be told.
        moved: A line for each case that moved.
    """

    told: bool
    said: str
    moved: tuple[str, ...] = ()


class Checkout:
    """The golden values of a project, now and at its commits.

    Args:
        project: The project's folder; what is not in git, or has no golden values, can tell little.
    """

    def __init__(self, project: Path):
        self.project = project
        self.now = stored(project / VALUES)
        index = project / INDEX
        self.cases = Cases(documents.read_object(index, "make golden") if index.is_file() else {})
        self._at: dict[str, dict[str, dict[str, Any]]] = {}
        self._trees = tempfile.TemporaryDirectory(prefix="auxlearn-")

    def since(
        self, commit: str, families: Collection[str] | None, code: Collection[Code], recorded: Recorded
    ) -> Evidence:
        """Say whether golden values have moved since runs were made.

        Args:
            commit: The commit that the runs were made from.
            families: What they are of, as from `of_run`; None for anything.
            code: Roots and notebook of each, to tell whether code older than all golden values is that of the first.
            recorded: `digests` of when their report was written, for where the commit is not here.

        Returns:
            The evidence.
        """
        if not self.now:
            return Evidence(False, "there are no golden values here to tell by")
        if not self._has(commit):
            if recorded:
                return self._by_digests(recorded, families)
            named = f"commit {commit[:10]}" if commit else "the commit"
            why = " (a shallow clone; `git fetch --unshallow`)" if checkout.shallow(self.project) else ""
            return Evidence(False, f"{named} is not here{why}, nor did the report record golden values")
        start = commit
        if not self._values(commit):
            first = self._first
            if not first or not self._is_before(commit, first) or not self._same_code(commit, first, code):
                made = f", which were first made at {first[:10]}, of other code" if first else ""
                return Evidence(False, f"its runs are older than golden values{made}")
            start = first
        blamed = dict(self._blamed(start, moved(self._values(start), self.now)))
        lines = tuple(blamed[case] for case in self.cases.counting(blamed, families))
        known = "" if start == commit else ", the first, made of the same code"
        return Evidence(True, f"golden values of {start[:10]}{known}", lines)

    def as_it_was(self, commit: str, root: str) -> frozenset[str] | None:
        """Tell what a plugin builds on, where its file is as it was at a commit.

        Args:
            commit: The commit that runs were made from.
            root: The plugin's root.

        Returns:
            Roots of the library that it imports; None if its file has changed, is in no commit, or is not the only one.
        """
        path = root.removeprefix(plugins.FILE)
        if not root.startswith(plugins.FILE) or not plugins.is_root(root) or Path(path).is_absolute():
            return None
        if not self._has(commit) or self._git("diff", "--quiet", commit, "--", path) is None:
            return None
        if self._git("cat-file", "-e", f"{commit}:./{path}") is None or not (self.project / path).is_file():
            return None
        name = Path(path).stem
        found = module_syntax.read(ast.parse((self.project / path).read_bytes()), name)
        imported = found.references.union(*found.served.values())
        if len(plugins.read(f"{plugins.FILE}{self.project / path}").files) > 1:
            return None
        return frozenset(one.removeprefix("auxlearn.") for one in imported if one.startswith("auxlearn."))

    def _by_digests(self, recorded: Recorded, families: Collection[str] | None) -> Evidence:
        """Compare with what a report recorded; a hash does not say how far a value moved, so that any move counts."""
        now = {group: {case: manifests.digest(v) for case, v in cases.items()} for group, cases in self.now.items()}
        differ = {
            (group, case): "another value" if case in now.get(group, {}) else "gone"
            for group, cases in recorded.items() for case, hash in cases.items() if now.get(group, {}).get(case) != hash
        }  # fmt: skip
        lines = [f"{group}/{case}: {differ[group, case]}" for group, case in self.cases.counting(differ, families)]
        return Evidence(True, "golden values that the report recorded", tuple(lines))

    def _blamed(self, start: str, differ: Mapping[Case, str]) -> Iterator[tuple[Case, str]]:
        """Yield each case with the commit that moved it, but those that moved as the cases were written anew."""
        # What each case may be: its value at the start, until its cases are written anew. Steps are not compared one by
        # one: each may lie within the tolerance, and a start beside the line of first parents has no step of its own.
        allowed: dict[str, dict[str, Any]] = {}
        for group, case in differ:
            allowed.setdefault(group, {})[case] = self._values(start)[group][case]
        for before, after in self._steps(start) if differ else ():
            old, new = self._values(before), self._values(after) if after else self.now
            stepped = moved({g: {c: v for c, v in old[g].items() if c in allowed.get(g, {})} for g in old}, new)
            rewritten = bool(stepped) and self._rewritten(before, after)
            excused = {case for case, how in stepped.items() if rewritten and how != "gone"}
            reached: dict[str, dict[str, Any]] = {}
            for group, cases in allowed.items():
                for case in cases:
                    source = old if (group, case) in excused else new
                    if case in source.get(group, {}):
                        reached.setdefault(group, {})[case] = source[group][case]
            for group, case in moved(allowed, reached):
                where = f"at {after[:10]}" if after else "since the last commit"
                yield (group, case), f"{group}/{case} {where}: {differ[group, case]}"
                del allowed[group][case]
                excused.discard((group, case))
            for group, case in excused:
                allowed[group][case] = new[group][case]

    def _rewritten(self, before: str, after: str) -> bool:
        """Tell whether a step changed what computes the values and not the library."""
        cases = [name for name in self._changed(before, after, GOLDEN) if name.endswith(".py")]
        cases = [name for name in cases if self._runs(before, name) != self._runs(after, name)]  # not a comment alone
        if any(self._changed(before, after, name) for name in PINNED):
            return False  # other versions may move values too
        return bool(cases) and all(
            self._runs(before, name) == self._runs(after, name) for name in self._changed(before, after, LIBRARY)
        )

    def _runs(self, commit: str, name: str) -> str | None:
        """Return what a file of the library runs, at a commit or ("") now; None where there is no such file."""
        if not name.endswith(".py"):
            return ""
        source = self._git("show", f"{commit}:./{name}") if commit else None
        if not commit and (self.project / name).is_file():
            source = (self.project / name).read_bytes()
        try:
            return None if source is None else module_syntax.canonical(ast.parse(source))
        except (SyntaxError, ValueError):
            return repr(source)

    def _changed(self, before: str, after: str, folder: str) -> list[str]:
        commits = [commit for commit in (before, after) if commit]
        said = self._git("diff", "--name-only", "--no-renames", "--relative", "-z", *commits, "--", folder)
        return [name for name in (said or b"").decode(errors="replace").split("\0") if name]

    def _steps(self, start: str) -> list[tuple[str, str]]:
        """List the steps that changed golden values, as pairs of commits; "" is the files as they are now."""
        said = self._git("rev-list", "--first-parent", "--reverse", f"{start}..HEAD", "--", VALUES)
        commits = (said or b"").decode().split()
        return [*((f"{commit}^", commit) for commit in commits), ("HEAD", "")]

    def _same_code(self, one: str, other: str, code: Collection[Code]) -> bool:
        """Tell whether all of some code was the same at two commits."""
        places = [self._tree(commit) for commit in (one, other)]

        def hashed(roots: tuple[str, ...], notebook: str | None) -> set[str]:
            return {
                code_hash.code_hash(roots, place / NOTEBOOKS / notebook if notebook else None, place / LIBRARY)
                for place in places
            }

        try:
            return all(len(hashed(*each)) == 1 for each in code)
        except (OSError, SyntaxError, ValueError):  # a module that was not there, or is no Python
            return False

    def _tree(self, commit: str) -> Path:
        """Write library and notebooks as they were at a commit, once."""
        place = Path(self._trees.name, commit)
        for folder in () if place.is_dir() else (LIBRARY, NOTEBOOKS):
            packed = self._git("archive", "--format=tar", commit, folder)
            if packed is not None:
                with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
                    tar.extractall(place, filter="data")
        return place

    def _values(self, commit: str) -> dict[str, dict[str, Any]]:
        if commit not in self._at:
            packed, found = self._git("archive", "--format=tar", commit, VALUES), {}
            if packed is not None:
                with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
                    for member in tar:
                        file = tar.extractfile(member) if member.name.endswith(".json") else None
                        if file is not None:
                            found[Path(member.name).stem] = json.loads(file.read())
            self._at[commit] = found
        return self._at[commit]

    @functools.cached_property
    def _first(self) -> str:
        said = self._git("rev-list", "--first-parent", "--reverse", "HEAD", "--", VALUES)
        return (said or b"").decode().split("\n")[0]

    def _has(self, commit: str) -> bool:
        # From a record of anyone: nothing but digits reaches the command line.
        named = re.fullmatch(r"[0-9a-f]{7,64}", commit)
        return named is not None and self._git("cat-file", "-e", f"{commit}^{{commit}}") is not None

    def _is_before(self, commit: str, other: str) -> bool:
        return self._git("merge-base", "--is-ancestor", commit, other) is not None

    def _git(self, *arguments: str) -> bytes | None:
        """Return what git says; None where it fails, or there is none."""
        done = checkout.ask(self.project, *arguments)
        return None if done is None or done.returncode else done.stdout
