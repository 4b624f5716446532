"""One process a run folder: a lock that ends with its process, taken before anything is written or computed."""

from __future__ import annotations

import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from auxlearn.errors import InputError
from auxlearn.paths import short

LEAST_FREE = 64 << 20  # bytes; a run that begins on a full disk would fail at its end
WAIT_SECONDS = 15.0
_HELD: dict[Path, FileLock] = {}


def claim(folder: Path, wait: float = WAIT_SECONDS) -> None:
    """Make this process the only one that writes into a folder (made if need be) until it ends; again is harmless.

    InputError where another process has it, and still has after `wait` seconds (one that is being killed has not), and
    as in `writable`.
    """
    lock = _HELD.get(folder) or FileLock(folder / ".claim")
    if lock.is_locked:
        return
    writable(folder)
    try:
        lock.acquire(timeout=wait)
    except Timeout:
        raise InputError(
            f"{short(folder)}: another process is making this run; wait for it, or end it (a kernel left open?)"
        ) from None
    _HELD[folder] = lock


def writable(folder: Path) -> None:
    """Make the folder if need be; InputError where that or writing into it is not possible, or its disk is full."""
    probe = folder / ".probe"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink(missing_ok=True)
        free = shutil.disk_usage(folder).free
    except OSError as error:
        raise InputError(
            f"{short(folder)} cannot be written: {error.strerror}. Make it writable, or set AUXLEARN_RUNS elsewhere"
        ) from None
    if free < LEAST_FREE:
        raise InputError(
            f"{short(folder)}: {free / 2**20:.0f} MiB are free on its disk, {LEAST_FREE / 2**20:.0f} are needed to "
            "begin; free some, or set AUXLEARN_RUNS elsewhere"
        )
