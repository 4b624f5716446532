"""Guess from rows what a task is: its kind, inputs, labels and metric, each with the reason, for a person to check."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from auxlearn.data import tag_schemes
from auxlearn.data.reading.raw_rows import ABSENT, RawRows
from auxlearn.data.schema import RESERVED
from auxlearn.errors import InputError

LABELS = (
    "label", "labels", "gold_label", "class", "category", "target", "sentiment", "tag", "tags", "ner_tags", "pos_tags",
    "score", "stars", "rating", "answer", "y", "gold", "intent", "emotion", "is_duplicate", "similarity",
)  # fmt: skip
TAGS = re.compile(r".*tags?|labels?|ner|pos|chunks?", re.I)
NO_INPUT = re.compile(
    r"(.*[_-])?(id|idx|index|guid|uid|uuid|key|url|uri|link|date|time|timestamp|split|source|file)", re.I
)
CLASSES = 60  # whole numbers or words with more distinct values than this are no classes
FEW = 20  # whole numbers with more distinct values than this are amounts
UNLABELLED = "-"  # where annotators did not agree, as in SNLI
LOPSIDED = 0.8  # from this share of one class on, accuracy says little


@dataclass
class Guess:
    """What a task seems to be, and why: `why` has a reason by the field of the suite YAML."""

    kind: str
    inputs: list[str]
    label: str
    metric: str
    labels: list[str] | None = None
    range: tuple[float, float] | None = None
    drop_unlabelled: bool = False
    why: dict[str, str] = field(default_factory=dict)


def guess(splits: Mapping[str, RawRows], where: str) -> Guess:
    """Guess what a task is.

    Args:
        splits: Its rows by split, train among them.
        where: The file or folder that they are from, for messages.

    Returns:
        The guess.

    Raises:
        InputError: No column looks like a label, or none like a text.
    """
    train = splits["train"]
    columns = {name: train.values(name) for name in train.table.column_names if name not in RESERVED}
    tokens = [name for name, values in columns.items() if _is_tokens(values)]
    for words in tokens:
        for name, values in columns.items():
            if name != words and TAGS.fullmatch(name) and _alike(columns[words], values):
                return _tagging(splits, words, name)
    label, why = _label(columns, train, where)
    inputs, reason = _inputs(columns, label, where)
    found = _labelled(splits, label)
    return replace(found, inputs=inputs, label=label, why=found.why | {"inputs": reason, "label": why})


def _known(values: Sequence[Any]) -> list[Any]:
    return [v for v in values if v is not ABSENT and v is not None and v != "" and v == v]  # NaN is not itself


def _is_tokens(values: Sequence[Any]) -> bool:
    known = _known(values)
    return bool(known) and all(isinstance(v, list) and all(isinstance(x, str) for x in v) for v in known)


def _alike(words: Sequence[Any], tags: Sequence[Any]) -> bool:
    pairs = [(w, t) for w, t in zip(words, tags, strict=True) if isinstance(w, list) and isinstance(t, list)]
    return bool(pairs) and all(len(w) == len(t) for w, t in pairs)


def _tagging(splits: Mapping[str, RawRows], words: str, tags: str) -> Guess:
    named = splits["train"].named.get(tags)
    seen = {x for rows in splits.values() if tags in rows.table.column_names
            for row in _known(rows.values(tags)) for x in row}  # fmt: skip
    labels = list(named) if named else _ordered(seen)
    try:
        tag_schemes.scheme(tuple(labels))
        metric, why = "entity_f1", "the tags mark spans"
    except InputError:
        metric, why = "accuracy", "the tags mark no spans"
    return Guess(
        "tagging", [words], tags, metric, labels,
        why={"kind": "a list of words beside a list of as many tags", "metric": why,
             "labels": "as the file names them" if named else "all that occur; in id order, if the file holds ids"},
    )  # fmt: skip


def _numbers(values: Sequence[Any]) -> list[float] | None:
    """Return the values as numbers, also where they are text; None where one is none."""
    numbers = []
    for value in values:
        try:
            numbers.append(float(value))
        except (TypeError, ValueError):
            return None
        if isinstance(value, bool) or not math.isfinite(numbers[-1]):
            return None
    return numbers


def _label(columns: Mapping[str, list[Any]], train: RawRows, where: str) -> tuple[str, str]:
    """Choose the label column, and say why."""
    plain = {name: _known(values) for name, values in columns.items()}
    plain = {n: v for n, v in plain.items() if v and not any(isinstance(x, (list, dict)) for x in v)}
    named = [name for name in plain if name in train.named]
    if named:
        return named[0], "the file names its labels"
    usual = sorted((n for n in plain if n.lower() in LABELS), key=lambda n: LABELS.index(n.lower()))
    if usual:
        return usual[0], f"its name{_others(usual[1:])}"
    few = {n: len(set(map(str, v))) for n, v in plain.items() if not NO_INPUT.fullmatch(n)}
    few = {n: count for n, count in few.items() if 2 <= count <= min(CLASSES, len(plain[n]) // 4)}
    if not few:
        raise InputError(
            f"{where}: no column looks like a label ({', '.join(columns)}); rename it to label, or write the suite by "
            "hand (docs/own_data.md)"
        )
    best = min(few, key=lambda n: (few[n], -list(few).index(n)))
    return best, f"{few[best]} distinct values{_others([name for name in few if name != best])}"


def _others(names: Sequence[str]) -> str:
    return f"; {', '.join(names)} would be another" if names else ""


def _inputs(columns: Mapping[str, list[Any]], label: str, where: str) -> tuple[list[str], str]:
    """Choose one or two text columns, in the file's order, and say why."""
    words = {}
    for name, values in columns.items():
        known = _known(values)
        if name == label or not known or not all(isinstance(v, str) for v in known):
            continue
        mean = sum(len(v.split()) for v in known) / len(known)
        wide = sum(map(len, known)) / len(known)
        if NO_INPUT.fullmatch(name) or (_numbers(known) is not None and mean <= 1):
            continue
        words[name] = max(mean, wide / 6)  # scripts without spaces have words too
    if not words:
        raise InputError(
            f"{where}: no column looks like a text ({', '.join(columns)}); write the suite by hand (docs/own_data.md)"
        )
    ranked = sorted(words, key=lambda n: -words[n])
    first, rest = ranked[0], [n for n in ranked[1:] if words[n] >= max(2.0, 0.2 * words[ranked[0]])]
    chosen = {first, *rest[:1]}
    inputs = [name for name in columns if name in chosen]
    left = [name for name in words if name not in chosen]
    reason = "the only text" if len(words) == 1 else "the longest texts" if len(inputs) == 2 else "the longest text"
    return inputs, reason + (f"; left out: {', '.join(left)}" if left else "")


