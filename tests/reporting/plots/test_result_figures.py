"""What figures of results mark: verdicts, arms that chose nothing."""

import numpy as np
import pandas as pd
import pytest

from auxlearn.reporting.plots import result_figures

TABLE = pd.DataFrame(
    {
        "difference": [0.1, -0.1, 0.2, 0.0, 0.1], "low": -0.2, "high": 0.3, "row_low": -0.3, "row_high": 0.4,
        "verdict": ["better", "worse", "undecided (3 seeds)", "chose nothing (8 of 8 seeds)",
                    "chose nothing (2 of 8 seeds); better"],
    },
    index=pd.Index(["a", "b", "c", "d", "e"], name="arm"),
)  # fmt: skip


def points(figure):
    lines = [line for line in figure.axes[0].lines if line.get_marker() == "o" and len(line.get_xdata())]
    return [(line.get_xdata()[0], line.get_markerfacecolor() != "white") for line in lines]


def test_a_filled_point_is_a_difference_that_a_test_shows():
    filled = [(0.1, True), (-0.1, True), (0.2, False), (0.0, False), (0.1, True)]
    figure = result_figures.differences(TABLE, "accuracy")
    assert points(figure) == filled * 2  # one per interval
    assert "filled: shown by a corrected test" in [t.get_text() for t in figure.legends[0].get_texts()]
    hollow = result_figures.differences(TABLE[2:4], "accuracy")
    assert not any(full for _, full in points(hollow))
    assert "hollow: not tested, or not shown by a test" in [t.get_text() for t in hollow.legends[0].get_texts()]


def test_an_arm_that_chose_nothing_is_named():
    labels = [label.get_text() for label in result_figures.differences(TABLE, "accuracy").axes[0].get_yticklabels()]
    assert labels == ["a", "b", "c", "d\nchose nothing (8 of 8 seeds)", "e\nchose nothing (2 of 8 seeds)"]


@pytest.mark.parametrize("size", [2, 6, 40])
def test_a_board_is_in_order_and_its_legend_hides_nothing(size):
    means = [(0.3 + 0.07 * at) % 1 for at in range(size - 1)]
    names = [f"method_{at}" for at in range(size - 1)]
    table = pd.DataFrame({"mean": [*means, np.nan]}, index=pd.Index([*names, "nothing"], name="method"))
    figure = result_figures.chosen_shares(
        table.assign(low=table["mean"] - 0.1, high=table["mean"] + 0.1), "helpful", 0.4
    )
    (axis,) = figure.axes
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == [*sorted(names, key=lambda name: -table.loc[name, "mean"]), "nothing (chose nothing)"]
    assert [x for x, _ in points(figure)][: size - 1] == sorted(means, reverse=True)
    figure.canvas.draw()
    legend, plot = figure.legends[0].get_window_extent(), axis.get_window_extent()
    assert figure.bbox.y0 <= legend.y0 < legend.y1 <= axis.xaxis.label.get_window_extent().y0 < plot.y0
