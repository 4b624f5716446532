"""Tasks and suites: what is to be learnt, from which columns, judged by which metric.

A suite is a YAML file (or the word "planted" for the embedded one). Reading it reads and checks every row, so that bad
data is named before anything expensive starts, and yields one fingerprint of all content that run keys are made of.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlearn import seeding
from auxlearn.data import suite_files, task_names
from auxlearn.data.reading import stored_rows, task_rows, twins
from auxlearn.data.reading.split_files import SPLITS
from auxlearn.data.schema import Kind, Source, TaskSpec
from auxlearn.errors import InputError, meant

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


@dataclass(frozen=True, eq=False)
class Task:
    """One task with its rows.

    A row is a dict of `row_id` (position in the source file), the inputs and the label; where the splits were redrawn
    (`resplit`), also of `origin`, the split whose file `row_id` counts in. Labels are ids in the order of `labels`
    (classification), floats within `range` (regression) or lists of ids, one per token (tagging); None where a test row
    is unlabelled.

    Attributes:
        dev_carved: Whether dev is a part of the train file.
        truth: Whether the source says which rows were made to help the primary: in the column `helpful`, bool.
        dropped: Rows without a label that were left out (`drop_unlabelled`), by split.
        twin_of: The task that this one is a twin of: its rows are further training rows of that task's (`twins`).
        shuffled: Whether a twin's labels are permuted among its rows.
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
    truth: bool = False
    dropped: dict[str, int] = field(default_factory=dict)
    twin_of: str | None = None
    shuffled: bool = False

    @classmethod
    def of(cls, name: str, spec: TaskSpec, rows: Mapping[str, Dataset], values: Mapping[str, Any]) -> Task:
        """Make a task of its fields in the suite, and its rows and what is known of them (see `task_rows.obtain`)."""
        metrics = tuple(dict.fromkeys([spec.metric, *spec.metrics]))
        return cls(
            name, spec.kind, tuple(spec.inputs), spec.label, tuple(spec.labels) if spec.labels else None, spec.range,
            spec.metric, metrics, rows["train"], rows["dev"], rows.get("test"), values["carved"], spec.source.planted,
            values["dropped"], spec.source.twin_of, spec.source.labels == "shuffled",
        )  # fmt: skip

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
        self.tokenizer: Any = None  # of its own words, once an encoder has counted them

    def __repr__(self) -> str:
        lines = [f"suite {self.name}: {len(self)} task{'s' * (len(self) > 1)}"]
        for name, task in self._tasks.items():
            answer = f"{task.range[0]:g} to {task.range[1]:g}" if task.range else ", ".join(task.labels or ())
            answer = answer if len(answer) <= 80 else f"{len(task.labels or ())} labels"
            rows = f"{len(task.train):,} train, {len(task.dev):,} dev, {len(task.test or ()):,} test"
            lines.append(f"  {name}: {task.kind} of {' + '.join(task.inputs)} by {task.metric}; {answer}; {rows}")
        return "\n".join(lines)

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
            return _planted()
        spec, root = suite_files.read_suite(Path(os.path.expanduser(path)))
        tasks, content = {}, []
        for name, task in spec.tasks.items():
            entry = twins.obtained(name, spec, root)
            tasks[name] = Task.of(name, task, entry.tables, entry.values)
            content.append([name, task.content(), entry.values["digest"]])
        return Suite(spec.name, tasks, _fingerprint(json.dumps(content, sort_keys=True)))

    @classmethod
    def from_datasets(
        cls, tasks: Mapping[str, DatasetDict | Mapping[str, Dataset] | Dataset], primary: str | None = None,
        **given: Mapping[str, Any],
    ) -> Suite:  # fmt: skip
        """Make a suite of `datasets` that are in memory, checked as rows of files are.

        Kind, columns and labels come from the features: a ClassLabel is the label of a classification, a list of them
        of tagging, a float that of a regression; columns of text are the inputs. A task without a dev split (dev,
        validation and so on) has a tenth of train carved; test rows may be unlabelled.

        Args:
            tasks: A `DatasetDict` per task, in order; a `Dataset` alone is train.
            primary: The task that is to be helped, which must be one of them.
            **given: Per task what its features do not say, in the words of a suite YAML: kind, inputs, label, labels,
                range (of a regression), metric, and so on.

        Returns:
            The suite; its fingerprint is that of the same rows from the hub.

        Raises:
            InputError: A task, feature or row is wrong; it names the task, and the split and row.

        Example:
            Suite.from_datasets({"rte": rte, "stsb": stsb}, primary="rte", stsb={"range": [0, 5]})
        """
        from auxlearn.data.reading import given_datasets

        if not isinstance(tasks, Mapping) or not tasks:
            raise InputError("from_datasets: give the data sets by task, such as {'rte': rte, 'mnli': mnli}")
        for name in (*given, *([primary] if primary is not None else [])):
            if name not in tasks:
                raise InputError(f"from_datasets: no task {name!r}{meant(name, tasks)}; there are {', '.join(tasks)}")
        made, content = {}, []
        for name, source in tasks.items():
            task_names.check_name(name)
            splits = given_datasets.splits(name, source)
            spec = given_datasets.spec(name, splits["train"], given.get(name, {}))
            entry = given_datasets.obtained(name, spec, splits)
            made[name] = Task.of(name, spec, entry.tables, entry.values)
            content.append([name, spec.content(), entry.values["digest"]])
        return Suite("datasets", made, _fingerprint(json.dumps(content, sort_keys=True)))


def load(suite: str, limit: int = 0) -> Suite:
    """Load the suite that a notebook's `suite` and `rows` parameters name.

    Args:
        suite: Path of the YAML, relative to the project's root unless absolute, or "planted".
        limit: Training rows per task; 0 keeps all.

    Raises:
        InputError: If the YAML or any row is wrong, or `limit` is negative.
    """
    return Suite.from_yaml(suite if suite == "planted" else suite_files.located(suite)).capped(limit)


# --- reading -----------------------------------------------------------------------------------------------------


def _fingerprint(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _planted() -> Suite:
    """Open the planted suite, or make it."""
    from auxlearn.data import planted

    specs = {
        name: TaskSpec(kind=kind, inputs=list(inputs), label="tags" if kind == "tagging" else "label",
                       labels=list(labels or ()) or None, range=limits, metric=metric, source=Source(planted=True))
        for name, (_, kind, inputs, labels, limits, metric) in planted.PLAN.items()
    }  # fmt: skip

    def made() -> task_rows.TypedRows:
        tables: dict[str, Any] = {}
        content = []
        for name, task in planted.make().items():
            raw = {split: getattr(task, split) for split in SPLITS}
            content.append([name, specs[name].content(), raw])
            splits, _ = task_rows.typed_rows(name, specs[name], {s: task_rows.in_columns(raw[s]) for s in SPLITS})
            tables |= {f"{name}-{split}": table for split, table in splits.items()}
        return tables, {"fingerprint": _fingerprint(json.dumps(content, sort_keys=True))}

    entry = stored_rows.obtain("planted", made)
    tasks = {}
    for name, spec in specs.items():
        rows = {split: entry.tables[f"{name}-{split}"] for split in SPLITS}
        tasks[name] = Task.of(name, spec, rows, {"carved": False, "dropped": {}})
    return Suite("planted", tasks, entry.values["fingerprint"])
