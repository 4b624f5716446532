"""Labels of a task as ids: whether a column holds names or ids is decided once, over all splits."""

from __future__ import annotations

import datetime
import difflib
import math
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from auxlearn.data.reading.raw_rows import is_missing
from auxlearn.errors import shown

if TYPE_CHECKING:
    import pyarrow as pa

Reading = Literal["names", "ids"]
UNLABELLED, UNKNOWN = -1, -2  # in place of an id
_WHOLE, _DECIMAL = re.compile(r" *[-+]?[0-9]{1,30} *"), re.compile(r" *[-+]?[0-9]{1,15}\.[0-9]{1,15} *")
_COMMA = re.compile(r" *[-+]?[0-9]{1,15},(?![0-9]{3} *$)[0-9]{1,15} *")
_TRUTH = {"True": True, "TRUE": True, "true": True, "False": False, "FALSE": False, "false": False}
# Pairs of names that a boolean stands for, false first.
_PAIRS = (("false", "true"), ("no", "yes"), ("off", "on"), ("n", "y"), ("f", "t"))


@dataclass(frozen=True)
class Coded:
    """A column of values as codes into its distinct values, in order of appearance.

    Attributes:
        codes: int64 [N]; -1 where a value is missing.
        values: The distinct values.
    """

    codes: np.ndarray
    values: list[Any]

    def first(self, code: int) -> int:
        """Return the first position of a value."""
        return int(np.argmax(self.codes == code))


def coded(column: pa.ChunkedArray) -> Coded:
    """Code an Arrow column of plain values."""
    encoded = column.combine_chunks().dictionary_encode()
    codes = np.asarray(encoded.indices.fill_null(-1)).astype(np.int64)
    values = encoded.dictionary.to_pylist()
    missing = [code for code, value in enumerate(values) if is_missing(value)]
    return Coded(np.where(np.isin(codes, missing), -1, codes), values)


def coded_values(values: Iterable[Any]) -> Coded:
    """Code Python values of any kinds."""
    known: dict[Any, int] = {}
    distinct, codes = [], []
    for value in values:
        at = (type(value), value if value.__hash__ else repr(value))
        if not is_missing(value) and at not in known:
            known[at] = len(known)
            distinct.append(value)
        codes.append(-1 if is_missing(value) else known[at])
    return Coded(np.array(codes, np.int64), distinct)


def _number(value: Any) -> int | float | None:
    """Return the number that a value is or spells, whole ones as int; None for booleans and all else."""
    if isinstance(value, str):
        if _WHOLE.fullmatch(value):
            return int(value)
        value = float(value) if _DECIMAL.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _composed(text: str) -> str:
    return text if text.isascii() else unicodedata.normalize("NFC", text)


def is_number(value: Any) -> bool:
    """Tell whether a value is a number or spells one; -1, for a row without a label, is none."""
    return _number(value) not in (None, -1)


def flat(values: Iterable[Any]) -> Iterator[Any]:
    """Yield values, and of lists their items."""
    for value in values:
        yield from value if isinstance(value, list) else [value]


