"""What model-based scores read: one pass over the auxiliaries' rows by a model that is untrained, warmed up or adapted.

Trainings and passes are made once for a seed: scores that read the same of the same model share them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import Field

from auxlearn import seeding
from auxlearn.cost import Ledger, total
from auxlearn.errors import InputError
from auxlearn.methods import arm_plans
from auxlearn.methods.base import Artifact, Cell, Charge, Context, Maker, Need, Options, SizedContext
from auxlearn.methods.registry import register
from auxlearn.training.phases import Phase, Plan, Recipe
from auxlearn.training.shared_parameters import Seeds, Trained

if TYPE_CHECKING:
    from auxlearn.signals.pass_store import Store

Model = Literal["untrained", "warmed", "adapted"]


class RowPass(Trained):
    """Parameters of a pass, one for each of `seeds`."""

    stage = ""  # no notebook shows it

    seeds: Seeds = [0, 1]
    """each warms up a model of its own"""
    model: Model = "warmed"
    """the encoder as it is; after a warm-up on some rows of every task; or after that adapted to the primary"""
    reads: list[str] = ["loss"]
    """what is read, some of `row_signals.KNOWN`"""
    warm_rows: int = Field(500, ge=1)
    """most rows of each task in the warm-up, and no more than half of them"""
    warm_epochs: int = Field(4, ge=1)
    """epochs of the warm-up, and of adapting to the primary"""
    holdout: float = Field(0.0, ge=0, lt=0.9)
    """share of the primary's rows that the arm holds out, which are no targets (0: none)"""
    target_rows: int = Field(256, ge=0)
    """rows of the primary whose gradients are targets (0: all that the arm is trained on, but for the warm-up's)"""
    target_parts: int = Field(4, ge=1)
    """parts that these are cut into by label, each with a gradient of its own"""


class WarmOptions(Options):
    """Options of the scores that read a model."""

    warm_rows: int = Field(500, ge=1)
    """most rows of each task that the model is warmed up on, and no more than half of them"""
    warm_epochs: int = Field(4, ge=1)
    """epochs of the warm-up"""


def need(cell: Cell, model: Model, reads: Sequence[str], **more: Any) -> Need:
    """Say what a score reads of a model.

    Args:
        cell: What is asked of the method.
        model: Which model.
        reads: What is read of rows, some of `row_signals.KNOWN`.
        **more: Further parameters of `RowPass`.
    """
    return Need("row_pass", arm_plans.of_arm(cell.params) | {"model": model, "reads": list(reads)} | more)


@dataclass
class Read:
    """A pass that was made: what was read, and where each row stands in it."""

    store: Store
    starts: Mapping[str, int]  # of each task's rows, which are there whole and in order

    def places(self, rows: pd.DataFrame) -> np.ndarray:
        """Return where rows stand in the store's arrays, int64 [N]; columns task and row."""
        return rows["task"].astype(str).map(self.starts).to_numpy(np.int64) + rows["row"].to_numpy(np.int64)


