"""What a suite YAML may say, read safely and strictly."""

from __future__ import annotations

import difflib
import math
import os
import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from auxlearn.data import tag_schemes
from auxlearn.errors import InputError, explain, meant
from auxlearn.files import bounded_files as files
from auxlearn.files import documents
from auxlearn.paths import PROJECT, short

Kind = Literal["classification", "regression", "tagging"]
RESERVED = ("row_id", "origin")  # columns that reading a row adds
WORDS = ("labels", "inputs", "label")  # fields of words, whatever YAML takes these for
SHIPPED = PROJECT / "params" / "suites"
EXTENDED = 8  # suites that one may extend, one after the other
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


NOT_NAMES = ("seed", "task", "row")  # of tasks: columns of tables that have a column per task beside them
# Of tasks: a model has a head per task by its name, and PyTorch keeps these for itself (one is from transformers).
MODULE_NAMES = frozenset({
    "T_destination", "add_module", "apply", "bfloat16", "buffers", "call_super_init", "children", "clear",
    "compile", "cpu", "cuda", "double", "dump_patches", "eval", "extra_repr", "float", "forward", "get_buffer",
    "get_extra_state", "get_parameter", "get_submodule", "half", "ipu", "items", "keys", "load_state_dict",
    "modules", "mtia", "named_buffers", "named_children", "named_modules", "named_parameters", "parameters",
    "pop", "register_backward_hook", "register_buffer", "register_forward_hook", "register_forward_pre_hook",
    "register_full_backward_hook", "register_full_backward_pre_hook", "register_load_state_dict_post_hook",
    "register_load_state_dict_pre_hook", "register_module", "register_parameter", "register_state_dict_post_hook",
    "register_state_dict_pre_hook", "requires_grad_", "set_extra_state", "set_submodule", "share_memory", "smart_apply",
    "state_dict", "to", "to_empty", "train", "training", "type", "update", "values", "xpu", "zero_grad",
})  # fmt: skip
FIELDS = [name for name in TaskSpec.model_fields if name != "source"]  # that rows which are handed over may have
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


def check_name(name: object, where: str = "") -> None:
    """Refuse a name that no task can have.

    Raises:
        InputError: It is one; the message begins with `where`.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise InputError(f"{where}task name {name!r} may hold letters, digits, _ and - only")
    if name in NOT_NAMES:
        raise InputError(
            f"{where}a task is called {name!r}, as a column of tables that have one per task is; give it another name, "
            f"such as {name}_1"
        )
    if taken(name):
        raise InputError(
            f"{where}a task is called {name!r}, which a PyTorch module keeps for itself, so that no model could have a "
            f"head of that name; give it another name, such as {name.strip('_') or 'task'}_1"
        )


def taken(name: str) -> bool:
    """Tell whether a name is one that a module of PyTorch may have for itself."""
    return name in MODULE_NAMES or name.startswith("_")


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
        check_name(name, f"{path}: ")
    expanded = os.path.expanduser(os.path.expandvars(spec.root))
    if "$" in expanded:
        raise InputError(f"{path}: root {spec.root!r} names an environment variable that is not set")
    return spec, Path(os.path.realpath(path.parent / expanded))
