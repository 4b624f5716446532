"""Re-executes the committed notebooks at demo size, and writes them so that a diff shows only what changed."""

from __future__ import annotations

import atexit
import os
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import nbformat
from nbclient import NotebookClient

from auxlearn import hosts
from auxlearn.errors import InputError
from auxlearn.paths import NOTEBOOKS
from auxlearn.studies import parameters


def normalise(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Keep only what a reader needs: tags, a plain kernel name, stable cell ids, outputs without transient metadata.

    Args:
        notebook: The notebook, changed in place.

    Returns:
        The same notebook.
    """
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    })  # fmt: skip
    stage = notebook.cells[0]["id"].rsplit("-", 1)[0] if notebook.cells else ""
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{stage}-{number:02d}"
        tags = cell.metadata.get("tags")
        cell.metadata = nbformat.from_dict({"tags": tags} if tags else {})
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output["metadata"] = nbformat.from_dict({})
    return notebook


def renew(names: Sequence[str] = ()) -> None:
    """Execute notebooks in name order in a fresh run folder, each in its own kernel, and save them normalised.

    Args:
        names: The notebooks to execute, such as `06_mtl`; all by default.

    Raises:
        InputError: If there is no notebook of a name.
    """
    files = sorted(NOTEBOOKS.glob("[0-9]*.ipynb"))
    if unknown := set(names) - {f.stem for f in files}:
        raise InputError(parameters.no_notebook(min(unknown)))
    with tempfile.TemporaryDirectory(prefix="auxlearn-") as folder, hosts.own_kernel() as environment:
        os.environ |= environment | {"AUXLEARN_RUNS": folder}
        for file in files:
            if names and file.stem not in names:
                continue
            notebook = nbformat.read(file, as_version=4)
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    cell.outputs, cell.execution_count = [], None
            place = {"metadata": {"path": NOTEBOOKS}}
            how: dict[str, Any] = {"timeout": 600, "kernel_name": "python3", "coalesce_streams": True}
            _execute(NotebookClient(notebook, resources=place, **how))
            notebook.cells[0]["id"] = f"{file.stem}-00"
            nbformat.write(normalise(notebook), file)
            print(f"executed {file.name}", flush=True)


def _execute(client: NotebookClient) -> None:
    """Execute a notebook in a thread: in the main one, nbclient would turn an interrupt into errors of its own."""
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(client.execute)
        try:
            running.result()
        except KeyboardInterrupt:
            while not running.done():
                provisioner: Any = client.km and client.km.provisioner
                if provisioner and provisioner.process:
                    provisioner.process.kill()
                time.sleep(0.1)
            atexit.unregister(client._cleanup_kernel)
            raise
