from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

import encoder_kinds
from auxlearn import seeding
from auxlearn.data import batch_order, batching, suites
from auxlearn.errors import InputError
from auxlearn.methods import arm_plans
from auxlearn.methods.base import Selection
from auxlearn.methods.context import Context
from auxlearn.methods.fastmtl import discriminator, proxy_plans
from auxlearn.models import encoders, fast_dropout, multitask
from auxlearn.studies.parameters import MTL, TDProxy
from auxlearn.training import counting, phases, resuming, train
from auxlearn.training.train import Phase, Plan, Recipe
from helpers import killed_at_every_epoch

RECIPE = Recipe(lr=1e-3, batch_size=16)


@pytest.fixture(scope="module")
def small(small):
    """With 100 dev rows a task: nothing here asks how well a training did."""
    short = {name: replace(task, dev=task.dev.select(range(100))) for name, task in small.items()}
    return suites.Suite(small.name, short, f"{small.fingerprint}-100")


def plan(**changes):
    rows = {"topic_side": np.arange(60), "side_share": np.arange(20), "word_class": np.arange(16)}
    phases = (
        Phase("stage2", rows, 2, RECIPE),
        Phase("tune", {"topic_side": np.arange(60)}, 3, RECIPE, choose="holdout", looks=5),
    )
    base = {"encoder": "tiny", "phases": phases, "seeds": seeding.record(0), "primary": "topic_side"}
    return Plan(**(base | {"holdout": np.arange(60, 80)} | changes))


def weights(result):
    return {k: v.clone() for k, v in result.model.state_dict().items()}


@pytest.fixture(scope="module")
def done(small):
    return train.run(plan(), small)


def test_a_plan_trains_all_kinds_and_counts_what_it_ran(done):
    assert [h["phase"] for h in done.history] == ["stage2"] * 2 + ["tune"] * 3
    stage2, tune = done.ledgers
    assert stage2.steps == 2 * (4 + 2 + 1)
    assert tune.steps == 3 * 4
    assert stage2.examples == 2 * 96
    assert tune.examples == 3 * 60 + 5 * 20  # choosing what is kept is part of the cost
    assert {s["task"] for s in done.steps} == {"topic_side", "side_share", "word_class"}
    assert 0 <= done.scores["accuracy"] <= 1
    assert len(done.predictions) == 100


def test_the_same_plan_gives_the_same_bits(done, small):
    again = train.run(plan(), small)
    assert all(torch.equal(v, weights(again)[k]) for k, v in weights(done).items())
    other = train.run(plan(seeds=seeding.record(0) | {"order": 5}), small)
    assert other.history[0]["loss"] != done.history[0]["loss"]


def test_the_best_look_is_kept_and_the_first_of_equals(done, small):
    """Five looks at 12 steps, most of them in the middle of an epoch of 4."""
    assert [(look["phase"], look["step"]) for look in done.looks] == [("tune", s) for s in (3, 5, 8, 10, 12)]
    held = [look["score"] for look in done.looks]
    assert done.chosen["tune"] == done.looks[held.index(max(held))]["step"]
    net = train.Trainer(plan(), small, None, print)
    net.model = done.model
    assert net._score("train", np.arange(60, 80))[0]["accuracy"] == pytest.approx(max(held))


def test_interrupted_and_resumed_equals_never_interrupted(done, small, tmp_path, monkeypatch):
    """Killed at every epoch boundary in turn, each time resumed from the checkpoint: the same bits in the end."""
    monkeypatch.setattr(resuming, "CHECKPOINT_SECONDS", -1.0)
    result, attempts = killed_at_every_epoch(
        lambda progress: train.run(plan(), small, tmp_path, progress), tmp_path / "checkpoint.safetensors"
    )
    assert attempts > 2
    assert result.history == done.history
    assert result.looks == done.looks
    assert result.chosen == done.chosen
    assert all(torch.equal(v, weights(result)[k]) for k, v in weights(done).items())
    assert [x.steps for x in result.ledgers] == [x.steps for x in done.ledgers]
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_arms_of_a_seed_share_heads_and_holdout(planted):

    single = arm_plans.alone(MTL(arm="single"), planted, 3, None, 5)
    assert [p.name for p in single.phases] == ["tune"]
    import pandas as pd

    chosen = pd.DataFrame({"task": ["look_alike", "topic_name"], "row": [5, 2]})
    multi = arm_plans.two_stages(MTL(arm="random"), planted, 3, chosen)
    assert multi.seeds == single.seeds
    assert (multi.holdout == single.holdout).all()
    assert len(single.holdout) == 20
    assert {k: v.tolist() for k, v in multi.phases[0].rows.items() if k != "topic_side"} == {
        "topic_name": [2],
        "look_alike": [5],
    }
    assert (arm_plans.alone(MTL(arm="single"), planted, 4, None, 5).holdout != single.holdout).any()


