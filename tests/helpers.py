"""What several test modules write by hand."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

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


def write_jsonl(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def mixed_study(folder: Path) -> None:
    """Runs of a study: 01 finished (60 rows a task), stale (70), damaged (80), interrupted (90); 02 failed, or not run.

    Two notebooks are executed as Snakemake would; the other 01s are that of 60 rows under the keys of the plan.
    """
    from auxlearn import engine, studies

    path = folder.parent / "mixed.yaml"
    path.write_text(yaml.safe_dump(MIXED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(folder))
        _, cells = engine.prepare(studies.load(path))
        cells = {(c["stage"], c["params"]["rows"]): c for c in cells}
        first, failing = cells["01_data_prep", 60], cells["02_td_proxy", 60]
        assert _papermill(folder, first).returncode == 0
        assert _papermill(folder, failing).returncode != 0
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


def _papermill(folder: Path, cell: dict) -> subprocess.CompletedProcess:
    """What the Snakefile's rule runs."""
    from auxlearn.paths import NOTEBOOKS

    home = folder / cell["stage"] / cell["key"]
    command = [
        sys.executable,
        "-m",
        "papermill",
        str(NOTEBOOKS / f"{cell['stage']}.ipynb"),
        str(home / "notebook.ipynb"),
    ]
    made = subprocess.run(
        [*command, "-f", str(home / "params.yaml"), "--no-progress-bar"],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    (home / "papermill.log").write_text(made.stderr)
    return made
