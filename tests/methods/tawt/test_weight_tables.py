"""Weighted trainings as tables: what is read back is what happened."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from auxlearn import seeding
from auxlearn.data import suites
from auxlearn.methods.tawt import weight_rule, weight_tables
from auxlearn.reporting.plots import weight_figures
from auxlearn.training import training_cache
from auxlearn.training.phases import Phase, Plan, Recipe, Weighting

ROWS = {"topic_side": np.arange(30), "topic_name": np.arange(60), "word_class": np.arange(30)}
GIVEN = Weighting((0.5, 0.25, 0.25), rule="paper", every=3, chunks=1, chunk_rows=20)


@pytest.fixture(scope="module")
def small(small):
    """With 100 dev rows a task: nothing here asks how well a training did."""
    short = {name: replace(task, dev=task.dev.select(range(100))) for name, task in small.items()}
    return suites.Suite(small.name, short, f"{small.fingerprint}-100")


@pytest.fixture
def plan():
    phase = Phase("joint", ROWS, 1, Recipe(1e-3, 16), steps=9, weighting=GIVEN)
    return Plan("tiny", (phase,), seeding.record(0), "topic_side", np.arange(50, 80))


def test_updates_are_read_back_and_shares_count_rows(plan, small):
    training = training_cache.trained(plan, small)
    table = weight_tables.shares(weight_tables.updates({4: training}), plan)
    assert set(table["seed"]) == {4}
    assert table["step"].drop_duplicates().tolist() == [0, 3, 6, 9]
    first = table[table["update"] == 0].set_index("task")
    assert first["weight"].to_dict() == {"topic_side": 0.5, "topic_name": 0.25, "word_class": 0.25}
    assert first["share"].to_dict() == pytest.approx({"topic_side": 0.4, "topic_name": 0.4, "word_class": 0.2})
    assert first["cosine"].isna().all()
    assert table.groupby("update")["weight"].sum().tolist() == pytest.approx([1] * 4)
    later = table[table["update"] > 0]
    assert later["cosine"].notna().all()
    assert later["error"].isna().all()  # one draw shows no error
    null = weight_tables.null(plan, [0, 3, 6, 9])
    closed = weight_rule.null_schedule(np.array(GIVEN.prior), 3, target=0)
    assert null.pivot(index="update", columns="task", values="weight")["topic_side"].to_list() == pytest.approx(
        closed[:, 0]
    )
    figures = [
        weight_figures.trajectories(table, weight_tables.shares(null, plan), "topic_side", c)
        for c in ("weight", "share")
    ]
    figures.append(weight_figures.cosines(table, "topic_side"))
    assert [figure.get_supylabel() for figure in figures] == [
        "weight",
        "effective share",
        "cosine with the target",
    ]


def test_final_weights_are_those_that_the_last_step_was_taken_with(plan, small):
    training = training_cache.trained(plan, small)
    assert training.updates[-1]["step"] == 9
    assert weight_tables.last_in_force(training)["step"] == 6
    in_force = dict(zip(training.updates[2]["names"], training.updates[2]["weights"], strict=True))
    assert weight_tables.finals({4: training})[4].to_dict() == pytest.approx(in_force)


def test_seeds_are_drawn_a_task_a_panel():
    rows = [
        (seed, task, step, step // 10, 0.2 + 0.01 * seed, 0.1 * seed, 0.3)
        for seed in range(4)
        for task in ("topic_side", "topic_name", "word_class", "cross_group", "look_alike")
        for step in (0, 10, 20)
    ]
    table = pd.DataFrame(rows, columns=["seed", "task", "step", "update", "weight", "cosine", "error"])
    null = table[table["seed"] == 0]
    figure = weight_figures.trajectories(table, null, "topic_side")
    assert [axis.get_title(loc="left") for axis in figure.axes] == list(table["task"].unique())
    lines = figure.axes[0].get_lines()
    assert len(lines) == 4 + 1 + 1  # seeds, their mean, no gradient
    assert lines[4].get_ydata().tolist() == pytest.approx([0.215] * 3)
    shown = weight_figures.cosines(table, "topic_side")
    assert [len(axis.containers) for axis in shown.axes] == [4] * 5
    assert len(weight_figures.cosines(table[table["seed"] < 3], "topic_side").axes) == 5


def test_probes_are_compared_on_one_and_the_same_training(plan, small, monkeypatch):
    made, real = [], training_cache.trained
    monkeypatch.setattr(training_cache, "trained", lambda *a: made.append(real(*a)) or made[-1])
    table = weight_tables.compared(plan, small)
    assert table.index.names == ["update", "task"]
    assert list(table) == list(weight_tables.PROBES)
    assert table[["exact", "last layer"]].notna().all().all()
    assert table["training gradients"].notna().any()  # unknown for a task without a batch since the last update
    for other in made[1:]:
        assert other.steps.equals(made[0].steps)  # watching disturbs nothing
        assert all(row["weights"] == pytest.approx(GIVEN.prior) for row in other.updates)
    agreement = weight_tables.agreement(table)
    assert list(agreement.index) == list(weight_tables.PROBES)[1:]


def test_agreement_by_hand():
    table = pd.DataFrame({"exact": [0.1, 0.2, 0.3, np.nan], "cheap": [0.3, 0.4, 0.5, 9.0]})
    made = weight_tables.agreement(table).loc["cheap"]
    assert made["known"] == 3
    assert made["rank"] == pytest.approx(1)
    assert made["gap"] == pytest.approx(0.2)


def test_probes_are_compared_whatever_moves_the_weights(plan, small):
    """A floor or decay is of no use to weights that are held still, and the noisy rule would refuse it."""
    phase = plan.phases[0]
    moved = Weighting(GIVEN.prior, every=3, floor=0.1, decay=0.2, tau=0.5, chunks=2, chunk_rows=10)
    made = weight_tables.compared(replace(plan, phases=(replace(phase, weighting=moved),)), small)
    assert made["exact"].notna().all()


def trained(steps, updates=()):
    """What a training keeps: its steps by phase, and its updates."""
    return SimpleNamespace(
        updates=list(updates), steps=pd.DataFrame({"phase": [name for name, n in steps.items() for _ in range(n)]})
    )


def test_the_target_s_share_is_a_mean_over_steps(plan, small):
    rows = len(ROWS["topic_side"])
    none = trained({"joint": 9, "tune": 9})
    assert weight_tables.target_share(replace(plan, phases=(replace(plan.phases[0], weighting=None),)), none) == 0.25
    alone = Phase("tune", {"topic_side": ROWS["topic_side"]}, 1, Recipe(1e-3, 16), steps=9)
    both = (replace(plan.phases[0], weighting=None), alone)
    assert weight_tables.target_share(replace(plan, phases=both), none) == pytest.approx((0.25 + 1) / 2)
    ordered = replace(plan.phases[0], weighting=None, steps=None, order=np.array([0, 0, 0, 1]))
    assert weight_tables.target_share(replace(plan, phases=(ordered,)), trained({"joint": 4})) == 0.75
    moved = [
        {"phase": "joint", "step": step, "weights": [w, (1 - w) / 2, (1 - w) / 2]}
        for step, w in ((0, 0.5), (3, 0.8), (9, 0.9))
    ]
    share = lambda w: rows * w / (rows * w + 60 * (1 - w) / 2 + 30 * (1 - w) / 2)  # noqa: E731
    expected = (3 * share(0.5) + 6 * share(0.8)) / 9  # the last update is in force for no step
    assert weight_tables.target_share(plan, trained({"joint": 9}, moved)) == pytest.approx(expected)
    # Of texts that are split there are more sequences than rows, and more steps than rows make.
    expected = (3 * share(0.5) + 6 * share(0.8) + 6 * share(0.9)) / 15
    longer = replace(plan, phases=(replace(plan.phases[0], steps=None),))
    assert weight_tables.target_share(longer, trained({"joint": 15}, moved)) == pytest.approx(expected)
    real = training_cache.trained(plan, small)
    assert 0 < weight_tables.target_share(plan, real) < 1
