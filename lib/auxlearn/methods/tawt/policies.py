"""TAWT's artifact, the weights in force when a training ended, and its weight policies with their controls.

A policy is a *paradigm* (joint: uniform weights, so tasks count by size; normalised: joint with weights 1/n, so tasks
count alike; pretrain: sources first, then the primary alone) and an *evidence*, what moves the weights. "final" starts
at, and stays at, the weights that were in force when 05's training ended; share_N gives the primary that percentage of
the effective weight. Further priors of joint training: "power", weights n ** prior_power, and "given". Two weigh what a
scoring method chose: "scored" starts the sources at weights that follow their rows' scores, and "deciles" cuts each
source into parts by score, each with a weight of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from auxlearn.errors import InputError
from auxlearn.methods import weighted_plans
from auxlearn.methods.base import (
    Artifact,
    Cell,
    Charge,
    Context,
    Maker,
    Need,
    Selection,
    SizedContext,
    WeightPolicy,
    renamed,
)
from auxlearn.methods.registry import register
from auxlearn.methods.tawt.options import (
    TAWT,
    DecileOptions,
    GivenOptions,
    PowerOptions,
    ScoredOptions,
    WeightOptions,
)
from auxlearn.training import phases
from auxlearn.training.phases import Phase, Plan, Weighting

if TYPE_CHECKING:
    from auxlearn.methods.tawt.task_weights import Evidence

REFERENCE = "Chen et al., 2022 (TAWT)"
BUDGET = ("lr", "batch_size", "loss_scale", "keep_leaks", "choose", "holdout", "steps")
# What the authors' code does, beside eta 1 (see `weighted_trainer`).
PAPER: dict[str, Any] = {
    "rule": "paper", "combine": "scaled_then_clipped", "target_rows": "train", "itself": True, "parameters": "encoder",
    "chunks": 1, "chunk_rows": 64, "every": 0, "eta": 1.0,
}  # fmt: skip
EVIDENCE = {
    "measured": "weights that follow gradients", "null": "weights that no gradient moves, only the schedule",
    "shuffled": "weights moved by another source's gradients", "fixed": "fixed weights",
    "final": "the weights that TAWT ended with, fixed", "share": "a fixed share for the primary",
}  # fmt: skip
STARTS = {
    "joint": "even weights", "normalised": "weights that give every task one share, w ~ 1/rows",
    "pretrain": "even weights of the sources; the primary is trained after them",
    "power": "w ~ rows^prior_power, a share of the loss ~ rows^(1 + prior_power)", "given": "the weights given",
    "scored": "w ~ exp(mean score of the task's rows / temperature)",
    "deciles": "even weights of parts of each task, cut by score",
}  # fmt: skip
FORMULAS = {
    "measured": "w <- w exp(-eta g) / sum, g = -c cos(gradient of the task, gradient of the primary's held-out rows)",
    "null": "as measured, with cosine 0 for every source and 1 for the primary",
    "shuffled": "as measured, with each source's cosine exchanged for another's", "fixed": "w stays",
    "final": "w stays at what 05 ended with",
    "share": "n w / sum n w of the primary is the share, n its rows; w of the sources is even",
}  # fmt: skip
COSTS = {
    "measured": "gradients of some rows of every task at every update", "shuffled": "gradients as tawt_ has them",
    "final": "the whole training of 05 whose weights it takes",
}  # fmt: skip
USES = {
    "measured": "where nothing is known about the sources; beside null_ and fixed weights of the same start",
    "null": "beside tawt_: it says what the schedule alone gives",
    "shuffled": "beside tawt_: it says whether each task needs its own gradient",
    "fixed": "first of all: joint is plain joint training, normalised gives a small primary its share",
    "final": "beside tawt_: it says whether weights must move during training",
    "share": "beside tawt_: it says what a larger share of the primary gives",
}  # fmt: skip
OPTIONS: dict[str, type[WeightOptions]] = {
    "power": PowerOptions, "given": GivenOptions, "scored": ScoredOptions, "deciles": DecileOptions,
}  # fmt: skip


class TaskWeights(WeightPolicy):
    """Weights of the tasks that a method's rows are of.

    Args:
        name: The policy's name.
        paradigm: Where the weights start, and over which phases they act.
        evidence: What moves them.
    """

    family = "tawt"

    def __init__(self, name: str, paradigm: str, evidence: str):
        self.name, self.paradigm, self.evidence = name, paradigm, evidence
        self.title = f"{paradigm}: {EVIDENCE[evidence]}"
        theirs = "" if paradigm in ("joint", "normalised", "pretrain") else "after "
        self.reference = theirs + REFERENCE if evidence in ("measured", "final") else ""
        if (paradigm, evidence) == ("power", "fixed"):
            self.reference = "after Arivazhagan et al., 2019 (sampling by temperature)"
        self.formula, self.use = FORMULAS[evidence], USES[evidence]
        if evidence not in ("share", "final"):
            self.formula += f"; from {STARTS[paradigm]}"
        self.cost = COSTS.get(evidence, "nothing")
        self.Options = OPTIONS.get(paradigm, WeightOptions)
        # Exchanged are sources, of deciles those of one task too.
        self.sources = 2 if evidence == "shuffled" and paradigm != "deciles" else 1
        self.by = {"deciles": "rows", "scored": "tasks"}.get(paradigm)  # type: ignore[assignment]
        if evidence == "measured":
            controls = [f"{PREFIXES[kind]}{paradigm}" for kind in PARADIGMS[paradigm] if kind != evidence]
            self.contrasts = [*controls, *(["tawt_joint"] if self.by else []), *([""] if paradigm == "joint" else [])]

    def check(self, cell: Cell, options: Any) -> None:
        """Refuse weights that cannot start, or parts that cannot be weighed."""
        if self.paradigm == "given" and cell.primary not in options.told_weights():
            raise ValueError(f"prior_given: {self.name!r} starts at its weights; name {cell.primary!r} and the sources")
        if self.paradigm == "deciles" and (options.tawt_rule == "paper" or options.combine != "mixed"):
            raise ValueError(
                f"combine: {self.name!r} weighs parts of a task: use combine mixed and tawt_rule corrected"
            )

    def needs(self, cell: Cell, options: WeightOptions) -> list[Need]:
        """Need the weights that 05 ended with, for "final"."""
        if self.evidence != "final":
            return []
        p, source = cell.params, f"tawt_{self.paradigm}"
        names = ["primary", "auxiliaries", *BUDGET, *([] if p.steps else ["stage2_epochs", "tune_epochs"])]
        names += ["tune_steps"] if p.steps and self.paradigm == "pretrain" else []
        wanted = {name: getattr(p, name) for name in names} | {"paradigm": self.paradigm}
        return [Need("final_weights", wanted | {"methods": {source: options.model_dump()}})]

    def plan(self, context: Context, cell: Cell, selection: Selection, options: WeightOptions) -> Plan:
        """Plan the weighted training of the selection's rows."""
        final: Mapping[str, float] = {}
        for need in self.needs(cell, options):
            final = context.obtain(need)
        rows = selection.scored() if self.by else selection.rows
        assert rows is not None, "asked only of a selection that has rows"
        usable = context.usable(cell.primary)[cell.primary]
        return weighted_plans.plan(
            cell.params, context.suite, cell.seed, rows, usable,
            lambda phase, tables: self._weighting(cell.primary, options, phase, tables, final),
            self.paradigm == "pretrain",
        )  # fmt: skip

    def _weighting(
        self, primary: str, options: WeightOptions, phase: Phase, tables: Mapping[str, pd.DataFrame],
        final: Mapping[str, float],
    ) -> Weighting:  # fmt: skip
        parts: dict[str, np.ndarray] = {}
        if isinstance(options, DecileOptions):
            scores = {name: part["score"].to_numpy(float) for name, part in tables.items()}
            least = 2 * options.probe_chunks
            parts = {name: deciles(values, options.score_buckets, least) for name, values in scores.items()}
        phase = replace(phase, weighting=Weighting((), combine=options.combine, parts=parts))
        sizes = weighted_plans.sizes(phase, primary)
        if self.evidence == "shuffled" and len(set(sizes) - {primary}) < 2:
            raise InputError(
                f"{self.name}: exchanges the cosines of source tasks, so it needs two or more; there is "
                f"{', '.join(set(sizes) - {primary})} alone; add a task, or leave {self.name} out"
            )
        prior = self._prior(primary, options, sizes, tables, final)
        evidence = cast(
            "Evidence", "fixed" if self.evidence in ("final", "share") else self.evidence
        )  # fmt: skip
        if options.tawt_rule == "paper":
            return Weighting(tuple(prior), evidence, c=options.weight_c, **PAPER)
        updates = updates_in_force(phase, options.weight_every)
        return Weighting(
            tuple(prior), evidence, options.weight_every, options.weight_total / max(1, updates), options.weight_c,
            options.weight_floor, options.weight_decay, options.weight_tau or None, combine=options.combine,
            parameters=options.probe_parameters, estimator=options.probe_estimator, chunks=options.probe_chunks,
            chunk_rows=options.probe_rows, target_rows=options.probe_target, parts=parts,
        )  # fmt: skip

    def _prior(
        self, primary: str, options: WeightOptions, sizes: Mapping[str, int], tables: Mapping[str, pd.DataFrame],
        final: Mapping[str, float],
    ) -> np.ndarray:  # fmt: skip
        from auxlearn.methods.tawt import cosine, weight_rule

        if self.evidence == "final":
            return cosine.prior("explicit", sizes, weights=final)
        if self.evidence == "share":
            return weight_rule.constant_share(int(self.name.rpartition("_")[2]) / 100, sizes, primary)
        if self.paradigm == "normalised":
            return cosine.prior("inverse_size", sizes)
        if isinstance(options, PowerOptions):
            return cosine.prior("power", sizes, options.prior_power)
        if isinstance(options, GivenOptions):
            told = options.told_weights()
            if unknown := [name for name in sizes if name not in told]:
                raise InputError(f"prior_given: no weight for {', '.join(unknown)}; it has {', '.join(told)}")
            # Of a task that no row was chosen from there is nothing to weigh.
            return cosine.prior("explicit", sizes, weights={name: told[name] for name in sizes})
        if isinstance(options, ScoredOptions):
            means = {name: float(part["score"].to_numpy(float).mean()) for name, part in tables.items()}
            return score_prior(means, sizes, primary, options.score_temperature)
        return cosine.prior("uniform", sizes)


