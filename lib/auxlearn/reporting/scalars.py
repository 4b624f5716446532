"""The histories of finished trainings as TensorBoard scalars: losses per step and per epoch, and TAWT's weights.

Written by torch's SummaryWriter, which needs the extra `tensorboard`. There is one folder per training, named after the
arms that it served; several of TensorBoard's log folders can be laid side by side.
"""

from __future__ import annotations

import datetime
from collections import defaultdict
from pathlib import Path
from typing import Any

from auxlearn.data import parquet
from auxlearn.errors import InputError
from auxlearn.files import documents, stored_arrays, writing
from auxlearn.paths import runs_root, short
from auxlearn.records import run_search, runs
from auxlearn.training import training_cache
from auxlearn.training.step_table import LOSSES


def write(folder: Path) -> int:
    """Write every training of the run folder into a new folder.

    Args:
        folder: The folder to make.

    Returns:
        How many trainings there were.

    Raises:
        InputError: If TensorBoard is not installed, or there are no trainings.
    """
    writer = _writer()
    trainings = [m for m in run_search.all_runs("train") if m.path("steps.parquet").is_file()]
    if not trainings:
        raise InputError(f"no trainings in {short(runs_root())}; run a study, or set AUXLEARN_RUNS")
    names = _names()
    with writing.new_folder(folder) as part:
        for manifest in trainings:
            name = f"{names.get(manifest.key, 'other')}/{manifest.key[:8]}"
            with writer(str(part / name)) as log:
                try:
                    _training(log, manifest)
                except (LookupError, TypeError, ValueError, AttributeError) as error:
                    raise InputError(
                        f"{short(manifest.folder)}: manifest or history of another form ({error}); remove it, and run "
                        "its study again"
                    ) from None
    return len(trainings)


def _writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise InputError("TensorBoard is not installed; it is an extra: pip install 'auxlearn[tensorboard]'") from None
    return SummaryWriter


def _names() -> dict[str, str]:
    """Map each training's key to what it was for: primary and arms of the 06s that read it, else the stage that did."""
    labels_of: dict[str, list[str]] = defaultdict(list)
    for stage in ("06_mtl", "02_td_proxy", "04_gradts_correlation", "05_tawt_weighting"):
        for manifest in run_search.all_runs(stage):
            p = manifest.params
            label = f"{p.get('primary')}/{p.get('arm')}-n{p.get('n')}" if stage == "06_mtl" else stage
            for source in manifest.inputs:
                if source["stage"] == "train":
                    labels_of[source["key"]].append(label)
    return {key: labels[0] + ("-and-others" if len(set(labels)) > 1 else "") for key, labels in labels_of.items()}


def _training(log: Any, manifest: runs.Manifest) -> None:
    history = documents.read_object(manifest.path("history.json"), stored_arrays.AGAIN)
    finished = datetime.datetime.fromisoformat(manifest.data.get("finished", ""))
    at = finished.timestamp()  # the steps' own times are not recorded
    log.add_text("run", f"    {manifest.label}\n    code {manifest.code['hash']}, data {manifest.suite}", 0, at)
    for number, row in enumerate(history["history"], 1):
        for name, value in _numbers(row):
            log.add_scalar(f"{row['phase']} by epoch/{name}", value, number, at)
    steps = parquet.read_frame(manifest.path("steps.parquet"), ("phase", "task", *LOSSES))
    for number, (phase, task, *losses) in enumerate(steps[["phase", "task", *LOSSES]].itertuples(index=False), 1):
        for name, value in zip((f"task_loss/{task}", "disc_loss"), losses, strict=True):
            log.add_scalar(f"{phase} by step/{name}", value, number, at)
    for row in training_cache.read_updates(manifest):
        for name, weight in zip(row["names"], row["weights"], strict=True):
            log.add_scalar(f"{row['phase']} weights/{name}", weight, row["step"], at)


def _numbers(row: dict[str, Any]) -> list[tuple[str, float]]:
    """List the scalars of a history's row; a list (one value per task) becomes one scalar each."""
    scalars = []
    for name, value in row.items():
        values = {f"{name}/{i}": v for i, v in enumerate(value)} if isinstance(value, list) else {name: value}
        scalars += [(n, float(v)) for n, v in values.items() if isinstance(v, (int, float)) and name != "epoch"]
    return scalars
