"""Policies inside trainings: what they do to steps, what they cost, that a training resumed is the same."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import asking
from auxlearn import seeding
from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.methods import plan_costs, registry
from auxlearn.methods.balancing import aggregators
from auxlearn.methods.tawt import weighted_trainer
from auxlearn.models import multitask
from auxlearn.training import counting, phases, resuming
from auxlearn.training.phases import Phase, Plan, Recipe, Weighting

ROWS = {"topic_side": np.arange(20), "topic_name": np.arange(30), "word_class": np.arange(18)}
SIZES = np.array([20, 30, 18.0])
EVEN = tuple((1 / SIZES / (1 / SIZES).sum()).tolist())
FOLLOWING = ["uncertainty", "dwa", "famo"]


@pytest.fixture(scope="module")
def small(small):
    short = {name: replace(task, dev=task.dev.select(range(60))) for name, task in small.items()}
    return suites.Suite(small.name, short, f"{small.fingerprint}-60")


def weighting(name, **given):
    policy = registry.get(name)
    if policy.aggregates and policy.follows:
        own = {"prior": (1 / 3,) * 3, "evidence": "losses", "every": 1, "combine": "aggregated"}
    elif policy.aggregates:
        own = {"prior": (1 / 3,) * 3, "evidence": "fixed", "combine": "aggregated"}
    else:
        own = {"prior": EVEN, "evidence": "losses", "every": policy.every}
    return Weighting(**own | {"policy": name, "options": policy.Options().model_dump()} | given)


def plan(w, **changes):
    phase = Phase("joint", ROWS, 3, Recipe(lr=1e-3, batch_size=16), weighting=w, choose="holdout")
    base = {"encoder": "tiny", "phases": (phase,), "seeds": seeding.record(0), "primary": "topic_side"}
    return Plan(**base | {"holdout": np.arange(50, 70)} | changes)


def same(a, b):
    other = b.model.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.model.state_dict().items())


@pytest.mark.parametrize("name", [*FOLLOWING, "pcgrad", "gradnorm"])
def test_it_costs_what_was_counted_and_no_more_than_at_most(small, name):
    p = plan(weighting(name))
    net = multitask.build("tiny", small)
    lengths = counting.tokens(small, net.tokenizer, 128)
    made = weighted_trainer.run(p, small)
    ledgers = [replace(ledger, seconds=0.0, peak_bytes=0) for ledger in made.ledgers]
    assert counting.count(p, lengths, net.encoder.config) == ledgers
    assert (ledgers[-1].flops > 0) == (name == "famo")
    for most, ledger in zip(counting.bound(p, lengths, net.encoder.config), ledgers, strict=True):
        assert (most.steps, most.flops >= ledger.flops) == (ledger.steps, True)
    for (_, dearest), ledger in zip(plan_costs.dearest(p, lengths, net.encoder.config), ledgers, strict=True):
        assert dearest >= ledger.flops


@pytest.mark.parametrize("name", FOLLOWING)
def test_recorded_weights_are_those_of_the_recorded_losses(small, name):
    made = weighted_trainer.run(plan(weighting(name)), small)
    first, *updates = made.updates
    assert first["weights"] == pytest.approx(EVEN)
    steps = phases.schedule(plan(weighting(name)).phases[0], {k: len(v) for k, v in ROWS.items()})
    assert len(updates) == (len(steps) if name == "dwa" else sum(steps))
    assert all(len(row["losses"]) == 3 for row in updates)
    assert any(row["weights"] != pytest.approx(EVEN, abs=1e-6) for row in updates)
    if name == "famo":  # reads its batches again too
        return
    policy, memory, weights = registry.get(name), {}, np.array(EVEN)
    for row in updates:
        losses = np.array([np.nan if loss is None else loss for loss in row["losses"]])
        weights = policy.follow(row["names"], weights, losses, None, memory, row["step"], policy.Options())
        weights = weights / weights.sum()
        assert row["weights"] == pytest.approx(weights.tolist())


@pytest.mark.parametrize("given", [{"steps": 40}, {"stage2_epochs": 1, "tune_epochs": 1}])
def test_dwa_is_refused_where_no_weight_could_move(small, given):
    """Two epochs go by with even weights; an epoch has 20 steps here, and all of stage 2 and tuning trains jointly."""
    given = {"rows": 80, "batch_size": 16, "auxiliaries": ["topic_name", "word_class", "side_share"]} | given
    with pytest.raises(
        InputError, match="third epoch on, and joint has 40 steps, of which the first two epochs take 40;"
    ):
        asking.planned(asking.arm("dwa", **given), small, 0)
    longer = {name: value + 1 for name, value in given.items() if name in ("steps", "stage2_epochs")}
    assert len(asking.planned(asking.arm("dwa", **given | longer), small, 0).phases) == 1


def test_losses_are_those_that_are_trained(small):
    """One epoch: the rows' mean loss of all tasks is the history's, as long as weights stay."""
    policy = registry.get("dwa")
    p = plan(weighting("dwa", prior=(1 / 3,) * 3))
    made = weighted_trainer.run(p, small)
    row = made.updates[1]
    of_rows = (np.array(row["losses"]) * [len(ROWS[name]) for name in row["names"]]).sum() / SIZES.sum()
    trained = made.steps.columns()[1][: row["step"], 0]
    sizes = [len(batch) for batch in np.array_split(np.arange(68), len(trained))]
    assert of_rows == pytest.approx(np.average(trained, weights=sizes), rel=0.02)
    assert policy.every == 0


@pytest.mark.parametrize("name", ["uncertainty", "famo", "pcgrad", "gradnorm"])
def test_an_interrupted_training_that_goes_on_is_the_same(small, tmp_path, monkeypatch, name):
    monkeypatch.setattr(resuming, "CHECKPOINT_SECONDS", -1.0)
    p = plan(weighting(name))
    whole = weighted_trainer.run(p, small)

    def dying(message):
        if "epoch 3/3" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weighted_trainer.run(p, small, tmp_path, dying)
    again = weighted_trainer.run(p, small, tmp_path)
    assert same(whole, again)
    assert again.updates == whole.updates
    assert [each.flops for each in again.ledgers] == [each.flops for each in whole.ledgers]


def test_the_mean_of_gradients_is_joint_training_with_even_tasks(small):
    """The encoder's gradient is the mean of the tasks' own: one step by hand."""
    p = plan(weighting("mean_gradient"))
    weigher = weighted_trainer._Weigher(p, small, None, lambda message: None)
    seen = {}

    def clip(running, parts):
        seen.setdefault("parts", parts)
        seen.setdefault(
            "made", [param.grad.clone() for param in weigher.model.encoder.parameters() if param.grad is not None]
        )
        if "own" not in seen:
            seen["own"] = by_hand(running, parts)
        raise StopIteration

    def by_hand(running, parts):
        from auxlearn.data import batching

        net, total = weigher.model, 0.0
        net.zero_grad()
        for name, index in parts:
            batch = batching.to_batch(running.data[name], index, small[name], net.columns[name], net.pad_id)
            total = total + net.task_loss(batch, net(batch, "fp32").logits) / len(parts)
        total.backward()
        return [param.grad.clone() for param in net.encoder.parameters() if param.grad is not None]

    weigher._clip = clip
    weigher.model.eval()
    weigher.model.train = lambda mode=True: weigher.model  # stays without dropout
    with pytest.raises(StopIteration):
        weigher.run()
    assert len(seen["parts"]) > 1
    for made, own in zip(seen["made"], seen["own"], strict=True):
        torch.testing.assert_close(made, own, rtol=1e-4, atol=1e-6)


def test_gradnorm_is_told_the_lengths_of_gradients_and_weighs_them(small, monkeypatch):
    """Two steps by hand, without dropout: lengths over the last layer, and the mean gradient by the weights."""
    from auxlearn.data import batching

    policy, told, steps = registry.get("gradnorm"), [], []
    follow = type(policy).follow

    def told_of(self, names, weights, losses, more, memory, step, options):
        moved = follow(self, names, weights, losses, more, memory, step, options)
        told.append((list(names), losses, more, moved))
        return moved

    monkeypatch.setattr(type(policy), "follow", told_of)
    weigher = weighted_trainer._Weigher(plan(weighting("gradnorm")), small, None, lambda message: None)
    net = weigher.model.eval()
    net.train = lambda mode=True: net  # stays without dropout

    def clip(running, parts):
        made, weights = [p.grad for p in net.encoder.parameters() if p.grad is not None], weigher.weights
        lengths, own, factors = {}, 0, dict(zip(weights.names, weights.values, strict=True))
        total = sum(factors[name] for name, _ in parts)
        for name, index in parts:
            batch = batching.to_batch(running.data[name], index, small[name], net.columns[name], net.pad_id)
            loss = net.task_loss(batch, net(batch, "fp32").logits)
            names, params = zip(*[(n, p) for n, p in net.encoder.named_parameters() if p.grad is not None], strict=True)
            gradients = torch.autograd.grad(loss, params)
            last = [g for n, g in zip(names, gradients, strict=True) if "layer.1." in n]
            lengths[name] = (loss.item(), float(torch.cat([g.flatten() for g in last]).norm()))
            own = own + torch.cat([g.flatten() for g in gradients]) * (factors[name] / total)
        torch.testing.assert_close(torch.cat([g.flatten() for g in made]), own, rtol=1e-3, atol=1e-6)
        steps.append(lengths)
        if len(steps) > 2:
            raise StopIteration

    weigher._clip = clip
    assert net.encoder.config.num_hidden_layers == 2
    with pytest.raises(StopIteration):
        weigher.run()
    assert len(told) == 2
    for (names, losses, more, _), lengths in zip(told, steps[:2], strict=True):
        for at, name in enumerate(names):
            by_hand = lengths.get(name, (np.nan, np.nan))
            assert (losses[at], more[at]) == pytest.approx(by_hand, rel=1e-3, nan_ok=True)
    assert told[1][3] != pytest.approx(np.ones(3), abs=1e-4)


@pytest.mark.parametrize("name", aggregators.AGGREGATORS)
def test_every_aggregator_trains(small, name):
    made = weighted_trainer.run(plan(weighting(name)), small)
    assert all(np.isfinite(row["loss"]) for row in made.history)
    assert [row["weights"] for row in made.updates[1:]] == [[pytest.approx(1 / 3)] * 3] * (len(made.updates) - 1)


def test_what_cannot_be_is_refused(small):
    with pytest.raises(InputError, match="every 1 or 0, not 5"):
        phases.check(plan(weighting("uncertainty", every=5)), small)
    for name in ("uncertainty", "pcgrad", "gradnorm"):
        with pytest.raises(InputError, match=f"{name} reads each task's own loss, which 2 processes share"):
            phases.check(plan(weighting(name), processes=2), small)


def test_a_policy_is_an_arm_over_the_rows_of_any_method(small):
    p = asking.arm("random+uncertainty", n=30, auxiliaries=["topic_name", "word_class"], stage2_epochs=1, tune_epochs=1)
    made = asking.planned(p, small, 0, asking.everything(small))
    (phase,) = made.phases
    assert (phase.weighting.policy, phase.weighting.evidence, phase.weighting.every) == ("uncertainty", "losses", 1)
    sizes = np.array([len(rows) for _, rows in phases.groups(phase, "topic_side").values()])
    assert phase.weighting.prior == pytest.approx((1 / sizes / (1 / sizes).sum()).tolist())
    (phase,) = asking.planned(asking.arm("mgda", n=30), small, 0, asking.everything(small)).phases
    assert phase.weighting.combine == "aggregated"
