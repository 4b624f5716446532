"""Every loader of outside bytes, each with valid inputs to damage and a call that may raise nothing but InputError.

`LOADERS` is what the tests, the recorded run and the guided run share. A loader's `read` is given a file in a folder of
its own; what it returns says whether the input was accepted.
"""

from __future__ import annotations

import base64
import html.parser
import io
import json
import os
import random
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import fuzz_encoders
import fuzz_inputs as inputs
import nbformat.v4 as nb
import numpy as np
import pandas as pd
import torch
import yaml
from safetensors.torch import save

from auxlearn.data import parquet, suite_files
from auxlearn.data.reading import readers, validation
from auxlearn.data.schema import Source, TaskSpec
from auxlearn.errors import InputError
from auxlearn.export import glue_submission, selections
from auxlearn.files import documents, stored_arrays
from auxlearn.records import run_search
from auxlearn.reporting import tracking
from auxlearn.reporting.pages import pages, report
from auxlearn.reporting.plots import palette
from auxlearn.studies import graph, parameters, provenance, run_status, study_file
from auxlearn.studies import verify as verifying
from auxlearn.studies.engine import profiles
from auxlearn.training import checkpoint

KEY = "0123456789abcdef"
Make = Callable[[random.Random], bytes]


@dataclass(frozen=True)
class Loader:
    name: str
    file: str  # under which the input is written, in a folder of its own
    make: Make  # one input from a source of randomness
    read: Callable[[Path], Any]  # False where the input was refused without an error
    share: float = 1.0  # of the inputs, against the others'


# --- data ----------------------------------------------------------------------------------------------------------

SPECS = {
    "jsonl": TaskSpec(kind="classification", inputs=["text"], label="label", labels=["bad", "good"], metric="f1",
                      source=Source(planted=True)),
    "tagging": TaskSpec(kind="tagging", inputs=["tokens"], label="tags", labels=["O", "V"], metric="f1",
                        source=Source(planted=True)),
    "csv": TaskSpec(kind="regression", inputs=["text"], label="label", range=(0, 5), metric="pearson",
                    source=Source(planted=True)),
}  # fmt: skip
ROWS = [{"text": "a text", "label": "good"}, {"text": "é <b>", "label": 0, "more": [1, {"a": None}]}]
SCORES = [{"text": "x", "label": 1.5}, {"text": "y", "label": 5}]
TAGS = [{"tokens": ["a", "b"], "tags": ["O", "V"]}, {"tokens": ["c"], "tags": [1]}]


def _lines(values: Any) -> bytes:
    return b"\n".join(map(inputs.as_json, values if isinstance(values, list) else [values])) + b"\n"


def _rows(spec: TaskSpec, path: Path) -> None:
    validation.typed("t", spec, {"train": readers.read_file(path)})


def _conll(path: Path) -> None:
    for columns in (None, (1, 3)):
        validation.typed("t", SPECS["tagging"], {"train": readers.read_file(path, columns)})


CSV = [b'text,label\nfine,1\n"a, b",2.5\n', b'text,label\r\n"two\nlines",0\r\n', b"text,label\n=1+1,3\n"]
TSV = [b'text\tlabel\nfine\t1\n"a\t2.5\n', b"text\tlabel\r\nx\t0\r\n"]
CONLL = [b"-DOCSTART- O\n\na O\nb V\n\nc V\n", b"1\ta\tx\tO\n2-3\tb\tx\tV\n2\tb\tx\tV\n", b"# id = 1\na O\n# O\n\n"]
RTE = b'index\tsentence1\tsentence2\tlabel\n0\ta\tb\tentailment\n1\tc "d\te\tnot_entailment\n'


def _parquet(**columns: Any) -> bytes:
    made = io.BytesIO()
    pd.DataFrame(columns).to_parquet(made)
    return made.getvalue()


PARQUET = [
    _parquet(text=["a", "b"], label=[1.0, 2.5]),
    _parquet(text=["a", "b", None], label=[1.0, 2.5, 3.0]),
    _parquet(text=["x"] * 50, label=pd.date_range("2020", periods=50)),
    _parquet(task=["t", "u"], row=[0, 1], row_id=[3, 4], length=[5, 6], tokens=[["a"], ["b", "c"]]),
]

# --- YAML ----------------------------------------------------------------------------------------------------------

