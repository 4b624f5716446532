"""TAWT inside a training: what weights do to steps, what moves them, and that neither disturbs anything else."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from auxlearn import cost, seeding
from auxlearn.data import batching, suites
from auxlearn.errors import InputError
from auxlearn.methods.tawt import cosine, weight_rule, weighted_trainer
from auxlearn.signals import target_gradients
from auxlearn.training import linear_head, phases, resuming, train, training_cache
from auxlearn.training.phases import Phase, Plan, Recipe, Weighting

RECIPE = Recipe(lr=1e-3, batch_size=16)
ROWS = {"topic_side": np.arange(30), "topic_name": np.arange(40), "word_class": np.arange(24)}
THIRD = (1 / 3, 1 / 3, 1 / 3)


@pytest.fixture(scope="module")
def small(small):
    """With 100 dev rows a task: nothing here asks how well a training did."""
    short = {name: replace(task, dev=task.dev.select(range(100))) for name, task in small.items()}
    return suites.Suite(small.name, short, f"{small.fingerprint}-100")


def plan(weighting=None, rows=None, phase=None, **changes):
    made = Phase("joint", rows or ROWS, 2, RECIPE, weighting=weighting, **(phase or {}))
    base = {"encoder": "tiny", "phases": (made,), "seeds": seeding.record(0), "primary": "topic_side"}
    return Plan(**(base | {"holdout": np.arange(50, 80)} | changes))


def pretrain(weighting, **changes):
    first = Phase("pretrain", {n: ROWS[n] for n in ("topic_name", "word_class")}, 2, RECIPE, weighting=weighting)
    tune = Phase("tune", {"topic_side": ROWS["topic_side"]}, 1, RECIPE)
    return plan(phases=(first, tune), **changes)


def weights(result):
    return result.model.state_dict()


def same(a, b):
    other = weights(b)
    return all(torch.equal(v, other[k]) for k, v in weights(a).items())


def measured(**given):
    return Weighting(THIRD, chunks=2, chunk_rows=10, **given)


@pytest.mark.parametrize("combine", ["mixed", "scaled", "scaled_then_clipped"])
def test_uniform_weights_train_as_no_weights_do_bit_for_bit(small, combine):
    plain = train.run(plan(phase={"mixing": "mixed" if combine == "mixed" else "homogeneous"}), small)
    made = weighted_trainer.run(plan(Weighting(THIRD, "fixed", combine=combine)), small)
    assert same(plain, made)
    assert plain.steps == made.steps
    assert all(row["weights"] == pytest.approx(THIRD) for row in made.updates)


@pytest.mark.parametrize("given", [measured(every=2), Weighting(THIRD, "null"), Weighting(THIRD, "fixed", watch=True)])
def test_updates_and_steps_are_read_back_from_the_run_as_they_were(small, runs_folder, given):
    made, kept = weighted_trainer.run(plan(given), small), training_cache.trained(plan(given), small)
    assert kept.updates == made.updates
    assert len(kept.updates) > 1
    assert kept.steps.to_dict("records") == list(made.steps)


def test_uniform_weights_scale_log_classes_alike(small):
    options = {"loss_scale": "log_classes"}
    plain = train.run(plan(phase={"mixing": "mixed"} | options), small)
    assert same(plain, weighted_trainer.run(plan(Weighting(THIRD, "fixed"), phase=options), small))


@pytest.mark.parametrize("combine", ["mixed", "scaled", "scaled_then_clipped", "sampled"])
def test_a_weight_of_zero_leaves_a_task_s_head_as_it_was(small, combine):
    made = weighted_trainer.run(plan(Weighting((0.5, 0.5, 0.0), "fixed", combine=combine)), small)
    fresh = train.Trainer(plan(), small, None, print).model.state_dict()
    assert torch.equal(weights(made)["heads.word_class.weight"], fresh["heads.word_class.weight"])
    assert not torch.equal(weights(made)["heads.topic_name.weight"], fresh["heads.topic_name.weight"])
    if combine == "sampled":
        assert "word_class" not in {step["task"] for step in made.steps}


def test_scaling_before_the_clip_and_after_differ_where_gradients_are_large(small):
    sharp = Recipe(lr=1e-3, batch_size=16, clip=0.01)  # every gradient is cut
    phase = Phase("joint", ROWS, 1, sharp, weighting=Weighting((0.98, 0.01, 0.01), "fixed", combine="scaled"))
    seen = {}

    class Spy(weighted_trainer._Weigher):
        def _clip(self, running, parts):
            super()._clip(running, parts)
            grads = [p.grad.norm() for p in self.model.parameters() if p.grad is not None]
            seen.setdefault(parts[0][0], float(torch.stack(grads).norm()))

    Spy(plan(phases=(phase,)), small, None, print).run()
    assert seen["topic_side"] == pytest.approx(0.01 * 3 * 0.98, rel=1e-3)
    assert seen["topic_name"] == pytest.approx(0.01 * 3 * 0.01, rel=1e-3)
    seen.clear()
    after = replace(phase.weighting, combine="scaled_then_clipped")
    Spy(plan(phases=(replace(phase, weighting=after),)), small, None, print).run()
    assert seen["topic_side"] == pytest.approx(0.01, rel=1e-3)  # the weight is undone
    assert seen["topic_name"] == pytest.approx(0.01, rel=1e-3)


def test_the_null_schedule_is_its_closed_form_and_probes_nothing(small, monkeypatch):
    monkeypatch.setattr("auxlearn.signals.target_gradients.Probe.target", lambda *a: pytest.fail("probed"))
    made = weighted_trainer.run(plan(Weighting(THIRD, "null", every=2, eta=0.5)), small)
    steps = 2 * -(-94 // 16)
    assert [row["step"] for row in made.updates] == list(range(0, steps + 1, 2))
    expected = weight_rule.null_schedule(np.array(THIRD), steps // 2, weight_rule.Updater(0.5), target=0)
    assert np.array([row["weights"] for row in made.updates]) == pytest.approx(expected)
    assert made.ledgers[-1].stage == "weighting"
    assert made.ledgers[-1].flops == 0


def test_measured_weights_follow_held_out_cosines_and_probing_changes_nothing_else(small):
    """With a step so small that weights stay put, a probed training is the unprobed one, bit for bit."""
    still = weighted_trainer.run(plan(Weighting(THIRD, "fixed")), small)
    probed = weighted_trainer.run(plan(measured(eta=1e-300)), small)
    assert same(still, probed)
    made = weighted_trainer.run(plan(measured(rule="paper")), small)  # debiased, so few rows show nothing
    assert not same(still, made)
    first, *rest = made.updates
    assert first["weights"] == pytest.approx(THIRD)
    assert len(rest) == 2
    for before, row in zip(made.updates[:-1], rest, strict=True):
        moved = np.log(before["weights"]) + np.array(row["used"])
        assert row["weights"] == pytest.approx(np.exp(moved) / np.exp(moved).sum())
    cost = made.ledgers[-1]
    assert cost.examples == 2 * 4 * 2 * 10  # updates x (target and three tasks) x chunks x rows
    assert cost.steps == 0
    assert cost.flops > 0
    assert made.ledgers[0].examples == 2 * 94


def test_the_authors_switches(small):
    made = weighted_trainer.run(
        plan(Weighting(THIRD, rule="paper", combine="scaled_then_clipped", target_rows="train", itself=True,
                       parameters="encoder", chunks=1, chunk_rows=64), holdout=np.zeros(0, np.int64)), small
    )  # fmt: skip
    assert len(made.updates) == 3
    for row in made.updates[1:]:
        assert row["cosines"][0] == 1
        assert row["errors"][1] is None
        assert all(abs(c) < 1 for c in row["cosines"][1:])


def test_reused_gradients_give_cosines_without_a_backward_pass_for_sources(small):
    made = weighted_trainer.run(plan(measured(estimator="reused", combine="scaled")), small)
    assert made.ledgers[-1].examples == 2 * 2 * 10  # the target's chunks, once an epoch
    assert all(None not in row["cosines"] for row in made.updates[1:])
    again = weighted_trainer.run(plan(measured(estimator="reused", combine="scaled")), small)
    assert again.updates == made.updates


def test_training_s_gradient_is_read_before_it_is_clipped(small, monkeypatch):
    found, read = [], target_gradients.Probe.read
    monkeypatch.setattr(
        target_gradients.Probe, "read", lambda self, factor: found.append(read(self, factor)) or found[-1]
    )
    first = []
    for clip in (1e-6, 1e9):
        found.clear()
        phase = Phase("joint", ROWS, 1, Recipe(lr=1e-3, batch_size=16, clip=clip),
                      weighting=measured(estimator="reused", combine="scaled"))  # fmt: skip
        weighted_trainer.run(plan(phases=(phase,)), small)
        first.append(found[0])
    assert torch.equal(*first)
    assert first[0].abs().max() > 1e-4


def test_what_the_probe_takes_is_not_the_phase_s_time(small):
    trainer = weighted_trainer._Weigher(plan(measured()), small, None, print)
    trainer.cost, phase = cost.Ledger("weighting"), cost.Ledger("joint", seconds=5.0)
    trainer.running = SimpleNamespace(ledger=phase)
    trainer._timed(lambda: time.sleep(0.02))
    assert trainer.cost.seconds >= 0.02
    assert phase.seconds == pytest.approx(5.0 - trainer.cost.seconds)


def test_a_gpu_s_earlier_work_is_not_charged_to_the_probe(small, monkeypatch):
    """The GPU is done with a step 0.2 s after it was given to it; the probe itself takes 0.05 s of its time."""
    given, now = [0.2], [0.0]

    def finish():
        now[0] += sum(given)
        given.clear()

    monkeypatch.setattr(torch.cuda, "synchronize", finish)
    monkeypatch.setattr(cost.time, "perf_counter", lambda: now[0])
    trainer = weighted_trainer._Weigher(plan(measured()), small, None, print)
    trainer.plan = replace(trainer.plan, device="cuda")
    trainer.cost, phase = cost.Ledger("weighting"), cost.Ledger("joint", seconds=5.0)
    trainer.running = SimpleNamespace(ledger=phase)
    trainer._timed(lambda: given.append(0.05))
    assert trainer.cost.seconds == pytest.approx(0.05)
    assert phase.seconds == pytest.approx(4.95)


def test_pre_training_fits_the_target_s_head_and_leaves_it_as_it_was(small, monkeypatch):
    asked, real = [], linear_head.fit_head
    monkeypatch.setattr(linear_head, "fit_head", lambda x, y, *a: asked.append(len(y)) or real(x, y, *a))
    halves = Weighting((0.5, 0.5), chunks=2, chunk_rows=10)
    made = weighted_trainer.run(pretrain(halves), small)
    assert asked == [30] * 2  # on the rows that the target trains on
    assert made.updates[0]["names"] == ["topic_name", "word_class"]
    still = weighted_trainer.run(pretrain(Weighting((0.5, 0.5), "fixed")), small)
    probed = weighted_trainer.run(pretrain(Weighting((0.5, 0.5), chunks=2, chunk_rows=10, eta=1e-300)), small)
    assert same(still, probed)
    assert [ledger.stage for ledger in made.ledgers] == ["pretrain", "tune", "weighting"]


def test_the_target_s_gradient_goes_through_the_fitted_head(small, monkeypatch):
    fitted, met, fit, target = [], [], linear_head.fit_head, target_gradients.Probe.target

    def spy(self, chunks):
        met.append(self.model.heads["topic_side"].weight.detach().clone())
        return target(self, chunks)

    monkeypatch.setattr(linear_head, "fit_head", lambda *a: fitted.append(fit(*a)) or fitted[-1])
    monkeypatch.setattr(target_gradients.Probe, "target", spy)
    weighted_trainer.run(pretrain(Weighting((0.5, 0.5), chunks=2, chunk_rows=10)), small)
    assert len(fitted) == 2
    for head, weight in zip(fitted, met, strict=True):
        assert torch.equal(weight, head.weight.to(weight))


def test_the_target_s_gradient_is_of_held_out_rows_or_of_its_training_rows(small):
    def cosines(where, held):
        given = measured(eta=1e-300, rule="paper", target_rows=where)  # weights stay, so that trainings are the same
        made = [row["cosines"] for row in weighted_trainer.run(plan(given, holdout=held), small).updates[1:]]
        assert len(made) == 2
        return made

    one, other = np.arange(50, 80), np.arange(30, 50)
    assert cosines("train", one) == cosines("train", other)
    assert cosines("holdout", one) != cosines("holdout", other)


@pytest.mark.parametrize("rule", ["corrected", "paper"])
def test_the_cosines_are_of_the_rule_and_the_parameters_asked_for(small, monkeypatch, rule):
    seen, source = [], target_gradients.Probe.source
    monkeypatch.setattr(target_gradients.Probe, "source", lambda self, c: seen.append(source(self, c)) or seen[-1])
    first = {}
    for which in ("shared", "last_layer"):
        seen.clear()
        row = weighted_trainer.run(plan(measured(eta=1e-300, rule=rule, parameters=which)), small).updates[1]
        values, errors = cosine.cosines(seen[:3], rule)
        assert row["cosines"] == [None if np.isnan(v) else v for v in values]
        assert row["errors"] == [None if np.isnan(v) else v for v in errors]
        first[which] = seen[0].dots.tolist()
    assert first["last_layer"] != first["shared"]


def test_c_floor_decay_and_eta_of_a_plan_move_its_weights(small):
    given = {"eta": 0.5, "c": 2.0, "floor": 0.1, "decay": 0.2}
    made = weighted_trainer.run(plan(Weighting(THIRD, "null", every=2, **given)), small).updates
    expected = weight_rule.null_schedule(np.array(THIRD), len(made) - 1, weight_rule.Updater(**given), target=0)
    assert np.array([row["weights"] for row in made]) == pytest.approx(expected)
    assert len(made) > 3


def test_tasks_are_sampled_by_effective_shares(small):
    given, sizes = (0.5, 0.25, 0.25), [800, 7200, 3200]
    trainer = weighted_trainer._Weigher(plan(Weighting(given, "fixed", combine="sampled")), small, None, print)
    phase = trainer.plan.phases[0]
    trainer.weights = trainer._start(phase)
    lengths = {name: np.full(n, 9) for name, n in zip(trainer.weights.names, sizes, strict=True)}
    drawn = [name for ((name, _),) in trainer._batches(phase, lengths, np.random.default_rng(0))]
    assert len(drawn) == 700
    found = [drawn.count(name) / 700 for name in trainer.weights.names]
    assert found == pytest.approx(weight_rule.effective_shares(np.array(given), sizes), abs=0.06)


@pytest.mark.parametrize(
    "given", [measured(every=3), measured(estimator="reused", combine="scaled"), measured(combine="sampled")]
)
def test_interrupted_and_resumed_equals_never_interrupted(small, tmp_path, monkeypatch, given):
    monkeypatch.setattr(resuming, "CHECKPOINT_SECONDS", -1.0)
    whole = weighted_trainer.run(plan(given), small)

    def dying(message):
        if "epoch 2/2" in message:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        weighted_trainer.run(plan(given), small, tmp_path, dying)
    again = weighted_trainer.run(plan(given), small, tmp_path)
    assert same(whole, again)
    assert again.updates == whole.updates
    assert again.ledgers[-1].examples == whole.ledgers[-1].examples


def test_a_source_that_is_the_target_reaches_the_ceiling(small):
    """On the target's own rows it agrees with it but for the head; a label-shuffled twin does not."""
    task = small["topic_side"]
    twin = replace(task, name="twin")
    mixed = np.random.default_rng(0).permutation(len(task.train))
    labels = np.array(task.train["label"][:])[mixed].tolist()
    broken = replace(task, name="broken", train=task.train.remove_columns("label").add_column("label", labels))
    suite = type(small)("twins", {"topic_side": task, "twin": twin, "broken": broken}, "f")
    rows = {name: np.arange(40) for name in suite.names}
    given = Weighting(THIRD, rule="paper", target_rows="train", chunks=1, chunk_rows=40, every=10)
    made = weighted_trainer.run(plan(given, rows, {"steps": 60}), suite)
    cosines = np.array([row["cosines"] for row in made.updates[1:]], float)
    mean = dict(zip(made.updates[0]["names"], cosines.mean(0), strict=True))
    assert mean["topic_side"] == pytest.approx(1)  # the same rows
    assert mean["twin"] > mean["broken"] + 0.1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"weighting": Weighting((0.5, 0.5))}, "2 weights for the tasks topic_side, topic_name, word_class"),
        ({"weighting": Weighting((1.0,)), "rows": {"topic_side": np.arange(9)}}, "no source task to weigh"),
        ({"weighting": measured(), "rows": ROWS | {"word_class": np.arange(0)}}, "'word_class' has no usable rows"),
        ({"weighting": measured(), "holdout": np.arange(50, 51)}, "needs 2 held-out rows or more, 1 are held out"),
        ({"weighting": measured(), "primary": None}, "needs a primary task"),
        ({"weighting": measured(every=-1)}, "too small"),
        ({"weighting": Weighting(THIRD, chunks=1)}, "debiasing needs 2 chunks"),
        ({"weighting": measured(estimator="reused")}, "reuse needs another `combine`"),
    ],
)
def test_weightings_that_cannot_work_are_refused(small, changes, words):
    with pytest.raises(InputError, match=words):
        phases.check(plan(**changes), small)


