"""Where things lie: the project, the run folder, short names for people."""

import os
from pathlib import Path

from auxlearn.errors import InputError

_PACKAGE = Path(__file__).resolve().parent
_AROUND = _PACKAGE.parents[1]
# Whether the library runs from a checkout, with the notebooks, params and Snakefile beside it, and not from a wheel.
IS_CHECKOUT = _PACKAGE == _AROUND / "lib" / "auxlearn" and (_AROUND / "notebooks").is_dir()
PROJECT = _AROUND if IS_CHECKOUT else Path.cwd()  # where relative paths of suites and encoders start
NOTEBOOKS = PROJECT / "notebooks"


def runs_root() -> Path:
    """Return the run folder: AUXLEARN_RUNS, or runs/ in the project; without a checkout auxlearn-runs/ where one is."""
    usual = PROJECT / ("runs" if IS_CHECKOUT else "auxlearn-runs")
    return Path(os.environ.get("AUXLEARN_RUNS") or usual).expanduser().resolve()


def need_checkout(what: str) -> None:
    """Refuse what the wheel does not hold.

    Args:
        what: What needs a checkout, for the message.

    Raises:
        InputError: The library does not run from a checkout.
    """
    if not IS_CHECKOUT:
        raise InputError(
            f"{what} needs a checkout, for notebooks/, params/ and the Snakefile are in no wheel: clone the repository "
            "and `pip install -e .` there. auxlearn.select, compare and check need none"
        )


def short(path: Path) -> str:
    """Return a path for messages: relative to the project where it lies inside it, else as it is."""
    try:
        return str(path.resolve().relative_to(PROJECT))
    except ValueError:
        return str(path)


def without_folder(path: Path) -> str:
    """Return a path for reports, saying nothing of the machine: from the project's folder, or else its last part."""
    told = Path(short(path)) if path.is_absolute() else path
    return told.name if told.is_absolute() else str(told)