SUITES: list[Any] = [
    {"name": "s", "root": ".", "tasks": {
        "t": {"kind": "classification", "inputs": ["text"], "label": "label", "labels": ["bad", "good"],
              "metric": "accuracy", "source": {"folder": "t"}},
        "u": {"kind": "regression", "inputs": ["a", "b"], "label": "y", "range": [0, 5], "metric": "pearson",
              "source": {"files": {"train": "a.csv", "dev": "b.csv"}}, "resplit": {"train": 5}},
        "v": {"kind": "tagging", "inputs": ["tokens"], "label": "tags", "labels": ["O", "V"], "metric": "f1",
              "source": {"hub": "owner/name", "config": "c"}},
    }},
    {"name": "s", "extends": "other.yaml", "tasks": {"t": {"metric": "f1"}, "u": None}},
]  # fmt: skip
STUDIES: list[Any] = [
    {"study": "s", "title": "A <b>study</b>", "base": {"suite": "planted", "primary": "topic_side", "seeds": [0]},
     "grid": {"arm": ["single", "random"], "n": [20]}, "exclude": [{"arm": "random", "n": 20}],
     "stages": ["06_mtl", "01_data_prep"], "notebooks": {"06_mtl": {"lr": 0.001}},
     "methods": {"single": {"epochs": 2}, "tawt": {"weight_every": 3}}, "per_seed": ["02_td_proxy"], "plugins": []},
]  # fmt: skip
PARAMETERS: dict[str, Any] = {
    "arm": "random+tawt_joint", "n": 3, "lr": 1e-3, "seeds": [0], "methods": {"tawt": {"weight_every": 3}},
    "settings": {"keep_leaks": True, "tune_steps": 0},
}  # fmt: skip
PROFILES: list[Any] = [{"executor": "local", "cores": 2}, {"jobs": 3, "default-resources": ["mem_mb=1"]}]


def _yaml(value: Any) -> bytes:
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=False).encode("utf-8", "surrogatepass")


def _suite(path: Path) -> None:
    (path.parent / "other.yaml").write_bytes(_yaml(SUITES[0]))
    spec, _ = suite_files.read_suite(path)
    assert all(
        set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") for name in spec.tasks
    )


def _study(path: Path) -> None:
    file = study_file.read(path)
    assert "/" not in file.study
    # Grids may be as large as a person likes; here they must end.
    if len(str(file.grid)) < 300:
        graph.validated(path)


# --- run folders -----------------------------------------------------------------------------------------------------

MANIFEST: dict[str, Any] = {
    "stage": "06_mtl", "key": KEY, "schema": 1, "params": {"arm": "single", "n": 5, "seeds": [0, 1], "study": "s"},
    "key_params": {"arm": "single"}, "suite": "f" * 16, "inputs": [{"stage": "train", "key": KEY, "outputs": "x",
    "code": "y"}], "outputs": {"data.txt": "0" * 64},
    "metrics": {"metric": "accuracy", "seeds": {"0": {"dev": {"accuracy": 0.5}, "ledger": [], "needed": []}}, "rows": 3,
                "arms": {"single": {"difference": None, "verdict": "x"}}, "pairs": [{"arm": "a", "baseline": "b"}],
                "dev": {"f1": 0.1}, "auc": {"0": 1.0}},
    "ledger": [{"stage": "tune", "seconds": 1.5, "flops": 1e9, "tokens": 3, "padded_tokens": 4, "steps": 1,
                "examples": 2, "peak_bytes": 5, "joules": None}],
    "seeds": {"0/order": 2**62}, "rows": {"t": 3}, "code": {"roots": ["errors"], "notebook": None, "hash": "0" * 16},
    "git": {"commit": "a" * 40, "dirty": False}, "versions": {"torch": "2"}, "device": "cpu", "threads": 1,
    "started": "2024-01-01T00:00:00+00:00", "finished": "2024-01-01T00:00:01+00:00",
}  # fmt: skip
RECORD: dict[str, Any] = {
    "schema": 1, "study": "s", "title": "t", "written": "2024-01-01", "environments": {}, "figures": {},
    "runs": {f"06_mtl/{KEY}": {"status": "finished", "manifest": "0" * 64, "outputs": {"a.txt": "1" * 64},
             "code": {"roots": ["errors"], "notebook": None, "hash": "0" * 16},
             "git": {"commit": "a", "dirty": False}}},
    "suites": {"f" * 16: {"name": "planted-not", "rows": 0}}, "files": {"index.html": "2" * 64},
}  # fmt: skip
PLAN: dict[str, Any] = {"study": "s", "title": "t", "cells": [
    {"stage": "06_mtl", "key": KEY, "label": "one", "params": {"arm": "single"}, "reads": [["train", KEY]]},
    {"stage": "07_efficiency", "key": KEY, "label": "all", "params": {"primary": "t", "arms": ["single"], "n": 3,
     "seeds": [0], "level": 0.95, "suite": "planted"}},
]}  # fmt: skip


