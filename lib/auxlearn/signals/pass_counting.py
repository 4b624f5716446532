"""Count what a pass over rows will enter into its ledger, from their lengths alone: no model, nothing read."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from auxlearn.cost import Ledger, total
from auxlearn.data import batch_order
from auxlearn.models import encoders
from auxlearn.signals import head_importance, pass_store, pool_pass, row_signals
from auxlearn.training.counting import Lengths
from auxlearn.training.phases import Plan


def scoring(
    plan: Plan, lengths: Lengths, config: Any, rows: Mapping[str, np.ndarray],
    reads: Collection[str] = pass_store.PLAIN, targets: Mapping[str, np.ndarray] | None = None, cells: int = 0,
    stage: str = "scoring",
) -> Ledger:  # fmt: skip
    """Count a pass of `pass_store.scored` that nothing interrupts.

    Args:
        plan: The plan of the model that reads.
        lengths: Lengths of all rows, from `counting.tokens`.
        config: The encoder's Hugging Face configuration; of a pass that ends early, with as many layers as it computes.
        rows: Positions in the train split by task.
        reads: What is read, some of `row_signals.KNOWN`.
        targets: For "products" and "cosines": rows of each target, named by its task or as "task#part".
        cells: For "products" and "cosines": numbers in the weights of linear modules whose gradients are multiplied.
        stage: Name of the ledger.

    Returns:
        The ledger; seconds are 0.
    """
    kind, most, ledgers = plan.device.partition(":")[0], encoders.most_tokens(config, plan.max_length), []
    for number, shard in enumerate(pool_pass.shards(rows)):
        ledgers.append(Ledger(stage))
        if number < plan.processes:  # each process measures the targets, before its first shard
            for name, at in (targets or {}).items():
                own = lengths[name.partition("#")[0]]["train"].cut(at, most)
                for index in batch_order.by_tokens(own, head_importance.tokens(kind)):
                    ledgers[-1].add_gradient(config, own[index], int(own[index].max()))
        own = lengths[shard.task]["train"].cut(shard.rows, most)
        for index in batch_order.by_tokens(own, row_signals.tokens(kind, reads)):
            row_signals.enter(ledgers[-1], config, own[index], reads, cells, len(targets or {}))
    return total(stage, ledgers)


def cells(config: Any) -> int:
    """Count the numbers in the weights of an encoder's layers, whose gradients "products" multiplies.

    Queries, keys, values, output and the two layers of the feed-forward net; a pooler, under 1 % of them, is left out.

    Args:
        config: The encoder's Hugging Face configuration.
    """
    return config.num_hidden_layers * config.hidden_size * (4 * config.hidden_size + 2 * config.intermediate_size)


def importance(plan: Plan, lengths: Lengths, config: Any, name: str, rows: np.ndarray) -> Ledger:
    """Count a pass that measures head importance, by all definitions, of some rows of a task.

    Args:
        plan: The plan of the model that measures.
        lengths: Lengths of all rows, from `counting.tokens`.
        config: The encoder's Hugging Face configuration.
        name: The rows' task.
        rows: Positions in the task's train split.

    Returns:
        The ledger; seconds are 0.
    """
    ledger, own = Ledger("importance"), lengths[name]["train"].cut(rows, encoders.most_tokens(config, plan.max_length))
    for index in batch_order.by_tokens(own, head_importance.tokens(plan.device.partition(":")[0])):
        row_signals.enter(ledger, config, own[index], head_importance.DEFINITIONS)
    return ledger


def in_batches(
    plan: Plan, lengths: Lengths, config: Any, name: str, rows: np.ndarray, size: int, stage: str, backward: bool
) -> Ledger:  # fmt: skip
    """Count passes over rows of a task, in their order and so many at a time, that no optimiser step follows.

    Args:
        plan: The plan of the model.
        lengths: Lengths of all rows, from `counting.tokens`.
        config: The encoder's Hugging Face configuration.
        name: The rows' task.
        rows: Positions in the task's train split.
        size: Rows of a batch.
        stage: Name of the ledger.
        backward: Whether each forward pass is followed by one back.

    Returns:
        The ledger; seconds are 0.
    """
    ledger, own = Ledger(stage), lengths[name]["train"].cut(rows, encoders.most_tokens(config, plan.max_length))
    for batch in np.split(own, range(size, len(own), size)):
        if backward:
            ledger.add_gradient(config, batch, int(batch.max()))
        else:
            ledger.add_batch(config, batch, int(batch.max()), False)
    return ledger
