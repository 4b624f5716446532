"""Ten scores by six rules: each chooses n rows at the price that was forecast."""

import numpy as np
import pytest

import asking
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import forecasting, ranking, registry
from auxlearn.methods.rules import by_name
from auxlearn.methods.scores import base, features, row_pass
from auxlearn.models import multitask
from auxlearn.training import counting

N = 6
GIVEN = {
    "auxiliaries": ["topic_name", "away_topic"], "n": N, "batch_size": 8, "warm_rows": 16, "warm_epochs": 1,
    "target_rows": 12, "threads": 1, "rows": 0, "holdout": 0.2,
}  # fmt: skip
OF_ONE_SCORE = ("dsir", "loss", "delta_loss", "rho")
OVER_TARGETS = ("top_max", "round_robin", "diverse", "transport")
SCORES = sorted(name for name in registry.names() if isinstance(registry.get(name), base.RowScore))


@pytest.fixture(scope="module")
def suite(planted):
    few = planted.capped(40)
    return Suite("few", {name: few[name] for name in ("topic_side", *GIVEN["auxiliaries"])}, "few-40")


@pytest.fixture(scope="module")
def sizes(suite):
    net = multitask.build("tiny", suite)
    return forecasting.Sizes(counting.tokens(suite, net.tokenizer, 128), net.encoder.config, "measured")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def shared_runs(home, runs_folder, monkeypatch):
    monkeypatch.setenv("AUXLEARN_RUNS", str(home))


def arm(name, rule, **given):
    return asking.arm(name, **GIVEN | given, methods={name: {"rule": rule}})


def test_there_are_ten_and_six():
    assert sorted(
        ["dsir", "bm25", "tfidf", "knn", "rds", "graddot", "less", "loss", "delta_loss", "rho"]
    ) == SCORES  # fmt: skip
    assert len(by_name.RULES) == 6


@pytest.mark.parametrize("rule", by_name.RULES)
@pytest.mark.parametrize("name", SCORES)
def test_each_score_chooses_n_rows_by_each_rule_as_forecast(name, rule, suite, sizes):
    p = arm(name, rule)
    chosen, asked = asking.selected(p, suite, 0, asking.everything(suite))
    assert len(chosen.rows.drop_duplicates(["task", "row"])) == len(chosen.rows) == N
    assert np.isfinite(chosen.rows["score"]).all()
    forecast = sum(charge.expected for charge in forecasting.SizedContext(sizes, p, 0).choosing(p.method))
    assert sum(row.flops for row in asked.needed()) == pytest.approx(forecast, rel=0.01)
    if name in ("dsir", "bm25", "tfidf") and (name != "dsir" or rule not in OVER_TARGETS):
        assert forecast == 0


@pytest.mark.parametrize("rule", OVER_TARGETS)
@pytest.mark.parametrize("name", OF_ONE_SCORE)
def test_of_one_score_for_all_targets_the_best_rows_are_listed_and_the_rule_chooses_by_embeddings(name, rule, suite):
    p = arm(name, rule)
    rows, asked = (
        asking.selected(p, suite, 0, asking.everything(suite))[0].rows,
        asking.Told(suite, p, 0, asking.everything(suite)),
    )
    everything, allowed = asked.candidates(name)
    pool, options = everything[allowed].reset_index(drop=True), p.options(p.method)
    scores = p.method.similarities(asked, asked.cell, options, pool).at(slice(None))[:, 0]
    listed = pool.iloc[ranking.top_n(scores, 4 * N, 0)].reset_index(drop=True)
    read = asked.obtain(row_pass.need(asked.cell, "untrained", ["features"], pool="mean"))
    targets = base.target_table(asked, asked.cell, getattr(options, "target_rows", 256))
    cosines = features.cosines(read, listed, targets)
    expected = by_name.choose(rule, cosines, N, listed["task"].to_numpy(str), 0)
    assert rows[["task", "row"]].values.tolist() == listed.iloc[expected.rows][["task", "row"]].values.tolist()
    assert rows["score"].tolist() == pytest.approx(expected.scores[expected.rows].tolist())
    by_score = asking.selected(arm(name, "top_mean"), suite, 0, asking.everything(suite))[0].rows
    assert by_score[["task", "row"]].values.tolist() == listed.iloc[:N][["task", "row"]].values.tolist()
    assert set(map(tuple, rows[["task", "row"]].values)) != set(map(tuple, by_score[["task", "row"]].values))


@pytest.mark.parametrize("name", ["dsir", "rho"])
def test_a_score_that_would_decide_nothing_is_refused_before_it_is_made(name, suite, monkeypatch):
    """Where the short list is the whole pool, embeddings alone would choose."""
    monkeypatch.setattr(registry.get(name), "similarities", lambda *_: pytest.fail("scored"))
    most = {"dsir": 80, "rho": 48}[name]  # rho's candidates are not those of its warm-up
    with pytest.raises(InputError, match=rf"there are {most} rows in all.* take n below {most // 4}, or rule top_mean"):
        asking.selected(arm(name, "round_robin", n=most // 4), suite, 0, asking.everything(suite))


def test_what_is_chosen_first_of_more_rows_is_what_is_chosen_of_few_where_that_is_said(suite):
    """And only there may a ranking of all rows stand for the choice of some."""
    said = {}
    for name in ("dsir", "knn", "tfidf"):
        for rule in by_name.RULES:
            p = arm(name, rule, target_rows=4)
            method, options = p.method, p.options(p.method)
            said[name, rule] = method.nested(options)
            few, more = (
                asking.selected(arm(name, rule, n=n, target_rows=4), suite, 0, asking.everything(suite))[0].rows
                for n in (6, 18)
            )
            if said[name, rule]:
                assert few[["task", "row"]].values.tolist() == more[["task", "row"]].values.tolist()[:6]
    assert not any(said[name, "diverse"] or said[name, "quota"] for name in ("dsir", "knn", "tfidf"))
    assert [rule for rule in by_name.RULES if said["dsir", rule]] == ["top_mean"]
    assert [rule for rule in by_name.RULES if said["knn", rule]] == ["top_mean", "top_max", "round_robin", "transport"]


@pytest.mark.parametrize("name", ["knn", "tfidf", "dsir", "graddot", "less"])
def test_a_spread_over_one_target_is_refused_before_anything_is_made(name):
    option = "target_parts" if name in ("graddot", "less") else "target_rows"
    with pytest.raises(ValueError, match=f"'diverse' spreads over targets and needs two; raise {option}"):
        asking.arm(name, n=N, methods={name: {"rule": "diverse", option: 1}})
