"""One strict model of parameters a notebook.

A notebook's `parameters` cell holds the smoke defaults, equal to the model's (a test says so). Its next cell hands its
globals to `check`, which refuses unknown names and mistyped values: papermill only warns of the first and injects
`1e-3` as text and `no` as False (YAML 1.1).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from types import FunctionType, ModuleType
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from .errors import InputError
from .specs import explain

# Arms that read a ranking are RULE_DISCRIMINATOR: td (the n best), quota (the best of each task, in proportion to its
# size), calibrated (scores standardised a task), and the controls cie and matched, which replace the td rows by random
# ones of the same task, or of the same task, label and length.
Arm = Literal[
    "single", "step_matched", "random", "all_data",
    "td_bce", "td_ce", "quota_bce", "quota_ce", "calibrated_bce", "calibrated_ce",
    "cie_bce", "cie_ce", "matched_bce", "matched_ce",
    "gradts_thres", "gradts_trial", "gradts_fg", "gradts_proxy",
    "autosem_p1", "autosem",
]  # fmt: skip
RULES = {"td": "global", "cie": "global", "matched": "global", "quota": "quota", "calibrated": "calibrated"}
# What IPython itself leaves in a notebook's globals.
_IPYTHON = {"In", "Out", "exit", "quit", "open", "get_ipython"}


def _distinct(values: list[Any]) -> list[Any]:
    if len(set(values)) != len(values):
        raise ValueError(f"{values} names one twice; each counts once")
    return values


class Common(BaseModel):
    """What all notebooks share. `rows` caps each task's training rows (0 = all); 0 threads means all cores."""

    model_config = ConfigDict(extra="forbid", strict=True, validate_default=True)

    stage: ClassVar[str]
    # Fields that change nothing in this stage's result, and so stay out of its key.
    # (The suite is there by its fingerprint, the inputs by their own keys.)
    not_in_key: ClassVar[frozenset[str]] = frozenset({"study", "inputs", "suite"})

    suite: str = "planted"
    primary: str = "topic_side"
    auxiliaries: Annotated[list[str], AfterValidator(_distinct)] = []
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

    def resolved(self) -> Self:
        """The same with every "auto" decided for this machine: what the run records and its key holds."""
        device, smoke = self.device, self.size == "smoke"
        if device == "auto":
            device = "cpu" if smoke or not _cuda() else "cuda"
        elif device == "cuda" and not _cuda():
            raise InputError("device: 'cuda' was asked for, but no CUDA device is here; use 'auto' or 'cpu'")
        precision = self.precision if self.precision != "auto" else "fp32" if smoke else "bf16"
        threads = self.threads or os.cpu_count() or 1
        return self.model_copy(update={"device": device, "precision": precision, "threads": threads})

    def key_params(self) -> dict[str, Any]:
        """The parameters that this stage's result depends on."""
        kept = self.model_dump(exclude=set(self.not_in_key))
        if "auxiliaries" in kept:
            kept["auxiliaries"] = sorted(kept["auxiliaries"])
        if any(map(os.path.isdir, (self.encoder, self.encoder.rpartition(":")[0]))):
            from .model import encoder_fingerprint

            kept["encoder"] = encoder_fingerprint(self.encoder)
        return kept

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """The runs that this one reads: stage, and the parameters that they must agree in."""
        return []

    def _shared(self, *more: str) -> dict[str, Any]:
        names = ("suite", "encoder", "device", "size", "rows", "threads", "precision", "max_length", *more)
        return {name: getattr(self, name) for name in names}


def _cuda() -> bool:
    if not any(os.path.exists(f"/dev/{name}") for name in ("nvidiactl", "dxg")):  # spares the planner importing torch
        return False
    import torch

    return torch.cuda.is_available()


Seeds = Annotated[list[Annotated[int, Field(ge=0)]], AfterValidator(_distinct), Field(min_length=1)]


class DataPrep(Common):
    stage = "01_data_prep"
    not_in_key = Common.not_in_key | {"primary", "auxiliaries"}


