"""The recorded run: many hostile inputs to every loader, counted, timed and written up as a page.

    python tests/fuzz/fuzz_run.py [--inputs 100000] [--seed 0] [--guided N] RESULTS.md

Inputs come from hypothesis, seeded, as in the tests; `--guided` adds N a loader that atheris's coverage guides, where
atheris is installed. An input that crashes a loader is kept in `crashes/` beside the page. Returns 1 if there is any.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from functools import partial
from pathlib import Path

import fuzz_inputs
import fuzz_loaders
from hypothesis import HealthCheck, Phase, given, seed, settings

from auxlearn.records import checkout
from auxlearn.reporting.pages import pages

SECONDS = 60  # after which an input counts as a crash


class Tally:
    """What became of one loader's inputs; crashing ones are kept in `crashes`."""

    def __init__(self, loader: fuzz_loaders.Loader, crashes: Path, folder: Path):
        self.loader, self.crashes, self.folder = loader, crashes, folder
        self.counts: Counter[str] = Counter()
        self.longest, self.named = 0.0, []

    def take(self, data: bytes) -> None:
        started = time.process_time()
        signal.alarm(SECONDS)
        try:
            how, _ = fuzz_loaders.outcome(self.loader, self.folder, data)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # a loader may raise nothing else, whatever its base class
            how = "crashed"
            self._keep(data, error)
        finally:
            signal.alarm(0)
        self.counts[how] += 1
        self.longest = max(self.longest, time.process_time() - started)

    def _keep(self, data: bytes, error: BaseException) -> None:
        words = "".join(c if c.isalnum() else "-" for c in self.loader.name)
        name = f"{words}-{hashlib.sha256(data).hexdigest()[:12]}"
        self.crashes.mkdir(parents=True, exist_ok=True)
        (self.crashes / name).write_bytes(data)
        self.named.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:120]}")


def generated(tally: Tally, number: int, of: int) -> None:
    """`of` inputs of hypothesis, from the seed `number`."""

    @seed(number)
    @settings(
        max_examples=of, deadline=None, database=None, suppress_health_check=list(HealthCheck), phases=[Phase.generate]
    )
    @given(fuzz_inputs.hostile(tally.loader.make))
    def read(data: bytes) -> None:
        tally.take(data)

    read()


def guided(tally: Tally, number: int, of: int, corpus: Path) -> None:
    """`of` inputs of atheris in this process, which ends here; counts go to `corpus`/counts.json."""
    import random

    import atheris

    (corpus / "seeds").mkdir(parents=True)
    for i in range(50):
        (corpus / "seeds" / str(i)).write_bytes(tally.loader.make(random.Random(i)))

    def one(data: bytes) -> None:
        tally.take(data)
        if sum(tally.counts.values()) % 50 == 0:
            counts = {"counts": tally.counts, "longest": tally.longest, "named": tally.named}
            (corpus / "counts.json").write_text(json.dumps(counts))

    read = tally.loader.read
    atheris.instrument_func(read.func if isinstance(read, partial) else read)
    atheris.Setup([sys.argv[0], f"-atheris_runs={of}", f"-seed={number + 1}", str(corpus / "seeds")], one)
    atheris.Fuzz()


