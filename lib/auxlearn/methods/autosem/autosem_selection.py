"""Choose what the AUTOSEM arms add: a bandit's tasks, and the mixing ratios that a Gaussian process finds for them.

| | default | `autosem_rule="paper"` |
|---|---|---|
| reward | a tie earns 0.5; the first score is held against that before training | ties and the first score earn 1 |
| tasks kept | mean utility over rounds above 0.5 | the highest final utilities, whatever they are |
| ratios | see `ratio_search.Search` | see `ratio_search.Search` |
| stage 2 | tasks interleaved by their share of the steps | short cycles of the ratios, as AUTOSEM's `_task_selector` |

Both train as many steps as the other arms do, with the right learning rate schedule, on at most n auxiliary rows, which
the ratios share out; the paper trains on whole tasks. GradTS's own rerun of AUTOSEM does neither: see
`mixing.schedule`.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from auxlearn import seeding
from auxlearn.data import auxiliary_rows
from auxlearn.data.suites import Suite
from auxlearn.methods import arm_plans, trials
from auxlearn.methods.autosem import bandit_plans, bandit_trainer, bandits, ratio_search
from auxlearn.methods.autosem.options import AutosemArm
from auxlearn.methods.trials import Chosen
from auxlearn.training import train, training_cache


def chosen(
    p: AutosemArm, suite: Suite, seed: int, usable: Mapping[str, np.ndarray], progress: train.Progress | None = None
) -> Chosen:
    """Return the auxiliary rows of an autosem arm for one seed, and for stage 2 the shares of its steps.

    Stage 1 is trained once for both arms; a trial is trained once for the same rows and shares.

    Args:
        p: The arm's parameters.
        suite: The suite with every task's rows.
        seed: The arm's seed.
        usable: By task, a mask over its training rows, bool [rows].
        progress: Called with a line of text whenever something has been done.

    Returns:
        The rows, the tasks kept with their utilities, and the trials that were run.
    """
    selection = Chosen(style="cycle" if p.autosem_rule == "paper" else "interleaved")
    plan = bandit_plans.bandit(p, suite, seed, usable)
    training = training_cache.trained(plan, suite, progress)
    selection.ran(training, "bandit")
    names = arm_plans.arms(plan.phases[0], p.primary)
    bandit = bandit_trainer.replayed(plan, plan.phases[0], training.history.to_dict("records"))
    paper = p.autosem_rule == "paper"
    utilities = bandit.utilities if paper else bandits.mean_utilities(bandit)
    selection.utilities = dict(zip(names, map(float, utilities), strict=True))
    arms = bandits.select(bandit, 0, p.bandit_most, p.autosem_rule, seed=seed)
    selection.tasks = tuple(names[i] for i in arms)
    pool = auxiliary_rows.pool(suite, suite.auxiliaries(p.primary, p.auxiliaries), usable)
    pool = pool[pool.pop("usable")].reset_index(drop=True)
    if p.arm == "autosem_p1" or not selection.tasks:
        selection.rows = trials.draw(pool, selection.tasks, p.n, seed)
        return selection
    best = _search(p, suite, seed, pool, usable, selection, progress)
    selection.shares = dict(zip((p.primary, *selection.tasks), best, strict=True))
    selection.rows = shared_out(pool, selection.shares, p.n, seed)
    if selection.rows is None:
        selection.shares = None
    return selection


def _search(
    p: AutosemArm, suite: Suite, seed: int, pool: pd.DataFrame, usable: Mapping[str, np.ndarray], made: Chosen,
    progress: train.Progress | None,
) -> list[int]:  # fmt: skip
    """Run stage 2: return the best ratios of `ratio_trials` trainings, primary first."""
    names = (p.primary, *made.tasks)
    initial = min(p.ratio_trials, len(names) + 2) if p.autosem_rule == "corrected" else min(p.ratio_trials, 10)
    search = ratio_search.Search(len(names), seed, p.ratio_highest, max(2, initial), p.autosem_rule)
    known: dict[tuple[int, ...], float] = {}
    for _ in range(p.ratio_trials):
        tried = search.suggest()
        if tuple(tried) not in known:  # proposed again, it would be the same training
            ratios = dict(zip(names, tried, strict=True))
            rows = shared_out(pool, ratios, p.n, seed)
            shares = None if rows is None else ratios
            known[tuple(tried)], _ = trials.trial(p, suite, seed, rows, usable, made, progress, shares, made.style)
        score = known[tuple(tried)]
        search.observe(tried, score)
        made.visited.append((tuple(tried), score))
    return search.best()


def shared_out(pool: pd.DataFrame, shares: Mapping[str, int], n: int, seed: int) -> pd.DataFrame | None:
    """Divide n rows among the pool's tasks by their shares (largest remainder), at random within each.

    A task with fewer rows gives all it has, and the others then no more than their own part.

    Args:
        pool: The pool, with a column task.
        shares: By task, its share; tasks that are not in the pool count for nothing.
        n: The number of rows.
        seed: The seed of the draws.

    Returns:
        At most n rows of the pool; None where no task of the pool has a share.
    """
    weights = {name: share for name, share in shares.items() if share and (pool["task"] == name).any()}
    if not weights:
        return None
    exact = {name: n * share / sum(weights.values()) for name, share in weights.items()}
    count = {name: int(x) for name, x in exact.items()}
    for name in sorted(weights, key=lambda name: (count[name] - exact[name], name))[: n - sum(count.values())]:
        count[name] += 1
    parts = []
    for name in sorted(weights):
        inside = pool[pool["task"] == name]
        order = seeding.rng(seed, "sample", "shares", name).permutation(len(inside))[: count[name]]
        parts.append(inside.iloc[np.sort(order)])
    return pd.concat(parts).reset_index(drop=True)
