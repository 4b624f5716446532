"""Hooks of mkdocs: README.md is the site's first page, and links keep leading where they do on disk."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

PROJECT = Path(__file__).parent.parent


def first_page(text: str) -> str:
    """Return README's text as a page of docs/: links into docs/ lose that folder, all other relative ones leave it."""

    def moved(match: re.Match[str]) -> str:
        link = match[1]
        if re.match(r"[a-z]+:|#", link):
            return match[0]
        return f"]({link.removeprefix('docs/') if link.startswith('docs/') else f'../{link}'})"

    return re.sub(r"\]\(([^)\s]+)\)", moved, text)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the first page."""
    text = first_page((PROJECT / "README.md").read_text(encoding="utf-8"))
    files.append(File.generated(config, "index.md", content=text))
    return files
