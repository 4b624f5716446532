"""Counted from lengths alone, the trainings and passes of every arm cost what their ledgers hold."""

import functools
import inspect

import numpy as np
import pytest

import arms_and_switches
import pipeline
from auxlearn.cost import Ledger
from auxlearn.methods.gradts import head_store
from auxlearn.models import multitask
from auxlearn.signals import pass_counting, pass_store
from auxlearn.training import counting, training_cache

COUNTS = ("flops", "tokens", "padded_tokens", "steps", "examples")


def counts(ledger):
    return [ledger.stage, *(getattr(ledger, name) for name in COUNTS)]


@functools.cache
def model(encoder):
    return multitask.build(encoder, pipeline.suite())


@pytest.fixture(scope="module")
def lengths():
    tiny = model("tiny")
    return counting.tokens(pipeline.suite(), tiny.tokenizer, tiny.max_length)


@pytest.fixture
def ran(monkeypatch):
    """The trainings and passes that are run from here on: arguments and results by the function that ran them."""
    made = {"trained": [], "scored": [], "measured": []}
    for module, name in ((training_cache, "trained"), (pass_store, "scored"), (head_store, "measured")):
        function = getattr(module, name)

        def kept(*given, function=function, name=name, **more):
            result = function(*given, **more)
            made[name].append((inspect.signature(function).bind(*given, **more).arguments, result))
            return result

        monkeypatch.setattr(module, name, kept)
    return made


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("arms", "weights", "switches", "proxies", "heads")]


@pytest.mark.parametrize("group", ["combined", *SLOW])
def test_what_every_arm_runs_costs_what_was_counted(group, lengths, ran, monkeypatch):
    monkeypatch.setattr(pipeline, "SEEDS", (0,))
    arms_and_switches.GROUPS[group]()
    assert ran["trained"]
    for asked, training in ran["trained"]:
        plan = asked["plan"]
        config = model(plan.encoder).encoder.config
        played = [row["arm"] for row in training.history.to_dict("records") if row["epoch"] and plan.phases[0].rounds]
        counted = counting.count(plan, lengths, config, played or None, training.updates)
        assert list(map(counts, counted)) == list(map(counts, training.ledgers))
        for most, ledger in zip(counting.bound(plan, lengths, config), training.ledgers, strict=True):
            assert (most.stage, most.steps) == (ledger.stage, ledger.steps)
            assert all(getattr(most, name) >= getattr(ledger, name) for name in COUNTS)
    whole = {name: np.arange(splits["train"].n_rows) for name, splits in lengths.items()}
    for asked, store in ran["scored"]:
        (ledger,) = store.manifest.ledger
        reads, targets = asked.get("reads", pass_store.PLAIN), asked.get("targets")
        config = model(asked["plan"].encoder).encoder.config
        rows, cells = asked.get("only") or whole, pass_counting.cells(config)
        counted = pass_counting.scoring(asked["plan"], lengths, config, rows, reads, targets, cells)
        assert counts(counted) == counts(Ledger.from_dict(ledger))
    for asked, (manifest, _) in ran["measured"]:
        (ledger,) = manifest.ledger
        config = model(asked["plan"].encoder).encoder.config
        counted = pass_counting.importance(asked["plan"], lengths, config, asked["name"], asked["rows"])
        assert counts(counted) == counts(Ledger.from_dict(ledger))
