"""What a hostile suite, data file, run folder or notebook once got through with, each refused or made harmless.

tests/fuzz gives the same loaders inputs that nobody chose.
"""

import base64
import io
import json
import struct
import zipfile
import zlib
from types import SimpleNamespace
from unittest.mock import MagicMock

import nbformat.v4 as nb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import save_file

from auxlearn.data import parquet, suite_files
from auxlearn.data.reading import hub_sets, parsing, raw_rows, validation
from auxlearn.data.schema import Source, TaskSpec
from auxlearn.errors import InputError
from auxlearn.export import exports_of_runs, selections
from auxlearn.files import bounded_files, documents, stored_arrays, writing
from auxlearn.records import code_hash, run_search, runs
from auxlearn.reporting import scalars, tracking
from auxlearn.reporting.pages import pages, report
from auxlearn.reporting.plots import palette
from auxlearn.studies import parameters, planning, provenance, study_file, verify
from auxlearn.studies.engine import profiles, runner
from auxlearn.training import checkpoint

KEY = "0123456789abcdef"
TASK = {"kind": "classification", "inputs": ["text"], "label": "label", "labels": ["bad", "good"], "metric": "accuracy"}


def refused(call, *parts):
    with pytest.raises(InputError) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)


def written(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


# --- YAML and JSON ---------------------------------------------------------------------------------------------------

LAUGHS = "a0: &a0 [x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(LAUGHS, "stands for more than 100,000 values", id="billion laughs"),
        pytest.param("a: &a " + "x" * 1000 + "\nb: [" + "*a," * 20_000 + "]", "stands for more", id="long aliases"),
        pytest.param("&a [*a]", "an alias of what it stands in", id="recursive"),
        pytest.param("a: &a {<<: *a}", "an alias of what it stands in", id="recursive merge"),
        pytest.param("a: " + "[" * 100 + "]" * 100, "nested deeper than 64", id="deep"),
        pytest.param("n: 0x" + "F" * 5000, "does not fit 64 bits", id="a number of 6,000 digits"),
        pytest.param("n: 18446744073709551616", "does not fit 64 bits", id="2 ** 64"),
        pytest.param("n: !!int ''", "not valid YAML of its tag int", id="empty number"),
        pytest.param("n: !!bool x", "not valid YAML of its tag bool", id="no bool"),
        pytest.param("n: !!timestamp x", "not valid YAML of its tag timestamp", id="no date"),
        pytest.param("n: !!binary eA==", "could not determine a constructor", id="binary"),
        pytest.param('n: "a\\0b"', "NUL", id="NUL"),
        pytest.param('n: "\\ud800"', "surrogate", id="half a surrogate pair"),
        pytest.param("{" + ",".join(f"k{i}: 1" for i in range(120_000)) + "}", "bytes", id="large"),
        pytest.param("a: {b: 1, b: 2}", "line 1: 'b' is given twice", id="twice"),
    ],
)
def test_yaml_is_bounded(tmp_path, text, message):
    refused(lambda: documents.read_yaml(written(tmp_path / "x.yaml", text)), "x.yaml", message)


def test_yaml_of_many_keys_is_read_in_time(tmp_path):
    text = "".join(f"k{i}: 1\n" for i in range(20_000))
    assert len(documents.read_yaml(written(tmp_path / "x.yaml", text))) == 20_000


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"a": ' + "[" * 70 + "]" * 70 + "}", "nested deeper than 64"),
        ('{"a": ' + "[" * 100_000, "nested deeper than 64"),
        ('{"a": 9223372036854775808}', "does not fit 64 bits"),
        ('{"a": "\\ud800"}', "surrogates"),
        ("[1]", "a JSON object is expected, not list"),
        ('{"a": [{"b": 1, "c": 2, "b": 1}]}', "'b' is given twice in one object"),
        (b'{"a": "\xff"}', "not JSON: invalid start byte"),
        ("{", "not JSON"),
    ],
)
def test_json_is_bounded(tmp_path, text, message):
    refused(lambda: documents.read_object(written(tmp_path / "x.json", text)), "x.json", message)


