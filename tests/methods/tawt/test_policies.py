"""TAWT's policies as arms: the plans that they make, where their weights start, what they need."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

import asking
from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.methods import registry
from auxlearn.methods.base import Cell, Selection
from auxlearn.methods.tawt import weight_rule, weight_tables, weighted_trainer
from auxlearn.studies.parameters import MTL, TAWT
from auxlearn.training import phases, training_cache


@pytest.fixture(scope="module")
def small(small):
    """With 100 dev rows a task: nothing here asks how well a training did."""
    short = {name: replace(task, dev=task.dev.select(range(100))) for name, task in small.items()}
    return suites.Suite(small.name, short, f"{small.fingerprint}-100")


NAMES = ["topic_name", "word_class", "cross_group"]


def arm(name, **given):
    quick = {"n": 30, "auxiliaries": NAMES, "stage2_epochs": 1, "tune_epochs": 1, "probe_rows": 10, "holdout": 0.25}
    return asking.arm(name, **(quick | given))


@pytest.fixture
def usable(small):
    return asking.everything(small)


def planned(p, small, usable, seed=3, **artifacts):
    return asking.planned(p, small, seed, usable, **artifacts)


def test_every_paradigm_is_a_plan(small, usable):
    sizes = {"topic_side": 60, "cross_group": 80, "topic_name": 80, "word_class": 80}
    joint = planned(arm("tawt_joint"), small, usable).phases
    assert [phase.name for phase in joint] == ["joint"]
    assert joint[0].epochs == 2
    assert joint[0].weighting.prior == pytest.approx([0.25] * 4)
    assert joint[0].weighting.evidence == "measured"
    assert joint[0].weighting.eta == 3.0  # one update in force weighs as much as the authors' three
    even = planned(arm("normalised"), small, usable).phases[0].weighting
    inverse = 1 / np.array(list(sizes.values()))
    assert even.prior == pytest.approx(inverse / inverse.sum())
    assert even.evidence == "fixed"
    first, tune = planned(arm("shuffled_pretrain"), small, usable).phases
    assert list(first.rows) == sorted(NAMES, key=list(first.rows).index)
    assert "topic_side" not in first.rows
    assert list(tune.rows) == ["topic_side"]
    half = planned(arm("share_50"), small, usable).phases[0].weighting.prior
    assert weight_rule.effective_shares(np.array(half), list(sizes.values()))[0] == pytest.approx(0.5)
    paper = planned(arm("tawt_joint", tawt_rule="paper", weight_every=7), small, usable).phases[0].weighting
    assert (paper.every, paper.eta, paper.chunk_rows, paper.combine) == (0, 1.0, 64, "scaled_then_clipped")


def test_weights_may_start_at_a_power_of_the_sizes_or_where_they_are_told_to(small, usable):
    sizes = np.array([60, 80, 80, 80.0])
    power = planned(arm("tawt_power", prior_power=-0.5), small, usable).phases[0].weighting
    assert power.prior == pytest.approx(sizes**-0.5 / (sizes**-0.5).sum())
    assert power.evidence == "measured"
    told = ["topic_side=4", "topic_name=2", "word_class=1.0", "cross_group=1"]
    given = planned(arm("given", prior_given=told), small, usable).phases[0].weighting
    assert given.prior == pytest.approx([0.5, 0.125, 0.25, 0.125])  # the primary, then by name
    with pytest.raises(ValueError, match="starts at its weights; name 'topic_side'"):
        arm("given")
    for wrong in ("topic_side", "topic_side=", "topic_side=-1", "=1", "topic_side=inf", "topic_side=much"):
        with pytest.raises(ValueError, match=f"{wrong}' is not NAME=WEIGHT"):
            arm("given", prior_given=[wrong])
    with pytest.raises(InputError, match="no weight for cross_group"):
        planned(arm("given", prior_given=told[:3]), small, usable)
    key = lambda name, **given: arm(name, **given).key_params()  # noqa: E731
    assert key("joint", prior_power=1.0, prior_given=told) == key("joint")
    assert key("power", prior_power=1.0) != key("power")


def test_all_arms_of_a_seed_take_the_same_steps_and_hold_the_same_rows_out(small, usable):
    plans_ = {
        name: planned(arm(name, steps=20, tune_steps=6), small, usable)
        for name in ("single", "step_matched", "random", "null_normalised", "tawt_pretrain", "random+tawt_joint")
    }  # fmt: skip
    for name, made in plans_.items():
        steps = [
            sum(phases.schedule(phase, {n: len(r) for n, r in phase.rows.items()})) for phase in made.phases
        ]  # fmt: skip
        assert sum(steps) == 20, name
        assert np.array_equal(made.holdout, plans_["single"].holdout)
    assert len(plans_["tawt_pretrain"].phases) == 2
    chosen = plans_["random+tawt_joint"].phases[0].rows
    assert sum(len(rows) for name, rows in chosen.items() if name != "topic_side") == 30


def test_05_and_06_share_one_training(small, usable):
    quick = {"stage2_epochs": 1, "tune_epochs": 1, "holdout": 0.25, "steps": 0}
    watched = TAWT(auxiliaries=NAMES, methods={"tawt": {"probe_rows": 10}}, **quick).resolved()
    maker = registry.maker("final_weights")
    made = maker.plan(asking.Told(small, watched, 3, usable), watched, 3)
    assert training_cache.training_key(made, small) == training_cache.training_key(
        planned(arm("tawt_joint"), small, usable), small
    )
    artifact = maker.make(asking.Told(small, watched, 3, usable), watched, 3)
    training = training_cache.trained(made, small)
    assert artifact.manifests == [training.manifest]
    assert [row["step"] for row in training.updates] == [0, 10, 20]
    last = training.updates[1]  # the second came after the last step, and nothing was trained with it
    assert artifact.value == dict(zip(last["names"], last["weights"], strict=True))
    assert {ledger.stage for ledger in artifact.ledgers} == {"weighting"}
    assert sum(ledger.flops for ledger in artifact.ledgers) == sum(ledger.flops for ledger in training.ledgers)


def test_final_weights_come_from_05_and_stay(small, usable):
    p = arm("final_joint")
    wanted = p.needs()
    assert [stage for stage, _ in wanted] == ["05_tawt_weighting"] * 2
    assert [each["seed"] for _, each in wanted] == p.seeds
    assert wanted[0][1]["paradigm"] == "joint"
    final = {"topic_side": 0.7, "cross_group": 0.1, "topic_name": 0.2, "word_class": 0.0}
    made = planned(p, small, usable, final_weights=final).phases[0].weighting
    assert made.prior == pytest.approx([0.7, 0.1, 0.2, 0.0])
    assert made.evidence == "fixed"
    with pytest.raises(InputError, match="weight"):
        planned(p, small, usable, final_weights={"topic_side": 1.0})


def test_final_weights_are_of_the_options_that_the_arm_has():
    """Of 05's the arm's own, whatever else is said of the policy that moves the weights."""
    given = {"tawt": {"weight_every": 4}, "tawt_joint": {"weight_every": 8}, "final_joint": {"weight_c": 2.0}}
    p = asking.arm("final_joint", methods=given)
    ((_, wanted), *_) = p.needs()
    assert wanted["methods"]["tawt_joint"] == p.options(p.policy).model_dump()
    assert (wanted["methods"]["tawt_joint"]["weight_every"], wanted["methods"]["tawt_joint"]["weight_c"]) == (4, 2.0)


def test_what_is_no_arm_is_refused():
    for name in ("tawt", "single+joint", "random+", "+joint", "random+random", "joint+joint"):
        with pytest.raises(ValueError, match="is no arm"):
            MTL(arm=name)
    assert MTL(arm="td_bce+tawt_joint").method.name == "td_bce"
    assert MTL(arm="tawt_joint").method.name == "all_data"
    assert MTL(arm="td_bce").policy is None


def test_a_key_holds_the_options_of_an_arm_s_method_and_policy_whole():
    key = lambda name, **given: arm(name, **given).key_params()  # noqa: E731
    assert key("random", weight_total=1.0) == key("random", weight_total=2.0)
    assert key("joint", weight_every=3) != key("joint")
    assert key("tawt_joint", probe_rows=5) != key("tawt_joint", probe_rows=6)
    assert set(key("td_bce+tawt_joint")["methods"]) == {"td_bce", "tawt_joint"}
    assert set(key("td_bce+tawt_joint")["methods"]["tawt_joint"]) == set(
        MTL(arm="tawt_joint").policy.Options.model_fields
    )
    assert key("single", steps=20, tune_steps=5) == key("single", steps=20, tune_steps=6)
    assert key("random", steps=20, tune_steps=5) != key("random", steps=20, tune_steps=6)


def test_final_weights_are_from_a_training_of_the_same_length():
    needed = lambda name, **given: dict(arm(name, **given).needs())["05_tawt_weighting"]  # noqa: E731
    by_steps = needed("final_pretrain", steps=20, tune_steps=6)
    assert (by_steps["paradigm"], by_steps["steps"], by_steps["tune_steps"]) == ("pretrain", 20, 6)
    assert "tune_steps" not in needed("final_joint", steps=20, tune_steps=6)  # joint training has no such phase
    by_epochs = needed("final_pretrain", steps=0, stage2_epochs=5, tune_epochs=4)
    assert (by_epochs["stage2_epochs"], by_epochs["tune_epochs"], "tune_steps" in by_epochs) == (5, 4, False)


def test_a_single_source_has_nobody_to_exchange_cosines_with(small, usable):
    with pytest.raises(InputError, match="needs two or more; there is word_class alone"):
        planned(arm("shuffled_joint", auxiliaries=["word_class"]), small, usable)
    assert len(planned(arm("tawt_joint", auxiliaries=["word_class"]), small, usable).phases[0].weighting.prior) == 2


def test_steps_that_leave_nothing_are_refused(small, usable):
    with pytest.raises(ValueError, match="leave none"):
        MTL(steps=10, tune_steps=10)
    with pytest.raises(ValueError, match="say `steps` too"):
        MTL(tune_steps=3)
    with pytest.raises(InputError, match="pre-training needs steps for the primary alone"):
        planned(arm("pretrain", steps=20), small, usable)
    with pytest.raises(InputError, match="it has chosen no rows"):
        planned(arm("joint"), small, usable | {name: np.zeros(80, bool) for name in NAMES})


def test_all_arms_hold_out_alike_and_measured_weights_say_what_they_need(small, usable):
    last = {"choose": "last"}
    sizes = {len(planned(arm(name, **last), small, usable).holdout) for name in ("single", "joint", "null_joint")}
    assert sizes == {0}
    phases.check(planned(arm("tawt_joint", tawt_rule="paper", **last), small, usable), small)
    with pytest.raises(InputError, match="use choose: holdout"):
        phases.check(planned(arm("tawt_joint", **last), small, usable), small)
    assert arm("joint", holdout=0.1, **last).key_params() == arm("joint", holdout=0.2, **last).key_params()


def ranked(small, sizes):
    """Rows of a ranking: the first of each task, the better the earlier, and of later tasks the worse."""
    return pd.concat([
        pd.DataFrame({"task": name, "row": np.arange(size), "score": -1.0 * k - np.arange(size) / 100})
        for k, (name, size) in enumerate(sizes.items())
    ])  # fmt: skip


def weighed(p, small, usable, rows):
    """How an arm's policy trains these rows."""
    return p.policy.plan(asking.Told(small, p, 3, usable), Cell(p, 3), Selection(rows), p.options(p.policy))


