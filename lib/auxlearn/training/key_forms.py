"""What the value of a parameter is in a run's key: an order that decides nothing is gone, a folder is its content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auxlearn.models import encoders


def forms(values: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as keys hold them."""
    return {name: form(name, value) for name, value in values.items()}


def form(name: str, value: Any) -> Any:
    """The value of a notebook's parameter as keys hold it."""
    if name == "auxiliaries":  # they are taken in the suite's order
        return sorted(value)
    if name == "encoder":
        return encoders.fingerprint(value)
    if name == "also":  # more encoders
        return [encoders.fingerprint(each) for each in value]
    return value
