"""The command line behind the Makefile: `auxlearn study | plan | publish | notebooks`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .errors import InputError


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="auxlearn", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("study", help="run a study file to its report")
    study.add_argument("file", type=Path)
    study.add_argument("--cores", type=int, default=None, help="cores to use (default: all)")
    plan = commands.add_parser("plan", help="show a study's cells and what is finished, and run nothing")
    plan.add_argument("file", type=Path)
    publish = commands.add_parser("publish", help="copy a finished study's report to reports/")
    publish.add_argument("name")
    notebooks = commands.add_parser("notebooks", help="re-execute and normalise the committed notebooks")
    notebooks.add_argument("names", nargs="*", help="stages; default all")
    given = parser.parse_args(argv)
    try:
        return _run(given)
    except InputError as error:
        print(f"auxlearn: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _run(given: argparse.Namespace) -> int:
    if given.command == "study":
        from . import engine

        return engine.run(given.file.resolve(), given.cores)
    if given.command == "plan":
        from . import runs, studies

        for cell in studies.load(given.file.resolve()).cells:
            print(f"{runs.read(cell.stage, cell.key)[0]:11s} {cell.key}  {cell.label}")
    elif given.command == "publish":
        from . import engine

        print(engine.publish(given.name))
    elif given.command == "notebooks":
        from . import renew

        renew.renew(given.names)
    return 0


if __name__ == "__main__":
    sys.exit(main())
