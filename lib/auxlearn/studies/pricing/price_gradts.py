"""What GradTS and AUTOSEM cost, projected from FLOPs as `price_fastmtl` does it: same unit, same omissions but one.

Both train in order to choose. Scores on held-out rows by which a search decides are counted, because the search is made
of them (a bandit's rounds are so short that judging may cost more than training). Scores that only choose an epoch are
left out, as in `price_fastmtl`. What a search will find is not known before it has run, so its price is an upper bound:
every training that it may run, each with n rows. They are mixed as the pool is; a set of long tasks costs more.
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
    """Project the cost of one seed of 04: each task of `rows` tuned alone, then one importance pass over its rows.

    Importance is counted as ledgers count it: a forward pass, the activations' gradient, and each row's key and value
    weight gradients (4 d² per token and layer); all definitions come out of one pass. Defaults are the authors'.

    Args:
        rows: Training rows per task.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence.
        tune_rows: Rows of each task to tune on, at most (0 = all).
        importance_rows: Rows of each task to measure, at most (0 = all).
        epochs: Epochs of tuning.
        batch_size: Rows per batch.

    Returns:
        Index stage (task_tuning, importance); columns as `price_fastmtl.fastmtl`.

    Raises:
        InputError: If counts are too small.
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
    """Project the cost of training the primary alone for the steps that stage 2 takes with n more rows.

    Steps are whole epochs over the primary's batches, and a rest of full ones. Arguments, columns and errors are those
    of `price_fastmtl.random`.
    """
    price_fastmtl.check(rows, primary, n, stage2_epochs, tune_epochs, batch_size)
    kept = rows[primary]
    steps, whole = _steps(kept, n, stage2_epochs, batch_size), -(-kept // batch_size)
    seen = steps // whole * kept + min(kept, steps % whole * batch_size)
    row = cost.encoder_flops(config, np.array([price_fastmtl.tokens(length, primary)]), True)
    return price_fastmtl.table({
        "stage2": {"sequences": seen, "steps": steps, "flops": seen * row},
        "tune": price_fastmtl.stage({primary: kept}, tune_epochs, config, length, batch_size),
    })  # fmt: skip


def shared_out(
    rows: Mapping[str, int], primary: str, n: int, config: Any, length: Length, *, stage2_epochs: int = 3,
    tune_epochs: int = 5, batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Project the cost of one training by AUTOSEM's ratios: the steps of `step_matched`, full batches of one task each.

    Which task gets how many steps is what is searched for; here tasks are taken by size. Arguments, columns and errors
    are those of `price_fastmtl.random`.
    """
    random = price_fastmtl.random(
        rows, primary, n, config, length, stage2_epochs=stage2_epochs, tune_epochs=tune_epochs, batch_size=batch_size
    )
    steps, mixed = _steps(rows[primary], n, stage2_epochs, batch_size), random.loc["stage2"]
    seen = steps * batch_size
    stage2 = {"sequences": seen, "steps": steps, "flops": mixed["flops"] / mixed["sequences"] * seen}
    return price_fastmtl.table({"stage2": stage2, "tune": random.loc["tune"].to_dict()})


def trial(
    rows: Mapping[str, int], primary: str, n: int, config: Any, length: Length, *, prefixes: int, alone: bool = True,
    held: int = 0, stage2_epochs: int = 3, tune_epochs: int = 5, batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Bound the cost of GradTS-trial's search from above.

    Counts a training (stage 2 and tune) for each of at most `prefixes` sets of auxiliaries and, if `alone`, one for the
    empty set, as `step_matched`. After every epoch of tuning `held` rows of the primary are scored.

    Args:
        rows: Training rows per task.
        primary: The target task.
        n: Auxiliary rows of each training.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence.
        prefixes: Sets of auxiliaries to try, at most.
        alone: Whether the primary alone is tried too.
        held: Held-out rows of the primary, beyond those of `rows`.
        stage2_epochs: Epochs of stage 2.
        tune_epochs: Epochs of tuning.
        batch_size: Rows per batch.

    Returns:
        Index stage (trial); columns as `price_fastmtl.fastmtl`.

    Raises:
        InputError: If counts are too small, or the pool holds fewer than n rows.
    """
    epochs: dict[str, Any] = {"stage2_epochs": stage2_epochs, "tune_epochs": tune_epochs, "batch_size": batch_size}
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
    """Project the cost of AUTOSEM's stage 1.

    Counts `rounds` of `batches` batches of one task each, and `held` rows of the primary scored before the first round
    and after every one. Which task a round trains is up to the bandit: all are taken to be played alike.

    Args:
        rows: Training rows per task.
        primary: The target task.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence.
        rounds: Rounds of the bandit.
        batches: Batches per round.
        held: Held-out rows of the primary.
        batch_size: Rows per batch.

    Returns:
        Index stage (bandit); columns as `price_fastmtl.fastmtl`.

    Raises:
        InputError: If counts are too small.
    """
    price_fastmtl.check(rows, primary, 0, rounds, batches, batch_size)
    if held < 0:
        raise InputError(f"held: {held} is negative")
    steps = rounds * batches
    sizes = {name: min(batch_size, count) for name, count in rows.items()}  # a batch holds no row twice
    flops = [
        k * cost.encoder_flops(config, np.array([price_fastmtl.tokens(length, name)]), True)
        for name, k in sizes.items()
    ]
    trained = pd.Series({
        "sequences": round(steps * np.mean(list(sizes.values()))), "steps": steps, "flops": steps * np.mean(flops)
    })  # fmt: skip
    return price_fastmtl.table({"bandit": (trained + _scored(primary, held, rounds + 1, config, length)).to_dict()})


def ratio_search(
    rows: Mapping[str, int], primary: str, n: int, config: Any, length: Length, *, trials: int, held: int = 0,
    stage2_epochs: int = 3, tune_epochs: int = 5, batch_size: int = 32,
) -> pd.DataFrame:  # fmt: skip
    """Bound the cost of AUTOSEM's stage 2 from above: `trials` trainings as `shared_out`, judged as in `trial`.

    It is a bound because ratios that are proposed again are not trained again, and with no task kept there is nothing
    to search.

    Args:
        rows: Training rows per task.
        primary: The target task.
        n: Auxiliary rows of each training.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence.
        trials: Trainings of the search.
        held: Held-out rows of the primary.
        stage2_epochs: Epochs of stage 2.
        tune_epochs: Epochs of tuning.
        batch_size: Rows per batch.

    Returns:
        Index stage (trial); columns as `price_fastmtl.fastmtl`.

    Raises:
        InputError: If counts are too small, or the pool holds fewer than n rows.
    """
    epochs = {"stage2_epochs": stage2_epochs, "tune_epochs": tune_epochs, "batch_size": batch_size}
    if trials < 1 or held < 0:
        raise InputError(f"trials, held: {trials} and {held} must be at least 1 and 0")
    one = shared_out(rows, primary, n, config, length, **epochs).sum()
    judged = _scored(primary, held, tune_epochs, config, length)
    return price_fastmtl.table({"trial": (trials * (one + judged)).to_dict()})


def heads_of(p: GradTS, rows: Mapping[str, int], config: Any, length: Length) -> pd.Series:
    """Price one seed of 04 by stage.

    Args:
        p: Parameters of 04.
        rows: Training rows per task.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence.

    Returns:
        FLOP, index stage: task_tuning and importance; importance alone if it is read at the proxy.
    """
    own = {name: getattr(p, name) for name in ("tune_rows", "importance_rows", "epochs", "batch_size")}
    flops = heads(rows, config, length, **own)["flops"]
    return flops if p.at == "task" else flops[["importance"]]


def arm(
    p: MTL, made: GradTS | None, rows: Mapping[str, int], config: Any, length: Length
) -> dict[str, float]:  # fmt: skip
    """Price one seed of a gradts or autosem arm by stage.

    Heads are charged for the primary and the candidates alone; the proxy that gradts_proxy reads is not among them.
    Where held-out rows choose the epoch (`choose`), the arm's final training is one of its search's trainings and is
    counted once, under stage2 and tune.

    Args:
        p: Parameters of 06.
        made: Parameters of the 04 that the arm reads; None for autosem arms.
        rows: Training rows of every task of the suite.
        config: The encoder's sizes, under their Hugging Face names.
        length: Tokens per sequence.

    Returns:
        FLOP by stage: heads, bandit, trial, stage2, tune.
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
        assert made is not None
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
    """Count stage 2's steps as `arm_plans.arm` counts them for all arms."""
    return epochs * -(-(kept + n) // batch_size)


def _scored(primary: str, held: int, times: int, config: Any, length: Length) -> pd.Series:
    return pd.Series(price_fastmtl.stage({primary: held}, times, config, length, None))


def _flops(table: pd.DataFrame) -> float:
    return float(table["flops"].sum())
