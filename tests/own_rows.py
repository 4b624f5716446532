"""A suite of one task over files that a test writes."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from auxlearn.data import suites
from helpers import write_jsonl

SPEC = {"kind": "classification", "inputs": ["text"], "label": "label", "labels": ["bad", "good"], "metric": "accuracy"}
TAGS = SPEC | {"kind": "tagging", "inputs": ["tokens"], "label": "tags", "labels": ["O", "B", "I"]}
SCORE = {key: value for key, value in SPEC.items() if key != "labels"} | {
    "kind": "regression", "range": [0, 5], "metric": "pearson",
}  # fmt: skip


def write(path: Path, content) -> Path:
    """Text as it is, a list of rows as JSON lines, an Arrow table as Parquet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(content, pa.Table):
        pq.write_table(content, path)
    elif isinstance(content, list):
        write_jsonl(path, content)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def suite_file(folder: Path, files, spec=SPEC, **more) -> Path:
    """A suite whose one task "t" reads files named by their splits, or a `source` that is given."""
    for name, content in files.items():
        write(folder / name, content)
    splits = {Path(name).name.split(".")[0]: name for name in files}
    content = {"name": "s", "tasks": {"t": spec | {"source": {"files": splits}} | more}}
    path = folder / "suite.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def task(folder: Path, files, spec=SPEC, **more) -> suites.Task:
    return suites.Suite.from_yaml(suite_file(folder, files, spec, **more))["t"]


def rows(labels, split="train"):
    """Rows of a text and a label each."""
    return [{"text": f"{split} text {i}", "label": label} for i, label in enumerate(labels)]


def csv(labels, split="train"):
    return "text,label\n" + "".join(f"{split} text {i},{label}\n" for i, label in enumerate(labels))


def arrow(labels, split="train", kind=None, names=None):
    """A table as `datasets` writes it: with label names in its metadata, if there are any."""
    table = pa.table({
        "text": [f"{split} text {i}" for i in range(len(labels))],
        "label": labels if isinstance(labels, pa.Array) else pa.array(labels, kind),
    })  # fmt: skip
    if names is None:
        return table
    features = {
        "text": {"dtype": "string", "_type": "Value"},
        "label": {"names": names, "_type": "ClassLabel"},
    }
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
