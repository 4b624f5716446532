"""A study file becomes a graph of cells: every notebook run it needs, validated and keyed before the first one starts.

    study: NAME            # a label; enters no key
    title: …               # one line for the report
    base: {…}              # parameters for all notebooks that have them
    grid: {arm: […], n: […]}   # every combination; methods.METHOD.OPTION: […] is one too
    exclude: [{arm: …, n: …}]  # but these
    stages: [06_mtl, …]    # what is wanted; what it reads is added (default: 01, 06, 07)
    notebooks: {06_mtl: {lr: …}}   # a notebook's own parameters
    methods: {gradts_trial: {trial_most: 4}}   # options by method or family of methods
    plugins: [my_methods.py]   # modules or files that register further methods
    per_seed: [02_td_proxy]    # notebooks to run once per seed, as a cluster would; others deal their seeds themselves
    expects: {rows: {task: …}, tokens: …, encoder: {…}}   # what suite and encoder hold; see `study_file.Expects`

Cells are found from the wanted ones backwards, so that three targets share one proxy without being told to. `load`
reads the suite, because keys are made of its content; `validated` needs neither data nor encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from pydantic import ValidationError

from auxlearn import errors
from auxlearn.data import auxiliary_rows, schema, suites, usable_rows
from auxlearn.errors import InputError
from auxlearn.methods import registry
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.models import encoder_files
from auxlearn.paths import NOTEBOOKS
from auxlearn.records import runs
from auxlearn.records.code_hash import code_hash
from auxlearn.studies import combinations, study_file
from auxlearn.studies import parameters as params
from auxlearn.studies.study_file import StudyFile
from auxlearn.training import key_forms

COMPARING_TASKS = ("02_td_proxy", "03_ranking", "04_gradts_correlation", "05_tawt_weighting")  # need two tasks or more


@dataclass(eq=False)
class Cell:
    """One notebook run of a study."""

    params: params.Common  # resolved, `inputs` filled in
    key: str
    code: str  # hash of its code and of all that it reads, transitively
    reads: list[Cell]
    suite: str  # fingerprint
    swept: Sequence[tuple[str, str]] = ()  # options that tell the study's cells apart, as (method or family, option)

    @property
    def stage(self) -> str:
        """The notebook that the cell runs, such as `06_mtl`."""
        return self.params.stage

    @cached_property
    def _keyed(self) -> dict[str, Any]:
        return self.params.key_params()

    def agrees(self, wanted: Mapping[str, Any]) -> bool:
        """Say whether the cell has wanted parameters: `runs.agrees` for a run that is not made yet.

        Args:
            wanted: Parameters by name; those that do not enter the cell's key are passed over.

        Returns:
            Whether all others are the cell's.
        """
        return runs.fits(self._keyed, key_forms.forms(wanted))

    @property
    def cores(self) -> int:
        """Cores that the cell keeps busy: threads of every process of every worker."""
        p = self.params
        return p.threads * getattr(p, "processes", 1) * max(1, min(p.workers, len(getattr(p, "seeds", [0]))))

    @property
    def gpus(self) -> int:
        """GPUs that the cell needs."""
        return getattr(self.params, "processes", 1) if self.params.device == "cuda" else 0

    @property
    def label(self) -> str:
        """The cell's name for people: its stage and what tells it from its siblings."""
        p = self.params
        parts = [str(getattr(p, f)) for f in ("primary", "arm", "discriminator") if getattr(p, f, None)]
        parts += [f"{f}={getattr(p, f)}" for f in ("n", "seed", "seeds") if f in self._keyed]
        parts += self._options()
        parts += ["at=proxy"] if getattr(p, "at", "") == "proxy" else []
        if self.stage in ("01_data_prep", "02_td_proxy", "04_gradts_correlation"):
            parts = parts[1:]
        return " ".join([self.stage, *parts])

    def _options(self) -> list[str]:
        options = self._keyed.get("methods", {})
        homes = {name: (name, registry.get(name).family) for name in options}
        return list(dict.fromkeys(
            f"{option}={options[name][option]}"
            for table, option in self.swept for name in options if table in homes[name] and option in options[name]
        ))  # fmt: skip


