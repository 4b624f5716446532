"""The parameters that every arm of 06 has: its name, its size, its seeds, how it is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from auxlearn.training.shared_parameters import Budget, Seeds


class ArmParameters(Budget):
    """Parameters of one (primary, arm, n), over `seeds`.

    Three settings do as the FastMTL code does: `choose` dev; `seed_policy` fixed (84 for stage 2 and 42 for tuning
    whatever the seed, so that seeds vary the selection alone); and `regression` raw. `all_data_recipe` mtdnn trains the
    all-data arm as MT-DNN does: Adamax at `mtdnn_lr` with warm-up.
    """

    seeds: Seeds = [0, 1]
    arm: str = "td_bce"
    n: int = Field(200, ge=1)
    single_epochs: int = Field(5, ge=1)
    seed_policy: Literal["separate", "fixed"] = "separate"
    all_data_recipe: Literal["same", "mtdnn"] = "same"
    mtdnn_lr: float = Field(5e-5, gt=0)
    keep_model: bool = False
