"""One axis per task, of one scale, however few the seeds."""

import numpy as np
import pandas as pd
import pytest

from auxlearn.reporting.plots import weight_figures
from auxlearn.reporting.plots.figures import PRIMARY

TASKS = ["a", "b", "c", "d", "t"]


def updates(seeds):
    rows = [
        {"task": task, "seed": seed, "update": u, "step": 10 * u, "weight": 0.1 * i + 0.01 * u, "share": 0.2,
         "cosine": np.nan if u == 2 else 0.1 * i, "error": 0.05}
        for i, task in enumerate(TASKS) for seed in range(seeds) for u in range(5)
    ]  # fmt: skip
    return pd.DataFrame(rows)


@pytest.mark.parametrize("seeds", [1, 2, 8])
def test_weights_have_a_panel_per_task_with_one_scale(seeds):
    table = updates(seeds)
    figure = weight_figures.trajectories(table, table[table["seed"] == 0], "t")
    assert [axis.get_title(loc="left") for axis in figure.axes] == TASKS
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    assert figure.axes[0].get_ylim()[0] == 0
    assert figure.axes[0].get_ylim()[1] > 0.44  # what the last axis draws is seen
    assert [len(axis.lines) for axis in figure.axes] == [seeds + 2] * 5  # seeds, their mean, no gradient
    thick = figure.axes[1].lines[seeds]
    assert thick.get_ydata() == pytest.approx([0.1, 0.11, 0.12, 0.13, 0.14])
    assert figure.axes[4].lines[0].get_color() == PRIMARY
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said[-2:] == [f"mean of {seeds} seeds" if seeds > 1 else "one seed", "what no gradient gives"]


def test_cosines_have_a_panel_per_task_and_say_what_the_bars_are():
    figure = weight_figures.cosines(updates(2), "t")
    assert [axis.get_title(loc="left") for axis in figure.axes] == TASKS
    assert len({axis.get_ylim() for axis in figure.axes}) == 1
    assert figure.get_suptitle() == "Gradient cosines, 2 seeds side by side; bars: one standard error"
    assert all(len(axis.get_xticks()) <= 10 for axis in figure.axes)


def test_cosines_beyond_the_axis_are_marked_at_its_edge():
    table = updates(2)
    table.loc[(table["task"] == "b") & (table["update"] == 1), "cosine"] = [7.0, -9.0]
    figure = weight_figures.cosines(table, "t")
    assert figure.get_suptitle().endswith("one standard error; triangles: beyond the axis")
    low, high = figure.axes[1].get_ylim()
    assert (low, high) == (-2.5, 2.5)
    marks = {line.get_marker(): line.get_ydata().tolist() for line in figure.axes[1].lines if line.get_marker() in "^v"}
    assert marks["^"] == [high]
    assert marks["v"] == [low]
    assert not any(line.get_marker() in ("^", "v") for line in figure.axes[0].lines)
