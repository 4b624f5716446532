"""Has the code that made a result changed? One hash answers, blind to comments, docstrings and white space.

It covers the auxlearn modules that the roots import, directly or through others, late or by a name (`module_syntax`),
the packages that these lie in, and the code cells of a notebook. The notebook's parameters cell is left out: parameters
are part of a run's key. It is the same on every Python that the library runs on.

A root is a module of ours ("signals.pool_pass"), one of an installed distribution ("external:package.module") or a file
of a user ("file:plugin.py"); `root_of` says which. What a module maps words to modules by (`Table`), and what a package
serves late, counts as far as it leads to a module that is covered anyway: so a method added makes nothing stale.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

from auxlearn.records import module_syntax, plugins
from auxlearn.records.module_syntax import ANY, Syntax

# Content that is in every key already: the planted suite's rows are part of its fingerprint.
_IN_KEY = {"data.planted"}
_PARAMETERS = {"parameters", "injected-parameters"}
PACKAGE = Path(__file__).resolve().parents[1]
_Stamp = tuple[int, int]


def _stamp(path: Path | str) -> _Stamp:
    stat = os.stat(path)
    return stat.st_mtime_ns, stat.st_size


def _name(path: Path) -> str:
    """Name a file of the package as a dotted path within it; "" is the package itself."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def _path(name: str, package: Path) -> Path:
    folder = package.joinpath(*name.split(".")) if name else package
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


# The files that this process imports, as they were when it began; those of plugins, as they were when first asked for.
_IMPORTED = {_name(path): (_stamp(path), path.read_bytes()) for path in PACKAGE.rglob("*.py")}
_PLUGINS: dict[str, plugins.Plugin] = {}


def _absolute(name: str) -> str:
    return f"auxlearn.{name}" if name else "auxlearn"


@functools.lru_cache(maxsize=2048)
def _read(path: Path, stamp: _Stamp, name: str) -> Syntax:
    return _parsed(path.read_bytes(), name, path.name == "__init__.py")


@functools.lru_cache(maxsize=2048)  # other copies of the package hold many files that are the same
def _parsed(source: bytes, name: str, is_package: bool) -> Syntax:
    return module_syntax.read(ast.parse(source), _absolute(name), is_package)


def _syntax(name: str, package: Path) -> Syntax:
    path = _path(name, package)
    return _read(path, _stamp(path), name)