def test_a_part_of_weight_zero_trains_as_if_its_rows_were_not_there(small):
    """Rows of a part are found, in whatever order the batch has them: only theirs lose their loss."""
    part = np.arange(40) % 2
    cut = Weighting((0.4, 0.0, 0.2, 0.4), "fixed", parts={"topic_name": part})
    trainer = weighted_trainer._Weigher(plan(cut), small, None, print)
    phase = trainer.plan.phases[0]
    trainer.weights, trainer.parts = trainer._start(phase), cut.parts
    lengths = {name: np.full(len(rows), 9) for name, rows in ROWS.items()}
    for parts in trainer._batches(phase, lengths, np.random.default_rng(0)):
        for (name, rows), divisor in zip(parts, trainer._divisors(phase, parts), strict=True):
            expected = {"topic_side": 1 / 1.6, "word_class": 1 / 1.6, "topic_name": [np.inf, 1 / 0.8]}[name]
            if name == "topic_name":
                assert len(set(part[rows])) == 1
                expected = expected[part[rows[0]]]
            assert divisor == pytest.approx(expected)


def test_even_parts_cost_what_the_whole_task_does(small):
    """Batches list rows part by part, so that dropout falls otherwise; without it the loss is that of the whole."""
    trainer = train.Trainer(plan(), small, None, print)
    data = {name: trainer._train_rows(name, rows, "joint") for name, rows in ROWS.items()}
    trainer.model.eval()

    def loss(parts):
        batch = batching.join([
            batching.to_batch(data[n], rows, small[n], trainer.model.columns[n], trainer.model.pad_id)
            for n, rows in parts
        ], trainer.model.pad_id)  # fmt: skip
        return trainer.model.task_loss(batch, trainer.model(batch).logits, [1.0] * len(parts)).item()

    whole = [("topic_name", np.arange(7)), ("topic_side", np.arange(5))]
    cut = weighted_trainer._cut(whole, {"topic_name": np.arange(40) % 2})
    assert [name for name, _ in cut] == ["topic_name", "topic_name", "topic_side"]
    assert loss(cut) == pytest.approx(loss(whole), rel=1e-5)


def test_a_source_with_too_few_rows_to_probe_moves_by_nothing(small):
    few = ROWS | {"word_class": np.arange(1)}
    made = weighted_trainer.run(plan(measured(rule="corrected"), few), small)
    assert all(row["cosines"][2] is None and row["used"][2] == 0 for row in made.updates[1:])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"parts": {"topic_side": np.zeros(30, int)}}, "only a source has any"),
        ({"parts": {"topic_name": np.zeros(7, int)}}, "one for each of its rows"),
        ({"parts": {"topic_name": np.zeros(40, int)}, "combine": "sampled"}, "in mixed batches only"),
    ],
)
def test_parts_that_cannot_be_weighed_are_refused(small, given, words):
    with pytest.raises(InputError, match=words):
        phases.check(plan(Weighting(THIRD, "fixed", **given)), small)
