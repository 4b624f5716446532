"""Options by method, as a study file or a notebook gives them: `{gradts_trial: {trial_most: 4}, tawt: {…}}`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from auxlearn.errors import explain, meant

Tables = dict[str, dict[str, Any]]
Model = TypeVar("Model", bound=BaseModel)


def read(model: type[Model], tables: Mapping[str, Mapping[str, Any]], family: str, name: str) -> Model:
    """Return a method's options: those of its family that it has, overridden by its own.

    Args:
        model: The method's options.
        tables: Options by family or method.
        family: The method's family; "" for none.
        name: The method's name.

    Returns:
        An instance of `model`.

    Raises:
        ValueError: An option does not exist or has a value that is not allowed; the message names it.
    """
    of_family = {k: v for k, v in tables.get(family, {}).items() if k in model.model_fields}
    own = tables.get(name, {})
    if unknown := [k for k in own if k not in model.model_fields]:
        raise ValueError(lacking(name, unknown[0], model.model_fields))
    try:
        return model.model_validate({**of_family, **own})
    except ValidationError as error:
        raise ValueError(f"methods: {name}: {explain(error)}") from None


def lacking(name: str, option: str, has: Iterable[str]) -> str:
    """Say that a method or family has no option of a name, what it has, and what was meant."""
    known = list(has)
    return f"methods: {name} has no option {option!r}{meant(option, known)}; it has {', '.join(known) or 'none'}"
