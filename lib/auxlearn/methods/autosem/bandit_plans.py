"""AUTOSEM's stage 1 as a training plan."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.methods.arm_plans import common, holdout
from auxlearn.methods.autosem.options import AutosemArm
from auxlearn.training.phases import Phase, Plan, Recipe, Rounds


def bandit(p: AutosemArm, suite: Suite, seed: int, usable: Mapping[str, np.ndarray]) -> Plan:
    """AUTOSEM's stage 1 for one seed: rounds over the primary and its auxiliaries, at a constant rate.

    The primary is judged on the rows that the arm's trials are judged on, and never on dev.
    """
    kept, held = holdout(suite, p.primary, p.holdout, seed, usable[p.primary])
    rows = {p.primary: kept}
    rows |= {name: np.flatnonzero(usable[name]) for name in suite.auxiliaries(p.primary, p.auxiliaries)}
    recipe = Recipe(p.lr, p.batch_size, decay="none")
    rounds = Rounds(p.bandit_batches, p.bandit_decay, p.autosem_rule)
    phase = Phase("bandit", rows, p.bandit_rounds, recipe, loss_scale=p.loss_scale, rounds=rounds)
    return Plan(phases=(phase,), seeds=seeding.record(seed), primary=p.primary, holdout=held, **common(p))