def by_score(name, small, usable, sizes, **given):
    p = arm(name, **{"n": sum(sizes.values()), "steps": 12, "weight_every": 6} | given)
    return weighed(p, small, usable, ranked(small, sizes))


def test_scores_are_a_prior_of_the_sources_alone(small, usable):
    sizes = {"topic_name": 40, "word_class": 20}
    made = by_score("td_bce+tawt_scored", small, usable, sizes).phases[0].weighting
    means = np.array([-0.195, -1.095])
    soft = np.exp(means) / np.exp(means).sum()
    assert made.prior == pytest.approx([1 / 3, *(2 / 3 * soft)])  # the primary keeps what even weights give it
    assert made.evidence == "measured"
    sharp = by_score("td_bce+scored", small, usable, sizes, score_temperature=0.01).phases[0].weighting
    assert sharp.prior == pytest.approx([1 / 3, 2 / 3, 0], abs=1e-6)
    assert sharp.evidence == "fixed"
    rows = ranked(small, sizes).assign(score=np.nan)
    with pytest.raises(InputError, match="mean score of 'topic_name' is nan"):
        weighed(arm("td_bce+scored"), small, usable, rows)


def test_the_taus_of_tasks_or_rows_serve_as_scores():
    rows, taus = pd.DataFrame({"task": ["a", "b"], "row": [0, 1]}), {"taus": {"a": 0.5, "b": 0.2}}
    assert Selection(rows, why=taus).scored()["score"].tolist() == [0.5, 0.2]
    assert Selection(rows.assign(tau=[0.1, 0.9]), why=taus).scored()["score"].tolist() == [0.1, 0.9]
    assert Selection(rows.assign(tau=[0.1, 0.9], score=[3.0, 4.0]), why=taus).scored()["score"].tolist() == [3.0, 4.0]
    with pytest.raises(InputError, match="not chosen by any"):
        Selection(rows).scored()


