"""What one study found, in a sentence or three made of its tables."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from auxlearn.evaluation import verdicts
from auxlearn.reporting.pages.all_results import CHOSE_NOTHING, Row

DIFFER, CHOSEN = "shown to differ: ", " in what {}: "
SHUFFLED, ALL_DATA = "shuffled", "all_data"
SHOWN_NAMES = 3  # of arms that a sentence names one by one
MOST_NAMES = 6  # of methods whose shares are all named


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
    apart = {name for name in ("primary", "n", "of") if len({getattr(row, name) for row in own}) > 1}
    told = [f"{_some(rows, apart)} {kind}" for kind, rows in counts.items() if rows]
    verdicts = f"{' and '.join(told) or 'none is shown to be better or worse'} than single-task training"
    untested = {row for row in arms if row.verdict.endswith("not tested") or row.kind == CHOSE_NOTHING}
    tested = [row for row in arms if row not in untested]
    if not tested:
        several = len({row.arm for row in arms})
        times = f", in {len(arms)} comparisons," if len(arms) > several else ""
        verdicts = f"none of {several} arms{times}" if several > 1 else f"the one arm, {arms[0].arm}, was not tested"
        verdicts += f"{' was tested' * (several > 1)} against single-task training"
    elif len(tested) == 1:
        one = f"the one{' tested' if untested else ''} arm, {_named(tested[0], apart)},"
        verdicts = f"{one} is {_shown(tested[0])} than single-task training"
    else:
        named = ("; " if apart else ", ").join(_name(row, apart) for row in tested)
        names = f" ({named})" if untested and len(tested) <= SHOWN_NAMES else ""
        verdicts = f"of {len(tested)}{' tested' if untested else ''} arms{names} {verdicts}"
    chose = [row for row in arms if row.kind != CHOSE_NOTHING] or arms
    highest, lowest = (pick(chose, key=lambda row: row.difference or 0.0) for pick in (max, min))
    ends = [highest, *([lowest] if abs(lowest.difference or 0.0) > abs(highest.difference or 0.0) else [])]
    seeds = max(row.seeds for row in ends)
    no_test = "" if seeds < 6 else ", which no test shows"
    notes = {row: _note(row, (", not tested" if tested else "") if row in untested else no_test) for row in ends}
    every = f" of all {len(arms)} arms" if tested and untested else ""
    most = f"the highest difference{every}" if len(arms) > 1 else "the difference"
    if len(chose) < len(arms):
        most = "of arms that chose rows in any seed, the highest difference"
    if len(arms) > 1 and (highest.difference or 0.0) < 0:
        most = f"all {len(arms)} arms score below single-task training: the highest difference"
    texts = "; the lowest is ".join(f"{difference_of(row)}{notes[row]}" for row in ends)
    few = f"; {seeds} seed{'s, which decide' if seeds > 1 else ', which decides'} nothing" if seeds < 6 else ""
    return f"{capitalised(verdicts)}. {capitalised(most)} is {texts}{few}."


def _note(row: Row, unshown: str) -> str:
    """Say beside a difference why it shows less than it seems to: with `unshown` unless its verdict is a difference."""
    if row.kind == CHOSE_NOTHING:
        return ", which chose no row in any seed"
    return f"{'' if row.kind in ('better', 'worse') else unshown}{_idle(row)}"


def _idle(row: Row) -> str:
    """Say of an arm in how many seeds it chose nothing; "" of one that always chose."""
    return "".join(f", which {in_seeds(note)}" for note in verdicts.parse_verdict(row.verdict)[0])


def in_seeds(note: str) -> str:
    """As "chose nothing in 8 of 10 seeds", of a verdict's note."""
    return note.replace("(", "in ").replace(")", "")


def _name(row: Row, apart: Collection[str]) -> str:
    """As "random", and in what comparisons of a study lie apart (`Row`'s primary, n, of): "random on sst2, n = 500"."""
    on = [row.primary] if "primary" in apart else []
    on += [f"n = {row.n}"] if "n" in apart and row.n else []
    on += [row.of] if "of" in apart and row.of else []
    return f"{row.arm} on {', '.join(on)}" if "primary" in apart else ", ".join([row.arm, *on])


def _named(row: Row, apart: Collection[str]) -> str:
    return f"{_name(row, apart)}{_idle(row)}"


def _some(rows: Sequence[Row], apart: Collection[str]) -> str:
    """As "2 (a, b) are", with names where there are few, and of those that chose nothing in some seeds always."""
    idle = [row for row in rows if _idle(row)]
    named = [_named(row, apart) for row in (rows if len(rows) <= SHOWN_NAMES else idle)]
    names = ("; " if idle or apart else ", ").join(named)
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
    shown = [pair for pair in tested if verdicts.parse_verdict(pair["verdict"])[1] in ("better", "worse")]
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
    if len(shown) == len(tested):
        every = "The one tested pair of arms is" if len(tested) == 1 else f"All {len(tested)} tested pairs of arms are"
        return f"{every} {DIFFER}{'; '.join(told)}."
    are = "is" if len(shown) == 1 else "are"
    return f"Of {len(tested)} tested pairs of arms {len(shown)} {are} {DIFFER}{'; '.join(told)}."


