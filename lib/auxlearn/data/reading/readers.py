"""Rows from files and from the hub: plain data is parsed, nothing in it is ever executed.

No row is dropped in silence: what cannot be read is an InputError that names the file, the line and the remedy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlearn.data import parquet
from auxlearn.data.reading import labels, parsing, raw_rows, split_files
from auxlearn.data.reading.raw_rows import RawRows
from auxlearn.data.reading.split_files import SPLIT_OF, SPLITS, SUFFIXES
from auxlearn.errors import InputError, shown

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, DatasetDict

    from auxlearn.data.schema import TaskSpec

Raw = dict[str, RawRows]  # by split
# The tasks of the glue_data layout: the file's column for each of the hub's input columns, and the file's label column.
GLUE: dict[str, tuple[dict[str, str], str]] = {
    "CoLA": ({"sentence": "sentence"}, "label"),
    "SST-2": ({"sentence": "sentence"}, "label"),
    "MRPC": ({"sentence1": "#1 String", "sentence2": "#2 String"}, "Quality"),
    "QQP": ({"question1": "question1", "question2": "question2"}, "is_duplicate"),
    "STS-B": ({"sentence1": "sentence1", "sentence2": "sentence2"}, "score"),
    "MNLI": ({"premise": "sentence1", "hypothesis": "sentence2"}, "gold_label"),
    "QNLI": ({"question": "question", "sentence": "sentence"}, "label"),
    "RTE": ({"sentence1": "sentence1", "sentence2": "sentence2"}, "label"),
    "WNLI": ({"sentence1": "sentence1", "sentence2": "sentence2"}, "label"),
}
_COLA = ["source", "label", "mark", "sentence"]  # train and dev of CoLA have no header


def read_file(
    path: Path, columns: tuple[int, int] | None = None, only: tuple[str, ...] | None = None,
    shared: tuple[str, ...] = (),
) -> RawRows:  # fmt: skip
    """Read the rows of one file of a known suffix (SUFFIXES).

    Args:
        path: The file.
        columns: For CoNLL only: positions of token and tag, from 0, negative from the end; first and last if None.
        only: The columns to keep, as far as they are there; all if None.
        shared: Columns that may stay dictionary-encoded (see `parquet.read_table`).

    Returns:
        One row at least. Cells of CSV and TSV are text.

    Raises:
        InputError: If the suffix is unknown, the file is empty or cannot be parsed, or `columns` is given for another
            format.
    """
    kind = split_files.suffix_of(path)
    if kind is None:
        raise InputError(f"{path}: unknown format; use one of {', '.join(SUFFIXES)}")
    if kind.startswith(".conll"):
        return parsing.filled(path, parsing.read_conll(path, columns or (0, -1)))
    if columns is not None:
        raise InputError(f"{path}: `columns` is for .conll files; a {kind} file names its columns itself")
    if kind.startswith(".jsonl"):
        return parsing.filled(path, parsing.read_jsonl(path, only))
    if kind == ".parquet":
        table, names = parquet.read_table(path, only, shared)
        return parsing.filled(path, _named(raw_rows.of_table(table, names), _names_of(table.schema), str(path)))
    return parsing.read_table(path, only)


def read_files(
    files: Mapping[str, Sequence[Path]], columns: tuple[int, int] | None = None, only: tuple[str, ...] | None = None,
    shared: tuple[str, ...] = (),
) -> Raw:  # fmt: skip
    """Read the splits of a task, each from one file or several (see `read_file`)."""
    out = {}
    for split, paths in files.items():
        parts = [read_file(path, columns, only, shared) for path in paths]
        _named_alike(paths, parts)
        out[split] = raw_rows.joined(parts)
    return out


def _named_alike(paths: Sequence[Path], parts: Sequence[RawRows]) -> None:
    """Refuse numbers of a file without label names beside a file that has names for its own: whose are they?"""
    for column in {column for part in parts for column in part.named}:
        named = next(path for path, part in zip(paths, parts, strict=True) if column in part.named)
        for path, part in zip(paths, parts, strict=True):
            if column not in part.named and column in part.table.column_names:
                number = next((value for value in labels.flat(part.values(column)) if labels.is_number(value)), None)
                if number is not None:
                    what = f"{column!r} holds {shown(number)} without label names, which {named.name} has"
                    raise InputError(f"{path}: {what}; write names into both, or give both their `features`")


def glue_files(folder: Path) -> dict[str, list[Path]]:
    """Find the split files of a folder of the classic glue_data layout, such as glue_data/RTE.

    Args:
        folder: The folder, which must have the task's name.

    Returns:
        The files by split, of those splits that are there; for MNLI the matched ones.

    Raises:
        InputError: If the name is no task's, there is no such folder, or it has no train file.
    """
    name = folder.absolute().name
    if name not in GLUE:
        raise InputError(f"{folder}: {name!r} is no task of the glue_data layout; it has {', '.join(GLUE)}")
    end = "_matched.tsv" if name == "MNLI" else ".tsv"
    return split_files.single_files(folder, {"train": "train.tsv", "dev": "dev" + end, "test": "test" + end})


def read_glue(folder: Path) -> Raw:
    """Read the splits of a glue_data folder with the hub's column names.

    Args:
        folder: The folder, which must have the task's name.

    Returns:
        Rows by split; labels are the files' strings, STS-B's are floats. Test rows have no `label` where the file has
        none.

    Raises:
        InputError: If files are not there, or not as GLUE publishes them.
    """
    return {split: _glue(folder.absolute().name, split, path) for split, (path,) in glue_files(folder).items()}


def _glue(name: str, split: str, path: Path) -> RawRows:
    inputs, label = GLUE[name]
    header, batches = parsing.table(path, _COLA if name == "CoLA" and split != "test" else None)
    columns = {**inputs, "label": label} if split != "test" or label in header else inputs
    for column in columns.values():
        if column not in header:
            raise InputError(f"{path}, line 1: no {column!r} in the header ({', '.join(header)}); is this {name}?")
    places = {column: header.index(own) for column, own in columns.items()}

    def score(text: str | None, number: int) -> float | None:
        try:
            return float(text) if text else None
        except ValueError:
            raise InputError(f"{path}, line {number}: the score {text!r} is no number; mend the line") from None

    def renamed() -> Iterator[dict[str, list[Any]]]:
        for numbers, cells in batches:
            batch: dict[str, list[Any]] = {column: cells[place] for column, place in places.items()}
            if name == "STS-B" and "label" in batch:
                batch["label"] = [score(text, n) for text, n in zip(batch["label"], numbers, strict=True)]
            yield batch

    return raw_rows.from_batches(renamed())


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
            out[split] = _named(raw_rows.of_table(table, rows.column_names), names, f"{self.what}, {split}")
        return out

    def digest(self, task: TaskSpec) -> str:
        """Hash the rows, and the label names that they do not hold and that decide what a task reads."""
        content = digest({split: _values(rows) for split, rows in self.splits.items()})
        if self.own:
            content = digest({"rows": [{"digest": content}], "names": [self.own]})
        deciding = self.deciding(task)
        return digest({"rows": [{"digest": content}], "deciding": [deciding]}) if deciding else content

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
        names = {name: names for name in features if (names := class_names(features[name])) is not None}
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
        each = [_names_of(pyarrow.parquet.read_schema(file)) for file in files]
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
    return chosen


def _values(rows: Dataset) -> Iterator[dict[str, Any]]:
    for batch in rows.iter(1000):
        for values in zip(*batch.values(), strict=True):
            yield dict(zip(batch, values, strict=True))


def digest(rows: Mapping[str, Iterable[Mapping[str, Any]]]) -> str:
    """Hash rows by split: the sha256 of them as JSON, of which no more than a row is in memory."""
    content = hashlib.sha256(b"{")
    for i, split in enumerate(sorted(rows)):
        content.update(f"{', ' if i else ''}{json.dumps(split)}: [".encode())
        for j, row in enumerate(rows[split]):
            text = json.dumps(row, sort_keys=True, default=str)
            content.update((", " + text if j else text).encode())
        content.update(b"]")
    content.update(b"}")
    return content.hexdigest()


# --- label names that a source carries ---------------------------------------------------------------------------


def _names_of(schema: pa.Schema) -> dict[str, list[str]]:
    """Return the label names in the metadata that `datasets` writes into Parquet, by column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        found = {name: _json_names(feature) for name, feature in features.items() if name in schema.names}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}  # no metadata, or no such metadata
    return {name: names for name, names in found.items() if names is not None}


