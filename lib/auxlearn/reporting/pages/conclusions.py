"""What the table of all comparisons says: of a study in a sentence or three, and of which method to use."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from auxlearn.evaluation import stats
from auxlearn.methods import registry
from auxlearn.reporting.pages.all_results import CHOSE_NOTHING, DECIDED, Kind, Row

FOUND = re.compile(r'<p class="found">(.*?)</p>', re.S)
PAIRS, DIFFER, CHOSEN = " tested pair", "shown to differ: ", " in what each method chose: "
SHUFFLED = "shuffled"
# Kinds of data, answered apart; of the first two it is said which methods were never trained.
KINDS: dict[Kind, str] = {
    "real": "On real data",
    "twins": "On real data among twins, a pool that holds other rows of the primary's own task, as few pools do",
    "planted": "On planted data, made so that some rows help",
}
FAMILIES = {
    "fastmtl": "FastMTL", "gradts": "GradTS", "autosem": "AUTOSEM", "tawt": "TAWT", "scores": "row scores",
    "task_scores": "task scores", "balancing": "balanced weights",
}  # fmt: skip
SHOWN_NAMES = 3  # of arms that a sentence names one by one


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
    counts = {kind: [row.arm for row in arms if row.kind == kind] for kind in ("better", "worse")}
    told = [f"{_some(names)} {kind}" for kind, names in counts.items() if names]
    verdicts = f"{' and '.join(told) or 'none is shown to be better or worse'} than single-task training"
    untested = {row for row in arms if row.verdict.endswith("not tested") or row.kind == CHOSE_NOTHING}
    tested = [row for row in arms if row not in untested]
    if not tested:
        verdicts = f"none of {len(arms)} arms" if len(arms) > 1 else f"the one arm, {arms[0].arm}, was not tested"
        verdicts += f"{' was tested' * (len(arms) > 1)} against single-task training"
    elif len(tested) == 1:
        one = f"the one{' tested' if untested else ''} arm, {tested[0].arm},"
        verdicts = f"{one} is {_shown(tested[0])} than single-task training"
    else:
        names = f" ({', '.join(row.arm for row in tested)})" if untested and len(tested) <= SHOWN_NAMES else ""
        verdicts = f"of {len(tested)}{' tested' if untested else ''} arms{names} {verdicts}"
    best = max(arms, key=lambda row: row.difference or 0.0)
    few = "" if best.kind in ("better", "worse") or best.seeds < 6 or best in untested else ", which no test shows"
    if best.kind == CHOSE_NOTHING:
        few += ", which chose no row in any seed"
    elif tested and best in untested:
        few += ", not tested"
    decide = "s, which decide" if best.seeds > 1 else ", which decides"
    few += f"; {best.seeds} seed{decide} nothing" if best.seeds < 6 else ""
    every = f" of all {len(arms)} arms" if tested and untested else ""
    return f"{verdicts[:1].upper()}{verdicts[1:]}; the largest difference{every} is {_told(best)}{few}."


def _some(arms: Sequence[str]) -> str:
    """As "2 (a, b) are", with names where there are few."""
    names = f" ({', '.join(arms)})" if len(arms) <= SHOWN_NAMES else ""
    return f"{len(arms)}{names} {'is' if len(arms) == 1 else 'are'}"


def _shown(row: Row) -> str:
    return row.kind if row.kind in ("better", "worse") else "not shown to be better or worse"


def finding_between(pairs: Sequence[Mapping[str, Any]]) -> str:
    """Say in a sentence what the tests between pairs of arms show.

    Args:
        pairs: Metrics of a 07's pairs: arm, baseline, difference, low, high, p, verdict.

    Returns:
        The pairs of which a corrected test shows a difference, or that none does; "" where none was tested.
    """
    tested = [pair for pair in pairs if pair["p"] is not None]
    shown = [pair for pair in tested if stats.parse_verdict(pair["verdict"])[1] in ("better", "worse")]
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
    """Order the methods of an 08 by the share that they found, the highest first.

    Those that chose no row in some seeds come after the others, and those that never did last.
    """
    most = max((row.get("seeds") or 0 for row in found.values()), default=0)
    return sorted(
        found.items(),
        key=lambda item: (item[1]["mean"] is None, (item[1].get("seeds") or 0) < most, -(item[1]["mean"] or 0.0)),
    )


def permuted(found: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """Return the share of rows with permuted labels by method of an 08, of those that have one."""
    shares = {name: (row.get("shares") or {}).get(SHUFFLED) for name, row in found.items()}
    return {name: share for name, share in shares.items() if share is not None}


def finding_chosen(metrics: Mapping[str, Any]) -> str:
    """Say in a sentence what share of the best kind of row each method of an 08 chose.

    Args:
        metrics: The metrics of an 08.

    Returns:
        The shares, the highest first, beside the pool's; "" where no method chose a row.
    """
    rows = {name: row for name, row in ranked(metrics["found"]) if row["mean"] is not None}
    if not rows:
        return ""
    most = max(row.get("seeds") or 0 for row in rows.values())
    beside = permuted(metrics["found"])
    told = []
    for name, row in rows.items():
        also = f" and {beside[name]:.0%}" if name in beside else ""
        seeds = row.get("seeds") or most
        told.append(f"{name} {row['mean']:.0%}{also}{f' (in {seeds} of {most} seeds)' if seeds < most else ''}")
    pools = f"{metrics['pool']:.0%}"
    if beside and SHUFFLED in metrics.get("pools", {}):
        pools += f" and {metrics['pools'][SHUFFLED]:.0%}"
    what = f"{metrics['class']} rows{', and of those with permuted labels,' if beside else ''}"
    return f"Share of {what} ({pools} of the pool){CHOSEN}{', '.join(told)}."


def _told(row: Row) -> str:
    interval = f" ({row.interval[0]:+.3f} to {row.interval[1]:+.3f})" if row.interval else ""
    return f"{row.arm} on {row.primary}, {row.difference:+.3f}{interval}"


def advice(
    found: Sequence[Row], said: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> list[tuple[str, list[Row]]]:
    """Answer which method to use, as far as the table does, and which arms of a study a test tells apart.

    Against single-task training only arms count that added auxiliary rows in every seed and were tested, and one that
    several studies show with the same numbers counts once. Kinds of data are answered apart.

    Args:
        found: All rows.
        said: As from `between`.

    Returns:
        Sentences, each with the rows that it rests on, the cheapest first.
    """
    answers: list[tuple[str, list[Row]]] = []
    for data, where in KINDS.items():
        arms = [row for row in found if row.data == data and row.difference is not None and row.added]
        if data == "twins" and not arms:
            continue
        tested = [row for row in arms if row.kind in DECIDED and not stats.parse_verdict(row.verdict)[0]]
        tested = list({(row.primary, row.arm, row.score, row.difference): row for row in tested}.values())
        better = [row for row in tested if row.kind == "better"]
        better.sort(key=lambda row: (float(f"{row.tflop:.3g}"), -(row.difference or 0.0)))
        if better:
            answers.append(_best(where, tested, better))
        else:
            studies = len({row.study for row in arms})
            why = (
                f"none of {len(arms)} arms in {studies} studies" if not tested else f"none of {len(tested)} tested arms"
            )
            how = "was tested" if not tested else "is shown to be better than single-task training"
            answers.append((f"{where}: no evidence yet{f', as {why} {how}' if arms else ''}.", []))
        answers += _between(arms, said)
        if arms and data != "planted":
            answers += _never(arms)
    return answers


def _best(where: str, tested: Sequence[Row], better: Sequence[Row]) -> tuple[str, list[Row]]:
    cheapest, best = better[0], max(better, key=lambda row: row.difference or 0.0)
    if len(tested) == 1:
        text = f"{where}: the one tested arm is better than single-task training,"
    else:
        are = "is" if len(better) == 1 else "are"
        text = f"{where}: {len(better)} of {len(tested)} tested arms {are} better than single-task training."
        text += " The cheapest is"
    text += f" {_told(cheapest)}, at {cheapest.tflop:.3g} TFLOP per seed"
    if best is not cheapest:
        text += f"; the largest difference is {_told(best)}, at {best.tflop:.3g}"
    return f"{text}.", [cheapest] if best is cheapest else [cheapest, best]


def _never(arms: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Name the families of methods of which no arm was trained on one kind of data."""
    known = {_family(row.arm) for row in arms}
    if missing := [title for family, title in FAMILIES.items() if family not in known]:
        return [(f"No evidence yet there of {', '.join(missing)}: no arm of theirs was trained.", [])]
    return []


def _family(arm: str) -> str:
    try:
        method, policy = registry.parse(arm)
    except ValueError:  # of a plug-in
        return ""
    return (policy or method).family


def _between(arms: Sequence[Row], said: Mapping[str, Sequence[str]]) -> list[tuple[str, list[Row]]]:
    """Say which arms of one study are told apart, each study by itself."""
    answers: list[tuple[str, list[Row]]] = []
    for study, sentences in said.items():
        own = [row for row in arms if row.study == study]
        pairs = [text.split(DIFFER)[1] for text in sentences if DIFFER in text]
        if own and pairs:
            on = f"{own[0].primary}{'' if own[0].data == 'real' else f' ({own[0].data})'}"
            answers.append((f"Tested against each other on {on}: {' '.join(pairs)}", own[:1]))
    return answers


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
