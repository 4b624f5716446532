"""The expensive units, made once whoever asks: trainings, and passes over the pool.

A unit is a run of its own under the run folder, keyed by content and guarded by a lock. Notebooks are rendered from
units, so that an edit to a figure re-executes a notebook in seconds and trains nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd

from . import bandit_training, batching, inference, launched, model, phases, runs, train, weighted_training
from .cost import Ledger, Meter
from .tasks import Suite

SHARD = 4096  # rows of a pass that are lost, at most, to an interruption


@dataclass
class Training:
    """A finished training: what `train.run` yields, read back from its folder."""

    manifest: runs.Manifest
    history: pd.DataFrame  # one row an epoch
    steps: pd.DataFrame  # one row a step
    predictions: Any
    references: Any
    updates: list[dict[str, Any]]  # of TAWT's weights

    @property
    def scores(self) -> dict[str, float]:
        return self.manifest.metrics["dev"]

    @property
    def ledgers(self) -> list[Ledger]:
        return [Ledger.from_dict(row) for row in self.manifest.ledger]


def trainer(plan: phases.Plan) -> ModuleType:
    """The module whose `run` trains the plan."""
    if any(phase.rounds for phase in plan.phases):
        return bandit_training
    return weighted_training if any(phase.weighting for phase in plan.phases) else train


def training_key(plan: phases.Plan, suite: Suite) -> str:
    return runs.digest([runs.SCHEMA, plan.key_content(suite)])


def trained(plan: phases.Plan, suite: Suite, progress: train.Progress | None = None) -> Training:
    """The plan's training, from the run folder if it is there and unchanged, else run now."""
    content = plan.key_content(suite)
    root = trainer(plan).__name__.rpartition(".")[2]
    run = runs.Run("train", training_key(plan, suite), content, suite.fingerprint, code_roots=(root,))
    with run.lock():
        status, manifest = runs.read("train", run.key)
        if status != "finished" or manifest is None:
            if status == "stale":  # a checkpoint made by other code must not be resumed
                run.path("checkpoint.safetensors").unlink(missing_ok=True)
            manifest = _train(run, plan, suite, progress)
    detail = json.loads(manifest.path("history.json").read_text())
    predictions, references = read_predictions(manifest, suite, plan)
    tables = [pd.DataFrame(detail[name]) for name in ("history", "steps")]
    return Training(manifest, *tables, predictions, references, detail["updates"])


def _train(run: runs.Run, plan: phases.Plan, suite: Suite, progress: train.Progress | None) -> runs.Manifest:
    stamp = run.path("checkpoint.code")
    code = run.code()["hash"]
    if not stamp.is_file() or stamp.read_text() != code:
        run.path("checkpoint.safetensors").unlink(missing_ok=True)
        stamp.write_text(code)
    if plan.processes > 1:
        made = launched.train(plan, suite, run.folder, progress)
    else:
        made = written(trainer(plan).run(plan, suite, run.folder, progress), plan, suite, run.folder)
    stamp.unlink()
    return run.finish(
        made["outputs"], made["metrics"], [Ledger.from_dict(row) for row in made["ledger"]], plan.seeds,
        {name: sum(len(p.rows.get(name, ())) for p in plan.phases) for name in suite.names},
    )  # fmt: skip


def written(result: train.Result, plan: phases.Plan, suite: Suite, folder: Path) -> dict[str, Any]:
    """Write a training's files into a folder; JSON-able: outputs (their names), metrics, ledger."""
    detail = {"history": result.history, "steps": result.steps, "updates": result.updates}
    runs.write_json(folder / "history.json", detail)
    outputs = ["history.json"]
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
    metrics = {"dev": result.scores, "chosen": result.chosen, "truncated": result.truncated}
    return {"outputs": outputs, "metrics": metrics, "ledger": [row.as_dict() for row in result.ledgers]}


def read_predictions(manifest: runs.Manifest, suite: Suite, plan: phases.Plan) -> tuple[Any, Any]:
    if not plan.primary:
        return None, None
    with np.load(manifest.path("predictions.npz"), allow_pickle=False) as saved:
        made, gold = saved["predictions"], saved["references"]
        if suite[plan.primary].kind == "tagging":
            cuts = np.cumsum(saved["lengths"])[:-1]
            return np.split(made, cuts), np.split(gold, cuts)
    return made, gold


def load_model(training: runs.Manifest, plan: phases.Plan, suite: Suite) -> model.MultiTaskModel:
    """The model of a training that kept it."""
    from safetensors.torch import load_file

    net = model.build(
        plan.encoder,
        suite,
        plan.seeds["init"],
        pool=plan.pool,
        regression=plan.regression,
        max_length=plan.max_length,
    )
    net.load_state_dict(load_file(training.path("model.safetensors")))
    return net.to(plan.device).eval()


