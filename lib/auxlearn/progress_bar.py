"""A bar for the person who watches a cell or a terminal, and nothing for papermill, nbval or a log, which are kept.

Jupyter's server says which notebook a kernel's session is of (JPY_SESSION_NAME); VS Code puts the notebook's name among
the user's. Kernels that papermill, nbval or nbconvert start have neither.
"""

from __future__ import annotations

import contextlib
import html
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO


def someone() -> bool:
    """Tell whether this is a kernel behind a notebook that a person has open."""
    shell = _shell()
    return shell is not None and ("JPY_SESSION_NAME" in os.environ or "__vsc_ipynb_file__" in shell.user_ns)


def _shell() -> Any:
    try:
        from IPython import get_ipython
    except ImportError:
        return None
    return get_ipython()


class Bar:
    """The last message under the running cell, with a bar where it says "3/5"; gone when the cell has run."""

    def __init__(self) -> None:
        self.handle: Any = None

    def show(self, message: str) -> None:
        """Put a message in place of the last."""
        from IPython.display import HTML, display

        progress = re.search(r"(\d+)/(\d+)", message)
        bar = f'<progress value="{progress[1]}" max="{progress[2]}"></progress> ' if progress else ""
        content = HTML(f"{bar}<small>{html.escape(message)}</small>")
        if self.handle is None:
            self.handle = display(content, display_id=True)
            _shell().events.register("post_run_cell", self._gone)
        else:
            self.handle.update(content)

    def _gone(self, *_: object) -> None:
        _shell().events.unregister("post_run_cell", self._gone)
        self.handle.update({"text/plain": ""}, raw=True)
        self.handle = None


class Line:
    """The last message in the last line of a terminal, with a bar where it says "3/5"."""

    WIDTH = 12  # of the bar

    def __init__(self, terminal: TextIO) -> None:
        self.terminal = terminal

    def show(self, message: str) -> None:
        """Put a message in place of the last, cut to the line."""
        progress = re.search(r"(\d+)/(\d+)", message)
        full = min(1.0, int(progress[1]) / max(1, int(progress[2]))) if progress else 0.0
        done = round(self.WIDTH * full)
        bar = f"[{'#' * done}{'.' * (self.WIDTH - done)}] " if progress else ""
        line = " ".join(f"{bar}{message}".split())[: shutil.get_terminal_size().columns - 1]
        self._write(f"\r\x1b[K{line}")

    def close(self) -> None:
        """Leave the line empty."""
        self._write("\r\x1b[K")

    def _write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):  # a terminal that has been closed stops no training
            self.terminal.write(text)
            self.terminal.flush()


@contextlib.contextmanager
def shown() -> Iterator[Callable[[str], None] | None]:
    """Show a person who waits what has been done, while the body runs.

    Yields:
        What takes a message: a bar under the notebook's cell, or in the terminal's last line; None where nobody
        watches.
    """
    if someone():
        yield Bar().show
        return
    if sys.stderr is None or not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield None
        return
    line = Line(sys.stderr)
    try:
        yield line.show
    finally:
        line.close()
