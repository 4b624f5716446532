"""Finished arms side by side: scores a seed, and what each cost (`comparing` pairs them)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from auxlearn.cost import Ledger
from auxlearn.evaluation import stats
from auxlearn.records import runs

SELECTION = (
    "proxy",
    "scoring",
    "ranking",
    "task_tuning",
    "importance",
    "bandit",
    "trial",
    "weighting",
)  # stages that targets can share, in the order they run
SHARED = ("proxy", "scoring", "task_tuning", "importance")
TRAINING = ("pretrain", "joint", "stage2", "tune")


def at(arms: Sequence[runs.Manifest], n: int) -> list[runs.Manifest]:
    """The arms at one n, with those that do not depend on n."""
    return [m for m in arms if m.key_params.get("n", n) == n]


def scores(arms: Sequence[runs.Manifest], metric: str) -> pd.DataFrame:
    """One row an arm and seed: arm, seed, score on dev, the epoch kept, rows added, the primary's share of training."""
    return pd.DataFrame([
        {"arm": m.params["arm"], "seed": int(seed), "score": part["dev"][metric], "epoch": part["epoch"],
         "added": part["added"], "target_share": part["target_share"]}
        for m in arms for seed, part in m.metrics["seeds"].items()
    ])  # fmt: skip


def curve(arms: Sequence[runs.Manifest], metric: str, pool: int, level: float = 0.95) -> pd.DataFrame:
    """Mean score against the share of the auxiliary pool added: arm, n, share, score, low, high (t over seeds).

    n: rows added, mean over seeds, for a search may choose none.
    """
    rows = []
    for m in arms:
        values = [part["dev"][metric] for part in m.metrics["seeds"].values()]
        low, high = stats.t_interval(values, level) if len(values) > 1 else (np.nan, np.nan)
        added = round(np.mean([part["added"] for part in m.metrics["seeds"].values()]))
        rows.append({"arm": m.params["arm"], "n": added, "share": added / pool, "score": np.mean(values), "low": low,
                     "high": high, "seeds": len(values)})  # fmt: skip
    return pd.DataFrame(rows).sort_values(["arm", "n"], kind="stable").reset_index(drop=True)


def costs(arms: Sequence[runs.Manifest]) -> pd.DataFrame:
    """One row an arm, seed and stage: everything the arm ran for that seed, selection included."""
    rows = []
    for arm in arms:
        for seed, part in arm.metrics["seeds"].items():
            ledgers = [Ledger.from_dict(row) for row in part["ledger"]]
            for source in (s for s in arm.inputs if s["stage"] == "03_ranking"):
                ranking = runs.load(source["stage"], source["key"])
                if ranking.params["seed"] == int(seed):
                    proxies = [runs.load(s["stage"], s["key"]) for s in ranking.inputs if s["stage"] == "02_td_proxy"]
                    ledgers += [Ledger.from_dict(r) for m in (*proxies, ranking) for r in m.ledger]
            for source in (s for s in arm.inputs if s["stage"] == "04_gradts_correlation"):
                # GradTS tunes and measures the primary and each candidate; other tasks of the suite are not its cost.
                heads = runs.load(source["stage"], source["key"])
                kept = heads.metrics["ledger"][seed]
                for s in (s for s in heads.inputs if s["stage"] == "02_td_proxy"):
                    proxy = runs.load(s["stage"], s["key"])
                    if proxy.params["seed"] == int(seed):
                        ledgers += [Ledger.from_dict(row) for row in proxy.ledger if row["stage"] == "proxy"]
                needed = [arm.params["primary"], *(arm.params["auxiliaries"] or kept)]
                ledgers += [Ledger.from_dict(row) for name in dict.fromkeys(needed) for row in kept[name]]
            for source in (s for s in arm.inputs if s["stage"] == "05_tawt_weighting"):
                # Weights that another training ended with cost that training.
                kept = runs.load(source["stage"], source["key"]).metrics["ledger"][seed]
                ledgers += [Ledger.from_dict(row | {"stage": "weighting"}) for row in kept]
            rows += [{"arm": arm.params["arm"], "seed": int(seed)} | ledger.as_dict() for ledger in ledgers]
    return pd.DataFrame(rows)


def by_stage(table: pd.DataFrame, column: str, scale: float = 1.0) -> pd.DataFrame:
    """Mean a seed of one cost column: index arm, a column a stage in the order they run."""
    order = [s for s in (*SELECTION, *TRAINING) if s in set(table["stage"])]
    wide = table.pivot_table(index="arm", columns="stage", values=column, aggfunc="sum")[order].fillna(0.0)
    seeds = table.groupby("arm")["seed"].nunique()
    return wide.div(seeds, axis=0).loc[list(dict.fromkeys(table["arm"]))] / scale


