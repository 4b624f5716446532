"""How a call trains where it is not told: as `params/studies/quickstart.yaml` and `params/starter.yaml` do.

The tiny encoder is not pre-trained, and so needs other learning rates and more epochs than any that is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Recipe:
    """Parameters by notebook and options by method, in the words of a study file."""

    notebooks: dict[str, dict[str, Any]]
    methods: dict[str, dict[str, Any]]


TINY = Recipe(
    {
        "02_td_proxy": {"proxy_rows": 200, "watch_rows": 100, "epochs": 6, "lr": 0.001},
        "04_gradts_correlation": {"tune_rows": 0, "importance_rows": 0, "epochs": 6, "lr": 0.001},
        "05_tawt_weighting": {"stage2_epochs": 10, "tune_epochs": 4, "holdout": 0.2, "lr": 0.0007, "steps": 0},
        "06_mtl": {"stage2_epochs": 10, "tune_epochs": 4, "holdout": 0.2, "lr": 0.0007},
    },
    {"single": {"epochs": 14}},
)
PRETRAINED = Recipe(
    {
        "02_td_proxy": {"proxy_rows": 200, "watch_rows": 50, "epochs": 4, "lr": 0.0002},
        "04_gradts_correlation": {"tune_rows": 1000, "importance_rows": 1000, "epochs": 3, "lr": 0.0002},
        "05_tawt_weighting": {"stage2_epochs": 2, "tune_epochs": 3, "holdout": 0.1, "lr": 0.0002, "steps": 0},
        "06_mtl": {"stage2_epochs": 2, "tune_epochs": 3, "lr": 0.0002},
    },
    {"single": {"epochs": 5}},
)


def of(encoder: str) -> Recipe:
    """Return the recipe for an encoder.

    Args:
        encoder: Its name, perhaps with a number of layers ("tiny:2").
    """
    return TINY if encoder.partition(":")[0] == "tiny" else PRETRAINED
