"""Training only those rows of an encoder's word embeddings that a phase's texts use.

Half of MiniLM's values are word embeddings, and a few thousand rows of text use a quarter of them. The others have no
gradient, and so AdamW without weight decay leaves them as they are, yet a dense gradient is filled with zeros for them,
clipped, and stepped over, which on a CPU is a sixth of a step of short texts (tests/benchmarks/test_step.py). Here the
rows in use are a parameter of their own for as long as a phase lasts. Results are those of the whole table but for the
rounding of the gradient's norm, whose terms are added in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from .phases import Recipe

SPARED = 1 << 20  # values: with fewer that need no training the whole table is trained, as it is on other devices


class InUse(nn.Module):
    """Some rows of an embedding table in its place: trained as `weight` [rows, d], the rest as it was.

    Ids outside `rows` can be looked up where no gradient is recorded; where one is, they raise LookupError.
    """

    def __init__(self, table: nn.Embedding, rows: torch.Tensor):
        super().__init__()
        self._table = (table,)  # in a tuple, so that it is no submodule and no optimiser sees it
        self.rows = rows
        self.at = torch.full((table.num_embeddings,), -1, dtype=torch.long)
        self.at[rows] = torch.arange(len(rows))
        self.weight = nn.Parameter(table.weight.detach()[rows].clone())
        padding = -1 if table.padding_idx is None else int(self.at[table.padding_idx])
        self.padding_idx = None if padding < 0 else padding

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        at = self.at[ids]
        if int(at.min()) >= 0:
            return F.embedding(at, self.weight, self.padding_idx)
        if torch.is_grad_enabled():
            raise LookupError(f"token {int(ids[at < 0][0])} is in no text of the phase and has no trained embedding")
        return F.embedding(ids, self.whole().weight)

    def whole(self) -> nn.Embedding:
        """The table, its rows in use as trained so far."""
        (table,) = self._table
        with torch.no_grad():
            table.weight[self.rows] = self.weight
        return table


@contextmanager
def in_use(net: nn.Module, ids: Iterable[np.ndarray], recipe: Recipe) -> Iterator[None]:
    """Train only the embeddings of these token ids (int arrays) while it lasts, where that is the same and cheaper.

    `net` has an `encoder` of transformers and a `pad_id`. Its parameters are others inside and outside.
    """
    table = net.encoder.get_input_embeddings()
    plain = type(table) is nn.Embedding and table.weight.device.type == "cpu" and table.weight.requires_grad
    if plain and table.max_norm is None and not table.scale_grad_by_freq and recipe.weight_decay == 0:
        rows = np.unique(np.concatenate([np.array([net.pad_id]), *(np.unique(i) for i in ids)]))
        if (table.num_embeddings - len(rows)) * table.embedding_dim >= SPARED:
            made = InUse(table, torch.from_numpy(rows.astype(np.int64)))
            net.encoder.set_input_embeddings(made)
            try:
                yield
            finally:
                net.encoder.set_input_embeddings(made.whole())
            return
    yield


def whole_state(net: nn.Module) -> Mapping[str, torch.Tensor]:
    """The model's state with the whole table, whatever is in use."""
    state = net.state_dict()
    for name, module in net.named_modules():
        if isinstance(module, InUse):
            state[f"{name}.weight"] = module.whole().weight.detach()
    return state
