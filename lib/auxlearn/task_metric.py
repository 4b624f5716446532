"""Task metrics as `evaluate.Metric` subclasses. A module of its own, for importing evaluate takes seconds."""

from __future__ import annotations

from typing import Any

import datasets
import evaluate

from .metrics import FUNCTIONS
from .tasks import Task


class TaskMetric(evaluate.Metric):
    """One named metric of one task; `compute(predictions=…, references=…)` gives `{name: value}`."""

    def __init__(self, name: str, task: Task):
        self.metric, self.task = name, task
        super().__init__(config_name=name, keep_in_memory=True, experiment_id=f"{task.name}-{name}")

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value("float32" if self.task.kind == "regression" else "int64")
        feature = datasets.Sequence(value) if self.task.kind == "tagging" else value
        return evaluate.MetricInfo(
            description=f"{self.metric} of {self.task.name}",
            citation="",
            features=datasets.Features({"predictions": feature, "references": feature}),
        )

    def _compute(self, predictions: Any, references: Any) -> dict[str, float]:
        value = FUNCTIONS[self.metric](predictions, references, self.task.labels)
        return {self.metric: float(value)}
