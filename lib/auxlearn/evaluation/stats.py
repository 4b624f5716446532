"""Intervals and paired tests over few seeds; `verdicts` puts them into words.

With few seeds most tests cannot reach significance whatever the data say: a sign-flip test on 3 pairs never goes below
p = 0.25, on 5 never below 0.0625. So under 6 seeds no test over seeds is made and the verdict is "undecided"; tests
start at 8 seeds, Holm-corrected over a study's family, and where that is so large that no p could pass (7 tests with 8
seeds), the verdict is "undecided" too. All functions are pure; draws come from `seed`.
scipy.stats is imported where it is called: it takes half a second, and not every notebook that reads results tests.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

UNDECIDED_BELOW = 6
TEST_FROM = 8
RESAMPLES = 9999


def paired_values(a: Sequence[float], b: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Return two samples as float arrays of one length [N], N 2 or more, all finite; else a ValueError says why."""
    x, y = np.asarray(a, float), np.asarray(b, float)
    if x.shape != y.shape or x.ndim != 1 or len(x) < 2:
        raise ValueError(f"a, b: two or more pairs are needed, got shapes {x.shape} and {y.shape}")
    if not np.isfinite(x).all() or not np.isfinite(y).all():
        raise ValueError("a, b: every value must be finite")
    return x, y


def _percentiles(draws: Any, level: float) -> tuple[float, float]:
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return low, high


def paired_permutation_test(a: Sequence[float], b: Sequence[float], seed: int = 0) -> float:
    """Test the mean paired difference under random sign flips: exactly up to 13 pairs, else by 9,999 draws.

    Flips that tie with what was seen count, as they must: scores are fractions of a dev split's rows, so there are
    many, and rounding tells some of them apart by more than `scipy.stats.permutation_test` allows for.

    Args:
        a: One value per pair.
        b: The other value of each pair, in the same order.
        seed: Seed of the draws.

    Returns:
        The two-sided p; 1 where a and b are equal.

    Raises:
        ValueError: If there are fewer than two pairs, lengths differ, or a value is not finite.
    """
    x, y = paired_values(a, b)
    if np.array_equal(x, y):
        return 1.0
    d = x - y
    if 2 ** len(d) <= RESAMPLES:
        signs = 1.0 - 2.0 * ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1)
    else:
        flips = np.random.default_rng(seed).choice([-1.0, 1.0], (RESAMPLES, len(d)))
        signs = np.concatenate([np.ones((1, len(d))), flips])  # what was seen is one of the flips
    return float(np.mean(np.abs(signs @ d) >= abs(d.sum()) - 1e-9 * np.abs(d).sum()))


def paired_t_test(a: Sequence[float], b: Sequence[float]) -> float:
    """Test the mean paired difference by Student's paired t-test.

    Over sentences of one pair of trained models it asks whether *these two models* differ, not whether the method
    helps: another seed may answer otherwise (see `reporting.comparison.sentence_tests`).

    Args:
        a: One value per pair.
        b: The other value of each pair, in the same order.

    Returns:
        The two-sided p; 1 where a and b are equal.

    Raises:
        ValueError: If there are fewer than two pairs, lengths differ, or a value is not finite.

    Reference:
        Over sentences, the test of TAWT's authors.
    """
    x, y = paired_values(a, b)
    from scipy import stats

    return 1.0 if np.array_equal(x, y) else float(stats.ttest_rel(x, y).pvalue)


def bootstrap_interval(x: Sequence[float], level: float = 0.95, seed: int = 0) -> tuple[float, float]:
    """Compute a percentile bootstrap interval of the mean.

    It is too narrow for few values: "95 %" of 5 values covers about 82 %.

    Args:
        x: Two or more values.
        level: Nominal coverage.
        seed: Seed of the draws.

    Returns:
        (low, high).

    Raises:
        ValueError: If there are fewer than two values.
    """
    values = np.asarray(x, float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"x: two or more values are needed, got shape {values.shape}")
    return _percentiles(np.random.default_rng(seed).choice(values, (RESAMPLES, len(values))).mean(1), level)


