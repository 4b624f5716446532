"""AUTOSEM's parameters: those of its arms."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from auxlearn.methods.arm_parameters import ArmParameters


class AutosemArm(ArmParameters):
    """Parameters of the autosem arms, which ask a bandit which tasks help.

    The bandit is judged on rows held out from train. It plays `bandit_rounds` of `bandit_batches` batches, and at most
    `bandit_most` tasks are kept. autosem_p1 draws n rows of the tasks it keeps; autosem searches, in `ratio_trials`
    trainings of the arm's own length, for the share of stage 2's steps that each task gets. `autosem_rule` paper is
    what the authors' code does (see `bandits` and `ratio_search`); their `bandit_decay` is 0.3.
    """

    autosem_rule: Literal["corrected", "paper"] = "corrected"
    bandit_rounds: int = Field(20, ge=1)
    bandit_batches: int = Field(2, ge=1)
    bandit_decay: float = Field(0.05, ge=0, lt=1)
    bandit_most: int = Field(3, ge=1)
    ratio_trials: int = Field(3, ge=1)
    ratio_highest: int = Field(20, ge=1)
