"""Which method to use, as far as the table of all comparisons says, and which arms a test tells apart."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from auxlearn.evaluation import verdicts
from auxlearn.methods import registry
from auxlearn.reporting.pages.all_results import CHOSE_NOTHING, DECIDED, Kind, Pair, Row
from auxlearn.reporting.pages.study_findings import difference_of, in_seeds

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
# Arms that need the truth, copy another arm's choice or weights, or add nothing: they tell what helps, and are nothing
# to use. Known by name, so that a plug-in's are too.
CONTROLS = ("single", "step_matched", "matched_", "cie_", "only", "decile", "null_", "shuffled_")
SEEDS = 8  # of a comparison whose interval is named without a test


def advice(found: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Answer which method to use, as far as the table does, kinds of data apart.

    Only arms count that added auxiliary rows in every seed and are no controls; one that several studies compare counts
    once.

    Args:
        found: All rows.

    Returns:
        Sentences, each with the rows that it rests on, the cheapest first.
    """
    answers: list[tuple[str, list[Row]]] = []
    for data, where in KINDS.items():
        arms = _added(found, data)
        if data == "twins" and not arms:
            continue
        usable = [row for row in arms if not is_control(row.arm)]
        tested = _once([row for row in usable if row.kind in DECIDED and not verdicts.parse_verdict(row.verdict)[0]])
        better = [row for row in tested if row.kind == "better"]
        better.sort(key=lambda row: (float(f"{row.tflop:.3g}"), -(row.difference or 0.0)))
        by_steps = {row: told for row in better if (told := _by_steps_alone(row, found))}
        if helped := [row for row in better if row not in by_steps]:
            answers.append(_best(where, tested, helped, usable))
        else:
            text = "no evidence yet"
            if by_steps:
                text += f" that rows help: {'; '.join(map(_without_rows, by_steps, by_steps.values()))}"
                answers.append((f"{where}: {text}.", list(by_steps)))
                if data != "planted":
                    answers += [*_by_cost(usable), *_by_encoder(found, data), *_never(arms)]
                continue
            if tested:
                text += f", as none of {len(tested)} tested arms is shown to be better than single-task training"
            elif usable:
                studies = len({row.study for row in usable})
                text = f"nothing was tested: {len(_once(usable))} arms in {studies} studies have intervals alone"
            answers.append((f"{where}: {text}.", []))
        if arms and data != "planted":
            answers += [*_by_cost(usable), *_by_encoder(found, data)]
            answers += _never(arms)
    return answers


@dataclass(frozen=True)
class Told:
    """One pair of arms that a test tells apart, or does not.

    Attributes:
        where: The primary, with the kind of pool.
        pair: One of the study's.
        notes: What an interval or verdict shows less by, such as "td_bce chose nothing in 1 of 9 seeds".
        studies: All that show the pair with these numbers, the one whose verdict counts first.
    """

    where: str
    pair: Pair
    notes: tuple[str, ...]
    studies: tuple[str, ...]

    @property
    def shown(self) -> bool:
        """Whether a test shows that they differ."""
        return _shown(self.pair)


def between(found: Sequence[Row], pairs: Sequence[Pair]) -> list[Told]:
    """List which arms of a study a test tells apart, and which not, kinds of data apart.

    A pair that several studies show with the same numbers stands once. Where they disagree, as their families of tests
    are not equally large, it counts as shown, and it is said where it was not.

    Args:
        found: All rows.
        pairs: As from `all_results.pairs`.

    Returns:
        The pairs, of each primary those that are told apart first.
    """
    return [told for data in KINDS for told in _between(_added(found, data), pairs)]


def _added(found: Sequence[Row], data: Kind) -> list[Row]:
    return [row for row in found if row.data == data and row.difference is not None and row.added]


def is_control(arm: str) -> bool:
    """Tell whether an arm is there to tell what helps, not to be used."""
    return any(part.startswith(CONTROLS) for part in arm.split("+"))


