"""GradTS's methods: they choose what the correlations say, on the arm's budget, and are charged for it."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from asking import arm, everything, planned, selected
from auxlearn.cost import Ledger
from auxlearn.data import suites as tasks
from auxlearn.errors import InputError
from auxlearn.methods import context, task_plans
from auxlearn.methods.gradts import correlation, head_tables, importance_maker
from auxlearn.reporting import cost_tables
from auxlearn.studies.parameters import GradTS
from auxlearn.training import training_cache

NAMES = ["topic_name", "look_alike", "away_topic", "word_class"]
TAUS = dict(zip(NAMES, (0.7, 0.6, 0.5, -0.2), strict=True))


@pytest.fixture(scope="module")
def small(small):
    """With 100 dev rows a task: nothing here asks how well a training did."""
    short = {name: replace(task, dev=task.dev.select(range(100))) for name, task in small.items()}
    return tasks.Suite(small.name, short, f"{small.fingerprint}-100")


def measured(taus=TAUS, rows=None):
    """A stand-in for head importance: task taus as above; row r of a task has tau r / 100."""
    table = pd.DataFrame([{"task": n, "row": r, "tau": r / 100} for n in NAMES for r in range(0, 80, 2)])
    return SimpleNamespace(taus=taus, rows=lambda: table if rows is None else rows)


def rule(name, **given):
    return arm(f"gradts_{name}", **({"n": 30, "auxiliaries": NAMES} | given))


def chosen(p, small, usable=None, importance=None):
    """What an arm chooses for seed 3, and the context that was charged for it."""
    return selected(p, small, 3, usable or everything(small), importance=importance or measured())


def test_thres_draws_n_rows_of_the_tasks_above_the_threshold(small):
    usable = everything(small)
    usable["look_alike"] = np.arange(80) < 5
    made, _ = chosen(rule("thres", task_threshold=0.6), small, usable)
    assert made.tasks == ("topic_name", "look_alike")
    assert len(made.rows) == 30
    assert set(made.rows["task"]) <= {"topic_name", "look_alike"}
    assert (made.rows.loc[made.rows["task"] == "look_alike", "row"] < 5).all()
    assert not made.rows.duplicated(["task", "row"]).any()
    again, _ = chosen(rule("thres", task_threshold=0.6), small, usable)
    assert again.rows.equals(made.rows)
    none, _ = chosen(rule("thres", task_threshold=0.9), small, usable)
    assert none.tasks == ()
    assert none.rows is None
    few, _ = chosen(rule("thres", task_threshold=0.6, n=500), small, usable)
    assert len(few.rows) == 85  # all there are


@pytest.mark.parametrize(("k", "tasks"), [(1, ("topic_name",)), (3, tuple(NAMES[:3])), (9, tuple(NAMES))])
def test_top_takes_as_many_tasks_whatever_their_tau(small, k, tasks):
    low = {name: tau - 0.7 for name, tau in TAUS.items()}  # no threshold would let them through
    made, _ = chosen(rule("top", top_tasks=k), small, importance=measured(low))
    assert made.tasks == tasks
    assert len(made.rows) == 30
    assert set(made.rows["task"]) <= set(tasks)


@pytest.mark.parametrize("name", ["thres", "proxy", "fg"])
def test_a_cut_at_the_null_takes_the_tasks_that_chance_would_not_give(small, name):
    """One matrix has the primary's order of heads in every layer, one its layers alone, two nothing of it."""
    rng = np.random.default_rng(0)
    primary = rng.random((6, 12)) + np.arange(6)[:, None]
    alike, layers = primary + 0.2 * rng.random((6, 12)), rng.permuted(primary, axis=1)
    matrices = np.stack([primary, alike, layers, rng.random((6, 12)), np.zeros((6, 12))])
    taus = dict(zip(NAMES[:3], correlation.task_taus(matrices)[0, 1:4], strict=True))
    assert taus[NAMES[1]] > 0.5 > 0.2 > taus[NAMES[2]]  # by a threshold of 0.5 the second would be taken too
    importance = measured(taus)
    importance.heads = SimpleNamespace(tasks=["topic_side", *NAMES], matrices=lambda seed, definition: matrices)
    importance.definition = "gate"
    given = {"task_cut": "null"} | ({"fg_tasks": "thres"} if name == "fg" else {})
    made, _ = chosen(rule(name, **given), small, importance=importance)
    assert made.tasks == ("topic_name",)