@dataclass
class Store:
    """What one pass over the training rows of every task read from one model."""

    manifest: runs.Manifest
    rows: pd.DataFrame  # task, row (position in the task's train), row_id, length
    logits: np.ndarray  # float32 [N, K], the discriminator's
    features: np.ndarray  # float16 [N, d], pooled


def scored(
    training: runs.Manifest, plan: phases.Plan, suite: Suite, progress: train.Progress | None = None,
    only: Mapping[str, np.ndarray] | None = None,
) -> Store:  # fmt: skip
    """The pass of a trained model over the training rows of the suite: features and discriminator logits.

    All rows, or those of `only` (positions by task). Forward only, in length order, written shard by shard so that an
    interrupted pass goes on where it stopped.
    """
    rows = {name: np.arange(len(task.train)) if only is None else only[name] for name, task in suite.items()}
    content = {
        "training": training.key, "suite": suite.fingerprint, "precision": plan.precision, "device": plan.device,
        "rows": {name: phases.hash_rows(at) for name, at in rows.items()},
    }  # fmt: skip
    run = runs.Run(
        "score",
        runs.digest([runs.SCHEMA, content]),
        content,
        suite.fingerprint,
        [training],
        code_roots=("inference", "batching"),
    )
    with run.lock():
        status, manifest = runs.read("score", run.key)
        if status != "finished" or manifest is None:
            manifest = _score(run, training, plan, suite, rows, progress)
    with np.load(manifest.path("scores.npz"), allow_pickle=False) as saved:
        return Store(manifest, pd.read_parquet(manifest.path("rows.parquet")), saved["logits"], saved["features"])


def _score(
    run: runs.Run, training: runs.Manifest, plan: phases.Plan, suite: Suite, rows: Mapping[str, np.ndarray],
    progress: train.Progress | None,
) -> runs.Manifest:  # fmt: skip
    import torch

    if plan.device == "cpu":
        torch.set_num_threads(plan.threads)
    net = load_model(training, plan, suite)
    shards = run.path("shards") / f"{run.code()['hash']}-{training.code['hash']}"
    shards.mkdir(parents=True, exist_ok=True)
    tables, parts, ledgers = [], [], []
    for name, task in suite.items():
        for first in range(0, len(rows[name]), SHARD):
            at = rows[name][first : first + SHARD]
            file = shards / f"{name}-{first}.npz"
            if not file.is_file():
                _score_shard(file, net, task, at, plan)
            with np.load(file, allow_pickle=False) as saved:
                parts.append((saved["logits"], saved["features"]))
                ledgers.append(Ledger.from_dict(json.loads(str(saved["ledger"]))))
                tables.append(pd.DataFrame({
                    "task": name, "row": at, "row_id": task.train.select(at.tolist())["row_id"][:],
                    "length": saved["lengths"],
                }))  # fmt: skip
        if progress:
            progress(f"scored {name}: {len(rows[name])} rows")
    pd.concat(tables, ignore_index=True).to_parquet(run.path("rows.parquet"))
    logits, features = (np.concatenate(x) for x in zip(*parts, strict=True))
    np.savez(run.path("scores.npz"), logits=logits, features=features)
    manifest = run.finish(["rows.parquet", "scores.npz"], {"rows": len(logits)}, [total("scoring", ledgers)])
    for file in shards.iterdir():
        file.unlink()
    shards.rmdir()
    return manifest


def _score_shard(file: Any, net: model.MultiTaskModel, task: Any, rows: np.ndarray, plan: phases.Plan) -> None:
    ledger = Ledger("scoring")
    with Meter(ledger, plan.device):
        encoded = batching.encode(task.train.select(rows.tolist()), task, net.tokenizer, net.max_length)
        logits = np.zeros((len(rows), len(net.columns)), np.float32)
        features = np.zeros((len(rows), net.encoder.config.hidden_size), np.float16)
        for index, out in inference.outputs(net, encoded, task, plan.precision, ledger):
            logits[index] = out.discriminator.float().cpu().numpy()
            features[index] = out.features.cpu().numpy()
    part = file.with_suffix(".part.npz")
    np.savez(part, logits=logits, features=features, lengths=encoded.lengths, ledger=json.dumps(ledger.as_dict()))
    part.replace(file)


def total(stage: str, ledgers: list[Ledger]) -> Ledger:
    """One ledger for several of the same stage: counts added, memory the highest."""
    made = Ledger(stage)
    for name in ("seconds", "flops", "tokens", "padded_tokens", "steps", "examples"):
        setattr(made, name, sum(getattr(ledger, name) for ledger in ledgers))
    made.peak_bytes = max((ledger.peak_bytes for ledger in ledgers), default=0)
    joules = [ledger.joules for ledger in ledgers if ledger.joules is not None]
    made.joules = sum(joules) if joules else None
    return made
