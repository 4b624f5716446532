"""The shapes of a plan and of what runs measured: what pages read of a run folder that may come from anyone."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from auxlearn.records.manifests import Name, Shape


class Compared(Shape):
    """Parameters of a 07 that pages read."""

    primary: str
    arms: list[str]
    seeds: list[int]
    n: int
    level: float = Field(gt=0, lt=1)


class Cell(Shape):
    """One cell of a plan."""

    stage: Name
    key: Name
    label: str
    params: dict[str, Any]

    @model_validator(mode="after")
    def _comparison(self) -> Self:
        if self.stage == "07_efficiency":
            Compared.model_validate(self.params)
        return self


class Plan(Shape):
    """A study's plan."""

    title: str
    cells: list[Cell]


class Difference(Shape):
    """An arm's difference to a baseline, with both intervals."""

    difference: float | None
    low: float | None
    high: float | None
    row_low: float | None
    row_high: float | None
    p: float | None
    verdict: str


class Found(Shape):
    """What a method of an 08 chose: the share of the best kind of row with its interval, its AUC and its cost."""

    mean: float | None
    low: float | None
    high: float | None
    auc: float | None
    TFLOP: float | None
    seeds: int | None = None
    shares: dict[str, float | None] = {}


class Board(Shape):
    """What pages read of an 08."""

    kind: str = Field(alias="class")
    pool: float
    found: dict[str, Found]
    pools: dict[str, float] = {}


class Arm(Difference):
    """What a 07 measured of one arm."""

    added: float
    score: float
    score_low: float | None = None
    score_high: float | None = None
    tflop: float


class Pair(Difference):
    """What a 07 measured of one pair of arms."""

    arm: str
    baseline: str
    difference: float


class Metrics(Shape):
    """Metrics of a 07. Those of another version of the notebook are left out."""

    metric: str
    floor: float
    arms: dict[str, Arm]
    pairs: list[Pair] = []


class Truth(Shape):
    """What a 03 on the planted suite found of one seed's ranking."""

    truth_auc: float
    helpful_chosen: float
    helpful_pool: float


class Truths(Shape):
    """Metrics of a 03, by seed where the suite is planted."""

    seeds: dict[str, Truth]


def fits(shape: type[Shape], content: Any) -> bool:
    """Say whether content has a shape.

    Args:
        shape: The shape.
        content: Anything.

    Returns:
        Whether it validates.
    """
    try:
        shape.model_validate(content)
    except ValidationError:
        return False
    return True
