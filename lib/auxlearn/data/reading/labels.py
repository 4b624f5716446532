"""Labels of a task as ids: whether a column holds names or ids is decided once, over all splits."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from auxlearn.data.reading.raw_rows import is_missing
from auxlearn.errors import shown

if TYPE_CHECKING:
    import pyarrow as pa

Reading = Literal["names", "ids"]
UNLABELLED, UNKNOWN = -1, -2  # in place of an id
_WHOLE, _DECIMAL = re.compile(r" *[-+]?[0-9]{1,18} *"), re.compile(r" *[-+]?[0-9]{1,15}\.[0-9]{1,15} *")
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


class Names:
    """The label names of a suite, and what values stand for them.

    Args:
        names: The names, in id order.
    """

    def __init__(self, names: Sequence[str]):
        self.names = list(names)
        self.exact = {name: i for i, name in enumerate(names)}
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
        """Return the id of the name that a value is or spells: 1, 1.0 and "1" stand for the names 1, 1.0 and 01."""
        if isinstance(value, str) and value in self.exact:
            return self.exact[value]
        truth = _TRUTH.get(value) if isinstance(value, str) else value
        if isinstance(truth, bool):
            return self.truth.get(truth, self._number(int(truth)) if isinstance(value, bool) else None)
        number = _number(value)
        return None if number is None else self._number(number)

    def _number(self, number: int | float) -> int | None:
        ids = self.numbers.get(number, [])
        return ids[0] if len(ids) == 1 else None

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
    known = set(named)
    by: dict[Reading, dict[str, list[int | None]]] = {
        "names": {split: [names.by_name(value) for value in each.values] for split, each in columns.items()},
        "ids": {
            split: [names.by_id(value, settled == "ids") for value in each.values] if split not in known else []
            for split, each in columns.items()
        },
    }
    free = [split for split in columns if split not in known]
    places = [
        (split, code) for split in free for code, value in enumerate(columns[split].values)
        if not is_missing(value) and not is_unlabelled(value, names)
    ]  # fmt: skip
    fits = {reading: [at for at in places if table[at[0]][at[1]] is not None] for reading, table in by.items()}
    reading = settled
    if reading is None:
        both = set(fits["names"]) & set(fits["ids"])
        alone = {one: [at for at in fits[one] if at not in both] for one in fits}
        if alone["names"] and alone["ids"]:
            shows = " and ".join(
                f"{what} ({', '.join(_where(columns, at) for at in alone[one][:2])})" for one, what in
                zip(fits, ("names", f"ids 0 to {len(names.names) - 1}"), strict=True)
            )  # fmt: skip
            return Decision({}, f"{column!r} holds both {shows}; labels are {names}. Write all of them one way")
        if both and not alone["names"] and not alone["ids"]:
            differ = [at for at in places if at in both and by["names"][at[0]][at[1]] != by["ids"][at[0]][at[1]]]
            if differ:
                split, code = differ[0]
                value = columns[split].values[code]
                first, second = (names.names[by[one][split][code] or 0] for one in ("names", "ids"))
                what = (
                    f"{column!r} may hold names or ids: {shown(value)} ({_place(columns, (split, code))}) is {first!r}"
                )
                what += f" if read as a name, and {second!r} if read as an id from 0; labels are {names}"
                return Decision({}, f"{what}. Say which: `label_values: names` or `label_values: ids`")
        reading = "ids" if alone["ids"] else "names"
        other = next((split for split, own in named.items() if list(own) != names.names[: len(own)]), None)
        if reading == "ids" and other:
            what = f"{column!r} holds ids without names ({_where(columns, alone['ids'][0])}), but the source of {other}"
            what += f" numbers its labels {', '.join(named[other])[:500]}, and the suite {names}"
            return Decision({}, f"{what}. Give names, or say `label_values: ids` if the suite's order is meant")
    ids = {}
    for split, each in columns.items():
        look = by["names" if split in known else reading][split]
        ids[split] = np.array([
            UNLABELLED if is_unlabelled(value, names if split in known or reading == "names" else None)
            else UNKNOWN if at is None else at for value, at in zip(each.values, look, strict=True)
        ], np.int64)  # fmt: skip
    return Decision(ids)


def _place(columns: Mapping[str, Coded], at: tuple[str, int]) -> str:
    return f"{at[0]} row {columns[at[0]].first(at[1])}"


def _where(columns: Mapping[str, Coded], at: tuple[str, int]) -> str:
    return f"{_place(columns, at)}: {shown(columns[at[0]].values[at[1]])}"


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
        try:
            out[code] = float(value)
        except (TypeError, ValueError, OverflowError):
            bad[code] = True
    return out, bad
