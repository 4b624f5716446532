"""The parameters of weighted training (05), which 06's weighted arms share."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from .params_base import Seeds, Trained

Paradigm = Literal["joint", "normalised", "pretrain"]
# A way to train a set of rows with task weights: paradigm, and what moves the weights. Paradigms: joint, uniform
# weights (so tasks count by size); normalised, joint with weights 1/n (so tasks count alike); pretrain, sources first
# and then the primary alone. "final" starts at, and stays at, the weights that 05 ended with; share_N gives the primary
# that percentage of the effective weight. Joint but for their prior: "power", weights n ** `prior_power`, and "given",
# those of `prior_given`. Two more weigh what a scoring arm chose, and are joint otherwise: "scored"
# starts the sources at weights that follow their rows' scores; "deciles" cuts each source into parts by score, each
# with a weight of its own.
BY_SCORE = ("scored", "deciles")
WEIGHINGS: dict[str, tuple[str, str]] = {
    "joint": ("joint", "fixed"), "tawt_joint": ("joint", "measured"), "null_joint": ("joint", "null"),
    "shuffled_joint": ("joint", "shuffled"), "final_joint": ("joint", "final"),
    "normalised": ("normalised", "fixed"), "tawt_normalised": ("normalised", "measured"),
    "null_normalised": ("normalised", "null"), "shuffled_normalised": ("normalised", "shuffled"),
    "final_normalised": ("normalised", "final"),
    "pretrain": ("pretrain", "fixed"), "tawt_pretrain": ("pretrain", "measured"),
    "shuffled_pretrain": ("pretrain", "shuffled"), "final_pretrain": ("pretrain", "final"),
    "share_10": ("joint", "share"), "share_25": ("joint", "share"), "share_50": ("joint", "share"),
    "share_75": ("joint", "share"), "share_90": ("joint", "share"),
    "power": ("power", "fixed"), "tawt_power": ("power", "measured"), "null_power": ("power", "null"),
    "given": ("given", "fixed"), "tawt_given": ("given", "measured"), "null_given": ("given", "null"),
    "scored": ("scored", "fixed"), "tawt_scored": ("scored", "measured"), "null_scored": ("scored", "null"),
    "shuffled_scored": ("scored", "shuffled"),
    "tawt_deciles": ("deciles", "measured"), "shuffled_deciles": ("deciles", "shuffled"),
}  # fmt: skip


class Weighed(Trained):
    """What 05 and 06's weighted arms share (see `phases.Weighting`, `weighting`, `probes`).

    `steps` > 0 gives every arm of 06, weighted or not, so many optimiser steps in place of epochs, `tune_steps` of them
    on the primary alone where an arm has such a phase. All arms hold out the same rows of the primary, if `choose` says
    so. Measured weights follow the gradient of those rows, and so need `choose` holdout, unless by the authors' rule.

    `tawt_rule` "paper" is the authors' code: 64 training sentences a task, the whole encoder, the target against itself
    exactly 1, losses scaled and then clipped, eta 1 once an epoch; it overrides the `probe_` and `weight_` fields but
    `weight_c`. Otherwise the weights move every `weight_every` steps (0: once an epoch), and all updates in force
    together weigh `weight_total` (the authors' 3).
    """

    steps: int = Field(0, ge=0)
    tune_steps: int = Field(0, ge=0)
    stage2_epochs: int = Field(2, ge=1)
    tune_epochs: int = Field(3, ge=1)
    choose: Literal["holdout", "dev", "last"] = "holdout"
    holdout: float = Field(0.1, gt=0, lt=0.9)
    tawt_rule: Literal["corrected", "paper"] = "corrected"
    weight_every: int = Field(0, ge=0)
    weight_total: float = Field(3.0, gt=0)
    weight_c: float = Field(1.0, gt=0)
    weight_floor: float = Field(0.0, ge=0, lt=1)
    weight_decay: float = Field(0.0, ge=0, lt=1)
    weight_tau: float = Field(0.0, ge=0)
    combine: Literal["mixed", "scaled", "scaled_then_clipped", "sampled"] = "mixed"
    probe_rows: int = Field(32, ge=1)
    probe_chunks: int = Field(2, ge=2)
    probe_parameters: Literal["shared", "encoder", "last_layer"] = "shared"
    probe_estimator: Literal["exact", "reused"] = "exact"

    @model_validator(mode="after")
    def _enough_steps(self) -> Self:
        if self.steps and self.tune_steps >= self.steps:
            raise ValueError(f"tune_steps: {self.tune_steps} of {self.steps} steps leave none for the other rows")
        if self.tune_steps and not self.steps:
            raise ValueError("tune_steps: say `steps` too; without it arms are trained by epochs")
        return self


WEIGHT_FIELDS = frozenset(n for n in Weighed.model_fields if n.startswith(("weight_", "probe_"))) | {
    "tawt_rule",
    "combine",
}


class TAWT(Weighed):
    """A weighted training of one primary, watched: the weights, what they follow, and what they cost.

    `paradigm` joint, normalised or pretrain; the training is the one that 06's arm tawt_<paradigm> reads.
    `compare_probes` trains it anew, for the first seed, under four ways to measure its cosines.
    """

    stage = "05_tawt_weighting"
    not_in_key = Trained.not_in_key | {"mixing"}

    steps: int = Field(48, ge=0)
    weight_every: int = Field(12, ge=0)
    holdout: float = Field(0.3, gt=0, lt=0.9)
    seeds: Seeds = [0, 1]
    paradigm: Paradigm = "joint"
    compare_probes: bool = True

    def key_params(self) -> dict[str, Any]:
        kept = super().key_params()
        return kept if self.steps else {k: v for k, v in kept.items() if k != "tune_steps"}
