"""Tasks and suites: what is to be learnt, from which columns, judged by which metric.

A suite is a YAML file (or the word "planted" for the embedded one). Reading it reads and checks every row, so that bad
data is named before anything expensive starts, and yields one fingerprint of all content that run keys are made of.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from . import readers, seeds
from .errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset

Kind = Literal["classification", "regression", "tagging"]
METRICS = ("accuracy", "f1", "macro_f1", "matthews", "pearson", "spearman", "entity_f1")
DEV_FRACTION = 0.1  # of train, when a task has no dev split


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Source(_Strict):
    """Where rows come from: one of `folder`, `files`, `hub` (with `config`, `revision`), or the word planted."""

    folder: str | None = None
    files: dict[Literal["train", "dev", "test"], str] | None = None
    hub: str | None = None
    config: str | None = None
    revision: str | None = None
    planted: bool = False

    @model_validator(mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        return {"planted": True} if value == "planted" else value

    @model_validator(mode="after")
    def _one(self) -> Source:
        if sum(map(bool, (self.folder, self.files, self.hub, self.planted))) != 1:
            raise ValueError("give exactly one of folder, files, hub, planted")
        if self.files is not None and "train" not in self.files:
            raise ValueError("files needs at least train")
        return self


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

    @model_validator(mode="after")
    def _fits(self) -> TaskSpec:
        if self.kind == "regression":
            if self.range is None or not self.range[0] < self.range[1]:
                raise ValueError("a regression task needs range: [low, high]")
            if self.labels:
                raise ValueError("a regression task has a range, no labels")
        elif not self.labels or len(self.labels) < 2 or len(set(self.labels)) != len(self.labels):
            raise ValueError(f"a {self.kind} task needs two or more distinct labels, in id order")
        if self.kind == "tagging" and len(self.inputs) != 1:
            raise ValueError("a tagging task has one input column, the tokens")
        return self


class SuiteSpec(_Strict):
    """A suite YAML: a name, a root for relative paths, tasks by name."""

    name: str
    root: str = "."
    tasks: dict[str, TaskSpec] = Field(min_length=1)


@dataclass(frozen=True, eq=False)
class Task:
    """One task with its rows. Row dicts hold `row_id` (position in the source file), the inputs and the label.

    Labels are ids in the order of `labels` (classification), floats within `range` (regression) or lists of ids, one a
    token (tagging); None where a test row is unlabelled.
    """

    name: str
    kind: Kind
    inputs: tuple[str, ...]
    label: str
    labels: tuple[str, ...] | None
    range: tuple[float, float] | None
    metric: str
    metrics: tuple[str, ...]
    train: Dataset
    dev: Dataset
    test: Dataset | None
    dev_carved: bool = False

    @property
    def n_outputs(self) -> int:
        return len(self.labels) if self.labels else 1

    @property
    def is_pair(self) -> bool:
        return len(self.inputs) == 2


class Suite(Mapping[str, Task]):
    """Tasks by name, in the order of the YAML, which is also the order of the discriminator's columns."""

    def __init__(self, name: str, tasks: Mapping[str, Task], fingerprint: str):
        self.name, self._tasks, self.fingerprint = name, dict(tasks), fingerprint

    def __getitem__(self, name: str) -> Task:
        if name not in self._tasks:
            raise InputError(f"task {name!r} is not in suite {self.name!r}; it has {', '.join(self._tasks)}")
        return self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    @property
    def names(self) -> list[str]:
        return list(self._tasks)

    def index(self, name: str) -> int:
        """The discriminator column of a task."""
        return self.names.index(self[name].name)

    def auxiliaries(self, primary: str, only: list[str] | None = None) -> list[str]:
        """The tasks that may help `primary`: all others, or those of `only`, each checked to exist."""
        self[primary]
        chosen = [self[name].name for name in only] if only else [n for n in self.names if n != primary]
        if primary in chosen:
            raise InputError(f"auxiliaries: {primary!r} is the primary and cannot be its own auxiliary")
        return chosen

    def capped(self, rows: int, seed: int = 0) -> Suite:
        """The suite with at most `rows` training rows a task, drawn by seed (0 = all); dev and test stay whole."""
        if rows < 0:
            raise InputError(f"rows: {rows} is negative; 0 keeps all rows")
        if rows == 0:
            return self
        tasks = {}
        for name, task in self._tasks.items():
            size = len(task.train)
            if size > rows:
                kept = sorted(seeds.rng(seed, "cap", name).choice(size, rows, replace=False).tolist())
                task = replace(task, train=task.train.select(kept))
            tasks[name] = task
        mark = hashlib.sha256(f"{self.fingerprint}/{rows}/{seed}".encode()).hexdigest()[:16]
        return Suite(self.name, tasks, mark)

    @classmethod
    def from_yaml(cls, path: str | Path) -> Suite:
        """Read and check a suite YAML ("planted" = the embedded one) and all its rows."""
        if str(path) == "planted":
            return _planted_suite()
        spec, root = _read_spec(Path(path))
        tasks, content = {}, []
        for name, task in spec.tasks.items():
            rows, digest = _rows(name, task, root)
            tasks[name] = _build(name, task, rows)
            content.append([name, task.model_dump(exclude={"source"}), digest])
        mark = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
        return cls(spec.name, tasks, mark)


