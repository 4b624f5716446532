"""The parameters that every arm of 06 has: its name, its size, its seeds, how it is trained."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from auxlearn.training.shared_parameters import Budget, Seeds


class ArmParameters(Budget):
    """Parameters of one (primary, arm, n), over `seeds`."""

    seeds: Seeds = [0, 1]
    """each a training of its own; seeds pair the arms"""
    arm: str = "td_bce"
    """METHOD, or METHOD+POLICY, or POLICY for all rows weighed (`auxlearn methods` lists them)"""
    n: int = Field(200, ge=1)
    """auxiliary rows that are added"""
    seed_policy: Literal["separate", "fixed"] = "separate"
    """fixed trains with seeds 84 and 42 whatever the seed, as the FastMTL code does: seeds vary the selection alone"""
    keep_model: bool = False
    """keep the trained model"""
