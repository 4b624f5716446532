"""Where things lie: the project, the run folder, short names for people."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = PROJECT / "notebooks"


def runs_root() -> Path:
    """The run folder: AUXLEARN_RUNS, or runs/ in the project."""
    return Path(os.environ.get("AUXLEARN_RUNS") or PROJECT / "runs").expanduser().resolve()


def short(path: Path) -> str:
    """A path relative to the project where it lies inside it, for messages."""
    try:
        return str(path.resolve().relative_to(PROJECT))
    except ValueError:
        return str(path)
