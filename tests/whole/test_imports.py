"""What is heavy is imported by what uses it: a grid of hundreds of notebooks is not spent on imports."""

import subprocess
import sys

import matplotlib as mpl
import nbformat

from auxlearn.paths import NOTEBOOKS
from auxlearn.reporting.plots import figures

HEAVY = {
    "accelerate", "datasets", "evaluate", "ipywidgets", "nbformat", "scipy.stats", "seaborn", "sklearn", "statsmodels",
    "torch._dynamo", "torch._inductor", "transformers",
}  # fmt: skip
NO_MODEL = {"07_efficiency"}


def opening(file):
    """The lines that import something in a notebook's first cell of code."""
    cells = [c.source for c in nbformat.read(file, as_version=4).cells if "notebook.start(" in c.source]
    return "\n".join(line for line in cells[0].splitlines() if line.startswith(("import ", "from ")))


def imported(sources):
    """Modules that are there after each of some lines, run one after another in one fresh interpreter."""
    told = "\nimport sys; print(*sys.modules)\n"
    shown = subprocess.run(
        [sys.executable, "-c", told.join(sources) + told], check=True, capture_output=True, text=True
    ).stdout
    return [set(line.split()) for line in shown.splitlines()]


def test_the_first_cell_of_a_notebook_imports_nothing_that_waits():
    """What may import least comes first, so that one interpreter tells of all: what is there was imported by then."""
    files = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"), key=lambda file: (file.stem not in NO_MODEL, file.stem))
    assert {file.stem for file in files} > NO_MODEL
    unwanted = {"auxlearn.reporting.notebook": HEAVY | {"torch", "matplotlib", "pandas", "pyarrow"}}
    unwanted |= {file.stem: HEAVY | ({"torch"} if file.stem in NO_MODEL else set()) for file in files}
    found = imported(["import auxlearn.reporting.notebook", *map(opening, files)])
    assert [
        (name, met) for name, modules in zip(unwanted, found, strict=True) if (met := modules & unwanted[name])
    ] == []
    assert "torch" in found[-1]  # it was looked for under its name


def test_the_house_style_is_seaborn_s_theme():
    """The theme is written out so that seaborn need not be imported; with seaborn it is the same."""
    import seaborn as sns

    with mpl.rc_context():
        mpl.rcdefaults()
        sns.set_theme(context="notebook", style="whitegrid", palette=figures.COLOURS)
        theme = dict(mpl.rcParams) | {"image.cmap": None}
        mpl.rcdefaults()
        figures.style()
        ours = dict(mpl.rcParams) | {"image.cmap": None}
    changed = {name for name in theme if repr(theme[name]) != repr(ours[name])}
    assert changed == {
        "axes.labelsize", "axes.prop_cycle", "axes.spines.right", "axes.spines.top", "axes.titlelocation",
        "axes.titlesize", "axes.titleweight", "figure.constrained_layout.use", "figure.dpi", "grid.color",
        "legend.frameon", "savefig.dpi",
    }  # fmt: skip
    drawn = [[mpl.colors.to_hex(x) for x in each["axes.prop_cycle"].by_key()["color"]] for each in (theme, ours)]
    assert drawn[0] == drawn[1]