def test_brackets_in_text_are_not_depth(tmp_path):
    assert documents.read_json(written(tmp_path / "x.json", json.dumps(["[" * 200 + '\\"' + "{" * 200]))) is not None


# --- suites, studies, rows -------------------------------------------------------------------------------------------


def suite(folder, **changes):
    spec = TASK | {"source": {"files": {"train": "train.csv"}}} | changes
    return written(folder / "suite" / "x.yaml", yaml.safe_dump({"name": "s", "root": "data", "tasks": {"t": spec}}))


@pytest.mark.parametrize(
    "source",
    [
        {"files": {"train": "../../out.csv"}},
        {"files": {"train": "link.csv"}},
        {"folder": ".."},
        {"folder": "linked"},
        {"glue_data": "../RTE"},
    ],
)
def test_sources_stay_inside_the_root(tmp_path, source):
    from auxlearn.data import suites

    outside, root = written(tmp_path / "out.csv", "text,label\na,good\n"), tmp_path / "suite" / "data"
    root.mkdir(parents=True)
    (root / "link.csv").symlink_to(outside)
    (root / "linked").symlink_to(tmp_path)
    refused(lambda: suites.Suite.from_yaml(suite(tmp_path, source=source)), "task 't': ", "leads out of")


def test_extending_suites_are_bounded(tmp_path):
    path = written(tmp_path / "in" / "x.yaml", "name: s\nextends: ../base.yaml\n")
    refused(lambda: suite_files.read_suite(path), "base.yaml: no such file")
    (tmp_path / "in" / "loop.yaml").symlink_to("loop.yaml")
    written(path, "name: s\nextends: loop.yaml\n")
    refused(lambda: suite_files.read_suite(path), "loop.yaml")
    written(path, f"name: s\nextends: {'x' * 300}.yaml\n")
    refused(lambda: suite_files.read_suite(path), "File name too long")
    for i in range(12):
        written(tmp_path / f"{i}.yaml", f"name: s\nextends: {i + 1}.yaml\n")
    refused(lambda: suite_files.read_suite(tmp_path / "0.yaml"), "extends another, and so on 8 times")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": ["row_id"]}, "'row_id' is a column that reading adds"),
        ({"label": "text"}, "inputs and label must be different columns"),
        ({"kind": "regression", "labels": None, "range": [0, float("inf")]}, "two finite numbers"),
        ({"source": {"hub": "../x"}}, "hub"),
        ({"source": {"hub": "/etc"}}, "hub"),
    ],
)
def test_what_a_task_may_not_say(tmp_path, changes, message):
    refused(lambda: suite_files.read_suite(suite(tmp_path, **changes)), "tasks.t", message)


def test_a_format_is_no_data_set_of_the_hub():
    refused(lambda: hub_sets.read_hub("pandas", None, None), "'pandas' is a file format")


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "..", "", "x" * 200])
def test_a_study_names_a_folder_of_its_own(tmp_path, name):
    path = written(tmp_path / "x.yaml", yaml.safe_dump({"study": name}))
    refused(lambda: study_file.read(path), "x.yaml: study")


@pytest.mark.parametrize("name", ["../../x", "/etc"])
def test_a_report_is_looked_for_in_its_place_alone(name):
    for call in (report.plan, report.publish, runner.study_folder, verify.verify):
        refused(lambda call=call: call(name), "leads out of")
    refused(lambda: report.mark_stale(name, "why"), "leads out of")


def test_parameters_are_finite():
    for value in (float("inf"), float("nan")):
        refused(lambda value=value: parameters.validate("06_mtl", {"lr": value}), "lr: ")


@pytest.mark.parametrize("executor", ["a.b", "../x", "x" * 10 + "\n"])
def test_an_executor_is_a_name(tmp_path, executor):
    written(tmp_path / "config.yaml", yaml.safe_dump({"executor": executor, "jobs": 1}))
    refused(lambda: profiles.read(tmp_path), "config.yaml: executor")


