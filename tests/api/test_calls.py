"""select and compare on tiny slices: what they give, what they read of notebooks, what they refuse."""

import json
import os
import re
import shutil
import subprocess
import sys
import types

import nbformat
import numpy as np
import pandas as pd
import pytest
import yaml
from datasets import ClassLabel, List, load_from_disk

import auxlearn
from auxlearn import Suite, progress_bar
from auxlearn.api import cells
from auxlearn.cost import Ledger
from auxlearn.errors import InputError
from auxlearn.methods import registry
from auxlearn.methods.base import Method
from auxlearn.methods.base import Selection as Chosen
from auxlearn.paths import PROJECT
from auxlearn.records import run_search
from auxlearn.studies import graph
from helpers import EXAMPLE, STUDY, unmeasured

PRIMARY = "topic_side"
# Its options of proxies are read by none of the arms without any.
pytestmark = pytest.mark.filterwarnings("ignore:.* read by none of")

LITTLE = {"encoder": "tiny", "proxy_rows": 15, "watch_rows": 10, "stage2_epochs": 1, "tune_epochs": 1,
          "notebooks": {"02_td_proxy": {"epochs": 1}}, "method_options": {"single": {"epochs": 1}}}  # fmt: skip


def units(folder):
    """What has been trained or passed over."""
    return {
        path.parent.name for path in folder.glob("*/*/manifest.json") if path.parents[1].name not in ("leaks", "arm")
    }


def test_a_selection_has_exactly_n_rows_of_the_suite_and_all_that_choosing_ran(small, runs_folder, tmp_path):
    chosen = auxlearn.select(small, PRIMARY, "td_bce", 30, **LITTLE)
    assert chosen.table.columns.tolist() == ["task", "row", "row_id", "score", "rank"]
    assert len(chosen.table.drop_duplicates(["task", "row"])) == 30
    assert PRIMARY not in set(chosen.table["task"])
    assert chosen.table["rank"].tolist() == list(range(1, 31))
    for each in chosen.table.itertuples():
        assert small[each.task].train[each.row]["row_id"] == each.row_id
    assert [ledger.stage for ledger in chosen.ledgers] == ["proxy", "scoring"]
    assert chosen.cost.flops == sum(ledger.flops for ledger in chosen.ledgers) > 0
    made = units(runs_folder)
    again = auxlearn.select(small, PRIMARY, "td_bce", 20, **LITTLE)
    assert units(runs_folder) == made  # another n reads the same pass
    assert again.cost.flops == chosen.cost.flops  # and is charged for it
    assert len(again.table) == 20

    paths = chosen.save(tmp_path / "chosen")
    assert pd.read_parquet(paths[0])["row_id"].tolist() == chosen.table["row_id"].tolist()
    assert len(load_from_disk(tmp_path / "chosen" / "dataset")) == 30
    saved = yaml.safe_load((tmp_path / "chosen" / "selection.json").read_text())
    assert (saved["method"], saved["suite"], saved["params"]["n"]) == ("td_bce", small.fingerprint, 30)
    with pytest.raises(InputError, match="chosen"):
        chosen.save(tmp_path / "chosen")
    chosen.why["scores"] = {"topic_name": np.float32(0.5)}  # as a method of one's own may say
    chosen.save(tmp_path / "more")
    assert json.loads((tmp_path / "more" / "selection.json").read_text())["why"]["scores"] == {"topic_name": 0.5}
    assert "30 rows" in repr(chosen)


def test_datasets_hold_the_chosen_rows_with_named_labels(small):
    chosen = auxlearn.select(small, PRIMARY, "random", 60, **LITTLE)
    made = chosen.datasets()
    assert {name: len(rows) for name, rows in made.items()} == chosen.table["task"].value_counts().to_dict()
    for name, rows in made.items():
        assert rows["row_id"][:] == chosen.table[chosen.table["task"] == name]["row_id"].tolist()
        task = small[name]
        assert rows.column_names == ["row_id", *task.inputs, task.label]
    assert made["topic_name"].features["label"] == ClassLabel(names=list(small["topic_name"].labels))
    assert made["word_class"].features["tags"] == List(ClassLabel(names=list(small["word_class"].labels)))
    assert made["side_share"].features["label"].dtype == "float64"
    assert chosen.table["score"].isna().all()
    assert chosen.table["rank"].isna().all()
    assert chosen.cost == Ledger("random")


