"""The command line: studies are checked and priced, and finished runs of the real notebooks are exported by key."""

import gc
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile

import datasets
import numpy as np
import pandas as pd
import pytest
import yaml

from auxlearn import cli
from auxlearn.data import batching, suites
from auxlearn.export import exports_of_runs
from auxlearn.methods import registry
from auxlearn.models import multitask
from auxlearn.paths import NOTEBOOKS, PROJECT
from auxlearn.records import run_search
from auxlearn.records.code_hash import notebook_source
from auxlearn.signals import pass_store
from auxlearn.studies import parameters
from auxlearn.training import prediction
from helpers import write_jsonl

pytestmark = pytest.mark.usefixtures("planted_once")


def executed(stage, **given):
    """Run a notebook's cells in this process, under its own defaults and some parameters; its manifest."""
    import matplotlib.pyplot as plt

    space = parameters.MODELS[stage]().model_dump() | given
    exec(compile(notebook_source(NOTEBOOKS / f"{stage}.ipynb"), stage, "exec"), space)
    plt.close("all")
    return space["manifest"]


SIZE = {"rows": 80, "study": "t"}
SHORT = SIZE | {"stage2_epochs": 1, "tune_epochs": 1, "n": 30, "methods": {"single": {"epochs": 1}}}
ALL_TASKS, ONE_TRIAL = {"gradts": {"task_threshold": -1.0}}, {"gradts": {"trial_most": 1}}


@pytest.fixture(scope="module")
def made(tmp_path_factory, planted_once):
    """Runs by name, made once: proxies, their rankings, and arms, some of which kept their models."""
    folder = tmp_path_factory.mktemp("made")
    wnli = [{"a": f"text {i} of some words", "b": f"word {i}", "label": i % 2} for i in range(146)]
    for split, rows in (("train", wnli[:40]), ("dev", wnli[:20]), ("test", [r | {"label": -1} for r in wnli])):
        write_jsonl(folder / "data" / "wnli" / f"{split}.jsonl", rows)
        write_jsonl(folder / "data" / "rte" / f"{split}.jsonl", rows)
    task = "{kind: classification, inputs: [a, b], label: label, labels: [%s], metric: accuracy, source: {folder: %s}}"
    (folder / "suite.yaml").write_text(
        "name: wnli\nroot: data\ntasks:\n"
        f"  wnli: {task % ('not_entailment, entailment', 'wnli')}\n"
        f"  rte: {task % ('entailment, not_entailment', 'rte')}\n"
    )
    own = {"suite": str(folder / "suite.yaml"), "primary": "wnli", "size": "full", "precision": "fp32"}
    own |= {"keep_leaks": True}  # all splits hold the same rows
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(folder / "runs"))
        proxy = {"proxies": "one", "proxy_rows": 10, "watch_rows": 2, "epochs": 1, "map_seeds": [1]}
        found = {
            "proxy": executed("02_td_proxy", **SIZE, **proxy),
            "ranking": executed("03_ranking", **SIZE, n=30),
            "td": executed("06_mtl", **SHORT, seeds=[0], keep_model=True),
            "random": executed("06_mtl", **SHORT, arm="random", seeds=[0, 1]),
            "heads": executed("04_gradts_correlation", **SIZE, seeds=[0], tune_rows=20, importance_rows=10, epochs=1),
            "gradts": executed("06_mtl", **SHORT | {"methods": ALL_TASKS}, arm="gradts_thres", seeds=[0]),
            "trial": executed("06_mtl", **SHORT | {"methods": ONE_TRIAL}, arm="gradts_trial", seeds=[0]),
            "tagging": executed("06_mtl", **SHORT, arm="single", primary="word_class", seeds=[3], keep_model=True),
            "wnli": executed("06_mtl", **SHORT | own, arm="single", seeds=[0], keep_model=True),
        }
    gc.collect()
    return folder, found


@pytest.fixture
def ready(made, monkeypatch):
    """The runs by name, their folder being that of the test."""
    folder, found = made
    monkeypatch.setenv("AUXLEARN_RUNS", str(folder / "runs"))
    return found


def own_training(run):
    """The key of the training that the only seed of an arm ran, among those of the artifacts that it read."""
    return exports_of_runs.trained(run.key).training.key