@dataclass
class _Closure:
    """What some roots consist of.

    Attributes:
        package: The package's folder.
        modules: Syntax by name of each module of ours.
        files: The path of each module.
        stamps: Each file of theirs, as it was when it was read, and once known (`_closure`) each folder of one.
        late: Each name that a package serves late and that is asked for, with where it leads.
        plugins: By root.
    """

    package: Path
    modules: dict[str, Syntax] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)
    stamps: dict[str, _Stamp] = field(default_factory=dict)
    late: set[str] = field(default_factory=set)
    plugins: dict[str, plugins.Plugin] = field(default_factory=dict)
    followed: set[str] = field(default_factory=set)  # references that need no second look

    def add(self, roots: Iterable[str], references: Iterable[str] = ()) -> _Closure:
        """Add roots and what they, or some references, import; OSError if a root is no module."""
        queue = [*(name for root in roots for name in self._root(root)), *self._behind(references)]
        while queue:
            name = queue.pop()
            if name not in self.modules:
                self.files[name] = path = _path(name, self.package)
                self.stamps[str(path)] = stamp = _stamp(path)
                self.modules[name] = syntax = _read(path, stamp, name)
                queue += self._behind(syntax.references)
        return self

    def unchanged(self) -> bool:
        """Tell whether all that was read is as it was."""
        try:
            return all(_stamp(path) == stamp for path, stamp in self.stamps.items())
        except OSError:
            return False

    def _root(self, root: str) -> list[str]:
        if plugins.is_plugin(root):
            self.plugins[root] = plugin = plugins.read(root)
            return self._behind(plugin.references)
        return [root, *self._packages(root)]

    def _behind(self, references: Iterable[str]) -> list[str]:
        """List the modules behind references that have not been followed yet."""
        new = set(references) - self.followed
        self.followed |= new
        return [name for reference in new for name in self._resolved(reference)]

    def _packages(self, name: str) -> list[str]:
        """List the packages that a module lies in, outermost first, as far as they have a file."""
        parts = name.split(".") if name else []
        outer = [".".join(parts[:size]) for size in range(len(parts))]
        return [each for each in outer if _path(each, self.package).is_file()]

    def _resolved(self, reference: str) -> list[str]:
        """List the modules behind an absolute reference: the longest part of it that is one, or where it is served."""
        first, *parts = reference.split(".")
        if first != "auxlearn":
            return []
        name, rest = "", ""
        for part in parts:
            deeper = f"{name}.{part}" if name else part
            folder = self.package.joinpath(*deeper.split("."))
            if not (folder.is_dir() or folder.with_suffix(".py").is_file()):
                rest = part
                break
            name = deeper
        if name in _IN_KEY or not _path(name, self.package).is_file():
            return self._packages(name)
        found = [name, *self._packages(name)]
        for home in sorted(self._homes(name, rest)) if rest else ():
            self.late.add(f"{_absolute(name)}.{rest}>{home}")
            found += self._resolved(home) if home != reference else []
        return found

    def _homes(self, package: str, name: str) -> frozenset[str]:
        """Return the references that a package imports when one of its names is first asked for."""
        syntax = _syntax(package, self.package)
        if name == ANY:  # from package import *
            return frozenset().union(*syntax.served.values())
        if name in syntax.served:
            return syntax.served[name]
        return frozenset() if name in syntax.defined else syntax.served.get(ANY, frozenset())

    @functools.cached_property
    def said(self) -> str:
        """The hash of all that is in it."""
        parts = [f"{name}:{self._text(name)}" for name in sorted(self.modules)]
        parts += [*sorted(self.late), *(self.plugins[root].text for root in sorted(self.plugins))]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    @functools.cached_property
    def as_imported(self) -> bool:
        """Whether this process imported, or would import, its modules of this library as they were read."""
        return all(self._as_imported(name) for name in self.modules)

    def _as_imported(self, name: str) -> bool:
        path, (stamp, source) = self.files[name], _IMPORTED[name]
        same = self.stamps[str(path)] == stamp
        return same or self.modules[name] == _parsed(source, name, path.name == "__init__.py")

    def _text(self, name: str) -> str:
        syntax = self.modules[name]
        used = [text for table in syntax.tables if (text := self._used(table))]
        return "\n".join([hashlib.sha256(syntax.text.encode()).hexdigest(), *used])

    def _used(self, table: module_syntax.Table) -> str:
        """Return the entries of a table that lead to modules of this closure; all of it, if it names what is none."""
        homes = [(word, home.removeprefix("auxlearn.").partition(":")[0]) for word, home in table.entries]
        if not all(_path(home, self.package).is_file() for _, home in homes):
            return table.text
        return "; ".join(f"{table.name}[{word}]={given}" for (word, given), (_, home) in
                         zip(table.entries, homes, strict=True) if home in self.modules)  # fmt: skip


@functools.lru_cache(maxsize=64)  # asked for at every training of a notebook
def _cell_syntax(source: str) -> Syntax:
    return module_syntax.read(ast.parse(source))


def notebook_source(notebook: Path) -> str:
    """Return the code of a notebook's cells, without (injected) parameters and lines of magics or shell commands.

    Raises:
        ValueError: If the file is no notebook, as one that is half written.
    """
    content = json.loads(notebook.read_text(encoding="utf-8"))
    try:
        sources = [
            "".join(cell["source"]) for cell in content["cells"]
            if cell["cell_type"] == "code" and not _PARAMETERS & set(cell["metadata"].get("tags", []))
        ]  # fmt: skip
    except (LookupError, TypeError, AttributeError):
        raise ValueError(f"{notebook.name}: not a notebook") from None
    return "\n".join(line for source in sources for line in source.splitlines() if not line.startswith(("%", "!")))


