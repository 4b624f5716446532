"""The form that parameters take in a run's key: lists whose order decides nothing are sorted, folders become hashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auxlearn.models import encoder_files


def forms(values: Mapping[str, Any]) -> dict[str, Any]:
    """Put parameters in the form that keys hold.

    Args:
        values: Values by parameter name.

    Returns:
        The same names with the values of `form`.
    """
    return {name: form(name, value) for name, value in values.items()}


def without_later(values: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out parameters that came later and have the value that keys from before stand for.

    Args:
        values: Values by name.
        later: By name, the value that is left out.
    """
    return {name: value for name, value in values.items() if name not in later or later[name] != value}


def form(name: str, value: Any) -> Any:
    """Put one parameter of a notebook in the form that keys hold.

    Args:
        name: The parameter.
        value: Its value.

    Returns:
        `auxiliaries` sorted, encoders by their fingerprint (see `encoder_files.fingerprint`), anything else as it is.
    """
    if name == "auxiliaries":  # they are taken in the suite's order
        return sorted(value)
    if name == "encoder":
        return encoder_files.fingerprint(value)
    if name == "also":  # more encoders
        return [encoder_files.fingerprint(each) for each in value]
    return value