def _json_names(feature: Any) -> list[str] | None:
    while isinstance(feature, (list, dict)):
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel":
            names = feature.get("names")
            return names if isinstance(names, list) and all(isinstance(name, str) for name in names) else None
        if isinstance(feature, list) and len(feature) != 1:
            return None
        feature = feature[0] if isinstance(feature, list) else feature.get("feature")
    return None


def class_names(feature: Any) -> list[str] | None:
    """Return the label names of a feature of `datasets`, or of its items; None for one that names none."""
    while feature is not None and not hasattr(feature, "names"):
        feature = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    return None if feature is None else feature.names


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


def _named(rows: RawRows, names: Mapping[str, list[str]], where: str) -> RawRows:
    """Put the source's own names in place of its ids: splits and shards may number them differently."""
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.types as types

    table, named = rows.table, dict(rows.named)
    for column, own in names.items():
        chunks = []
        for chunk in table.column(column).chunks:
            nested = (
                types.is_list(chunk.type) or types.is_large_list(chunk.type) or types.is_fixed_size_list(chunk.type)
            )
            ids = pc.list_flatten(chunk) if nested else chunk
            if not types.is_integer(ids.type):
                break  # names already
            unlabelled = pc.equal(ids, -1)
            outside = pc.and_not(pc.invert(pc.and_(pc.greater_equal(ids, 0), pc.less(ids, len(own)))), unlabelled)
            if pc.any(outside).as_py():
                value = ids.filter(outside)[0].as_py()
                what = (
                    f"{column!r} holds {shown(value)}, for which its own names ({', '.join(own)[:300]}) have no entry"
                )
                raise InputError(f"{where}: {what}; mend the file")
            safe = pc.if_else(unlabelled, pa.scalar(None, ids.type), ids)
            texts = pa.array(own, pa.string()).take(safe)
            chunks.append(_nested_as(chunk, texts) if nested else texts)
        else:
            place = table.column_names.index(column)
            kind = chunks[0].type if chunks else pa.string()
            table = table.set_column(place, pa.field(column, kind), pa.chunked_array(chunks, kind))
            named[column] = tuple(own)
    return replace(rows, table=table, named=named)


def _nested_as(lists: pa.Array, values: pa.Array) -> pa.Array:
    """Return lists as long as those given, null where they are, over other values."""
    import pyarrow as pa
    import pyarrow.compute as pc

    lengths = pc.fill_null(pc.cast(pc.list_value_length(lists), pa.int64()), 0)
    offsets = pa.concat_arrays([pa.array([0], pa.int64()), pc.cumulative_sum(lengths)])
    return pa.LargeListArray.from_arrays(offsets, values, mask=pc.is_null(lists) if lists.null_count else None)
