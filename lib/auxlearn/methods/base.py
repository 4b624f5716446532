"""What a method is: one object that says what it needs, what it chooses, how that is trained and what it will cost.

A *row method* or *task method* (`Method`) chooses auxiliary rows; a *weight policy* (`WeightPolicy`) weighs the tasks
of the rows that a method has chosen; a *maker* makes an artifact that several methods read (proxy, ranking,
importance). All three are registered by name in `methods.registry`, and a `methods.context.Context` gives them data,
what they need and trainings, each made once and charged to the method that asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict

from auxlearn.cost import Ledger
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import arm_plans, weighted_plans
from auxlearn.methods.arm_parameters import ArmParameters
from auxlearn.records.manifests import Manifest
from auxlearn.training import key_forms, mixing
from auxlearn.training.phases import Phase, Plan, Weighting
from auxlearn.training.shared_parameters import Common

if TYPE_CHECKING:
    import pandas as pd

    from auxlearn.training.training_cache import Training

Level = Literal["none", "rows", "tasks"]


class Options(BaseModel):
    """A method's own parameters; the docstring below a field says what it means.

    Of fields that came later, `later` has the value that a key leaves out, so that runs from before keep their keys.
    """

    later: ClassVar[Mapping[str, Any]] = {}

    model_config = ConfigDict(
        extra="forbid", strict=True, validate_default=True, allow_inf_nan=False, frozen=True,
        use_attribute_docstrings=True,
    )  # fmt: skip

    def keyed(self) -> dict[str, Any]:
        """Return the options as keys hold them."""
        return key_forms.without_later(self.model_dump(), self.later)


@dataclass(frozen=True)
class Cell:
    """What is asked of a method, with no data in it: parameters shared by all arms, and one seed.

    Attributes:
        params: The shared parameters; `params.arm` is the name that was asked for.
        seed: The seed.
    """

    params: ArmParameters
    seed: int

    @property
    def primary(self) -> str:
        """The primary task."""
        return self.params.primary

    @property
    def n(self) -> int:
        """The number of auxiliary rows."""
        return self.params.n


@dataclass(frozen=True)
class Need:
    """An artifact that a method reads.

    Attributes:
        artifact: The name of its maker.
        parameters: What its parameters must agree in; the rest is as the study, or the maker's defaults, have it. Of
            another method's selection, what is other than in the cell that asks, such as n.
        charged: Whether it is made for the method, which then pays for it. Of one that is not charged, only how it is
            made is asked (`Context.candidates`).
    """

    artifact: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    charged: bool = True


@dataclass
class Artifact:
    """An artifact of one seed, what it cost, and the trainings and passes that it was made of."""

    value: Any
    ledgers: list[Ledger] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)


@dataclass
class Selection:
    """The auxiliary rows of one method and seed, and why they were chosen."""

    rows: pd.DataFrame | None = None  # task, row, row_id (score and rank where rated); None where nothing is added
    tasks: tuple[str, ...] = ()
    shares: dict[str, int] | None = None  # of stage 2's steps, where they are not by size
    style: mixing.Style = "interleaved"  # the order that shares are trained in
    why: dict[str, dict[str, float]] = field(default_factory=dict)  # figures by task, such as "taus"
    visited: list[tuple[Any, float]] = field(default_factory=list)  # sets of tasks, or ratios, and held-out scores

    def scored(self) -> pd.DataFrame:
        """Return the rows with a column score: their own, their tau, or the tau of their task.

        Raises:
            InputError: Neither the rows nor their tasks have a score.
        """
        assert self.rows is not None, "asked only of an arm that adds rows"
        for column in ("score", "tau"):
            if column in self.rows:
                return self.rows.assign(score=self.rows[column])
        if "taus" not in self.why:
            raise InputError("scores: these rows were not chosen by any; weigh the rows of a ranking or of GradTS")
        return self.rows.assign(score=self.rows["task"].map(self.why["taus"]))

    def as_dict(self) -> dict[str, Any]:
        """Return what a run's record holds: why these rows, and what was tried with its scores; {} if nothing was."""
        if not self.why:
            return {}
        visited = [[list(what), float(score)] for what, score in self.visited]
        shares = {} if self.shares is None else {"shares": self.shares}
        why = {what: {task: _plain(value) for task, value in by.items()} for what, by in self.why.items()}
        return {"tasks": list(self.tasks), "visited": visited} | why | shares


