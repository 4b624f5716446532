"""What TAWT and training by steps are projected to cost: phases and probes by hand, studies, and real ledgers."""

import numpy as np
import pytest
import yaml
from auxlearn.studies.pricing import price_weights, prices
from auxlearn.studies.pricing.price_fastmtl import Encoder

from auxlearn.data import auxiliary_rows, usable_rows
from auxlearn.errors import InputError
from auxlearn.methods.tawt import weighted_plans, weighted_trainer
from auxlearn.studies.parameters import MTL, TAWT

pytestmark = pytest.mark.usefixtures("planted_once")
# One layer, width 4, feed-forward 8 (see test_pricing).
SMALL = Encoder(4, 1, 8)


def forward(length):
    return 256 * length + 16 * length**2


A, B, C = map(forward, (10, 20, 30))
ROWS, LENGTH = {"a": 1000, "b": 200, "c": 40}, {"a": 10, "b": 20, "c": 30}
ONCE = 3 * (1000 * A + 200 * B + 40 * C)


# --- phases ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "steps", "times"),
    [
        ({"epochs": 2}, 2 * 41, 2),  # 32 + 7 + 2 batches of one task each
        ({"epochs": 2, "mixed": True}, 2 * 39, 2),
        ({"steps": 50, "mixed": True}, 50, 1 + 11 * 32 / 1240),
        ({"steps": 50}, 50, 1 + 9 / 41),
        ({"steps": 78, "mixed": True}, 78, 2),
        ({"steps": 5, "mixed": True}, 5, 5 * 32 / 1240),
    ],
)
def test_a_phase_is_whole_epochs_and_a_rest(given, steps, times):
    made = price_weights.phase(ROWS, SMALL, LENGTH, batch_size=32, **given)
    assert made["flops"] == pytest.approx(times * ONCE)
    assert (made["steps"], made["sequences"]) == (steps, round(times * 1240))


def test_a_rest_of_one_task_has_full_batches():
    """40 rows are 32 and 8: three steps see 40 + 32; four whole epochs have no rest."""
    for steps, seen in ((3, 72), (8, 160), (1, 32)):
        made = price_weights.phase({"c": 40}, SMALL, LENGTH, batch_size=32, steps=steps)
        assert (made["sequences"], made["flops"]) == (seen, pytest.approx(seen * 3 * C))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"steps": -1}, "steps: -1 is negative"),
        ({"epochs": 0}, "at least 1"),
        ({"rows": {}}, "has no rows"),
        ({"rows": {"a": 0}}, "needs one or more"),
    ],
)
def test_a_phase_that_cannot_be_is_one_clear_error(given, message):
    rows = given.pop("rows", ROWS)
    with pytest.raises(InputError, match=message):
        price_weights.phase(rows, SMALL, LENGTH, batch_size=32, **given)


# --- studies ---------------------------------------------------------------------------------------------------------

P, Q = forward(20), forward(10)  # a row of the primary, one of the seven others; all tasks have 100 rows
TRAINING = {"stage2_epochs": 2, "tune_epochs": 3, "batch_size": 32, "holdout": 0.25}
JOINT = 5 * 3 * (75 * P + 700 * Q)  # 25 primary rows are held out
# Two chunks of 12 of the 25 held-out rows, two of 32 of each task's training rows.
UPDATE = 3 * (24 * P + 64 * P + 7 * 64 * Q)


@pytest.fixture
def priced(tmp_path, planted):
    def made(grid, stages=("06_mtl",), seeds=(0,), **both):
        base = {"suite": "planted", "primary": "topic_side", "size": "full", "precision": "fp32", "rows": 100}
        tokens = dict.fromkeys(planted.names, 10) | {"topic_side": 20}
        expects = {"rows": {n: len(task.train) for n, task in planted.items()}, "tokens": tokens}
        expects |= {"encoder": {"hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8}}
        own = {name: value for name, value in both.items() if name in TAWT.model_fields}
        watched = {"steps": 0, "weight_every": 0} | TRAINING | own  # 05's own defaults are steps
        arm = {name: value for name, value in both.items() if name in MTL.model_fields}
        blocks = {"06_mtl": TRAINING | arm, "05_tawt_weighting": watched}
        content = {"study": "s", "base": base | {"seeds": list(seeds)}, "grid": grid, "stages": list(stages)}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content | {"notebooks": blocks, "expects": expects}))
        return prices.price(path)

    return made


