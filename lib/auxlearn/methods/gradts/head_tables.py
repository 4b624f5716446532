"""GradTS's store: every task's head importance, one tuning and one pass per task, and the tables of correlations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from auxlearn.cost import Ledger, total
from auxlearn.data.suites import Suite
from auxlearn.evaluation import stats
from auxlearn.methods import task_plans
from auxlearn.methods.gradts import correlation, head_store
from auxlearn.methods.gradts.options import GradTS
from auxlearn.records import runs
from auxlearn.training import train, training_cache
from auxlearn.training.phases import Plan

Proxies = tuple[list[Plan], dict[str, np.ndarray]]  # plans of shared models, and which of them may have seen each row


@dataclass
class Heads:
    """Importances by (seed, task), each by definition float32 [N, L, H], with the rows that they are of."""

    tasks: list[str]
    seeds: list[int]
    importances: dict[tuple[int, str], dict[str, np.ndarray]] = field(default_factory=dict)
    rows: dict[tuple[int, str], np.ndarray] = field(default_factory=dict)
    ledgers: dict[tuple[int, str], list[Ledger]] = field(default_factory=dict)
    manifests: list[runs.Manifest] = field(default_factory=list)

    def matrices(self, seed: int, definition: str) -> np.ndarray:
        """Return the task matrices in 0 … 1, float32 [K, L, H], in the order of `tasks`."""
        return np.stack([correlation.task_matrix(self.importances[seed, name][definition]) for name in self.tasks])

    def joined(self, other: Heads) -> Heads:
        """Return the importances of these seeds and those of another, of the same tasks."""
        return Heads(
            self.tasks, [*self.seeds, *other.seeds], self.importances | other.importances, self.rows | other.rows,
            self.ledgers | other.ledgers, [*self.manifests, *other.manifests],
        )  # fmt: skip

    def all_ledgers(self) -> list[Ledger]:
        """Return the ledgers of all seeds and tasks."""
        return [row for rows in self.ledgers.values() for row in rows]


def measure(
    p: GradTS, suite: Suite, usable: Mapping[str, np.ndarray], progress: train.Progress | None = None,
    proxies: Mapping[int, Proxies] | None = None, tasks: Sequence[str] | None = None,
) -> Heads:  # fmt: skip
    """Measure the head importance of tasks' rows, or read back what is there already.

    Args:
        p: GradTS's parameters.
        suite: The suite with every task's rows.
        usable: By task, a mask over its training rows, bool [rows].
        progress: Called with a line of text whenever something has been done.
        proxies: By seed, the shared models that measure where `p.at` is "proxy"; else each task's rows are measured by
            a model tuned on that task alone.
        tasks: The tasks; None for all of the suite.
    """
    heads = Heads(list(tasks or suite.names), list(p.seeds))
    for seed in p.seeds:
        if p.at == "proxy":
            assert proxies is not None, "reading at the proxy takes the proxies"
            _at_proxy(heads, p, suite, usable, proxies[seed], seed, progress)
            continue
        for name in heads.tasks:
            plan, rows = task_plans.task_tuning(p, suite, name, seed, usable[name])
            training = training_cache.trained(plan, suite, progress)
            manifest, values = head_store.measured(training.manifest, plan, suite, name, rows, p.dropout, progress)
            at = seed, name
            heads.importances[at], heads.rows[at] = values, rows
            heads.ledgers[at] = [total("task_tuning", training.ledgers), Ledger.from_dict(manifest.ledger[0])]
            heads.manifests += [training.manifest, manifest]
    return heads


def _at_proxy(
    heads: Heads, p: GradTS, suite: Suite, usable: Mapping[str, np.ndarray], proxies: Proxies, seed: int,
    progress: train.Progress | None,
) -> None:  # fmt: skip
    """Measure each row by the proxy that was not drawn from its half; by the one proxy where there is one."""
    plans, fold_of = proxies
    trainings = [training_cache.trained(plan, suite, progress).manifest for plan in plans]
    for name in heads.tasks:
        rows, parts, places, ledgers = task_plans.measured_rows(p, name, seed, usable[name]), [], [], []
        for fold, (plan, training) in enumerate(zip(plans, trainings, strict=True)):
            unseen = rows[fold_of[name][rows] != fold] if len(plans) > 1 else rows
            if len(unseen):
                manifest, values = head_store.measured(training, plan, suite, name, unseen, p.dropout, progress)
                parts.append(values)
                places.append(unseen)
                ledgers.append(Ledger.from_dict(manifest.ledger[0]))
                heads.manifests.append(manifest)
        order = np.argsort(np.concatenate(places))
        at = seed, name
        heads.rows[at] = np.concatenate(places)[order]
        heads.importances[at] = {d: np.concatenate([part[d] for part in parts])[order] for d in parts[0]}
        heads.ledgers[at] = [total("importance", ledgers)]


def task_table(heads: Heads, definition: str) -> pd.DataFrame:
    """Tabulate tau between task matrices.

    Args:
        heads: The importances.
        definition: The definition to read.

    Returns:
        One row per seed and ordered pair of tasks; columns seed, task, other, tau, and centred (the tasks' mean profile
        removed first).
    """
    rows = []
    for seed in heads.seeds:
        matrices = heads.matrices(seed, definition)
        raw, own = correlation.task_taus(matrices), correlation.task_taus(correlation.centre(matrices))
        for i, name in enumerate(heads.tasks):
            rows += [
                {"seed": seed, "task": name, "other": other, "tau": raw[i, j], "centred": own[i, j]}
                for j, other in enumerate(heads.tasks) if i != j
            ]  # fmt: skip
    return pd.DataFrame(rows)


def row_table(heads: Heads, definition: str) -> pd.DataFrame:
    """Tabulate tau between every measured row's matrix and every task's.

    Args:
        heads: The importances.
        definition: The definition to read.

    Returns:
        One row per seed and measured row; columns seed, task, row, and one float32 column per task.
    """
    tables = []
    for seed in heads.seeds:
        references = heads.matrices(seed, definition).reshape(len(heads.tasks), -1)
        for name in heads.tasks:
            values = correlation.normalise(heads.importances[seed, name][definition])
            taus = correlation.kendall_tau(values.reshape(len(values), -1), references).astype(np.float32)
            table = pd.DataFrame(taus, columns=heads.tasks)
            table.insert(0, "row", heads.rows[seed, name])
            table.insert(0, "task", name)
            table.insert(0, "seed", seed)
            tables.append(table)
    return pd.concat(tables, ignore_index=True)


def ceilings(heads: Heads, definition: str, drawn: bool = False) -> pd.DataFrame:
    """Tabulate how far a task's matrix agrees with itself: the most that tau with another task can mean.

    Args:
        heads: The importances.
        definition: The definition to read.
        drawn: Whether each seed draws an encoder of its own, whose heads then have nothing in common with another's.

    Returns:
        Index task. halves: between task matrices of two random halves of the measured rows, mean over splits and seeds.
        seeds: between the matrices of two seeds (another sample, another tuning), mean over pairs, NaN for one seed or
        where encoders are drawn.
    """
    rows = {}
    flat = {seed: heads.matrices(seed, definition).reshape(len(heads.tasks), -1) for seed in heads.seeds}
    pairs = [] if drawn else [(a, b) for i, a in enumerate(heads.seeds) for b in heads.seeds[i + 1 :]]
    for k, name in enumerate(heads.tasks):
        halves = [correlation.split_half(heads.importances[s, name][definition], seed=s).mean() for s in heads.seeds]
        between = [float(correlation.kendall_tau(flat[a][k : k + 1], flat[b][k : k + 1])[0, 0]) for a, b in pairs]
        rows[name] = {"halves": np.mean(halves), "seeds": np.mean(between) if between else np.nan}
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def nulls(heads: Heads, definition: str, primary: str, permutations: int = 499) -> pd.DataFrame:
    """Compare tau of every other task with the primary against heads permuted within layers.

    Args:
        heads: The importances.
        definition: The definition to read.
        primary: The primary's name.
        permutations: Permutations per seed.

    Returns:
        Index task. tau and null_95 (the level that 5 % of the permutations pass): means over seeds. p: the largest over
        seeds.
    """
    k, out = heads.tasks.index(primary), {}
    for j, name in enumerate(heads.tasks):
        if j == k:
            continue
        by_seed = []
        for seed in heads.seeds:
            matrices = heads.matrices(seed, definition)
            tau, null, p = correlation.permutation_null(matrices[j], matrices[k], permutations, seed)
            by_seed.append((tau, np.quantile(null, 0.95), p))
        taus, levels, ps = zip(*by_seed, strict=True)
        out[name] = {"tau": np.mean(taus), "null_95": np.mean(levels), "p": max(ps)}
    return pd.DataFrame.from_dict(out, orient="index").rename_axis("task")


def agreement(heads: Heads) -> pd.DataFrame:
    """Measure whether definitions order the tasks alike: tau between their task-by-task correlations, mean over seeds.

    Args:
        heads: The importances.

    Returns:
        Index and columns are the definitions; 1 means the same order of all pairs of tasks, NaN that there is one pair.
    """
    return _same_order({name: (heads, name) for name in next(iter(heads.importances.values()))})


def encoders(found: Mapping[str, Heads], definition: str) -> pd.DataFrame:
    """Measure whether encoders order the tasks alike: as `agreement`, between encoders in place of definitions.

    Encoders may differ in layers and heads: only their task-by-task correlations are compared.

    Args:
        found: Importances by encoder.
        definition: The definition to read.
    """
    return _same_order({name: (heads, definition) for name, heads in found.items()})


def _same_order(measures: Mapping[str, tuple[Heads, str]]) -> pd.DataFrame:
    """Return tau between the orders that measures (heads, definition) put all pairs of tasks in, mean over seeds."""
    first, _ = next(iter(measures.values()))
    upper = np.triu_indices(len(first.tasks), 1)
    out = np.full((len(measures), len(measures)), 0.0 if len(upper[0]) > 1 else np.nan)
    for seed in first.seeds if len(upper[0]) > 1 else ():  # one pair of tasks has no order
        taus = [correlation.task_taus(heads.matrices(seed, name))[upper] for heads, name in measures.values()]
        out += correlation.kendall_tau(np.stack(taus), np.stack(taus)) / len(first.seeds)
    return pd.DataFrame(out, index=list(measures), columns=list(measures))


def planted_rows(rows: pd.DataFrame, suite: Suite, auxiliaries: list[str], primary: str) -> pd.DataFrame:
    """Compare, on the planted suite, tau of rows made to help with tau of other rows of the same task.

    Args:
        rows: From `row_table`.
        suite: The planted suite.
        auxiliaries: The tasks to compare.
        primary: The task whose tau is compared.

    Returns:
        Index task. helpful rows, other rows: mean tau. For a task that has both: auc, that a helpful row has the higher
        tau (0.5 is chance), with low and high, its t interval over seeds.
    """
    out = {}
    for name in auxiliaries:
        part = rows[rows["task"] == name]
        helpful = np.array(suite[name].train["helpful"][:])[part["row"].to_numpy()]
        taus = part[primary].to_numpy()
        row = {"helpful rows": taus[helpful].mean() if helpful.any() else np.nan,
               "other rows": taus[~helpful].mean() if not helpful.all() else np.nan}  # fmt: skip
        if helpful.any() and not helpful.all():
            each = [_auc(taus[at], helpful[at]) for at in (part["seed"] == s for s in part["seed"].unique())]
            row |= _interval("auc", each)
        out[name] = row
    return pd.DataFrame.from_dict(out, orient="index").rename_axis("task")


def planted_order(table: pd.DataFrame, suite: Suite, auxiliaries: list[str], primary: str) -> dict[str, float]:
    """Measure, on the planted suite, whether tau orders the auxiliaries by how many of their rows were made to help.

    Args:
        table: From `task_table`.
        suite: The planted suite.
        auxiliaries: The tasks to order.
        primary: The task whose tau orders them.

    Returns:
        Kendall's tau between both orders: order, its mean over seeds, and low and high, its t interval. 1 is the
        planted order, 0 chance; NaN for a single auxiliary.
    """
    if len(auxiliaries) < 2:
        return dict.fromkeys(("order", "low", "high"), np.nan)
    share = np.array([np.mean(suite[name].train["helpful"][:]) for name in auxiliaries])
    each = []
    for _, part in table[table["task"] == primary].groupby("seed"):
        taus = part.set_index("other")["tau"][auxiliaries].to_numpy(copy=True)
        each.append(float(correlation.kendall_tau(taus[None], share[None])[0, 0]))
    return _interval("order", each)


def _auc(values: np.ndarray, positive: np.ndarray) -> float:
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(positive, values))


def _interval(name: str, each: list[float]) -> dict[str, float]:
    low, high = stats.t_interval(each) if len(each) > 1 else (np.nan, np.nan)
    return {name: float(np.mean(each)), "low": float(low), "high": float(high)}
