"""One gradient made of the tasks' own, by the aggregators of torchjd: PCGrad, MGDA, IMTL-G, Aligned-MTL, ConFIG."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from auxlearn.errors import InputError
from auxlearn.methods.base import Cell, WeightPolicy
from auxlearn.methods.registry import register

# By policy: torchjd's class, what it does, its formula, where it is from. g_i is task i's gradient, of K.
AGGREGATORS = {
    "mean_gradient": ("Mean", "the mean of the tasks' gradients", "sum of g_i / K", ""),
    "sum_gradient": ("Sum", "the sum of the tasks' gradients", "sum of g_i", ""),
    "pcgrad": (
        "PCGrad", "each gradient without what conflicts with another's; their sum",
        "sum over i of g_i, from which for each j in a drawn order g_j <g_i, g_j> / |g_j|^2 is taken away where "
        "<g_i, g_j> < 0", "Yu et al., 2020 (PCGrad)",
    ),
    "mgda": (
        "MGDA", "the shortest convex combination of the gradients",
        "sum of a_i g_i, a = argmin |sum of a_i g_i| over a_i >= 0 with sum 1, by Frank-Wolfe",
        "Désidéri, 2012; Sener and Koltun, 2018",
    ),
    "imtl_g": (
        "IMTLG", "the combination that has the same projection on every gradient",
        "sum of a_i g_i with sum of a = 1 and <sum of a_j g_j, g_i> / |g_i| the same for all i",
        "Liu et al., 2021 (IMTL-G)",
    ),
    "aligned_mtl": (
        "AlignedMTL", "gradients made orthogonal and equally long; their mean",
        "mean of the rows of s U V', of the matrix G = U S V' of gradients, s its least singular value above 0",
        "Senushkin et al., 2023",
    ),
    "config": (
        "ConFIG", "the direction at the same angle to every gradient",
        "(sum of <g_i, u>) u, u the unit vector along pinv(G) 1, G the gradients g_i / |g_i|",
        "Liu et al., 2025 (ConFIG)",
    ),
}  # fmt: skip


class Aggregated(WeightPolicy):
    """An aggregator of torchjd over the gradients of the encoder, of which every task in a mixed batch has one.

    Heads keep their task's own gradient. The clip and Adam follow. What differs from the papers: a batch has rows of
    all tasks, fewer of small ones, and a task that a batch lacks has no gradient in it. PCGrad's is a sum, which the
    clip that heads share cuts sooner than a mean: its control is sum_gradient. Left aside are torchjd's aggregators
    that need a solver (UPGrad, CAGrad, Nash-MTL). Memory: a gradient of the encoder per task of a batch.

    Args:
        name: The policy's name, a key of `AGGREGATORS`.
    """

    family, by = "balancing", None
    aggregates = True
    cost = "nothing, but a batch's tasks pass one by one, and a gradient of the encoder is kept for each"

    def __init__(self, name: str):
        kind, self.title, formula, self.reference = AGGREGATORS[name]
        self.name, self.formula = name, f"{formula} (torchjd.aggregation.{kind})"
        control = "sum_gradient" if name == "pcgrad" else "mean_gradient"
        if name in ("mean_gradient", "sum_gradient"):
            self.use = "beside the others: it says what comes from equal shares of the tasks in every batch alone"
        else:
            self.use = f"where tasks conflict; beside {control}"
            self.contrasts = (control, "")

    def check(self, cell: Cell, options: Any) -> None:
        """Refuse where torchjd is not installed."""
        _torchjd()

    def aggregator(self, options: Any) -> Callable[[Any], Any]:
        """Return the aggregator."""
        return getattr(_torchjd(), AGGREGATORS[self.name][0])()


def _torchjd() -> Any:
    try:
        from torchjd import aggregation
    except ImportError:
        names = ", ".join(AGGREGATORS)
        raise InputError(f"{names} need torchjd: pip install 'auxlearn[aggregators]'") from None
    return aggregation


for name in AGGREGATORS:
    register(Aggregated(name))
