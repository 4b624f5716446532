"""What the table of all comparisons says: of a study in a sentence or three, and of which method to use."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from auxlearn.evaluation import stats
from auxlearn.methods import registry
from auxlearn.reporting.pages.all_results import CHOSE_NOTHING, DECIDED, TAGS, Kind, Pair, Row

FOUND = re.compile(r'<p class="found">(.*?)</p>', re.S)
PAIRS, DIFFER, CHOSEN = " tested pair", "shown to differ: ", " in what each method chose: "
SHUFFLED = "shuffled"
# Kinds of data, answered apart; of the first two it is said which methods were never trained.
KINDS: dict[Kind, str] = {
    "real": "On real data, ordinary pool",
    "twins": "On real text, twin pool, which holds other rows of the primary's own task, as few pools do",
    "planted": "On planted data, made so that some rows help",
}
FAMILIES = {
    "fastmtl": "FastMTL", "gradts": "GradTS", "autosem": "AUTOSEM", "tawt": "TAWT", "scores": "row scores",
    "task_scores": "task scores", "balancing": "balanced weights",
}  # fmt: skip
# Arms that tell what helps but are nothing to use: none of them chooses by what a method has found out. Known by name,
# so that a plug-in's are too.
CONTROLS = ("single", "step_matched", "matched_", "cie_", "only", "decile", "null_", "shuffled_")
SHOWN_NAMES = 3  # of arms that a sentence names one by one
LABEL = re.compile(r"[\w+-]+")  # "single" of "single-task" is none


def finding(own: Sequence[Row]) -> str:
    """Say in two sentences what a study found.

    Args:
        own: Its rows.

    Returns:
        How many arms are better or worse than single-task training, or that none was tested against it; and which
        scores highest, with the lowest where that lies further from single-task training. "" without any.
    """
    arms = [row for row in own if row.difference is not None]
    if not arms:
        return ""
    counts = {kind: [row for row in arms if row.kind == kind] for kind in ("better", "worse")}
    told = [f"{_some(rows)} {kind}" for kind, rows in counts.items() if rows]
    verdicts = f"{' and '.join(told) or 'none is shown to be better or worse'} than single-task training"
    untested = {row for row in arms if row.verdict.endswith("not tested") or row.kind == CHOSE_NOTHING}
    tested = [row for row in arms if row not in untested]
    if not tested:
        verdicts = f"none of {len(arms)} arms" if len(arms) > 1 else f"the one arm, {arms[0].arm}, was not tested"
        verdicts += f"{' was tested' * (len(arms) > 1)} against single-task training"
    elif len(tested) == 1:
        one = f"the one{' tested' if untested else ''} arm, {_named(tested[0])},"
        verdicts = f"{one} is {_shown(tested[0])} than single-task training"
    else:
        names = f" ({', '.join(row.arm for row in tested)})" if untested and len(tested) <= SHOWN_NAMES else ""
        verdicts = f"of {len(tested)}{' tested' if untested else ''} arms{names} {verdicts}"
    highest, lowest = (pick(arms, key=lambda row: row.difference or 0.0) for pick in (max, min))
    ends = [highest, *([lowest] if abs(lowest.difference or 0.0) > abs(highest.difference or 0.0) else [])]
    seeds = max(row.seeds for row in ends)
    no_test = "" if seeds < 6 else ", which no test shows"
    notes = {row: _note(row, (", not tested" if tested else "") if row in untested else no_test) for row in ends}
    every = f" of all {len(arms)} arms" if tested and untested else ""
    most = f"the highest difference{every}" if len(arms) > 1 else "the difference"
    if len(arms) > 1 and (highest.difference or 0.0) < 0:
        most = f"all {len(arms)} arms score below single-task training: the highest difference"
    texts = "; the lowest is ".join(f"{_told(row)}{notes[row]}" for row in ends)
    few = f"; {seeds} seed{'s, which decide' if seeds > 1 else ', which decides'} nothing" if seeds < 6 else ""
    return f"{_capital(verdicts)}. {_capital(most)} is {texts}{few}."


def _note(row: Row, unshown: str) -> str:
    """Say beside a difference why it shows less than it seems to: with `unshown` unless its verdict is a difference."""
    if row.kind == CHOSE_NOTHING:
        return ", which chose no row in any seed"
    return f"{'' if row.kind in ('better', 'worse') else unshown}{_idle(row)}"


def _idle(row: Row) -> str:
    """Say of an arm in how many seeds it chose nothing; "" of one that always chose."""
    return "".join(f", which {_seeds(note)}" for note in stats.parse_verdict(row.verdict)[0])


def _seeds(note: str) -> str:
    """As "chose nothing in 8 of 10 seeds", of a verdict's note."""
    return note.replace("(", "in ").replace(")", "")


def _named(row: Row) -> str:
    return f"{row.arm}{_idle(row)}"


def _some(rows: Sequence[Row]) -> str:
    """As "2 (a, b) are", with names where there are few, and of those that chose nothing in some seeds always."""
    idle = [row for row in rows if _idle(row)]
    names = ("; " if idle else ", ").join(map(_named, rows if len(rows) <= SHOWN_NAMES else idle))
    among = "among them " if len(rows) > SHOWN_NAMES else ""
    return f"{len(rows)}{f' ({among}{names})' if names else ''} {'is' if len(rows) == 1 else 'are'}"


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