def _plain(value: Any) -> Any:
    """Return NumPy's numbers as Python's, which a record can hold."""
    return value.item() if isinstance(value, np.generic) else value


@dataclass(frozen=True)
class Charge:
    """A training, a part of one or a pass that a cell will run.

    Attributes:
        unit: What tells it from others; cells with the same unit share it.
        stage: The stage that its ledger is charged to.
        expected: FLOP to expect.
        most: FLOP that it cannot exceed.
        spared: What both leave out because the arm's own training, charged as such, is one of these.
    """

    unit: str
    stage: str
    expected: float
    most: float
    spared: tuple[float, float] = (0.0, 0.0)

    def shared_with(self, other: Charge) -> Charge:
        """Return what both cost together that have this unit: the larger of them, and what either spares once."""
        spared = max(self.spared, other.spared)
        whole = [(each.expected + each.spared[0], each.most + each.spared[1]) for each in (self, other)]
        expected, most = (max(values) - less for values, less in zip(zip(*whole, strict=True), spared, strict=True))
        return replace(self, expected=expected, most=most, spared=spared)


class Search(NamedTuple):
    """Trainings by which a method chooses, all of about the same cost.

    Attributes:
        stage: The stage that they are charged to.
        plan: Such a training.
        expected: How many to expect.
        most: How many there are at most.
        by: What options decide which trainings they are; searches that differ in it share none.
        last: Whether the arm's own training is one of them, where it is planned and judged alike.
    """

    stage: str
    plan: Plan
    expected: float
    most: float
    by: Any = None
    last: bool = True


class Context(Protocol):
    """What methods, policies and makers may ask for (`methods.context.Context` answers)."""

    suite: Suite
    seed: int
    params: Any
    progress: Callable[[str], None] | None

    @property
    def auxiliaries(self) -> list[str]:
        """Names of the auxiliary tasks, in the suite's order."""

    def usable(self, target: str | None) -> dict[str, np.ndarray]:
        """Return by task a mask over its training rows, bool [rows]: those that do not leak into the target."""

    def pool(self) -> pd.DataFrame:
        """List the usable training rows of the auxiliaries: task, row, row_id."""

    def whole_pool(self) -> tuple[pd.DataFrame, np.ndarray]:
        """List all training rows of the auxiliaries, and mark the usable ones: bool [N]."""

    def candidates(self, of: str) -> tuple[pd.DataFrame, np.ndarray]:
        """List all training rows of the auxiliaries, and mark those that a method may choose: bool [N]."""

    def rng(self, *purpose: str) -> np.random.Generator:
        """Return a generator of the seed's own for a purpose."""

    def obtain(self, need: Need) -> Any:
        """Return an artifact, made or read back, and charge its cost."""

    def make(self, need: Need) -> Artifact:
        """Return an artifact without charging it: for makers, which pass its cost on."""

    def parameters(self, need: Need) -> Any:
        """Return the parameters that an artifact is made with."""

    def train(self, plan: Plan, stage: str) -> Training:
        """Train a plan in order to choose, or read it back, and charge it."""

    def trial(
        self, rows: pd.DataFrame | None, shares: Mapping[str, int] | None = None, style: mixing.Style = "interleaved"
    ) -> tuple[float, float]:
        """Train rows as an arm would; return the primary's best and last score on held-out rows."""

    def trial_plan(
        self, rows: pd.DataFrame | None, shares: Mapping[str, int] | None = None, style: mixing.Style = "interleaved"
    ) -> Plan:
        """Plan a trial."""


