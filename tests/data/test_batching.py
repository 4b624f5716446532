from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset

from auxlearn import seeding
from auxlearn.data import batching
from auxlearn.errors import InputError
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


def test_what_was_cut_off_is_not_left_out_of_a_score(long, small):
    net = multitask.build("tiny", small, max_length=16)
    cut = batching.encode(long.dev, long, net.tokenizer, 16)
    lost = sum(map(len, long.dev["tags"])) - int(cut.firsts.sum())
    assert cut.lost == lost > 0
    with pytest.raises(InputError, match=rf"'word_class': {lost} words were cut off.*split=True"):
        prediction.predict(net, cut, long)


# --- words of which a tokenizer makes nothing ----------------------------------------------------------------------

VANISHING = ["\u200b", " ", "", "\u0301", "\x00"]


@pytest.mark.parametrize("word", VANISHING)
@pytest.mark.parametrize("at", [0, 1])
def test_a_word_that_vanishes_keeps_its_tag(net, small, word, at):
    task = small["word_class"]
    known = task.train[0]["tokens"][0]
    row = {"tokens": [known, known], "tags": [1, 2]}
    row["tokens"][at] = word
    encoded = batching.encode([row, {"tokens": [word], "tags": [0]}], task, net.tokenizer)
    unknown, usual = net.tokenizer.unk_token_id, net.tokenizer.convert_tokens_to_ids(known)
    assert encoded.ids[encoded.firsts].tolist() == [*((unknown, usual) if at == 0 else (usual, unknown)), unknown]
    assert encoded.labels[encoded.firsts].tolist() == [1, 2, 0]
    tags, gold = prediction.predict(net, encoded, task)
    assert gold == [[1, 2], [0]]
    assert [len(each) for each in tags] == [2, 1]


def test_words_without_tags_are_predicted_too(net, small):
    task = small["word_class"]
    rows = [dict(task.train[0]), dict(task.train[1]) | {"tags": None}]
    tags, gold = prediction.predict(net, batching.encode(rows, task, net.tokenizer), task)
    assert [len(each) for each in tags] == [len(row["tokens"]) for row in rows]
    assert gold == [rows[0]["tags"], [batching.IGNORE] * len(rows[1]["tokens"])]


def test_tags_that_are_too_few_are_an_error(net, small):
    with pytest.raises(InputError, match="'word_class': row 0 has 1 tags for 2"):
        batching.encode([{"tokens": ["a", "b"], "tags": [1]}], small["word_class"], net.tokenizer)


# --- rows and batches without labels -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["topic_side", "side_share", "word_class"])
def test_a_batch_without_labels_adds_nothing_to_the_loss(net, small, name):
    task = small[name]
    bare = multitask.collate([dict(task.train[i]) | {task.label: None} for i in range(3)], task, net)
    net.zero_grad()
    loss = net.task_loss(bare, net(bare).logits)
    loss.backward()
    assert loss.item() == 0
    assert all(p.grad is None or not p.grad.any() for p in net.parameters())
    # Beside labelled rows, alone in its part of a joined batch.
    other = multitask.collate([small["topic_side"].train[0]], small["topic_side"], net)
    net.eval()
    joined = batching.join([bare, other], net.pad_id)
    alone = net.task_loss(other, net(other).logits)
    assert torch.isclose(net.task_loss(joined, net(joined).logits), alone / 4, atol=1e-6)
    net.train()


def test_a_regression_s_rows_without_a_label_are_no_one_s_loss(net, small):
    task = small["side_share"]
    rows = [dict(task.train[0]), dict(task.train[1]) | {"label": None}]
    net.eval()
    both, alone = (multitask.collate(each, task, net) for each in (rows, rows[:1]))
    assert torch.isclose(net.task_loss(both, net(both).logits), net.task_loss(alone, net(alone).logits), atol=1e-6)
    net.train()


def test_a_batch_that_has_no_label_ends_no_training(small):
    """33 sentences, one of them empty, in batches of one: those of 32 are equally large, 17 and 16."""
    task = small["word_class"]
    rows = [dict(row) for row in task.train.select(range(32))]
    rows.append(rows[0] | {"tokens": [], "tags": []})
    data = Dataset.from_list(rows, features=task.train.features)
    suite = type(small)("odd", {"word_class": replace(task, train=data, dev=task.dev.select(range(20)))}, "f")
    phase = Phase("tune", {"word_class": np.arange(33)}, 1, Recipe(1e-3, 1))
    result = training_cache.trained(Plan("tiny", (phase,), seeding.record(0), "word_class"), suite)
    assert np.isfinite(result.steps["task_loss"]).all()
    assert (result.steps["task_loss"] == 0).sum() == 1