def advice(found: Sequence[Row], pairs: Sequence[Pair] = ()) -> list[tuple[str, list[Row]]]:
    """Answer which method to use, as far as the table does, and which arms of a study a test tells apart.

    Against single-task training only arms count that added auxiliary rows in every seed, were tested and are no
    controls; one that several studies compare counts once. Kinds of data are answered apart.

    Args:
        found: All rows.
        pairs: As from `all_results.pairs`.

    Returns:
        Sentences, each with the rows that it rests on, the cheapest first.
    """
    answers: list[tuple[str, list[Row]]] = []
    for data, where in KINDS.items():
        arms = [row for row in found if row.data == data and row.difference is not None and row.added]
        if data == "twins" and not arms:
            continue
        usable = [row for row in arms if not is_control(row.arm)]
        tested = _once([row for row in usable if row.kind in DECIDED and not stats.parse_verdict(row.verdict)[0]])
        better = [row for row in tested if row.kind == "better"]
        better.sort(key=lambda row: (float(f"{row.tflop:.3g}"), -(row.difference or 0.0)))
        if better:
            answers.append(_best(where, tested, better))
        else:
            why, how = f"none of {len(tested)} tested arms", "is shown to be better than single-task training"
            if not tested:
                why = f"none of {len(_once(usable))} arms in {len({row.study for row in usable})} studies"
                how = "was tested"
            answers.append((f"{where}: no evidence yet{f', as {why} {how}' if usable else ''}.", []))
        answers += _between(arms, pairs)
        if arms and data != "planted":
            answers += _never(arms)
    return answers


def is_control(arm: str) -> bool:
    """Tell whether an arm is there to tell what helps, not to be used."""
    return any(part.startswith(CONTROLS) for part in arm.split("+"))


def _once(rows: Sequence[Row]) -> list[Row]:
    """Leave of a comparison that several studies made the one over most seeds.

    The same training of the same arm over fewer seeds is no comparison of its own; what costs another amount is another
    training, by another encoder or recipe.
    """
    most: dict[tuple[str, ...], int] = {}
    same = {row: (row.primary, row.n, row.of, row.arm, f"{row.tflop:.2g}") for row in rows}
    for row in rows:
        most[same[row]] = max(most.get(same[row], 0), row.seeds)
    left = [row for row in rows if row.seeds == most[same[row]]]
    return list({(same[row], row.score, row.difference): row for row in left}.values())


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
        text += f"; the highest difference is {_told(best)}, at {best.tflop:.3g}"
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


def _between(arms: Sequence[Row], pairs: Sequence[Pair]) -> list[tuple[str, list[Row]]]:
    """Say which arms of one study are told apart and which are not, each study by itself.

    A pair that several studies show with the same numbers stands once, with all of them as its evidence.
    """
    rows = {(row.study, row.primary): row for row in reversed(arms)}
    told: dict[tuple[str, ...], tuple[str, str]] = {}
    theirs: dict[tuple[str, str], list[Pair]] = {}
    evidence: dict[tuple[str, str], list[Row]] = {}
    for pair in pairs:
        own = (pair.study, pair.primary)
        if own in rows:
            home = told.setdefault((pair.primary, pair.arm, pair.baseline, pair.difference, pair.interval), own)
            if home == own:
                theirs.setdefault(own, []).append(pair)
            evidence.setdefault(home, []).append(rows[own])
    answers = []
    for own, both in theirs.items():
        shown: dict[bool, list[str]] = {True: [], False: []}
        for pair in both:
            notes, verdict = stats.parse_verdict(pair.verdict)
            idle = [f"; {pair.arm} {_seeds(n)}" if n.startswith(CHOSE_NOTHING) else f"; {_seeds(n)}" for n in notes]
            shown[verdict in ("better", "worse")].append(
                f"{pair.arm} − {pair.baseline} {pair.difference} ({pair.interval}{''.join(idle)})"
            )
        parts = [
            f"{what}: {'; '.join(texts)}"
            for what, texts in (("shown to differ", shown[True]), ("no difference shown", shown[False]))
            if texts
        ]
        answers.append((
            f"Tested against each other on {rows[own].where}, {'. '.join([parts[0], *map(_capital, parts[1:])])}.",
            list(dict.fromkeys(evidence[own])),
        ))  # fmt: skip
    return answers


def _capital(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}"


def title(arm: str) -> str:
    """Say in a line what an arm is; "" of one that this process has not met."""
    try:
        return "; ".join(item.title for item in registry.parse(arm) if item)
    except ValueError:
        return ""


def labels(text: str) -> list[str]:
    """List the arms that a sentence names and this process knows."""
    return [word for word in LABEL.findall(text) if title(word)]


def marked(text: str, titles: Mapping[str, str], link: bool = False) -> Markup:
    """Give each arm that a sentence names a tooltip.

    Args:
        text: The sentence.
        titles: By arm, what it is; other words stay as they are.
        link: Whether the page has a list of arms, to which each then links.

    Returns:
        The sentence as HTML.
    """
    tag = Markup('<a href="#arm-{0}" title="{1}">{0}</a>' if link else '<abbr title="{1}">{0}</abbr>')
    parts, at = [], 0
    for word in LABEL.finditer(text):
        if told := titles.get(word[0]):
            parts += [Markup.escape(text[at : word.start()]), tag.format(word[0], told)]
            at = word.end()
    return Markup("").join([*parts, Markup.escape(text[at:])])


def between(home: Path) -> dict[str, list[str]]:
    """Read what each published report says beyond its table: sentences of `finding_between` and `finding_chosen`.

    Args:
        home: The folder of reports.

    Returns:
        The sentences by the report's folder; nothing of a report without any.
    """
    pages = {file.parent.name: file.read_text(encoding="utf-8") for file in sorted(home.glob("*/index.html"))}
    said = {
        study: [t for p in FOUND.findall(page) if PAIRS in (t := html.unescape(TAGS.sub("", p))) or CHOSEN in t]
        for study, page in pages.items()
    }
    return {study: texts for study, texts in said.items() if texts}
