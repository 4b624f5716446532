"""Which files of a folder are which split: usual names, shards, and what looks like a split and is not read."""

from __future__ import annotations

import re
from pathlib import Path

from auxlearn.errors import InputError
from auxlearn.files import bounded_files

SUFFIXES = (".jsonl.gz", ".jsonl", ".csv", ".tsv", ".parquet", ".conll.gz", ".conll")
SPLITS = ("train", "dev", "test")
# What a split is called, by the names that it has here.
NAMES = {
    "train": ("train", "training"),
    "dev": ("dev", "validation", "valid", "val", "eval", "evaluation", "development", "devel"),
    "test": ("test", "testing"),
}
SPLIT_OF = {name: split for split, names in NAMES.items() for name in names}
_WORDS = "|".join(sorted(SPLIT_OF, key=len, reverse=True))
# train, train-00000-of-00002, train-00000-of-00002-0123456789abcdef (the hub's layouts)
_STEM = re.compile(rf"({_WORDS})(?:-([0-9]+)-of-([0-9]+)(?:-[0-9a-f]+)?)?", re.I)
# A name that begins as a split's does, or has one among its words, of a kind of file that holds data.
_SAID = rf"(?:{_WORDS}|tests|validate|tune|tuning|held[-_]?out|hold[-_]?out)(?![a-z])[^/]*"
_ROWS = r"jsonl|ndjson|csv|tsv|parquet|arrow|feather|orc|conllu?|iob2?|bio|xlsx?|ods"
_PACKED = r"(?:\.(?:gz|bz2|xz|zst|zip))?"
_LIKE = re.compile(
    rf"{_SAID}\.(?:{_ROWS}|json|txt|xml|pkl|zip|7z|tar|tgz){_PACKED}|[^.].*[^a-z]{_SAID}\.(?:{_ROWS}){_PACKED}", re.I
)
_DATA, _TABLES = (re.compile(rf"[^.].*\.(?:{kinds}){_PACKED}", re.I) for kinds in (rf"{_ROWS}|json|txt|xml|pkl", _ROWS))


def suffix_of(path: Path) -> str | None:
    """Return the suffix, of SUFFIXES, that a file's name ends in; None if there is none."""
    return next((suffix for suffix in SUFFIXES if path.name.endswith(suffix)), None)


def has_train(folder: Path) -> bool:
    """Tell whether a folder holds a train split, as `folder_files` finds them: a file, shards or a folder."""
    for place in (folder, folder / "data"):
        for entry in place.iterdir() if place.is_dir() else ():
            suffix = suffix_of(entry)
            match = _STEM.fullmatch(entry.name.removesuffix(suffix)) if suffix and entry.is_file() else None
            if match and SPLIT_OF[match[1].lower()] == "train":
                return True
            if entry.is_dir() and SPLIT_OF.get(entry.name.lower()) == "train" and any(map(suffix_of, entry.iterdir())):
                return True
    return False


def is_like_a_split(name: str) -> bool:
    """Tell whether the name of a split that is not read begins as that of dev or test does."""
    return bool(re.fullmatch(_SAID, name, re.I)) and not name.lower().startswith("train")


def is_data(path: Path) -> bool:
    """Tell whether a file's name is that of data, in a format that is read or in another."""
    return bool(_DATA.fullmatch(path.name))


def folder_files(folder: Path) -> dict[str, list[Path]]:
    """Find the split files of a folder.

    A split is a file (NAMES, in any format of SUFFIXES), its numbered shards, or a folder of that name with its files;
    all of them beside one another, or in a folder `data`.

    Args:
        folder: The task's folder.

    Returns:
        The files by split, in order, of those splits that are there.

    Raises:
        InputError: If there is no such folder or no train file, a split is there more than once or in part, or a file
            looks like a split and is none that is read.
    """
    with bounded_files.system(folder):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; check the suite's `root` (is AUXLEARN_DATA set?)")
        places = [folder, *([folder / "data"] if (folder / "data").is_dir() else [])]
        entries = sorted(entry for place in places for entry in place.iterdir())
        sources: dict[str, dict[str, list[Path]]] = {}  # split: what it is called there: its files
        for entry in entries:
            if entry.is_dir():
                split = SPLIT_OF.get(entry.name.lower())
                inside = [path for path in sorted(entry.iterdir()) if split and path.is_file()]
                files = [path for path in inside if suffix_of(path) and not path.name.startswith(".")]
                like = _TABLES if files else _DATA
                if unread := [path for path in inside if path not in files and like.fullmatch(path.name)]:
                    raise _unread(unread[0])
                if split and files:
                    sources.setdefault(split, {})[f"{entry.relative_to(folder)}/"] = files
                continue
            suffix = suffix_of(entry)
            match = _STEM.fullmatch(entry.name.removesuffix(suffix)) if suffix else None
            if match:
                which = f"{match[1]}-*{suffix}" if match[2] else entry.name
                files_of = sources.setdefault(SPLIT_OF[match[1].lower()], {})
                files_of.setdefault(str(entry.relative_to(folder).with_name(which)), []).append(entry)
            elif _LIKE.fullmatch(entry.name):
                raise _unread(entry)
    for split, options in sources.items():
        if len(options) > 1:
            raise InputError(f"{folder}: {split} exists more than once ({', '.join(sorted(options))}); keep one")
        for files in options.values():
            check_shards(files)
    if "train" not in sources:
        names = " or ".join("train" + suffix for suffix in SUFFIXES)
        raise InputError(f"{folder}: holds no train file ({names})")
    return {split: next(iter(sources[split].values())) for split in SPLITS if split in sources}


def _unread(file: Path) -> InputError:
    known = f"{', '.join(SPLIT_OF)} with one of {', '.join(SUFFIXES)}"
    what = f"looks like a split and is not read; a split is {known}"
    return InputError(f"{file}: {what}. Rename or move it, or name the task's files under `files`")


def check_shards(files: list[Path]) -> None:
    """Check that all of a split's numbered shards are there, once each.

    Raises:
        InputError: They are not.
    """
    numbers = [match for file in files if (match := re.search(r"-([0-9]+)-of-([0-9]+)", file.name))]
    if not numbers:
        return
    wanted, given = int(numbers[0][2]), [int(number[1]) for number in numbers]
    if {int(number[2]) for number in numbers} != {wanted} or sorted(given) != list(range(wanted)):
        has = ", ".join(file.name for file in files[:5])
        raise InputError(f"{files[0].parent}: not the {wanted} shards 0 to {wanted - 1}, each once ({has}); copy all")


def single_files(folder: Path, names: dict[str, str]) -> dict[str, list[Path]]:
    """Find the split files of a folder under given names.

    Args:
        folder: The folder.
        names: The file's name by split.

    Returns:
        The files by split, one each, of those splits that are there.

    Raises:
        InputError: If there is no such folder, or it has no train file.
    """
    with bounded_files.system(folder):
        if not folder.is_dir():
            raise InputError(f"{folder}: no such folder; check the suite's `root` (is AUXLEARN_DATA set?)")
        files = {split: [folder / name] for split, name in names.items() if (folder / name).is_file()}
    if "train" not in files:
        raise InputError(f"{folder}: holds no train file ({names['train']})")
    return files
