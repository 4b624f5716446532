"""What a method is forecast to cost: at most, and about, what it costs when it is run; for every method and policy.

That counting a finished run's plans again gives its ledgers, is in tests/golden/test_counts.py.
"""

import re
from dataclasses import replace

import numpy as np
import pytest

import asking
from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.methods import context, forecasting, registry
from auxlearn.methods.base import Charge, Method, Search, Selection
from auxlearn.methods.fastmtl.options import TDProxy
from auxlearn.methods.gradts.options import GradTS
from auxlearn.models import multitask
from auxlearn.studies.parameters import MTL, TAWT
from auxlearn.training import counting, training_cache

# Fewer rows would be too few for trials to stop where they do in a study, and fewer rounds for a bandit to keep a task.
BOTH = {"size": "full", "rows": 0, "precision": "fp32", "threads": 1, "device": "cpu", "lr": 1e-3}
TRAINING = {"holdout": 0.2, "n": 60, "stage2_epochs": 2, "tune_epochs": 1}
BY_STEPS = {"steps": 12, "tune_steps": 4, "batch_size": 16}
OPTIONS = {
    "gradts": {"task_threshold": 0.1},
    "autosem": {"bandit_rounds": 60, "bandit_batches": 5, "ratio_trials": 3},
}


@pytest.fixture(scope="module")
def suite(planted):
    few = planted.capped(120)
    short = {name: replace(task, dev=task.dev.select(range(60))) for name, task in few.items()}
    return suites.Suite(few.name, short, f"{few.fingerprint}-60")


@pytest.fixture(scope="module")
def sizes(suite):
    net = multitask.build("tiny", suite)
    return forecasting.Sizes(counting.tokens(suite, net.tokenizer, 128), net.encoder.config, "measured")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture
def shared_runs(home, runs_folder, monkeypatch):
    """What several arms read is trained once."""
    monkeypatch.setenv("AUXLEARN_RUNS", str(home))


def arm_of(policy):
    return f"td_bce+{policy}" if registry.get(policy).by else policy


ARMS = [*registry.names(), *map(arm_of, registry.policies())]
# Of arms that differ in a loss or in where weights start, one each is enough every day.
TAIL = re.compile(r"_ce$|calibrated|normalised|power|share_(?!50)|null_|shuffled_|tawt_scored|^given|tawt_given")
SOME = [pytest.param(arm, marks=[pytest.mark.slow] if TAIL.search(arm) else []) for arm in ARMS]


def asked(name, suite):
    """An arm's parameters; trainings under a policy are by steps, which is faster."""
    given = [f"{task}=1" for task in suite.names]
    methods = OPTIONS | {policy: {"prior_given": given} for policy in ("given", "tawt_given", "null_given")}
    own = (
        {"stage2_epochs": 3}
        if name == "dwa"
        else BY_STEPS
        if name not in registry.names()
        else {"batch_size": 16}
        if name.startswith("autosem")
        else {}
    )
    return MTL(arm=name, methods=methods, seeds=[0], **BOTH | TRAINING | own).resolved()


def upstream(p, seed):
    """The runs that an arm may read."""
    proxy, heads = (
        {"proxy_rows": 20, "watch_rows": 10, "epochs": 1},
        {"tune_rows": 40, "importance_rows": 40, "epochs": 2},
    )
    made = [TDProxy(discriminator=kind, seeds=[seed], **BOTH | proxy) for kind in ("bce", "ce")]
    made += [GradTS(at=at, seeds=[seed], **BOTH | heads) for at in ("task", "proxy")]
    if p.arm.startswith("final_"):
        own = {name: value for name, value in (TRAINING | BY_STEPS).items() if name != "n"}
        made.append(TAWT(paradigm=p.arm.removeprefix("final_"), seeds=[seed], **BOTH | own))
    return [each.resolved() for each in made]


@pytest.mark.parametrize("name", SOME)
@pytest.mark.usefixtures("shared_runs")
def test_an_arm_costs_at_most_and_about_what_was_forecast(name, suite, sizes):
    p = asked(name, suite)
    seeds = (0, 1) if p.method.searches(p.options(p.method)) else (0,)  # how long a search goes on is luck
    spent = expected = 0.0
    for seed in seeds:
        charges = forecasting.arm(forecasting.SizedContext(sizes, p, seed, upstream(p, seed)))
        run = context.Context(suite, p, seed, upstream(p, seed))
        _, plan = context.select(run)
        training = training_cache.trained(plan, suite)
        ledgers = [*run.needed(), *run.searched(training.manifest.key), *training.ledgers]
        one = sum(ledger.flops for ledger in ledgers)
        assert one <= sum(charge.most for charge in charges)
        assert {ledger.stage for ledger in ledgers if ledger.flops} <= {charge.stage for charge in charges}
        spent, expected = spent + one, expected + sum(charge.expected for charge in charges)
    assert expected == pytest.approx(spent, rel=0.25)