def row(made, arm, n=0):
    return made.table.loc[("topic_side", arm, n)]


@pytest.mark.parametrize("arm", ["power", "tawt_power"])
def test_each_prior_is_a_training_of_its_own(priced, arm):
    one, three = (priced({"arm": [arm], "prior_power": powers}).total.sum() for powers in ([-1], [-1, -0.5, 0]))
    assert three == pytest.approx(3 * one)


def test_joint_training_is_one_phase_and_a_probe_an_epoch(priced):
    made = priced({"arm": ["tawt_joint", "tawt_normalised", "shuffled_joint"]})
    for arm in ("tawt_joint", "tawt_normalised", "shuffled_joint"):
        assert row(made, arm)["joint"] == pytest.approx(JOINT)
        assert row(made, arm)["weighting"] == pytest.approx(5 * UPDATE)
        assert row(made, arm)["alone"] == row(made, arm)["amortised"] == pytest.approx(JOINT + 5 * UPDATE)
        assert row(made, arm)["ceiling"] == pytest.approx(row(made, arm)["all_data"] / JOINT)
    assert (made.table[["proxy", "heads", "pretrain", "stage2", "tune"]] == 0).all(axis=None)
    full = 2 * 3 * (75 * P + 700 * Q) + 3 * 3 * 75 * P
    assert made.table["all_data"].to_numpy() == pytest.approx(full)


@pytest.mark.parametrize("arm", ["joint", "null_joint", "normalised", "share_50", "null_normalised"])
def test_weights_that_nothing_measures_cost_no_probe(priced, arm):
    made = row(priced({"arm": [arm]}), arm)
    assert made["alone"] == made["joint"] == pytest.approx(JOINT)


def test_rows_are_held_out_only_if_they_choose_the_epoch(priced):
    assert row(priced({"arm": ["joint"]}, choose="last"), "joint")["joint"] == pytest.approx(JOINT + 5 * 3 * 25 * P)


def test_pre_training_has_two_phases_and_fits_the_head_for_each_update(priced):
    made = priced({"arm": ["pretrain", "tawt_pretrain"]})
    for arm, probe in (("pretrain", 0), ("tawt_pretrain", 2 * (3 * (24 * P + 448 * Q) + 75 * P))):
        assert row(made, arm)["pretrain"] == pytest.approx(2 * 3 * 700 * Q)
        assert row(made, arm)["tune"] == pytest.approx(3 * 3 * 75 * P)
        assert row(made, arm)["weighting"] == pytest.approx(probe)


def test_the_probe_s_settings_are_priced(priced):
    arm = {"arm": ["tawt_joint"]}
    probe = lambda **given: row(priced(arm, **given), "tawt_joint")["weighting"]  # noqa: E731
    # 5 x 25 steps of 32 of all 775 rows, so that every 20 steps are 6 updates.
    assert probe(weight_every=20) == pytest.approx(6 * UPDATE)
    # Task-pure: 3 + 7 x 4 = 31 batches an epoch, 155 steps.
    assert probe(weight_every=20, combine="scaled") == pytest.approx(7 * UPDATE)
    # Three chunks of 8 held-out rows, and of 5 of every task.
    assert probe(probe_chunks=3, probe_rows=5) == pytest.approx(5 * 3 * (15 * P + 15 * P + 7 * 15 * Q))
    assert probe(probe_chunks=3, probe_rows=9) == pytest.approx(5 * 3 * (24 * P + 27 * P + 7 * 27 * Q))
    # Training's own gradients are read: only the target's is measured, once an epoch.
    assert probe(probe_estimator="reused", combine="scaled", weight_every=20) == pytest.approx(5 * 3 * 24 * P)
    # The authors': one chunk of 64 training rows, the target not against itself, once an epoch, whatever else is said.
    paper = 5 * 3 * (64 * P + 7 * 64 * Q)
    assert probe(tawt_rule="paper", weight_every=3, probe_rows=7, probe_estimator="reused") == pytest.approx(paper)


