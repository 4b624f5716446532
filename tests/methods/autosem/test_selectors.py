"""AUTOSEM as an arm: a bandit that trains, ratios that become an order of steps, and what both are charged."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

import asking
from auxlearn import seeding
from auxlearn.cost import Ledger
from auxlearn.data import batch_order
from auxlearn.data import suites as tasks
from auxlearn.errors import InputError
from auxlearn.methods import arm_plans, context
from auxlearn.methods.autosem import bandit_plans, bandit_trainer, bandits, selectors
from auxlearn.methods.autosem import ratio_search as ratios
from auxlearn.reporting import cost_tables
from auxlearn.training import phases, resuming, train, training_cache
from auxlearn.training.phases import Phase, Plan, Recipe, Rounds

NAMES = ["topic_name", "look_alike"]
RECIPE = Recipe(lr=1e-3, batch_size=8)


@pytest.fixture(scope="module")
def small(small):
    """With 100 dev rows a task: nothing here asks how well a training did."""
    short = {name: replace(task, dev=task.dev.select(range(100))) for name, task in small.items()}
    return tasks.Suite(small.name, short, f"{small.fingerprint}-100")


def arm(name="autosem", **given):
    quick = {"bandit_rounds": 6, "ratio_trials": 3, "stage2_epochs": 1, "tune_epochs": 1, "choose": "last"}
    return asking.arm(name, **({"n": 30, "auxiliaries": NAMES} | quick | given))


def chosen(p, small, usable):
    """What an arm chooses for seed 3, and what its search was charged."""
    selection, asked = asking.selected(p, small, 3, usable)
    return selection, asked.searched(), asked.units()


@pytest.fixture
def usable(small):
    return asking.everything(small)


def bandit_plan(rule="corrected", **given):
    rows = {"look_alike": np.arange(40), "topic_side": np.arange(40)}
    phase = Phase("bandit", rows, 5, RECIPE, rounds=Rounds(2, 0.1, rule), **given)
    return Plan("tiny", (phase,), seeding.record(1), "topic_side", np.arange(40, 80))


# --- rounds ----------------------------------------------------------------------------------------------------------


def test_rounds_train_one_task_each_and_are_paid_by_the_held_out_score(small):
    made = bandit_trainer.run(bandit_plan(), small)
    start, *rows = made.history
    assert start["epoch"] == 0
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5]
    assert rows[0]["arm"] == "topic_side"
    tasks = [step["task"] for step in made.steps]
    assert [tasks[2 * i : 2 * i + 2] for i in range(5)] == [[row["arm"]] * 2 for row in rows]
    scores = [row["holdout"] for row in made.history]
    for before, after, row in zip(scores[:-1], scores[1:], rows, strict=True):
        assert row["reward"] == (0.5 if after == before else float(after > before))
    (ledger,) = made.ledgers
    assert ledger.steps == 10
    assert ledger.examples == 10 * 8 + 6 * 40  # the score before the first round is paid for too
    bandit = bandit_trainer.replayed(bandit_plan(), bandit_plan().phases[0], made.history)
    assert bandit.history[-1]["alpha"] == rows[-1]["alpha"]
    assert bandit.choose() == bandit_trainer.replayed(bandit_plan(), bandit_plan().phases[0], made.history).choose()


def test_the_authors_rule_pays_the_first_round_and_ties(small):
    rows = bandit_trainer.run(bandit_plan("paper"), small).history
    assert rows[1]["reward"] == 1
    scores = [row["holdout"] for row in rows[1:]]
    later = zip(rows[2:], scores, scores[1:], strict=False)
    assert all(row["reward"] == float(after >= before) for row, before, after in later)


def test_interrupted_rounds_go_on_with_the_same_bits(small, tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "CHECKPOINT_SECONDS", -1.0)
    whole = bandit_trainer.run(bandit_plan(), small)

    class Killed(Exception):
        pass

    def dying(message):
        if "epoch 4/5" in message:
            raise Killed

    with pytest.raises(Killed):
        bandit_trainer.run(bandit_plan(), small, tmp_path, dying)
    messages = []
    again = bandit_trainer.run(bandit_plan(), small, tmp_path, messages.append)
    assert messages[0] == "resumed bandit after epoch 3"
    assert again.history == whole.history
    assert again.steps == whole.steps
    other = whole.model.state_dict()
    assert all(torch.equal(v, other[k]) for k, v in again.model.state_dict().items())


def test_the_bandit_s_rate_stays_where_it_is():
    recipe = Recipe(0.5, warmup=0.1, decay="none")
    assert [phases.rate(step, 20, recipe) for step in (1, 2, 10, 19)] == pytest.approx([1 / 3, 0.5, 0.5, 0.5])


def test_impossible_rounds_and_orders_are_refused(small):
    for changes, words in (
        ({"holdout": np.zeros(0, np.int64)}, "a bandit needs held-out rows"),
        ({"primary": "topic_name", "holdout": np.arange(3)}, "arms are the primary and tasks with rows"),
    ):
        with pytest.raises(InputError, match=words):
            phases.check(replace(bandit_plan(), **changes), small)
    rows = {"topic_side": np.arange(9), "look_alike": np.zeros(0, np.int64)}
    for given, words in (
        ({"order": np.array([0, 1])}, "names a task without rows"),
        ({"order": np.array([0, 2])}, "names a task without rows"),
        ({"order": np.array([0]), "steps": 3}, "give one"),
        ({"order": np.zeros(0, np.int64)}, "fewer steps than epochs"),
    ):
        with pytest.raises(InputError, match=words):
            phases.check(Plan("tiny", (Phase("x", rows, 1, RECIPE, **given),), seeding.record(0), "topic_side"), small)


# --- an order of steps -----------------------------------------------------------------------------------------------


def test_batches_in_order_use_every_row_before_any_twice():
    lengths = {"a": np.arange(1, 11), "b": np.arange(1, 4)}
    made = batch_order.in_order(list("abbabbab"), lengths, 4, np.random.default_rng(0))
    assert [task for task, _ in made] == list("abbabbab")
    a = np.concatenate([rows for task, rows in made if task == "a"])
    assert sorted(a) == list(range(10))  # three batches, one pass
    b = [sorted(rows) for task, rows in made if task == "b"]
    assert b == [[0, 1, 2]] * 5


def test_a_phase_follows_its_order_over_its_epochs_and_resumes(small, tmp_path, monkeypatch):
    monkeypatch.setattr(resuming, "CHECKPOINT_SECONDS", -1.0)
    rows = {"look_alike": np.arange(20), "topic_side": np.arange(40)}
    order = np.array([0, 0, 1, 0, 0, 1, 0])
    plan = Plan("tiny", (Phase("stage2", rows, 2, RECIPE, order=order),), seeding.record(1), "topic_side")
    whole = train.run(plan, small)
    assert [step["task"] for step in whole.steps] == [["topic_side", "look_alike"][i] for i in order]
    assert [row["epoch"] for row in whole.history] == [1, 2]

    def dying(message):
        if "epoch 2/2" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.run(plan, small, tmp_path, dying)
    assert train.run(plan, small, tmp_path).steps == whole.steps


# --- the arms --------------------------------------------------------------------------------------------------------


def stage_1_plan(p, small, usable):
    return bandit_plans.bandit(p, p.options(p.method), small, 3, usable)


def test_both_arms_share_the_bandit_and_train_within_the_arm_s_budget(small, usable, monkeypatch):
    monkeypatch.setattr(bandits, "select", lambda *a, **k: np.array([2, 1]))
    first, spent, (stage_1,) = chosen(arm("autosem_p1"), small, usable)
    assert first.tasks == ("topic_name", "look_alike")
    assert len(first.rows) == 30
    assert first.shares is None
    assert set(first.why["utilities"]) == {"topic_side", *NAMES}
    assert [ledger.stage for ledger in spent] == ["bandit"]
    monkeypatch.setattr(bandit_trainer, "run", lambda *a: pytest.fail("stage 1 was trained again"))
    second, spent, (again, *_) = chosen(arm(), small, usable)
    assert again.key == stage_1.key
    assert [ratios for ratios, _ in second.visited][:2] == [(1, 0, 0), (1, 1, 1)]
    assert {ledger.stage for ledger in spent} == {"bandit", "trial"}
    steps = -(-(72 + 30) // 32)
    assert [ledger.steps for ledger in spent[1::2]] == [steps] * 3  # each trial's stage 2
    assert second.as_dict()["visited"][0][0] == [1, 0, 0]
    monkeypatch.setattr(training_cache, "_train", lambda *a: pytest.fail("a trial was trained again"))
    again, *_ = chosen(arm(), small, usable)
    assert again.visited == second.visited
    assert again.shares == second.shares


def test_ratios_become_rows_and_an_order_of_steps(small, usable):
    rows = selectors.shared_out(pool(small), {"topic_side": 2, "topic_name": 3, "look_alike": 1}, 30, 0)
    assert rows.groupby("task").size().to_dict() == {"look_alike": 8, "topic_name": 22}
    shares = {"topic_side": 2, "topic_name": 1, "look_alike": 1}
    plan = arm_plans.two_stages(arm(n=200), small, 3, rows, usable["topic_side"], shares)
    stage2 = plan.phases[0]
    names = phases.arms(stage2, "topic_side")
    assert names == ["topic_side", "look_alike", "topic_name"]
    steps = -(-(80 + 200) // 32)
    assert len(stage2.order) == steps
    assert np.bincount(stage2.order).tolist() in ([5, 2, 2], [4, 3, 2], [4, 2, 3])
    cycle = arm_plans.two_stages(arm(n=200), small, 3, rows, usable["topic_side"], shares, "cycle")
    assert cycle.phases[0].order.tolist() == [0, 0, 1, 2, 0, 0, 1, 2, 0]
    assert plan.phases[1].order is None


def pool(small):
    return pd.concat([pd.DataFrame({"task": n, "row": np.arange(80), "row_id": "x"}) for n in NAMES])


def test_rows_are_shared_out_by_largest_remainder_and_none_is_none(small):
    count = lambda shares, n: selectors.shared_out(pool(small), shares, n, 0).groupby("task").size().to_dict()  # noqa: E731
    assert count({"topic_name": 1, "look_alike": 1}, 31) == {"look_alike": 16, "topic_name": 15}
    assert count({"topic_name": 9, "look_alike": 1, "topic_side": 5}, 100) == {"look_alike": 10, "topic_name": 80}
    assert count({"topic_name": 1, "look_alike": 0}, 10) == {"topic_name": 10}
    assert selectors.shared_out(pool(small), {"topic_side": 1, "topic_name": 0}, 10, 0) is None


def test_a_bandit_that_keeps_no_task_leaves_the_primary_alone(small, usable, monkeypatch):
    monkeypatch.setattr(bandits, "select", lambda *a, **k: np.zeros(0, np.int64))
    made, *_ = chosen(arm(), small, usable)
    assert made.tasks == ()
    assert made.rows is None
    assert made.shares is None
    assert made.visited == []


def test_the_authors_rule_keeps_tasks_whatever_their_utility(small, usable):
    made, *_ = chosen(arm("autosem_p1", autosem_rule="paper", bandit_decay=0.3), small, usable)
    assert len(made.tasks) == 2
    assert made.why["utilities"][made.tasks[0]] >= made.why["utilities"][made.tasks[1]]


def test_a_ratio_proposed_twice_is_trained_and_charged_once(small, usable, monkeypatch):
    monkeypatch.setattr(bandits, "select", lambda *a, **k: np.array([1]))
    design = {"ratios": [1, 1], "by": "design", "proposals": [], "gains": []}
    for source in ("_design", "_acquire"):
        monkeypatch.setattr(ratios.Search, source, lambda self, rng: design)
    made, spent, _ = chosen(arm(), small, usable)
    assert len(made.visited) == 3
    assert sum(ledger.stage == "trial" for ledger in spent) == 2  # one training: its stage 2 and its tuning


def test_the_bandit_never_sees_a_row_that_may_not_be_used(small, usable):
    usable["look_alike"][5:] = False
    usable["topic_side"][:40] = False
    plan = stage_1_plan(arm(), small, usable)
    rows = plan.phases[0].rows
    assert rows["look_alike"].tolist() == [0, 1, 2, 3, 4]
    assert min(rows["topic_side"].min(), plan.holdout.min()) >= 40
    assert not set(rows["topic_side"]) & set(plan.holdout)


def test_what_does_not_change_an_arm_is_not_in_its_key():
    of = lambda name, **given: arm(name, **given).key_params()  # noqa: E731
    assert of("random", bandit_rounds=6) == of("random", bandit_rounds=9, autosem_rule="paper", ratio_trials=8)
    assert of("autosem_p1", ratio_trials=3) == of("autosem_p1", ratio_trials=8)
    assert of("autosem", ratio_trials=3) != of("autosem", ratio_trials=8)
    assert of("autosem_p1", holdout=0.1) != of("autosem_p1", holdout=0.2)
    assert of("autosem_p1", task_threshold=0.1) == of("autosem_p1", task_threshold=0.2)


def test_costs_hold_the_bandit_and_the_trials():
    own = [Ledger(stage, flops=x).as_dict() for stage, x in (("bandit", 2.0), ("trial", 3.0), ("stage2", 1.0))]
    given = SimpleNamespace(
        params={"arm": "autosem", "primary": "topic_side", "auxiliaries": []},
        metrics={"seeds": {"0": {"ledger": own, "needed": []}}},
    )  # fmt: skip
    stages = cost_tables.by_stage(cost_tables.costs([given]), "flops")
    assert stages.loc["autosem"].to_dict() == {"bandit": 2.0, "trial": 3.0, "stage2": 1.0}
    assert cost_tables.amortised(stages, [2]).loc[2, "autosem"] == 6.0  # neither serves another target


def test_trials_by_steps_are_judged_at_their_last_phase(small, usable, monkeypatch):
    monkeypatch.setattr(bandits, "select", lambda *a, **k: np.array([2, 1]))
    for more in ({}, {"tune_steps": 4}):
        made, *_ = chosen(arm(steps=8, **more), small, usable)
        assert all(np.isfinite(score) for _, score in made.visited)
        plan = arm_plans.two_stages(
            arm(steps=8, choose="holdout", **more), small, 3, made.rows, usable["topic_side"], made.shares
        )
        assert plan.phases[-1].choose == "holdout"
        assert len(plan.phases) == (2 if more else 1)


def test_each_round_of_the_bandit_trains_rows_of_its_own(small, monkeypatch):
    drawn, real = [], batch_order.in_order

    def in_order(tasks_, *args):
        drawn.append((tasks_[0], real(tasks_, *args)))
        return drawn[-1][1]

    monkeypatch.setattr(batch_order, "in_order", in_order)
    rows = {"look_alike": np.arange(40), "topic_side": np.arange(40)}
    phase = Phase("bandit", rows, 4, Recipe(lr=1e-3, batch_size=8), rounds=Rounds(2, 0.1))
    bandit_trainer.run(Plan("tiny", (phase,), seeding.record(1), "topic_side", np.arange(40, 80)), small)
    made = [(task, *np.concatenate([index for _, index in batches])) for task, batches in drawn]
    assert len({len(row) for row in made}) == 1
    assert len(set(made)) == 4


def test_the_bandit_forgets_at_the_rate_of_its_phase():
    phase = Phase("bandit", {"a": np.arange(3), "b": np.arange(3)}, 4, RECIPE, rounds=Rounds(2, 0.5))
    made = bandit_trainer.bandit(Plan("tiny", (phase,), seeding.record(1), "a"), phase)
    assert made.decay == 0.5


@pytest.mark.parametrize("rule", ["corrected", "paper"])
def test_the_utilities_of_an_arm_are_those_that_its_rule_keeps_tasks_by(small, usable, rule):
    p = arm("autosem_p1", n=20, autosem_rule=rule)
    made, *_ = chosen(p, small, usable)
    plan = stage_1_plan(p, small, usable)
    history = training_cache.trained(plan, small).history.to_dict("records")
    bandit = bandit_trainer.replayed(plan, plan.phases[0], history)
    wanted = bandit.utilities if rule == "paper" else bandits.mean_utilities(bandit)
    assert made.why["utilities"] == pytest.approx(
        dict(zip(["topic_side", "look_alike", "topic_name"], wanted, strict=True))
    )


def test_autosem_draws_no_row_that_may_not_be_used(small, usable, monkeypatch):
    monkeypatch.setattr(bandits, "select", lambda *a, **k: np.array([2, 1]))
    usable = usable | {"look_alike": np.arange(80) >= 60}
    rows = chosen(arm("autosem_p1", n=70, bandit_rounds=2), small, usable)[0].rows
    assert rows.loc[rows["task"] == "look_alike", "row"].min() >= 60


def test_rows_shared_out_are_random_and_of_the_seed(small):
    pool = pd.concat([pd.DataFrame({"task": n, "row": np.arange(80), "row_id": "x"}) for n in NAMES])
    drawn = [selectors.shared_out(pool, dict.fromkeys(NAMES, 1), 20, seed)["row"].tolist() for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert max(drawn[0]) > 40


def test_the_authors_rule_is_that_of_the_ratio_search_too(small, usable, monkeypatch):
    monkeypatch.setattr(bandits, "select", lambda *a, **k: np.array([2, 1]))
    monkeypatch.setattr(context.Context, "trial", lambda *a: (0.5, 0.5))
    seen, real = [], ratios.Search
    monkeypatch.setattr(ratios, "Search", lambda *a, **k: seen.append(real(*a, **k)) or seen[-1])
    for rule in ("corrected", "paper"):
        chosen(arm(n=20, bandit_rounds=2, ratio_trials=11, autosem_rule=rule), small, usable)
    assert [search.settings["rule"] for search in seen] == ["corrected", "paper"]


@pytest.mark.parametrize(
    ("rule", "trials", "design"),
    [("paper", 16, 10), ("paper", 11, 10), ("corrected", 16, 4), ("corrected", 6, 3), ("corrected", 3, 2)],
)
def test_so_many_trials_come_before_the_process_is_asked(small, usable, monkeypatch, rule, trials, design):
    """Ten under the authors' rule, as scikit-optimize has it; else two more than there are tasks, half at most."""

    class Asked(Exception):
        pass

    def search(n_tasks, seed, highest, n_initial, rule):
        raise Asked(n_tasks, n_initial)

    monkeypatch.setattr(bandits, "select", lambda *a, **k: np.array([1]))
    monkeypatch.setattr(ratios, "Search", search)
    with pytest.raises(Asked) as found:
        chosen(arm(autosem_rule=rule, ratio_trials=trials), small, usable)
    assert found.value.args == (2, design)


@pytest.mark.parametrize(("rule", "trials", "words"), [("paper", 10, "give 11 or more"), ("corrected", 2, "3")])
def test_a_search_that_would_never_leave_its_design_is_refused(rule, trials, words):
    with pytest.raises(ValueError, match=f"ratio_trials.*{words}"):
        arm(autosem_rule=rule, ratio_trials=trials)
    arm("autosem_p1", autosem_rule=rule, ratio_trials=10)  # which has no such search


def test_the_last_trials_are_the_process_s_own(small, usable, monkeypatch):
    """Three tasks and six trials; the design used to take five."""
    monkeypatch.setattr(bandits, "select", lambda *a, **k: np.array([2, 1]))
    monkeypatch.setattr(context.Context, "trial", lambda *a: (0.5, 0.5))
    seen, real = [], ratios.Search
    monkeypatch.setattr(ratios, "Search", lambda *a, **k: seen.append(real(*a, **k)) or seen[-1])
    chosen(arm(n=20, bandit_rounds=2, ratio_trials=6), small, usable)
    by = [row["by"] for row in seen[0].log]
    assert by[:3] == ["design"] * 3
    assert set(by[3:]) <= set(ratios.PORTFOLIO)
