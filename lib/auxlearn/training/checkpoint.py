"""A training's state on disk, between epochs: safetensors and JSON, nothing that executes.

All of it lies in tensors, since the header of a safetensors file holds 100 MB at most, JSON as bytes.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from auxlearn.errors import InputError
from auxlearn.files import documents, stored_arrays
from auxlearn.training.step_table import Steps

AGAIN = "remove it, and the training begins anew"
_NAME = re.compile(r"(model|best)/.+|optimiser/[0-9]{1,9}/[^/]+|progress|steps/(codes|losses)", re.S)
Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Saved:
    """What `load` gives back."""

    model: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor] | None  # the best epoch's weights, where an epoch is chosen
    optimiser: dict[int, dict[str, torch.Tensor]]  # its state by parameter, as in its own state_dict()["state"]
    progress: dict[str, Any]  # anything that JSON holds
    steps: Steps


def save(
    file: Path, model: Tensors, best: Tensors | None, optimiser: Mapping[int, Tensors], progress: Mapping[str, Any],
    steps: Steps,
) -> None:  # fmt: skip
    """Write a checkpoint, which takes the place of the last one only when it is whole.

    Args:
        file: Where to write.
        model: The model's state.
        best: State of the best epoch so far; None where no epoch is chosen.
        optimiser: The optimiser's state by parameter, as in its state_dict()["state"].
        progress: Anything that JSON holds.
        steps: The steps so far.
    """
    from safetensors.torch import save_file

    tensors = {f"model/{k}": v for k, v in model.items()} | {f"best/{k}": v for k, v in (best or {}).items()}
    for i, state in optimiser.items():
        tensors |= {f"optimiser/{i}/{k}": v for k, v in state.items()}
    codes, losses = steps.columns()
    text = json.dumps({"progress": dict(progress), "steps": steps.names}).encode()
    tensors |= {"progress": torch.frombuffer(bytearray(text), dtype=torch.uint8)}
    tensors |= {"steps/codes": torch.from_numpy(codes), "steps/losses": torch.from_numpy(losses)}
    part = file.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in tensors.items()}, part)
    os.replace(part, file)


def load(file: Path, device: str) -> Saved:
    """Read a checkpoint.

    Args:
        file: The file that `save` wrote; it may come from anyone.
        device: Where to put its tensors.

    Returns:
        What was saved.

    Raises:
        InputError: The file is not a checkpoint.
    """
    tensors, _ = stored_arrays.tensors(file, device, AGAIN)
    try:
        if not all(map(_NAME.fullmatch, tensors)):
            raise ValueError("a tensor's name is of another form")
        text, codes, losses = (tensors[name].cpu().numpy() for name in ("progress", "steps/codes", "steps/losses"))
        said = documents.loads(text.astype(np.uint8, casting="no").tobytes().decode())
        progress, steps = dict(said["progress"]), Steps.of(said["steps"], codes, losses)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{file}: not a checkpoint of this version ({error}); {AGAIN}") from None
    part = lambda p: {k.removeprefix(p): v for k, v in tensors.items() if k.startswith(p)}  # noqa: E731
    optimiser: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in part("optimiser/").items():
        index, entry = name.split("/")
        optimiser.setdefault(int(index), {})[entry] = value
    return Saved(part("model/"), part("best/") or None, optimiser, progress, steps)