def _manifest(path: Path) -> bool:
    """`path` is …/06_mtl/KEY/manifest.json. Nothing of it raises: a manifest that is none is a damaged run."""
    os.environ["AUXLEARN_RUNS"] = str(path.parents[2])
    found = run_status.read({"stage": "06_mtl", "key": KEY, "label": "x", "params": {}})
    if found.manifest is not None:
        assert found.headline is not None
        provenance.run(found.manifest, found.status)
        json.dumps(provenance.record("s", "t", [("damaged", found.manifest)], {}, path.parent))
    list(tracking._rows("06_mtl", KEY))
    return bool(run_search.all_runs("06_mtl"))


def _provenance(path: Path) -> None:
    os.environ["AUXLEARN_RUNS"] = str(path.parent)
    found, content = verifying.Finding(path.parent), provenance.read(path.parent)
    for check in (verifying._files, verifying._runs, verifying._code):
        check(found, content)
    assert found.shown()


def _plan(path: Path) -> None:
    """`path` is …/studies/s/plan.json."""
    os.environ["AUXLEARN_RUNS"] = str(path.parents[2])
    report.plan("s")


def _report(path: Path) -> None:
    _plan(path)
    plain(report.render("s", path.parent / "report").read_text(encoding="utf-8"))


class _Markup(html.parser.HTMLParser):
    """Collects what a page must not hold: scripts other than its own, handlers, frames, links that execute."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in {"script", "iframe", "object", "embed", "base", "form", "svg", "style"} and attrs:
            self.found.append(tag)
        for name, value in attrs:
            where = "".join((value or "").split()).lower()
            if name.startswith("on") or (name in {"href", "src"} and where.startswith(("javascript:", "vbscript:"))):
                self.found.append(f"{tag} {name}={value}")
            if tag == "img" and name == "src" and not where.startswith("data:image/") and "/" in where:
                self.found.append(f"{tag} {name}={value}")


def plain(page: str) -> None:
    """A page without markup of others'."""
    parser = _Markup()
    parser.feed(page)
    assert not parser.found, parser.found
    assert "<script>alert" not in page


PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
NOTEBOOK = json.loads(json.dumps(nb.new_notebook(cells=[
    nb.new_markdown_cell("# <script>alert(1)</script> $x^2$ ![a](http://x/y.png) [b](javascript:alert(1))"),
    nb.new_code_cell("plots.curve(1)", metadata={"tags": ["parameters"]}, outputs=[
        nb.new_output("stream", text="<script>alert(1)</script>\n"),
        nb.new_output("display_data", {"text/plain": "<b>", "image/png": base64.b64encode(PNG).decode(),
                                       "text/html": "<script>alert(1)</script>"}, metadata={"width": 3}),
        nb.new_output("execute_result", {"text/plain": "1"}, execution_count=1),
        nb.new_output("error", ename="ValueError", evalue="<script>alert(1)</script>", traceback=["\x1b[31mx"]),
    ]),
    nb.new_raw_cell("<script>alert(1)</script><img src=x onerror=alert(1)>"),
], metadata={"papermill": {"start_time": "2024"}, "language_info": {"name": "python"}})))  # fmt: skip


def _notebook(path: Path) -> None:
    run_status.error(documents.read_notebook(path))
    plain(pages.page(path, "<script>alert(1)</script>"))


# --- arrays and what others hand in ----------------------------------------------------------------------------------


def _npz(rng: random.Random) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as packed:
        for name in rng.sample(["a.npy", "predictions.npy", "../x.npy", "a.txt", "\u00e9.npy"], rng.randrange(1, 4)):
            whole = io.BytesIO()
            np.save(whole, np.arange(rng.randrange(5)))
            packed.writestr(name, whole.getvalue() if rng.random() < 0.5 else inputs.numpy_file(rng))
    return inputs.flipped(rng, made.getvalue()) if rng.random() < 0.5 else made.getvalue()


@cache
def _answers() -> dict[str, bytes]:
    """The files of a sound submission."""
    with tempfile.TemporaryDirectory() as folder:
        made = glue_submission.write({}, Path(folder, "x.zip"))
        with zipfile.ZipFile(made) as packed:
            return {name: packed.read(name) for name in packed.namelist()}


def _submission(rng: random.Random) -> bytes:
    files = dict(_answers())
    for name in rng.sample(sorted(files), rng.choice((0, 0, 1, 2))):
        sound = files[name]
        files[name] = rng.choice((b"", sound[:200], inputs.flipped(rng, sound), b"index\tprediction\n0\t1\n"))
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as packed:
        for name, text in files.items():
            packed.writestr(name, text)
    return inputs.flipped(rng, made.getvalue()) if rng.random() < 0.5 else made.getvalue()


