"""Formulas in notebooks' Markdown as MathML, which browsers draw without a script, a font or a network.

A formula that latex2mathml cannot read, or that holds anything but mathematics, stays as it was typed.
"""

from __future__ import annotations

import contextlib
import html
import re
import xml.etree.ElementTree as ET
from typing import Any

import jinja2
from latex2mathml.converter import convert
from nbconvert.exporters import HTMLExporter
from nbconvert.filters.markdown_mistune import InvalidNotebook, IPythonRenderer, MarkdownWithMath
from traitlets import default

SPACE = "{http://www.w3.org/1998/Math/MathML}"
# latex2mathml hands \text{<script>} and \href{…} through; what is not listed here does not reach a page.
ELEMENTS = {
    "math", "mrow", "mi", "mn", "mo", "mtext", "mspace", "mfrac", "msqrt", "mroot", "mstyle", "mpadded", "mphantom",
    "menclose", "mfenced", "msub", "msup", "msubsup", "munder", "mover", "munderover", "mmultiscripts", "mprescripts",
    "none", "mtable", "mtr", "mtd", "mlabeledtr",
}  # fmt: skip
ATTRIBUTES = {
    "display", "displaystyle", "scriptlevel", "mathvariant", "mathsize", "stretchy", "fence", "separator", "largeop",
    "movablelimits", "accent", "accentunder", "form", "lspace", "rspace", "minsize", "maxsize", "symmetric",
    "linethickness", "width", "height", "depth", "rowspacing", "columnspacing", "columnalign", "rowalign",
    "columnlines", "rowlines", "notation", "open", "close",
}  # fmt: skip
EMBEDDED = re.compile(r"data:image/(png|jpeg|gif|webp);base64,")


def mathml(tex: str, display: bool = False) -> str:
    """Convert a formula to MathML.

    Args:
        tex: The formula in LaTeX.
        display: Whether it stands on a line of its own.

    Returns:
        A <math> element, or the source in <code> where it cannot be converted.
    """
    try:
        root = ET.fromstring(convert(tex, display="block" if display else "inline"))
        known = all(e.tag.startswith(SPACE) and e.tag.removeprefix(SPACE) in ELEMENTS for e in root.iter())
        # A command that latex2mathml does not know comes back as an identifier of that name.
        if not known or any((e.text or "").startswith("\\") and len(e.text or "") > 1 for e in root.iter()):
            return source(tex)
    except Exception:  # its errors share no base class, and a bad formula must not cost the page
        return source(tex)
    for element in root.iter():
        element.attrib = {k: v for k, v in element.attrib.items() if k in ATTRIBUTES}
        element.tag = element.tag.removeprefix(SPACE)  # HTML knows <math> without its name space
    return ET.tostring(root, encoding="unicode")


def source(tex: str) -> str:
    """Return a formula's source in <code>, escaped."""
    return f'<code class="formula">{html.escape(tex.strip())}</code>'


class Renderer(IPythonRenderer):
    """Markdown with formulas as MathML. HTML in it is shown, not obeyed, and no image is fetched from anywhere."""

    def inline_math(self, body: str) -> str:
        """Render a formula within a line."""
        return mathml(body)

    def block_math(self, body: str) -> str:
        """Render a formula on a line of its own."""
        return mathml(body, display=True)

    def latex_environment(self, name: str, body: str) -> str:
        """Render a LaTeX environment as a formula on a line of its own."""
        return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", display=True)

    def image(self, text: str, url: str, title: str | None = None) -> str:
        """Render an image that the page holds itself; any other becomes a link.

        Args:
            text: What it shows.
            url: Where it is; an attachment of the cell is embedded.
            title: Its title.

        Returns:
            An <img> or <a> element.
        """
        with contextlib.suppress(InvalidNotebook):  # an attachment that is missing stays a dead link
            url = self._embed_image_or_attachment(url)
        if EMBEDDED.match(url):
            return f'<img src="{html.escape(url)}" alt="{html.escape(text or title or "image")}">'
        return self.link(html.escape(text or url), url, title)


class Exporter(HTMLExporter):
    """nbconvert's basic HTML with this module's Markdown."""

    @default("template_name")
    def _template_name_default(self) -> str:
        return "basic"

    @jinja2.pass_context
    def markdown2html(self, context: Any, source: str) -> str:
        """Render a cell's Markdown as HTML.

        Args:
            context: Jinja2's context, which holds the cell and its attachments.
            source: The Markdown.

        Returns:
            The HTML.
        """
        attachments = context.get("cell", {}).get("attachments", {})
        renderer = Renderer(escape=True, allow_harmful_protocols=False, attachments=attachments)
        return MarkdownWithMath(renderer=renderer).render(source)
