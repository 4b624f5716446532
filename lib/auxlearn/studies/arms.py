"""The parameters of the notebook that trains arms (06): what all arms share, and options by method."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import AfterValidator, model_validator

from auxlearn.methods import option_tables, registry
from auxlearn.methods.arm_parameters import ArmParameters
from auxlearn.methods.base import Cell, Method, Need, Options, WeightPolicy


def _arm(value: str) -> str:
    registry.parse(value)
    return value


Arm = Annotated[str, AfterValidator(_arm)]


class MTL(ArmParameters):
    """Parameters of 06: one (primary, arm, n), trained once per seed of `seeds`.

    The first value of each switch is the corrected one.
    """

    stage = "06_mtl"

    arm: Arm = "td_bce"
    """METHOD, or METHOD+POLICY, or POLICY for all rows weighed (`auxlearn methods` lists them)"""
    methods: option_tables.Tables = {}
    """options by method or family, such as {gradts_trial: {trial_most: 4}}"""

    @model_validator(mode="after")
    def _options_fit(self) -> Self:
        registry.check_tables(self.methods)
        for each in registry.parse(self.arm):
            if each is not None:
                each.check(Cell(self, self.seeds[0]), self.options(each))
        return self

    @property
    def method(self) -> Method:
        """The method whose rows are trained."""
        return registry.parse(self.arm)[0]

    @property
    def policy(self) -> WeightPolicy | None:
        """What weighs the rows' tasks; None for an arm without weights."""
        return registry.parse(self.arm)[1]

    def options(self, item: Method | WeightPolicy) -> Options:
        """Return the options of the arm's method or policy."""
        return registry.options(item, self.methods)

    @property
    def needs_pool(self) -> bool:
        """Whether n rows are drawn from the pool."""
        return self.method.adds_rows and self.method.uses_n

    def key_params(self) -> dict[str, Any]:
        """Return what the result depends on, with the whole options of method and policy, and of whom they follow."""
        p, method, items = super().key_params(), self.method, [x for x in (self.method, self.policy) if x is not None]
        items += map(registry.get, method.followed(self.options(method)))
        length = ["steps"]
        if not self.steps and method.name != "single":
            length = ["stage2_epochs", "tune_epochs"]
        elif self.steps and self.arm != "single":
            length = ["steps", "tune_steps"]
        searches = any(item.searches(self.options(item)) for item in items)
        conditional = {
            "n": method.uses_n, "auxiliaries": method.adds_rows or method.counts_pool, "mixing": method.adds_rows,
            "holdout": self.choose == "holdout" or searches,
            "looks": self.choose != "last" or searches,
        } | {name: name in length for name in ("steps", "tune_steps", "stage2_epochs", "tune_epochs")}  # fmt: skip
        used = {name: value for name, value in p.items() if conditional.get(name, True)}
        return used | {"methods": {item.name: self.options(item).keyed() for item in items}}

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the runs that the arm reads, as (stage, parameters that they must agree in), seed by seed.

        An artifact that no notebook shows is made by the arm itself, and all that decides it is in the arm's key.
        """
        return [
            (stage, self.shared() | dict(need.parameters) | {"seed": seed})
            for seed in self.seeds for need in self._artifacts(Cell(self, seed))
            if (stage := registry.maker(need.artifact).Parameters.stage)
        ]  # fmt: skip

    def code_roots(self) -> tuple[str, ...]:
        """Name the code that the arm's result depends on: its method's, its policy's, and that of what they need."""
        followed = map(registry.get, self.method.followed(self.options(self.method)))
        roots = {registry.root(item) for item in (self.method, self.policy, *followed) if item is not None}
        for item in (self.method, self.policy):
            for need in item.needs(Cell(self, self.seeds[0]), self.options(item)) if item is not None else ():
                roots |= self._roots_of(need)
        return tuple(sorted(roots))

    def _roots_of(self, need: Need) -> set[str]:
        if not need.artifact.startswith("selection:"):
            return {registry.root(registry.maker(need.artifact))}
        method = registry.get(need.artifact.removeprefix("selection:"))
        inner = method.needs(Cell(self, self.seeds[0]), self.options(method))
        return {registry.root(method)}.union(*(self._roots_of(each) for each in inner))

    def _artifacts(self, cell: Cell) -> list[Need]:
        items: list[Method | WeightPolicy] = [self.method, *([self.policy] if self.policy else [])]
        return [each for item in items for need in item.needs(cell, self.options(item))
                for each in self._upstream(cell, need)]  # fmt: skip

    def _upstream(self, cell: Cell, need: Need) -> list[Need]:
        """Replace the need of another method's selection by what that method needs."""
        if not need.artifact.startswith("selection:"):
            return [need]
        method = registry.get(need.artifact.removeprefix("selection:"))
        return [each for inner in method.needs(cell, self.options(method)) for each in self._upstream(cell, inner)]
