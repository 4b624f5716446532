"""Guess from rows what a task is: its kind, inputs, labels and metric, each with the reason, for a person to check."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from auxlearn.data import tag_schemes
from auxlearn.data.reading import labels as label_values
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
INDEX = "__index_level_"  # what a data frame's index is called in a data set
MARK = re.compile(r"[\x21-\x7e]+")  # of a row: one word
FEWEST = 10  # rows by which a column is told from a text
CLASSES = 60  # whole numbers or words with more distinct values than this are no classes
ZEROS = re.compile(r"0\d+")  # how a code may be spelt, and no number is
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
    label_values: str = ""  # "names" where labels could be taken for ids
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
    for words in sorted(tokens, key=lambda name: bool(TAGS.fullmatch(_last(name)))):  # tags with names are words too
        tags = [n for n, v in columns.items() if n != words and TAGS.fullmatch(_last(n)) and _alike(columns[words], v)]
        if tags:
            return _tagging(splits, words, tags)
    label, why = _label(columns, train, where)
    inputs, reason = _inputs(columns, label, where)
    found = _labelled(splits, label)
    return replace(found, inputs=inputs, label=label, why=found.why | {"inputs": reason, "label": why})


def no_header(rows: RawRows) -> str:
    """Say why the names of a CSV or TSV file's columns look like a row of data; empty if they do not."""
    names = rows.table.column_names
    if any(_last(name) in LABELS or NO_INPUT.fullmatch(_last(name)) for name in names):
        return ""
    for name in names:
        if _numbers([name]):
            return f"{name!r} is a number"
        if (again := rows.values(name).count(name)) > 1:
            return f"{name!r} stands in {again} more rows"
    return ""


def _last(column: str) -> str:
    """Return a column's own name, without the path to where it is nested."""
    return column.rpartition(".")[2].lower()


def _known(values: Sequence[Any]) -> list[Any]:
    return [v for v in values if v is not ABSENT and v is not None and v != "" and v == v]  # NaN is not itself


def _is_tokens(values: Sequence[Any]) -> bool:
    known = _known(values)
    return bool(known) and all(isinstance(v, list) and all(isinstance(x, str) for x in v) for v in known)


def _alike(words: Sequence[Any], tags: Sequence[Any]) -> bool:
    pairs = [(w, t) for w, t in zip(words, tags, strict=True) if isinstance(w, list) and isinstance(t, list)]
    plain = not any(isinstance(tag, (list, dict)) for _, tags_of_row in pairs for tag in tags_of_row)
    return bool(pairs) and plain and all(len(w) == len(t) for w, t in pairs)


def _tagging(splits: Mapping[str, RawRows], words: str, columns: Sequence[str]) -> Guess:
    tags = columns[0]
    named = splits["train"].named.get(tags)
    seen = {x for rows in splits.values() if tags in rows.table.column_names
            for row in _known(rows.values(tags)) for x in row if not label_values.is_unlabelled(x, None)}  # fmt: skip
    labels = list(named) if named else _ordered(seen)
    ids = not named and all(isinstance(x, int) for x in seen)
    said = "as the file names them" if named else "all that occur"
    try:
        tag_schemes.scheme(tuple(labels))
        metric, why = "entity_f1", "the tags mark spans"
    except InputError:
        metric, why = "accuracy", "the tags mark no spans"
    if ids:
        said, why = "the ids in the file; put the tags here, in this order", "entity_f1, if the tags mark spans"
    return Guess(
        "tagging", [words], tags, metric, labels,
        why={"kind": "a list of words beside a list of as many tags", "metric": why,
             "label": f"one tag per word{_others(columns[1:])}",
             "labels": said},
    )  # fmt: skip


def _numbers(values: Sequence[Any]) -> list[float] | None:
    """Return the values as numbers, also where they are text; None where one is none."""
    numbers = []
    for value in values:
        number = None if isinstance(value, bool) else label_values.as_float(value)
        if number is None or not math.isfinite(number):
            return None
        numbers.append(number)
    return numbers


def _label(columns: Mapping[str, list[Any]], train: RawRows, where: str) -> tuple[str, str]:
    """Choose the label column, and say why."""
    plain = {name: _known(values) for name, values in columns.items()}
    plain = {n: v for n, v in plain.items() if v and not any(isinstance(x, (list, dict)) for x in v)}
    named = [name for name in plain if name in train.named]
    if named:
        named.sort(key=lambda n: _last(n) not in LABELS)
        return named[0], f"the file names its labels{_others(named[1:])}"
    usual = sorted((n for n in plain if _last(n) in LABELS), key=lambda n: LABELS.index(_last(n)))
    usual = [n for n in usual if not _is_prose(plain[n])]
    if usual:
        return usual[0], f"its name{_others(usual[1:])}"
    few = {n: len(set(map(str, v))) for n, v in plain.items() if not NO_INPUT.fullmatch(_last(n))}
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
        if (_numbers(known) is not None and mean <= 1) or no_text(name, values, columns[label]):
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


