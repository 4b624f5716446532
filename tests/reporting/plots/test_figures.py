"""Axes can be read: at most ten ticks, whatever the number of epochs; intervals and seeds are said."""

import pandas as pd
import pytest

from auxlearn.reporting.plots import figures, result_figures


@pytest.mark.parametrize("epochs", [1, 3, 40, 100])
def test_a_proxy_of_many_epochs_has_ten_ticks_at_most(epochs):
    steps = pd.Series(range(1, epochs + 1))
    table = pd.DataFrame({"epoch": steps, "loss": 1.0, "disc_loss": 0.5})
    auc = pd.DataFrame({"a": 0.7}, index=pd.Index(steps, name="epoch"))
    figure = figures.proxy_curves(table, auc)
    for axis in figure.axes:
        low, high = axis.get_xlim()
        ticks = [tick for tick in axis.get_xticks() if low <= tick <= high]
        assert 1 <= len(ticks) <= 10
        assert all(tick == int(tick) for tick in ticks)


def test_intervals_and_seeds_are_said():
    summary = pd.DataFrame({"score": [0.5], "low": [0.4], "high": [0.6], "cost": [1.0]}, index=["single"])
    figure = result_figures.quality_and_cost(summary, "accuracy", "TFLOP")
    assert figure.axes[0].get_title(loc="left").endswith("mean over seeds, t interval")
