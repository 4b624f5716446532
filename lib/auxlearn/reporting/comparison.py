"""Finished arms against each other: paired by seed and by dev row, over seeds and over sentences."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.data.suites import Task
from auxlearn.evaluation import counting, metrics, stats, verdicts
from auxlearn.files import stored_arrays
from auxlearn.methods import pairs_of_arms, registry
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


def row_spread(arm: runs.Manifest, baseline: runs.Manifest, task: Task, seed: int = 0) -> float:
    """Estimate how far other dev rows would move the difference of two arms, their seeds' models as they are.

    Args:
        arm: Manifest of a 06 run.
        baseline: Manifest of another with the same seeds.
        task: The primary.
        seed: Of the bootstrap, for metrics that are no mean over rows.

    Returns:
        The standard error, over draws of rows, of the mean difference in the task's own metric.
    """
    (predicted, gold), (others, _) = sentences(arm), sentences(baseline)
    size = len(gold)
    if task.metric == "accuracy" and task.kind != "tagging":
        right, wrong = ((np.stack(each) == gold).mean(0) for each in (predicted, others))
        return float((right - wrong).std(ddof=1) / np.sqrt(size))
    rng = np.random.default_rng(seed)
    a, b = (_of_rows(task, each, gold) for each in (predicted, others))
    draws = (rng.integers(0, size, size) for _ in range(1000))
    return float(np.std([(a(rows) - b(rows)).mean() for rows in draws], ddof=1))


def _of_rows(task: Task, each: Sequence[Any], gold: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Make a function from rows (positions, any number of times) to the metric of each seed: float64 [seeds]."""
    if task.metric in counting.METRICS:
        counts = np.stack([counting.counts(task.metric, task.labels or (), row, gold) for row in each])  # [S, N, k]
        return lambda rows: counting.value(task.metric, np.bincount(rows, minlength=len(gold)) @ counts)
    metric = metrics.FUNCTIONS[task.metric]  # a correlation, and so no sentences
    return lambda rows: np.array([metric(row[rows], gold[rows], task.labels) for row in each])


def paired(
    arms: Sequence[runs.Manifest], pairs: Sequence[tuple[str, str]], task: Task, level: float = 0.95,
    tests: Sequence[tuple[str, str]] | None = None, family: int = 0,
) -> pd.DataFrame:  # fmt: skip
    """Compare arms with baselines, paired by seed.

    Args:
        arms: Manifests of 06 runs.
        pairs: (arm, baseline) by name.
        task: The primary.
        level: Confidence level of the intervals.
        tests: The pairs that are tested; None for all. Others have intervals alone.
        family: Tests of the whole study, if there are more than these.

    Returns:
        Index (arm, baseline). Columns difference, low and high (t interval over seeds), row_low and row_high (over
        seeds and dev rows; of one seed, over rows alone), seeds, p (Holm-adjusted over the family; NaN where nothing
        is tested), verdict.
    """
    table = scores(arms, task.metric).pivot(index="seed", columns="arm", values="score")
    by_name = {m.params["arm"]: m for m in arms}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for name, baseline in pairs:
        compared = stats.compare(table[name], table[baseline], level)
        spread = row_spread(by_name[name], by_name[baseline], task)
        low, high = stats.seeds_and_rows_interval(table[name] - table[baseline], spread, level)
        none, idle, of = _chose_nothing(by_name[name]), _chose_nothing(by_name[baseline]), compared.seeds
        tested = none < of and (tests is None or (name, baseline) in tests) and compared.p is not None
        rows[name, baseline] = {
            "difference": compared.difference, "low": compared.low, "high": compared.high, "row_low": low,
            "row_high": high, "seeds": of, "p": compared.p if tested else np.nan, "compared": compared, "none": none,
            "idle": idle, "declared": tests is None or (name, baseline) in tests,
        }  # fmt: skip
    out = pd.DataFrame.from_dict(rows, orient="index")
    out.index = pd.MultiIndex.from_tuples(list(rows), names=["arm", "baseline"])
    size = max(family, int(out["declared"].sum()))
    tested = out["p"].notna()
    out.loc[tested, "p"] = stats.holm(out.loc[tested, "p"].to_numpy(), size)
    out["p"] = out["p"].astype(float)
    words = []
    for row in out.itertuples():
        word = verdicts.verdict(row.compared, None if np.isnan(row.p) else row.p, level, size)
        word = word if row.declared else "not tested"
        if row.idle:
            word = f"{row.Index[1]} chose nothing ({row.idle} of {row.seeds} seeds); {word}"
        if row.none:
            word = f"chose nothing ({row.none} of {row.seeds} seeds)" + (f"; {word}" if row.none < row.seeds else "")
        words.append(word)
    return out.drop(columns=["compared", "none", "idle", "declared"]).assign(verdict=words)


