"""Find the cells of a study from the wanted ones backwards, validated and keyed, over suites whose rows are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast

import numpy as np

from auxlearn.data import auxiliary_rows, suites, usable_rows
from auxlearn.errors import InputError
from auxlearn.methods import base, context, registry
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.models import encoder_files
from auxlearn.paths import NOTEBOOKS
from auxlearn.records import run_search, runs
from auxlearn.records.code_hash import code_hash
from auxlearn.studies import combinations
from auxlearn.studies import parameters as params
from auxlearn.studies.study_file import StudyFile
from auxlearn.training import key_forms

COMPARING_TASKS = (
    "02_td_proxy",
    "03_ranking",
    "04_gradts_correlation",
    "05_tawt_weighting",
    "08_validity",
)  # need two tasks or more


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
        return dict(self.params.later) | self.params.key_params()

    def agrees(self, wanted: Mapping[str, Any]) -> bool:
        """Say whether the cell has wanted parameters: `run_search.agrees` for a run that is not made yet.

        Args:
            wanted: Parameters by name, in the form that keys hold; those that do not enter the cell's key are passed
                over.

        Returns:
            Whether all others are the cell's.
        """
        return run_search.fits(self._keyed, wanted)

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


def _unseeded(p: params.Common) -> dict[str, Any]:
    """Return what enters a cell's key but its seeds, of which one cell may have more than its reader."""
    return {name: value for name, value in p.key_params().items() if name != "seeds"}


