"""What a method is given: the suite, its usable rows, artifacts and trainings, each made once and charged to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn import seeding
from auxlearn.cost import Ledger
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import arm_plans, chosen_rows, registry
from auxlearn.methods.arm_parameters import ArmParameters
from auxlearn.methods.base import Artifact, Cell, Method, Need, Selection, renamed
from auxlearn.records.manifests import Manifest
from auxlearn.training import mixing
from auxlearn.training.phases import Plan
from auxlearn.training.shared_parameters import Common

if TYPE_CHECKING:
    import pandas as pd

    from auxlearn.training.resuming import Progress
    from auxlearn.training.training_cache import Training

SELECTION = "selection:"  # the artifact of this name and a method's is what that method chooses


class Context:
    """Everything that one seed of one cell may ask for, and a record of what it was charged.

    Args:
        suite: The suite with every task's rows.
        params: The parameters of the notebook or call.
        seed: The seed.
        upstream: Parameters of the notebooks' runs that it reads; artifacts are made as these say.
        progress: Called with a line of text whenever something has been done.
    """

    def __init__(
        self, suite: Suite, params: Any, seed: int, upstream: Sequence[Common] = (), progress: Progress | None = None
    ):
        self.suite, self.params, self.seed, self.upstream, self.progress = suite, params, seed, upstream, progress
        self.trials: dict[str, list[Ledger]] = {}  # by the key of each training that a search ran
        self.obtained: dict[str, Artifact] = {}
        self.manifests: list[Manifest] = []
        self._usable: dict[str | None, dict[str, np.ndarray]] = {}

    def at(self, seed: int) -> Context:
        """Return the same context for another seed, with nothing charged yet."""
        other = Context(self.suite, self.params, seed, self.upstream, self.progress)
        other._usable = self._usable
        return other

    @property
    def cell(self) -> Cell:
        """What is asked."""
        return Cell(self.params, self.seed)

    @property
    def auxiliaries(self) -> list[str]:
        """Names of the auxiliary tasks, one at least, in the suite's order."""
        from auxlearn.data import auxiliary_rows

        return auxiliary_rows.required(self.suite, self.params.primary, self.params.auxiliaries)

    def usable(self, target: str | None) -> dict[str, np.ndarray]:
        """Return by task a mask over its training rows, bool [rows]: no row that leaks into the target's dev or test.

        Of the primary, only the rows that the seed draws for itself, if it does (`primary_rows`).

        Args:
            target: The task to keep clean; None for all tasks.
        """
        masks, p = self.clean(target), self.params
        if not p.primary_rows:
            return masks
        # Drawn from what is clean for the primary itself, so that every artifact and arm of the seed sees the same.
        candidates = self.clean(p.primary)[p.primary]
        order = seeding.rng(self.seed, "primary", p.primary).permutation(len(candidates))
        drawn = np.zeros(len(candidates), bool)
        drawn[order[candidates[order]][: p.primary_rows]] = True
        if drawn.sum() < p.primary_rows:
            raise InputError(
                f"primary_rows: {p.primary_rows} asked for, but {p.primary!r} has {drawn.sum()} usable training rows; "
                "lower it or raise `rows`"
            )
        return masks | {p.primary: masks[p.primary] & drawn}

    def clean(self, target: str | None) -> dict[str, np.ndarray]:
        """Return by task a mask over its training rows, bool [rows], as `usable` before the seed draws any."""
        from auxlearn.data import usable_rows

        if target not in self._usable:
            masks = usable_rows.usable(self.suite, target, self.params.keep_leaks)
            for mask in masks.values():  # all seeds share them
                mask.flags.writeable = False
            self._usable[target] = masks
        return self._usable[target]

    def pool(self) -> pd.DataFrame:
        """List the usable training rows of the auxiliaries: task, row, row_id."""
        rows, allowed = self.whole_pool()
        return rows[allowed].reset_index(drop=True)

    def whole_pool(self) -> tuple[pd.DataFrame, np.ndarray]:
        """List all training rows of the auxiliaries, and mark the usable ones: bool [N]."""
        from auxlearn.data import auxiliary_rows

        rows = auxiliary_rows.pool(self.suite, self.auxiliaries, self.usable(self.params.primary))
        return rows, rows.pop("usable").to_numpy()

    def candidates(self, of: str) -> tuple[pd.DataFrame, np.ndarray]:
        """List all training rows of the auxiliaries, and mark those that a method may choose: bool [N].

        These are the usable rows but for those that a single proxy was trained on, say, which it cannot rank.

        Args:
            of: The method's name.
        """
        rows, allowed = self.whole_pool()
        method = registry.get(of)
        for need in method.needs(self.cell, registry.options(method, self.params.methods)):
            if need.artifact.startswith(SELECTION):
                allowed = allowed & self.candidates(need.artifact.removeprefix(SELECTION))[1]
                continue
            seen = registry.maker(need.artifact).seen(self, self.parameters(need), self.seed)
            for name, own in seen.items():
                allowed = allowed & ~((rows["task"] == name) & rows["row"].isin(own)).to_numpy()
        return rows, allowed

    def rng(self, *purpose: str) -> np.random.Generator:
        """Return a generator of the seed's own for a purpose; the same purpose draws the same."""
        return seeding.rng(self.seed, *purpose)

    # --- artifacts ---------------------------------------------------------------------------------------------------

    def obtain(self, need: Need) -> Any:
        """Return an artifact, made or read back, and charge its cost.

        Args:
            need: What is needed.

        Returns:
            The artifact's value.
        """
        name = f"{need.artifact} {sorted(map(str, need.parameters.items()))}"
        if name not in self.obtained:
            self.obtained[name] = self.make(need)
        return self.obtained[name].value

    def make(self, need: Need) -> Artifact:
        """Return an artifact, made or read back, without charging it: for makers, which pass its cost on."""
        if need.artifact.startswith(SELECTION):
            return self._selection(need)
        maker, p = registry.maker(need.artifact), self.parameters(need)
        maker.check(p)
        return maker.make(self, p, self.seed)

    def _selection(self, need: Need) -> Artifact:
        method = registry.get(need.artifact.removeprefix(SELECTION))
        assert isinstance(method, Method), "a policy selects nothing"
        other = self.at(self.seed)
        other.params = self.params.model_copy(update=dict(need.parameters))
        selection = method.select(other, other.cell, registry.options(method, self.params.methods))
        return Artifact(selection, [*other.needed(), *other.searched()], other.units())

    def parameters(self, need: Need) -> Any:
        """Return an artifact's parameters: those of a run that is read and fits, maybe but for n, else its defaults.

        Args:
            need: The artifact, and what its parameters must agree in.
        """
        model = registry.maker(need.artifact).Parameters
        wanted = self.params.shared() | dict(need.parameters)
        for p in self.upstream:
            if type(p) is model and self.seed in getattr(p, "seeds", [self.seed]) and _agree(p, wanted):
                return p
        for p in self.upstream:  # of another n a run ranks as this one does, so that only n differs from it
            if type(p) is model and "n" in need.parameters and "n" in model.model_fields:
                asked = p.model_copy(update={"n": need.parameters["n"]})
                if self.seed in getattr(p, "seeds", [self.seed]) and _agree(asked, wanted):
                    return asked
        own = {name: value for name, value in wanted.items() if name in model.model_fields}
        seeds = {"seeds": [self.seed]} if "seeds" in model.model_fields else {}
        return model.model_validate(own | seeds).resolved()

    # --- trainings ---------------------------------------------------------------------------------------------------

    def train(self, plan: Plan, stage: str) -> Training:
        """Train a plan in order to choose, or read it back, and charge it; one that is charged twice counts once.

        Args:
            plan: The plan.
            stage: The name that its ledgers get.
        """
        from auxlearn.training import training_cache

        training = training_cache.trained(plan, self.suite, self.progress)
        self.trials[training.manifest.key] = [renamed(ledger, stage) for ledger in training.ledgers]
        self.manifests.append(training.manifest)
        return training

    def trial(
        self, rows: pd.DataFrame | None, shares: Mapping[str, int] | None = None, style: mixing.Style = "interleaved"
    ) -> tuple[float, float]:
        """Train these rows as an arm would, and score the primary on its held-out rows; without rows it trains alone.

        Args:
            rows: The auxiliary rows to try; None for none.
            shares: By task, its share of stage 2's steps; None divides them by the tasks' sizes.
            style: The order in which `shares` are trained.

        Returns:
            The held-out score at the last phase's best look, and at its end.
        """
        plan = self.trial_plan(rows, shares, style)
        looks = self.train(plan, "trial").looks
        last = looks[looks["phase"] == plan.phases[-1].name]["score"]
        return float(last.max()), float(last.iloc[-1])

    def trial_plan(
        self, rows: pd.DataFrame | None, shares: Mapping[str, int] | None = None, style: mixing.Style = "interleaved"
    ) -> Plan:
        """Plan a trial: as an arm would train, but judged on held-out rows whatever `choose` says."""
        held: ArmParameters = self.params.model_copy(update={"choose": "holdout"})
        usable = self.usable(held.primary)[held.primary]
        return arm_plans.two_stages(held, self.suite, self.seed, rows, usable, shares, style)

    # --- charges -----------------------------------------------------------------------------------------------------

    def searched(self, final: str | None = None) -> list[Ledger]:
        """Return the ledgers of all trainings of the search.

        Args:
            final: The key of the arm's own training; a trial that was the same training is not charged twice.
        """
        return [ledger for key, ledgers in self.trials.items() if key != final for ledger in ledgers]

    def units(self) -> list[Manifest]:
        """Return the trainings and passes of artifacts and search."""
        made = [manifest for artifact in self.obtained.values() for manifest in artifact.manifests]
        return [*made, *self.manifests]

    def needed(self) -> list[Ledger]:
        """Return the ledgers of all artifacts that were obtained."""
        return [ledger for artifact in self.obtained.values() for ledger in artifact.ledgers]


