"""GradTS's parameters: those of head importance (04), and of its arms."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from auxlearn.methods.arm_parameters import ArmParameters
from auxlearn.training.shared_parameters import Common, Seeds, Trained

Definition = Literal["gate", "kv_rows", "kv_columns"]


class GradTS(Trained):
    """Parameters of head importance of every task of the suite, for each of `seeds`.

    Each task's is measured by a model tuned on that task alone. `dropout` on while measuring is the authors' way, as is
    the definition "kv_columns" (see `signals.head_importance`). `at` "proxy" is a cheaper relative of GradTS,
    gradts_proxy: importance is read off FastMTL's shared proxy, of two cross-fitted ones the one that has not seen the
    row, and no task is tuned alone. `also` names further encoders, of which only the order of the tasks is compared.
    """

    stage = "04_gradts_correlation"
    not_in_key = Common.not_in_key | {"primary", "auxiliaries", "mixing"}

    seeds: Seeds = [0, 1]
    tune_rows: int = Field(100, ge=0)
    importance_rows: int = Field(60, ge=0)
    epochs: int = Field(3, ge=1)
    dropout: bool = False
    definition: Definition = "gate"
    at: Literal["task", "proxy"] = "task"
    also: list[str] = []

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
        wanted = self._shared("keep_leaks") | {"discriminator": "bce"}
        return [("02_td_proxy", wanted | {"seed": seed}) for seed in self.seeds]


class GradTSArm(ArmParameters):
    """Parameters of the gradts arms, which read `definition` from 04.

    thres takes the tasks whose tau with the primary reaches `task_threshold`; trial trains nested prefixes of at most
    `trial_most` tasks and judges them on rows held out from train; fg keeps the `fg_fraction` of rows with the highest
    tau of the tasks that `fg_tasks` names. Each then draws n rows of what it has chosen, so that all arms have one
    budget. gradts_proxy is thres with importance read at the shared proxy.
    """

    definition: Definition = "gate"
    task_threshold: float = Field(0.5, ge=-1, le=1)
    trial_rule: Literal["corrected", "code"] = "corrected"
    trial_patience: int = Field(1, ge=1)
    trial_most: int = Field(4, ge=1)
    fg_tasks: Literal["trial", "thres", "all"] = "trial"
    fg_fraction: float = Field(0.7, gt=0, le=1)