@register
class FinalWeights(Maker):
    """Trains with weights that follow gradients, to learn where they end."""

    artifact, Parameters = "final_weights", TAWT

    def plan(self, context: Context, p: TAWT, seed: int) -> Plan:
        """Plan the weighted training of all usable rows."""
        policy = cast(TaskWeights, POLICIES[p.policy])
        return policy.plan(context, Cell(cast(Any, p), seed), Selection(context.pool()), p.options())

    def make(self, context: Context, p: TAWT, seed: int) -> Artifact:
        """Make a seed's last weights; the value has one per task, charged for the whole training."""
        from auxlearn.methods.tawt import weight_tables
        from auxlearn.training import training_cache

        training = training_cache.trained(self.plan(context, p, seed), context.suite, context.progress)
        last = weight_tables.last_in_force(training)
        weights = dict(zip(last["names"], last["weights"], strict=True))
        ledgers = [renamed(ledger, "weighting") for ledger in training.ledgers]
        return Artifact(weights, ledgers, [training.manifest])

    def expected(self, context: SizedContext, p: TAWT, seed: int) -> dict[str, float]:
        """Expect weights that have not moved."""
        return dict.fromkeys([*([] if p.paradigm == "pretrain" else [p.primary]), *context.auxiliaries], 1.0)

    def forecast(self, context: SizedContext, p: TAWT, seed: int) -> list[Charge]:
        """Forecast the whole training, as the cost of its weights."""
        return context.trained(self.plan(context, p, seed), "weighting")


