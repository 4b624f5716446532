"""Every published comparison as one table, and what it says of which method to use."""

from __future__ import annotations

import csv
import html
import io
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from auxlearn.errors import InputError
from auxlearn.evaluation import stats
from auxlearn.files import bounded_files

RESULTS_BYTES = 4 * 2**20
DATA = re.compile(r"Data (.*?)\.[ <]")  # suites and their fingerprints: "planted 12ab, params/suites/glue.yaml 34cd"
DECIDED = ("better", "worse", "no difference shown")
CHOSE_NOTHING = "chose nothing"
FOUND = re.compile(r'<p class="found">(.*?)</p>', re.S)
PAIRS, DIFFER, CHOSEN = " tested pair", "shown to differ: ", " in what each method chose: "


@dataclass(frozen=True)
class Row:
    """One arm of one comparison.

    Attributes:
        study: The report's folder.
        primary, n, arm: What was trained; n is "" where no arm draws rows.
        planted: Whether the data was made so that some rows help.
        score: Mean over seeds.
        constant: What always giving one answer scores; None where the report does not say.
        difference: To single-task training; None of single itself.
        interval: Its t interval over seeds; None where there is none.
        verdict: After Holm's correction.
        tflop: All that the arm ran, per seed.
        seeds: The number of seeds.
        added: Auxiliary rows, mean over seeds.
        of: What else comparisons of the study differ in, such as "rows 400".
    """

    study: str
    primary: str
    n: str
    arm: str
    planted: bool
    score: float
    constant: float | None
    difference: float | None
    interval: tuple[float, float] | None
    verdict: str
    tflop: float
    seeds: int
    added: float
    of: str = ""

    @property
    def kind(self) -> str:
        """The verdict alone, by which rows are filtered: "undecided" of "chose nothing; undecided (3 seeds)"."""
        return stats.told(self.verdict)[1].partition(" (")[0] or CHOSE_NOTHING


def rows(home: Path) -> list[Row]:
    """Read all comparisons of published reports.

    Args:
        home: The folder of reports.

    Returns:
        One row per report, comparison and arm, in the reports' order.

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
        try:
            found += [_row(file.parent.name, line, _planted(page), floors) for line in lines]
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"{file}: {type(error).__name__} {error}; publish the study again") from None
    return found


def between(home: Path) -> dict[str, list[str]]:
    """Read what each published report says beyond its table: sentences of `finding_between` and `finding_chosen`.

    Args:
        home: The folder of reports.

    Returns:
        The sentences by the report's folder; nothing of a report without any.
    """
    pages = {file.parent.name: file.read_text(encoding="utf-8") for file in sorted(home.glob("*/index.html"))}
    said = {
        study: [t for t in map(html.unescape, FOUND.findall(page)) if PAIRS in t or CHOSEN in t]
        for study, page in pages.items()
    }
    return {study: texts for study, texts in said.items() if texts}


def _comparison(line: Mapping[str, str]) -> tuple[str, ...]:
    return tuple(line.get(name, "") for name in ("primary", "n", "run"))


def _row(study: str, line: dict[str, str], planted: bool, floors: dict[tuple[str, ...], float]) -> Row:
    low, high = _number(line["low"]), _number(line["high"])
    return Row(
        study, line["primary"], line["n"], line["arm"], planted, float(line["score"]),
        floors.get(_comparison(line)), _number(line["difference"]),
        None if low is None or high is None else (low, high), line["verdict"], float(line["tflop"]), int(line["seeds"]),
        float(line["added"]), line.get("of", ""),
    )  # fmt: skip


def _planted(page: str) -> bool:
    """Tell whether a report is of planted data; where it is of both, no number of it passes for one of real data."""
    data = DATA.search(page)
    return data is not None and "planted" in [one.partition(" ")[0] for one in data[1].split(", ")]


def _number(text: str) -> float | None:
    return None if text == "" or math.isnan(float(text)) else float(text)


def finding(own: Sequence[Row]) -> str:
    """Say in a sentence what a study found.

    Args:
        own: Its rows.

    Returns:
        How many arms are better or worse than single-task training, or that none was tested against it, and which
        scores highest; "" without any.
    """
    arms = [row for row in own if row.difference is not None]
    if not arms:
        return ""
    counts = {kind: sum(row.kind == kind for row in arms) for kind in ("better", "worse")}
    told = [f"{count} {'is' if count == 1 else 'are'} {kind}" for kind, count in counts.items() if count]
    verdicts = f"{' and '.join(told) or 'none is shown to be better or worse'} than single-task training"
    untested = {row for row in arms if row.verdict.endswith("not tested")}
    tested = [row for row in arms if row not in untested]
    if not tested:
        verdicts = f"none of {len(arms)} arms was tested against single-task training"
    elif untested:
        names = f", {', '.join(row.arm for row in tested)}," if len(tested) <= 3 else ""
        verdicts = f"of {len(tested)} tested arm{'s' if len(tested) > 1 else ''}{names} {verdicts}"
    else:
        verdicts = f"of {len(arms)} arm{'s' if len(arms) > 1 else ''} {verdicts}"
    best = max(arms, key=lambda row: row.difference or 0.0)
    few = "" if best.kind in counts or best.seeds < 6 or best in untested else ", which no test shows"
    few += ", not tested" if tested and best in untested else ""
    decide = "s, which decide" if best.seeds > 1 else ", which decides"
    few += f"; {best.seeds} seed{decide} nothing" if best.seeds < 6 else ""
    every = f" of all {len(arms)} arms" if tested and untested else ""
    return f"{verdicts[:1].upper()}{verdicts[1:]}; the largest difference{every} is {_told(best)}{few}."


def finding_between(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Say in a sentence what the tests between pairs of arms show.

    Args:
        pairs: Metrics of a 07's pairs: arm, baseline, difference, low, high, p, verdict.

    Returns:
        The pairs of which a corrected test shows a difference, or that none does; "" where none was tested.
    """
    tested = [pair for pair in pairs if pair["p"] is not None]
    shown = [pair for pair in tested if stats.told(pair["verdict"])[1] in ("better", "worse")]
    if not tested:
        return ""
    if not shown:
        names = ", ".join(f"{pair['arm']} − {pair['baseline']}" for pair in tested)
        if len(tested) == 1:
            return f"The one tested pair of arms, {names}, is not shown to differ."
        return (
            f"None of {len(tested)} tested pairs of arms{f' ({names})' if len(tested) <= 4 else ''} is shown to differ."
        )
    told = (f"{p['arm']} − {p['baseline']} {p['difference']:+.3f} ({p['low']:+.3f} to {p['high']:+.3f})" for p in shown)
    are = "is" if len(shown) == 1 else "are"
    return f"Of {len(tested)} tested pairs of arms {len(shown)} {are} {DIFFER}{'; '.join(told)}."


