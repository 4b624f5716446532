"""Answer two questions for any arm: which auxiliary rows it adds for a seed, and how it trains them."""

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
    """Return the auxiliary rows of an arm for one seed.

    They come from the arm's inputs, or from a search that it runs or reads back.

    Args:
        p: The arm's parameters (06).
        suite: The suite with every task's rows.
        seed: The arm's seed.
        inputs: Manifests of the runs that the arm reads (03, 04 or 05).
        usable: By task, a mask over its training rows, bool [rows].
        progress: Called with a line of text whenever something has been done.

    Returns:
        The rows, why they were chosen, and what the search for them ran.
    """
    rows, by_stage = p.of_rows(), {m.stage: m for m in inputs}
    if p.gradts:
        selection = gradts_selection.chosen(rows, suite, seed, by_stage["04_gradts_correlation"], usable, progress)
    elif p.autosem:
        selection = autosem_selection.chosen(rows, suite, seed, usable, progress)
    else:
        selection = Chosen(controls.chosen(rows, suite, seed, [m for m in inputs if m.stage == "03_ranking"], usable))
    if "05_tawt_weighting" in by_stage:
        selection.final = by_stage["05_tawt_weighting"].metrics["final"][str(seed)]
    return selection


def plan(p: Any, suite: Suite, seed: int, made: Chosen, usable: Mapping[str, np.ndarray]) -> Plan:
    """Plan how an arm trains the rows that it has chosen.

    Args:
        p: The arm's parameters (06).
        suite: The suite with every task's rows.
        seed: The arm's seed.
        made: The arm's rows, from `for_arm`.
        usable: By task, a mask over its training rows, bool [rows].

    Returns:
        A weighted plan for a weighted arm, else the plan of `arm_plans.arm`.
    """
    own = usable[p.primary]
    if p.weighing and made.rows is not None:
        rows = made.scored() if WEIGHINGS[p.weighing][0] in BY_SCORE else made.rows
        return weighted_plans.plan(p, suite, seed, p.weighing, rows, own, made.final, p.keep_model)
    # A selection that chose nothing leaves nothing to weigh.
    return arm_plans.arm(p.of_rows(), suite, seed, made.rows, own, made.shares, made.style)
