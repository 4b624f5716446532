"""A study's plan: what each run adds, what is finished, how long the rest takes."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
import yaml

from auxlearn.cost import Ledger
from auxlearn.models import encoder_files
from auxlearn.records import runs
from auxlearn.reporting import notebook
from auxlearn.studies import expansion, forecasts, graph, parameters, planning
from auxlearn.studies.engine import seed_workers
from auxlearn.studies.planning import Planned
from helpers import STUDY

pytestmark = pytest.mark.usefixtures("planted_once")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path


@pytest.fixture
def quick(monkeypatch):
    """A machine that starts a notebook in 2 s and computes 1 GFLOP/s; eight cores."""
    monkeypatch.setattr(planning, "start_up", lambda: 2.0)
    monkeypatch.setattr(planning, "measured", lambda p: 1e9)
    monkeypatch.setattr(seed_workers.os, "cpu_count", lambda: 8)


def test_what_the_runs_add_is_the_price_of_the_study(file):
    cells = graph.load(file).cells
    flops = forecasts.by_cell(file, cells)
    assert sum(flops) == pytest.approx(forecasts.price(file).total.sum())
    by_stage = {cell.stage: flop for cell, flop in zip(cells, flops, strict=True)}
    assert by_stage["01_data_prep"] == by_stage["03_ranking"] == by_stage["07_efficiency"] == 0
    assert by_stage["02_td_proxy"] > 0
    assert by_stage["06_mtl"] > 0


def test_finished_runs_take_no_time(file):
    first = planning.plan(file)
    assert {p.status for p in first} == {"missing"}
    (rate,) = {p.rate for p in first if p.flops}
    assert 1e8 < rate < 1e15
    (start,) = {p.start for p in first}
    assert start > 0.1  # three processes that import
    assert all(p.seconds == pytest.approx(start + p.flops / rate) for p in first if p.flops)
    assert all(p.seconds == start for p in first if not p.flops)
    text = planning.summary(first, cores=2)
    assert text.count("missing") == len(first) == 8
    assert "8 of 8 runs to do" in text
    assert "with up to 2 at once, start-up included" in text
    # A run that is finished takes none, and what it measured is the rate of the others.
    cell = next(p.cell for p in first if p.cell.stage == "01_data_prep")
    run = notebook.start(cell.stage, cell.params.model_dump()).run
    assert run.key == cell.key
    run.finish([], {})
    again = planning.plan(file)
    assert [p.status for p in again].count("finished") == 1
    assert next(p.seconds for p in again if p.status == "finished") == 0
    assert "7 of 8 runs to do" in planning.summary(again, cores=1)


@pytest.mark.usefixtures("quick")
def test_every_run_that_is_left_starts_up(file):
    planned = planning.plan(file)
    assert all(p.seconds == pytest.approx(2 + p.flops / 1e9) for p in planned)
    seconds, _ = planning.wall(planned, 1, 0)
    assert seconds == pytest.approx(2 * len(planned) + sum(p.flops for p in planned) / 1e9)
    lines = planning.summary(planned, cores=1).splitlines()
    assert lines[0].split() == ["status", "key", "TFLOP", "about", "run"]
    assert f"at 1 GFLOP/s per process, about {planning.duration(seconds)} with up to 1 at once" in lines[-2]
    assert "all finished" in planning.summary([replace(p, status="finished") for p in planned])


# --- a rate -----------------------------------------------------------------------------------------------------------


def test_the_rate_is_read_from_finished_trainings_alike(file):
    p = next(c.params for c in graph.load(file).cells if c.stage == "06_mtl")
    assert planning.seen(p) == 0
    ledger = Ledger("tune", seconds=2.0, flops=6e9)
    content = {"encoder": encoder_files.fingerprint("tiny"), "precision": "fp32", "threads": 1, "device": "cpu"}
    runs.Run("train", "a" * 16, content, "s").finish([], {}, [ledger])
    runs.Run("train", "b" * 16, content | {"threads": 2}, "s").finish([], {}, [ledger, ledger])
    assert planning.seen(p) == 3e9
    # Of two processes that share each batch, one does half of it.
    runs.Run("train", "c" * 16, content | {"processes": 2}, "s").finish(
        [], {}, [Ledger("tune", seconds=2.0, flops=12e9)]
    )
    assert planning.seen(p) == 3e9


def test_the_rate_of_a_gpu_is_read_whatever_the_threads_were(monkeypatch):
    """A GPU's trainings keep none in their parameters."""
    monkeypatch.setattr(runs, "device_name", lambda device: "a card" if device == "cuda" else "a processor")
    content = {"encoder": encoder_files.fingerprint("tiny"), "precision": "fp32", "device": "cuda"}
    runs.Run("train", "a" * 16, content, "s").finish([], {}, [Ledger("tune", seconds=2.0, flops=6e9)])
    p = parameters.validate("06_mtl", {"encoder": "tiny", "precision": "fp32", "threads": 4}).resolved()
    assert planning.seen(p) == 0
    assert planning.seen(p.model_copy(update={"device": "cuda"})) == 3e9


def test_durations():
    assert [planning.duration(s) for s in (0.2, 40, 720, 12000)] == ["", "40 s", "12 min", "3 h 20"]


# --- side by side -----------------------------------------------------------------------------------------------------


