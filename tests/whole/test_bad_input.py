"""Whatever a user gives wrongly is one clear InputError: which file, row or parameter, and what to do about it.

Here is what no other file tests. Elsewhere:
- formats, damaged, missing, unreadable and non-UTF-8 data files, glue_data, CoNLL, the hub: test_readers.py
- a task given twice, wrong columns, unknown labels and missing ones in JSON lines, unset variables: test_tasks.py
- unknown, mistyped and impossible parameters, two seeds alike, a device that is not there: test_params.py
- unknown parameters of a study, primary not in the suite, n above the pool: test_studies.py
- a loss that is not finite: test_train.py, and as a failing cell of a study: test_engine.py
- runs that are missing, altered, stale or ambiguous: test_runs.py
"""

import json
import socket
from pathlib import Path

import nbformat
import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from auxlearn import cli, seeding
from auxlearn.data import batching, suite_files, suites
from auxlearn.errors import InputError
from auxlearn.files import documents
from auxlearn.models import multitask
from auxlearn.paths import NOTEBOOKS
from auxlearn.studies import graph, parameters
from auxlearn.training import optimisers, train
from auxlearn.training.phases import Phase, Plan, Recipe
from helpers import write_jsonl

ONE = {"kind": "classification", "inputs": ["text"], "label": "label", "labels": ["bad", "good"], "metric": "accuracy"}
PAIR = ONE | {"inputs": ["a", "b"]}
SCORE = {"kind": "regression", "inputs": ["text"], "label": "label", "range": [0, 5], "metric": "pearson"}
TAGS = {"kind": "tagging", "inputs": ["text"], "label": "label", "labels": ["O", "V"], "metric": "accuracy"}


@pytest.fixture
def suite(tmp_path):
    """Writes files and a suite of one task over them; returns the YAML's path."""

    def make(spec, files=(), **more):
        for name, content in dict(files).items():
            path = tmp_path / name
            path.parent.mkdir(exist_ok=True)
            path.write_text(content, encoding="utf-8") if isinstance(content, str) else write_jsonl(path, content)
        given = {"source": {"files": {Path(name).stem: name for name in dict(files)}}} | more
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump({"name": "s", "tasks": {"t": spec | given}}))
        return path

    return make


