"""Parameters that notebooks share (see `studies.parameters`)."""

from __future__ import annotations

import os
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from auxlearn.errors import InputError
from auxlearn.training import key_forms


def distinct(values: list[Any]) -> list[Any]:
    """Return a list whose values all differ.

    Raises:
        ValueError: A value occurs twice.
    """
    if len(set(values)) != len(values):
        raise ValueError(f"{values} names one twice; each counts once")
    return values


class Common(BaseModel):
    """Parameters that all notebooks share.

    `rows` caps each task's training rows (0 = all); 0 threads means all cores.
    """

    model_config = ConfigDict(extra="forbid", strict=True, validate_default=True, allow_inf_nan=False)

    stage: ClassVar[str]
    # Fields that change nothing in this stage's result, and so stay out of its key.
    # (The suite is there by its fingerprint, the inputs by their own keys.)
    not_in_key: ClassVar[frozenset[str]] = frozenset({"study", "inputs", "suite"})

    suite: str = "planted"
    primary: str = "topic_side"
    auxiliaries: Annotated[list[str], AfterValidator(distinct)] = []
    encoder: str = "tiny"
    device: Literal["auto", "cpu", "cuda"] = "auto"
    study: str = "smoke"
    size: Literal["smoke", "full"] = "smoke"
    rows: int = Field(400, ge=0)
    threads: int = Field(1, ge=0)
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    max_length: int = Field(128, ge=8)
    inputs: list[str] = []

    @model_validator(mode="after")
    def _smoke_is_planted(self) -> Self:
        if self.size == "smoke" and (self.suite, self.encoder) != ("planted", "tiny"):
            raise ValueError(
                "smoke size only checks that the notebook runs, on suite 'planted' with encoder 'tiny'; for your own "
                "suite start from params/starter.yaml (size: full, with sensible rows, epochs and learning rate)"
            )
        return self

    def resolved(self, elsewhere: bool = False) -> Self:
        """Decide every "auto" for this machine; the result is what the run records and its key holds.

        `precision` becomes bf16 where the device multiplies in it, else fp32, as at smoke size.

        Args:
            elsewhere: The run will be on another machine. It may ask for a device that is not here, and must name what
                can only be seen there.

        Returns:
            A copy of the parameters.

        Raises:
            InputError: CUDA is asked for and not here, or something that only the other machine knows is left open.
        """
        device, smoke = self.device, self.size == "smoke"
        if elsewhere:
            self._decided()
        if device == "auto":
            device = "cpu" if smoke or not _cuda() else "cuda"
        elif device == "cuda" and not elsewhere and not _cuda():
            raise InputError("device: 'cuda' was asked for, but no CUDA device is here; use 'auto' or 'cpu'")
        precision = self.precision
        if precision == "auto":
            precision = "bf16" if not smoke and has_bf16(device) else "fp32"
        threads = self.threads or os.cpu_count() or 1
        return self.model_copy(update={"device": device, "precision": precision, "threads": threads})

    def _decided(self) -> None:
        if self.threads == 0:
            raise InputError("threads: 0 means all cores of this machine; name a number for jobs that run elsewhere")
        if self.device == "cuda" and self.precision == "auto" and self.size != "smoke":
            raise InputError(
                "precision: name bf16 or fp32; what a GPU elsewhere multiplies in cannot be seen from here"
            )

    def key_params(self) -> dict[str, Any]:
        """Return the parameters that this stage's result depends on, in the form that keys hold."""
        values = self.model_dump(exclude=set(self.not_in_key))
        return key_forms.forms(values)

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """List the runs that this one reads: stage, and the parameters that they must agree in."""
        return []

    def _shared(self, *more: str) -> dict[str, Any]:
        names = ("suite", "encoder", "device", "size", "rows", "threads", "precision", "max_length", *more)
        return {name: getattr(self, name) for name in names}


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

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    known: dict[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()  # absent from older releases: fp32 then
    return any(known.get(name, False) for name in ("avx512_bf16", "amx_bf16", "bf16"))


Seeds = Annotated[list[Annotated[int, Field(ge=0)]], AfterValidator(distinct), Field(min_length=1)]


class Trained(Common):
    """Parameters that notebooks that train share.

    `keep_leaks` leaves in rows that also occur in dev or test (see `data.leakage`). `processes` above 1 trains
    data-parallel (see `training.data_parallel`), each process with `threads` threads or a device of its own; a pass
    over the pool is dealt to as many (see `signals.pass_store`).
    """

    batch_size: int = Field(32, ge=1)
    lr: float = Field(1e-3, gt=0)
    regression: Literal["unit", "raw"] = "unit"
    pool: Literal["auto", "mean", "cls", "pooler"] = "auto"
    mixing: Literal["homogeneous", "mixed"] = "homogeneous"
    loss_scale: Literal["none", "log_classes"] = "none"
    keep_leaks: bool = False
    processes: int = Field(1, ge=1)


class Budget(Trained):
    """How long arms are trained, and which rows judge them.

    `steps` > 0 gives every arm of 06, weighted or not, that many optimiser steps in place of epochs, `tune_steps` of
    them on the primary alone where an arm has such a phase. All arms hold out the same rows of the primary, if `choose`
    says so.
    """

    steps: int = Field(0, ge=0)
    tune_steps: int = Field(0, ge=0)
    stage2_epochs: int = Field(2, ge=1)
    tune_epochs: int = Field(3, ge=1)
    choose: Literal["holdout", "dev", "last"] = "holdout"
    holdout: float = Field(0.1, gt=0, lt=0.9)

    @model_validator(mode="after")
    def _enough_steps(self) -> Self:
        if self.steps and self.tune_steps >= self.steps:
            raise ValueError(f"tune_steps: {self.tune_steps} of {self.steps} steps leave none for the other rows")
        if self.tune_steps and not self.steps:
            raise ValueError("tune_steps: say `steps` too; without it arms are trained by epochs")
        return self
