"""Turn inner products of gradients into cosines, and cosines into weights: TAWT's arithmetic.

Chen et al., ICLR 2022, arXiv 2105.14095. A task's weight should follow the hypergradient of the target's loss. The
paper replaces it by a cosine: with c > 0,

    g_t = -c cos(grad L_target, grad L_t),    w_t <- w_t exp(-eta g_t) / sum_s w_s exp(-eta g_s),

gradients being those of the shared encoder. Facts about the authors' code are from github.com/CogComp/TAWT
(weighted_training_basics.py). `rule="paper"` is that code, `rule="corrected"` (the default) what we do instead: their
gradients come from one batch of 64 training sentences per task, whose noise shrinks every cosine towards 0, by another
factor for each task; and in joint training the target is compared with itself on one batch, which is 1 whatever the
data. Here every gradient is measured on disjoint chunks of rows ("halves" when there are two), and only products of
*different* chunks enter, whose noise is independent; the target is compared with its held-out rows.

Where gradients come from is `signals.target_gradients`; what the weights do over a training is `task_weights`. Nothing
here runs a model.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args

import numpy as np
import torch

from auxlearn.errors import InputError
from auxlearn.signals.gradient_moments import Moments

Rule = Literal["corrected", "paper"]
Prior = Literal["uniform", "inverse_size", "power", "explicit"]
Vector = TypeVar("Vector", np.ndarray, torch.Tensor)


def mirror_step(log_w: Vector, g: Any, eta: float) -> Vector:
    """Take one step of mirror descent on the simplex (exponentiated gradient).

    The authors multiply the weights themselves; logs do the same without underflow over many updates.

    Args:
        log_w: Log weights [K], NumPy or torch, not necessarily normalised; -inf is a weight of 0 and stays one.
        g: The hypergradient (-c cos) [K]; adding a constant to it changes nothing.
        eta: The step size, above 0.

    Returns:
        Log weights [K], normalised, in the type and dtype of `log_w`.

    Raises:
        InputError: Shapes do not fit, an entry is NaN, `g` or `eta` is not finite, `eta` is not above 0, or every
            weight is 0.
    """
    if not (math.isfinite(eta) and eta > 0):
        raise InputError(f"eta: {eta} is not a positive number; with 0 the weights would never move")
    old, slope = _vector(log_w, "log_w"), _vector(g, "g")
    if old.shape != slope.shape:
        raise InputError(f"g: shape {list(slope.shape)} does not fit log_w of shape {list(old.shape)}")
    if not np.isfinite(slope).all():
        at = int(np.flatnonzero(~np.isfinite(slope))[0])
        raise InputError(f"g: entry {at} is {slope[at]}; a step needs finite hypergradients")
    if np.isnan(old).any() or (old == np.inf).any():
        at = int(np.flatnonzero(np.isnan(old) | (old == np.inf))[0])
        raise InputError(f"log_w: entry {at} is {old[at]}; a log weight is a number or -inf")
    live = old > -np.inf
    if not live.any():
        raise InputError("log_w: every weight is 0")
    new = np.full(old.shape, -np.inf)
    with np.errstate(over="ignore"):  # a move beyond all floats leaves a weight of 0
        new[live] = old[live] - eta * (slope[live] - slope[live].min())
    new[live] -= new.max() + np.log(np.exp(new[live] - new.max()).sum())
    if isinstance(log_w, torch.Tensor):
        return torch.as_tensor(new, device=log_w.device).to(log_w.dtype)
    return new.astype(np.asarray(log_w).dtype)


def _vector(values: Any, name: str) -> np.ndarray:
    """Return the values as float64 [K] on the CPU."""
    values = values.detach() if isinstance(values, torch.Tensor) else np.asarray(values)
    if name == "log_w" and not (
        values.dtype.is_floating_point if torch.is_tensor(values) else values.dtype.kind == "f"
    ):
        raise InputError(f"log_w: {values.dtype} cannot hold log weights; give floating point numbers")
    if torch.is_tensor(values):
        values = values.double().cpu().numpy()
    if values.ndim != 1 or not len(values):
        raise InputError(f"{name}: shape {list(values.shape)} is not [K] with at least one task")
    return values.astype(np.float64)


def hypergradient(cosines: np.ndarray, c: float = 1.0) -> np.ndarray:
    """Return -c cos.

    Args:
        cosines: float [K].
        c: Above 0; stands for the inverse Hessian that is left out. The authors use c = 1 in joint training and pick c
            from {1, 10, 30, 100} for each target in pre-training. Their option's default is 0, with which weights
            silently never move: here an InputError.

    Returns:
        float64 [K].

    Raises:
        InputError: `c` is not a positive number.
    """
    if not (math.isfinite(c) and c > 0):
        raise InputError(f"c: {c} is not a positive number; with 0 the weights would never move")
    return -c * np.asarray(cosines, np.float64)


def prior(
    kind: Prior, sizes: Mapping[str, int], power: float | None = None, weights: Mapping[str, float] | None = None
) -> np.ndarray:
    """Return the tasks' starting weights.

    Args:
        kind: "uniform"; "inverse_size", 1/n (equal effective shares); "power", n ** `power`; "explicit", `weights`
            normalised, where 0 switches a task off for good.
        sizes: Training rows per task.
        power: The exponent, for "power" alone.
        weights: Weights by task, for "explicit" alone.

    Returns:
        float64 [K], in the order of `sizes`, sum 1.

    Raises:
        InputError: There is no task, a task has no rows, or the arguments or weights are impossible.
    """
    if not sizes:
        raise InputError("weights: no task to weigh; name at least one source")
    for name, rows in sizes.items():
        if not (math.isfinite(rows) and rows > 0):
            raise InputError(f"weights: task {name!r} has {rows} usable rows; leave it out or give it some")
    if (power is not None) != (kind == "power") or (weights is not None) != (kind == "explicit"):
        raise InputError(
            f"prior: {kind!r} with power {power} and weights {weights}; only 'power' and 'explicit' have any"
        )
    if kind == "explicit":
        assert weights is not None  # refused above
        if set(weights) != set(sizes):
            raise InputError(f"prior: weights for {', '.join(weights)}, but the tasks are {', '.join(sizes)}")
        return normalised([weights[name] for name in sizes], list(sizes))
    exponents = {"uniform": 0.0, "inverse_size": -1.0, "power": power}
    if kind not in exponents:
        raise InputError(f"prior: {kind!r} is none of {', '.join(get_args(Prior))}")
    exponent = exponents[kind]
    assert exponent is not None  # refused above
    if not math.isfinite(exponent):
        raise InputError(f"power: {power} is not a number")
    logs = exponent * np.log(np.array(list(sizes.values()), float))
    return normalised(np.exp(logs - logs.max()), list(sizes))  # of logs: n ** p may overflow


def normalised(values: Sequence[float] | np.ndarray, names: Sequence[str], what: str = "prior") -> np.ndarray:
    """Scale non-negative weights to sum 1.

    Args:
        values: Weights [K].
        names: The tasks' names, for messages.
        what: What the weights are, for messages.

    Returns:
        float64 [K].

    Raises:
        InputError: The length is another, a weight is negative or not finite, or all are 0.
    """
    weights = np.asarray(values, np.float64)
    if weights.shape != (len(names),):
        raise InputError(f"{what}: shape {list(weights.shape)} does not fit the {len(names)} tasks {', '.join(names)}")
    for name, value in zip(names, weights, strict=True):
        if not (math.isfinite(value) and value >= 0):
            raise InputError(f"{what}: the weight of {name!r} is {value}; it must be 0 or above")
    if not weights.any():
        raise InputError(f"{what}: every weight is 0")
    return weights / weights.sum()


def cosine(dot: Any, first: Any, second: Any) -> np.ndarray:
    """Return dot / sqrt(first * second), elementwise.

    Args:
        dot: Inner products.
        first: Squared norms of one side.
        second: Squared norms of the other side.

    Returns:
        float64; NaN where a squared norm is not above 0: the gradient is 0, or its debiased norm cannot be told from
        noise.
    """
    dot, first, second = (np.asarray(x, np.float64) for x in (dot, first, second))
    known = (first > 0) & (second > 0)
    root = np.sqrt(np.where(known, first, 1.0)) * np.sqrt(np.where(known, second, 1.0))
    return np.where(known, dot / root, np.nan)


def naive(m: Moments) -> float:
    """Estimate as the authors do: the cosine of the two mean gradients, noise included in both norms.

    With one chunk per side it is theirs exactly. `attenuation` says how far noise shrinks it.

    Args:
        m: Products of target and task chunks.

    Returns:
        The cosine; NaN for a zero gradient.
    """
    return float(cosine(m.dots.mean(), m.target.mean(), m.own.mean()))


def debiased(m: Moments) -> tuple[float, float]:
    """Estimate the cosine without noise bias, and its standard error; ours (Spearman's correction for attenuation).

    The numerator is the mean product of target and task chunks, the squared norms mean products of *different* chunks,
    so that with independent chunks all three are unbiased; the ratio is so to first order. It may exceed 1 by noise.

    The error is the delta method's, from the spread over chunks of both sides. With two chunks per side it has one
    degree of freedom per side (rough: average it over updates) and leaves the norms' own error out, which matters only
    for cosines near 1, where it is then too large.

    Args:
        m: Products of target and task chunks, at least two chunks per side.

    Returns:
        The cosine and its standard error; both NaN where a squared norm comes out at or below 0: more rows are needed
        to say anything.

    Raises:
        InputError: A side has fewer than two chunks.
    """
    _check_two(m)
    dot, target, own = m.dots.mean(), _between(m.target), _between(m.own)
    value = float(cosine(dot, target.mean(), own.mean()))
    if math.isnan(value):
        return value, math.nan
    scale = math.sqrt(target.mean() * own.mean())
    # What each chunk adds to the cosine: through the numerator, and against it through its share of the norm.
    rows = m.dots.mean(1) / scale - value * target / target.mean()
    columns = m.dots.mean(0) / scale - value * own / own.mean()
    return value, math.sqrt(_variance(rows, columns, m.dots / scale))


def _check_two(m: Moments) -> None:
    if min(m.dots.shape) < 2:
        raise InputError(
            f"moments: {m.dots.shape[0]} target and {m.dots.shape[1]} task chunks; debiasing needs two of each "
            "(rule 'paper' does with one)"
        )


def _between(gram: np.ndarray) -> np.ndarray:
    """Return each chunk's mean product with the others [n]; their mean estimates the squared norm without bias."""
    return (gram.sum(1) - np.diag(gram)) / (len(gram) - 1)


def _variance(rows: np.ndarray, columns: np.ndarray, table: np.ndarray) -> float:
    """Return the variance of the mean of a two-way table with random rows and columns, given both sides' influences.

    Noise times noise is in both sides' spread and counts once: that of the residual is taken off again.
    """
    h, m = table.shape
    residual = table - table.mean(1, keepdims=True) - table.mean(0, keepdims=True) + table.mean()
    shared = (residual**2).sum() / ((h - 1) * (m - 1)) / (h * m)
    return max(float(rows.var(ddof=1) / h + columns.var(ddof=1) / m - shared), float(shared))


def attenuation(m: Moments) -> float:
    """Return what noise leaves of a cosine in `naive`: `naive` = `debiased` x this.

    It is the ceiling: all that a source which is a copy of the target can show by the authors' estimator.

    Args:
        m: Products of target and task chunks, at least two chunks per side.

    Returns:
        In (0, 1]; NaN where `naive` or `debiased` is NaN.

    Raises:
        InputError: A side has fewer than two chunks.
    """
    _check_two(m)
    return float(
        cosine(1.0, m.target.mean(), m.own.mean()) / cosine(1.0, _between(m.target).mean(), _between(m.own).mean())
    )


def reused(reads: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    """Return cosine and standard error from training gradients read against a cached target gradient.

    The target's norm is debiased (H > 1). The task's is not: steps move the model, and no two products of them are
    kept, so this is the mean over single batches, shrunk by their noise; compare ranks, not sizes, with `debiased`.

    Args:
        reads: [n, H + 1], from `target_gradients.Probe.read`: for each of a task's steps, products with the H target
            chunks and its own squared norm.
        target: Products of the target's chunks [H, H].

    Returns:
        The cosine and its standard error; the error is NaN below two steps or two target chunks.

    Raises:
        InputError: Shapes do not fit, or a product is not finite.
    """
    reads, target = np.asarray(reads, np.float64), np.asarray(target, np.float64)
    if reads.ndim != 2 or not len(reads) or target.shape != (reads.shape[1] - 1,) * 2 or not len(target):
        raise InputError(f"reads: shape {list(reads.shape)} is not [n, H + 1] for a target of {list(target.shape)}")
    if not (np.isfinite(reads).all() and np.isfinite(target).all()):
        raise InputError("reads: a gradient product is not finite; the loss has diverged")
    dots, norm = reads[:, :-1].T, target.mean() if len(target) == 1 else _between(target).mean()
    value = float(cosine(dots.mean(), norm, reads[:, -1].mean()))
    if math.isnan(value) or min(dots.shape) < 2:
        return value, math.nan
    table = dots / math.sqrt(norm * reads[:, -1].mean())
    return value, math.sqrt(_variance(table.mean(1), table.mean(0), table))


def cosines(
    moments: Sequence[Moments], rule: Rule = "corrected", itself: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weighted tasks' cosines with the target and their standard errors.

    Joint training weighs the target too: give moments of its *training* rows against its held-out ones as the last of
    `moments`; or, as the authors do, say `itself`.

    Args:
        moments: Products of target and task chunks, task by task.
        rule: "corrected": `debiased`. "paper": `naive`, errors NaN (one draw shows none).
        itself: Append exactly 1, with an error of 0, for the target.

    Returns:
        Cosines and standard errors, each float64 [K], in the order of `moments`.

    Raises:
        InputError: There is no task, or as for `debiased`.
    """
    if not moments:
        raise InputError("moments: no source task; there is nothing to weigh")
    pairs = [(naive(m), math.nan) if paper(rule) else debiased(m) for m in moments]
    values, errors = np.array(pairs + [(1.0, 0.0)] * itself).T
    return values, errors


def paper(rule: str) -> bool:
    """Return whether a rule is the authors'.

    Raises:
        InputError: The rule is neither "corrected" nor "paper".
    """
    if rule not in ("corrected", "paper"):
        raise InputError(f"rule: {rule!r} is neither 'corrected' nor 'paper'")
    return rule == "paper"
