"""A study's plan: what each run adds, what is finished, how long the rest takes."""

import pytest
import yaml
from auxlearn.studies.pricing import prices

from auxlearn.records import runs
from auxlearn.reporting import notebook
from auxlearn.studies import graph, planning
from helpers import STUDY

pytestmark = pytest.mark.usefixtures("planted_once")


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    return path


def test_what_the_runs_add_is_the_price_of_the_study(file):
    cells = graph.load(file).cells
    flops = prices.by_cell(file, cells)
    assert sum(flops) == pytest.approx(prices.price(file).total.sum())
    by_stage = {cell.stage: flop for cell, flop in zip(cells, flops, strict=True)}
    assert by_stage["01_data_prep"] == by_stage["03_ranking"] == by_stage["07_efficiency"] == 0
    assert by_stage["02_td_proxy"] > 0
    assert by_stage["06_mtl"] > 0


def test_finished_runs_take_no_time(file):
    first = planning.plan(file)
    assert {p.status for p in first} == {"missing"}
    (rate,) = {p.rate for p in first if p.flops}
    assert 1e8 < rate < 1e15
    assert all(p.seconds == pytest.approx(p.flops / rate) for p in first if p.flops)
    text = planning.shown(first, cores=2)
    assert text.count("missing") == 8
    assert "8 of 8 runs to do" in text
    assert "with 2 at once" in text
    # A run that is finished takes none, and what it measured is the rate of the others.
    cell = next(p.cell for p in first if p.cell.stage == "01_data_prep")
    run = notebook.start(cell.stage, cell.params.model_dump()).run
    assert run.key == cell.key
    run.finish([], {})
    again = planning.plan(file)
    assert [p.status for p in again].count("finished") == 1
    assert "7 of 8 runs to do" in planning.shown(again, cores=1)


def test_the_rate_is_read_from_finished_trainings_alike(file):
    p = next(c.params for c in graph.load(file).cells if c.stage == "06_mtl")
    assert planning.seen(p) == 0
    ledger = planning.prices.cost.Ledger("tune", seconds=2.0, flops=6e9)
    content = {"encoder": "tiny", "precision": "fp32", "threads": 1, "device": "cpu"}
    runs.Run("train", "a" * 16, content, "s").finish([], {}, [ledger])
    runs.Run("train", "b" * 16, content | {"threads": 2}, "s").finish([], {}, [ledger, ledger])
    assert planning.seen(p) == 3e9


def test_durations():
    assert [planning.duration(s) for s in (0.2, 40, 720, 12000)] == ["", "40 s", "12 min", "3 h 20"]
