"""How well scores of tasks agree with what each turned out to be worth, and scores of rows with a known truth."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Values = Sequence[float] | np.ndarray


def kendall_tau(scores: Values, truth: Values) -> float:
    """Return Kendall's tau-b between scores and truth.

    Args:
        scores: One score per task, float [K]; higher is better.
        truth: What each task is worth, such as the primary's score with its rows, float [K].

    Returns:
        From -1 to 1; NaN where all scores, or all of the truth, are equal.

    Raises:
        ValueError: Lengths differ, there are fewer than two tasks, or a value is not finite.
    """
    from scipy.stats import kendalltau

    a, b = _paired(scores, truth)
    return float(kendalltau(a, b).statistic)


def ndcg(scores: Values, truth: Values, k: int | None = None) -> float:
    """Return the normalised discounted cumulative gain of the tasks in the order of their scores.

    A task's gain is what it is worth above the worst one, so that the measure does not depend on where scores of the
    primary start. Equal scores share the mean gain of their places.

    Args:
        scores: One score per task, float [K].
        truth: What each task is worth, float [K].
        k: Places that count; all by default.

    Returns:
        From 0 to 1, which is the best order; NaN where all of the truth is equal.

    Raises:
        ValueError: As for `kendall_tau`, or k is below 1.
    """
    from sklearn.metrics import ndcg_score

    a, b = _paired(scores, truth)
    _check_places(k)
    gains = b - b.min()
    return float(ndcg_score([gains], [a], k=k)) if gains.any() else float("nan")


def regret(scores: Values, truth: Values, k: int = 1) -> float:
    """Return what is lost by training only the k tasks of the highest scores: Regret@k.

    Args:
        scores: One score per task, float [K].
        truth: What each task is worth, float [K].
        k: Tasks that are tried.

    Returns:
        The best task's worth less that of the best of the k, in the unit of `truth`; 0 where the best is among them.
        Where scores tie at the k-th place, the mean over all orders of the tied tasks.

    Raises:
        ValueError: As for `ndcg`.

    Reference:
        Poth et al., 2021, who divide by the best task's worth.
    """
    a, b = _paired(scores, truth)
    _check_places(k)
    k = min(k, len(a))
    cut = np.sort(a)[-k]
    sure, tied = b[a > cut], np.sort(b[a == cut])[::-1]
    taken, left = k - len(sure), len(tied)
    # The best of `taken` tied tasks is the i-th best if those before it are not drawn: by the hypergeometric law.
    chance, best = 1.0, 0.0
    for i, worth in enumerate(tied):
        drawn = min(1.0, taken / (left - i))
        best += chance * drawn * max(worth, *sure) if len(sure) else chance * drawn * worth
        chance *= 1 - drawn
    return float(b.max() - best)


def linear_datamodelling_score(scores: Values, counts: np.ndarray, measured: Values) -> float:
    """Return how well sums of scores foretell what training with subsets of the data turned out to give.

    Args:
        scores: One score per member, float [M]: of a row, or of all rows of a task alike.
        counts: How often each subset has each member, float [S, M]: 1 or 0, or the rows that it has of a task.
        measured: The primary's score after training with each subset, float [S], which no score was fitted to.

    Returns:
        Spearman's correlation over subsets between the sums, `counts @ scores`, and what was measured, from -1 to 1;
        NaN where all sums, or all that was measured, are equal.

    Raises:
        ValueError: Shapes do not go together, there are fewer than two subsets, or a value is not finite.

    Reference:
        Park et al., 2023 (TRAK), whose subsets are of rows, all of one size, and whose score is the mean over targets.
    """
    from scipy.stats import spearmanr

    worth, often = np.asarray(scores, float), np.asarray(counts, float)
    if worth.ndim != 1 or often.ndim != 2 or often.shape[1] != len(worth) or not np.isfinite(often).all():
        raise ValueError(
            f"counts of shape {often.shape}: one finite row per subset, of a value per score ({len(worth)})"
        )
    sums, truth = _paired(often @ worth, measured)
    scale = np.abs(sums).max()
    if np.ptp(sums) <= 1e-12 * scale or not np.ptp(truth):  # sums of equal scores differ by rounding alone
        return float("nan")
    return float(spearmanr(np.round(sums / scale, 12), truth).statistic)


def auc(scores: Values, truth: np.ndarray) -> float:
    """Return the AUC of scores of rows against a binary truth; a tie counts half.

    Args:
        scores: One score per row, float [N]; higher should mean true.
        truth: bool [N].

    Returns:
        From 0 to 1; NaN where the truth is all true or all false.
    """
    from scipy.stats import mannwhitneyu

    values = np.asarray(scores, float)
    true, false = values[truth], values[~truth]
    if not len(true) or not len(false):
        return float("nan")
    return float(mannwhitneyu(true, false).statistic / (len(true) * len(false)))


def _check_places(k: int | None) -> None:
    if k is not None and k < 1:
        raise ValueError(f"k: {k} places; one at least counts")


def _paired(scores: Values, truth: Values) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(scores, float), np.asarray(truth, float)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise ValueError(f"scores of shape {a.shape}, truth of {b.shape}: one of each per task, for two tasks or more")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a score, or the truth, is not finite")
    return a, b
