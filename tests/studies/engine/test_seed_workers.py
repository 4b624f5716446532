"""Seeds dealt to processes: what they make is what the notebook would have, and one that dies costs nothing."""

import json
import os
import subprocess
import sys
import time
from collections import Counter

import pandas as pd
import pytest

from auxlearn import processes
from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.paths import NOTEBOOKS
from auxlearn.records import runs
from auxlearn.records.code_hash import notebook_source
from auxlearn.studies import parameters
from auxlearn.studies.engine import seed_workers
from helpers import unmeasured

pytestmark = pytest.mark.usefixtures("planted_once")
SMALL = {"rows": 60, "seeds": [0, 1]}
GIVEN = {
    "02_td_proxy": SMALL | {"proxy_rows": 10, "watch_rows": 2, "epochs": 1, "map_seeds": [1]},
    "04_gradts_correlation": SMALL | {"tune_rows": 10, "importance_rows": 6, "epochs": 1},
    "05_tawt_weighting": SMALL | {"steps": 6, "compare_probes": False, "methods": {"tawt": {"weight_every": 2}}},
    "08_validity": SMALL | {"n": 20, "selectors": ["random", "loss"]},
    "06_mtl": SMALL | {
        "arm": "autosem_p1", "n": 20, "stage2_epochs": 1, "tune_epochs": 1, "methods": {"autosem": {"bandit_rounds": 3}}
    },
}  # fmt: skip


def params(stage, **more):
    return parameters.validate(stage, GIVEN[stage] | more).resolved()


def executed(stage, **more):
    """Run a notebook's cells in this process; its manifest."""
    import matplotlib.pyplot as plt

    space = parameters.for_notebook(stage, params(stage, **more).model_dump())
    exec(compile(notebook_source(NOTEBOOKS / f"{stage}.ipynb"), stage, "exec"), space)
    plt.close("all")
    return space["manifest"]


def units(manifest):
    """The trainings and passes that a notebook read, by stage and key."""
    return {(each["stage"], each["key"]) for each in manifest.data["inputs"]}


@pytest.fixture
def cores(monkeypatch):
    """Of eight cores, so that nothing here depends on how many there are."""
    monkeypatch.setattr(os, "cpu_count", lambda: 8)


# --- dealing ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("workers", "seeds", "order", "others"),
    [
        (1, [5, 6, 7], [5, 6, 7], []),
        (2, [5, 6, 7], [5, 7, 6], [["6"]]),
        (3, [5, 6, 7, 8], [5, 8, 6, 7], [["6"], ["7"]]),
        (9, [5, 6], [5, 6], [["6"]]),
        (4, [5], [5], []),
    ],
)
def test_seeds_are_dealt_in_turn_and_the_notebook_works_too(
    cores, tmp_path, monkeypatch, workers, seeds, order, others
):
    """It works on its own share first, and then looks for what the workers have made."""
    p, job, dealt = params("06_mtl", workers=workers, seeds=seeds), tmp_path / "seeds.json", []
    start = lambda command, **_: dealt.append(command[command.index(str(job)) + 1 :])  # noqa: E731
    monkeypatch.setattr(subprocess, "Popen", start)
    seed_workers.start(p, [], tmp_path)
    assert seed_workers.own_seeds(p) == order
    assert dealt == others
    assert job.is_file() == bool(others)


