"""One strict model of parameters per notebook.

A notebook's `parameters` cell holds what most people change (`SHOWN`) with the model's defaults, but for what `DEMO`
says (a test checks it); everything else goes through its last parameter, the dict `settings`. Its next cell hands its
globals to `check`, which refuses unknown names and mistyped values: papermill only warns of the first, and injects
`1e-3` as text and `no` as False (YAML 1.1).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from types import FunctionType, ModuleType
from typing import Any, Self

from pydantic import BaseModel, Field, ValidationError, model_validator

from auxlearn.errors import InputError, explain, meant
from auxlearn.methods import listing, pairs_of_arms, registry
from auxlearn.methods.base import Method, WeightPolicy
from auxlearn.methods.fastmtl.options import Ranking, TDProxy
from auxlearn.methods.gradts.options import GradTS
from auxlearn.methods.tawt.options import TAWT
from auxlearn.records import runs
from auxlearn.studies.arms import MTL, Arm
from auxlearn.studies.validity import Validity, chooses
from auxlearn.training.shared_parameters import Common, Seeds, Trained

__all__ = [
    "MODELS",
    "MTL",
    "SHOWN",
    "TAWT",
    "Common",
    "DataPrep",
    "Efficiency",
    "GradTS",
    "Ranking",
    "TDProxy",
    "Trained",
    "Validity",
    "check",
    "validate",
]  # fmt: skip
# What IPython itself leaves in a notebook's globals.
_IPYTHON = {"In", "Out", "exit", "quit", "open", "get_ipython"}


class DataPrep(Common):
    """Parameters of 01, whose result does not depend on the primary."""

    stage = "01_data_prep"
    not_in_key = Common.not_in_key | {"primary", "auxiliaries", "primary_rows"}


class Efficiency(Common):
    """Parameters of 07: compares `arms` at `n` for one primary."""

    stage = "07_efficiency"
    later = {"margin": 0.0, "joined": []}

    seeds: Seeds = [0, 1]
    """seeds of the arms"""
    arms: list[Arm] = Field(["single", "step_matched", "random", "td_bce"], min_length=2)
    """arms to compare, the baseline single first"""
    n: int = Field(200, ge=1)
    """auxiliary rows at which they are compared"""
    curve: list[int] = []
    """further n, at which the arms that depend on n are read"""
    left_out: list[str] = []
    """parts of the curve that were not run, each as "ARM N\""""
    level: float = Field(0.95, gt=0.5, lt=1)
    """confidence level of the intervals"""
    tests: list[str] = []
    """pairs that are tested, each as "ARM - BASELINE" ([]: every arm against single, and contrasts; [none]: none)"""
    family: int = Field(0, ge=0)
    """tests that Holm's correction is over (0: those of this comparison; a study counts all of its comparisons)"""
    joined: list[str] = []
    """auxiliaries that joined the pool: the arms without them are read too, to tell what choosing anew runs again"""
    margin: float = Field(0.0, ge=0, lt=1)
    """an arm reaches all_data's score if it lacks less than this (0: not asked); to be declared beforehand"""
    sentence_test: bool = False
    """add the TAWT authors' test, over the dev sentences of one pair of models per seed"""

    @model_validator(mode="after")
    def _baseline(self) -> Self:
        if self.arms[0] != "single" or len(set(self.arms)) != len(self.arms):
            raise ValueError(f"arms: {self.arms} must be distinct and begin with 'single', the baseline of all others")
        possible = [f"{arm} {n}" for arm in self.arms for n in self.curve if n != self.n]
        if unknown := [entry for entry in self.left_out if entry not in possible]:
            raise ValueError(f"left_out: {unknown[0]!r} is not ARM N of another n of the curve")
        if self.joined and not set(self.joined) < set(self.auxiliaries):
            raise ValueError(f"joined: {self.joined}: name the auxiliaries there are now, these and one more at least")
        if self.margin and registry.ALL_ROWS not in self.arms:
            raise ValueError(f"margin: asks which arm reaches {registry.ALL_ROWS}, which is not among the arms")
        for pair in pairs_of_arms.declared(self.tests) or []:
            if unknown := [arm for arm in pair if arm not in self.arms]:
                raise ValueError(f"tests: {unknown[0]!r} is not among the arms, {', '.join(self.arms)}")
        if 0 < self.family < len(self.tested):
            raise ValueError(
                f"family: {self.family} tests, but {len(self.tested)} are made here alone; give the number of all, or 0"
            )
        return self

    @property
    def tested(self) -> list[tuple[str, str]]:
        """The pairs (arm, baseline) that are tested."""
        return pairs_of_arms.tested(self.arms, self.tests)

    @property
    def sized(self) -> bool:
        """Whether any of the arms depends on `n`."""
        return any(registry.uses_n(arm) for arm in self.arms)

    def key_params(self) -> dict[str, Any]:
        """Return the parameters that the comparison depends on, without `n` and the curve if no arm depends on them."""
        unused = set() if self.sized else {"n", "curve", "left_out"}
        return {k: v for k, v in super().key_params().items() if k not in unused}

    def needs(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the 06 runs that are compared, as (stage, parameters that they must agree in)."""
        wanted = self.shared("primary", "auxiliaries", "seeds")
        cells = [(arm, self.n) for arm in self.arms]
        cells += [(arm, n) for n in self.curve if n != self.n for arm in self.arms if registry.uses_n(arm)]
        cells = [(arm, n) for arm, n in cells if f"{arm} {n}" not in self.left_out]
        read = [("06_mtl", wanted | {"arm": arm, "n": n}) for arm, n in cells]
        if not self.joined:
            return read
        fewer = {"auxiliaries": [name for name in self.auxiliaries if name not in self.joined]}
        chosen = [arm for arm in self.arms if registry.parse(arm)[0].adds_rows]
        return [*read, *(("06_mtl", wanted | fewer | {"arm": arm, "n": self.n}) for arm in chosen)]


MODELS: dict[str, type[Common]] = {
    m.stage: m for m in (DataPrep, TDProxy, Ranking, GradTS, TAWT, MTL, Efficiency, Validity)
}


# What the parameters cell of each notebook shows, in this order, and then `settings`.
_ALL = ("suite", "primary", "auxiliaries", "encoder", "study", "size", "rows")
_TRAINED = ("batch_size", "lr")
_BUDGET = ("steps", "stage2_epochs", "tune_epochs", "choose", "holdout")
SHOWN: dict[str, tuple[str, ...]] = {
    "01_data_prep": (*_ALL, "max_length"),
    "02_td_proxy": (
        *_ALL, "seeds", "workers", *_TRAINED, "discriminator", "proxies", "proxy_rows", "watch_rows", "epochs",
        "map_seeds",
    ),
    "03_ranking": (*_ALL, "seeds", "discriminator", "score", "rule", "n", "exit_layers", "others"),
    "04_gradts_correlation": (
        *_ALL, "seeds", "workers", *_TRAINED, "tune_rows", "importance_rows", "epochs", "definition", "at",
        "others",
    ),
    "05_tawt_weighting": (
        *_ALL, "seeds", "workers", *_TRAINED, *_BUDGET, "paradigm", "compare_probes", "methods", "others",
    ),
    "06_mtl": (*_ALL, "seeds", "workers", *_TRAINED, "arm", "n", *_BUDGET, "methods"),
    "07_efficiency": (*_ALL, "seeds", "arms", "n", "curve", "sentence_test"),
    "08_validity": (*_ALL, "seeds", "workers", "selectors", "trials", "n", "oracle", "methods"),
}  # fmt: skip
# What a notebook may show beside its own method, and how that is told.
_BESIDE: dict[str, tuple[Callable[[Method | WeightPolicy], bool], str]] = {
    "03_ranking": (
        lambda item: isinstance(item, Method) and chooses(item.name),
        "method that chooses rows",
    ),
    "04_gradts_correlation": (
        lambda item: isinstance(item, Method) and item.scores == "tasks",
        "method that scores tasks",
    ),
    "05_tawt_weighting": (
        lambda item: isinstance(item, WeightPolicy) and not item.by and not item.aggregates,
        "policy that weighs all rows by task",
    ),
}
# With what the committed notebooks start: just enough for the planted truth to be seen, in seconds each.
_DEMO: dict[str, Any] = {"rows": 1000, "seeds": [0, 1, 2]}
_BY_EPOCHS = {"lr": 0.0007, "stage2_epochs": 8, "tune_epochs": 4, "holdout": 0.2}
DEMO: dict[str, dict[str, Any]] = {
    "01_data_prep": {"rows": 1000},
    "02_td_proxy": _DEMO | {"proxy_rows": 150, "watch_rows": 50, "epochs": 5},
    "03_ranking": _DEMO | {"n": 800, "others": ["bm25", "knn"]},
    "04_gradts_correlation": _DEMO | {"tune_rows": 300, "importance_rows": 100, "others": ["textemb", "logme"]},
    "05_tawt_weighting": _DEMO | {
        "steps": 200, "compare_probes": False, "methods": {"tawt": {"weight_every": 25}},
    },
    "06_mtl": _DEMO | _BY_EPOCHS | {"n": 800, "methods": {"single": {"epochs": 12}}},
    "07_efficiency": _DEMO | {"n": 800},
    "08_validity": _DEMO | {"n": 800, "selectors": ["random", "bm25", "td_bce", "gradts_top"]},
}  # fmt: skip
SETTINGS = "settings"
# Parameters that have become a method's option under another name.
MOVED = {"single_epochs": ("single", "epochs"), "all_data_recipe": ("all_data", "recipe")}


def validate(stage: str, given: Mapping[str, Any], plug: bool = True) -> Any:
    """Validate a stage's parameters.

    Args:
        stage: The notebook, such as `06_mtl`.
        given: Plain values by name.
        plug: Whether the plug-ins that they name are imported; of what a run folder says, they must be there already,
            if the values cannot be understood without them.

    Returns:
        The stage's model, an instance of `MODELS[stage]`.

    Raises:
        InputError: One for all unknown, mistyped or impossible values, naming each.
    """
    model = MODELS[stage]
    plugins = given.get("plugins", [])
    named = [name for name in plugins if isinstance(name, str)] if isinstance(plugins, list) else []
    if plug:
        registry.plug(named)
    if names := [name for name in given if name not in model.model_fields]:
        raise InputError(f"{stage}: {unknown(stage, names)}")
    try:
        p = model.model_validate(dict(given))
        others(p)
    except ValidationError as error:
        registry.require([] if plug else named)
        raise InputError(f"{stage}: {explain(error)}") from None
    return p


def others(p: Any) -> list[MTL]:
    """Return the arms of the methods that a notebook shows beside its own (`others`).

    What they give enters no key and is nobody's input: it is there to be looked at. Options are those of `methods`, if
    the notebook has it.

    Args:
        p: Parameters of any notebook.

    Raises:
        InputError: A name is none of those that the notebook can show beside its own.
    """
    shared = {name: getattr(p, name) for name in MTL.model_fields if name in type(p).model_fields}
    arms = []
    for name in getattr(p, "others", []):
        fits, what = _BESIDE[p.stage]
        known = [each for each in [*registry.names(), *registry.policies()] if fits(registry.get(each))]
        if name not in known:
            raise InputError(
                f"{p.stage}: others: {name!r} is no {what}{meant(name, known)}; there are {', '.join(known)}"
            )
        arms.append(MTL.model_validate(shared | {"arm": name, "inputs": []}))
    return arms


def moved(name: str) -> str:
    """Say where a name that is no parameter is to be given, if it is an option of methods; else ""."""
    option = name
    if name in MOVED:
        method, option = MOVED[name]
        homes = [method]
    elif not (homes := registry.home(name)):
        return ""
    return f"{name!r} is an option of {', '.join(homes)}; give it as methods: {{{homes[0]}: {{{option}: …}}}}"


def unknown(stage: str, names: list[str]) -> str:
    """Say of unknown parameters what was meant, as far as that can be told."""
    fields = MODELS[stage].model_fields
    if "methods" in fields and (where := moved(names[0])):
        return where
    return f"unknown parameter {', '.join(map(repr, names))}{meant(names[0], fields)}; it has {', '.join(fields)}"


def code_roots(p: Any) -> tuple[str, ...]:
    """Name the code beside its notebook's that decides a run's result: for an arm its method's and policy's."""
    return ("reporting.notebook", *(p.code_roots() if isinstance(p, (MTL, Validity)) else ()))


def for_notebook(stage: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Put parameters in the form in which the notebook takes them: those that it does not show go into `settings`.

    Args:
        stage: The notebook, such as `06_mtl`.
        values: Values by name, as from `model_dump`.

    Returns:
        What papermill injects; `settings` holds only what differs from the defaults.
    """
    shown = {name: value for name, value in values.items() if name in SHOWN[stage]}
    fields = MODELS[stage].model_fields
    rest = {name: value for name, value in values.items() if name not in shown and value != fields[name].default}
    return shown | {SETTINGS: rest}


def cell(stage: str) -> str:
    """Write the parameters cell of a notebook: its shown parameters, with the values of the demo and what they mean."""
    fields = MODELS[stage].model_fields
    values = {name: DEMO[stage].get(name, fields[name].default) for name in SHOWN[stage]} | {SETTINGS: {}}
    shown = {name: json.dumps(v) if isinstance(v, (str, list, dict)) else repr(v) for name, v in values.items()}
    lines = [f"{name} = {value}" for name, value in shown.items()]
    meanings = [" ".join((fields[name].description or "").split()) for name in SHOWN[stage]]
    meanings.append(f"any other parameter by name (auxlearn parameters {stage})")
    return "\n".join(f"{line}  # {meaning}" for line, meaning in zip(lines, meanings, strict=True))


def described(stage: str) -> str:
    """Describe every parameter of a notebook, and every option of its methods, with meaning and default."""
    if stage not in MODELS:
        raise InputError(no_notebook(stage))
    model = MODELS[stage]
    lines = [f"{stage}: {(model.__doc__ or '').strip().splitlines()[0]}", ""]
    for title, names in (
        ("in the notebook's first cell", SHOWN[stage]),
        ("through `settings`", [name for name in model.model_fields if name not in SHOWN[stage]]),
    ):
        lines += [f"{title}:", *listing.fields(model, names), ""]
    if "methods" in model.model_fields:
        lines.append("through `methods`, by method or family:")
        alike: dict[tuple[type[BaseModel], str], list[str]] = {}  # methods of a family with the same options
        for name in [*registry.names(), *registry.policies()]:
            item = registry.get(name)
            if item.Options.model_fields:
                alike.setdefault((item.Options, item.family), []).append(name)
        for (options, family), names in alike.items():
            lines += [f"  {', '.join(names)}" + f" (family {family})" * bool(family), *listing.fields(options)]
    return "\n".join(lines).rstrip()


def no_notebook(name: str) -> str:
    """Say that no notebook has a name, and what was meant."""
    return f"no notebook is called {name!r}{meant(name, MODELS)}; there are {', '.join(MODELS)}"


def flat(stage: str, injected: Mapping[str, Any]) -> dict[str, Any]:
    """Undo `for_notebook`: return parameters by name, those of `settings` among them.

    Args:
        stage: The notebook, such as `06_mtl`.
        injected: Values by name, as papermill injects them.

    Returns:
        Plain values by name.

    Raises:
        InputError: `settings` is no dict, or names a parameter that is also given outside it.
    """
    given = dict(injected)
    settings = given.pop(SETTINGS, {})
    if not isinstance(settings, dict):
        raise InputError(f"{stage}: settings: {settings!r} is not a dict of parameters by name")
    if twice := [name for name in settings if name in SHOWN[stage] or name in given]:
        raise InputError(f"{stage}: settings: {twice[0]!r} has a line of its own; set it there")
    return given | settings


def of_runs(manifests: Iterable[runs.Manifest]) -> list[Common]:
    """Read the parameters of runs, and of the notebooks' runs that these read in turn.

    Args:
        manifests: Manifests of finished runs.

    Returns:
        Checked parameters, one entry per run.
    """
    found: dict[str, Common] = {}
    queue = list(manifests)
    while queue:
        manifest = queue.pop(0)
        if manifest.stage in MODELS and manifest.label not in found:
            found[manifest.label] = validate(manifest.stage, manifest.params, plug=False)
            queue += [runs.load(each["stage"], each["key"]) for each in manifest.inputs if each["stage"] in MODELS]
    return list(found.values())


def check(stage: str, namespace: Mapping[str, Any]) -> Any:
    """Read a notebook's parameters from its globals; every name that a person or papermill put there must be known.

    Args:
        stage: The notebook, such as `06_mtl`.
        namespace: The notebook's `globals()`.

    Returns:
        The stage's model, an instance of `MODELS[stage]`.

    Raises:
        InputError: If an import hides a parameter, or as from `validate`.
    """
    hidden = [n for n, v in namespace.items() if n in MODELS[stage].model_fields and isinstance(v, ModuleType)]
    if hidden:
        raise InputError(f"{stage}: the import of {hidden[0]!r} hides the parameter of that name; import it otherwise")
    given = {
        name: value for name, value in namespace.items()
        if not name.startswith("_") and name not in _IPYTHON
        and not isinstance(value, (ModuleType, FunctionType, type))
    }  # fmt: skip
    return validate(stage, flat(stage, given))
