"""FastMTL's way over pools of 10^4 to 949,101 rows (full GLUE's number): leaks, pass and ranking, time and memory.

Each size runs in a process of its own, since a process's peak never falls. The planted suite's rows are repeated, with
two numbers put after each text so that they differ; the encoder is tiny. What is measured is processor time, which
other work on the machine changes less. Printed, never asserted. AUXLEARN_SCALE caps the size.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace

import pytest

ROWS = 949_101
SIZES = [n for n in (10_000, 100_000, ROWS) if n <= int(os.environ.get("AUXLEARN_SCALE", ROWS))]


def suite(size):
    """The planted suite with `size` training rows in all, repeated; dev and test as they are."""
    from datasets import Dataset

    from auxlearn.data import suites

    planted, tasks = suites.Suite.from_yaml("planted"), {}
    for at, (name, task) in enumerate(planted.items()):
        count = size // len(planted) + (at < size % len(planted))
        table = task.train.remove_columns("row_id").with_format("arrow")[:]
        repeated = Dataset(_repeated(table, count, task)).add_column("row_id", list(range(count)))
        tasks[name] = replace(task, train=repeated)
    return suites.Suite("repeated", tasks, f"repeated-{size}")


def _repeated(table, count, task):
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    taken = table.take(np.arange(count) % len(table)).combine_chunks()
    if task.kind == "tagging":
        return taken
    column = task.inputs[0]
    numbered = pc.binary_join_element_wise(
        taken[column], pa.array(f"{i // 1000} {i % 1000}" for i in range(count)), " "
    )
    return taken.set_column(taken.column_names.index(column), column, numbered.cast(table.schema.field(column).type))


def measure(size):
    """Seconds of processor time of each part, and peak memory in MiB."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUXLEARN_RUNS"] = folder
        return _measure(size)


def _measure(size):
    from auxlearn.data import usable_rows
    from auxlearn.export import selections
    from auxlearn.methods import ranking
    from auxlearn.methods.fastmtl import proxy_plans, proxy_store
    from auxlearn.methods.fastmtl.options import TDProxy
    from auxlearn.training import training_cache

    seconds, start = {}, time.process_time()

    def lap(name):
        nonlocal start
        seconds[name], start = time.process_time() - start, time.process_time()

    def peak():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    repeated = suite(size)
    lap("suite")
    before = peak()
    usable = usable_rows.usable(repeated, None)
    lap("leaks")
    p = TDProxy(encoder="tiny", proxy_rows=50, watch_rows=10, epochs=1, threads=1, precision="fp32", device="cpu")
    plans, folds = proxy_plans.proxies(p, repeated, 0, usable)
    trainings = [training_cache.trained(plan, repeated) for plan in plans]
    lap("training")
    store = proxy_store.score(plans, trainings, folds, repeated)
    lap("pass")
    pool, logits = proxy_store.candidates(store, repeated, repeated.auxiliaries("topic_side"), usable)
    eligible, groups = (pool["usable"] & ~pool["in_proxy"]).to_numpy(), pool["task"].to_numpy(str)
    for rule in ("global", "quota", "calibrated"):
        best = ranking.choose(rule, logits[:, 0], size // 10, groups, pool["proxy"].to_numpy(), 0, eligible)
    ranking.matched_random(best, groups, 0, eligible)
    chosen = ranking.table(pool, best, logits[:, 0])
    lap("ranking")
    with tempfile.TemporaryDirectory() as folder:
        selections.selection(chosen.drop(columns=["usable", "in_proxy"]), repeated, "topic_side", folder)
    lap("export")
    return {"seconds": seconds, "before": before, "peak": peak()}


@pytest.mark.benchmark
def test_pass_and_selection(ratios):
    print()
    for size in SIZES:
        code = f"import json, runpy; print(json.dumps(runpy.run_path({__file__!r})['measure']({size})))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        found = json.loads(done.stdout.splitlines()[-1])
        each = ", ".join(f"{name} {1e6 * took / size:,.1f}" for name, took in found["seconds"].items())
        memory = f"peak {found['peak']:,.0f} MiB ({found['before']:,.0f} before)"
        print(f"{size:9,} rows, microseconds per row: {each}; {memory}")
    ratios(f"pass and selection: GiB for {size:,} rows", "a GiB", [found["peak"] / 1024], "at most 4")