def cell(*reads, seconds=10.0, threads=1, processes=1, workers=1, seeds=(0,), device="cpu", stage="06_mtl"):
    """A run that takes so long in one process."""
    own = {"threads": threads, "processes": processes, "workers": workers, "seeds": list(seeds)}
    params = SimpleNamespace(stage=stage, device=device, **own)
    made = expansion.Cell(params, "k" * 16, "", [planned.cell for planned in reads], "")
    return Planned("missing", made, seconds * 1e9, 1e9)


@pytest.fixture
def eight_cores(monkeypatch):
    monkeypatch.setattr(seed_workers.os, "cpu_count", lambda: 8)


pytestmark = [pytestmark, pytest.mark.usefixtures("eight_cores")]


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ({}, 10), ({"seeds": [0, 1, 2]}, 10), ({"seeds": [0, 1, 2, 3], "workers": 2}, 5),
        ({"seeds": [0, 1, 2], "workers": 2}, 10 * 2 / 3),  # one of the two has two seeds
        ({"seeds": [0, 1], "workers": 9}, 5), ({"seeds": range(8), "workers": 8, "threads": 4}, 5),  # eight cores
        ({"workers": 4}, 10), ({"processes": 2}, 5), ({"processes": 2, "seeds": [0, 1], "workers": 2}, 2.5),
        ({"seeds": [0, 1], "workers": 2, "stage": "03_ranking"}, 10),  # deals no seeds
    ],
)  # fmt: skip
def test_seeds_are_dealt_to_workers_and_batches_to_processes(given, seconds):
    assert cell(**given).seconds == pytest.approx(seconds)
    started = replace(cell(**given), start=3.0)
    assert started.seconds == pytest.approx(3 + seconds)
    assert replace(started, rate=0.0).seconds == 3
    assert replace(started, status="finished").seconds == 0


def test_runs_that_need_nothing_of_one_another_share_the_cores():
    six = [cell() for _ in range(6)]
    assert planning.wall(six, 1, 0) == (60, 1)
    assert planning.wall(six, 2, 0) == (30, 2)
    assert planning.wall(six, 4, 0) == (20, 4)
    assert planning.wall(six, 99, 0) == (10, 6)


@pytest.mark.parametrize(
    ("given", "cores", "seconds", "at_once"),
    [
        ({"threads": 2}, 4, 20, 2), ({"threads": 3}, 4, 40, 1),  # one core is left over
        ({"threads": 16}, 4, 40, 1),  # a run that asks for more than there is has all
        ({"threads": 2, "processes": 2}, 8, 10, 2),  # half as long, four cores each
        ({"threads": 2, "workers": 2, "seeds": (0, 1)}, 8, 10, 2),
        ({"workers": 2}, 2, 20, 2),  # one seed has no use for another worker
    ],
)  # fmt: skip
def test_a_run_uses_threads_of_every_process_of_every_worker(given, cores, seconds, at_once):
    assert planning.wall([cell(**given) for _ in range(4)], cores, 0) == (seconds, at_once)


def test_gpus_bound_what_runs_at_once():
    """Eight runs of four processes on a GPU each: one at a time on four GPUs, two on eight."""
    wide = [cell(device="cuda", processes=4, seconds=40) for _ in range(8)]
    assert planning.wall(wide, 64, 4) == (80, 1)
    assert planning.wall(wide, 64, 8) == (40, 2)
    assert planning.wall(wide, 64, 2) == (80, 1)  # a run that asks for more than there is has all
    narrow = [cell(device="cuda") for _ in range(8)]
    assert planning.wall(narrow, 64, 4) == (20, 4)
    assert planning.wall(narrow, 2, 4) == (40, 2)
    both = [*narrow, *(cell() for _ in range(8))]
    assert planning.wall(both, 64, 4) == (20, 12)  # those without a GPU wait for none


def test_the_longest_chain_of_reads_bounds_the_time():
    proxy = cell(stage="02_td_proxy", seconds=30)
    ranking = cell(proxy, stage="03_ranking", seconds=5)
    arms = [cell(ranking, seconds=7) for _ in range(4)]
    alone = [cell(seconds=20) for _ in range(2)]
    report = cell(*arms, *alone, stage="07_efficiency", seconds=1)
    chain = [proxy, ranking, *arms, *alone, report]
    assert planning.wall(chain, 99, 0) == (30 + 5 + 7 + 1, 4)
    # Two cores: the others take the second one until 40, arms the first from 35 on; the last arm ends at 54.
    assert planning.wall(chain, 2, 0) == (55, 2)
    # What is finished already is waited for by none.
    assert planning.wall(chain[1:], 99, 0) == (20 + 1, 6)


def test_a_chain_of_one_run_is_that_run():
    assert planning.wall([cell()], 8, 0) == (10, 1)
    assert planning.wall([cell(device="cuda")], 8, 0) == (10, 1)


def test_a_run_that_another_has_made_takes_its_start_up():
    """What it shares may make the sum of both a hair less than the first alone."""
    assert replace(cell(), flops=-1e-3, start=2.0).seconds == 2


def test_a_rate_is_measured_for_a_second_at_least(monkeypatch):
    """What takes a fifth of a second is at the mercy of whatever else the machine does."""
    asked = []

    def trained(p, epochs):
        asked.append(epochs)
        return SimpleNamespace(flops=epochs * 1e9, seconds=epochs * took)

    monkeypatch.setattr(planning, "_trained", trained)
    for took, expected in ((0.15, [1, 7]), (2.0, [1])):
        assert planning.measured(None) == pytest.approx(1e9 / took)
        assert asked == expected
        asked.clear()
