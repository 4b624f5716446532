"""`auxlearn init FOLDER`: from files of data a suite and a study of it, both for a person to read, correct and run."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from auxlearn.data import task_names
from auxlearn.data.reading import guessing, readers, split_files
from auxlearn.data.reading.guessing import Guess
from auxlearn.data.reading.raw_rows import RawRows
from auxlearn.errors import InputError
from auxlearn.files import bounded_files

SUITE, STUDY = "suite.yaml", "study.yaml"
PLAIN = {"data", "default", "main"}  # folders of the hub's layout that say nothing of a task
DEEPEST = 4  # folders below the given one that are looked into
SHOWN = 20  # files that are not read, by name
_SHARD = re.compile(r"-[0-9]+-of-[0-9]+(-[0-9a-f]+)?(?=\.|$)")
ROWS = 2000  # of each task at most, in the study
SEEDS = 8  # fewer allow no test


@dataclass
class Found:
    """A task that was found: where its rows are, how many they are, and what it seems to be."""

    source: dict[str, Any]
    rows: int
    guess: Guess


def start(folder: Path) -> list[Path]:
    """Write a suite and a study of what lies in a folder.

    A task is a folder with a train file, or one or several files whose names differ in the split alone, such as
    reviews_train.csv and reviews_dev.csv; a train file in the folder itself makes the folder a task. Folders in
    folders are looked into.

    Args:
        folder: The folder.

    Returns:
        The files written: the suite and the study.

    Raises:
        InputError: They are there already, there is no file of data, or of some tasks nothing can be guessed, each of
            which is named.
    """
    folder = folder.resolve()
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; name the one that holds your files")
    for name in (SUITE, STUDY):
        if (folder / name).exists():
            raise InputError(f"{folder / name} exists; remove it, or move it away, to have it made anew")
    sources, unread = _sources(folder)
    tasks, faults = {}, []
    for name, source in sorted(sources.items()):
        try:
            tasks[name] = _found(folder, source)
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError("\n".join(faults))
    suite, study = folder / SUITE, folder / STUDY
    suite.write_text(_suite(folder, tasks, unread), encoding="utf-8")
    study.write_text(_study(folder, tasks), encoding="utf-8")
    return [suite, study]


# --- what lies there -------------------------------------------------------------------------------------------------


def _sources(folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """Find the tasks, by name the source as a suite has it; and the files of data that are none of theirs."""
    found: list[tuple[list[str], dict[str, Any]]] = []  # the parts of the path to each, the task's own last
    unread: list[str] = []
    _look(folder, folder, found, unread)
    if not found:
        more = f"; not read: {', '.join(unread[:SHOWN])}" if unread else ""
        raise InputError(
            f"{folder}: no data in it; a task is a folder with a train file, or files such as NAME_train.csv and "
            f"NAME_dev.csv, in one of {', '.join(split_files.SUFFIXES)}{more}"
        )
    short = Counter(_name(parts[-1]) for parts, _ in found)
    tasks: dict[str, dict[str, Any]] = {}
    for parts, source in found:
        name = _name(parts[-1]) if short[_name(parts[-1])] == 1 else _name("_".join(parts))
        if name in tasks:
            raise InputError(f"{folder}: {tasks[name]} and {source} would both be the task {name!r}; rename one")
        tasks[name] = source
    return tasks, unread


def _look(
    folder: Path, place: Path, found: list[tuple[list[str], dict[str, Any]]], unread: list[str], depth: int = 0
) -> None:  # fmt: skip
    """Look for tasks in a folder below the given one, and in the folders in it that are no tasks themselves."""
    loose: dict[str, dict[str, list[str]]] = {}
    above = [part for part in place.relative_to(folder).parts if part.lower() not in PLAIN]
    with bounded_files.system(place):
        entries = sorted(entry for entry in place.iterdir() if not entry.name.startswith((".", "~")))
    for entry in entries:
        path = entry.relative_to(folder).as_posix()
        if entry.is_dir():
            own = [part for part in entry.relative_to(folder).parts if part.lower() not in PLAIN] or [folder.name]
            if entry.name in readers.GLUE and (entry / "train.tsv").is_file():
                found.append((own, {"glue_data": path}))
            elif split_files.has_train(entry):
                found.append((own, {"folder": path}))
            elif depth < DEEPEST:
                _look(folder, entry, found, unread, depth + 1)
        elif suffix := split_files.suffix_of(entry):
            task, split = _parts(_SHARD.sub("", entry.name.removesuffix(suffix)))
            loose.setdefault(task, {}).setdefault(split, []).append(path)
        elif split_files.is_data(entry):
            unread.append(path)
    for task, files in loose.items():
        name = task or (above or [folder.name])[-1]
        for paths in files.values():
            if len(paths) > 1 and not all(_SHARD.search(path) for path in paths):
                raise InputError(
                    f"{folder}: {' and '.join(paths)} seem to be one split of {name!r}; rename or remove one"
                )
            split_files.check_shards([folder / path for path in paths])
        if "train" not in files:
            names = ", ".join(path for each in files.values() for path in each)
            raise InputError(f"{folder}: {names}: no train file of {name!r} beside it; add one, or move it away")
        one_or_more = {split: files[split] for split in split_files.SPLITS if split in files}
        source = {"files": {split: paths if len(paths) > 1 else paths[0] for split, paths in one_or_more.items()}}
        found.append(([*above, task] if task else above or [folder.name], source))


def _parts(stem: str) -> tuple[str, str]:
    """Take the split out of a file's name: what is left, and the split; train for a name without one."""
    words = [word for word in re.split(r"[-_. ]+", stem) if word]
    for at in (len(words) - 1, 0):
        if words and (split := split_files.SPLIT_OF.get(words[at].lower())):
            return "_".join(words[:at] + words[at + 1 :]), split
    return "_".join(words), "train"