def test_fg_keeps_the_best_rows_of_its_tasks(small):
    made, _ = chosen(rule("fg", fg_tasks="all", fg_fraction=0.1), small)
    assert made.tasks == tuple(NAMES)
    # 40 measured rows a task, the best 4 of each: 16 rows, fewer than n.
    assert len(made.rows) == 16
    assert set(made.rows["row"]) == {72, 74, 76, 78}
    made, _ = chosen(rule("fg", fg_tasks="all", fg_fraction=0.1, fg_rule="code"), small)
    assert len(made.rows) == 20  # one more of each
    assert set(made.rows["row"]) == {70, 72, 74, 76, 78}


@pytest.fixture
def judged(monkeypatch):
    """Trainings are not run: a set's held-out scores are looked up."""
    scores = {(): 0.60, ("topic_name",): 0.65, ("look_alike", "topic_name"): 0.63}
    asked = []

    def trained(plan, suite, progress=None):
        (first, _) = plan.phases
        tasks = tuple(sorted(set(first.rows) - {"topic_side"}))
        asked.append((tasks, first, plan))
        looks = pd.DataFrame({"phase": ["tune"] * 2, "step": [1, 2], "score": [scores[tasks], 0.1]})
        return SimpleNamespace(
            looks=looks, manifest=SimpleNamespace(key="+".join(tasks)), ledgers=[Ledger("stage2", flops=5.0)]
        )

    monkeypatch.setattr(training_cache, "trained", trained)
    return asked


