"""Two questions for any arm: which auxiliary rows does it add for this seed, and how are they trained?"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from auxlearn.data.suites import Suite
from auxlearn.methods import arm_plans, controls
from auxlearn.methods.autosem import autosem_selection
from auxlearn.methods.gradts import gradts_selection
from auxlearn.methods.tawt import weighted_plans
from auxlearn.methods.tawt.options import BY_SCORE, WEIGHINGS
from auxlearn.methods.trials import Chosen
from auxlearn.records import runs
from auxlearn.training import train
from auxlearn.training.phases import Plan


def for_arm(
    p: Any, suite: Suite, seed: int, inputs: list[runs.Manifest], usable: Mapping[str, np.ndarray],
    progress: train.Progress | None = None,
) -> Chosen:  # fmt: skip
    """The auxiliary rows of an arm for one seed, from its inputs or from a search that it runs or reads back."""
    rows, by_stage = p.of_rows(), {m.stage: m for m in inputs}
    if p.gradts:
        made = gradts_selection.chosen(rows, suite, seed, by_stage["04_gradts_correlation"], usable, progress)
    elif p.autosem:
        made = autosem_selection.chosen(rows, suite, seed, usable, progress)
    else:
        made = Chosen(controls.chosen(rows, suite, seed, [m for m in inputs if m.stage == "03_ranking"], usable))
    if "05_tawt_weighting" in by_stage:
        made.final = by_stage["05_tawt_weighting"].metrics["final"][str(seed)]
    return made


def plan(p: Any, suite: Suite, seed: int, made: Chosen, usable: Mapping[str, np.ndarray]) -> Plan:
    """How an arm trains the rows that it has chosen."""
    mine = usable[p.primary]
    if p.weighing and made.rows is not None:
        rows = made.scored() if WEIGHINGS[p.weighing][0] in BY_SCORE else made.rows
        return weighted_plans.plan(p, suite, seed, p.weighing, rows, mine, made.final, p.keep_model)
    # A selection that chose nothing leaves nothing to weigh.
    return arm_plans.arm(p.of_rows(), suite, seed, made.rows, mine, made.shares, made.style)
