"""Where a study's cells run: on this machine's cores, or where a Snakemake profile sends them."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxlearn.errors import InputError, shown
from auxlearn.files import documents

LOCAL = (None, "local")
CANCEL_SECONDS, PATIENCE_SECONDS = 60, 10


@dataclass(frozen=True)
class Place:
    """Where cells run: this machine, or where a Snakemake profile sends them.

    Attributes:
        folder: Folder of the profile; None for this machine.
        settings: The profile's own settings, as its config.yaml has them.
    """

    folder: Path | None
    settings: Mapping[str, Any]

    @property
    def elsewhere(self) -> bool:
        """Whether cells run on other machines than the one that plans them."""
        return self.settings.get("executor") not in LOCAL

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables for the cells: whether a scheduler has given them their devices (see `job`)."""
        return {"AUXLEARN_ELSEWHERE": "1"} if self.elsewhere else {}

    def options(self, cores: int | None, gpus: int) -> list[str]:
        """Return Snakemake's options for this place.

        Args:
            cores: Bounds all jobs together; None takes the profile's number, or all cores of this machine.
            gpus: Devices of this machine, which bound the jobs that run on it.

        Returns:
            Arguments for Snakemake's command line.
        """
        if not (cores or self.elsewhere or "cores" in self.settings):
            cores = os.cpu_count() or 1
        chosen = ["--profile", str(self.folder)] if self.folder else []
        chosen += ["--cores", str(cores)] if cores else []
        return chosen + ([] if self.elsewhere else ["--resources", f"gpu={gpus}"])

    @property
    def slurm(self) -> bool:
        """Whether cells run as Slurm jobs."""
        return self.settings.get("executor") == "slurm"

    def stopped(self, snakemake: subprocess.Popen) -> None:
        """Wait until an interrupted Snakemake has ended.

        With Slurm, Snakemake cancels its jobs at once, then sits out the pause until it would look at them again, which
        takes minutes; it is killed after `PATIENCE_SECONDS`.

        Args:
            snakemake: The interrupted process.
        """
        try:
            snakemake.wait(PATIENCE_SECONDS if self.slurm else None)
        except subprocess.TimeoutExpired:
            snakemake.kill()
            snakemake.wait()

    @contextmanager
    def watched(self, root: Path) -> Iterator[None]:
        """Guard a command: refuse to start beside Slurm jobs of an earlier one, and leave none behind.

        A killed command's lock died with it, but Slurm runs its jobs on, and two jobs of one cell would write the same
        files. Snakemake, when interrupted, cancels the jobs it knows of; one that it was just submitting stays.

        Args:
            root: The run folder, from which jobs are submitted.

        Raises:
            InputError: If jobs of an earlier command still run, or Slurm does not answer.
        """
        if not self.slurm:
            yield
            return
        if jobs := _slurm_jobs(root):
            raise InputError(
                f"Slurm jobs of an earlier command still run in {root}; wait for them, or `scancel {' '.join(jobs)}`"
            )
        try:
            yield
        finally:
            try:
                _cancel_slurm_jobs(root)
            except InputError as error:  # what happened before it is what counts
                print(f"jobs may be left in {root}: {error}", flush=True)


HERE = Place(None, {})


def _slurm_jobs(root: Path) -> list[str]:
    """List this user's jobs, queued, running or ending, that were submitted from a run folder."""
    answer = subprocess.run(["squeue", "--me", "--noheader", "--format=%i %Z"], capture_output=True, text=True)
    if answer.returncode:
        raise InputError(f"Slurm does not answer: {answer.stderr.strip()}")
    jobs = [line.partition(" ") for line in answer.stdout.splitlines()]
    return [job for job, _, folder in jobs if folder == str(root)]


def _cancel_slurm_jobs(root: Path) -> None:
    """Cancel jobs until none is left or a minute has passed: a process that does not end keeps its job ending."""
    end = time.monotonic() + CANCEL_SECONDS
    while (jobs := _slurm_jobs(root)) and time.monotonic() < end:
        subprocess.run(["scancel", *jobs], capture_output=True)
        time.sleep(1)


def read(folder: Path | None) -> Place:
    """Read and check a profile.

    Args:
        folder: Folder of a Snakemake profile; None means this machine.

    Returns:
        The place where cells run.

    Raises:
        InputError: If the folder holds no usable config.yaml, or what the profile needs is not installed.
    """
    if folder is None:
        return HERE
    file = folder / "config.yaml"
    if not file.is_file():
        raise InputError(f"profile {folder}: no config.yaml there; params/profiles/slurm is one")
    settings = documents.read_yaml(file) or {}
    if not isinstance(settings, dict):
        raise InputError(f"{file}: a profile maps Snakemake's options to values")
    place = Place(folder.resolve(), settings)
    executor = settings.get("executor")
    if place.elsewhere:
        if not re.fullmatch(r"[A-Za-z0-9_-]+", str(executor)):
            raise InputError(f"{file}: executor: {shown(executor)} is none of Snakemake's, such as slurm")
        if importlib.util.find_spec(f"snakemake_executor_plugin_{str(executor).replace('-', '_')}") is None:
            remedy = "pip install -e '.[slurm]'" if executor == "slurm" else f"snakemake-executor-plugin-{executor}"
            raise InputError(f"{file}: Snakemake has no executor {executor!r} here; install it: {remedy}")
        if not settings.get("jobs"):
            raise InputError(f"{file}: jobs: say how many jobs may be queued at once")
    if place.slurm and shutil.which("sbatch") is None:
        raise InputError(f"{file}: sbatch is not on the PATH; run this where Slurm jobs can be submitted")
    return place
