"""What leaves the project: selections and predictions, in formats that others read without it.

Everything is checked before anything is written, and written beside its target first, so that a folder or file is
there whole or not at all. Nothing here looks into the run folder.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.data import auxiliary_rows
from auxlearn.data.suites import Suite, Task
from auxlearn.errors import InputError, shown
from auxlearn.files import documents
from auxlearn.files.writing import new_file, new_folder, safe, write_csv

# Columns of a selection that hold no text, whatever a suite's inputs are called.
OWN = ("task", "row", "row_id", "seed", "score", "rank", "usable", "helpful", "proxy", "in_proxy")
HIGHEST = 1 << 53  # rank: all whole numbers up to here are floats too

# --- selections --------------------------------------------------------------------------------------------------


def selection(
    chosen: pd.DataFrame, suite: Suite, primary: str, folder: Path, with_text: bool = False,
    record: Mapping[str, Any] | None = None,
) -> list[Path]:  # fmt: skip
    """Write a selection for `primary` into a new folder.

    - selection.parquet, selection.csv: no text unless `with_text` (columns text1, text2; tokens joined by spaces), but
      `text_hash`, by which others find the row in a copy of their own. Text cells of the CSV that a spreadsheet would
      run as a formula begin with an apostrophe.
    - dataset: a saved `datasets.Dataset` with texts (text1, text2 or tokens), label (name, number as text, or tags
      joined by spaces), score and rank (None where there is none).
    - rank_json/<task>.json for every auxiliary: the rank file of the FastMTL code, under `for_<primary>_rank` one
      number per row of the task's train as this suite has it, -1 where not chosen. Without a rank column the rows rank
      in the order given.

    Args:
        chosen: One row per chosen auxiliary row: task, row (position in the task's train), row_id, and optionally
            score, rank and flags such as helpful, all of which are kept.
        suite: The suite that the rows are of.
        primary: The task that they are chosen for.
        folder: A folder that does not exist, or is empty.
        with_text: Whether to write texts.
        record: What else is known of it, written to selection.json; None for no such file.

    Returns:
        The paths written.

    Raises:
        InputError: If a row is not in the suite, is the primary's, stands twice or has no valid rank, or the folder is
            not new.

    Reference:
        FastMTL's code, task_disc_to_rank_files.py.
    """
    folder, rows = Path(folder), chosen.reset_index(drop=True)
    columns = _columns(rows, suite, primary)
    ranks = _ranks(rows)
    text_columns = {"text1", "text2", "tokens", *(column for task in suite.values() for column in task.inputs)}
    table = rows.drop(columns=[c for c in rows if c in text_columns and c not in OWN])
    for column in ("origin", "text_hash", *(("text1", "text2") if with_text else ())):
        if column in columns:
            table[column] = columns[column]
    with new_folder(folder) as part:
        table.to_parquet(part / "selection.parquet", index=False)
        write_csv(safe(table), part / "selection.csv")
        _save_dataset(rows, columns, part / "dataset")
        (part / "rank_json").mkdir()
        for name in suite.names:
            if name != primary:
                values: list[int | float] = [-1] * len(suite[name].train)
                for row, rank in zip(rows["row"][rows["task"] == name], ranks[rows["task"] == name], strict=True):
                    values[row] = int(rank) if rank == int(rank) else float(rank)
                (part / "rank_json" / f"{name}.json").write_text(json.dumps({f"for_{primary}_rank": values}))
        if record is not None:
            (part / "selection.json").write_text(json.dumps(record, indent=1, default=_plain), encoding="utf-8")
    names = ("selection.parquet", "selection.csv", "dataset", "rank_json", *["selection.json"] * (record is not None))
    return [folder / name for name in names]


def _plain(value: Any) -> Any:
    """Return NumPy's numbers and arrays as JSON has them, anything else as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)


def load_rank_json(folder: Path, primary: str) -> pd.DataFrame:
    """Read the rows that rank files choose for `primary`.

    Args:
        folder: Holds <task>.json files, of `selection` (or is the folder above) or of the FastMTL code, whose ties may
            have fractional ranks.
        primary: The task that the rows are chosen for.

    Returns:
        A table of task, row, rank, best first; rank is int64 where all are whole, else float64.

    Raises:
        InputError: If there are no rank files, or one has no ranks for `primary` or something else among them.
    """
    folder = Path(folder)
    folder = folder / "rank_json" if (folder / "rank_json").is_dir() else folder
    files = sorted(file for file in folder.glob("*.json") if file.stem != primary)
    if not files:
        raise InputError(f"{folder}: no rank files (<task>.json) here")
    key, rows = f"for_{primary}_rank", []
    for file in files:
        content = documents.read_json(file)
        values = content.get(key) if isinstance(content, dict) else None
        if not isinstance(values, list):
            has = ", ".join(content)[:200] if isinstance(content, dict) else type(content).__name__
            raise InputError(f"{file}: no list {key!r}; it has {has}")
        for row, rank in enumerate(values):
            if isinstance(rank, bool) or not isinstance(rank, (int, float)) or not abs(rank) <= HIGHEST:
                raise InputError(f"{file}, {key} entry {row}: {shown(rank)} is not a rank; rank from 1, -1 for none")
            if rank > 0:
                rows.append((file.stem, row, rank))
    table = pd.DataFrame(rows, columns=["task", "row", "rank"])
    whole = all(rank == int(rank) for rank in table["rank"])
    table = table.astype({"row": np.int64, "rank": np.int64 if whole else np.float64})
    return table.sort_values("rank", kind="stable", ignore_index=True)


def text_hash(texts: Sequence[str]) -> str:
    """Hash a row's texts (or tokens): 16 hex digits of the SHA-256 of their UTF-8, joined by the unit separator."""
    return hashlib.sha256("\x1f".join(texts).encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _columns(rows: pd.DataFrame, suite: Suite, primary: str) -> dict[str, list[Any]]:
    """Return texts, hashes and labels of the chosen rows, in order, after checking that the suite has these rows."""
    suite[primary]
    if missing := [c for c in ("task", "row", "row_id") if c not in rows]:
        raise InputError(f"selection: no column {missing[0]!r}; it has {', '.join(map(str, rows))}")
    names = rows["task"].unique().tolist()
    for name in names:
        if suite[name].name == primary:
            at = rows.index[rows["task"] == name][0]
            raise InputError(f"selection row {at}: {primary!r} is the primary, not an auxiliary")
    twice = rows.index[rows.duplicated(["task", "row"])]
    if len(twice):
        raise InputError(f"selection row {twice[0]}: {rows['task'][twice[0]]!r} row {rows['row'][twice[0]]} again")
    records: list[dict[str, Any]] = [{} for _ in range(len(rows))]
    for name, part in rows.groupby("task", sort=False):
        task = suite[str(name)]
        for at, row in part["row"].items():
            if not (isinstance(row, (int, np.integer)) and 0 <= row < len(task.train)):
                raise InputError(
                    f"selection row {at}: {name!r} has no training row {row} (rows 0..{len(task.train) - 1})"
                )
        auxiliary_rows.check_ids(task, part, "selection")
        lines = task.train.select(part["row"].tolist())
        for at, line in zip(part.index, lines, strict=True):
            texts = line[task.inputs[0]] if task.kind == "tagging" else [line[c] for c in task.inputs]
            records[at] = {"text_hash": text_hash(texts), "label": _label(line[task.label], task), "text1": texts[0]}
            if task.kind == "tagging":
                records[at] |= {"tokens": texts, "text1": " ".join(texts)}
            elif task.is_pair:
                records[at]["text2"] = texts[1]
            if "origin" in line:
                records[at]["origin"] = line["origin"]
    held = {"text_hash", "text1", "text2", "label"}.union(*records)
    return {column: [record.get(column) for record in records] for column in held}


def _label(value: Any, task: Task) -> str | None:
    if value is None:
        return None
    if task.kind == "tagging":
        return " ".join((task.labels or ())[tag] for tag in value)
    return (task.labels or ())[value] if task.kind == "classification" else str(value)


def _ranks(rows: pd.DataFrame) -> np.ndarray:
    if "rank" not in rows:
        return np.arange(1, len(rows) + 1)
    try:
        ranks = rows["rank"].to_numpy(np.float64, na_value=np.nan)
    except (TypeError, ValueError):
        raise InputError("selection: column 'rank' must hold numbers, 1 = best") from None
    bad = np.flatnonzero(~(np.isfinite(ranks) & (ranks > 0)))
    if len(bad):
        raise InputError(f"selection row {bad[0]}: rank {rows['rank'][bad[0]]} is not a positive number")
    return ranks


def _save_dataset(rows: pd.DataFrame, columns: Mapping[str, list[Any]], folder: Path) -> None:
    import datasets
    from datasets import Dataset, Features, List, Value

    def numbers(column: str) -> list[float | None]:
        return [None if pd.isna(x) else float(x) for x in rows[column]] if column in rows else [None] * len(rows)

    ranks = numbers("rank")
    whole = all(rank is None or rank.is_integer() for rank in ranks)

    fields: dict[str, tuple[Any, Any]] = {
        "task": (rows["task"].tolist(), Value("string")),
        "row_id": (rows["row_id"].tolist(), Value("int64")),
    }
    if "origin" in columns:
        fields["origin"] = (columns["origin"], Value("string"))
    tokens = columns.get("tokens")
    if tokens is None or None in tokens:
        texts = columns["text1"]
        if tokens is not None:
            texts = [x if t is None else None for x, t in zip(texts, tokens, strict=True)]
        fields |= {"text1": (texts, Value("string")), "text2": (columns["text2"], Value("string"))}
    if tokens is not None:
        fields["tokens"] = (tokens, List(Value("string")))
    fields |= {
        "label": (columns["label"], Value("string")),
        "score": (numbers("score"), Value("float64")),
        "rank": ([int(x) if whole and x is not None else x for x in ranks], Value("int64" if whole else "float64")),
    }
    dataset = Dataset.from_dict(
        {name: values for name, (values, _) in fields.items()},
        Features({name: kind for name, (_, kind) in fields.items()}),
    )
    silent = datasets.are_progress_bars_disabled()
    datasets.disable_progress_bars()
    try:
        dataset.save_to_disk(str(folder))
    finally:
        if not silent:
            datasets.enable_progress_bars()


# --- predictions -------------------------------------------------------------------------------------------------


def predictions(values: Sequence[Any], task: Task, path: Path, row_ids: Sequence[Any] | None = None) -> Path:
    """Write predictions of a task as CSV (row_id, prediction): label name, number or tags.

    Tags are joined by spaces, one for each word. Label names stay as the suite spells them, so that they can be
    compared.

    Args:
        values: Predictions as `prediction.predict` gives them: label ids, numbers or lists of tag ids; names will do
            too.
        task: The task.
        path: The file.
        row_ids: Id of each row; None counts from 0.

    Returns:
        The path.

    Raises:
        InputError: If there are more or fewer ids than predictions, or a prediction is no label, number or tag list of
            the task.
    """
    path, number = Path(path), len(values)
    ids = list(range(number)) if row_ids is None else list(row_ids)
    if len(ids) != number:
        raise InputError(f"{path}: {number} predictions, but {len(ids)} row ids")
    texts = [_prediction(value, task, f"{path}, prediction {i}") for i, value in enumerate(values)]
    table = safe(pd.DataFrame({"row_id": ids})).assign(prediction=texts)
    with new_file(path) as part:
        write_csv(table, part)
    return path


def _prediction(value: Any, task: Task, where: str) -> str:
    if task.kind == "regression":
        try:
            number = value if isinstance(value, np.floating) else np.float64(value)
        except (TypeError, ValueError):
            number = np.float64("nan")
        if not np.isfinite(number):
            raise InputError(f"{where}: {value!r} is not a finite number")
        low, high = task.range or (-np.inf, np.inf)
        number = type(number)(min(max(number, low), high))
        return np.format_float_positional(number, trim="-")
    if task.kind == "classification":
        return _name(value, task, where)
    if isinstance(value, str) or not np.ndim(value) or not len(value):
        raise InputError(f"{where}: {value!r} is not a list of one or more tags")
    tags = [_name(tag, task, where) for tag in value]
    if any(len(tag.split()) != 1 for tag in tags):
        raise InputError(f"{where}: a tag with white space cannot be written in a row of tags")
    return " ".join(tags)


def _name(value: Any, task: Task, where: str) -> str:
    labels = task.labels or ()
    if isinstance(value, str) and value in labels:
        return str(value)
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 0 <= value < len(labels):
        return labels[value]
    raise InputError(f"{where}: unknown label {value!r}; labels are {', '.join(labels)} or ids 0 to {len(labels) - 1}")
