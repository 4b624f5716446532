"""One executed notebook as a page that stands alone: no script, and no style sheet, font or image from elsewhere."""

from __future__ import annotations

import ast
import base64
import functools
import hashlib
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import nbformat
from markupsafe import Markup

from auxlearn import paths
from auxlearn.evaluation import verdicts
from auxlearn.files import documents
from auxlearn.methods import registry
from auxlearn.reporting.pages import formulas
from auxlearn.reporting.plots import palette
from auxlearn.studies import run_status

TEMPLATES = Path(__file__).parent / "templates"
KINDS = ("text/plain", "image/png")  # the only outputs that reach a page: neither can carry markup
PYTHON = {"language_info": {"name": "python", "pygments_lexer": "ipython3"}}  # of every notebook here
NOT_ASKED = "not asked: "  # with what such a section's code then begins
OPTIONAL = "optional-"  # a tag's beginning: cells of a section that stands on a page only if the run asked for it
ABSOLUTE = re.compile(r"""["'](/[^"'\n]+)["']""")  # a path in a cell of parameters
FAILED = "failed"  # id of the cell that an error stopped


def environment() -> jinja2.Environment:
    """Make the jinja2 environment of all pages: templates, the index's script and its hash, two filters."""
    loader = jinja2.FileSystemLoader(TEMPLATES)
    templates = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    script = (TEMPLATES / "table.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    templates.globals |= {"script": script, "script_hash": digest, "told": verdicts.parse_verdict}
    templates.filters |= {"commit": commit, "about": about}
    return templates


def commit(git: Mapping[str, Any]) -> str:
    """Return a commit as shown: ten digits, and whether there were uncommitted changes; else why there is none."""
    unknown = f"unknown ({git.get('unknown') or 'no git'})"
    return (git.get("commit", "")[:10] or unknown) + (" with uncommitted changes" if git.get("dirty") else "")


def about(arm: str) -> Markup:
    """Return an HTML attribute that tells in a tooltip what an arm is; nothing of one that this process has not met."""
    try:
        items = [item for item in registry.parse(arm) if item]
    except ValueError:
        return Markup("")
    return Markup(' title="{}"').format("; ".join(item.title for item in items))


def page(
    notebook: Path, title: str, record: Mapping[str, Any] | None = None, status: str = "finished",
    cell: Mapping[str, Any] | None = None, other_primary: str = "",
) -> str:  # fmt: skip
    """Render an executed notebook, as far as it came, as HTML.

    Args:
        notebook: Path of the executed notebook.
        title: The page's title.
        record: Of its run, as from `provenance.run`; None where a run left none.
        status: The run's status.
        cell: The plan's entry, shown where there is no record.
        other_primary: The primary it was run for, if that is not the study's.

    Returns:
        The page.

    Raises:
        InputError: If the notebook cannot be read.
    """
    node = documents.read_notebook(notebook)
    tags = lambda cell: cell.metadata.get("tags", [])  # noqa: E731
    hidden = {"papermill-error-cell-tag"}  # papermill's notes of an error, which the page makes itself
    if any("injected-parameters" in tags(cell) for cell in node.cells):
        hidden.add("parameters")
    _without_folders(node.cells)
    # Raw cells are there to reach a page unescaped; no notebook here has one.
    hidden |= _not_asked(node.cells)
    node.cells = [cell for cell in node.cells if cell.cell_type != "raw" and not hidden & set(tags(cell))]
    node.metadata = nbformat.from_dict(PYTHON)
    heading = ""
    for each in node.cells:
        heading = _heading(each) or heading
        each.metadata = nbformat.from_dict({"tags": tags(each)})
        images = 0
        for output in each.get("outputs", []):
            if "data" in output:
                output["data"] = _printable(output["data"])
                # Metadata of its own could say what stands in the tag of the picture.
                output["metadata"] = nbformat.from_dict({"image/png": {"alt": alt(each.source, images, heading)}})
                images += "image/png" in output["data"]
        if "outputs" in each:
            each.outputs = [output for output in each.outputs if output.get("data", True)]
    error = run_status.error(node)
    body, _ = formulas.Exporter(exclude_input_prompt=True, exclude_output_prompt=True).from_notebook_node(node)
    if error:
        box = 'class="output_subarea output_text output_error"'
        body = body.replace(box, f'{box} id="{FAILED}"', 1)
    return environment().get_template("page.html").render(
        title=title, body=body, record=record, status=status, cell=cell, error=error, meaning=run_status.MEANING,
        failed=FAILED, other_primary=other_primary,
    )  # fmt: skip


def _without_folders(cells: Sequence[nbformat.NotebookNode]) -> None:
    """Shorten the paths that a run was given, in its cell of parameters and wherever it prints them."""
    given = "\n".join(c.source for c in cells if "injected-parameters" in c.metadata.get("tags", []))
    for path in sorted(set(ABSOLUTE.findall(given)), key=len, reverse=True):
        for cell in cells:
            cell.source = cell.source.replace(path, paths.without_folder(Path(path)))
            for output in cell.get("outputs", []):
                if output.output_type == "stream":
                    output.text = output.text.replace(path, paths.without_folder(Path(path)))


def _not_asked(cells: Sequence[nbformat.NotebookNode]) -> set[str]:
    """Find optional sections that a run did not ask for: their code ran, and said so and no more."""
    sections: dict[str, list[nbformat.NotebookNode]] = {}
    for cell in cells:
        for tag in cell.metadata.get("tags", []):
            if cell.cell_type == "code" and tag.startswith(OPTIONAL):
                sections.setdefault(tag, []).append(cell)
    return {
        tag for tag, code in sections.items()
        if all(cell.get("execution_count") for cell in code) and all(map(_silent, code))
    }  # fmt: skip


def _silent(cell: nbformat.NotebookNode) -> bool:
    """Tell whether all that a cell shows is that it was not asked."""
    outputs = cell.get("outputs", [])
    text = "".join(output.get("text", "") for output in outputs if output.output_type == "stream")
    return all(output.output_type == "stream" for output in outputs) and text.strip().startswith(NOT_ASKED)


def _printable(data: Mapping[str, Any]) -> dict[str, Any]:
    """Keep of an output what may stand on a page: text, and a picture in fewer bytes."""
    lines = {k: [v] if isinstance(v, str) else v for k, v in data.items() if k in KINDS}
    texts = {k: "".join(v) for k, v in lines.items() if isinstance(v, list) and all(isinstance(x, str) for x in v)}
    if "image/png" in texts:
        try:
            texts["image/png"] = base64.b64encode(palette.smaller(base64.b64decode(texts["image/png"]))).decode()
        except ValueError as error:  # not base64, or not a picture
            del texts["image/png"]
            texts["text/plain"] = f"({error})"
    return texts


def _heading(cell: nbformat.NotebookNode) -> str:
    headings = re.findall(r"^#+ +(.+?) *#*$", cell.source, re.M) if cell.cell_type == "markdown" else []
    return re.sub(r"[*`$]", "", headings[-1]) if headings else ""


def alt(source: str, number: int = 0, heading: str = "") -> str:
    """Say what a figure of a code cell shows: what the function that draws it says of itself, and where it stands.

    Args:
        source: The cell's code.
        number: Position of the figure among the cell's figures.
        heading: Of the section that the cell stands in.

    Returns:
        The figure's alternative text.
    """
    calls = re.findall(r"\b(\w*figures)\.(\w+)\(", source)
    caption = _caption(*calls[min(number, len(calls) - 1)]) if calls else ""
    under = f" Section “{heading}”." if heading else ""
    numbers = " Numbers to it are in the output printed with it." if "print(" in source else ""
    return f"Figure. {caption or 'Drawn by the code above'}.{under}{numbers}"


def _caption(module: str, function: str) -> str:
    """The first statement of a plot's docstring, without the columns of the table that it takes."""
    first = _docstrings(module).get(function, "").strip().split("\n")[0] or function.replace("_", " ")
    return re.split(r"\.\s+`|;\s+index\b|\.$", first)[0].replace("`", "")


@functools.cache
def _docstrings(module: str) -> dict[str, str]:
    """Map each function of a plot module to its docstring; the module is read, not imported."""
    path = Path(__file__).parents[1] / "plots" / f"{module}.py"
    if not path.is_file():  # a notebook of other code
        return {}
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name: ast.get_docstring(node) or "" for node in tree.body if isinstance(node, ast.FunctionDef)}


def marked_stale(text: str, why: str) -> str:
    """Put a note on top of a page that says it is out of date, in place of any earlier such note.

    Args:
        text: The page.
        why: The reason, as plain text.

    Returns:
        The page with the note.
    """
    note = f'<p class="stale"><b>Stale.</b> {html.escape(why)}</p>'
    text = re.sub(r'<p class="stale">.*?</p>\n', "", text, flags=re.S)
    return text.replace("<body>\n", f"<body>\n{note}\n", 1)
