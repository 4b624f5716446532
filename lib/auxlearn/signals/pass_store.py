"""A pass over the pool as a unit: made once for a model, these rows and what is read of them, whoever asks.

`row_signals` says what can be read, `pool_pass` how it gets to disk, `training.launch` how several processes share it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.cost import total
from auxlearn.data import parquet
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.files import stored_arrays
from auxlearn.models import multitask
from auxlearn.records import runs
from auxlearn.signals import head_importance as importance
from auxlearn.signals import pool_pass, row_signals, target_gradients
from auxlearn.training import launch, phases, train, training_cache

PLAIN = ("features", "logits")  # what a forward pass alone gives, and 02 reads


def load_model(training: runs.Manifest, plan: phases.Plan, suite: Suite) -> multitask.MultiTaskModel:
    """Load the model of a training that kept it.

    Args:
        training: The training's manifest.
        plan: Its plan.
        suite: Its suite.

    Returns:
        The model on the plan's device, in evaluation mode.

    Raises:
        InputError: The file is not there, or does not fit the plan.
    """
    options: Any = {"pool": plan.pool, "regression": plan.regression, "max_length": plan.max_length}
    net = multitask.build(plan.encoder, suite, plan.seeds["init"], **options)
    file = training.path("model.safetensors")
    stored_arrays.fitted(net, stored_arrays.tensors(file)[0], file)
    return net.to(plan.device).eval()


@dataclass
class Store:
    """What one pass over training rows read from one model; arrays lie on disk and are paged in as they are used.

    What was not asked for is None, or not in `importance`.
    """

    manifest: runs.Manifest
    rows: pd.DataFrame  # task, row (position in the task's train), row_id, length
    logits: np.ndarray | None  # float32 [N, K], the discriminator's
    features: np.ndarray | None  # float16 [N, d], pooled
    loss: np.ndarray | None = None  # float32 [N], each row's own
    importance: dict[str, np.ndarray] = field(default_factory=dict)  # definition -> float32 [N, L, H]
    dots: np.ndarray | None = None  # float32 [N, T], with the targets' gradients, in their order
    squares: np.ndarray | None = None  # float32 [N], squared norms of the rows' gradients
    cosines: np.ndarray | None = None  # float32 [N, T], of Adam's steps with the targets' gradients


def scored(
    training: runs.Manifest, plan: phases.Plan, suite: Suite, progress: train.Progress | None = None,
    only: Mapping[str, np.ndarray] | None = None, reads: Sequence[str] = PLAIN,
    targets: Mapping[str, np.ndarray] | None = None, parameters: target_gradients.Which = "shared",
) -> Store:  # fmt: skip
    """Get a trained model's pass over training rows, from the run folder if it is there and unchanged, else run now.

    It runs in length order, in the plan's precision (fp32 where head importance is asked for, see
    `methods.gradts.head_store`), shard by shard, so that an interrupted pass goes on where it stopped and memory does
    not grow with the rows. It runs in `plan.processes` processes, which give the same bytes as one.

    Args:
        training: Manifest of the training that made the model and kept it.
        plan: The training's plan.
        suite: Its suite.
        progress: Called with a message per shard.
        only: Positions in the train split by task; None for all rows of the suite.
        reads: What to read, some of `row_signals.KNOWN`.
        targets: For "products" and "cosines": the rows of each target, as positions in the train split by task.
        parameters: For "products" and "cosines": which parameters the gradients are taken of.

    Returns:
        What was read.

    Raises:
        InputError: Nothing known is asked for, `only` names no row or an unknown task, targets and "products" do not
            come together, or the pass itself fails.
    """
    row_signals.check(reads, bool(targets))
    reads = [name for name in row_signals.KNOWN if name in reads]
    if unknown := set(only or ()) - set(suite.names):
        raise InputError(f"only: {', '.join(sorted(unknown))} is no task of the suite ({', '.join(suite.names)})")
    none = np.zeros(0, np.int64)
    rows = {n: np.arange(len(task.train)) if only is None else only.get(n, none) for n, task in suite.items()}
    if not any(map(len, rows.values())):
        raise InputError("only: names no row of any task; a pass needs one or more")
    fp32 = any(name in reads for name in importance.DEFINITIONS)
    content = {
        "training": training.key, "suite": suite.fingerprint, "precision": "fp32" if fp32 else plan.precision,
        "device": plan.device, "rows": {name: phases.hash_rows(at) for name, at in rows.items()},
    }  # fmt: skip
    if reads != list(PLAIN):
        content["reads"] = reads
    if targets:
        content["targets"] = [[name, phases.hash_rows(at)] for name, at in targets.items()]
        content["parameters"] = parameters
    key = runs.digest([runs.SCHEMA, content])
    run = runs.Run("score", key, content, suite.fingerprint, [training], code_roots=("signals.pass_store",))
    request = {"reads": reads, "targets": dict(targets or {}), "parameters": parameters}
    manifest = run.once(lambda: _score(run, training, plan, suite, rows, request, progress))
    paths = {Path(name).stem: manifest.path(name) for name in manifest.outputs if name.endswith(".npy")}
    arrays = {name: stored_arrays.array(path) for name, path in paths.items()}
    heads = {name: arrays.pop(name) for name in importance.DEFINITIONS if name in arrays}
    fixed = {name: arrays.pop(name, None) for name in PLAIN}
    table = parquet.read_frame(manifest.path("rows.parquet"), ("task", "row", "row_id", "length"))
    return Store(manifest, table, **fixed, **arrays, importance=heads)


def _score(
    run: runs.Run, training: runs.Manifest, plan: phases.Plan, suite: Suite, rows: Mapping[str, np.ndarray],
    request: Mapping[str, Any], progress: train.Progress | None,
) -> runs.Manifest:  # fmt: skip
    work = pool_pass.PoolPass.of(run, rows, training.code["hash"])
    if todo := [shard.name for shard in work.missing()]:
        job = {
            "training": str(training.folder), "marks": str(work.marks), "rows": dict(rows), "todo": todo,
            "precision": run.params["precision"], **request,
        }  # fmt: skip
        if plan.processes > 1:
            launch.fill(plan, suite, run.folder, job, progress)
        else:
            fill(plan, suite, run.folder, **job, progress=progress)
    manifest = run.finish(work.finish(suite), {"rows": work.size}, [total("scoring", work.ledgers())])
    work.clear()
    return manifest


def fill(
    plan: phases.Plan, suite: Suite, folder: Path, *, training: str, marks: str, rows: Mapping[str, np.ndarray],
    todo: Sequence[str], precision: str, reads: Sequence[str], targets: Mapping[str, np.ndarray],
    parameters: target_gradients.Which, progress: train.Progress | None = None, rank: int = 0, size: int = 1,
) -> None:  # fmt: skip
    """Do one process's share of a pass: every `size`-th of the shards named in `todo`, so that all tasks are shared.

    Args:
        plan: The training's plan.
        suite: Its suite.
        folder: Where the pass puts its arrays.
        training: Folder of the training that kept the model.
        marks: Folder of the marks, see `PoolPass`.
        rows: Positions in the train split by task, of the whole pass.
        todo: Names of the shards that are missing.
        precision: "fp32", "tf32" or "bf16".
        reads: What to read, some of `row_signals.KNOWN`.
        targets: Rows of each target by task.
        parameters: Which parameters the targets' gradients are taken of.
        progress: Called with a message per shard.
        rank: Number of this process, from 0.
        size: Number of processes.
    """
    import torch

    work = pool_pass.PoolPass(folder, Path(marks), rows)
    own = [shard for shard in work.shards if shard.name in set(todo)][rank::size]
    if not own:
        return
    if plan.device == "cpu":
        torch.set_num_threads(plan.threads)
    net = load_model(runs.Manifest({}, Path(training)), plan, suite)
    if list(reads) == list(PLAIN):
        read = pool_pass.plain(net, precision)
    else:
        moments = None
        if "cosines" in reads:
            moments, _ = stored_arrays.tensors(Path(training) / training_cache.MOMENTS, plan.device)
        read = row_signals.reader(net, suite, reads, targets, parameters, precision, moments)
    for shard in own:
        work.fill(shard, net, suite[shard.task], read, precision)
        if progress:
            progress(f"scored {len(shard.rows)} rows of {shard.task}")
