"""GPU leases: each device is a file lock, so that two jobs of one machine never share a device by accident.

Snakemake counts devices and does not say which one a job has. A job takes the first device whose lock is free, sets
CUDA_VISIBLE_DEVICES to it before its kernel starts, and holds the lock until its process ends, however it ends. The
locks are the machine's, not the run folder's: studies in two run folders do not share a device either. They are named
after the device's UUID: jobs of two containers may both call theirs 0, and one may call another's by its UUID.
`nvidia-smi` tells it at once; CUDA itself is asked where that tool is missing, and where it counts otherwise than CUDA,
which puts the fastest of different devices first.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from filelock import FileLock, Timeout

from auxlearn.errors import InputError

WAIT_SECONDS = 1.0
ASKING = """
import torch
for index in range(torch.cuda.device_count()):
    print(f"{index},GPU-{torch.cuda.get_device_properties(index).uuid}")
"""  # in a process of its own: this one must not start CUDA before it holds a lease


def devices() -> list[str]:
    """List the devices that this process may use, each once.

    Returns:
        Their UUIDs where `nvidia-smi` or CUDA tells them, else their names in CUDA_VISIBLE_DEVICES. Without that
        variable these are all that there are.
    """
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and not visible.strip():
        return []
    known = _listed()
    names = known if visible is None else [name.strip() for name in visible.split(",") if name.strip()]
    return list(dict.fromkeys(_uuid(name, known) for name in names))


def _listed() -> dict[str, str]:
    """Return the UUID of each device by its index, as CUDA counts them."""
    rows = _rows(["nvidia-smi", "--query-gpu=index,uuid,name", "--format=csv,noheader"])
    alike = len({row[2] for row in rows if len(row) == 3}) <= 1 or os.environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"
    if not alike or (not rows and any(Path("/dev").glob("nvidia[0-9]*"))):
        rows = _rows([sys.executable, "-c", ASKING], CUDA_VISIBLE_DEVICES=None) or rows
    return {row[0]: row[1] for row in rows if len(row) > 1}


def _rows(command: Sequence[str], **environment: None) -> list[list[str]]:
    """Return the lines of comma-separated values that a command prints; none where it fails."""
    kept = {name: value for name, value in os.environ.items() if name not in environment}
    try:
        listed = subprocess.run(command, capture_output=True, text=True, timeout=60, env=kept)
    except (OSError, subprocess.TimeoutExpired):
        return []
    lines = listed.stdout.splitlines() if listed.returncode == 0 else []
    return [[part.strip() for part in line.split(",")] for line in lines]


def _uuid(name: str, known: Mapping[str, str]) -> str:
    """Return the UUID of a device named by its index or by the first letters of its UUID; else the name itself."""
    begun = [uuid for uuid in known.values() if name.startswith("GPU-") and uuid.startswith(name)]
    return begun[0] if len(begun) == 1 else known.get(name, name)


def folder() -> Path:
    """Return the folder of the locks: one per user and machine."""
    return Path(tempfile.gettempdir()) / f"auxlearn-leases-{os.getuid()}"


def acquire(count: int = 1, wait: float | None = None) -> list[FileLock]:
    """Lease devices, and set CUDA_VISIBLE_DEVICES to them alone; wait until enough are free.

    Args:
        count: How many devices to lease.
        wait: Seconds to wait at most; None waits without limit.

    Returns:
        The locks of the leased devices, held.

    Raises:
        InputError: If the machine has fewer devices, or too few came free in time.
    """
    names = devices()
    if len(names) < count:
        raise InputError(
            f"{count} GPU to lease, but CUDA_VISIBLE_DEVICES or nvidia-smi names {', '.join(names) or 'none'}; "
            "set `device: cpu` or fewer `processes`"
        )
    folder().mkdir(mode=0o700, exist_ok=True)
    begun = time.monotonic()
    while True:
        held: dict[str, FileLock] = {}
        for name in names:
            lock = FileLock(folder() / f"gpu-{name.replace('/', '_')}.lock")
            try:
                lock.acquire(timeout=0)
            except Timeout:
                continue
            held[name] = lock
            if len(held) == count:
                os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(held)
                return list(held.values())
        for lock in held.values():  # none is kept while waiting for the others
            lock.release()
        if wait is not None and time.monotonic() - begun >= wait:
            raise InputError(f"no {count} GPU came free in {wait:g} s: other jobs lease {', '.join(names)}")
        time.sleep(WAIT_SECONDS)
