"""What a suite YAML may say of its tasks and where their rows are."""

from __future__ import annotations

import math
import os
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from auxlearn.data import tag_schemes
from auxlearn.errors import meant

Kind = Literal["classification", "regression", "tagging"]
RESERVED = ("row_id", "origin")  # columns that reading a row adds
_CLASSES: tuple[Kind, ...] = ("classification", "tagging")
# The kinds of task that each metric judges.
METRICS: dict[str, tuple[Kind, ...]] = {
    "accuracy": _CLASSES, "f1": _CLASSES, "macro_f1": _CLASSES, "matthews": _CLASSES,
    "pearson": ("regression",), "spearman": ("regression",), "entity_f1": ("tagging",),
}  # fmt: skip


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(_Strict):
    """Where rows come from: one of `folder`, `files`, `glue_data`, `hub` (`config`, `revision`), `twin_of` (`rows`,
    `labels`, `seed`), or the word planted.

    `files` gives one file per split, or a list of files that follow one another.
    `columns` are the token and the tag column of CoNLL files (default first and last, counted from 0).
    `twin_of` names a task of the suite whose `resplit` leaves training rows out: `rows` of these train the twin, with
    their labels `kept`, or `shuffled` among them by `seed`, which also draws the rows.
    """

    folder: str | None = None
    files: dict[Literal["train", "dev", "test"], str | Annotated[list[str], Field(min_length=1)]] | None = None
    columns: tuple[int, int] | None = None
    glue_data: str | None = None  # a folder of the classic download, such as RTE
    hub: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-][A-Za-z0-9_.-]*(/[A-Za-z0-9_-][A-Za-z0-9_.-]*)?$")] | None = None
    config: str | None = None
    revision: str | None = None
    planted: bool = False
    twin_of: str | None = None
    rows: Annotated[int, Field(ge=1)] | None = None
    labels: Literal["kept", "shuffled"] = "kept"
    seed: Annotated[int, Field(ge=0)] = 0

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return {"planted": True} if value == "planted" else value

    @model_validator(mode="after")
    def _one(self) -> Source:
        wanted = 0 if isinstance(self, InMemory) else 1
        if sum(map(bool, (self.folder, self.files, self.glue_data, self.hub, self.planted, self.twin_of))) != wanted:
            raise ValueError("give exactly one of folder, files, glue_data, hub, planted, twin_of")
        if self.twin_of and self.rows is None:
            raise ValueError("twin_of needs rows, the twin's training rows")
        if not self.twin_of and (of_twins := sorted({"rows", "labels", "seed"} & self.model_fields_set)):
            raise ValueError(f"{of_twins[0]} is of a twin; give twin_of, or leave it out")
        if self.files is not None and "train" not in self.files:
            raise ValueError("files needs at least train")
        given = {split: [named] if isinstance(named, str) else named for split, named in (self.files or {}).items()}
        paths = {split: [os.path.normpath(path) for path in named] for split, named in given.items()}
        for split, named in paths.items():
            others = paths["train"] if split != "train" else []
            twice = [path for i, path in enumerate(named) if path in (*others, *named[:i])]
            if twice:
                raise ValueError(f"files.{split}: {twice[0]!r} is read already, and its rows would count twice")
        return self


class InMemory(Source):
    """The source of rows that are handed over, which no YAML names."""


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
    metric: Literal[tuple(METRICS)]  # type: ignore[valid-type]
    metrics: list[Literal[tuple(METRICS)]] = []  # type: ignore[valid-type]
    source: Source
    resplit: Resplit | None = None
    label_values: Literal["names", "ids"] | None = None  # what the label column holds, where it may be either
    drop_unlabelled: bool = False  # leave rows of train and dev without a label out

    def content(self) -> dict[str, Any]:
        """Return what counts in a suite's fingerprint: all fields but the source; later fields only where given."""
        later = {"label_values", "drop_unlabelled"}
        return self.model_dump(exclude={"source", *(later - self.model_fields_set)})

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
        elif not all(name.strip() for name in self.labels):
            raise ValueError("a label is empty; write its name, or quote it")
        if self.kind == "tagging" and len(self.inputs) != 1:
            raise ValueError("a tagging task has one input column, the tokens")
        self._judged()
        if self.kind == "tagging" and "entity_f1" in (self.metric, *self.metrics):
            tag_schemes.scheme(tuple(self.labels or ()))  # refuses labels that mark no spans
        return self

    def _judged(self) -> None:
        """Refuse a metric that does not judge such a task."""
        fits = {name: self.kind in kinds for name, kinds in METRICS.items()}
        fits["f1"] &= len(self.labels or ()) == 2  # of the second label, as GLUE's
        for name in (self.metric, *self.metrics):
            if not fits[name]:
                what = f"{len(self.labels)} labels" if self.labels else "a range"
                good = ", ".join(metric for metric, fit in fits.items() if fit)
                raise ValueError(f"{name} does not judge a {self.kind} task with {what}; {good} do")


class SuiteSpec(_Strict):
    """A suite YAML: a name, a root for relative paths, tasks by name.

    `extends: OTHER.yaml` (a path from here, or the name of a suite of params/suites) starts from another suite's root
    and tasks; what is given here replaces or adds to each task's fields.
    """

    name: str
    root: str = "."
    tasks: dict[str, TaskSpec] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _twins(cls, value: Any) -> Any:
        """Give each twin the fields of the task that it is a twin of."""
        tasks = value.get("tasks") if isinstance(value, dict) else None
        if not isinstance(tasks, dict):
            return value
        return value | {"tasks": {name: _filled(name, fields, tasks) for name, fields in tasks.items()}}


def _twin_of(fields: Any) -> Any:
    source = fields.get("source") if isinstance(fields, dict) else None
    return source.get("twin_of") if isinstance(source, dict) else None


def _filled(name: str, fields: Any, tasks: dict[str, Any]) -> Any:
    """Return the fields of a task, of a twin those of its original; `ValueError` if it cannot be one."""
    original = _twin_of(fields)
    if not isinstance(original, str):
        return fields
    where = f"tasks.{name}.source.twin_of"
    if original not in tasks:
        raise ValueError(f"{where}: there is no task {original!r}{meant(original, map(str, tasks))}")
    if original == name or _twin_of(tasks[original]):
        raise ValueError(f"{where}: {original} is a twin itself; name the task that it is a twin of")
    if own := sorted(map(str, fields.keys() - {"source"})):
        raise ValueError(f"tasks.{name}: a twin has all fields of {original}; give its source alone, not {own[0]}")
    given = tasks[original] if isinstance(tasks[original], dict) else {}
    resplit = given.get("resplit")
    if not isinstance(resplit, dict) or resplit.get("rest") != "leave":
        remedy = f"give {original} resplit: {{train: N, rest: leave}}, and its other training rows are its twins'"
        raise ValueError(f"{where}: {original} keeps all of its rows; {remedy}")
    return {field: of for field, of in given.items() if field not in ("source", "resplit")} | fields


FIELDS = [name for name in TaskSpec.model_fields if name != "source"]  # that rows which are handed over may have
ENTRIES = ["extends"] + [name for model in (SuiteSpec, TaskSpec, Source, Resplit) for name in model.model_fields]
