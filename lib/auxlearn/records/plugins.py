"""Roots of code that is not ours: a module of an installed distribution, or one file of a user.

    external:package.module   hashed as its distributions' names and versions, and the bytes of its file
    file:folder/plugin.py     hashed as its name and bytes; the path is relative to the project, or absolute outside it

Files of the same package, or of the same folder and the packages in it, that it imports count too, for an editable
install and a folder of scripts have no version to tell them apart. Nothing is imported or run to find a file.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.machinery
import importlib.metadata
import importlib.util
import itertools
import os
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from auxlearn import paths
from auxlearn.paths import PROJECT
from auxlearn.records import module_syntax

EXTERNAL, FILE = "external:", "file:"
MOST_BYTES = 16 << 20  # of one file
_ABOVE = "^"  # stands in a name for one folder that a file lies in, so that relative imports lead to folders
_INSTALLED = ("site-packages", "dist-packages")
_ENDINGS = ("/__init__.py", *importlib.machinery.EXTENSION_SUFFIXES, ".py")  # as `import` tries them
_DOTTED = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


@dataclass(frozen=True)
class Plugin:
    """What a root of somebody else's code consists of.

    Attributes:
        text: Names, versions and hashes of all its files.
        references: What it imports, as absolute dotted names.
        files: All its files.
    """

    text: str
    references: frozenset[str]
    files: frozenset[Path]


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
    return FILE + paths.without_folder(Path(root[len(FILE) :])) if root.startswith(FILE) else root


def read(root: str) -> Plugin:
    """Read and hash the files behind a root.

    Raises:
        OSError: If a file is not there, or is no module.
        ValueError: If one is not Python.
    """
    of_file = root.startswith(FILE)
    if of_file:
        start = PROJECT / root[len(FILE) :]
        says: list[str] = [f"{FILE}{start.name}"]
        inits = list(itertools.takewhile(Path.is_file, (folder / "__init__.py" for folder in start.parents)))
        outer = start.parents[len(inits)]  # of the package that it lies in, if it lies in one
        queue = [(_label(path, start), path) for path in (start, *inits)]
    else:
        name = root[len(EXTERNAL) :]
        start = _located(name)
        says = [root, *_versions(name.partition(".")[0])]
        queue = [(name, start)]
    files: dict[Path, str] = {}
    references: set[str] = set()
    while queue:
        name, path = queue.pop()
        if path in files:
            continue
        digest, imported = _file(path, _stamp(path), _place(path) if of_file else name)
        files[path] = f"{name}:{digest}"
        references |= {one for one in imported if not one.startswith(_ABOVE)}
        for each in sorted(imported):
            if of_file:
                queue += [(_label(found, start), found) for found in _beside(each, path, start, outer)]
            else:
                queue += _of_package(each, name)
    return Plugin("\n".join([*says, *sorted(files.values())]), frozenset(references), frozenset(files))


def elsewhere(module: ModuleType, by_name: bool) -> Iterator[tuple[str, Path, str]]:
    """Find what a plugin of a file gets from another place than the file that is hashed, as another has its name.

    Args:
        module: The plugin, once it has run, so that what it does to `sys.path` counts.
        by_name: Whether it was imported by its dotted name; else as a file whose folder is on `sys.path`.

    Yields:
        The name, the file that is hashed, and where Python has, or would import, the module of that name from.
    """
    root = root_of(module)
    if not root.startswith(FILE):
        return
    start, package = PROJECT / root[len(FILE) :], hasattr(module, "__path__")
    folder = start.parents[module.__name__.count(".") + package if by_name else 0]
    for path in sorted(read(root).files - {start}):
        if not path.is_relative_to(folder):
            continue  # as far as can be read off; whether Python finds it there is not known
        inner = path.parent if path.stem == "__init__" else path.with_name(path.name.partition(".")[0])
        name = ".".join(inner.relative_to(folder).parts)
        names = [name, *([f"{module.__name__}.{name}"] if package and not by_name else [])]
        places = [place for place in map(_imported_from, names) if place]
        if places and not any(Path(place).resolve() == path.resolve() for place in places):
            yield name, path, places[0]


def _imported_from(name: str) -> str:
    """Say where a module is, or would be, imported from, without importing it; "" if it cannot be."""
    place: str | None = None
    folders: Sequence[str] | None = None
    for part in itertools.accumulate(name.split("."), "{}.{}".format):
        if (module := sys.modules.get(part)) is not None:
            place, folders = getattr(module, "__file__", None), getattr(module, "__path__", None)
            continue
        if "." not in part:
            spec = importlib.util.find_spec(part)
        else:  # which would import the package
            spec = None if folders is None else importlib.machinery.PathFinder.find_spec(part, folders)
        if spec is None:
            return ""
        place, folders = spec.origin, spec.submodule_search_locations
    return place or "a module without a file"


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
        if name.startswith(_ABOVE) and path.name == "__init__.py":
            # `__all__` and loops over names import modules by words; a word that is no module leads nowhere.
            imported |= {
                f"{name}.{node.value}" for node in ast.walk(tree)
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isidentifier()
            }  # fmt: skip
    return hashlib.sha256(content).hexdigest(), imported


def _place(path: Path) -> str:
    """Name a file by the folders that it lies in alone, as its relative imports go by these."""
    return ".".join(_ABOVE * (len(path.parents) + (path.name != "__init__.py")))


def _label(path: Path, start: Path) -> str:
    """Name a file as seen from the plugin, which is the same wherever both lie."""
    return Path(os.path.relpath(path.with_suffix(""), start.parent)).as_posix()


def _beside(reference: str, path: Path, start: Path, outer: Path) -> Iterator[Path]:
    """Find the files that a reference in a file imports: of the plugin's folder, or of packages that it lies in."""
    parts = reference.split(".")
    if above := parts.count(_ABOVE):
        folder = path.parents[len(path.parents) - above]
        if (init := folder / "__init__.py").is_file():
            yield init
        yield from _below(folder, parts[above:])
    elif parts[0] != "auxlearn":  # the library is no part of a plugin, even of one that lies beside it
        # A folder without __init__.py may be a package too, which is told by its name alone.
        named = (folder.parent for folder in start.parents if folder.name == parts[0])
        for folder in dict.fromkeys([start.parent, outer, *named]):
            if not (folder.name in _INSTALLED and parts[0] in _distributions()):
                yield from _below(folder, parts)


def _below(folder: Path, parts: list[str]) -> Iterator[Path]:
    """Find the files of a module in a folder, and of the packages that it lies in, as far as the parts are modules."""
    for part in parts:
        if not part.isidentifier():
            return
        file = _of_module(place := folder / part)
        if file is not None:
            yield file
        if not place.is_dir() or (file is not None and file.parent == folder):  # a folder alone is a package too
            return
        folder = place


def _of_module(place: Path) -> Path | None:
    return next((path for ending in _ENDINGS if (path := Path(f"{place}{ending}")).is_file()), None)


def _of_package(reference: str, name: str) -> list[tuple[str, Path]]:
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
    for place in spec.submodule_search_locations or ():
        if (path := _of_module(Path(place, *rest))) is not None:
            return path
    raise FileNotFoundError(f"no module {name!r} is installed")


@functools.cache
def _distributions() -> dict[str, list[str]]:
    return {name: sorted(set(found)) for name, found in importlib.metadata.packages_distributions().items()}


def _versions(top: str) -> list[str]:
    return [f"{name}=={importlib.metadata.version(name)}" for name in _distributions().get(top, ())]