def test_proxy_sample_is_disjoint_from_what_is_watched(planted):
    (rows,), watched, folds = proxy_plans.proxy_sample(planted, 60, 40, seed=1)
    for name in planted:
        assert (len(rows[name]), len(watched[name])) == (60, 40)
        assert not set(rows[name]) & set(watched[name])
        assert not folds[name].any()


def test_two_proxies_are_drawn_from_the_two_halves_of_the_usable_rows(planted):
    usable = {name: np.arange(len(task.train)) % 5 > 0 for name, task in planted.items()}
    samples, watched, folds = proxy_plans.proxy_sample(planted, 60, 40, 1, usable, folds=2)
    for name, task in planted.items():
        assert abs(int((folds[name] == 0).sum()) - len(task.train) / 2) <= 1
        taken = [*samples[0][name], *samples[1][name], *watched[name]]
        assert len(taken) == len(set(taken)) == 2 * len(samples[0][name]) + 40 == 160
        assert usable[name][taken].all()
        for fold in (0, 1):
            assert (folds[name][samples[fold][name]] == fold).all()
    made, again = proxy_plans.proxies(TDProxy(), planted, 0, usable)
    assert len(made) == 2
    assert all((again[name] == proxy_plans.proxies(TDProxy(), planted, 0)[1][name]).all() for name in planted)
    assert len(proxy_plans.proxies(TDProxy(proxies="one"), planted, 0)[0]) == 1


@pytest.mark.parametrize("kind", ["bce", "ce"])
def test_the_discriminator_learns_to_tell_tasks(planted, kind):
    (proxy, _), _ = proxy_plans.proxies(TDProxy(discriminator=kind, epochs=4).resolved(), planted, 0)
    made = train.run(proxy, planted)
    auc = np.array(made.history[-1]["auc"])
    assert auc.mean() > 0.75
    assert np.mean(made.history[0]["disc_loss"]) > made.history[-1]["disc_loss"]


