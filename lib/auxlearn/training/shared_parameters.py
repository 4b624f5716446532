"""Parameters that notebooks share (see `studies.parameters`)."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from auxlearn.errors import InputError
from auxlearn.training import key_forms

PER_CORE = 4  # threads, or processes, that a core may be given at most


def distinct(values: list[Any]) -> list[Any]:
    """Return a list whose values all differ.

    Raises:
        ValueError: A value occurs twice.
    """
    if len(set(values)) != len(values):
        raise ValueError(f"{values} names one twice; each counts once")
    return values


class Common(BaseModel):
    """Parameters that all notebooks share."""

    model_config = ConfigDict(
        extra="forbid", strict=True, validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    stage: ClassVar[str]
    # Fields that change nothing in this stage's result, and so stay out of its key.
    # (The suite is there by its fingerprint, the inputs by their own keys.)
    not_in_key: ClassVar[frozenset[str]] = frozenset({"study", "inputs", "suite", "plugins", "workers"})
    # Fields that came later, by the value that a key leaves out: so that runs from before keep their keys.
    later: ClassVar[Mapping[str, Any]] = {}

    suite: str = "planted"
    """suite YAML, or "planted" for generated tasks whose transfer structure is known"""
    primary: str = "topic_side"
    """the task that is to be helped"""
    auxiliaries: Annotated[list[str], AfterValidator(distinct)] = []
    """tasks that may help ([]: all others of the suite)"""
    encoder: str = "tiny"
    """a name such as tiny or minilm, a Hugging Face name, or a folder"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """what computes (auto: a GPU where there is one)"""
    study: str = "demo"
    """label of the study; enters no key"""
    size: Literal["demo", "full"] = "demo"
    """demo: planted data, made so that a method can be seen to work; full is for results"""
    rows: int = Field(400, ge=0)
    """most training rows of each task (0: all)"""
    primary_rows: int = Field(0, ge=0)
    """training rows of the primary that each seed draws for itself from these (0: all, the same for every seed)"""
    threads: int = Field(1, ge=0)
    """threads of each process (0: all cores)"""
    precision: Literal["auto", "fp32", "tf32", "bf16"] = "auto"
    """number format of matrix products (auto: bf16 where the device multiplies in it)"""
    max_length: int = Field(128, ge=8)
    """tokens at which a row is cut"""
    inputs: list[str] = []
    """keys of the runs that are read ([]: those that fit)"""
    workers: int = Field(1, ge=1)
    """processes among which a notebook deals its seeds"""
    plugins: list[str] = []
    """modules or .py files that register further methods"""

    @model_validator(mode="after")
    def _demo_is_planted(self) -> Self:
        if self.size == "demo" and (self.suite, self.encoder) != ("planted", "tiny"):
            raise ValueError(
                "demo size only shows a method at work, on suite 'planted' with encoder 'tiny'; for your own "
                "suite start from params/starter.yaml (size: full, with sensible rows, epochs and learning rate)"
            )
        return self

    def resolved(self, elsewhere: bool = False) -> Self:
        """Decide every "auto" for this machine; the result is what the run records and its key holds.

        `precision` becomes bf16 where the device multiplies in it, else fp32, as at demo size.

        Args:
            elsewhere: The run will be on another machine. It may ask for a device that is not here, and must name what
                can only be seen there.

        Returns:
            A copy of the parameters.

        Raises:
            InputError: CUDA is asked for and not here, or something that only the other machine knows is left open.
        """
        device, demo = self.device, self.size == "demo"
        if elsewhere:
            self._decided()
        if device == "auto":
            device = "cpu" if demo or not _cuda() else "cuda"
        elif device == "cuda" and not elsewhere and not _cuda():
            raise InputError("device: 'cuda' was asked for, but no CUDA device is here; use 'auto' or 'cpu'")
        precision = self.precision
        if precision == "bf16" and device == "cuda" and not elsewhere and not has_bf16(device):
            raise InputError(
                "precision: this GPU does not multiply bf16 (Volta and Turing do not); use fp32 or auto. fp16 is not "
                "offered: gradients in it need scaling, and results are others"
            )
        if precision == "tf32" and (device == "cpu" or (not elsewhere and not has_tf32())):
            raise InputError(
                "precision: tf32 is how NVIDIA GPUs since Ampere may multiply fp32 numbers, and "
                f"{'a processor' if device == 'cpu' else 'this GPU'} does not; use fp32 or auto"
            )
        if precision == "auto":
            precision = "bf16" if not demo and has_bf16(device) else "fp32"
        cores = os.cpu_count() or 1
        if not elsewhere:
            for name in ("threads", "processes"):
                if (asked := getattr(self, name, 1)) > PER_CORE * cores:
                    raise InputError(f"{name}: {asked} on {cores} cores would only wait for one another; lower it")
        threads = self.threads or cores
        return self.model_copy(update={"device": device, "precision": precision, "threads": threads})

    def _decided(self) -> None:
        if self.threads == 0:
            raise InputError("threads: 0 means all cores of this machine; name a number for jobs that run elsewhere")
        if self.device == "auto" and self.size != "demo":
            raise InputError("device: name cpu or cuda; whether there is a GPU elsewhere cannot be seen from here")
        if self.device == "cuda" and self.precision == "auto" and self.size != "demo":
            raise InputError(
                "precision: name bf16, tf32 or fp32; what a GPU elsewhere multiplies in cannot be seen from here"
            )

    def key_params(self) -> dict[str, Any]:
        """Return the parameters that this stage's result depends on, in the form that keys hold."""
        params = self.model_dump(exclude={*self.unkeyed(), *self._idle()})
        return key_forms.forms(key_forms.without_later(params, self.later))

    def _idle(self) -> set[str]:
        """Name what decides nothing on this device: a GPU's results do not depend on the host's threads."""
        return {"threads"} if self.device == "cuda" else set()

    def unkeyed(self) -> frozenset[str]:
        """Return `not_in_key`, but for the primary where each seed draws rows of it: nothing then serves others."""
        return self.not_in_key - ({"primary"} if self.primary_rows and "primary_rows" not in self.not_in_key else set())

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """List the runs that this one reads: stage, and the parameters that they must agree in."""
        return []

    def shared(self, *more: str) -> dict[str, Any]:
        """Return the parameters in which a run agrees with those that it reads, and `more`, by name."""
        names = (*SHARED, *more)
        drawn = ("primary_rows", "primary") if self.primary_rows else ("primary_rows",)
        return {name: getattr(self, name) for name in (*names, *drawn) if name not in self._idle()}


