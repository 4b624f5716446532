"""What is counted from lengths alone is what the ledgers of trainings hold."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from auxlearn import seeding
from auxlearn.data import batching
from auxlearn.models import encoders, multitask
from auxlearn.training import counting, train
from auxlearn.training.phases import Phase, Plan, Recipe
from helpers import with_long_sentences

RECIPE = Recipe(lr=1e-3, batch_size=8)
SHORT = 18  # tokens: most sentences to be tagged are then split
ROWS = {"topic_side": np.arange(40), "side_share": np.arange(5, 26), "word_class": np.arange(30)[::-1]}
TUNE = Phase("tune", {"topic_side": np.arange(40)}, 2, RECIPE)
STAGE2 = Phase("stage2", ROWS, 2, RECIPE)
WATCHED = {"topic_side": np.arange(60, 80), "word_class": np.arange(70, 80)}


@pytest.fixture(scope="module")
def small(small):
    return with_long_sentences(small)


@pytest.fixture(scope="module")
def model(small):
    return multitask.build("tiny", small, max_length=SHORT)


@pytest.fixture(scope="module")
def lengths(small, model):
    return counting.tokens(small, model.tokenizer, SHORT)


def plan(*phases, **changes):
    base = {"encoder": "tiny", "phases": phases, "seeds": seeding.record(0), "primary": "topic_side"}
    return Plan(**(base | {"holdout": np.arange(50, 80), "max_length": SHORT} | changes))


PLANS = {
    "single": plan(TUNE),
    "single, held-out rows": plan(replace(TUNE, choose="holdout")),
    "single, looks": plan(replace(TUNE, choose="holdout", looks=5)),
    "single, dev": plan(replace(TUNE, choose="dev")),
    "stage 2, two phases": plan(STAGE2, replace(TUNE, choose="holdout")),
    "mixed": plan(replace(STAGE2, mixing="mixed")),
    "a seed of its own": plan(replace(STAGE2, seed=5)),
    "some steps": plan(replace(STAGE2, steps=19), replace(TUNE, steps=3)),
    "some mixed steps": plan(replace(STAGE2, mixing="mixed", steps=19)),
    "in order": plan(replace(STAGE2, order=np.array([0, 2, 2, 0, 1, 2, 2, 2, 0, 2, 2, 2]))),
    "no rows of a task": plan(replace(STAGE2, rows=ROWS | {"topic_name": np.zeros(0, int)})),
    "proxy": plan(replace(STAGE2, discriminator="ce"), watch=WATCHED, primary=None),
    "tagging": plan(Phase("tune", {"word_class": np.arange(40)}, 2, RECIPE, choose="holdout"), primary="word_class"),
    "tagging, dev": plan(Phase("tune", {"word_class": np.arange(9)}, 1, RECIPE, choose="dev"), primary="word_class"),
}


@pytest.mark.parametrize("name", PLANS)
def test_a_plan_costs_what_was_counted(small, model, lengths, name):
    made, config = PLANS[name], model.encoder.config
    ledgers = train.run(made, small).ledgers
    counted = counting.count(made, lengths, config)
    assert counted == [replace(ledger, seconds=0.0, peak_bytes=0) for ledger in ledgers]
    assert any(ledger.padded_tokens > ledger.tokens for ledger in ledgers)
    assert_bound(counting.bound(made, lengths, config), ledgers)


def assert_bound(most, ledgers):
    for upper, ledger in zip(most, ledgers, strict=True):
        assert (upper.stage, upper.steps) == (ledger.stage, ledger.steps)
        for count in ("flops", "tokens", "padded_tokens", "examples"):
            assert getattr(upper, count) >= getattr(ledger, count)


@pytest.mark.parametrize("name", ["stage 2, two phases", "some steps", "some mixed steps", "in order"])
def test_a_bound_holds_for_any_order(model, lengths, name):
    most = counting.bound(PLANS[name], lengths, model.encoder.config)
    for seed in range(20):
        other = replace(PLANS[name], seeds=seeding.record(seed))
        assert counting.bound(other, lengths, model.encoder.config) == most
        assert_bound(most, counting.count(other, lengths, model.encoder.config))


def test_a_bound_pads_to_the_longest_sequence_that_a_batch_may_hold():
    """Five rows of task a in batches of 2, three of b: with 9 and 4 tokens at most, by hand."""
    lengths = {
        "a": {"train": counting.Tokens(np.array([3, 9, 2, 5, 5]))},
        "b": {"train": counting.Tokens(np.array([4, 1, 1]))},
    }
    config = multitask.encoder_files.TINY | {"model_type": "bert"}
    config = type("Config", (), config)
    phase = Phase("x", {"a": np.arange(5), "b": np.arange(3)}, 1, Recipe(1.0, batch_size=2))

    def padded(**changes):
        (most,) = counting.bound(Plan("", (replace(phase, **changes),), seeding.record(0), "a"), lengths, config)
        return most.examples, most.padded_tokens

    assert padded() == (8, 5 * 9 + 3 * 4)
    assert padded(mixing="mixed") == (8, 8 * 9)
    assert padded(steps=1) == (2, 2 * 9)  # the dearest
    assert padded(steps=3) == (6, 2 * 9 + 2 * 9 + 9)  # as many rows as three batches can have; as many tokens
    assert padded(order=np.array([1, 1, 1, 0])) == (2 + 1 + 2 + 2, 5 * 4 + 2 * 9)


def test_a_pool_of_another_device_has_its_batches(model, lengths):
    """On a GPU a pass has larger batches: more padding, the same rows."""
    made = replace(PLANS["single, dev"], device="cuda:1")
    (there,) = counting.count(made, lengths, model.encoder.config)
    (here,) = counting.count(PLANS["single, dev"], lengths, model.encoder.config)
    assert there.examples == here.examples
    dev = lengths["topic_side"]["dev"].lengths
    (trained,) = counting.count(PLANS["single"], lengths, model.encoder.config)
    assert there.padded_tokens - trained.padded_tokens == 2 * len(dev) * dev.max()  # one batch for all


def test_lengths_of_rows_are_those_that_a_trainer_encodes(small, model, lengths):
    trainer = train.Trainer(plan(TUNE), small, None, print)
    rng = np.random.default_rng(0)
    for name in ("topic_side", "word_class"):
        rows = rng.permutation(80)[:30]
        encoded = trainer._train_rows(name, rows, name)
        taken = lengths[name]["train"].take(rows)
        assert taken.lengths.tolist() == lengths[name]["train"].of(rows).tolist() == encoded.lengths.tolist()
        assert (taken.rows is None) == (encoded.rows is None) == (name == "topic_side")
        if taken.rows is not None:
            assert taken.rows.tolist() == encoded.rows.tolist()
            assert len(taken) > 30
        task = small[name]
        cut = batching.encode(task.train.select(rows.tolist()), task, model.tokenizer, SHORT)
        assert lengths[name]["train"].cut(rows, SHORT).tolist() == cut.lengths.tolist()
        assert not len(lengths[name]["train"].of(np.zeros(0, int)))
        assert lengths[name]["train"].n_rows == len(task.train)


def test_a_sequence_has_no_more_tokens_than_the_encoder_has_positions_for(small):
    config = multitask.build("tiny", small).encoder.config
    assert encoders.most_tokens(config, 300) == 256
    assert encoders.most_tokens(config, 20) == 20
    config = type("XLNet", (), {"max_position_embeddings": -1})
    assert encoders.most_tokens(config, 20) == 20


def test_counting_needs_no_torch():
    program = "import sys, auxlearn.training.counting as c; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