def choose(context: Context) -> Selection:
    """Let a method choose for one seed, with nothing planned or trained on what it chose.

    Args:
        context: The context; `params.arm` names the method.

    Returns:
        The selection.

    Raises:
        InputError: As the method says; or its selection cannot be trained on (`chosen_rows.check`).
    """
    p = context.params
    selection = p.method.select(context, context.cell, p.options(p.method))
    chosen_rows.check(selection, p.method, context.cell.n, context.auxiliaries, context.usable(p.primary))
    return selection


def select(context: Context) -> tuple[Selection, Plan]:
    """Choose an arm's rows for one seed, and plan their training.

    Args:
        context: The context; `params.arm` names the arm.

    Returns:
        The selection and the plan.
    """
    method, policy = registry.parse(context.params.arm)
    options, selection = registry.options(method, context.params.methods), choose(context)
    if policy is None or selection.rows is None:  # a selection that chose nothing leaves nothing to weigh
        return selection, method.plan(context, context.cell, selection, options)
    options = registry.options(policy, context.params.methods)
    if policy.searches(options):
        options = policy.settle(context, context.cell, selection, options)
    return selection, policy.plan(context, context.cell, selection, options)


def _agree(p: Common, wanted: Mapping[str, Any]) -> bool:
    comparable = {name: value for name, value in wanted.items() if name in type(p).model_fields and name != "threads"}
    return all(
        sorted(getattr(p, name)) == sorted(value) if name == "auxiliaries" else getattr(p, name) == value
        for name, value in comparable.items() if name not in p.unkeyed()
    )  # fmt: skip
