"""What GradTS and AUTOSEM cost, projected from FLOPs as `pricing` does it: same unit, same things left out, but one.

Both train in order to choose. Scores on held-out rows by which a search decides are counted, because the search is made
of them (a bandit's rounds are so short that judging may cost more than training); those that only choose an epoch are
not, here as there. What a search will find is not known before it has run, so that its price is an upper bound: every
training that it may run, each with n rows. They are mixed as the pool is; a set of long tasks costs more than that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from auxlearn import cost
from auxlearn.errors import InputError
from auxlearn.studies.parameters import MTL, GradTS
from auxlearn.studies.pricing import price_fastmtl
from auxlearn.studies.pricing.price_fastmtl import Length


def heads(
    rows: Mapping[str, int], config: Any, length: Length, *, tune_rows: int = 0, importance_rows: int = 0,
    epochs: int = 3, batch_size: int = 4,
) -> pd.DataFrame:  # fmt: skip
    """Projected cost of one seed of 04: each task of `rows` tuned alone, then one importance pass over its rows.

    Index stage (task_tuning, importance); columns as `price_fastmtl.fastmtl`. tune_rows, importance_rows: at most so
    many of each task (0 = all). Defaults: the authors'. Importance as ledgers count it: a forward pass, the
    activations' gradient, and each row's key and value weight gradients (4 d² a token and layer); all definitions come
    of one pass.
    """
    price_fastmtl.check(rows, next(iter(rows), ""), 0, epochs, batch_size)
    if min(tune_rows, importance_rows) < 0:
        raise InputError(f"tune_rows, importance_rows: {tune_rows} and {importance_rows} must not be negative")
    tuned, measured = (
        {name: min(limit or count, count) for name, count in rows.items()} for limit in (tune_rows, importance_rows)
    )
    importance = price_fastmtl.stage(measured, 1, config, length, None)
    seen = sum(count * price_fastmtl.tokens(length, name) for name, count in measured.items())
    importance["flops"] = 2 * importance["flops"] + config.num_hidden_layers * 4 * config.hidden_size**2 * seen
    return price_fastmtl.table({
        "task_tuning": price_fastmtl.stage(tuned, epochs, config, length, batch_size), "importance": importance
    })  # fmt: skip


def step_matched(
    rows: Mapping[str, int], primary: str, n: int, config: Any, length: Length, *, stage2_epochs: int = 3,
    tune_epochs: int = 5, batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Projected cost of the primary alone with the steps that stage 2 takes with n more rows. As
    `price_fastmtl.random`.

    Whole epochs over the primary's batches, and a rest of full ones.
    """
    price_fastmtl.check(rows, primary, n, stage2_epochs, tune_epochs, batch_size)
    kept = rows[primary]
    steps, whole = _steps(kept, n, stage2_epochs, batch_size), -(-kept // batch_size)
    seen = steps // whole * kept + min(kept, steps % whole * batch_size)
    row = cost.encoder_flops(config, [price_fastmtl.tokens(length, primary)], True)
    return price_fastmtl.table({
        "stage2": {"sequences": seen, "steps": steps, "flops": seen * row},
        "tune": price_fastmtl.stage({primary: kept}, tune_epochs, config, length, batch_size),
    })  # fmt: skip


def shared_out(
    rows: Mapping[str, int], primary: str, n: int, config: Any, length: Length, *, stage2_epochs: int = 3,
    tune_epochs: int = 5, batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Projected cost of one training by AUTOSEM's ratios: those steps again, full batches of one task each.

    As `price_fastmtl.random`. Which task gets how many steps is what is searched for; tasks are taken by size.
    """
    made = price_fastmtl.random(
        rows, primary, n, config, length, stage2_epochs=stage2_epochs, tune_epochs=tune_epochs, batch_size=batch_size
    )
    steps, mixed = _steps(rows[primary], n, stage2_epochs, batch_size), made.loc["stage2"]
    seen = steps * batch_size
    stage2 = {"sequences": seen, "steps": steps, "flops": mixed["flops"] / mixed["sequences"] * seen}
    return price_fastmtl.table({"stage2": stage2, "tune": made.loc["tune"].to_dict()})


def trial(
    rows: Mapping[str, int], primary: str, n: int, config: Any, length: Length, *, prefixes: int, alone: bool = True,
    held: int = 0, stage2_epochs: int = 3, tune_epochs: int = 5, batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Upper bound of GradTS-trial's search: index stage (trial); columns as `price_fastmtl.fastmtl`.

    A training (stage 2 and tune) for each of at most `prefixes` sets of auxiliaries, and `alone` one for the empty set,
    as `step_matched`. After every epoch of tuning `held` rows of the primary are scored, beyond those of `rows`.
    """
    epochs = {"stage2_epochs": stage2_epochs, "tune_epochs": tune_epochs, "batch_size": batch_size}
    most = min(prefixes, len(rows) - 1)
    if most < 1 or held < 0:
        raise InputError(f"prefixes, held: {prefixes} of {len(rows) - 1} tasks and {held} must be at least 1 and 0")
    given = (rows, primary, n, config, length)
    total = most * price_fastmtl.random(*given, **epochs).sum()
    if alone:
        total = total + step_matched(*given, **epochs).sum()
    judged = _scored(primary, held, tune_epochs, config, length)
    return price_fastmtl.table({"trial": (total + (most + alone) * judged).to_dict()})


def bandit(
    rows: Mapping[str, int], primary: str, config: Any, length: Length, *, rounds: int, batches: int, held: int = 0,
    batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Projected cost of AUTOSEM's stage 1: index stage (bandit); columns as `price_fastmtl.fastmtl`.

    `rounds` of `batches` batches of one task each, and `held` rows of the primary scored before the first round and
    after every one. Which task a round trains is up to the bandit: all are taken to be played alike.
    """
    price_fastmtl.check(rows, primary, 0, rounds, batches, batch_size)
    if held < 0:
        raise InputError(f"held: {held} is negative")
    steps = rounds * batches
    sizes = {name: min(batch_size, count) for name, count in rows.items()}  # a batch holds no row twice
    flops = [k * cost.encoder_flops(config, [price_fastmtl.tokens(length, name)], True) for name, k in sizes.items()]
    trained = pd.Series({
        "sequences": round(steps * np.mean(list(sizes.values()))), "steps": steps, "flops": steps * np.mean(flops)
    })  # fmt: skip
    return price_fastmtl.table({"bandit": (trained + _scored(primary, held, rounds + 1, config, length)).to_dict()})


def ratio_search(
    rows: Mapping[str, int], primary: str, n: int, config: Any, length: Length, *, trials: int, held: int = 0,
    stage2_epochs: int = 3, tune_epochs: int = 5, batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Upper bound of AUTOSEM's stage 2: `trials` trainings as `shared_out`, judged as in `trial`. Index stage (trial).

    Ratios that are proposed again are not trained again, and with no task kept there is nothing to search.
    """
    epochs = {"stage2_epochs": stage2_epochs, "tune_epochs": tune_epochs, "batch_size": batch_size}
    if trials < 1 or held < 0:
        raise InputError(f"trials, held: {trials} and {held} must be at least 1 and 0")
    one = shared_out(rows, primary, n, config, length, **epochs).sum()
    judged = _scored(primary, held, tune_epochs, config, length)
    return price_fastmtl.table({"trial": (trials * (one + judged)).to_dict()})


def heads_of(p: GradTS, rows: Mapping[str, int], config: Any, length: Length) -> pd.Series:
    """FLOP of one seed of 04 by stage: task_tuning and importance; read at the proxy, importance alone."""
    own = {name: getattr(p, name) for name in ("tune_rows", "importance_rows", "epochs", "batch_size")}
    made = heads(rows, config, length, **own)["flops"]
    return made if p.at == "task" else made[["importance"]]


def arm(
    p: MTL, made: GradTS | None, rows: Mapping[str, int], config: Any, length: Length
) -> dict[str, float]:  # fmt: skip
    """FLOP of one seed of a gradts or autosem arm by stage: heads, bandit, trial, stage2, tune.

    rows: training rows of every task of the suite; made: the parameters of the 04 that the arm reads. Heads are charged
    for the primary and the candidates alone; the proxy that gradts_proxy reads is not among them. Where held-out rows
    choose the epoch (`choose`), what the arm trains at last is one of its search's trainings and is counted once, under
    stage2 and tune.
    """
    primary, epochs = p.primary, {name: getattr(p, name) for name in ("stage2_epochs", "tune_epochs", "batch_size")}
    pool = {name: rows[name] for name in p.auxiliaries or rows if name != primary}
    held = round(p.holdout * rows[primary])
    kept = rows[primary] - (held if p.choose == "holdout" else 0)
    final = ({primary: kept} | pool, primary, p.n, config, length)
    search = ({primary: rows[primary] - held} | pool, primary, p.n, config, length)
    stages = dict.fromkeys(("heads", "bandit", "trial"), 0.0)
    if made is not None:
        stages["heads"] = float(heads_of(made, {primary: rows[primary]} | pool, config, length).sum())
    last = price_fastmtl.random
    if p.arm == "gradts_fg":  # takes measured rows only, and the best of them
        best = {name: round(p.fg_fraction * min(made.importance_rows or k, k)) for name, k in pool.items()}
        if best := {name: k for name, k in best.items() if k}:
            final = ({primary: kept} | best, primary, min(p.n, sum(best.values())), config, length)
        else:
            last = step_matched
    if p.autosem:
        stages["bandit"] = _flops(bandit(
            search[0], primary, config, length, rounds=p.bandit_rounds, batches=p.bandit_batches, held=held,
            batch_size=p.batch_size,
        ))  # fmt: skip
    if p.arm == "autosem":
        last = shared_out
        stages["trial"] = _flops(ratio_search(*search, trials=p.ratio_trials, held=held, **epochs))
    elif p.searches and p.gradts:
        alone = p.trial_rule == "corrected"  # the authors' rule never tries the primary alone
        stages["trial"] = _flops(trial(*search, prefixes=p.trial_most, alone=alone, held=held, **epochs))
    trained = last(*final, **epochs)["flops"]
    if p.choose == "holdout" and p.arm in ("gradts_trial", "autosem"):
        stages["trial"] -= float(trained.sum())
    return stages | {name: float(value) for name, value in trained.items()}


def _steps(kept: int, n: int, epochs: int, batch_size: int) -> int:
    """Stage 2's steps as `arm_plans.arm` counts them for all arms."""
    return epochs * -(-(kept + n) // batch_size)


def _scored(primary: str, held: int, times: int, config: Any, length: Length) -> pd.Series:
    return pd.Series(price_fastmtl.stage({primary: held}, times, config, length, None))


def _flops(table: pd.DataFrame) -> float:
    return float(table["flops"].sum())
