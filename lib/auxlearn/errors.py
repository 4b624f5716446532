"""The one error a user meets for bad input: it names the file, row or parameter, and the remedy."""

import reprlib
from typing import Any

LONGEST = 2000  # characters of a message
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


class InputError(ValueError):
    """Something the user gave (a file, a row, a parameter, a run folder) cannot be used as it is.

    A message quotes what was given, which may be of any length: of one that is too long, begin (where) and end (what
    to do) are kept.
    """

    def __init__(self, message: str = ""):
        half = LONGEST // 2
        super().__init__(message if len(message) <= LONGEST else f"{message[:half]} … {message[-half:]}")


def shown(value: Any) -> str:
    """A value as a message quotes it: in full where it is short; however long it is or deeply nested, never more."""
    return _SHORT.repr(value)
