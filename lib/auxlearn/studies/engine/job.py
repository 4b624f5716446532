"""One notebook of a study as a job: what Snakemake starts for a cell, here or on a cluster's node.

    python -m auxlearn.studies.engine.job --parent PID [--gpus N] NOTEBOOK FOLDER

FOLDER is the cell's run folder: params.yaml is there; notebook.ipynb and papermill.log are written there. A job is done
when its manifest is there. It ends with its parent (see `processes.watch`). `--gpus` leases devices for it (see
`gpu_leases`) unless a scheduler has given it its own: two jobs of one node may both call theirs 0 (see `profiles`).

A failed job is tried once more, because kernels die of full memory or of a node's passing trouble. An InputError is not
tried again: it would come again, however long it takes to get there.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from auxlearn import hosts, processes
from auxlearn.errors import InputError
from auxlearn.studies.engine import gpu_leases

ATTEMPTS = 2


def main(argv: list[str]) -> int:
    """Run the cell that the command line names.

    Args:
        argv: The arguments, without the program's name.

    Returns:
        0 if the cell's manifest is there, else the exit status of the failure.
    """
    parser = argparse.ArgumentParser(prog="auxlearn.studies.engine.job", description=__doc__)
    parser.add_argument("--parent", type=int, default=os.getppid())
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("notebook", type=Path)
    parser.add_argument("folder", type=Path)
    given = parser.parse_args(argv)
    processes.watch(given.parent)
    hosts.settle()
    log = given.folder / "papermill.log"
    log.write_text("")  # that it is there says that the job has begun
    held = []
    if given.gpus and not os.environ.get("AUXLEARN_ELSEWHERE"):
        try:
            held = gpu_leases.acquire(given.gpus)
        except InputError as error:
            log.write_text(f"auxlearn: {error}\n")
            return 1
    try:
        return run(given.notebook, given.folder)
    finally:
        for lock in held:
            lock.release()


def run(notebook: Path, folder: Path) -> int:
    """Execute a notebook with papermill, twice if need be.

    Args:
        notebook: The notebook to execute.
        folder: The cell's run folder, with its params.yaml.

    Returns:
        0 if the folder has a manifest, 130 after an interrupt, else papermill's exit status or 1.
    """
    out, log = folder / "notebook.ipynb", folder / "papermill.log"
    command = processes.command("papermill", notebook, out, "-f", folder / "params.yaml", "--no-progress-bar")
    for attempt in range(1, ATTEMPTS + 1):
        with open(log, "a") as told, hosts.own_kernel() as environment:
            told.write(f"attempt {attempt}\n" if attempt > 1 else "")
            told.flush()
            process = subprocess.Popen(command, stdout=told, stderr=subprocess.STDOUT, env=environment)
            try:
                code = process.wait()
            except KeyboardInterrupt:  # sent to papermill too, which stops its kernel and writes what it has
                process.wait()
                return 130
        if code == 0 and (folder / "manifest.json").is_file():
            return 0
        if refused(out):
            break
        if attempt < ATTEMPTS and out.is_file():
            out.replace(out.with_name("notebook.attempt-1.ipynb"))
    return code or 1


def refused(notebook: Path) -> bool:
    """Say whether an executed notebook ended in an InputError, which a second attempt would only repeat.

    Args:
        notebook: Path of the executed notebook; it may be missing.

    Returns:
        Whether its first error is an InputError.
    """
    from auxlearn.studies import run_status

    node = run_status.executed(notebook) if notebook.is_file() else None
    return node is not None and run_status.error(node).startswith(run_status.REFUSED)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
