"""A tuned constant: which share is taken, what weights give it, and what the trials cost."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import asking
from auxlearn.methods import context, forecasting, registry
from auxlearn.models import multitask
from auxlearn.training import counting, phases, training_cache

GIVEN = {
    "n": 30, "auxiliaries": ["topic_name", "word_class"], "stage2_epochs": 1, "tune_epochs": 1, "threads": 1,
    "rows": 0, "looks": 2,
}  # fmt: skip


def weights_of(plan):
    (phase,) = plan.phases
    sizes = {name: len(rows) for name, (_, rows) in phases.groups(phase, "topic_side").items()}
    return {name: weight * sizes[name] for name, weight in zip(sizes, phase.weighting.prior, strict=True)}, sizes


def test_a_share_is_that_of_the_primary_s_rows_in_all_weight(small):
    p = asking.arm("random+tuned_share", shares=[0.4], **GIVEN)
    made = asking.planned(p, small, 0, asking.everything(small))
    parts, sizes = weights_of(made)
    total = sum(parts.values())
    assert parts["topic_side"] / total == pytest.approx(0.4)
    others = sizes["topic_name"] + sizes["word_class"]
    for name in ("topic_name", "word_class"):
        assert parts[name] / total == pytest.approx(0.6 * sizes[name] / others)
    assert not made.phases[0].weighting.policy


@pytest.mark.parametrize(("scores", "best"), [((0.5, 0.9, 0.7), 0.5), ((0.8, 0.2, 0.8), 0.25), ((0.1, 0.2, 0.3), 0.75)])
def test_the_share_with_the_best_held_out_score_is_taken_and_of_equal_ones_the_first(small, monkeypatch, scores, best):
    p = asking.arm("random+tuned_share", shares=[0.25, 0.5, 0.75], choose="last", **GIVEN)
    asked, tried = asking.Told(small, p, 0, asking.everything(small)), []

    def trained(plan, stage):
        parts, _ = weights_of(plan)
        tried.append((stage, plan.phases[0].choose, round(parts["topic_side"] / sum(parts.values()), 6)))
        return SimpleNamespace(looks=pd.DataFrame({"score": [0.0, scores[len(tried) - 1], 0.05]}))

    monkeypatch.setattr(asked, "train", trained)
    selection, plan = context.select(asked)
    assert tried == [("trial", "holdout", share) for share in (0.25, 0.5, 0.75)]
    parts, _ = weights_of(plan)
    assert parts["topic_side"] / sum(parts.values()) == pytest.approx(best)
    assert plan.phases[0].choose == "last"
    assert selection.as_dict()["share"] == {"topic_side": best}
    assert selection.as_dict()["visited"] == [
        [[share], score] for share, score in zip((0.25, 0.5, 0.75), scores, strict=True)
    ]


def test_trials_are_charged_and_the_arm_s_own_training_once(small, runs_folder):
    p = asking.arm("random+tuned_share", shares=[0.25, 0.75], **GIVEN)
    asked = asking.Told(small, p, 0, asking.everything(small))
    _, plan = context.select(asked)
    training = training_cache.trained(plan, small)
    assert len(asked.trials) == 2
    assert training.manifest.key in asked.trials
    other = asked.searched(training.manifest.key)
    assert {ledger.stage for ledger in other} == {"trial"}
    spent = sum(ledger.flops for ledger in [*other, *training.ledgers])
    net = multitask.build("tiny", small)
    sizes = forecasting.Sizes(counting.tokens(small, net.tokenizer, 128), net.encoder.config, "measured")
    charges = forecasting.arm(forecasting.SizedContext(sizes, p, 0))
    assert {charge.stage for charge in charges if charge.expected} == {"trial", "joint"}
    assert sum(charge.expected for charge in charges) == pytest.approx(spent, rel=0.25)
    assert sum(charge.most for charge in charges) >= spent


def test_an_arm_whose_policy_trains_to_settle_has_held_out_rows_in_its_key():
    keys = [asking.arm(arm, choose="last", **GIVEN).key_params() for arm in ("tuned_share", "share_50")]
    assert ["holdout" in key for key in keys] == [True, False]
    one = asking.arm("tuned_share", shares=[0.5], choose="last", **GIVEN)
    assert "holdout" not in one.key_params()
    assert not registry.get("tuned_share").searches(one.options(one.policy))


def test_what_is_expected_of_a_tuned_share_is_not_taken_for_another_arm_s_training(small):
    net = multitask.build("tiny", small)
    sizes = forecasting.Sizes(counting.tokens(small, net.tokenizer, 128), net.encoder.config, "measured")
    units = []
    for shares in ([0.5], [0.5, 0.75]):
        p = asking.arm("tuned_share", shares=shares, **GIVEN)
        charges = forecasting.arm(forecasting.SizedContext(sizes, p, 0))
        units.append({charge.unit for charge in charges})
    assert not units[0] & units[1]


def test_a_share_that_leaves_nothing_is_refused():
    for shares in ([0.0, 0.5], [1.0], []):
        with pytest.raises(ValueError, match="shares"):
            asking.arm("tuned_share", shares=shares, **GIVEN)
    assert np.isclose(registry.get("tuned_share").Options().shares, [0.1, 0.25, 0.5, 0.75, 0.9]).all()
