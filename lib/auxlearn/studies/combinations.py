"""Which runs of each notebook a study file asks for: base, grid, exclude and blocks become parameters, unvalidated."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from auxlearn.errors import InputError, meant
from auxlearn.methods import registry
from auxlearn.methods.fastmtl.options import RankedOptions
from auxlearn.methods.registry import uses_n
from auxlearn.studies import parameters
from auxlearn.studies.study_file import StudyFile
from auxlearn.training.shared_parameters import SHARED

# Notebooks that may be run once per seed, because what reads them asks for one seed at a time.
OPTION = "methods."  # and METHOD.OPTION: a grid's axis over one option
AGREED = {*SHARED, "primary", "primary_rows", "seeds"}
PER_SEED = ("02_td_proxy", "03_ranking", "04_gradts_correlation", "05_tawt_weighting")


def check(file: StudyFile) -> None:
    """Check a study file's names and lists before anything is combined.

    Args:
        file: The study file.

    Raises:
        InputError: For a parameter or notebook that does not exist, a grid entry without values, `seeds` that are not a
            list, or an `exclude` that names something outside the grid.
    """
    registry.plug(file.plugins)
    known = {name for model in parameters.MODELS.values() for name in model.model_fields}
    for part in ("base", "grid"):
        for name in getattr(file, part):
            if part == "grid" and name.startswith(OPTION):
                _check_option(name, file.grid[name])
            elif name not in known:
                if where := parameters.moved(name):
                    raise InputError(f"{part}: {where}")
                raise InputError(f"{part}: no notebook has a parameter {name!r}{meant(name, known)}")
    for name, values in file.grid.items():
        if not values:
            raise InputError(f"grid: {name} has no values")
        if twice := [value for i, value in enumerate(values) if value in values[:i]]:
            raise InputError(f"grid: {name} has {twice[0]!r} twice")
    if not (isinstance(listed := file.base.get("seeds", [0]), list) and listed):
        raise InputError(f"base: seeds: {listed!r} is not a list of seeds, such as [0, 1, 2]")
    for row in file.exclude:
        if unknown := set(row) - set(file.grid):
            names = sorted(unknown)
            raise InputError(f"exclude: {', '.join(names)} is not in grid{meant(names[0], file.grid)}")
        if not row:
            raise InputError("exclude: an entry is empty; name an axis of grid and a value of it, or leave it out")
        for name, value in row.items():
            # What 07 names itself may be left out too.
            own = file.notebooks.get("07_efficiency", {}).get({"n": "curve", "arm": "arms"}.get(name, ""), [])
            if isinstance(own, list) and value not in (values := [*file.grid[name], *own]):
                near = meant(value, [one for one in values if isinstance(one, str)]) if isinstance(value, str) else ""
                raise InputError(f"exclude: {name}: {value!r} is not in grid{near}")
    for stage in (*file.stages, *file.notebooks, *file.per_seed):
        if stage not in parameters.MODELS:
            raise InputError(parameters.no_notebook(stage))
    if refused := [stage for stage in file.per_seed if stage not in PER_SEED]:
        raise InputError(f"per_seed: {refused[0]} has all seeds in one run; there may stand {', '.join(PER_SEED)}")
    try:
        registry.check_tables(file.methods)
    except ValueError as error:
        raise InputError(str(error)) from None
    for stage, block in file.notebooks.items():
        if unknown := set(block) - set(parameters.MODELS[stage].model_fields):
            raise InputError(f"notebooks.{stage}: {parameters.unknown(stage, sorted(unknown))}")
        if also := sorted((set(block) & set(file.grid)) - {"methods"}):
            raise InputError(f"notebooks.{stage}: {also[0]} is an axis of grid; leave it out of one of the two")
    _check_agreed(file)


def _check_agreed(file: StudyFile) -> None:
    """Refuse blocks that give one notebook what all must agree in: others would read runs that lack it."""
    stages = [stage for stage in parameters.MODELS if stage != "01_data_prep"]
    for stage, block in file.notebooks.items():
        for name in sorted(AGREED & set(block)):
            has = [other for other in stages if name in parameters.MODELS[other].model_fields]
            usual = file.base.get(name)
            if any(file.notebooks.get(other, {}).get(name, usual) != block[name] for other in has):
                raise InputError(
                    f"notebooks.{stage}: {name} has to be the same in all notebooks, as they read one another; give it "
                    "in base"
                )


def _check_option(axis: str, values: list[Any]) -> None:
    _, method, *option = axis.split(".")
    if len(option) != 1:
        raise InputError(f"grid: {axis}: write methods.METHOD.OPTION, such as methods.single.epochs")
    for value in values:
        try:
            registry.check_tables({method: {option[0]: value}})
        except ValueError as error:
            raise InputError(f"grid: {error}") from None


def swept(file: StudyFile) -> list[tuple[str, str]]:
    """List the options, as (method or family, option), that are axes of a study's grid."""
    return [(method, option) for _, method, option in (n.split(".") for n in file.grid if n.startswith(OPTION))]


def _folded(params: dict[str, Any]) -> dict[str, Any]:
    """Put options that are axes of the grid among the options by method."""
    folded = {name: value for name, value in params.items() if not name.startswith(OPTION)}
    for name, value in params.items():
        if name.startswith(OPTION):
            _, method, option = name.split(".")
            tables = folded.get("methods", {})
            own = tables.get(method, {}) if isinstance(tables, dict) else None
            if not isinstance(own, dict):
                raise InputError(f"methods: {tables!r} holds no options by method, to which {name} could be added")
            folded["methods"] = tables | {method: own | {option: value}}
    return folded