def score_prior(
    means: Mapping[str, float], sizes: Mapping[str, int], primary: str, temperature: float
) -> np.ndarray:  # fmt: skip
    """Return starting weights under which sources follow exp(mean score / temperature).

    The primary has 1/K, what uniform weights give it, so that scores move the sources alone.

    Args:
        means: By source, the mean score of its rows.
        sizes: By task, its rows; only the tasks' names and order are read.
        primary: The primary's name.
        temperature: Above 0; the higher, the more even the weights.

    Returns:
        float64 [K], in the order of `sizes`, sum 1.

    Raises:
        InputError: A mean score is not finite.
    """
    from auxlearn.methods.tawt import cosine

    names = [name for name in sizes if name != primary]
    logs = np.array([means[name] for name in names]) / temperature
    if not np.isfinite(logs).all():
        name = names[int(np.flatnonzero(~np.isfinite(logs))[0])]
        raise InputError(f"scores: the mean score of {name!r} is {means[name]}; a prior needs finite scores")
    sources = np.exp(logs - logs.max())
    sources *= len(names) / len(sizes) / sources.sum()
    weights = dict(zip(names, sources, strict=True)) | {primary: 1 / len(sizes)}
    return cosine.normalised([weights[name] for name in sizes], list(sizes))


def deciles(scores: np.ndarray, buckets: int, least: int) -> np.ndarray:
    """Cut rows into parts by score.

    Args:
        scores: float [N].
        buckets: The number of equal parts; fewer where a part would have fewer than `least` rows.
        least: The fewest rows per part.

    Returns:
        Each row's part, int64 [N]; 0 has the highest scores.
    """
    parts = np.empty(len(scores), np.int64)
    order = np.argsort(-scores, kind="stable")
    for part, rows in enumerate(np.array_split(order, max(1, min(buckets, len(scores) // least)))):
        parts[rows] = part
    return parts


def updates_in_force(phase: Phase, every: int) -> int:
    """Count the updates after which some step is still to come.

    Args:
        phase: The weighted phase.
        every: Steps between updates; 0 updates once per epoch.

    Returns:
        The number of updates; 0 where the first comes too late.
    """
    sizes = {name: len(rows) for name, rows in phase.rows.items()}
    epochs = phases.schedule(phase, sizes)  # batches of one task each are more than mixed ones
    return (sum(epochs) - 1) // every if every else len(epochs) - 1


PARADIGMS = {  # each with the evidence that its weights are moved by; "fixed" goes by the paradigm's own name
    "joint": ("fixed", "measured", "null", "shuffled", "final"),
    "normalised": ("fixed", "measured", "null", "shuffled", "final"),
    "pretrain": ("fixed", "measured", "shuffled", "final"),
    "power": ("fixed", "measured", "null"),
    "given": ("fixed", "measured", "null"),
    "scored": ("fixed", "measured", "null", "shuffled"),
    "deciles": ("measured", "shuffled"),
}
PREFIXES = {"fixed": "", "measured": "tawt_", "null": "null_", "shuffled": "shuffled_", "final": "final_"}
POLICIES: dict[str, WeightPolicy] = {
    policy.name: register(policy)
    for policy in [
        *(TaskWeights(f"{PREFIXES[evidence]}{paradigm}", paradigm, evidence)
          for paradigm, kinds in PARADIGMS.items() for evidence in kinds),
        *(TaskWeights(f"share_{share}", "joint", "share") for share in (10, 25, 50, 75, 90)),
    ]
}  # fmt: skip
