"""What a notebook costs before its first line of work: papermill, its kernel, and the imports of its second cell.

Each notebook is cut after its imports and run by papermill as studies run it, in a process of its own; `bare` is a
notebook that imports nothing. In seconds, of this machine; the aim is 6. Run by `make bench` on an idle machine.
"""

import statistics
import subprocess
import sys
import time

import nbformat
import pytest

from auxlearn.paths import NOTEBOOKS

ROUNDS = 3


@pytest.mark.benchmark
def test_a_notebook_s_start(tmp_path, ratios):
    files = {}
    for file in sorted(NOTEBOOKS.glob("[0-9]*.ipynb")):
        node = nbformat.read(file, as_version=4)
        lines = [c.source for c in node.cells if c.cell_type == "code" and "notebook.start(" in c.source]
        imports = [line for line in lines[0].splitlines() if line.startswith(("import ", "from "))]
        files[file.stem] = "\n".join(imports)
    files["bare"] = "pass"
    spans = {name: [] for name in files}
    for _ in range(ROUNDS):
        for name, source in files.items():
            node = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
            node.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
            nbformat.write(node, tmp_path / "in.ipynb")
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "papermill", "in.ipynb", "out.ipynb", "--no-progress-bar"],
                cwd=tmp_path, check=True, capture_output=True,
            )  # fmt: skip
            spans[name].append(time.perf_counter() - start)
    print()
    for name, each in spans.items():
        print(f"{name:22s} {statistics.median(each):.2f} s ({min(each):.2f} to {max(each):.2f})")
    slowest = max((name for name in spans if name != "bare"), key=lambda name: statistics.median(spans[name]))
    ratios(f"seconds to start a notebook, the slowest ({slowest})", "a second", spans[slowest], "at most 6")
