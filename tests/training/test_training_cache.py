"""Trainings are made once, and never taken for what they are not."""

import numpy as np
import pytest

from auxlearn.data import auxiliary_rows
from auxlearn.methods import ranking
from auxlearn.methods.context import Context
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.studies.parameters import MTL, TDProxy
from auxlearn.training import train, training_cache


@pytest.fixture
def proxy(small):
    p = TDProxy(proxies="one", proxy_rows=20, watch_rows=10, epochs=1).resolved()
    (plan,), _ = proxy_plans.proxies(p, small, 0)
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
    def rows(seed=0, **given):
        p = MTL(arm=given.pop("arm", "random"), **{"n": 500} | given)
        asked = Context(planted, p, seed)
        return p.method.select(asked, asked.cell, p.options(p.method)).rows

    chosen = rows()
    assert len(chosen) == 500
    assert "topic_side" not in set(chosen["task"])
    assert not chosen.duplicated(["task", "row"]).any()
    assert rows().equals(chosen)
    assert not rows(seed=1).equals(chosen)
    assert set(rows(n=50, auxiliaries=["look_alike"])["task"]) == {"look_alike"}
    assert rows(arm="single") is None
    with pytest.raises(ValueError, match="rows asked for"):
        rows(n=10**6)


def test_random_takes_tasks_in_proportion_to_size(planted):
    pool = auxiliary_rows.pool(planted, planted.auxiliaries("topic_side"))
    counts = np.zeros(len(pool["task"].unique()))
    for seed in range(20):
        drawn = ranking.table(pool, ranking.random_n(len(pool), 700, seed))
        counts += drawn["task"].value_counts().reindex(pool["task"].unique(), fill_value=0).to_numpy()
    assert counts / counts.sum() == pytest.approx(np.full(7, 1 / 7), abs=0.02)
