"""Rows per second of the token store against the tokenizer's own call, by MiniLM's tokenizer, and its memory.

Pairs have the words of real ones in an order of their own, so that no text is repeated: what is gained is gained from
words. Each size is a process of its own, because a process's peak never falls. Printed, never asserted; `make bench`
runs it on an idle machine. AUXLEARN_SCALE caps the size.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time

import pytest

SIZES = [n for n in (100_000, 1_000_000) if n <= int(os.environ.get("AUXLEARN_SCALE", 1_000_000))]
PLAIN = 2000  # rows of the tokenizer's own call, on one thread as the library leaves it


def pairs(n, file):
    """Write n pairs to an Arrow file, some at a time."""
    import numpy as np
    import pyarrow as pa
    from datasets.arrow_writer import ArrowWriter

    from auxlearn.data import suites

    rows = suites.Suite.from_yaml("params/suites/sentence.yaml").capped(4000)["mnli"].train
    words = [[row["sentence1"].split(), row["sentence2"].split()] for row in rows]
    rng = np.random.default_rng(0)
    with ArrowWriter(path=str(file)) as writer:
        for first in range(0, n, 20_000):
            made = [[" ".join(rng.permutation(text)) for text in words[i % len(words)]]
                    for i in range(first, min(first + 20_000, n))]  # fmt: skip
            one, two = zip(*made, strict=True)
            writer.write_table(pa.table({"sentence1": one, "sentence2": two, "label": np.zeros(len(made), np.int64)}))
        writer.finalize()


def measure(n):
    from types import SimpleNamespace

    from datasets import Dataset

    from auxlearn.data.tokens import token_store
    from auxlearn.models import encoders

    tokenizer = encoders.described("minilm")[1]
    with tempfile.TemporaryDirectory() as folder:
        os.environ["AUXLEARN_RUNS"] = folder
        pairs(n, f"{folder}/rows.arrow")
        data = Dataset.from_file(f"{folder}/rows.arrow")
        inputs = ("sentence1", "sentence2")
        task = SimpleNamespace(name="pairs", kind="classification", inputs=inputs, label="label", train=data)
        texts = [data[:PLAIN][name] for name in inputs]
        spans, before = {}, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        begun = time.perf_counter()
        tokenizer(*texts, truncation=True, max_length=128)
        spans["plain"] = (time.perf_counter() - begun) / PLAIN
        for name in ("first", "again"):
            token_store._open.clear()
            token_store._digests.clear()
            begun = time.perf_counter()
            token_store.encoded(task, "train", tokenizer, 128)
            spans[name] = (time.perf_counter() - begun) / n
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(json.dumps(spans | {"bytes": (peak - before) * 1024 / n}))


@pytest.mark.benchmark
@pytest.mark.parametrize("n", SIZES)
def test_tokens_of_a_large_split(data, ratios, n):
    done = subprocess.run([sys.executable, __file__, str(n)], check=True, capture_output=True, text=True)
    spans = json.loads(done.stdout.splitlines()[-1])
    ratios(f"tokens of {n:,} pairs", "the tokenizer's own call", [spans["plain"] / spans["first"]], "at least 10")
    ratios(f"tokens of {n:,} pairs, s per 100,000 rows", "", [spans["first"] * 1e5])
    ratios("the same, found again, s per 100,000 rows", "", [spans["again"] * 1e5], "at most 0.1")
    ratios(f"tokens of {n:,} pairs, peak of memory in bytes per row", "", [spans["bytes"]])


if __name__ == "__main__":
    measure(int(sys.argv[1]))