def page(tallies: dict[str, list[Tally]], number: int, seconds: float) -> str:
    """The results in Markdown."""
    total = Counter()
    for tally in (t for some in tallies.values() for t in some):
        total += tally.counts
    names = ("hypothesis", "atheris", "numpy", "pyarrow", "pandas", "PyYAML", "pydantic", "nbformat", "safetensors")
    found = [f"{n} {importlib.metadata.version(n)}" for n in names if _installed(n)]
    lines = [
        "# Hostile inputs", "",
        f"{total.total():,} inputs to {len(fuzz_loaders.LOADERS)} loaders: {total['accepted']:,} accepted, "
        f"{total['refused']:,} refused with one error of ours, {total['crashed']:,} crashed. "
        f"{seconds:,.0f} s, {total.total() / max(seconds, 1e-9):,.0f} inputs a second on one core.", "",
        f"Written by `make fuzz`. Seed {number}. Commit {pages.commit(checkout.state())}. "
        f"Python {sys.version.split()[0]}, {', '.join(found)}.", "",
        "An input is a valid document that was damaged as bytes or given values of other types and sizes, one "
        "in ten random bytes or JSON. *Accepted*: it was read. *Refused*: an InputError, or a run that counts as "
        f"damaged. *Crashed*: anything else, or more than {SECONDS} s. Times are of one input, on the processor.",
    ]  # fmt: skip
    for way, some in tallies.items():
        if some:
            lines += ["", f"## {way}", "", "| loader | inputs | accepted | refused | crashed | longest, s |"]
            lines += ["|---|--:|--:|--:|--:|--:|"]
            for t in some:
                c = t.counts
                cells = [f"{n:,}" for n in (c.total(), c["accepted"], c["refused"], c["crashed"])]
                lines.append(f"| {t.loader.name} | {' | '.join(cells)} | {t.longest:.2f} |")
    if named := [name for some in tallies.values() for t in some for name in t.named]:
        lines += ["", "## Crashes", "", "Kept in `crashes/`.", "", *(f"- `{name}`" for name in named[:200])]
    return "\n".join(lines) + "\n"


def _installed(name: str) -> bool:
    return importlib.util.find_spec({"PyYAML": "yaml"}.get(name, name)) is not None


def _late(*_: object) -> None:
    raise TimeoutError(f"more than {SECONDS} s")


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--guided", type=int, default=0, metavar="N")
    parser.add_argument("--only", help="one loader in this process, its counts to RESULTS: for --guided itself")
    given_ = parser.parse_args(argv)
    signal.signal(signal.SIGALRM, _late)
    warnings.simplefilter("ignore")
    crashes = given_.results.parent / "crashes"
    loaders, started = fuzz_loaders.LOADERS, time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        if given_.only:
            tally = Tally(loaders[given_.only], crashes, Path(scratch))
            guided(tally, given_.seed, given_.guided, given_.results.parent)
            return 0
        tallies: dict[str, list[Tally]] = {"Generated": [], "Guided by coverage": []}
        shares = sum(loader.share for loader in loaders.values())
        for at, loader in enumerate(loaders.values()):
            tally = Tally(loader, crashes, Path(scratch) / str(at))
            generated(tally, given_.seed * 1000 + at, max(1, round(given_.inputs * loader.share / shares) + 1))
            tallies["Generated"].append(tally)
            print(f"{loader.name}: {dict(tally.counts)}", flush=True)
            if given_.guided and loader.share == 1 and _installed("atheris"):
                tallies["Guided by coverage"].append(_guided_apart(loader, given_, Path(scratch) / f"g{at}", crashes))
    given_.results.parent.mkdir(parents=True, exist_ok=True)
    text = page(tallies, given_.seed, time.monotonic() - started)
    given_.results.write_text(text, encoding="utf-8")
    print(text.splitlines()[2])
    return int(any(t.counts["crashed"] for some in tallies.values() for t in some))


def _guided_apart(loader: fuzz_loaders.Loader, given_: argparse.Namespace, corpus: Path, crashes: Path) -> Tally:
    """atheris ends the process that it runs in, so each loader has its own."""
    corpus.mkdir()
    command = [sys.executable, __file__, "--only", loader.name, "--seed", str(given_.seed)]
    command += ["--guided", str(given_.guided), str(corpus / "counts.json")]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ, check=False)
    tally, file = Tally(loader, crashes, corpus), corpus / "counts.json"
    if not file.is_file():
        raise RuntimeError(f"atheris did not run for {loader.name}: {done.stderr[-500:]}")
    found = json.loads(file.read_text())
    tally.counts, tally.longest, tally.named = Counter(found["counts"]), found["longest"], found["named"]
    for kept in (corpus / "crashes").glob("*"):
        crashes.mkdir(parents=True, exist_ok=True)
        kept.replace(crashes / kept.name)
    return tally


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
