"""FastMTL's artifacts and methods: which rows a ranking takes, what it needs, what it is charged for."""

import numpy as np
import pytest

import asking
from auxlearn.data import usable_rows
from auxlearn.errors import InputError
from auxlearn.methods import context, forecasting, ranking, registry
from auxlearn.methods.base import Need
from auxlearn.methods.fastmtl import discriminator, selectors
from auxlearn.models import multitask
from auxlearn.studies.parameters import Ranking, TDProxy
from auxlearn.training import counting

NAMES = ["topic_name", "look_alike", "away_topic"]
PROXY = {"proxy_rows": 15, "watch_rows": 8, "epochs": 1, "seeds": [3]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("selectors")


@pytest.fixture(autouse=True)
def one_folder(folder, monkeypatch):
    """Proxies are trained once for all tests here."""
    monkeypatch.setenv("AUXLEARN_RUNS", str(folder))


def rated(small, proxy=None, **given):
    """A ranking of seed 3, with what it was charged, by small proxies."""
    p = Ranking(**({"n": 20, "auxiliaries": NAMES, "seeds": [3]} | given)).resolved()
    told = TDProxy(**PROXY | {"discriminator": p.discriminator, "keep_leaks": p.keep_leaks} | (proxy or {})).resolved()
    asked = context.Context(small, p, 3, [told])
    return registry.maker("ranking").make(asked, p, 3)


@pytest.mark.parametrize("rule", ["global", "quota", "calibrated"])
def test_a_ranking_takes_the_best_eligible_rows_by_its_rule(small, rule):
    made = rated(small, rule=rule)
    pool, chosen = made.value.pool, made.value.chosen
    at = ranking.choose(rule, pool["score"].to_numpy(), 20, pool["task"].to_numpy(str), pool["proxy"].to_numpy(), 3,
                        made.value.eligible)  # fmt: skip
    assert list(zip(chosen["task"], chosen["row"], strict=True)) == [(pool["task"][i], pool["row"][i]) for i in at]
    assert chosen["rank"].tolist() == list(range(1, 21))
    assert set(pool["task"]) == set(NAMES)
    masks = usable_rows.usable(small, "topic_side", False)
    assert pool["usable"].tolist() == [masks[task][row] for task, row in zip(pool["task"], pool["row"], strict=True)]
    assert made.value.eligible.tolist() == pool["usable"].tolist()  # of two proxies none scores what it was trained on


def test_rows_of_a_single_proxy_are_no_candidates(small):
    made = rated(small, {"proxies": "one"})
    pool = made.value.pool
    assert pool["in_proxy"].sum() == 15 * len(NAMES)
    assert not made.value.eligible[pool["in_proxy"].to_numpy()].any()


@pytest.mark.parametrize(
    ("kind", "score", "wanted"), [("bce", "auto", "sigmoid"), ("ce", "auto", "margin"), ("ce", "sigmoid", "sigmoid")]
)
def test_scores_are_the_column_s_logit_or_its_odds_against_the_others(small, kind, score, wanted):
    made = rated(small, discriminator=kind, score=score)
    pool, store = made.value.pool, made.value.proxies.store
    both = pool.merge(store.rows[["task", "row"]].reset_index(), on=["task", "row"])
    logits, target = np.asarray(store.logits)[both["index"]], small.index("topic_side")
    scores = logits[:, target] if wanted == "sigmoid" else discriminator.scores(logits, target, "margin")
    assert pool["score"].to_numpy() == pytest.approx(scores)


def test_a_ranking_is_charged_for_training_and_scoring_of_its_proxies(small):
    made = rated(small)
    assert [ledger.stage for ledger in made.ledgers] == ["proxy", "scoring"]
    assert made.ledgers[1].examples == sum(len(task.train) for task in small.values())  # of all tasks, each row once
    assert sorted(m.stage for m in made.manifests if m.stage == "train") == ["train"] * 2


@pytest.mark.parametrize("name", [n for n in registry.names() if registry.get(n).family == "fastmtl"])
def test_a_method_needs_the_ranking_by_its_rule_and_loss(name):
    rule, _, kind = name.rpartition("_")
    p = asking.arm(name, n=40, auxiliaries=NAMES, keep_leaks=True)
    (need,) = p.method.needs(context.Context(None, p, 3).cell, p.options(p.method))
    assert need == Need("ranking", {
        "primary": "topic_side", "auxiliaries": NAMES, "n": 40, "keep_leaks": True, "discriminator": kind,
        "rule": {"td": "global"}.get(rule, rule),
    })  # fmt: skip
    assert p.method.scores == "rows"
    assert set(p.method.contrasts) >= {"random"}


def test_a_method_takes_the_ranking_s_rows_with_score_and_rank(small):
    made = rated(small)
    p = asking.arm("td_bce", n=20, auxiliaries=NAMES)
    chosen, _ = asking.selected(p, small, 3, ranking=made.value)
    assert chosen.rows.equals(made.value.chosen.drop(columns=["usable", "in_proxy"]))
    assert {"task", "row", "row_id", "score", "rank"} <= set(chosen.rows)


def test_every_ranking_of_a_loss_has_both_controls():
    for kind in selectors.KINDS:
        for control in selectors.CONTROLS:
            assert registry.get(f"{control}_{kind}").of == f"td_{kind}"
            assert f"{control}_{kind}" in registry.get(f"td_{kind}").contrasts


# --- cheaper proxies -------------------------------------------------------------------------------------------------


def test_a_cheaper_proxy_has_the_layers_that_it_is_told(small):
    made = rated(small, {"proxy_layers": 1})
    assert {plan.encoder for plan in made.value.proxies.plans} == {"tiny:1"}
    whole = rated(small)
    assert [a.flops for a in made.ledgers] == [b.flops / 2 for b in whole.ledgers]  # of two layers
    above = rated(small, {"frozen_layers": 1})
    assert {plan.frozen_layers for plan in above.value.proxies.plans} == {1}
    assert above.ledgers[0].flops < 0.7 * whole.ledgers[0].flops
    assert above.ledgers[1].flops == whole.ledgers[1].flops  # the pass goes through all layers
    scores = [each.value.pool["score"].to_numpy() for each in (whole, made, above)]
    assert not np.array_equal(scores[0], scores[1])
    assert not np.array_equal(scores[0], scores[2])


@pytest.mark.parametrize("given", [{}, {"proxy_layers": 1}, {"frozen_layers": 1}, {"proxy_rows": 9}])
def test_a_forecast_of_cheaper_proxies_is_their_ledger(small, given):
    told = TDProxy(**PROXY | given).resolved()
    net = multitask.build("tiny", small)
    sizes = forecasting.Sizes(counting.tokens(small, net.tokenizer, 128), net.encoder.config, "measured")
    asked = asking.arm("td_bce", n=20, auxiliaries=NAMES, seeds=[3])
    wanted = {"proxy_rows": PROXY["proxy_rows"], "proxy_layers": 0, "frozen_layers": 0} | given
    need = Need("proxy", wanted)
    forecast = forecasting.SizedContext(sizes, asked, 3, [told]).needs([need])
    ledgers = context.Context(small, asked, 3, [told]).make(need).ledgers
    for stage in ("proxy", "scoring"):
        expected = sum(charge.expected for charge in forecast if charge.stage == stage)
        assert expected == pytest.approx(sum(ledger.flops for ledger in ledgers if ledger.stage == stage), rel=1e-12)


def test_an_arm_may_ask_for_cheaper_proxies_and_its_key_says_so():
    plain, cheap = asking.arm("td_bce", n=20), asking.arm("td_bce", n=20, proxy_layers=1)
    (need,) = cheap.method.needs(context.Context(None, cheap, 3).cell, cheap.options(cheap.method))
    assert need.parameters["proxy_layers"] == 1
    assert cheap.key_params()["methods"]["td_bce"] == plain.key_params()["methods"]["td_bce"] | {"proxy_layers": 1}
    assert "proxy_layers" not in plain.key_params()["methods"]["td_bce"]  # as keyed before it was an option
    ranked = Ranking(proxy_layers=1, sample_rows=9).resolved()
    assert all(wanted.items() >= {"proxy_layers": 1, "proxy_rows": 9}.items() for _, wanted in ranked.needs())
    assert not {"proxy_layers", "frozen_layers", "sample_rows"} & Ranking().resolved().key_params().keys()
    assert not {"proxy_layers", "frozen_layers"} & TDProxy().resolved().key_params().keys()
    assert TDProxy(proxy_layers=1).resolved().key_params()["proxy_layers"] == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"proxy_layers": 3}, "proxy_layers: 3 asked for, but encoder 'tiny' has 2 layers"),
        ({"frozen_layers": 2}, "frozen_layers: 2 of a proxy's 2 layers leave none to train"),
        ({"proxy_layers": 1, "frozen_layers": 1}, "frozen_layers: 1 of a proxy's 1 layers"),
    ],
)
def test_layers_that_an_encoder_does_not_have_are_refused_before_anything_is_trained(given, words):
    with pytest.raises(InputError, match=words):
        registry.check_made(TDProxy(**given).resolved())
    registry.check_made(TDProxy(proxy_layers=2, frozen_layers=1).resolved())
