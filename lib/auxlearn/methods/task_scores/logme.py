"""LogME: tasks whose models' features tell the primary's labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field

from auxlearn.cost import Ledger, total
from auxlearn.errors import InputError
from auxlearn.methods import arm_plans, task_plans
from auxlearn.methods.base import Artifact, Cell, Charge, Context, Maker, Need, SizedContext
from auxlearn.methods.registry import register
from auxlearn.methods.task_scores import base
from auxlearn.training.phases import Plan

READS = ("features",)
# The authors': updates at most, the change of a / b at which there are no more, what is added to denominators.
ROUNDS, CLOSE, SOFT = 11, 1e-3, 1e-5
ENOUGH = 1000  # updates that suffice
Evidence = Literal["corrected", "code"]


class LogMEOptions(base.TaskScoreOptions):
    """Options of logme."""

    source_rows: int = Field(500, ge=0)
    """most rows of each auxiliary that its model is tuned on (0: all)"""
    source_epochs: int = Field(3, ge=1)
    """epochs of tuning each auxiliary alone"""
    target_rows: int = Field(0, ge=0)
    """rows of the primary whose labels are told, drawn from those that it is trained on (0: all)"""
    evidence: Evidence = "corrected"
    """at its maximum; or as the authors' code computes it (code, see `log_evidence`)"""


class TaskFeatures(task_plans.TunedAlone):
    """Parameters of the primary's features by models that are each tuned on one auxiliary alone."""

    stage = ""  # no notebook shows it

    holdout: float = Field(0.0, ge=0, lt=0.9)
    """share of the primary's rows that the arm holds out, which are not read (0: none)"""
    target_rows: int = Field(0, ge=0)
    """rows of the primary that are read (0: all that the arm is trained on)"""


@register
class LogME(base.TaskScore):
    """Log evidence of a Bayesian linear model from features to labels, maximised over its two precisions.

    Features are pooled states of the primary's rows by a model tuned on the auxiliary alone. Each class has a linear
    model of its own, of its 0s and 1s, and the evidence is the mean over classes and rows, as in the authors' code.
    What differs: precisions are followed until the evidence is at its maximum. The authors' code (`evidence: code`)
    stops after 11 updates, short of it where features are many; and its number is no evidence where they outnumber
    rows, as a term of the determinant is left out.
    """

    name, reference = "logme", "You et al., 2021 (LogME)"
    title = "n rows of the tasks whose models' features best tell the primary's labels"
    formula = (
        "s(task) = max over a, b of log p(y | F, a, b) / N, y = F w + noise of precision b, w of precision a; F the "
        "primary's features by the task's model; mean over classes"
    )
    cost = "a model tuned on each auxiliary alone for all primaries alike, and a forward pass of each over the primary"
    use = "where the primary has labels enough for a linear model: it alone asks what a source's model knows of them"
    Options = LogMEOptions

    def needs(self, cell: Cell, options: Any) -> list[Need]:
        """Need the primary's features by each auxiliary's model."""
        p: Any = cell.params
        given = {"tune_rows": options.source_rows, "epochs": options.source_epochs, "target_rows": options.target_rows}
        given["holdout"] = p.held_out
        return [Need("task_features", arm_plans.of_arm(p) | given)]

    def task_scores(self, context: Context, cell: Cell, options: Any) -> Mapping[str, float]:
        """Compute the evidence of the primary's labels by each auxiliary's features.

        Raises:
            InputError: The primary is a tagging task, whose rows have no label of their own.
        """
        task = context.suite[cell.primary]
        if task.kind == "tagging":
            raise InputError(
                f"logme: primary {cell.primary!r} is a tagging task, whose rows have no label of their own; take "
                "taskemb or textemb"
            )
        rows, features = context.obtain(*self.needs(cell, options))
        labels = np.array(task.train.select(rows.tolist())[task.label][:])
        if len(np.unique(labels)) < 2:
            raise InputError(
                f"logme: the {len(rows)} rows of {cell.primary!r} that are read have one label, which any features "
                "tell; raise target_rows or primary_rows"
            )
        classes = np.unique(labels) if task.labels else None  # one that no row has could be told without features
        targets = labels[:, None].astype(np.float64) if classes is None else (labels[:, None] == classes).astype(float)
        return {name: float(np.mean(log_evidence(x, targets, options.evidence))) for name, x in features.items()}