def test_the_key_follows_all_that_decides_the_result(small):
    base = plan().key_content(small)
    assert plan().key_content(small) == base
    assert base != plan(precision="bf16").key_content(small)
    assert base != plan(holdout=np.arange(61, 80)).key_content(small)
    assert base != plan(seeds=seeding.record(1)).key_content(small)
    assert base != plan().key_content(small.capped(70))
    moved = plan(phases=(Phase("stage2", {"topic_side": np.arange(1, 61)}, 2, RECIPE),))
    assert base != moved.key_content(small)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"phases": (Phase("x", {"topic_side": np.arange(0)}, 1, RECIPE),)},
            "at least one epoch, one step and one row",
        ),
        ({"phases": (Phase("x", {"topic_side": np.arange(90)}, 1, RECIPE),)}, "has 80 rows"),
        ({"phases": (Phase("x", {"topic_side": np.arange(70)}, 1, RECIPE),)}, "held out"),
        ({"holdout": np.arange(0)}, "needs held-out rows"),
        ({"phases": (Phase("x", {"topic_side": np.arange(60)}, 1, Recipe(lr=1e30)),)}, "not finite"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(small, changes, message):
    with pytest.raises(InputError, match=message):
        train.run(plan(**changes), small)


def test_two_phases_of_one_name_are_refused_when_the_plan_is_made():
    both = [Phase("a", {"topic_side": np.arange(first, first + 9)}, 1, RECIPE) for first in (0, 30)]
    with pytest.raises(InputError, match="phases 'a', 'a': each needs a name of its own"):
        Plan("tiny", tuple(both), seeding.record(0))
    assert Plan("tiny", (both[0], replace(both[1], name="b")), seeding.record(0)).phases[1].name == "b"


def test_bf16_learns_as_fp32_does(planted):
    """Same plan in both precisions: losses agree to about the precision of bf16."""
    rows = {"topic_name": np.arange(600)}
    made = [
        train.run(Plan("tiny", (Phase("x", rows, 2, RECIPE),), seeding.record(0), precision=p), planted).history[-1][
            "loss"
        ]
        for p in ("fp32", "bf16")
    ]
    assert made[1] == pytest.approx(made[0], rel=0.05)


def test_the_learning_rate_falls_linearly_after_its_warm_up():
    recipe = Recipe(lr=1.0, warmup=0.2)
    rates = [phases.rate(s, 10, recipe) for s in range(10)]
    assert rates[:2] == pytest.approx([1 / 3, 2 / 3])
    assert rates[2:] == pytest.approx([1 - i / 8 for i in range(8)])
    assert phases.rate(0, 10, Recipe(lr=1.0)) == 1.0


# --- the switches: the authors' ways beside the corrected ones ---


def tuned(**options):
    return Phase("tune", {"topic_side": np.arange(60)}, 3, RECIPE, **options)


@pytest.mark.parametrize("rows", [20, 60, 800])
def test_arms_of_unequal_epochs_choose_among_as_many_states(rows):
    """At the authors' end of every epoch 20 rows for 100 epochs choose among 100 states, and 800 for 4 among 4."""
    steps = [-(-rows // 32)] * (2400 // rows)
    looks = phases.looks(tuned(choose="holdout", looks=10), steps)
    assert len(looks) == 10
    assert looks[-1] == sum(steps)
    assert np.ptp(np.diff([0, *looks])) <= 1
    assert phases.looks(tuned(choose="dev"), steps) == np.cumsum(steps).tolist()
    assert phases.looks(tuned(), steps) == []


def test_a_phase_of_fewer_steps_is_looked_at_after_each():
    assert phases.looks(tuned(choose="holdout", looks=10), [2, 2]) == [1, 2, 3, 4]


def test_the_state_is_chosen_on_dev_by_the_product_of_metrics_or_held_out_or_is_the_last(small):
    """FastMTL's code keeps the epoch with the best product of dev metrics; the default never looks at dev."""
    held, dev, last = (
        train.run(plan(phases=(tuned(choose=choose),)), small) for choose in ("holdout", "dev", "last")
    )  # fmt: skip
    for made in (held, dev):
        values = [look["score"] for look in made.looks]
        assert made.chosen["tune"] == 4 * (values.index(max(values)) + 1)
    assert max(look["score"] for look in dev.looks) == pytest.approx(dev.scores["accuracy"])
    assert last.chosen["tune"] == 12
    assert not last.looks
    # Choosing costs a pass over the rows that choose.
    assert held.ledgers[0].examples == 3 * (60 + 20)
    assert dev.ledgers[0].examples == 3 * (60 + 100)
    assert last.ledgers[0].examples == 3 * 60
    net = train.Trainer(plan(primary="word_class", phases=(tuned(choose="dev"),)), small, None, print)
    net._score = lambda *a: ({"accuracy": 0.5, "f1": 0.4}, None, None)
    assert net._judge(tuned(choose="dev"), None) == pytest.approx(0.2)


def test_fixed_seeds_leave_only_the_selection_to_the_seed(planted):
    """FastMTL's scripts train with seed 84 and tune with 42 whatever the seed; the default gives each seed its own."""
    chosen = pd.DataFrame({"task": ["look_alike"], "row": [5]})
    free = [arm_plans.two_stages(MTL(arm="random"), planted, seed, chosen) for seed in (0, 1)]
    assert free[0].seeds != free[1].seeds
    assert [phase.seed for phase in free[0].phases] == [None, None]
    p = MTL(arm="random", seed_policy="fixed", choose="last")
    fixed = [arm_plans.two_stages(p, planted, seed, chosen) for seed in (0, 1)]
    assert [phase.seed for phase in fixed[0].phases] == [84, 42]
    assert fixed[0].key_content(planted) == fixed[1].key_content(planted)


def test_a_phase_s_own_seed_takes_the_place_of_the_plan_s(small):
    base = train.run(plan(phases=(tuned(),)), small)
    own = train.run(plan(phases=(tuned(seed=7),)), small)
    same = train.run(plan(phases=(tuned(seed=7),), seeds=seeding.record(0) | {"order": 1, "dropout": 2}), small)
    assert own.history[0]["loss"] != base.history[0]["loss"]
    assert own.history == same.history


def test_step_matched_spends_the_steps_of_stage_2_on_the_primary(planted):
    p = MTL(arm="step_matched", n=700, stage2_epochs=2, tune_epochs=3, choose="last").resolved()
    made = arm_plans.two_stages(p, planted, 0)
    assert list(made.phases[0].rows) == ["topic_side"]
    assert made.phases[0].steps == 2 * 29  # ceil((200 + 700) / 32) a pass
    result = train.run(made, planted)
    assert [ledger.steps for ledger in result.ledgers] == [58, 3 * 7]
    assert phases.schedule(made.phases[0], {"topic_side": 200}) == [7] * 8 + [2]


def test_mixed_batches_hold_rows_of_several_tasks_and_train_each_on_its_own_head(small):
    rows = {"topic_side": np.arange(40), "side_share": np.arange(20), "word_class": np.arange(16)}
    phase = Phase("stage2", rows, 4, RECIPE, "ce", mixing="mixed")
    made = train.run(plan(phases=(phase,), holdout=np.zeros(0, np.int64)), small)
    assert made.ledgers[0].steps == 4 * 5  # ceil(76 / 16): the tasks share batches
    assert "mixed" in {s["task"] for s in made.steps}
    assert made.history[-1]["loss"] < made.history[0]["loss"]


@pytest.fixture
def joined(small):
    """A model and two task-pure batches of unlike lengths."""
    net = multitask.build("tiny", small).eval()
    parts = [
        multitask.collate([small[name].train[i] for i in rows], small[name], net)
        for name, rows in (("side_share", [0, 1]), ("word_class", [2, 3, 4]), ("topic_side", [5]))
    ]
    return net, parts, batching.join(parts, net.pad_id)


def test_a_joined_batch_gives_each_row_what_it_gets_alone(joined):
    net, parts, batch = joined
    out = net(batch)
    alone = [net(part) for part in parts]
    for (_, at, _), logits, one in zip(batch["parts"], out.logits, alone, strict=True):
        width = one.logits.shape[1]
        assert torch.allclose(logits[:, :width], one.logits, atol=1e-5)
        assert torch.allclose(out.discriminator[at], one.discriminator, atol=1e-5)
    losses = [net.task_loss(part, one.logits) for part, one in zip(parts, alone, strict=True)]
    by_rows = (2 * losses[0] + 3 * losses[1] + 1 * losses[2]) / 6
    assert torch.allclose(net.task_loss(batch, out.logits), by_rows, atol=1e-5)
    assert batch["task_id"].tolist() == [
        net.columns[name] for name in ("side_share",) * 2 + ("word_class",) * 3 + ("topic_side",)
    ]


def test_losses_are_scaled_by_the_log_of_the_classes(joined, small):
    """Muppet's scaling: a uniform guess costs 1 whatever the number of classes; regressions are left alone."""
    net, parts, _ = joined
    scales = train.Trainer(plan(), small, None, print).scales
    for part in parts:
        task = small[part["task"]]
        factor = 1.0 if task.labels is None else np.log(len(task.labels))
        out = net(part)
        assert net.task_loss(part, out.logits, [scales[task.name]]).item() == pytest.approx(
            net.task_loss(part, out.logits).item() / factor, rel=1e-5
        )
    assert (
        train.run(plan(phases=(tuned(loss_scale="log_classes"),)), small).history
        != train.run(plan(phases=(tuned(),)), small).history
    )


def planned(p, suite, rows):
    """The plan of these rows by the arm's own method."""
    asked = Context(suite, p, 0)
    return p.method.plan(asked, asked.cell, Selection(rows), p.options(p.method))


def test_mt_dnn_s_recipe_is_adamax_with_warm_up(planted, small):
    chosen = pd.DataFrame({"task": ["look_alike"] * 40, "row": range(40)})
    same = planned(MTL(arm="all_data"), small, chosen).phases[0].recipe
    assert (same.optimiser, same.warmup, same.lr) == ("adamw", 0.0, 1e-3)
    options = {"recipe": "mtdnn", "mtdnn_lr": 3e-3}
    made = planned(MTL(arm="all_data", methods={"all_data": options}, choose="last").resolved(), small, chosen)
    recipe = made.phases[0].recipe
    assert (recipe.optimiser, recipe.warmup, recipe.lr, recipe.weight_decay) == ("adamax", 0.1, 3e-3, 0.01)
    assert made.phases[1].recipe.optimiser == "adamw"
    assert planned(MTL(arm="random", methods={"all_data": options}), small, chosen).phases[0].recipe == same
    result = train.run(made, small)
    assert result.history[1]["loss"] < result.history[0]["loss"]


def test_the_discriminator_s_weight_scales_its_gradient(small):
    rows = {name: np.arange(20) for name in small}
    runs = [
        train.run(Plan("tiny", (Phase("proxy", rows, 3, RECIPE, "ce", weight),), seeding.record(0)), small).history[-1]
        for weight in (1.0, 0.001)
    ]
    assert runs[0]["disc_loss"] < runs[1]["disc_loss"] - 0.05


def test_adamax_resumes_to_the_same_bits(small, tmp_path, monkeypatch):
    recipe = Recipe(lr=1e-3, batch_size=16, warmup=0.2, optimiser="adamax", weight_decay=0.01)
    phase = Phase("stage2", {"topic_side": np.arange(60)}, 3, recipe)
    whole = train.run(plan(phases=(phase,)), small)
    monkeypatch.setattr(resuming, "CHECKPOINT_SECONDS", -1.0)

    def dying(message):
        if "epoch 2" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.run(plan(phases=(phase,)), small, tmp_path, dying)
    resumed = train.run(plan(phases=(phase,)), small, tmp_path)
    assert all(torch.equal(v, weights(resumed)[k]) for k, v in weights(whole).items())


def three_epochs(recipe=RECIPE, **options):
    phase = Phase("tune", {"topic_side": np.arange(60)}, 3, recipe, **options)
    return Plan("tiny", (phase,), seeding.record(0), "topic_side", np.arange(60, 80))


def test_of_states_that_score_alike_the_first_is_kept(small, monkeypatch):
    scores = iter([0.5, 0.7, 0.7])
    monkeypatch.setattr(train.Trainer, "_judge", lambda self, *a: next(scores))
    assert train.run(three_epochs(choose="holdout"), small).chosen == {"tune": 8}


def test_looking_more_often_changes_no_training(small):
    """The states that epochs end with are the same, however often the model is looked at between them."""
    often, rarely = (train.run(three_epochs(choose="holdout", looks=looks), small) for looks in (12, 3))
    assert often.history == rarely.history
    assert [look for look in often.looks if look["step"] % 4 == 0] == rarely.looks


def test_every_epoch_draws_its_own_masks_and_its_own_order(small, monkeypatch):
    masks, orders, real = [], [], batch_order.homogeneous
    reseed = fast_dropout.Source.reseed
    monkeypatch.setattr(fast_dropout.Source, "reseed", lambda self, seed: masks.append(seed) or reseed(self, seed))

    def homogeneous(*args, **more):
        orders.append(real(*args, **more))
        return orders[-1]

    monkeypatch.setattr(batch_order, "homogeneous", homogeneous)
    train.run(three_epochs(), small)
    drawn = masks[1:]  # the first is of the model as it is built
    assert len(drawn) == len(set(drawn)) == 3
    rows = [tuple(np.concatenate([index for _, index in order])) for order in orders]
    assert len(rows) == len(set(rows)) == 3


def test_the_rate_falls_over_the_whole_phase_and_gradients_are_clipped(small):
    recipe, rates, norms = Recipe(lr=1e-3, batch_size=16, clip=0.01, warmup=0.2), [], []

    class Spy(train.Trainer):
        def _clip(self, running, parts):
            super()._clip(running, parts)
            rates.append(running.optimiser.param_groups[0]["lr"])
            grads = [p.grad.norm() for p in self.model.parameters() if p.grad is not None]
            norms.append(float(torch.stack(grads).norm()))

    Spy(three_epochs(recipe=recipe), small, None, print).run()
    assert rates == pytest.approx([phases.rate(step, 12, recipe) for step in range(12)])
    assert norms == pytest.approx([0.01] * 12, rel=1e-3)


def test_the_discriminator_s_loss_weighs_columns_by_the_rows_of_the_phase(small, monkeypatch):
    seen, real = [], discriminator.bce_loss
    monkeypatch.setattr(discriminator, "bce_loss", lambda z, ids, weight: seen.append(weight) or real(z, ids, weight))
    rows = {name: np.arange(8 + 4 * k) for k, name in enumerate(small)}
    train.run(Plan("tiny", (Phase("proxy", rows, 1, RECIPE, "bce"),), seeding.record(0)), small)
    wanted = discriminator.pos_weight([8 + 4 * k for k in range(len(small))])
    assert seen
    assert all(torch.equal(weight, wanted) for weight in seen)


@pytest.mark.parametrize("idle", ["still", "coasts"])
def test_the_head_of_a_task_without_rows_in_a_batch_stays_or_coasts(small, idle):
    """Three steps of one task, two of the other: Adam's moments move the first head on, or leave it alone."""
    recipe = Recipe(lr=1e-2, batch_size=8, decay="none", idle_heads=idle)
    rows = {"look_alike": np.arange(24), "topic_side": np.arange(16)}
    order = np.array([0, 0, 0, 1, 1])

    def heads(steps):
        phase = Phase("stage2", rows, 1, recipe, order=order[:steps])
        model = train.run(Plan("tiny", (phase,), seeding.record(0), "look_alike"), small).model
        return [model.heads[name].weight.detach().clone() for name in ("look_alike", "topic_side", "away_topic")]

    before, after, untouched = heads(3), heads(5), heads(1)
    assert torch.equal(before[0], after[0]) == (idle == "still")
    assert not torch.equal(before[1], after[1])
    assert torch.equal(untouched[2], after[2])  # a head that never had a gradient has no moments


def test_a_training_asks_for_repeatable_kernels_of_its_device_and_for_itself_alone(small, monkeypatch):
    seen = []

    @contextmanager
    def repeatable(device, precision):
        seen.append(f"begun on {device} in {precision}")
        yield
        seen.append("ended")

    monkeypatch.setattr(train.devices, "repeatable", repeatable)
    one = Phase("tune", {"topic_side": np.arange(16)}, 1, RECIPE)
    train.run(plan(phases=(one,)), small, progress=seen.append)
    assert seen[0] == "begun on cpu in fp32"
    assert seen[1].startswith("tune: epoch 1/1")
    assert seen[-1] == "ended"


def test_frozen_layers_stay_as_they_are_and_the_others_take_the_same_first_step(small):
    """tiny has two layers: with one frozen, embeddings and the first are those of the start; the second moves."""
    one = Phase("stage2", {"topic_side": np.arange(16)}, 1, RECIPE)
    start = {k: v.clone() for k, v in multitask.build("tiny", small, seeding.record(0)["init"]).state_dict().items()}
    whole, above = (train.run(plan(phases=(one,), frozen_layers=k), small) for k in (0, 1))
    lower = [k for k in start if k.startswith(("encoder.embeddings.", "encoder.encoder.layer.0."))]
    upper = [k for k in start if k.startswith("encoder.encoder.layer.1.")]
    assert lower
    assert upper
    for name in lower:
        assert torch.equal(above.model.state_dict()[name], start[name])
    assert any(not torch.equal(whole.model.state_dict()[name], start[name]) for name in lower)
    for name in (*upper, "heads.topic_side.weight"):  # Adam's first step is the gradient's sign, whatever the clip
        assert torch.allclose(above.model.state_dict()[name], whole.model.state_dict()[name], atol=1e-5)
        assert not torch.equal(above.model.state_dict()[name], start[name]) or start[name].dim() == 1


def test_a_training_above_frozen_layers_goes_on_where_it_was_stopped_and_costs_what_was_counted(
    small, tmp_path, monkeypatch
):
    made = plan(frozen_layers=1)
    straight = train.run(made, small)
    monkeypatch.setattr(resuming, "CHECKPOINT_SECONDS", -1.0)
    again = lambda progress: train.run(made, small, tmp_path, progress)  # noqa: E731
    resumed, attempts = killed_at_every_epoch(again, tmp_path / "checkpoint.safetensors")
    assert attempts > 2
    for name, value in weights(straight).items():
        assert torch.equal(value, resumed.model.state_dict()[name])
    net = straight.model
    counted = counting.count(made, counting.tokens(small, net.tokenizer, net.max_length), net.encoder.config)
    assert [ledger.flops for ledger in straight.ledgers] == [ledger.flops for ledger in counted]
    assert sum(ledger.flops for ledger in counted) < 0.75 * sum(
        ledger.flops for ledger in train.run(plan(), small).ledgers
    )


def test_layers_that_cannot_be_frozen_are_refused(small):
    with pytest.raises(InputError, match="frozen_layers: 2 of 2 layers leave none to train"):
        train.run(plan(frozen_layers=2), small)
    albert = encoder_kinds.body("albert", 50)
    with pytest.raises(InputError, match="layers of a albert share weights"):
        encoders.freeze(albert, 1)
    weighed = Phase("joint", {"topic_side": np.arange(16), "side_share": np.arange(20)}, 1, RECIPE,
                    weighting=phases.Weighting((0.5, 0.5)))  # fmt: skip
    with pytest.raises(InputError, match="weights are measured on whole models"):
        train.run(plan(phases=(weighed,), frozen_layers=1), small)