@dataclass
class Study:
    """A study as expanded from its file, all cells validated."""

    name: str
    title: str
    cells: list[Cell]  # upstream first


def load(path: Path, elsewhere: bool = False) -> Study:
    """Read, validate and expand a study file.

    Args:
        path: The study file.
        elsewhere: Whether its cells will run on other machines than this one (see `Common.resolved`).

    Returns:
        The study with all its cells.

    Raises:
        InputError: For the first problem; the message names the file.
    """
    file = study_file.read(path)
    return Study(file.study, file.title or file.study, expanded(path, _Expansion(file, elsewhere)))


def validated(path: Path) -> list[tuple[str, Any]]:
    """Expand a study file without reading any data.

    Checks what `load` checks except the content of the suite: its YAML, and so the names of its tasks, is read, its
    rows are not. Whether there are enough rows to choose n from is checked where the file says how many there are
    (`expects`).

    Args:
        path: The study file.

    Returns:
        Stage and parameters (as written: "auto" undecided) of every cell, upstream first.

    Raises:
        InputError: For the first problem; the message names the file.
    """
    return [(cell.stage, cell.params) for cell in expanded(path, Unread(study_file.read(path)))]


def exceeding(path: Path, read: Mapping[str, suites.Suite]) -> tuple[list[str], bool]:
    """Compare every n and `primary_rows` of a study file with the rows that there are to choose from.

    Args:
        path: The study file, of which `validated` has found nothing wrong.
        read: Suites whose rows are read, as the file names them; others are passed over.

    Returns:
        A line for each pool or primary that is too small, and whether every pool was known.

    Raises:
        InputError: Another fault, of the file with these rows.
    """
    expansion = _Counting(study_file.read(path), read)
    expanded(path, expansion)
    return [f"{path}: {line}" for line in dict.fromkeys(expansion.lines)], expansion.known


def expanded(path: Path, expansion: _Expansion) -> list[Cell]:
    """Find all cells of an expansion.

    Args:
        path: The study file, which errors name.
        expansion: Of that file; `Unread` to expand it without data.

    Returns:
        The cells, upstream first.

    Raises:
        InputError: For the first problem.
    """
    try:
        return expansion.cells()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


