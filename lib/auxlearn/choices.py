"""One question for any arm: which auxiliary rows does it add for this seed, and why?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from . import arms, autosem_arms, gradts_arms, runs, train
from .params import MTL
from .searching import Chosen
from .tasks import Suite


def for_arm(
    p: MTL, suite: Suite, seed: int, inputs: list[runs.Manifest], usable: Mapping[str, np.ndarray],
    progress: train.Progress | None = None,
) -> Chosen:  # fmt: skip
    """The auxiliary rows of an arm for one seed, from its inputs or from a search that it runs or reads back."""
    if p.gradts:
        return gradts_arms.chosen(p, suite, seed, inputs[0], usable, progress)
    if p.autosem:
        return autosem_arms.chosen(p, suite, seed, usable, progress)
    return Chosen(arms.chosen(p, suite, seed, inputs, usable))
