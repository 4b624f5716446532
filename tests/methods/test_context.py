"""What methods are given: data, artifacts and trainings, each made once and charged to the method that asked."""

import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from pydantic import Field

import asking
from auxlearn.cost import Ledger
from auxlearn.data import auxiliary_rows, usable_rows
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import context, ranking, registry
from auxlearn.methods.base import Artifact, Cell, Maker, Method, Need, Options, Selection, WeightPolicy
from auxlearn.records.manifests import Manifest
from auxlearn.studies.parameters import GradTS, Ranking, TDProxy, validate
from auxlearn.training import training_cache
from auxlearn.training.phases import Weighting
from auxlearn.training.shared_parameters import Common, Seeds

NAMES = ["topic_name", "look_alike"]


class Parts(Common):
    """Parameters of a maker's own, with no notebook behind it."""

    stage = "99_parts"

    seeds: Seeds = [0, 1]
    count: int = Field(3, ge=1)
    keep_leaks: bool = False


class PartsMaker(Maker):
    """Counts how often it is asked to make what."""

    artifact, Parameters = "parts", Parts

    def __init__(self):
        self.asked = []

    def make(self, asked, p, seed):
        self.asked.append((seed, p.count))
        manifest = Manifest({"stage": "parts", "key": f"{seed}-{p.count}", "ledger": []}, None)
        return Artifact(seed * 100 + p.count, [Ledger("parts", flops=float(p.count))], [manifest])


class TakerOptions(Options):
    count: int = 3
    """of the artifact"""


class Taker(Method):
    """n random rows, after an artifact was read and two sets of rows were tried."""

    name, Options = "taker", TakerOptions

    def needs(self, cell, options):
        return [Need("parts", {"count": options.count})]

    def select(self, asked, cell, options):
        value = asked.obtain(*self.needs(cell, options))
        rows = ranking.draw(asked.pool(), tuple(NAMES), cell.n, cell.seed)
        asked.trial(None)
        asked.trial(rows)
        return Selection(rows, why={"parts": {"value": value}})


class Follower(Method):
    """As many rows as another method's."""

    name = "follower"

    def select(self, asked, cell, options):
        return Selection(asked.obtain(Need("selection:taker")).rows)


class Still(WeightPolicy):
    """Twice the weight for the primary."""

    name, every = "still", 5

    def prior(self, asked, cell, sizes, options):
        return {name: 2.0 if name == cell.primary else 1.0 for name in sizes}


