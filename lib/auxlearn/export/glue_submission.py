"""The zip that the GLUE leaderboard (gluebenchmark.com) takes: eleven files of `index<TAB>prediction`.

As the FastMTL authors hand in (submit/submit.sh, result_proc.py): CoLA, SST-2, MRPC, QQP and WNLI as 1 or 0, MNLI, QNLI
and RTE by label name, STS-B clipped to 0..5 with three decimals, and constant answers for what was not predicted. They
wrote WNLI as the constant "not_entailment"; the data has it as 1 (entailment) and 0, and so does public code that
submits, so 0 is written here. The server cannot be reached from here: the format is checked against these rules only.
"""

from __future__ import annotations

import lzma
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from auxlearn.errors import InputError
from auxlearn.files import writing

_NLI, _ENTAILS = ("entailment", "neutral", "contradiction"), ("entailment", "not_entailment")


@dataclass(frozen=True)
class File:
    """One file of the submission: rows of the test split, the answers allowed, the answer where there is none."""

    rows: int
    labels: tuple[str, ...] | None  # None: a number in 0..5
    filler: str
    classes: tuple[str, str] | None = None  # what 0 and 1 are called in the data


FILES = {
    "CoLA": File(1063, ("0", "1"), "1", ("unacceptable", "acceptable")),
    "SST-2": File(1821, ("0", "1"), "1", ("negative", "positive")),
    "MRPC": File(1725, ("0", "1"), "1", ("not_equivalent", "equivalent")),
    "QQP": File(390965, ("0", "1"), "0", ("not_duplicate", "duplicate")),
    "STS-B": File(1379, None, "2.500"),
    "MNLI-m": File(9796, _NLI, "entailment"),
    "MNLI-mm": File(9847, _NLI, "entailment"),
    "QNLI": File(5463, _ENTAILS, "entailment"),
    "RTE": File(3000, _ENTAILS, "entailment"),
    "WNLI": File(146, ("0", "1"), "0", ("not_entailment", "entailment")),
    "AX": File(1104, _NLI, "entailment"),
}
HEADER = "index\tprediction"
_LARGEST = 64 * 2**20  # bytes of one file; QQP has 3.4 million


def write(predictions: Mapping[str, Sequence[Any]], path: Path, fillers: bool = True) -> Path:
    """Write a submission zip, of which nothing is written unless everything fits.

    Files that are not given get a constant answer and are named in the zip's comment and in <name>.fillers.txt beside
    it: their scores on the leaderboard mean nothing.

    Args:
        predictions: Predictions by file name ("CoLA" … "AX"), each in the order of the test split: label names, or 1
            and 0 where the file holds them, or numbers for STS-B. Ids of the files with names are refused, for there is
            more than one order of them. A pandas Series must be indexed 0, 1, 2, ….
        path: The zip.
        fillers: Whether files may be missing.

    Returns:
        The path.

    Raises:
        InputError: If a name, a count, an index or an answer does not fit, or with `fillers=False` a file is missing.
    """
    path = Path(path)
    if unknown := [name for name in predictions if name not in FILES]:
        raise InputError(f"{unknown[0]!r} is no file of a GLUE submission; they are {', '.join(FILES)}")
    absent = [name for name in FILES if name not in predictions]
    if absent and not fillers:
        raise InputError(f"no predictions for {', '.join(absent)}; a submission needs all {len(FILES)} files")
    answers = {
        name: [file.filler] * file.rows if name in absent else _answers(name, file, predictions[name])
        for name, file in FILES.items()
    }
    beside = path.with_suffix(".fillers.txt")
    with writing.new_file(path) as part:
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, lines in answers.items():
                text = "\n".join([HEADER, *(f"{i}\t{answer}" for i, answer in enumerate(lines))]) + "\n"
                # A fixed date: the same predictions are the same bytes.
                archive.writestr(zipfile.ZipInfo(f"{name}.tsv", (1980, 1, 1, 0, 0, 0)), text, zipfile.ZIP_DEFLATED)
            if absent:
                archive.comment = f"constant answers: {', '.join(absent)}".encode()
        check(part)
        if absent:
            rows = (f"{name}\t{FILES[name].filler}\n" for name in absent)
            beside.write_text("constant answers, not predictions:\n" + "".join(rows), encoding="utf-8")
        else:
            beside.unlink(missing_ok=True)
    return path