def finding_reached(comparisons: Sequence[tuple[str, float, Mapping[str, Any]]]) -> str:
    """Say which arms reach the score of all data, where a study declares by how much they may miss it.

    Args:
        comparisons: Of one primary: how many rows its arms add, the margin, and the metrics of its 07.

    Returns:
        A sentence; "" where no margin was declared, or all data does not gain more than it.
    """
    reached: dict[str, dict[bool, list[str]]] = {}
    margins = set()
    for n, margin, metrics in comparisons:
        gain = (metrics["arms"].get(ALL_DATA) or {}).get("difference")
        if not margin or gain is None or gain <= margin:
            continue
        margins.add(margin)
        for pair in metrics.get("pairs", ()):
            if pair["baseline"] == ALL_DATA and pair["low"] is not None:
                sizes = reached.setdefault(pair["arm"], {True: [], False: []})
                sizes[pair["low"] > -margin].append(n)
    told = []
    for arm, sizes in reached.items():
        parts = [f"{arm} reaches it with {_listed(sizes[True])} rows"] if sizes[True] else []
        parts += [f"{'' if parts else arm + ' '}is not shown to with {_listed(sizes[False])}"] if sizes[False] else []
        told.append(", and ".join(parts))
    if not told:
        return ""
    return f"The score of all data, of which an arm may lack {min(margins):g}: {'; '.join(told)}."


def _listed(values: Sequence[str]) -> str:
    *first, last = sorted(values, key=int)
    return f"{', '.join(f'{int(v):,}' for v in first)} and {int(last):,}" if first else f"{int(last):,}"


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
    """Say in a sentence or two what share of the best kind of row each method of an 08 chose.

    Args:
        metrics: The metrics of an 08.

    Returns:
        The shares beside the pool's, the highest first, of many methods the highest and the lowest; and of twins what
        the same methods took of rows whose labels are permuted. "" where no method chose a row.
    """
    rows = {name: row for name, row in ranked(metrics["found"]) if row["mean"] is not None}
    if not rows:
        return ""
    most = max(row.get("seeds") or 0 for row in rows.values())
    shares = {name: _percent(row["mean"], row.get("seeds") or most, most) for name, row in rows.items()}
    always = [name for name, row in rows.items() if (row.get("seeds") or most) == most]
    kind = metrics["class"]
    named = list(rows) if len(rows) <= MOST_NAMES else always[:SHOWN_NAMES]
    told = ", ".join(f"{name} {shares[name]}" for name in named)
    each = "each method chose" if len(named) == len(rows) else f"each of {len(rows)} methods chose"
    text = f"Share of {kind} rows ({metrics['pool']:.0%} of the pool){CHOSEN.format(each)}"
    if len(named) == len(rows):
        text += f"{told}."
    else:
        text += f"the highest {told}; the lowest {always[-1]} {shares[always[-1]]}."
    beside = {name: share for name, share in permuted(metrics["found"]).items() if name in rows}
    if beside:
        pool = metrics.get("pools", {}).get(SHUFFLED)
        least = min(beside, key=lambda name: beside[name])
        named = list(dict.fromkeys([*([] if least in named else [least]), *named]))
        told = ", ".join(f"{name} {beside[name]:.0%}" for name in named if name in beside)
        text += f" Of the same rows with permuted labels{f' ({pool:.0%})' if pool is not None else ''}: {told}."
    return text


def _percent(mean: float, seeds: int, most: int) -> str:
    return f"{mean:.0%}{f' (in {seeds} of {most} seeds)' if seeds < most else ''}"


def finding_parts(parts: Mapping[str, Sequence[float]]) -> str:
    """Say in a sentence what parts of rankings give that are trained alone.

    Args:
        parts: By method, the mean score of each part, that of the highest scores first.

    Returns:
        The scores; "" without any.
    """
    told = [f"{name} {', '.join(f'{score:.3f}' for score in scores)}" for name, scores in parts.items() if scores]
    if not told:
        return ""
    what = "Trained with one part of a ranking of all rows alone, from the highest scores to the lowest"
    return f"{what}: {'; '.join(told)}."


def difference_of(row: Row) -> str:
    """As "td_bce on rte, +0.031 (+0.015 to +0.048)"."""
    interval = f" ({row.interval[0]:+.3f} to {row.interval[1]:+.3f})" if row.interval else ""
    return f"{row.arm} on {row.primary}, {row.difference:+.3f}{interval}"


def capitalised(text: str) -> str:
    """Begin a sentence with a capital, and leave its other letters."""
    return f"{text[:1].upper()}{text[1:]}"
