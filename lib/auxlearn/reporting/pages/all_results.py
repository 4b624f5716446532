"""Every published comparison as one table."""

from __future__ import annotations

import csv
import dataclasses
import io
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from auxlearn.data import suite_files
from auxlearn.errors import InputError
from auxlearn.evaluation import verdicts
from auxlearn.files import bounded_files
from auxlearn.methods import registry
from auxlearn.reporting.pages import published_tables
from auxlearn.reporting.pages.published_tables import Pair
from auxlearn.studies import study_file

RESULTS_BYTES = 4 * 2**20
DATA = re.compile(r"Data (.*?)\.[ <]")  # suites and their fingerprints: "planted 12ab, params/suites/glue.yaml 34cd"
DECIDED = ("better", "worse", "no difference shown")
CHOSE_NOTHING = "chose nothing"
Kind = Literal["real", "twins", "planted"]


@dataclass(frozen=True)
class Row:
    """One arm of one comparison.

    Attributes:
        study: The report's folder.
        primary, n, arm: What was trained; n is "" where no arm draws rows.
        data: "planted" where it was made so that some rows help, "twins" where the pool holds other rows of the
            primary's own task, else "real".
        score: Mean over seeds.
        constant: What always giving one answer scores; None where the report does not say.
        difference: To single-task training; None of single itself.
        interval: Its t interval over seeds; None where there is none.
        verdict: After Holm's correction.
        tflop: All that the arm ran, per seed.
        seeds: The number of seeds.
        added: Auxiliary rows, mean over seeds.
        of: What else comparisons of the study differ in, such as "rows 400".
        score_interval: The score's own t interval over seeds; None where there is none, or the report does not say.
        row_interval: The difference's, widened by the error over dev rows; likewise.
        run: The key of the 07 that compares it.
        encoder: As the study's file has it; "" where there is none.
        setup: What else decides the scores, of the study's file, such as "bf16, 100 own rows, 200 steps".
    """

    study: str
    primary: str
    n: str
    arm: str
    data: Kind
    score: float
    constant: float | None
    difference: float | None
    interval: tuple[float, float] | None
    verdict: str
    tflop: float
    seeds: int
    added: float
    of: str = ""
    score_interval: tuple[float, float] | None = None
    row_interval: tuple[float, float] | None = None
    run: str = ""
    encoder: str = ""
    setup: str = ""

    @property
    def kind(self) -> str:
        """The verdict alone, by which rows are filtered: "undecided" of "chose nothing; undecided (3 seeds)"."""
        return verdicts.parse_verdict(self.verdict)[1].partition(" (")[0] or CHOSE_NOTHING

    @property
    def by_n(self) -> bool:
        """Whether another n gives the arm another training; of a plug-in's that is not here it may."""
        try:
            return registry.uses_n(self.arm)
        except ValueError:
            return True

    @property
    def where(self) -> str:
        """The primary, with the kind of pool where it is no ordinary one."""
        return self.primary + {"real": "", "twins": " (twin pool)", "planted": " (planted)"}[self.data]


def rows(home: Path) -> list[Row]:
    """Read all comparisons of published reports.

    Args:
        home: The folder of reports.

    Returns:
        One row per report, comparison and arm. Planted data come last, reports with a test come first, then those of
        more seeds.

    Raises:
        InputError: A results.csv cannot be read, or lacks a column; the message names it.
    """
    found = []
    for file in sorted(home.glob("*/results.csv")):
        index = file.with_name("index.html")
        page = index.read_text(encoding="utf-8") if index.is_file() else ""
        constants = [float(text) for text in re.findall(r"A constant answer scores (-?\d+\.\d+)", page)]
        text = bounded_files.read_bytes(file, RESULTS_BYTES, "publish the study again").decode()
        lines = list(csv.DictReader(io.StringIO(text)))
        comparisons = list(dict.fromkeys(map(_comparison, lines)))
        floors = dict(zip(comparisons, constants, strict=True)) if len(constants) == len(comparisons) else {}
        data = _data(page, home)
        encoder, setup = _setup(study_file.committed(home.parent, file.parent.name))
        try:
            own = [_row(file.parent.name, line, data, floors) for line in lines]
            found += [dataclasses.replace(row, encoder=encoder, setup=setup) for row in own]
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{file}: {type(error).__name__} {error}; publish the study again") from None
    decided = {row.study for row in found if row.kind in DECIDED}
    most = {study: max(row.seeds for row in found if row.study == study) for study in {row.study for row in found}}
    return sorted(found, key=lambda row: (row.data == "planted", row.study not in decided, -most[row.study], row.study))


