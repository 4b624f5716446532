"""Counted from lengths alone, the trainings and passes of every arm cost what their ledgers hold."""

import pytest

import arms_and_switches
import pipeline
from auxlearn.models import multitask
from auxlearn.training import counting, training_cache

COUNTED = ("flops", "tokens", "padded_tokens", "steps", "examples")


def counts(ledger):
    return [ledger.stage, *(getattr(ledger, name) for name in COUNTED)]


@pytest.fixture(scope="module")
def model():
    return multitask.build("tiny", pipeline.suite())


@pytest.fixture(scope="module")
def lengths(model):
    return counting.tokens(pipeline.suite(), model.tokenizer, model.max_length)


@pytest.mark.parametrize("group", ["arms", "weights", "switches", "combined", "proxies", "heads"])
def test_the_counts_of_every_arm_are_those_of_its_ledgers(group, model, lengths, monkeypatch):
    trainings, trained = {}, training_cache.trained

    def collected(plan, suite, *more):
        training = trained(plan, suite, *more)
        trainings[training.manifest.key] = plan, training
        return training

    monkeypatch.setattr(training_cache, "trained", collected)
    monkeypatch.setattr(pipeline, "SEEDS", (0,))
    arms_and_switches.GROUPS[group]()
    print(len(trainings))
    for plan, training in trainings.values():
        history = training.history.to_dict("records")
        rounds = [row["arm"] for row in history if row["epoch"]] if plan.phases[0].rounds else None
        counted = counting.count(plan, lengths, model.encoder.config, rounds, training.updates)
        assert list(map(counts, counted)) == list(map(counts, training.ledgers))
        for most, ledger in zip(counting.bound(plan, lengths, model.encoder.config), training.ledgers, strict=True):
            assert most.stage == ledger.stage
            assert most.steps == ledger.steps
            assert all(getattr(most, name) >= getattr(ledger, name) for name in COUNTED)
