"""Two questions for any arm: which auxiliary rows does it add for this seed, and how are they trained?"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from . import arms, autosem_arms, gradts_arms, plans, runs, train, weighted_plans
from .params import MTL
from .params_weighting import BY_SCORE, WEIGHINGS
from .phases import Plan
from .searching import Chosen
from .tasks import Suite


def for_arm(
    p: MTL, suite: Suite, seed: int, inputs: list[runs.Manifest], usable: Mapping[str, np.ndarray],
    progress: train.Progress | None = None,
) -> Chosen:  # fmt: skip
    """The auxiliary rows of an arm for one seed, from its inputs or from a search that it runs or reads back."""
    rows, by_stage = p.of_rows(), {m.stage: m for m in inputs}
    if p.gradts:
        made = gradts_arms.chosen(rows, suite, seed, by_stage["04_gradts_correlation"], usable, progress)
    elif p.autosem:
        made = autosem_arms.chosen(rows, suite, seed, usable, progress)
    else:
        made = Chosen(arms.chosen(rows, suite, seed, [m for m in inputs if m.stage == "03_ranking"], usable))
    if "05_tawt_weighting" in by_stage:
        made.final = by_stage["05_tawt_weighting"].metrics["final"][str(seed)]
    return made


def plan(p: MTL, suite: Suite, seed: int, made: Chosen, usable: Mapping[str, np.ndarray]) -> Plan:
    """How an arm trains the rows that it has chosen."""
    mine = usable[p.primary]
    if p.weighing and made.rows is not None:
        rows = made.scored() if WEIGHINGS[p.weighing][0] in BY_SCORE else made.rows
        return weighted_plans.plan(p, suite, seed, p.weighing, rows, mine, made.final, p.keep_model)
    # A selection that chose nothing leaves nothing to weigh.
    return plans.arm(p.of_rows(), suite, seed, made.rows, mine, made.shares)