class SizedContext(Context, Protocol):
    """What forecasts may ask for besides (`methods.forecasting.SizedContext` answers): sizes stand for rows."""

    def mixed(self, n: int) -> pd.DataFrame:
        """Return n rows of the auxiliaries, mixed as the pool is."""

    def needs(self, needs: Iterable[Need]) -> list[Charge]:
        """Forecast what artifacts cost the method that needs them."""

    def trained(self, plan: Plan, stage: str = "") -> list[Charge]:
        """Forecast a training, charged to a stage, or to those of its own ledgers."""

    def passed(
        self, plan: Plan, rows: Mapping[str, np.ndarray], stage: str, reads: Sequence[str] = (),
        targets: Mapping[str, np.ndarray] | None = None,
    ) -> Charge:  # fmt: skip
        """Forecast a pass over rows of some tasks by a plan's model."""

    def measured(self, plan: Plan, name: str, rows: np.ndarray, dropout: bool = False) -> Charge:
        """Forecast the head importance of some rows of a task."""

    def in_batches(
        self, plan: Plan, name: str, rows: np.ndarray, size: int, stage: str, backward: bool = True, times: int = 1
    ) -> Charge:
        """Forecast passes over rows of a task, so many at a time, that no optimiser step follows."""


class Method:
    """A row method or task method; subclasses set the attributes and override `select`.

    Attributes:
        name: The name that it is registered under.
        family: A name under which options are given to several methods at once; "" for none.
        title: What it adds, in a line.
        reference: Where it is from.
        formula, cost, use: For its page: the score or rule, what it runs beyond its own training, when to use it.
        level: What it chooses: rows, tasks, or nothing ("none": it adds no rows, or all).
        scores: What has a score of its own once it has chosen: each row, each task, or neither.
        uses_n: Whether another n gives another training.
        adds_rows: Whether it adds auxiliary rows.
        follows: Whether it chooses what it is told: as another method has chosen, or the task of an option.
        counts_pool: Whether its training depends on which auxiliaries there are though it adds none of their rows.
        contrasts: Methods that it is compared with where both were run.
        Options: Its own parameters.
    """

    name: str = ""
    family: str = ""
    title: str = ""
    reference: str = ""
    formula: str = ""
    cost: str = ""
    use: str = ""
    level: Level = "rows"
    scores: Literal["rows", "tasks"] | None = None
    uses_n: bool = True
    adds_rows: bool = True
    follows: bool = False
    counts_pool: bool = False
    contrasts: Sequence[str] = ()
    Options: type[Options] = Options
    settled: Mapping[str, Any] = {}

    def searches(self, options: Any) -> bool:
        """Say whether the method trains in order to choose; rows are then held out whatever `choose` says."""
        return False

    def ranks(self, options: Any) -> bool:
        """Say whether all rows, where all are asked for, come in the order of the method's own scores."""
        return True

    def nested(self, options: Any) -> bool:
        """Say whether the rows that are chosen of few are the first of those that are chosen of more."""
        return self.ranks(options)

    def check(self, cell: Cell, options: Any) -> None:
        """Refuse options that do not go with the cell or with one another.

        Raises:
            ValueError: They do not.
        """

    def check_auxiliaries(self, names: Sequence[str], options: Any) -> None:
        """Refuse options that do not go with the auxiliaries there are, before anything runs.

        Raises:
            InputError: They do not.
        """

    def needs(self, cell: Cell, options: Any) -> list[Need]:
        """List the artifacts that the method reads."""
        return []

    def followed(self, options: Any) -> list[str]:
        """Name other methods whose options decide what this one chooses, so that keys hold these too."""
        return []

    def select(self, context: Context, cell: Cell, options: Any) -> Selection:
        """Choose the auxiliary rows.

        Args:
            context: Data, artifacts and trainings.
            cell: What is asked.
            options: An instance of `Options`.

        Returns:
            The selection.
        """
        raise NotImplementedError(f"{type(self).__name__} has no select, which chooses its rows")

    def plan(self, context: Context, cell: Cell, selection: Selection, options: Any) -> Plan:
        """Plan the training of what was chosen: by default stage 2 over primary and chosen rows, then fine-tuning."""
        return arm_plans.two_stages(
            cell.params, context.suite, cell.seed, selection.rows, context.usable(cell.primary)[cell.primary],
            selection.shares, selection.style,
        )  # fmt: skip

    def expected(self, context: SizedContext, cell: Cell, options: Any) -> Selection:
        """Return a selection such as this method may make, for a forecast: by default n rows mixed as the pool is."""
        return Selection(context.mixed(cell.n)) if self.adds_rows else Selection()

    def forecast_search(self, context: SizedContext, cell: Cell, options: Any) -> list[Search]:
        """List the trainings by which the method chooses."""
        return []


