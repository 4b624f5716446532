"""Axes can be read: at most ten ticks, whatever the number of epochs; intervals and seeds are said."""

import pandas as pd
import pytest

from auxlearn.reporting.plots import figures, result_figures


@pytest.mark.parametrize("epochs", [1, 3, 40, 100])
def test_a_proxy_of_many_epochs_has_ten_ticks_at_most(epochs):
    steps = pd.Series(range(1, epochs + 1))
    table = pd.DataFrame({"epoch": steps, "loss": 1.0, "disc_loss": 0.5})
    auc = pd.DataFrame({"a": 0.7}, index=pd.Index(steps, name="epoch"))
    figure = figures.proxy_curves(table, auc, "a")
    for axis in figure.axes:
        low, high = axis.get_xlim()
        ticks = [tick for tick in axis.get_xticks() if low <= tick <= high]
        assert 1 <= len(ticks) <= 10
        assert all(tick == int(tick) for tick in ticks)


def test_intervals_and_seeds_are_said():
    summary = pd.DataFrame({"score": [0.5], "low": [0.4], "high": [0.6], "cost": [1.0]}, index=["single"])
    figure = result_figures.quality_and_cost(summary, "accuracy", "TFLOP")
    assert figure.axes[0].get_title(loc="left").endswith("mean over seeds, t interval")


@pytest.mark.parametrize("draw", ["quality_and_cost", "amortised", "data_share"])
def test_no_two_of_many_arms_look_alike(draw):
    """After ten, colours come again with another marker."""
    arms = [f"arm{number}" for number in range(24)]
    if draw == "data_share":
        table = pd.DataFrame({"arm": arms, "n": 9, "share": 0.1, "score": 0.5, "low": 0.4, "high": 0.6})
        figure = result_figures.data_share(table, "accuracy", arms)
    elif draw == "amortised":
        figure = result_figures.amortised(pd.DataFrame(1.0, [1, 2], arms), "TFLOP")
    else:
        summary = pd.DataFrame({"score": 0.5, "low": 0.4, "high": 0.6, "cost": 1.0}, index=arms)
        figure = result_figures.quality_and_cost(summary, "accuracy", "TFLOP")
    lines = [line for line in figure.axes[0].lines if line.get_marker() not in ("None", "|", "_", 2, 3)]
    assert len({(line.get_color(), line.get_marker()) for line in lines}) == 24


def test_arms_at_one_share_are_set_apart_by_little():
    arms = [f"arm{number}" for number in range(24)]
    table = pd.DataFrame({"arm": arms, "n": 9, "share": 1.0, "score": 0.5, "low": 0.4, "high": 0.6})
    axis = result_figures.data_share(table, "accuracy", arms).axes[0]
    shares = {float(line.get_xdata()[0]) for line in axis.lines if line.get_marker() in "oxs"}
    assert len(shares) == 24
    assert max(shares) == pytest.approx(1.06)
    assert "set apart" in axis.get_xlabel()
