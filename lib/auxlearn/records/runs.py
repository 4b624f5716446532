"""Runs: a key says what a run is, a manifest written last says that it is finished.

`<run folder>/<stage>/<key>/` holds a run's files. Status comes from its manifest alone: none is *missing* (nothing
there) or *interrupted* (files, but no manifest); *damaged* when a file it lists is gone or altered; *stale* when the
code that made it, or a run it read, has changed since; else *finished*.
"""

from __future__ import annotations

import datetime
import functools
import importlib.metadata
import json
import os
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from filelock import FileLock

from auxlearn.cost import Ledger
from auxlearn.errors import InputError
from auxlearn.files.bounded_files import file_hash
from auxlearn.paths import NOTEBOOKS, runs_root, short
from auxlearn.records import checkout, manifests
from auxlearn.records import code_hash as code
from auxlearn.records.manifests import Manifest, digest

SCHEMA = 1  # raise when a stage's files or meaning change in a way that the code hash cannot tell
EDITED = "edited"  # in place of a code's hash
INSTRUCTIONS = ("amx_bf16", "avx512_bf16", "avx512f", "avx2", "sve", "asimd")
KERNELS = ("ATEN_CPU_CAPABILITY", "DNNL_MAX_CPU_ISA", "MKL_CBWR", "MKL_ENABLE_INSTRUCTIONS", "OPENBLAS_CORETYPE")
LINKS = 50  # runs that one may read through others; no stage is so far from the data
VERSIONS = ("torch", "transformers", "datasets", "tokenizers", "numpy", "scipy", "scikit-learn", "auxlearn")


def key(stage: str, params: Mapping[str, Any], suite: str, inputs: Iterable[str]) -> str:
    """Return a run's key.

    Args:
        stage: The run's stage, a notebook's name or a unit's.
        params: The parameters that change the result.
        suite: The suite's fingerprint.
        inputs: Keys of the runs that it reads.

    Returns:
        16 hex digits of these and of SCHEMA.
    """
    return digest([stage, SCHEMA, dict(params), suite, sorted(inputs)])


@dataclass
class Run:
    """A run being made: a folder to write into, then `finish`."""

    stage: str
    key: str
    params: dict[str, Any]  # all, as resolved
    suite: str
    inputs: list[Manifest] = field(default_factory=list)
    key_params: dict[str, Any] = field(default_factory=dict)  # those that the key is made of
    code_roots: tuple[str, ...] = ()
    notebook: str | None = None
    opened: str | None = None  # the code of its cells when the kernel read them; None: as it is now
    started: str = field(default_factory=lambda: now())

    def __post_init__(self) -> None:
        self._notebook = NOTEBOOKS / self.notebook if self.notebook else None
        if self._notebook and self.opened is None:
            self.opened = code.notebook_source(self._notebook)

    @property
    def folder(self) -> Path:
        """The run's folder, whether it is there or not."""
        return runs_root() / self.stage / self.key

    def path(self, name: str) -> Path:
        """Return the path of a file in the run's folder, which is made if need be.

        Raises:
            InputError: It cannot be made.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"{short(self.folder)} cannot be made: {error.strerror}. Set AUXLEARN_RUNS to a folder that can be "
                "written"
            ) from None
        return self.folder / name

    def once(self, make: Callable[[], Manifest]) -> Manifest:
        """Read this run back if it is finished, or else make it; two processes that ask for it make it once.

        Args:
            make: Makes it, and returns what `finish` does. It is called with the run's lock held.

        Returns:
            The finished run's manifest.

        Raises:
            InputError: As from `lock`.
        """
        with self.lock():
            status, manifest = read(self.stage, self.key)
            return manifest if status == "finished" and manifest is not None else make()

    def lock(self) -> FileLock:
        """Return a lock to hold while a unit is made.

        Raises:
            InputError: If the process is older than the code, before it makes or removes anything.
        """
        self.check_unedited()
        return FileLock(self.path(".lock"))

    def code(self) -> dict[str, Any]:
        """Describe the code that this process runs.

        Returns:
            Its root modules, its notebook and its hash. Where a file has been edited since this process read it, the
            hash is one that no code has, so that the run is stale at once.
        """
        return {
            "roots": list(self.code_roots),
            "notebook": self.notebook,
            "hash": EDITED if self._edited() else code.code_hash(self.code_roots, self._notebook),
        }

    def _edited(self) -> bool:
        return code.edited(self.code_roots, self._notebook, self.opened or "")

    def check_unedited(self) -> None:
        """Check that this process runs the code as it is now; what it makes would be stale otherwise.

        Raises:
            InputError: If the code was edited since this process imported it.
        """
        if self._edited():
            raise InputError(
                f"the code of {self.stage}, or of what it imports, was edited after this kernel or process had read "
                "it, so that nothing it makes could be trusted; restart it and run the notebook from its first cell"
            )

    def finish(
        self, outputs: Sequence[str], metrics: Mapping[str, Any], ledgers: Iterable[Ledger] = (),
        seeds: Mapping[str, int] | None = None, rows: Mapping[str, int] | None = None, **more: Any,
    ) -> Manifest:  # fmt: skip
        """Write the manifest, last and atomically: from here on the run is finished.

        Args:
            outputs: The run's files, by name in its folder; they are hashed.
            metrics: What it found, as JSON.
            ledgers: What its stages cost.
            seeds: Its derived seeds by purpose.
            rows: How many rows of each kind it used.
            **more: Further fields of the manifest.

        Returns:
            The manifest as written.
        """
        record = {
            "stage": self.stage, "key": self.key, "schema": SCHEMA, "params": self.params,
            "key_params": self.key_params or self.params,
            "suite": self.suite,
            "inputs": [m.reference() for m in self.inputs],
            "outputs": {name: file_hash(self.folder / name) for name in outputs},
            "metrics": dict(metrics), "ledger": [ledger.as_dict() for ledger in ledgers],
            "seeds": dict(seeds or {}), "rows": dict(rows or {}), "code": self.code(), "git": checkout.state(),
            "versions": versions(), "device": device_name(str(self.params.get("device", "cpu"))),
            "threads": self.params.get("threads"), "started": self.started, "finished": now(), **more,
        }  # fmt: skip
        write_json(self.path("manifest.json"), record)
        return Manifest(record, self.folder)


def write_json(path: Path, content: Any) -> None:
    """Write JSON in one step: a reader sees the old file or the new one, never half of it."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    part.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(part, path)