def refused(call, *parts):
    """The call's InputError is one line and holds all parts."""
    with pytest.raises(InputError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message


# --- rows ----------------------------------------------------------------------------------------------------------

CSV = "text,label\nfine,good\nawful,bad\n"


@pytest.mark.parametrize(
    ("spec", "files", "parts"),
    [
        pytest.param(
            ONE, {"train.csv": CSV, "dev.csv": "text,grade\nfine,good\n"},
            ["task 't', dev row 0", "no column 'label'; it has text, grade"], id="wrong column, in dev alone",
        ),
        pytest.param(
            ONE, {"train.csv": CSV, "dev.csv": "text,label\nfine,good\nfine,Good\n"},
            ["task 't', dev row 1: unknown label 'Good'; labels are bad, good or ids 0 to 1"], id="unknown label",
        ),
        pytest.param(
            ONE, {"train.csv": CSV, "dev.csv": "text,label\n"},
            ["dev.csv: is empty or holds no rows", "leave the split out"], id="empty split",
        ),
        pytest.param(
            ONE, {"train.csv": CSV + "fine,\n"},
            ["task 't', train row 2: the label is missing; only test rows may be unlabelled"], id="null label in CSV",
        ),
        pytest.param(
            ONE, {"train.jsonl": '{"text": "x", "label": NaN}\n'},
            ["train row 0: the label is missing"], id="NaN label",
        ),
        pytest.param(
            ONE, {"train.jsonl": [{"text": "x", "label": 0}, {"text": 7.5, "label": 0}]},
            ["task 't', train row 1: 'text' must be text, not 7.5"], id="a number among texts",
        ),
        pytest.param(
            SCORE, {"train.csv": "text,label\na,1.5\nb,2\nc,high\n"},
            ["task 't', train row 2: the label 'high' is not a number"], id="text among numbers",
        ),
        pytest.param(
            SCORE, {"train.csv": "text,label\na,1.5\nb,7\n"},
            ["train row 1: the label 7.0 is outside the range 0.0 to 5.0"], id="outside the range",
        ),
        pytest.param(
            SCORE, {"train.jsonl": '{"text": "x", "label": Infinity}\n'},
            ["train row 0: the label inf is outside the range"], id="infinite score",
        ),
        pytest.param(
            TAGS, {"train.jsonl": [{"text": "a b", "label": ["O", "V"]}]},
            ["train row 0: 'text' must be a list of one or more strings"], id="tokens as one text",
        ),
        pytest.param(
            TAGS, {"train.jsonl": [{"text": ["a", "b"], "label": ["O"]}]},
            ["train row 0: 'label' must list one tag per token"], id="a tag too few",
        ),
        pytest.param(
            TAGS, {"train.jsonl": [{"text": ["a"], "label": [None]}]},
            ["train row 0: unknown label None; labels are O, V"], id="null tag",
        ),
        pytest.param(
            ONE, {"train.csv": CSV}, ["task 't': no dev split, and 2 training rows are too few"], id="too few to carve",
        ),
        pytest.param(
            ONE, {"train.jsonl": '{"text": "x", "label": Infinity}\n'}, ["train row 0: unknown label inf"],
            id="infinite label",
        ),
        pytest.param(
            ONE, {"train.jsonl": [{"text": "x", "label": "²"}]}, ["train row 0: unknown label '²'"],
            id="superscript label",
        ),
        pytest.param(
            ONE, {"train.jsonl": [{"text": "x", "label": 1}, {"text": "y"}]},
            ["train row 1: no 'label' in this row, as other rows have"], id="a row without a label column",
        ),
        pytest.param(
            ONE, {"train.csv": CSV.replace(",", "|")},
            ["train row 0: no column 'text'; it has text|label; is it separated by '|'? CSV takes commas, semicolons"],
            id="another separator",
        ),
        pytest.param(
            TAGS, {"train.jsonl": '{"text": ["x"], "label": [NaN]}\n'}, ["train row 0: unknown label None"],
            id="NaN tag",
        ),
    ],
)  # fmt: skip
def test_bad_rows_are_named(suite, spec, files, parts):
    refused(lambda: suites.Suite.from_yaml(suite(spec, files)), *parts)


@pytest.mark.parametrize("labels", [["1", "2"], ["-1", "1"], ["2", "1"]])
def test_labels_whose_names_are_numbers_mean_the_same_in_every_format(suite, labels):
    rows = [{"text": f"number {i}", "label": labels[i % 2]} for i in range(4)]
    table = "text,label\n" + "".join(f"{row['text']},{row['label']}\n" for row in rows)
    read = [
        suites.Suite.from_yaml(suite(ONE | {"labels": labels}, {f"train.{kind}": content, f"dev.{kind}": content}))["t"]
        for kind, content in (("jsonl", rows), ("csv", table))
    ]
    assert read[0].train["label"][:] == [0, 1, 0, 1]
    assert read[1].train["label"][:] == [0, 1, 0, 1]


def test_one_text_of_a_pair_may_be_empty_in_every_format(suite):
    rows = [{"a": "x", "b": "", "label": "good"}, {"a": "y", "b": "z", "label": "bad"}]
    (from_json,) = suites.Suite.from_yaml(suite(PAIR, {"train.jsonl": rows, "dev.jsonl": rows})).values()
    assert from_json.train["b"][:] == ["", "z"]
    table = "a,b,label\nx,,good\ny,z,bad\n"
    (from_csv,) = suites.Suite.from_yaml(suite(PAIR, {"train.csv": table, "dev.csv": table})).values()
    assert from_csv.train["b"][:] == ["", "z"]


# --- suites --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "parts"),
    [
        ({"files": {"train": "gone.csv"}}, ["gone.csv: no such file; check the suite's `root` and `source`"]),
        ({"files": {"dev": "train.csv"}}, ["source: ", "files needs at least train"]),
        (
            {"files": {"train": "train.csv", "validation": "train.csv"}},
            ["files.validation", "'train', 'dev' or 'test'"],
        ),
        ({"folder": "t", "hub": "glue"}, ["source: ", "exactly one of folder, files, glue_data, hub, planted"]),
        ({"glue_data": "glue_data/RTE"}, ["RTE: no such folder; check the suite's `root` (is AUXLEARN_DATA set?)"]),
        ({"glue_data": "glue_data/XYZ"}, ["'XYZ' is no task of the glue_data layout; it has CoLA"]),
        ("planted", ["task 't': the planted suite has no such task; it has topic_side"]),
    ],
)
def test_sources_that_are_not_there_are_named(suite, source, parts):
    path = suite(ONE, {"train.csv": CSV}, source=source)
    refused(lambda: suites.Suite.from_yaml(path), *parts)


