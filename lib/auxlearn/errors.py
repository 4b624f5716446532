"""The one error a user meets for bad input: it names the file, row or parameter, and the remedy."""

from __future__ import annotations

import re
import reprlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError

LONGEST = 2000  # characters of a message
_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 80


class InputError(ValueError):
    """Something the user gave (a file, a row, a parameter, a run folder) cannot be used as it is.

    Args:
        message: Where the fault is, what was given and what to do. It quotes what was given, which may be of any
            length: of a message over LONGEST characters the beginning (where) and the end (what to do) are kept.
    """

    def __init__(self, message: str = ""):
        half = LONGEST // 2
        super().__init__(message if len(message) <= LONGEST else f"{message[:half]} … {message[-half:]}")


def shown(value: Any) -> str:
    """Quote a value for a message.

    Args:
        value: Anything, however long or deeply nested.

    Returns:
        Its `repr`: in full where it is short, else abridged.
    """
    return _SHORT.repr(value)


def explain(error: ValidationError) -> str:
    """Put a pydantic error into words.

    Args:
        error: What pydantic raised.

    Returns:
        Per field where it is, what is wrong and what was given, joined by semicolons, with a remedy for YAML's usual
        traps.
    """
    problems = error.errors()
    text = "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'value'}: {e['msg']} (given: {str(e.get('input'))[:80]!r})" for e in problems
    )
    inputs = [e.get("input") for e in problems]
    if any(isinstance(v, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE]-?\d+", v) for v in inputs):
        text += "; in YAML write 1.0e-3 with a dot, since 1e-3 is read as text"
    if any(isinstance(v, bool) for v in inputs):
        text += "; in YAML write words like no, yes, on, off in quotes"
    return text
