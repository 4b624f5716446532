"""Every run of the run folder as one tidy table, which pandas, DuckDB or a spreadsheet opens.

One row is one number (or word) that a run recorded, so that any question is a filter and a group. `COLUMNS` says what
each column holds. A run without a manifest, or with one that cannot be read, has one row without a metric, so that what
failed is counted too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from auxlearn.errors import InputError
from auxlearn.files import writing
from auxlearn.paths import runs_root, short
from auxlearn.studies import run_status

COLUMNS = {
    "stage": "which notebook, or kind of unit (train, importance, …), made the run",
    "key": "the run's key; stage/key is its folder",
    "status": "finished, stale, damaged, failed, interrupted or not run",
    "study": "the label of the study that made it first",
    "seed": "the seed that the number is of; empty where it is of the whole run",
    "split": "dev where the number is a score on the primary's dev split, cost where it is what a stage cost",
    "metric": "what was measured: accuracy, auc, difference, tflop, …",
    "of": "of which task, arm, pair of arms or stage; parts of a longer path joined by /",
    "value": "the number",
    "text": "the word, where it is one (a verdict)",
    "run_seconds": "wall time of the whole run, over all rows of its ledger",
    "run_tflop": "TFLOP of the whole run",
    "started": "UTC", "finished": "UTC",
    "commit": "git commit", "dirty": "whether the tree differed from it", "code": "hash of the code that made it",
    "suite": "fingerprint of its data", "device": "its processor",
    "param_NAME": "each parameter as resolved; lists and mappings as JSON",
}  # fmt: skip
KEY = re.compile(r"[0-9a-f]{16}")
SEED = re.compile(r"[0-9]{1,18}")


def table() -> pd.DataFrame:
    """Make the table over the run folder.

    Returns:
        One row per recorded value; columns as in `COLUMNS`.

    Raises:
        InputError: If the folder holds no run.
    """
    rows = [row for stage, key in _keys() for row in _rows(stage, key)]
    if not rows:
        raise InputError(f"no runs in {short(runs_root())}; run a study, or set AUXLEARN_RUNS to the folder of one")
    fixed = [name for name in COLUMNS if name != "param_NAME"]
    frame = pd.DataFrame(rows)
    parameters = sorted(name for name in frame if name.startswith("param_"))
    frame = frame.reindex(columns=[*fixed, *parameters])
    for name in frame:
        if name in ("started", "finished"):
            frame[name] = pd.to_datetime(frame[name], utc=True, format="ISO8601", errors="coerce")
        else:
            frame[name] = _column(frame[name], numeric=name in ("value", "run_seconds", "run_tflop"))
    return frame


def write(path: Path, csv: bool = False) -> list[Path]:
    """Write the table as Parquet and, if wanted, as CSV beside it.

    Args:
        path: The file to write; it ends in .parquet.
        csv: Whether to write a CSV too, none of whose cells a spreadsheet takes for a formula.

    Returns:
        The paths that were written.

    Raises:
        InputError: If the name does not end in .parquet, or there are no runs.
    """
    path = Path(path)
    if path.suffix != ".parquet":
        raise InputError(f"{path}: give a name that ends in .parquet (--csv writes a CSV beside it)")
    frame = table()
    with writing.new_file(path) as part:
        frame.to_parquet(part, index=False)
    if not csv:
        return [path]
    with writing.new_file(path.with_suffix(".csv")) as part:
        writing.write_csv(writing.safe(frame), part)
    return [path, path.with_suffix(".csv")]


def _keys() -> Iterator[tuple[str, str]]:
    for stage in sorted(p for p in runs_root().glob("*") if p.is_dir() and p.name != "studies"):
        yield from ((stage.name, p.name) for p in sorted(stage.iterdir()) if KEY.fullmatch(p.name) and p.is_dir())


def _rows(stage: str, key: str) -> Iterator[dict[str, Any]]:
    outcome = run_status.read({"stage": stage, "key": key, "label": key, "params": {}})
    base: dict[str, Any] = {"stage": stage, "key": key, "status": outcome.status}
    data = outcome.manifest.data if outcome.manifest else {}
    p, git = data.get("params", {}), data.get("git", {})
    base |= {"study": p.get("study"), "run_seconds": outcome.seconds, "run_tflop": outcome.tflop}
    base |= {name: data.get(name) for name in ("started", "finished", "suite", "device")}
    base |= {"commit": git.get("commit"), "dirty": git.get("dirty"), "code": data.get("code", {}).get("hash")}
    for name, value in p.items():
        base[f"param_{name}"] = json.dumps(value, sort_keys=True) if isinstance(value, (list, dict)) else value
    values = [*_measured(data.get("metrics", {})), *_costs(data.get("ledger", []), {})]
    yield from (base | row for row in values or [{}])


def _measured(metrics: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The leaves of a manifest's metrics as rows: seed, split, metric, of, value or text."""
    for name, content in metrics.items():
        if name == "ledger":  # costs per seed and task, of trainings whose own rows hold them
            continue
        if name == "seeds" and _dicts(content) and all(map(SEED.fullmatch, content)):  # of 06: all that a seed gave
            for seed, part in content.items():
                yield from _results(part, {"seed": int(seed)})
        elif name == "arms" and _dicts(content):  # of 07
            for arm, row in content.items():
                yield from (leaf | {"of": arm} for leaf in _leaves(row, {}))
        elif name == "pairs" and isinstance(content, list):
            for row in content:
                if isinstance(row, dict):
                    values = {k: v for k, v in row.items() if k not in ("arm", "baseline")}
                    pair = {"of": f"{row.get('arm')} − {row.get('baseline')}"}
                    yield from (leaf | pair for leaf in _leaves(values, {}))
        elif name != "dev" and isinstance(content, dict) and content and all(map(SEED.fullmatch, content)):
            for seed, part in content.items():
                yield from _leaves({name: part}, {"seed": int(seed)})
        else:
            yield from _results({name: content}, {})


