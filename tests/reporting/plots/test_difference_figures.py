"""What figures of differences mark: verdicts, arms that chose nothing, pairs that were tested."""

import numpy as np
import pandas as pd
import pytest

from auxlearn.reporting.plots import difference_figures

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


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_a_filled_point_is_a_difference_that_a_test_shows():
    filled = [(0.1, True), (-0.1, True), (0.2, False), (0.0, False), (0.1, True)]
    figure = difference_figures.differences(TABLE, "accuracy")
    assert points(figure) == filled  # on the interval over seeds alone, which the test is of
    assert legend(figure)[2:] == ["filled: shown by a corrected test", "hollow: tested or undecided, not shown"]
    hollow = difference_figures.differences(TABLE[2:4], "accuracy")
    assert not any(full for _, full in points(hollow))
    assert legend(hollow)[2:] == ["hollow: tested or undecided, not shown"]


def test_what_was_not_tested_is_a_bar_and_seeds_are_said():
    figure = difference_figures.differences(TABLE.assign(verdict=["not tested"] * 4 + ["better"]), "accuracy", seeds=10)
    assert points(figure) == [(0.1, True)]
    bars = [line.get_xdata()[0] for line in figure.axes[0].lines if line.get_marker() == "|" and len(line.get_xdata())]
    assert bars == [0.1, -0.1, 0.2, 0.0]
    assert legend(figure)[2:] == ["filled: shown by a corrected test", "bar: not tested"]
    assert figure.axes[0].get_xlabel() == "accuracy: difference to single-task (10 seeds)"


def test_tested_pairs_stand_below_on_the_same_scale():
    pairs = TABLE.set_axis(pd.MultiIndex.from_tuples([(name, "random") for name in TABLE.index])).assign(high=0.9)
    figure = difference_figures.differences(TABLE, "accuracy", seeds=1, tested=pairs.assign(row_low=np.nan))
    above, below = figure.axes
    assert above.get_xlim() == below.get_xlim()
    assert [text.get_text() for text in below.get_yticklabels()][:2] == ["a − random", "b − random"]
    assert below.get_title(loc="left") == "Tested against each other"
    assert below.get_xlabel() == "accuracy: difference to single-task (above), or between arms (1 seed)"
    assert len(below.collections) == 1  # no interval over rows, which the page of a pair does not have


def test_differences_that_are_all_nothing_have_an_axis_that_can_be_read():
    nothing = TABLE.assign(difference=0.0, low=-1e-17, high=0.0, row_low=-1e-17, row_high=0.0)
    assert difference_figures.differences(nothing, "accuracy").axes[0].get_xlim() == (-0.01, 0.01)


def test_an_arm_that_chose_nothing_is_named():
    labels = [label.get_text() for label in difference_figures.differences(TABLE, "accuracy").axes[0].get_yticklabels()]
    assert labels == ["a", "b", "c", "d\nchose nothing (8 of 8 seeds)", "e\nchose nothing (2 of 8 seeds)"]


@pytest.mark.parametrize("size", [2, 6, 40])
def test_a_board_is_in_order_and_its_legend_hides_nothing(size):
    means = [(0.3 + 0.07 * at) % 1 for at in range(size - 1)]
    names = [f"method_{at}" for at in range(size - 1)]
    table = pd.DataFrame({"mean": [*means, np.nan]}, index=pd.Index([*names, "nothing"], name="method"))
    figure = difference_figures.chosen_shares(
        table.assign(low=table["mean"] - 0.1, high=table["mean"] + 0.1), "helpful", 0.4
    )
    (axis,) = figure.axes
    labels = [label.get_text() for label in axis.get_yticklabels()]
    assert labels == [*sorted(names, key=lambda name: -table.loc[name, "mean"]), "nothing (chose nothing)"]
    assert [x for x, _ in points(figure)][: size - 1] == sorted(means, reverse=True)
    figure.canvas.draw()
    legend, plot = figure.legends[0].get_window_extent(), axis.get_window_extent()
    assert figure.bbox.y0 <= legend.y0 < legend.y1 <= axis.xaxis.label.get_window_extent().y0 < plot.y0