class Expansion:
    def __init__(self, file: StudyFile, elsewhere: bool = False):
        self.file = file
        self.elsewhere = elsewhere
        self.made: dict[tuple[str, str], Cell] = {}
        self.asked: set[tuple[str, str]] = set()  # those of the study's own combinations
        self.swept: list[tuple[str, str]] = []
        self.suites: dict[tuple[str, int], Any] = {}
        self.codes: dict[tuple[str, tuple[str, ...]], str] = {}
        self.usable: dict[tuple[str, str | None, bool], Mapping[str, np.ndarray]] = {}

    def cells(self) -> list[Cell]:
        combinations.check(self.file)
        self.swept = combinations.swept(self.file)
        for stage in params.MODELS:  # in order, so that 07 finds the 06 cells of the grid
            if stage in self.file.stages:
                for given in self._with_family(stage, list(combinations.combinations(self.file, stage))):
                    self.asked.add((stage, self._cell(stage, given).key))
        if self.file.expects:
            self._expects_fit()
        return list(self.made.values())

    def _with_family(self, stage: str, given: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Tell each of several comparisons how many tests all of them make, which Holm's correction is over."""
        if stage != "07_efficiency" or len(given) < 2:
            return given
        each = {
            runs.digest([p.key_params(), self._suite(p).fingerprint]): p
            for p in (params.validate(stage, one) for one in given)
        }
        family = sum(len(cast(params.Efficiency, p).tested) for p in each.values())
        return [one | {"family": max(family, one.get("family", 0))} for one in given]

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
        if getattr(p, "others", None):
            raise InputError(
                f"{stage}: others: {', '.join(p.others)} would be shown, and enter no key; a study compares methods as "
                "arms of 06, and their choices in 08 (`selectors`)"
            )
        suite = self._suite(p)
        suite.auxiliaries(p.primary, p.auxiliaries)
        self._judged(p, suite)
        self._encoded(p)
        if p.stage in COMPARING_TASKS:
            auxiliary_rows.required(suite, p.primary, p.auxiliaries, 1, p.stage)
        elif p.stage == "06_mtl" and p.method.adds_rows:
            least = p.policy.sources if p.policy else 1
            names = auxiliary_rows.required(suite, p.primary, p.auxiliaries, least, p.arm)
            p.method.check_auxiliaries(names, p.options(p.method))
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
                self._short(f"{what}{self._leaks(p, suite, [p.primary])}; {_remedy('it', p)}")
        if p.stage not in ("03_ranking", "06_mtl", "08_validity") or not getattr(p, "needs_pool", True):
            return
        pool = self._pool(p, suite, reads)
        if pool is not None and p.n > pool:
            names = suite.auxiliaries(p.primary, p.auxiliaries)
            what = f"n: {p.n} rows asked for, but {p.stage} can choose from {pool}{self._leaks(p, suite, names)}"
            self._short(f"{what}; {_remedy('n', p)}")

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
            raise InputError(f"expects.rows: the suite {p.suite!r} has {row_counts(counts)}, not {row_counts(wanted)}")

    def _primary(self, p: Any, suite: Any) -> int | None:
        """Count the rows of the primary that `primary_rows` are drawn from; None where that is not known."""
        return int(self._usable(suite, p.primary, getattr(p, "keep_leaks", False))[p.primary].sum())

    def _leaks(self, p: Any, suite: Any, names: Sequence[str]) -> str:
        """Say how many training rows of some tasks are left out as leaks; "" where none are, or it is not known."""
        usable = self._usable(suite, p.primary, getattr(p, "keep_leaks", False))
        count = sum(int((~usable[name]).sum()) for name in names)
        return f" ({count:,} left out as leaks, which 01_data_prep lists)" * bool(count)

    def _pool(self, p: Any, suite: Any, reads: list[Cell]) -> int | None:
        """Count the rows that this cell can choose its n from; None where that is not known."""
        names = suite.auxiliaries(p.primary, p.auxiliaries)
        usable = self._usable(suite, p.primary, p.keep_leaks)
        if p.stage == "03_ranking":
            proxy = cast(params.TDProxy, reads[0].params)
            clean = self._usable(suite, None, proxy.keep_leaks)
            plans, _ = proxy_plans.proxies(proxy, suite, proxy.seeds[0], clean)
            if proxy.proxies == "one":
                usable = {name: usable[name].copy() for name in names}
                for name in names:
                    usable[name][plans[0].phases[0].rows[name]] = False
        most = sum(int(usable[name].sum()) for name in names)
        # A model that a method reads may have been trained on rows of the pool, which it then cannot choose.
        if p.stage == "06_mtl" and self._sees(p, p.method):
            asked = context.Context(suite, p, p.seeds[0], [cell.params for cell in reads])
            most = min([most, *(int(asked.at(seed).candidates(p.method.name)[1].sum()) for seed in p.seeds)])
        return most

    def _sees(self, arm: Any, method: base.Method) -> bool:
        """Tell whether a method needs what may have been trained on rows that it could choose else."""
        for need in method.needs(base.Cell(arm, arm.seeds[0]), arm.options(method)):
            if need.artifact.startswith(context.SELECTION):
                other = registry.get(need.artifact.removeprefix(context.SELECTION))
                if isinstance(other, base.Method) and self._sees(arm, other):
                    return True
            elif type(registry.maker(need.artifact)).seen is not base.Maker.seen:
                return True
        return False

    def _usable(self, suite: Any, primary: str | None, keep_leaks: bool) -> Mapping[str, np.ndarray]:
        """Tell which rows may be trained on, found once for all cells that ask alike; to be read, not written to."""
        asked = suite.fingerprint, primary, keep_leaks
        if asked not in self.usable:
            self.usable[asked] = usable_rows.usable(suite, primary, keep_leaks)
        return self.usable[asked]

    def _upstream(self, stage: str, wanted: dict[str, Any], reader: Any) -> Cell:
        """Return the cell of the study's grid that fits, or else the one that the study's defaults make.

        Cells that other readers needed, with options of their own, are not taken where they happen to fit: what a
        method reads may not depend on the order of arms. Seeds apart, which one cell may have more of. A new cell has
        all seeds of its reader, or where `per_seed` names its notebook the one that is wanted.
        """
        suite, keyed = self._suite(reader).fingerprint, key_forms.forms(wanted)
        # What tells most cells apart is compared first: a study may have hundreds of cells, each read by as many.
        keyed = {name: keyed[name] for name in ("methods", "auxiliaries", "arm") if name in keyed} | keyed
        fitting = [
            cell for (s, _), cell in self.made.items()
            if s == stage and cell.suite == suite and cell.agrees(keyed)
        ]  # fmt: skip
        if not all((stage, cell.key) in self.asked for cell in fitting):
            usual = _unseeded(self._resolved(params.validate(stage, self._default(stage, wanted, reader))))
            fitting = [c for c in fitting if (stage, c.key) in self.asked or _unseeded(c.params) == usual]
        if len(fitting) > 1:
            raise InputError(self._ambiguous(stage, wanted, reader, fitting))
        return fitting[0] if fitting else self._cell(stage, self._default(stage, wanted, reader))

    def _default(self, stage: str, wanted: Mapping[str, Any], reader: Any) -> dict[str, Any]:
        """Return the parameters of a new cell: the study's defaults, and what its reader wants."""
        own = combinations.defaults(self.file, stage) | dict(wanted)
        if (seed := own.pop("seed", None)) is not None:
            seeds = self.file.base.get("seeds", reader.seeds) if reader.stage in self.file.per_seed else reader.seeds
            own["seeds"] = [seed] if stage in self.file.per_seed else seeds
        return own

    def _ambiguous(self, stage: str, wanted: Mapping[str, Any], reader: Any, fitting: Sequence[Cell]) -> str:
        said = f"{len(fitting)} cells of {stage} fit {wanted}"
        if reader.stage == "07_efficiency":
            return f"{said}; leave 07_efficiency out of `stages`"
        each = [cell.params.key_params() for cell in fitting]
        names = dict.fromkeys(name for one in each for name in one)
        differ = [name for name in names if any(one.get(name) != each[0].get(name) for one in each)]
        return f"{said} for {reader.stage}, which differ in {', '.join(differ)}; give all notebooks the same"


class Given(Expansion):
    """The expansion over a suite in memory, whatever the file calls it. Code is not looked at, as no notebook runs."""

    def __init__(self, file: StudyFile, suite: suites.Suite):
        super().__init__(file)
        self.suite = suite

    def _load(self, suite: str, rows: int) -> suites.Suite:
        return self.suite.capped(rows)

    def _code(self, p: params.Common) -> str:
        return ""


def _remedy(what: str, p: Any) -> str:
    return f"lower {what} or raise `rows`" if p.rows else f"lower {what} or give the tasks more rows"


def row_counts(rows: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in rows.items())