def _results(content: Mapping[str, Any], base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The leaves of what a training, or one seed of 06, recorded; each row begins as `base` does."""
    for metric, value in content.items():
        if metric == "ledger":
            yield from _costs(value, base)
        elif metric == "dev" and isinstance(value, dict):
            yield from _leaves(value, base | {"split": "dev"})
        else:
            yield from _leaves({metric: value}, base)


def _dicts(content: Any) -> bool:
    return isinstance(content, dict) and all(isinstance(part, dict) for part in content.values())


def _leaves(content: Mapping[str, Any], base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for metric, value in content.items():
        for path, leaf in _paths(value):
            row = base | {"metric": metric, "of": "/".join(path) or None}
            if isinstance(leaf, (int, float)):
                yield row | {"value": float(leaf)}
            elif leaf is not None:
                yield row | {"text": leaf if isinstance(leaf, str) else json.dumps(leaf)}


def _paths(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, dict):
        for name, part in value.items():
            yield from _paths(part, (*path, str(name)))
    else:
        yield path, value


def _costs(ledger: Any, base: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for row in ledger if isinstance(ledger, list) else ():
        if not isinstance(row, dict) or not isinstance(row.get("stage"), str):
            continue
        cost = base | {"split": "cost", "of": row["stage"]}
        if isinstance(row.get("flops"), (int, float)):
            yield cost | {"metric": "tflop", "value": row["flops"] / 1e12}
        for metric in ("seconds", "tokens", "padded_tokens", "steps", "examples", "peak_bytes", "joules"):
            if isinstance(row.get(metric), (int, float)):
                yield cost | {"metric": metric, "value": float(row[metric])}


def _column(values: pd.Series, numeric: bool = False) -> pd.Series:
    """Give a column one type, with room for missing values: boolean, whole, number, else text."""
    present = [v for v in values if not (v is None or (isinstance(v, float) and pd.isna(v)))]
    kinds = {type(v) for v in present}
    numbers = bool(kinds) and kinds <= {int, float}
    objects = values.astype(object).where(values.notna(), None)
    if numeric or (numbers and not all(float(v).is_integer() for v in present)):
        return pd.to_numeric(objects).astype("float64")
    if kinds == {bool}:
        return objects.astype("boolean")
    if numbers:  # pandas turns whole numbers with gaps into floats
        return objects.map(lambda v: v if v is None else int(v)).astype("Int64")
    return objects.map(lambda v: v if v is None or isinstance(v, str) else json.dumps(v)).astype("string")