def test_steps_are_those_of_every_phase(priced):
    """60 steps, 10 of them on the primary. 775 rows are 25 mixed batches, 700 rows 22, 75 rows 3."""
    made = priced({"arm": ["single", "tawt_joint", "tawt_pretrain", "all_data"]}, steps=60, tune_steps=10)
    assert row(made, "single")["tune"] == pytest.approx(20 * 75 * 3 * P)
    assert row(made, "tawt_joint")["joint"] == pytest.approx((2 + 10 * 32 / 775) * JOINT / 5)
    assert row(made, "tawt_joint")["weighting"] == pytest.approx(3 * UPDATE)
    pretrain = row(made, "tawt_pretrain")
    assert pretrain["pretrain"] == pytest.approx((2 + 6 * 32 / 700) * 3 * 700 * Q)
    assert pretrain["tune"] == pytest.approx((3 * 75 + 32) * 3 * P)
    assert pretrain["weighting"] == pytest.approx(3 * (3 * (24 * P + 448 * Q) + 75 * P))
    # Task-pure batches, 31 an epoch: a rest is the share of the epoch that it is.
    full = (1 + 19 / 31) * JOINT / 5 + (3 * 75 + 32) * 3 * P
    assert row(made, "all_data")["alone"] == pytest.approx(full)
    assert made.table["all_data"].to_numpy() == pytest.approx(full)


@pytest.mark.parametrize(("mixing", "times"), [("homogeneous", 5), ("mixed", 16 + 64 / 95)])
def test_stage_2_by_steps_leaves_tuning_its_own(priced, mixing, times):
    """50 steps of 95 rows: an epoch is 3 + 7 batches of a task each, or 3 mixed ones."""
    made = priced({"arm": ["random", "step_matched"], "n": [20]}, steps=60, tune_steps=10, mixing=mixing)
    random, matched = row(made, "random", 20), row(made, "step_matched", 20)
    assert random["stage2"] == pytest.approx(times * 3 * (75 * P + 20 * Q))
    assert matched["stage2"] == pytest.approx((16 * 75 + 64) * 3 * P)
    assert random["tune"] == matched["tune"] == pytest.approx((3 * 75 + 32) * 3 * P)
    whole = priced({"arm": ["random"], "n": [20]}, steps=50, mixing=mixing)
    assert row(whole, "random", 20)["alone"] == pytest.approx(times * 3 * (75 * P + 20 * Q))  # and no tuning


def test_a_selection_s_rows_are_weighed_at_its_price(priced):
    """20 rows of seven tasks: two or three of each, and so two chunks of one row."""
    made = priced({"arm": ["td_bce", "td_bce+tawt_joint", "gradts_thres+joint"], "n": [20]})
    plain, weighed = row(made, "td_bce", 20), row(made, "td_bce+tawt_joint", 20)
    assert weighed["joint"] == pytest.approx(5 * 3 * (75 * P + 20 * Q))
    assert weighed["weighting"] == pytest.approx(5 * 3 * (24 * P + 64 * P + 7 * 2 * Q))
    assert (weighed["stage2"], weighed["tune"]) == (0, 0)
    assert weighed["proxy"] == plain["proxy"] > 0
    assert weighed["scoring"] == plain["scoring"] > 0
    assert made.total["proxy"] == plain["proxy"]
    assert row(made, "gradts_thres+joint", 20)["heads"] > 0
    assert row(made, "gradts_thres+joint", 20)["joint"] == weighed["joint"]


