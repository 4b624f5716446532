"""Data sets of the hub, and of folders in its layout: their splits, and what decides which label a row has."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlearn.data.reading import class_names, labels, raw_rows, readers
from auxlearn.data.reading.readers import Raw
from auxlearn.data.reading.split_files import SPLIT_OF, SPLITS, is_like_a_split
from auxlearn.errors import InputError

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

    from auxlearn.data.schema import TaskSpec


@dataclass(frozen=True)
class HubSet:
    """A hub data set that is loaded.

    Attributes:
        splits: Its data sets, by the names that splits have here.
        what: What it is called, for messages.
        own: By split and column the label names of the split's own files, where files of several splits number labels
            differently: `load_dataset` takes all ids for those of one of them.
    """

    splits: dict[str, Dataset]
    what: str
    own: dict[str, dict[str, list[str]]] = field(default_factory=dict)

    def rows(self, only: Iterable[str]) -> Raw:
        """Return the columns asked for; ids that the data set has names for are these names."""
        wanted = set(only)
        out = {}
        for split, rows in self.splits.items():
            # Without any column there would be no rows to count.
            keep = [name for name in rows.column_names if name in wanted] or rows.column_names[:1]
            table = rows.select_columns(keep).with_format("arrow")[:]
            names = {name: names for name, names in self._names(split).items() if name in keep}
            out[split] = class_names.in_place(
                raw_rows.of_table(table, rows.column_names), names, f"{self.what}, {split}"
            )
        return out

    def digest(self, task: TaskSpec) -> str:
        """Hash the rows, and the label names that they do not hold and that decide what a task reads."""
        content = readers.digest({split: _values(rows) for split, rows in self.splits.items()})
        if self.own:
            content = readers.digest({"rows": [{"digest": content}], "names": [self.own]})
        deciding = self.deciding(task)
        return readers.digest({"rows": [{"digest": content}], "deciding": [deciding]}) if deciding else content

    def deciding(self, task: TaskSpec) -> dict[str, dict[str, list[str] | None]]:
        """Return, by column and split, the names that make other labels or texts of ids than these are without names.

        Of the label column, names in the task's own order are none: most data sets have them, and fingerprints are
        older than this.
        """
        names = {split: self._names(split) for split in self.splits}
        out = {}
        for column in (*task.inputs, task.label):
            of = {split: names[split].get(column) for split, rows in self.splits.items() if column in rows.column_names}
            named = [split for split, own in of.items() if own is not None]
            known = all(column in self.own.get(split, {}) for split in named)  # or there are none
            if not known and not (column == task.label and _as_ids(task, of)):
                out[column] = of
        return out

    def _names(self, split: str) -> dict[str, list[str]]:
        """Return the label names of a split's columns."""
        features = self.splits[split].features
        names = {name: names for name in features if (names := class_names.of_feature(features[name])) is not None}
        return names | {name: names for name, names in self.own.get(split, {}).items() if name in features}

    def files(self) -> dict[str, list[Path]]:
        """Return the Arrow files that hold its splits."""
        return {split: [Path(each["filename"]) for each in rows.cache_files] for split, rows in self.splits.items()}


def read_hub(name: str, config: str | None, revision: str | None) -> HubSet:
    """Load a hub data set, or a local folder in the hub's layout, by `datasets.load_dataset`.

    Args:
        name: The data set, as owner/name, or a folder's path.
        config: Its configuration, if it has several.
        revision: Its commit, branch or tag; the newest if None.

    Returns:
        The data set; the hub's validation split is dev here.

    Raises:
        InputError: If the data set cannot be loaded or has no train split, or the name is a file format's.
    """
    import datasets

    # `load_dataset("csv")` is no data set of that name, but whatever lies in the folder one happens to be in.
    if name in datasets.packaged_modules._PACKAGED_DATASETS_MODULES:
        raise InputError(f"hub: {name!r} is a file format, no data set; name one as owner/name, or use `files`")
    what = f"hub data set {name!r} (config {config!r}, revision {revision!r})"
    try:
        builder = datasets.load_dataset_builder(name, config, revision=revision)
        splits = _loaded(builder, name, config, revision)
        names = _names_by_split(builder)
    except Exception as error:
        remedy = "Is the hub reachable? Otherwise download it once and use `source: {folder: …}`"
        if Path(name).is_dir():
            remedy = "Use `source: {folder: …}`, or name its files under `files`"
        raise InputError(f"{what} cannot be loaded: {error.__cause__ or error}. {remedy}") from None
    chosen = chosen_splits(splits, f"hub data set {name!r}", "download it and use `files`")
    own = {split: found for split, rows in chosen.items() if (found := names.get(str(rows.split)))}
    mixed = [split for split, each in own.items() if len({json.dumps(one, sort_keys=True) for one in each}) > 1]
    if mixed:
        raise InputError(f"{what}: the files of {mixed[0]} number their labels differently; list them under `files`")
    first = {split: each[0] for split, each in own.items()}
    same = len({json.dumps(one, sort_keys=True) for one in first.values()}) < 2
    return HubSet(chosen, what, {} if same else first)