@pytest.fixture(autouse=True)
def maker(monkeypatch):
    """A method, its artifact, one that reads the method's rows, and a policy, for one test."""
    registry.names()
    for table in ("_METHODS", "_POLICIES", "_MAKERS"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    made = PartsMaker()
    for each in (made, Taker, Follower, Still):
        registry.register(each)
    return made


@pytest.fixture
def trained(monkeypatch):
    """Trainings are not run: each costs 7 FLOP and scores 0.5, then 0.25; the plans asked for."""
    plans = []

    def trained(plan, suite, progress=None):
        plans.append(plan)
        key = training_cache.training_key(plan, suite)
        looks = pd.DataFrame({"phase": [plan.phases[-1].name] * 2, "step": [2, 4], "score": [0.5, 0.25]})
        return SimpleNamespace(
            looks=looks, ledgers=[Ledger("tune", flops=7.0)],
            manifest=Manifest({"stage": "train", "key": key, "ledger": []}, None),
        )  # fmt: skip

    monkeypatch.setattr(training_cache, "trained", trained)
    return plans


def arm(name="taker", **given):
    return asking.arm(name, **({"n": 30, "auxiliaries": NAMES, "stage2_epochs": 1, "tune_epochs": 1} | given))


def asked(small, p=None, seed=3, **more):
    return context.Context(small, p or arm(), seed, **more)


# --- data ------------------------------------------------------------------------------------------------------------


def test_auxiliaries_and_pool_are_those_that_the_parameters_name_without_leaks(small):
    c = asked(small)
    assert c.auxiliaries == [name for name in small.names if name in NAMES]
    masks = usable_rows.usable(small, "topic_side", False)
    rows, allowed = c.whole_pool()
    whole = auxiliary_rows.pool(small, c.auxiliaries, masks)
    assert allowed.tolist() == whole["usable"].tolist()
    assert rows.equals(whole.drop(columns="usable"))
    assert c.pool().equals(rows[allowed].reset_index(drop=True))
    assert (c.cell.primary, c.cell.n, c.cell.seed) == ("topic_side", 30, 3)


def test_masks_are_searched_for_once_and_shared_by_all_seeds(small, monkeypatch):
    found, real = [], usable_rows.usable
    monkeypatch.setattr(usable_rows, "usable", lambda *a: found.append(a[1:]) or real(*a))
    c = asked(small, arm(keep_leaks=True))
    for each in (c, c.at(4), c):
        each.usable("topic_side")
        each.usable(None)
    assert found == [("topic_side", True), (None, True)]


def test_draws_for_a_purpose_are_a_seed_s_own(small):
    draw = lambda c, *purpose: c.rng(*purpose).random(4).tolist()  # noqa: E731
    c = asked(small)
    assert draw(c, "mine") == draw(c, "mine") == draw(asked(small), "mine")
    assert draw(c, "mine") != draw(c, "mine", "too")
    assert draw(c, "mine") != draw(c.at(4), "mine")


# --- artifacts -------------------------------------------------------------------------------------------------------


def test_an_artifact_is_made_and_charged_once_however_often_it_is_asked_for(small, maker):
    c = asked(small)
    assert [c.obtain(Need("parts", {"count": 5})) for _ in range(3)] == [305] * 3
    assert maker.asked == [(3, 5)]
    assert [(ledger.stage, ledger.flops) for ledger in c.needed()] == [("parts", 5.0)]
    assert [m.key for m in c.units()] == ["3-5"]
    assert c.obtain(Need("parts", {"count": 6})) == 306  # otherwise made: another
    assert [ledger.flops for ledger in c.needed()] == [5.0, 6.0]


def test_what_is_made_for_another_maker_is_not_charged(small, maker):
    c = asked(small)
    assert c.make(Need("parts")).value == 303
    assert c.needed() == []
    assert c.units() == []


def test_another_seed_of_a_context_has_charges_of_its_own(small, maker):
    c = asked(small)
    c.obtain(Need("parts"))
    other = c.at(4)
    assert other.needed() == []
    assert other.obtain(Need("parts")) == 403
    assert [m.key for m in c.units()] == ["3-3"]


def test_parameters_are_those_of_a_run_that_is_read_and_fits_else_the_defaults(small):
    given = {"size": "full", "precision": "fp32", "encoder": "tiny"}
    mine = TDProxy(**given, seeds=[3, 4], proxy_rows=33)
    p = validate("06_mtl", given | {"arm": "td_bce", "auxiliaries": NAMES}).resolved()
    need = Need("proxy", {"discriminator": "bce"})
    parameters = lambda *upstream, seed=3: context.Context(small, p, seed, upstream).parameters(need)  # noqa: E731
    read = mine.resolved()
    assert parameters(read) is read
    assert parameters(GradTS(**given).resolved(), read) is read  # whatever else is read
    assert parameters(read.model_copy(update={"threads": 7})).threads == 7  # which decides nothing
    for other in (
        mine.model_copy(update={"discriminator": "ce"}), mine.model_copy(update={"encoder": "minilm"}),
        mine.model_copy(update={"seeds": [4]}),
    ):  # fmt: skip
        found = parameters(other.resolved())
        assert (found.proxy_rows, found.seeds, found.encoder) == (TDProxy().proxy_rows, [3], "tiny")
    assert parameters(read, seed=5).seeds == [5]
    ranked = Ranking(**given, auxiliaries=NAMES[::-1], n=30, seeds=[3]).resolved()
    wanted = Need("ranking", {"primary": "topic_side", "auxiliaries": NAMES, "n": 30})
    assert context.Context(small, p, 3, [ranked]).parameters(wanted) is ranked  # their order decides nothing
    assert context.Context(small, p, 3, [ranked]).parameters(Need("ranking", {"n": 31})).n == 31


def test_what_is_made_is_what_the_run_that_is_read_made(small):
    """A ranking, and through it the proxies, by the parameters of 02 and 03; other parameters make other units."""
    proxy = TDProxy(proxies="one", proxy_rows=15, watch_rows=8, epochs=1, seeds=[3]).resolved()
    ranked = Ranking(n=20, seeds=[3]).resolved()
    p = arm("td_bce", n=20, auxiliaries=[])
    told = asked(small, p, upstream=[ranked, proxy])
    chosen, _ = context.select(told)
    units = {m.key for m in told.units()}
    made = registry.maker("proxy").make(asked(small, proxy), proxy, 3)
    assert {m.key for m in made.manifests} == units
    assert [ledger.flops for ledger in told.needed()] == [ledger.flops for ledger in made.ledgers]
    assert len(chosen.rows) == 20
    other = asked(small, p, upstream=[ranked, proxy.model_copy(update={"epochs": 2})])
    context.select(other)
    assert not units & {m.key for m in other.units()}


@pytest.mark.parametrize("name", ["td_ce", "gradts_proxy", "gradts_trial", "autosem_p1"])
def test_two_tasks_are_enough_to_choose_from(small, name):
    """All of the way, trainings too: a discriminator of two tasks, and correlations with one."""
    two = Suite("two", {task: small[task] for task in ("topic_side", "look_alike")}, "two")
    proxies = [TDProxy(proxy_rows=10, watch_rows=4, epochs=1, discriminator=d, seeds=[3]) for d in ("bce", "ce")]
    heads = [GradTS(tune_rows=10, importance_rows=8, epochs=1, at=at, seeds=[3]) for at in ("task", "proxy")]
    p = arm(name, n=12, auxiliaries=[]).resolved()
    told = context.Context(two, p, 3, [each.resolved() for each in (*proxies, *heads)])
    chosen, plan = context.select(told)
    number = 0 if chosen.rows is None else len(chosen.rows)
    assert number == 12 or (number == 0 and name != "td_ce")  # a search, or a threshold, may take no task
    assert set(chosen.why.get("taus", {})) == ({"look_alike"} if name.startswith("gradts") else set())
    assert np.isfinite(training_cache.trained(plan, two).looks["score"].iloc[-1])


@pytest.mark.parametrize("name", ["random", "cie_bce", "matched_bce"])
def test_controls_draw_from_the_rows_that_a_ranking_may_take(small, name):
    """Of a single proxy's ranking none that it was trained on: 40 of 160 here; of cross-fitted ones, all."""
    ranked = Ranking(auxiliaries=NAMES, n=110, seeds=[3]).resolved()
    drawn = {}
    for proxies in ("one", "crossfit"):
        proxy = TDProxy(proxies=proxies, proxy_rows=20, watch_rows=8, epochs=1, seeds=[3]).resolved()
        p = arm(name, n=110, auxiliaries=NAMES, methods={"random": {"candidates_of": "td_bce"}})
        told = asked(small, p, upstream=[ranked, proxy])
        rows = context.select(told)[0].rows
        plans, _ = registry.maker("proxy").plans(told, proxy, 3)
        seen = {(task, row) for task in NAMES for row in plans[0].phases[0].rows[task].tolist()}
        drawn[proxies] = len(seen & set(zip(rows["task"], rows["row"], strict=True)))
        assert len(rows) == 110
        assert bool(told.needed()) == (name != "random")  # which reads how proxies are made, and makes none
    assert drawn["one"] == 0
    assert drawn["crossfit"] > 15


def test_random_reads_the_runs_that_say_what_its_candidates_are():
    p = arm("random", methods={"random": {"candidates_of": "td_ce"}})
    assert p.needs() == arm("td_ce").needs()
    assert arm("random").needs() == []
    with pytest.raises(ValueError, match="candidates_of: 'random' is no other method"):
        arm("random", methods={"random": {"candidates_of": "random"}})
    with pytest.raises(ValueError, match=r"td_bcee.*td_bce"):
        arm("random", methods={"random": {"candidates_of": "td_bcee"}})


# --- a small primary, drawn by each seed for itself ------------------------------------------------------------------


def own_rows(told, plan):
    return {row for phase in plan.phases for row in phase.rows.get("topic_side", np.zeros(0, int)).tolist()}


@pytest.mark.parametrize("name", ["single", "td_bce", "gradts_top", "autosem_p1", "tawt_joint"])
def test_each_seed_draws_rows_of_the_primary_that_all_it_trains_are_of(small, name, monkeypatch):
    """Proxies, tunings, trials, held-out rows and the arm itself; dev and test stay as they are."""
    trained, real, drawn = [], training_cache.trained, {}
    monkeypatch.setattr(training_cache, "trained", lambda plan, *more: trained.append(plan) or real(plan, *more))
    for seed in (3, 4):
        trained.clear()
        given = {"primary_rows": 24, "n": 20, "auxiliaries": NAMES, "stage2_epochs": 1, "tune_epochs": 1}
        p = arm(name, **given, holdout=0.25, bandit_rounds=2, bandit_batches=1, probe_rows=2)
        shared = {"primary_rows": 24, "proxy_rows": 8, "watch_rows": 4, "epochs": 1, "seeds": [seed]}
        proxy = TDProxy(**shared).resolved()
        heads = GradTS(primary_rows=24, tune_rows=16, importance_rows=8, epochs=1, seeds=[seed]).resolved()
        told = asked(small, p, seed=seed, upstream=[proxy, heads])
        _, plan = context.select(told)
        mask = told.usable("topic_side")["topic_side"]
        assert mask.sum() == 24
        drawn[seed] = set(np.flatnonzero(mask).tolist())
        assert own_rows(told, plan) | set(plan.holdout.tolist()) == drawn[seed]
        for each in trained:
            assert own_rows(told, each) | set(each.holdout.tolist()) <= drawn[seed]
            assert set(each.watch.get("topic_side", np.zeros(0, int)).tolist()) <= drawn[seed]
        others = [told.usable(None)[task].sum() for task in NAMES]
        assert others == [told.clean(None)[task].sum() for task in NAMES]
    assert drawn[3] != drawn[4]


def test_what_is_made_for_a_drawn_primary_serves_no_other():
    one, other = TDProxy(primary_rows=24), TDProxy(primary_rows=24, primary="topic_name")
    assert one.key_params() != other.key_params()
    assert TDProxy().key_params() == TDProxy(primary="topic_name").key_params()
    wanted = dict(arm("td_bce", primary_rows=24).needs()[0][1])
    assert (wanted["primary_rows"], wanted["primary"]) == (24, "topic_side")
    assert arm("td_bce").needs()[0][1]["primary_rows"] == 0
    assert validate("01_data_prep", {"primary_rows": 24}).key_params() == validate("01_data_prep", {}).key_params()


def test_more_rows_than_the_primary_has_are_refused(small):
    with pytest.raises(InputError, match="primary_rows: 90 asked for, but 'topic_side' has 80 usable"):
        asked(small, arm("single", primary_rows=90)).usable("topic_side")


# --- selections of other methods -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([("topic_name", 3), ("topic_name", 3)], "taker: it has chosen row 3 of 'topic_name' twice"),
        ([("topic_side", 0)], "rows of 'topic_side', which is no auxiliary here"),
        ([("topic_name", 80)], "row 80 of 'topic_name', which has 80"),
        ([("topic_name", -1)], "row -1 of 'topic_name'"),
        ([("topic_name", 5)], "row 5 of 'topic_name', which leaks; choose from context.pool()"),
    ],
)
def test_what_a_method_may_not_choose_is_refused_whoever_wrote_it(small, monkeypatch, rows, words):
    masks = {name: np.ones(80, bool) for name in small.names}
    masks["topic_name"][5] = False
    monkeypatch.setattr(context.Context, "clean", lambda self, target: masks)
    table = pd.DataFrame(rows, columns=["task", "row"])
    monkeypatch.setattr(Taker, "select", lambda *given: Selection(table))
    with pytest.raises(InputError, match=re.escape(words)):
        context.choose(asked(small))


