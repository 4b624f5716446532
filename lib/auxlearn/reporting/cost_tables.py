"""What finished arms cost: everything that each ran, by stage, alone and shared by several targets."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from auxlearn.cost import BY_TASK, SHARED, TRAINING, Ledger
from auxlearn.records import runs

# Stages of choosing in the order they run; those of other methods come after them.
SELECTION = (
    "proxy", "warm_up", "embedding", "scoring", "adapting", "targeting", "ranking", "task_tuning", "importance",
    "fisher", "joint_training", "lookahead", "bandit", "trial", "weighting",
)  # fmt: skip


def costs(arms: Sequence[runs.Manifest]) -> pd.DataFrame:
    """Tabulate everything that each arm ran for each seed, selection included.

    Args:
        arms: Manifests of 06 runs.

    Returns:
        One row per arm, seed and ledger entry: arm, seed, and the entry's columns (stage, seconds, flops, …).
    """
    rows = []
    for arm in arms:
        for seed, part in arm.metrics["seeds"].items():
            ledgers = [Ledger.from_dict(row) for row in (*part["ledger"], *part["needed"])]
            rows += [{"arm": arm.params["arm"], "seed": int(seed)} | ledger.as_dict() for ledger in ledgers]
    return pd.DataFrame(rows)


def _stages(table: pd.DataFrame) -> list[str]:
    """List a table's stages in the order they run; those of other methods, which have no place in it, come last."""
    there = list(dict.fromkeys(table["stage"]))
    known = [stage for stage in SELECTION if stage in there]
    others = [stage for stage in there if stage not in (*SELECTION, *TRAINING)]
    return known + others + [stage for stage in TRAINING if stage in there]


def by_stage(table: pd.DataFrame, column: str, scale: float = 1.0) -> pd.DataFrame:
    """Average one cost column over seeds, by stage.

    Args:
        table: As from `costs`.
        column: One of its cost columns, such as "flops".
        scale: Divides the values.

    Returns:
        Mean per seed; index arm, one column per stage in the order they run.
    """
    order = _stages(table)
    wide = table.pivot_table(index="arm", columns="stage", values=column, aggfunc="sum")[order].fillna(0.0)
    seeds = table.groupby("arm")["seed"].nunique()
    return wide.div(seeds, axis=0).loc[list(dict.fromkeys(table["arm"]))] / scale


def amortised(stages: pd.DataFrame, targets: Sequence[int]) -> pd.DataFrame:
    """Compute the cost per target when several targets share the selection stages.

    Training a proxy, a warm-up and their passes over the pool serve every target at once, and so does what is measured
    of each task alone (GradTS's tuning and importance, embeddings, Fisher information); ranking, trials, passes for one
    target's gradients, stage 2 and tuning do not.

    Args:
        stages: As from `by_stage`.
        targets: Numbers of targets.

    Returns:
        Index targets, one column per arm; in the unit of `stages`.
    """
    shared = stages[[s for s in SHARED if s in stages]].sum(axis=1)
    own = stages.sum(axis=1) - shared
    return pd.DataFrame({t: own + shared / t for t in targets}).T.rename_axis("targets")


def new_candidate(stages: pd.DataFrame, tasks: int) -> pd.DataFrame:
    """Compute what choosing costs at first, and again when one more task joins.

    What is measured of each task alone is kept, and the new one's added: `1 / tasks` of it (tasks taken alike). All
    trials run anew, as an upper bound. A discriminator, joint trainings and a bandit know their tasks from the start,
    so they start over, and so does importance that was read at a discriminator's proxy. Arms for which choosing costs
    nothing are left out.

    Args:
        stages: As from `by_stage`.
        tasks: Tasks there are at first, the primary included.

    Returns:
        Index arm, columns "at first" and "one more task"; in the unit of `stages`.
    """
    first = stages[[s for s in stages if s not in TRAINING]].sum(axis=1)
    kept = stages[[s for s in BY_TASK if s in stages]].sum(axis=1)
    if "proxy" in stages:
        kept = kept.where(stages["proxy"] == 0, 0.0)
    again = first - kept + kept / tasks
    table = pd.DataFrame({"at first": first, "one more task": again})
    return table[table["at first"] > 0]


def speedups(stages: pd.DataFrame, targets: int, against: str = "all_data") -> pd.DataFrame:
    """Compute how many times cheaper each arm is than training on everything.

    Args:
        stages: As from `by_stage`.
        targets: Number of targets that share the selection.
        against: The arm that trains on everything.

    Returns:
        Ratios of whatever cost `stages` holds; index arm. Columns alone (with all its selection), amortised (proxy,
        scoring and GradTS's tuning and importance shared by the targets) and ceiling (had selection cost nothing: the
        most that any cheaper selection could give).
    """
    total = stages.sum(axis=1)
    training = stages[[s for s in TRAINING if s in stages]].sum(axis=1)
    shared = amortised(stages, [targets]).loc[targets]
    whole = total[against]
    return pd.DataFrame({"alone": whole / total, "amortised": whole / shared, "ceiling": whole / training})


def stage_table(costs: pd.DataFrame) -> pd.DataFrame:
    """Tabulate everything measured, one row per arm and stage.

    Args:
        costs: As from `costs`.

    Returns:
        Means per seed, and the highest peak of memory over seeds; index (arm, stage). Columns seconds, TFLOP, tokens,
        padded tokens, steps, examples, peak GiB.
    """
    order = _stages(costs)
    counts = {"seconds": "seconds", "flops": "TFLOP", "tokens": "tokens", "padded_tokens": "padded tokens",
              "steps": "steps", "examples": "examples"}  # fmt: skip
    seeds = costs.groupby("arm")["seed"].nunique()
    means = costs.groupby(["arm", "stage"])[list(counts)].sum().div(seeds, axis=0, level="arm").rename(columns=counts)
    means["TFLOP"] /= 1e12
    means["peak GiB"] = costs.groupby(["arm", "stage"])["peak_bytes"].max() / 2**30
    arms = list(dict.fromkeys(costs["arm"]))
    return means.loc[[(a, s) for a in arms for s in order if (a, s) in means.index]]


def padding(costs: pd.DataFrame, length: int) -> pd.DataFrame:
    """Compare the tokens that were computed with those of padding every row to one length.

    Args:
        costs: As from `costs`.
        length: Tokens to pad to.

    Returns:
        Means per seed; index arm. Columns tokens, padded_tokens, "padded to LENGTH", and times (how many times more
        that would be than what was computed).
    """
    sums = costs.groupby("arm", sort=False)[["tokens", "padded_tokens", "examples"]].sum()
    means = sums.div(costs.groupby("arm", sort=False)["seed"].nunique(), axis=0)
    means[f"padded to {length}"] = means.pop("examples") * length
    means["times"] = means[f"padded to {length}"] / means["padded_tokens"]
    return means