@pytest.mark.parametrize(
    ("spec", "value", "message"),
    [
        ({}, "9" * 5000, "row 0: unknown label"),
        ({"kind": "regression", "labels": None, "range": (0, 5), "metric": "pearson"}, 10**400, "row 0: the label"),
        ({}, ["x" * 100_000], "unknown label"),
    ],
)
def test_labels_of_any_size_are_named_shortly(spec, value, message):
    task = TaskSpec(**TASK | spec, source=Source(planted=True))
    with pytest.raises(InputError, match=message) as caught:
        validation.typed("t", task, {"train": raw_rows.from_batches([{"text": ["x"], "label": [value]}])})
    assert len(str(caught.value)) < 300


def test_a_text_that_is_a_deep_list_is_named():
    deep = []
    for _ in range(1200):
        deep = [deep]
    task = TaskSpec(**TASK, source=Source(planted=True))
    raw = {"train": raw_rows.from_batches([{"text": [deep], "label": [0]}])}
    refused(lambda: validation.typed("t", task, raw), "'text' must be text, not [[")


# --- bombs -----------------------------------------------------------------------------------------------------------


def test_the_bound_on_bytes_can_be_set(tmp_path, monkeypatch):
    path = tmp_path / "x.jsonl.gz"
    import gzip

    path.write_bytes(gzip.compress(b'{"a": 1}\n' * 1000))
    assert len(parsing.read_jsonl(path)) == 1000
    monkeypatch.setenv(bounded_files.MAX_BYTES, "8999")
    refused(lambda: parsing.read_jsonl(path), "expands beyond", bounded_files.MAX_BYTES)
    monkeypatch.setenv(bounded_files.MAX_BYTES, "9000")
    assert len(parsing.read_jsonl(path)) == 1000
    for wrong in ("0", "-1", "x", "1e9", "9" * 30):
        monkeypatch.setenv(bounded_files.MAX_BYTES, wrong)
        refused(lambda: parsing.read_jsonl(path), bounded_files.MAX_BYTES, "a whole number of bytes")


@pytest.mark.parametrize(
    "table",
    [
        {"text": ["x" * 100_000] * 500},
        {"tokens": [["x" * 100_000] * 50] * 10},
        {"n": np.zeros(1_000_000, np.int8)},
    ],
)
def test_parquet_is_counted_before_it_is_expanded(tmp_path, monkeypatch, table):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table(table), path, compression="zstd")
    monkeypatch.setenv(bounded_files.MAX_BYTES, "7000000")
    assert path.stat().st_size < 200_000
    for read in (parquet.read_table, parquet.read_frame):
        refused(lambda read=read: read(path), "x.parquet: its rows would take more than 7,000,000 bytes")
    monkeypatch.setenv(bounded_files.MAX_BYTES, "80000000")
    assert len(parquet.read_frame(path)) == len(next(iter(table.values())))


def test_columns_that_nobody_asks_for_do_not_count(tmp_path, monkeypatch):
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"text": ["x"] * 10, "more": ["y" * 100_000] * 10}), path)
    monkeypatch.setenv(bounded_files.MAX_BYTES, "1000")
    table, names = parquet.read_table(path, ("text", "label"))
    assert (table.to_pydict(), names) == ({"text": ["x"] * 10}, ["text", "more"])
    refused(lambda: parquet.read_table(path, ("more",)), "more than 1,000 bytes", "set AUXLEARN_MAX_BYTES")


@pytest.mark.parametrize(
    "values", [pa.array([7, 8] * 5), pa.array(["a", "b"] * 5, pa.large_string()), pa.array([0.5, 1.5] * 5)]
)
def test_dictionaries_of_any_type_are_read(tmp_path, values):
    pq.write_table(pa.table({"a": values.dictionary_encode()}), tmp_path / "x.parquet")
    assert parquet.read_table(tmp_path / "x.parquet")[0].column("a").to_pylist() == values.to_pylist()


def header(descr, shape):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (header("<f8", "(1000000000000000,)") + b"\0" * 8, "which 136 bytes are not"),
        (header("|O", "(1,)") + b"\x80\x04N.", "an array of object"),
        (header("<f8", "(-1,)"), "which"),
        (header("<f8", "(" * 200), "not readable as arrays"),
        (b"\x93NUMPY\x09\x00", "not readable as arrays"),
        (b"", "not readable as arrays"),
    ],
)
def test_arrays_are_as_large_as_they_say(tmp_path, content, message):
    refused(lambda: stored_arrays.array(written(tmp_path / "x.npy", content)), "x.npy", message)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as packed:
        packed.writestr("a.npy", content)
    refused(lambda: stored_arrays.arrays(tmp_path / "x.npz"), "x.npz")


