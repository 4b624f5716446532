"""Plan AUTOSEM's stage 1 as a training."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from auxlearn import seeding
from auxlearn.data.suites import Suite
from auxlearn.methods.arm_parameters import ArmParameters
from auxlearn.methods.arm_plans import common, holdout
from auxlearn.methods.autosem.options import BanditOptions
from auxlearn.training.phases import Phase, Plan, Recipe, Rounds


def bandit(p: ArmParameters, options: BanditOptions, suite: Suite, seed: int, usable: Mapping[str, np.ndarray]) -> Plan:
    """Plan AUTOSEM's stage 1 for one seed: rounds over the primary and its auxiliaries, at a constant learning rate.

    The primary is judged on the rows that judge the arm's trials, and never on dev.

    Args:
        p: The arm's parameters.
        options: The bandit's own.
        suite: The suite with every task's rows.
        seed: The arm's seed.
        usable: By task, a mask over its training rows, bool [rows].

    Returns:
        A plan of one phase, whose `rounds` are the bandit's.

    Raises:
        InputError: The primary has too few rows to hold any out.
    """
    trained, held = holdout(suite, p.primary, p.holdout, seed, usable[p.primary])
    rows = {p.primary: trained}
    rows |= {name: np.flatnonzero(usable[name]) for name in suite.auxiliaries(p.primary, p.auxiliaries)}
    recipe = Recipe(p.lr, p.batch_size, decay="none", idle_heads=p.idle_heads)
    rounds = Rounds(options.bandit_batches, options.bandit_decay, options.autosem_rule)
    phase = Phase("bandit", rows, options.bandit_rounds, recipe, loss_scale=p.loss_scale, rounds=rounds)
    return Plan(phases=(phase,), seeds=seeding.record(seed), primary=p.primary, holdout=held, **common(p))
