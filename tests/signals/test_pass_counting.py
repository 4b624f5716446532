"""What a pass over rows costs, counted from their lengths alone."""

from dataclasses import replace

import numpy as np
import pytest

from auxlearn import seeding
from auxlearn.cost import Ledger
from auxlearn.methods.fastmtl import early_exit
from auxlearn.methods.gradts import head_store
from auxlearn.models import encoders
from auxlearn.signals import pass_counting, pass_store, pool_pass, row_signals, target_gradients
from auxlearn.training import counting, train, training_cache
from auxlearn.training.phases import Phase, Plan, Recipe
from helpers import with_long_sentences

SHORT = 18  # tokens: most sentences to be tagged are cut by a pass, and would be split in training
ROWS = {"word_class": np.arange(70)[::-1], "topic_side": np.arange(0, 80, 3), "side_share": np.arange(40)}
TARGETS = {"topic_side": np.arange(70, 80), "word_class": np.arange(36)}


@pytest.fixture(scope="module")
def suite(planted):
    return with_long_sentences(planted.capped(80))


@pytest.fixture
def trained(suite):
    phase = Phase("proxy", {name: np.arange(4) for name in suite.names}, 1, Recipe(lr=1e-3))
    plan = Plan("tiny", (phase,), seeding.record(0), max_length=SHORT, keep_model=True)
    return plan, training_cache.trained(plan, suite).manifest


@pytest.fixture(scope="module")
def model(suite):
    return train.model.build("tiny", suite, max_length=SHORT)


@pytest.fixture(scope="module")
def lengths(suite, model):
    return counting.tokens(suite, model.tokenizer, SHORT)


def ledger(manifest):
    (row,) = manifest.ledger
    return Ledger.from_dict(row | {"seconds": 0.0, "peak_bytes": 0})


@pytest.mark.parametrize("reads", [pass_store.PLAIN, ("loss",), ("gate",), ("logits", "kv_rows"), row_signals.READS])
def test_a_pass_costs_what_was_counted(suite, trained, model, lengths, monkeypatch, reads):
    plan, training = trained
    monkeypatch.setattr(pool_pass, "SHARD", 32)
    targets = TARGETS if "products" in reads else None
    more = {} if targets is None else {"targets": targets, "parameters": "encoder"}
    store = pass_store.scored(training, plan, suite, only=ROWS, reads=reads, **more)
    probe = target_gradients.Probe(model, "encoder")
    cells = sum(p.numel() for name, p in probe.named if p.dim() == 2 and "embeddings" not in name)
    rows = {name: ROWS.get(name, np.zeros(0, int)) for name in suite.names}
    counted = pass_counting.scoring(plan, lengths, model.encoder.config, rows, reads, targets, cells)
    assert counted == ledger(store.manifest)
    assert counted.padded_tokens > counted.tokens
    assert counted.examples == sum(map(len, ROWS.values())) + sum(map(len, (targets or {}).values()))


def test_each_process_measures_the_targets(trained, model, lengths, monkeypatch):
    """Of two processes both do; a process without a shard does not."""
    monkeypatch.setattr(pool_pass, "SHARD", 100)
    setup = (lengths, model.encoder.config, {"topic_side": np.arange(80), "side_share": np.arange(80)}, ("products",))
    examples = [
        pass_counting.scoring(replace(trained[0], processes=processes), *setup, TARGETS, 10).examples
        for processes in (1, 2, 3)
    ]
    assert examples == [160 + 46, 160 + 2 * 46, 160 + 2 * 46]


@pytest.mark.parametrize("name", ["word_class", "topic_side"])
def test_measuring_head_importance_costs_what_was_counted(suite, trained, model, lengths, name):
    plan, training = trained
    manifest, _ = head_store.measured(training, plan, suite, name, np.arange(5, 60))
    assert pass_counting.importance(plan, lengths, model.encoder.config, name, np.arange(5, 60)) == ledger(manifest)


def test_an_early_exit_costs_what_was_counted(suite, trained, model, lengths):
    import pandas as pd

    plan, training = trained
    rows = pd.DataFrame({"task": ["word_class"] * 30 + ["topic_side"] * 20, "row": [*range(30), *range(20)]})
    manifest, _ = early_exit.states(training, plan, suite, rows, [1])
    config = train.model.build("tiny:1", suite).encoder.config
    by_task = {"topic_side": np.arange(20), "word_class": np.arange(30)}
    assert pass_counting.scoring(plan, lengths, config, by_task, stage="early_exit") == ledger(manifest)
    assert encoders.most_tokens(config, SHORT) == SHORT
