"""The parameters of weighted training (05), which 06's weighted arms share."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from auxlearn.training.shared_parameters import Budget, Seeds, Trained

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


class Weighed(Budget):
    """Parameters that 05 and 06's weighted arms share (see `phases.Weighting`, `task_weights`, `target_gradients`).

    Measured weights follow the gradient of the rows held out, and so need `choose` holdout, unless by the authors'
    rule.

    `tawt_rule` "paper" is the authors' code: 64 training sentences per task, the whole encoder, the target against
    itself exactly 1, losses scaled and then clipped, eta 1 once per epoch; it overrides the `probe_` and `weight_`
    fields but `weight_c`. Otherwise the weights move every `weight_every` steps (0: once per epoch), and all updates in
    force together weigh `weight_total` (the authors' 3).
    """

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


WEIGHT_FIELDS = frozenset(n for n in Weighed.model_fields if n.startswith(("weight_", "probe_"))) | {
    "tawt_rule",
    "combine",
}


class TAWT(Weighed):
    """Parameters of a weighted training of one primary, watched: the weights, what they follow, and what they cost.

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
        """Return the parameters that the result depends on: `tune_steps` only where training is by steps."""
        params = super().key_params()
        return params if self.steps else {k: v for k, v in params.items() if k != "tune_steps"}


class WeighedArm(Weighed):
    """Parameters of a weighted arm: all the pool's rows, or as "td_bce+tawt_joint" those that another arm chooses.

    The ways to weigh are the keys of `WEIGHINGS`. With "td_bce+tawt_scored" the sources start at weights in proportion
    to exp(mean score of their rows / `score_temperature`), the score being log-odds of a ranking or GradTS's tau; with
    "td_bce+tawt_deciles" each source is cut by score into `score_buckets` parts (fewer where it is small) with weights
    of their own, which needs `combine` mixed. "power" and "given" start at n ** `prior_power` (0 is joint, -1
    normalised) and at the weights of `prior_given`, NAME=WEIGHT of the primary and every source.
    """

    score_buckets: int = Field(10, ge=2)
    score_temperature: float = Field(1.0, gt=0)
    prior_power: float = Field(-0.5, ge=-4, le=4)
    prior_given: list[str] = []

    def told_weights(self) -> dict[str, float]:
        """Return `prior_given` by task.

        Raises:
            ValueError: An entry is not NAME=WEIGHT with a weight of 0 or above.
        """
        weights: dict[str, float] = {}
        for entry in self.prior_given:
            name, _, value = entry.rpartition("=")
            try:
                weights[name] = float(value)
            except ValueError:
                weights[name] = -1.0
            if not name or not 0 <= weights[name] < float("inf"):
                raise ValueError(f"prior_given: {entry!r} is not NAME=WEIGHT with a weight of 0 or above")
        return weights