# --- what a forecast needs of a method -------------------------------------------------------------------------------


class Longest(Method):
    """A method of someone else: it says nothing of what it will cost."""

    name, title = "longest", "the n longest rows"

    def select(self, context, cell, options):
        rows, allowed = context.whole_pool()
        length = []
        for task, row in zip(rows["task"], rows["row"], strict=True):
            texts = (context.suite[task].train[row][column] for column in context.suite[task].inputs)
            length.append(sum(len(text.split() if isinstance(text, str) else text) for text in texts))
        order = np.argsort(np.where(allowed, length, -1))[::-1]
        return Selection(rows.iloc[order[: cell.n]])


class Trying(Longest):
    """Another: it trains twice before it chooses."""

    name = "trying"

    def searches(self, options):
        return True

    def forecast_search(self, context, cell, options):
        return [Search("trial", context.trial_plan(context.mixed(cell.n)), 2, 2)]


@pytest.fixture
def toys(monkeypatch):
    registry.names()
    for toy in (Longest(), Trying()):
        monkeypatch.setitem(registry._METHODS, toy.name, toy)


def forecast(sizes, name, seed=0, read=(), **given):
    return forecasting.arm(forecasting.SizedContext(sizes, asking.arm(name, **BOTH | TRAINING | given), seed, read))


def by_stage(charges):
    return {charge.stage: charge.expected for charge in charges}


def total(charges, name="expected"):
    return sum(getattr(charge, name) for charge in charges)


@pytest.mark.usefixtures("shared_runs", "toys")
def test_a_method_that_says_how_it_chooses_has_a_forecast(suite, sizes):
    """It is that of n rows mixed as the pool is; even the longest rows cost no more than they can."""
    p = asking.arm("longest", auxiliaries=["topic_name", "look_alike"], **BOTH | TRAINING)
    charges = forecasting.arm(forecasting.SizedContext(sizes, p, 0))
    random = forecast(sizes, "random", auxiliaries=["topic_name", "look_alike"])
    assert by_stage(charges) == by_stage(random)
    assert list(by_stage(charges)) == ["stage2", "tune"]
    _, plan = context.select(context.Context(suite, p, 0))
    spent = sum(ledger.flops for ledger in training_cache.trained(plan, suite).ledgers)
    assert total(charges) < spent <= total(charges, "most")
    assert total(charges) == pytest.approx(spent, rel=0.25)


@pytest.mark.usefixtures("toys")
def test_a_search_of_someone_else_is_charged(sizes):
    """One of its trainings is the arm's own, if that is judged on held-out rows too."""
    alone = total(forecast(sizes, "random"))
    assert total(forecast(sizes, "trying")) == pytest.approx(2 * alone)
    charges = forecast(sizes, "trying", choose="last")
    trials = sum(charge.expected for charge in charges if charge.stage == "trial")
    assert trials == pytest.approx(2 * alone)
    assert total(charges) > 2.9 * alone
    weighed = forecast(sizes, "trying+joint")
    assert sum(charge.expected for charge in weighed if charge.stage == "trial") == pytest.approx(2 * alone)


# --- charges ---------------------------------------------------------------------------------------------------------


def units(charges, stage=None):
    return {charge.unit for charge in charges if stage in (None, charge.stage)}


@pytest.mark.usefixtures("toys")
def test_trainings_on_other_rows_are_not_one_though_they_cost_the_same(sizes):
    named = ("random", "longest", "td_bce", "td_ce", "cie_bce", "gradts_thres", "gradts_proxy", "autosem_p1")
    seen = [units(forecast(sizes, name), "stage2") for name in named]
    assert len(set.union(*seen)) == len(named)
    assert units(forecast(sizes, "random", n=40), "stage2").isdisjoint(seen[0])
    assert units(forecast(sizes, "random", seed=1), "stage2").isdisjoint(seen[0])
    assert units(forecast(sizes, "random"), "stage2") == seen[0]
    other = [TDProxy(epochs=7, **BOTH).resolved()]
    assert units(forecast(sizes, "td_bce", read=other), "stage2").isdisjoint(seen[2])
    assert units(forecast(sizes, "gradts_thres", task_threshold=0.2), "stage2").isdisjoint(seen[5])


