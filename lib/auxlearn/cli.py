"""The command line behind the Makefile: `auxlearn study | plan | check | price | methods | publish | …`."""

from __future__ import annotations

import argparse
import os
import select
import signal
import sys
from pathlib import Path

from auxlearn import hosts, processes
from auxlearn.errors import InputError
from auxlearn.paths import need_checkout

NEED_CHECKOUT = {"study", "plan", "cell", "publish", "stale", "verify", "notebooks"}  # they run or read notebooks


def main(argv: list[str] | None = None) -> int:
    """Run a command.

    Args:
        argv: The command line without the program's name; None takes `sys.argv`.

    Returns:
        The exit status: 0 when all went well, 1 where a report has changed or a cell has failed, 2 after an InputError,
        130 after Ctrl-C, 141 where whatever reads the output has closed it.
    """
    # A script's shell starts what it puts in the background with interrupts ignored; whoever sends one means it.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    processes.spare_grammar()
    try:
        hosts.settle()
        status = _run(_parser().parse_args(argv))
        sys.stdout.flush()
        return status
    except InputError as error:
        print(f"auxlearn: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        if not _unread():
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left of it is flushed at exit
        return 141
    except KeyboardInterrupt:
        return 130


def _unread() -> bool:
    """Tell whether nobody reads the output any more."""
    poller = select.poll()
    poller.register(sys.stdout.fileno(), 0)  # errors and hang-ups are reported in any case
    return bool(poller.poll(0))


def _cores(text: str) -> int:
    """Read a number of cores, one at least."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of cores; give 1 or more")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="auxlearn", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    study = commands.add_parser("study", help="run a study file to its report")
    study.add_argument("file", type=Path)
    study.add_argument("--cores", type=_cores, default=None, help="cores to use (default: all)")
    study.add_argument(
        "--profile", type=Path, default=None, metavar="FOLDER", help="Snakemake profile: run the cells elsewhere"
    )
    for name, text in (
        ("plan", "show a study's cells, what is finished and how long the rest will take, and run nothing"),
        ("check", "validate every cell of a study file, or a suite, without reading data"),
        ("price", "forecast what a study would cost in FLOPs, and run nothing"),
    ):
        one = commands.add_parser(name, help=text)
        one.add_argument("file", type=Path)
        if name == "check":
            one.add_argument("--data", action="store_true", help="read the data too, and report all problems at once")
        if name == "plan":
            one.add_argument("--cores", type=_cores, default=None, help="cores it would use (default: all)")
    init = commands.add_parser(
        "init", help="guess a suite and a study from a folder of CSV, TSV, Parquet, CoNLL or JSON lines"
    )
    init.add_argument("folder", type=Path)
    methods = commands.add_parser("methods", help="list all methods and weight policies with their options")
    methods.add_argument("names", nargs="*", help="methods to describe; default: all in brief")
    methods.add_argument(
        "--plugins", nargs="+", default=[], metavar="MODULE", help="modules or files with more methods"
    )
    parameters = commands.add_parser("parameters", help="describe every parameter of a notebook")
    parameters.add_argument("notebook", help="such as 06_mtl")
    cell = commands.add_parser("cell", help="run one cell of a study again, here and now, to see where it fails")
    cell.add_argument("key", help="STAGE/KEY as its run folder is called, KEY alone, or the first few digits of it")
    cell.add_argument("--pdb", action="store_true", help="open the debugger where it fails")
    publish = commands.add_parser("publish", help="copy a finished study's report to reports/")
    publish.add_argument("name")
    stale = commands.add_parser("stale", help="mark a published report as out of date")
    stale.add_argument("name")
    stale.add_argument("why")
    verify = commands.add_parser("verify", help="hash reports, their runs, code and data again; say what changed")
    verify.add_argument("name", nargs="?", help="a report; by default all that are published, a line each")
    verify.add_argument("--page", action="store_true", help="write the verdicts on all of them to reports/index.html")
    _tables(commands)
    notebooks = commands.add_parser("notebooks", help="re-execute and normalise the committed notebooks")
    notebooks.add_argument("names", nargs="*", help="stages; default all")
    _exports(commands.add_parser("export", help="write a run's selection, predictions, model or GLUE zip"))
    return parser


def _tables(commands: argparse._SubParsersAction) -> None:
    results = commands.add_parser(
        "results", help="every run of the run folder as one tidy table",
        description="Every run as one tidy Parquet table: one row per run, seed, metric and task or arm.",
        epilog="Its columns are listed by --columns.",
    )  # fmt: skip
    results.add_argument("file", type=Path, nargs="?", default=Path("results.parquet"))
    results.add_argument("--csv", action="store_true", help="a CSV beside it, safe for spreadsheets")
    results.add_argument("--columns", action="store_true", help="say what each column holds, and write nothing")
    tensorboard = commands.add_parser("tensorboard", help="histories of trainings as TensorBoard scalars")
    tensorboard.add_argument("folder", type=Path, help="a new folder; `tensorboard --logdir` shows it")


def _exports(parser: argparse.ArgumentParser) -> None:
    kinds = parser.add_subparsers(dest="kind", required=True)
    parsers = {}
    for kind, target, runs, text in (
        ("selection", "folder", "03_ranking or 06_mtl", "the chosen rows as Parquet, CSV, datasets and rank JSON"),
        ("predictions", "file", "06_mtl or train", "the predictions of one seed as CSV"),
        ("model", "folder", "06_mtl or train", "a tuned model as a Hugging Face folder"),
    ):
        parsers[kind] = kinds.add_parser(kind, help=text)
        parsers[kind].add_argument("key", help=f"key of a {runs} run, or the first few digits of it")
        parsers[kind].add_argument(target, type=Path)
    parsers["glue"] = kinds.add_parser("glue", help="test predictions of kept models as a GLUE submission")
    parsers["glue"].add_argument("file", type=Path)
    parsers["glue"].add_argument(
        "--from", dest="sources", action="append", required=True, metavar="TASK=KEY", help="may be given several times"
    )
    for parser_of_kind in parsers.values():
        parser_of_kind.add_argument("--seed", type=int, default=None, help="needed where a run has several")
    parsers["selection"].add_argument("--with-text", action="store_true", help="texts too, not only their hashes")
    parsers["predictions"].add_argument("--split", choices=["dev", "test"], default="dev")
    for kind in ("predictions", "model"):
        parsers[kind].add_argument("--task", default=None, help="default: the primary; others need a kept model")


def _run(given: argparse.Namespace) -> int:
    if given.command in NEED_CHECKOUT:
        need_checkout(f"`auxlearn {given.command}`")
    if given.command == "study":
        from auxlearn.studies.engine import runner

        return runner.run(given.file.resolve(), given.cores, given.profile, _rendered)
    if given.command == "plan":
        from auxlearn.studies import planning

        print(planning.summary(planning.plan(given.file.resolve()), given.cores))
    elif given.command == "check":
        from auxlearn.reporting import data_check

        checked = data_check.check(given.file, given.data)
        print(checked)
        return checked.status
    elif given.command == "price":
        from auxlearn.studies import forecasts

        print(forecasts.price(given.file.resolve()).shown())
    elif given.command == "init":
        from auxlearn.studies import starting

        suite, study = starting.start(given.folder)
        print(suite.read_text(encoding="utf-8"))
        print(
            f"{suite}\n{study}\nguessed: read both, correct what is marked with ?, then auxlearn check {study} --data"
        )
    elif given.command == "methods":
        from auxlearn.methods import listing

        print(listing.described(given.names, given.plugins))
    elif given.command == "parameters":
        from auxlearn.studies import parameters

        print(parameters.described(given.notebook))
    elif given.command == "cell":
        from auxlearn.studies.engine import foreground

        return foreground.run(given.key, given.pdb)
    elif given.command == "export":
        _export(given)
    elif given.command == "publish":
        from auxlearn.reporting.pages import report

        print(report.publish(given.name))
    elif given.command == "stale":
        from auxlearn.reporting.pages import report

        print(report.mark_stale(given.name, given.why))
    elif given.command == "verify":
        return _verify(given.name, given.page)
    elif given.command == "results":
        from auxlearn.reporting import tracking

        lines = [f"{name:12s} {text}" for name, text in tracking.COLUMNS.items()]
        print("\n".join(lines if given.columns else map(str, tracking.write(given.file, given.csv))))
    elif given.command == "tensorboard":
        from auxlearn.reporting import scalars

        print(f"{given.folder}: {scalars.write(given.folder)} trainings; show them with tensorboard --logdir")
    elif given.command == "notebooks":
        from auxlearn.reporting import renew

        renew.renew(given.names)
    return 0


def _verify(name: str | None, page: bool) -> int:
    from auxlearn.studies import verify

    findings = []
    if page:
        from auxlearn.reporting.pages import front_page

        findings = front_page.write()
    if name:
        findings = [verify.verify(name)]
        print(findings[0].shown())
    else:
        findings = findings or verify.everything()
        print("\n".join(finding.line() for finding in findings) or "no report is published here")
    return max((finding.status for finding in findings), default=0)


def _rendered(study: str) -> Path:
    from auxlearn.reporting.pages import report

    return report.render(study)


def _export(given: argparse.Namespace) -> None:
    from auxlearn.export import exports_of_runs as exports

    if given.kind == "selection":
        for path in exports.selection(given.key, given.folder, given.seed, given.with_text):
            print(path)
    elif given.kind == "predictions":
        print(exports.predictions(given.key, given.file, given.split, given.task, given.seed))
    elif given.kind == "model":
        way = exports.model(given.key, given.folder, given.seed, given.task)
        print(f"{given.folder}: for transformers' {way}; see its README.md")
    else:
        sources: dict[str, str] = {}
        for pair in given.sources:
            task, equals, key = pair.partition("=")
            if not equals or task in sources:
                raise InputError(f"--from {pair}: give TASK=KEY, each task once")
            sources[task] = key
        path = exports.glue(given.file, sources, given.seed)
        print(path)
        print(f"constant answers, not predictions: see {path.with_suffix('.fillers.txt')}")


if __name__ == "__main__":
    sys.exit(main())
