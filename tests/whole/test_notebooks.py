"""The committed notebooks: executed, in order, with the defaults their models state. nbval re-runs them besides."""

import ast
import json
import re

import nbformat
import pytest

from auxlearn.paths import NOTEBOOKS
from auxlearn.studies import parameters

FILES = sorted(NOTEBOOKS.glob("*.ipynb"))
STAGES = [f.stem for f in FILES]


def code_cells(file):
    return [c for c in nbformat.read(file, as_version=4).cells if c.cell_type == "code"]


def test_every_model_has_its_notebook_and_the_other_way_round():
    assert sorted(parameters.MODELS) == STAGES


@pytest.mark.parametrize("file", FILES, ids=STAGES)
def test_was_run_once_in_order_and_shows_something(file):
    cells = code_cells(file)
    assert [c.execution_count for c in cells] == list(range(1, len(cells) + 1))
    silent = [c.source for c in cells if not c.outputs and "print(" in c.source]
    assert not silent
    assert all(c.outputs for c in cells if re.search(r"figures\.", c.source))
    kinds = {o.output_type for c in cells for o in c.outputs}
    assert "error" not in kinds
    assert not any(o.get("name") == "stderr" for c in cells for o in c.outputs)


@pytest.mark.parametrize("file", FILES, ids=STAGES)
def test_parameters_cell_is_as_it_is_written_from_the_model(file):
    first, *rest = code_cells(file)
    assert "parameters" in first.metadata.get("tags", [])
    assert not any("parameters" in c.metadata.get("tags", []) for c in rest)
    assert first.source == parameters.cell(file.stem)
    given = {n.targets[0].id: ast.literal_eval(n.value) for n in ast.parse(first.source).body}
    assert parameters.check(file.stem, given) == parameters.validate(file.stem, parameters.DEMO[file.stem])


@pytest.mark.parametrize("file", FILES, ids=STAGES)
def test_cells_are_short_and_define_nothing_long(file):
    for cell in code_cells(file)[1:]:
        lines = [line for line in cell.source.splitlines() if line.strip()]
        assert len(lines) <= 12, cell.source
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                assert node.end_lineno - node.lineno < 5


@pytest.mark.parametrize("file", FILES, ids=STAGES)
def test_says_its_question_and_what_was_learned_and_names_no_machine(file):
    text = file.read_text(encoding="utf-8")
    prose = "\n".join(c.source for c in nbformat.read(file, as_version=4).cells if c.cell_type == "markdown")
    assert "**The question.**" in prose
    cells = nbformat.read(file, as_version=4).cells
    assert cells[-2].source.startswith("**What was learned.**")
    assert re.fullmatch(r"(floor = .+\n)?print\(lessons\.\w+\(.+\)\)", cells[-1].source)  # from the run, not typed
    assert not re.search(r"/(root|home|tmp|var|Users)/", text)
    assert all(set(c["metadata"]) <= {"tags"} for c in json.loads(text)["cells"])
    assert "DEMO: planted data" in text


def test_lists_names_in_prose_match_numbers_nowhere():
    """Numbers in prose come from the run: no decimal fraction may be typed into a markdown cell."""
    for file in FILES:
        for cell in nbformat.read(file, as_version=4).cells:
            if cell.cell_type == "markdown":
                typed = [x for x in re.findall(r"\b\d+\.\d+\b", cell.source) if x not in ("0.5", "1.0")]
                assert not typed, f"{file.name}: {typed}"
