"""The parameters of weighted training (05), and the options that it shares with 06's weight policies."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from auxlearn.methods import option_tables, registry
from auxlearn.methods.base import Options
from auxlearn.training.shared_parameters import Budget, Seeds, Trained, distinct

Paradigm = Literal["joint", "normalised", "pretrain"]


class WeightOptions(Options):
    """Options of every weight policy (see `phases.Weighting`, `task_weights`, `target_gradients`).

    Measured weights follow the gradient of the primary's rows that are held out, and so need `choose` holdout, unless
    `probe_target` or the authors' rule takes the rows that it is trained on. All updates in force together weigh
    `weight_total` (the authors' 3).
    """

    tawt_rule: Literal["corrected", "paper"] = "corrected"
    """paper is the authors' code: 64 training sentences per task, the whole encoder, the target against itself exactly
    1, losses scaled and then clipped, eta 1 once per epoch; it overrides all below but weight_c"""
    weight_every: int = Field(0, ge=0)
    """optimiser steps between updates of the weights (0: once per epoch)"""
    weight_total: float = Field(3.0, gt=0)
    """what all updates in force together weigh: the sum of their step sizes"""
    weight_c: float = Field(1.0, gt=0)
    """factor of the hypergradient"""
    weight_floor: float = Field(0.0, ge=0, lt=1)
    """share of all weight that is spread evenly over the tasks"""
    weight_decay: float = Field(0.0, ge=0, lt=1)
    """how fast log weights return to where they started"""
    weight_tau: float = Field(0.1, ge=0)
    """spread that true cosines are taken to have: measured ones are shrunk by their standard error, so that noise moves
    no weight (0: not at all)"""
    combine: Literal["mixed", "scaled", "scaled_then_clipped", "sampled"] = "mixed"
    """how weights act: on parts of mixed batches, on losses of task-pure ones, or by sampling tasks"""
    probe_rows: int = Field(32, ge=1)
    """rows per chunk that gradients are measured on"""
    probe_chunks: int = Field(2, ge=2)
    """disjoint chunks per task, between which noise is told from signal"""
    probe_parameters: Literal["shared", "encoder", "last_layer"] = "shared"
    """whose gradient is measured"""
    probe_estimator: Literal["exact", "reused"] = "exact"
    """measure gradients of their own, or reuse those of training"""
    probe_target: Literal["holdout", "train"] = "holdout"
    """whose gradient the target's is: of the primary's rows held out or, as in the authors' code, of those trained on,
    whose loss falls as they are fitted"""


class PowerOptions(WeightOptions):
    """Options of policies that start at n ** prior_power (0 is joint, -1 normalised)."""

    prior_power: float = Field(-0.5, ge=-4, le=4)
    """the power of a task's rows"""


class GivenOptions(WeightOptions):
    """Options of policies that start at given weights."""

    prior_given: list[str] = []
    """NAME=WEIGHT of the primary and every source"""

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


class ScoredOptions(WeightOptions):
    """Options of policies whose sources start in proportion to exp(mean score of their rows / temperature)."""

    score_temperature: float = Field(1.0, gt=0)
    """the higher, the more even the weights; scores are log-odds of a ranking, or GradTS's tau"""


class DecileOptions(WeightOptions):
    """Options of policies that cut each source by score into parts with weights of their own."""

    score_buckets: int = Field(10, ge=2)
    """parts per source; fewer where it is small"""


class TAWT(Budget):
    """Parameters of a weighted training of one primary, watched: the weights, what they follow, and what they cost.

    The training is the one that 06's arm tawt_<paradigm> reads.
    """

    stage = "05_tawt_weighting"
    not_in_key = Trained.not_in_key | {"mixing", "others"}

    steps: int = Field(48, ge=0)
    """optimiser steps (0: train by epochs)"""
    holdout: float = Field(0.3, gt=0, lt=0.9)
    """share of the primary's rows that is held out"""
    seeds: Seeds = [0, 1]
    """each a training of its own"""
    paradigm: Paradigm = "joint"
    """joint, normalised (joint with weights 1/n) or pretrain (sources first, then the primary alone)"""
    compare_probes: bool = True
    """train anew, for the first seed, under four ways to measure cosines"""
    methods: option_tables.Tables = {"tawt": {"weight_every": 12}}
    """options by method or family, as in 06"""
    others: Annotated[list[str], AfterValidator(distinct)] = []
    """policies whose weights are shown beside TAWT's, each a training, such as uncertainty or famo; enters no key"""

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        registry.check_tables(self.methods)
        return self

    @property
    def policy(self) -> str:
        """The policy that weighs the training."""
        return f"tawt_{self.paradigm}"

    def options(self) -> WeightOptions:
        """Return the policy's options."""
        return option_tables.read(WeightOptions, self.methods, "tawt", self.policy)

    def key_params(self) -> dict[str, Any]:
        """Return the parameters that the result depends on: `tune_steps` only where training is by steps."""
        params = super().key_params() | {"methods": {self.policy: self.options().keyed()}}
        return params if self.steps else {k: v for k, v in params.items() if k != "tune_steps"}
