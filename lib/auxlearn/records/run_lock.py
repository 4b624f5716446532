"""One process per run folder: a lock that ends with its process, taken before anything is written or computed."""

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
    """Make this process the only one that writes into a folder until it ends; a second call is harmless.

    Args:
        folder: The run's folder, made if need be.
        wait: Seconds to wait for another process that has it, since one that is being killed soon has not.

    Raises:
        InputError: If another process still has the folder after that time, or as in `writable`.
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
    """Make a folder if need be, and check that it can be written.

    Raises:
        InputError: If it cannot be made or written, or its disk has less than LEAST_FREE bytes free.
    """
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
