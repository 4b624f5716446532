"""The rows of a task: found, read, checked, divided into splits, and kept on disk for every process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn import seeding
from auxlearn.data.reading import hub_sets, parsing, raw_rows, readers, split_files, stored_rows, validation
from auxlearn.data.reading.raw_rows import RawRows
from auxlearn.data.reading.stored_rows import Entry
from auxlearn.data.schema import Source, TaskSpec
from auxlearn.errors import InputError
from auxlearn.files import bounded_files

if TYPE_CHECKING:
    import pyarrow as pa

DEV_FRACTION = 0.1  # of train, when a task has no dev split
TypedRows = tuple[dict[str, "pa.Table"], dict[str, Any]]  # tables, and what else is known of them


def obtain(name: str, spec: TaskSpec, root: Path) -> Entry:
    """Open the rows of a task, or read, check and keep them.

    Args:
        name: The task's name.
        spec: The task as the suite has it.
        root: The suite's root.

    Returns:
        The splits, and as values `digest` (of the source's content, which no path enters), `carved` (whether dev is a
        part of the train file) and `dropped` (rows without a label that were left out, by split).

    Raises:
        InputError: If the source or a row is wrong; it names file, task and row.
    """
    source, only = spec.source, (*spec.inputs, spec.label)
    own = [name, spec.model_dump(exclude={"source", "metric", "metrics"})]  # what of the task decides its rows
    if source.planted:
        return stored_rows.obtain(["planted", own], lambda: _planted(name, spec))
    if source.hub:
        local = bounded_files.inside(root, source.hub, f"task {name!r}: hub")
        hub = hub_sets.read_hub(str(local) if local.is_dir() else source.hub, source.config, source.revision)
        content = ["hub", own, _hashes(hub.files()), hub.own, hub.deciding(spec)]
        return stored_rows.obtain(content, lambda: typed_rows(name, spec, hub.rows(only), hub.digest(spec)))
    if source.glue_data:
        folder = bounded_files.inside(root, source.glue_data, f"task {name!r}: glue_data")
        content = ["glue_data", folder.absolute().name, own, _hashes(readers.glue_files(folder))]
        return stored_rows.obtain(content, lambda: _glue(name, spec, folder))
    files = _files(name, source, root)
    hashes = _hashes(files)
    suffixes = {split: [split_files.suffix_of(path) for path in paths] for split, paths in files.items()}
    shared = () if spec.kind == "tagging" or spec.resplit else tuple(spec.inputs)
    return stored_rows.obtain(
        ["files", own, hashes, suffixes, source.columns],
        lambda: typed_rows(
            name, spec, readers.read_files(files, source.columns, only, shared), _digest(spec, files, hashes)
        ),
    )


def _digest(spec: TaskSpec, files: Mapping[str, Sequence[Path]], hashes: Mapping[str, list[str]]) -> str:
    """Describe the content of files, and how they are read where the same bytes may be read in two ways."""
    content = [{k: v[0] if len(v) == 1 else v for k, v in hashes.items()}, spec.source.columns]
    as_csv = {
        split: found for split, paths in files.items()
        if (found := [i for i, path in enumerate(paths) if parsing.other_as_tsv(path, spec.inputs)])
    }  # fmt: skip
    return json.dumps([*content, {"csv": as_csv}] if as_csv else content, sort_keys=True)


def _planted(name: str, spec: TaskSpec) -> TypedRows:
    from auxlearn.data import planted

    tasks = planted.make()
    if name not in tasks:
        raise InputError(f"task {name!r}: the planted suite has no such task; it has {', '.join(tasks)}")
    rows = {split: getattr(tasks[name], split) for split in split_files.SPLITS}
    return typed_rows(name, spec, {split: in_columns(part) for split, part in rows.items()}, readers.digest(rows))


def in_columns(rows: Sequence[Mapping[str, Any]]) -> RawRows:
    """Put rows of the same columns into columns."""
    return raw_rows.from_batches([{name: [row[name] for row in rows] for name in rows[0]}])


def _glue(name: str, spec: TaskSpec, folder: Path) -> TypedRows:
    raw = readers.read_glue(folder)
    return typed_rows(name, spec, raw, readers.digest({split: rows.rows() for split, rows in raw.items()}))


def _files(name: str, source: Source, root: Path) -> dict[str, list[Path]]:
    if source.folder is not None:
        return split_files.folder_files(bounded_files.inside(root, source.folder, f"task {name!r}: folder"))
    return {
        split: [bounded_files.inside(root, file, f"task {name!r}: files.{split}") for file in _listed(given)]
        for split, given in (source.files or {}).items()
    }


def _listed(given: str | Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


def _hashes(files: Mapping[str, Sequence[Path]]) -> dict[str, list[str]]:
    hashes: dict[str, list[str]] = {}
    for split, paths in files.items():
        for path in paths:
            with bounded_files.open_of(path):  # a regular file that can be read
                hashes.setdefault(split, []).append(bounded_files.content_hash(path))
    return hashes


def typed_rows(name: str, spec: TaskSpec, raw: Mapping[str, RawRows], digest: str = "") -> TypedRows:
    """Make the rows of a task of what its source holds.

    Args:
        name: The task's name.
        spec: The task as the suite has it.
        raw: The source's rows, by split.
        digest: Of the source's content.

    Returns:
        As from `obtain`.

    Raises:
        InputError: If a row is wrong, or a split is empty or too small to be divided.
    """
    typed = validation.typed(name, spec, {s: rows for s, rows in raw.items() if len(rows) or s != "test"})
    splits, carved = dict(typed.splits), "dev" not in typed.splits
    for split in ("train", "dev"):
        if split in splits and not len(splits[split]):
            dropped = typed.dropped.get(split)
            raise InputError(
                f"task {name!r}: {split} is empty{f', {dropped} unlabelled rows left out' * bool(dropped)}"
            )
    if carved:
        size = len(splits["train"])
        if size < 20:
            raise InputError(f"task {name!r}: no dev split, and {size} training rows are too few to carve one")
        dev, train = _divided(size, max(1, round(DEV_FRACTION * size)), 0, "carve-dev", name)
        splits |= {"train": splits["train"].take(train), "dev": splits["train"].take(dev)}
    if spec.resplit:
        splits = _resplit(name, spec, splits)
    return splits, {"digest": digest, "carved": carved, "dropped": typed.dropped}


def _resplit(name: str, spec: TaskSpec, splits: dict[str, pa.Table]) -> dict[str, pa.Table]:
    """Redraw the splits as `schema.Resplit` says: a cut train split, and every other labelled row as dev."""
    import pyarrow as pa

    resplit = spec.resplit
    assert resplit is not None  # the caller has looked
    size, total = resplit.train, len(splits["train"])
    if size >= total:
        raise InputError(f"task {name!r}: resplit keeps {size} of {total} training rows; none would be left for dev")
    kept, rest = _divided(total, size, resplit.seed, "resplit", name)
    if resplit.rest == "leave":
        return splits | {"train": splits["train"].take(kept)}
    marked = {
        split: table.append_column("origin", pa.array([split]).take(np.zeros(len(table), int)))
        for split, table in splits.items()
    }
    parts = [marked["train"].take(rest), marked["dev"]]
    if "test" in marked:
        parts.append(marked["test"].filter(marked["test"].column(spec.label).is_valid()))
    return {"train": marked["train"].take(kept), "dev": pa.concat_tables(parts)}


def _divided(rows: int, size: int, seed: int, *purpose: str) -> tuple[np.ndarray, np.ndarray]:
    """Draw `size` of so many rows: these, and the others, both in order."""
    order = seeding.rng(seed, *purpose).permutation(rows)
    return np.sort(order[:size]), np.sort(order[size:])
