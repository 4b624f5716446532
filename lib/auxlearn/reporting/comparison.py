"""Finished arms against each other: paired by seed and by dev row, over seeds and over sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.data.suites import Task
from auxlearn.evaluation import counting, metrics, stats
from auxlearn.files import stored_arrays
from auxlearn.methods import registry
from auxlearn.records import runs
from auxlearn.reporting.results import scores


def predictions(arm: runs.Manifest) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Load an arm's dev predictions.

    Args:
        arm: Manifest of a 06 run.

    Returns:
        Predictions [seeds, values], references [values], and sentence lengths for tagging (else None).
    """
    saved = stored_arrays.arrays(arm.path("predictions.npz"), ("predictions", "references"))
    return saved["predictions"], saved["references"], saved.get("lengths")


def row_interval(
    arm: runs.Manifest, baseline: runs.Manifest, task: Task, level: float, seed: int = 0
) -> tuple[float, float]:
    """Bootstrap the difference of two arms in the task's own metric, over seeds x dev rows.

    Args:
        arm: Manifest of a 06 run.
        baseline: Manifest of another with the same seeds.
        task: The primary.
        level: Confidence level.
        seed: Of the bootstrap.

    Returns:
        Lower and upper end of the interval.
    """
    (predicted, gold), (others, _) = sentences(arm), sentences(baseline)
    if task.metric == "accuracy" and task.kind != "tagging":
        right = np.stack(predicted) == gold
        return stats.rows_and_seeds_interval(right.astype(float) - (np.stack(others) == gold), level, seed)
    rng, size, seeds = np.random.default_rng(seed), len(gold), len(predicted)
    a, b = (_of_rows(task, each, gold) for each in (predicted, others))
    draws = []
    for _ in range(1000):
        rows, which = rng.integers(0, size, size), rng.integers(0, seeds, seeds)
        draws.append((a(rows) - b(rows))[which].mean())
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _of_rows(task: Task, each: Sequence[Any], gold: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function from rows (positions, any number of times) to the metric of each seed: float64 [seeds]."""
    if task.metric in counting.METRICS:
        counts = np.stack([counting.counts(task.metric, task.labels or (), row, gold) for row in each])  # [S, N, k]
        return lambda rows: counting.value(task.metric, np.bincount(rows, minlength=len(gold)) @ counts)
    metric = metrics.FUNCTIONS[task.metric]  # a correlation, and so no sentences
    return lambda rows: np.array([metric(row[rows], gold[rows], task.labels) for row in each])


def paired(
    arms: Sequence[runs.Manifest], pairs: Sequence[tuple[str, str]], task: Task, level: float = 0.95
) -> pd.DataFrame:
    """Compare arms with baselines, paired by seed.

    Args:
        arms: Manifests of 06 runs.
        pairs: (arm, baseline) by name.
        task: The primary.
        level: Confidence level of the intervals.

    Returns:
        Index (arm, baseline). Columns difference, low and high (t interval over seeds), row_low and row_high (bootstrap
        over seeds x dev rows), seeds, p (Holm-adjusted over the pairs; NaN where seeds are too few to test), verdict.
    """
    table = scores(arms, task.metric).pivot(index="seed", columns="arm", values="score")
    by_name = {m.params["arm"]: m for m in arms}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, baseline in pairs:
        compared = stats.compare(table[name], table[baseline], level)
        low, high = row_interval(by_name[name], by_name[baseline], task, level)
        rows[name, baseline] = {
            "difference": compared.difference, "low": compared.low, "high": compared.high, "row_low": low,
            "row_high": high, "seeds": compared.seeds, "p": np.nan if compared.p is None else compared.p,
            "compared": compared,
        }  # fmt: skip
    out = pd.DataFrame.from_dict(rows, orient="index")
    out.index = pd.MultiIndex.from_tuples(list(rows), names=["arm", "baseline"])
    if out["p"].notna().all():
        out["p"] = stats.holm(out["p"].to_numpy())
    tested = [None if np.isnan(p) else p for p in out["p"]]
    pairs_and_p = zip(out.pop("compared"), tested, strict=True)
    out["verdict"] = [stats.verdict(comparison, p, level, len(out)) for comparison, p in pairs_and_p]
    return out


def comparisons(arms: Sequence[runs.Manifest], task: Task, level: float = 0.95) -> pd.DataFrame:
    """Compare every arm with the first one (single-task), as `paired`.

    Args:
        arms: Manifests of 06 runs, the baseline first.
        task: The primary.
        level: Confidence level of the intervals.

    Returns:
        Columns as from `paired`; index arm.
    """
    names = [m.params["arm"] for m in arms]
    return paired(arms, [(name, names[0]) for name in names[1:]], task, level).droplevel("baseline")


def contrasts(names: Sequence[str]) -> list[tuple[str, str]]:
    """List the pairs of arms that take an effect apart: each method and policy says what it is compared with.

    Row and task methods are compared with as many random rows, with controls that keep one thing, and with relatives;
    random rows with as many steps on the primary alone; weights with unweighted training and with weights that no
    gradient, or another source's, has moved, over the same rows.

    Args:
        names: The arms that were run.

    Returns:
        Pairs (arm, baseline) of which both were run.
    """
    pairs = []
    for name in names:
        method, policy = registry.parse(name)
        rows = name[: name.rfind("+") + 1]
        others = (
            method.contrasts if policy is None else [rows + other if other else rows[:-1] for other in policy.contrasts]
        )
        pairs += [(name, other) for other in others]
    return [pair for pair in pairs if set(pair) <= set(names)]


def sentences(arm: runs.Manifest) -> tuple[list[Any], Any]:
    """Load an arm's dev predictions, cut into sentences for tagging.

    Args:
        arm: Manifest of a 06 run.

    Returns:
        One entry of predictions per seed, and the references; for tagging each as a list of sentences.
    """
    predicted, gold, lengths = predictions(arm)
    if lengths is None:
        return list(predicted), gold
    cuts = np.cumsum(lengths)[:-1]
    return [np.split(row, cuts) for row in predicted], np.split(gold, cuts)


def sentence_tests(arms: Sequence[runs.Manifest], pairs: Sequence[tuple[str, str]], task: Task) -> pd.DataFrame:
    """Run the TAWT authors' test: a paired t-test over dev sentences of two trained models.

    The authors have one seed and 12 such tests. Read it beside `paired`, which asks about the method: seeds that
    disagree show what this test leaves out.

    Args:
        arms: Manifests of 06 runs.
        pairs: (arm, baseline) by name.
        task: The primary.

    Returns:
        One row per pair and seed; index (arm, baseline, seed). Columns difference (of the mean sentence scores,
        `metrics.by_row`), corpus (of the task's metric, whose sign may be another), p (not corrected).
    """
    by_name, sentence_scores = {m.params["arm"]: m for m in arms}, {}
    for name in dict.fromkeys(name for pair in pairs for name in pair):
        seeds = map(str, by_name[name].params["seeds"])  # the order of predictions; metrics are sorted as text
        each, gold = sentences(by_name[name])
        sentence_scores[name] = {seed: metrics.by_row(task, row, gold) for seed, row in zip(seeds, each, strict=True)}
    rows = []
    for name, baseline in pairs:
        for seed, own in sentence_scores[name].items():
            corpus = [by_name[n].metrics["seeds"][seed]["dev"][task.metric] for n in (name, baseline)]
            other = sentence_scores[baseline][seed]
            rows.append({
                "arm": name, "baseline": baseline, "seed": int(seed), "difference": own.mean() - other.mean(),
                "corpus": corpus[0] - corpus[1], "p": stats.paired_t_test(own.tolist(), other.tolist()),
            })  # fmt: skip
    columns = ["arm", "baseline", "seed", "difference", "corpus", "p"]
    return pd.DataFrame(rows, columns=columns).set_index(columns[:3])
