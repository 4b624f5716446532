"""Every run as one tidy table, from real runs; and trainings as TensorBoard scalars."""

import json
import sys

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from auxlearn import cli
from auxlearn import seeding as seeds
from auxlearn.errors import InputError
from auxlearn.records import runs
from auxlearn.reporting import tracking
from auxlearn.training import phases, training_cache


def run(stage, key, params, metrics, ledger=()):
    unfinished = runs.Run(stage, key * 16, params, "s")
    manifest = unfinished.finish([], metrics)
    record = manifest.data | {"ledger": list(ledger)}
    runs.write_json(manifest.path("manifest.json"), record)
    return manifest


COST = {"stage": "tune", "seconds": 2.0, "flops": 3e12, "tokens": 5, "padded_tokens": 6, "steps": 7, "examples": 8,
        "peak_bytes": 9, "joules": None}  # fmt: skip


@pytest.fixture
def some(runs_folder):
    """One run of each form of metrics."""
    seeds = {
        str(seed): {"dev": {"accuracy": 0.5 + seed, "f1": 0.25}, "step": 3, "added": 10, "ledger": [COST]}
        for seed in (0, 1)
    }
    run("06_mtl", "a", {"arm": "random", "n": 10, "seeds": [0, 1], "lr": 0.1, "keep_leaks": False, "study": "=1+1"},
        {"metric": "accuracy", "seeds": seeds}, [COST, COST])  # fmt: skip
    arms = {"random": {"difference": 0.1, "low": None, "verdict": "better"}}
    pairs = [{"arm": "random", "baseline": "all_data", "difference": -0.2}]
    run("07_efficiency", "b", {"n": 20, "lr": 1}, {"floor": 0.5, "arms": arms, "pairs": pairs})
    heads = {"tau": {"rte": {"wnli": 0.3}}, "agreement": {"gate": {"kv": 0.7}}, "ledger": {"0": {}}}
    run("04_gradts_correlation", "c", {}, heads)
    run("05_tawt_weighting", "d", {}, {"final": {"3": {"rte": 0.9}}})
    run("train", "e", {"phases": [{"name": "tune"}]}, {"dev": {"accuracy": 0.75}, "chosen": {"tune": 2}})
    return runs_folder


def rows(table, **where):
    for name, value in where.items():
        table = table[(table[name] == value).fillna(False).to_numpy(bool)]
    return table


def test_one_row_is_one_number(some):
    table = tracking.table()
    scores = rows(table, stage="06_mtl", split="dev", metric="accuracy")
    assert scores[["seed", "value"]].to_numpy().tolist() == [[0, 0.5], [1, 1.5]]
    assert rows(table, stage="06_mtl", metric="step")["value"].tolist() == [3, 3]
    assert rows(table, metric="difference", of="random")["value"].tolist() == [0.1]
    assert rows(table, metric="difference", of="random − all_data")["value"].tolist() == [-0.2]
    assert rows(table, metric="verdict")["text"].tolist() == ["better"]
    assert rows(table, metric="low").empty  # None is no number
    assert rows(table, metric="agreement", of="gate/kv")["value"].tolist() == [0.7]
    assert rows(table, metric="final", seed=3, of="rte")["value"].tolist() == [0.9]
    assert rows(table, stage="train", split="dev")["value"].tolist() == [0.75]
    assert not table.duplicated(["stage", "key", "seed", "split", "metric", "of"]).where(table["split"] != "cost").any()


def test_costs_are_of_the_run_and_of_its_seeds(some):
    table = rows(tracking.table(), stage="06_mtl")
    assert set(table["run_seconds"]) == {4.0}
    assert set(table["run_tflop"]) == {6.0}
    each = rows(table, split="cost", metric="tflop", of="tune")
    assert each[each["seed"].notna()]["value"].tolist() == [3.0, 3.0]
    assert "joules" not in set(table["metric"])


def test_every_column_has_one_type_and_is_explained(some, tmp_path):
    table = tracking.table()
    assert {name if not name.startswith("param_") else "param_NAME" for name in table} == set(tracking.COLUMNS)
    (path,) = tracking.write(tmp_path / "t.parquet")
    types = {field.name: str(field.type) for field in pq.read_schema(path)}
    assert (types["seed"], types["value"], types["param_n"]) == ("int64", "double", "int64")
    assert (types["param_keep_leaks"], types["param_lr"]) == ("bool", "double")
    assert types["finished"].startswith("timestamp")
    read = pd.read_parquet(path)
    assert len(read) == len(table)
    assert json.loads(rows(read, stage="06_mtl")["param_seeds"].iloc[0]) == [0, 1]


