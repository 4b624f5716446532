"""The parameters of the notebook that judges choices of rows and tasks where the truth is known (08)."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from auxlearn.errors import meant
from auxlearn.methods import option_tables, registry
from auxlearn.methods.base import Cell, Method
from auxlearn.studies.arms import MTL
from auxlearn.training.shared_parameters import Budget, Seeds


class Validity(Budget):
    """Parameters of 08: what methods choose for one (primary, n), over `seeds`, against a known truth."""

    stage = "08_validity"
    later = {"deciles": []}

    seeds: Seeds = [0, 1]
    """each chooses by proxies of its own"""
    n: int = Field(200, ge=1)
    """rows that are chosen"""
    selectors: list[str] = ["random", "td_bce", "td_ce", "gradts_top"]
    """methods that are judged ([]: every one that is registered and chooses rows or tasks, but see `trials`)"""
    trials: bool = False
    """judge methods that train in order to choose too, where `selectors` is []"""
    oracle: list[str] = []
    """auxiliaries, or sets of them as A+B, whose runs of the arm only tell what each is worth ([]: none is known)"""
    deciles: list[str] = []
    """methods whose ranking was trained tenth by tenth (the arm decile), which is then shown"""
    level: float = Field(0.95, gt=0.5, lt=1)
    """confidence level of the intervals"""
    methods: option_tables.Tables = {}
    """options by method or family, as in 06"""

    @model_validator(mode="after")
    def _chosen_from(self) -> Self:
        registry.check_tables(self.methods)
        known = [name for name in registry.names() if chooses(name)]
        if unknown := [name for name in self.selectors if name not in known]:
            near = meant(unknown[0], known)
            raise ValueError(f"selectors: {unknown[0]!r} is no method that chooses{near}; there are {', '.join(known)}")
        if len(set(self.selectors)) < len(self.selectors):
            raise ValueError(f"selectors: {self.selectors} names one twice")
        sets = {frozenset(name.split("+")) for name in self.oracle}
        if len(self.oracle) == 1 or len(sets) < len(self.oracle):
            raise ValueError(f"oracle: {self.oracle}: name two auxiliaries, or sets of them, or more, each once")
        for name in self.deciles:
            self._decile(name, 1)
        for arm in self.arms:
            arm.method.check(Cell(arm, self.seeds[0]), arm.options(arm.method))
        return self

    @property
    def arms(self) -> list[MTL]:
        """The parameters of the arm of each method that is judged."""
        names = self.selectors or [name for name in registry.names() if chooses(name) and self._asked(name)]
        shared = {name: getattr(self, name) for name in MTL.model_fields if name in type(self).model_fields}
        return [MTL.model_validate(shared | {"arm": name, "inputs": []}) for name in names]

    def _asked(self, name: str) -> bool:
        """Tell whether a method that no one named is judged; options of one that is not are not looked at."""
        method = registry.get(name)
        return self.trials or not method.searches(registry.options(method, self.methods))

    @property
    def needs_pool(self) -> bool:
        """Whether n rows are drawn from the pool."""
        return True

    def key_params(self) -> dict[str, Any]:
        """Return the parameters that the board depends on, with the name and the whole options of each method."""
        p = {name: value for name, value in super().key_params().items() if name not in ("selectors", "trials")}
        return p | {"methods": {name: own for arm in self.arms for name, own in arm.key_params()["methods"].items()}}

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the runs that its methods read, and those of the oracle, as (stage, parameters to agree in)."""
        wanted = self.shared("primary", "auxiliaries", "seeds")
        oracle = [("only", self.n, {"only": {"task": name}}) for name in self.oracle]
        deciles = [("decile", self.n, self._decile(name, part)) for name in self.deciles for part in range(1, 11)]
        read = [("06_mtl", wanted | {"arm": arm, "n": n, "methods": own}) for arm, n, own in (*oracle, *deciles)]
        return [*(need for arm in self.arms for need in arm.needs()), *read]

    def _decile(self, of: str, part: int) -> dict[str, Any]:
        """Return the options of the arm of one tenth, as its key holds them; `MTL` refuses a method that ranks none."""
        own = {"decile": {"of": of, "part": part, "parts": 10}}
        arm = MTL.model_validate({"arm": "decile", "methods": {**self.methods, **own}})
        return arm.key_params()["methods"]

    def code_roots(self) -> tuple[str, ...]:
        """Name the code that the choices depend on."""
        return tuple(sorted({root for arm in self.arms for root in arm.code_roots()}))


def chooses(name: str) -> bool:
    """Tell whether a method has a choice of its own to be judged: not a control of another's, nor one that is told."""
    method = registry.get(name)
    assert isinstance(method, Method), "a policy chooses no rows"
    return method.adds_rows and method.level != "none" and not method.follows
