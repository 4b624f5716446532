"""A pass over the pool is made once, goes on where it stopped, and is the same in several processes."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from auxlearn.data import batch_order, batching
from auxlearn.errors import InputError
from auxlearn.methods import ranking
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.models import multitask
from auxlearn.records import runs
from auxlearn.signals import pass_store, pool_pass, row_signals
from auxlearn.studies.parameters import TDProxy
from auxlearn.training import launch, prediction, training_cache

TARGETS = {"topic_side": np.arange(70, 80), "word_class": np.arange(6)}
EVERYTHING = {"reads": row_signals.READS, "targets": TARGETS}


@pytest.fixture(scope="module")
def tuned(planted, tmp_path_factory):
    """The small suite, a proxy's plan and its training, which every test finds in its own run folder."""
    suite = planted.capped(80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(tmp_path_factory.mktemp("proxy")))
        p = TDProxy(proxies="one", proxy_rows=20, watch_rows=10, epochs=1).resolved()
        (plan,), _ = proxy_plans.proxies(p, suite, 0)
        training = training_cache.trained(plan, suite)
    return suite, plan, training.manifest


@pytest.fixture
def passes(monkeypatch):
    """The rows of every forward pass from here on."""
    sizes, real = [], multitask.MultiTaskModel.forward

    def forward(self, batch, *args, **more):
        sizes.append(len(batch["input_ids"]))
        return real(self, batch, *args, **more)

    monkeypatch.setattr(multitask.MultiTaskModel, "forward", forward)
    return sizes


@pytest.fixture
def proxy(tuned, runs_folder):
    suite, plan, training = tuned
    shutil.copytree(training.folder.parent.parent, runs_folder)
    return suite, plan, runs.load("train", training.key)


@pytest.fixture
def score(proxy):
    """A pass of the proxy; `anew` forgets that it is finished."""
    suite, plan, training = proxy

    def run_pass(anew=False, processes=1, **options):
        if anew:
            for file in (runs.runs_root() / "score").glob("*/manifest.json"):
                file.unlink()
        return pass_store.scored(training, replace(plan, processes=processes), suite, **options)

    return run_pass


def test_the_pass_reads_every_row_of_every_task(proxy, score):
    suite, plan, training = proxy
    store = score()
    total = sum(len(task.train) for task in suite.values())
    assert store.logits.shape == (total, len(suite))
    assert store.features.shape == (total, 64)
    assert (store.loss, store.importance, store.dots, store.squares) == (None, {}, None, None)
    assert store.rows.groupby("task", sort=False).size().to_dict() == {n: len(t.train) for n, t in suite.items()}
    net = pass_store.load_model(training, plan, suite)
    task = suite["away_topic"]
    at = store.rows.index[(store.rows["task"] == "away_topic") & (store.rows["row"] == 7)][0]
    alone = net(multitask.collate([task.train[7]], task, net))
    assert store.logits[at] == pytest.approx(alone.discriminator[0].detach().numpy(), abs=1e-5)
    assert store.manifest.ledger[0]["examples"] == total
    assert store.manifest.ledger[0]["steps"] == 0


def test_a_store_of_forward_readings_is_bit_for_bit_the_forward_pass(proxy, score):
    suite, plan, training = proxy
    store, net = score(), pass_store.load_model(training, plan, suite)
    for name, task in suite.items():
        at = store.rows.index[store.rows["task"] == name].to_numpy()
        encoded = batching.encode(task.train, task, net.tokenizer, net.max_length)
        for index, output in prediction.outputs(net, encoded, task):
            assert np.array_equal(store.logits[at[index]], output.discriminator.numpy())
            assert np.array_equal(store.features[at[index]], output.features.numpy().astype(np.float16))


def test_a_store_holds_what_was_asked(proxy, score):
    suite, plan, training = proxy
    whole, plain = score(**EVERYTHING), score()
    assert whole.manifest.key != plain.manifest.key
    assert whole.logits == pytest.approx(plain.logits, abs=1e-5)
    assert set(whole.importance) == {"gate", "kv_rows", "kv_columns"}
    net, task = pass_store.load_model(training, plan, suite), suite["side_share"]
    probe = row_signals.targets(net, suite, TARGETS)
    batch = multitask.collate([task.train[i] for i in (3, 41)], task, net)
    alone = row_signals.read(net, batch, row_signals.READS, probe=probe)
    at = whole.rows.index[(whole.rows["task"] == "side_share") & whole.rows["row"].isin([3, 41])].to_numpy()
    columns = whole.importance | {"loss": whole.loss, "dots": whole.dots, "squares": whole.squares}
    for name, values in columns.items():
        assert values.dtype == np.float32
        assert len(values) == len(whole.rows)
        assert values[at] == pytest.approx(alone[name].numpy(), rel=1e-3, abs=1e-6), name
    assert whole.dots.shape[1] == 2
    assert whole.manifest.ledger[0]["flops"] > 2 * plain.manifest.ledger[0]["flops"]
    assert score(**EVERYTHING | {"reads": row_signals.READS[::-1]}).manifest.key == whole.manifest.key
    fewer = score(reads=["loss"])
    assert (fewer.logits, fewer.features) == (None, None)
    assert fewer.loss == pytest.approx(whole.loss, rel=1e-4, abs=1e-6)


