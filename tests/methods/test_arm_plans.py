"""Plans: which rows an arm trains on and is judged by, under which switches."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from asking import Told, arm, everything, planned
from auxlearn import seeding
from auxlearn.methods import arm_plans, task_plans
from auxlearn.methods.autosem import bandit_plans
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.studies.parameters import GradTS, TDProxy
from auxlearn.training import phases, training_cache

NAMES = ["topic_name", "look_alike"]


def test_a_share_of_the_usable_rows_is_held_out_and_no_other_is_touched(small):
    usable = np.arange(80) % 2 == 0
    made = arm_plans.alone(arm("single", holdout=0.25), small, 0, usable, 5)
    kept = made.phases[0].rows["topic_side"]
    assert (len(kept), len(made.holdout)) == (30, 10)
    assert usable[kept].all()
    assert usable[made.holdout].all()


def quick(name, **given):
    base = {"n": 30, "auxiliaries": NAMES, "stage2_epochs": 1, "tune_epochs": 1, "probe_rows": 6, "holdout": 0.25}
    return arm(name, **(base | given))


@pytest.mark.parametrize("name", ["single", "random", "joint", "tawt_pretrain"])
def test_no_arm_trains_or_is_judged_on_a_row_of_the_primary_that_may_not_be_used(small, name):
    usable = everything(small)
    usable["topic_side"] = np.arange(80) % 2 == 0
    made = planned(quick(name), small, 3, usable)
    mine = [phase.rows["topic_side"] for phase in made.phases if "topic_side" in phase.rows]
    assert len(made.holdout) == 10
    assert all(len(rows) == 30 for rows in mine)
    assert all(usable["topic_side"][rows].all() for rows in (*mine, made.holdout))


def test_a_trial_is_judged_on_held_out_rows_though_the_arm_looks_at_dev(small, monkeypatch):
    seen = []

    def trained(plan, suite, progress=None):
        seen.append(plan)
        looks = pd.DataFrame({"phase": ["tune"], "step": [2], "score": [0.5]})
        return SimpleNamespace(looks=looks, manifest=SimpleNamespace(key="k"), ledgers=[])

    monkeypatch.setattr(training_cache, "trained", trained)
    asked = Told(small, arm("gradts_trial", choose="dev", n=10, auxiliaries=NAMES), 0, everything(small))
    assert asked.trial(None) == (0.5, 0.5)
    assert seen[0].phases[-1].choose == "holdout"
    assert len(seen[0].holdout)


def test_steps_are_divided_between_stage_2_and_tuning_and_the_last_phase_s_epoch_is_chosen(small):
    chosen = pd.DataFrame({"task": ["look_alike"] * 9, "row": range(9)})
    both = arm_plans.two_stages(arm("random", steps=20, tune_steps=6), small, 0, chosen).phases
    assert [(p.name, p.steps, p.choose) for p in both] == [("stage2", 14, "last"), ("tune", 6, "holdout")]
    (only,) = arm_plans.two_stages(arm("random", steps=20), small, 0, chosen).phases
    assert (only.steps, only.choose) == (20, "holdout")


def test_a_weighted_arm_s_last_phase_keeps_its_best_epoch_and_has_its_loss_scale(small):
    usable = everything(small)
    for name in ("joint", "pretrain"):
        for choose in ("holdout", "last"):
            made = planned(quick(name, choose=choose, loss_scale="log_classes"), small, 3, usable)
            assert made.phases[-1].choose == choose
            assert all(phase.loss_scale == "log_classes" for phase in made.phases)


def test_what_moves_weights_is_what_the_parameters_say(small):
    given = {"weight_every": 2, "weight_total": 6.0, "weight_c": 0.5, "weight_floor": 0.1, "weight_decay": 0.2,
             "weight_tau": 0.3, "combine": "scaled", "probe_parameters": "last_layer", "probe_estimator": "reused",
             "probe_chunks": 3, "probe_target": "train", "choose": "last", "steps": 9}  # fmt: skip
    w = planned(quick("tawt_joint", **given), small, 3, everything(small)).phases[0].weighting
    assert (w.every, w.eta, w.c, w.floor, w.decay, w.tau) == (2, 6.0 / 4, 0.5, 0.1, 0.2, 0.3)
    assert (w.combine, w.parameters, w.estimator, w.chunks, w.chunk_rows) == ("scaled", "last_layer", "reused", 3, 6)
    assert w.target_rows == "train"
    w = planned(quick("tawt_joint"), small, 3, everything(small)).phases[0].weighting
    assert w.target_rows == "holdout"


@pytest.mark.parametrize("combine", ["mixed", "scaled", "scaled_then_clipped", "sampled"])
@pytest.mark.parametrize("every", [0, 7])
def test_the_updates_of_a_phase_of_epochs_weigh_the_total_together(small, combine, every):
    """However batches are made: those of one task each are more, and so are the updates among them."""
    asked = quick("tawt_joint", combine=combine, weight_every=every, weight_total=6.0, stage2_epochs=3)
    phase = planned(asked, small, 3, everything(small)).phases[0]
    steps = phases.schedule(phase, {name: len(rows) for name, rows in phase.rows.items()})
    updates = (sum(steps) - 1) // every if every else len(steps) - 1
    assert phase.weighting.eta * updates == pytest.approx(6.0)


def test_mixing_and_loss_scale_reach_proxy_tuning_and_stage_2(small):
    given = {"mixing": "mixed", "loss_scale": "log_classes"}
    (proxy, _), _ = proxy_plans.proxies(TDProxy(proxy_rows=20, watch_rows=10, **given).resolved(), small, 0)
    assert (proxy.phases[0].mixing, proxy.phases[0].loss_scale) == ("mixed", "log_classes")
    head, _ = task_plans.task_tuning(
        GradTS(loss_scale="log_classes").resolved(), small, "look_alike", 0, np.ones(80, bool)
    )
    assert head.phases[0].loss_scale == "log_classes"
    chosen = pd.DataFrame({"task": ["look_alike"], "row": [5]})
    stage2, tune = arm_plans.two_stages(arm("random", **given), small, 0, chosen).phases
    assert (stage2.mixing, stage2.loss_scale, tune.loss_scale) == ("mixed", "log_classes", "log_classes")


def test_a_small_task_gives_a_quarter_to_be_watched(small):
    (rows,), watched, _ = proxy_plans.proxy_sample(small, 500, 40, seed=1)
    assert all((len(rows[name]), len(watched[name])) == (60, 20) for name in small)


def test_fixed_seeds_draw_heads_with_that_of_stage_2(small):
    made = arm_plans.alone(arm("single", seed_policy="fixed", choose="last"), small, 3, None, 5)
    assert made.seeds == seeding.record(84)


def test_the_bandit_s_plan_has_a_constant_rate(small):
    p = arm("autosem", auxiliaries=NAMES)
    made = bandit_plans.bandit(p, p.options(p.method), small, 0, everything(small))
    assert made.phases[0].recipe.decay == "none"
