"""Selection over pools of 10^4 to 10^6 rows: time and peak memory of each selector, of tau, and of the leakage search.

Each (what, size) runs in a process of its own, because a process's peak never falls; building the input is not timed
and its memory is reported apart. Scores and importances are random numbers, texts are drawn from the real tasks with
repeats, which says how the search scales and nothing about what it finds. Straight lines are continued on paper to
10^9. Printed, never asserted. Run by `make bench`; AUXLEARN_SCALE caps the size.
"""

import json
import os
import resource
import subprocess
import sys
import time

import numpy as np
import pytest

from auxlearn.data import suites

SIZES = [n for n in (10_000, 100_000, 1_000_000) if n <= int(os.environ.get("AUXLEARN_SCALE", 1_000_000))]
THREADS = int(os.environ.get("BENCH_THREADS", os.cpu_count() or 1))
TASKS, TARGET_ROWS = 10, 10_000
AIMS = {
    "tau, 8 references": 25.0,
    "leaks against 10,000 rows": 60.0,
    "leaks, copies": 60.0,
}  # seconds at 10^6 rows; every other: 5


def pool(n):
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(n, TASKS)).astype(np.float32)
    return logits, rng.integers(0, TASKS, n), np.arange(n) % 2, rng.random(n) < 0.95


def _select(rule):
    def made(n):
        from auxlearn.methods import ranking
        from auxlearn.methods.fastmtl import discriminator

        logits, groups, folds, eligible = pool(n)

        def run():
            scores = discriminator.scores(logits, 0, "margin")
            best = ranking.choose("quota" if rule == "quota" else "global", scores, n // 10, groups, folds, 0, eligible)
            return ranking.matched_random(best, groups, 0, eligible) if rule == "matched" else best

        return run

    return made


def _random(n):
    from auxlearn.methods import ranking

    eligible = pool(n)[3]
    return lambda: ranking.random_n(n, n // 10, 0, eligible)


def _tau(n):
    import torch

    from auxlearn.methods.gradts import correlation

    torch.set_num_threads(THREADS)
    rng = np.random.default_rng(0)
    instances, references = rng.random((n, 72), np.float32), rng.random((8, 72), np.float32)
    return lambda: correlation.kendall_tau(instances, references)


def _fg(n):
    from auxlearn.methods.gradts import choices

    taus = np.random.default_rng(0).random(n)
    return lambda: choices.fg_fraction(taus, 0.7, 0)


def _leaks(n):
    """Pairs of the real tasks, drawn with repeats, a word changed in half of them."""
    from dataclasses import replace

    from datasets import Dataset

    from auxlearn.data import leakage

    real, rng = suites.load("params/suites/sentence.yaml"), np.random.default_rng(0)
    tasks = [task for task in real.values() if task.is_pair]

    def drawn(splits, size, edit):
        found = [
            p
            for t in tasks
            for s in splits
            if getattr(t, s)
            for p in zip(*(getattr(t, s)[c][:] for c in t.inputs), strict=True)
        ]
        columns = {c: [] for c in tasks[0].inputs}
        for i in rng.integers(0, len(found), size):
            first, second = found[i]
            if edit and rng.random() < 0.5:
                words = [*first.split(), "end"]
                words[rng.integers(len(words))] = f"word{rng.integers(1000)}"
                first = " ".join(words)
            for texts, text in zip(columns.values(), (first, second), strict=True):
                texts.append(text)
        return Dataset.from_dict(columns | {"row_id": range(size)})

    rows = {"train": drawn(["train"], n, True), "dev": drawn(["dev", "test"], TARGET_ROWS, False), "test": None}
    suite = suites.Suite("drawn", {tasks[0].name: replace(tasks[0], **rows)}, "")
    return lambda: leakage.find(suite)


def _copies(n):
    """Copies of one row against as many."""
    from dataclasses import replace

    from datasets import Dataset

    from auxlearn.data import leakage

    task = suites.Suite.from_yaml("planted")["topic_side"]
    copies = Dataset.from_dict({c: [task.train[0][c]] * n for c in task.inputs} | {"row_id": range(n)})
    suite = suites.Suite("copies", {task.name: replace(task, train=copies, dev=copies, test=None)}, "")
    return lambda: leakage.find(suite)


WHAT = {
    "global": _select("global"), "quota": _select("quota"), "matched random": _select("matched"), "random": _random,
    "GradTS-fg": _fg, "tau, 8 references": _tau, "leaks against 10,000 rows": _leaks,
    "leaks, copies": _copies,
}  # fmt: skip


def measure(what, n):
    """Seconds of the work alone, and peak memory in MiB before it and after."""
    if not what.startswith("leaks"):
        WHAT[what](100)()  # imports are not what grows with rows
    run = WHAT[what](n)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start = time.perf_counter()
    run()
    return [time.perf_counter() - start, before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024]


@pytest.mark.benchmark
@pytest.mark.parametrize("what", WHAT)
def test_scale(what, ratios):
    if what.startswith("leaks against") and not os.environ.get("AUXLEARN_DATA"):
        pytest.skip("needs the real task folders; set AUXLEARN_DATA")
    made = {}
    for n in SIZES:
        code = f"import json, runpy; print(json.dumps(runpy.run_path({__file__!r})['measure']({what!r}, {n})))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        made[n] = json.loads(done.stdout.splitlines()[-1])
    print()
    for n, (seconds, before, after) in made.items():
        print(f"{what:22s} {n:9,} rows: {seconds:7.3f} s, peak {after:,.0f} MiB ({before:,.0f} before)")
    last = SIZES[-1]
    seconds, before, after = made[last]
    print(f"{what:22s}      10^9 rows on paper: {seconds * 1e9 / last / 60:,.0f} minutes on this machine")
    ratios(f"{what}: seconds for {last:,} rows", "a second", [seconds], f"at most {AIMS.get(what, 5.0):g}")
    ratios(f"{what}: GiB added for {last:,} rows", "a GiB", [(after - before) / 1024], "at most 2")