def test_a_suite_that_is_not_there_or_no_text_is_named(tmp_path):
    refused(lambda: suites.Suite.from_yaml(tmp_path / "none.yaml"), "none.yaml: no such file")
    (tmp_path / "latin.yaml").write_bytes("name: café\n".encode("latin-1"))
    refused(lambda: suites.Suite.from_yaml(tmp_path / "latin.yaml"), "latin.yaml: not valid YAML", "utf-8")
    (tmp_path / "empty.yaml").write_text("")
    refused(lambda: suites.Suite.from_yaml(tmp_path / "empty.yaml"), "empty.yaml: ", "dictionary")


def test_a_suite_that_may_not_be_read_is_named(suite, monkeypatch):
    path = suite(ONE, {"train.csv": CSV})

    def refuse(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "open", refuse)  # as chmod 0 does, but for root too
    refused(lambda: suites.Suite.from_yaml(path), "suite.yaml: cannot be read (Permission denied)")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [x\n", "not valid YAML"),
        ("name:\n\tx: 1\n", "line 2"),
        ("name: x\nname: y\n", "line 2: 'name' is given twice"),
        ("name: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        pytest.param("name: 2024-13-45\n", "not valid YAML",),
        pytest.param("name: !!int x\n", "not valid YAML",),
        pytest.param(
            "name: " + "[" * 3000, "not valid YAML",
        ),
    ],
)  # fmt: skip
def test_yaml_that_cannot_be_read_is_named(tmp_path, text, message):
    path = tmp_path / "x.yaml"
    path.write_text(text)
    refused(lambda: documents.read_yaml(path), "x.yaml", message)


def test_a_suite_cannot_extend_itself_or_what_is_no_suite(tmp_path):
    def extending(name, base):
        (tmp_path / name).write_text(f"name: x\nextends: {base}\n")
        return lambda: suite_files.read_suite(tmp_path / name)

    refused(extending("self.yaml", "self.yaml"), "self.yaml: extends itself")
    extending("a.yaml", "b.yaml")
    refused(extending("b.yaml", "a.yaml"), "extends itself")
    refused(extending("c.yaml", "gone.yaml"), "gone.yaml: no such file")
    for content in ("[1, 2]", "study: s\nbase: {}\n", "tasks: [t]\n", ""):
        (tmp_path / "base.yaml").write_text(content)
        refused(extending("d.yaml", "base.yaml"), "d.yaml: extends base.yaml, which is not a suite")


@pytest.mark.parametrize(
    ("base", "own"),
    [
        pytest.param(
            "{t: {}}",
            "[t]",
        ),
        pytest.param(
            "{t: }",
            "{t: {metric: f1}}",
        ),
        ("{t: {}}", "{t: 3}"),
        ("{t: {}}", "{t: {metric: best}}"),
    ],
)
def test_what_an_extension_gets_wrong_is_named(tmp_path, base, own):
    (tmp_path / "base.yaml").write_text(f"name: base\ntasks: {base}\n")
    (tmp_path / "x.yaml").write_text(f"name: x\nextends: base.yaml\ntasks: {own}\n")
    refused(lambda: suite_files.read_suite(tmp_path / "x.yaml"), "x.yaml: tasks")


@pytest.mark.parametrize("kept", [30, 31])
def test_a_resplit_must_leave_rows_to_judge_by(suite, kept):
    rows = [{"text": f"number {i}", "label": i % 2} for i in range(30)]
    files = {"train.jsonl": rows, "dev.jsonl": rows[:3]}
    path = suite(ONE, files, resplit={"train": kept})
    refused(
        lambda: suites.Suite.from_yaml(path), f"task 't': resplit keeps {kept} of 30 training rows; none would be left"
    )
    assert len(suites.Suite.from_yaml(suite(ONE, files, resplit={"train": 29}))["t"].dev) == 4
    refused(lambda: suites.Suite.from_yaml(suite(ONE, files, resplit={"train": 0})), "tasks.t.resplit.train", "(given:")


# --- studies and parameters ----------------------------------------------------------------------------------------


@pytest.fixture
def study(tmp_path):
    """Writes a study over a suite whose pool has 30 rows, 5 of which stand in the primary's dev; returns its path."""
    for name, size in (("main", 40), ("pool", 30)):
        rows = [{"text": f"{name} text number {i} is all about {name} {i}", "label": i % 2} for i in range(size)]
        write_jsonl(tmp_path / name / "train.jsonl", rows)
        write_jsonl(tmp_path / name / "dev.jsonl", [{"text": f"{name} dev", "label": 0}])
    write_jsonl(tmp_path / "main" / "dev.jsonl", rows[:5])
    own = {"name": "s", "tasks": {n: ONE | {"source": {"folder": n}} for n in ("main", "pool")}}
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(own))

    def make(arm="random", n=20, stages=("06_mtl",), text=None, **base):
        given = {"suite": str(tmp_path / "suite.yaml"), "primary": "main", "size": "full", "seeds": [0, 1]} | base
        content = {"study": "s", "base": given, "grid": {"arm": [arm], "n": [n]}, "stages": list(stages)}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content) if text is None else text)
        return path

    return make