class Names:
    """The label names of a suite, and what values stand for them.

    Args:
        names: The names, in id order.
    """

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.exact = {name: i for i, name in enumerate(names)}
        self.composed: dict[str, list[int]] = {}
        for i, name in enumerate(names):
            self.composed.setdefault(_composed(name), []).append(i)
        self.numbers: dict[int | float, list[int]] = {}
        for i, name in enumerate(names):
            if (number := _number(name)) is not None:
                self.numbers.setdefault(number, []).append(i)
        lower = [name.lower() for name in names]
        self.truth: dict[bool, int] = {}
        for pair in _PAIRS:
            if sorted(lower) == sorted(pair) or pair == _PAIRS[0]:
                found = {bool(k): lower.index(word) for k, word in enumerate(pair) if lower.count(word) == 1}
                self.truth = self.truth or found

    def by_name(self, value: Any) -> int | None:
        """Return the id of the name that a value is or spells: 1, 1.0 and "1" stand for the names 1, 1.0 and 01.

        A date stands for its name in ISO 8601, and a text for a name of the same characters in any Unicode form.
        """
        if isinstance(value, datetime.date):
            value = value.isoformat().removesuffix("T00:00:00")
        if isinstance(value, str) and value in self.exact:
            return self.exact[value]
        if isinstance(value, str) and len(ids := self.composed.get(_composed(value), [])) == 1:
            return ids[0]
        truth = _TRUTH.get(value) if isinstance(value, str) else value
        if isinstance(truth, bool):
            return self.truth.get(truth, self._number(int(truth)) if isinstance(value, bool) else None)
        number = _number(value)
        return None if number is None else self._number(number)

    def _number(self, number: int | float) -> int | None:
        ids = self.numbers.get(number, [])
        return ids[0] if len(ids) == 1 else None

    def several(self, value: Any) -> list[str]:
        """Return the names that a number spells, where it spells more than one."""
        number = None if isinstance(value, str) and value in self.exact else _number(value)
        ids = [] if number is None else self.numbers.get(number, [])
        return [self.names[i] for i in ids] if len(ids) > 1 else []

    def by_id(self, value: Any, booleans: bool = False) -> int | None:
        """Return the id that a value is, if it is one."""
        number = int(value) if booleans and isinstance(value, bool) else _number(value)
        return number if isinstance(number, int) and 0 <= number < len(self.names) else None

    def near(self, value: Any) -> str:
        """Suggest what was meant, as the end of a message."""
        text = str(value).strip().lower()
        lower = {name.lower(): name for name in self.names}
        close = difflib.get_close_matches(text, lower, 1, 0.7) if len(text) < 100 else []
        return f"; did you mean {lower[close[0]]!r}?" if close else ""

    def __str__(self) -> str:
        return ", ".join(self.names)


def is_unlabelled(value: Any, names: Names | None) -> bool:
    """Tell whether a value marks a row without a label: -1, where no label is called that."""
    return _number(value) == -1 and not isinstance(value, bool) and (names is None or names.by_name(value) is None)


@dataclass(frozen=True)
class Decision:
    """How the values of a column are read.

    Attributes:
        ids: For each split the id of every distinct value, UNLABELLED or UNKNOWN, int64.
        problem: What is wrong with the column as a whole; "" if nothing is.
    """

    ids: dict[str, np.ndarray]
    problem: str = ""


def decide(
    columns: Mapping[str, Coded], names: Names, column: str, named: Mapping[str, Sequence[str]],
    settled: Reading | None = None,
) -> Decision:  # fmt: skip
    """Decide whether a column holds label names or ids, over all splits, and look every value up.

    Args:
        columns: The column in each split.
        names: The suite's label names.
        column: What the column is called, for messages.
        named: By split the names that its source carries, if it does: its values are names whatever they look like.
        settled: What the suite says, if it does.

    Returns:
        The ids; what is neither a name nor an id is UNKNOWN, which is for the caller to say.
    """
    by: dict[Reading, dict[str, list[int | None]]] = {
        "names": {split: [names.by_name(value) for value in each.values] for split, each in columns.items()},
        "ids": {split: [names.by_id(v, settled == "ids") for v in each.values] for split, each in columns.items()},
    }
    reading, problem = (settled, "") if settled else _reading(columns, names, by, named)
    if problem:
        return Decision({}, f"{column!r} {problem}")
    ids = {}
    for split, each in columns.items():
        look, own = by["names" if split in named else reading][split], split in named
        called = names if reading == "names" else None
        ids[split] = np.array([
            UNLABELLED if not (own and isinstance(value, str)) and is_unlabelled(value, called)
            else UNKNOWN if at is None else at for value, at in zip(each.values, look, strict=True)
        ], np.int64)  # fmt: skip
    return Decision(ids)