def no_text(name: str, values: Sequence[Any], labels: Sequence[Any]) -> bool:
    """Tell a column of strings that is no text to learn from: by its name, of marks of rows, or the label in words.

    Args:
        name: The column's name.
        values: Its values.
        labels: Those of the label column, row by row.

    Returns:
        Whether it is named as an index is; holds a mark of its own for every row, without spaces; or says the label
        once more, each of its few values standing for one label.
    """
    if NO_INPUT.fullmatch(_last(name)) or name.startswith(INDEX):
        return True
    pairs = [(v, str(label)) for v, label in zip(values, labels, strict=True) if isinstance(v, str) and v]
    distinct = {value for value, _ in pairs}
    if len(pairs) >= FEWEST and len(distinct) == len(pairs) and all(map(MARK.fullmatch, distinct)):
        return any(any(map(str.isdigit, value)) for value in distinct)
    known = {label for _, label in pairs}
    return len(pairs) >= FEWEST and 2 <= len(distinct) <= len(known) and len(set(pairs)) == len(distinct)


def _is_prose(values: Sequence[Any]) -> bool:
    """Tell texts, nearly all different, from labels."""
    words = [v.split() for v in values if isinstance(v, str)]
    return len(set(map(str, values))) > len(values) / 2 and sum(map(len, words)) >= 3 * len(values)


def _labelled(splits: Mapping[str, RawRows], label: str) -> Guess:
    """Guess the kind, the labels or the range, and the metric."""
    train = splits["train"]
    by_split = {s: _known(rows.values(label)) for s, rows in splits.items() if label in rows.table.column_names}
    drop = any(len(values) < len(splits[split]) for split, values in by_split.items() if split != "test")
    if label in train.named:
        counts = Counter(map(str, by_split["train"]))
        return _classes(list(train.named[label]), counts, drop, "as the file names them")
    if all(map(_is_mark, by_split.get("test", []))):  # a test split whose labels are not published
        by_split.pop("test", None)
    marked, said = _marked(by_split)
    if marked:
        drop = drop or any(map(_is_mark, [*by_split["train"], *by_split.get("dev", [])]))
        by_split = {split: [v for v in values if not _is_mark(v)] for split, values in by_split.items()}
    known, everything = by_split["train"], [v for values in by_split.values() for v in values]
    numbers = _numbers(everything)
    if numbers is None:
        said = "all that occur, in alphabetical order" + said + _spelt_alike(set(map(str, everything)))
        return _classes(_ordered(set(everything)), Counter(map(str, known)), drop, said)
    distinct = set(numbers)
    if any(x != int(x) for x in distinct) or len(distinct) > FEW:
        low, high = math.floor(min(distinct)), math.ceil(max(distinct))
        why = {"kind": f"numbers, {len(distinct)} distinct values",
               "range": "lowest and highest, rounded outwards" + said}  # fmt: skip
        return Guess("regression", [], label, "pearson", range=(low, high), drop_unlabelled=drop, why=why)
    spelt = {value for value in everything if isinstance(value, str)}
    if len(spelt) > len(distinct) and any(map(ZEROS.fullmatch, spelt)):  # 01 beside 1: codes, not numbers
        codes = _classes(_ordered(set(map(str, everything))), Counter(map(str, known)), drop, "all that occur" + said)
        return replace(codes, label_values="names", why=codes.why | {"label_values": "codes such as 01 are no ids"})
    names = [str(int(x)) for x in sorted(distinct)]
    counts = Counter(str(int(x)) for x in _numbers(known) or [])
    return _classes(names, counts, drop, "the numbers in the file; put words here, in this order" + said)


def _spelt_alike(labels: set[str]) -> str:
    """Say which labels differ in case or spaces alone, as the end of a reason; "" if none do."""
    alike: dict[str, list[str]] = {}
    for label in sorted(labels):
        alike.setdefault(" ".join(label.lower().split()), []).append(label)
    pairs = [" and ".join(map(repr, same)) for same in alike.values() if len(same) > 1]
    return f"; {'; '.join(pairs)} differ in case or spaces alone: make them one in the file" if pairs else ""


def _is_mark(value: Any) -> bool:
    """Tell whether a value may mark a row without a label: -1, or SNLI's -."""
    return value == UNLABELLED or label_values.is_unlabelled(value, None)


def _marked(by_split: Mapping[str, Sequence[Any]]) -> tuple[bool, str]:
    """Tell whether the marks among labels mark rows without one, and say so, as the end of a reason."""
    everything = [v for values in by_split.values() for v in values]
    rest, marks = [v for v in everything if not _is_mark(v)], [v for v in everything if _is_mark(v)]
    numbers, mark = _numbers(rest), UNLABELLED if UNLABELLED in marks else "-1"
    if not marks or len(set(map(str, rest))) < 2 or (numbers is not None and min(numbers) < 0):
        return False, ""
    if numbers is not None and set(numbers) == {0.0, 1.0} and len(marks) > len(rest) / 4:  # negative, neutral, positive
        return False, f"; {mark} is taken for a class: if it means no label, leave it out, drop_unlabelled: true"
    return True, f"; {mark} is taken for no label"


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