class Trained(Common):
    """What notebooks that train share. `keep_leaks` leaves rows in that also stand in dev or test (see `leakage`)."""

    batch_size: int = Field(32, ge=1)
    lr: float = Field(1e-3, gt=0)
    regression: Literal["unit", "raw"] = "unit"
    pool: Literal["auto", "mean", "cls", "pooler"] = "auto"
    mixing: Literal["homogeneous", "mixed"] = "homogeneous"
    loss_scale: Literal["none", "log_classes"] = "none"
    keep_leaks: bool = False


class TDProxy(Trained):
    """The proxy sees every task of the suite, so one serves any primary and any choice of auxiliaries.

    `proxies` "crossfit": two proxies on disjoint halves of the pool, each scoring the half that it was not drawn from,
    so that every row is scored and none by a proxy that has seen it; "one": the authors' single proxy, whose rows then
    leave the pool. `map_rows` rows a task are drawn into a map of the features, beside those of a proxy without
    discriminator, for the seeds in `map_seeds`.
    """

    stage = "02_td_proxy"
    not_in_key = Common.not_in_key | {"primary", "auxiliaries"}

    seed: int = Field(0, ge=0)
    discriminator: Literal["bce", "ce"] = "bce"
    proxies: Literal["crossfit", "one"] = "crossfit"
    proxy_rows: int = Field(60, ge=2)
    watch_rows: int = Field(40, ge=2)
    epochs: int = Field(3, ge=1)
    disc_weight: float = Field(1.0, gt=0)
    map_rows: int = Field(40, ge=2)
    map_seeds: list[int] = [0]


class Ranking(Common):
    stage = "03_ranking"

    seed: int = Field(0, ge=0)
    discriminator: Literal["bce", "ce"] = "bce"
    score: Literal["auto", "sigmoid", "softmax", "margin"] = "auto"
    rule: Literal["global", "quota", "calibrated"] = "global"
    n: int = Field(200, ge=1)
    keep_leaks: bool = False

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        return [("02_td_proxy", self._shared("seed", "discriminator", "keep_leaks"))]

    def score_kind(self) -> Literal["sigmoid", "softmax", "margin"]:
        """ "auto" is the right one for the loss: sigmoid for BCE, softmax for CE (the authors use sigmoid for both)."""
        if self.score != "auto":
            return self.score
        return "sigmoid" if self.discriminator == "bce" else "softmax"


Definition = Literal["gate", "kv_rows", "kv_columns"]


class GradTS(Trained):
    """Head importance of every task of the suite, each by a model tuned on that task alone, for each of `seeds`.

    `dropout` on while measuring is the authors' way, as is the definition "kv_columns" (see `importance`). `at` "proxy"
    is not GradTS but a cheaper relative, gradts_proxy: importance is read off FastMTL's shared proxy, of two
    cross-fitted ones the one that has not seen the row, and no task is tuned alone. `also` names further encoders, of
    which only the order of the tasks is compared.
    """

    stage = "04_gradts_correlation"
    not_in_key = Common.not_in_key | {"primary", "auxiliaries", "mixing"}

    seeds: Seeds = [0, 1]
    tune_rows: int = Field(100, ge=0)
    importance_rows: int = Field(60, ge=0)
    epochs: int = Field(3, ge=1)
    dropout: bool = False
    definition: Definition = "gate"
    at: Literal["task", "proxy"] = "task"
    also: list[str] = []

    @model_validator(mode="after")
    def _other_encoders(self) -> Self:
        if self.also and self.at == "proxy":
            raise ValueError("also: other encoders have no proxy to read importance from; use [] with at: proxy")
        return self

    def key_params(self) -> dict[str, Any]:
        alone = {"batch_size", "lr", "regression", "pool", "loss_scale", "tune_rows", "epochs"}
        return {k: v for k, v in super().key_params().items() if self.at == "task" or k not in alone}

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        if self.at == "task":
            return []
        wanted = self._shared("keep_leaks") | {"discriminator": "bce"}
        return [("02_td_proxy", wanted | {"seed": seed}) for seed in self.seeds]


