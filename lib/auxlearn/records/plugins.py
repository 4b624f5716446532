"""Roots of code that is not ours: a module of an installed distribution, or one file of a user.

    external:package.module   hashed as its distributions' names and versions, and the bytes of its file
    file:folder/plugin.py     hashed as its name and bytes; the path is relative to the project, or absolute outside it

Files of the same package, or of the same folder, that it imports count too, for an editable install and a folder of
scripts have no version to tell them apart. Nothing is imported or run to find a file.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from auxlearn.paths import PROJECT
from auxlearn.records import module_syntax

EXTERNAL, FILE = "external:", "file:"
MOST_BYTES = 16 << 20  # of one file
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Plugin:
    """What a root of somebody else's code consists of.

    Attributes:
        text: Names, versions and hashes of all its files.
        references: What it imports, as absolute dotted names.
    """

    text: str
    references: frozenset[str]


def is_plugin(root: str) -> bool:
    """Tell whether a root is code of somebody else."""
    return root.startswith((EXTERNAL, FILE))


def is_root(root: str) -> bool:
    """Tell whether a text has the form of a plugin's root."""
    if root.startswith(EXTERNAL):
        return _DOTTED.fullmatch(root[len(EXTERNAL) :]) is not None
    path = root[len(FILE) :]
    return root.startswith(FILE) and path.endswith(".py") and path.isprintable() and ".." not in Path(path).parts


def root_of(module: ModuleType) -> str:
    """Name a module that is not ours as a root.

    Args:
        module: A module that has been imported from a file.

    Raises:
        ValueError: If it has no file, as what is written in a notebook.
    """
    file = getattr(module, "__file__", None)
    if file is None:
        raise ValueError(f"{module.__name__} has no file, so that nobody could tell when it changes; put it into one")
    path, name = Path(file).resolve(), getattr(module.__spec__, "name", None) or module.__name__
    if name.partition(".")[0] in _distributions():
        try:
            if _located(name).resolve() == path:
                return f"{EXTERNAL}{name}"
        except OSError:  # a file that merely has such a name
            pass
    return f"{FILE}{path.relative_to(PROJECT).as_posix() if path.is_relative_to(PROJECT) else path}"


def without_folder(root: str) -> str:
    """Return a root as a report shows it: of a file outside the project, the name alone."""
    path = Path(root[len(FILE) :])
    return f"{FILE}{path.name}" if root.startswith(FILE) and path.is_absolute() else root


def read(root: str) -> Plugin:
    """Read and hash the files behind a root.

    Raises:
        OSError: If a file is not there, or is no module.
        ValueError: If one is not Python.
    """
    if root.startswith(FILE):
        start = PROJECT / root[len(FILE) :]
        name = start.stem
        says: list[str] = [f"{FILE}{start.name}"]
    else:
        name = root[len(EXTERNAL) :]
        start = _located(name)
        says = [root, *_versions(name.partition(".")[0])]
    files: dict[Path, str] = {}
    references: set[str] = set()
    queue = [(name, start)]
    while queue:
        name, path = queue.pop()
        if path in files:
            continue
        digest, imported = _file(path, _stamp(path), name)
        files[path] = f"{name}:{digest}"
        references |= imported
        beside = _siblings if root.startswith(FILE) else _of_package
        queue += [found for each in sorted(imported) for found in beside(each, name, start)]
    return Plugin("\n".join([*says, *sorted(files.values())]), frozenset(references))


def _stamp(path: Path) -> tuple[int, int]:
    stat = path.stat()
    if not path.is_file() or stat.st_size > MOST_BYTES:
        raise OSError(f"{path.name} is no module")
    return stat.st_mtime_ns, stat.st_size


@functools.lru_cache(maxsize=256)
def _file(path: Path, stamp: tuple[int, int], name: str) -> tuple[str, frozenset[str]]:
    content = path.read_bytes()
    imported: frozenset[str] = frozenset()
    if path.suffix == ".py":
        try:
            tree = ast.parse(content)
            found = module_syntax.read(tree, name, path.name == "__init__.py")
        except (RecursionError, MemoryError) as error:
            raise ValueError(f"{path.name} is nested too deeply to be read") from error
        imported = found.references.union(*found.served.values())
    return hashlib.sha256(content).hexdigest(), imported


def _siblings(reference: str, name: str, start: Path) -> list[tuple[str, Path]]:
    """Find the file in the plugin's folder that a reference imports."""
    first = reference.lstrip(".").partition(".")[0]
    path = start.parent / f"{first}.py"
    return [(first, path)] if first and path.is_file() else []


def _of_package(reference: str, name: str, start: Path) -> list[tuple[str, Path]]:
    """Find the files of the plugin's own package that a reference imports."""
    if reference.partition(".")[0] != name.partition(".")[0]:
        return []
    parts, found = reference.split("."), []
    for size in range(1, len(parts) + 1):
        module = ".".join(parts[:size])
        try:
            found.append((module, _located(module)))
        except OSError:  # an attribute of the last one
            break
    return found


def _located(name: str) -> Path:
    """Find the file of an installed module without importing anything.

    Raises:
        OSError: If there is none.
    """
    top, *rest = name.split(".")
    try:
        spec = importlib.util.find_spec(top)
    except (ValueError, ImportError) as error:
        raise FileNotFoundError(f"no module {name!r} is installed") from error
    if spec is None:
        raise FileNotFoundError(f"no module {name!r} is installed")
    if not rest:
        if not spec.has_location or spec.origin is None:
            raise FileNotFoundError(f"module {name!r} has no file")
        return Path(spec.origin)
    endings = ("/__init__.py", ".py", *importlib.machinery.EXTENSION_SUFFIXES)
    for place in spec.submodule_search_locations or ():
        for ending in endings:
            if (path := Path(f"{Path(place, *rest)}{ending}")).is_file():
                return path
    raise FileNotFoundError(f"no module {name!r} is installed")


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return {name: sorted(set(found)) for name, found in importlib.metadata.packages_distributions().items()}


def _versions(top: str) -> list[str]:
    return [f"{name}=={importlib.metadata.version(name)}" for name in _distributions().get(top, ())]