def pairs(home: Path) -> list[Pair]:
    """Read the tested pairs of arms of published reports, which stand in no results.csv but on their pages.

    Args:
        home: The folder of reports.

    Returns:
        Those with a p, by report.

    Raises:
        InputError: A table of pairs is not as pages have it; the message names the page.
    """
    found: list[Pair] = []
    for file in sorted(home.glob("*/index.html")):
        try:
            found += published_tables.pairs(file.read_text(encoding="utf-8"), file.parent.name)
        except ValueError as error:
            raise InputError(f"{file}: {error}; publish the study again") from None
    return [pair for pair in found if pair.p is not None]


def _comparison(line: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(line.get(name, "") for name in ("primary", "n", "run"))


def _row(study: str, line: dict[str, str], data: Kind, floors: dict[tuple[str, ...], float]) -> Row:
    return Row(
        study, line["primary"], line["n"], line["arm"], data, float(line["score"]),
        floors.get(_comparison(line)), _number(line["difference"]), _interval(line, ""), line["verdict"],
        float(line["tflop"]), int(line["seeds"]), float(line["added"]), line.get("of", ""), _interval(line, "score_"),
        _interval(line, "row_"), line.get("run", ""),
    )  # fmt: skip


def _interval(line: Mapping[str, str], of: str) -> tuple[float, float] | None:
    low, high = (_number(line.get(f"{of}{end}", "")) for end in ("low", "high"))
    return None if low is None or high is None else (low, high)


def _setup(file: Path | None) -> tuple[str, str]:
    """Read a study's encoder, and what else decides its scores, off its file; "" of one that is not there."""
    try:
        study = study_file.read(file) if file else None
    except InputError:  # of another version; the table is no worse without
        study = None
    if study is None:
        return "", ""
    base, steps = study.base, study.notebooks.get("06_mtl", {}).get("steps")
    own = base.get("primary_rows") or study.grid.get("primary_rows")
    parts = [str(base.get("precision", ""))]
    parts += [f"{own} own rows"] if isinstance(own, int) else []
    parts += [f"{steps} steps"] if steps else []
    return Path(str(base.get("encoder", "tiny"))).name, ", ".join(filter(None, parts))


def _data(page: str, home: Path) -> Kind:
    """Tell a report's kind of data; where it is of several, no number of it passes for one of a plainer kind."""
    told = DATA.search(page)
    suites = [re.sub(r" [0-9a-f]+$", "", one) for one in told[1].split(", ")] if told else []
    if "planted" in suites:
        return "planted"
    return "twins" if any(_has_twins(home.parent / suite) for suite in suites) else "real"


def _has_twins(file: Path) -> bool:
    """Tell whether a suite's file gives a task a twin; False of one that is no longer there, or cannot be read."""
    try:
        suite = suite_files.extended(file) if file.is_file() else {}  # unchecked: its data need not be here
    except InputError:
        return False
    tasks = suite.get("tasks") if isinstance(suite, dict) else None
    sources = [task.get("source") for task in (tasks or {}).values() if isinstance(task, dict)]
    return any(isinstance(source, dict) and source.get("twin_of") for source in sources)


def _number(text: str) -> float | None:
    return None if text == "" or math.isnan(float(text)) else float(text)