class MTL(Trained):
    """One (primary, arm, n), over `seeds`.

    The switches' first values are the corrected ones. As the FastMTL code has it: `choose` dev, `seed_policy` fixed (84
    for stage 2 and 42 for tuning whatever the seed, so that seeds vary the selection alone), `regression` raw.
    `all_data_recipe` mtdnn trains the all-data arm as MT-DNN does: Adamax at `mtdnn_lr` with warm-up.

    The gradts arms read `definition` from 04. thres takes the tasks whose tau with the primary reaches
    `task_threshold`; trial trains nested prefixes of at most `trial_most` tasks and judges them on rows held out from
    train; fg keeps the `fg_fraction` of rows with the highest tau of the tasks that `fg_tasks` names. Each then
    draws n rows of what it has chosen, so that all arms have one budget. gradts_proxy is thres with importance read at
    the shared proxy.

    The autosem arms ask a bandit (`bandit_rounds` of `bandit_batches` batches, at most `bandit_most` tasks kept),
    judged on rows held out from train. autosem_p1 draws n rows of the tasks it keeps; autosem searches, in
    `ratio_trials` trainings of the arm's own length, for the share of stage 2's steps that each task gets.
    `autosem_rule` paper is what the authors' code does (see `autosem`, `ratios`); their `bandit_decay` is 0.3.
    """

    stage = "06_mtl"

    seeds: Seeds = [0, 1]
    arm: Arm = "td_bce"
    n: int = Field(200, ge=1)
    stage2_epochs: int = Field(2, ge=1)
    tune_epochs: int = Field(3, ge=1)
    single_epochs: int = Field(5, ge=1)
    choose: Literal["holdout", "dev", "last"] = "holdout"
    holdout: float = Field(0.1, gt=0, lt=0.5)
    seed_policy: Literal["separate", "fixed"] = "separate"
    all_data_recipe: Literal["same", "mtdnn"] = "same"
    mtdnn_lr: float = Field(5e-5, gt=0)
    keep_model: bool = False
    definition: Definition = "gate"
    task_threshold: float = Field(0.5, ge=-1, le=1)
    trial_rule: Literal["corrected", "code"] = "corrected"
    trial_patience: int = Field(1, ge=1)
    trial_most: int = Field(4, ge=1)
    fg_tasks: Literal["trial", "thres", "all"] = "trial"
    fg_fraction: float = Field(0.7, gt=0, le=1)
    autosem_rule: Literal["corrected", "paper"] = "corrected"
    bandit_rounds: int = Field(20, ge=1)
    bandit_batches: int = Field(2, ge=1)
    bandit_decay: float = Field(0.05, ge=0, lt=1)
    bandit_most: int = Field(3, ge=1)
    ratio_trials: int = Field(3, ge=1)
    ratio_highest: int = Field(20, ge=1)

    @property
    def gradts(self) -> bool:
        return self.arm.startswith("gradts_")

    @property
    def autosem(self) -> bool:
        return self.arm in ("autosem_p1", "autosem")

    @property
    def searches(self) -> bool:
        """Whether the arm trains in order to choose, and so holds rows out whatever `choose` says."""
        return self.autosem or self.arm == "gradts_trial" or (self.arm == "gradts_fg" and self.fg_tasks == "trial")

    @property
    def discriminator(self) -> str | None:
        """Of the ranking that the arm reads; None where it reads none."""
        rule, _, kind = self.arm.partition("_")
        return kind if rule in RULES else None

    def key_params(self) -> dict[str, Any]:
        unused = {"single_epochs"} if self.arm != "single" else set()
        if self.arm == "single":
            unused |= {"n", "stage2_epochs", "tune_epochs"}
        if self.arm in ("single", "step_matched"):
            unused |= {"auxiliaries", "mixing"}
        if self.arm == "all_data":
            unused.add("n")
        if self.arm != "all_data" or self.all_data_recipe == "same":
            unused.add("mtdnn_lr")
        if self.arm != "all_data":
            unused.add("all_data_recipe")
        if self.choose != "holdout" and not self.searches:
            unused.add("holdout")
        if not self.gradts:
            unused |= {"definition"}
        if not (self.gradts and self.searches):
            unused |= {"trial_rule", "trial_patience", "trial_most"}
        by_threshold = self.arm in ("gradts_thres", "gradts_proxy")
        if not by_threshold and not (self.arm == "gradts_fg" and self.fg_tasks == "thres"):
            unused.add("task_threshold")
        if self.arm != "gradts_fg":
            unused |= {"fg_tasks", "fg_fraction"}
        if not self.autosem:
            unused |= {"autosem_rule", "bandit_rounds", "bandit_batches", "bandit_decay", "bandit_most"}
        if self.arm != "autosem":
            unused |= {"ratio_trials", "ratio_highest"}
        return {k: v for k, v in super().key_params().items() if k not in unused}

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        if self.gradts:
            wanted = self._shared("seeds", "keep_leaks", "definition")
            return [("04_gradts_correlation", wanted | {"at": "proxy" if self.arm == "gradts_proxy" else "task"})]
        if not self.discriminator:
            return []
        rule = RULES[self.arm.partition("_")[0]]
        wanted = self._shared("primary", "auxiliaries", "n", "keep_leaks")
        wanted |= {"discriminator": self.discriminator, "rule": rule}
        return [("03_ranking", wanted | {"seed": seed}) for seed in self.seeds]