def amortised(stages: pd.DataFrame, targets: Sequence[int]) -> pd.DataFrame:
    """Cost a target when `targets` targets share the selection stages: index targets, a column an arm.

    Proxy training and the pass over the pool serve every target at once, and so do GradTS's tuning and importance of
    each task; ranking, trials, stage 2 and tuning do not.
    """
    shared = stages[[s for s in SHARED if s in stages]].sum(axis=1)
    own = stages.sum(axis=1) - shared
    return pd.DataFrame({t: own + shared / t for t in targets}).T.rename_axis("targets")


def new_candidate(stages: pd.DataFrame, tasks: int) -> pd.DataFrame:
    """What choosing costs at first, and again when one task joins `tasks` (primary included); index arm.

    GradTS keeps every task's matrix and adds the new one's, `1 / tasks` of its tuning and importance (tasks taken
    alike); trials, as an upper bound, all anew. A discriminator and a bandit know their tasks from the start: all anew,
    and so is importance that was read at a discriminator's proxy. Arms that choose nothing are left out. In whatever
    cost `stages` holds.
    """
    first = stages[[s for s in SELECTION if s in stages]].sum(axis=1)
    kept = stages[[s for s in ("task_tuning", "importance") if s in stages]].sum(axis=1)
    if "proxy" in stages:
        kept = kept.where(stages["proxy"] == 0, 0.0)
    again = first - kept + kept / tasks
    made = pd.DataFrame({"at first": first, "one more task": again})
    return made[made["at first"] > 0]


def speedups(stages: pd.DataFrame, targets: int, against: str = "all_data") -> pd.DataFrame:
    """How many times cheaper than training on everything each arm is; index arm. `stages` as from `by_stage`.

    alone: with all its selection; amortised: proxy and scoring shared by `targets` targets; ceiling: had selection cost
    nothing, the most that any cheaper selection could give. Ratios of whatever cost `stages` holds.
    """
    total = stages.sum(axis=1)
    training = stages[[s for s in TRAINING if s in stages]].sum(axis=1)
    shared = amortised(stages, [targets]).loc[targets]
    whole = total[against]
    return pd.DataFrame({"alone": whole / total, "amortised": whole / shared, "ceiling": whole / training})


def stage_table(costs: pd.DataFrame) -> pd.DataFrame:
    """Everything measured, a row an arm and stage, means a seed: index (arm, stage)."""
    order = [s for s in (*SELECTION, *TRAINING) if s in set(costs["stage"])]
    counts = {"seconds": "seconds", "flops": "TFLOP", "tokens": "tokens", "padded_tokens": "padded tokens",
              "steps": "steps", "examples": "examples"}  # fmt: skip
    seeds = costs.groupby("arm")["seed"].nunique()
    made = costs.groupby(["arm", "stage"])[list(counts)].sum().div(seeds, axis=0, level="arm").rename(columns=counts)
    made["TFLOP"] /= 1e12
    made["peak GiB"] = costs.groupby(["arm", "stage"])["peak_bytes"].max() / 2**30
    arms = list(dict.fromkeys(costs["arm"]))
    return made.loc[[(a, s) for a in arms for s in order if (a, s) in made.index]]


def padding(costs: pd.DataFrame, length: int) -> pd.DataFrame:
    """Tokens computed a seed and arm, and how many times more it would be with every row padded to `length`."""
    made = costs.groupby("arm", sort=False)[["tokens", "padded_tokens", "examples"]].sum()
    made = made.div(costs.groupby("arm", sort=False)["seed"].nunique(), axis=0)
    made[f"padded to {length}"] = made.pop("examples") * length
    made["times"] = made[f"padded to {length}"] / made["padded_tokens"]
    return made


def summary(table: pd.DataFrame, stages: pd.DataFrame, level: float = 0.95) -> pd.DataFrame:
    """Mean dev score an arm with its t interval over seeds, and total cost a seed; index arm."""
    rows = {}
    for arm, part in table.groupby("arm", sort=False):
        values = part["score"].to_numpy()
        low, high = stats.t_interval(values, level) if len(values) > 1 else (np.nan, np.nan)
        rows[arm] = {"score": values.mean(), "low": low, "high": high, "cost": stages.loc[arm].sum()}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("arm")


def tidy(table: pd.DataFrame, compared: pd.DataFrame, totals: pd.DataFrame) -> pd.DataFrame:
    """One row an arm with everything a report's index shows; the baseline has no difference."""
    out = totals.rename(columns={"low": "score_low", "high": "score_high", "cost": "tflop"})
    out["seeds"] = table.groupby("arm")["seed"].nunique()
    out["added"] = table.groupby("arm")["added"].mean().round().astype(int)  # a search may choose none for a seed
    extra = compared.drop(columns="seeds")
    out = out.join(extra)
    out["verdict"] = out["verdict"].fillna("baseline")
    return plain(out)


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """The table with None for NaN, as JSON has it."""
    return table.astype(object).where(table.notna(), None)
