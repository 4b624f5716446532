"""What a weighted phase trains and probes, drawn from seeds, lengths and weights: the trainer runs it, the counter
counts it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from auxlearn import seeding
from auxlearn.cost import Ledger
from auxlearn.data import batch_order
from auxlearn.methods import registry
from auxlearn.methods.base import WeightPolicy
from auxlearn.methods.tawt.task_weights import Mover, Weights
from auxlearn.methods.tawt.weight_rule import Updater, effective_shares
from auxlearn.signals import target_gradients
from auxlearn.training import phases
from auxlearn.training.drawing import Lengths, Parts
from auxlearn.training.phases import Phase, Plan, Weighting

PROBE_BATCH = 64  # rows of a probe's pass; the result does not depend on it


class Sequences(Protocol):
    """Sequences of some rows; `rows` says which row each is of where some row has several."""

    @property
    def rows(self) -> np.ndarray | None: ...


def weighting(phase: Phase) -> Weighting:
    """Return the weighting of a phase that has one."""
    assert phase.weighting is not None, "asked only of a weighted phase"
    return phase.weighting


def groups(plan: Plan, phase: Phase, data: Mapping[str, Sequences]) -> dict[str, tuple[str, np.ndarray]]:
    """List what a phase weighs, as `phases.groups` does, by sequences in place of rows.

    Args:
        plan: The plan.
        phase: Its weighted phase.
        data: The sequences of the phase's rows by task.

    Returns:
        For each name its task, and which of the task's sequences in the phase it stands for (int64).
    """
    weighed = {}
    for name, (task, rows) in phases.groups(phase, plan.primary).items():
        of = data[task].rows
        weighed[name] = task, rows if of is None else np.flatnonzero(np.isin(of, rows))
    return weighed


def start(plan: Plan, phase: Phase) -> Weights:
    """Return a weighted phase's weights before its first step."""
    w, names = weighting(phase), list(phases.groups(phase, plan.primary))
    updater = Updater(w.eta, w.c, w.floor, w.decay, w.tau, w.rule)
    target = plan.primary if plan.primary in names else None
    seed = seeding.derive(phases.seed(plan, phase, "order"), phase.name, "weights")
    return Weights(names, np.array(w.prior), updater, target, w.evidence, seed, mover=mover(plan, phase))


def mover(plan: Plan, phase: Phase) -> Mover | None:
    """Return what moves a phase's weights in place of TAWT's rule, if its weighting names a policy."""
    w, names = weighting(phase), list(phases.groups(phase, plan.primary))
    own = policy(w)
    if own is None or (own.aggregates and not own.follows):
        return None
    options = own.Options.model_validate(w.options or {})

    def moved(
        weights: np.ndarray, read: np.ndarray | None, more: np.ndarray | None, memory: dict[str, Any], step: int
    ) -> np.ndarray:  # fmt: skip
        if own.follows:
            assert read is not None, "losses are recorded at every step"
            return own.follow(names, weights, read, more, memory, step, options)
        return own.move(names, weights, read, step, options)

    return moved


def policy(w: Weighting) -> WeightPolicy | None:
    """Return the policy that a weighting names; None where it names none."""
    found = None if w.policy is None else registry.get(w.policy)
    assert found is None or isinstance(found, WeightPolicy), "a method moves no weights"
    return found


def moments(w: Weighting, steps: Sequence[int]) -> list[int]:
    """List how many steps are done at each update of the weights.

    Args:
        w: The phase's weighting.
        steps: Steps of each epoch of the phase.
    """
    return list(range(w.every, sum(steps) + 1, w.every)) if w.every else np.cumsum(steps).tolist()


def epoch(phase: Phase, lengths: Lengths, rng: np.random.Generator, weights: Mapping[str, float]) -> list[Parts]:
    """Draw the batches of one epoch of a weighted phase.

    Args:
        phase: The phase.
        lengths: Tokens of each of its sequences by task.
        rng: Source of their order.
        weights: The weights in force by name, which matter where tasks are sampled by them.

    Returns:
        The batches, in order.
    """
    size, combine = phase.recipe.batch_size, weighting(phase).combine
    if combine in ("mixed", "aggregated"):
        return batch_order.mixed(lengths, size, rng)
    if combine != "sampled":
        return [[batch] for batch in batch_order.homogeneous(lengths, size, rng)]
    names, rows = list(weights), [len(lengths[name]) for name in weights]
    steps = sum(-(-n // size) for n in rows)
    drawn = rng.choice(len(names), steps, p=effective_shares(np.array(list(weights.values())), rows))
    return [[batch] for batch in batch_order.in_order([names[i] for i in drawn], lengths, size, rng)]


def probes(w: Weighting) -> bool:
    """Say whether cosines are measured."""
    return w.watch or w.evidence in ("measured", "shuffled")


def measured(plan: Plan, w: Weighting, weighed: Mapping[str, tuple[str, np.ndarray]]) -> list[str]:
    """List which of `groups` are measured at an update with the "exact" estimator.

    A task with fewer rows than chunks has a gradient but no cosine that noise could be taken out of.
    """
    exact = {plan.primary} if w.itself else set()  # known without being measured
    return [name for name, (_, rows) in weighed.items() if len(rows) >= w.chunks and name not in exact]


def target_rows(plan: Plan, w: Weighting) -> np.ndarray:
    """Return the primary's rows that its gradient is measured on."""
    return plan.holdout if w.target_rows == "holdout" else kept_steps(plan)


def kept_steps(plan: Plan) -> np.ndarray:
    """Return the primary's rows that some phase trains on."""
    assert plan.primary is not None, "`phases.check` refuses weights without a primary"
    return np.unique(np.concatenate([phase.rows.get(plan.primary, np.zeros(0, np.int64)) for phase in plan.phases]))


def chunks(
    plan: Plan, phase: Phase, name: str, members: np.ndarray, when: tuple[str, int], target: bool = False
) -> list[np.ndarray]:
    """Draw disjoint chunks of sequences for a probe.

    Args:
        plan: The plan.
        phase: Its weighted phase.
        name: What is weighed, or the target.
        members: The sequences to draw from.
        when: The estimator, and the number of the update or epoch.
        target: Whether they are for the target's gradient.

    Returns:
        One int64 array per chunk.

    Raises:
        InputError: There are fewer sequences than chunks.
    """
    w, role = weighting(phase), "target" if target else "task"
    rng = seeding.rng(phases.seed(plan, phase, "order"), phase.name, "probe", role, name, *when)
    return target_gradients.draw(members, w.chunks, w.chunk_rows, rng)


def in_batches(lengths: np.ndarray, index: np.ndarray) -> Iterator[np.ndarray]:
    """Cut sequences into a probe's batches, longest first.

    Args:
        lengths: Tokens of each sequence.
        index: The sequences to cut.

    Yields:
        Sequences of a batch, int64 [B].
    """
    order = index[np.argsort(-lengths[index], kind="stable")]
    yield from (order[first : first + PROBE_BATCH] for first in range(0, len(order), PROBE_BATCH))


def charge(ledger: Ledger, config: Any, lengths: np.ndarray, gradient: bool) -> None:
    """Enter a probe's batch: forward, and where the gradient is taken backward.

    Args:
        ledger: The probe's ledger.
        config: The encoder's Hugging Face configuration.
        lengths: Tokens of each sequence, int [B].
        gradient: Whether the gradient is taken.
    """
    if gradient:
        ledger.add_gradient(config, lengths, int(lengths.max()))
    else:
        ledger.add_batch(config, lengths, int(lengths.max()), False)