class Efficiency(Common):
    """Compares `arms` at `n` for one primary; `curve` adds other n, at which those arms are read that depend on n."""

    stage = "07_efficiency"

    seeds: Seeds = [0, 1]
    arms: list[Arm] = Field(["single", "random", "td_bce"], min_length=2)
    n: int = Field(200, ge=1)
    curve: list[int] = []
    level: float = Field(0.95, gt=0.5, lt=1)

    @model_validator(mode="after")
    def _baseline(self) -> Self:
        if self.arms[0] != "single" or len(set(self.arms)) != len(self.arms):
            raise ValueError(f"arms: {self.arms} must be distinct and begin with 'single', the baseline of all others")
        return self

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        wanted = self._shared("primary", "auxiliaries", "seeds")
        cells = [(arm, self.n) for arm in self.arms]
        cells += [(arm, n) for n in self.curve if n != self.n for arm in self.arms if arm not in ("single", "all_data")]
        return [("06_mtl", wanted | {"arm": arm, "n": n}) for arm, n in cells]


MODELS: dict[str, type[Common]] = {m.stage: m for m in (DataPrep, TDProxy, Ranking, GradTS, MTL, Efficiency)}


def validate(stage: str, given: Mapping[str, Any]) -> Any:
    """The stage's parameters from plain values; unknown, mistyped or impossible ones are one InputError naming each."""
    model = MODELS[stage]
    unknown = [name for name in given if name not in model.model_fields]
    if unknown:
        raise InputError(
            f"{stage}: unknown parameter {', '.join(map(repr, unknown))}; it has {', '.join(model.model_fields)}"
        )
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise InputError(f"{stage}: {explain(error)}") from None


def check(stage: str, namespace: Mapping[str, Any]) -> Any:
    """A notebook's parameters from its globals: every name a person or papermill put there must be known."""
    hidden = [n for n, v in namespace.items() if n in MODELS[stage].model_fields and isinstance(v, ModuleType)]
    if hidden:
        raise InputError(f"{stage}: the import of {hidden[0]!r} hides the parameter of that name; import it otherwise")
    given = {
        name: value for name, value in namespace.items()
        if not name.startswith("_") and name not in _IPYTHON
        and not isinstance(value, (ModuleType, FunctionType, type))
    }  # fmt: skip
    return validate(stage, given)
