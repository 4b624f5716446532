"""What figures of results mark: verdicts, arms that chose nothing."""

import numpy as np
import pandas as pd

from auxlearn.reporting.plots import result_figures


def test_the_shares_that_were_tried_are_on_the_axis():
    rows = [("td", 333, 0.06), ("td", 4500, 0.75), ("random", 333, 0.06), ("all", 6000, 1.0), ("single", 0, 0.0)]
    table = pd.DataFrame(rows, columns=["arm", "n", "share"]).assign(score=0.5, low=0.4, high=0.6)
    (axis,) = result_figures.data_share(table, "accuracy", ["td", "random", "all", "single"]).axes
    assert [axis.xaxis.get_major_formatter()(x, 0) for x in axis.get_xticks()] == ["6%", "75%", "100%"]
    assert not len(axis.get_xticks(minor=True))


def test_curves_are_drawn_along_what_varies_and_across_what_does_not():
    rows = [("td", 10, 0.5), ("td", 200, 0.6), ("random", 10, 0.4), ("random", 200, 0.45), ("single", np.nan, 0.3)]
    table = pd.DataFrame(rows, columns=["arm", "x", "score"])
    figure = result_figures.curves(table.assign(low=table["score"] - 0.1, high=table["score"] + 0.1), "f1", "rows")
    (axis,) = figure.axes
    assert [label.get_text() for label in axis.get_xticklabels()] == ["10", "200"]
    assert (axis.get_xlabel(), axis.get_ylabel()) == ("rows", "f1, dev")
    assert sorted(text.get_text() for text in axis.get_legend().get_texts()) == ["random", "single", "td"]
    (across,) = [line for line in axis.lines if line.get_linestyle() == "--"]
    assert set(across.get_ydata()) == {0.3}
