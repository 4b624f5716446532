from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset

from auxlearn import seeding
from auxlearn.data import batching
from auxlearn.models import multitask
from auxlearn.training import prediction, training_cache
from auxlearn.training.phases import Phase, Plan, Recipe, Weighting


@pytest.fixture(scope="module")
def net(small):
    return multitask.build("tiny", small, seed=0)


def test_collate_of_each_kind(net, small):
    for name in ("topic_side", "side_share", "word_class"):
        task = small[name]
        rows = [task.train[i] for i in range(6)]
        batch = multitask.collate(rows, task, net)
        size, length = batch["input_ids"].shape
        assert size == 6
        assert batch["attention_mask"].sum(1).max() == length
        assert (batch["input_ids"][batch["attention_mask"] == 0] == net.pad_id).all()
        assert batch["task_id"] == small.index(name)
        if task.kind == "tagging":
            assert batch["labels"].shape == (6, length)
            for tags, row in zip(batch["labels"], rows, strict=True):
                assert tags[tags != batching.IGNORE].tolist() == row["tags"]
        else:
            assert batch["labels"].tolist() == pytest.approx([r["label"] for r in rows])
            assert set(batch["token_type_ids"].flatten().tolist()) == {0, 1}  # both are pair tasks


def test_tags_sit_on_first_pieces_only(net, small):
    """A word outside the vocabulary falls into characters; its tag stands on the first."""
    task = small["word_class"]
    known = task.train[0]["tokens"][0]
    rows = [{"tokens": [known, known * 3], "tags": [1, 2]}]
    batch = multitask.collate(rows, task, net)
    labels = batch["labels"][0].tolist()
    assert labels[1] == 1
    assert labels[2] == 2
    assert set(labels[3:]) == {batching.IGNORE}
    assert len(labels) > 5


def test_long_rows_are_cut_and_counted(small):
    task = small["topic_side"]
    net = multitask.build("tiny", small, max_length=12)
    encoded = batching.encode([task.train[i] for i in range(10)], task, net.tokenizer, net.max_length)
    assert encoded.lengths.max() == 12
    assert encoded.truncated == 10


def test_unlabelled_rows_are_no_one_s_loss(net, small):
    task = small["topic_side"]
    rows = [dict(task.train[0]), dict(task.train[1]) | {"label": None}]
    batch = multitask.collate(rows, task, net)
    assert batch["labels"].tolist() == [rows[0]["label"], batching.IGNORE]
    net.eval()
    both, alone = (net(multitask.collate(r, task, net)) for r in (rows, rows[:1]))
    loss = net.task_loss(batch, both.logits)
    assert torch.isclose(loss, net.task_loss(multitask.collate(rows[:1], task, net), alone.logits), atol=1e-6)


# --- sentences that are too long -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def long(small):
    """Eight sentences to tag, the second and the last of them long, one word of the last longer than any limit."""
    task = small["word_class"]
    rows = [dict(row) for row in task.train.select(range(8))]
    for i in (1, 7):
        rows[i]["tokens"], rows[i]["tags"] = rows[i]["tokens"] * 6, rows[i]["tags"] * 6
    rows[7]["tokens"] = [*rows[7]["tokens"][:5], rows[7]["tokens"][0][0] * 40, *rows[7]["tokens"][5:]]
    rows[7]["tags"] = [*rows[7]["tags"][:5], 1, *rows[7]["tags"][5:]]
    data = Dataset.from_list(rows)
    return replace(task, train=data, dev=data)


def test_a_long_sentence_is_split_between_words_and_no_tag_is_lost(long, small):
    net = multitask.build("tiny", small, max_length=16)
    cut = batching.encode(long.train, long, net.tokenizer, 16)
    encoded = batching.encode(long.train, long, net.tokenizer, 16, split=True)
    assert (cut.truncated, cut.rows) == (2, None)
    assert encoded.truncated == 1  # the overlong word, alone in its sequence
    assert encoded.lengths.max() == 16
    assert encoded.rows.tolist() == sorted(encoded.rows)
    assert set(encoded.rows) == set(range(8))
    assert (np.bincount(encoded.rows) > 1).tolist() == [i in (1, 7) for i in range(8)]
    tags = [encoded.labels[encoded.starts[i] : encoded.starts[i + 1]] for i in range(len(encoded))]
    for row, row_tags in enumerate(long.train["tags"]):
        labels = np.concatenate([tags[i][tags[i] != batching.IGNORE] for i in np.flatnonzero(encoded.rows == row)])
        assert labels.tolist() == row_tags
    short = batching.encode(long.train.select([0, 2]), long, net.tokenizer, 16, split=True)
    assert short.rows is None
    blind = long.train.remove_columns("tags").add_column("tags", [None] * 8)
    assert batching.encode(blind, long, net.tokenizer, 16, split=True).rows.tolist() == encoded.rows.tolist()


def test_what_is_predicted_of_a_split_sentence_is_joined_again(long, small):
    net = multitask.build("tiny", small, max_length=16)
    encoded = batching.encode(long.train, long, net.tokenizer, 16, split=True)
    tags, gold = prediction.predict(net, encoded, long)
    assert gold == long.train["tags"][:]
    assert [len(row) for row in tags] == [len(row) for row in gold]


@pytest.mark.parametrize("weighting", [None, "parts"])
def test_split_sentences_are_trained_scored_and_weighed(long, small, weighting):
    suite = type(small)("long", {"topic_side": small["topic_side"], "word_class": long}, "f")
    rows = {"topic_side": np.arange(20), "word_class": np.arange(8)}
    options = {}
    if weighting:
        part = np.array([0, 0, 0, 0, 1, 1, 1, 1])
        options["weighting"] = Weighting((0.4, 0.3, 0.3), chunks=2, chunk_rows=4, parts={"word_class": part})
    phase = Phase("joint", rows, 1, Recipe(1e-3, 8), mixing="mixed", **options)
    for primary in ("topic_side", "word_class"):
        if weighting and primary == "word_class":
            continue
        held = np.arange(20, 40) if primary == "topic_side" else np.zeros(0, int)
        plan = Plan("tiny", (phase,), seeding.record(0), primary, held, max_length=16)
        training = training_cache.trained(plan, suite)
        sequences = len(batching.encode(long.train, long, multitask.build("tiny", suite).tokenizer, 16, split=True))
        assert training.ledgers[0].examples == 20 + sequences
        if primary == "word_class":
            assert [len(row) for row in training.predictions] == [len(row) for row in long.dev["tags"]]
    if weighting:
        assert training.updates[0]["names"] == ["topic_side", "word_class#0", "word_class#1"]


def test_a_first_word_without_a_piece_takes_no_other_word_s_tag():
    """An empty word has no piece, so that the first piece of a sentence may be the second word's."""
    labels = batching._first_pieces([None, 1, 1, 2, None], [5, 6, 7])
    assert labels.tolist() == [batching.IGNORE, 6, batching.IGNORE, 7, batching.IGNORE]
