"""A study file becomes a graph of cells: every notebook run it needs, validated and keyed before the first one starts.

    study: NAME            # a label; enters no key
    title: …               # one line for the report
    base: {…}              # parameters for all notebooks that have them
    grid: {arm: […], n: […]}   # every combination; methods.METHOD.OPTION: […] is one too
    exclude: [{arm: …, n: …}]  # but these
    stages: [06_mtl, …]    # what is wanted; what it reads is added (default: 01, 06, 07)
    notebooks: {06_mtl: {lr: …}}   # a notebook's own parameters
    methods: {gradts_trial: {trial_most: 4}}   # options by method or family of methods
    plugins: [my_methods.py]   # modules or files that register further methods
    per_seed: [02_td_proxy]    # notebooks to run once per seed, as a cluster would; others deal their seeds themselves
    expects: {rows: {task: …}, tokens: …, encoder: {…}}   # what suite and encoder hold; see `study_file.Expects`

Cells are found from the wanted ones backwards, so that three targets share one proxy without being told to. `load`
reads the suite, because keys are made of its content; `validated` needs neither data nor encoder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.studies import study_file
from auxlearn.studies.expansion import Cell, Expansion, Given
from auxlearn.studies.study_file import StudyFile
from auxlearn.studies.unread_expansion import Counting, Unread


@dataclass
class Study:
    """A study as expanded from its file, all cells validated."""

    name: str
    title: str
    cells: list[Cell]  # upstream first


def load(path: Path, elsewhere: bool = False) -> Study:
    """Read, validate and expand a study file.

    Args:
        path: The study file.
        elsewhere: Whether its cells will run on other machines than this one (see `Common.resolved`).

    Returns:
        The study with all its cells.

    Raises:
        InputError: For the first problem; the message names the file.
    """
    file = study_file.read(path)
    return Study(file.study, file.title or file.study, expanded(path, Expansion(file, elsewhere)))


def validated(path: Path) -> list[tuple[str, Any]]:
    """Expand a study file without reading any data.

    Checks what `load` checks except the content of the suite: its YAML, and so the names of its tasks, is read, its
    rows are not. Whether there are enough rows to choose n from is checked where the file says how many there are
    (`expects`).

    Args:
        path: The study file.

    Returns:
        Stage and parameters (as written: "auto" undecided) of every cell, upstream first.

    Raises:
        InputError: For the first problem; the message names the file.
    """
    return [(cell.stage, cell.params) for cell in expanded(path, Unread(study_file.read(path)))]


def exceeding(path: Path, read: Mapping[str, suites.Suite]) -> tuple[list[str], bool]:
    """Compare every n and `primary_rows` of a study file with the rows that there are to choose from.

    Args:
        path: The study file, of which `validated` has found nothing wrong.
        read: Suites whose rows are read, as the file names them; others are passed over.

    Returns:
        A line for each pool or primary that is too small, and whether every pool was known.

    Raises:
        InputError: Another fault, of the file with these rows.
    """
    expansion = Counting(study_file.read(path), read)
    expanded(path, expansion)
    return [f"{path}: {line}" for line in dict.fromkeys(expansion.lines)], expansion.known


def expanded(path: Path, expansion: Expansion) -> list[Cell]:
    """Find all cells of an expansion.

    Args:
        path: The study file, which errors name.
        expansion: Of that file; `Unread` to expand it without data.

    Returns:
        The cells, upstream first.

    Raises:
        InputError: For the first problem.
    """
    try:
        return expansion.cells()
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def of_suite(file: StudyFile, suite: suites.Suite) -> list[Cell]:
    """Find all cells of a study of one suite that is in memory.

    Args:
        file: The study.
        suite: Its suite, before any cap.

    Returns:
        The cells, upstream first, with the keys that `load` would give them; their `code` tells nothing.

    Raises:
        InputError: For the first problem.
    """
    return Given(file, suite).cells()


def as_plan(study: Study) -> dict[str, Any]:
    """Write a study as JSON-able content, for Snakemake and the report.

    Args:
        study: The study, as from `load`.

    Returns:
        The plan: the study's name and title, and one entry per cell.
    """
    return {
        "study": study.name,
        "title": study.title,
        "cells": [
            {
                "stage": cell.stage, "key": cell.key, "code": cell.code, "label": cell.label, "suite": cell.suite,
                "threads": cell.cores, "gpus": cell.gpus,
                "params": cell.params.model_dump(),
                "reads": [[up.stage, up.key] for up in cell.reads],
            }
            for cell in study.cells
        ],
    }  # fmt: skip
