"""Tasks of `datasets` that are in memory: what their features say of kind, columns and labels, and their rows.

Rows go the way of those from the hub: validated by column, kept on disk, fingerprinted by content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from auxlearn.data import tag_schemes
from auxlearn.data.reading import class_names, faults, guessing, hub_sets, stored_rows, task_rows
from auxlearn.data.reading.stored_rows import Entry
from auxlearn.data.schema import FIELDS, InMemory, TaskSpec
from auxlearn.errors import InputError, explain, meant, shown

if TYPE_CHECKING:
    from datasets import Dataset

LABELS = ("label", "labels", "tags", "score")  # of a label column whose feature does not tell
LOOKED_AT = 10_000  # rows by which a column is told from a text
METRICS = {"classification": "accuracy", "regression": "pearson", "tagging": "accuracy"}


def splits(name: str, source: Any) -> dict[str, Dataset]:
    """Return the data sets of a task by the names that splits have here.

    Args:
        name: The task's name, for messages.
        source: A `DatasetDict`, or another mapping of split to `Dataset`; a `Dataset` is train.

    Raises:
        InputError: It is something else, has a transform, has no train split, or two that are the same.
    """
    from datasets import Dataset

    given = source if isinstance(source, Mapping) else {"train": source}
    for split, rows in given.items():
        if not isinstance(rows, Dataset):
            kind = type(rows).__name__
            remedy = "load it without streaming" if "Iterable" in kind else "make one, such as by Dataset.from_pandas"
            raise InputError(f"task {name!r}, {split}: a datasets.Dataset is needed, not {kind}; {remedy}")
        if rows.format["type"] == "custom":
            raise InputError(f"task {name!r}, {split}: it has a transform, which reading leaves out; apply it by .map")
    return hub_sets.chosen_splits(given, f"task {name!r}", "rename or leave out one of them")


def spec(name: str, rows: Dataset, given: Mapping[str, Any]) -> TaskSpec:
    """Describe a task as a suite's YAML would: what is given, and for the rest what the features of its rows say.

    Args:
        name: The task's name, for messages.
        rows: Its training rows.
        given: Fields of a task in a suite YAML, but for `source`.

    Raises:
        InputError: A field is wrong, or has to be given because the features do not tell.
    """
    if unknown := [field for field in given if field not in FIELDS]:
        near = meant(unknown[0], FIELDS)
        raise InputError(f"task {name!r}: there is no field {unknown[0]!r}{near}; a task has {', '.join(FIELDS)}")
    fields = dict(given)
    if "label" not in fields:
        fields["label"] = _label(name, rows)
    label = fields["label"]
    columns = [label, *_listed(fields.get("inputs"))]
    if missing := [column for column in columns if column not in rows.column_names]:
        has = ", ".join(rows.column_names)
        nested = "." in missing[0] and missing[0].split(".")[0] in rows.column_names
        remedy = "; flatten nested fields first, by .flatten()" if nested else meant(missing[0], rows.column_names)
        raise InputError(f"task {name!r}: it has {has}, and no column {missing[0]!r}{remedy}")
    names = class_names.of_feature(rows.features[label])
    if names is not None:
        fields.setdefault("labels", names)
    if "kind" not in fields:
        fields["kind"] = _kind(name, label, rows.features[label], fields)
    kind = fields["kind"]
    if "inputs" not in fields:
        fields["inputs"] = _inputs(name, label, kind, rows)
    fields.setdefault("metric", _metric(kind, fields.get("labels")))
    if kind == "regression" and "range" not in fields:
        raise InputError(f"task {name!r}: features tell no range of {label!r}; give range: [lowest, highest]")
    try:
        return TaskSpec.model_validate(fields | {"source": InMemory()})
    except ValidationError as error:
        raise InputError(f"task {name!r}: {explain(error, FIELDS)}") from None


def obtained(name: str, task: TaskSpec, given: dict[str, Dataset]) -> Entry:
    """Open the rows of a task, or check and keep them.

    Args:
        name: The task's name.
        task: The task's fields.
        given: Its data sets, as from `splits`.

    Returns:
        As from `task_rows.obtain`; the digest is that of the same rows from the hub, where its files
        number labels alike.

    Raises:
        InputError: A row is wrong; it names task, split and row.
    """
    plain = {split: rows.with_format(None) for split, rows in given.items()}
    source = hub_sets.HubSet(plain, f"task {name!r}")
    for split, rows in plain.items():
        if split != "test" and not len(rows):
            raise InputError(f"task {name!r}: {split} is empty")
    digest = source.digest(task)
    own = [name, task.model_dump(exclude={"source", "metric", "metrics"})]
    features = {split: json.dumps(rows.features.to_dict(), sort_keys=True) for split, rows in plain.items()}
    only = (*task.inputs, task.label)
    try:
        return stored_rows.obtain(
            ["datasets", own, features, digest], lambda: task_rows.typed_rows(name, task, source.rows(only), digest)
        )
    except faults.Faults as error:  # no file that `auxlearn check` could list the others of
        raise InputError("\n".join(faults.in_full(error))) from None


def _listed(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, (list, tuple)) else []


def _label(name: str, rows: Dataset) -> str:
    features = rows.features
    classes = [column for column, feature in features.items() if class_names.of_feature(feature) is not None]
    usual = [column for column in LABELS if column in features]
    both = [column for column in usual if column in classes] or classes or usual
    if len(both) == 1 or (both and not classes):
        return both[0]
    why = f"{' and '.join(both)} may be" if both else "none of its columns looks like"
    raise InputError(f"task {name!r}: {why} the label; give label: COLUMN ({', '.join(features)})")


def _kind(name: str, label: str, feature: Any, fields: Mapping[str, Any]) -> str:
    item = _item(feature)
    labelled = class_names.of_feature(feature) is not None or fields.get("labels")
    if item is not None and labelled:
        return "tagging"
    if labelled:
        return "classification"
    if item is None and str(getattr(feature, "dtype", "")).startswith("float"):
        return "regression"
    raise InputError(
        f"task {name!r}: the feature of {label!r} is {shown(feature)}, which names no labels; give labels: [FIRST, "
        "SECOND, …] in the order of their ids, or kind: regression and a range, or cast the column to ClassLabel"
    )


def _inputs(name: str, label: str, kind: Any, rows: Dataset) -> list[str]:
    def is_text(feature: Any) -> bool:
        return getattr(feature, "dtype", None) in ("string", "large_string")

    tagging = kind == "tagging"
    texts = [
        column for column, feature in rows.features.items()
        if column != label and (is_text(_item(feature)) if tagging else is_text(feature))
    ]  # fmt: skip
    if not tagging and len(texts) > 1:
        first = rows.with_format(None)[:LOOKED_AT]
        texts = [column for column in texts if not guessing.no_text(column, first[column], first[label])]
    if len(texts) == 1 or (len(texts) == 2 and not tagging):
        return texts
    what = "a column of lists of words" if tagging else "one or two columns of text"
    has = f"these may be it: {', '.join(texts)}" if texts else f"there is none among {', '.join(rows.column_names)}"
    raise InputError(f"task {name!r}: its inputs are {what}, and {has}; give inputs: [COLUMN, …]")


def _item(feature: Any) -> Any:
    """Return the feature of a list's items; None for what is no list."""
    return feature[0] if isinstance(feature, list) else getattr(feature, "feature", None)


def _metric(kind: Any, labels: Any) -> str:
    if kind == "tagging" and all(isinstance(each, str) for each in labels or ()):
        try:
            tag_schemes.scheme(tuple(labels or ()))
        except InputError:  # labels that mark no spans
            return METRICS[kind]
        return "entity_f1"
    return METRICS.get(str(kind), "accuracy")
