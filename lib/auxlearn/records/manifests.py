"""Manifests as they are read back: a run folder may come from anyone, so what one says is checked before it is used.

The shape is checked and not the content: what a manifest of another version does not have, it may leave out.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from auxlearn.errors import InputError, explain
from auxlearn.files import documents
from auxlearn.records import plugins

MOST_LETTERS = 1000  # of a root, which may hold a path


def _stays(name: str) -> str:
    path = PurePosixPath(name)
    if not name or "\0" in name or path.is_absolute() or ".." in path.parts:
        raise ValueError("a path inside the folder is expected")
    return name


def _root(name: str) -> str:
    if not (re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", name) or plugins.is_root(name)) or len(name) > MOST_LETTERS:
        raise ValueError("the root of some code is expected")
    return name


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*$", max_length=200)]  # of a stage, key or module
Root = Annotated[str, AfterValidator(_root)]  # of code, see `code_hash`
FileName = Annotated[str, AfterValidator(_stays)]  # of a file in the run's own folder
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_][A-Za-z0-9_.-]*$")]  # STAGE/KEY


class Shape(BaseModel):
    """What is read of a document that may come from anyone; whatever else it holds may be anything."""

    model_config = ConfigDict(extra="allow", strict=True)


class Code(Shape):
    """The code that made a run: its root modules, its notebook and their `code_hash`."""

    roots: list[Root] = []
    notebook: Name | None = None
    hash: str = ""


class Git(Shape):
    """The commit that a run was made from, and whether the files differed from it; else why that is unknown."""

    commit: str = ""
    dirty: bool = False
    unknown: str = ""


class _Input(Shape):
    stage: Name
    key: Name


class _Cost(Shape):
    stage: str
    seconds: float | None = None
    flops: float | None = None
    tokens: float | None = None
    padded_tokens: float | None = None
    steps: float | None = None
    examples: float | None = None
    peak_bytes: float | None = None
    joules: float | None = None


class _Manifest(Shape):
    stage: Name = "x"
    key: Name = "x"
    params: dict[str, Any] = {}
    key_params: dict[str, Any] = {}
    suite: str = ""
    inputs: list[_Input] = []
    outputs: dict[FileName, str] = {}
    metrics: dict[str, Any] = {}
    ledger: list[_Cost] = []
    seeds: dict[str, Any] = {}
    rows: dict[str, Any] = {}
    code: Code = Code()
    git: Git = Git()
    versions: dict[str, str] = {}
    device: str = ""
    started: str = ""
    finished: str = ""


@dataclass
class Manifest:
    """The record of a finished run, as read from its folder; the record's fields are attributes.

    Args:
        data: The record.
        folder: The run's folder.
    """

    data: dict[str, Any]
    folder: Path

    def __getattr__(self, name: str) -> Any:
        if name in ("data", "folder"):
            raise AttributeError(name)
        try:
            return self.data[name]
        except KeyError:
            raise AttributeError(f"manifest has no {name!r}") from None

    def path(self, name: str) -> Path:
        """Return the path of a file in the run's folder."""
        return self.folder / name

    @property
    def label(self) -> str:
        """The run as people read it, STAGE/KEY."""
        return f"{self.stage}/{self.key}"

    def reference(self) -> dict[str, str]:
        """Return how another run's manifest records that it read this one."""
        return {
            "stage": self.stage,
            "key": self.key,
            "outputs": digest(self.outputs),
            "code": self.code["hash"],
        }


def digest(content: Any) -> str:
    """Hash JSON-able content to 16 hex digits, independent of key order."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def read(file: Path) -> Manifest:
    """Read a manifest.

    Args:
        file: The manifest, in its run's folder.

    Raises:
        InputError: If the file is no manifest, or names an output outside its folder.
    """
    data = documents.read_object(file, "make the run anew")
    try:
        _Manifest.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{file}: not a manifest: {explain(error)[:500]}; make the run anew") from None
    return Manifest(data, file.parent)


def whole(manifest: Manifest) -> bool:
    """Tell whether a manifest has every field from which its status, and whether it is the run asked for, are read."""
    fields = {"stage", "key", "params", "key_params", "suite", "outputs", "inputs", "code"}
    return manifest.data.keys() >= fields and manifest.code.keys() >= {"roots", "notebook", "hash"}