class WeightPolicy:
    """Weights of the tasks that a method's rows are of; subclasses override `prior`, `move`, or `plan` as a whole.

    Attributes:
        name: The name that it is registered under; "METHOD+NAME" weighs that method's rows, NAME alone all rows.
        family, title, reference, formula, cost, use, Options, settled: As of a `Method`.
        by: What it reads of the rows: "rows" wants a score for each, "tasks" one for each or for its task.
        moves: Whether `move` is called, once per epoch or every `every` steps.
        follows: Whether `follow` is called then, with the tasks' losses, in place of `move`.
        again: Whether `follow` is told the losses of the last batch after its step too, for one more forward pass.
        aggregates: Whether the tasks' gradients are taken one by one, and `aggregator` makes one of them, while weights
            stay as they start; with `follows` it is their mean by the weights in force.
        norms: Whether `follow` is told the length of each task's gradient; needs `follows` and `aggregates`.
        measures: Whether `move` is told the cosines between the tasks' gradients and the primary's.
        every: Optimiser steps between moves; 0 moves once per epoch.
        sources: How many auxiliary tasks it needs at least.
        contrasts: Policies over the same rows that it is compared with; "" is the same rows without weights.
    """

    name: str = ""
    family: str = ""
    title: str = ""
    reference: str = ""
    formula: str = ""
    cost: str = ""
    use: str = ""
    by: Literal["rows", "tasks"] | None = None
    moves: bool = False
    follows: bool = False
    again: bool = False
    aggregates: bool = False
    norms: bool = False
    measures: bool = False
    every: int = 0
    sources: int = 1
    contrasts: Sequence[str] = ()
    Options: type[Options] = Options
    settled: Mapping[str, Any] = {}

    def check(self, cell: Cell, options: Any) -> None:
        """Refuse options that do not go with the cell.

        Raises:
            ValueError: They do not.
        """

    def needs(self, cell: Cell, options: Any) -> list[Need]:
        """List the artifacts that the policy reads."""
        return []

    def prior(self, context: Context, cell: Cell, sizes: Mapping[str, int], options: Any) -> Mapping[str, float]:
        """Return the weights that training starts with, by task; their scale does not matter. By default all alike."""
        return dict.fromkeys(sizes, 1.0)

    def move(
        self, names: Sequence[str], weights: np.ndarray, cosines: np.ndarray | None, step: int, options: Any
    ) -> np.ndarray:
        """Return the next weights.

        Args:
            names: The weighted tasks, K of them.
            weights: The weights in force, float64 [K], sum 1.
            cosines: Of each task's gradient with the primary's, float64 [K], NaN where unknown; None if not measured.
            step: Optimiser steps done so far.
            options: An instance of `Options`.

        Returns:
            float64 [K], none negative; their scale does not matter.
        """
        return weights

    def follow(
        self, names: Sequence[str], weights: np.ndarray, losses: np.ndarray, more: np.ndarray | None,
        memory: dict[str, Any], step: int, options: Any,
    ) -> np.ndarray:  # fmt: skip
        """Return the next weights, from the tasks' losses.

        Args:
            names: The weighted tasks, K of them.
            weights: The weights in force, float64 [K], sum 1.
            losses: Each task's mean loss per row since the last call, float64 [K], NaN where it had no row.
            more: With `again` the same of the last batch alone after its step; with `norms` the length of each task's
                gradient over the encoder's last layer, NaN where the batch had no row of it; else None.
            memory: What the policy keeps from call to call, plain JSON values; empty at first.
            step: Optimiser steps done so far.
            options: An instance of `Options`.

        Returns:
            float64 [K], none negative; their scale does not matter.
        """
        return weights

    def aggregator(self, options: Any) -> Callable[[Any], Any]:
        """Return what makes of a step's gradients of the encoder, a tensor [tasks, parameters], one of [parameters]."""
        raise NotImplementedError

    def searches(self, options: Any) -> bool:
        """Say whether the policy trains in order to settle options; rows are then held out whatever `choose` says."""
        return False

    def settle(self, context: Context, cell: Cell, selection: Selection, options: Any) -> Any:
        """Settle by trainings (`Context.train`) what `plan` takes, if the policy `searches`.

        Args:
            context: Data, artifacts and trainings.
            cell: What is asked.
            selection: The rows that are weighed; what was tried goes into its `visited` and `why`.
            options: An instance of `Options`.

        Returns:
            Another instance, with which the arm is planned.
        """
        return options

    def forecast_search(self, context: SizedContext, cell: Cell, selection: Selection, options: Any) -> list[Search]:
        """List the trainings by which the policy settles its options."""
        return []

    def plan(self, context: Context, cell: Cell, selection: Selection, options: Any) -> Plan:
        """Plan the weighted training of a selection that has rows: by default jointly, from `prior`."""

        def weigh(phase: Phase, tables: Mapping[str, pd.DataFrame]) -> Weighting:
            sizes = weighted_plans.sizes(phase, cell.primary)
            prior = self.prior(context, cell, sizes, options)
            weights = np.array([float(prior.get(name, np.nan)) for name in sizes])
            if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
                told = ", ".join(f"{name} {weight:g}" for name, weight in zip(sizes, weights, strict=True))
                raise InputError(f"{self.name}: its prior must give each task 0 or more, and one of them more: {told}")
            evidence: Any = "losses" if self.follows else "measured" if self.measures else "fixed"
            named = self.moves or self.follows or self.aggregates
            return Weighting(
                tuple((weights / weights.sum()).tolist()), evidence, self.every,
                combine="aggregated" if self.aggregates else "mixed", policy=self.name if named else None,
                options=options.model_dump() if named else None,
            )  # fmt: skip

        assert selection.rows is not None, "asked only of a selection that has rows"
        usable = context.usable(cell.primary)[cell.primary]
        return weighted_plans.plan(cell.params, context.suite, cell.seed, selection.rows, usable, weigh)


