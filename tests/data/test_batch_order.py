import itertools

import numpy as np
import pytest

from auxlearn.data import batch_order


def test_composition_is_that_of_the_published_setting():
    """8 tasks of 500 rows, batch 32: 16 batches per task, 128 per epoch."""
    rng = np.random.default_rng(0)
    lengths = {f"t{k}": rng.integers(5, 60, 500) for k in range(8)}
    batches = batch_order.homogeneous(lengths, 32, rng)
    assert len(batches) == 128
    for task in lengths:
        own = [index for name, index in batches if name == task]
        assert len(own) == 16
        assert sorted(map(len, own)) == [31] * 12 + [32] * 4
        assert sorted(np.concatenate(own).tolist()) == list(range(500))


def test_order_of_tasks_and_rows_follow_the_seed():
    lengths = {"a": np.full(64, 9), "b": np.full(96, 9)}
    make = lambda seed: batch_order.homogeneous(lengths, 32, np.random.default_rng(seed))  # noqa: E731
    same = [n == m and (i == j).all() for (n, i), (m, j) in zip(make(1), make(1), strict=True)]
    assert all(same)
    orders = {tuple(name for name, _ in make(seed)) for seed in range(60)}
    assert len(orders) == 10  # every arrangement of two a's and three b's


def test_windows_sort_by_length_and_so_save_padding():
    lengths = {"a": np.random.default_rng(0).integers(5, 100, 3200)}
    size = lengths["a"]
    padded = lambda w: sum(  # noqa: E731
        size[i].max() * len(i) for _, i in batch_order.homogeneous(lengths, 32, np.random.default_rng(0), window=w)
    )
    assert padded(16) < 1.35 * size.sum()
    assert padded(1) > 1.7 * size.sum()


def _again(lengths, epochs):
    """Return how often two rows that share a batch share one in the next epoch too."""
    size, met, again = len(lengths), 0, 0
    shared = []
    for seed in range(epochs):
        batch = np.empty(size, int)
        for number, (_, rows) in enumerate(batch_order.homogeneous({"a": lengths}, 32, np.random.default_rng(seed))):
            batch[rows] = number
        shared.append(batch[:, None] == batch[None, :])
    for before, after in itertools.pairwise(shared):
        met, again = met + before.sum() - size, again + (before & after).sum() - size
    return again / met


@pytest.mark.parametrize(("rows", "most", "sorted_rows"), [(100, 0.7, 0.9), (300, 0.4, 0.85), (1000, 0.15, 0.25)])
def test_rows_of_a_small_task_meet_other_rows_in_the_next_epoch(rows, most, sorted_rows, monkeypatch):
    lengths = np.exp(np.random.default_rng(0).normal(np.log(40), 0.45, rows)).astype(int)
    assert _again(lengths, 6) < most
    monkeypatch.setattr(batch_order, "JITTER", 0.0)
    assert _again(lengths, 6) > sorted_rows


@pytest.mark.parametrize(("rows", "sizes"), [(33, [16, 17]), (32, [32]), (100, [25] * 4), (1, [1]), (65, [21, 22, 22])])
def test_no_batch_is_so_short_that_its_rows_weigh_more(rows, sizes):
    lengths = {"a": np.arange(5, 5 + rows), "b": np.zeros(0, int)}
    batches = batch_order.homogeneous(lengths, 32, np.random.default_rng(0))
    assert sorted(len(index) for _, index in batches) == sizes
    assert {name for name, _ in batches} == {"a"}


def test_batches_by_tokens_keep_the_budget():
    lengths = np.random.default_rng(0).integers(1, 128, 1000)
    batches = batch_order.by_tokens(lengths, 2048)
    assert sorted(np.concatenate(batches).tolist()) == list(range(1000))
    assert all(len(b) * lengths[b].max() <= 2048 for b in batches)
    assert [len(b) for b in batch_order.by_tokens(np.array([5000, 10]), 100)] == [1, 1]


def test_rows_meet_others_in_each_epoch():
    """Rows are shuffled before they are cut, tasks of mixed batches with them: 256 rows, windows of 64."""
    lengths = {"a": np.full(128, 9), "b": np.full(128, 9)}
    batches = {}
    for seed in (0, 1):
        pure = batch_order.homogeneous(lengths, 16, np.random.default_rng(seed), window=4)
        mixed = batch_order.mixed(lengths, 16, np.random.default_rng(seed), window=4)
        batches[seed] = [
            {frozenset(rows.tolist()) for name, rows in pure if name == "a"},
            {frozenset(rows.tolist()) for batch in mixed for name, rows in batch if name == "a"},
        ]
        assert all({name for name, _ in batch} == {"a", "b"} for batch in mixed)
    assert not batches[0][0] & batches[1][0]
    assert not batches[0][1] & batches[1][1]
    assert all(max(rows) - min(rows) > 32 for rows in batches[0][0])


def test_mixed_batches_are_those_of_all_rows_as_one_task():
    lengths = {"a": np.arange(5, 40), "b": np.arange(30, 9, -1)}
    mixed = batch_order.mixed(lengths, 8, np.random.default_rng(0))
    together = {"": np.concatenate(list(lengths.values()))}
    as_one = batch_order.homogeneous(together, 8, np.random.default_rng(0))
    start = {"a": 0, "b": 35}
    assert [sorted(start[name] + row for name, rows in batch for row in rows) for batch in mixed] == [
        sorted(rows) for _, rows in as_one
    ]
