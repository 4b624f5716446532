"""What every notebook opens and closes with: check parameters, find what it reads, record what it made."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from auxlearn import hosts, progress_bar, seeding
from auxlearn.cost import Ledger
from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.methods import registry
from auxlearn.methods.base import Artifact
from auxlearn.methods.context import Context
from auxlearn.paths import NOTEBOOKS, PROJECT, need_checkout
from auxlearn.records import code_hash, run_lock, run_search, runs
from auxlearn.studies import parameters as params
from auxlearn.studies import run_status
from auxlearn.studies.engine import seed_workers
from auxlearn.training import key_forms

BANNER = "DEMO: planted data, made so that the method can be seen to work; says nothing about real data."


@dataclass
class Session:
    """An open notebook: its checked parameters, its suite, the runs it reads, and the run it makes."""

    params: Any
    suite: suites.Suite
    run: runs.Run
    inputs: list[runs.Manifest]
    upstream: list[params.Common]  # parameters of the runs that it reads, directly and through others
    bar: progress_bar.Bar | None = None  # where a person watches
    asked: Context | None = None  # the first of its contexts, which shares its masks with the others
    helpers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def context(self, seed: int) -> Context:
        """Return what methods and makers are given for one seed: artifacts are made as the runs that are read were."""
        if self.asked is None:
            self.asked = Context(self.suite, self.params, seed, self.upstream, self.progress)
        return self.asked.at(seed)

    def contexts(self) -> dict[int, Context]:
        """Return the contexts of all seeds, and start the workers among which the seeds are dealt."""
        self.helpers = seed_workers.start(self.params, self.upstream, self.run.path("seeds.json").parent)
        return {seed: self.context(seed) for seed in seed_workers.own_seeds(self.params)}

    def artifacts(self, name: str) -> dict[int, Artifact]:
        """Make an artifact for every seed, in the order of the seeds."""
        maker, p = registry.maker(name), self.params
        values = {seed: maker.make(each, p, seed) for seed, each in self.contexts().items()}
        return {seed: values[seed] for seed in p.seeds}

    @property
    def primary(self) -> suites.Task:
        """The primary task."""
        return self.suite[self.params.primary]

    @property
    def auxiliaries(self) -> list[str]:
        """Names of the auxiliary tasks."""
        return self.suite.auxiliaries(self.params.primary, self.params.auxiliaries)

    def fresh(self, name: str) -> Path:
        """Free a path in the run's folder; what an earlier run left there is removed.

        Args:
            name: File or folder in the run's folder.

        Returns:
            The path, at which nothing stands.
        """
        shutil.rmtree(self.run.path(name), ignore_errors=True)
        return self.run.path(name)

    def progress(self, message: str) -> None:
        """Show one line to a person at a terminal or in front of the notebook; it never becomes an output that is kept.

        Args:
            message: The line.
        """
        if os.environ.get("AUXLEARN_PROGRESS"):
            with open(os.environ["AUXLEARN_PROGRESS"], "a", encoding="utf-8") as log:
                log.write(f"{runs.now()} {self.run.stage}/{self.run.key} {message}\n")
        if self.bar:
            self.bar.show(message)

    def finish(
        self, outputs: Sequence[str], metrics: Mapping[str, Any], ledgers: Iterable[Ledger] = (),
        units: Sequence[runs.Manifest] = (), rows: Mapping[str, int] | None = None,
    ) -> runs.Manifest:  # fmt: skip
        """Write the manifest and say so.

        Args:
            outputs: Names of the files in the run's folder.
            metrics: What was measured; JSON-able.
            ledgers: What it cost, one ledger per stage.
            units: The trainings and passes that the run read.
            rows: Counts of rows by name.

        Returns:
            The manifest.

        Raises:
            InputError: If the code was edited while the notebook ran.
        """
        drawn = getattr(self.params, "seeds", [])
        for helper in self.helpers:
            helper.wait()
        known = {(m.stage, m.key) for m in self.run.inputs}
        self.run.inputs += {m.label: m for m in units if (m.stage, m.key) not in known}.values()
        recorded = {f"{s}/{purpose}": v for s in drawn for purpose, v in seeding.record(s).items()}
        self.run.check_unedited()
        manifest = self.run.finish(outputs, metrics, ledgers, recorded, rows)
        print(f"finished {manifest.label}: {', '.join(outputs)}")
        return manifest


def start(stage: str, namespace: Mapping[str, Any]) -> Session:
    """Open a notebook: check its parameters, load its suite, find the runs it reads, and open its own run.

    At demo size, a run that it reads is made when it is missing. At full size a missing run is an error whose message
    holds the command that makes it.

    Args:
        stage: The notebook, such as `06_mtl`.
        namespace: The notebook's `globals()`.

    Returns:
        The session.

    Raises:
        InputError: If a parameter, the suite or a run that it reads cannot be used.
    """
    show_messages_alone()
    need_checkout(f"notebook {stage}")
    opened = code_hash.notebook_source(NOTEBOOKS / f"{stage}.ipynb")  # first: what follows may take its time
    p = params.check(stage, namespace).resolved()
    bound_threads(p.threads)
    suite = suites.load(p.suite, p.rows)
    suite.auxiliaries(p.primary, p.auxiliaries)
    inputs = _inputs(p, suite)
    key_params = p.key_params()
    key = runs.key(stage, key_params, suite.fingerprint, [m.key for m in inputs])
    run = runs.Run(
        stage,
        key,
        p.model_dump(),
        suite.fingerprint,
        inputs,
        key_params,
        params.code_roots(p),
        notebook=f"{stage}.ipynb",
        opened=opened,
    )
    run.check_unedited()
    run_lock.claim(run.folder)
    if p.size == "demo":
        print(BANNER)
    from auxlearn.reporting import summaries  # pandas, which a first cell is not to wait for

    primary = {p.primary: suite[p.primary]}
    for text in (*summaries.few_dev_rows(primary), *summaries.one_answer(primary)):
        print(f"WARNING: {text}")
    print(f"suite {suite.name} ({suite.fingerprint}), primary {p.primary}, encoder {p.encoder}")
    print(f"run {stage}/{key}" + "".join(f"\nreads {m.label}" for m in inputs))
    return Session(
        p, suite, run, list(inputs), params.of_runs(inputs), progress_bar.Bar() if progress_bar.someone() else None
    )


def show_messages_alone() -> None:
    """Let an InputError end a notebook's cell with its message alone, for where it was raised mends no input."""
    from IPython import get_ipython

    shell = get_ipython()
    if not hasattr(shell, "kernel"):  # no notebook, or `auxlearn cell`, which is there to show where
        return

    def show(shell: Any, kind: type[InputError], error: InputError, trace: Any, tb_offset: int | None = None) -> None:
        sys.last_type, sys.last_value, sys.last_traceback = kind, error, trace  # for %debug
        shell._showtraceback(kind, error, [f"{kind.__name__}: {error}"])

    shell.set_custom_exc((InputError,), show)


