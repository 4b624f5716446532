"""Rows from files and from the hub: plain data is parsed, nothing in it is ever executed."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

from .errors import InputError

SUFFIXES = (".jsonl.gz", ".jsonl", ".csv", ".tsv", ".parquet")
SPLITS = ("train", "dev", "test")
# How hub data sets name the split that this project calls dev.
_HUB_DEV = ("validation", "dev", "validation_matched")
_HUB_TEST = ("test", "test_matched")


def read_file(path: Path) -> list[dict[str, Any]]:
    """The rows of one jsonl, jsonl.gz, CSV, TSV or Parquet file, as dicts; InputError names file and row."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the suite's `root` and `source`")
    try:
        if path.name.endswith((".jsonl", ".jsonl.gz")):
            return _read_jsonl(path)
        import pandas as pd

        if path.suffix == ".parquet":
            frame = pd.read_parquet(path)
        elif path.suffix in (".csv", ".tsv"):
            # Quotes are data in TSV (the GLUE convention), and markup in CSV.
            options: dict[str, Any] = {"sep": "\t", "quoting": 3} if path.suffix == ".tsv" else {}
            frame = pd.read_csv(path, encoding="utf-8", keep_default_na=False, na_values=[""], **options)
        else:
            raise InputError(f"{path}: unknown format; use one of {', '.join(SUFFIXES)}")
        return frame.astype(object).where(frame.notna(), None).to_dict("records")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not UTF-8 ({error.reason} at byte {error.start}); convert it to UTF-8") from None
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"{path}: cannot be read as {path.suffix} ({error})") from None


def _read_jsonl(path: Path) -> list[dict[str, Any]]:
    rows = []
    with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
            except json.JSONDecodeError as error:
                raise InputError(f"{path}, line {number}: not JSON ({error.msg}); one object a line") from None
            if not isinstance(row, dict):
                raise InputError(f"{path}, line {number}: a JSON object is expected, not {type(row).__name__}")
            rows.append(row)
    return rows


def folder_files(folder: Path) -> dict[str, Path]:
    """The split files of `folder`: NAME/{train,dev,test} in any known format; train must be there."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; check the suite's `root` (is AUXLEARN_DATA set?)")
    found: dict[str, Path] = {}
    for split in SPLITS:
        hits = [folder / f"{split}{suffix}" for suffix in SUFFIXES if (folder / f"{split}{suffix}").is_file()]
        if len(hits) > 1:
            raise InputError(f"{folder}: {split} exists more than once ({', '.join(h.name for h in hits)}); keep one")
        if hits:
            found[split] = hits[0]
    if "train" not in found:
        raise InputError(f"{folder}: holds no train file (one of {', '.join('train' + s for s in SUFFIXES)})")
    return found


def read_hub(name: str, config: str | None, revision: str | None) -> dict[str, list[dict[str, Any]]]:
    """The splits of a hub data set, or of a local folder in the hub's layout, by `datasets.load_dataset`."""
    import datasets

    try:
        splits = datasets.load_dataset(name, config, revision=revision)
    except Exception as error:
        raise InputError(
            f"hub data set {name!r} (config {config!r}, revision {revision!r}) cannot be loaded: {error}. Is the hub "
            "reachable? Otherwise download it once and use `source: {folder: …}`"
        ) from None
    rows = {"train": list(splits["train"])} if "train" in splits else {}
    for split, names in (("dev", _HUB_DEV), ("test", _HUB_TEST)):
        hit = next((n for n in names if n in splits), None)
        if hit:
            rows[split] = list(splits[hit])
    if "train" not in rows:
        raise InputError(f"hub data set {name!r} has no train split (it has {', '.join(splits)})")
    return rows
