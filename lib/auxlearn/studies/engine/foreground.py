"""Runs one cell of a study in this process, for a person who wants to see where it fails: `auxlearn cell KEY [--pdb]`.

The cell runs as its job would: with the same parameters, working folder, threads and GPUs, and under the same lock on
its run folder. Trainings and passes that it finishes are kept. A run that was not finished before stays unfinished,
because no executed notebook is written.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auxlearn.errors import InputError
from auxlearn.files import documents
from auxlearn.methods import registry
from auxlearn.paths import NOTEBOOKS, runs_root, short
from auxlearn.records import run_search, runs
from auxlearn.studies.engine import gpu_leases
from auxlearn.studies.parameters import MODELS, SETTINGS, flat, validate


def run(key: str, debug: bool = False) -> int:
    """Run a cell's notebook in this process, one code cell after another.

    Args:
        key: The cell, as for `run_search.matching`.
        debug: Open pdb where a code cell fails.

    Returns:
        0 if every code cell ran, else 1.

    Raises:
        InputError: If no single cell fits the key, or its folder holds no parameters.
    """
    stage, key = run_search.matching(key, MODELS)
    folder = runs_root() / stage / key
    params = documents.read_yaml(folder / "params.yaml") if (folder / "params.yaml").is_file() else None
    if not isinstance(params, dict):
        raise InputError(f"{short(folder)}: no parameters in params.yaml; run its study again, which writes them")
    notebook = documents.read_notebook(NOTEBOOKS / f"{stage}.ipynb", "restore it from the repository")
    _plug(params)
    checked, (status, _) = validate(stage, flat(stage, params), plug=False), runs.read(stage, key)
    print(f"{stage}/{key} ({status}) in {short(folder)}", flush=True)
    processes = getattr(checked, "processes", 1)
    os.environ |= {"AUXLEARN_RUNS": str(runs_root()), "MPLBACKEND": "agg"}
    os.environ["OMP_NUM_THREADS"] = str(checked.threads * processes)
    os.environ.pop("JPY_SESSION_NAME", None)  # progress as text, not as a bar in a notebook that a person has open
    _held = gpu_leases.acquire(processes) if checked.device == "cuda" else []  # for as long as this runs
    os.chdir(runs_root())
    with _progress():
        failed = _run_cells(shell := _shell(), stage, notebook, params)
    if failed and debug:
        shell.debugger(force=True)
    if not failed and status != "finished" and (manifest := folder / "manifest.json").is_file():
        manifest.replace(folder / "manifest.foreground.json")
        print("\nnothing failed; run the study again, which finishes this run and writes its notebook")
    return int(failed)


def _plug(params: dict[str, Any]) -> None:
    """Import the study's plug-ins, and refuse those that lie in the run folder, which may have come from anyone."""
    settings = params.get(SETTINGS)
    given = settings.get("plugins") if isinstance(settings, dict) else None
    names = [name for name in given if isinstance(name, str)] if isinstance(given, list) else []
    registry.plug(name for name in names if not Path(name).resolve().is_relative_to(runs_root()))
    registry.require(names)  # the notebook would import them


def _shell() -> Any:
    from IPython.core.interactiveshell import InteractiveShell
    from traitlets.config import Config

    look = {"colors": "neutral" if sys.stdout.isatty() else "nocolor"}
    return InteractiveShell.instance(config=Config(InteractiveShell=look, HistoryManager={"enabled": False}))


def _run_cells(shell: Any, stage: str, notebook: Any, params: dict[str, Any]) -> bool:
    """Run the code cells, setting the parameters after the cell that holds their defaults; say whether one failed."""
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    for number, cell in enumerate(cells, 1):
        where = f"{stage}, code cell {number} of {len(cells)}"
        print(f"\n── {where} ──", flush=True)
        error = (result := shell.run_cell(cell.source, store_history=True)).error_before_exec or result.error_in_exec
        if isinstance(error, KeyboardInterrupt):
            raise error
        if error:
            print("", *(f"{i:4d}  {line}" for i, line in enumerate(cell.source.splitlines(), 1)), sep="\n")
            print(f"\n{where}, failed: {type(error).__name__}: {error}", flush=True)
            return True
        if "parameters" in cell.metadata.get("tags", []):
            shell.push(params)
            print(*(f"{name} = {value!r}" for name, value in params.items()), sep="\n")
    return False


@contextlib.contextmanager
def _progress() -> Iterator[None]:
    """Print what notebooks write to AUXLEARN_PROGRESS, as it comes, to standard error."""

    def follow() -> None:
        last = False
        while not last:
            last = ended.wait(timeout=0.2)
            sys.stderr.writelines(f"  … {line.split(' ', 2)[-1]}" for line in lines)

    with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace", prefix="auxlearn-") as lines:
        os.environ["AUXLEARN_PROGRESS"] = lines.name
        ended, thread = threading.Event(), threading.Thread(target=follow)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()
            del os.environ["AUXLEARN_PROGRESS"]