def _chose_nothing(arm: runs.Manifest) -> int:
    """Count the seeds for which a method that adds rows chose none, so that the primary was trained alone."""
    if not registry.parse(arm.params["arm"])[0].adds_rows:
        return 0
    return sum(part["added"] == 0 for part in arm.metrics["seeds"].values())


def comparisons(
    arms: Sequence[runs.Manifest], task: Task, level: float = 0.95, tests: Sequence[str] = (), family: int = 0
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Compare every arm with the first one (single-task), and with what takes its effect apart, as one family.

    Args:
        arms: Manifests of 06 runs, the baseline first.
        task: The primary.
        level: Confidence level of the intervals.
        tests: The pairs that are tested, as for `pairs_of_arms.declared`.
        family: Tests of the whole study, if there are more than these.

    Returns:
        Columns as from `paired`: of arms against the first, index arm; of contrasts, index (arm, baseline).
    """
    names = [m.params["arm"] for m in arms]
    first = [(name, names[0]) for name in names[1:]]
    others = pairs_of_arms.contrasts(names)
    declared = pairs_of_arms.declared(tests)
    pairs = list(dict.fromkeys([*first, *others, *(declared or [])]))
    table = paired(arms, pairs, task, level, declared, family)
    others += [pair for pair in declared or [] if pair not in first and pair not in others]
    return table.loc[first].droplevel("baseline"), table.loc[others]


def reaching(
    arms: Sequence[runs.Manifest], metric: str, margin: float, level: float = 0.95
) -> tuple[stats.Comparison, pd.DataFrame]:
    """Ask which arms reach the score of all data (see `verdicts.reaches`).

    Args:
        arms: Manifests of 06 runs, at any n; single and all_data among them.
        metric: The metric, as in their dev scores.
        margin: What an arm may lack, declared beforehand.
        level: Confidence level of the intervals.

    Returns:
        All data against single-task training. And of every other arm that adds rows, against all data: one row per run,
        columns arm, n (rows added, the mean over seeds), difference, low and high (t interval over seeds), seeds,
        answer.
    """
    by_seed = [{seed: part["dev"][metric] for seed, part in m.metrics["seeds"].items()} for m in arms]
    named = {m.params["arm"]: each for m, each in zip(arms, by_seed, strict=True)}
    everything = named[registry.ALL_ROWS]

    def against(one: dict[str, float], other: dict[str, float]) -> stats.Comparison:
        return stats.compare([one[seed] for seed in one], [other[seed] for seed in one], level)

    gain, rows = against(everything, named["single"]), []
    for m, own in zip(arms, by_seed, strict=True):
        if m.params["arm"] == registry.ALL_ROWS or not registry.parse(m.params["arm"])[0].adds_rows:
            continue
        compared = against(own, everything)
        added = round(np.mean([part["added"] for part in m.metrics["seeds"].values()]))
        rows.append({
            "arm": m.params["arm"], "n": added, "difference": compared.difference, "low": compared.low,
            "high": compared.high, "seeds": compared.seeds, "answer": verdicts.reaches(compared, gain, margin),
        })  # fmt: skip
    columns = ["arm", "n", "difference", "low", "high", "seeds", "answer"]
    table = pd.DataFrame(rows, columns=columns).sort_values(["arm", "n"], kind="stable")
    return gain, table.reset_index(drop=True)


def by_one_deviation(arms: Sequence[runs.Manifest], metric: str) -> pd.Series:
    """Judge arms against the first one by FastMTL's rule of one standard deviation (see `verdicts.by_one_deviation`).

    Args:
        arms: Manifests of 06 runs, the baseline first.
        metric: The metric, as in their dev scores.

    Returns:
        "improved", "dropped" or "neutral" by arm; empty for a single seed, which has no deviation.
    """
    table = scores(arms, metric).pivot(index="seed", columns="arm", values="score")
    first, *others = [m.params["arm"] for m in arms]
    enough = others if len(table) > 1 else []
    return pd.Series({name: verdicts.by_one_deviation(table[name], table[first]) for name in enough}, dtype=object)


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