def test_an_archive_of_arrays_is_bounded(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "x.npz", a=np.zeros(1_000_000))
    monkeypatch.setenv(bounded_files.MAX_BYTES, "7999999")
    refused(lambda: stored_arrays.arrays(tmp_path / "x.npz"), "more than 7,999,999 bytes unpacked")
    monkeypatch.delenv(bounded_files.MAX_BYTES)
    assert stored_arrays.arrays(tmp_path / "x.npz", ("a",))["a"].shape == (1_000_000,)
    refused(lambda: stored_arrays.arrays(tmp_path / "x.npz", ("b",)), "holds no 'b'; it has a")


def png(width, height):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    data = zlib.compress(b"\0" * 1000)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_pictures_are_bounded():
    refused(lambda: palette.smaller(png(20_000, 4_000)), "a picture of more than 50,000,000 pixels")
    refused(lambda: palette.smaller(png(100_000, 100_000)), "a picture that cannot be read")
    refused(lambda: palette.smaller(b"GIF89a"), "a picture that cannot be read")


# --- run folders -----------------------------------------------------------------------------------------------------


def manifest(folder, stage="train", key=KEY, **changes):
    content = {
        "stage": stage, "key": key, "params": {}, "key_params": {}, "suite": "", "inputs": [], "outputs": {},
        "code": {"roots": ["errors"], "notebook": None, "hash": code_hash.code_hash(["errors"])},
    } | changes  # fmt: skip
    path = folder / stage / key / "manifest.json"
    return written(path, json.dumps(content))


def test_a_run_that_reads_itself_is_damaged(runs_folder):
    reads = [{"stage": "train", "key": KEY, "outputs": runs.digest({}), "code": code_hash.code_hash(["errors"])}]
    manifest(runs_folder)
    assert runs.read("train", KEY)[0] == "finished"
    manifest(runs_folder, inputs=reads)
    assert runs.read("train", KEY)[0] in ("stale", "damaged")


def test_runs_that_read_each_other_many_times_are_read_once(runs_folder):
    keys = [f"{i:016x}" for i in range(30)]
    made_by = code_hash.code_hash(["errors"])
    for i, key in enumerate(keys):
        below = [{"stage": "train", "key": keys[min(i + 1, 29)], "outputs": runs.digest({}), "code": made_by}] * 2
        manifest(runs_folder, key=key, inputs=below if i < 29 else [])
    assert runs.read("train", keys[0])[0] == "finished"


@pytest.mark.parametrize(
    "changes",
    [
        {"outputs": {"../../x": "0"}}, {"outputs": {"/etc/passwd": "0"}}, {"outputs": []},
        {"inputs": [{"stage": ".."}]},
        {"inputs": [{"stage": "../..", "key": "x"}]}, {"code": {"roots": ["../x"], "notebook": None, "hash": ""}},
        {"code": {"roots": [], "notebook": "../x.ipynb", "hash": ""}}, {"code": None}, {"ledger": [3]}, {"metrics": []},
        {"ledger": [{"stage": "x", "seconds": "1"}]}, {"git": {"commit": 3}},
    ],
)  # fmt: skip
def test_a_manifest_of_another_shape_is_damaged(runs_folder, changes):
    manifest(runs_folder, **changes)
    assert runs.read("train", KEY) == ("damaged", None)
    assert run_search.all_runs("train") == []
    assert [row["status"] for row in tracking._rows("train", KEY)] == ["damaged"]


