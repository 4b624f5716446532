"""The pictures on a study's page: each comparison's differences, and scores along what the study varies."""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlearn.reporting.pages.all_results import Row
from auxlearn.reporting.plots import palette

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = ("difference", "low", "high", "row_low", "row_high", "verdict")


def draw(path: Path, arms: Sequence[Row], pairs: Iterable[Mapping[str, Any]], metric: str) -> bool:
    """Draw a comparison into a file, unless it is there already as it would be drawn.

    Args:
        path: The file.
        arms: Its arms; one without a difference is the baseline.
        pairs: Pairs of arms as a 07's metrics have them; those without a p are left out.
        metric: The metric's name.

    Returns:
        Whether the file was written.
    """
    import pandas as pd

    from auxlearn.reporting.plots import difference_figures

    none = (math.nan, math.nan)
    own = {
        row.arm: (row.difference, *(row.interval or none), *(row.row_interval or none), row.verdict)
        for row in arms if row.difference is not None
    }  # fmt: skip
    if not own:
        return False
    told = {
        (pair["arm"], pair["baseline"]): (pair["difference"], pair["low"], pair["high"], *none, pair["verdict"])
        for pair in pairs if pair["p"] is not None
    }  # fmt: skip
    table, tested = (
        pd.DataFrame.from_dict(rows, orient="index", columns=list(COLUMNS)).astype(
            {name: float for name in COLUMNS[:-1]}
        )
        for rows in (own, told)
    )
    if told:
        tested.index = pd.MultiIndex.from_tuples(list(told))
    seeds = max(row.seeds for row in arms)
    return _written(path, difference_figures.differences(table, metric, seeds=seeds, tested=tested if told else None))


@dataclass(frozen=True)
class Curves:
    """Scores along a number that a study varies.

    Attributes:
        name: The picture's file.
        metric: The metric's name.
        along: What the number is.
        points: Of each arm and number: arm, number (None of an arm that it does not change), mean, and its interval.
    """

    name: str
    metric: str
    along: str
    points: tuple[tuple[str, float | None, float, float, float], ...]

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        arms = dict.fromkeys(arm for arm, *_ in self.points)
        told = [
            f"{arm} " + ", ".join(f"{score:.3f}" for own, _, score, _, _ in self.points if own == arm) for arm in arms
        ]
        return f"{self.metric} on dev by {self.along}, mean over seeds with t intervals. {'; '.join(told)}."

    def draw(self, folder: Path) -> bool:
        """Draw the picture into a folder, unless it is there; return whether it was written."""
        import pandas as pd

        from auxlearn.reporting.plots import result_figures

        table = pd.DataFrame(self.points, columns=["arm", "x", "score", "low", "high"])
        table["x"] = table["x"].astype(float)
        return _written(folder / self.name, result_figures.curves(table, self.metric, self.along))


def of_sizes(rows: Sequence[Row], metrics: Mapping[str, str]) -> list[Curves]:
    """Find what a study's scores say along the number of rows, of each primary with several.

    Args:
        rows: Its arms.
        metrics: By primary, its metric's name.

    Returns:
        One for each such primary.
    """
    found = []
    told = [row for row in rows if row.n and not row.of and row.score_interval and row.primary in metrics]
    sizes = {
        name: {row.n for row in told if row.primary == name} for name in dict.fromkeys(row.primary for row in told)
    }
    several = [name for name, own in sizes.items() if len(own) > 1]
    for primary in several:
        points: dict[tuple[str, float | None], tuple[str, float | None, float, float, float]] = {}
        for row in told:
            if row.primary == primary and row.score_interval:
                x = float(row.n) if row.by_n else None
                points.setdefault((row.arm, x), (row.arm, x, row.score, *row.score_interval))
        name = f"curve-{primary}.png" if len(several) > 1 else "curve.png"
        found.append(Curves(name, metrics[primary], "auxiliary rows added", tuple(points.values())))
    return found


def of_parts(parts: Mapping[str, Sequence[tuple[float, float, float]]], metric: str) -> list[Curves]:
    """Return what parts of rankings give that are trained alone, by method from the highest scores to the lowest."""
    points = [
        (method, float(at + 1), *values) for method, own in parts.items() for at, values in enumerate(own)
    ]  # fmt: skip
    along = "part of the ranking, from the highest scores to the lowest"
    return [Curves("curve.png", metric, along, tuple(points))] if points else []


def _written(path: Path, figure: Figure) -> bool:
    import matplotlib.pyplot as plt

    drawn = io.BytesIO()
    figure.savefig(drawn, format="png")
    plt.close(figure)
    picture = palette.smaller(drawn.getvalue())
    if path.is_file() and path.read_bytes() == picture:
        return False
    path.write_bytes(picture)
    return True
