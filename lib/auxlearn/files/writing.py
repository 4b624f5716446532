"""Files for others, there whole or not at all, and tables that a spreadsheet cannot take for programs."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxlearn.errors import InputError
from auxlearn.files.bounded_files import system

if TYPE_CHECKING:
    import pandas as pd

# What a spreadsheet takes for a formula (OWASP, "CSV Injection"); the last four are full-width = + - @.
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def safe(table: pd.DataFrame) -> pd.DataFrame:
    """Make text cells and column names harmless to spreadsheets: what would run as a formula begins with an apostrophe.

    Args:
        table: Any table; it is not changed.

    Returns:
        A table of the same shape; numbers stay as they are.
    """

    import pandas as pd

    def cell(value: Any) -> Any:
        return "'" + value if isinstance(value, str) and value.startswith(FORMULA) else value

    harmless = table.rename(columns=cell)
    for position, dtype in enumerate(table.dtypes):
        if not pd.api.types.is_numeric_dtype(dtype):  # a boolean is one
            harmless.isetitem(position, table.iloc[:, position].astype(object).map(cell, na_action="ignore"))
    return harmless


def write_csv(table: pd.DataFrame, path: Path) -> None:
    """Write a table as UTF-8 CSV that any reader splits into the same rows."""
    # Minimal quoting leaves a lone carriage return bare, and some readers then see a new row.
    bare = any("\r" in value for column in table for value in table[column] if isinstance(value, str))
    quoting = csv.QUOTE_NONNUMERIC if bare else csv.QUOTE_MINIMAL
    table.to_csv(path, index=False, encoding="utf-8", lineterminator="\n", quoting=quoting)


@contextlib.contextmanager
def new_folder(folder: Path) -> Iterator[Path]:
    """Make a folder that is there whole or not at all, for the body of a `with` statement.

    Args:
        folder: The target; it must not exist, or be an empty folder.

    Yields:
        A folder beside it to fill, which becomes the target when the body has ended without an error.

    Raises:
        InputError: If the target holds anything, or cannot be written.
    """
    folder = Path(folder).resolve()
    with system(folder, "written"):
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(f"{folder}: exists and is not an empty folder; give a new one")
        part = folder.with_name(f".{folder.name}-{uuid.uuid4().hex[:8]}")
        part.mkdir(parents=True)
        try:
            yield part
            os.replace(part, folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@contextlib.contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Write a file that is there whole or not at all, in the body of a `with` statement.

    Args:
        path: The target; a file that is there is replaced.

    Yields:
        A path beside it to write to, which becomes the target when the body has ended without an error.

    Raises:
        InputError: If the target cannot be written.
    """
    path = Path(path).resolve()
    with system(path, "written"):
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
        try:
            yield part
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
