"""What README.md, CONTRIBUTING.md and docs/ point to is there: files, headings, commands, modules, the picture."""

import gzip
import hashlib
import importlib
import importlib.util
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest

from auxlearn import cli
from auxlearn.data import suite_files, suites
from auxlearn.paths import PROJECT
from auxlearn.studies import graph

PACKAGE = PROJECT / "lib" / "auxlearn"
DOCS = [PROJECT / "README.md", PROJECT / "CONTRIBUTING.md", *sorted((PROJECT / "docs").glob("*.md"))]
OURS = [file for file in DOCS if file.name != "README.md"]  # which name files and modules as they are
SVG = "{http://www.w3.org/2000/svg}"


def named(file):
    return file.name


def code(text):
    """All that is written as code: fenced blocks, without their comments, and spans."""
    fences = re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S)
    return [re.sub(r"(^|\s)#.*", "", fence) for fence in fences], re.findall(r"`([^`\n]+)`", text)


def options(parser=None):
    """All options of `auxlearn` and its commands."""
    actions = (parser or cli._parser())._actions
    inner = [each for action in actions if isinstance(action.choices, dict) for each in action.choices.values()]
    return {name for action in actions for name in action.option_strings}.union(*map(options, inner))


def commands():
    """The commands of `auxlearn`, and those that `export` has of its own."""
    actions = cli._parser()._subparsers._group_actions[0].choices
    return set(actions), set(actions["export"]._subparsers._group_actions[0].choices)


def targets():
    text = (PROJECT / "Makefile").read_text().replace("$(VENV)", ".venv")
    return {name for names in re.findall(r"^([\w./ -]+):(?!=)", text, re.M) for name in names.split()} - {".PHONY"}


@pytest.fixture(scope="module")
def drawing():
    spec = importlib.util.spec_from_file_location("draw_layers", PROJECT / "docs" / "draw_layers.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_that_of_the_contract_and_the_docstrings(drawing):
    assert drawing.PICTURE.read_text(encoding="utf-8") == drawing.draw(), "draw it again: python docs/draw_layers.py"


def test_the_picture_names_every_package_and_fits_its_frame(drawing):
    """Text of the widest usual font ends inside the frame; what a screen reader reads is there."""
    root = ET.fromstring(drawing.draw())
    texts = ["".join(text.itertext()) for text in root.iter(f"{SVG}text")]
    packages = {file.parent.name for file in PACKAGE.glob("*/__init__.py")}
    assert packages <= set(texts)
    assert root.find(f"{SVG}title").text == "The layers of auxlearn"
    assert all(name in root.find(f"{SVG}desc").text for name in packages)
    width = float(root.get("viewBox").split()[2])
    for text in root.iter(f"{SVG}text"):
        if text.get("class") == "words":
            assert float(text.get("x")) + 7.2 * len(text.text) < width, text.text
    for chip in root.iter(f"{SVG}rect"):
        if chip.get("class") == "chip":
            assert float(chip.get("x")) + float(chip.get("width")) < width


@pytest.mark.parametrize("file", DOCS, ids=named)
def test_every_relative_link_leads_to_a_file(file):
    links = re.findall(r"\]\(([^)\s]+)\)", file.read_text(encoding="utf-8"))
    assert links
    relative = [link.partition("#")[0] for link in links if not re.match(r"[a-z]+:|#", link)]
    assert [link for link in relative if not (file.parent / link).exists()] == []


@pytest.mark.parametrize("file", DOCS, ids=named)
def test_every_link_to_a_heading_leads_to_one(file):
    links = re.findall(r"\]\(([^)\s:#]*)#([^)\s]+)\)", file.read_text(encoding="utf-8"))
    assert [link for link in links if link[1] not in headings(file.parent / link[0] if link[0] else file)] == []


def headings(file):
    """The anchors of a page's headings, as GitHub names them."""
    found = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in found}


def test_the_readme_is_short():
    assert len((PROJECT / "README.md").read_text(encoding="utf-8").split()) < 900


def test_the_readme_links_to_every_page_and_notebook():
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    pages = [*(PROJECT / "docs").glob("*.md"), *(PROJECT / "notebooks").glob("*.ipynb")]
    assert [page.name for page in pages if f"({page.relative_to(PROJECT)})" not in text] == []


