"""What a bandit's rounds cost, counted: exactly by its record, about before it, and at most."""

from dataclasses import replace

import numpy as np
import pytest

from auxlearn import seeding
from auxlearn.methods.autosem import bandit_trainer
from auxlearn.models import multitask
from auxlearn.training import counting
from auxlearn.training.phases import Phase, Plan, Recipe, Rounds

RECIPE = Recipe(lr=1e-2, batch_size=8)
ROWS = {"topic_side": np.arange(40), "word_class": np.arange(30), "topic_name": np.arange(13)}
BANDIT = Phase("bandit", ROWS, 12, RECIPE, rounds=Rounds(2, 0.1))
TUNE = Phase("tune", {"topic_side": np.arange(40)}, 1, RECIPE, choose="holdout")
PLAN = Plan("tiny", (BANDIT, TUNE), seeding.record(2), "topic_side", np.arange(60, 80))


@pytest.fixture(scope="module")
def config(small):
    return multitask.build("tiny", small).encoder.config


@pytest.fixture(scope="module")
def lengths(small):
    return counting.tokens(small, multitask.build("tiny", small).tokenizer, 128)


def test_rounds_cost_what_was_counted(small, config, lengths):
    for seed in (2, 3):
        plan = replace(PLAN, seeds=seeding.record(seed))
        made = bandit_trainer.run(plan, small)
        ledgers = [replace(ledger, seconds=0.0, peak_bytes=0) for ledger in made.ledgers]
        played = [row["arm"] for row in made.history if row["phase"] == "bandit" and row["epoch"]]
        assert len(set(played)) == 3
        assert counting.count(plan, lengths, config, played) == ledgers
        expected = counting.count(plan, lengths, config)
        assert expected != ledgers
        most = counting.bound(plan, lengths, config)
        assert most == counting.bound(PLAN, lengths, config)
        for about, upper, ledger in zip(expected, most, ledgers, strict=True):
            assert about.flops == pytest.approx(ledger.flops, rel=0.25)
            assert upper.steps == about.steps == ledger.steps
            for count in ("flops", "tokens", "padded_tokens", "examples"):
                assert getattr(upper, count) >= getattr(ledger, count)


def test_the_dearest_rounds_play_the_longest_task(config):
    lengths = {name: {"train": counting.Tokens(np.full(80, size))} for name, size in
               (("topic_side", 5), ("word_class", 9), ("topic_name", 20))}  # fmt: skip
    plan = replace(PLAN, phases=(BANDIT,))
    (judged,) = counting.count(plan, lengths, config, ["topic_side"] * 12)
    passes = judged.padded_tokens - 12 * 2 * 8 * 5
    assert passes == 13 * 20 * 5  # before any training too
    (most,) = counting.bound(plan, lengths, config)
    assert most.padded_tokens == passes + 12 * (8 + 5) * 20  # 13 rows of topic_name make batches of 8 and of 5
    assert most.examples == 13 * 20 + 12 * 2 * 8  # but other tasks' batches have more rows


def test_a_record_of_fewer_rounds_is_refused(config, lengths):
    with pytest.raises(ValueError, match="tasks of 3 rounds are given, it has 12"):
        counting.count(PLAN, lengths, config, ["topic_side"] * 3)
