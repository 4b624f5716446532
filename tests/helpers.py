"""What several test modules write by hand."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import filelock
import pandas as pd
import pytest
import yaml

from auxlearn.paths import PROJECT

# Eight small notebook runs, which are planned and priced, and sent to a cluster by tests/slurm.
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
        "06_mtl": {"stage2_epochs": 1, "tune_epochs": 1},
    },
    "methods": {"single": {"epochs": 1}},
    "per_seed": ["02_td_proxy", "03_ranking"],
}  # fmt: skip
# Seven small notebook runs: what docs/own_data.md shows a new user.
EXAMPLE = PROJECT / "params" / "examples" / "my_study.yaml"
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


@dataclass
class Ran:
    """A study that was run once: its file, its run folder, what its command returned, said and took."""

    study: Path
    folder: Path
    returncode: int
    stdout: str
    seconds: float


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


def with_long_sentences(suite):
    """The suite with sentences to be tagged that stand twice in a row: of more than 16 tokens each, and 60 dev rows."""
    from auxlearn.data import suites

    short = {name: replace(task, dev=task.dev.select(range(60))) for name, task in suite.items()}
    task = short["word_class"]
    twice = {split: getattr(task, split).map(lambda row: {c: row[c] * 2 for c in (*task.inputs, task.label)})
             for split in ("train", "dev")}  # fmt: skip
    return suites.Suite(suite.name, short | {"word_class": replace(task, **twice)}, f"{suite.fingerprint}-twice")


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def unharmed_study(home: Path) -> Ran:
    """Run EXAMPLE as docs/own_data.md says, in an empty folder and without real data."""
    return _ran_once(home, lambda: EXAMPLE)


def _ran_once(home: Path, study: Callable[[], Path]) -> Ran:
    """Run a study in an empty folder, or read what another process ran there."""
    home.mkdir(exist_ok=True)
    folder, said = home / "runs", home / "said.json"
    with filelock.FileLock(home / "lock"):
        if not said.is_file():
            path, begun = study(), time.monotonic()
            made = study_command(path, folder)
            text = {"study": str(path), "returncode": made.returncode, "stdout": made.stdout}
            said.write_text(json.dumps(text | {"seconds": time.monotonic() - begun}))
    told = json.loads(said.read_text())
    return Ran(Path(told.pop("study")), folder, **told)


def study_command(study: Path, folder: Path) -> subprocess.CompletedProcess:
    """`auxlearn study` as a new user starts it, its runs in `folder`; both its outputs as one text."""
    environment = os.environ | {"AUXLEARN_RUNS": str(folder), "HF_HUB_OFFLINE": "1"}
    environment.pop("AUXLEARN_DATA", None)
    return subprocess.run(
        [sys.executable, "-m", "auxlearn.cli", "study", os.path.relpath(study, PROJECT)],
        cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
    )  # fmt: skip


def failing_study(home: Path) -> Ran:
    """Run MIXED's smallest 01 and 02, and the 03 that reads this 02, where the 02 fails: its loss is not finite."""
    study = {
        **MIXED, "study": "failing", "grid": {"rows": MIXED["grid"]["rows"][:1]},
        "stages": [*MIXED["stages"], "03_ranking"], "notebooks": MIXED["notebooks"] | {"03_ranking": {"n": 30}},
    }  # fmt: skip

    def write() -> Path:
        path = home / "failing.yaml"
        path.write_text(yaml.safe_dump(study))
        return path

    return _ran_once(home, write)


def mixed_study(failing: Ran, folder: Path) -> None:
    """Runs of a study: 01 finished (60 rows a task), stale (70), damaged (80), interrupted (90); 02 failed, or not run.

    The two notebooks that were executed are those of `failing_study`; the other 01s are that of 60 rows under the keys
    of the plan.
    """
    from auxlearn.studies import graph
    from auxlearn.studies.engine import runner

    for stage in (*MIXED["stages"], "train"):
        shutil.copytree(failing.folder / stage, folder / stage)
    path = folder.parent / "mixed.yaml"
    path.write_text(yaml.safe_dump(MIXED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(folder))
        _, todo = runner.prepare(graph.load(path))
    cells = {c["params"]["rows"]: c for c in todo if c["stage"] == "01_data_prep"}
    home = folder / "01_data_prep"
    (first,) = (file.parent for file in home.glob("*/manifest.json"))
    for rows, ending in ((70, "stale"), (80, "damaged"), (90, "interrupted")):
        cell = cells[rows]
        target = home / cell["key"]
        shutil.copytree(first, target, dirs_exist_ok=True)
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


def assert_same_findings(one: Path, other: Path) -> None:
    """Two run folders hold the same finished runs, which found the same, byte for byte but for what was measured."""
    first, second = finished(one), finished(other)
    assert first.keys() == second.keys()
    for at in first:
        _assert_same(at, first[at], second[at], one, other)


def assert_part_of_findings(part: Path, whole: Path) -> None:
    """As `assert_same_findings` for a study of fewer cells; runs of fewer seeds found what is there of their seeds."""
    first, second = finished(part), finished(whole)
    for at, mine in first.items():
        if at in second:
            _assert_same(at, mine, second[at], part, whole)
            continue
        assert at[0] in ("02_td_proxy", "03_ranking", "06_mtl")
        (theirs,) = (x for (stage, _), x in second.items() if stage == at[0] and _asked(x) == _asked(mine))
        assert _units(mine) <= _units(theirs)
        for seed, found in mine["metrics"]["seeds"].items():
            assert unmeasured(found) == unmeasured(theirs["metrics"]["seeds"][seed]), at
        if at[0] == "03_ranking":
            own, others = (pd.read_parquet(home / at[0] / x["key"] / "selection.parquet")
                           for home, x in ((part, mine), (whole, theirs)))  # fmt: skip
            there = others[others["seed"].isin(own["seed"])]
            pd.testing.assert_frame_equal(own.reset_index(drop=True), there.reset_index(drop=True))
        else:
            assert mine["metrics"]["seeds"]


def _asked(manifest: dict) -> dict:
    """The parameters of a run but for its seeds and what follows from them."""
    return {k: v for k, v in manifest["params"].items() if k not in ("study", "seeds", "inputs")}


def _units(manifest: dict) -> set[tuple[str, str]]:
    """The trainings and passes that a run read."""
    return {(each["stage"], each["key"]) for each in manifest["inputs"] if each["stage"][:1] not in "0123456789"}


def _assert_same(at: tuple[str, str], mine: dict, theirs: dict, one: Path, other: Path) -> None:
    assert {name: unmeasured(mine[name]) for name in SAME} == {name: unmeasured(theirs[name]) for name in SAME}, at
    changed = {name for name, digest in mine["outputs"].items() if digest != theirs["outputs"][name]}
    assert changed <= ({"costs.parquet"} if at[0] == "07_efficiency" else set()), at  # which holds seconds
    if changed:
        costs = [pd.read_parquet(home / Path(*at) / "costs.parquet") for home in (one, other)]
        pd.testing.assert_frame_equal(*(table.drop(columns=MEASURED) for table in costs))


def finished(folder: Path) -> dict[tuple[str, str], dict]:
    """Manifests of all runs of a folder; one that is not finished is an error."""
    from auxlearn.records import runs

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
