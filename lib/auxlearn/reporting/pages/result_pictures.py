"""The picture of a comparison on a study's page: each arm's difference, and below them the pairs that were tested."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from auxlearn.reporting.plots import palette

COLUMNS = ("difference", "low", "high", "row_low", "row_high", "verdict")


def draw(
    path: Path, arms: Mapping[str, Mapping[str, Any]], pairs: Iterable[Mapping[str, Any]], metric: str, seeds: int
) -> bool:  # fmt: skip
    """Draw a comparison into a file, unless it is there already as it would be drawn.

    Args:
        path: The file.
        arms: By arm, its `COLUMNS` as a 07's metrics have them; an arm without a difference is the baseline.
        pairs: Pairs of arms as a 07's metrics have them; those without a p are left out.
        metric: The metric's name.
        seeds: How many seeds.

    Returns:
        Whether the file was written.
    """
    import matplotlib.pyplot as plt
    import pandas as pd

    from auxlearn.reporting.plots import result_figures

    own = {arm: {name: row[name] for name in COLUMNS} for arm, row in arms.items() if row["difference"] is not None}
    if not own:
        return False
    told = {
        (pair["arm"], pair["baseline"]): {name: pair.get(name) for name in COLUMNS}
        for pair in pairs if pair.get("p") is not None
    }  # fmt: skip
    table = pd.DataFrame.from_dict(own, orient="index")
    tested = pd.DataFrame.from_dict(told, orient="index", columns=list(COLUMNS))
    for each in (table, tested):
        each[list(COLUMNS[:-1])] = each[list(COLUMNS[:-1])].astype(float)
    figure = result_figures.differences(table, metric, seeds=seeds, tested=tested if told else None)
    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    plt.close(figure)
    picture = palette.smaller(drawn.getvalue())
    if path.is_file() and path.read_bytes() == picture:
        return False
    path.write_bytes(picture)
    return True