def test_parameters_of_mixed_kinds_are_text(runs_folder):
    run("06_mtl", "a", {"x": 1}, {"m": 1})
    run("06_mtl", "b", {"x": "all"}, {"m": 1})
    assert tracking.table()["param_x"].tolist() == ["1", "all"]


def test_csv_is_safe_for_spreadsheets(some, tmp_path):
    _, path = tracking.write(tmp_path / "t.parquet", csv=True)
    read = pd.read_csv(path)
    assert set(read["study"].dropna()) == {"'=1+1"}
    assert rows(read, metric="difference")["value"].tolist() == [0.1, -0.2]  # numbers stay numbers
    assert set(pd.read_parquet(tmp_path / "t.parquet")["study"].dropna()) == {"=1+1"}


def test_runs_that_did_not_finish_are_there(mixed):
    table = tracking.table()
    notebooks = table[table["stage"].isin(["01_data_prep", "02_td_proxy"])]
    assert notebooks.groupby("key")["status"].first().value_counts().to_dict() == {
        "finished": 1, "stale": 1, "damaged": 1, "interrupted": 1, "failed": 1, "not run": 3,
    }  # fmt: skip
    assert set(rows(table, stage="train")["status"]) == {"interrupted"}  # the failed proxy's training
    failed = rows(table, status="failed")
    assert len(failed) == 1
    assert failed["metric"].isna().all()
    assert rows(table, status="finished", metric="tasks")["value"].tolist() == [8]


def test_a_manifest_that_is_none_has_its_row(some):
    (some / "train" / ("e" * 16) / "manifest.json").write_text("[]")
    trainings = rows(tracking.table(), stage="train")
    assert trainings["status"].tolist() == ["damaged"]


def test_the_command(some, tmp_path, capsys):
    assert cli.main(["results", str(tmp_path / "r.parquet"), "--csv"]) == 0
    assert (tmp_path / "r.csv").is_file()
    assert cli.main(["results", "--columns"]) == 0
    assert "run_tflop" in capsys.readouterr().out
    assert cli.main(["results", str(tmp_path / "r.xlsx")]) == 2
    assert "ends in .parquet" in capsys.readouterr().err


def test_an_empty_run_folder_is_refused(runs_folder):
    with pytest.raises(InputError, match="no runs in"):
        tracking.table()


# --- TensorBoard ---------------------------------------------------------------------------------------------------


@pytest.fixture
def training(small):
    """A real training of two epochs over one task, read by an arm."""
    phase = phases.Phase("tune", {"topic_side": np.arange(32)}, 2, phases.Recipe(lr=1e-3, batch_size=16))
    plan = phases.Plan("tiny", (phase,), seeds.record(1), "topic_side")
    return training_cache.trained(plan, small).manifest


def test_scalars_of_a_training(training, tmp_path, capsys):
    pytest.importorskip("tensorboard", reason="the extra `tensorboard` is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    arm = runs.Run("06_mtl", "a" * 16, {"primary": "topic_side", "arm": "single", "n": 5}, "s", [training])
    arm.finish([], {})
    assert cli.main(["tensorboard", str(tmp_path / "logs")]) == 0
    assert "1 trainings" in capsys.readouterr().out
    events = EventAccumulator(str(tmp_path / "logs" / "topic_side" / "single-n5" / training.key[:8])).Reload()
    history = json.loads(training.path("history.json").read_text())
    losses = [(e.step, e.value) for e in events.Scalars("tune by epoch/loss")]
    assert losses == [(i + 1, pytest.approx(row["loss"])) for i, row in enumerate(history["history"])]
    steps = events.Scalars("tune by step/task_loss/topic_side")
    losses = pd.read_parquet(training.path("steps.parquet"))["task_loss"]
    assert [e.value for e in steps] == pytest.approx(losses.tolist())
    assert cli.main(["tensorboard", str(tmp_path / "logs")]) == 2  # never over what is there
    assert "not an empty folder" in capsys.readouterr().err


def test_without_tensorboard_the_extra_is_named(training, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    assert cli.main(["tensorboard", str(tmp_path / "logs")]) == 2
    assert "pip install 'auxlearn[tensorboard]'" in capsys.readouterr().err
    assert not (tmp_path / "logs").exists()
