"""FastMTL's artifacts, the proxy and the ranking, and the methods that take rows by it (Kung et al., EMNLP 2021).

Where the authors' code does what a corrected method would not, a switch restores it:

| | default | as the FastMTL code has it |
|---|---|---|
| proxies | two, each scores the other's rows; rows rank within each half | `proxies="one"`, whose rows leave the pool |
| score | sigmoid of a BCE discriminator, softmax of a CE one | `score="sigmoid"` for both |
| seeds of stage 2 | the cell's own | `seed_policy="fixed"` |
| state that is scored | the best of ten on held-out rows | `choose="dev"`, the best epoch on dev |

Not offered: an n that ties and half precision make inexact (ours is exact, ties by a seeded hash), and a row of zero
loss for a task that nothing was chosen of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from auxlearn.cost import total
from auxlearn.data import usable_rows
from auxlearn.methods import controls, ranking
from auxlearn.methods.base import Artifact, Cell, Charge, Context, Maker, Method, Need, Selection, SizedContext
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.methods.fastmtl.options import RankedOptions, Ranking, TDProxy
from auxlearn.methods.registry import maker, register
from auxlearn.training.phases import Plan

if TYPE_CHECKING:
    from auxlearn.methods.fastmtl.proxy_store import Proxies

REFERENCE = "Kung et al., 2021 (FastMTL)"
RULES = {"td": "global", "quota": "quota", "calibrated": "calibrated"}
TITLES = {
    "td": "the n rows that the proxy takes for the primary's most surely",
    "quota": "the best rows of each task, in proportion to its size",
    "calibrated": "the n best rows, scores standardised within each task",
}

FORMULAS = {
    "td": "the n highest, of two proxies by rank within each half",
    "quota": "the highest of each task, as many as its share of the pool, of two proxies by rank within each half",
    "calibrated": "the n highest of (score - mean) / standard deviation within the row's task and proxy",
}
USES = {
    "td": "where the pool is large and of several tasks, and several primaries or n share it",
    "quota": "beside td: it says what the choice within tasks gives when each task keeps its share",
    "calibrated": "where one task's rows would fill the whole choice",
}


@dataclass
class Rated:
    """A ranking of one seed: the candidates with their scores, and the rows that it takes."""

    pool: pd.DataFrame  # task, row, row_id, usable, proxy, in_proxy, score
    eligible: np.ndarray  # bool [N]
    chosen: pd.DataFrame  # task, row, row_id, proxy, score, rank
    proxies: Proxies


@register
class ProxyMaker(Maker):
    """Trains the proxies of a seed, and lets them score every row of the suite."""

    artifact, Parameters = "proxy", TDProxy

    def check(self, p: TDProxy) -> None:
        """Refuse more layers than the encoder has, or frozen ones that leave none to train."""
        proxy_plans.encoder(p)

    def make(self, context: Context, p: TDProxy, seed: int) -> Artifact:
        """Make the proxies of a seed; the value is a `Proxies`, charged for training and scoring."""
        from auxlearn.methods.fastmtl import proxy_store
        from auxlearn.training import training_cache

        plans, folds = self.plans(context, p, seed)
        trainings = [training_cache.trained(plan, context.suite, context.progress) for plan in plans]
        store = proxy_store.score(plans, trainings, folds, context.suite, context.progress)
        ledgers = [
            total("proxy", [ledger for training in trainings for ledger in training.ledgers]),
            total("scoring", store.ledgers()),
        ]
        manifests = [*(training.manifest for training in trainings), *store.manifests]
        return Artifact(proxy_store.Proxies(plans, folds, trainings, store), ledgers, manifests)

    def seen(self, context: Context, p: TDProxy, seed: int) -> Mapping[str, np.ndarray]:
        """Return the rows that a single proxy is trained on; of two, each scores what the other has seen."""
        (plan, *others), _ = self.plans(context, p, seed)
        return {} if others else plan.phases[0].rows

    def expected(self, context: SizedContext, p: TDProxy, seed: int) -> Any:
        """Expect the plans and folds of a `Proxies`."""
        plans, folds = self.plans(context, p, seed)
        return SimpleNamespace(plans=plans, folds=folds)

    def forecast(self, context: SizedContext, p: TDProxy, seed: int) -> list[Charge]:
        """Forecast the proxies' trainings, and the pass over all rows."""
        plans, folds = self.plans(context, p, seed)
        charges = []
        for fold, plan in enumerate(plans):
            charges += context.trained(plan, "proxy")
            rows = {name: np.flatnonzero((of != fold) | (len(plans) == 1)) for name, of in folds.items()}
            charges.append(context.passed(plan, rows, "scoring"))
        return charges

    def plans(self, context: Context, p: TDProxy, seed: int) -> tuple[list[Plan], dict[str, np.ndarray]]:
        """Plan the proxies of a seed, on rows that leak into no task (see `proxy_plans.proxies`)."""
        return proxy_plans.proxies(p, context.suite, seed, context.usable(None))


