"""What git says of the checkout that a project lies in, or why it cannot say anything. It is only read."""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path
from typing import Any

from auxlearn.paths import PROJECT

# The library's own code runs from the checkout, so that its owner is trusted, whoever it is; git runs nothing from it.
_SETTINGS = ("-c", "safe.directory=*", "-c", "core.fsmonitor=false")


def ask(project: Path, *arguments: str) -> subprocess.CompletedProcess[bytes] | None:
    """Ask git about a project.

    Args:
        project: The project's folder.
        *arguments: Of git's command line.

    Returns:
        The ended process; None where git cannot be started.
    """
    command = ["git", "--no-optional-locks", *_SETTINGS, *arguments]
    try:
        return subprocess.run(command, cwd=project, capture_output=True, env=_environment())
    except OSError:
        return None


@functools.cache
def _environment() -> dict[str, str]:
    """Return the environment without the variables by which git, as it runs a hook, names another repository."""
    try:
        local = subprocess.run(["git", "rev-parse", "--local-env-vars"], capture_output=True, text=True).stdout.split()
    except OSError:
        local = []
    return {name: value for name, value in os.environ.items() if name not in local} | {"LC_ALL": "C"}


def state(project: Path = PROJECT) -> dict[str, Any]:
    """Describe the commit that a project's files are of.

    Args:
        project: The project's folder.

    Returns:
        `commit`, and `dirty`: whether tracked files outside reports/ differ from it; `unknown`, in words, where one of
        the two cannot be told.
    """
    if ask(project, "--version") is None:
        return {"unknown": "git is not installed"}
    head = ask(project, "rev-parse", "--verify", "HEAD")
    if head is None or head.returncode:
        return {"unknown": _why(project, head.stderr.decode(errors="replace") if head else "")}
    listed = ask(project, "ls-files", "--error-unmatch", "--", "lib/auxlearn/__init__.py")
    if listed is not None and listed.returncode == 1:
        return {"unknown": "no git checkout; the repository around it does not hold its files"}
    commit = head.stdout.decode().strip()
    changed = ask(project, "status", "--porcelain", "--untracked-files=no", "--", ".", ":(exclude)reports")
    if changed is None or changed.returncode:
        return {"commit": commit, "dirty": True, "unknown": "git cannot compare the files with the commit"}
    return {"commit": commit, "dirty": bool(changed.stdout.strip())}


def _why(project: Path, said: str) -> str:
    """Say why there is no commit, without any path: it is published."""
    if not any((folder / ".git").exists() for folder in (project, *project.parents)):
        return "no git checkout, as after a download without history"
    if "dubious ownership" in said or "unsafe repository" in said:
        return "git does not read a checkout of another user; add it to safe.directory"
    if "Needed a single revision" in said:
        return "the git repository has no commit yet"
    return "git cannot read the checkout"


def shallow(project: Path) -> bool:
    """Tell whether a clone leaves out older commits."""
    said = ask(project, "rev-parse", "--is-shallow-repository")
    return said is not None and said.stdout.strip() == b"true"