@pytest.mark.parametrize("file", [file for file in OURS if file.parent.name == "docs"], ids=named)
def test_every_page_says_first_what_it_is_for(file):
    assert re.match(r"# .+\n\nThis page \w+", file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("file", DOCS, ids=named)
def test_every_command_exists(file):
    fences, spans = code(file.read_text(encoding="utf-8"))
    written = "\n".join([*fences, *spans])
    known, kinds = commands()
    assert set(re.findall(r"(?:^|\s)make ([\w./-]+)(?![\w./=-])", written, re.M)) <= targets()
    assert set(re.findall(r"(?:^|[\s/])auxlearn ([a-z]+)", written, re.M)) <= known
    exported = re.findall(r"auxlearn export ([a-z|]+)", written)
    assert {kind for each in exported for kind in each.split("|")} <= kinds
    ours = [line for line in written.splitlines() if re.match(r"--|(\.venv/bin/)?auxlearn ", line)]
    assert set(re.findall(r"(?<!\S)--[a-z-]+", "\n".join(ours))) <= options()
    files = re.findall(r"(?<![\w/])params/[\w./-]+", written)
    assert [name for name in files if not (PROJECT / name).exists()] == []


def test_the_suite_of_one_s_own_that_is_shown_first_works_as_it_stands(tmp_path):
    """Two tasks over files that are here, where it says that they are."""
    (shown, *_) = re.findall(r"^```yaml\n(.*?)^```$", (PROJECT / "docs" / "own_data.md").read_text(), re.M | re.S)
    assert "\nroot: params/examples " in shown
    (tmp_path / "params").symlink_to(PROJECT / "params")
    (tmp_path / "mine.yaml").write_text(shown)
    suite = suites.load(str(tmp_path / "mine.yaml"), 0)
    assert {name: task.labels for name, task in suite.items()} == {
        "same_order": ("same", "different"), "tone": ("calm", "urgent")
    }  # fmt: skip
    assert all(len(task.train) and len(task.dev) for task in suite.values())


def test_the_yaml_shown_is_valid(tmp_path, monkeypatch):
    """Of a page, a suite or a study file; both as a user would save them."""
    monkeypatch.setenv("AUXLEARN_DATA", str(tmp_path))
    shown = [text for file in DOCS for text in re.findall(r"^```yaml\n(.*?)^```$", file.read_text(), re.M | re.S)]
    for text in shown:
        (tmp_path / "shown.yaml").write_text(text)
        if text.startswith("study:"):
            assert graph.validated(tmp_path / "shown.yaml")
        else:
            assert suite_files.read_suite(tmp_path / "shown.yaml")[0].tasks
    assert len(shown) == 3


def test_the_real_tasks_are_those_that_the_page_tells(data):
    """Rows and the first digits of the SHA-256 of every split, as in the tables of docs/tasks.md."""
    tables = re.findall(r"^\| (\w+) \| (.+) \|$", (PROJECT / "docs" / "tasks.md").read_text(), re.M)
    told = {name: [row.split(" | ") for task, row in tables if task == name] for name, _ in tables if name != "task"}
    assert set(told) == set(suite_files.read_suite(PROJECT / "params" / "suites" / "folder.yaml")[0].tasks)
    for name, ((rows, *_), digests) in told.items():
        found = []
        for split in ("train", "dev", "test"):
            file = data / name / f"{split}.jsonl.gz"
            text = gzip.decompress(file.read_bytes()) if file.exists() else b""
            count, digest = text.count(b"\n"), hashlib.sha256(text).hexdigest()[:12]
            found.append((f"{count:,}", f"`{digest}`") if text else ("none", "none"))
        assert list(zip(rows.split(" / "), digests, strict=True)) == found, name


# What makes the Python shown small enough for a test; every entry must be of use.
LITTLE = {
    "auxlearn.planted()": "auxlearn.planted().capped(60)", "range(8)": "range(2)", "n=1000": "n=30", " 1000,": " 30,",
    'encoder="tiny"': 'encoder="tiny", proxy_rows=15, watch_rows=10, stage2_epochs=1, tune_epochs=1',
    "proxy_rows=100": "",
}  # fmt: skip


def python(file):
    return re.findall(r"^```python\n(.*?)^```$", file.read_text(encoding="utf-8"), re.M | re.S)


def test_the_readme_shows_the_first_lines_of_the_page_of_calls():
    (shown,) = python(PROJECT / "README.md")
    assert shown == python(PROJECT / "docs" / "api.md")[0]
    assert len([line for line in shown.splitlines() if line]) <= 10


def test_the_python_shown_runs(tmp_path, monkeypatch, capsys):
    """The blocks of the page of calls, one after the other, with fewer rows, epochs and seeds."""
    monkeypatch.chdir(tmp_path)
    text = "\n".join(python(PROJECT / "docs" / "api.md"))
    for word, little in LITTLE.items():
        assert word in text
        text = text.replace(word, little)
    exec(compile(text, "api.md", "exec"), names := {})
    assert len(names["chosen"].table) == 30
    assert names["chosen"].params["methods"]["td_bce"] == {"proxies": "one"}
    assert {"compared.png", "chosen"} <= {path.name for path in tmp_path.iterdir()}
    assert "classification ('calm', 'urgent') regression (1.0, 5.0)" in capsys.readouterr().out


@pytest.mark.parametrize("file", OURS, ids=named)
def test_every_module_function_and_path_named_exists(file):
    """`data.suites.load` under auxlearn; `tests/methods/` from the project or from the package."""
    spans = code(file.read_text(encoding="utf-8"))[1]
    for span in spans:
        parts = span.split(".")
        if not re.fullmatch(r"[a-z_]+(\.\w+)+", span) or not is_module(parts[:1]):  # `options.py`, say
            continue
        at = next(i for i in range(len(parts), 0, -1) if is_module(parts[:i]))
        value = importlib.import_module(".".join(["auxlearn", *parts[:at]]))
        for part in parts[at:]:
            value = getattr(value, part)
    paths = [span for span in spans if re.fullmatch(r"[a-z][\w.-]*/[\w./-]*", span)]
    missing = [path for path in paths if not ((PROJECT / path).exists() or (PACKAGE / path).exists())]
    assert missing == []


def is_module(parts):
    place = PACKAGE.joinpath(*parts)
    return place.with_name(f"{place.name}.py").is_file() or (place / "__init__.py").is_file()


def test_the_architecture_has_a_row_for_every_package():
    rows = re.findall(r"^\| `(\w+)` \|", (PROJECT / "docs" / "architecture.md").read_text(encoding="utf-8"), re.M)
    assert set(rows) == {file.parent.name for file in PACKAGE.glob("*/__init__.py")} | {"cli"}


@pytest.mark.parametrize("file", OURS, ids=named)
def test_names_no_machine(file):
    assert not re.search(r"/(root|home|tmp|var|Users|work)/", file.read_text(encoding="utf-8"))


def test_the_page_of_all_methods_is_that_of_the_registry():
    spec = importlib.util.spec_from_file_location("write_methods", PROJECT / "docs" / "write_methods.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    done = subprocess.run(  # other tests register methods of their own
        [sys.executable, "-c", f"import runpy; print(runpy.run_path({module.__file__!r})['page'](), end='')"],
        capture_output=True, text=True, check=True, env=os.environ | {"AUXLEARN_PLUGINS": ""},
    )  # fmt: skip
    assert module.PAGE.read_text(encoding="utf-8") == done.stdout, "write it again: python docs/write_methods.py"


def test_every_method_of_the_library_says_what_it_costs_and_when_to_use_it():
    from auxlearn.methods import registry

    items = [registry.get(name) for name in [*registry.names(), *registry.policies()]]
    ours = [item for item in items if type(item).__module__.startswith("auxlearn.") and not item.settled]
    assert len(ours) > 40
    assert [item.name for item in ours if not (item.cost and item.use)] == []
    chooses = [item.name for item in ours if getattr(item, "scores", None) or isinstance(item, registry.WeightPolicy)]
    assert [name for name in chooses if not registry.get(name).formula] == []


def test_the_site_has_every_page_and_its_links_lead_somewhere(tmp_path):
    """mkdocs is strict, so that a page or an anchor of docs/ that is not there fails; ours leave docs/ too."""
    site = tmp_path / "site"
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert built.returncode == 0, built.stderr
    pages = {file.stem for file in site.glob("*.html")}
    assert pages == {file.stem for file in (PROJECT / "docs").glob("*.md")} | {"index", "404"}
    addresses = re.findall(r'(?:href|src)="([^"#?]+)', "".join((site / f"{page}.html").read_text() for page in pages))
    # Built into site/, so that what leaves it is of the checkout.
    out = {address for address in addresses if address.startswith("../")}
    assert len(out) > 30
    assert [address for address in out if not (PROJECT / address.removeprefix("../")).exists()] == []
    within = {each for each in addresses if not re.match(r"[a-z]+:|/|\.\./", each)}
    assert [address for address in within if not (site / address).exists()] == []
    assert not [each for each in addresses if each.startswith(("http:", "//"))]


def test_the_first_page_of_the_site_is_the_readme():
    spec = importlib.util.spec_from_file_location("site_pages", PROJECT / "docs" / "site_pages.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    text = "[a](docs/api.md), [b](LOG.md), [c](https://a.org/docs/x), [d](#papers), [e](docs/own_data.md#add-a-task)"
    moved = "[a](api.md), [b](../LOG.md), [c](https://a.org/docs/x), [d](#papers), [e](own_data.md#add-a-task)"
    assert module.first_page(text) == moved
