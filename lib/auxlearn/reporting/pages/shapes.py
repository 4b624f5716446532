"""What a page is made of, of a run folder that may come from anyone: the shapes of a plan and of what runs measured."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from auxlearn.records.manifests import Name, Shape


class Compared(Shape):
    """Parameters of a 07."""

    primary: str
    arms: list[str]
    seeds: list[int]
    n: int
    level: float = Field(gt=0, lt=1)


class Cell(Shape):
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
    title: str
    cells: list[Cell]


class Difference(Shape):
    difference: float | None
    low: float | None
    high: float | None
    row_low: float | None
    row_high: float | None
    p: float | None
    verdict: str


class Arm(Difference):
    added: float
    score: float
    tflop: float


class Pair(Difference):
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
    """Metrics of a 03 on the planted suite."""

    truth_auc: float
    helpful_chosen: float
    helpful_pool: float


def fits(shape: type[Shape], content: Any) -> bool:
    try:
        shape.model_validate(content)
    except ValidationError:
        return False
    return True
