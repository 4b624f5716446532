"""Scores of tasks against the same numbers worked out by hand; the rule that takes tasks; what they cost."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import asking
from auxlearn.data.suites import Suite
from auxlearn.methods import forecasting, ranking, registry
from auxlearn.methods.task_scores import base
from auxlearn.models import multitask
from auxlearn.studies import parameters
from auxlearn.training import counting

NAMES = ["topic_name", "away_topic", "side_share"]
GIVEN = {
    "auxiliaries": NAMES, "n": 12, "batch_size": 8, "embed_rows": 10, "threads": 1, "rows": 0, "holdout": 0.2,
}  # fmt: skip
SCORES = [name for name in registry.names() if registry.get(name).family == "task_scores"]


@pytest.fixture(scope="module")
def suite(planted):
    """Few short tasks, so that every row can be worked out by itself."""
    few = planted.capped(40)
    short = {name: replace(few[name], dev=few[name].dev.select(range(40))) for name in ("topic_side", *NAMES)}
    return Suite("few", short, "few-40-40")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def shared_runs(home, runs_folder, monkeypatch):
    """What several tests read is trained once."""
    monkeypatch.setenv("AUXLEARN_RUNS", str(home))


def told(name, suite, **given):
    p = asking.arm(name, **GIVEN | given)
    return p, asking.Told(suite, p, 0, asking.everything(suite))


def scored(name, suite, **given):
    """A method's scores by task, and the context that was charged for them."""
    p, asked = told(name, suite, **given)
    return p.method.task_scores(asked, asked.cell, p.options(p.method)), asked


def parameters_of(name, suite, **given):
    """The maker of what a score reads, and its parameters."""
    p, asked = told(name, suite, **given)
    (need,) = p.method.needs(asked.cell, p.options(p.method))
    return registry.maker(need.artifact), asked.parameters(need), asked


def batch_of(model, suite, name, rows):
    return multitask.collate([suite[name].train[int(row)] for row in rows], suite[name], model)


# --- the rule --------------------------------------------------------------------------------------------------------


def test_the_best_tasks_are_taken_or_those_above_a_threshold():
    scores = {"d": 0.5, "a": 0.2, "c": 0.5, "b": -1.0}
    options = base.TaskScoreOptions
    assert base.taken(scores, options()) == ("c", "d")
    assert base.taken(scores, options(top_tasks=9)) == ("c", "d", "a", "b")
    assert base.taken(scores, options(tasks_by="threshold")) == ("c", "d", "a")
    assert base.taken(scores, options(tasks_by="threshold", above=0.2)) == ("c", "d")
    assert base.taken(scores, options(tasks_by="threshold", above=0.5)) == ()


def test_rows_are_drawn_as_gradts_draws_them_and_carry_their_task_s_score(suite, monkeypatch):
    p, asked = told("textemb", suite, top_tasks=2)
    told_scores = {"topic_name": 0.1, "away_topic": 0.9, "side_share": 0.4}
    monkeypatch.setattr(type(p.method), "task_scores", lambda *_: told_scores)
    chosen = p.method.select(asked, asked.cell, p.options(p.method))
    assert chosen.tasks == ("away_topic", "side_share")
    assert chosen.why == {"scores": told_scores}
    drawn = ranking.draw(asked.pool(), chosen.tasks, 12, 0)
    assert chosen.rows[["task", "row"]].values.tolist() == drawn[["task", "row"]].values.tolist()
    assert chosen.scored()["score"].tolist() == [told_scores[name] for name in drawn["task"]]
    p, asked = told("textemb", suite, tasks_by="threshold", above=2.0)
    nothing = p.method.select(asked, asked.cell, p.options(p.method))
    assert (nothing.rows, nothing.tasks) == (None, ())


def test_a_cosine_is_that_of_vectors_and_0_with_nothing():
    vectors = {"p": np.array([3.0, 4.0]), "a": np.array([4.0, 3.0]), "b": np.zeros(2), "c": np.array([-6.0, -8.0])}
    assert base.cosines(vectors, "p") == pytest.approx({"a": 0.96, "b": 0.0, "c": -1.0})


# --- the scores ------------------------------------------------------------------------------------------------------


def test_textemb_is_the_cosine_of_mean_sentence_embeddings(suite):
    scores, asked = scored("textemb", suite)
    maker, p, _ = parameters_of("textemb", suite)
    model = multitask.build("tiny", suite, maker.plan(asked, p).seeds["init"]).eval()
    means = {}
    for name, rows in maker.rows(asked, p, 0).items():
        assert len(set(rows)) == 10
        with torch.no_grad():
            each = [model(batch_of(model, suite, name, [row])).features[0].numpy() for row in rows]
        means[name] = np.mean(each, 0)
    here = means.pop("topic_side")
    by_hand = {name: float(x @ here / np.linalg.norm(x) / np.linalg.norm(here)) for name, x in means.items()}
    assert scores == pytest.approx(by_hand, abs=1e-4)  # features are kept in fp16
    assert len({round(score, 4) for score in scores.values()}) == 3
    assert scored("textemb", suite, embed_rows=0)[0] != scores


# --- cost ------------------------------------------------------------------------------------------------------------

STAGES = {"textemb": {"embedding"}}


@pytest.mark.parametrize("name", SCORES)
def test_it_costs_what_was_forecast_and_takes_n_rows(name, suite):
    p = asking.arm(name, **GIVEN)
    selection, asked = asking.selected(p, suite, 0, asking.everything(suite))
    assert len(selection.rows) == 12
    assert set(selection.why["scores"]) == set(NAMES)
    assert selection.rows["score"].notna().all()
    net = multitask.build("tiny", suite)
    sizes = forecasting.Sizes(counting.tokens(suite, net.tokenizer, 128), net.encoder.config, "measured")
    forecast, most = {}, {}
    for charge in forecasting.SizedContext(sizes, p, 0).choosing(p.method):
        forecast[charge.stage] = forecast.get(charge.stage, 0.0) + charge.expected
        most[charge.stage] = most.get(charge.stage, 0.0) + charge.most
    assert set(forecast) == STAGES[name]
    ledgers = [*asked.needed(), *asked.searched()]
    spent = {stage: sum(row.flops for row in ledgers if row.stage == stage) for stage in forecast}
    if not p.method.searches(p.options(p.method)):  # else which rows are trained is not known
        assert spent == {stage: pytest.approx(flops, rel=0.01) for stage, flops in forecast.items()}
    assert all(0 < spent[stage] <= most[stage] for stage in forecast)
    assert sum(spent.values()) == sum(row.flops for row in ledgers)


def test_no_notebook_is_read(suite):
    for name in SCORES:
        assert parameters.validate("06_mtl", {"arm": name}).needs() == []
        assert "task_scores" in " ".join(parameters.validate("06_mtl", {"arm": name}).code_roots())
