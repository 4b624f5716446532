"""The report in a real browser: sorting, filtering, a phone's width, no request. Skipped without a Chromium."""

import pytest

import browser
from auxlearn.paths import PROJECT
from auxlearn.reporting.pages import report

CHROME = browser.executable()
pytestmark = pytest.mark.skipif(CHROME is None, reason="no Chromium here: install Debian's `chromium`, or set CHROME")
ROWS = "[...document.querySelectorAll('table.runs tbody tr')]"
SHOWN = f"{ROWS}.filter(r => r.offsetParent !== null)"


@pytest.fixture(scope="module")
def page():
    with browser.browser(CHROME) as found:
        yield found


@pytest.fixture
def folder(mixed):
    return report.render("mixed").parent


@pytest.fixture
def index(page, folder):
    page.open(f"file://{folder}/index.html")
    return page


def column(page, name):
    """The position of a column by its heading."""
    heads = page.run("[...document.querySelectorAll('table.runs thead th')].map(h => h.textContent)")
    return heads.index(name)


def values(page, name):
    at = column(page, name)
    return page.run(f"{ROWS}.map(r => r.cells[{at}].dataset.value ?? r.cells[{at}].textContent)")


def press(page, name):
    page.run(f"document.querySelectorAll('table.runs thead button')[{column(page, name)}].click()")


def sorts(page):
    return page.run("[...document.querySelectorAll('table.runs thead th')].map(h => h.getAttribute('aria-sort'))")


def type_in(page, text):
    page.run(
        f"(f => {{ f.value = {text!r}; f.dispatchEvent(new Event('input')) }})(document.querySelector('#filter-text'))"
    )


def test_columns_sort_by_number_and_what_has_none_stays_last(index):
    assert set(sorts(index)) == {"none"}
    before = values(index, "value")
    press(index, "value")
    up = values(index, "value")
    numbers = [float(v) for v in up if v]
    assert numbers == sorted(numbers)
    assert len(numbers) == 3  # finished, stale and damaged have a figure
    assert up[3:] == [""] * 5
    assert sorts(index)[column(index, "value")] == "ascending"
    press(index, "value")
    assert [float(v) for v in values(index, "value")[:3]] == numbers[::-1]
    assert values(index, "value")[3:] == [""] * 5
    assert [s for s in sorts(index) if s != "none"] == ["descending"]
    assert sorted(values(index, "value")) == sorted(before)
    press(index, "status")
    assert values(index, "status") == sorted(values(index, "status"))
    assert [s for s in sorts(index) if s != "none"] == ["ascending"]


def test_rows_filter_by_text_and_status(index):
    assert index.run("document.querySelector('#filter').hidden") is False
    type_in(index, "PROXY rows")
    assert index.run(f"{SHOWN}.length") == 4
    assert index.run("document.querySelector('#filter-count').textContent") == "4 of 8 runs"
    index.run(
        "(s => { s.value = 'failed'; s.dispatchEvent(new Event('change')) })(document.querySelector('#filter-status'))"
    )
    assert index.run(f"{SHOWN}.map(r => r.dataset.status)") == ["failed"]
    type_in(index, "no such run")
    assert index.run(f"{SHOWN}.length") == 0
    index.run("(s => { s.value = ''; s.dispatchEvent(new Event('change')) })(document.querySelector('#filter-status'))")
    type_in(index, "")
    assert index.run(f"{SHOWN}.length") == 8


def test_controls_have_names_for_those_who_do_not_see_them(index):
    tree = index.ask("Accessibility.getFullAXTree")["nodes"]
    named = {(n["role"]["value"], n["name"]["value"]) for n in tree if "name" in n and not n["ignored"]}
    assert {("searchbox", "Filter runs"), ("combobox", "Status"), ("region", "All runs")} <= named
    assert any(role == "button" and name.startswith("seconds") for role, name in named)


def test_without_script_the_table_is_whole(page, folder):
    page.open(f"file://{folder}/index.html", script=False)
    try:
        nodes = page.ask("DOM.getDocument", depth=-1)["root"]["nodeId"]
        find = lambda selector: page.ask("DOM.querySelectorAll", nodeId=nodes, selector=selector)["nodeIds"]  # noqa: E731
        assert len(find("table.runs tbody tr:not([hidden])")) == 8
        assert find("table.runs button") == []
        assert len(find("#filter[hidden]")) == 1
    finally:
        page.ask("Emulation.setScriptExecutionDisabled", value=False)


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_every_page_fits_a_phone_and_asks_nobody(page, folder, dark):
    for path in sorted(folder.glob("*.html")):
        page.open(f"file://{path}", width=390, height=844, dark=dark)
        size = page.run("[document.documentElement.scrollWidth, innerWidth]")
        assert size == [390, 390], path.name
        outside = [url for url in page.requests if not url.startswith((f"file://{folder}/", "data:"))]
        assert outside == [], path.name
        assert page.complaints == [], path.name
        broken = "[...document.images].filter(i => !i.complete || i.naturalWidth === 0).length"
        assert page.run(broken) == 0, path.name
    page.open(f"file://{folder}/index.html", width=390)
    assert page.run("(b => b.scrollWidth > b.clientWidth)(document.querySelector('table.runs').parentElement)")


@pytest.mark.parametrize("width", [390, 1280])
def test_published_pages_fit_a_phone_and_a_screen(page, width):
    home = PROJECT / "reports"
    for path in (home / "index.html", *sorted(home.glob("*/index.html"))):
        page.open(f"file://{path}", width=width, height=844)
        assert page.run("[document.documentElement.scrollWidth, innerWidth]") == [width, width], path
        assert page.complaints == [], path


def test_what_a_test_shows_is_seen_on_a_phone(page):
    """Of every arm the difference and its verdict, without scrolling to the side."""
    page.open(f"file://{PROJECT}/reports/index.html", width=390, height=844)
    heads = "[...document.querySelectorAll('#results ~ .scroll thead th')].slice(0, 2)"
    assert page.run(f"{heads}.map(h => h.textContent.split(' ')[0])") == ["arm", "difference"]
    assert page.run(f"Math.max(...{heads}.map(h => h.getBoundingClientRect().right))") <= 390


def test_nothing_in_a_page_can_ask_for_more(index):
    """The policy of the page, and not only its content, keeps it from the network."""
    asked = "(i => { i.src = 'https://example.org/x.png'; document.body.append(i) })(new Image())"
    index.run(asked)
    index.run("new Promise(r => setTimeout(r, 200))")
    index.ask("Runtime.evaluate", expression="new Promise(r => setTimeout(r, 200))", awaitPromise=True)
    assert any("Content Security Policy" in text for text in index.complaints)