class _Expansion:
    def __init__(self, file: StudyFile, elsewhere: bool = False):
        self.file = file
        self.elsewhere = elsewhere
        self.made: dict[tuple[str, str], Cell] = {}
        self.swept: list[tuple[str, str]] = []
        self.suites: dict[tuple[str, int], Any] = {}
        self.codes: dict[tuple[str, tuple[str, ...]], str] = {}

    def cells(self) -> list[Cell]:
        combinations.check(self.file)
        self.swept = combinations.swept(self.file)
        for stage in params.MODELS:  # in order, so that 07 finds the 06 cells of the grid
            if stage in self.file.stages:
                for given in self._with_family(stage, list(combinations.combinations(self.file, stage))):
                    self._cell(stage, given)
        if self.file.expects:
            self._expects_fit()
        return list(self.made.values())

    def _with_family(self, stage: str, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Tell each of several comparisons how many tests all of them make, which Holm's correction is over."""
        if stage != "07_efficiency" or len(given) < 2:
            return given
        each = {runs.digest(p.key_params()): p for p in (params.validate(stage, one) for one in given)}
        family = sum(len(cast(params.Efficiency, p).tested) for p in each.values())
        return [{"family": family} | one for one in given]

    def _expects_fit(self) -> None:
        assert self.file.expects is not None
        for name in ("suite", "encoder", "max_length"):
            values = sorted({getattr(cell.params, name) for cell in self.made.values()})
            if len(values) > 1:
                raise InputError(f"expects describes one {name}, but the study has {', '.join(map(str, values))}")
        tokens, limit = self.file.expects.tokens, values[0]
        longest = max(tokens.values()) if isinstance(tokens, dict) else tokens
        if longest > limit:
            raise InputError(f"expects.tokens: {longest:g} tokens a row do not fit max_length, {limit}")

    def _suite(self, p: params.Common) -> Any:
        at = (p.suite, p.rows)
        if at not in self.suites:
            self.suites[at] = self._load(*at)
            if self.file.expects:
                self._as_expected(self.suites[at], p)
        return self.suites[at]

    def _cell(self, stage: str, given: dict[str, Any]) -> Cell:
        p = self._resolved(params.validate(stage, given))
        suite = self._suite(p)
        suite.auxiliaries(p.primary, p.auxiliaries)
        self._judged(p, suite)
        self._encoded(p)
        if p.stage in COMPARING_TASKS:
            auxiliary_rows.required(suite, p.primary, p.auxiliaries, 1, p.stage)
        elif p.stage == "06_mtl" and p.method.adds_rows:
            auxiliary_rows.required(suite, p.primary, p.auxiliaries, p.policy.sources if p.policy else 1, p.arm)
        reads = list(dict.fromkeys(self._upstream(upstream, wanted, p) for upstream, wanted in p.needs()))
        self._enough(p, suite, reads)
        p = p.model_copy(update={"inputs": [cell.key for cell in reads]})
        key = runs.key(stage, p.key_params(), suite.fingerprint, p.inputs)
        if (stage, key) not in self.made:
            code = runs.digest([self._code(p), [cell.code for cell in reads]])
            self.made[stage, key] = Cell(p, key, code, reads, suite.fingerprint, self.swept)
        return self.made[stage, key]

    def _judged(self, p: Any, suite: Any) -> None:
        """Refuse a comparison by sentences of a metric that one row does not have before anything is trained for it."""
        task = suite[p.primary]
        if getattr(p, "sentence_test", False) and task.kind != "tagging" and task.metric != "accuracy":
            raise InputError(
                f"sentence_test: one row of {p.primary!r} has no {task.metric}; it needs tagging or accuracy"
            )

    def _encoded(self, p: Any) -> None:
        """Refuse encoders that are not there, or cannot serve the cell, as far as their names and configs tell."""
        for encoder in (p.encoder, *getattr(p, "also", ())):
            encoder_files.check_name(encoder)
        registry.check_made(p)

    def _enough(self, p: Any, suite: Any, reads: list[Cell]) -> None:
        """Refuse an n that the pool does not hold, and primary rows that are not there, before a proxy is trained."""
        if p.primary_rows:
            own = self._primary(p, suite)
            if own is not None and p.primary_rows > own:
                what = f"primary_rows: {p.primary_rows} asked for, but {p.primary!r} has {own} usable training rows"
                self._short(f"{what}; lower it or raise `rows`")
        if p.stage not in ("03_ranking", "06_mtl") or not getattr(p, "needs_pool", True):
            return
        pool = self._pool(p, suite, reads)
        if pool is not None and p.n > pool:
            self._short(f"n: {p.n} rows asked for, but {p.stage} can choose from {pool}; lower n or raise `rows`")

    def _short(self, what: str) -> None:
        raise InputError(what)

    # What `Unread` does otherwise.

    def _load(self, suite: str, rows: int) -> Any:
        return suites.load(suite, rows)

    def _code(self, p: params.Common) -> str:
        roots = params.code_roots(p)
        if (p.stage, roots) not in self.codes:
            self.codes[p.stage, roots] = code_hash(roots, NOTEBOOKS / f"{p.stage}.ipynb")
        return self.codes[p.stage, roots]

    def _resolved(self, p: Any) -> Any:
        return p.resolved(self.elsewhere)

    def _as_expected(self, suite: Any, p: params.Common) -> None:
        """Refuse to run a study whose suite is not the one that it was priced for."""
        assert self.file.expects is not None
        counts = {name: len(task.train) for name, task in suite.items()}
        wanted = self.file.expects.capped(p.rows)
        if counts != wanted:
            raise InputError(f"expects.rows: the suite {p.suite!r} has {_counts(counts)}, not {_counts(wanted)}")

    def _primary(self, p: Any, suite: Any) -> int | None:
        """Count the rows of the primary that `primary_rows` are drawn from; None where that is not known."""
        return int(usable_rows.usable(suite, p.primary, p.keep_leaks)[p.primary].sum())

    def _pool(self, p: Any, suite: Any, reads: list[Cell]) -> int | None:
        """Count the rows that this cell can choose its n from; None where that is not known."""
        names = suite.auxiliaries(p.primary, p.auxiliaries)
        usable = usable_rows.usable(suite, p.primary, p.keep_leaks)
        if p.stage == "03_ranking":
            proxy = cast(params.TDProxy, reads[0].params)
            clean = usable_rows.usable(suite, None, proxy.keep_leaks)
            plans, _ = proxy_plans.proxies(proxy, suite, proxy.seeds[0], clean)
            if proxy.proxies == "one":
                for name in names:
                    usable[name][plans[0].phases[0].rows[name]] = False
        return sum(int(usable[name].sum()) for name in names)

    def _upstream(self, stage: str, wanted: dict[str, Any], reader: Any) -> Cell:
        """Return the cell of the study that fits, or a new one from the study's defaults.

        A new one has all seeds of its reader, or where `per_seed` names its notebook the one that is wanted.
        """
        fitting = [
            cell for (s, _), cell in self.made.items()
            if s == stage and cell.agrees(wanted)
        ]  # fmt: skip
        if len(fitting) > 1:
            raise InputError(f"{len(fitting)} cells of {stage} fit {wanted}; leave 07_efficiency out of `stages`")
        if fitting:
            return fitting[0]
        own = dict(wanted)
        if (seed := own.pop("seed", None)) is not None:
            seeds = self.file.base.get("seeds", reader.seeds) if reader.stage in self.file.per_seed else reader.seeds
            own["seeds"] = [seed] if stage in self.file.per_seed else seeds
        return self._cell(stage, combinations.defaults(self.file, stage) | own)


class _Names(suites.Suite):
    """A suite of which only the YAML is read: it knows its tasks' names and no rows."""

    def __init__(self, suite: str):
        if suite == "planted":
            from auxlearn.data import planted

            tasks: dict[str, Any] = {
                name: SimpleNamespace(name=name, kind=task.kind, metric=task.metric, rows=len(task.train))
                for name, task in planted.make().items()
            }
        else:
            path = schema.located(suite)
            # Not `read_suite`, which also wants the data's root to be known.
            try:
                spec = schema.SuiteSpec.model_validate(schema.extended(path))
            except ValidationError as error:
                raise InputError(f"{path}: {errors.explain(error, schema.ENTRIES)}") from None
            tasks = {
                name: SimpleNamespace(name=name, kind=task.kind, metric=task.metric)
                for name, task in spec.tasks.items()
            }
        # The name stands for the fingerprint, so that cells over one suite are told apart as they are by `load`.
        super().__init__(suite, cast("dict[str, suites.Task]", tasks), suite)


class Unread(_Expansion):
    """The expansion without data. Its keys tell cells apart and are good for nothing else; code is not looked at."""

    def _load(self, suite: str, rows: int) -> suites.Suite:
        return _Names(suite)

    def _code(self, p: params.Common) -> str:
        return ""

    def _resolved(self, p: Any) -> Any:
        return p  # a study may be checked on a machine without the device that it asks for

    def _encoded(self, p: Any) -> None:
        if self.file.expects is None:  # which stands in for an encoder that is not at hand
            super()._encoded(p)

    def _as_expected(self, suite: suites.Suite, p: params.Common) -> None:
        expects = self.file.expects
        assert expects is not None
        if set(expects.rows) != set(suite.names):
            raise InputError(f"expects.rows: of {', '.join(expects.rows)}; {p.suite!r} has {', '.join(suite.names)}")

    def _rows(self, p: Any, suite: suites.Suite) -> dict[str, int] | None:
        """Count the training rows of every task, as far as the file or the planted suite says."""
        if self.file.expects is not None:
            return self.file.expects.capped(p.rows)
        if p.suite == "planted":  # whose rows are known without data; leaks among them are not
            return {name: min(task.rows, p.rows or task.rows) for name, task in cast("dict[str, Any]", suite).items()}
        return None

    def _primary(self, p: Any, suite: suites.Suite) -> int | None:
        rows = self._rows(p, suite)
        return None if rows is None else rows[p.primary]

    def _pool(self, p: Any, suite: suites.Suite, reads: list[Cell]) -> int | None:
        rows, taken = self._rows(p, suite), 0
        if rows is None:
            return None
        if p.stage == "03_ranking":
            proxy = cast(params.TDProxy, reads[0].params)
            taken = proxy.proxy_rows if proxy.proxies == "one" else 0
        return sum(max(0, rows[name] - taken) for name in suite.auxiliaries(p.primary, p.auxiliaries))


class _Counting(Unread):
    """The expansion over suites that are read: all that is too small is gathered, and whether all pools were known."""

    def __init__(self, file: StudyFile, read: Mapping[str, suites.Suite]):
        super().__init__(file)
        self.read, self.lines, self.known = read, list[str](), True

    def _load(self, suite: str, rows: int) -> suites.Suite:
        return self.read[suite].capped(rows) if suite in self.read else super()._load(suite, rows)

    def _as_expected(self, suite: suites.Suite, p: params.Common) -> None:
        if p.suite in self.read:
            _Expansion._as_expected(self, suite, p)
        else:
            super()._as_expected(suite, p)

    def _primary(self, p: Any, suite: suites.Suite) -> int | None:
        own = (_Expansion if p.suite in self.read else Unread)._primary(self, p, suite)
        self.known &= own is not None
        return own

    def _pool(self, p: Any, suite: suites.Suite, reads: list[Cell]) -> int | None:
        pool = (_Expansion if p.suite in self.read else Unread)._pool(self, p, suite, reads)
        self.known &= pool is not None
        return pool

    def _short(self, what: str) -> None:
        self.lines.append(what)


class _Given(_Expansion):
    """The expansion over a suite in memory, whatever the file calls it. Code is not looked at, as no notebook runs."""

    def __init__(self, file: StudyFile, suite: suites.Suite):
        super().__init__(file)
        self.suite = suite

    def _load(self, suite: str, rows: int) -> suites.Suite:
        return self.suite.capped(rows)

    def _code(self, p: params.Common) -> str:
        return ""


def of_suite(file: StudyFile, suite: suites.Suite) -> list[Cell]:
    """Find all cells of a study of one suite that is in memory.

    Args:
        file: The study.
        suite: Its suite, before any cap.

    Returns:
        The cells, upstream first, with the keys that `load` would give them; their `code` tells nothing.

    Raises:
        InputError: For the first problem.
    """
    return _Given(file, suite).cells()


def _counts(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in rows.items())


def as_plan(study: Study) -> dict[str, Any]:
    """Write a study as JSON-able content, for Snakemake and the report.

    Args:
        study: The study, as from `load`.

    Returns:
        The plan: the study's name and title, and one entry per cell.
    """
    return {
        "study": study.name,
        "title": study.title,
        "cells": [
            {
                "stage": cell.stage, "key": cell.key, "code": cell.code, "label": cell.label, "suite": cell.suite,
                "threads": cell.cores, "gpus": cell.gpus,
                "params": cell.params.model_dump(),
                "reads": [[up.stage, up.key] for up in cell.reads],
            }
            for cell in study.cells
        ],
    }  # fmt: skip
