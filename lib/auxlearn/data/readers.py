"""Rows from files and from the hub: plain data is parsed, nothing in it is ever executed.

No row is dropped in silence: what cannot be read is an InputError that names the file, the line and the remedy.
"""

from __future__ import annotations

from pathlib import Path

from auxlearn.data import parquet, parsing
from auxlearn.data.parsing import Row
from auxlearn.errors import InputError
from auxlearn.files import bounded_files

SUFFIXES = (".jsonl.gz", ".jsonl", ".csv", ".tsv", ".parquet", ".conll.gz", ".conll")
SPLITS = ("train", "dev", "test")
# The tasks of the glue_data layout: the file's column for each of the hub's input columns, and the file's label column.
GLUE: dict[str, tuple[dict[str, str], str]] = {
    "CoLA": ({"sentence": "sentence"}, "label"),
    "SST-2": ({"sentence": "sentence"}, "label"),
    "MRPC": ({"sentence1": "#1 String", "sentence2": "#2 String"}, "Quality"),
    "QQP": ({"question1": "question1", "question2": "question2"}, "is_duplicate"),
    "STS-B": ({"sentence1": "sentence1", "sentence2": "sentence2"}, "score"),
    "MNLI": ({"premise": "sentence1", "hypothesis": "sentence2"}, "gold_label"),
    "QNLI": ({"question": "question", "sentence": "sentence"}, "label"),
    "RTE": ({"sentence1": "sentence1", "sentence2": "sentence2"}, "label"),
    "WNLI": ({"sentence1": "sentence1", "sentence2": "sentence2"}, "label"),
}
_COLA = ["source", "label", "mark", "sentence"]  # train and dev of CoLA have no header
# How hub data sets name the splits.
_HUB = {"train": ["train"], "dev": ["validation", "dev", "validation_matched"], "test": ["test", "test_matched"]}


def read_file(path: Path, columns: tuple[int, int] | None = None) -> list[Row]:
    """Read the rows of one file of a known suffix (SUFFIXES).

    Args:
        path: The file.
        columns: For CoNLL only: positions of token and tag, from 0, negative from the end; first and last if None.

    Returns:
        One dict per row; there is at least one.

    Raises:
        InputError: If the suffix is unknown, the file is empty or cannot be parsed, or `columns` is given for another
            format.
    """
    kind = next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)
    if kind is None:
        raise InputError(f"{path}: unknown format; use one of {', '.join(SUFFIXES)}")
    if kind.startswith(".conll"):
        return parsing.filled(path, parsing.read_conll(path, columns or (0, -1)))
    if columns is not None:
        raise InputError(f"{path}: `columns` is for .conll files; a {kind} file names its columns itself")
    if kind.startswith(".jsonl"):
        return parsing.filled(path, parsing.read_jsonl(path))
    if kind == ".parquet":
        return parsing.filled(path, parquet.read_rows(path))
    names, records = parsing.table(path)
    cells = [parsing.typed(column) for column in zip(*(row for _, row in records), strict=True)]
    return [dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True)]


def folder_files(folder: Path) -> dict[str, Path]:
    """Find the split files of a folder: {train,dev,test} in any known format.

    Args:
        folder: The task's folder.

    Returns:
        The files by split, of those splits that are there.

    Raises:
        InputError: If there is no such folder, it has no train file, or a split is there more than once.
    """
    return _splits(folder, {split: [split + suffix for suffix in SUFFIXES] for split in SPLITS})


def glue_files(folder: Path) -> dict[str, Path]:
    """Find the split files of a folder of the classic glue_data layout, such as glue_data/RTE.

    Args:
        folder: The folder, which must have the task's name.

    Returns:
        The files by split, of those splits that are there; for MNLI the matched ones.

    Raises:
        InputError: If the name is no task's, there is no such folder, or it has no train file.
    """
    name = folder.absolute().name
    if name not in GLUE:
        raise InputError(f"{folder}: {name!r} is no task of the glue_data layout; it has {', '.join(GLUE)}")
    end = "_matched.tsv" if name == "MNLI" else ".tsv"
    return _splits(folder, {"train": ["train.tsv"], "dev": ["dev" + end], "test": ["test" + end]})


def read_glue(folder: Path) -> dict[str, list[Row]]:
    """Read the splits of a glue_data folder with the hub's column names.

    Args:
        folder: The folder, which must have the task's name.

    Returns:
        Rows by split; labels are the files' strings, STS-B's are floats. Test rows have no `label` where the file has
        none.

    Raises:
        InputError: If files are not there, or not as GLUE publishes them.
    """
    return {split: _glue(folder.absolute().name, split, path) for split, path in glue_files(folder).items()}


def _glue(name: str, split: str, path: Path) -> list[Row]:
    inputs, label = GLUE[name]
    header, records = parsing.table(path, _COLA if name == "CoLA" and split != "test" else None)
    columns = {**inputs, "label": label} if split != "test" or label in header else inputs
    for column in columns.values():
        if column not in header:
            raise InputError(f"{path}, line 1: no {column!r} in the header ({', '.join(header)}); is this {name}?")
    places = {column: header.index(own) for column, own in columns.items()}
    rows: list[Row] = []
    for number, cells in records:
        rows.append({column: cells[i] or None for column, i in places.items()})
        if name == "STS-B" and (score := rows[-1].get("label")):
            try:
                rows[-1]["label"] = float(score)
            except ValueError:
                raise InputError(f"{path}, line {number}: the score {score!r} is no number; mend the line") from None
    return rows


def _splits(folder: Path, known: dict[str, list[str]]) -> dict[str, Path]:
    files: dict[str, Path] = {}
    with bounded_files.system(folder):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; check the suite's `root` (is AUXLEARN_DATA set?)")
        for split, options in known.items():
            hits = [folder / file for file in options if (folder / file).is_file()]
            if len(hits) > 1:
                names = ", ".join(hit.name for hit in hits)
                raise InputError(f"{folder}: {split} exists more than once ({names}); keep one")
            if hits:
                files[split] = hits[0]
    if "train" not in files:
        raise InputError(f"{folder}: holds no train file ({' or '.join(known['train'])})")
    return files


def read_hub(name: str, config: str | None, revision: str | None) -> dict[str, list[Row]]:
    """Read the splits of a hub data set, or of a local folder in the hub's layout, by `datasets.load_dataset`.

    Args:
        name: The data set, as owner/name, or a folder's path.
        config: Its configuration, if it has several.
        revision: Its commit, branch or tag; the newest if None.

    Returns:
        Rows by split; the hub's validation split is dev here.

    Raises:
        InputError: If the data set cannot be loaded or has no train split, or the name is a file format's.
    """
    import datasets

    # `load_dataset("csv")` is no data set of that name, but whatever lies in the folder one happens to be in.
    if name in datasets.packaged_modules._PACKAGED_DATASETS_MODULES:
        raise InputError(f"hub: {name!r} is a file format, no data set; name one as owner/name, or use `files`")
    try:
        splits = datasets.load_dataset(name, config, revision=revision)
    except Exception as error:
        raise InputError(
            f"hub data set {name!r} (config {config!r}, revision {revision!r}) cannot be loaded: {error}. Is the hub "
            "reachable? Otherwise download it once and use `source: {folder: …}`"
        ) from None
    if "train" not in splits:
        raise InputError(f"hub data set {name!r} has no train split (it has {', '.join(splits)})")
    hits = {split: next((n for n in names if n in splits), None) for split, names in _HUB.items()}
    return {split: list(splits[hit]) for split, hit in hits.items() if hit}