def test_a_method_that_adds_no_rows_chooses_none(small, tmp_path):
    chosen = auxlearn.select(small, PRIMARY, "single", 30, **LITTLE)
    assert (len(chosen.table), dict(chosen.datasets()), chosen.cost.flops) == (0, {}, 0)
    assert "0 rows (none)" in repr(chosen)
    with pytest.raises(InputError, match="nothing to save"):
        chosen.save(tmp_path / "none")


def test_the_cells_of_a_call_have_the_keys_of_a_study_s(planted_once, tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({k: v for k, v in STUDY.items() if k != "per_seed"}))
    theirs = {(cell.stage, cell.key) for cell in graph.load(path).cells}
    options = {"rows": 60, "precision": "fp32", "method_options": STUDY["methods"]}
    notebooks = {"02_td_proxy": STUDY["notebooks"]["02_td_proxy"],
                 "06_mtl": STUDY["notebooks"]["06_mtl"] | {"lr": 0.001, "holdout": 0.1}}  # fmt: skip
    ours = cells.requested_cells(auxlearn.planted(), PRIMARY, ["single", "td_bce"], 30, [0, 1], "tiny", "auto",
                       options | {"notebooks": notebooks}, True)  # fmt: skip
    assert {(cell.stage, cell.key) for cell in ours} == {each for each in theirs if each[0] != "01_data_prep"}


def test_an_option_by_its_name_alone_is_not_the_added_baseline_s():
    """`epochs` is an option of single, and of the proxies' notebook: as in `select`, it is meant for what was named."""
    asked = (
        auxlearn.planted(),
        PRIMARY,
        ["single", "td_bce"],
        30,
        [0],
        "tiny",
        "auto",
        {"rows": 60, "epochs": 9},
        True,
    )
    for added, single, proxies in (["single"], 14, True), ([], 9, False):
        made = cells.requested_cells(*asked, added)
        (arm,) = (cell.params for cell in made if cell.stage == "06_mtl" and cell.params.arm == "single")
        (proxy,) = {cell.params.epochs for cell in made if cell.stage == "02_td_proxy"}
        assert arm.methods["single"]["epochs"] == single  # 14 is the recipe's
        assert (proxy == 9) == proxies


def test_what_a_study_made_a_call_reads(unharmed, runs_folder):
    """Executed notebooks 02, 03 and 06: calls train nothing, choose the same rows, and record the same."""
    shutil.copytree(unharmed.folder, runs_folder)
    study = yaml.safe_load(EXAMPLE.read_text())
    suite = Suite.from_yaml(PROJECT / study["base"]["suite"])
    options = {"encoder": "tiny", "rows": 2000, "method_options": study["methods"], "notebooks": {
        "02_td_proxy": study["notebooks"]["02_td_proxy"],
        "06_mtl": study["notebooks"]["06_mtl"] | {"holdout": 0.1}}}  # fmt: skip
    made = units(runs_folder)
    compared = auxlearn.compare(suite, "same_order", ["random", "td_bce"], [0, 1], n=60, **options)
    chosen = auxlearn.select(suite, "same_order", "td_bce", 60, seed=1, **options)
    assert units(runs_folder) == made
    (ranking,) = run_search.all_runs("03_ranking")
    theirs = pd.read_parquet(ranking.path("selection.parquet")).query("seed == 1")
    for column in ("task", "row", "row_id", "score", "rank"):
        assert chosen.table[column].tolist() == theirs[column].tolist()
    arms = {each.params["arm"]: each for each in run_search.all_runs("arm")}
    for theirs in run_search.all_runs("06_mtl"):
        ours = arms.pop(theirs.params["arm"])
        assert unmeasured(ours.metrics) == unmeasured(theirs.metrics)
        assert {(m["stage"], m["key"]) for m in ours.inputs} <= {(m["stage"], m["key"]) for m in theirs.inputs}
        both = [np.load(each.path("predictions.npz")) for each in (ours, theirs)]
        for name in both[1]:
            np.testing.assert_array_equal(both[0][name], both[1][name])
    assert not arms
    (told,) = run_search.all_runs("07_efficiency")
    for row in compared.table.itertuples():
        said = told.metrics["arms"][row.arm]
        assert (row.score, row.TFLOP, row.verdict) == (said["score"], said["tflop"], said["verdict"])
        assert row.interval == (None if said["low"] is None else (said["low"], said["high"]))
        assert row.constant == told.metrics["floor"]


