"""The options of AUTOSEM's methods, which ask a bandit which tasks help."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from auxlearn.methods.base import Options

PAPER_DESIGN = 10  # random trials with which scikit-optimize's gp_hedge starts


class BanditOptions(Options):
    """Options of autosem_p1; the bandit is judged on rows held out from train."""

    autosem_rule: Literal["corrected", "paper"] = "corrected"
    """paper is what the authors' code does (see `bandits` and `ratio_search`)"""
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

    @model_validator(mode="after")
    def _search_leaves_its_design(self) -> Self:
        if self.autosem_rule == "paper" and self.ratio_trials <= PAPER_DESIGN:
            raise ValueError(
                f"ratio_trials: {self.ratio_trials} trials would all be drawn at random, as the authors' rule starts "
                f"with {PAPER_DESIGN}; give {PAPER_DESIGN + 1} or more"
            )
        return self

    def design(self, tasks: int) -> int:
        """Count the trials that come before the process is asked: two more than there are tasks, half of all at most.

        Under the authors' rule there are ten, as in scikit-optimize.

        Args:
            tasks: Tasks whose ratios are searched for, the primary among them.
        """
        if self.autosem_rule == "paper":
            return PAPER_DESIGN
        return max(2, min(tasks + 2, self.ratio_trials // 2))
