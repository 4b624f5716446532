"""Training only those rows of an encoder's word embeddings that a phase's texts use.

Half of MiniLM's values are word embeddings, and a few thousand rows of text use a quarter of them. The others have no
gradient, and so AdamW without weight decay leaves them as they are, yet a dense gradient is filled with zeros for them,
clipped, and stepped over: on a CPU a tenth to a fifth of a step of short texts (tests/benchmarks/test_step.py). Here
the rows in use are a parameter of their own for as long as a phase lasts. Results are those of the whole table but for
the rounding of the gradient's norm, whose terms are added in another order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

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
def in_use(net: nn.Module, ids: Iterable[np.ndarray], weight_decay: float) -> Iterator[None]:
    """Train only the embeddings of these token ids (int arrays) while it lasts, where that is the same and cheaper.

    `net` has an `encoder` of transformers and a `pad_id`. Its parameters are others inside and outside.
    """
    table = net.encoder.get_input_embeddings()
    plain = type(table) is nn.Embedding and table.weight.device.type == "cpu" and table.weight.requires_grad
    if plain and table.max_norm is None and not table.scale_grad_by_freq and weight_decay == 0:
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


def _tables(net: nn.Module) -> Iterator[tuple[str, InUse]]:
    for name, module in net.named_modules():
        if isinstance(module, InUse):
            yield f"{name}.weight", module


# A checkpoint holds whole tables, so that it is read as any other; what a phase holds of it is cut from that again.


def whole_state(net: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state of the model (the present one, or the best so far) with the whole table."""
    made = dict(state)
    for name, words in _tables(net):
        made[name] = words.whole().weight.detach().clone()
        made[name][words.rows] = state[name]
    return made


def whole_optimiser(net: nn.Module, state: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """An optimiser's state, by parameter, with zeros for the rows that it has never seen, which is what theirs is."""
    made = {i: dict(entries) for i, entries in state.items()}
    for at, words in _numbered(net):
        for name, value in made.get(at, {}).items():
            if value.shape == words.weight.shape:
                made[at][name] = value.new_zeros(len(words.at), *value.shape[1:])
                made[at][name][words.rows] = value
    return made


def cut_state(net: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The inverse of `whole_state`."""
    return dict(state) | {name: state[name][words.rows] for name, words in _tables(net)}


def cut_optimiser(net: nn.Module, state: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """The inverse of `whole_optimiser`."""
    made = {i: dict(entries) for i, entries in state.items()}
    for at, words in _numbered(net):
        for name, value in made.get(at, {}).items():
            if value.dim():
                made[at][name] = value[words.rows]
    return made


def _numbered(net: nn.Module) -> list[tuple[int, InUse]]:
    numbers = {name: i for i, (name, _) in enumerate(net.named_parameters())}
    return [(numbers[name], words) for name, words in _tables(net)]