def test_a_finished_pass_is_read_and_not_made(score, passes):
    first = score()
    count = len(passes)
    again = score()
    assert len(passes) == count > 0
    assert np.array_equal(first.logits, again.logits)
    again.logits[:] = 0  # a reader's own copy
    assert np.array_equal(score().logits, first.logits)
    assert len(passes) == count


def test_a_pass_takes_the_threads_that_the_plan_gives_it(proxy, monkeypatch):
    suite, plan, training = proxy
    counts = []
    monkeypatch.setattr(torch, "set_num_threads", counts.append)
    pass_store.scored(training, replace(plan, threads=3), suite, only={"topic_side": np.arange(2)})
    assert counts == [3]


@pytest.mark.parametrize("options", [{}, EVERYTHING], ids=["forward", "everything"])
def test_an_interrupted_pass_goes_on_where_it_stopped(proxy, score, passes, monkeypatch, options):
    """Killed in the fifth of 24 shards, between two of its batches."""
    suite = proxy[0]
    monkeypatch.setattr(pool_pass, "SHARD", 32)
    monkeypatch.setattr(batch_order, "TOKEN_BUDGET", 512)
    whole = score(**options)
    bytes_of, rows = whole.manifest.outputs, list(passes)
    shards = [min(32, n - i) for n in (len(t.train) for t in suite.values()) for i in range(0, n, 32)]
    assert sum(rows) == sum(shards) + sum(map(len, options.get("targets", {}).values()))
    left = sum(shards[4:]) + sum(rows) - sum(shards)  # targets are measured again

    class Killed(BaseException):
        pass

    real, begun = pool_pass.PoolPass.fill, []

    def fill(self, shard, net, task, read, *rest):
        begun.append(shard)

        def dies(encoded, task, ledger):
            for number, block in enumerate(read(encoded, task, ledger)):
                if len(begun) == 5 and number == 1:
                    raise Killed
                yield block

        real(self, shard, net, task, dies, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(pool_pass.PoolPass, "fill", fill)
        with pytest.raises(Killed):
            score(anew=True, **options)
    assert runs.read("score", whole.manifest.key)[0] == "interrupted"
    passes.clear()
    again = score(**options)
    assert sum(passes) == left
    assert again.manifest.outputs == bytes_of
    assert sorted(p.name for p in again.manifest.folder.iterdir()) == sorted([".lock", "manifest.json", *bytes_of])


def test_what_other_code_made_is_not_gone_on_from(score, passes):
    whole = score()
    np.save(whole.manifest.path("logits.npy"), np.zeros(3))  # altered: the run is damaged
    (whole.manifest.folder / "scores.npz").write_bytes(b"of old")
    rows = sum(passes)
    again = score()
    assert sum(passes) == 2 * rows
    assert again.manifest.outputs == whole.manifest.outputs
    assert not (whole.manifest.folder / "scores.npz").exists()


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    "options", [pytest.param({}, id="forward", marks=pytest.mark.slow), pytest.param(EVERYTHING, id="everything")]
)
def test_two_processes_give_the_bytes_of_one(score, monkeypatch, options):
    """Also where one process had begun the pass: the two share what is left."""
    one = score(**options)
    bytes_of, logits = one.manifest.outputs, np.array(one.logits)
    filled, real = [], pool_pass.PoolPass.fill

    def fill(self, *args):
        if len(filled) == 1:
            raise KeyboardInterrupt
        filled.append(real(self, *args))

    with monkeypatch.context() as patch:
        patch.setattr(pool_pass.PoolPass, "fill", fill)
        with pytest.raises(KeyboardInterrupt):
            score(anew=True, **options)
        two = score(processes=2, **options)  # were a shard made here, it would be interrupted again
    assert two.manifest.key == one.manifest.key
    assert two.manifest.outputs == bytes_of
    assert two.manifest.ledger[0]["examples"] >= len(two.rows)
    assert not (two.manifest.folder / launch.LOG).exists()
    chosen = [ranking.top_n(values[:, 0], 100, seed=0) for values in (logits, two.logits)]
    assert np.array_equal(*chosen)


@pytest.mark.timeout(300)
def test_an_error_in_a_process_is_the_same_clear_error(proxy, score, tmp_path):
    from safetensors.torch import load_file, save_file

    suite, plan, training = proxy
    weights = load_file(training.path("model.safetensors"))
    weights["heads.word_class.weight"] = torch.full_like(weights["heads.word_class.weight"], torch.inf)
    save_file(weights, tmp_path / "model.safetensors")
    broken = runs.Manifest(training.data | {"key": "broken"}, tmp_path)
    for processes in (1, 2):
        with pytest.raises(InputError, match="predictions for 'word_class' are not finite"):
            pass_store.scored(broken, replace(plan, processes=processes), suite)


def test_what_cannot_be_asked_is_refused_before_anything_runs(score, passes):
    for options, words in (
        ({"reads": ["grads"]}, "'grads' cannot be read"), ({"reads": ["products"]}, "name rows of one task"),
        ({"targets": TARGETS}, "nothing that is read needs them"),
        ({"only": {"topic_side": np.arange(0)}}, "names no row"), ({"only": {"x": np.arange(3)}}, "x is no task"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=words):
            score(**options)
    assert not passes
