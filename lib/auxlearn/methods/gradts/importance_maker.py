"""GradTS's artifact: head importance of the primary and its candidates, what it costs, and that of all tasks."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from auxlearn.errors import InputError
from auxlearn.methods.base import Artifact, Charge, Context, Maker, Need, SizedContext
from auxlearn.methods.gradts.options import Definition, GradTS
from auxlearn.methods.registry import register

if TYPE_CHECKING:
    from auxlearn.methods.gradts.head_tables import Heads

PROXY = Need("proxy", {"discriminator": "bce"})  # that importance is read at, if not at models of single tasks


@dataclass
class Importance:
    """What head importance says of one primary and seed.

    Attributes:
        taus: Of each auxiliary's task matrix with the primary's; an auxiliary whose matrix is constant has none.
        heads: The importances of the primary, first, and its candidates.
        definition: What they are read by.
    """

    taus: dict[str, float]
    heads: Heads
    definition: Definition

    def rows(self) -> pd.DataFrame:
        """Return tau between the primary's matrix and each measured row's: columns task, row, tau."""
        from auxlearn.methods.gradts import head_tables

        primary = self.heads.tasks[0]
        table = head_tables.row_table(self.heads, self.definition)
        return table[["task", "row", primary]].rename(columns={primary: "tau"})


@register
class ImportanceMaker(Maker):
    """Measures the head importance of the primary and its candidates."""

    artifact, Parameters = "importance", GradTS

    def check(self, p: GradTS) -> None:
        """Refuse encoders whose heads cannot be told apart."""
        from auxlearn.models import attention_heads

        for encoder in (p.encoder, *p.also):
            try:
                attention_heads.check_encoder(encoder)
            except InputError as error:
                raise InputError(f"{error}; arms of FastMTL (td_…), AUTOSEM and TAWT need none") from None

    def make(self, context: Context, p: GradTS, seed: int) -> Artifact:
        """Make a seed's correlations with the primary; the value is an `Importance`.

        Raises:
            InputError: No auxiliary has a tau, as when the primary's own matrix is constant.
        """
        from auxlearn.methods.gradts import correlation

        primary, names = context.params.primary, context.auxiliaries
        heads, proxy = _measured(context, p, seed, [primary, *names])
        taus = correlation.task_taus(heads.matrices(seed, p.definition))[0, 1:]
        known = {name: float(tau) for name, tau in zip(names, taus, strict=True) if np.isfinite(tau)}
        if not known:
            raise InputError(
                f"{primary!r}, seed {seed}: its head importance correlates with no task's, because it is constant; has "
                "its training loss vanished? Fewer epochs in 04 leave gradients to measure"
            )
        ledgers = [ledger for ledger in (proxy.ledgers if proxy else []) if ledger.stage == "proxy"]
        manifests = [*(proxy.manifests if proxy else []), *heads.manifests]
        return Artifact(Importance(known, heads, p.definition), [*ledgers, *heads.all_ledgers()], manifests)

    def forecast(self, context: SizedContext, p: GradTS, seed: int) -> list[Charge]:
        """Forecast tuning and measuring of the primary and its candidates, or of every row at the proxy."""
        return forecast_tasks(context, p, seed, [context.params.primary, *context.auxiliaries])


def forecast_tasks(context: SizedContext, p: GradTS, seed: int, tasks: list[str]) -> list[Charge]:
    """Forecast the head importance of some tasks for one seed.

    Args:
        context: The context, over sizes.
        p: GradTS's parameters.
        seed: The seed.
        tasks: The tasks.

    Returns:
        Charges of task_tuning and importance, or of the proxy and importance.
    """
    from auxlearn.methods import task_plans

    usable = context.usable(None)
    charges: list[Charge] = []
    if p.at == "proxy":
        proxies = context.obtain(PROXY)
        charges += [charge for charge in context.needs([PROXY]) if charge.stage == "proxy"]
        for name in tasks:
            rows = task_plans.measured_rows(p, name, seed, usable[name])
            for fold, plan in enumerate(proxies.plans):
                unseen = rows[(proxies.folds[name][rows] != fold) | (len(proxies.plans) == 1)]
                charges += [context.measured(plan, name, unseen, p.dropout)] if len(unseen) else []
        return charges
    for name in tasks:
        plan, rows = task_plans.task_tuning(p, context.suite, name, seed, usable[name])
        charges += [*context.trained(plan, "task_tuning"), context.measured(plan, name, rows, p.dropout)]
    return charges


def measure_all(contexts: Mapping[int, Context], p: GradTS) -> Heads:
    """Measure the head importance of every task of the suite, as 04 shows it.

    Args:
        contexts: Contexts by seed, one at least.
        p: GradTS's parameters.

    Returns:
        The importances of these seeds, in the order of the parameters.
    """
    ImportanceMaker().check(p)
    of_seeds = [_measured(contexts[seed], p, seed)[0] for seed in p.seeds if seed in contexts]
    return functools.reduce(lambda heads, own: heads.joined(own), of_seeds)


def _measured(context: Context, p: GradTS, seed: int, tasks: list[str] | None = None) -> tuple[Heads, Artifact | None]:
    """Measure one seed's importance of these tasks, or of all; beside it the proxy that it was read at, if at one."""
    from auxlearn.methods.gradts import head_tables

    proxy = context.make(PROXY) if p.at == "proxy" else None
    proxies = {seed: (proxy.value.plans, proxy.value.folds)} if proxy else None
    one = p.model_copy(update={"seeds": [seed]})
    return head_tables.measure(one, context.suite, context.usable(None), context.progress, proxies, tasks), proxy
