"""Runs a module as a program that ends when its parent does.

    python -m auxlearn.processes [--parent PID] MODULE [argument …]

A killed engine would leave Snakemake running, a killed Snakemake its notebooks, and each would go on writing where the
next start of the same study writes. So each of them watches its parent and kills itself once that is gone (a kernel
watches its papermill by itself). Nothing is left for a person to unlock: every lock of ours goes with its process.

`--parent` says whom to watch, for a parent that may be gone before this looks.
"""

from __future__ import annotations

import argparse
import os
import runpy
import signal
import sys
import threading
import time

POLL_SECONDS = 0.2


def watch(parent: int, seconds: float = POLL_SECONDS) -> threading.Thread:
    """Start a thread that kills this process (SIGKILL: no handler delays it) once its parent is not `parent`.

    Args:
        parent: Process id of the parent.
        seconds: Time between two looks.

    Returns:
        The thread, already running.
    """

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    thread = threading.Thread(target=look, name="parent-watch", daemon=True)
    thread.start()
    return thread


def command(module: str, *arguments: object) -> list[str]:
    """Build the command by which this process starts a module that ends with it.

    Args:
        module: Dotted name of the module, as for `python -m`.
        *arguments: The module's command-line arguments.

    Returns:
        The command as a list, for `subprocess`.
    """
    return [sys.executable, "-m", __name__, "--parent", str(os.getpid()), module, *map(str, arguments)]


def spare_grammar() -> None:
    """Keep jsonschema, which nbformat and so papermill import, from building a grammar of internationalised addresses.

    It takes 1.3 s of the 2 s that papermill takes to start, and no schema of notebooks asks for such addresses. Only
    for programs of our own: a schema of whoever imports the library may ask for them.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]  # which an import takes for missing


def main(argv: list[str]) -> None:
    """Watch the parent and become the module; its exit status is the process's.

    Args:
        argv: The command line without the program's name.
    """
    parser = argparse.ArgumentParser(prog="auxlearn.processes", description=__doc__)
    parser.add_argument("--parent", type=int, default=os.getppid())
    parser.add_argument("module")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args(argv)
    watch(options.parent)
    spare_grammar()
    sys.argv = [options.module, *options.arguments]
    runpy.run_module(options.module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
