"""What a call asks for, as the cells of a study: the same parameters, checks and keys as those of the notebooks."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydantic import ValidationError

from auxlearn.api import recipes
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError, explain, meant
from auxlearn.methods import registry
from auxlearn.studies import graph, parameters
from auxlearn.studies.expansion import Cell
from auxlearn.studies.study_file import StudyFile

TABLES = ("notebooks", "method_options", "plugins")  # as a study file has them: `notebooks`, `methods`, `plugins`
# What calls have arguments for, or have no use for.
TAKEN = {"suite", "primary", "encoder", "device", "seeds", "arm", "arms", "n", "study", "size", "inputs", "workers"}
UNUSED = {"curve", "left_out", "sentence_test", "map_rows", "map_seeds", "compare_probes", "also", "paradigm"}


def requested_cells(
    suite: Suite, primary: str, arms: Sequence[str], n: int, seeds: Sequence[int], encoder: str, device: str,
    options: Mapping[str, Any], compared: bool, added: Sequence[str] = (),
) -> list[Cell]:  # fmt: skip
    """Find the cells of a call, all parameters checked.

    Args:
        suite: The suite, before any cap.
        primary: The task that is to be helped.
        arms: Names of arms.
        n: Auxiliary rows.
        seeds: Seeds.
        encoder: The encoder.
        device: What computes.
        options: Options of the arms' methods and parameters of notebooks, by name; or in tables (`TABLES`).
        compared: Whether the arms are compared.
        added: Those of the arms that the user has not named: an option by its name alone is never theirs.

    Returns:
        The cells, upstream first; where arms are compared, the comparison's is last and reads theirs in order.

    Raises:
        InputError: A name or value is wrong; it says what was meant.
    """
    need_suite(suite)
    suite.index(primary)
    if not isinstance(encoder, str) or not encoder:
        raise InputError(f"encoder: {encoder!r} is no name; give minilm, tiny, a Hugging Face name or a folder")
    registry.plug(_plugins(options))
    for arm in arms:
        _parsed(arm)
    recipe = recipes.of(encoder)
    notebooks = {stage: dict(recipe.notebooks.get(stage, {})) for stage in parameters.MODELS}
    methods = {name: dict(own) for name, own in recipe.methods.items()}
    fitting = {s: m for s, m in parameters.MODELS.items() if s != "08_validity" and (compared or s != "07_efficiency")}
    known = {name for model in fitting.values() for name in model.model_fields} - UNUSED
    for name, value in options.items():
        if name not in TABLES:
            _place(name, value, [arm for arm in arms if arm not in added], known, notebooks, methods)
    for table, own in ((notebooks, options.get("notebooks", {})), (methods, options.get("method_options", {}))):
        for name, values in _table(own).items():
            if table is notebooks and (taken := sorted(TAKEN & values.keys())):
                raise InputError(f"notebooks.{name}: {taken[0]}: the call has an argument for it, or no use")
            table[name] = table.get(name, {}) | values
    base = {"suite": suite.name, "primary": primary, "encoder": encoder, "device": device, "size": "full", "rows": 0}
    base |= {"seeds": [_whole(seed) for seed in seeds]}
    stages = ["06_mtl", "07_efficiency"] if compared else ["06_mtl"]
    try:
        file = StudyFile(
            study="call", base=base, grid={"arm": list(arms), "n": [_whole(n)]}, stages=stages, notebooks=notebooks,
            methods=methods, plugins=_plugins(options),
        )  # fmt: skip
    except ValidationError as error:
        raise InputError(explain(error)) from None
    found = graph.of_suite(file, suite)
    _say_unread(
        options, {cell.params.stage for cell in found} | {p.stage for cell in found for p in upstream(cell)}, arms
    )
    return found


def _check_value(name: str, value: Any) -> None:
    """Refuse a value that no notebook with such a parameter takes, whether one reads it here or not."""
    faults = []
    for stage, model in parameters.MODELS.items():
        if name in model.model_fields:
            try:
                parameters.validate(stage, {name: value})
            except InputError as error:
                faults.append(str(error))
            else:
                return
    if faults:
        raise InputError(faults[0])


def _say_unread(options: Mapping[str, Any], stages: set[str], arms: Sequence[str]) -> None:
    """Warn of parameters of notebooks that nothing which runs reads: arms are trained as if they were not given."""
    for name in options:
        if name in TABLES or any(name in item.Options.model_fields for arm in arms for item in _parsed(arm) if item):
            continue
        has = [stage for stage, model in parameters.MODELS.items() if name in model.model_fields]
        if not stages & set(has):
            warnings.warn(f"{name}: read by none of {', '.join(arms)}, but by {', '.join(has)} alone", stacklevel=4)


def need_suite(suite: Any) -> None:
    """Refuse what is no suite.

    Raises:
        InputError: It is something else.
    """
    if not isinstance(suite, Suite):
        raise InputError(
            f"suite: a Suite is needed, such as auxlearn.planted() or Suite.from_yaml(FILE), not {suite!r}"
        )


def upstream(cell: Cell) -> list[Any]:
    """List the parameters of all that a cell reads, directly and through others."""
    found: dict[str, Any] = {}
    queue = list(cell.reads)
    while queue:
        each = queue.pop(0)
        if each.key not in found:
            found[each.key] = each.params
            queue += each.reads
    return list(found.values())


def _whole(value: Any) -> Any:
    """Return NumPy's whole numbers as Python's, which parameters and keys hold; anything else as it is."""
    return int(value) if isinstance(value, np.integer) else value


def _parsed(arm: Any) -> tuple[Any, Any]:
    try:
        return registry.parse(arm)
    except ValueError as error:
        raise InputError(f"method: {error}") from None
    except AttributeError:
        raise InputError(f"method: {arm!r} is no name; give one such as 'td_bce'") from None


def _plugins(options: Mapping[str, Any]) -> list[str]:
    plugins = options.get("plugins", [])
    if not isinstance(plugins, list) or not all(isinstance(name, str) for name in plugins):
        raise InputError(f"plugins: {plugins!r} is no list of modules or .py files")
    return plugins


def _table(given: Any) -> dict[str, dict[str, Any]]:
    if not isinstance(given, Mapping) or not all(isinstance(own, Mapping) for own in given.values()):
        raise InputError(f"{given!r} is no table of values by name, such as {{'02_td_proxy': {{'epochs': 4}}}}")
    return {name: dict(own) for name, own in given.items()}


def _place(
    name: str, value: Any, arms: Sequence[str], known: set[str], notebooks: dict[str, dict[str, Any]],
    methods: dict[str, dict[str, Any]],
) -> None:  # fmt: skip
    """Put an option among those of the methods that have it; else among the parameters of all notebooks that do."""
    items = {item.name: item for arm in arms for item in _parsed(arm) if item is not None}
    own = [field for item in items.values() for field in item.Options.model_fields]
    there = [
        option for option in dict.fromkeys([*own, *sorted(known), *TABLES]) if option in own or option not in TAKEN
    ]
    if having := [item for item in items.values() if name in item.Options.model_fields]:
        for item in having:
            methods[item.name] = methods.get(item.name, {}) | {name: value}
    elif name in TAKEN:
        raise InputError(f"{name}: no option; the call has an argument for it, or no use. Options: {', '.join(there)}")
    elif name not in known:
        what = f"no option of {', '.join(arms)} and no parameter of a notebook"
        raise InputError(f"{name!r} is {what}{meant(name, there)}; there are {', '.join(there)}")
    else:
        _check_value(name, value)
        for stage, model in parameters.MODELS.items():
            if name in model.model_fields:
                notebooks[stage][name] = value
