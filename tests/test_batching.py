import numpy as np
import pytest
import torch

from auxlearn import batching, model


@pytest.fixture(scope="module")
def net(small):
    return model.build("tiny", small, seed=0)


def test_composition_is_that_of_the_published_setting():
    """8 tasks of 500 rows, batch 32: 16 batches a task, 128 an epoch, the last of a task holding 20 rows."""
    rng = np.random.default_rng(0)
    lengths = {f"t{k}": rng.integers(5, 60, 500) for k in range(8)}
    batches = batching.homogeneous(lengths, 32, rng)
    assert len(batches) == 128
    for task in lengths:
        own = [index for name, index in batches if name == task]
        assert len(own) == 16
        assert sorted(map(len, own)) == [20] + [32] * 15
        assert sorted(np.concatenate(own).tolist()) == list(range(500))


def test_order_of_tasks_and_rows_follow_the_seed():
    lengths = {"a": np.full(64, 9), "b": np.full(96, 9)}
    make = lambda seed: batching.homogeneous(lengths, 32, np.random.default_rng(seed))  # noqa: E731
    same = [n == m and (i == j).all() for (n, i), (m, j) in zip(make(1), make(1), strict=True)]
    assert all(same)
    orders = {tuple(name for name, _ in make(seed)) for seed in range(60)}
    assert len(orders) == 10  # every arrangement of two a's and three b's


def test_windows_sort_by_length_and_so_save_padding():
    lengths = {"a": np.random.default_rng(0).integers(5, 100, 3200)}
    size = lengths["a"]
    padded = lambda w: sum(  # noqa: E731
        size[i].max() * len(i) for _, i in batching.homogeneous(lengths, 32, np.random.default_rng(0), window=w)
    )
    assert padded(16) < 1.12 * size.sum()
    assert padded(1) > 1.7 * size.sum()


def test_batches_by_tokens_keep_the_budget():
    lengths = np.random.default_rng(0).integers(1, 128, 1000)
    batches = batching.by_tokens(lengths, 2048)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert all(len(b) * lengths[b].max() <= 2048 for b in batches)
    assert [len(b) for b in batching.by_tokens(np.array([5000, 10]), 100)] == [1, 1]


def test_collate_of_each_kind(net, small):
    for name in ("topic_side", "side_share", "word_class"):
        task = small[name]
        rows = [task.train[i] for i in range(6)]
        batch = batching.collate(rows, task, net)
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
    batch = batching.collate(rows, task, net)
    labels = batch["labels"][0].tolist()
    assert labels[1] == 1
    assert labels[2] == 2
    assert set(labels[3:]) == {batching.IGNORE}
    assert len(labels) > 5


def test_long_rows_are_cut_and_counted(small):
    task = small["topic_side"]
    net = model.build("tiny", small, max_length=12)
    encoded = batching.encode([task.train[i] for i in range(10)], task, net.tokenizer, net.max_length)
    assert encoded.lengths.max() == 12
    assert encoded.truncated == 10


def test_unlabelled_rows_are_no_one_s_loss(net, small):
    task = small["topic_side"]
    rows = [dict(task.train[0]), dict(task.train[1]) | {"label": None}]
    batch = batching.collate(rows, task, net)
    assert batch["labels"].tolist() == [rows[0]["label"], batching.IGNORE]
    net.eval()
    both, alone = (net(batching.collate(r, task, net)) for r in (rows, rows[:1]))
    loss = net.task_loss(batch, both.logits)
    assert torch.isclose(loss, net.task_loss(batching.collate(rows[:1], task, net), alone.logits), atol=1e-6)
