"""Cheap choices from a million rows: time and memory of taking 1,000 of them by each score and rule.

Row scores here run no model; textemb, a task score, lets the tiny encoder read 500 rows of every task. Each runs in a
process of its own, since a process's peak never falls; what is measured is processor time, of one thread. Leaks are
looked for before, as for every arm (`test_pool_scale` measures that). Printed, never asserted. AUXLEARN_SCALE caps the
size.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import pytest

ROWS = min(1_000_000, int(os.environ.get("AUXLEARN_SCALE", 1_000_000)))
CASES = [
    ("dsir", "top_mean"), ("tfidf", "round_robin"), ("bm25", "round_robin"), ("bm25", "top_max"), ("bm25", "diverse"),
    ("bm25", "transport"), ("textemb", ""),
]  # fmt: skip


def measure(name, rule, size):
    """Seconds of processor time, peak memory in MiB, and that before."""
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUXLEARN_RUNS"] = folder
        return _measure(name, rule, size)


def _measure(name, rule, size):
    import test_pool_scale

    import asking

    suite = test_pool_scale.suite(size)
    p = asking.arm(name, rows=0, n=1000, threads=1, methods={name: {"rule": rule}} if rule else {})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.process_time()
    selection, _ = asking.selected(p, suite, 0, asking.everything(suite))
    assert len(selection.rows) == 1000
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": time.process_time() - start, "before": before, "peak": peak}


@pytest.mark.benchmark
def test_choosing_from_a_million_rows(ratios):
    print()
    for name, rule in CASES:
        code = f"import json, test_row_scores as t; print(json.dumps(t.measure({name!r}, {rule!r}, {ROWS})))"
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        found = json.loads(done.stdout.splitlines()[-1])
        memory = f"peak {found['peak']:,.0f} MiB ({found['before']:,.0f} before)"
        what = f"{name}, {rule}" if rule else name
        print(f"{what}: {found['seconds']:.0f} s of one core; {memory}")
        ratios(f"{what}: minutes for {ROWS:,} rows", "a minute", [found["seconds"] / 60], "at most 2")
        ratios(f"{what}: GiB for {ROWS:,} rows", "a GiB", [found["peak"] / 1024], "at most 4")