def test_there_are_no_more_workers_than_cores_for_them(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    shares = lambda **more: seed_workers.shares(params("06_mtl", workers=4, seeds=[0, 1, 2, 3], **more))  # noqa: E731
    assert (shares(), shares(threads=2), shares(threads=2, processes=2), shares(threads=8)) == (4, 2, 1, 1)
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert shares() == 1


@pytest.mark.parametrize("stage", ["01_data_prep", "03_ranking", "07_efficiency"])
def test_a_notebook_that_trains_nothing_is_not_dealt(cores, stage):
    assert seed_workers.shares(parameters.validate(stage, {"workers": 2})) == 1


# --- what workers make -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", seed_workers.DEALT)
def test_a_notebook_finds_made_what_a_worker_has_made(stage, tmp_path):
    """All that takes long of a seed: what the notebook then makes is of the other seed alone, and as much."""
    job = tmp_path / "seeds.json"
    told = {"stage": stage, "params": params(stage).model_dump(), "upstream": []}
    job.write_text(json.dumps(told))
    assert seed_workers.main([str(job), "1"]) == 0
    there = {path: path.stat().st_mtime_ns for path in runs.runs_root().glob("*/*/manifest.json")}
    made = units(executed(stage))
    assert {path: path.stat().st_mtime_ns for path in there} == there
    of_worker = {(path.parts[-3], path.parts[-2]) for path in there} & made
    assert Counter(at for at, _ in of_worker) == Counter(at for at, _ in made - of_worker)
    assert len(of_worker) >= {"02_td_proxy": 4, "04_gradts_correlation": 16, "06_mtl": 2}.get(stage, 1)


@pytest.mark.parametrize("stage", ["02_td_proxy", "06_mtl"])
def test_two_workers_find_what_one_finds(stage, tmp_path, monkeypatch, cores):
    found = {}
    for workers in (1, 2):
        monkeypatch.setenv("AUXLEARN_RUNS", str(tmp_path / str(workers)))
        found[workers] = executed(stage, workers=workers)
    one, two = found.values()
    assert one.key == two.key  # how many worked decides nothing
    assert unmeasured(one.metrics) == unmeasured(two.metrics)
    assert list(one.metrics["seeds"]) == list(two.metrics["seeds"]) == ["0", "1"]
    assert units(one) == units(two)
    assert (two.folder / "seeds.log").read_text() == ""  # the worker had nothing to complain of
    assert not (one.folder / "seeds.json").exists()


def test_choices_are_judged_in_the_order_of_seeds_whoever_made_them(tmp_path, monkeypatch, cores):
    """Of three seeds the worker has the second, which the notebook takes up last; and it chooses by every method."""
    tables, given = [], {"seeds": [2, 0, 1], "selectors": ["random", "knn"]}
    for workers in (1, 2):
        monkeypatch.setenv("AUXLEARN_RUNS", str(tmp_path / str(workers)))
        made = executed("08_validity", workers=workers, **given)
        tables.append(pd.read_parquet(made.folder / "choices.parquet"))
    assert (made.folder / "seeds.log").read_text() == ""
    assert list(zip(tables[1]["method"], tables[1]["seed"], strict=True)) == [
        (m, s) for m in ("random", "knn") for s in (2, 0, 1)
    ]
    pd.testing.assert_frame_equal(*tables)


@pytest.mark.parametrize("dying", ["import os; os._exit(9)", "raise RuntimeError('out of memory')"])
def test_a_worker_that_dies_costs_nothing_but_time(tmp_path, monkeypatch, cores, dying):
    given = {"arm": "single", "methods": {"single": {"epochs": 1}}}
    monkeypatch.setenv("AUXLEARN_RUNS", str(tmp_path / "alone"))
    alone = executed("06_mtl", **given)
    monkeypatch.setenv("AUXLEARN_RUNS", str(tmp_path / "dying"))
    monkeypatch.setattr(processes, "command", lambda *_: [sys.executable, "-c", dying])
    left = executed("06_mtl", workers=2, **given)
    assert (left.folder / "seeds.json").is_file()  # a worker was started
    assert unmeasured(left.metrics) == unmeasured(alone.metrics)
    assert units(left) == units(alone)


def test_a_worker_that_meets_an_error_leaves_the_rest_to_the_notebook(tmp_path, capsys, monkeypatch):
    """It says so in its log; the notebook meets the same error, and shows it."""
    job = tmp_path / "seeds.json"
    told = {"stage": "06_mtl", "params": params("06_mtl", arm="random", n=10**6).model_dump(), "upstream": []}
    job.write_text(json.dumps(told))
    with pytest.raises((InputError, ValueError), match="rows asked for"):
        executed("06_mtl", arm="random", n=10**6)
    monkeypatch.setattr(seed_workers, "work", lambda *_: (_ for _ in ()).throw(InputError("too few rows")))
    assert seed_workers.main([str(job), "1", "0"]) == 1
    assert capsys.readouterr().out.splitlines()[-1] == "seed 1: too few rows"


def test_a_worker_is_told_what_the_notebook_reads(tmp_path, monkeypatch, cores):
    """An artifact is made as the run that is read was, by whichever process."""
    proxy, p, seen = params("02_td_proxy"), params("06_mtl", arm="td_bce", workers=2), []
    monkeypatch.setattr(subprocess, "Popen", lambda command, **more: seen.append(more["env"]))
    seed_workers.start(p, [proxy], tmp_path)
    assert seen[0]["OMP_NUM_THREADS"] == seen[0]["OPENBLAS_NUM_THREADS"] == str(p.threads)
    monkeypatch.setattr(seed_workers, "work", lambda asked, _: seen.append(asked))
    assert seed_workers.main([str(tmp_path / "seeds.json"), "1"]) == 0
    asked = seen[-1]
    assert (asked.params, asked.seed, asked.upstream) == (p, 1, [proxy])
    assert asked.suite.fingerprint == suites.load("planted", 60).fingerprint


def test_a_worker_ends_with_its_notebook(tmp_path):
    """It watches the process that started it (see `processes`)."""
    program = """
import json, os, sys
from pathlib import Path
from auxlearn.studies import parameters
from auxlearn.studies.engine import seed_workers
os.cpu_count = lambda: 2
p = parameters.validate("06_mtl", json.loads(sys.argv[1])).resolved()
(worker,) = seed_workers.start(p, [], Path(sys.argv[2]))
print(worker.pid, flush=True)
os._exit(0)
"""
    endless = GIVEN["06_mtl"] | {"workers": 2, "arm": "single", "methods": {"single": {"epochs": 10**6}}}
    command = [sys.executable, "-c", program, json.dumps(endless), str(tmp_path)]
    pid = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    end = time.monotonic() + 60
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < end:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{pid}")