def t_interval(x: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Compute a Student t interval of the mean: wide for few seeds, as it should be.

    Args:
        x: Two or more values.
        level: Nominal coverage.

    Returns:
        (low, high).

    Raises:
        ValueError: If there are fewer than two values.
    """
    values = np.asarray(x, float)
    if len(values) < 2:
        raise ValueError("x: an interval needs two or more values")
    from scipy import stats

    half = stats.t.ppf((1 + level) / 2, len(values) - 1) * stats.sem(values)
    return float(values.mean() - half), float(values.mean() + half)


def holm(p: Sequence[float], family: int = 0) -> np.ndarray:
    """Adjust p values by Holm's method.

    Args:
        p: The p values.
        family: Tests in the whole family, if there are more than these; the others are taken to have larger p, which
            makes these no smaller than they would be with all at hand.

    Returns:
        float64 [N], in the order given.
    """
    if not len(p):
        return np.zeros(0)
    from statsmodels.stats.multitest import multipletests

    others = np.ones(max(0, family - len(p)))
    return multipletests(np.concatenate([np.asarray(p, float), others]), method="holm")[1][: len(p)]


def seeds_and_rows_interval(differences: Sequence[float], spread: float, level: float = 0.95) -> tuple[float, float]:
    """Compute an interval of the mean paired difference for other seeds *and* other test rows.

    It is the t interval over seeds, widened by what other rows would change: half-widths add up as variances do. So it
    is never narrower than over seeds alone, as a bootstrap over both may be with few seeds (`tests/evaluation` has its
    coverage).

    Args:
        differences: Paired difference per seed; of a single seed, the interval is over rows alone.
        spread: Standard error of their mean over draws of test rows, the same rows for every seed.
        level: Nominal coverage.

    Returns:
        (low, high).
    """
    from scipy.special import ndtri

    values = np.asarray(differences, float)
    low, high = t_interval(values.tolist(), level) if len(values) > 1 else (values.mean(), values.mean())
    half = math.hypot((high - low) / 2, float(ndtri((1 + level) / 2)) * spread)
    return float(values.mean() - half), float(values.mean() + half)


@dataclass(frozen=True)
class Comparison:
    """One arm against a baseline, paired by seed."""

    difference: float
    low: float  # t interval over seeds
    high: float
    seeds: int
    p: float | None  # sign-flip test, not corrected; None under TEST_FROM seeds


def compare(arm: Sequence[float], baseline: Sequence[float], level: float = 0.95, seed: int = 0) -> Comparison:
    """Compare an arm with a baseline.

    Args:
        arm: Score per seed.
        baseline: Score per seed, in the same order.
        level: Nominal coverage of the interval.
        seed: Seed of the test's draws.

    Returns:
        The mean paired difference, its t interval (NaN for a single seed), and a p where there are TEST_FROM seeds.
    """
    d = np.asarray(arm, float) - np.asarray(baseline, float)
    low, high = t_interval(d, level) if len(d) > 1 else (np.nan, np.nan)
    p = paired_permutation_test(arm, baseline, seed) if len(d) >= TEST_FROM else None
    return Comparison(float(d.mean()), low, high, len(d), p)


def auc_interval(
    scores: np.ndarray, truth: np.ndarray, level: float = 0.95, seed: int = 0
) -> tuple[float, float, float]:
    """Compute the AUC of a ranking against a binary truth, with a bootstrap interval over rows (500 draws).

    Args:
        scores: Score per row, float [N]; higher should mean true.
        truth: bool [N].
        level: Nominal coverage.
        seed: Seed of the draws.

    Returns:
        (auc, low, high).

    Raises:
        ValueError: If `truth` does not hold both values.
    """
    positive, negative = np.asarray(scores)[truth], np.asarray(scores)[~truth]
    if not len(positive) or not len(negative):
        raise ValueError("truth: both values must occur")
    from scipy import stats

    ranks = lambda p, q: stats.mannwhitneyu(p, q).statistic / (len(p) * len(q))  # noqa: E731
    rng = np.random.default_rng(seed)
    draws = [ranks(rng.choice(positive, len(positive)), rng.choice(negative, len(negative))) for _ in range(500)]
    return float(ranks(positive, negative)), *_percentiles(draws, level)