def _labelled(splits: Mapping[str, RawRows], label: str) -> Guess:
    """Guess the kind, the labels or the range, and the metric."""
    train = splits["train"]
    own = train.values(label)
    known = _known(own)
    drop = len(known) < len(own)
    everything = [v for rows in splits.values() if label in rows.table.column_names for v in _known(rows.values(label))]
    if label in train.named:
        return _classes(list(train.named[label]), Counter(map(str, known)), drop, "as the file names them")
    numbers = _numbers(everything)
    if numbers is not None:
        distinct = set(numbers)
        if any(x != int(x) for x in distinct) or len(distinct) > FEW:
            low, high = math.floor(min(distinct)), math.ceil(max(distinct))
            why = {"kind": f"numbers, {len(distinct)} distinct values", "range": "lowest and highest, rounded outwards"}
            return Guess("regression", [], label, "pearson", range=(low, high), drop_unlabelled=drop, why=why)
        if -1 in distinct and distinct - {-1.0} == set(map(float, range(len(distinct) - 1))) and len(distinct) > 2:
            distinct, drop = distinct - {-1.0}, drop or any(float(v) == -1 for v in known)
            known = [v for v in known if float(v) != -1]
        names = [str(int(x)) for x in sorted(distinct)]
        return _classes(
            names,
            Counter(str(int(float(v))) for v in known),
            drop,
            "the numbers in the file; put words here, in this order",
        )
    if UNLABELLED in everything and len(set(everything)) > 2:
        everything, drop = [v for v in everything if v != UNLABELLED], drop or UNLABELLED in known
        known = [v for v in known if v != UNLABELLED]
    return _classes(_ordered(set(everything)), Counter(map(str, known)), drop, "all that occur, in alphabetical order")


def _ordered(values: set[Any]) -> list[str]:
    if values and all(isinstance(v, int) and not isinstance(v, bool) for v in values):
        return [str(v) for v in range(min(0, *values), max(values) + 1)]
    words = sorted({str(v).lower() if isinstance(v, bool) else str(v) for v in values})
    return (["O"] if "O" in words else []) + [w for w in words if w != "O"]


def _classes(labels: list[str], counts: Counter, drop: bool, why: str) -> Guess:
    most = max(counts.values(), default=0) / max(1, sum(counts.values()))
    metric, reason = "accuracy", f"the largest class has {most:.0%}"
    if most >= LOPSIDED:
        metric, reason = "macro_f1", f"the largest class has {most:.0%}, by which accuracy would say little"
    return Guess(
        "classification", [], "", metric, labels, drop_unlabelled=drop,
        why={"kind": f"{len(labels)} classes", "labels": why, "metric": reason},
    )  # fmt: skip