def test_trial_trains_nested_prefixes_on_the_arm_s_budget_and_judges_on_held_out_rows(small, judged):
    made, asked = chosen(rule("trial", choose="last"), small)
    assert made.tasks == ("topic_name",)
    assert [tasks for tasks, _ in made.visited] == [(), ("topic_name",), ("topic_name", "look_alike")]
    assert [tasks for tasks, *_ in judged] == [(), ("topic_name",), ("look_alike", "topic_name")]
    assert all(len(plan.holdout) == 8 and plan.phases[1].choose == "holdout" for *_, plan in judged)
    alone = judged[0][1]
    assert alone.steps == 2 * -(-(72 + 30) // 32)  # the primary alone gets as many steps
    assert sum(len(rows) for name, rows in judged[1][1].rows.items() if name != "topic_side") == 30
    assert [ledger.stage for ledger in asked.searched()] == ["trial"] * 3
    assert made.as_dict()["visited"][1] == [["topic_name"], 0.65]
    assert len(asked.searched("topic_name")) == 2  # the arm's own training was a trial, and is charged as tuning


def test_the_authors_rule_never_tries_the_primary_alone(small, judged):
    """It goes on while the best epoch reaches the last one of the prefix before (0.1 here), so two are trained."""
    made, _ = chosen(rule("trial", trial_rule="code", trial_most=2), small)
    assert [tasks for tasks, _ in made.visited] == [("topic_name",), ("topic_name", "look_alike")]
    assert made.tasks == ("topic_name",)


def test_an_arm_that_chose_nothing_spends_its_steps_on_the_primary(small):
    plan = planned(rule("thres", task_threshold=0.9), small, 3, everything(small), importance=measured())
    assert [list(phase.rows) for phase in plan.phases] == [["topic_side"], ["topic_side"]]
    assert plan.phases[0].steps == 2 * -(-(72 + 30) // 32)


def test_a_method_is_charged_for_the_primary_and_the_candidates_only(small):
    """What importance of other tasks costs is nobody's; two methods of a seed share what was measured."""
    small_study = GradTS(tune_rows=24, importance_rows=10, epochs=1, seeds=[3]).resolved()
    p = arm("gradts_thres", auxiliaries=["look_alike"], n=30, task_threshold=-1.0)
    asked = context.Context(small, p, 3, [small_study])
    method, options = p.method, p.options(p.method)
    assert method.select(asked, asked.cell, options).tasks == ("look_alike",)
    plans = [task_plans.task_tuning(small_study, small, name, 3, asked.usable(None)[name])[0]
             for name in ("topic_side", "look_alike")]  # fmt: skip
    trained = [training_cache.trained(plan, small) for plan in plans]
    assert {m.key for m in asked.units() if m.stage == "train"} == {made.manifest.key for made in trained}
    spent = pd.DataFrame([ledger.as_dict() for ledger in asked.needed()])
    assert spent["stage"].tolist() == ["task_tuning", "importance"] * 2
    tuning = spent.loc[spent["stage"] == "task_tuning", "flops"]
    assert tuning.tolist() == [sum(ledger.flops for ledger in made.ledgers) for made in trained]
    assert (spent["flops"] > 0).all()
    assert asked.searched() == []


def test_importance_serves_every_target_and_so_is_shared_by_them():
    own, needed = Ledger("tune", flops=3.0), [Ledger("task_tuning", flops=30.0), Ledger("importance", flops=2.0)]
    part = {"ledger": [own.as_dict()], "needed": [ledger.as_dict() for ledger in needed]}
    given = SimpleNamespace(params={"arm": "gradts_thres"}, metrics={"seeds": {"0": part}})
    costs = cost_tables.costs([given])
    assert costs.groupby("stage")["flops"].sum().to_dict() == {"importance": 2.0, "task_tuning": 30.0, "tune": 3.0}
    stages = cost_tables.by_stage(costs, "flops")
    assert cost_tables.amortised(stages, [1, 2]).loc[2, "gradts_thres"] == pytest.approx(3.0 + 32.0 / 2)


def test_rows_are_rated_by_their_own_seed_s_correlation_with_the_primary(small, monkeypatch):
    heads = SimpleNamespace(tasks=["topic_side", *NAMES])
    table = pd.DataFrame({"seed": [3, 3], "task": ["topic_name", "look_alike"], "row": [4, 5], "topic_side": [0.5, 0.1],
                          "look_alike": [0.2, 1.0]})  # fmt: skip
    monkeypatch.setattr(head_tables, "row_table", lambda heads, definition: table)
    rows = importance_maker.Importance({}, heads, "gate").rows()
    assert rows.to_dict("list") == {"task": ["topic_name", "look_alike"], "row": [4, 5], "tau": [0.5, 0.1]}


def test_a_task_whose_matrix_is_constant_is_no_candidate(small, monkeypatch):
    found = dict(zip(NAMES, (np.nan, 0.6, 0.5, -0.2), strict=True))
    heads = SimpleNamespace(matrices=lambda seed, definition: None, manifests=[], all_ledgers=list)
    monkeypatch.setattr(head_tables, "measure", lambda *a: heads)
    in_order = small.auxiliaries("topic_side", NAMES)
    monkeypatch.setattr(correlation, "task_taus", lambda matrices: np.array([[1.0, *map(found.get, in_order)]]))
    made, _ = selected(rule("thres", task_threshold=0.5), small, 3, everything(small))
    assert made.tasks == ("look_alike", "away_topic")
    assert made.why["taus"] == {name: found[name] for name in ("look_alike", "away_topic", "word_class")}
    found.update(dict.fromkeys(NAMES, np.nan))
    with pytest.raises(InputError, match="'topic_side', seed 3: its head importance correlates with no task's"):
        selected(rule("thres"), small, 3, everything(small))


def test_of_rows_and_tasks_each_seed_s_correlations_are_its_own(small):
    tau, two = {3: (0.7, 0.2), 4: (0.1, 0.8)}, NAMES[:2]
    rows = {
        s: pd.DataFrame([{"task": n, "row": r, "tau": (r if s == 3 else 40 - r) / 100}
                         for n in two for r in range(s - 3, 40, 2)])
        for s in (3, 4)
    }  # fmt: skip
    importance = lambda s: measured(dict(zip(two, tau[s], strict=True)), rows[s])  # noqa: E731
    p = rule("fg", auxiliaries=two, fg_tasks="thres", task_threshold=0.5, fg_fraction=0.1)
    first, second = (selected(p, small, s, everything(small), importance=importance)[0] for s in (3, 4))
    assert (first.tasks, first.rows["row"].tolist()) == (("topic_name",), [36, 38])
    assert (second.tasks, second.rows["row"].tolist()) == (("look_alike",), [1, 3])


def test_the_trial_s_patience_is_the_arm_s(small, monkeypatch):
    names = NAMES[:3]
    scores = iter([(0.6, 0.6), (0.5, 0.5), (0.4, 0.4), (0.9, 0.9)])
    monkeypatch.setattr(context.Context, "trial", lambda *a: next(scores))
    p = rule("trial", auxiliaries=names, trial_patience=3)
    made, _ = chosen(p, small, importance=measured(dict(zip(names, (0.7, 0.6, 0.5), strict=True))))
    assert made.tasks == tuple(names)