def now() -> str:
    """Return the time in UTC, ISO 8601 to the second."""
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


# --- provenance ----------------------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=1)
def versions() -> dict[str, str]:
    """Return the versions of Python and of the VERSIONS installed, without local suffixes such as +cpu."""
    versions_by_name = {"python": platform.python_version()}
    for name in VERSIONS:
        try:
            versions_by_name[name] = importlib.metadata.version(name).split("+")[0]
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions_by_name


def device_name(device: str) -> str:
    """Name what computes.

    A GPU goes by its name; a processor by its name, its widest instructions and the settings that choose its kernels.
    Processors with other instructions, and such settings, round otherwise: the same training ends with other bits.

    Args:
        device: "cpu" or a CUDA device.
    """
    if device.startswith("cuda"):
        import torch

        return torch.cuda.get_device_name()
    try:
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
    except OSError:
        lines = []
    known = {name.strip(): value.strip() for name, _, value in reversed(lines)}
    has = {*known.get("flags", "").split(), *known.get("Features", "").split()}
    widest = next((name for name in INSTRUCTIONS if name in has), "")
    parts = [f"{known.get('model name') or platform.processor() or 'cpu'}{widest and f' ({widest})'}"]
    return ", ".join([*parts, *(f"{name}={os.environ[name]}" for name in KERNELS if os.environ.get(name))])


# --- reading -------------------------------------------------------------------------------------------------------


def read(stage: str, key: str) -> tuple[str, Manifest | None]:
    """Read a run's status and manifest.

    Args:
        stage: The run's stage.
        key: Its key.

    Returns:
        "missing", "interrupted", "damaged", "stale" or "finished" (see above), and the manifest where it can be read.
    """
    return _read(stage, key, {})


def _read(stage: str, key: str, known: dict[tuple[str, str], Any]) -> tuple[str, Manifest | None]:
    """Read a status and manifest as `read` does.

    `known` holds what was found of the runs met on the way, None while that is being found out.
    """
    if (stage, key) in known or sum(found is None for found in known.values()) > LINKS:
        # A run that reads itself, through however many others, was never made so.
        return known.get((stage, key)) or ("damaged", None)
    known[stage, key] = None
    known[stage, key] = found = _status(stage, key, known)
    return found


def _status(stage: str, key: str, known: dict[tuple[str, str], Any]) -> tuple[str, Manifest | None]:
    folder = runs_root() / stage / key
    file = folder / "manifest.json"
    if not file.is_file():
        return ("interrupted" if folder.is_dir() and any(folder.iterdir()) else "missing"), None
    try:
        manifest = manifests.read(file)
        if not manifests.whole(manifest):
            return "damaged", None
        outputs = manifest.outputs.items()
        intact = all((folder / n).is_file() and file_hash(folder / n) == h for n, h in outputs)
        if not intact or (manifest.stage, manifest.key) != (stage, key):
            return "damaged", manifest
        stale = _is_stale(manifest, known)
    except (InputError, OSError):
        return "damaged", None
    return ("stale" if stale else "finished"), manifest


def _is_stale(manifest: Manifest, known: dict[tuple[str, str], Any]) -> bool:
    """Tell whether a run's code, or anything it read, has changed; of parameters and data keys are."""
    made_by = manifest.code
    notebook = NOTEBOOKS / made_by["notebook"] if made_by["notebook"] else None
    try:
        if code.code_hash(made_by["roots"], notebook) != made_by["hash"]:
            return True
    except (OSError, SyntaxError, ValueError):  # a notebook or a module that is no longer there, or half written
        return True
    for wanted in manifest.inputs:
        status, found = _read(wanted["stage"], wanted["key"], known)
        if status != "finished" or found is None or found.reference() != wanted:
            return True
    return False


def load(stage: str, key: str, remedy: str = "run it again") -> Manifest:
    """Load a finished run by its key.

    Args:
        stage: The run's stage.
        key: Its key.
        remedy: What a message tells the user to do.

    Raises:
        InputError: If the run is not finished; it says what is wrong and what to do.
    """
    status, manifest = read(stage, key)
    if status == "finished" and manifest is not None:
        return manifest
    reasons = {
        "missing": "is not there", "interrupted": "was interrupted before it finished",
        "damaged": "has a file that was altered or removed since it finished",
        "stale": "was made by other code, or from runs made by other code",
    }  # fmt: skip
    raise InputError(f"run {stage}/{key} {reasons[status]} ({short(runs_root() / stage / key)}); {remedy}")