FEW = [("topic_name", row) for row in range(3)]


@pytest.mark.parametrize(
    ("chosen", "words"),
    [
        (None, "taker: select must return a Selection, not None"),
        (pd.DataFrame(FEW, columns=["task", "row"]), "taker: select must return a Selection, not a DataFrame"),
        (Selection([1, 2]), "rows are a data frame with task and row, such as rows of context.pool(), not a list"),
        (Selection(pd.DataFrame({"row": [1]})), "with task and row, such as rows of context.pool(), not columns row"),
        (Selection(pd.DataFrame({"task": [], "row": []})), "it has chosen no rows; a Selection() says so"),
        (
            Selection(pd.DataFrame({"task": ["topic_name"], "row": [1.0]})),
            "row must hold positions in a task's train as whole numbers, not float64",
        ),
        (
            Selection(pd.DataFrame(FEW, columns=["task", "row"]).assign(score=[1.0, np.nan, 2.0])),
            "the score of row 1 of 'topic_name' is nan; a score must be a finite number",
        ),
        (Selection(pd.DataFrame(FEW, columns=["task", "row"])), "its rows lack row_id, by which exports name them"),
        (Selection(tasks=("nope",)), "its Selection's tasks name 'nope', which is no auxiliary here"),
        (
            Selection(pd.DataFrame(FEW, columns=["task", "row"]).assign(row_id=0)),
            "it has chosen 3 rows where n is 30, so that arms of n rows could not be compared with it; choose n, or "
            "set uses_n = False",
        ),
    ],
)  # fmt: skip
def test_what_is_no_selection_of_n_rows_is_refused(small, monkeypatch, chosen, words):
    monkeypatch.setattr(Taker, "select", lambda *given: chosen)
    with pytest.raises(InputError, match=re.escape(words)):
        context.choose(asked(small))


