"""Opening a suite of 400,000 and 10^6 pair rows: the first time and again, seconds and memory of a process of its own.

Printed, never asserted. Run by `make bench`; AUXLEARN_SCALE caps the size.
"""

import json
import os
import random
import subprocess
import sys

import pytest

from own_rows import SPEC, suite_file

SIZES = [n for n in (400_000, 1_000_000) if n <= int(os.environ.get("AUXLEARN_SCALE", 1_000_000))]
OPEN = """
import json, re, sys, time
import datasets, pandas, pyarrow
from auxlearn.data.suites import Suite
peak = lambda: int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024  # its own, no parent's
before, start = peak(), time.perf_counter()
suite = Suite.from_yaml(sys.argv[1])
print(json.dumps([time.perf_counter() - start, peak() - before, len(suite["t"].train)]))
"""


@pytest.mark.benchmark
def test_opening(tmp_path, ratios):
    draw = random.Random(0)
    words = [f"word{i}" for i in range(5000)]
    print()
    for n in SIZES:
        rows = ({"a": " ".join(draw.choices(words, k=10)), "b": " ".join(draw.choices(words, k=8)), "label": i % 2}
                for i in range(n))  # fmt: skip
        folder = tmp_path / str(n)
        path = suite_file(folder, {"dev.jsonl": '{"a": "x", "b": "y", "label": 1}\n'}, SPEC | {"inputs": ["a", "b"]},
                          source={"files": {"train": "train.jsonl", "dev": "dev.jsonl"}})  # fmt: skip
        with (folder / "train.jsonl").open("w") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)
        for what, aims in (("first", ("at most 20", "")), ("again", ("at most 0.5", "at most 100"))):
            done = subprocess.run([sys.executable, "-c", OPEN, str(path)], capture_output=True, text=True, check=True)
            seconds, added, read = json.loads(done.stdout)
            assert read == n
            print(f"{n:9,} pair rows, {what}: {seconds:6.2f} s, {added:,.0f} MiB added")
            ratios(f"opening {n:,} pair rows, {what}: seconds", "a second", [seconds], aims[0])
            ratios(f"opening {n:,} pair rows, {what}: MiB added", "a MiB", [added], aims[1])
