"""One strict model of parameters per notebook.

A notebook's `parameters` cell holds the smoke defaults, equal to the model's (a test checks it). Its next cell hands
its globals to `check`, which refuses unknown names and mistyped values: papermill only warns of the first, and injects
`1e-3` as text and `no` as False (YAML 1.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Any, Self

from pydantic import Field, ValidationError, model_validator

from auxlearn.errors import InputError, explain
from auxlearn.methods.fastmtl.options import Ranking, TDProxy
from auxlearn.methods.gradts.options import GradTS
from auxlearn.methods.tawt.options import TAWT
from auxlearn.studies.arms import MTL, RULES, Arm, depends_on_n
from auxlearn.training.shared_parameters import Common, Seeds, Trained

__all__ = [
    "MODELS",
    "MTL",
    "RULES",
    "TAWT",
    "Common",
    "DataPrep",
    "Efficiency",
    "GradTS",
    "Ranking",
    "TDProxy",
    "Trained",
    "check",
    "validate",
]  # fmt: skip
# What IPython itself leaves in a notebook's globals.
_IPYTHON = {"In", "Out", "exit", "quit", "open", "get_ipython"}


class DataPrep(Common):
    """Parameters of 01, whose result does not depend on the primary."""

    stage = "01_data_prep"
    not_in_key = Common.not_in_key | {"primary", "auxiliaries"}


class Efficiency(Common):
    """Parameters of 07: compares `arms` at `n` for one primary.

    `curve` adds other n, at which the arms that depend on n are read. `left_out` names the parts of the curve that were
    not run, each as "ARM N". `sentence_test` adds the TAWT authors' test, over the dev sentences of one pair of models
    per seed.
    """

    stage = "07_efficiency"

    seeds: Seeds = [0, 1]
    arms: list[Arm] = Field(["single", "random", "td_bce"], min_length=2)
    n: int = Field(200, ge=1)
    curve: list[int] = []
    left_out: list[str] = []
    level: float = Field(0.95, gt=0.5, lt=1)
    sentence_test: bool = False

    @model_validator(mode="after")
    def _baseline(self) -> Self:
        if self.arms[0] != "single" or len(set(self.arms)) != len(self.arms):
            raise ValueError(f"arms: {self.arms} must be distinct and begin with 'single', the baseline of all others")
        possible = [f"{arm} {n}" for arm in self.arms for n in self.curve if n != self.n]
        if unknown := [entry for entry in self.left_out if entry not in possible]:
            raise ValueError(f"left_out: {unknown[0]!r} is not ARM N of another n of the curve")
        return self

    @property
    def sized(self) -> bool:
        """Whether any of the arms depends on `n`."""
        return any(depends_on_n(arm) for arm in self.arms)

    def key_params(self) -> dict[str, Any]:
        """Return the parameters that the comparison depends on, without `n` and the curve if no arm depends on them."""
        unused = set() if self.sized else {"n", "curve", "left_out"}
        return {k: v for k, v in super().key_params().items() if k not in unused}

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the 06 runs that are compared, as (stage, parameters that they must agree in)."""
        wanted = self._shared("primary", "auxiliaries", "seeds")
        cells = [(arm, self.n) for arm in self.arms]
        cells += [(arm, n) for n in self.curve if n != self.n for arm in self.arms if depends_on_n(arm)]
        cells = [(arm, n) for arm, n in cells if f"{arm} {n}" not in self.left_out]
        return [("06_mtl", wanted | {"arm": arm, "n": n}) for arm, n in cells]


MODELS: dict[str, type[Common]] = {m.stage: m for m in (DataPrep, TDProxy, Ranking, GradTS, TAWT, MTL, Efficiency)}


def validate(stage: str, given: Mapping[str, Any]) -> Any:
    """Validate a stage's parameters.

    Args:
        stage: The notebook, such as `06_mtl`.
        given: Plain values by name.

    Returns:
        The stage's model, an instance of `MODELS[stage]`.

    Raises:
        InputError: One for all unknown, mistyped or impossible values, naming each.
    """
    model = MODELS[stage]
    unknown = [name for name in given if name not in model.model_fields]
    if unknown:
        raise InputError(
            f"{stage}: unknown parameter {', '.join(map(repr, unknown))}; it has {', '.join(model.model_fields)}"
        )
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise InputError(f"{stage}: {explain(error)}") from None


def check(stage: str, namespace: Mapping[str, Any]) -> Any:
    """Read a notebook's parameters from its globals; every name that a person or papermill put there must be known.

    Args:
        stage: The notebook, such as `06_mtl`.
        namespace: The notebook's `globals()`.

    Returns:
        The stage's model, an instance of `MODELS[stage]`.

    Raises:
        InputError: If an import hides a parameter, or as from `validate`.
    """
    hidden = [n for n, v in namespace.items() if n in MODELS[stage].model_fields and isinstance(v, ModuleType)]
    if hidden:
        raise InputError(f"{stage}: the import of {hidden[0]!r} hides the parameter of that name; import it otherwise")
    given = {
        name: value for name, value in namespace.items()
        if not name.startswith("_") and name not in _IPYTHON
        and not isinstance(value, (ModuleType, FunctionType, type))
    }  # fmt: skip
    return validate(stage, given)
