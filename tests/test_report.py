"""What a report calls its pages."""

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
