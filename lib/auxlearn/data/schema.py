"""What a suite YAML may say, read safely and strictly."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from auxlearn.data import tag_schemes
from auxlearn.errors import InputError, explain
from auxlearn.files import bounded_files as files
from auxlearn.files import documents

Kind = Literal["classification", "regression", "tagging"]
RESERVED = ("row_id", "origin", "helpful")  # columns that reading a row adds
EXTENDED = 8  # suites that one may extend, one after the other
METRICS = ("accuracy", "f1", "macro_f1", "matthews", "pearson", "spearman", "entity_f1")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(_Strict):
    """Where rows come from: one of `folder`, `files`, `glue_data`, `hub` (`config`, `revision`), or the word planted.

    `columns` are the token and the tag column of CoNLL files (default first and last, counted from 0).
    """

    folder: str | None = None
    files: dict[Literal["train", "dev", "test"], str] | None = None
    columns: tuple[int, int] | None = None
    glue_data: str | None = None  # a folder of the classic download, such as RTE
    hub: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)?$")] | None = None
    config: str | None = None
    revision: str | None = None
    planted: bool = False

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return {"planted": True} if value == "planted" else value

    @model_validator(mode="after")
    def _one(self) -> Source:
        if sum(map(bool, (self.folder, self.files, self.glue_data, self.hub, self.planted))) != 1:
            raise ValueError("give exactly one of folder, files, glue_data, hub, planted")
        if self.files is not None and "train" not in self.files:
            raise ValueError("files needs at least train")
        return self


class Resplit(_Strict):
    """How to redraw a task's splits: `train` rows drawn by `seed` stay to train on, all other labelled rows become dev.

    These are the rest of train, dev, and the labelled rows of test. The aim is power for a small task: a dev split of
    277 rows has a standard error of 3 points, in which any method drowns; and a cut train split is the small task that
    the question is about. `rest: leave` leaves the other training rows out, and dev and test as they are: a few-shot
    task on its official splits.
    """

    train: int = Field(ge=1)
    seed: int = Field(0, ge=0)
    rest: Literal["dev", "leave"] = "dev"


class TaskSpec(_Strict):
    """One task of a suite YAML."""

    kind: Kind
    inputs: list[str] = Field(min_length=1, max_length=2)
    label: str
    labels: list[str] | None = None
    range: tuple[float, float] | None = None
    metric: Literal[METRICS]  # type: ignore[valid-type]
    metrics: list[Literal[METRICS]] = []  # type: ignore[valid-type]
    source: Source
    resplit: Resplit | None = None

    @model_validator(mode="after")
    def _fits(self) -> TaskSpec:
        columns = [*self.inputs, self.label]
        if len(set(columns)) != len(columns):
            raise ValueError("inputs and label must be different columns")
        if reserved := sorted(set(columns) & set(RESERVED)):
            raise ValueError(f"{reserved[0]!r} is a column that reading adds; rename yours")
        if self.kind == "regression":
            if self.range is None or not -math.inf < self.range[0] < self.range[1] < math.inf:
                raise ValueError("a regression task needs range: [low, high], two finite numbers")
            if self.labels:
                raise ValueError("a regression task has a range, no labels")
        elif not self.labels or len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"a {self.kind} task needs two or more distinct labels, in id order")
        if self.kind == "tagging" and len(self.inputs) != 1:
            raise ValueError("a tagging task has one input column, the tokens")
        if self.kind == "tagging" and "entity_f1" in (self.metric, *self.metrics):
            tag_schemes.scheme(tuple(self.labels or ()))  # refuses labels that mark no spans
        return self


class SuiteSpec(_Strict):
    """A suite YAML: a name, a root for relative paths, tasks by name.

    `extends: OTHER.yaml` (beside it) starts from another suite's root and tasks; what is given here replaces or adds to
    each task's fields.
    """

    name: str
    root: str = "."
    tasks: dict[str, TaskSpec] = Field(min_length=1)


ENTRIES = [name for model in (SuiteSpec, TaskSpec, Source, Resplit) for name in model.model_fields]


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
    raw = documents.read_yaml(path)
    if not isinstance(raw, dict) or "extends" not in raw:
        return raw
    if len(descendants) >= EXTENDED:
        raise InputError(f"{path}: extends a suite that extends another, and so on {EXTENDED} times; write it out")
    base = Path(os.path.realpath(files.inside(path.parent, str(raw.pop("extends")), f"{path}: extends")))
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
    return parent | raw | {"tasks": tasks}


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
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise InputError(f"{path}: task name {name!r} may hold letters, digits, _ and - only")
    expanded = os.path.expandvars(spec.root)
    if "$" in expanded:
        raise InputError(f"{path}: root {spec.root!r} names an environment variable that is not set")
    return spec, Path(os.path.realpath(path.parent / expanded))
