"""Trainings as units, each made once whoever asks for it (for passes over the pool see `signals.pass_store`).

A unit is a run of its own under the run folder, keyed by content and guarded by a lock. Notebooks are rendered from
units, so that an edit to a figure re-executes a notebook in seconds and trains nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.cost import Ledger
from auxlearn.data import parquet
from auxlearn.data.suites import Suite
from auxlearn.files import documents, stored_arrays
from auxlearn.records import code_hash as code
from auxlearn.records import runs
from auxlearn.training import extension_points, launch, phases, train
from auxlearn.training.step_table import LOSSES

MOMENTS = "moments.safetensors"


@dataclass
class Training:
    """A finished training: what `train.run` yields, read back from its folder."""

    manifest: runs.Manifest
    history: pd.DataFrame  # one row per epoch
    looks: pd.DataFrame  # one row per look at the model: phase, step, score
    steps: pd.DataFrame  # one row per step
    predictions: Any
    references: Any
    updates: list[dict[str, Any]]  # of TAWT's weights

    @property
    def scores(self) -> dict[str, float]:
        """The primary's metrics on dev, by name."""
        return self.manifest.metrics["dev"]

    @property
    def ledgers(self) -> list[Ledger]:
        """What each phase cost."""
        return [Ledger.from_dict(row) for row in self.manifest.ledger]


def trainer(plan: phases.Plan) -> ModuleType:
    """Find the module whose `run` trains the plan."""
    return extension_points.trainer(
        [f for phase in plan.phases for f in extension_points.TRAINERS if getattr(phase, f)]
    )


def training_key(plan: phases.Plan, suite: Suite) -> str:
    """Return the key of the run that holds a plan's training."""
    return runs.digest([runs.SCHEMA, plan.key_content(suite)])


def code_roots(plan: phases.Plan) -> tuple[str, ...]:
    """Name the modules whose code, with all that it imports, decides the plan's training.

    They are this one, which writes and reads its files and starts its workers, and what the plan names by a word: its
    trainer and its objectives.
    """
    objectives = {extension_points.OBJECTIVES[phase.discriminator] for phase in plan.phases if phase.discriminator}
    named = {code.root_of(trainer(plan)), *(name.partition(":")[0] for name in objectives)}
    policies = {phase.weighting.policy for phase in plan.phases if phase.weighting and phase.weighting.policy}
    named |= {extension_points.lookup(extension_points.POLICY_ROOT)(name) for name in policies}
    return ("training.training_cache", *sorted(named))


def trained(plan: phases.Plan, suite: Suite, progress: train.Progress | None = None) -> Training:
    """Get a plan's training: from the run folder if it is there and unchanged, else by running it now.

    Args:
        plan: The plan.
        suite: Its suite.
        progress: Called with a message per epoch.

    Returns:
        The finished training.

    Raises:
        InputError: As from `train.run`, or what is in the run folder cannot be read.
    """
    content = plan.key_content(suite)
    run = runs.Run("train", training_key(plan, suite), content, suite.fingerprint, code_roots=code_roots(plan))
    with run.lock():
        status, manifest = runs.read("train", run.key)
        if status != "finished" or manifest is None:
            if status == "stale":  # a checkpoint made by other code must not be resumed
                run.path("checkpoint.safetensors").unlink(missing_ok=True)
            manifest = _train(run, plan, suite, progress)
    detail = documents.read_object(manifest.path("history.json"), stored_arrays.AGAIN)
    predictions, references = read_predictions(manifest, suite, plan)
    steps = parquet.read_frame(manifest.path("steps.parquet"), ("phase", "task", *LOSSES))
    looks = pd.DataFrame(detail["looks"], columns=["phase", "step", "score"])
    return Training(
        manifest, pd.DataFrame(detail["history"]), looks, steps, predictions, references, read_updates(manifest)
    )  # fmt: skip


