"""A selection inside a stock Hugging Face `Trainer`, with a model of your own: its rows, a sampler, and weights.

The Trainer's arguments need `remove_unused_columns=False`: a row's task and weight are no inputs of a model, and it
would drop them. What the collator hands over as `labels` holds both, and `WeightedLoss` reads it (docs/trainer.md).
"""

from auxlearn.integrations.transformers.rows import Collator, Rows, training_rows
from auxlearn.integrations.transformers.tawt import STATE, Tawt, shared
from auxlearn.integrations.transformers.weighting import TaskSampler, WeightedLoss, row_losses

__all__ = [
    "STATE", "Collator", "Rows", "TaskSampler", "Tawt", "WeightedLoss", "row_losses", "shared", "training_rows",
]  # fmt: skip
