"""Has the code that made a result changed? One hash answers, blind to comments, docstrings and white space.

It covers the auxlearn modules that the roots import, directly or through others, and the code cells of a notebook. The
notebook's parameters cell is left out: parameters are part of a run's key.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

# Content that is in every key already: the planted suite's rows are part of its fingerprint.
_IN_KEY = {"data.planted"}
_PARAMETERS = {"parameters", "injected-parameters"}
PACKAGE = Path(__file__).resolve().parents[1]
_Stamp = tuple[int, int]


def _stamp(path: Path) -> _Stamp:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def _name(path: Path) -> str:
    """Name a file of the package as a dotted path within it; "" is the package itself."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix(".")


def _path(name: str) -> Path:
    folder = PACKAGE.joinpath(*name.split(".")) if name else PACKAGE
    return folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")


# The files that this process imports, as they were when it began.
_IMPORTED = {_name(path): (_stamp(path), path.read_bytes()) for path in PACKAGE.rglob("*.py")}


def _imports(tree: ast.AST) -> set[str]:
    """List the auxlearn modules that a piece of code imports, at any depth of it, and the packages they lie in."""
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            imported |= {node.module or ""} | {f"{node.module}.{name.name}" for name in node.names}
    inside = {name.removeprefix("auxlearn.") for name in imported if name.startswith("auxlearn.")}
    modules = {name for name in inside - _IN_KEY if _path(name).is_file()}
    return modules | {parent for name in modules for parent in _packages(name)}


def _packages(name: str) -> list[str]:
    """List the packages that a module lies in, outermost first."""
    parts = name.split(".")
    return [".".join(parts[:size]) for size in range(1, len(parts))]


def _stripped(tree: ast.AST) -> str:
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)) and body:
            first = body[0]
            if (
                isinstance(first, ast.Expr)
                and isinstance(first.value, ast.Constant)
                and isinstance(first.value.value, str)
            ):
                node.body = body[1:] or [ast.Pass()]
    return ast.dump(tree)


@functools.lru_cache(maxsize=512)
def _module(path: Path, stamp: _Stamp) -> tuple[str, frozenset[str]]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imports = frozenset(_imports(tree))
    return hashlib.sha256(_stripped(tree).encode()).hexdigest(), imports


def notebook_source(notebook: Path) -> str:
    """Return the code of a notebook's cells, without (injected) parameters and lines of magics or shell commands."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    sources = [
        "".join(cell["source"]) for cell in cells
        if cell["cell_type"] == "code" and not _PARAMETERS & set(cell["metadata"].get("tags", []))
    ]  # fmt: skip
    return "\n".join(line for source in sources for line in source.splitlines() if not line.startswith(("%", "!")))


def name_of(module: ModuleType) -> str:
    """Return the name by which a module of the package is a root here: dotted, without `auxlearn.`."""
    return module.__name__.removeprefix("auxlearn.")


def modules(roots: Iterable[str]) -> set[str]:
    """List the roots and every auxlearn module that they import, directly or through others.

    Args:
        roots: Dotted names without `auxlearn.`.

    Raises:
        OSError: If a root is no module.
    """
    seen: set[str] = set()
    queue = list(roots)
    while queue:
        name = queue.pop()
        if name not in seen:
            seen.add(name)
            queue += sorted(_hash(name)[1] - seen)
    return seen


def _hash(name: str) -> tuple[str, frozenset[str]]:
    path = _path(name)
    return _module(path, _stamp(path))


def edited(roots: Iterable[str], notebook: Path | None = None, source: str = "") -> bool:
    """Tell whether the code that `code_hash` would read now is other than what this process runs, or cannot be read.

    Args:
        roots: Modules, as in `code_hash`.
        notebook: The notebook, as in `code_hash`.
        source: Its `notebook_source` when it was opened.
    """
    names = set(roots)
    try:
        if notebook is not None:
            opened = ast.parse(source)
            names |= _imports(opened)
            if _stripped(ast.parse(notebook_source(notebook))) != _stripped(opened):
                return True
        return not all(_as_imported(name) for name in modules(names))
    except (OSError, SyntaxError, ValueError, KeyError):  # gone, half written, or a module that was not there
        return True


def _as_imported(name: str) -> bool:
    path, (stamp, source) = _path(name), _IMPORTED[name]
    return _stamp(path) == stamp or _stripped(ast.parse(path.read_bytes())) == _stripped(ast.parse(source))


def code_hash(roots: Iterable[str] = (), notebook: Path | None = None) -> str:
    """Hash the code of some modules and, if given, of a notebook, with all that these import.

    Args:
        roots: Dotted names of modules without `auxlearn.`.
        notebook: Path of the notebook.

    Returns:
        16 hex digits.

    Raises:
        OSError: If a module or the notebook is not there.
        SyntaxError: If one is half written.
    """
    parts, roots = [], set(roots)
    if notebook is not None:
        tree = ast.parse(notebook_source(notebook))
        roots |= _imports(tree)
        parts.append(_stripped(tree))
    parts += [f"{name}:{_hash(name)[0]}" for name in sorted(modules(roots))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
