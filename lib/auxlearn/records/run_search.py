"""Finding runs: by part of a name, by what their parameters agree in, or all of a stage."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from auxlearn.errors import InputError
from auxlearn.paths import runs_root, short
from auxlearn.records import manifests, runs
from auxlearn.records.manifests import Manifest


def matching(text: str, stages: Iterable[str]) -> tuple[str, str]:
    """Find the run whose key begins with the given digits, whatever its status.

    Args:
        text: STAGE/KEY, or KEY alone, or the first few digits of it.
        stages: The stages to look in.

    Returns:
        The run's stage and its whole key.

    Raises:
        InputError: If `text` is no key, or no run folder or several have such a key.
    """
    stage, _, start = text.rpartition("/")
    stages = list(stages)
    if not re.fullmatch(r"[0-9a-f]{1,16}", start) or (stage and stage not in stages):
        raise InputError(
            f"{text!r} is no key of {' or '.join(stages)}; keys are 16 hex digits, or the first few of them"
        )
    stages = [stage] if stage else stages
    hits = [(s, folder.name) for s in stages for folder in sorted((runs_root() / s).glob(f"{start}*/"))]
    if not hits:
        where = f"{' or '.join(stages)} in {short(runs_root())}"
        raise InputError(f"no run of {where} has a key that begins with {start!r}; run its study first")
    if len(hits) > 1:
        listed = "".join(f"\n  {s}/{key}" for s, key in hits)
        raise InputError(f"{len(hits)} runs have a key that begins with {start!r}; give more of it:{listed}")
    return hits[0]


def all_runs(stage: str) -> list[Manifest]:
    """List every manifest of a stage that is one of its folder's run, whatever its status."""
    manifests_read = []
    for file in sorted((runs_root() / stage).glob("*/manifest.json")):
        with contextlib.suppress(InputError):
            manifest = manifests.read(file)
            if manifests.whole(manifest) and (manifest.stage, manifest.key) == (stage, file.parent.name):
                manifests_read.append(manifest)
    return manifests_read


def agrees(manifest: Manifest, wanted: Mapping[str, Any], later: Mapping[str, Any] | None = None) -> bool:
    """Tell whether a run has every wanted parameter that its key depends on.

    Args:
        manifest: The run.
        wanted: Parameters as keys hold them; those that the run's key leaves out do not count.
        later: Of parameters that came later, the value that a key without them stands for.
    """
    return fits(dict(later or {}) | manifest.key_params, wanted)


def fits(had: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether parameters of a key hold what is wanted; a wanted `seed` must be one of its `seeds`."""
    seeds = had.get("seeds")
    if "seed" in wanted and "seeds" in had and not (isinstance(seeds, list) and wanted["seed"] in seeds):
        return False
    return all(had[name] == value for name, value in wanted.items() if name in had)


def find(
    stage: str, wanted: Mapping[str, Any], suite: str, keyed: Mapping[str, Any] | None = None,
    later: Mapping[str, Any] | None = None,
) -> Manifest:  # fmt: skip
    """Find the one finished run of a stage over a suite with the given parameters.

    Args:
        stage: The stage.
        wanted: Parameters as a user gives them.
        suite: The suite's fingerprint.
        keyed: The parameters as keys hold them, if those differ from `wanted`.
        later: Of parameters that came later, the value that a key without them stands for.

    Raises:
        InputError: If no run matches, several finished ones do, or none that matches is finished; it has the line
            that makes the run, or the keys to choose from.
    """
    asked = wanted if keyed is None else keyed
    matches = [m for m in all_runs(stage) if m.suite == suite and agrees(m, asked, later)]
    line = papermill_line(stage, wanted)
    if not matches:
        raise InputError(f"no run of {stage} matches {_shown(wanted)} in {short(runs_root())}; make it with\n  {line}")
    statuses = {m.key: runs.read(stage, m.key)[0] for m in matches}
    finished = [m for m in matches if statuses[m.key] == "finished"]
    if len(finished) > 1:
        first = finished[0].key_params
        differing = sorted({k for m in finished for k in first if m.key_params.get(k) != first[k]})
        rows = "".join(f"\n  {m.key}  {_shown({k: m.key_params.get(k) for k in differing})}" for m in finished)
        raise InputError(f"{len(finished)} runs of {stage} match {_shown(wanted)}; name one in `inputs`:{rows}")
    if not finished:
        return runs.load(stage, matches[0].key, f"make it anew with\n  {line}")
    return finished[0]


def papermill_line(stage: str, params: Mapping[str, Any]) -> str:
    """Return the command that makes a run of a stage with the given parameters; of a `seed` it makes a list."""
    given = {f"{name}s" if name == "seed" else name: [v] if name == "seed" else v for name, v in params.items()}
    return f"papermill notebooks/{stage}.ipynb {stage}.out.ipynb -y '{json.dumps(given)}'"


def _shown(params: Mapping[str, Any]) -> str:
    return ", ".join(f"{k}={v}" for k, v in params.items()) or "the same parameters"
