"""Files of others: opened, bounded in bytes and kept inside their root, each fault as an InputError with the remedy.

AUXLEARN_MAX_BYTES lifts every bound on what one file may hold or expand to (see `most_bytes`).
"""

from __future__ import annotations

import functools
import hashlib
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TypeVar

from auxlearn.errors import InputError, meant

MAX_BYTES = "AUXLEARN_MAX_BYTES"
Value = TypeVar("Value")


def most_bytes(default: int) -> int:
    """Return how many bytes a file may hold or expand to: AUXLEARN_MAX_BYTES where that is set, else `default`.

    Raises:
        InputError: If AUXLEARN_MAX_BYTES is no whole number above 0.
    """
    text = os.environ.get(MAX_BYTES, "")
    if not text:
        return default
    if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text)):
        raise InputError(f"{MAX_BYTES}={text[:40]!r}: give a whole number of bytes above 0, such as 8000000000")
    return int(text)


@contextmanager
def system(path: Path, what: str = "read") -> Iterator[None]:
    """Turn what the file system refuses in the body of a `with` statement into an InputError.

    Args:
        path: The file or folder that the body works on.
        what: "read" or "written", for the message.

    Raises:
        InputError: In place of an OSError; it gives the system's reason.
    """
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error.filename, str) and not Path(error.filename).resolve().is_relative_to(path.parent.resolve()):
            reason += f": {error.filename}"  # what was read for it, say
        raise InputError(f"{path}: cannot be {what} ({reason}); check its permissions and the disk") from None


@contextmanager
def open_of(path: Path, remedy: str = "check the suite's `root` and `source`") -> Iterator[BinaryIO]:
    """Open a regular file for reading, for the body of a `with` statement.

    Args:
        path: The file.
        remedy: What a message tells the user to do.

    Yields:
        The file, in binary mode.

    Raises:
        InputError: If there is no such file, it is not a regular one, or it cannot be read.
    """
    with system(path):
        if not path.is_file():
            what = f"no such file{_nearest(path)}"
            if path.exists():
                what = "is not a regular file" + (" but a folder" if path.is_dir() else "")
            raise InputError(f"{path}: {what}; {remedy}")
        with path.open("rb") as file:
            yield file


def _nearest(path: Path) -> str:
    """Ask whether a file beside it was meant."""
    try:
        return meant(path.name, sorted(os.listdir(path.parent)[:1000]))
    except OSError:
        return ""


def read_bytes(path: Path, most: int, remedy: str) -> bytes:
    """Read a whole file.

    Args:
        path: The file.
        most: Bytes that it may hold, unless AUXLEARN_MAX_BYTES is set.
        remedy: What a message tells the user to do.

    Raises:
        InputError: If the file cannot be read or holds more.
    """
    most = most_bytes(most)
    with open_of(path, remedy) as file:
        # By its size, for Python sets aside as much as is asked for; the byte more tells of a file that grew.
        content = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    if len(content) > most:
        raise InputError(f"{path}: holds more than {most:,} bytes; if it is sound, set {MAX_BYTES} to more")
    return content


def converted(
    path: Path, call: Callable[[], Value], faults: tuple[type[Exception], ...], what: str, remedy: str
) -> Value:
    """Call a library on what a file holds, and turn its faults into an InputError.

    Args:
        path: The file, for the message.
        call: The library's call.
        faults: What the call raises, of whatever kinds, where the file is not `what`.
        what: What the file should be, as in "not … (reason)".
        remedy: What a message tells the user to do.

    Returns:
        What the call returns.

    Raises:
        InputError: In place of a fault; it gives the fault's own message, shortened.
    """
    try:
        return call()
    except faults as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: not {what} ({reason}); {remedy}") from None


def file_hash(path: Path) -> str:
    """Return the sha256 of a file in hex; within a process it is read again only when its size or time has changed."""
    stat = path.stat()
    return _file_hash(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4096)
def _file_hash(path: Path, time_ns: int, size: int) -> str:
    return content_hash(path)


def content_hash(path: Path) -> str:
    """Return the sha256 of a file in hex, read each time: two edits may fall into one tick of the file's clock."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(root: Path, name: str, what: str) -> Path:
    """Join a root and a name, and check that the path stays in the root when links are followed.

    Args:
        root: The folder that must not be left.
        name: A relative path from someone else.
        what: What the path is, for the message.

    Returns:
        `root / name`; whether anything is there is not checked.

    Raises:
        InputError: If the path leads out of the root.
    """
    base = os.path.realpath(root)
    if "\0" in name or not Path(os.path.realpath(root / name)).is_relative_to(base):
        raise InputError(f"{what}: {name[:200]!r} leads out of {root}; name a path inside it, or move that root")
    return root / name
