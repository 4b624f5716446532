"""The options of AUTOSEM's methods, which ask a bandit which tasks help."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from auxlearn.methods.base import Options

PAPER_DESIGN = 10  # random trials with which scikit-optimize's gp_hedge starts


class BanditOptions(Options):
    """Options of autosem_p1; the bandit is judged on rows held out from train."""

    autosem_rule: Literal["corrected", "paper"] = "corrected"
    """paper is what the authors' code does (see `bandits` and `ratio_search`); their bandit_decay is 0.3"""
    bandit_rounds: int = Field(20, ge=1)
    """rounds that are played"""
    bandit_batches: int = Field(2, ge=1)
    """batches per round"""
    bandit_decay: float = Field(0.05, ge=0, lt=1)
    """how fast old rewards fade; the authors' is 0.3"""
    bandit_most: int = Field(3, ge=1)
    """most tasks that are kept"""


class RatioOptions(BanditOptions):
    """Options of autosem, which also searches for the share of stage 2's steps that each task gets."""

    ratio_trials: int = Field(3, ge=3)
    """trainings of the search, each of the arm's own length; under the authors' rule 11 or more"""
    ratio_highest: int = Field(20, ge=1)
    """the highest ratio that is tried"""

    def design(self, tasks: int) -> int:
        """Count the trials that come before the process is asked: two more than there are tasks, half of all at most.

        Under the authors' rule there are ten, as in scikit-optimize.

        Args:
            tasks: Tasks whose ratios are searched for, the primary among them.
        """
        if self.autosem_rule == "paper":
            return PAPER_DESIGN
        return max(2, min(tasks + 2, self.ratio_trials // 2))
