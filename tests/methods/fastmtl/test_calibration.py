"""Reliability, its error and the weight correction, against values computed by hand."""

import math

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot as plt

from auxlearn.methods.fastmtl import calibration
from auxlearn.reporting.plots import feature_figures

P = np.array([0.1, 0.3, 0.6, 0.8])
TRUE = np.array([False, True, True, True])


def wilson(hits, n, z=1.959963984540054):
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return centre - half, centre + half


def test_two_bins_by_hand():
    """Bins {0.1, 0.3} with one of two true and {0.6, 0.8} with both: gaps 0.3 and 0.3, so the error is 0.3."""
    table = calibration.reliability(P, TRUE, bins=2)
    assert table["predicted"].tolist() == pytest.approx([0.2, 0.7])
    assert table["observed"].tolist() == [0.5, 1.0]
    assert table["count"].tolist() == [2, 2]
    for row, hits in zip(table.itertuples(), (1, 2), strict=True):
        assert (row.low, row.high) == pytest.approx(wilson(hits, 2))
    assert table["high"].iloc[1] == pytest.approx(1.0)
    assert calibration.expected_calibration_error(P, TRUE, bins=2) == pytest.approx(0.3)
    # One row a bin: 0.1, 0.7, 0.4 and 0.2 off.
    assert calibration.expected_calibration_error(P, TRUE, bins=4) == pytest.approx(1.4 / 4)
    # One bin: 0.75 observed against 0.45.
    assert calibration.expected_calibration_error(P, TRUE, bins=1) == pytest.approx(0.3)


def test_the_error_is_a_mean_over_rows_and_not_over_bins():
    """Six rows are 0.3 off and two are 0.1 off."""
    p, truth = np.array([0.2] * 6 + [0.9] * 2), np.array([True] * 3 + [False] * 3 + [True] * 2)
    assert calibration.expected_calibration_error(p, truth, bins=4) == pytest.approx((6 * 0.3 + 2 * 0.1) / 8)


def test_wilson_bounds_of_a_known_case():
    """8 of 10: (0.4902, 0.9433), as printed in textbooks."""
    table = calibration.reliability(np.full(10, 0.5), np.arange(10) < 8)
    assert (table["low"][0], table["high"][0]) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    table = calibration.reliability(np.full(10, 0.5), np.arange(10) < 8, level=0.8)
    assert (table["low"][0], table["high"][0]) == pytest.approx(wilson(8, 10, z=1.2815515655446004))


def test_order_of_rows_does_not_matter_and_ties_stay_together():
    p = np.array([0.2] * 6 + [0.9] * 2)
    truth = np.array([True, True, True, False, False, False, True, True])
    table = calibration.reliability(p, truth, bins=4)
    assert table["count"].tolist() == [6, 2]
    assert table["observed"].tolist() == [0.5, 1.0]
    order = np.random.default_rng(0).permutation(8)
    pd.testing.assert_frame_equal(table, calibration.reliability(p[order], truth[order], bins=4))


@pytest.mark.parametrize("n", [100, 103])
def test_bins_are_of_equal_mass(n):
    counts = calibration.reliability(np.linspace(0, 1, n) ** 3, np.arange(n) % 2 == 0)["count"]
    assert len(counts) == 10
    assert counts.sum() == n
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("p", "truth", "bins", "message"),
    [
        ([0.5, 1.2], [True, False], 2, "between 0 and 1"),
        ([0.5, np.nan], [True, False], 2, "between 0 and 1"),
        ([0.5], [1], 2, "boolean"),
        ([0.5], [True, False], 2, "shapes"),
        ([], [], 2, "shapes"),
        ([0.5], [True], 0, "bins"),
    ],
)
def test_bad_input_is_named(p, truth, bins, message):
    with pytest.raises(ValueError, match=message):
        calibration.reliability(np.array(p), np.array(truth), bins)


def test_weight_is_taken_back():
    """Odds 3 (p = 0.75) from a weight of 7 are true odds of 3/7, so p = 0.3."""
    z = np.full((1, 2), math.log(3))
    assert calibration.probabilities(z, "bce")[0].tolist() == pytest.approx([0.75, 0.75])
    assert calibration.probabilities(z, "bce", [7, 1])[0].tolist() == pytest.approx([0.3, 0.75])
    assert calibration.probabilities(np.log([[1, 3]]), "ce")[0].tolist() == pytest.approx([0.25, 0.75])


