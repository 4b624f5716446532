"""What a report calls its pages."""

from types import SimpleNamespace

import pytest

from auxlearn import report


def cells(*params):
    base = {"primary": "a", "n": 10, "suite": "params/suites/x.yaml", "rows": 0, "encoder": "tiny"}
    return [{"stage": "07_efficiency", "params": base | p} for p in params] + [{"stage": "06_mtl", "params": base}]


@pytest.mark.parametrize(
    ("params", "suffixes"),
    [
        ([{}], [""]),
        ([{}, {"primary": "b"}], ["-a-10", "-b-10"]),
        ([{"rows": 5}, {"rows": 7}], ["-a-10-5", "-a-10-7"]),
        ([{}, {"suite": "params/suites/y.yaml", "rows": 3}], ["-a-10-x-0", "-a-10-y-3"]),
    ],
)
def test_comparisons_are_told_apart_by_what_differs(params, suffixes):
    rows = cells(*params)
    assert [report._suffix(rows, row) for row in rows[:-1]] == suffixes


def test_one_seed_has_no_interval_and_still_a_report():
    """Intervals over seeds of one seed are None in a manifest; the index says so and does not fail."""
    made = {"verdict": "undecided (1 seed)", "p": None, "low": None, "high": None, "row_low": -0.01, "row_high": 0.05}
    arm = {"difference": 0.02, "score": 0.5, "added": 10, "tflop": 1.0} | made
    base = dict.fromkeys(("difference", "low", "high", "row_low", "row_high", "p"))
    base |= {"score": 0.5, "added": 0, "tflop": 1.0, "verdict": "baseline"}
    pairs = [{"arm": "all_data", "baseline": "single", "difference": 0.02} | made]
    metrics = {"metric": "accuracy", "floor": 0.5, "arms": {"single": base, "all_data": arm}, "pairs": pairs}
    params = {"primary": "a", "n": 10, "arms": ["single", "all_data"], "level": 0.95, "seeds": [0]}
    row = {
        "params": params, "manifest": SimpleNamespace(metrics=metrics), "link": "x.html", "figure": "x.png",
        "truth": None, "stage": "07_efficiency", "label": "x", "headline": "", "seconds": 1.0, "tflop": 1.0,
        "status": "finished",
    }  # fmt: skip
    text = (
        report._environment()
        .get_template("index.html")
        .render(
            title="t",
            rows=[row],
            comparisons=[row],
            first=None,
            stages=report.STAGES,
            short=str,
            commits=[],
            seconds=1.0,
        )
    )
    assert "One seed, which has no interval over seeds" in text
    assert text.count(">none</td>") == 2
    assert "-0.010 to +0.050" in text