@register
class RankingMaker(Maker):
    """Ranks the candidates of a primary by the proxies' scores."""

    artifact, Parameters = "ranking", Ranking

    def make(self, context: Context, p: Ranking, seed: int) -> Artifact:
        """Make the ranking of a seed; the value is a `Rated`, charged for what its proxies cost."""
        from auxlearn.methods.fastmtl import discriminator, proxy_store

        proxy = context.make(self._proxy(p))
        suite, proxies = context.suite, proxy.value
        auxiliaries = suite.auxiliaries(p.primary, p.auxiliaries)
        usable = usable_rows.usable(suite, p.primary, p.keep_leaks)
        pool, logits = proxy_store.candidates(proxies.store, suite, auxiliaries, usable)
        kind, target = p.score_kind(), suite.index(p.primary)
        odds = kind in ("softmax", "margin")
        scores = discriminator.scores(logits, target, "margin") if odds else logits[:, target]
        eligible = (pool["usable"] & ~pool["in_proxy"]).to_numpy()
        pool["score"] = scores
        best = ranking.choose(
            p.rule, pool["score"].to_numpy(), p.n, pool["task"].to_numpy(str), pool["proxy"].to_numpy(), seed, eligible
        )
        chosen = ranking.table(pool, best, pool["score"].to_numpy())
        return Artifact(Rated(pool, eligible, chosen, proxies), proxy.ledgers, proxy.manifests)

    def seen(self, context: Context, p: Ranking, seed: int) -> Mapping[str, np.ndarray]:
        """Return the rows that a single proxy is trained on."""
        need = self._proxy(p)
        return maker(need.artifact).seen(context, context.parameters(need), seed)

    def forecast(self, context: SizedContext, p: Ranking, seed: int) -> list[Charge]:
        """Forecast the proxies; ranking itself costs nothing that is counted."""
        return context.needs([self._proxy(p)])

    def _proxy(self, p: Ranking) -> Need:
        wanted = {"discriminator": p.discriminator, "keep_leaks": p.keep_leaks}
        return Need("proxy", wanted | p.proxies_wanted())


class Ranked(Method):
    """The n rows that a ranking by the task discriminator takes.

    Args:
        rule: "td" (one ranking over all tasks), "quota" or "calibrated".
        kind: The discriminator's loss, "bce" or "ce".
    """

    family, scores, Options = "fastmtl", "rows", RankedOptions

    def __init__(self, rule: Literal["td", "quota", "calibrated"], kind: Literal["bce", "ce"]):
        self.name, self.rule, self.kind = f"{rule}_{kind}", rule, kind
        self.title = f"{TITLES[rule]} ({kind.upper()} discriminator)"
        self.contrasts = ("random",)
        if rule == "calibrated":  # standardised before anything squashes it
            output = "z[primary]" if kind == "bce" else "log-odds of the primary by softmax(z)"
        else:
            output = "sigmoid(z[primary])" if kind == "bce" else "softmax(z)[primary]"
        self.reference = REFERENCE if rule == "td" else f"after {REFERENCE}"
        self.formula = f"score(row) = {output}, z the discriminator's outputs, one per task; {FORMULAS[rule]}"
        self.cost = (
            "two proxies (one, by the authors' rule) and a pass of them over the pool, for all primaries and n alike"
        )
        self.use = USES[rule]
        if rule == "td":
            self.contrasts = ("random", f"cie_{kind}", f"matched_{kind}", "all_data")

    def needs(self, cell: Cell, options: RankedOptions) -> list[Need]:
        """Need the ranking."""
        wanted = {name: getattr(cell.params, name) for name in ("primary", "auxiliaries", "n", "keep_leaks")}
        return [Need("ranking", wanted | {"discriminator": self.kind, "rule": RULES[self.rule]} | options.wanted())]

    def nested(self, options: RankedOptions) -> bool:
        """Not by quotas: of more rows other tasks' come between."""
        return self.rule != "quota"

    def select(self, context: Context, cell: Cell, options: RankedOptions) -> Selection:
        """Take the rows of the ranking."""
        rated: Any = context.obtain(*self.needs(cell, options))
        return Selection(rated.chosen.drop(columns=["usable", "in_proxy"]))


KINDS: tuple[Literal["bce", "ce"], ...] = ("bce", "ce")
RANKINGS: tuple[Literal["td", "quota", "calibrated"], ...] = ("td", "quota", "calibrated")
CONTROLS: tuple[Literal["cie", "matched"], ...] = ("cie", "matched")
for _rule in RANKINGS:
    for _kind in KINDS:
        register(Ranked(_rule, _kind))
for _control in CONTROLS:
    for _kind in KINDS:
        register(controls.Matched(_control, f"td_{_kind}", f"{_control}_{_kind}"))
