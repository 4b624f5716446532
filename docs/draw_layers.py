"""Draws docs/layers.svg, the packages of the library from top to bottom: `python docs/draw_layers.py`.

The order comes from the contract "layers" in pyproject.toml, the words from the first sentence of each docstring, the
boxes inside a layer from the packages that it holds, their link from the contract that keeps methods apart.
"""

from __future__ import annotations

import ast
import textwrap
import tomllib
from html import escape
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
PACKAGE = PROJECT / "lib" / "auxlearn"
PICTURE = PROJECT / "docs" / "layers.svg"

WIDTH, MARGIN, LEFT = 960, 24, 64  # the arrow stands left of LEFT
NAME_WIDTH, WORDS_AT, COLUMNS = 150, LEFT + 166, 96  # COLUMNS: characters of a line of words
LINE, PADDING, GAP, TOP = 19, 13, 8, 96
CHIP_HEIGHT, CHIP_LETTER = 22, 7.3

STYLE = """
  text { font-family: ui-sans-serif, system-ui, "Segoe UI", "DejaVu Sans", sans-serif; fill: #1f2933; }
  .ground { fill: #ffffff; }
  .title { font-size: 19px; font-weight: 600; }
  .note { font-size: 13px; fill: #52606d; }
  .layer { fill: #f3f6fa; stroke: #c3cfdc; }
  .band { fill: #2f6690; }
  .name { font-size: 15px; font-weight: 600; fill: #ffffff; }
  .words { font-size: 13.5px; }
  .chip { fill: #ffffff; stroke: #9fb3c8; }
  .chip-name { font-size: 12px; font-family: ui-monospace, Menlo, "DejaVu Sans Mono", monospace; }
  .arrow { stroke: #52606d; stroke-width: 2; fill: none; }
  .head { fill: #52606d; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e4e7eb; }
    .ground { fill: #10161d; }
    .note { fill: #a8b5c2; }
    .layer { fill: #1b2530; stroke: #3e4c59; }
    .band { fill: #2b5876; }
    .chip { fill: #10161d; stroke: #627d98; }
    .arrow { stroke: #a8b5c2; }
    .head { fill: #a8b5c2; }
  }
"""


def contracts() -> list[dict]:
    """Read the import contracts from pyproject.toml."""
    return tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]


def layers() -> list[list[str]]:
    """List the layers from top to bottom, each with the names of its packages or modules."""
    (contract,) = (c for c in contracts() if c["type"] == "layers")
    return [[name.strip() for name in layer.replace("|", ":").split(":")] for layer in contract["layers"]]


def sentence(name: str) -> str:
    """Take the first sentence of a package's or module's docstring, without a colon's list of commands."""
    folder = PACKAGE / name
    file = folder / "__init__.py" if folder.is_dir() else PACKAGE / f"{name}.py"
    text = " ".join((ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").split())
    first = text.split(". ")[0].rstrip(".")
    return (first.split(": `")[0] if ": `" in first else first) + "."


def inner(layer: list[str]) -> list[str]:
    """Name what is drawn inside a layer: its packages, or its modules where it has several."""
    if len(layer) > 1:
        return layer
    return sorted(file.parent.name for file in (PACKAGE / layer[0]).glob("*/__init__.py"))


def words(layer: list[str]) -> str:
    """Say what lives in a layer."""
    return sentence(layer[0]) if len(layer) == 1 else "Leaves, which every package may use."


def apart() -> set[str]:
    """Name the packages that may not import one another."""
    return {module.rpartition(".")[2] for c in contracts() if c["type"] == "independence" for module in c["modules"]}


def draw() -> str:
    """Draw all layers.

    Returns: the picture as SVG text, which scales to its frame and follows the reader's light or dark scheme.
    """
    parts, top, separate = [], TOP, apart()
    for layer in layers():
        lines, chips = textwrap.wrap(words(layer), COLUMNS), inner(layer)
        height = 2 * PADDING + LINE * len(lines) + (CHIP_HEIGHT + 6 if chips else 0)
        name = layer[0] if len(layer) == 1 else "leaves"
        parts += [
            f'<rect class="layer" x="{LEFT}" y="{top}" width="{WIDTH - LEFT - MARGIN}" height="{height}" rx="6"/>',
            f'<rect class="band" x="{LEFT}" y="{top}" width="{NAME_WIDTH}" height="{height}" rx="6"/>',
            f'<text class="name" x="{LEFT + 14}" y="{top + height / 2 + 5:g}">{escape(name)}</text>',
        ]
        for i, line in enumerate(lines):
            y = top + PADDING + LINE * (i + 1) - 5
            parts.append(f'<text class="words" x="{WORDS_AT}" y="{y}">{escape(line)}</text>')
        x, y = float(WORDS_AT), top + PADDING + LINE * len(lines) + 5
        for chip in chips:
            width = CHIP_LETTER * len(chip) + 18
            parts += [
                f'<rect class="chip" x="{x:g}" y="{y}" width="{width:g}" height="{CHIP_HEIGHT}" rx="11"/>',
                f'<text class="chip-name" x="{x + 9:g}" y="{y + 15}">{escape(chip)}</text>',
            ]
            x = round(x + width + 8, 1)
        if separate & set(chips):
            parts.append(f'<text class="note" x="{x + 4:g}" y="{y + 15}">never import one another</text>')
        top += height + GAP
    x, end = LEFT - 24, top - GAP
    order = ", ".join(name for layer in layers() for name in layer)
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {top + MARGIN - GAP}" role="img" '
        'aria-labelledby="title desc">',
        '<title id="title">The layers of auxlearn</title>',
        f'<desc id="desc">A module imports only from its own layer or from one below. Top to bottom: {order}.</desc>',
        f"<style>{STYLE}</style>",
        '<rect class="ground" width="100%" height="100%"/>',
        f'<text class="title" x="{LEFT}" y="44">The layers of auxlearn</text>',
        f'<text class="note" x="{LEFT}" y="70">A module imports only from its own layer or from one below.</text>',
        f'<path class="arrow" d="M{x} {TOP + 4}V{end - 12}"/>',
        f'<path class="head" d="M{x - 6} {end - 14}h12l-6 12z"/>',
        f'<text class="note" transform="translate({x - 12} {(TOP + end) // 2}) rotate(-90)" '
        'text-anchor="middle">imports</text>',
        *parts,
        "</svg>\n",
    ])  # fmt: skip


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(PICTURE.relative_to(PROJECT))
