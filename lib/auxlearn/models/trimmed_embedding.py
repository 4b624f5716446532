"""Train only those rows of an encoder's word embeddings that a phase's texts use.

Half of MiniLM's values are word embeddings, and a few thousand rows of text use a quarter of them. The others have no
gradient, so AdamW without weight decay leaves them as they are; yet a dense gradient is filled with zeros for them,
clipped, and stepped over, which on a CPU takes a tenth to a fifth of a step of short texts
(tests/benchmarks/test_step.py). Here the rows in use are a parameter of their own for as long as a phase lasts. Results
are those of the whole table but for rounding in the gradient's norm, whose terms are added in another order.
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
    """Stands in for an embedding table: some rows are trained as `weight` [rows, d], the others stay as they were.

    Args:
        table: The whole table.
        rows: The rows in use, int64 [rows], each once.
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
        """Look up embeddings.

        Ids of other rows can be looked up only where no gradient is recorded.

        Args:
            ids: Token ids, int64 of any shape.

        Returns:
            Their embeddings, [..., d].

        Raises:
            LookupError: A gradient is recorded and an id is not among the rows in use.
        """
        at = self.at[ids]
        if int(at.min()) >= 0:
            return F.embedding(at, self.weight, self.padding_idx)
        if torch.is_grad_enabled():
            raise LookupError(f"token {int(ids[at < 0][0])} is in no text of the phase and has no trained embedding")
        return F.embedding(ids, self.whole().weight)

    def whole(self) -> nn.Embedding:
        """Return the whole table, with the rows in use as they have been trained so far."""
        (table,) = self._table
        with torch.no_grad():
            table.weight[self.rows] = self.weight
        return table


@contextmanager
def in_use(net: nn.Module, ids: Iterable[np.ndarray], weight_decay: float) -> Iterator[None]:
    """Train only the embeddings of some token ids while the context lasts, where that is cheaper and gives the same.

    It is cheaper on a CPU where it spares at least SPARED values, and gives the same without weight decay; elsewhere
    the whole table stays in place. The model has other parameters inside the context than outside.

    Args:
        net: A model with an `encoder` of transformers and a `pad_id`.
        ids: Token ids of the texts to be seen, int arrays.
        weight_decay: Weight decay of the optimiser.
    """
    encoder: Any = net.encoder
    table = encoder.get_input_embeddings()
    plain = type(table) is nn.Embedding and table.weight.device.type == "cpu" and table.weight.requires_grad
    if plain and table.max_norm is None and not table.scale_grad_by_freq and weight_decay == 0:
        rows = np.unique(np.concatenate([np.array([net.pad_id]), *(np.unique(i) for i in ids)]))
        if (table.num_embeddings - len(rows)) * table.embedding_dim >= SPARED:
            words = InUse(table, torch.from_numpy(rows.astype(np.int64)))
            encoder.set_input_embeddings(words)
            try:
                yield
            finally:
                encoder.set_input_embeddings(words.whole())
            return
    yield


def trimmed(net: nn.Module) -> list[str]:
    """List the parameters that hold rows in use in place of a whole table, by name."""
    return [name for name, _ in _tables(net)]


def _tables(net: nn.Module) -> Iterator[tuple[str, InUse]]:
    for name, module in net.named_modules():
        if isinstance(module, InUse):
            yield f"{name}.weight", module


# A checkpoint holds whole tables, so that it is read as any other; what a phase holds of it is cut from that again.


def whole_state(net: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Complete a state of the model with the whole embedding table.

    Args:
        net: The model, within `in_use`.
        state: Its present state or an earlier one, e.g. the best so far.

    Returns:
        The state with the whole table in place of the rows in use.
    """
    complete = dict(state)
    for name, words in _tables(net):
        complete[name] = words.whole().weight.detach().clone()
        complete[name][words.rows] = state[name]
    return complete


def whole_optimiser(net: nn.Module, state: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Complete an optimiser's state for the whole embedding table.

    Rows that the optimiser has never seen get zeros, which is what their state would be.

    Args:
        net: The model, within `in_use`.
        state: The optimiser's state by parameter, as in its state_dict()["state"].

    Returns:
        The state of an optimiser of the whole table.
    """
    complete = {i: dict(entries) for i, entries in state.items()}
    for at, words in _numbered(net):
        for name, value in complete.get(at, {}).items():
            if value.shape == words.weight.shape:
                complete[at][name] = value.new_zeros(len(words.at), *value.shape[1:])
                complete[at][name][words.rows] = value
    return complete


def cut_state(net: nn.Module, state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Cut a state to the rows in use; the inverse of `whole_state`.

    Args:
        net: The model, within `in_use`.
        state: A state with the whole table.

    Returns:
        The state with the rows in use in place of the whole table.
    """
    return dict(state) | {name: state[name][words.rows] for name, words in _tables(net)}


def cut_optimiser(net: nn.Module, state: Mapping[int, Mapping[str, Any]]) -> dict[int, dict[str, Any]]:
    """Cut an optimiser's state to the rows in use; the inverse of `whole_optimiser`.

    Args:
        net: The model, within `in_use`.
        state: The state of an optimiser of the whole table, by parameter.

    Returns:
        The state of an optimiser of the rows in use.
    """
    cut = {i: dict(entries) for i, entries in state.items()}
    for at, words in _numbered(net):
        for name, value in cut.get(at, {}).items():
            if value.dim():
                cut[at][name] = value[words.rows]
    return cut


def _numbered(net: nn.Module) -> list[tuple[int, InUse]]:
    numbers = {name: i for i, (name, _) in enumerate(net.named_parameters())}
    return [(numbers[name], words) for name, words in _tables(net)]