@pytest.mark.parametrize(("arm", "stage"), [("random", "06_mtl"), ("td_bce", "03_ranking"), ("cie_ce", "03_ranking")])
def test_an_n_that_the_pool_has_only_with_its_leaks_is_refused(study, arm, stage):
    assert graph.load(study(arm, 25)).cells
    few = f"{stage} can choose from 25 (5 left out as leaks, "
    refused(lambda: graph.load(study(arm, 26)), "study.yaml: n: 26 rows asked for", few)
    assert graph.load(study(arm, 30, keep_leaks=True)).cells
    refused(lambda: graph.load(study(arm, 31, keep_leaks=True)), "can choose from 30; lower n or raise `rows`")


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        ({"auxiliaries": ["pool", "other"]}, ["task 'other' is not in suite 's'; it has main, pool"]),
        ({"auxiliaries": ["main"]}, ["auxiliaries: 'main' is the primary"]),
        ({"primary": "Main"}, ["task 'Main' is not in suite 's'; did you mean 'main'?; it has main, pool"]),
        ({"seeds": [3, 3]}, ["seeds: ", "[3, 3] names one twice"]),
        ({"suite": "gone.yaml"}, ["gone.yaml: no such file"]),
        ({"lr": "2e-5"}, ["06_mtl: lr: ", "write 1.0e-3 with a dot"]),
        ({"epoch": 1}, ["base: no notebook has a parameter 'epoch'"]),
        ({"n": 0}, ["n: "]),
        ({"text": "study: [s\n"}, ["not valid YAML"]),
        ({"text": "study: s\nbase: {lr: 0.1, lr: 0.2}\n"}, ["line 2: 'lr' is given twice"]),
        ({"text": ""}, ["is empty"]),
    ],
)
def test_a_bad_study_is_one_line_at_the_terminal_and_starts_nothing(study, given, parts, capsys, runs_folder):
    path = study(**given)
    assert cli.main(["study", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"auxlearn: {path}")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    assert {folder.name for folder in runs_folder.glob("*")} <= {"leaks", "rows", ".engine.lock"}


@pytest.mark.parametrize(
    ("stage", "given"),
    [
        pytest.param(
            "07_efficiency",
            {"seeds": [1, 1]},
        ),
        pytest.param(
            "06_mtl",
            {"seeds": [-1]},
        ),
        pytest.param(
            "06_mtl",
            {"auxiliaries": ["a", "a"]},
        ),
        ("02_td_proxy", {"seed": -1}),
    ],
)
def test_impossible_parameters_are_refused(stage, given):
    (name,) = given
    refused(lambda: parameters.validate(stage, given), f"{stage}: ", name)


# --- encoders ------------------------------------------------------------------------------------------------------


def plan(encoder="tiny", **changes):
    phase = Phase("tune", {"topic_side": np.arange(20)}, 1, changes.pop("recipe", Recipe(1e-3, 32)))
    return Plan(encoder=encoder, phases=(phase,), seeds=seeding.record(0), primary="topic_side", **changes)


@pytest.mark.parametrize("name", ["no-such/encoder", "bert-base-uncasedd", "a/b/c"])
def test_a_hub_encoder_is_refused_offline_before_a_step_and_without_asking(small, monkeypatch, name):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("asked the network"))
    monkeypatch.setattr(optimisers, "optimiser_for", lambda *_: pytest.fail("began to train"))
    refused(lambda: train.run(plan(name), small), f"encoder {name!r} cannot be loaded", "a hub id with the hub reach")