@pytest.mark.parametrize(
    ("content", "status"),
    [("{}", "damaged"), ("[]", "damaged"), ("null", "damaged"), ("", "damaged"), ('{"stage": "tr', "damaged"),
     ("\0\ufffd", "damaged"), ({"stage": None}, "damaged"), ({"key": "1" * 16}, "damaged"), ({"code": {}}, "damaged"),
     ({"params": {}, "ledger": [{"stage": "x", "flops": None}]}, "finished"), ({"finished": "x"}, "finished"),
     ({"params": {"encoder": 1, "processes": None}}, "finished")],
)  # fmt: skip
def test_an_odd_manifest_is_its_own_trouble_alone(runs_folder, content, status, monkeypatch):
    """What plans, lists and exports read of other runs goes on beside it."""
    sound = {"params": {"encoder": "e"}, "device": "d", "ledger": [{"stage": "x", "flops": 8.0, "seconds": 2.0}]}
    manifest(runs_folder, key="2" * 16, **sound, finished="2024-01-01")
    file = manifest(runs_folder)
    file.write_text(content if isinstance(content, str) else json.dumps(json.loads(file.read_text()) | content))
    assert runs.read("train", KEY)[0] == status
    assert [m.key for m in run_search.all_runs("train")] == [KEY, "2" * 16][status == "damaged" :]
    assert next(row["status"] for row in tracking._rows("train", KEY)) == status
    monkeypatch.setattr(planning.runs, "device_name", lambda _: "d")
    monkeypatch.setattr("auxlearn.models.encoder_files.fingerprint", lambda _: "e")
    assert planning.seen(SimpleNamespace(encoder="e", precision=None, threads=None, device=None)) == 4.0
    refused(lambda: exports_of_runs.trained(KEY), KEY)
    written(file.with_name("history.json"), "{}")
    written(file.with_name("steps.parquet"), "")
    monkeypatch.setattr(scalars, "_writer", MagicMock)
    if status == "finished":
        refused(lambda: scalars.write(runs_folder / "logs"), KEY, "run its study again")


@pytest.mark.parametrize("content", ["{}", "[]", '{"cells": [1]}', '{"cells": [{"cell_type": "code"}]}', '{"cel'])
def test_a_notebook_that_is_half_written_makes_a_run_stale(runs_folder, tmp_path, monkeypatch, content):
    written(tmp_path / "x.ipynb", content)
    monkeypatch.setattr(runs, "NOTEBOOKS", tmp_path)
    manifest(runs_folder, code={"roots": ["errors"], "notebook": "x.ipynb", "hash": "0"})
    assert runs.read("train", KEY)[0] == "stale"


def test_a_module_that_is_gone_makes_a_run_stale(runs_folder):
    manifest(runs_folder, code={"roots": ["no_such_module"], "notebook": None, "hash": "0"})
    assert runs.read("train", KEY)[0] == "stale"


@pytest.mark.parametrize(
    "metrics",
    [{"seeds": [1]}, {"seeds": {"x": {}}}, {"arms": 3}, {"pairs": [1]}, {"dev": "x"}, {"seeds": {"0": {"ledger": 1}}},
     {"a": {"9" * 5000: 1}}],
)  # fmt: skip
def test_metrics_of_any_shape_are_rows(runs_folder, metrics):
    manifest(runs_folder, metrics=metrics)
    assert list(tracking._rows("train", KEY))


RUN = {"manifest": "0", "outputs": {}, "git": {}}


@pytest.mark.parametrize(
    "changes",
    [{"runs": {"../../x": {}}}, {"files": []}, {"schema": 2}, {"suites": {"a": 1}},
     {"runs": {f"train/{KEY}": RUN | {"code": {"roots": ["errors"]}}}}],
)  # fmt: skip
def test_provenance_of_another_shape_is_refused(tmp_path, changes):
    good = {"schema": 1, "written": "2024", "runs": {}, "suites": {}, "files": {}}
    written(tmp_path / provenance.NAME, json.dumps(good))
    assert provenance.read(tmp_path) == good
    written(tmp_path / provenance.NAME, json.dumps(good | changes))
    refused(lambda: provenance.read(tmp_path), "provenance.json", "publish the study again")