def check(path: Path) -> None:
    """Check the format of a submission zip.

    Args:
        path: The zip.

    Raises:
        InputError: If the format is not right; it names file and row.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with zipfile.ZipFile(path) as archive:
            members, expected = archive.namelist(), [f"{name}.tsv" for name in FILES]
            for name in expected:
                if members.count(name) != 1:
                    raise InputError(f"{path}: {name} is in it {members.count(name)} times, not once")
            if stray := [name for name in members if name not in expected]:
                raise InputError(f"{path}: {stray[0]} does not belong in a submission")
            for name, file in FILES.items():
                if archive.getinfo(f"{name}.tsv").file_size > _LARGEST:
                    raise InputError(f"{path}, {name}.tsv: far too large")
                _check_text(f"{path}, {name}.tsv", file, archive.read(f"{name}.tsv"))
    except InputError:
        raise
    # EOFError, OSError, struct.error, LZMAError: from damaged members; RuntimeError, ValueError: from encrypted ones.
    except (
        zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, OSError, NotImplementedError,
        RuntimeError, ValueError, OverflowError,
    ) as error:  # fmt: skip
        raise InputError(f"{path}: not a readable zip ({error}); write it again") from None


def _check_text(where: str, file: File, content: bytes) -> None:
    try:
        lines = content.decode("utf-8").removesuffix("\n").split("\n")
    except UnicodeDecodeError:
        raise InputError(f"{where}: not UTF-8 text") from None
    if lines[0] != HEADER:
        raise InputError(f"{where}: the first line must be {HEADER!r}, not {lines[0]!r}")
    _check_count(where, file, len(lines) - 1)
    for row, line in enumerate(lines[1:]):
        index, tab, answer = line.partition("\t")
        if index != str(row) or not tab:
            raise InputError(f"{where} row {row}: index {row} and a prediction are expected, not {line!r}")
        if file.labels is None:
            _score(f"{where} row {row}", answer, clip=False)
        elif answer not in file.labels:
            raise InputError(f"{where} row {row}: {answer!r} is not one of {', '.join(file.labels)}")


def _check_count(where: str, file: File, count: int) -> None:
    if count != file.rows:
        raise InputError(f"{where}: {count} predictions, but the test split has {file.rows} rows")


def _answers(name: str, file: File, values: Sequence[Any]) -> list[str]:
    where = f"{name}.tsv"
    _check_count(where, file, len(values))
    if isinstance(values, pd.Series):
        off = np.flatnonzero(values.index.to_numpy() != np.arange(len(values)))
        if len(off):
            raise InputError(f"{where} row {off[0]}: index {values.index[off[0]]!r}, not {off[0]}; sort by test row")
    if file.labels is None:
        return [f"{_score(f'{where} row {row}', value, clip=True):.3f}" for row, value in enumerate(values)]
    known: dict[Any, str] = {label: label for label in file.labels}
    if file.classes:
        known |= {label: str(i) for i, label in enumerate(file.classes)} | {0: "0", 1: "1"}
    answers = []
    for row, value in enumerate(values):
        answer = known.get(value) if isinstance(value, (str, int, np.integer)) else None
        if answer is None:
            raise InputError(f"{where} row {row}: {value!r} is not one of {', '.join(map(str, known))}")
        answers.append(answer)
    return answers


def _score(where: str, value: Any, clip: bool) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number) or not (clip or 0 <= number <= 5):
        raise InputError(f"{where}: {value!r} is not a number{'' if clip else ' in 0 to 5'}")
    return min(max(number, 0.0), 5.0) + 0.0  # no -0.000