# Parameters in which every run agrees with those that it reads, beside `primary_rows`.
SHARED = ("suite", "encoder", "device", "size", "rows", "threads", "precision", "max_length")


def _cuda() -> bool:
    if not any(os.path.exists(f"/dev/{name}") for name in ("nvidiactl", "dxg")):  # spares the planner importing torch
        return False
    import torch

    return torch.cuda.is_available()


@cache
def has_bf16(device: str) -> bool:
    """Tell whether a device multiplies bf16 in hardware.

    A processor that does not took 60 times as long for bf16 as for fp32.

    Args:
        device: "cpu" or "cuda".
    """
    import torch

    from auxlearn.models import devices

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known = devices.capabilities()
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


def has_tf32() -> bool:
    """Tell whether the CUDA device multiplies in TF32: NVIDIA's since Ampere, compute capability 8.0."""
    import torch

    return torch.version.cuda is not None and torch.cuda.get_device_capability() >= (8, 0)


Seeds = Annotated[list[Annotated[int, Field(ge=0)]], AfterValidator(distinct), Field(min_length=1)]


class Trained(Common):
    """Parameters that notebooks that train share."""

    batch_size: int = Field(32, ge=1)
    """rows per optimiser step"""
    lr: float = Field(1e-3, gt=0)
    """learning rate"""
    regression: Literal["unit", "raw"] = "unit"
    """scale of a regression's targets: 0 to 1, or as they are (the FastMTL code)"""
    pool: Literal["auto", "mean", "cls", "pooler"] = "auto"
    """what of the encoder's states the heads read"""
    mixing: Literal["homogeneous", "mixed"] = "homogeneous"
    """batches of one task each (MT-DNN, FastMTL), or over all tasks"""
    loss_scale: Literal["none", "log_classes"] = "none"
    """log_classes divides a loss by its value at chance"""
    idle_heads: Literal["still", "coasts"] = "still"
    """what a step does to heads of tasks that its batch has no rows of; coasts is the old torch of the authors' code"""
    keep_leaks: bool = False
    """leave in rows that also occur in dev or test (see `data.leakage`)"""
    processes: int = Field(1, ge=1)
    """processes that share each batch (data-parallel), and passes over the pool"""


class Budget(Trained):
    """How long arms are trained, and which rows judge them."""

    steps: int = Field(0, ge=0)
    """optimiser steps of every arm, in place of epochs (0: by epochs)"""
    tune_steps: int = Field(0, ge=0)
    """how many of them are on the primary alone, where an arm has such a phase"""
    stage2_epochs: int = Field(2, ge=1)
    """epochs over primary and auxiliary rows"""
    tune_epochs: int = Field(3, ge=1)
    """epochs on the primary alone after them"""
    choose: Literal["holdout", "dev", "last"] = "holdout"
    """state that is kept: best on held-out rows, best on dev (the FastMTL code), or the last"""
    looks: int = Field(10, ge=0)
    """states to choose from, spread over the last phase, as many for every arm (0: one per epoch, the authors')"""
    holdout: float = Field(0.1, gt=0, lt=0.9)
    """share of the primary's rows that is held out, the same for every arm"""

    @property
    def held_out(self) -> float:
        """The share of the primary's rows that is held out: none where no held-out row chooses the state."""
        return self.holdout if self.choose == "holdout" else 0.0

    @model_validator(mode="after")
    def _enough_steps(self) -> Self:
        if self.steps and self.tune_steps >= self.steps:
            raise ValueError(f"tune_steps: {self.tune_steps} of {self.steps} steps leave none for the other rows")
        if self.tune_steps and not self.steps:
            raise ValueError("tune_steps: say `steps` too; without it arms are trained by epochs")
        return self