def refused(capsys, *argv):
    """What a command that must fail says."""
    assert cli.main(list(map(str, argv))) == 2
    return capsys.readouterr().err


# --- selections ----------------------------------------------------------------------------------------------------


def test_a_ranking_is_exported_as_its_notebook_has_it(ready, tmp_path, capsys):
    run = ready["ranking"]
    assert "has seeds 0, 1; choose one with --seed" in refused(capsys, "export", "selection", run.key, tmp_path / "x")
    rows = {}
    for seed in ("0", "1"):
        assert cli.main(["export", "selection", run.key[:10], str(tmp_path / seed), "--seed", seed]) == 0
        assert str(tmp_path / seed / "rank_json") in capsys.readouterr().out
        rows[seed] = pd.read_parquet(tmp_path / seed / "selection.parquet")
        assert rows[seed].equals(pd.read_parquet(run.path("export") / f"seed-{seed}" / "selection.parquet"))
        assert len(rows[seed]) == 30
        assert "text1" not in rows[seed]
    assert not rows["0"].equals(rows["1"])
    assert cli.main(["export", "selection", run.label, str(tmp_path / "texts"), "--with-text", "--seed", "0"]) == 0
    assert "text1" in pd.read_parquet(tmp_path / "texts" / "selection.parquet")


def test_an_arm_s_rows_are_those_that_it_trained_on(ready, tmp_path, capsys):
    cli.main(["export", "selection", ready["td"].key, str(tmp_path / "td")])
    cli.main(["export", "selection", ready["ranking"].key, str(tmp_path / "ranking"), "--seed", "0"])
    td, ranking = (pd.read_parquet(tmp_path / name / "selection.parquet") for name in ("td", "ranking"))
    assert td[["task", "row", "rank"]].equals(ranking[["task", "row", "rank"]])
    for seed in (0, 1):
        cli.main(["export", "selection", ready["random"].key, str(tmp_path / str(seed)), "--seed", str(seed)])
    first, second = (datasets.load_from_disk(str(tmp_path / str(s) / "dataset")) for s in (0, 1))
    assert len(first) == len(second) == 30
    assert list(zip(first["task"], first["row_id"], strict=True)) != list(
        zip(second["task"], second["row_id"], strict=True)
    )
    assert "adds no auxiliary rows" in refused(capsys, "export", "selection", ready["tagging"].key, tmp_path / "x")
    assert "has 0, 1, not 4" in refused(
        capsys, "export", "selection", ready["ranking"].key, tmp_path / "x", "--seed", 4
    )
    assert not (tmp_path / "x").exists()


def test_what_an_arm_searched_for_is_in_its_run_s_cost(ready):
    of_seeds = [row for part in ready["trial"].metrics["seeds"].values() for row in part["ledger"]]
    assert {"trial", "tune"} <= {row["stage"] for row in of_seeds}
    assert ready["trial"].ledger == of_seeds


