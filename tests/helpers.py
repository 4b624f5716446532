"""What several test modules write by hand."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import filelock
import pandas as pd
import pytest
import yaml

# Eight small notebook runs.
STUDY = {
    "study": "small",
    "title": "A <b>small</b> study",
    "base": {
        "suite": "planted", "primary": "topic_side", "size": "full", "precision": "fp32", "rows": 60, "seeds": [0, 1],
        "threads": 1,
    },
    "grid": {"arm": ["single", "td_bce"], "n": [30]},
    "notebooks": {
        "02_td_proxy": {"proxy_rows": 15, "watch_rows": 10, "epochs": 1},
        "06_mtl": {"stage2_epochs": 1, "tune_epochs": 1, "single_epochs": 1},
    },
}  # fmt: skip
# Of a manifest, all that does not tell when, how fast or where it was made.
SAME = ("stage", "key", "schema", "params", "key_params", "suite", "metrics", "seeds", "rows", "code")
MEASURED = ["seconds", "joules", "peak_bytes"]
MIXED = {
    "study": "mixed",
    "title": "Runs that ended in <every> way",
    "base": {
        "suite": "planted", "primary": "topic_side", "size": "full", "precision": "fp32", "seeds": [0], "threads": 1,
    },
    "grid": {"rows": [60, 70, 80, 90]},
    "stages": ["01_data_prep", "02_td_proxy"],
    "exclude": [],
    "notebooks": {"02_td_proxy": {"proxy_rows": 15, "watch_rows": 10, "epochs": 1, "lr": 1e30}},
}  # fmt: skip


class Killed(Exception):
    """What ends a training in the middle."""


def killed_at_every_epoch(run, checkpoint: Path):
    """`run(progress)`'s result after it was ended at each epoch in turn and begun again, and how often it was begun."""

    def dying(after):
        seen = []

        def progress(message):
            seen.append(message)
            if "epoch" in message and not message.startswith("resumed") and len(seen) > after:
                raise Killed

        return progress

    attempts = 0
    while True:
        attempts += 1
        try:
            # A new attempt gets one epoch further: "resumed" counts as a message.
            return run(dying(1 if attempts == 1 else 2)), attempts
        except Killed:
            assert checkpoint.is_file()


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def mixed_study(folder: Path) -> None:
    """Runs of a study: 01 finished (60 rows a task), stale (70), damaged (80), interrupted (90); 02 failed, or not run.

    Two notebooks are executed as Snakemake would; the other 01s are that of 60 rows under the keys of the plan.
    """
    from auxlearn import engine, job, studies
    from auxlearn.paths import NOTEBOOKS

    path = folder.parent / "mixed.yaml"
    path.write_text(yaml.safe_dump(MIXED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(folder))
        _, cells = engine.prepare(studies.load(path))
        cells = {(c["stage"], c["params"]["rows"]): c for c in cells}
        first, failing = cells["01_data_prep", 60], cells["02_td_proxy", 60]
        for cell, ends_well in ((first, True), (failing, False)):
            done = job.run(NOTEBOOKS / f"{cell['stage']}.ipynb", folder / cell["stage"] / cell["key"])
            assert (done == 0) == ends_well
    home = folder / "01_data_prep"
    for rows, ending in ((70, "stale"), (80, "damaged"), (90, "interrupted")):
        cell = cells["01_data_prep", rows]
        target = home / cell["key"]
        shutil.copytree(home / first["key"], target, dirs_exist_ok=True)
        file = target / "manifest.json"
        record = json.loads(file.read_text()) | {"key": cell["key"], "suite": cell["suite"], "params": cell["params"]}
        if ending == "stale":
            record["code"]["hash"] = "0" * 16
            record["git"] = {"commit": "f" * 40, "dirty": True}
        file.write_text(json.dumps(record))
        if ending == "damaged":
            (target / "tasks.parquet").write_bytes(b"altered")
        if ending == "interrupted":
            file.unlink()


@dataclass
class Unharmed:
    """A study that ran from start to end: its file, its run folder, what its command returned, said and took."""

    study: Path
    folder: Path
    returncode: int
    stdout: str
    seconds: float


def unharmed_study(home: Path) -> Unharmed:
    """Run STUDY in an empty folder, or read what another process ran there."""
    home.mkdir(exist_ok=True)
    study, folder, said = home / "small.yaml", home / "runs", home / "said.json"
    with filelock.FileLock(home / "lock"):
        if not said.is_file():
            study.write_text(yaml.safe_dump(STUDY))
            begun = time.monotonic()
            made = study_command(study, folder)
            text = {"returncode": made.returncode, "stdout": made.stdout, "seconds": time.monotonic() - begun}
            said.write_text(json.dumps(text))
    return Unharmed(study, folder, **json.loads(said.read_text()))


def study_command(study: Path, folder: Path) -> subprocess.CompletedProcess:
    """`auxlearn study`, its runs in `folder`; both its outputs as one text."""
    return subprocess.run(
        [sys.executable, "-m", "auxlearn.cli", "study", str(study)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=os.environ | {"AUXLEARN_RUNS": str(folder)},
    )  # fmt: skip


def assert_same_findings(one: Path, other: Path) -> None:
    """Two run folders hold the same finished runs, which found the same, byte for byte but for what was measured."""
    first, second = _finished(one), _finished(other)
    assert first.keys() == second.keys()
    for at, mine in first.items():
        theirs = second[at]
        assert {name: unmeasured(mine[name]) for name in SAME} == {name: unmeasured(theirs[name]) for name in SAME}, at
        changed = {name for name, digest in mine["outputs"].items() if digest != theirs["outputs"][name]}
        assert changed <= ({"costs.parquet"} if at[0] == "07_efficiency" else set()), at  # which holds seconds
        if changed:
            costs = [pd.read_parquet(home / Path(*at) / "costs.parquet") for home in (one, other)]
            pd.testing.assert_frame_equal(*(table.drop(columns=MEASURED) for table in costs))


def _finished(folder: Path) -> dict[tuple[str, str], dict]:
    """Manifests of all runs of a folder; one that is not finished is an error."""
    from auxlearn import runs

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(folder))
        places = [path.parent for path in sorted(folder.glob("*/*/manifest.json"))]
        return {(at.parent.name, at.name): runs.load(at.parent.name, at.name).data for at in places}


def unmeasured(value):
    """Without what a clock, an allocator or a meter said."""
    if isinstance(value, dict):
        return {name: unmeasured(part) for name, part in value.items() if name not in MEASURED}
    return [unmeasured(part) for part in value] if isinstance(value, list) else value


def luminance(colour):
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def contrast(a, b):
    """WCAG 2's ratio."""
    high, low = sorted((luminance(a), luminance(b)), reverse=True)
    return (high + 0.05) / (low + 0.05)
