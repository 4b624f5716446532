"""GradTS's parameters: those of head importance (04), and the options of its methods."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from auxlearn.methods.base import Options
from auxlearn.methods.task_plans import TunedAlone
from auxlearn.training.shared_parameters import Common, distinct

Definition = Literal["gate", "kv_rows", "kv_columns"]


class GradTS(TunedAlone):
    """Parameters of head importance of every task of the suite, for each of `seeds`.

    Each task's is measured by a model tuned on that task alone, or read off FastMTL's shared proxy (`at`).
    """

    stage = "04_gradts_correlation"
    not_in_key = Common.not_in_key | {"primary", "auxiliaries", "mixing", "others"}

    importance_rows: int = Field(60, ge=0)
    """most rows of each task whose head importance is measured (0: all)"""
    dropout: bool = False
    """leave dropout on while measuring, as the authors do"""
    definition: Definition = "gate"
    """what importance is the gradient of; kv_columns is the authors' (see `signals.head_importance`)"""
    at: Literal["task", "proxy"] = "task"
    """whose heads are measured: those of a model tuned on the task alone, or of FastMTL's proxy (gradts_proxy)"""
    also: list[str] = []
    """further encoders, of which only the order of the tasks is compared"""
    others: Annotated[list[str], AfterValidator(distinct)] = []
    """methods whose scores of tasks, by their defaults, are shown beside tau, such as textemb; enters no key"""

    @model_validator(mode="after")
    def _other_encoders(self) -> Self:
        if self.also and self.at == "proxy":
            raise ValueError("also: other encoders have no proxy to read importance from; use [] with at: proxy")
        return self

    def key_params(self) -> dict[str, Any]:
        """Return the parameters that the result depends on; at the proxy, none of those that tune a task alone."""
        alone = {"batch_size", "lr", "regression", "pool", "loss_scale", "tune_rows", "epochs"}
        return {k: v for k, v in super().key_params().items() if self.at == "task" or k not in alone}

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the runs that this one reads: none, or at the proxy 02 for each seed."""
        if self.at == "task":
            return []
        wanted = self.shared("keep_leaks") | {"discriminator": "bce"}
        return [("02_td_proxy", wanted | {"seed": seed}) for seed in self.seeds]


class HeadOptions(Options):
    """What all GradTS methods are told."""

    definition: Definition = "gate"
    """what importance is the gradient of; kv_columns is the authors'"""


class ThresholdOptions(HeadOptions):
    """Options of gradts_thres and gradts_proxy, which take the tasks whose tau with the primary is high enough."""

    task_threshold: float = Field(0.5, ge=-1, le=1)
    """the tau that a task must reach, where the cut is a threshold"""
    task_cut: Literal["threshold", "null"] = "threshold"
    """threshold is the authors'; null takes the tasks whose tau is above that of 95 % of their matrices with heads
    permuted within layers, so that it serves any encoder"""


class TopOptions(HeadOptions):
    """Options of gradts_top, which always takes as many tasks."""

    top_tasks: int = Field(2, ge=1)
    """tasks that are taken, those with the highest tau"""


class TrialOptions(HeadOptions):
    """Options of gradts_trial, which trains nested sets of tasks and judges them on rows held out from train."""

    trial_rule: Literal["corrected", "code"] = "corrected"
    """how trials are judged and stopped; code is what the authors' code does"""
    trial_patience: int = Field(1, ge=1)
    """trials without a better score before the search stops"""
    trial_most: int = Field(4, ge=1)
    """most tasks that are tried (the authors have no such limit: with `trial_rule: code` name as many as there are)"""


class FineOptions(ThresholdOptions, TrialOptions):
    """Options of gradts_fg, which keeps the rows with the highest tau of the tasks that another rule takes."""

    fg_tasks: Literal["trial", "thres", "all"] = "trial"
    """the rule that takes the tasks"""
    fg_fraction: float = Field(0.7, gt=0, le=1)
    """the share of a task's measured rows that is kept"""
    fg_rule: Literal["corrected", "code"] = "corrected"
    """exactly that share; or one row more and all that tie with it, as the authors' script has it that looks for
    thresholds (their method then keeps the rows whose tau is above a threshold, which is not offered)"""