def test_a_target_that_cannot_be_written_is_one_line(ready, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    target = tmp_path / "file" / "x"
    told = refused(capsys, "export", "selection", ready["gradts"].key, target)
    assert told == f"auxlearn: {target}: cannot be written (Not a directory); check its permissions and the disk\n"
    for command in (["results"], ["export", "predictions", ready["gradts"].key]):
        assert "cannot be written (" in refused(capsys, *command, tmp_path / "file" / "x.parquet")


def test_a_gradts_arm_s_rows_are_rebuilt_from_its_correlations(ready, tmp_path):
    assert cli.main(["export", "selection", ready["gradts"].key, str(tmp_path / "x")]) == 0
    rows = pd.read_parquet(tmp_path / "x" / "selection.parquet")
    assert len(rows) == 30  # every task reaches a threshold of -1: n rows of all
    assert "topic_side" not in set(rows["task"])


# --- predictions ---------------------------------------------------------------------------------------------------


def test_dev_predictions_score_as_the_run_did(ready, tmp_path, planted):
    """Of a run that kept no model, by its key and by that of its training."""
    run, task = ready["random"], planted["topic_side"]
    assert cli.main(["export", "predictions", run.key, str(tmp_path / "a.csv"), "--seed", "1"]) == 0
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["row_id"].tolist() == task.dev["row_id"][:]
    right = [task.labels.index(x) for x in table["prediction"]] == np.array(task.dev[task.label][:])
    assert right.mean() == pytest.approx(run.metrics["seeds"]["1"]["dev"][task.metric])
    unit = [m["key"] for m in run.inputs if m["stage"] == "train"][1]
    assert cli.main(["export", "predictions", unit[:12], str(tmp_path / "b.csv")]) == 0
    assert (tmp_path / "b.csv").read_bytes() == (tmp_path / "a.csv").read_bytes()


def test_tags_are_cut_into_sentences_again(ready, tmp_path, planted):
    task = planted["word_class"]
    for split in ("dev", "test"):
        assert cli.main(["export", "predictions", ready["tagging"].key, str(tmp_path / "a.csv"), "--split", split]) == 0
        lengths = [len(str(x).split()) for x in pd.read_csv(tmp_path / "a.csv")["prediction"]]
        assert lengths == [len(x) for x in getattr(task, split)["tags"]]


def test_a_kept_model_predicts_what_it_predicted(ready, tmp_path, planted):
    """Test rows and other tasks come from the kept weights: on the primary's dev they give the stored predictions."""
    of = exports_of_runs.trained(ready["td"].key)
    net, task = of.model(), of.suite["topic_side"]
    by_model = prediction.predict(net, batching.encode(task.dev, task, net.tokenizer, net.max_length), task)[0]
    stored = np.load(ready["td"].path("predictions.npz"))["predictions"][0]
    assert np.array_equal(by_model, stored)
    trained_on = {name for phase in of.plan.phases for name, rows in phase.rows.items() if len(rows)}
    other = next(name for name in of.suite.names if name in trained_on and name != "topic_side")
    cli.main(["export", "predictions", ready["td"].key, str(tmp_path / "a.csv"), "--split", "test", "--task", other])
    table = pd.read_csv(tmp_path / "a.csv")
    assert table["row_id"].tolist() == of.suite[other].test["row_id"][:]
    values, _ = prediction.predict(
        net, batching.encode(of.suite[other].test, of.suite[other], net.tokenizer, net.max_length), of.suite[other]
    )
    if of.suite[other].kind == "classification":
        assert table["prediction"].tolist() == [of.suite[other].labels[v] for v in values]
    assert len(values) == len(table)


def test_redrawn_rows_carry_the_name_of_their_file(ready, tmp_path, monkeypatch):
    of = exports_of_runs.trained(ready["td"].key)
    task = of.suite["topic_side"]
    origin = ["train" if i % 2 else "dev" for i in range(len(task.dev))]
    redrawn = dict(of.suite) | {
        "topic_side": exports_of_runs.replace(task, dev=task.dev.add_column("origin", origin), test=None)
    }
    suite = suites.Suite("redrawn", redrawn, of.suite.fingerprint)
    monkeypatch.setattr(suites, "load", lambda *a: suite)
    exports_of_runs.predictions(ready["td"].key, tmp_path / "a.csv")
    assert pd.read_csv(tmp_path / "a.csv")["row_id"].tolist()[:2] == ["dev:0", "train:1"]
    with pytest.raises(exports_of_runs.InputError, match=r"has no test split; its test rows went to dev \(resplit\)"):
        exports_of_runs.predictions(ready["td"].key, tmp_path / "b.csv", "test")


# --- models --------------------------------------------------------------------------------------------------------


def test_an_exported_model_is_the_one_that_was_tuned(ready, tmp_path, capsys):
    assert cli.main(["export", "model", ready["tagging"].key, str(tmp_path / "out")]) == 0
    assert "AutoModelForTokenClassification" in capsys.readouterr().out
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    of = exports_of_runs.trained(ready["tagging"].key)
    task, net = of.suite["word_class"], of.model()
    rows = [task.dev[i] for i in range(6)]
    batch = multitask.collate(rows, task, net)
    theirs = AutoModelForTokenClassification.from_pretrained(tmp_path / "out").eval()
    given = AutoTokenizer.from_pretrained(tmp_path / "out")(
        [row["tokens"] for row in rows], is_split_into_words=True, padding=True, return_tensors="pt"
    )
    mask = batch["attention_mask"].bool()
    assert (theirs(**given).logits - net(batch).logits)[mask].abs().max() < 1e-4
    fresh = multitask.build("tiny", of.suite, of.plan.seeds["init"])
    assert (net.heads["word_class"].weight - fresh.heads["word_class"].weight).abs().max() > 1e-4  # it was trained


def test_models_that_were_not_kept_or_trained_are_refused(ready, tmp_path, capsys):
    out = tmp_path / "out"
    seeded = ("--seed", 0)
    assert "keep_model: true" in refused(capsys, "export", "model", ready["random"].key, out, *seeded)
    told = refused(capsys, "export", "predictions", ready["random"].key, out, *seeded, "--split", "test")
    assert "did not keep its model" in told
    told = refused(capsys, "export", "model", ready["tagging"].key, out, "--task", "topic_side")
    assert "'topic_side'" in told
    assert "(arm single) trained on none of its rows" in told
    assert "task 'nothing' is not in suite" in refused(
        capsys, "export", "model", ready["tagging"].key, out, "--task", "nothing"
    )
    assert not out.exists()


# --- keys ----------------------------------------------------------------------------------------------------------


def test_keys_must_name_one_run(ready, tmp_path, capsys, made):
    export = lambda key, *more: refused(capsys, "export", "predictions", key, tmp_path / "a.csv", *more)  # noqa: E731
    assert "has a key that begins with 'ffffffffff'" in export("ffffffffff")
    assert "is no key of 06_mtl or train" in export("../train")
    assert "is no key of 06_mtl or train" in export(ready["ranking"].label)
    assert "has seeds 0, 1; choose one with --seed" in export(ready["random"].key)
    assert "has 0, 1, not 7" in export(ready["random"].key, "--seed", 7)
    proxies = [m["key"] for m in ready["proxy"].inputs if m["stage"] == "train"]
    assert "is read by no finished run of 06_mtl as an arm's own" in export(proxies[0])
    assert "is read by no finished run of 06_mtl as an arm's own" in export(proxies[0], "--seed", 0)
    assert "is not of seed 5" in export(own_training(ready["td"]), "--seed", 5)
    keys = [f.name for s in ("06_mtl", "train") for f in (made[0] / "runs" / s).iterdir() if f.is_dir()]
    twin = made[0] / "runs" / "06_mtl" / (keys[0][:6] + "0" * 10)
    twin.mkdir()
    try:
        told = export(keys[0][:6])
        assert "2 runs have a key that begins with" in told
        assert keys[0] in told
        assert twin.name in told
        assert "was interrupted" in export(twin.name) or "is not there" in export(twin.name)
    finally:
        twin.rmdir()


def test_what_has_changed_since_is_not_exported(ready, tmp_path, capsys, monkeypatch, made):
    copied = tmp_path / "runs"
    shutil.copytree(made[0] / "runs", copied)
    monkeypatch.setenv("AUXLEARN_RUNS", str(copied))
    key, out = ready["td"].key, tmp_path / "a.csv"
    assert cli.main(["export", "predictions", key, str(out)]) == 0
    unit = own_training(ready["td"])
    history = copied / "train" / unit / "history.json"
    kept = history.read_bytes()
    history.write_text("{}")
    assert "made by other code" in refused(capsys, "export", "predictions", key, out)
    history.write_bytes(kept)
    real = suites.load
    monkeypatch.setattr(suites, "load", lambda suite, rows: real(suite, rows + 1))
    assert "with other content" in refused(capsys, "export", "predictions", key, out)
    monkeypatch.setattr(suites, "load", real)
    # Parameters that give another training than the one that was read: the plan's key tells.
    manifest = copied / "06_mtl" / key / "manifest.json"
    record = json.loads(manifest.read_text())
    record["params"]["tune_epochs"] = 9
    manifest.write_text(json.dumps(record))
    assert "now give another training" in refused(capsys, "export", "predictions", key, out)


# --- GLUE ----------------------------------------------------------------------------------------------------------


def test_a_submission_holds_the_models_answers_and_marks_the_rest(ready, tmp_path, capsys):
    key = ready["wnli"].key
    assert cli.main(["export", "glue", str(tmp_path / "mine.zip"), "--from", f"WNLI={key[:12]}"]) == 0
    assert "mine.fillers.txt" in capsys.readouterr().out
    with zipfile.ZipFile(tmp_path / "mine.zip") as made:
        lines = made.read("WNLI.tsv").decode().split()
        assert "WNLI" not in made.comment.decode()
        assert "RTE" in made.comment.decode()
    of = exports_of_runs.trained(key)
    task, net = of.suite["wnli"], pass_store.load_model(of.training, of.plan, of.suite)
    encoded = batching.encode(task.test, task, net.tokenizer, net.max_length)
    values = prediction.predict(net, encoded, task)[0]
    # not_entailment is 0 in GLUE's WNLI, and id 0 of this suite.
    assert lines == ["index", "prediction", *(x for i, v in enumerate(values) for x in (str(i), str(v)))]


def test_submissions_that_do_not_fit_are_refused(ready, tmp_path, capsys):
    glue = lambda *pairs: refused(capsys, "export", "glue", tmp_path / "a.zip", "--from", *pairs)  # noqa: E731
    key = ready["wnli"].key
    assert "no task 'mine'" in glue(f"mine={key}")
    assert "give TASK=KEY" in glue(key)
    assert "wnli is given twice" in glue(f"WNLI={key}", "--from", f"wnli={key}")
    assert "trained on none of its rows" in glue(f"rte={key}")
    assert "task 'rte' is not in suite" in glue(f"rte={ready['td'].key}")
    assert not (tmp_path / "a.zip").exists()


# --- studies -------------------------------------------------------------------------------------------------------


def test_methods_and_parameters_are_described(capsys):
    assert cli.main(["methods"]) == 0
    shown = capsys.readouterr().out
    for name in [*registry.names(), *registry.policies()]:
        assert re.search(rf"^  {name} ", shown, re.M), name
    assert cli.main(["parameters", "06_mtl"]) == 0
    assert capsys.readouterr().out.strip() == parameters.described("06_mtl")
    assert "no notebook is called '06'" in refused(capsys, "parameters", "06")


def test_check_and_price_run_nothing(tmp_path, capsys, runs_folder):
    file = PROJECT / "params" / "published" / "fastmtl.yaml"
    assert cli.main(["check", str(file)]) == 0
    assert "valid; 01_data_prep 1, 02_td_proxy 2, 03_ranking 54, 06_mtl 114" in capsys.readouterr().out
    assert cli.main(["price", str(file)]) == 0
    shown = capsys.readouterr().out
    assert shown.startswith("FORECAST in PFLOP")
    line = next(x.split() for x in shown.splitlines() if x.split()[:1] == ["stsb"] and "td_bce," in x)
    assert " ".join(line[1:9]) == "td_bce, td_ce, cie_ce 500 1.34 21.2 1.26 1.93"  # proxy, scoring, stage2, tune
    assert re.search(r"shared work once: 7,4\d\d PFLOP", shown)
    assert not runs_folder.exists()
    content = yaml.safe_load(file.read_text())
    content["grid"]["arm"] = ["best"]
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump(content))
    for command in ("check", "price"):
        assert "bad.yaml: 06_mtl: arm" in refused(capsys, command, tmp_path / "bad.yaml")


def test_an_unread_run_folder_names_the_remedy(tmp_path, capsys):
    assert run_search.all_runs("06_mtl") == []
    assert "no run of 06_mtl or train" in refused(capsys, "export", "model", "abc", tmp_path / "out")


def test_a_reader_that_has_enough_ends_a_command_quietly():
    """As in `auxlearn price FILE | head`."""
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "auxlearn.cli", "results", "--columns"]
    try:
        done = subprocess.run(command, stdout=write, stderr=subprocess.PIPE, text=True, timeout=60)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_pipe_of_something_else_that_breaks_is_an_error(monkeypatch):
    def broken(given):
        raise BrokenPipeError("of a helper")

    monkeypatch.setattr(cli, "_run", broken)
    with pytest.raises(BrokenPipeError, match="of a helper"):
        cli.main(["results", "--columns"])


@pytest.mark.parametrize("cores", ["0", "-3", "two"])
def test_cores_are_one_or_more(cores, capsys):
    with pytest.raises(SystemExit):
        cli.main(["plan", "params/studies/quickstart.yaml", "--cores", cores])
    assert f"'{cores}' is no number of cores; give 1 or more" in capsys.readouterr().err