def _train(run: runs.Run, plan: phases.Plan, suite: Suite, progress: train.Progress | None) -> runs.Manifest:
    stamp = run.path("checkpoint.code")
    code = run.code()["hash"]
    if not stamp.is_file() or stamp.read_text(errors="replace") != code:
        run.path("checkpoint.safetensors").unlink(missing_ok=True)
        stamp.write_text(code)
    if plan.processes > 1:
        record = launch.train(plan, suite, run.folder, progress)
    else:
        record = written(trainer(plan).run(plan, suite, run.folder, progress), plan, suite, run.folder)
    stamp.unlink()
    return run.finish(
        record["outputs"], record["metrics"], [Ledger.from_dict(row) for row in record["ledger"]], plan.seeds,
        {name: sum(len(p.rows.get(name, ())) for p in plan.phases) for name in suite.names},
    )  # fmt: skip


def written(result: train.Result, plan: phases.Plan, suite: Suite, folder: Path) -> dict[str, Any]:
    """Write a training's files into a folder.

    Args:
        result: The training's result.
        plan: Its plan.
        suite: Its suite.
        folder: The folder.

    Returns:
        A dict that JSON holds: "outputs" (names of the files), "metrics" and "ledger".
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    runs.write_json(folder / "history.json", {"history": result.history, "looks": result.looks})
    result.steps.write(folder / "steps.parquet")
    outputs = ["history.json", "steps.parquet"]
    if result.updates:
        pq.write_table(pa.Table.from_struct_array(pa.array(result.updates)), folder / "updates.parquet")
        outputs.append("updates.parquet")
    if plan.primary:
        flat = {"predictions": result.predictions, "references": result.references}
        if suite[plan.primary].kind == "tagging":
            flat = {k: np.concatenate([np.asarray(x, np.int64) for x in v]) for k, v in flat.items()}
            flat["lengths"] = np.array([len(x) for x in result.references])
        np.savez(folder / "predictions.npz", **flat)
        outputs.append("predictions.npz")
    if plan.keep_model:
        from safetensors.torch import save_file

        save_file({k: v.contiguous() for k, v in result.model.state_dict().items()}, folder / "model.safetensors")
        outputs.append("model.safetensors")
    if plan.keep_moments:
        from safetensors.torch import save_file

        save_file({k: v.contiguous().cpu() for k, v in result.moments.items()}, folder / MOMENTS)
        outputs.append(MOMENTS)
    metrics = {"dev": result.scores, "chosen": result.chosen, "truncated": result.truncated}
    return {"outputs": outputs, "metrics": metrics, "ledger": [row.as_dict() for row in result.ledgers]}


def read_updates(manifest: runs.Manifest) -> list[dict[str, Any]]:
    """Read the updates of a training's weights; a training without any has none."""
    if "updates.parquet" not in manifest.outputs:
        return []
    rows = parquet.read_table(manifest.path("updates.parquet"))[0].to_pylist()
    return [row if row["update"] else {k: v for k, v in row.items() if v is not None} for row in rows]  # 0: the prior


def read_predictions(manifest: runs.Manifest, suite: Suite, plan: phases.Plan) -> tuple[Any, Any]:
    """Read a training's predictions and references on dev.

    Args:
        manifest: The training's manifest.
        suite: Its suite.
        plan: Its plan.

    Returns:
        Arrays [N] each; for tagging one array of label ids per row; (None, None) for a plan without a primary task.
    """
    if not plan.primary:
        return None, None
    tagging = suite[plan.primary].kind == "tagging"
    names = ("predictions", "references", *(["lengths"] if tagging else []))
    predictions, gold, *lengths = (
        stored_arrays.arrays(manifest.path("predictions.npz"), names)[name] for name in names
    )
    if tagging:
        cuts = np.cumsum(*lengths)[:-1]
        return np.split(predictions, cuts), np.split(gold, cuts)
    return predictions, gold
