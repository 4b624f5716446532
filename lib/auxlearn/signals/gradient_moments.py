"""Inner products of chunk gradients: what a probe measures, and what cosines are worked out from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from auxlearn.errors import InputError


@dataclass(frozen=True)
class Moments:
    """Inner products of gradients, float64: of target chunks h of H, and chunks m of M of one weighted task.

    A chunk's gradient is that of its mean loss; chunks have (nearly) equal rows and share none.

    Raises:
        InputError: Shapes do not fit, or a product is not finite.
    """

    dots: np.ndarray  # [H, M], target chunk with the task's chunk
    target: np.ndarray  # [H, H]
    own: np.ndarray  # [M, M]

    def __post_init__(self) -> None:
        h, m = self.dots.shape if np.ndim(self.dots) == 2 else (-1, -1)
        if min(h, m) < 1 or np.shape(self.target) != (h, h) or np.shape(self.own) != (m, m):
            shapes = ", ".join(str(list(np.shape(x))) for x in (self.dots, self.target, self.own))
            raise InputError(f"moments: shapes {shapes} are not [H, M], [H, H], [M, M]")
        for name, values in (("target", self.target), ("task", self.own), ("task with the target", self.dots)):
            if not np.isfinite(values).all():
                raise InputError(f"moments: a gradient product of the {name} is not finite; the loss has diverged")
