"""TextEmb: tasks whose texts lie near the primary's in the encoder as it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from pydantic import Field

from auxlearn.cost import Ledger, total
from auxlearn.methods import arm_plans, task_plans
from auxlearn.methods.base import Artifact, Cell, Charge, Context, Maker, Need, SizedContext
from auxlearn.methods.registry import register
from auxlearn.methods.task_scores import base
from auxlearn.training.phases import Plan
from auxlearn.training.shared_parameters import Seeds, Trained

READS = ("features",)


class TextEmbOptions(base.TaskScoreOptions):
    """Options of textemb."""

    embed_rows: int = Field(500, ge=0)
    """most rows of each task that are read (0: all, as the authors do)"""


class TaskTexts(Trained):
    """Parameters of tasks' text embeddings, one set for each of `seeds`."""

    stage = ""  # no notebook shows it

    seeds: Seeds = [0, 1]
    """each draws its own rows"""
    embed_rows: int = Field(500, ge=0)
    """most rows of each task that are read (0: all)"""


@register
class TextEmb(base.TaskScore):
    """Cosines of tasks' mean sentence embeddings.

    A row's embedding is the mean of its tokens' last states without padding, a task's the mean of its rows', both as in
    the authors' code. That reads every row of a task; here a sample of each is read, which gives the same mean but for
    the error of sampling. `embed_rows: 0` reads all.
    """

    name, reference = "textemb", "Vu et al., 2020 (TextEmb, 2005.00770)"
    title = "n rows of the tasks whose texts are nearest to the primary's in the untrained encoder"
    formula = "s(task) = cos of e(task) and e(primary), e the mean over rows of the mean of the encoder's last states"
    cost = "one forward pass of the encoder over some rows of every task, for all primaries alike"
    use = "first of all choices of tasks: it trains nothing"
    Options = TextEmbOptions

    def needs(self, cell: Cell, options: Any) -> list[Need]:
        """Need embeddings of the primary and the auxiliaries."""
        given = {"pool": "mean", "embed_rows": options.embed_rows}
        return [Need("task_texts", arm_plans.of_arm(cell.params) | given)]

    def task_scores(self, context: Context, cell: Cell, options: Any) -> Mapping[str, float]:
        """Compare the tasks' embeddings with the primary's."""
        return base.cosines(context.obtain(*self.needs(cell, options)), cell.primary)


@register
class TaskTextsMaker(Maker):
    """Lets the encoder as it is read some rows of every task."""

    artifact, Parameters = "task_texts", TaskTexts

    def make(self, context: Context, p: TaskTexts, seed: int) -> Artifact:
        """Make a seed's embeddings; the value is float64 [d] by task, the primary's among them."""
        from auxlearn.signals import pass_store
        from auxlearn.training import training_cache

        plan, rows = self.plan(context, p), self.rows(context, p, seed)
        training = training_cache.trained(plan, context.suite, context.progress)
        store = pass_store.scored(training.manifest, plan, context.suite, context.progress, rows, READS)
        assert store.features is not None, "the pass was asked for features"
        vectors, first = {}, 0
        for name, own in rows.items():
            vectors[name] = np.asarray(store.features[first : first + len(own)], np.float64).mean(0)
            first += len(own)
        ledgers = [total("embedding", [*training.ledgers, *(Ledger.from_dict(row) for row in store.manifest.ledger)])]
        return Artifact(vectors, ledgers, [training.manifest, store.manifest])

    def forecast(self, context: SizedContext, p: TaskTexts, seed: int) -> list[Charge]:
        """Forecast the pass."""
        plan = self.plan(context, p)
        passed = context.passed(plan, self.rows(context, p, seed), "embedding", READS)
        return [*context.trained(plan, "embedding"), passed]

    def rows(self, context: Context, p: TaskTexts, seed: int) -> dict[str, np.ndarray]:
        """Draw the rows that are read, in the suite's order; a task's do not depend on which others there are."""
        usable, names = context.usable(None), [*base.measurable(context), p.primary]
        return {
            name: task_plans.sample("textemb", name, seed, usable[name], p.embed_rows)
            for name in context.suite if name in names
        }  # fmt: skip

    def plan(self, context: Context, p: TaskTexts) -> Plan:
        """Plan the encoder as it is."""
        return arm_plans.untrained(p, context.suite, 0)
