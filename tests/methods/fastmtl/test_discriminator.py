"""The formulas of FastMTL's discriminator, against values computed by hand."""

import math

import numpy as np
import pytest
import torch

from auxlearn.evaluation import metrics
from auxlearn.methods.fastmtl import discriminator as td

LOGITS = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.0, 0.5]])


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_pos_weight_of_equal_tasks_is_their_number_less_one():
    assert td.pos_weight([500] * 8).tolist() == [7.0] * 8
    assert td.pos_weight([100, 300]).tolist() == pytest.approx([3.0, 1 / 3])
    with pytest.raises(ValueError, match="pos_weight"):
        td.pos_weight([10, 0])


def test_bce_loss_by_hand():
    """Mean over B x K of -(p y log s + (1 - y) log(1 - s)), all rows of task 1."""
    weight = td.pos_weight([10, 20, 30])  # 5, 2, 1
    total = 0.0
    for row in LOGITS.tolist():
        for k, z in enumerate(row):
            total -= weight[k].item() * math.log(sigmoid(z)) if k == 1 else math.log(1 - sigmoid(z))
    assert td.bce_loss(LOGITS, 1, weight).item() == pytest.approx(total / 6, rel=1e-6)


def test_start_of_training_is_as_in_the_published_setting():
    """Zero logits over 8 equal tasks: (7 + 7) log 2 / 8 for BCE, log 8 for CE."""
    zero = torch.zeros(32, 8)
    assert td.bce_loss(zero, 3, td.pos_weight([500] * 8)).item() == pytest.approx(14 * math.log(2) / 8, rel=1e-6)
    assert td.ce_loss(zero, 3).item() == pytest.approx(math.log(8), rel=1e-6)


def test_ce_loss_by_hand_with_a_task_for_each_row():
    want = 0.0
    for row, k in zip(LOGITS.tolist(), (1, 0), strict=True):
        want += math.log(sum(map(math.exp, row))) - row[k]
    assert td.ce_loss(LOGITS, torch.tensor([1, 0])).item() == pytest.approx(want / 2, rel=1e-6)


def test_bce_takes_a_task_for_each_row():
    weight = torch.ones(3)
    both = td.bce_loss(LOGITS, torch.tensor([1, 0]), weight)
    alone = (td.bce_loss(LOGITS[:1], 1, weight) + td.bce_loss(LOGITS[1:], 0, weight)) / 2
    assert both.item() == pytest.approx(alone.item(), rel=1e-6)


def test_the_three_scores_by_hand():
    got = {kind: td.scores(LOGITS, 0, kind) for kind in ("sigmoid", "softmax", "margin")}
    assert got["sigmoid"].tolist() == pytest.approx([0.5, sigmoid(2)], rel=1e-6)
    soft = [math.exp(r[0]) / sum(map(math.exp, r)) for r in LOGITS.tolist()]
    assert got["softmax"].tolist() == pytest.approx(soft, rel=1e-6)
    margin = [r[0] - math.log(math.exp(r[1]) + math.exp(r[2])) for r in LOGITS.tolist()]
    assert got["margin"].tolist() == pytest.approx(margin, rel=1e-5)
    assert all(s.dtype == torch.float32 for s in got.values())


def test_margin_orders_as_softmax_where_softmax_is_saturated():
    logits = np.array([[60.0, 0, 0], [80.0, 0, 0], [70.0, 0, 0]], np.float32)
    assert len(set(td.scores(logits, 0, "softmax").tolist())) == 1
    assert td.scores(logits, 0, "margin").argsort().tolist() == [0, 2, 1]


def test_sigmoid_of_ce_logits_orders_differently_from_softmax():
    """Why sigmoid scores of a CE discriminator (the authors' code) are only a switch: a shift a row changes them."""
    logits = np.array([[1.0, 0.0], [3.0, 4.0]], np.float32)
    assert td.scores(logits, 0, "sigmoid").argmax() == 1
    assert td.scores(logits, 0, "softmax").argmax() == 0


def test_scores_refuse_what_they_cannot_do():
    with pytest.raises(ValueError, match="target 3"):
        td.scores(LOGITS, 3, "sigmoid")
    with pytest.raises(ValueError, match="kind 'tanh'"):
        td.scores(LOGITS, 0, "tanh")


def test_scores_keep_their_kind_and_name_what_is_wrong():
    logits = torch.tensor([[0.5, -1.0], [2.0, 0.0]])
    assert isinstance(td.scores(logits.numpy(), 0, "margin"), np.ndarray)
    assert isinstance(td.scores(logits, 0, "margin"), torch.Tensor)
    with pytest.raises(ValueError, match="pos_weight"):
        td.pos_weight([10])
    with pytest.raises(ValueError, match="target -1"):
        td.scores(logits, -1, "sigmoid")


def test_column_auc():
    logits = np.array([[2.0, 0], [1.0, 0], [0.0, 1]])
    assert metrics.column_auc(logits, np.array([0, 0, 1])).tolist() == [1.0, 1.0]
    assert np.isnan(metrics.column_auc(logits, np.array([0, 0, 0]))).all()