def test_parts_of_a_task_by_score_are_weighed_apart(small, usable):
    sizes = {"topic_name": 40, "word_class": 5}
    made = by_score("td_bce+tawt_deciles", small, usable, sizes, score_buckets=3, probe_rows=6)
    phase = made.phases[0]
    weighed = phases.groups(phase, "topic_side")
    # Five rows are too few for two parts that can each be probed.
    assert list(weighed) == ["topic_side", "topic_name#0", "topic_name#1", "topic_name#2", "word_class#0"]
    assert weighed["topic_name#0"][1].tolist() == list(range(14))  # the best
    assert phase.weighting.prior == pytest.approx([0.2] * 5)
    result = weighted_trainer.run(made, small)
    assert result.updates[0]["names"] == list(weighed)
    assert len(result.updates) == 3
    table = weight_tables.shares(weight_tables.updates({3: training_cache.trained(made, small)}), made)
    assert table[table["update"] == 0].set_index("task")["share"]["topic_name#1"] == pytest.approx(13 / 105)
    assert weight_tables.finals({3: training_cache.trained(made, small)})[3].sum() == pytest.approx(1)


def test_arms_that_need_scores_say_so():
    for name in ("random+tawt_scored", "tawt_deciles", "gradts_trial+tawt_deciles", "autosem+scored"):
        with pytest.raises(ValueError, match="needs rows with scores"):
            MTL(arm=name)
    with pytest.raises(ValueError, match="weighs parts of a task"):
        arm("td_bce+tawt_deciles", combine="scaled")
    assert MTL(arm="gradts_fg+tawt_deciles").method.name == "gradts_fg"
    key = lambda name, **given: arm(name, **given).key_params()  # noqa: E731
    assert key("td_bce+tawt_joint", score_buckets=4, score_temperature=2.0) == key("td_bce+tawt_joint")
    assert key("td_bce+tawt_deciles", score_buckets=4) != key("td_bce+tawt_deciles")
    assert key("td_bce+null_scored", score_temperature=2.0) != key("td_bce+null_scored")


@pytest.mark.parametrize(
    ("weight", "told"), [(lambda name: -1.0, "topic_side -1"), (lambda name: 0.0, "topic_side 0"), (None, "nan")]
)
def test_a_prior_that_is_none_is_refused_by_its_policy(small, usable, monkeypatch, weight, told):
    """All weights negative, once divided by their sum, would train like their opposites."""
    policy = registry.get("uncertainty")
    given = lambda self, context, cell, sizes, options: {n: weight(n) for n in sizes} if weight else {}  # noqa: E731
    monkeypatch.setattr(type(policy), "prior", given)
    with pytest.raises(
        InputError, match="uncertainty: its prior must give each task 0 or more, and one of them more"
    ) as e:
        planned(arm("uncertainty"), small, usable)
    assert told in str(e.value)
