"""The one error a user meets for bad input: it names the file, row or parameter, and the remedy."""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable
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


def meant(name: object, known: Iterable[str]) -> str:
    """Ask whether another name was meant.

    Args:
        name: What was given.
        known: What there is.

    Returns:
        "; did you mean 'NAME'?" of the nearest; empty where none is near.
    """
    near = difflib.get_close_matches(str(name)[:100], list(known), 1)
    return f"; did you mean {near[0]!r}?" if near else ""


def explain(error: ValidationError, known: Iterable[str] = ()) -> str:
    """Put a pydantic error into words.

    Args:
        error: What pydantic raised.
        known: Names of entries there are, for one that there is not.

    Returns:
        Per field where it is, what is wrong and what was given, joined by semicolons, with a remedy for YAML's usual
        traps.
    """
    problems = error.errors()
    text = "; ".join(_problem(dict(problem), list(known)) for problem in problems)
    inputs = [e.get("input") for e in problems]
    if any(isinstance(v, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE]-?\d+", v) for v in inputs):
        text += "; in YAML write 1.0e-3 with a dot, since 1e-3 is read as text"
    if any(isinstance(v, bool) for v in inputs):
        text += "; in YAML write words like no, yes, on, off in quotes"
    return text


def _problem(problem: dict[str, Any], known: list[str]) -> str:
    where, given = ".".join(map(str, problem["loc"])), problem.get("input")
    if problem["type"] == "extra_forbidden":
        return f"{where}: there is no such entry{meant(problem['loc'][-1], known)}"
    said = problem["msg"].removeprefix("Value error, ")
    if not where:  # the check of a whole names its fields itself
        return said
    words = re.findall(r"'([^']*)'", problem["ctx"]["expected"]) if problem["type"] == "literal_error" else []
    return f"{where}: {said} (given: {str(given)[:80]!r}){meant(given, words)}"
