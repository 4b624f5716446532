import numpy as np
import pytest
import torch

from auxlearn import plans, seeds, train
from auxlearn.errors import InputError
from auxlearn.params import TDProxy
from auxlearn.train import Phase, Plan, Recipe

RECIPE = Recipe(lr=1e-3, batch_size=16)


def plan(**changes):
    rows = {"topic_side": np.arange(60), "side_share": np.arange(20), "word_class": np.arange(16)}
    phases = (
        Phase("stage2", rows, 2, RECIPE),
        Phase("tune", {"topic_side": np.arange(60)}, 3, RECIPE, choose=True),
    )
    base = {"encoder": "tiny", "phases": phases, "seeds": seeds.record(0), "primary": "topic_side"}
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
    assert tune.examples == 3 * (60 + 20)  # choosing the epoch is part of the cost
    assert {s["task"] for s in done.steps} == {"topic_side", "side_share", "word_class"}
    assert 0 <= done.scores["accuracy"] <= 1
    assert len(done.predictions) == 1000


def test_the_same_plan_gives_the_same_bits(done, small):
    again = train.run(plan(), small)
    assert all(torch.equal(v, weights(again)[k]) for k, v in weights(done).items())
    other = train.run(plan(seeds=seeds.record(0) | {"order": 5}), small)
    assert other.history[0]["loss"] != done.history[0]["loss"]


def test_the_best_epoch_is_kept_and_the_first_of_equals(done, small):
    held = [h["holdout"] for h in done.history if h["phase"] == "tune"]
    assert done.chosen["tune"] == held.index(max(held)) + 1
    net = train._Trainer(plan(), small, None, print)
    net.model = done.model
    assert net._score("train", np.arange(60, 80))[0]["accuracy"] == pytest.approx(max(held))


def test_interrupted_and_resumed_equals_never_interrupted(done, small, tmp_path, monkeypatch):
    """Killed at every epoch boundary in turn, each time resumed from the checkpoint: the same bits in the end."""
    monkeypatch.setattr(train, "CHECKPOINT_SECONDS", -1.0)

    class Killed(Exception):
        pass

    def dying(after):
        seen = []

        def progress(message):
            seen.append(message)
            if "epoch" in message and not message.startswith("resumed") and len(seen) > after:
                raise Killed

        return progress

    attempts = 0
    while True:
        attempts += 1
        try:
            # A new attempt gets one epoch further: "resumed" counts as a message.
            result = train.run(plan(), small, tmp_path, dying(1 if attempts == 1 else 2))
            break
        except Killed:
            assert (tmp_path / "checkpoint.safetensors").is_file()
    assert attempts > 2
    assert result.history == done.history
    assert result.chosen == done.chosen
    assert all(torch.equal(v, weights(result)[k]) for k, v in weights(done).items())
    assert [x.steps for x in result.ledgers] == [x.steps for x in done.ledgers]
    assert not (tmp_path / "checkpoint.safetensors").exists()


def test_arms_of_a_seed_share_heads_and_holdout(planted):
    from auxlearn.params import MTL

    single = plans.arm(MTL(arm="single"), planted, 3)
    assert [p.name for p in single.phases] == ["tune"]
    import pandas as pd

    chosen = pd.DataFrame({"task": ["look_alike", "topic_name"], "row": [5, 2]})
    multi = plans.arm(MTL(arm="random"), planted, 3, chosen)
    assert multi.seeds == single.seeds
    assert (multi.holdout == single.holdout).all()
    assert len(single.holdout) == 20
    assert {k: v.tolist() for k, v in multi.phases[0].rows.items() if k != "topic_side"} == {
        "topic_name": [2],
        "look_alike": [5],
    }
    assert (plans.arm(MTL(arm="single"), planted, 4).holdout != single.holdout).any()


def test_proxy_sample_is_disjoint_from_what_is_watched(planted):
    rows, watched = plans.proxy_sample(planted, 60, 40, seed=1)
    for name in planted:
        assert (len(rows[name]), len(watched[name])) == (60, 40)
        assert not set(rows[name]) & set(watched[name])


@pytest.mark.parametrize("kind", ["bce", "ce"])
def test_the_discriminator_learns_to_tell_tasks(planted, kind):
    made = train.run(plans.proxy(TDProxy(discriminator=kind, epochs=4).resolved(), planted), planted)
    auc = np.array(made.history[-1]["auc"])
    assert auc.mean() > 0.75
    assert np.mean(made.history[0]["disc_loss"]) > made.history[-1]["disc_loss"]


def test_the_key_follows_all_that_decides_the_result(small):
    base = plan().key_content(small)
    assert plan().key_content(small) == base
    assert base != plan(precision="bf16").key_content(small)
    assert base != plan(holdout=np.arange(61, 80)).key_content(small)
    assert base != plan(seeds=seeds.record(1)).key_content(small)
    assert base != plan().key_content(small.capped(70))
    moved = plan(phases=(Phase("stage2", {"topic_side": np.arange(1, 61)}, 2, RECIPE),))
    assert base != moved.key_content(small)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"phases": (Phase("x", {"topic_side": np.arange(0)}, 1, RECIPE),)}, "at least one epoch and one row"),
        ({"phases": (Phase("x", {"topic_side": np.arange(90)}, 1, RECIPE),)}, "has 80 rows"),
        ({"phases": (Phase("x", {"topic_side": np.arange(70)}, 1, RECIPE),)}, "held out"),
        ({"holdout": np.arange(0)}, "needs held-out rows"),
        ({"phases": (Phase("x", {"topic_side": np.arange(60)}, 1, Recipe(lr=1e30)),)}, "not finite"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(small, changes, message):
    with pytest.raises(InputError, match=message):
        train.run(plan(**changes), small)


def test_bf16_learns_as_fp32_does(planted):
    """Same plan in both precisions: losses agree to about the precision of bf16."""
    rows = {"topic_name": np.arange(600)}
    made = [
        train.run(Plan("tiny", (Phase("x", rows, 2, RECIPE),), seeds.record(0), precision=p), planted).history[-1][
            "loss"
        ]
        for p in ("fp32", "bf16")
    ]
    assert made[1] == pytest.approx(made[0], rel=0.05)


def test_the_learning_rate_falls_linearly_after_its_warm_up():
    recipe = Recipe(lr=1.0, warmup=0.2)
    rates = [train._rate(s, 10, recipe) for s in range(10)]
    assert rates[:2] == pytest.approx([1 / 3, 2 / 3])
    assert rates[2:] == pytest.approx([1 - i / 8 for i in range(8)])
    assert train._rate(0, 10, Recipe(lr=1.0)) == 1.0
