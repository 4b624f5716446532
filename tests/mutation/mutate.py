"""Errors planted one at a time: which does no test notice? `make mutate`, or `mutate.py --count 100 --seed 1 OUT.md`.

A mutation changes one place of one module's code: a comparison, an operator, a number, a condition, a statement that is
left out. Places are drawn by a recorded seed, as many of each module as of any other. Each is tried in a copy of the
tree: first the tests that import the module, until one fails; if none does, the golden values that the module decides.
Not drawn: messages of errors, annotations, docstrings. What survives is an error that no test would notice, or the same
program in other words; a person says which.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import os
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT = Path(__file__).parents[2]
PACKAGE = Path("lib") / "auxlearn"
# What is mutated, and the golden values that it decides.
GOLDEN = {
    "evaluation.metrics": "statistics",
    "evaluation.counting": "statistics",
    "evaluation.stats": "statistics",
    "evaluation.verdicts": "statistics",
    "reporting.comparison": "statistics",
    "signals.pass_store": "proxies",
    "signals.pool_pass": "proxies",
    "methods.fastmtl.proxy_store": "proxies",
    "methods.fastmtl.selectors": "proxies arms",
    "data.usable_rows": "data combined",
    "data.leakage": "data",
    "models.trimmed_embedding": "combined",
    "training.data_parallel": "combined",
    "methods.fastmtl.calibration": "fastmtl",
    "methods.fastmtl.discriminator": "fastmtl proxies",
    "methods.fastmtl.cascade": "cascade",
    "methods.fastmtl.ridge_student": "cascade",
    "methods.fastmtl.ngram_scorer": "cascade",
    "signals.features": "cascade",
    "signals.example_gradients": "gradients",
    "signals.target_gradients": "gradients",
    "training.linear_head": "gradients",
    "signals.row_signals": "gradients",
    "studies.graph": "keys",
    "reporting.pages.report": "",
    "export.selections": "",
    "methods.ranking": "selection proxies",
    "methods.controls": "selection arms",
    "methods.oracle": "arms",
    "methods.context": "arms combined",
    "methods.registry": "keys",
    "methods.option_tables": "keys",
    "methods.arm_plans": "arms",
    "methods.weighted_plans": "tawt weights",
    "methods.forecasting": "",
    "methods.plan_costs": "",
    "training.counting": "",
    "signals.pass_counting": "",
    "data.batching": "data arms",
    "training.train": "arms",
    "training.phases": "arms",
    "methods.tawt.weighted_trainer": "weights switches",
    "methods.tawt.policies": "tawt weights",
    "methods.tawt.weight_tables": "weights",
    "methods.tawt.task_weights": "tawt weights",
    "methods.tawt.weight_rule": "tawt weights",
    "methods.tawt.cosine": "tawt gradients",
    "methods.gradts.choices": "gradts",
    "methods.gradts.correlation": "gradts heads",
    "methods.gradts.selectors": "combined switches",
    "signals.head_importance": "gradts heads",
    "methods.gradts.head_tables": "heads",
    "methods.autosem.bandits": "autosem arms",
    "methods.autosem.selectors": "arms",
    "methods.autosem.ratio_search": "autosem arms",
    "cost": "cost combined",
    "studies.arms": "keys",
    "studies.combinations": "keys",
    "studies.parameters": "keys",
    "studies.forecasts": "",
    "studies.sizing": "",
    "studies.engine.seed_workers": "",
    "training.prediction": "gradients",
    "models.multitask": "gradients combined",
}
LONG = {"runner", "own_task", "kills", "planted", "browser", "notebooks", "environment", "imports"}  # whole studies
SWAPS = {
    ast.Lt: "<=", ast.LtE: "<", ast.Gt: ">=", ast.GtE: ">", ast.Eq: "!=", ast.NotEq: "==", ast.In: "not in",
    ast.NotIn: "in", ast.Is: "is not", ast.IsNot: "is", ast.Add: "-", ast.Sub: "+", ast.Mult: "/", ast.Div: "*",
    ast.FloorDiv: "/", ast.Mod: "//", ast.Pow: "*", ast.BitOr: "&", ast.BitAnd: "|",
}  # fmt: skip


@dataclass(frozen=True)
class Mutation:
    """A piece of a module's text and what stands in its place."""

    module: str
    start: int
    end: int
    new: str
    line: int
    old: str

    @property
    def label(self) -> str:
        return f"{self.module}:{self.line} `{self.old}` to `{self.new}`"


