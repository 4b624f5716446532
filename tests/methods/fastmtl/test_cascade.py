"""A cheap scorer in front of the proxy: what it finds of the proxy's choice, and what that costs."""

import numpy as np
import pytest

from auxlearn import cost
from auxlearn.cost import Ledger
from auxlearn.errors import InputError
from auxlearn.methods import ranking
from auxlearn.methods.fastmtl import cascade, proxy_plans, proxy_store
from auxlearn.models import multitask
from auxlearn.studies.parameters import TDProxy
from auxlearn.training import training_cache


def scorer(scores, exact=(), flops=0.0):
    mask = np.zeros(len(scores), bool)
    mask[list(exact)] = True
    return cascade.Scorer(np.asarray(scores, np.float32), mask, Ledger("cascade", flops=flops))


def test_recall_by_hand():
    """Ten rows, one not eligible; the cheap order swaps the second best with the worst."""
    full, eligible = np.arange(10, 0, -1.0), np.ones(10, bool)
    eligible[0] = False  # the highest score may not be chosen
    cheap = full.copy()
    cheap[[2, 9]] = cheap[[9, 2]]
    each = {"swapped": scorer(cheap), "same": scorer(full)}
    made = cascade.recall(full, each, 3, np.zeros(10, int), eligible, np.ones(10), costs=(0.1, 1 / 3, 5 / 9, 1))
    assert made["same"].tolist() == pytest.approx([0, 1, 1, 1])  # 0.1 of nine rows is none
    assert made["swapped"].tolist() == pytest.approx([0, 2 / 3, 2 / 3, 1])


def test_costs_add_up_by_hand():
    """Rows of unequal cost, two of them scored to fit to, and a scorer that has a price of its own: all are spent."""
    full = np.array([9.0, 8, 7, 6, 5, 4])
    price = np.array([4.0, 1, 2, 1, 1, 1])  # ten in all
    eligible = np.ones(6, bool)
    each = {"fitted": scorer(full, exact=[1, 5], flops=2.0)}  # 2 of its own, 2 for the rows it was fitted to
    made = cascade.recall(
        full, each, 3, np.zeros(6, int), eligible, price, costs=(0.3, 0.4, 0.7, 0.8, 0.9, 1.0)
    )["fitted"]  # fmt: skip
    assert np.isnan(made[0.3])
    assert made[0.4] == pytest.approx(1 / 3)  # the sampled row that is among the best needs no finding
    assert made[0.7] == pytest.approx(1 / 3)  # its first row is too dear
    assert made[0.8] == pytest.approx(2 / 3)
    assert made[0.9] == pytest.approx(2 / 3)
    assert made[1.0] == pytest.approx(1)
    spent = cascade.fixed_costs(each, price, eligible).loc["fitted"]
    assert (spent["own"], spent["exact"], spent["rows"]) == pytest.approx((0.2, 0.2, 2))


def test_a_scorer_that_runs_a_model_cannot_find_everything_at_the_cost_of_everything():
    full = np.arange(10, 0, -1.0)
    each = {"dear": scorer(-full, flops=4.0)}
    made = cascade.recall(full, each, 5, np.zeros(10, int), np.ones(10, bool), np.ones(10), costs=(0.5, 1.0))["dear"]
    assert made.tolist() == pytest.approx([0, 1 / 5])


def test_recall_is_compared_within_folds():
    """A fold whose scores are all higher takes no more than its half, in both rankings."""
    rng = np.random.default_rng(0)
    full, folds, ones = rng.normal(size=400), np.arange(400) % 2, np.ones(400, bool)
    each = {"shifted": scorer(full + 100 * folds), "noise": scorer(rng.normal(size=400))}
    made = cascade.recall(full, each, 40, folds, ones, np.ones(400), costs=(0.1, 0.5))
    assert made["shifted"].tolist() == [1, 1]
    assert made.loc[0.5, "noise"] == pytest.approx(0.5, abs=0.25)
    best = ranking.choose("global", full, 40, np.zeros(400, int), folds, 0, ones)
    assert len(best) == 40


def test_a_row_s_cost_is_that_of_its_own_length(small):
    config = multitask.build("tiny", small).encoder.config
    made = cascade.row_flops(config, np.array([7, 30, 7]))
    assert made[0] == made[2] < made[1]
    assert made.sum() == pytest.approx(cost.encoder_flops(config, [7, 30, 7], False))


@pytest.fixture(scope="module")
def scored(planted, tmp_path_factory):
    """Proxies of a small planted suite with their scores, as 03 reads them, and their run folder."""
    folder = tmp_path_factory.mktemp("cascade")
    suite = planted.capped(160)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(folder / "runs"))
        p = TDProxy(proxy_rows=40, watch_rows=10, epochs=2, keep_leaks=True).resolved()
        made, folds = proxy_plans.proxies(p, suite, 0)
        trainings = [training_cache.trained(plan, suite) for plan in made]
        store = proxy_store.score(made, trainings, folds, suite)
    return suite, proxy_store.Proxies(made, folds, trainings, store), folder


def scorers(scored, layers, seed=0):
    suite, proxies, _ = scored
    names = suite.auxiliaries("topic_side", [])
    pool, logits = proxy_store.candidates(proxies.store, suite, names)
    full, eligible = logits[:, suite.index("topic_side")], np.arange(len(pool)) % 10 > 0
    pool["score"] = full
    made, flops, read = cascade.scorers(suite, proxies, pool, "topic_side", eligible, 0.1, layers, seed)
    return pool, full, eligible, made, flops, read


def test_every_scorer_of_a_scored_pool(scored, monkeypatch):
    """What is fitted to the proxy's own scores finds most of its choice; costs are as stated; the same seed repeats."""
    monkeypatch.setenv("AUXLEARN_RUNS", str(scored[2] / "runs"))
    pool, full, eligible, made, flops, read = scorers(scored, [1])
    assert list(made) == ["words", "form", "distilled", "in rounds", "exit 1"]
    assert [m.stage for m in read] == ["early_exit", "early_exit"]  # one a proxy
    whole = flops[eligible].sum()
    drawn = made["distilled"].exact
    assert drawn.sum() == pytest.approx(0.1 * eligible.sum(), abs=2)
    assert not drawn[~eligible].any()
    assert (made["exit 1"].exact == drawn).all()
    assert not made["words"].exact.any()
    for name in ("words", "form", "distilled", "in rounds"):
        assert 0 < made[name].ledger.flops < 0.2 * whole
    layer = flops[eligible & ~drawn].sum() / 2  # one of two layers, of the rows that were not scored in full
    assert layer < made["exit 1"].ledger.flops < layer + 0.2 * whole
    curve = cascade.recall(full, made, 100, pool["proxy"].to_numpy(), eligible, flops, costs=(0.5, 0.9))
    assert curve.loc[0.5, "distilled"] > 0.8
    assert np.isnan(curve.loc[0.5, "exit 1"])
    assert curve.loc[0.9, "exit 1"] > 0.9
    *_, again, _, _ = scorers(scored, [1])
    other = scorers(scored, [], seed=1)[3]
    for name, each in made.items():
        assert np.array_equal(each.scores, again[name].scores)
        assert each.ledger.flops == again[name].ledger.flops
    assert not (other["distilled"].exact == drawn).all()
    assert list(other) == ["words", "form", "distilled", "in rounds"]


def test_a_pass_through_all_layers_is_no_early_exit(scored, monkeypatch):
    monkeypatch.setenv("AUXLEARN_RUNS", str(scored[2] / "runs"))
    with pytest.raises(InputError, match="exit_layers"):
        scorers(scored, [2])
