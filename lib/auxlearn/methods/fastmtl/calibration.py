"""Measure how reliable the discriminator is: of the rows it gives probability p, does a share p belong to the task?

AUC asks only for the order. Scores that are compared across tasks, or read as probabilities, must also mean what they
say. Two things spoil that by construction. A BCE loss whose positives weigh w has its optimum at odds w times the true
ones, sigma(z) = w p / (w p + 1 - p), so sigma(z - log w) gives p back. And all probabilities hold for the mix of tasks
in training: on rows with another mix they are off, however good the model.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from scipy.special import expit, log_softmax

from auxlearn.evaluation import metrics

Kind = Literal["bce", "ce"]


def _checked(probability: np.ndarray, truth: np.ndarray, bins: int) -> tuple[np.ndarray, np.ndarray]:
    p, y = np.asarray(probability, np.float64), np.asarray(truth)
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        raise ValueError(f"probability, truth: one of each a row is needed, got shapes {p.shape} and {y.shape}")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("probability: every value must be between 0 and 1")
    if y.dtype != bool:
        raise ValueError(f"truth: must be boolean, not {y.dtype}")
    if bins < 1:
        raise ValueError(f"bins: {bins} is below 1")
    return p, y


def reliability(probability: np.ndarray, truth: np.ndarray, bins: int = 10, level: float = 0.95) -> pd.DataFrame:
    """Compare predicted with observed in bins of (nearly) equal numbers of rows.

    Equal probabilities share a bin, so where there are ties bins are uneven, or fewer than `bins`.

    Args:
        probability: float [N], in [0, 1].
        truth: bool [N].
        bins: The number of bins.
        level: The level of the intervals.

    Returns:
        Index bin, lowest probabilities first; columns predicted (mean probability), observed (fraction true), count,
        low and high (Wilson's interval of the fraction).

    Raises:
        ValueError: Shapes differ, there is no row, a probability is outside [0, 1], `truth` is not bool, or `bins` < 1.
    """
    from scipy.stats import rankdata
    from statsmodels.stats.proportion import proportion_confint

    p, y = _checked(probability, truth, bins)
    place = ((rankdata(p, method="average") - 0.5) * bins / len(p)).astype(int)
    groups = pd.DataFrame({"predicted": p, "observed": y.astype(float)}).groupby(place)
    table = groups.mean().assign(count=groups.size())
    hits = groups["observed"].sum().to_numpy()
    low, high = proportion_confint(hits, table["count"].to_numpy(), alpha=1 - level, method="wilson")
    return table.assign(low=low, high=high).reset_index(drop=True).rename_axis("bin")


def expected_calibration_error(probability: np.ndarray, truth: np.ndarray, bins: int = 10) -> float:
    """Return the mean over rows of |observed - predicted| of the row's bin, with bins of equal mass; 0 is perfect.

    Biased upwards in small samples: even a perfect model's bins scatter about the diagonal (Roelofs et al., 2022).

    Args:
        probability: float [N], in [0, 1].
        truth: bool [N].
        bins: The number of bins.

    Returns:
        In 0 … 1.

    Raises:
        ValueError: As for `reliability`.

    Reference:
        Naeini et al., 2015.
    """
    table = reliability(probability, truth, bins)
    gap = (table["observed"] - table["predicted"]).abs()
    return float((gap * table["count"]).sum() / table["count"].sum())


def probabilities(logits: np.ndarray, kind: Kind, pos_weight: Sequence[float] | None = None) -> np.ndarray:
    """Turn logits into each column's probability.

    Args:
        logits: float [N, K].
        kind: "bce": the sigmoid of z, or with `pos_weight` of z - log w. "ce": the softmax over columns.
        pos_weight: Under "bce", the weights [K] that training gave to positives, which are taken back.

    Returns:
        float64 [N, K].

    Raises:
        ValueError: A logit is NaN, weights do not fit, there are weights under "ce", or `kind` is unknown.
    """
    z = np.asarray(logits, np.float64)
    if z.ndim != 2 or np.isnan(z).any():
        raise ValueError(f"logits: [N, K] without NaN is needed, got shape {z.shape}")
    if kind not in ("bce", "ce"):
        raise ValueError(f"kind: {kind!r} is not bce or ce")
    if pos_weight is None:
        return expit(z) if kind == "bce" else np.exp(log_softmax(z, axis=1))
    if kind == "ce":
        raise ValueError("pos_weight: belongs to the BCE loss; CE has none")
    w = np.asarray(pos_weight, np.float64)
    if w.shape != (z.shape[1],) or not (w > 0).all():
        raise ValueError(f"pos_weight: {z.shape[1]} values above 0 are needed, got {w.tolist()}")
    return expit(z - np.log(w))


def table(
    logits: np.ndarray,
    task_id: np.ndarray,
    kind: Kind,
    names: Sequence[str],
    pos_weight: Sequence[float] | None = None,
    bins: int = 10,
) -> pd.DataFrame:
    """Measure how far each column's probability can be trusted.

    Args:
        logits: float [N, K], of rows that the discriminator was not trained on.
        task_id: int [N].
        kind: "bce" or "ce".
        names: Names of the K columns.
        pos_weight: Under "bce", the weights [K] that training gave to positives.
        bins: The number of bins of the calibration error.

    Returns:
        Index task; columns auc, ece, brier, base_rate, mean_probability. The AUC is that of the probability, so under
        "ce" that of the softmax, not of the raw logit; NaN where a task has no or all rows. base_rate is the task's
        share of the rows; brier the mean squared error of the probability, of use where it is below base_rate (1 -
        base_rate). With `pos_weight` also ece_corrected, brier_corrected and mean_corrected, of sigmoid(z - log w).

    Raises:
        ValueError: Shapes do not fit, or as for `probabilities`.
    """
    z, ids = np.asarray(logits, np.float64), np.asarray(task_id)
    if z.ndim != 2 or z.shape != (len(ids), len(names)):
        raise ValueError(f"logits: shape {z.shape} does not fit {len(ids)} task ids and {len(names)} names")
    p = probabilities(z, kind)
    own = ids[:, None] == np.arange(z.shape[1])
    auc = metrics.column_auc(z if kind == "bce" else log_softmax(z, axis=1), ids)
    out = pd.DataFrame({"auc": auc}, index=pd.Index(names, name="task"))
    out["ece"] = _eces(p, own, bins)
    out["brier"] = ((p - own) ** 2).mean(0)
    out["base_rate"], out["mean_probability"] = own.mean(0), p.mean(0)
    if pos_weight is not None:
        corrected = probabilities(z, kind, pos_weight)
        out["ece_corrected"] = _eces(corrected, own, bins)
        out["brier_corrected"] = ((corrected - own) ** 2).mean(0)
        out["mean_corrected"] = corrected.mean(0)
    return out


def curves(
    logits: np.ndarray,
    task_id: np.ndarray,
    kind: Kind,
    names: Sequence[str],
    pos_weight: Sequence[float] | None = None,
    bins: int = 10,
) -> dict[str, pd.DataFrame]:
    """Return each column's `reliability`, by task; of the corrected probability where `pos_weight` is given.

    Args:
        logits: float [N, K].
        task_id: int [N].
        kind: "bce" or "ce".
        names: Names of the K columns.
        pos_weight: Under "bce", the weights [K] that training gave to positives.
        bins: The number of bins.

    Raises:
        ValueError: As for `probabilities` and `reliability`.
    """
    p, ids = probabilities(logits, kind, pos_weight), np.asarray(task_id)
    return {name: reliability(p[:, k], ids == k, bins) for k, name in enumerate(names)}


def _eces(p: np.ndarray, own: np.ndarray, bins: int) -> list[float]:
    return [expected_calibration_error(p[:, k], own[:, k], bins) for k in range(p.shape[1])]
