"""The optimisers of a recipe: AdamW, and Adamax as MT-DNN has it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from auxlearn.models import trimmed_embedding
from auxlearn.training.phases import Recipe


class Adamax(torch.optim.Optimizer):
    """Adamax without bias correction, with decoupled weight decay.

    torch's own corrects the first moment's bias, so that its first steps are up to ten times as long, and adds the
    decay to the gradient, which the division by its largest value then all but cancels.

    Args:
        params: Parameters, or groups of them with a `weight_decay` each.
        lr: Learning rate.
        betas: Decay of the mean gradient, and of its largest absolute value.
        eps: Added to gradients' absolute values, and once more when dividing by the largest.
        weight_decay: Share of each value that a step at learning rate 1 would take off.

    Reference:
        MT-DNN's code, module/bert_optim.py, `Adamax`.
    """

    def __init__(
        self, params: Iterable[Any], lr: float, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6,
        weight_decay: float = 0.0,
    ):  # fmt: skip
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Take a step with the gradients that are there."""
        for group in self.param_groups:
            (first, second), eps = group["betas"], group["eps"]
            for p in (p for p in group["params"] if p.grad is not None):
                state = self.state[p]
                if not state:
                    state["exp_avg"], state["exp_inf"] = torch.zeros_like(p), torch.zeros_like(p)
                mean, largest = state["exp_avg"], state["exp_inf"]
                mean.lerp_(p.grad, 1 - first)
                torch.maximum(largest.mul_(second), p.grad.abs().add_(eps), out=largest)
                if group["weight_decay"]:
                    p.mul_(1 - group["lr"] * group["weight_decay"])
                p.addcdiv_(mean, largest + eps, value=-group["lr"])


def moments(net: torch.nn.Module, optimiser: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """Return Adam's running means of the gradient and of its square, not corrected for their start.

    Args:
        net: The model that the optimiser trains.
        optimiser: An AdamW.

    Returns:
        By "m:NAME" and "v:NAME" of each parameter that has been trained; an embedding table of which only some rows are
        in use is left out (see `models.trimmed_embedding`).
    """
    kept: dict[str, torch.Tensor] = {}
    cut = trimmed_embedding.trimmed(net)
    for name, p in net.named_parameters():
        if (state := optimiser.state.get(p)) and name not in cut:
            kept |= {f"m:{name}": state["exp_avg"].detach().clone(), f"v:{name}": state["exp_avg_sq"].detach().clone()}
    return kept


def optimiser_for(net: torch.nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """Make the optimiser of a recipe; biases and the gains of norms do not decay.

    Args:
        net: The model; all its parameters are trained.
        recipe: The recipe.

    Returns:
        AdamW or Adamax, at the recipe's full learning rate.
    """
    params: list[Any] = list(net.parameters())
    if recipe.weight_decay:  # a group per parameter keeps their order, by which checkpoints know them
        params = [{"params": [p], "weight_decay": recipe.weight_decay if p.dim() > 1 else 0.0} for p in params]
    if recipe.optimiser == "adamax":
        return Adamax(params, recipe.lr)
    return torch.optim.AdamW(params, lr=recipe.lr, weight_decay=0.0, fused=True)