def bound_threads(threads: int) -> None:
    """Bound the threads of NumPy's and SciPy's linear algebra in this process, as PyTorch's are.

    Left to itself it takes every core: two notebooks side by side then wait for each other (fits of small models took
    ten times as long), and sums depend on how many threads add them up.

    Args:
        threads: How many.
    """
    from threadpoolctl import threadpool_limits

    threadpool_limits(threads, user_api="blas")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", str(threads))  # read by what is loaded later


def _inputs(p: params.Common, suite: suites.Suite) -> list[runs.Manifest]:
    inputs: dict[str, runs.Manifest] = {}
    stages = list(dict.fromkeys(stage for stage, _ in p.needs()))
    for key in p.inputs if stages else ():
        if all(_named(stage, key) is None for stage in stages):
            runs.load(stages[0], key)  # says that it is not there
    for stage, wanted in p.needs():
        if p.inputs:
            named = [m for key in p.inputs if (m := _named(stage, key)) is not None]
            fitting = [m for m in named if m.suite == suite.fingerprint and _agrees(m, wanted)]
            if len(fitting) != 1:
                raise InputError(
                    f"inputs: {len(fitting)} of the runs {', '.join(p.inputs)} fit {wanted}; exactly one must"
                )
            inputs[fitting[0].label] = fitting[0]
        else:
            known = [m for m in inputs.values() if m.stage == stage and _agrees(m, wanted)]
            found = known[0] if known else _find_or_make(p, stage, wanted, suite)
            inputs[found.label] = found
    return list(inputs.values())


def _agrees(manifest: runs.Manifest, wanted: dict[str, Any]) -> bool:
    return run_search.agrees(manifest, key_forms.forms(wanted), params.MODELS[manifest.stage].later)


def _found(stage: str, wanted: dict[str, Any], suite: suites.Suite) -> runs.Manifest:
    return run_search.find(stage, wanted, suite.fingerprint, key_forms.forms(wanted), params.MODELS[stage].later)


def _named(stage: str, key: str) -> runs.Manifest | None:
    """Load a run that `inputs` names, or return None where its key is another stage's."""
    return None if runs.read(stage, key)[0] == "missing" else runs.load(stage, key)


def _find_or_make(p: params.Common, stage: str, wanted: dict[str, Any], suite: suites.Suite) -> runs.Manifest:
    try:
        return _found(stage, wanted, suite)
    except InputError:
        if p.size != "demo":
            raise
    own = dict(wanted)
    if (seed := own.pop("seed", None)) is not None:
        own["seeds"] = getattr(p, "seeds", [seed])
    out = runs.runs_root() / stage / "made-on-demand.ipynb"
    out.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "papermill", str(NOTEBOOKS / f"{stage}.ipynb"), str(out)]
    command += ["-y", json.dumps(params.for_notebook(stage, own)), "--no-progress-bar"]
    with hosts.own_kernel() as environment:
        environment.pop("JPY_SESSION_NAME", None)
        process = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, env=environment)
    if process.returncode:
        node = run_status.executed(out) if out.is_file() else None
        why = ((node and run_status.error(node)) or process.stderr[-2000:]).removeprefix(run_status.REFUSED)
        raise InputError(f"{stage}, which this notebook reads, could not be made: {why}")
    return _found(stage, wanted, suite)
