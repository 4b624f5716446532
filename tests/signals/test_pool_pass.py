"""A pass on disk: shards land in their place, what is done is kept, what is half done is not, memory stays flat."""

import tracemalloc

import numpy as np
import pytest

from auxlearn.cost import Ledger
from auxlearn.records import runs
from auxlearn.signals import pool_pass


def begun(folder, rows, marks="marks"):
    work = pool_pass.PoolPass(folder, folder / "shards" / marks, rows)
    work.begin()
    return work


def values(shard, width=3):
    """Numbers that tell which row of which task they belong to."""
    base = shard.rows[:, None] + np.arange(width) / 8 + 1000 * int(shard.name[0])
    return {
        "features": base.astype(np.float16), "loss": base[:, 0].astype(np.float32),
        "gate": np.repeat(base[:, :, None], 2, 2).astype(np.float32), "lengths": shard.rows.astype(np.int32) + 1,
    }  # fmt: skip


@pytest.fixture
def rows(small, monkeypatch):
    monkeypatch.setattr(pool_pass, "SHARD", 32)
    names = list(small.names)
    return {names[0]: np.arange(80), names[1]: np.arange(0), names[2]: np.arange(5, 75)}


def test_shards_in_any_order_give_arrays_in_order(tmp_path, rows, small):
    work = begun(tmp_path, rows)
    assert [len(s.rows) for s in work.shards] == [32, 32, 16, 32, 32, 6]
    for shard in work.shards[::-1]:
        work.put(shard, values(shard), Ledger("scoring", examples=len(shard.rows)))
    assert not work.missing()
    files = work.finish(small)
    assert sorted(files) == ["features.npy", "gate.npy", "loss.npy", "rows.parquet"]
    for name in ("features", "loss", "gate"):
        expected = np.concatenate([values(s)[name] for s in work.shards])
        array = np.load(tmp_path / f"{name}.npy", allow_pickle=False)
        assert array.dtype == expected.dtype
        assert np.array_equal(array, expected)
    import pandas as pd

    table = pd.read_parquet(tmp_path / "rows.parquet")
    first, _, third = rows
    assert table["task"].tolist() == [first] * 80 + [third] * 70
    assert table["row"].tolist() == [*range(80), *range(5, 75)]
    assert table["length"].tolist() == [*range(1, 81), *range(6, 76)]
    assert table["row_id"].tolist() == small[first].train["row_id"][:] + small[third].train["row_id"][5:75]
    assert sum(ledger.examples for ledger in work.ledgers()) == 150
    work.clear()
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)


def test_what_is_done_stays_done_and_what_is_half_written_is_missing(tmp_path, rows, monkeypatch):
    work = begun(tmp_path, rows)
    work.put(work.shards[1], values(work.shards[1]), Ledger("scoring"))
    with monkeypatch.context() as patch:
        patch.setattr(pool_pass.runs, "write_json", lambda *a: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):  # its numbers are there, its mark is not
            work.put(work.shards[2], values(work.shards[2]), Ledger("scoring"))
    again = begun(tmp_path, rows)
    assert [s.name for s in again.missing()] == [s.name for i, s in enumerate(work.shards) if i != 1]
    assert np.array_equal(np.load(tmp_path / "loss.npy")[32:64], values(work.shards[1])["loss"])


def test_marks_without_their_arrays_or_of_another_pass_count_for_nothing(tmp_path, rows):
    work = begun(tmp_path, rows)
    for shard in work.shards[:3]:
        work.put(shard, values(shard), Ledger("scoring"))
    assert len(begun(tmp_path, rows).missing()) == 3
    (tmp_path / "gate.npy").unlink()
    assert len(begun(tmp_path, rows).missing()) == 6
    work.put(work.shards[0], values(work.shards[0]), Ledger("scoring"))
    np.save(tmp_path / "loss.npy", np.zeros(7, np.float32))
    assert len(begun(tmp_path, rows).missing()) == 6
    work.put(work.shards[0], values(work.shards[0]), Ledger("scoring"))
    (work.marks / "arrays.json").unlink()  # as a removal that was interrupted leaves it
    assert len(begun(tmp_path, rows).missing()) == 6
    work.put(work.shards[0], values(work.shards[0]), Ledger("scoring"))
    assert len(begun(tmp_path, rows, "made by other code").missing()) == 6
    assert len(begun(tmp_path, rows).missing()) == 6  # the other pass has cleared these


def test_numbers_of_another_kind_or_by_other_code_of_the_model_count_for_nothing(rows, runs_folder):
    run = runs.Run("score", "a" * 16, {}, "f" * 16, code_roots=("seeding",))
    work = pool_pass.PoolPass.of(run, rows, "trained by this")
    work.put(work.shards[0], values(work.shards[0]), Ledger("scoring"))
    assert len(pool_pass.PoolPass.of(run, rows, "trained by this").missing()) == 5
    np.save(run.folder / "loss.npy", np.load(run.folder / "loss.npy").astype(np.float64))
    work = pool_pass.PoolPass.of(run, rows, "trained by this")
    assert len(work.missing()) == 6
    work.put(work.shards[0], values(work.shards[0]), Ledger("scoring"))
    assert len(pool_pass.PoolPass.of(run, rows, "trained by that").missing()) == 6


def test_memory_does_not_grow_with_the_pool(tmp_path, monkeypatch, small):
    """32 shards of 512 KiB: 16 MiB on disk through a few shards' worth of memory."""
    monkeypatch.setattr(pool_pass, "SHARD", 256)
    name = small.names[0]
    work = begun(tmp_path, {name: np.arange(32 * 256) % 80})
    block = {"features": np.ones((256, 1024), np.float16), "lengths": np.ones(256, np.int32)}
    tracemalloc.start()
    try:
        for shard in work.shards:
            work.put(shard, block, Ledger("scoring"))
        work.finish(small)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (tmp_path / "features.npy").stat().st_size > 16 << 20
    assert peak < 4 << 20
