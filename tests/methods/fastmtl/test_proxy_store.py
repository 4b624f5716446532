"""Stores: every row of the pool is scored once, by a proxy that was not drawn from its half."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from auxlearn.data import batching
from auxlearn.methods.fastmtl import proxy_plans, proxy_store
from auxlearn.models import multitask
from auxlearn.signals import pass_store
from auxlearn.studies.parameters import TDProxy
from auxlearn.training import training_cache

ROWS = 20  # rows a task and proxy


def made(planted, folder, proxies):
    """The small suite's proxies, their trainings, folds and store, in a run folder of their own."""
    suite = planted.capped(80)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(folder))
        p = TDProxy(proxies=proxies, proxy_rows=ROWS, watch_rows=10, epochs=1).resolved()
        made, folds = proxy_plans.proxies(p, suite, 0)
        trainings = [training_cache.trained(plan, suite) for plan in made]
        store = proxy_store.score(made, trainings, folds, suite)
    return SimpleNamespace(suite=suite, plans=made, trainings=trainings, folds=folds, store=store)


@pytest.fixture(scope="module")
def crossfit(planted, tmp_path_factory):
    return made(planted, tmp_path_factory.mktemp("crossfit"), "crossfit")


@pytest.fixture(scope="module")
def one(planted, tmp_path_factory):
    return made(planted, tmp_path_factory.mktemp("one"), "one")


@pytest.mark.parametrize("kind", ["crossfit", "one"])
def test_every_row_is_scored_once_in_the_order_of_the_suite(kind, request):
    done = request.getfixturevalue(kind)
    rows, suite = done.store.rows, done.suite
    wanted = [(name, row) for name, task in suite.items() for row in range(len(task.train))]
    assert list(zip(rows["task"], rows["row"], strict=True)) == wanted
    assert rows["row_id"].tolist() == [i for task in suite.values() for i in task.train["row_id"][:]]
    assert done.store.logits.shape == (len(wanted), len(suite))
    assert done.store.features.shape == (len(wanted), 64)
    assert done.store.ids(suite).tolist() == np.repeat(np.arange(len(suite)), 80).tolist()


def test_of_two_proxies_each_scores_the_half_that_it_was_not_drawn_from(crossfit):
    rows = crossfit.store.rows
    assert sorted(rows["proxy"].unique()) == [0, 1]
    for name, part in rows.groupby("task"):
        assert (part["proxy"].to_numpy() == 1 - crossfit.folds[str(name)]).all()
        for fold, plan in enumerate(crossfit.plans):
            sample = plan.phases[0].rows[name]
            assert len(sample) == ROWS
            assert (part["proxy"].to_numpy()[sample] == 1 - fold).all()  # the other proxy scores what this one saw
    assert not rows["in_proxy"].any()
    assert sum(ledger.examples for ledger in crossfit.store.ledgers()) == len(rows)


def test_a_single_proxy_marks_its_own_rows(one):
    rows = one.store.rows
    assert set(rows["proxy"]) == {0}
    for name, part in rows.groupby("task"):
        assert part.loc[part["in_proxy"], "row"].tolist() == one.plans[0].phases[0].rows[name].tolist()
        assert part["in_proxy"].sum() == ROWS


@pytest.mark.parametrize("kind", ["crossfit", "one"])
def test_logits_are_those_of_the_proxy_that_a_row_names(kind, request):
    """Against a forward pass of each row alone, by the proxy it names and, of two, by the other."""
    done = request.getfixturevalue(kind)
    nets = [
        pass_store.load_model(training.manifest, plan, done.suite)
        for plan, training in zip(done.plans, done.trainings, strict=True)
    ]
    some = done.store.rows.groupby(["task", "proxy"]).sample(3, random_state=1)
    assert len(some) == 3 * len(done.suite) * len(nets)
    for at, row in some.iterrows():
        task = done.suite[row["task"]]
        with torch.no_grad():
            outs = [net(multitask.collate([task.train[row["row"]]], task, net)) for net in nets]
        own = outs[row["proxy"]]
        assert done.store.logits[at] == pytest.approx(own.discriminator[0].numpy(), abs=1e-5)
        assert done.store.features[at] == pytest.approx(own.features[0].numpy(), abs=2e-3)  # float16
        assert row["length"] == len(batching.encode([task.train[row["row"]]], task, nets[0].tokenizer).ids)
        if len(nets) == 2:
            other = outs[1 - row["proxy"]].discriminator[0].numpy()
            assert np.abs(done.store.logits[at] - other).max() > 1e-3


@pytest.mark.parametrize("kind", ["crossfit", "one"])
def test_candidates_are_the_pool_with_each_row_s_own_logits(kind, request):
    done = request.getfixturevalue(kind)
    mask = {name: np.arange(80) % 4 > 0 for name in done.suite.names}
    names = ["look_alike", "side_share"]  # not the order of the suite
    assert names != [n for n in done.suite.names if n in names]
    pool, logits = proxy_store.candidates(done.store, done.suite, names, mask)
    assert pool["task"].tolist() == ["look_alike"] * 80 + ["side_share"] * 80
    assert pool["row"].tolist() == [*range(80), *range(80)]
    assert pool["usable"].tolist() == [*mask["look_alike"], *mask["side_share"]]
    for name in names:
        mine, theirs = pool["task"] == name, done.store.rows["task"] == name
        assert (logits[mine] == done.store.logits[theirs]).all()
        for column in ("row_id", "proxy", "in_proxy"):
            assert pool.loc[mine, column].tolist() == done.store.rows.loc[theirs, column].tolist()
    # As 03 has it: what may be chosen. A single proxy's rows may not.
    eligible = pool["usable"] & ~pool["in_proxy"]
    samples = done.plans[0].phases[0].rows if kind == "one" else {name: [] for name in names}
    assert eligible.sum() == sum(mask[n].sum() - mask[n][samples[n]].sum() for n in names)


def test_candidates_are_all_usable_unless_told(one):
    pool, _ = proxy_store.candidates(one.store, one.suite, ["look_alike"])
    assert pool["usable"].all()
