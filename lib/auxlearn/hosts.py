"""What a host or its user lacks or sets otherwise, made good for this process and for those that it starts.

A container often has no home folder, no name for its user, or a home that cannot be written; Snakemake, Jupyter and
Matplotlib then end with errors of their own. And a user's own Jupyter settings decide which Python runs a notebook.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import getpass
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auxlearn.errors import InputError

# By variable: where the folder lies in a home, and the deepest that is written there.
_FOLDERS = {
    "XDG_CACHE_HOME": (".cache", "snakemake/snakemake/source-cache/snakemake-runtime-cache"),
    "XDG_CONFIG_HOME": (".config", ""),
    "XDG_DATA_HOME": (".local/share", ""),
    "IPYTHONDIR": (".ipython", "profile_default"),
    "MPLCONFIGDIR": (".config/matplotlib", ""),
}


def settle() -> None:
    """Put a temporary folder in place of a home, settings and caches that cannot be written, and name the user.

    A cache of Hugging Face that can be read stays in use.

    Raises:
        InputError: If a temporary folder is needed and none can be written.
    """
    home = os.path.expanduser("~")
    home = home if os.path.isabs(home) else ""
    hub = os.environ.get("HF_HOME") or os.path.join(os.environ.get("XDG_CACHE_HOME", f"{home}/.cache"), "huggingface")
    folders = {name: os.environ.get(name) or f"{home}/{default}" for name, (default, _) in _FOLDERS.items()}
    unusable = [name for name, (_, deepest) in _FOLDERS.items() if not _writable(Path(folders[name], deepest))]
    if not home or not _writable(Path(home)):
        os.environ["HOME"] = str(_spare())
        unusable = [name for name in unusable if os.environ.get(name)]  # the others are in the home
    os.environ |= {name: str(_spare() / _FOLDERS[name][0]) for name in unusable}
    if os.path.isdir(hub):
        os.environ["HF_HOME"] = hub
    elif not _writable(Path(hub)):
        os.environ["HF_HOME"] = str(_spare() / ".cache" / "huggingface")
    try:
        getpass.getuser()
    except (KeyError, OSError):  # a user without an entry of its own, whom PyTorch would ask for by name
        os.environ["LOGNAME"] = f"user{os.getuid()}"


def _writable(path: Path) -> bool:
    """Tell whether a folder can be written, or made."""
    while not path.exists() and path != path.parent:
        path = path.parent
    return path.is_dir() and os.access(path, os.W_OK | os.X_OK)


@functools.cache
def _spare() -> Path:
    try:
        folder = tempfile.mkdtemp(prefix="auxlearn-home-")
    except OSError as error:
        raise InputError(f"neither the home folder nor a temporary one can be written ({error}); set TMPDIR") from None
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _able() -> dict[str, Any]:
    """Return what this Python's installed kernel can do, such as encrypt what it sends."""
    try:
        content = json.loads(Path(sys.prefix, "share", "jupyter", "kernels", "python3", "kernel.json").read_text())
        return {name: content[name] for name in ("metadata", "kernel_protocol_version")}
    except (OSError, ValueError, LookupError, TypeError):
        return {}


@contextlib.contextmanager
def own_kernel() -> Iterator[dict[str, str]]:
    """Let notebooks run in this very Python, without the user's kernels, start-up files and Jupyter settings.

    Yields:
        The environment for what starts a kernel; its folder is removed afterwards.
    """
    with tempfile.TemporaryDirectory(prefix="auxlearn-jupyter-", ignore_cleanup_errors=True) as folder:
        spec = Path(folder, "kernels", "python3", "kernel.json")
        spec.parent.mkdir(parents=True)
        argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
        spec.write_text(json.dumps(_able() | {"argv": argv, "display_name": "Python 3", "language": "python"}))
        own = {
            name: str(Path(folder, part))
            for name, part in (
                ("JUPYTER_CONFIG_DIR", "config"),
                ("JUPYTER_DATA_DIR", "data"),
                ("JUPYTER_RUNTIME_DIR", "runtime"),
                ("IPYTHONDIR", "ipython"),
            )
        }
        yield {**os.environ, **own, "JUPYTER_PATH": folder}