class Maker:
    """Makes an artifact, one seed at a time, from trainings and passes that are made once whoever asks.

    Attributes:
        artifact: The name that it is registered under.
        Parameters: Its parameters, those of the notebook that shows it; of a stage "" where none does.
    """

    artifact: str = ""
    Parameters: type[Common] = Common

    def check(self, p: Any) -> None:
        """Refuse parameters that it cannot be made with, before anything is trained for it.

        Raises:
            InputError: It cannot.
        """

    def make(self, context: Context, p: Any, seed: int) -> Artifact:
        """Make the artifact, or read back what is there of it."""
        raise NotImplementedError

    def seen(self, context: Context, p: Any, seed: int) -> Mapping[str, np.ndarray]:
        """Return by task the rows that methods which need the artifact cannot choose, as it was trained on them."""
        return {}

    def expected(self, context: SizedContext, p: Any, seed: int) -> Any:
        """Return a value such as may be made, for the forecast of what reads it; None where no plan depends on it."""
        return None

    def forecast(self, context: SizedContext, p: Any, seed: int) -> list[Charge]:
        """Forecast what making it costs whoever asks."""
        raise NotImplementedError


def renamed(ledger: Ledger, stage: str) -> Ledger:
    """Return the ledger under another stage's name."""
    return Ledger.from_dict(ledger.as_dict() | {"stage": stage})