def name_of(module: ModuleType) -> str:
    """Return the name by which a module of the package is a root here: dotted, without `auxlearn.`."""
    return module.__name__.removeprefix("auxlearn").removeprefix(".")


def root_of(code: ModuleType | type) -> str:
    """Name the module that something is defined in as a root, and remember how its files are now.

    Call it as soon as a plugin has been imported: `edited` compares with what was there then.

    Args:
        code: A module, or a class or function.

    Returns:
        "methods.gradts.selectors" for a module of ours, "external:package.module" for one of an installed distribution,
        "file:plugin.py" for any other file.

    Raises:
        ValueError: If it is defined in no file.
    """
    module = code if isinstance(code, ModuleType) else sys.modules[code.__module__]
    if module.__name__.partition(".")[0] == "auxlearn":
        return name_of(module)
    root = plugins.root_of(module)
    _remembered(root)
    return root


def _remembered(root: str) -> plugins.Plugin:
    if root not in _PLUGINS:
        _PLUGINS[root] = plugins.read(root)
    return _PLUGINS[root]


def modules(roots: Iterable[str]) -> set[str]:
    """List the auxlearn modules that roots consist of: they, all that they import, and the packages of these.

    Args:
        roots: Dotted names without `auxlearn.`, or of plugins.

    Returns:
        Names without `auxlearn.`; "" is the package itself.

    Raises:
        OSError: If a root is no module.
    """
    return set(_Closure(PACKAGE).add(roots).modules)


def edited(roots: Iterable[str], notebook: Path | None = None, source: str = "") -> bool:
    """Tell whether the code that `code_hash` would read now is other than what this process runs, or cannot be read.

    Args:
        roots: Modules, as in `code_hash`.
        notebook: The notebook, as in `code_hash`.
        source: Its `notebook_source` when it was opened.
    """
    references: Iterable[str] = ()
    try:
        if notebook is not None:
            opened = _cell_syntax(source)
            references = opened.references
            if _cell_syntax(notebook_source(notebook)) != opened:
                return True
        closure = _closure(PACKAGE, frozenset(roots), frozenset(references))
        same = all(plugin == _remembered(root) for root, plugin in closure.plugins.items())
        return not (same and closure.as_imported)
    except (OSError, SyntaxError, ValueError, KeyError):  # gone, half written, or a module that was not there
        return True


def code_hash(roots: Iterable[str] = (), notebook: Path | None = None, package: Path | None = None) -> str:
    """Hash the code of some modules and, if given, of a notebook, with all that these import.

    Args:
        roots: Dotted names of modules without `auxlearn.`, or of plugins.
        notebook: Path of the notebook.
        package: The folder of another copy of the package, such as an older one; by default this one.

    Returns:
        16 hex digits.

    Raises:
        OSError: If a module or the notebook is not there.
        SyntaxError: If one is half written.
    """
    parts: list[str] = []
    references: Iterable[str] = ()
    if notebook is not None:
        cells = _cell_syntax(notebook_source(notebook))
        references = cells.references
        parts += [cells.text, *(table.text for table in cells.tables)]
    parts.append(_closure(package or PACKAGE, frozenset(roots), frozenset(references)).said)
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


_CLOSURES: dict[tuple[Path, frozenset[str], frozenset[str]], _Closure] = {}


def _closure(package: Path, roots: frozenset[str], references: frozenset[str]) -> _Closure:
    """Return a closure, built anew once a file of it, or one of its folders, has changed; each time if of plugins."""
    known = _CLOSURES.get((package, roots, references))
    if known is not None and known.unchanged():
        return known
    closure = _Closure(package).add(roots, references)
    if not closure.plugins:
        closure.stamps |= {str(folder): _stamp(folder) for folder in {path.parent for path in closure.files.values()}}
        _CLOSURES[package, roots, references] = closure
    return closure
