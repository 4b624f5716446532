"""Fit the target's head to convergence on features of a fixed encoder: f_0 of TAWT's pre-training form.

The outer gradient of weighted pre-training is that of the target's loss at its best head. The authors' code
(run_weighted_pre_training_multi.py) starts the head from the same random weights at every update and gives it one epoch
(4 to 16 steps), so that the gradient passes through a near-random head; here the head is the minimiser itself.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from auxlearn.data.batching import IGNORE
from auxlearn.data.schema import Kind
from auxlearn.errors import InputError
from auxlearn.models.multitask import Batch, MultiTaskModel, n_terms


@dataclass(frozen=True)
class Head:
    """A fitted linear head, float64."""

    weight: torch.Tensor  # [C, d]
    bias: torch.Tensor  # [C]
    loss: float  # mean loss without the penalty
    evaluations: int  # of the loss and its gradient; 1 for the closed form

    def copy_to(self, layer: nn.Linear) -> None:
        """Copy the head into a layer of a model, e.g. `multitask.heads[name]`."""
        with torch.no_grad():
            layer.weight.copy_(self.weight)
            layer.bias.copy_(self.bias)


def head_inputs(
    model: MultiTaskModel, batches: Iterable[Batch], precision: str = "fp32"
) -> tuple[torch.Tensor, torch.Tensor]:
    """Collect what a task's head reads, with dropout off.

    Rows (tagging: tokens) without a label are left out.

    Args:
        model: The model; its mode is left as found.
        batches: Batches of one task.
        precision: "bf16" runs the encoder under autocast; "fp32" does not.

    Returns:
        Inputs of the head, fp32 [N, d], and labels [N], on the model's device; regression labels are on the scale that
        the head learns.

    Raises:
        InputError: There is no batch, or one without any label (regression: with a row without one).
    """
    features: list[torch.Tensor] = []
    labels: list[torch.Tensor] = []
    modes = [(m, m.training) for m in model.modules()]
    hooks: list[Any] = []
    try:
        model.eval()
        for batch in batches:
            n_terms(model, batch)
            seen: list[torch.Tensor] = []
            head = model.heads[batch["task"]]
            hooks.append(head.register_forward_pre_hook(lambda _, args, seen=seen: seen.append(args[0])))
            with torch.no_grad():
                model(batch, precision)
            hooks.pop().remove()
            own = batch["labels"].cpu()  # on the host, where few rows are fitted faster than a GPU can be asked
            known = torch.isfinite(own) if model.kinds[batch["task"]] == "regression" else own != IGNORE
            features.append(seen[0].cpu()[known])
            labels.append(model.scaled(own[known], batch["task"]) if own.is_floating_point() else own[known])
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    if not features:
        raise InputError("fit_head: no batches; the target needs rows to fit its head on")
    return torch.cat(features), torch.cat(labels)


def fit_head(
    features: torch.Tensor, labels: torch.Tensor, kind: Kind, n_outputs: int, *, ridge: float = 1e-2,
    start: Head | None = None, evaluations: int = 2000,
) -> Head:  # fmt: skip
    """Fit the linear head that minimises a task's mean loss plus `ridge` / 2 times its squared weights.

    This is f_0 = argmin of the pre-training form, in which the encoder is held fixed. "regression" has a closed form,
    its intercept free of the penalty. The others are cross-entropy by L-BFGS in fp64, until no gradient entry exceeds
    1e-7, or 1e-6 where a line search stops short of it; their bias is penalised too, as a class without rows would
    drive its own to minus infinity. Either has one minimum, whatever the `start`.

    Args:
        features: [..., d], rows; for tagging tokens, [B, T, d] being flattened.
        labels: [...], as `features` without d; for classification and tagging -100 is left out.
        kind: Kind of the task.
        n_outputs: Number of classes C, or 1.
        ridge: Strength of the penalty. It must be above 0, as few rows are separable; for a regression it may be 0.
        start: Where L-BFGS starts; the last round's head saves time.
        evaluations: How often the loss may be evaluated.

    Returns:
        The head.

    Raises:
        InputError: The input is unusable, or `evaluations` of the loss do not reach the minimum.
    """
    x, y = torch.as_tensor(features).detach(), torch.as_tensor(labels).detach()
    if x.shape[:-1] != y.shape or x.ndim < 2:
        raise InputError(f"fit_head: features {list(x.shape)} do not fit labels {list(y.shape)}")
    if kind not in ("classification", "regression", "tagging"):
        raise InputError(f"fit_head: {kind!r} is none of classification, regression, tagging")
    if not (math.isfinite(ridge) and (ridge > 0 or (ridge == 0 and kind == "regression"))):
        raise InputError(f"ridge: {ridge}; it must be above 0, or 0 for a regression")
    x, y = x.flatten(0, -2).double(), y.flatten()
    if kind != "regression":
        x, y = x[y != IGNORE], y[y != IGNORE]
    if not len(y):
        raise InputError("fit_head: no labelled row")
    if not torch.isfinite(x).all() or not torch.isfinite(y).all():
        raise InputError("fit_head: a feature or label is not finite")
    if kind == "regression":
        return _least_squares(x, y.double(), ridge)
    if y.is_floating_point() or y.min() < 0 or y.max() >= n_outputs:
        raise InputError(f"fit_head: labels must be class numbers from 0 to {n_outputs - 1}, or -100 for none")
    return _softmax_regression(x, y, n_outputs, ridge, start, evaluations)


def _least_squares(x: torch.Tensor, y: torch.Tensor, ridge: float) -> Head:
    centred, mean = x - x.mean(0), x.mean(0)
    left = centred.T @ centred / len(x) + ridge / 2 * torch.eye(x.shape[1], dtype=x.dtype, device=x.device)
    weight = torch.linalg.pinv(left, hermitian=True) @ (centred.T @ (y - y.mean()) / len(x))
    bias = y.mean() - mean @ weight
    return Head(weight[None], bias[None], float(((x @ weight + bias - y) ** 2).mean()), 1)


def _softmax_regression(
    x: torch.Tensor, y: torch.Tensor, n_outputs: int, ridge: float, start: Head | None, evaluations: int
) -> Head:
    shape = (n_outputs, x.shape[1] + 1)
    x = torch.cat([x, x.new_ones(len(x), 1)], 1)
    theta = x.new_zeros(shape)
    if start is not None:
        if (*start.weight.shape, *start.bias.shape) != (shape[0], shape[1] - 1, shape[0]):
            raise InputError(f"start: a head of {list(start.weight.shape)} for one of {[shape[0], shape[1] - 1]}")
        theta = torch.cat([start.weight, start.bias[:, None]], 1).to(x)
    used = 0

    def loss_of(weights: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(x @ weights.T, y)

    def closure() -> torch.Tensor:
        nonlocal used
        used += 1
        theta.grad = None
        loss = loss_of(theta) + ridge / 2 * (theta**2).sum()
        loss.backward()
        return loss

    with torch.inference_mode(False), torch.enable_grad():
        theta, x, y = theta.clone().requires_grad_(), x.clone(), y.clone()
        optimiser = torch.optim.LBFGS(
            [theta], max_iter=evaluations, max_eval=evaluations, tolerance_grad=1e-7, tolerance_change=0.0,
            history_size=20, line_search_fn="strong_wolfe",
        )  # fmt: skip
        optimiser.step(closure)
        closure()
        assert theta.grad is not None  # from the last closure
        slope = float(theta.grad.abs().max())
    theta = theta.detach()
    if not slope <= 1e-6:  # a line search may stop a little short of 1e-7, where the loss is flat to its last digit
        raise InputError(f"fit_head: gradient {slope:.1g} after {used} evaluations; raise ridge or evaluations")
    return Head(theta[:, :-1], theta[:, -1], float(loss_of(theta)), used)
