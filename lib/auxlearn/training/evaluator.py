"""A model and what a plan judges it by: rows tokenised once, scores on dev or held-out rows, watched columns."""

from __future__ import annotations

from typing import Any

import numpy as np

from auxlearn.cost import Ledger
from auxlearn.data import batching
from auxlearn.data.suites import Suite
from auxlearn.data.tokens import token_store
from auxlearn.evaluation import metrics
from auxlearn.models import devices
from auxlearn.models.multitask import MultiTaskModel
from auxlearn.training import data_parallel, prediction
from auxlearn.training.phases import Phase, Plan


class Evaluator:
    """A model and what a plan judges it by; each text is tokenised once.

    Args:
        plan: The plan.
        suite: The suite that its rows are of.
        model: The model to be judged.
    """

    def __init__(self, plan: Plan, suite: Suite, model: MultiTaskModel):
        self.plan, self.suite, self.model = plan, suite, model
        self.encoded: dict[tuple[str, str], batching.Encoded] = {}

    def _train_rows(self, name: str, rows: np.ndarray, phase: str) -> batching.Encoded:
        return self._encode(name, f"phase/{phase}", rows)

    def _encode(self, name: str, part: str, rows: np.ndarray | None, split: str = "train") -> batching.Encoded:
        if (name, part) not in self.encoded:
            net = self.model
            self.encoded[name, part] = token_store.encoded(
                self.suite[name], split, net.tokenizer, net.max_length, rows=rows, parts=True
            )
        return self.encoded[name, part]

    def _judge(self, phase: Phase, ledger: Ledger) -> float:
        """Score the model by what the state kept is chosen by (see `Phase.choose`), as the first process finds it."""
        if phase.choose == "dev":
            score = float(np.prod(list(self._score("dev", None, ledger)[0].values())))
        else:
            score = self._score("train", self.plan.holdout, ledger)[0][self.suite[self._primary()].metric]
        return data_parallel.agreed(score)[0]

    def _primary(self) -> str:
        assert self.plan.primary is not None, "phases.check refuses plans that are judged without a primary"
        return self.plan.primary

    def _score(
        self, split: str, rows: np.ndarray | None, ledger: Ledger | None = None
    ) -> tuple[dict[str, float], Any, Any]:
        task = self.suite[self._primary()]
        encoded = self._encode(task.name, f"{split}/score", rows, split)
        predictions, references = prediction.predict(self.model, encoded, task, self.plan.precision, ledger)
        return metrics.score(task, predictions, references), predictions, references

    def _watch(self) -> list[float]:
        """Measure the AUC of each discriminator column on rows that the discriminator is not trained on; uncharged."""
        logits, ids = [], []
        for name, rows in self.plan.watch.items():
            task = self.suite[name]
            encoded = self._encode(name, "train/watch", rows)
            batches = prediction.outputs(self.model, encoded, task, self.plan.precision)
            for _, values in devices.on_host((index, {"": out.discriminator}) for index, out in batches):
                logits.append(values[""])
                ids.append(np.full(len(logits[-1]), self.model.columns[name]))
        return metrics.column_auc(np.concatenate(logits), np.concatenate(ids)).tolist()
