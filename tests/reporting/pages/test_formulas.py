"""Formulas as MathML; nothing but mathematics comes out of them."""

import xml.etree.ElementTree as ET

import nbformat
import pytest

from auxlearn.reporting.pages import formulas


def shown(markdown, **cell):
    node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(markdown, **cell)])
    return formulas.Exporter().from_notebook_node(node)[0]


def test_a_formula_is_mathml():
    element = ET.fromstring(formulas.mathml(r"w_{t+1} \propto w_t \exp(-\eta g_t)"))
    assert element.tag == "math"
    assert element.attrib == {"display": "inline"}
    assert element.find(".//msub/mi").text == "w"
    assert "∝" in "".join(element.itertext())


@pytest.mark.parametrize(
    ("markdown", "display", "inside"),
    [
        (r"an $\alpha < \beta$ inline", "inline", "<mi>α</mi>"),
        (r"a $$\sum_{i=1}^n \frac{x_i}{2}$$ alone", "block", "<mfrac>"),
        ("\\begin{align}\na &= b \\\\\nc &= d\n\\end{align}", "block", "<mtable"),
        (r"brackets \\(a_1\\) too", "inline", "<msub>"),
    ],
)
def test_every_form_in_markdown(markdown, display, inside):
    text = shown(markdown)
    assert f'<math display="{display}">' in text
    assert inside in text
    assert "$" not in text
    assert "begin{" not in text


def test_code_and_prices_are_no_formulas():
    text = shown("`$x$` costs \\$5, and\n\n```\n$y$\n```\n")
    assert "<math" not in text
    assert "<code>$x$</code>" in text
    assert "$5" in text


@pytest.mark.parametrize(
    "tex",
    [
        r"\foo{",  # cannot be read
        r"\notacommand x",  # unknown
        r"\text{<script>alert(1)</script>}",
        r"\text{<img src='https://example.org/x.png'>}",
        "",
    ],
)
def test_what_is_not_mathematics_stays_as_typed(tex):
    text = formulas.mathml(tex)
    assert text.startswith('<code class="formula">')
    assert "<script" not in text
    assert "<img" not in text


@pytest.mark.parametrize("tex", [r"\href{javascript:alert(1)}{x}", r"\style{background:url(//x)}{x}", r"\class{a}{x}"])
def test_attributes_that_do_more_than_set_type_are_dropped(tex):
    root = ET.fromstring(formulas.mathml(tex))
    assert "x" in "".join(root.itertext())
    assert {name for element in root.iter() for name in element.attrib} <= {"display"}


def test_html_is_shown_and_images_from_elsewhere_are_links():
    text = shown(
        "<script>alert(1)</script>\n\na <b>c</b> ![a plot](https://example.org/x.png) [l](javascript:alert(1))"
    )
    assert "<script>" not in text
    assert "&lt;b&gt;" in text
    assert "<img" not in text
    assert '<a href="https://example.org/x.png">a plot</a>' in text
    assert "javascript:" not in text


def test_attached_images_are_in_the_page():
    pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNk+A8AAQUBAScY42YAAAAASUVORK5CYII="
    text = shown(
        "![one pixel](attachment:p.png) ![none](attachment:q.png)", attachments={"p.png": {"image/png": pixel}}
    )
    assert text.count("<img") == 1
    assert f"data:image/png;base64,{pixel}" in text
    assert 'alt="one pixel"' in text
