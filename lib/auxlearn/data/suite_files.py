"""Find suite YAMLs, read what they extend, and check them against `schema`."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from auxlearn.data import task_names
from auxlearn.data.schema import ENTRIES, SuiteSpec
from auxlearn.errors import InputError, explain
from auxlearn.files import bounded_files as files
from auxlearn.files import documents
from auxlearn.paths import PROJECT, short

WORDS = ("labels", "inputs", "label")  # fields of words, whatever YAML takes these for
SHIPPED = PROJECT / "params" / "suites"
EXTENDED = 8  # suites that one may extend, one after the other


def extended(path: Path, descendants: tuple[Path, ...] = ()) -> Any:
    """Read a suite YAML with what it extends filled in.

    Args:
        path: The suite's file.
        descendants: The files on the way to it, which it must not extend again.

    Returns:
        The plain values, not yet checked against `SuiteSpec`.

    Raises:
        InputError: If a file cannot be read, extends itself or what is no suite, or too many extend one another.
    """
    raw = documents.read_yaml(path, WORDS)
    if not isinstance(raw, dict) or "extends" not in raw:
        return raw
    if len(descendants) >= EXTENDED:
        raise InputError(f"{path}: extends a suite that extends another, and so on {EXTENDED} times; write it out")
    base = Path(os.path.realpath(_base(path, str(raw.pop("extends")))))
    descendants = (*descendants, Path(os.path.realpath(path)))
    if base in descendants:
        raise InputError(f"{path}: extends itself")
    parent = extended(base, descendants)
    if not isinstance(parent, dict) or not isinstance(parent.get("tasks"), dict):
        raise InputError(f"{path}: extends {base.name}, which is not a suite")
    tasks, own = dict(parent["tasks"]), raw.get("tasks") or {}
    if not isinstance(own, dict):
        raise InputError(f"{path}: tasks: names with their fields are expected, not {type(own).__name__}")
    for name, fields in own.items():
        if fields is None:  # `name:` alone takes a task out
            if tasks.pop(name, None) is None:
                raise InputError(f"{path}: tasks: {name} is empty, and {base.name} has no such task to leave out")
            continue
        both = isinstance(fields, dict) and isinstance(tasks.get(name, {}), dict)
        tasks[name] = tasks.get(name, {}) | fields if both else fields
    root = parent.get("root", ".")
    if isinstance(root, str) and not root.startswith(("$", "~")):  # it is relative to the suite that says it
        parent = parent | {"root": str(base.parent / root)}
    return parent | raw | {"tasks": tasks}


def _base(path: Path, name: str) -> Path:
    """Find the suite that one extends: from its own folder, else from the project, else by a shipped suite's name."""
    if "\0" in name:
        raise InputError(f"{path}: extends {name[:200]!r}, which is no path")
    written = Path(os.path.expanduser(name))
    options = [path.parent / written, PROJECT / written, SHIPPED / written.name, SHIPPED / f"{written.name}.yaml"]
    if len(written.parts) > 1:
        options = options[:2]
    with files.system(path):
        found = next((option for option in options if option.is_file()), None)
        if found is None:
            raise InputError(f"{path}: extends {name[:200]}: no such file{_near(options[0], path)}")
    return found


def located(suite: str) -> Path:
    """Find the suite that a study names.

    Args:
        suite: Path of the YAML, relative to the project's root unless absolute; `~` is the user's home.

    Raises:
        InputError: If it is not there; it says what is near.
    """
    path = PROJECT / os.path.expanduser(suite)
    with files.system(path):
        if not path.exists():
            start = " (relative paths start at the project's folder)" * (not os.path.isabs(os.path.expanduser(suite)))
            raise InputError(f"{suite}: no such file{start}{_near(path)}")
    return path


def _near(path: Path, extending: Path | None = None) -> str:
    """Suggest suites of about the same name, as the end of a message; to a suite that extends one, others than it."""
    beside = [file for folder in (SHIPPED, path.parent) for file in sorted(folder.glob("*.yaml"))]
    known = {file.stem: short(file) for file in beside if file.is_file() and file != extending}
    if extending is None:
        known["planted"] = "planted"
    close = difflib.get_close_matches(path.stem, known, 1, 0.6)
    return f"; did you mean {known[close[0]]}?" if close else f"; suites are {', '.join(sorted(known.values()))[:900]}"


def read_suite(path: Path) -> tuple[SuiteSpec, Path]:
    """Read and check a suite YAML.

    Args:
        path: The suite's file.

    Returns:
        The suite, and its root as an absolute path.

    Raises:
        InputError: If anything in it is wrong; it names the file.
    """
    raw = extended(path)
    try:
        spec = SuiteSpec.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error, ENTRIES)}") from None
    for name in spec.tasks:
        task_names.check_name(name, f"{path}: ")
    expanded = os.path.expanduser(os.path.expandvars(spec.root))
    if "$" in expanded:
        raise InputError(f"{path}: root {spec.root!r} names an environment variable that is not set")
    return spec, Path(os.path.realpath(path.parent / expanded))