def load(suite: str, rows: int = 0) -> Suite:
    """The suite that a notebook's `suite` and `rows` parameters name; paths are relative to the project's root."""
    from .paths import PROJECT

    path = Path(suite)
    found = Suite.from_yaml(suite if suite == "planted" or path.is_absolute() else PROJECT / path)
    return found.capped(rows)


# --- reading -----------------------------------------------------------------------------------------------------


class _UniqueKeys(yaml.SafeLoader):
    """Safe YAML that refuses a key given twice, which plain YAML silently overwrites."""


def _unique_mapping(loader: _UniqueKeys, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
    keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode) and key.value != "<<"]
    for key in keys:
        if keys.count(key) > 1:
            raise InputError(f"line {node.start_mark.line + 1}: {key!r} is given twice; names must be unique")
    loader.flatten_mapping(node)
    return yaml.SafeLoader.construct_mapping(loader, node, deep)


_UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _unique_mapping)


def read_yaml(path: Path) -> Any:
    """Safe YAML from a file; a syntax error or a key given twice is an InputError naming the line."""
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        return yaml.load(path.read_text(encoding="utf-8"), Loader=_UniqueKeys)
    except InputError as error:
        raise InputError(f"{path}, {error}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not valid YAML: {' '.join(str(error).split())}") from None