def ranked(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, Mapping[str, Any]]]:
    """Order the methods of an 08 by the share that they found, the highest first; those that chose no row come last."""
    return sorted(found.items(), key=lambda item: (item[1]["mean"] is None, -(item[1]["mean"] or 0.0)))


def finding_chosen(metrics: Mapping[str, Any]) -> str:
    """Say in a sentence what share of the best kind of row each method of an 08 chose.

    Args:
        metrics: The metrics of an 08.

    Returns:
        The shares, the highest first, beside the pool's; "" where no method chose a row.
    """
    shares = {name: row["mean"] for name, row in ranked(metrics["found"]) if row["mean"] is not None}
    if not shares:
        return ""
    seeds = {name: row.get("seeds") for name, row in metrics["found"].items()}
    most = max((count for count in seeds.values() if count), default=0)
    few = {name: f" (in {count} of {most} seeds)" for name, count in seeds.items() if count and count < most}
    told = ", ".join(f"{name} {share:.0%}{few.get(name, '')}" for name, share in shares.items())
    return f"Share of {metrics['class']} rows ({metrics['pool']:.0%} of the pool){CHOSEN}{told}."


def _told(row: Row) -> str:
    interval = f" ({row.interval[0]:+.3f} to {row.interval[1]:+.3f})" if row.interval else ""
    return f"{row.arm} on {row.primary}, {row.difference:+.3f}{interval}"


def advice(
    found: Sequence[Row], said: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> list[tuple[str, list[Row]]]:
    """Answer which method to use, as far as the table does, and which arms of a study a test tells apart.

    Against single-task training only arms count that added auxiliary rows in every seed and were tested. Planted data
    and real data are answered apart.

    Args:
        found: All rows.
        said: As from `between`.

    Returns:
        Sentences, each with the rows that it rests on, the cheapest first.
    """
    answers: list[tuple[str, list[Row]]] = []
    for planted, where in ((False, "On real data"), (True, "On planted data, made so that some rows help")):
        arms = [row for row in found if row.planted == planted and row.difference is not None and row.added]
        tested = [row for row in arms if row.kind in DECIDED and not stats.told(row.verdict)[0]]
        better = [row for row in tested if row.kind == "better"]
        better.sort(key=lambda row: row.tflop)
        if not better:
            studies = len({row.study for row in arms})
            why = (
                f"none of {len(arms)} arms in {studies} studies" if not tested else f"none of {len(tested)} tested arms"
            )
            how = "was tested" if not tested else "is shown to be better than single-task training"
            answers += [(f"{where}: no evidence yet, as {why} {how}.", []), *_between(arms, said)]
            continue
        cheapest, best = better[0], max(better, key=lambda row: row.difference or 0.0)
        are = f"tested arm{'s' * (len(tested) > 1)} {'is' if len(better) == 1 else 'are'}"
        text = f"{where}: {len(better)} of {len(tested)} {are} better than single-task training. The cheapest"
        text += f" is {_told(cheapest)}, at {cheapest.tflop:.3g} TFLOP per seed"
        if best is not cheapest:
            text += f"; the largest difference is {_told(best)}, at {best.tflop:.3g}"
        answers += [(f"{text}.", [cheapest] if best is cheapest else [cheapest, best]), *_between(arms, said)]
    return answers


def _between(arms: Sequence[Row], said: Mapping[str, Sequence[str]]) -> list[tuple[str, list[Row]]]:
    """Say which arms of one study are told apart, each study by itself."""
    answers: list[tuple[str, list[Row]]] = []
    for study, sentences in said.items():
        own = [row for row in arms if row.study == study]
        pairs = [text.split(DIFFER)[1] for text in sentences if DIFFER in text]
        if own and pairs:
            on = f"{own[0].primary}{' (planted)' if own[0].planted else ''}"
            answers.append((f"Tested against each other on {on}: {' '.join(pairs)}", own[:1]))
    return answers