def test_a_checkpoint_that_is_none_is_refused(tmp_path):
    file = written(tmp_path / "checkpoint.safetensors", b"\0" * 100)
    refused(lambda: checkpoint.load(file, "cpu"), "not readable as safetensors", "begins anew")
    for name, metadata in (("model/a", None), ("model/a", {"progress": "["}), ("optimiser/x/y", {"progress": "{}"})):
        save_file({name: torch.zeros(1)}, file, metadata)
        refused(lambda: checkpoint.load(file, "cpu"), "not a checkpoint", "begins anew")
    net = torch.nn.Linear(2, 1)
    refused(lambda: stored_arrays.fitted(net, {"weight": torch.zeros(3)}, file), "no tensor 'bias'")
    state = {"weight": torch.zeros(3), "bias": torch.zeros(1)}
    refused(lambda: stored_arrays.fitted(net, state, file), "tensor 'weight' is (3,), not (1, 2)")


@pytest.mark.parametrize("ranks", ["[1e400]", "[" + "9" * 400 + "]", "[1e300]", "[NaN]", "[true]", '["1"]', "{}"])
def test_a_rank_is_a_number(tmp_path, ranks):
    written(tmp_path / "t.json", f'{{"for_p_rank": {ranks}}}')
    refused(lambda: selections.load_rank_json(tmp_path, "p"), "t.json")


# --- what leaves -----------------------------------------------------------------------------------------------------


def test_a_notebook_brings_no_markup_to_a_page(tmp_path):
    evil, picture = "<script>alert(1)</script>", io.BytesIO()
    from PIL import Image

    Image.new("RGB", (2, 2)).save(picture, "PNG")
    outputs = [
        nb.new_output("stream", text=evil),
        nb.new_output("display_data", {"text/plain": evil, "text/html": evil, "image/svg+xml": evil}),
        nb.new_output(
            "display_data", {"image/png": base64.b64encode(picture.getvalue()).decode()},
            metadata={"width": "1 onerror=alert(1)", "height": "1 onload=alert(1)"},
        ),
        nb.new_output("display_data", {"image/png": "bm90IGEgcGljdHVyZQ=="}),
        nb.new_output("display_data", {"text/plain": "of another type below"}),
        nb.new_output("error", ename=evil, evalue=evil, traceback=[evil]),
    ]  # fmt: skip
    cells = [nb.new_code_cell(evil, outputs=outputs), nb.new_raw_cell("<b>raw</b>"), nb.new_markdown_cell(evil)]
    path = tmp_path / "x.ipynb"
    made = json.loads(json.dumps(nb.new_notebook(cells=cells, metadata={"language_info": {"name": '"><script>'}})))
    made["cells"][0]["outputs"][4]["data"] = {"image/png": -1, "text/plain": [[evil]]}  # nbformat refuses to make it
    path.write_text(json.dumps(made))
    text = pages.page(path, evil)
    for part in ("<script", "onerror=", "onload=", "<b>raw"):
        assert part not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "a picture that cannot be read" in text


@pytest.mark.parametrize(
    "content",
    ["", "{}", '{"nbformat": 4, "nbformat_minor": 5}',
     '{"nbformat": 4, "nbformat_minor": 5, "cells": 3, "metadata": {}}',
     '{"nbformat": 3, "worksheets": []}'],
)  # fmt: skip
def test_what_is_no_notebook_is_refused(tmp_path, content):
    refused(lambda: documents.read_notebook(written(tmp_path / "x.ipynb", content)), "x.ipynb", "execute it again")


def test_cells_that_a_spreadsheet_would_run_are_text(tmp_path):
    cells = ["=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx", "\nx", "＝1", "＋1", "－1", "＠x"]
    table = pd.DataFrame({"=name": cells, "n": np.arange(len(cells)) - 5.5})
    made = writing.safe(table)
    assert list(made) == ["'=name", "n"]
    assert list(made["'=name"]) == ["'" + cell for cell in cells]
    writing.write_csv(made, tmp_path / "x.csv")
    again = pd.read_csv(tmp_path / "x.csv")
    assert again["n"].tolist() == table["n"].tolist()


def test_a_message_is_short_whatever_it_quotes():
    """Where stands at its begin and what to do at its end."""
    error = InputError(f"a.yaml, task t: {'x' * 100_000} is no label; give one of bad, good")
    assert len(str(error)) < 2100
    assert str(error).startswith("a.yaml, task t: x")
    assert str(error).endswith("give one of bad, good")
    assert str(InputError("short")) == "short"