def test_optimum_of_the_weighted_loss_is_calibrated_once_corrected():
    """20,000 rows, two tasks, logits at the weighted loss's optimum for known posteriors."""
    rng = np.random.default_rng(0)
    posterior = rng.uniform(0.02, 0.98, 20000)
    ids = (rng.uniform(size=20000) < posterior).astype(int)
    own = np.stack([1 - posterior, posterior], axis=1)
    weight = np.array([1.0, 7.0])
    logits = np.log(weight * own / (1 - own))
    table = calibration.table(logits, ids, "bce", ["plain", "heavy"], pos_weight=weight)
    assert table.loc["plain", "ece"] == table.loc["plain", "ece_corrected"] < 0.02
    # The mean of 7p / (1 + 6p) over p in (0.02, 0.98) is 7 / 0.96 (0.96 / 6 - log(6.88 / 1.12) / 36), that of p 0.5.
    expected = 7 / 0.96 * (0.16 - math.log(6.88 / 1.12) / 36) - 0.5
    assert table.loc["heavy", "ece"] == pytest.approx(expected, abs=0.01)
    assert table.loc["heavy", "ece_corrected"] < 0.02
    assert table.loc["heavy", "brier_corrected"] < table.loc["heavy", "brier"] - 0.04
    assert table.loc["heavy", "mean_corrected"] == pytest.approx(table.loc["heavy", "base_rate"], abs=0.01)


def test_table_by_hand():
    """Softmax of log-odds 0 and log 3 over rows of tasks 0, 1, 1 of three named tasks."""
    logits = np.log(np.array([[2.0, 1, 1], [1, 2, 1], [2, 1, 1]]))
    table = calibration.table(logits, np.array([0, 1, 1]), "ce", ["a", "b", "c"], bins=1)
    assert table["base_rate"].tolist() == pytest.approx([1 / 3, 2 / 3, 0])
    assert table["mean_probability"].tolist() == pytest.approx([5 / 12, 1 / 3, 1 / 4])
    assert table["ece"].tolist() == pytest.approx([1 / 12, 1 / 3, 1 / 4])
    assert table["brier"].tolist() == pytest.approx([(0.25 + 0.0625 + 0.25) / 3, (0.0625 + 0.25 + 0.5625) / 3, 0.0625])
    assert table["auc"].tolist()[:2] == pytest.approx([0.75, 0.75])
    assert np.isnan(table.loc["c", "auc"])
    assert "ece_corrected" not in table


def test_a_curve_is_of_the_task_s_own_rows_and_of_corrected_probabilities():
    """Odds 3 of a weight of 7 are odds of 3/7; of four rows one is of the second task."""
    logits, ids = np.full((4, 2), math.log(3)), np.array([0, 1, 0, 0])
    made = calibration.curves(logits, ids, "bce", ["plain", "heavy"], [1, 7])
    assert list(made) == ["plain", "heavy"]
    assert made["plain"][["predicted", "observed"]].values.tolist() == [pytest.approx([0.75, 0.75])]
    assert made["heavy"][["predicted", "observed"]].values.tolist() == [pytest.approx([0.3, 0.25])]


def test_auc_under_ce_ignores_a_shift_of_the_row():
    """CE logits are defined up to a shift a row: the raw column would rank by the shift."""
    probability = np.array([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.2, 0.8]])
    logits = np.log(probability) + np.array([[0.0], [1.0], [9.0], [9.0]])
    table = calibration.table(logits, np.array([0, 0, 1, 1]), "ce", ["a", "b"])
    assert table["auc"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"kind": "ce", "pos_weight": [1, 1]}, "pos_weight"),
        ({"kind": "bce", "pos_weight": [1, 0]}, "above 0"),
        ({"kind": "bce", "pos_weight": [1]}, "2 values"),
        ({"kind": "margin"}, "margin"),
        ({"kind": "bce", "names": ["a"]}, "names"),
    ],
)
def test_table_names_what_does_not_fit(kwargs, message):
    with pytest.raises(ValueError, match=message):
        calibration.table(np.zeros((3, 2)), np.array([0, 1, 1]), **{"names": ["a", "b"]} | kwargs)


def test_nan_logits_are_refused():
    with pytest.raises(ValueError, match="NaN"):
        calibration.probabilities(np.array([[0.0, np.nan]]), "bce")


def test_the_primary_s_reliability_has_bars_and_a_scale_of_its_own():
    tables = {name: calibration.reliability(P, TRUE, bins=2) for name in ("x", "main", "y")}
    small = tables["main"][["predicted", "observed", "low", "high"]] / 10
    figure = feature_figures.reliability(tables | {"main": tables["main"].assign(**small)}, "main")
    own, others = figure.axes
    assert [len(axis.containers) for axis in figure.axes] == [1, 0]  # error bars for one task only
    assert own.containers[0][0].get_xydata().tolist() == pytest.approx(np.array([[0.02, 0.05], [0.07, 0.1]]))
    assert own.get_xlim()[1] < 0.15 < 1 < others.get_xlim()[1]
    assert {t.get_text() for t in others.get_legend().get_texts()} == {"perfect", "2 other tasks"}
    plt.close(figure)
    figure = feature_figures.reliability({"main": tables["main"]}, "main")  # a suite of one task
    assert len(figure.axes) == 1
    plt.close(figure)
