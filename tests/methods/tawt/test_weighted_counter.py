"""What weighted training and its probes cost, counted."""

from dataclasses import replace

import numpy as np
import pytest

from auxlearn import seeding
from auxlearn.methods.tawt import weighted_trainer
from auxlearn.models import multitask
from auxlearn.training import counting
from auxlearn.training.phases import Phase, Plan, Recipe, Weighting
from helpers import with_long_sentences

RECIPE = Recipe(lr=1e-2, batch_size=8)
SHORT = 18  # tokens: most sentences to be tagged are then split
ROWS = {"topic_side": np.arange(30), "topic_name": np.arange(40), "word_class": np.arange(24)}
THIRD = (1 / 3, 1 / 3, 1 / 3)
MEASURED = Weighting(THIRD, eta=4.0, chunks=2, chunk_rows=10)
PAPER = Weighting(
    THIRD, rule="paper", combine="scaled_then_clipped", target_rows="train", itself=True, parameters="encoder",
    chunks=1, chunk_rows=64,
)  # fmt: skip
TUNE = Phase("tune", {"topic_side": np.arange(25)}, 1, RECIPE, choose="holdout")


def plan(weighting, rows=ROWS, *more, **changes):
    phase = Phase("joint", rows, 2, RECIPE, weighting=weighting, **changes)
    return Plan(
        "tiny", (phase, *more), seeding.record(0), "topic_side", np.arange(50, 80), max_length=SHORT,
    )  # fmt: skip


SOURCES = {name: ROWS[name] for name in ("topic_name", "word_class")}
PLANS = {
    "mixed": plan(MEASURED, choose="holdout"),
    "by steps": plan(replace(MEASURED, every=5), steps=17),
    "scaled": plan(replace(MEASURED, combine="scaled", every=4)),
    "sampled": plan(replace(MEASURED, combine="sampled", rule="paper", every=4)),
    "sampled once an epoch": plan(replace(MEASURED, combine="sampled", rule="paper", evidence="shuffled")),
    "pre-training": plan(replace(MEASURED, prior=(0.5, 0.5)), SOURCES, TUNE),
    "the authors'": plan(PAPER),
    "the authors' pre-training": plan(replace(PAPER, prior=(0.5, 0.5)), SOURCES, TUNE),
    "reused": plan(replace(MEASURED, estimator="reused", combine="scaled")),
    "watched": plan(replace(MEASURED, evidence="fixed", watch=True, combine="scaled")),
    "not probed": plan(replace(MEASURED, evidence="null")),
    "parts": plan(replace(MEASURED, prior=(0.25,) * 4, parts={"word_class": np.arange(24) % 2})),
    "too few rows": plan(MEASURED, ROWS | {"topic_name": np.arange(1)}),
    "large chunks": plan(replace(MEASURED, chunk_rows=80), ROWS | {"topic_name": np.arange(80)}),
    "an unweighted phase": plan(MEASURED, ROWS, replace(TUNE, name="mixed", mixing="mixed", rows=ROWS), TUNE),
}


@pytest.fixture(scope="module")
def small(small):
    return with_long_sentences(small)


@pytest.fixture(scope="module")
def config(small):
    return multitask.build("tiny", small).encoder.config


@pytest.fixture(scope="module")
def lengths(small):
    return counting.tokens(small, multitask.build("tiny", small).tokenizer, SHORT)


@pytest.mark.parametrize("name", PLANS)
def test_weighted_training_costs_what_was_counted(small, config, lengths, name):
    made = weighted_trainer.run(PLANS[name], small)
    ledgers = [replace(ledger, seconds=0.0, peak_bytes=0) for ledger in made.ledgers]
    assert ledgers[-1].stage == "weighting"
    assert (ledgers[-1].flops > 0) == (name != "not probed")
    assert counting.count(PLANS[name], lengths, config, updates=made.updates) == ledgers
    expected = counting.count(PLANS[name], lengths, config)
    assert (expected == ledgers) == (not name.startswith("sampled"))  # weights alone are not known beforehand
    for about, most, ledger in zip(expected, counting.bound(PLANS[name], lengths, config), ledgers, strict=True):
        assert about.flops == pytest.approx(ledger.flops, rel=0.25)
        assert most.steps == about.steps == ledger.steps
        for count in ("flops", "tokens", "padded_tokens", "examples"):
            assert getattr(most, count) >= getattr(ledger, count)


@pytest.mark.parametrize("evidence", ["null", "fixed"])
def test_weights_that_follow_no_gradient_are_known_beforehand(small, config, lengths, evidence):
    sampled = Weighting((0.2, 0.5, 0.3), evidence, combine="sampled", every=3, eta=0.4)
    made = plan(sampled, steps=40)
    ledgers = weighted_trainer.run(made, small).ledgers
    assert counting.count(made, lengths, config) == [replace(x, seconds=0.0, peak_bytes=0) for x in ledgers]


def test_the_dearest_tasks_are_sampled_in_a_bound(config):
    sizes = {"topic_side": 5, "topic_name": 20, "word_class": 9}
    lengths = {name: {"train": counting.Tokens(np.full(80, size))} for name, size in sizes.items()}
    made = plan(Weighting(THIRD, "fixed", combine="sampled"), ROWS | {"topic_name": np.arange(6)}, steps=7)
    most, _ = counting.bound(made, lengths, config)
    assert most.padded_tokens == 7 * 6 * 20
    assert most.examples == 7 * 8