def _names_by_split(builder: Any) -> dict[str, list[dict[str, list[str]]]]:
    """Return the label names that each Parquet file carries, by split; of a data set of other files, nothing."""
    import datasets
    import pyarrow.parquet

    if builder.name != "parquet" or not builder.config.data_files:  # or it is at hand already, and the hub is not
        return {}
    options = {"download_config": datasets.DownloadConfig(token=builder.token)}
    found = {}
    for split, paths in builder.config.data_files.items():
        files = datasets.DownloadManager(**options).download(list(paths))  # at hand since they were loaded
        each = [class_names.of_schema(pyarrow.parquet.read_schema(file)) for file in files]
        found[str(split)] = [names for names in each if names]
    return found


def _loaded(builder: Any, name: str, config: str | None, revision: str | None) -> DatasetDict:
    import datasets

    options: dict[str, Any] = {}
    if hasattr(builder.config, "keep_default_na"):  # CSV: "NA" and "007" are texts, whatever pandas takes them for
        options = {"keep_default_na": False, "na_values": [""]}
        if builder.info.features is None:
            splits = datasets.load_dataset(name, config, revision=revision, streaming=True, **options)
            first: dict[str, Any] = next(iter(next(iter(splits.values()))), {})
            options["features"] = datasets.Features({column: datasets.Value("string") for column in first})
    return datasets.load_dataset(name, config, revision=revision, **options)


def chosen_splits(splits: Mapping[str, Dataset], what: str, remedy: str) -> dict[str, Dataset]:
    """Choose the splits by their usual names; of MNLI's, the matched ones.

    Args:
        splits: Data sets by the names that they have.
        what: What they are of, for messages.
        remedy: What to do where two are the same split.

    Returns:
        Data sets by the names that splits have here.

    Raises:
        InputError: Two are the same split, or none is train.
    """
    has = ", ".join(splits)
    chosen: dict[str, Dataset] = {}
    for split in SPLITS:
        names = [name for name in splits if SPLIT_OF.get(name.lower()) == split]
        names = names or [name for name in splits if SPLIT_OF.get(name.lower().removesuffix("_matched")) == split]
        if len(names) > 1:
            raise InputError(f"{what}: {' and '.join(names)} are both {split}; {remedy}")
        if names:
            chosen[split] = splits[names[0]]
    if "train" not in chosen:
        raise InputError(f"{what} has no train split (it has {has})")
    like = [name for name in splits if name.lower() not in SPLIT_OF and is_like_a_split(name)]
    if like and "dev" not in chosen:
        raise InputError(
            f"{what}: {like[0]!r} looks like a split and is none that is read (it has {has}), and there is no dev; "
            "call one validation, or leave it out"
        )
    return chosen


def _values(rows: Dataset) -> Iterator[dict[str, Any]]:
    """Yield rows without images, sound and the like, of which no task reads anything."""
    rows = rows.select_columns([name for name, kind in rows.features.items() if not hasattr(kind, "decode_example")])
    for batch in rows.iter(1000):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def _as_ids(task: TaskSpec, of: Mapping[str, Sequence[str] | None]) -> bool:
    """Tell whether a label column's names, by split, leave every id the label that it is without them."""
    known = labels.Names(task.labels or ())
    size = len(known.names)
    for own in of.values():
        for number, name in enumerate(own or ()):
            place = labels.as_float(name) if task.kind == "regression" else known.by_name(name)
            # An id past the labels, by a name that is none of them, has no label with its name or without.
            further = task.kind != "regression" and number >= size and place is None
            if place != number and not further:
                return False
    # Without names, numbers may be read as labels that are called like other ids, such as the label 1 of 1 to 5.
    called = task.label_values != "ids" and any(known.by_name(i) not in (None, i) for i in range(-1, size))
    return not called or (task.label_values is None and None not in of.values())