def test_a_search_before_weighting_counts_all_of_its_trainings(priced):
    """Its own last training is none of the weighted arm's; the search itself is shared."""
    made = priced({"arm": ["gradts_trial", "gradts_trial+joint"], "n": [20]}, trial_most=2)
    plain, weighed = row(made, "gradts_trial", 20), row(made, "gradts_trial+joint", 20)
    assert weighed["trial"] == pytest.approx(plain["trial"] + plain["stage2"] + plain["tune"])
    assert made.total["trial"] == pytest.approx(plain["trial"])


def test_best_rows_may_be_fewer_and_none_leaves_nothing_to_weigh(priced):
    given = {"fg_tasks": "all", "choose": "last"}
    best = row(priced({"arm": ["gradts_fg+joint"], "n": [90]}, fg_fraction=0.1, **given), "gradts_fg+joint", 90)
    assert best["joint"] == pytest.approx(5 * 3 * (100 * P + 7 * 6 * Q))  # a tenth of 60 measured rows a task
    none = row(priced({"arm": ["gradts_fg+joint"], "n": [90]}, fg_fraction=0.001, **given), "gradts_fg+joint", 90)
    assert (none["joint"], none["tune"]) == (0, pytest.approx(3 * 3 * 100 * P))


def test_final_weights_cost_the_training_they_are_from(priced):
    made = priced({"arm": ["tawt_joint", "final_joint"]}, seeds=[0, 1])
    final = row(made, "final_joint")
    assert final["weighting"] == pytest.approx(JOINT + 5 * UPDATE)
    assert final["joint"] == pytest.approx(JOINT)
    # 05's training is tawt_joint's, and counts once: two seeds of it and of final_joint.
    assert made.total["joint"] == pytest.approx(4 * JOINT)
    assert made.total["weighting"] == pytest.approx(2 * 5 * UPDATE)
    assert made.separately == pytest.approx(2 * (2 * JOINT + JOINT + 2 * 5 * UPDATE))


def test_05_trains_what_06_trains_and_compares_probes_besides(priced):
    """For its first seed four trainings more, of task-pure batches; one of them reads training's own gradients."""
    both = ("05_tawt_weighting", "06_mtl")
    made = priced({"arm": ["tawt_joint"]}, both, [0, 1])
    assert made.total["joint"] == pytest.approx(2 * JOINT)
    assert made.total["weighting"] == pytest.approx(2 * 5 * UPDATE)
    assert made.total["compared"] == pytest.approx(4 * JOINT + 3 * 5 * UPDATE + 5 * 3 * 24 * P)
    assert "counts once" in made.shown()
    alone = priced({}, both[:1], [0, 1])
    assert alone.table.empty
    assert alone.total.equals(made.total)
    # A training that keeps its model is another one.
    kept = priced({"arm": ["tawt_joint"], "keep_model": [True]}, both, [0, 1])
    assert kept.total["joint"] == pytest.approx(4 * JOINT)


def test_only_what_is_used_is_shown(priced):
    shown = priced({"arm": ["joint", "tawt_joint"]}).shown()
    assert {"joint", "weighting"} <= set(shown.split())
    assert not {"pretrain", "stage2", "tune", "bandit"} & set(shown.split())
    assert "weighting" not in priced({"arm": ["single", "random"], "n": [20]}).shown()


@pytest.mark.parametrize(
    ("grid", "given", "message"),
    [
        ({"arm": ["gradts_trial"], "n": [20]}, {"steps": 20, "tune_steps": 5}, "trials that train by `steps`"),
        ({"arm": ["autosem+joint"], "n": [20]}, {"steps": 20, "tune_steps": 5}, "trials that train by `steps`"),
        ({"arm": ["tawt_joint"]}, {"probe_estimator": "reused"}, "gradients of mixed batches cannot be told apart"),
        ({"arm": ["tawt_pretrain"]}, {"steps": 20}, "pre-training needs steps for the primary alone"),
        ({"arm": ["joint"]}, {"holdout": 0.001}, "leaves nothing to hold out"),
        ({"arm": ["tawt_joint"]}, {"holdout": 0.01}, "1 rows of 'topic_side' for 2 disjoint chunks"),
    ],
)
def test_what_would_be_refused_has_no_price(priced, grid, given, message):
    with pytest.raises(InputError, match=message):
        priced(grid, **given)


