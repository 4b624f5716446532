"""Trainings are made once, and never taken for what they are not."""

import numpy as np
import pytest

from auxlearn.data import auxiliary_rows
from auxlearn.methods import controls, ranking
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.studies.parameters import MTL, TDProxy
from auxlearn.training import train, training_cache


@pytest.fixture
def proxy(small):
    (plan,), _ = proxy_plans.proxies(TDProxy(proxies="one", proxy_rows=20, watch_rows=10, epochs=1).resolved(), small)
    return plan, training_cache.trained(plan, small)


def test_a_training_is_run_once(proxy, small, monkeypatch):
    plan, first = proxy
    monkeypatch.setattr(train, "run", lambda *a: pytest.fail("trained again"))
    again = training_cache.trained(plan, small)
    assert again.manifest.key == first.manifest.key
    assert again.history.equals(first.history)


def test_a_damaged_training_is_run_again(proxy, small):
    plan, first = proxy
    first.manifest.path("history.json").write_text("{}")
    again = training_cache.trained(plan, small)
    assert again.history.equals(first.history)


def test_arms_draw_from_the_auxiliaries_only(planted):
    p = MTL(arm="random", n=500)
    chosen = controls.chosen(p, planted, 0, [])
    assert len(chosen) == 500
    assert "topic_side" not in set(chosen["task"])
    assert not chosen.duplicated(["task", "row"]).any()
    assert controls.chosen(p, planted, 0, []).equals(chosen)
    assert not controls.chosen(p, planted, 1, []).equals(chosen)
    some = controls.chosen(MTL(arm="random", n=50, auxiliaries=["look_alike"]), planted, 0, [])
    assert set(some["task"]) == {"look_alike"}
    assert controls.chosen(MTL(arm="single"), planted, 0, []) is None
    with pytest.raises(ValueError, match="rows asked for"):
        controls.chosen(MTL(arm="random", n=10**6), planted, 0, [])


def test_random_takes_tasks_in_proportion_to_size(planted):
    pool = auxiliary_rows.pool(planted, planted.auxiliaries("topic_side"))
    counts = np.zeros(len(pool["task"].unique()))
    for seed in range(20):
        drawn = ranking.table(pool, ranking.random_n(len(pool), 700, seed))
        counts += drawn["task"].value_counts().reindex(pool["task"].unique(), fill_value=0).to_numpy()
    assert counts / counts.sum() == pytest.approx(np.full(7, 1 / 7), abs=0.02)