def explain(error: ValidationError) -> str:
    """A pydantic error as one line a field: where, what was given, what is wrong."""
    problems = error.errors()
    text = "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']} (given: {str(e.get('input'))[:80]!r})" for e in problems
    )
    given = [e.get("input") for e in problems]
    if any(isinstance(v, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE]-?\d+", v) for v in given):
        text += "; in YAML write 1.0e-3 with a dot, since 1e-3 is read as text"
    if any(isinstance(v, bool) for v in given):
        text += "; in YAML write words like no, yes, on, off in quotes"
    return text


def _read_spec(path: Path) -> tuple[SuiteSpec, Path]:
    raw = read_yaml(path)
    try:
        spec = SuiteSpec.model_validate(raw)
    except ValidationError as error:
        raise InputError(f"{path}: {explain(error)}") from None
    for name in spec.tasks:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise InputError(f"{path}: task name {name!r} may hold letters, digits, _ and - only")
    expanded = os.path.expandvars(spec.root)
    if "$" in expanded:
        raise InputError(f"{path}: root {spec.root!r} names an environment variable that is not set")
    return spec, (path.parent / expanded).resolve()


def _rows(name: str, task: TaskSpec, root: Path) -> tuple[dict[str, list[dict[str, Any]]], str]:
    """A task's raw rows by split, and a digest of their content that no path enters."""
    source = task.source
    if source.planted:
        from . import planted

        made = planted.make()
        if name not in made:
            raise InputError(f"task {name!r}: the planted suite has no such task; it has {', '.join(made)}")
        rows = {split: getattr(made[name], split) for split in readers.SPLITS}
    elif source.hub:
        local = root / source.hub
        rows = readers.read_hub(str(local) if local.is_dir() else source.hub, source.config, source.revision)
    else:
        if source.folder is not None:
            files = readers.folder_files(root / source.folder)
        else:
            files = {split: root / file for split, file in (source.files or {}).items()}
        rows = {split: readers.read_file(file) for split, file in files.items()}
        digests = {split: hashlib.sha256(file.read_bytes()).hexdigest() for split, file in files.items()}
        return rows, json.dumps(digests, sort_keys=True)
    text = json.dumps(rows, sort_keys=True, default=str)
    return rows, hashlib.sha256(text.encode()).hexdigest()


def _build(name: str, spec: TaskSpec, rows: dict[str, list[dict[str, Any]]]) -> Task:
    """A Task from raw rows: labels to ids, columns checked, dev carved from train where it is missing."""
    from datasets import Dataset

    clean = {split: _clean(name, split, spec, part) for split, part in rows.items() if part or split != "test"}
    for split in ("train", "dev"):
        if split in clean and not clean[split]:
            raise InputError(f"task {name!r}: {split} is empty")
    carved = "dev" not in clean
    if carved:
        train = clean["train"]
        if len(train) < 20:
            raise InputError(f"task {name!r}: no dev split, and {len(train)} training rows are too few to carve one")
        order = seeds.rng(0, "carve-dev", name).permutation(len(train))
        cut = max(1, round(DEV_FRACTION * len(train)))
        clean["dev"] = [train[i] for i in sorted(order[:cut])]
        clean["train"] = [train[i] for i in sorted(order[cut:])]
    made = {split: Dataset.from_list(part) for split, part in clean.items()}
    metrics = tuple(dict.fromkeys([spec.metric, *spec.metrics]))
    return Task(
        name, spec.kind, tuple(spec.inputs), spec.label, tuple(spec.labels) if spec.labels else None, spec.range,
        spec.metric, metrics, made["train"], made["dev"], made.get("test"), carved,
    )  # fmt: skip


def _clean(name: str, split: str, spec: TaskSpec, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    ids = {label: i for i, label in enumerate(spec.labels or ())}
    out = []
    for number, row in enumerate(rows):
        where = f"task {name!r}, {split} row {number}"
        missing = [c for c in (*spec.inputs, spec.label) if c not in row]
        if missing and not (split == "test" and missing == [spec.label]):
            raise InputError(f"{where}: no column {missing[0]!r}; it has {', '.join(map(str, row))}")
        new: dict[str, Any] = {"row_id": number}
        for column in spec.inputs:
            value = row[column]
            if spec.kind == "tagging":
                if not isinstance(value, (list, tuple)) or not value or not all(isinstance(t, str) for t in value):
                    raise InputError(f"{where}: {column!r} must be a list of one or more strings")
                new[column] = list(value)
            elif not isinstance(value, str) or not value.strip():
                raise InputError(f"{where}: {column!r} must be text, not {value!r}")
            else:
                new[column] = value
        new[spec.label] = _label(where, split, spec, ids, row.get(spec.label), new)
        if "helpful" in row:  # the planted truth
            new["helpful"] = bool(row["helpful"])
        out.append(new)
    return out


def _label(where: str, split: str, spec: TaskSpec, ids: dict[str, int], value: Any, row: dict[str, Any]) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        if split == "test":
            return None
        raise InputError(f"{where}: the label is missing; only test rows may be unlabelled")
    if spec.kind == "tagging":
        if not isinstance(value, (list, tuple)) or len(value) != len(row[spec.inputs[0]]):
            raise InputError(f"{where}: {spec.label!r} must list one tag a token")
        return [_label_id(where, spec, ids, tag) for tag in value]
    if spec.kind == "classification":
        if split == "test" and value == -1:  # how GLUE marks unlabelled test rows on the hub
            return None
        return _label_id(where, spec, ids, value)
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{where}: the label {value!r} is not a number") from None
    low, high = spec.range or (0.0, 0.0)
    if split == "test" and number == -1.0 and low > -1:
        return None
    if not low <= number <= high:
        raise InputError(f"{where}: the label {number} is outside the range {low} to {high}")
    return number


def _label_id(where: str, spec: TaskSpec, ids: dict[str, int], value: Any) -> int:
    if isinstance(value, str) and value in ids:
        return ids[value]
    if isinstance(value, (int, float)) and not isinstance(value, bool) and value == int(value):
        if 0 <= int(value) < len(ids):
            return int(value)
    elif isinstance(value, str) and value.isdigit() and int(value) < len(ids):
        return int(value)
    raise InputError(f"{where}: unknown label {value!r}; labels are {', '.join(ids)} or ids 0 to {len(ids) - 1}")


def _planted_suite() -> Suite:
    from . import planted

    made = planted.make()
    tasks, content = {}, []
    for name, task in made.items():
        spec = TaskSpec(
            kind=task.kind, inputs=list(task.inputs), label=task.label, labels=list(task.labels or ()) or None,
            range=task.range, metric=task.metric, source=Source(planted=True),
        )  # fmt: skip
        rows = {split: getattr(task, split) for split in readers.SPLITS}
        tasks[name] = _build(name, spec, rows)
        content.append([name, spec.model_dump(exclude={"source"}), rows])
    mark = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return Suite("planted", tasks, mark)
