"""Head importance as a unit: one pass over some rows of a task by a trained model, made once."""

from __future__ import annotations

import numpy as np

from auxlearn.cost import Ledger, Meter
from auxlearn.data.suites import Suite
from auxlearn.data.tokens import token_store
from auxlearn.files import stored_arrays
from auxlearn.models import devices
from auxlearn.records import runs
from auxlearn.signals import head_importance, pass_store, row_signals
from auxlearn.training import phases, train


def measured(
    training: runs.Manifest, plan: phases.Plan, suite: Suite, name: str, rows: np.ndarray, dropout: bool = False,
    progress: train.Progress | None = None,
) -> tuple[runs.Manifest, dict[str, np.ndarray]]:  # fmt: skip
    """Return the importance of every head to each of some rows, measured or read back.

    All three definitions come from one pass in fp32, because bf16 does not keep the order of single rows' gates. The
    pass is made once for a training and these rows, whichever candidates it is compared with later.

    Args:
        training: The training of the model that measures.
        plan: Its plan.
        suite: The suite with the rows' texts.
        name: The rows' task.
        rows: Positions in the task's train split, int [N].
        dropout: Leave dropout on while measuring.
        progress: Called with a line of text whenever something has been done.

    Returns:
        The run that holds the importances; by definition, float32 [N, L, H].
    """
    content = {
        "training": training.key, "suite": suite.fingerprint, "task": name, "rows": phases.hash_rows(rows),
        "dropout": dropout, "device": plan.device,
    }  # fmt: skip
    run = runs.Run(
        "importance", runs.digest([runs.SCHEMA, content]), content, suite.fingerprint, [training],
        code_roots=("methods.gradts.head_store",),
    )  # fmt: skip
    manifest = run.once(lambda: _measure(run, training, plan, suite, name, rows, dropout, progress))
    return manifest, stored_arrays.arrays(manifest.path("importance.npz"), head_importance.DEFINITIONS)


def _measure(
    run: runs.Run, training: runs.Manifest, plan: phases.Plan, suite: Suite, name: str, rows: np.ndarray, dropout: bool,
    progress: train.Progress | None,
) -> runs.Manifest:  # fmt: skip
    import torch

    if plan.device == "cpu":
        torch.set_num_threads(plan.threads)
    net, task, ledger = pass_store.load_model(training, plan, suite), suite[name], Ledger("importance")
    encoded = token_store.encoded(task, "train", net.tokenizer, net.max_length, rows=rows)
    importances: dict[str, np.ndarray] = {}
    with Meter(ledger, plan.device), devices.repeatable(plan.device):
        batches = head_importance.over_rows(net, encoded, task, dropout=dropout, seed=plan.seeds["dropout"])
        for index, batch in devices.on_host(batches):
            for definition, block in batch.items():
                empty = np.zeros((len(rows), *block.shape[1:]), np.float32)
                importances.setdefault(definition, empty)[index] = block
            row_signals.enter(ledger, net.encoder.config, encoded.lengths[index], head_importance.DEFINITIONS)
    np.savez(run.path("importance.npz"), **importances)  # type: ignore[arg-type]  # numpy's stub takes it for allow_pickle
    if progress:
        progress(f"measured {name}: {len(rows)} rows")
    return run.finish(["importance.npz"], {"rows": len(rows)}, [ledger], plan.seeds)