def test_what_a_call_made_a_notebook_reads(runs_folder):
    """Notebook 06, executed by papermill after a comparison: trains nothing, records what the call has."""
    compared = auxlearn.compare(auxlearn.planted(), PRIMARY, ["random"], [0], n=30, rows=60, **LITTLE)
    made = {path: path.stat().st_mtime_ns for path in runs_folder.glob("train/*/manifest.json")}
    assert made
    (ours,) = (each for each in run_search.all_runs("arm") if each.params["arm"] == "random")
    notebook = nbformat.read(PROJECT / "notebooks" / "06_mtl.ipynb", nbformat.NO_CONVERT)
    (cell,) = (each for each in notebook.cells if "parameters" in each.metadata.get("tags", []))
    params = {name: value for name, value in ours.params.items() if re.search(rf"^{name} *=", cell.source, re.M)}
    folder = runs_folder.parent / "executed"
    folder.mkdir()
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    environment = os.environ | {"PYTHONPATH": str(PROJECT / "lib"), "PYTHONWARNINGS": "ignore"}
    command = ["-m", "papermill", str(PROJECT / "notebooks" / "06_mtl.ipynb"), "out.ipynb", "-f", "params.yaml"]
    done = subprocess.run([sys.executable, *command], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert {path: path.stat().st_mtime_ns for path in runs_folder.glob("train/*/manifest.json")} == made
    (theirs,) = run_search.all_runs("06_mtl")
    assert theirs.key_params == ours.key_params
    assert unmeasured(theirs.metrics) == unmeasured(ours.metrics)
    scores = [seed["dev"]["accuracy"] for seed in theirs.metrics["seeds"].values()]
    assert np.mean(scores) == compared.table.set_index("arm")["score"]["random"]


def test_a_comparison_trains_each_arm_once(small, runs_folder, monkeypatch):
    compared = auxlearn.compare(small, PRIMARY, ["td_bce", "random"], [0, 1], n=30, **LITTLE)
    assert compared.table["arm"].tolist() == ["single", "td_bce", "random"]
    assert {"score", "difference", "interval", "p", "verdict", "TFLOP", "constant"} <= set(compared.table)
    assert compared.table["verdict"][0] == "baseline"
    difference = compared.table["score"] - compared.table["score"][0]
    assert compared.table["difference"][1:].tolist() == pytest.approx(difference[1:].tolist())
    assert compared.table["constant"][0] == pytest.approx(0.5)
    assert compared.pairs.index.tolist() == [("td_bce", "random")]
    assert compared.plot().axes
    assert "always 'left': 0.500" in repr(compared)
    made = units(runs_folder)
    assert auxlearn.select(small, PRIMARY, "td_bce", 30, seed=1, **LITTLE).table.shape == (30, 5)
    assert units(runs_folder) == made  # what it needs was trained above
    monkeypatch.setattr("auxlearn.training.training_cache.trained", lambda *_: pytest.fail("trained again"))
    again = auxlearn.compare(small, PRIMARY, ["td_bce", "random"], [0, 1], n=30, **LITTLE)
    pd.testing.assert_frame_equal(again.table, compared.table)


def test_a_tagging_primary_and_a_policy_are_compared(small):
    compared = auxlearn.compare(small, "word_class", ["tawt_joint"], [0, 1], n=30, weight_every=1, probe_rows=8,
                                auxiliaries=["side_share", "topic_name"], **LITTLE)  # fmt: skip
    assert compared.table["arm"].tolist() == ["single", "tawt_joint"]
    assert compared.table["added"].tolist() == [0, 160]


def test_an_interrupted_call_goes_on_where_it_stopped(small, runs_folder, monkeypatch):
    seen = []

    def stop(message):
        seen.append(message)
        if len(units(runs_folder)) == 1:  # one of the two proxies is trained
            raise KeyboardInterrupt

    def shown(show):
        def bar():
            yield show

        return progress_bar.contextlib.contextmanager(bar)

    monkeypatch.setattr(progress_bar, "shown", shown(stop))
    with pytest.raises(KeyboardInterrupt):
        auxlearn.select(small, PRIMARY, "td_bce", 30, **LITTLE)
    made = {path: path.stat().st_mtime_ns for path in runs_folder.glob("*/*/manifest.json")}
    assert len(units(runs_folder)) == 1
    monkeypatch.setattr(progress_bar, "shown", shown(None))
    assert len(auxlearn.select(small, PRIMARY, "td_bce", 30, **LITTLE).table) == 30
    assert len(units(runs_folder)) > 1
    assert {path: path.stat().st_mtime_ns for path in made} == made


def test_the_seed_s_own_options_reach_the_method(small):
    one = auxlearn.select(small, PRIMARY, "td_bce", 30, proxies="one", **LITTLE)
    assert one.params["methods"] == {"single": {"epochs": 1}, "td_bce": {"proxies": "one"}}
    assert one.cost.flops < auxlearn.select(small, PRIMARY, "td_bce", 30, **LITTLE).cost.flops


class Longest(Method):
    name, title = "longest", "the n longest rows"

    def select(self, context, cell, options):
        pool = context.pool()
        length = [len(str(context.suite[t].train[r])) for t, r in zip(pool["task"], pool["row"], strict=True)]
        return Chosen(pool.assign(score=length).nlargest(cell.n, "score"))


@pytest.fixture
def longest():
    registry.register(Longest)
    yield
    del registry._METHODS["longest"]


def test_a_method_of_one_s_own_is_called_like_any_other(small, longest):
    chosen = auxlearn.select(small, PRIMARY, "longest", np.int64(30), seed=np.int64(1), **LITTLE)
    assert (len(chosen.table), chosen.table["rank"].isna().all()) == (30, True)
    assert chosen.table["score"].is_monotonic_decreasing
    compared = auxlearn.compare(small, PRIMARY, ["longest"], np.arange(2), n=30, **LITTLE)
    assert compared.table["arm"].tolist() == ["single", "longest"]


def test_a_plug_in_edited_since_it_was_read_chooses_nothing(small, tmp_path):
    """Its old code would choose, under the name of the new."""
    file = tmp_path / "shortest.py"
    source = """from auxlearn.methods.base import Method, Selection
from auxlearn.methods.registry import register

@register
class Shortest(Method):
    name, title = "shortest", "the first rows"

    def select(self, context, cell, options):
        return Selection(context.pool().head(cell.n))
"""
    file.write_text(source, encoding="utf-8")
    with registry.restored():
        chosen = auxlearn.select(small, PRIMARY, "shortest", 5, plugins=[str(file)], **LITTLE)
        assert len(chosen.table) == 5
        file.write_text(source.replace("head", "tail"), encoding="utf-8")
        with pytest.raises(InputError, match=r"the code of 'shortest', .* was edited .* start Python anew"):
            auxlearn.select(small, PRIMARY, "shortest", 5, plugins=[str(file)], **LITTLE)


def test_a_method_that_was_typed_in_is_refused_before_anything_is_trained(small, runs_folder, longest, monkeypatch):
    monkeypatch.setattr(registry._METHODS["longest"].__class__, "__module__", "typed")
    monkeypatch.setitem(sys.modules, "typed", types.ModuleType("typed"))
    with pytest.raises(InputError, match="'longest' is defined in no file"):
        auxlearn.compare(small, PRIMARY, ["longest"], [0], n=30, **LITTLE)
    assert units(runs_folder) == set()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"method": "td_bec"}, "method: 'td_bec' is no arm; did you mean 'td_bce'"),
        ({"method": 3}, "method: 3 is no name"),
        ({"method": "tawt_joint"}, "weighs rows and chooses none; select by 'all_data'"),
        ({"primary": "topic_sid"}, "did you mean 'topic_side'"),
        ({"suite": "planted"}, "suite: a Suite is needed"),
        ({"n": 100_000}, "n: 100000 rows asked for, but 03_ranking can choose from 560"),
        ({"n": 0}, "n: "),
        ({"encoder": "tinny"}, "did you mean 'tiny'"),
        ({"proxy_row": 3}, "no option of td_bce and no parameter of a notebook; did you mean 'proxy_rows'"),
        ({"level": 0.9}, "'level' is no option of td_bce"),
        ({"arm": "random"}, "arm: no option; the call has an argument for it"),
        ({"lr": "high"}, "lr: "),
        ({"proxies": "three"}, "proxies: "),
        ({"notebooks": {"02_proxy": {}}}, "no notebook is called '02_proxy'; did you mean '02_td_proxy'"),
        ({"notebooks": 3}, "3 is no table"),
        ({"notebooks": {"06_mtl": {"max_length": 16}}}, "notebooks.06_mtl: max_length has to be the same"),
        ({"notebooks": {"06_mtl": {"n": 3}}}, "notebooks.06_mtl: n: the call has an argument for it"),
        ({"plugins": "x.py"}, "plugins: 'x.py' is no list"),
        ({"seed": -1}, "seeds"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_before_anything_is_trained(small, runs_folder, given, message):
    call = {
        "suite": small,
        "primary": PRIMARY,
        "method": "td_bce",
        "n": 30,
        "encoder": "tiny",
        "proxy_rows": 15,
    } | given
    with pytest.raises(InputError) as raised:
        auxlearn.select(**call)
    assert message in str(raised.value)
    assert units(runs_folder) == set()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"methods": "td_bce"}, "methods: give a list, such as ['td_bce']"),
        ({"seeds": 3}, "seeds: give a list"),
        ({"seeds": []}, "seeds: [] is not a list of seeds"),
        ({"seeds": [0, 0]}, "names one twice"),
        ({"methods": ["td_bce", "td_bce"]}, "arm has 'td_bce' twice"),
        ({"methods": []}, "methods: name an arm that single is to be compared with"),
        ({"methods": ["single"]}, "methods: name an arm that single is to be compared with"),
        ({"methods": {"random": {}}}, "methods: give a list"),
        ({"methods": None}, "methods: give a list, such as ['random']"),
        ({"seeds": None}, "seeds: give a list, such as [0]"),
        ({"tests": ["td_bce - cie_bce"]}, "tests: 'cie_bce' is not among the arms"),
    ],
)
def test_what_cannot_be_compared_is_refused(small, runs_folder, given, message):
    call = {"methods": ["td_bce"], "seeds": [0, 1], "n": 30, "encoder": "tiny"} | given
    with pytest.raises(InputError) as raised:
        auxlearn.compare(small, PRIMARY, call.pop("methods"), call.pop("seeds"), **call)
    assert message in str(raised.value)
    assert units(runs_folder) == set()


def test_what_no_arm_reads_is_said_and_checked_all_the_same(small, runs_folder):
    few = {"encoder": "tiny", "stage2_epochs": 1, "tune_epochs": 1, "method_options": {"single": {"epochs": 1}}}
    with pytest.warns(UserWarning, match="proxy_rows: read by none of random, but by 02_td_proxy alone"):
        auxlearn.select(small, PRIMARY, "random", 5, proxy_rows=20, **few)
    for given, words in (({"proxy_rows": "many"}, "proxy_rows"), ({"importance_rows": -5}, "importance_rows")):
        with pytest.raises(InputError, match=words):
            auxlearn.select(small, PRIMARY, "random", 5, **given, **few)
    for encoder in (None, ""):
        with pytest.raises(InputError, match=r"encoder: .* is no name"):
            auxlearn.select(small, PRIMARY, "random", 5, encoder=encoder)
    for name, value in (("primary", "topic_name"), ("seeds", [5])):
        with pytest.raises(InputError, match=rf"notebooks\.06_mtl: {name}: the call has an argument for it"):
            auxlearn.select(small, PRIMARY, "random", 5, notebooks={"06_mtl": {name: value}}, **few)