def test_a_method_that_chooses_tasks_or_settles_how_many_need_not_choose_n(small, monkeypatch):
    few = Selection(pd.DataFrame(FEW, columns=["task", "row"]).assign(row_id=0))
    monkeypatch.setattr(Taker, "select", lambda *given: few)
    for attribute, value in (("level", "tasks"), ("uses_n", False)):
        with monkeypatch.context() as patch:
            patch.setattr(Taker, attribute, value)
            assert context.choose(asked(small)) is few


def test_another_method_s_selection_is_charged_with_all_that_it_ran(small, maker, trained):
    c = asked(small, arm("follower", methods={"taker": {"count": 8}}))
    rows = Follower().select(c, c.cell, Options()).rows
    alone = asked(small, arm(count=8))
    assert rows.equals(Taker().select(alone, alone.cell, TakerOptions(count=8)).rows)
    assert maker.asked == [(3, 8), (3, 8)]
    spent = [(ledger.stage, ledger.flops) for ledger in c.needed()]
    assert spent == [("parts", 8.0), ("trial", 7.0), ("trial", 7.0)]
    assert c.searched() == []  # its own
    assert [m.key for m in c.units()] == [m.key for m in alone.units()]
    c.obtain(Need("selection:taker"))
    assert len(c.needed()) == 3