def _once(rows: Sequence[Row]) -> list[Row]:
    """Leave of a comparison that several studies made one, of those over most seeds.

    The same training of the same arm over fewer seeds is no comparison of its own; what costs another amount is another
    training, by another encoder or recipe. Of studies with as many seeds, as where one repeats another's seeds in
    another precision, the one in the middle is left (of two the lower), so that none is picked for its luck.
    """
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        n = row.n if row.by_n else ""
        alike.setdefault((row.primary, n, row.of, row.arm, row.encoder, f"{row.tflop:.2g}"), []).append(row)
    left = []
    for same in alike.values():
        most = [row for row in same if row.seeds == max(row.seeds for row in same)]
        left.append(sorted(most, key=lambda row: row.difference or 0.0)[(len(most) - 1) // 2])
    return left


def _best(
    where: str, tested: Sequence[Row], better: Sequence[Row], usable: Sequence[Row]
) -> tuple[str, list[Row]]:  # fmt: skip
    cheapest, best = better[0], max(better, key=lambda row: row.difference or 0.0)
    of = f"{difference_of(cheapest)}, at {cheapest.tflop:.3g} TFLOP per seed"
    others = [row.where for row in tested if row not in better]
    if len(tested) == 1:
        text = f"{where}: the one tested arm is better than single-task training, {of}"
    elif len(better) == 1 and len({row.arm for row in tested}) == 1:
        text = f"{where}: the one tested arm is better than single-task training once, {of}"
        text += f"; not shown on {', '.join(others)}"
    else:
        are = "is" if len(better) == 1 else "are"
        text = f"{where}: {len(better)} of {len(tested)} tested arms {are} better than single-task training."
        text += f" The cheapest is {of}"
    told = [cheapest] if best is cheapest else [cheapest, best]
    if best is not cheapest:
        text += f"; the highest difference of the tested is {difference_of(best)}, at {best.tflop:.3g}"
    same = [row for row in usable if row.primary == best.primary and row.encoder == best.encoder and row.seeds >= SEEDS]
    higher = [row for row in same if (row.difference or 0.0) > (best.difference or 0.0) and row.kind not in DECIDED]
    if higher:
        top = max(higher, key=lambda row: row.difference or 0.0)
        text += f"; untested, {difference_of(top)}, at {top.tflop:.3g}, is the highest of {len(_once(higher))} above it"
        told.append(top)
    return f"{text}.", told


def _without_rows(row: Row, control: Row) -> str:
    """Say of an arm that is shown to be better that as many steps without rows gain no less."""
    verdict = verdicts.parse_verdict(control.verdict)[1]
    return (
        f"{difference_of(row)}, is better than single-task training of fewer steps, and steps on the primary alone "
        f"({control.arm}) gain {control.difference:+.3f}, {verdict}"
    )


def _by_cost(usable: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Say of each primary which arms no cheaper one equals, of those with an interval above 0, or that all lose."""
    answers = []
    for where in dict.fromkeys(row.where for row in usable):
        enough = [row for row in usable if row.where == where and row.seeds >= SEEDS]
        own = _once([row for row in enough if not verdicts.parse_verdict(row.verdict)[0]])  # rows in every seed
        if len({row.arm for row in own}) < 2:  # nothing to choose between
            continue
        above = [row for row in own if row.interval and row.interval[0] > 0]
        front: list[Row] = []
        for row in sorted(above, key=lambda row: (row.tflop, -(row.difference or 0.0))):
            if not front or (row.difference or 0.0) > (front[-1].difference or 0.0):
                front.append(row)
        below = [row for row in own if row.interval and row.interval[1] < 0]
        if len(below) == len(own):
            named = [f"{row.arm} {_interval(row)}" for row in below]
            arms = f"each of {len(own)} arms lies below single-task training"
            text = f"By intervals alone, on {where}, {arms}, controls aside: {'; '.join(named)}."
            answers.append((text, below))
        elif front:
            named = [f"{row.arm} {_interval(row)} at {row.tflop:.3g}" for row in front]
            text = f"By intervals alone, on {where}, what no cheaper arm equals, in TFLOP per seed: {'; '.join(named)}"
            text += f". They were picked from {len(own)} arms (each n counts) by these numbers, which flatters them"
            lows, highs = zip(*(row.interval for row in front if row.interval), strict=True)
            if len(front) > 1 and max(lows) <= min(highs):
                text += "; all their intervals overlap, and no test tells them apart"
            answers.append((f"{text}.", front))
    return answers


def _interval(row: Row) -> str:
    low, high = row.interval or (0.0, 0.0)
    return f"{row.difference:+.3f} ({low:+.3f} to {high:+.3f})"


def _by_steps_alone(row: Row, found: Sequence[Row]) -> Row | None:
    """Return the study's control of steps on the primary alone where it gains no less than an arm that adds rows."""
    for control in found:
        same = all(getattr(control, name) == getattr(row, name) for name in ("study", "primary", "n", "of"))
        if same and control.arm == "step_matched" and (control.difference or 0.0) >= (row.difference or 0.0):
            return control
    return None


def _by_encoder(found: Sequence[Row], data: Kind) -> list[tuple[str, list[Row]]]:
    """Say of each primary that several encoders were trained on how much less, or more, rows gain by another."""
    answers = []
    own = [row for row in found if row.data == data and row.encoder]
    for where in dict.fromkeys(row.where for row in own):
        here = [row for row in own if row.where == where]
        encoders = list(dict.fromkeys(row.encoder for row in here))
        if len(encoders) < 2:
            continue
        told, rows = [], []
        for encoder in encoders:
            alone = [row.score for row in here if row.encoder == encoder and row.difference is None]
            arms = [row for row in _added(here, data) if row.encoder == encoder and not is_control(row.arm)]
            arms = _once([row for row in arms if not verdicts.parse_verdict(row.verdict)[0]])
            if not alone or not arms:
                continue
            best = max(arms, key=lambda row: row.difference or 0.0)
            score = f"{min(alone):.3f}" + (f" to {max(alone):.3f}" if max(alone) - min(alone) >= 0.0005 else "")
            told.append(
                f"{encoder} scores {score} alone, and the highest difference is {best.arm}, {_interval(best)}, "
                f"{best.seeds} seeds"
            )
            rows.append(best)
        if len(told) > 1:
            answers.append((f"By encoder, on {where}: {'; '.join(told)}.", rows))
    return answers


def _never(arms: Sequence[Row]) -> list[tuple[str, list[Row]]]:
    """Name the families of methods of which no arm was trained on one kind of data."""
    known = {_family(row.arm) for row in arms}
    if missing := [title for family, title in FAMILIES.items() if family not in known]:
        return [(f"No evidence yet there of {', '.join(missing)}: no published study trained an arm of theirs.", [])]
    return []


def _family(arm: str) -> str:
    try:
        method, policy = registry.parse(arm)
    except ValueError:  # of a plug-in
        return ""
    return (policy or method).family


def _between(arms: Sequence[Row], pairs: Sequence[Pair]) -> list[Told]:
    where = {(row.study, row.primary): row.where for row in arms}
    alike: dict[tuple[str, ...], list[Pair]] = {}
    for pair in sorted(pairs, key=lambda pair: not _shown(pair)):
        if (pair.study, pair.primary) in where:
            alike.setdefault((where[pair.study, pair.primary], *_numbers(pair)), []).append(pair)
    told = []
    for (place, *_), same in alike.items():
        first = same[0]
        idle = verdicts.parse_verdict(first.verdict)[0]
        notes = [f"{first.arm} {in_seeds(n)}" if n.startswith(CHOSE_NOTHING) else in_seeds(n) for n in idle]
        missed = [pair.study for pair in same if not _shown(pair)]
        if _shown(first) and missed:
            notes.append(f"not shown by the larger family of {', '.join(missed)}, of the same runs")
        told.append(Told(place, first, tuple(notes), tuple(dict.fromkeys(pair.study for pair in same))))
    places = list(dict.fromkeys(where.values()))
    return sorted(told, key=lambda each: (places.index(each.where), not each.shown))


def _shown(pair: Pair) -> bool:
    return verdicts.parse_verdict(pair.verdict)[1] in ("better", "worse")


def _numbers(pair: Pair) -> tuple[str, ...]:
    return pair.primary, pair.arm, pair.baseline, pair.difference, pair.interval
