"""Where things lie: the project, the run folder, short names for people."""

import os
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
NOTEBOOKS = PROJECT / "notebooks"


def runs_root() -> Path:
    """Return the run folder: AUXLEARN_RUNS, or runs/ in the project."""
    return Path(os.environ.get("AUXLEARN_RUNS") or PROJECT / "runs").expanduser().resolve()


def short(path: Path) -> str:
    """Return a path for messages: relative to the project where it lies inside it, else as it is."""
    try:
        return str(path.resolve().relative_to(PROJECT))
    except ValueError:
        return str(path)
