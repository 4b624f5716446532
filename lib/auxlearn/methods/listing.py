"""Methods and weight policies as text: what each chooses, where it is from, its options."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable
from typing import Literal, get_args, get_origin

from pydantic import BaseModel

from auxlearn.methods import registry
from auxlearn.methods.base import Method, WeightPolicy


def described(names: Iterable[str] = (), plugins: Iterable[str] = ()) -> str:
    """Describe methods: in brief all of them, or some with every option.

    Args:
        names: The methods or policies to describe in full; none for all in brief.
        plugins: Modules or files that register further methods.

    Returns:
        The text.

    Raises:
        InputError: There is no method of a name, or a plug-in cannot be imported.
    """
    registry.plug(plugins)
    if names := list(names):
        return "\n\n".join(_whole(registry.get(name)) for name in names)
    methods, policies = registry.names(), registry.policies()
    width = max(map(len, [*methods, *policies])) + 2
    first: dict[type[BaseModel], str] = {}
    lines = ["Methods choose auxiliary rows (arm: NAME):"]
    lines += [_brief(registry.get(name), width, first) for name in methods]
    lines += ["", "Weight policies weigh the tasks of all rows, or of a method's (arm: NAME or METHOD+NAME):"]
    lines += [_brief(registry.get(name), width, first) for name in policies]
    return "\n".join([*lines, "", "auxlearn methods NAME … shows references, options and defaults."])


def _brief(item: Method | WeightPolicy, width: int, first: dict[type[BaseModel], str]) -> str:
    """Describe an item in a line, and in another its options, unless one before it has the same."""
    level = f"{item.level:6s}" if isinstance(item, Method) else ""
    line = f"  {item.name:{width}s}{level}{item.title}" + (f" [{item.reference}]" if item.reference else "")
    if not item.Options.model_fields:
        return line
    same = first.setdefault(item.Options, item.name)
    defaults = ", ".join(f"{name}: {json.dumps(field.default)}" for name, field in item.Options.model_fields.items())
    return f"{line}\n{'':{width + 2}s}options {f'as {same}' if same != item.name else defaults}"


def _whole(item: Method | WeightPolicy) -> str:
    kind = f"method, chooses {item.level}" if isinstance(item, Method) else "weight policy"
    lines = [f"{item.name}: {item.title} ({kind})"]
    for name in ("reference", "formula", "cost", "use"):
        lines += [f"  {name}: {getattr(item, name)}"] if getattr(item, name) else []
    lines += ["  notes:", *(f"    {line}".rstrip() for line in said.splitlines())] if (said := notes(item)) else []
    lines += [f"  family: {item.family}; options given to it reach all of its members"] if item.family else []
    lines += (
        [f"  compared with: {', '.join(other or 'the same rows unweighted' for other in item.contrasts)}"]
        if item.contrasts
        else []
    )
    return "\n".join([*lines, *(["  options:"] if item.Options.model_fields else []), *fields(item.Options)])


def notes(item: Method | WeightPolicy) -> str:
    """Return what a method's class says of it beyond its first sentence: what differs from its source, and why.

    Args:
        item: The method or policy.

    Returns:
        Paragraphs and lists, as in the docstring; "" where it says no more.
    """
    text = inspect.cleandoc(type(item).__doc__ or "").partition("\nArgs:")[0]
    return text.partition("\n\n")[2].strip()


def fields(model: type[BaseModel], names: Iterable[str] | None = None) -> list[str]:
    """Write one line per field of a model: its name, default, meaning and what it may be.

    Args:
        model: The model.
        names: Its fields; None for all.

    Returns:
        The lines.
    """
    lines = []
    for name in model.model_fields if names is None else names:
        field = model.model_fields[name]
        choices = get_args(field.annotation) if get_origin(field.annotation) is Literal else ()
        allowed = f" [{' | '.join(map(str, choices))}]" if choices else ""
        meaning = " ".join((field.description or "").split())
        lines.append(f"    {name} = {json.dumps(field.default)}  {meaning}{allowed}")
    return lines