PROGRESS = json.dumps({
    "progress": {"phase": 0, "epoch": 1, "history": [], "looks": [], "chosen": {}, "ledgers": []},
    "steps": [["tune", "a"]],
})  # fmt: skip
CHECKPOINT = save({
    "model/a": torch.zeros(2, 3), "best/a": torch.ones(2, 3), "optimiser/0/step": torch.zeros(()),
    "progress": torch.tensor(list(PROGRESS.encode()), dtype=torch.uint8),
    "steps/codes": torch.zeros(2, dtype=torch.int32), "steps/losses": torch.zeros(2, 2, dtype=torch.float64),
})  # fmt: skip


json_of, bytes_of = inputs.document, inputs.damaged
jsonl = json_of([ROWS, SCORES], _lines)
LOADERS = {
    loader.name: loader
    for loader in (
        Loader("suite YAML", "x.yaml", json_of(SUITES), _suite),
        Loader("suite YAML as text", "x.yaml", bytes_of([_yaml(s) for s in SUITES]), _suite),
        Loader("study YAML", "x.yaml", json_of(STUDIES), _study, 0.2),
        Loader("study YAML as text", "x.yaml", bytes_of([_yaml(s) for s in STUDIES]), _study, 0.2),
        Loader("parameters YAML", "x.yaml", json_of([PARAMETERS]),
               lambda path: parameters.check("06_mtl", _mapping(documents.read_yaml(path)))),
        Loader("profile YAML", "config.yaml", json_of(PROFILES), lambda path: profiles.read(path.parent)),
        Loader("JSON lines", "x.jsonl", jsonl, partial(_rows, SPECS["jsonl"])),
        Loader("JSON lines, scores", "x.jsonl", jsonl, partial(_rows, SPECS["csv"])),
        Loader("JSON lines, tags", "x.jsonl", json_of([TAGS], _lines), partial(_rows, SPECS["tagging"])),
        Loader("JSON lines, gzipped", "x.jsonl.gz", inputs.packed(jsonl), partial(_rows, SPECS["jsonl"])),
        Loader("CSV", "x.csv", bytes_of(CSV), partial(_rows, SPECS["csv"])),
        Loader("TSV", "x.tsv", bytes_of(TSV), partial(_rows, SPECS["csv"])),
        Loader("CoNLL", "x.conll", bytes_of(CONLL), _conll),
        Loader("CoNLL, gzipped", "x.conll.gz", inputs.packed(bytes_of(CONLL)), _conll),
        Loader("glue_data TSV", "RTE/train.tsv", bytes_of([RTE]), lambda path: readers.read_glue(path.parent)),
        Loader("Parquet, rows", "x.parquet", bytes_of(PARQUET), partial(_rows, SPECS["csv"]), 0.5),
        Loader("Parquet, table", "x.parquet", bytes_of(PARQUET), lambda path: parquet.read_frame(path, ("task",)), 0.5),
        Loader("npz", "x.npz", _npz, stored_arrays.arrays),
        Loader("npy", "x.npy", inputs.numpy_file, stored_arrays.array),
        Loader("checkpoint", "x.safetensors", inputs.safetensors(CHECKPOINT),
               lambda path: checkpoint.load(path, "cpu")),
        Loader("manifest", f"06_mtl/{KEY}/manifest.json", json_of([MANIFEST]), _manifest),
        Loader("provenance", "provenance.json", json_of([RECORD]), _provenance),
        Loader("plan", "studies/s/plan.json", json_of([PLAN]), _plan),
        Loader("plan to report", "studies/s/plan.json", json_of([PLAN]), _report, 0.02),
        Loader(
            "notebook", "x.ipynb", json_of([NOTEBOOK]), lambda path: run_status.error(documents.read_notebook(path))
        ),
        Loader("notebook to page", "x.ipynb", json_of([NOTEBOOK]), _notebook, 0.1),
        Loader("picture", "x.png", bytes_of([PNG]), lambda path: palette.smaller(path.read_bytes()), 0.5),
        Loader("rank JSON", "t.json", json_of([{"for_p_rank": [1, -1, 2.5, 3]}]),
               lambda path: selections.load_rank_json(path.parent, "p")),
        Loader("submission zip", "x.zip", _submission, glue_submission.check, 0.05),
        *(Loader(f"encoder, {name}", name, fuzz_encoders.make(name), fuzz_encoders.read, 0.05)
          for name in fuzz_encoders.FILES),
    )
}  # fmt: skip


def _mapping(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError("parameters: names with values are expected")
    return {str(name): part for name, part in value.items()}


def outcome(loader: Loader, folder: Path, data: bytes) -> tuple[str, str]:
    """("accepted" | "refused", message). Anything but an InputError of one line is raised as it is."""
    path = folder / loader.file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    try:
        return ("refused", "") if loader.read(path) is False else ("accepted", "")
    except InputError as error:
        message = str(error)
        assert message, "an error says what is wrong"
        assert len(message) < 3000, f"a message of {len(message)} characters"
        return "refused", message