def test_trainings_of_all_rows_are_one_whoever_asks(sizes):
    alone = forecast(sizes, "single")
    assert units(alone) == units(forecast(sizes, "single", n=9))
    assert units(forecast(sizes, "all_data")) == units(forecast(sizes, "all_data", n=9))
    arm = forecast(sizes, "tawt_joint", seeds=[0])
    epochs = {name: value for name, value in TRAINING.items() if name != "n"} | {"steps": 0}
    p = TAWT(paradigm="joint", methods={}, seeds=[0], **BOTH | epochs).resolved()
    own = forecasting.SizedContext(sizes, p, 0)
    from_05 = own.trained(registry.maker("final_weights").plan(own, p, 0))
    assert units(from_05) == units(arm)
    final = forecast(sizes, "final_joint", read=[p])
    assert units(arm) < units(final, "weighting")
    assert sum(charge.expected for charge in final if charge.stage == "weighting") == total(arm)
    assert units(final, "joint").isdisjoint(units(arm) | units(forecast(sizes, "joint")))  # its weights are not known


def test_artifacts_are_one_whoever_reads_them(sizes):
    ranked, control, other = (forecast(sizes, name) for name in ("td_bce", "cie_bce", "td_ce"))
    for stage in ("proxy", "scoring"):
        assert units(ranked, stage) == units(control, stage)
        assert units(ranked, stage).isdisjoint(units(other, stage))
    thres, trial, fine = (forecast(sizes, name) for name in ("gradts_thres", "gradts_trial", "gradts_fg"))
    for stage in ("task_tuning", "importance"):
        assert units(thres, stage) == units(trial, stage) == units(fine, stage)
    assert units(trial, "trial") == units(fine, "trial")
    read = [GradTS(dropout=True, **BOTH).resolved()]
    left_on = forecast(sizes, "gradts_thres", read=read)
    assert units(left_on, "importance").isdisjoint(units(thres, "importance"))
    assert total(left_on) == total(forecast(sizes, "gradts_thres", read=[GradTS(**BOTH).resolved()]))
    proxy = forecast(sizes, "gradts_proxy")
    assert units(proxy, "proxy") == units(ranked, "proxy")
    assert units(proxy, "importance").isdisjoint(units(thres, "importance"))
    first, both = forecast(sizes, "autosem_p1"), forecast(sizes, "autosem")
    assert units(first, "bandit") == units(both, "bandit")
    assert units(both, "trial").isdisjoint(units(forecast(sizes, "autosem", ratio_highest=5), "trial"))


def test_what_two_arms_share_counts_once_with_what_either_spares():
    """A search of four trainings, one of which is the first arm's own; the second has none of them."""
    first, second = Charge("a", "trial", 30, 60, (10, 10)), Charge("a", "trial", 40, 70)
    both = Charge("a", "trial", 30, 60, (10, 10))
    assert first.shared_with(second) == both
    assert second.shared_with(first) == both
    assert first.shared_with(first) == first
    assert second.shared_with(Charge("a", "trial", 50, 60)) == Charge("a", "trial", 50, 70)


def test_a_mixture_is_exactly_n_rows_of_the_pool(sizes):
    told = forecasting.SizedContext(sizes, asking.arm("random", auxiliaries=["topic_name", "look_alike"], **BOTH), 0)
    pool = sum(sizes.rows[name] for name in ("topic_name", "look_alike"))
    for n in (1, 7, 100, pool):
        rows = told.mixed(n)
        counts = rows["task"].value_counts()
        assert len(rows) == n
        assert counts.max() - counts.min() <= 1 or n == 1  # both tasks are as large
        assert all(own["row"].tolist() == list(range(len(own))) for _, own in rows.groupby("task"))
    with pytest.raises(InputError, match=f"n: {pool + 1} rows asked for, but the pool has {pool}"):
        told.mixed(pool + 1)


def test_weights_that_may_find_nothing_to_weigh_cost_no_more_than_that(sizes):
    """Where a search for tasks finds none the primary is trained alone, with or without a policy."""
    for name in ("gradts_thres", "gradts_thres+joint"):
        p = asking.arm(name, **BOTH | TRAINING | {"tune_epochs": 9})
        told = forecasting.SizedContext(sizes, p, 0)
        nothing = told.trained(p.method.plan(told, told.cell, Selection(), p.options(p.method)))
        own = [charge for charge in forecasting.arm(told) if charge.stage in ("stage2", "tune", "joint")]
        assert total(own, "most") >= total(nothing, "most") * (1 - 1e-9)