def _reading(
    columns: Mapping[str, Coded], names: Names, by: Mapping[Reading, Mapping[str, Sequence[int | None]]],
    named: Mapping[str, Sequence[str]],
) -> tuple[Reading, str]:  # fmt: skip
    """Return the reading that fits all values of splits without names of their own, or what is wrong with them."""
    places = [
        (split, code) for split, each in columns.items() if split not in named
        for code, value in enumerate(each.values) if not is_missing(value) and not is_unlabelled(value, names)
    ]  # fmt: skip
    pairs = [(at, by["names"][at[0]][at[1]], by["ids"][at[0]][at[1]]) for at in places]
    as_names = [at for at, name, number in pairs if name is not None and number is None]
    as_ids = [at for at, name, number in pairs if name is None and number is not None]
    if as_names and as_ids:
        what = f"names ({_shown(columns, as_names)}) and ids 0 to {len(names.names) - 1} ({_shown(columns, as_ids)})"
        return "names", f"holds both {what}; labels are {names}. Write all of them one way"
    differ = [(at, name, number) for at, name, number in pairs if None not in (name, number) and name != number]
    if differ and not as_names and not as_ids:
        (split, code), first, second = differ[0][0], *(names.names[i or 0] for i in differ[0][1:])
        what = f"may hold names or ids: {shown(columns[split].values[code])} ({split} row {columns[split].first(code)})"
        what += f" is {first!r} if read as a name, and {second!r} if read as an id from 0; labels are {names}"
        return "names", f"{what}. Say which: `label_values: names` or `label_values: ids`"
    unclear = [at for at in as_ids if names.several(columns[at[0]].values[at[1]])]
    if unclear and len(unclear) == len(as_ids):
        (split, code), value = unclear[0], columns[unclear[0][0]].values[unclear[0][1]]
        what = f"may hold names or ids: {shown(value)} ({split} row {columns[split].first(code)}) is each of "
        what += f"{', '.join(map(repr, names.several(value)))} if read as a name; labels are {names}"
        return "names", f"{what}. Say `label_values: ids`, or write the names exactly"
    other = next((split for split, own in named.items() if list(own) != names.names[: len(own)]), None)
    if as_ids and other:
        what = f"holds ids without names ({_shown(columns, as_ids)}), but the source of {other} numbers its labels "
        what += f"{', '.join(named[other])[:500]}, and the suite {names}"
        return "ids", f"{what}. Give names, or say `label_values: ids` if the suite's order is meant"
    return "ids" if as_ids else "names", ""


def _shown(columns: Mapping[str, Coded], places: Sequence[tuple[str, int]]) -> str:
    """Show the first of some values with the rows that have them."""
    return ", ".join(
        f"{split} row {columns[split].first(code)}: {shown(columns[split].values[code])}" for split, code in places[:2]
    )


def unknown(value: Any, names: Names, own: Sequence[str] | None, settled: Reading | None) -> str:
    """Say what is wrong with a value that is no label.

    Args:
        value: The value.
        names: The suite's label names.
        own: The names that the source carries, if it does.
        settled: What the suite says that values are, if it does.
    """
    if isinstance(value, (list, tuple, dict)):
        what = "one label per row is expected, several labels of one row (multi-label data) are not supported"
        return f"unknown label {shown(value)}: {what}; give each label a task of its own"
    if own is not None:
        return (
            f"unknown label {shown(value)}: the source's own names are {', '.join(own)[:500]}; the suite's are {names}"
        )
    known = [f"{names}" if settled != "ids" else "", f"ids 0 to {len(names.names) - 1}" if settled != "names" else ""]
    text = f"unknown label {shown(value)}; labels are {' or '.join(filter(None, known))}{names.near(value)}"
    if isinstance(value, bool) and settled is None:
        text += "; `label_values: ids` takes false as 0 and true as 1"
    return text


def numbers(values: Coded) -> tuple[np.ndarray, np.ndarray]:
    """Read distinct values as floats.

    Returns:
        The floats, float64, NaN where a value is none; and which are none, bool.
    """
    out, bad = np.full(len(values.values), math.nan), np.zeros(len(values.values), bool)
    for code, value in enumerate(values.values):
        number = as_float(value)
        out[code], bad[code] = (math.nan, True) if number is None else (number, False)
    return out, bad


def as_float(value: Any) -> float | None:
    """Return the number that a value is or spells, with a decimal comma too; None for what spells none.

    1,250 spells none: it is 1.25 to some and 1250 to others.
    """
    if isinstance(value, bool) or (isinstance(value, str) and ("_" in value or not value.isascii())):
        return None  # float takes 1_0 for 10, true for 1, and digits of every script
    if isinstance(value, str) and _COMMA.fullmatch(value):
        value = value.replace(",", ".")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None
