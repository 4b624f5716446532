"""What other methods make of a notebook's question: their rows beside 03's, scores beside 04's, weights beside 05's."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from auxlearn.errors import InputError
from auxlearn.methods import context, registry
from auxlearn.methods.tawt import weight_tables
from auxlearn.reporting import other_methods
from auxlearn.studies import graph, parameters
from auxlearn.training import training_cache

SMALL = {"rows": 80, "seeds": [1], "auxiliaries": ["topic_name", "word_class", "side_share"], "precision": "fp32"}


def session(stage, suite, **given):
    p = parameters.validate(stage, SMALL | given).resolved()
    return SimpleNamespace(params=p, suite=suite, upstream=[], progress=None)


def alone(opened, name):
    """What a method chooses as an arm of its own."""
    (arm,) = [each for each in parameters.others(opened.params) if each.arm == name]
    asked = context.Context(opened.suite, arm.resolved(), 1)
    return asked, context.choose(asked)


def test_rows_of_other_methods_are_counted_beside_the_own_choice(small):
    opened = session("03_ranking", small, n=30, others=["bm25", "random"])
    asked, bm25 = alone(opened, "bm25")
    pool = asked.pool()
    own = pd.concat([bm25.rows[["task", "row"]].head(20), pool[["task", "row"]].tail(10)]).drop_duplicates()
    table = other_methods.rows(opened, own, pool)
    assert list(table.index) == ["this ranking", "bm25", "random"]
    assert table["rows"].tolist() == [len(own), 30, 30]
    taken = set(zip(bm25.rows["task"].astype(str), bm25.rows["row"], strict=True))
    both = sum(at in taken for at in zip(own["task"].astype(str), own["row"], strict=True))
    assert table["common"].tolist()[:2] == [1.0, pytest.approx(both / len(own))]
    helpful = bm25.rows[["task", "row"]].merge(pool[["task", "row", "helpful"]], on=["task", "row"])["helpful"].mean()
    assert table.loc["bm25", "helpful"] == pytest.approx(helpful)
    assert table[["of topic_name", "of word_class", "of side_share"]].sum(axis=1).tolist() == pytest.approx([1, 1, 1])
    assert np.isnan(table.loc["this ranking", "TFLOP"])
    assert table.loc["bm25", "TFLOP"] == 0  # it runs no model


def test_scores_of_tasks_are_put_beside_the_own_ones(small):
    opened = session("04_gradts_correlation", small, tune_rows=20, epochs=1, others=["textemb"])
    _, chosen = alone(opened, "textemb")
    scores = pd.Series(next(iter(chosen.why.values())))
    own = scores.rank(ascending=False)  # the other order
    table, taus = other_methods.tasks(opened, own)
    assert table["textemb"].to_dict() == pytest.approx(scores.to_dict())
    assert list(table.index) == list(own.sort_values(ascending=False).index)
    assert taus.to_dict() == {"textemb": pytest.approx(-1)}


def test_weights_of_other_policies_are_those_of_their_trainings(small):
    opened = session("05_tawt_weighting", small, steps=6, others=["normalised", "uncertainty"])
    own = pd.Series({"topic_side": 0.4, "topic_name": 0.3, "word_class": 0.2, "side_share": 0.1})
    table = other_methods.weights(opened, own)
    assert list(table) == ["tawt_joint", "normalised", "uncertainty"]
    assert table.sum().tolist() == pytest.approx([1, 1, 1])
    arm = next(each for each in parameters.others(opened.params) if each.arm == "uncertainty")
    _, plan = context.select(context.Context(small, arm.resolved(), 1))
    training = training_cache.trained(plan, small)
    assert table["uncertainty"].to_dict() == weight_tables.finals({1: training})[1].to_dict()
    some = other_methods.weights(opened, own.drop("topic_side"))  # as where sources alone are weighed
    assert some["uncertainty"].sum() == pytest.approx(1)
    assert np.isnan(some.loc["topic_side", "tawt_joint"])


@pytest.mark.parametrize(
    ("stage", "name", "what"),
    [
        ("03_ranking", "normalised", "method that chooses rows; there are random, "),
        ("03_ranking", "bm52", "method that chooses rows; did you mean 'bm25'?"),
        ("03_ranking", "matched_bce", "method that chooses rows"),
        ("04_gradts_correlation", "bm25", "method that scores tasks"),
        ("05_tawt_weighting", "pcgrad", "policy that weighs all rows by task"),
        ("05_tawt_weighting", "tawt_deciles", "policy that weighs all rows by task"),
    ],
)
def test_a_name_that_a_notebook_cannot_hold_beside_its_own_is_refused(stage, name, what):
    with pytest.raises(InputError, match=f"others: '{name}' is no {what.partition(';')[0]}"):
        parameters.validate(stage, {"others": [name]})


@pytest.mark.parametrize(
    ("stage", "name"), [("03_ranking", "bm25"), ("04_gradts_correlation", "textemb"), ("05_tawt_weighting", "famo")]
)
def test_what_is_shown_beside_enters_no_key_and_no_study(stage, name, tmp_path):
    plain, asked = parameters.validate(stage, {}), parameters.validate(stage, {"others": [name]})
    assert plain.key_params() == asked.key_params()
    assert parameters.code_roots(plain) == parameters.code_roots(asked) == ("reporting.notebook",)
    (arm,) = parameters.others(asked)
    assert registry.get(name) is (arm.policy or arm.method)
    study = {"study": "s", "base": {"size": "full"}, "stages": [stage], "notebooks": {stage: {"others": [name]}}}
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    with pytest.raises(InputError, match=f"others: {name} would be shown, and enter no key"):
        graph.load(tmp_path / "s.yaml")