def _name(text: str) -> str:
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()  # ü is u
    name = re.sub(r"[^A-Za-z0-9_]+", "_", text).strip("_").lower() or "task"
    return f"{name}_1" if name in task_names.NOT_NAMES or task_names.taken(name) else name


def _found(folder: Path, source: Mapping[str, Any]) -> Found:
    rows: Mapping[str, RawRows]
    if "glue_data" in source:
        where = folder / source["glue_data"]
        rows = readers.read_glue(where)
    else:
        where = folder / source.get("folder", "")
        files = split_files.folder_files(where) if "folder" in source else {
            split: [folder / path for path in ([paths] if isinstance(paths, str) else paths)]
            for split, paths in source["files"].items()
        }  # fmt: skip
        where = files["train"][0]
        rows = readers.read_files(files)
        if where.suffix in (".csv", ".tsv") and (why := guessing.no_header(rows["train"])):
            raise InputError(
                f"{where}, line 1: looks like a row and not like the names of the columns: {why}; put a line of names "
                "in front, such as text and label, separated as the rows are"
            )
    return Found(dict(source), len(rows["train"]), guessing.guess(rows, str(where)))


# --- what is written -------------------------------------------------------------------------------------------------


def _suite(folder: Path, tasks: Mapping[str, Found], unread: list[str]) -> str:
    lines = [
        "# Guessed from the files in this folder: what stands after a ? is why. Correct what is wrong, then",
        f"# auxlearn check {SUITE} --data",
        *([f"# Not read: {', '.join(unread[:SHOWN])}{', …' * (len(unread) > SHOWN)}"] if unread else []),
        f"name: {_name(folder.name)}",
        "root: .   # paths start beside this file",
        "tasks:",
    ]
    for name, found in tasks.items():
        guess = found.guess
        fields: dict[str, Any] = {"kind": guess.kind, "inputs": guess.inputs, "label": guess.label}
        fields |= {"range": list(guess.range)} if guess.range else {"labels": guess.labels}
        fields |= {"metric": guess.metric} | ({"drop_unlabelled": True} if guess.drop_unlabelled else {})
        fields |= {"label_values": guess.label_values} if guess.label_values else {}
        lines.append(f"  {_flow(name)}:   # {found.rows:,} training rows")
        for field, value in fields.items():
            why = guess.why.get(field, "some rows of train or dev have no label" if field == "drop_unlabelled" else "")
            lines.append(f"    {field}: {_flow(value)}" + (f"   # ? {why}" if why else ""))
        lines.append(f"    source: {_flow(found.source)}")
    return "\n".join(lines) + "\n"


def _study(folder: Path, tasks: Mapping[str, Found]) -> str:
    rows = {name: min(found.rows, ROWS) for name, found in tasks.items()}
    primary = min(rows, key=lambda name: (tasks[name].rows, name))
    pool, least = sum(rows.values()) - rows[primary], min(rows.values())
    alone = len(tasks) == 1
    arms = ["single", "step_matched"] + ([] if alone else ["random", "td_bce"])
    proxy = {"proxy_rows": max(2, min(200, least // 3)), "watch_rows": max(2, min(50, least // 6))}
    lines = [
        f"# A first study of {SUITE}: which rows help {primary}? Correct what is marked with ?, then",
        f"# auxlearn check {STUDY} --data; auxlearn plan {STUDY}; auxlearn study {STUDY}",
        f"study: {_name(folder.name)}",
        f"title: {_flow(f'What helps {primary}?')}",
        "base:",
        f"  suite: {_flow(str(folder / SUITE))}",
        f"  primary: {_flow(primary)}   # ? the task with the fewest training rows; the one that you care about",
        "  encoder: minilm   # or tiny (random weights) to see it run, or any Hugging Face encoder",
        "  size: full",
        f"  rows: {ROWS}   # at most so many training rows of each task (0: all)",
        "  threads: 1   # of each run; as many runs as cores go side by side",
        f"  seeds: {list(range(SEEDS))}   # fewer than 8 allow no test",
        "grid:",
        f"  arm: [{', '.join(arms)}]   # chosen for less: knn, textemb, dsir; auxlearn methods lists all",
        *([] if alone else [f"  n: [{max(1, min(1000, pool // 4))}]   # auxiliary rows that are added"]),
        "notebooks:",
        *([] if alone else [f"  02_td_proxy: {_flow(proxy | {'epochs': 4, 'lr': 0.0002})}"]),
        "  06_mtl: {stage2_epochs: 2, tune_epochs: 3, holdout: 0.2, lr: 0.0002}",
        "methods:",
        "  single: {epochs: 5}",
    ]
    if alone:
        lines.insert(0, f"# {SUITE} has one task, so that nothing can help it yet: put files of others beside it.")
    return "\n".join(lines) + "\n"


def _flow(value: Any) -> str:
    """Write a value as YAML on one line."""
    return (
        yaml.safe_dump(value, default_flow_style=True, width=10**6, sort_keys=False, allow_unicode=True)
        .removesuffix("...\n")
        .strip()
    )
