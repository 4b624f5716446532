"""The batches that a phase trains on, drawn from seeds and lengths alone: trainers take them, counters count them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from auxlearn import seeding
from auxlearn.data import batch_order
from auxlearn.training import phases
from auxlearn.training.phases import Phase, Plan

Parts = list[tuple[str, np.ndarray]]  # a batch: rows of each task in it
Lengths = Mapping[str, np.ndarray]  # tokens of each sequence by task, int64 [N]
Draw = Callable[[Phase, Lengths, np.random.Generator], list[Parts]]


def epoch(phase: Phase, lengths: Lengths, rng: np.random.Generator) -> list[Parts]:
    """Draw the batches of one pass over a phase's rows.

    Args:
        phase: The phase.
        lengths: Tokens of each of its sequences by task.
        rng: Source of their order.

    Returns:
        The batches, in order.
    """
    if phase.mixing == "mixed":
        return batch_order.mixed(lengths, phase.recipe.batch_size, rng)
    return [[batch] for batch in batch_order.homogeneous(lengths, phase.recipe.batch_size, rng)]


def epochs(
    plan: Plan, phase: Phase, lengths: Lengths, steps: Sequence[int], draw: Draw = epoch
) -> Callable[[int], list[Parts]]:
    """Prepare to draw a phase's batches, epoch by epoch.

    Each epoch has an order of its own, whichever was drawn before it. Where the plan orders the phase's tasks, all
    batches are drawn at once.

    Args:
        plan: The plan.
        phase: Its phase.
        lengths: Tokens of each of its sequences by task.
        steps: Steps of each epoch, from `phases.schedule`.
        draw: Draws one epoch in `epoch`'s place.

    Returns:
        A function from an epoch's number, from 0, to its batches.
    """
    order = phases.seed(plan, phase, "order")
    if phase.order is None:
        return lambda number: draw(phase, lengths, seeding.rng(order, phase.name, number))[: steps[number]]
    names = phases.arms(phase, plan.primary)
    tasks, rng = [names[i] for i in phase.order], seeding.rng(order, phase.name)
    batches = [[batch] for batch in batch_order.in_order(tasks, lengths, phase.recipe.batch_size, rng)]
    return lambda number: batches[sum(steps[:number]) : sum(steps[: number + 1])]


def round_of(plan: Plan, phase: Phase, lengths: Lengths, task: str, number: int) -> list[Parts]:
    """Draw the batches of one of a phase's `rounds`.

    Args:
        plan: The plan.
        phase: Its phase with `rounds`.
        lengths: Tokens of each of its sequences by task.
        task: The task that the round trains.
        number: Number of the round, from 0.

    Returns:
        The batches, in order.
    """
    assert phase.rounds is not None, "asked only of a phase with rounds"
    tasks, rng = [task] * phase.rounds.batches, seeding.rng(phases.seed(plan, phase, "order"), phase.name, number)
    return [[batch] for batch in batch_order.in_order(tasks, lengths, phase.recipe.batch_size, rng)]
