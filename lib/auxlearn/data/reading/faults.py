"""What is wrong with rows: one fault per kind and split, with all rows that have it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from auxlearn.data.reading.raw_rows import RawRows
from auxlearn.errors import InputError, meant

SHOWN = 5  # rows of a kind of fault that are named


@dataclass(frozen=True)
class Fault:
    """One kind of fault.

    Attributes:
        task: The task's name.
        what: What is wrong with the first row, or with the column.
        split: The split, if it is of one.
        rows: All rows that have it, int64.
    """

    task: str
    what: str
    split: str = ""
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))

    def __str__(self) -> str:
        where = f", {self.split} row {self.rows[0]}" if len(self.rows) else ", " * bool(self.split) + self.split
        return f"task {self.task!r}{where}: {self.what}"

    def in_full(self) -> str:
        """Describe the fault with its first rows and their number."""
        if len(self.rows) < 2:
            return str(self)
        more = f" and {len(self.rows) - SHOWN:,} more" if len(self.rows) > SHOWN else ""
        return f"{self} (rows {', '.join(map(str, self.rows[:SHOWN]))}{more})"


class Faults(InputError):
    """All that is wrong with the rows of a task; as a message, the first.

    Args:
        faults: One at least.
    """

    def __init__(self, faults: list[Fault]):
        more = len(faults) - 1
        others = f" ({more} more fault{'s' * (more > 1)}: `auxlearn check FILE --data` lists all)" if more else ""
        super().__init__(f"{faults[0]}{others}")
        self.faults = faults


def in_full(error: InputError) -> list[str]:
    """List all that an error says."""
    return [fault.in_full() for fault in error.faults] if isinstance(error, Faults) else [str(error)]


def no_column(column: str, rows: RawRows) -> str:
    """Say that rows lack a column, and what they have."""
    if column in rows.names:
        return f"no {column!r} in this row, as other rows have"
    has = ", ".join(map(str, rows.names))
    mark = next((mark for mark in ";|\t," if len(rows.names) == 1 and mark in has), None)
    takes = "CSV takes commas, semicolons or tabs, TSV takes tabs"
    asked = f"; is it separated by {mark!r}? {takes}" if mark else meant(column, rows.names)
    return f"no column {column!r}; it has {has[:500]}{asked}"
