"""Head importance as a unit: one pass over some rows of a task by a model tuned on that task, made once."""

from __future__ import annotations

import numpy as np

from auxlearn import cost
from auxlearn.cost import Ledger, Meter
from auxlearn.data import batching
from auxlearn.data.suites import Suite
from auxlearn.files import stored_arrays
from auxlearn.records import runs
from auxlearn.signals import head_importance, pass_store
from auxlearn.training import phases, train


def measured(
    training: runs.Manifest, plan: phases.Plan, suite: Suite, name: str, rows: np.ndarray, dropout: bool = False,
    progress: train.Progress | None = None,
) -> tuple[runs.Manifest, dict[str, np.ndarray]]:  # fmt: skip
    """Importance of every head to each of `rows` (positions in the task's train), by definition: float32 [N, L, H].

    All three definitions come from one pass in fp32, because in bf16 the order of single rows' gates is not kept. It
    is made once for a training and these rows, whichever candidates it is compared with later.
    """
    content = {
        "training": training.key, "suite": suite.fingerprint, "task": name, "rows": phases.hash_rows(rows),
        "dropout": dropout, "device": plan.device,
    }  # fmt: skip
    run = runs.Run(
        "importance", runs.digest([runs.SCHEMA, content]), content, suite.fingerprint, [training],
        code_roots=("signals.head_importance",),
    )  # fmt: skip
    with run.lock():
        status, manifest = runs.read("importance", run.key)
        if status != "finished" or manifest is None:
            manifest = _measure(run, training, plan, suite, name, rows, dropout)
            if progress:
                progress(f"measured {name}: {len(rows)} rows")
    return manifest, stored_arrays.arrays(manifest.path("importance.npz"), head_importance.DEFINITIONS)


def _measure(
    run: runs.Run, training: runs.Manifest, plan: phases.Plan, suite: Suite, name: str, rows: np.ndarray, dropout: bool
) -> runs.Manifest:
    import torch

    if plan.device == "cpu":
        torch.set_num_threads(plan.threads)
    net, task, ledger = pass_store.load_model(training, plan, suite), suite[name], Ledger("importance")
    encoded = batching.encode(task.train.select(rows.tolist()), task, net.tokenizer, net.max_length)
    made: dict[str, np.ndarray] = {}
    with Meter(ledger, plan.device):
        for index, found in head_importance.over_rows(net, encoded, task, dropout=dropout, seed=plan.seeds["dropout"]):
            for definition, values in found.items():
                block = values.cpu().numpy()
                made.setdefault(definition, np.zeros((len(rows), *block.shape[1:]), np.float32))[index] = block
            lengths = encoded.lengths[index]
            _count(ledger, net.encoder.config, lengths)
    np.savez(run.path("importance.npz"), **made)
    return run.finish(["importance.npz"], {"rows": len(rows)}, [ledger], plan.seeds)


def _count(ledger: Ledger, config: object, lengths: np.ndarray) -> None:
    """Forward, the gradient of activations (as much again), and each row's key and value weight gradients."""
    padded = np.full(len(lengths), int(lengths.max()))
    forward = cost.encoder_flops(config, padded, False)
    width, layers = config.hidden_size, config.num_hidden_layers
    ledger.flops += 2 * forward + layers * 4.0 * width**2 * float(padded.sum())
    ledger.examples += len(lengths)
    ledger.tokens += int(lengths.sum())
    ledger.padded_tokens += int(padded.sum())
