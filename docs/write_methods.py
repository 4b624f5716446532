"""Writes docs/all_methods.md, every method and weight policy, from the registry: `python docs/write_methods.py`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel

from auxlearn.methods import listing, registry
from auxlearn.methods.base import Method, WeightPolicy

PAGE = Path(__file__).resolve().parent / "all_methods.md"
HEAD = """# All methods

This page lists every method and weight policy with its formula, cost and options, as the registry has them. How they
compare and combine: [Methods](methods.md). Written by `python docs/write_methods.py`; see also `auxlearn methods NAME`.
"""
FAMILIES = {
    "": "Controls",
    "fastmtl": "FastMTL: rows by a task discriminator",
    "scores": "Row scores: rows by a score and a selection rule",
    "gradts": "GradTS: tasks and rows by head importance",
    "task_scores": "Task scores: tasks by what models or texts have in common with the primary",
    "autosem": "AUTOSEM: tasks and ratios by search",
    "tawt": "TAWT: weights of tasks",
    "balancing": "Balancing: weights from losses, and gradients made one",
}


def page() -> str:
    """Write the page as it should be."""
    items = [registry.get(name) for name in [*registry.names(), *registry.policies()]]
    parts = [HEAD]
    for family in dict.fromkeys(item.family for item in items):
        own = [item for item in items if item.family == family]
        parts.append(f"## {FAMILIES.get(family, family)}\n")
        if family:
            parts.append(f"Options given to `{family}` reach all of its members.\n")
        said: dict[str, list[str]] = {}
        for item in own:
            parts.append(_item(item))
            if text := listing.notes(item):
                said.setdefault(text, []).append(item.name)
        for text, names in said.items():
            parts.append(f"Of {', '.join(f'`{name}`' for name in names)}:\n\n{_escaped(text)}\n")
        for options, names in _alike(own):
            parts.append(_options(options, names))
    return "\n".join(parts)


def _item(item: Method | WeightPolicy) -> str:
    title = item.title if item.title.startswith("n ") else item.title[:1].upper() + item.title[1:]
    lines = [f"### `{item.name}`\n", f"{title}." + (f" {item.reference}." if item.reference else ""), ""]
    if item.formula:
        lines.append(f"- Formula: {_escaped(item.formula)}.")
    lines += [f"- Cost beyond its training: {item.cost}.", f"- Use it {item.use}."]
    if item.contrasts:
        others = ", ".join(f"`{other}`" if other else "the same rows without weights" for other in item.contrasts)
        lines.append(f"- Compared with {others}, where they were run.")
    return "\n".join(lines) + "\n"


def _alike(items: Iterable[Method | WeightPolicy]) -> list[tuple[type[BaseModel], list[str]]]:
    found: dict[type[BaseModel], list[str]] = {}
    for item in items:
        if item.Options.model_fields:
            found.setdefault(item.Options, []).append(item.name)
    return list(found.items())


def _options(options: type[BaseModel], names: list[str]) -> str:
    lines = [
        f"Options of {', '.join(f'`{name}`' for name in names)}:\n",
        "| option | default | what it says |",
        "|---|---|---|",
    ]
    for name, field in options.model_fields.items():
        meaning = " ".join((field.description or "").split())
        lines.append(f"| `{name}` | `{json.dumps(field.default)}` | {_escaped(meaning)} |")
    return "\n".join(lines) + "\n"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(PAGE.relative_to(Path.cwd()))
