"""The pictures on a study's page: each comparison's differences, and scores along what the study varies."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlearn.methods import registry
from auxlearn.reporting.pages.all_results import Row
from auxlearn.reporting.plots import palette

if TYPE_CHECKING:
    from matplotlib.figure import Figure

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
    return _written(path, result_figures.differences(table, metric, seeds=seeds, tested=tested if told else None))


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


def of_sizes(
    rows: Sequence[Row], spans: Sequence[tuple[float, float] | None], metrics: Mapping[str, str]
) -> list[Curves]:
    """Find what a study's scores say along the number of rows, of each primary with several.

    Args:
        rows: Its arms.
        spans: The interval of each one's score.
        metrics: By primary, its metric's name.

    Returns:
        One for each such primary.
    """
    found = []
    several = [name for name in dict.fromkeys(row.primary for row in rows) if _sizes(rows, name) > 1]
    for primary in several:
        points: dict[tuple[str, float | None], tuple[str, float | None, float, float, float]] = {}
        for row, span in zip(rows, spans, strict=True):
            if row.primary == primary and span is not None and not row.of and primary in metrics:
                x = float(row.n) if by_n(row.arm) and row.n else None
                points.setdefault((row.arm, x), (row.arm, x, row.score, *span))
        if points:
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


def by_n(arm: str) -> bool:
    """Tell whether another number of rows gives an arm another training; of a plug-in's that is not here it may."""
    try:
        return registry.uses_n(arm)
    except ValueError:
        return True


def _sizes(rows: Sequence[Row], primary: str) -> int:
    return len({row.n for row in rows if row.primary == primary and row.n and not row.of})


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
