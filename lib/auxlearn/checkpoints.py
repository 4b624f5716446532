"""A training's state on disk, between epochs: safetensors and JSON, nothing that executes."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Saved:
    """What `load` gives back."""

    model: dict[str, torch.Tensor]
    best: dict[str, torch.Tensor] | None  # the best epoch's weights, where an epoch is chosen
    optimiser: dict[int, dict[str, torch.Tensor]]  # its state by parameter, as in its own state_dict()["state"]
    progress: dict[str, Any]  # anything that JSON holds


def save(
    file: Path, model: Tensors, best: Tensors | None, optimiser: Mapping[int, Tensors], progress: Mapping[str, Any]
) -> None:
    """Write a checkpoint, in place of the last one only when it is whole."""
    from safetensors.torch import save_file

    tensors = {f"model/{k}": v for k, v in model.items()} | {f"best/{k}": v for k, v in (best or {}).items()}
    for i, state in optimiser.items():
        tensors |= {f"optimiser/{i}/{k}": v for k, v in state.items()}
    part = file.with_suffix(".part")
    save_file({k: v.contiguous() for k, v in tensors.items()}, part, {"progress": json.dumps(progress)})
    os.replace(part, file)


def load(file: Path, device: str) -> Saved:
    """The checkpoint, its tensors on `device`."""
    from safetensors import safe_open

    with safe_open(file, "pt", device=device) as saved:
        progress = json.loads(saved.metadata()["progress"])
        tensors = {name: saved.get_tensor(name) for name in saved.keys()}  # noqa: SIM118
    part = lambda p: {k.removeprefix(p): v for k, v in tensors.items() if k.startswith(p)}  # noqa: E731
    optimiser: dict[int, dict[str, torch.Tensor]] = {}
    for name, value in part("optimiser/").items():
        index, entry = name.split("/")
        optimiser.setdefault(int(index), {})[entry] = value
    return Saved(part("model/"), part("best/") or None, optimiser, progress)