def defaults(file: StudyFile, stage: str) -> dict[str, Any]:
    """Collect what a study file says of one notebook's parameters outside its grid.

    Args:
        file: The study file.
        stage: The notebook, such as `06_mtl`.

    Returns:
        Parameters by name, unvalidated: `base`, then the study's name, then the notebook's own block.
    """
    fields = parameters.MODELS[stage].model_fields
    params = {k: v for k, v in file.base.items() if k in fields}
    if "primary" in file.grid:  # for a stage that serves every primary, any will do
        params.setdefault("primary", file.grid["primary"][0])
    if file.plugins:
        params["plugins"] = file.plugins
    params |= {"study": file.study} | file.notebooks.get(stage, {})
    if "methods" in fields and (methods := _as_candidates(file, _options(file, stage))):
        params["methods"] = methods
    return params


def _options(file: StudyFile, stage: str, axis: Any = None) -> Any:
    """Return a notebook's options by method: those of `base`, `methods`, its own block and the grid, the last wins."""
    merged: dict[str, Any] = {}
    for tables in (file.base.get("methods"), file.methods, file.notebooks.get(stage, {}).get("methods"), axis):
        if not isinstance(tables, Mapping):
            if tables is None:
                continue
            return tables  # which validation refuses
        for method, own in tables.items():
            both = isinstance(own, Mapping) and isinstance(merged.get(method), Mapping)
            merged[method] = merged[method] | own if both else own
    return merged


def _as_candidates(file: StudyFile, options: Any) -> Any:
    """Let `random` draw from what the ranking that it is compared with may choose, unless the file says otherwise.

    A single proxy's own rows leave the pool of the ranking, and so that of its control.
    """
    arms = file.grid.get("arm", [])
    if "random" not in arms or not all(isinstance(own, Mapping) for own in options.values()):
        return options
    told = options.get("random", {})
    if "candidates_of" in told:
        return options
    ranking = next(filter(None, (_ranking_of_one(file, arm, options) for arm in arms)), None)
    return options | {"random": told | {"candidates_of": ranking}} if ranking else options


def _ranking_of_one(file: StudyFile, arm: Any, tables: Mapping[str, Mapping[str, Any]]) -> str | None:
    """Return the method of an arm that ranks by a single proxy; None for any other."""
    try:
        method = registry.parse(arm)[0]
    except (ValueError, AttributeError):  # said where arms are validated
        return None
    try:
        options = registry.options(method, tables)
    except ValueError:  # as above
        return None
    if not isinstance(options, RankedOptions):
        return None
    given = file.base | file.notebooks.get("02_td_proxy", {}) | file.notebooks.get("03_ranking", {})
    told = given.get("proxies") if options.proxies == "any" else None
    return method.name if "one" in (told, options.proxies) else None


def combinations(file: StudyFile, stage: str) -> Iterator[dict[str, Any]]:
    """Yield the parameters of every run of a notebook that the study file asks for, as written.

    Args:
        file: The study file.
        stage: The notebook, such as `06_mtl`.

    Yields:
        Parameters by name, unvalidated; what `exclude` names is left out.

    Raises:
        InputError: If `exclude` leaves 07 without its baseline.
    """
    fields = parameters.MODELS[stage].model_fields
    axes = {k: v for k, v in file.grid.items() if k in fields or (k.startswith(OPTION) and "methods" in fields)}
    if stage in file.per_seed and "seeds" in file.base:
        axes["seeds"] = [[seed] for seed in file.base["seeds"]]
    common = defaults(file, stage)
    if "arms" in fields and "arm" in file.grid:
        common.setdefault("arms", file.grid["arm"])
    if "curve" in fields and len(file.grid.get("n", ())) > 1:
        common.setdefault("curve", file.grid["n"])
    for values in itertools.product(*axes.values()):
        params = common | dict(zip(axes, values, strict=True))
        if _excluded(file, params):
            continue
        if stage == "07_efficiency" and file.exclude:
            params = _compared(file, params)
            if len(params["arms"]) < 2:  # beside the baseline alone there is nothing to compare
                continue
        if "methods" in axes:
            params["methods"] = _as_candidates(file, _options(file, stage, params["methods"]))
        yield _folded(params)


def _excluded(file: StudyFile, given: Mapping[str, Any]) -> bool:
    return any(row and set(row) <= set(given) and row.items() <= given.items() for row in file.exclude)


def _compared(file: StudyFile, given: dict[str, Any]) -> dict[str, Any]:
    """Return 07's parameters without the arms, and the n of its curve, that `exclude` names.

    An arm that does not depend on n is one training for all of them, and stays unless all of them are excluded.
    """
    p = parameters.validate("07_efficiency", given)

    def gone(arm: str, n: int) -> bool:
        return _excluded(file, given | {"arm": arm, "n": n})

    arms = [
        arm for arm in p.arms
        if not all(gone(arm, n) for n in ([p.n] if uses_n(arm) else file.grid.get("n", [p.n])))
    ]  # fmt: skip
    if "single" not in arms:
        raise InputError("exclude: leaves out single at every n, but 07_efficiency compares with it")
    curve = [n for n in p.curve if n == p.n or not _excluded(file, given | {"n": n})]
    out = [f"{arm} {n}" for n in curve for arm in arms if n != p.n and uses_n(arm) and gone(arm, n)]
    out += [entry for arm in arms for n in curve if (entry := f"{arm} {n}") in p.left_out and entry not in out]
    return given | {"arms": arms, "curve": curve, "left_out": out}