def test_the_needs_of_a_method_are_those_of_the_selections_that_it_reads():
    """What 06 reads for a control is what the method that it matches needs."""
    p = asking.arm("cie_ce", n=40)
    assert [(stage, wanted["discriminator"], wanted["n"], wanted["seed"]) for stage, wanted in p.needs()] == [
        ("03_ranking", "ce", 40, 0), ("03_ranking", "ce", 40, 1),
    ]  # fmt: skip
    assert p.needs() == [need for need in asking.arm("td_ce", n=40).needs()]


# --- trainings -------------------------------------------------------------------------------------------------------


def test_a_training_is_charged_to_its_stage_and_counts_once(small, trained):
    c = asked(small)
    plan = c.trial_plan(None)
    for _ in range(2):
        c.train(plan, "search")
    assert [(ledger.stage, ledger.flops) for ledger in c.searched()] == [("search", 7.0)]
    key = training_cache.training_key(plan, small)
    assert c.searched(key) == []  # the arm's own training, which is charged as such
    assert c.needed() == []


def test_a_trial_is_planned_as_the_arm_trains_but_judged_on_held_out_rows(small, trained):
    c = asked(small, arm(choose="last"))
    rows = ranking.draw(c.pool(), tuple(NAMES), 30, 3)
    assert c.trial(rows) == (0.5, 0.25)
    (plan,) = trained
    assert {name: len(of) for name, of in plan.phases[0].rows.items() if name != "topic_side"} == {
        name: int((rows["task"] == name).sum()) for name in NAMES
    }
    assert [phase.choose for phase in plan.phases] == ["last", "holdout"]
    assert len(plan.holdout) > 0
    assert context.select(asked(small, arm("random", choose="last")))[1].holdout.tolist() == []
    shared = c.trial_plan(rows, {"topic_side": 1, "topic_name": 1, "look_alike": 1}, "cycle")
    assert shared.phases[0].order[:4].tolist() == [0, 1, 2, 0]


