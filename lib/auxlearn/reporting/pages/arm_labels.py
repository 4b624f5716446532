"""What arms are called: the title of each, and sentences in which arms have tooltips."""

from __future__ import annotations

import re
from collections.abc import Mapping

from markupsafe import Markup

from auxlearn.methods import registry

LABEL = re.compile(r"[\w+-]+")  # "single" of "single-task" is none


def title(arm: str) -> str:
    """Say in a line what an arm is; "" of one that this process has not met."""
    try:
        return "; ".join(item.title for item in registry.parse(arm) if item)
    except ValueError:
        return ""


def labels(text: str) -> list[str]:
    """List the arms that a sentence names and this process knows."""
    return [word for word in LABEL.findall(text) if title(word)]


def marked(text: str, titles: Mapping[str, str], link: bool = False) -> Markup:
    """Give each arm that a sentence names a tooltip.

    Args:
        text: The sentence.
        titles: By arm, what it is; other words stay as they are.
        link: Whether the page has a list of arms, to which each then links.

    Returns:
        The sentence as HTML.
    """
    tag = Markup('<a href="#arm-{0}" title="{1}">{0}</a>' if link else '<abbr title="{1}">{0}</abbr>')
    parts, at = [], 0
    for word in LABEL.finditer(text):
        if told := titles.get(word[0]):
            parts += [Markup.escape(text[at : word.start()]), tag.format(word[0], told)]
            at = word.end()
    return Markup("").join([*parts, Markup.escape(text[at:])])
