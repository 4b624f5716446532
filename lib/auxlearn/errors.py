"""The one error a user meets for bad input: it names the file, row or parameter, and the remedy."""

import reprlib
from typing import Any

_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


class InputError(ValueError):
    """Something the user gave (a file, a row, a parameter, a run folder) cannot be used as it is."""


def shown(value: Any) -> str:
    """A value as a message quotes it: in full where it is short; however long it is or deeply nested, never more."""
    return _SHORT.repr(value)
