"""A bar for the person who watches a cell run, and nothing for papermill or nbval, whose outputs are kept.

Jupyter's server says which notebook a kernel's session is of (JPY_SESSION_NAME); VS Code puts the notebook's name among
the user's. Kernels that papermill, nbval or nbconvert start have neither.
"""

from __future__ import annotations

import html
import os
import re
from typing import Any


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