@register
class RowPassMaker(Maker):
    """Warms a model up, and lets it read the auxiliaries' rows."""

    artifact, Parameters = "row_pass", RowPass

    def make(self, context: Context, p: RowPass, seed: int) -> Artifact:
        """Make a seed's pass; the value is a `Read`, charged for warm-up and pass."""
        from auxlearn.signals import pass_store
        from auxlearn.training import training_cache

        plan, rows = self.plan(context, p, seed), self.rows(context, p)
        targets = self.targets(context, p, seed, plan)
        training = training_cache.trained(plan, context.suite, context.progress)
        store = pass_store.scored(
            training.manifest, plan, context.suite, context.progress, rows, p.reads, targets or None,
            "linear" if plan.keep_moments else "shared",
        )  # fmt: skip
        stages = self.stages(p)
        ledgers = [
            total(stages[0], training.ledgers),
            total(stages[1], [Ledger.from_dict(row) for row in store.manifest.ledger]),
        ]
        starts = dict(zip(rows, np.cumsum([0, *map(len, rows.values())]).tolist(), strict=False))
        return Artifact(Read(store, starts), ledgers, [training.manifest, store.manifest])

    def forecast(self, context: SizedContext, p: RowPass, seed: int) -> list[Charge]:
        """Forecast the warm-up and the pass."""
        plan = self.plan(context, p, seed)
        targets = self.targets(context, p, seed, plan)
        trained, passed = self.stages(p)
        return [
            *context.trained(plan, trained), context.passed(plan, self.rows(context, p), passed, p.reads, targets),
        ]  # fmt: skip

    def seen(self, context: Context, p: RowPass, seed: int) -> Mapping[str, np.ndarray]:
        """Return the auxiliaries' rows of the warm-up: of rows that it was trained on a model says another thing."""
        if p.model == "untrained":
            return {}
        return {name: rows for name, rows in warm_rows(context, p, seed).items() if name != p.primary}

    def stages(self, p: RowPass) -> tuple[str, str]:
        """Name the stages that training and pass are charged to: those that serve all primaries, or one's own."""
        adapted, targets = p.model == "adapted", bool({"products", "cosines"} & set(p.reads))
        return "adapting" if adapted else "warm_up", "targeting" if adapted or targets else "scoring"

    def rows(self, context: Context, p: RowPass) -> dict[str, np.ndarray]:
        """List the rows that are read, all of these tasks: the auxiliaries, and the primary where features are read."""
        names = [*context.auxiliaries, *([p.primary] if "features" in p.reads else [])]
        return {name: np.arange(len(task.train)) for name, task in context.suite.items() if name in names}

    def plan(self, context: Context, p: RowPass, seed: int) -> Plan:
        """Plan the model's training."""
        # Kept with its moments, a model is one of several states of one training, each trained up to its epoch.
        adam = "cosines" in p.reads
        recipe = Recipe(p.lr, p.batch_size, idle_heads=p.idle_heads, decay="none" if adam else "linear")
        given: dict[str, Any] = {"mixing": p.mixing, "loss_scale": p.loss_scale}
        if p.model == "untrained":  # of which the heads alone are drawn
            return arm_plans.untrained(p, context.suite, 0 if p.reads == ["features"] else seed)
        phases = [Phase("warm_up", warm_rows(context, p, seed), p.warm_epochs, recipe, **given)]
        if p.model == "adapted":
            own, _ = arm_plans.holdout(context.suite, p.primary, p.holdout, seed, context.usable(p.primary)[p.primary])
            phases.append(Phase("adapt", {p.primary: own}, p.warm_epochs, recipe, **given))
        kept: dict[str, Any] = arm_plans.common(p) | {"keep_model": True, "keep_moments": adam}
        return Plan(phases=tuple(phases), seeds=seeding.record(seed), **kept)

    def left(self, context: Context, p: RowPass, seed: int, warm: Phase) -> np.ndarray:
        """Return the primary's rows that the arm is trained on and the warm-up was not, in a drawn order."""
        usable = context.usable(p.primary)[p.primary]
        trained, _ = arm_plans.holdout(context.suite, p.primary, p.holdout, seed, usable)
        return context.rng("targets", p.primary).permutation(np.setdiff1d(trained, warm.rows.get(p.primary, [])))

    def targets(self, context: Context, p: RowPass, seed: int, plan: Plan) -> dict[str, np.ndarray]:
        """Draw the rows whose gradients are targets, in parts of like labels, as "task#part"; none where none is read.

        The gradient of rows that a model was trained on fades, so that the warm-up's are left out.
        """
        if not {"products", "cosines"} & set(p.reads):
            return {}
        drawn = self.left(context, p, seed, plan.phases[0])[: p.target_rows or None]
        if not len(drawn):
            raise InputError(
                f"{p.primary!r}: no row is left whose gradient could be a target, beside the warm-up's and those held "
                "out; lower warm_rows or holdout, or take a score that reads no gradient, such as knn"
            )
        order = drawn[np.argsort(_labels(context, p.primary, drawn), kind="stable")]
        parts = np.array_split(order, min(p.target_parts, max(1, len(order))))
        return {f"{p.primary}#{number}": np.sort(part) for number, part in enumerate(parts)}


def warm_rows(context: Context, p: RowPass, seed: int) -> dict[str, np.ndarray]:
    """Draw the rows of the warm-up: of every task some that leak into none, at most half, whatever the primary is.

    It serves all primaries and arms alike, so that rows which an arm holds out may be among the primary's.
    """
    usable, drawn = context.usable(None), {}
    for name in [*context.auxiliaries, p.primary]:
        rows = np.flatnonzero(usable[name])
        order = seeding.rng(seed, "sample", "warm_up", name).permutation(rows)
        drawn[name] = np.sort(order[: max(1, min(p.warm_rows, len(rows) // 2))])
    return {name: drawn[name] for name in context.suite if name in drawn}


def _labels(context: Context, name: str, rows: np.ndarray) -> np.ndarray:
    """Return numbers by which rows can be ordered: class or value; all alike for tagging, and for a suite of sizes."""
    task = context.suite[name]
    if not hasattr(task, "kind") or task.kind == "tagging":
        return np.zeros(len(rows))
    return np.array(task.train.select(rows.tolist())[task.label][:], np.float64)
