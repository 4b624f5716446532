"""Put a cascade in front of FastMTL's scoring: a cheap scorer orders the pool, the proxy ranks what comes first.

The proxy's pass over the pool is most of what FastMTL's selection costs at the published size. Would a pass over a part
of the pool have done? A store that holds the whole pass can tell: of the n rows that the proxy ranks highest, how many
does a cascade find that may spend a fraction of full scoring?

- *words* and *form* tell tasks apart by hashed n-grams or surface cues alone. They are fitted to the rows that the
  proxy was trained on (cross-fitted as the proxies are, so that no row is scored by a model that has seen it).
- *distilled* is fitted to the proxy's own scores of a small random sample; *in rounds* goes on to learn from the rows
  that it has put first (see `ridge_student`).
- *exit k* is fitted to the same sample, and reads the proxy's hidden states after layer k (see `early_exit`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from auxlearn import cost
from auxlearn.cost import Ledger, Meter
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import ranking
from auxlearn.methods.fastmtl import discriminator, early_exit, ngram_scorer, ridge_student
from auxlearn.methods.fastmtl.proxy_store import Proxies
from auxlearn.models import multitask
from auxlearn.records import runs
from auxlearn.signals import features

COSTS = (0.05, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1.0)
AIM = (0.2, 0.95)  # of the cost of full scoring, and of the rows it would choose


@dataclass
class Scorer:
    """An order for the pool and what it cost."""

    scores: np.ndarray  # float32 [N]; only their order within a fold counts
    exact: np.ndarray  # bool [N], rows that the proxy scored in full so that this one could be fitted
    ledger: Ledger  # what it ran itself, without the full passes over the rows of `exact`


def row_flops(config: Any, lengths: np.ndarray) -> np.ndarray:
    """Return what the proxy's pass costs per row, without padding (see `cost.encoder_flops`).

    Args:
        config: The encoder's configuration.
        lengths: Tokens of each row, int [N].

    Returns:
        FLOPs, float64 [N].
    """
    unique, inverse = np.unique(lengths, return_inverse=True)
    return np.array([cost.encoder_flops(config, [length], False) for length in unique])[inverse]


def recall(
    full: np.ndarray, scorers: Mapping[str, Scorer], n: int, folds: np.ndarray, eligible: np.ndarray,
    row_flops: np.ndarray, seed: int = 0, costs: Sequence[float] = COSTS,
) -> pd.DataFrame:  # fmt: skip
    """Return what share of the n rows that `full` ranks highest a cascade finds at each cost.

    Cost is everything that a cascade runs, as a fraction of the proxy's pass over all eligible rows: the scorer's own
    FLOPs, the full pass over the rows that it was fitted to, and the full pass over those that it puts first, in its
    order, up to the first that is too dear. Both rankings are compared within `folds` where there are two, as
    `ranking.choose` does. A scorer that knows nothing finds about the fraction that it scores. At cost 1 a scorer that
    runs a model finds less than everything.

    Args:
        full: The proxy's scores, float [N].
        scorers: The cheap scorers by name.
        n: The number of rows that a selection takes.
        folds: The proxy that scores each row [N].
        eligible: The rows that may be taken, bool [N].
        row_flops: What the proxy's pass costs per row, FLOPs [N].
        seed: The seed of the tie-breaking hash.
        costs: The costs to report.

    Returns:
        Index cost, one column per scorer, in 0 … 1; NaN where the scorer alone costs more.
    """
    best = ranking.choose("global", full, n, np.zeros(len(full), int), folds, seed, eligible)
    whole, columns = row_flops[eligible].sum(), {}
    for name, scorer in scorers.items():
        fixed = scorer.ledger.flops + row_flops[scorer.exact].sum()
        rest = eligible & ~scorer.exact
        ranks = ranking.fold_ranks(scorer.scores, folds, rest) if len(np.unique(folds)) > 1 else scorer.scores
        order = ranking.top_n(ranks, int(rest.sum()), seed, rest)
        reached = np.where(scorer.exact, fixed, np.inf)  # what has been spent once the row is scored
        reached[order] = fixed + np.cumsum(row_flops[order])
        # A sum in another order may differ in its last bits from the whole.
        shares = {c: float((reached[best] <= c * whole * (1 + 1e-9)).mean()) for c in costs}
        columns[name] = [shares[c] if fixed <= c * whole else np.nan for c in costs]
    return pd.DataFrame(columns, index=pd.Index(costs, name="cost"))


def fixed_costs(scorers: Mapping[str, Scorer], row_flops: np.ndarray, eligible: np.ndarray) -> pd.DataFrame:
    """Return what each scorer has cost before the proxy scores its first row.

    Args:
        scorers: The cheap scorers by name.
        row_flops: What the proxy's pass costs per row, FLOPs [N].
        eligible: The rows that may be taken, bool [N].

    Returns:
        Index scorer. Columns own (what it ran itself) and exact (full passes over the rows it was fitted to) are
        fractions of the full pass over all eligible rows, in FLOPs; rows is the number of rows it was fitted to;
        seconds are those of own, without those of a proxy's first layers, whose run has its own.
    """
    whole = row_flops[eligible].sum()
    rows = {
        name: {"own": s.ledger.flops / whole, "exact": row_flops[s.exact].sum() / whole, "rows": int(s.exact.sum()),
               "seconds": s.ledger.seconds}
        for name, s in scorers.items()
    }  # fmt: skip
    return pd.DataFrame(rows).T.astype({"rows": int}).rename_axis("scorer")


def scorers(
    suite: Suite, proxies: Proxies, pool: pd.DataFrame, primary: str, eligible: np.ndarray, share: float,
    layers: Sequence[int] = (), seed: int = 0,
) -> tuple[dict[str, Scorer], np.ndarray, list[runs.Manifest]]:  # fmt: skip
    """Fit every cheap scorer of a pool that the proxies have scored.

    Each scorer is fitted anew for each proxy, and to eligible rows alone. "in rounds" fits until half the pool is
    scored, and is charged for that at every cost.

    Args:
        suite: The suite with every task's rows.
        proxies: The proxies, and the rows that they have scored.
        pool: The candidates: columns task, row, proxy, and score, by which they are ranked.
        primary: The primary's name.
        eligible: The rows that may be taken, bool [N].
        share: The share of the eligible rows in the sample that "distilled", "in rounds" and "exit k" are fitted to.
        layers: The layers k for "exit k".
        seed: The seed of the sample.

    Returns:
        The scorers by name; the proxy's FLOPs per row, float64 [N]; the runs that were read.

    Raises:
        InputError: A layer is the proxy's last or beyond it.
    """
    scores, folds, stored = pool["score"].to_numpy(), pool["proxy"].to_numpy(), proxies.store.rows
    config = multitask.build(proxies.plans[0].encoder, suite).encoder.config
    if layers and max(layers) >= config.num_hidden_layers:
        raise InputError(f"exit_layers: {max(layers)} of {config.num_hidden_layers} layers is no early exit")
    lengths = pool[["task", "row"]].merge(stored, how="left")["length"].to_numpy()
    flops, drawn = row_flops(config, lengths), ridge_student.sample(folds, eligible, share, seed)
    named = {f"exit {k}": k for k in sorted(set(layers))}
    taught = ("distilled", "in rounds", *named)
    by_name = {
        name: Scorer(np.zeros(len(pool), np.float32), drawn & (name in taught), Ledger("cascade"))
        for name in ("words", "form", *taught)
    }
    read = []
    for fold, (each, training) in enumerate(zip(proxies.plans, proxies.trainings, strict=True)):
        at = np.flatnonzero((folds == fold) & eligible)
        rows, sample = pool.iloc[at].reset_index(drop=True), each.phases[0].rows
        for name, logits in (("words", ngram_scorer.logits), ("form", features.surface_logits)):
            with Meter(by_name[name].ledger):
                by_task = logits(suite, sample, rows, by_name[name].ledger)
                by_name[name].scores[at] = discriminator.scores(by_task, suite.index(primary), "margin")
        ledger = by_name["distilled"].ledger
        with Meter(ledger):
            cues = ridge_student.cues(suite, rows)
            by_name["distilled"].scores[at] = ridge_student.predict(cues, scores[at], drawn[at], ledger)
        with Meter(ledger := by_name["in rounds"].ledger):
            by_name["in rounds"].scores[at] = ridge_student.in_rounds(cues, scores[at], drawn[at], ledger)
        if named:
            # Of all rows that this proxy scores, so that one pass serves every primary; charged for the eligible ones.
            own = stored.loc[stored["proxy"] == fold, ["task", "row"]].reset_index(drop=True)
            manifest, states = early_exit.states(training.manifest, each, suite, own, layers)
            read.append(manifest)
            place = rows[["task", "row"]].merge(own.reset_index(), how="left")["index"].to_numpy()
        for name, layer in named.items():
            with Meter(ledger := by_name[name].ledger):
                x = ridge_student.standardised(states[layer][place])
                by_name[name].scores[at] = ridge_student.predict(x, scores[at], drawn[at], ledger)
                ledger.flops += layer / config.num_hidden_layers * flops[at][~drawn[at]].sum()
    return by_name, flops, read