# --- against what is really run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arm", "given"),
    [
        ("tawt_joint", {"stage2_epochs": 1, "tune_epochs": 1}),
        ("tawt_pretrain", {"stage2_epochs": 1, "tune_epochs": 1, "tawt_rule": "paper", "choose": "last"}),
        ("tawt_joint", {"steps": 16, "weight_every": 5, "combine": "scaled", "probe_estimator": "reused"}),
    ],
)
def test_the_price_is_what_the_ledgers_count(planted, tmp_path, arm, given):
    """A price leaves out padding within batches; ledgers tell of it. Of few rows lengths differ from their mean."""
    suite, held = planted.capped(40), {"holdout": 0.3, "probe_rows": 6, "choose": "holdout", "batch_size": 8}
    p = MTL(arm=arm, seeds=[0], rows=40, keep_leaks=True, **held | given).resolved()
    usable = usable_rows.usable(suite, None, keep_leaks=True)
    pool = auxiliary_rows.pool(suite, suite.auxiliaries(p.primary), usable)
    plan = weighted_plans.plan(p, suite, 0, p.weighing, pool, np.ones(40, bool))
    ledgers = {ledger.stage: ledger for ledger in weighted_trainer.run(plan, suite).ledgers}
    base = {"suite": "planted", "rows": 40, "seeds": [0], "size": "full", "precision": "fp32", "keep_leaks": True}
    content = {"study": "s", "base": base, "stages": ["06_mtl"], "grid": {"arm": [arm]}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content | {"notebooks": {"06_mtl": held | given}}))
    made = prices.price(path).table.loc[("topic_side", arm, 0)]
    assert set(ledgers) == {name for name in price_weights.STAGES if made[name]}
    for name, ledger in ledgers.items():
        bare = ledger.flops * ledger.tokens / ledger.padded_tokens
        assert bare == pytest.approx(made[name], rel=0.05), name


def test_parts_by_score_are_each_probed(priced):
    """Of 280 chosen rows each of seven tasks has 40, in five parts of eight."""
    grid = {"arm": ["td_bce+tawt_joint", "td_bce+tawt_deciles"], "n": [280]}
    made = priced(grid, score_buckets=5, probe_rows=4)
    joint, cut = (row(made, arm, 280) for arm in grid["arm"])
    assert joint["joint"] == cut["joint"]
    target = 3 * (8 * P + 8 * P)  # two chunks of four rows, held out and trained on
    assert joint["weighting"] == pytest.approx(5 * (target + 7 * 3 * 8 * Q))
    assert cut["weighting"] == pytest.approx(5 * (target + 7 * 5 * 3 * 8 * Q))  # 40 rows a task in five parts


def test_a_small_source_is_cut_into_fewer_parts(priced):
    """Of 70 chosen rows each of seven tasks has ten: two parts of five rows, each with two chunks of two."""
    made = row(
        priced({"arm": ["td_bce+tawt_deciles"], "n": [70]}, score_buckets=5, probe_rows=4), "td_bce+tawt_deciles", 70
    )
    assert made["weighting"] == pytest.approx(5 * 3 * (16 * P + 7 * 2 * 4 * Q))


def test_a_source_of_one_row_is_not_probed(priced):
    made = row(priced({"arm": ["td_bce+tawt_joint"], "n": [7]}, probe_rows=4), "td_bce+tawt_joint", 7)
    assert made["weighting"] == pytest.approx(5 * 3 * 16 * P)


def test_the_comparison_of_probes_can_be_left_out(priced):
    stages = ("05_tawt_weighting", "06_mtl")
    assert priced({"arm": ["tawt_joint"]}, stages).total["compared"] > 0
    assert priced({"arm": ["tawt_joint"]}, stages, compare_probes=False).total["compared"] == 0