def mutations(module: str, text: str) -> list[Mutation]:
    """Every mutation of a module, in the order of its text."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line.encode()))
    raw = text.encode()

    def at(line: int, column: int) -> int:
        return starts[line - 1] + column

    def span(node: ast.expr | ast.stmt) -> tuple[int, int]:
        return at(node.lineno, node.col_offset), at(node.end_lineno, node.end_col_offset)

    found = []

    def add(start: int, end: int, new: str, line: int) -> None:
        found.append(Mutation(module, start, end, new, line, raw[start:end].decode()))

    def between(left: ast.expr, right: ast.expr, old: type, line: int) -> None:
        start, end = span(left)[1], span(right)[0]
        if set(raw[start:end].decode()) & set("#()\n"):  # a bracket or a comment: not the operator alone
            return
        padded = raw[start:end].decode()
        add(start + len(padded) - len(padded.lstrip()), end - len(padded) + len(padded.rstrip()), SWAPS[old], line)

    for node in _code(ast.parse(text)):
        if isinstance(node, ast.Compare) and len(node.ops) == 1 and type(node.ops[0]) in SWAPS:
            between(node.left, node.comparators[0], type(node.ops[0]), node.lineno)
        elif isinstance(node, ast.BinOp) and type(node.op) in SWAPS:
            between(node.left, node.right, type(node.op), node.lineno)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            start, end = span(node)
            add(start, end, raw[slice(*span(node.operand))].decode(), node.lineno)
        elif isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
            value = node.value
            new = not value if isinstance(value, bool) else value + 1 if isinstance(value, int) else 2 * value or 1.0
            add(*span(node), repr(new), node.lineno)
        elif isinstance(node, (ast.If, ast.IfExp, ast.While)):
            start, end = span(node.test)
            add(start, end, f"not ({raw[start:end].decode()})", node.lineno)
        elif (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)) or (
            isinstance(node, ast.AugAssign) and isinstance(node.op, (ast.Add, ast.Sub, ast.BitOr))
        ):
            add(*span(node), "pass", node.lineno)
    return [m for m in found if "\n" not in m.old or m.new == "pass"]


def _code(tree: ast.AST) -> Iterator[ast.AST]:
    """All nodes but those of errors' messages, annotations, docstrings, decorators and formatted text."""
    for name, field in ast.iter_fields(tree):
        if name in ("annotation", "returns", "decorator_list", "exc", "msg"):
            continue
        for node in field if isinstance(field, list) else [field]:
            if not isinstance(node, ast.AST) or isinstance(node, (ast.JoinedStr, ast.Raise, ast.Assert)):
                continue
            yield node
            yield from _code(node)


def drawn(modules: list[str], count: int, seed: int) -> list[Mutation]:
    """So many mutations, spread over the modules evenly, by seed."""
    rng, pools = random.Random(seed), []
    for module in modules:
        pool = mutations(module, (PROJECT / file_of(module)).read_text(encoding="utf-8"))
        rng.shuffle(pool)
        pools.append(pool)
    made = []
    while len(made) < count and any(pools):
        for pool in pools:
            if pool and len(made) < count:
                made.append(pool.pop())
    return made


def file_of(module: str) -> Path:
    return (PACKAGE / module.replace(".", "/")).with_suffix(".py")


def tests_of(module: str) -> list[str]:
    """Test files that import a module, its own first; those of whole studies are left out."""
    found = []
    for file in sorted((PROJECT / "tests").rglob("test_*.py"), key=lambda f: f.stat().st_size):
        names = set()
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("auxlearn"):
                names |= {f"{node.module}.{alias.name}" for alias in node.names} | {node.module or ""}
        at = file.relative_to(PROJECT)
        short = file.stem.removeprefix("test_") not in LONG and "benchmarks" not in at.parts
        if f"auxlearn.{module}" in names and short:
            found.append(str(at))
    package, _, name = module.rpartition(".")
    own = str(Path("tests", *package.split("."), f"test_{name}.py"))
    return sorted(found, key=lambda name: name != own)[:6]


def tried(mutation: Mutation, home: Path, limit: float) -> tuple[str, float]:
    """What noticed a mutation in a copy of the tree: "tests", "golden" or "nothing"; and after how many seconds."""
    file = home / file_of(mutation.module)
    raw = file.read_bytes()
    file.write_bytes(raw[: mutation.start] + mutation.new.encode() + raw[mutation.end :])
    environment = os.environ | {"PYTHONPATH": str(home / "lib"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    begun = time.monotonic()

    def fails(*command: str) -> bool:
        try:
            done = subprocess.run(
                [sys.executable, *command], cwd=home, env=environment, capture_output=True, timeout=limit
            )
        except subprocess.TimeoutExpired:
            return True
        return done.returncode != 0

    try:
        tests = tests_of(mutation.module)
        skipped = "not slow and not benchmark and not slurm"
        if tests and fails("-m", "pytest", *tests, "-x", "-q", "-m", skipped, "-p", "no:cacheprovider"):
            return "tests", time.monotonic() - begun
        groups = GOLDEN[mutation.module].split()
        if groups and fails("tests/golden/golden.py", *groups, "--workers", "1"):
            return "golden", time.monotonic() - begun
        return "nothing", time.monotonic() - begun
    finally:
        file.write_bytes(raw)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--modules", nargs="*", default=list(GOLDEN))
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--limit", type=float, default=600, help="seconds, after which a mutation counts as noticed")
    asked = parser.parse_args()
    chosen = drawn(asked.modules, asked.count, asked.seed)
    found: dict[Mutation, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        homes: queue.Queue[Path] = queue.Queue()
        for number in range(asked.workers):
            home = Path(folder) / str(number)
            shutil.copytree(PROJECT, home, ignore=shutil.ignore_patterns(".venv", ".git", "runs", "__pycache__"))
            homes.put(home)

        def one(mutation: Mutation) -> None:
            home = homes.get()
            try:
                found[mutation], seconds = tried(mutation, home, asked.limit)
            finally:
                homes.put(home)
            print(f"{len(found):4d} {found[mutation]:8s} {seconds:4.0f} s {mutation.label}", flush=True)

        with concurrent.futures.ThreadPoolExecutor(asked.workers) as pool:
            list(pool.map(one, chosen))
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    asked.out.write_text(report(chosen, found, asked.seed), encoding="utf-8")
    return 0


def report(chosen: list[Mutation], found: dict[Mutation, str], seed: int) -> str:
    count = {by: sum(value == by for value in found.values()) for by in ("tests", "golden", "nothing")}
    modules = len({m.module for m in chosen})
    lines = [
        "# Errors planted by `make mutate`", "",
        f"{len(chosen)} mutations of {modules} modules, seed {seed}: {count['tests']} noticed by the tests that import",
        f"the module, {count['golden']} more by golden values, {count['nothing']} by nothing.", "",
        "| noticed by | mutation |", "|---|---|",
        *(f"| {found[m]} | {m.label.replace('|', chr(92) + '|')} |" for m in chosen), "",
    ]  # fmt: skip
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
