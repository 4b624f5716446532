"""Pages: what a figure's alternative text says, errors, and colours that can be read."""

import re

import nbformat
import pytest

from auxlearn.paths import NOTEBOOKS
from auxlearn.reporting.pages import pages
from helpers import contrast


def cells(name):
    return nbformat.read(NOTEBOOKS / name, as_version=4).cells


@pytest.mark.parametrize("name", sorted(p.name for p in NOTEBOOKS.glob("*.ipynb")))
def test_every_figure_of_a_notebook_says_what_it_shows(name):
    figure_cells = [c for c in cells(name) if any("image/png" in o.get("data", {}) for o in c.get("outputs", []))]
    assert figure_cells
    alts = [pages.alt(c.source) for c in figure_cells]
    for text, cell in zip(alts, figure_cells, strict=True):
        function = re.search(r"figures\.(\w+)\(", cell.source).group(1)
        assert len(text) > len("Figure. ") + 15
        assert function.replace("_", " ") + "." not in text  # more than its name
        assert "`" not in text
        assert "table:" not in text


def test_the_alternative_text_is_on_the_page(tmp_path):
    text = pages.page(NOTEBOOKS / "07_efficiency.ipynb", "t")
    alts = re.findall(r'<img alt="([^"]*)"', text)
    assert len(alts) == text.count("<img") > 5
    assert any(
        a.startswith("Figure. Paired differences with both intervals. Section “Does the auxiliary") for a in alts
    )
    assert len(set(alts)) == len(alts)


def test_an_unknown_plot_has_its_name():
    assert pages.alt("figure = my_figures.fine_curves(x)") == "Figure. fine curves."
    assert pages.alt("plt.plot(x)", heading="A `curve`") == "Figure. Drawn by the code above. Section “A `curve`”."
    two = "a = figures.leaks(x)\nb = figures.task_sizes(y)"
    assert "dev or test" in pages.alt(two, 0)
    assert "log scale" in pages.alt(two, 1)


def test_a_page_says_nothing_of_the_machine_s_folders(tmp_path):
    """Neither in its cell of parameters nor where a path among them is printed."""
    v4, own = nbformat.v4, NOTEBOOKS.parent / "params" / "mine.yaml"
    given = v4.new_code_cell(
        f'suite = "{own}"\nsettings = {{"plugins": ["/home/me/arms.py"]}}\nencoder = \'/home/me/deep/encoder\'',
        metadata={"tags": ["injected-parameters"]},
    )
    told = v4.new_output("stream", text=f"suite {own}, encoder /home/me/deep/encoder")
    nbformat.write(v4.new_notebook(cells=[given, v4.new_code_cell("x", outputs=[told])]), tmp_path / "n.ipynb")
    text = pages.page(tmp_path / "n.ipynb", "t")
    assert "/home/me" not in text
    assert str(NOTEBOOKS.parent) not in text
    assert "suite params/mine.yaml, encoder encoder" in text
    assert "arms.py" in text


def test_a_section_that_a_run_did_not_ask_for_is_left_out(tmp_path):
    """Its code ran and said so in a line; what ran not, failed, or has more to show stays, and so does the rest."""
    v4 = nbformat.v4

    def section(name, *outputs, count=1):
        tagged = {"tags": [f"optional-{name}"]}
        code = v4.new_code_cell(f"code_{name}", outputs=list(outputs), execution_count=count, metadata=tagged)
        return [v4.new_markdown_cell(f"## About {name}", metadata=tagged), code]

    line, lines = (v4.new_output("stream", text=text) for text in ("\nnot asked: name one\n", "one line of a result\n"))
    shown = v4.new_output("display_data", data={"text/plain": "a figure"})
    error = v4.new_output("error", ename="E", evalue="bad", traceback=["bad"])
    sections = [section("silent", line), section("table", lines), section("figure", line, shown),
                section("failed", error), section("waiting", count=None)]  # fmt: skip
    last = v4.new_markdown_cell("The end")
    nbformat.write(v4.new_notebook(cells=[*(cell for own in sections for cell in own), last]), tmp_path / "n.ipynb")
    text = pages.page(tmp_path / "n.ipynb", "t")
    assert re.findall(r"About (\w+)<", text) == ["table", "figure", "failed", "waiting"]
    assert re.findall(r"code_(\w+)<", text) == ["table", "figure", "failed", "waiting"]
    assert "The end" in text


@pytest.mark.parametrize("name", sorted(p.name for p in NOTEBOOKS.glob("*.ipynb")))
def test_optional_sections_of_a_notebook_have_code(name):
    tags = [
        (tag, c.cell_type) for c in cells(name) for tag in c.metadata.get("tags", []) if tag.startswith("optional-")
    ]
    assert {tag for tag, _ in tags} == {tag for tag, kind in tags if kind == "code"}


def test_outputs_are_text_and_pictures_alone(tmp_path):
    v4 = nbformat.v4
    rich = v4.new_output("display_data", data={"text/html": "<script>1</script>", "text/plain": "<b>plain</b>"})
    script = v4.new_output("display_data", data={"application/javascript": "alert(1)", "image/svg+xml": "<svg/>"})
    error = v4.new_output("error", ename="ValueError", evalue="bad <i>", traceback=["\x1b[31mbad <i>\x1b[0m"])
    node = v4.new_notebook(
        cells=[v4.new_code_cell("x", outputs=[rich, script]), v4.new_code_cell("y", outputs=[error])]
    )
    nbformat.write(node, tmp_path / "n.ipynb")
    text = pages.page(tmp_path / "n.ipynb", "<t>", status="failed")
    assert "<script" not in text
    assert "<svg" not in text
    assert "&lt;b&gt;plain" in text
    assert "ValueError: bad &lt;i&gt;" in text
    assert text.count('id="failed"') == 1
    assert 'href="#failed"' in text


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_can_be_read(scheme):
    css = (pages.TEMPLATES / "style.css").read_text()
    blocks = re.findall(r":root \{(.*?)\}", css, re.S)
    assert len(blocks) == 2
    colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", blocks[scheme == "dark"]))
    pairs = [(ink, "back") for ink in ("ink", "soft", "accent", "bad")]
    pairs += [(ink, "code") for ink in ("ink", "keyword", "string", "digit", "comment", "name")]
    pairs += [(ink, f"{ink}-back") for ink in ("good", "bad", "wait")]
    pairs += [(ink, "wait-back") for ink in ("ink", "bad", "accent")] + [("ink", "bad-back")]
    for ink, back in pairs:
        assert contrast(colours[ink], colours[back]) >= 4.5, (ink, back)
    # No text has a colour of its own.
    rules = css.replace(blocks[0], "").replace(blocks[1], "")
    assert set(re.findall(r"[{; ]color: ([^;}]+)", rules)) <= {"inherit", "inherit !important"} | {
        f"var(--{name})" for name in colours
    }
