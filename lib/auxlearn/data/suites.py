"""Tasks and suites: what is to be learnt, from which columns, judged by which metric.

A suite is a YAML file (or the word "planted" for the embedded one). Reading it reads and checks every row, so that bad
data is named before anything expensive starts, and yields one fingerprint of all content that run keys are made of.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlearn import seeding
from auxlearn.data import readers, schema, validation
from auxlearn.data.schema import Kind, Source, TaskSpec
from auxlearn.errors import InputError, meant
from auxlearn.files import bounded_files

if TYPE_CHECKING:
    from datasets import Dataset

Splits = dict[str, list[dict[str, Any]]]  # by split
DEV_FRACTION = 0.1  # of train, when a task has no dev split


@dataclass(frozen=True, eq=False)
class Task:
    """One task with its rows.

    A row is a dict of `row_id` (position in the source file), the inputs and the label; where the splits were redrawn
    (`resplit`), also of `origin`, the split whose file `row_id` counts in. Labels are ids in the order of `labels`
    (classification), floats within `range` (regression) or lists of ids, one per token (tagging); None where a test row
    is unlabelled.
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
        """Outputs of the task's head: one per label, or 1 for regression."""
        return len(self.labels) if self.labels else 1

    @property
    def is_pair(self) -> bool:
        """Whether a row has two texts."""
        return len(self.inputs) == 2


class Suite(Mapping[str, Task]):
    """Tasks by name, in the order of the YAML, which is also the order of the discriminator's columns.

    Args:
        name: Name of the suite.
        tasks: The tasks, in order.
        fingerprint: 16 hex digits of all content, of which run keys are made.
    """

    def __init__(self, name: str, tasks: Mapping[str, Task], fingerprint: str):
        self.name, self._tasks, self.fingerprint = name, dict(tasks), fingerprint
        self.vocabulary: dict[str, int] | None = None  # of its words, once an encoder has counted them

    def __getitem__(self, name: str) -> Task:
        if name not in self._tasks:
            near = meant(name, self._tasks)
            raise InputError(f"task {name!r} is not in suite {self.name!r}{near}; it has {', '.join(self._tasks)}")
        return self._tasks[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tasks)

    def __len__(self) -> int:
        return len(self._tasks)

    def __contains__(self, name: object) -> bool:
        return name in self._tasks

    @property
    def names(self) -> list[str]:
        """The tasks' names, in order."""
        return list(self._tasks)

    def index(self, name: str) -> int:
        """Return the discriminator column of a task.

        Raises:
            InputError: If the suite has no such task.
        """
        return self.names.index(self[name].name)

    def auxiliaries(self, primary: str, only: list[str] | None = None) -> list[str]:
        """List the tasks that may help `primary`, in the suite's order.

        Args:
            primary: The task to help.
            only: The auxiliaries to use; None or an empty list stands for all other tasks.

        Raises:
            InputError: If a name is not in the suite or stands twice, or is the primary's.
        """
        self[primary]
        names = [self[name].name for name in only] if only else [n for n in self.names if n != primary]
        if len(set(names)) < len(names):
            raise InputError(f"auxiliaries: {only} names a task twice; its rows would be drawn twice")
        if primary in names:
            raise InputError(f"auxiliaries: {primary!r} is the primary and cannot be its own auxiliary")
        return [name for name in self.names if name in names]

    def capped(self, limit: int, seed: int = 0) -> Suite:
        """Cap the training rows of every task; dev and test stay whole.

        Args:
            limit: Training rows per task; 0 keeps all.
            seed: Seed of the draw.

        Returns:
            A suite of its own fingerprint, or this one for 0.

        Raises:
            InputError: If `limit` is negative.
        """
        if limit < 0:
            raise InputError(f"rows: {limit} is negative; 0 keeps all rows")
        if limit == 0:
            return self
        tasks = {}
        for name, task in self._tasks.items():
            size = len(task.train)
            if size > limit:
                rows = sorted(seeding.rng(seed, "cap", name).choice(size, limit, replace=False).tolist())
                task = replace(task, train=task.train.select(rows))
            tasks[name] = task
        return Suite(self.name, tasks, _fingerprint(f"{self.fingerprint}/{limit}/{seed}"))

    @classmethod
    def from_yaml(cls, path: str | Path) -> Suite:
        """Read and check a suite YAML and all its rows.

        Args:
            path: The file; "planted" is the embedded suite.

        Raises:
            InputError: If the YAML or any row is wrong; it names file, task and row.
        """
        if str(path) == "planted":
            return _suite("planted", _planted_parts())
        spec, root = schema.read_suite(Path(path))
        return _suite(spec.name, ((name, task, *_rows(name, task, root)) for name, task in spec.tasks.items()))


def load(suite: str, limit: int = 0) -> Suite:
    """Load the suite that a notebook's `suite` and `rows` parameters name.

    Args:
        suite: Path of the YAML, relative to the project's root unless absolute, or "planted".
        limit: Training rows per task; 0 keeps all.

    Raises:
        InputError: If the YAML or any row is wrong, or `limit` is negative.
    """
    from auxlearn.paths import PROJECT

    path = Path(suite)
    loaded = Suite.from_yaml(suite if suite == "planted" or path.is_absolute() else PROJECT / path)
    return loaded.capped(limit)