# --- an arm ----------------------------------------------------------------------------------------------------------


def test_an_arm_s_method_chooses_and_its_policy_plans(small, maker, trained):
    selection, plan = context.select(asked(small, arm("taker", count=4)))
    assert selection.why == {"parts": {"value": 304}}
    assert [phase.name for phase in plan.phases] == ["stage2", "tune"]
    assert selection.as_dict() == {"tasks": [], "visited": [], "parts": {"value": 304}}
    weighed, plan = context.select(asked(small, arm("taker+still", count=4)))
    assert weighed.rows.equals(selection.rows)
    (phase,) = plan.phases
    assert phase.weighting == Weighting((0.5, 0.25, 0.25), "fixed", 5)
    assert sorted(phase.rows) == sorted(["topic_side", *NAMES])


def test_a_selection_without_rows_is_trained_by_its_method_though_a_policy_was_named(small, monkeypatch):
    monkeypatch.setattr(Taker, "select", lambda self, *a: Selection())
    _, plan = context.select(asked(small, arm("taker+still")))
    assert [(phase.name, list(phase.rows)) for phase in plan.phases] == [
        ("stage2", ["topic_side"]), ("tune", ["topic_side"]),
    ]  # fmt: skip
    assert plan.phases[0].weighting is None


def test_options_of_an_arm_reach_method_and_policy(small, monkeypatch):
    seen = []
    monkeypatch.setattr(Taker, "select", lambda self, c, cell, options: seen.append((cell, options)) or Selection())
    c = asked(small, arm("taker", count=9))
    context.select(c)
    ((cell, options),) = seen
    assert cell == Cell(c.params, 3)
    assert options == TakerOptions(count=9)


def test_masks_that_seeds_share_cannot_be_written_to(small):
    """What a method left out for itself in one seed would be missing in the next."""
    masks = asked(small).usable("topic_side")
    with pytest.raises(ValueError, match="read-only"):
        masks["topic_name"][:5] = False


def test_numpy_s_numbers_in_a_selection_s_reasons_can_be_recorded():
    told = Selection(why={"taus": {"a": np.float32(0.5), "b": 0.25}}, visited=[(("a",), np.float64(0.75))]).as_dict()
    assert told == {"tasks": [], "visited": [[["a"], 0.75]], "taus": {"a": 0.5, "b": 0.25}}
    assert {type(value) for value in told["taus"].values()} == {float}