@pytest.fixture
def encoder(small, tmp_path):
    """The folder of a small encoder that loads."""
    from transformers import BertConfig, BertModel

    tokenizer, folder = multitask.build("tiny", small).tokenizer, tmp_path / "encoder"
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 8}
    BertModel(BertConfig(vocab_size=len(tokenizer), **size)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    assert multitask.build(str(folder), small).pool == "pooler"
    return folder


def test_weights_are_never_unpickled_and_code_is_never_run(small, encoder, tmp_path):
    class Evil:
        def __reduce__(self):
            return (tmp_path / "executed").touch, ()

    weights, config = encoder / "model.safetensors", encoder / "config.json"
    whole = weights.read_bytes()
    weights.unlink()
    torch.save(Evil(), encoder / "pytorch_model.bin")
    refused(lambda: multitask.build(str(encoder), small), str(encoder), "cannot be loaded", "safetensors")
    weights.write_bytes(whole)
    ours = {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Config", "AutoModel": "mine.Model"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | ours))
    (encoder / "mine.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    refused(lambda: multitask.build(str(encoder), small), str(encoder), "cannot be loaded", "custom code")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize("content", ["{", '{"model_type": "zzz"}', None])
def test_a_folder_without_a_known_config_is_refused(small, encoder, content):
    (encoder / "config.json").write_text(content) if content else (encoder / "config.json").unlink()
    refused(lambda: multitask.build(str(encoder), small), str(encoder), "cannot be loaded")


def test_damaged_weights_are_refused(small, encoder):
    file = encoder / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-200])
    refused(lambda: multitask.build(str(encoder), small), str(encoder), "cannot be loaded")


def test_weights_that_are_not_there_are_not_made_up(small, encoder):
    """transformers would draw them at random and say so in a warning; a pooler alone may be new."""
    file = encoder / "model.safetensors"
    kept = load_file(file)
    save_file({k: v for k, v in kept.items() if not k.startswith("pooler.")}, file, {"format": "pt"})
    multitask.build(str(encoder), small)
    save_file({k: v for k, v in kept.items() if "layer.0.attention.self.query" not in k}, file, {"format": "pt"})
    refused(
        lambda: multitask.build(str(encoder), small), str(encoder), "lack encoder.layer.0.attention.self.query.bias"
    )


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"vocab_size": 10**9}, "its config describes"), ({"num_hidden_layers": 10**6}, "not 1 to 1000"),
     ({"num_hidden_layers": 0}, "it has 0 layers"), ({"hidden_size": "wide"}, "cannot be loaded"),
     ({"hidden_size": -8}, "cannot be loaded"), ({"num_attention_heads": 0}, "cannot be loaded")],
)  # fmt: skip
def test_a_config_that_its_weights_do_not_bear_out_is_refused(small, encoder, changes, why):
    """Before memory is set aside for what it says."""
    config = encoder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | changes))
    refused(lambda: multitask.build(str(encoder), small), str(encoder), why)


def test_a_tokenizer_that_is_none_is_refused(small, encoder):
    (encoder / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Magic"}}')
    refused(lambda: multitask.build(str(encoder), small), str(encoder), "cannot be loaded")


def test_a_folder_without_a_tokenizer_is_refused(small, encoder):
    for file in encoder.glob("*token*"):
        file.unlink()
    refused(lambda: multitask.build(str(encoder), small), str(encoder), "cannot be loaded")


# --- sizes and numbers that do not fit -----------------------------------------------------------------------------


def lengths_of_01(path, **given):
    """01's own table of lengths and its model's limit, by running its cells up to there."""
    cells = [c.source for c in nbformat.read(NOTEBOOKS / "01_data_prep.ipynb", 4).cells if c.cell_type == "code"]
    scope = {}
    exec(cells[0], scope)
    scope |= {"suite": str(path), "size": "full", "precision": "fp32"} | given
    for cell in cells[1:]:
        exec(cell, scope)
        if "lengths" in scope:
            break
    import matplotlib.pyplot as plt

    plt.close("all")
    return scope["lengths"]


@pytest.mark.parametrize(
    "limit",
    [
        128,
        pytest.param(
            512,
        ),
    ],
)
def test_rows_over_the_limit_are_counted_in_01_as_they_are_cut(folder_suite, limit):
    file = folder_suite.parent / "data" / "pair" / "train.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[3]["a"] = rows[8]["b"] = "text " * 300
    write_jsonl(file, rows)
    suite = suites.Suite.from_yaml(folder_suite)
    net = multitask.build("tiny", suite, max_length=limit)
    encoded = batching.encode(suite["pair"].train, suite["pair"], net.tokenizer, net.max_length)
    assert (encoded.truncated, encoded.lengths.max()) == (2, min(limit, 256))  # tiny has 256 positions
    table = lengths_of_01(folder_suite, primary="pair", max_length=limit)
    assert table["truncated"].to_dict() == {"pair": 2, "one": 0}


def test_a_model_that_its_last_step_broke_is_refused(small):
    """One step at a rate at which the next forward pass is not finite: its predictions would all be label 0."""
    refused(lambda: train.run(plan(recipe=Recipe(1e38, 32)), small), "not finite", "lower lr")
