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

from auxlearn.errors import InputError

MAX_BYTES = "AUXLEARN_MAX_BYTES"
Made = TypeVar("Made")


def most_bytes(default: int) -> int:
    """How many bytes a file may hold or expand to: `default`, or AUXLEARN_MAX_BYTES where that is set."""
    given = os.environ.get(MAX_BYTES, "")
    if not given:
        return default
    if not (given.isascii() and given.isdecimal() and len(given) < 19 and int(given)):
        raise InputError(f"{MAX_BYTES}={given[:40]!r}: give a whole number of bytes above 0, such as 8000000000")
    return int(given)


@contextmanager
def system(path: Path, what: str = "read") -> Iterator[None]:
    """What the file system refuses while a path is "read" or "written", as an InputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error.filename, str) and not Path(error.filename).resolve().is_relative_to(path.parent.resolve()):
            reason += f": {error.filename}"  # what was read for it, say
        raise InputError(f"{path}: cannot be {what} ({reason}); check its permissions and the disk") from None


@contextmanager
def open_of(path: Path, remedy: str = "check the suite's `root` and `source`") -> Iterator[BinaryIO]:
    """A regular file, open for reading."""
    with system(path):
        if not path.is_file():
            what = "is not a regular file" if path.exists() else "no such file"
            raise InputError(f"{path}: {what}; {remedy}")
        with path.open("rb") as file:
            yield file


def read_bytes(path: Path, most: int, remedy: str) -> bytes:
    """A whole file of at most `most` bytes (or AUXLEARN_MAX_BYTES)."""
    most = most_bytes(most)
    with open_of(path, remedy) as file:
        # By its size, for Python sets aside as much as is asked for; the byte more tells of a file that grew.
        found = file.read(min(os.fstat(file.fileno()).st_size, most) + 1)
    if len(found) > most:
        raise InputError(f"{path}: holds more than {most:,} bytes; if it is sound, set {MAX_BYTES} to more")
    return found


def converted(
    path: Path, call: Callable[[], Made], faults: tuple[type[Exception], ...], what: str, remedy: str
) -> Made:
    """A library's call on what a file holds; its `faults`, which are of many kinds, say that the file is not `what`."""
    try:
        return call()
    except faults as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(f"{path}: not {what} ({reason}); {remedy}") from None


def file_hash(path: Path) -> str:
    """sha256 of a file; within a process, read anew only when its size or time has changed."""
    stat = path.stat()
    return _file_hash(path, stat.st_mtime_ns, stat.st_size)


@functools.lru_cache(maxsize=4096)
def _file_hash(path: Path, time_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inside(root: Path, name: str, what: str) -> Path:
    """`root / name`, checked to lie in the root when links are followed; `what` names it in the error."""
    base = os.path.realpath(root)
    if "\0" in name or not Path(os.path.realpath(root / name)).is_relative_to(base):
        raise InputError(f"{what}: {name[:200]!r} leads out of {root}; name a path inside it, or move that root")
    return root / name
