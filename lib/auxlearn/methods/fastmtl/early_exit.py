"""Read a row's hidden states after the first layers of the proxy, for a cheap scorer: early exit.

A proxy of L layers that stops after layer k has spent k / L of its cost on a row (embeddings are looked up, which takes
no matrix product). A linear head on the pooled states then says whether the rest is worth it. Teerapittayanon et al.
(2016, BranchyNet) and Xin et al. (2020, DeeBERT) train such exits with the model; here the proxy stays as it was
trained, and the head alone is fitted, to the proxy's own last logits. Token states are not kept: the full pass of a row
that goes on starts from its words again, and is charged whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from auxlearn.cost import Ledger, total
from auxlearn.data import batch_order, batching
from auxlearn.data.batching import Encoded
from auxlearn.data.suites import Suite, Task
from auxlearn.errors import InputError
from auxlearn.files import stored_arrays
from auxlearn.models import bf16_inference, devices, encoder_files, multitask
from auxlearn.records import runs
from auxlearn.signals import pool_pass
from auxlearn.training import phases

if TYPE_CHECKING:
    import pandas as pd
    import torch


def states(
    training: runs.Manifest, plan: phases.Plan, suite: Suite, rows: pd.DataFrame, layers: Sequence[int]
) -> tuple[runs.Manifest, dict[int, np.ndarray]]:
    """Return the mean hidden state of each row after each of `layers` of a trained proxy.

    The states are means over a row's tokens, whatever the proxy itself pools by, in the plan's precision and on its
    device. They are made once for a training, these rows and layers, shard by shard, so that an interrupted pass goes
    on where it stopped. Layers above the highest in `layers` are never computed.

    Args:
        training: The proxy's training.
        plan: The plan it was trained by.
        suite: The suite with the rows' texts.
        rows: Columns task and row (a position in its train split).
        layers: 1 is the first layer, 0 the embeddings.

    Returns:
        The run that holds the states; by layer float16 [N, d], in the order of `rows`.

    Raises:
        InputError: No layer is named, or one that the encoder lacks.
    """
    layers, (name, has) = sorted(set(layers)), encoder_files.parse(plan.encoder)
    if not layers or layers[0] < 0 or (has and layers[-1] > has):
        raise InputError(f"exit_layers: {layers} of encoder {plan.encoder!r}; name one or more of its layers, or 0")
    groups = {name: np.flatnonzero(rows["task"] == name) for name in suite.names}
    groups = {name: at for name, at in groups.items() if len(at)}
    by_task = {name: rows["row"].to_numpy()[at] for name, at in groups.items()}
    content = {
        "training": training.key, "suite": suite.fingerprint, "layers": layers, "precision": plan.precision,
        "device": plan.device, "rows": {name: phases.hash_rows(at) for name, at in by_task.items()},
    }  # fmt: skip
    key = runs.digest([runs.SCHEMA, content])
    run = runs.Run(
        "early_exit", key, content, suite.fingerprint, [training], code_roots=("methods.fastmtl.early_exit",)
    )
    shortened = replace(plan, encoder=f"{name}:{max(1, layers[-1])}")
    manifest = run.once(lambda: _read(run, shortened, suite, by_task, layers))
    back = np.argsort(np.concatenate(list(groups.values())))
    return manifest, {n: stored_arrays.array(manifest.path(f"layer_{n}.npy"))[back] for n in layers}


def first_layers(training: runs.Manifest, plan: phases.Plan, suite: Suite) -> multitask.MultiTaskModel:
    """Build the trained model with only its first layers, as many as the plan's encoder names ("minilm:2").

    It is in eval mode and on the plan's device.

    Args:
        training: The training that holds the weights.
        plan: Its plan, with the shortened encoder.
        suite: The suite it was trained on.

    Raises:
        InputError: The training's weights lack some of the model's.
    """
    import torch

    net = multitask.build(
        plan.encoder, suite, plan.seeds["init"], pool="mean", regression=plan.regression, max_length=plan.max_length
    )
    loaded = net.load_state_dict(stored_arrays.tensors(training.path("model.safetensors"))[0], strict=False)
    if loaded.missing_keys:
        raise InputError(f"{training.label} holds no {loaded.missing_keys[0]}: it is not a model of {plan.encoder!r}")
    if hasattr(net.encoder, "final_norm"):  # ModernBERT's, which the whole model takes after its last layer alone
        net.encoder.final_norm = torch.nn.Identity()
    return net.to(plan.device).eval()


def _read(
    run: runs.Run, plan: phases.Plan, suite: Suite, rows: Mapping[str, np.ndarray], layers: Sequence[int]
) -> runs.Manifest:  # fmt: skip
    import torch

    if plan.device == "cpu":
        torch.set_num_threads(plan.threads)
    work = pool_pass.PoolPass.of(run, rows, run.inputs[0].code["hash"])
    if todo := work.missing():
        net = first_layers(run.inputs[0], plan, suite)
        read = _reader(net, layers, plan.precision)
        for shard in todo:
            work.fill(shard, net, suite[shard.task], read, plan.precision)
    manifest = run.finish(work.finish(suite), {"rows": work.size}, [total("early_exit", work.ledgers())])
    work.clear()
    return manifest


def _reader(net: multitask.MultiTaskModel, layers: Sequence[int], precision: str) -> pool_pass.Reader:
    import torch

    def read(encoded: Encoded, task: Task, ledger: Ledger) -> Iterator[tuple[np.ndarray, dict[str, Any]]]:
        ready = bf16_inference.prepare(net, precision)

        def run(index: np.ndarray) -> tuple[np.ndarray, dict[int, torch.Tensor]]:
            batch = batching.to_batch(encoded, index, task, net.columns[task.name], net.pad_id)
            with torch.inference_mode(), ready():
                return index, pooled(net, batch, layers, precision)

        batches = batch_order.by_tokens(encoded.lengths, batch_order.budget(net.device.type))
        for index, means in devices.fitting("scoring", batches, run):
            lengths = encoded.lengths[index]
            ledger.add_batch(net.encoder.config, lengths, int(lengths.max()), False)
            yield index, {f"layer_{n}": values.half() for n, values in means.items()}

    return read


def pooled(
    net: multitask.MultiTaskModel, batch: dict[str, Any], layers: Sequence[int], precision: str = "fp32"
) -> dict[int, torch.Tensor]:
    """Return the mean over tokens of the hidden states after each layer.

    Args:
        net: The model.
        batch: As from `batching.to_batch`.
        layers: The layers to read; 0 is the embeddings.
        precision: "fp32" or "bf16".

    Returns:
        By layer, float32 [B, d].
    """
    import torch

    inputs = net.inputs(batch)
    with torch.autocast(net.device.type, torch.bfloat16, enabled=precision == "bf16"), net.attending(batch):
        hidden = net.encoder(**inputs, output_hidden_states=True).hidden_states  # the embeddings first
    return {layer: multitask.token_mean(hidden[layer].float(), inputs["attention_mask"]) for layer in layers}