def log_evidence(features: np.ndarray, targets: np.ndarray, rule: Evidence = "corrected") -> np.ndarray:
    """Compute the log evidence per row of linear models of targets, each maximised over its two precisions.

    The model is y = F w + noise, w ~ N(0, 1/a) and noise ~ N(0, 1/b). Fixed-point updates (MacKay, 1992) lead to
    precisions of highest evidence; one singular value decomposition serves all of them and all targets.

    Args:
        features: F, float [N, d].
        targets: float [N, C], one model per column.
        rule: "corrected": as many updates as it takes until the evidence no longer changes, and the highest of them.
            "code": as the authors' `_fit_fixed_point`, which stops after 11 updates or one that changes a / b by 0.1 %
            or less, adds 1e-5 to the weights' squared length and to the residual in updates, takes the last precisions
            together with the weights before them and, where features outnumber rows, leaves log a out of the
            determinant once for each direction that no row has.

    Returns:
        float64 [C].

    Reference:
        You et al., ICML 2021 (LogME); the updates of You et al., 2110.10545, which their code takes by default.
    """
    x, y = np.asarray(features, np.float64), np.asarray(targets, np.float64)
    size, width = x.shape
    u, singular, _ = np.linalg.svd(x, full_matrices=False)
    squares, projected = singular**2, (u.T @ y) ** 2  # [r], [r, C]
    outside = np.maximum((y**2).sum(0) - projected.sum(0), 0.0)  # of y, what no feature reaches
    code = rule == "code"
    unused, added = (0, SOFT) if code else (width - len(squares), 0.0)

    def fitted(a: float, b: float, at: int) -> tuple[float, float, float]:
        """Return the effective number of weights, their squared length, and the residual."""
        gamma = float((b * squares / (a + b * squares)).sum())
        length = float((b**2 * squares * projected[:, at] / (a + b * squares) ** 2).sum())
        return gamma, length, float((projected[:, at] * (a / (a + b * squares)) ** 2).sum() + outside[at])

    def evidence(a: float, b: float, length: float, residual: float) -> float:
        determinant = float(np.log(a + b * squares).sum()) + unused * np.log(a)
        twice = width * np.log(a) + size * np.log(b) - b * residual - a * length - determinant
        return (twice - size * np.log(2 * np.pi)) / (2 * size)

    best = np.empty(y.shape[1])
    for at in range(y.shape[1]):
        a = b = 1.0
        gamma, length, residual = fitted(a, b, at)
        last, highest = evidence(a, b, length, residual), -np.inf
        for _ in range(ROUNDS if code else ENOUGH):
            ratio, before = a / b, last
            a = max(gamma, 1e-12) / max(length + added, 1e-12)
            b = max(size - gamma, 1e-12) / max(residual + added, 1e-12)
            last = evidence(a, b, length, residual)
            gamma, length, residual = fitted(a, b, at)
            if not code:
                last = evidence(a, b, length, residual)
            highest = max(highest, last)  # with fewer rows than features an update may overshoot
            done = abs(a / b - ratio) / ratio <= CLOSE if code else abs(last - before) <= 1e-10
            if done:
                break
        best[at] = last if code else highest
    return best


@register
class TaskFeaturesMaker(Maker):
    """Tunes a model on each auxiliary alone, and lets it read the primary's rows."""

    artifact, Parameters = "task_features", TaskFeatures

    def make(self, context: Context, p: TaskFeatures, seed: int) -> Artifact:
        """Make a seed's; the value is the primary's rows, int64 [N], and by auxiliary their features, float [N, d]."""
        from auxlearn.signals import pass_store
        from auxlearn.training import training_cache

        rows = self.rows(context, p, seed)
        features: dict[str, np.ndarray] = {}
        made = Artifact((rows, features))
        for name, plan in self.plans(context, p, seed).items():
            training = training_cache.trained(plan, context.suite, context.progress)
            store = pass_store.scored(
                training.manifest, plan, context.suite, context.progress, {p.primary: rows}, READS
            )
            assert store.features is not None, "the pass was asked for features"
            features[name] = np.asarray(store.features, np.float64)
            passed = [Ledger.from_dict(row) for row in store.manifest.ledger]
            made.ledgers += [total("task_tuning", training.ledgers), total("targeting", passed)]
            made.manifests += [training.manifest, store.manifest]
        return made

    def forecast(self, context: SizedContext, p: TaskFeatures, seed: int) -> list[Charge]:
        """Forecast tunings and passes."""
        rows = {p.primary: self.rows(context, p, seed)}
        return [
            charge for plan in self.plans(context, p, seed).values()
            for charge in (*context.trained(plan, "task_tuning"), context.passed(plan, rows, "targeting", READS))
        ]  # fmt: skip

    def rows(self, context: Context, p: TaskFeatures, seed: int) -> np.ndarray:
        """Draw the primary's rows that are read: of those that the arm is trained on."""
        usable = context.usable(p.primary)[p.primary]
        trained, _ = arm_plans.holdout(context.suite, p.primary, p.holdout, seed, usable)
        order = context.rng("targets", p.primary).permutation(trained)
        return np.sort(order[: p.target_rows or None])

    def plans(self, context: Context, p: TaskFeatures, seed: int) -> dict[str, Plan]:
        """Plan each auxiliary's model."""
        usable = context.usable(None)
        return {
            name: task_plans.task_tuning(p, context.suite, name, seed, usable[name])[0]
            for name in base.measurable(context)
        }