# --- reading -----------------------------------------------------------------------------------------------------


def _rows(name: str, task: TaskSpec, root: Path) -> tuple[Splits, str]:
    """Read a task's raw rows by split, and a digest of their content that no path enters."""
    source = task.source
    if source.planted:
        from auxlearn.data import planted

        tasks = planted.make()
        if name not in tasks:
            raise InputError(f"task {name!r}: the planted suite has no such task; it has {', '.join(tasks)}")
        rows = {split: getattr(tasks[name], split) for split in readers.SPLITS}
    elif source.hub:
        local = bounded_files.inside(root, source.hub, f"task {name!r}: hub")
        rows = readers.read_hub(str(local) if local.is_dir() else source.hub, source.config, source.revision)
    elif source.glue_data:
        rows = readers.read_glue(bounded_files.inside(root, source.glue_data, f"task {name!r}: glue_data"))
    else:
        if source.folder is not None:
            files = readers.folder_files(bounded_files.inside(root, source.folder, f"task {name!r}: folder"))
        else:
            files = {
                split: bounded_files.inside(root, file, f"task {name!r}: files.{split}")
                for split, file in (source.files or {}).items()
            }
        rows = {split: readers.read_file(file, source.columns) for split, file in files.items()}
        digests = {split: hashlib.sha256(file.read_bytes()).hexdigest() for split, file in files.items()}
        return rows, json.dumps([digests, source.columns], sort_keys=True)
    text = json.dumps(rows, sort_keys=True, default=str)
    return rows, hashlib.sha256(text.encode()).hexdigest()


def _build(name: str, spec: TaskSpec, raw: Splits) -> Task:
    """Make a Task of raw rows: labels to ids, columns checked, dev carved from train where it is missing."""
    from datasets import Dataset

    clean = {split: validation.clean(name, split, spec, part) for split, part in raw.items() if part or split != "test"}
    for split in ("train", "dev"):
        if split in clean and not clean[split]:
            raise InputError(f"task {name!r}: {split} is empty")
    carved = "dev" not in clean
    if carved:
        train = clean["train"]
        if len(train) < 20:
            raise InputError(f"task {name!r}: no dev split, and {len(train)} training rows are too few to carve one")
        clean["dev"], clean["train"] = _divided(train, max(1, round(DEV_FRACTION * len(train))), 0, "carve-dev", name)
    if spec.resplit:
        clean = _resplit(name, spec, clean)
    datasets = {split: Dataset.from_list(part) for split, part in clean.items()}
    metrics = tuple(dict.fromkeys([spec.metric, *spec.metrics]))
    return Task(
        name, spec.kind, tuple(spec.inputs), spec.label, tuple(spec.labels) if spec.labels else None, spec.range,
        spec.metric, metrics, datasets["train"], datasets["dev"], datasets.get("test"), carved,
    )  # fmt: skip


def _resplit(name: str, spec: TaskSpec, clean: Splits) -> Splits:
    """Redraw the splits as `schema.Resplit` says: a cut train split, and every other labelled row as dev."""
    resplit = spec.resplit
    assert resplit is not None  # the caller has looked
    size, total = resplit.train, len(clean["train"])
    if size >= total:
        raise InputError(f"task {name!r}: resplit keeps {size} of {total} training rows; none would be left for dev")
    if resplit.rest == "leave":
        return clean | {"train": _divided(clean["train"], size, resplit.seed, "resplit", name)[0]}
    marked = {split: [row | {"origin": split} for row in part] for split, part in clean.items()}
    train, rest = _divided(marked["train"], size, resplit.seed, "resplit", name)
    labelled = [row for row in marked.get("test", []) if row[spec.label] is not None]
    return {"train": train, "dev": [*rest, *marked["dev"], *labelled]}


def _divided(rows: list[dict[str, Any]], size: int, seed: int, *purpose: str) -> tuple[list[Any], list[Any]]:
    """Draw `size` rows: these, and the others, both in order."""
    order = seeding.rng(seed, *purpose).permutation(len(rows))
    return [rows[i] for i in sorted(order[:size])], [rows[i] for i in sorted(order[size:])]


def _suite(name: str, parts: Iterable[tuple[str, TaskSpec, Splits, Any]]) -> Suite:
    """Make a suite of each task's name, spec, raw rows and what the fingerprint takes for these."""
    tasks, content = {}, []
    for task, spec, raw, digest in parts:
        tasks[task] = _build(task, spec, raw)
        content.append([task, spec.model_dump(exclude={"source"}), digest])
    return Suite(name, tasks, _fingerprint(json.dumps(content, sort_keys=True)))


def _fingerprint(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _planted_parts() -> Iterator[tuple[str, TaskSpec, Splits, Splits]]:
    from auxlearn.data import planted

    for name, task in planted.make().items():
        spec = TaskSpec(
            kind=task.kind, inputs=list(task.inputs), label=task.label, labels=list(task.labels or ()) or None,
            range=task.range, metric=task.metric, source=Source(planted=True),
        )  # fmt: skip
        raw = {split: getattr(task, split) for split in readers.SPLITS}
        yield name, spec, raw, raw
