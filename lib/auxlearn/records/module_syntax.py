"""What a piece of Python runs, as one text that is the same on every Python, and what it imports.

`ast.dump` will not do: Python 3.12 adds `type_params=[]` to every function, 3.13 leaves out what is empty, and `repr`
escapes what the Unicode version at hand cannot print. Comments, docstrings, white space, `if TYPE_CHECKING:` and the
package's `__version__` run nothing that could change a result, so the text has none of them.

An import counts wherever it stands, late ones too. So does a name that a package serves late (`auxlearn.lazy`), a
module named by a constant in `importlib.import_module` and the like, and one that a command starts after `-m`.
"""

from __future__ import annotations

import ast
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

# Fields that say nothing of what runs: `ctx` follows from the place, `kind` is the u of u"", the others are comments.
_SILENT = {"ctx", "kind", "type_comment", "type_ignores"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_IMPORTERS = {"import_module", "__import__", "find_spec", "run_module", "resolve_name"}
_STARTERS = {"command"}  # `processes.command(module, …)`
_MODULE_NAME = re.compile(r"(?=.*[.:])[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?")  # a bare word may be anything
_COMMAND = re.compile(r"(?:^|\s)-m\s+([A-Za-z_][\w.]*)")
ANY = "*"  # in place of a name: what a package serves by means that cannot be read off


@dataclass(frozen=True)
class Table:
    """A dict of a module that maps words to modules; which of them a run uses, the run's other roots say."""

    name: str
    entries: tuple[tuple[str, str], ...]  # word, "module" or "module:attribute"
    text: str


@dataclass(frozen=True)
class Syntax:
    """What a module runs and what it refers to.

    Attributes:
        text: All that it runs, but `tables` and the names that it serves late.
        references: What it imports or reads of what it imported, as absolute dotted names.
        served: Name to the references that are imported when it is first asked for; of a package, also by a function.
        defined: Names that its top level binds, where `served` has ANY, which gives the others.
        tables: Its tables of modules.
    """

    text: str
    references: frozenset[str]
    served: Mapping[str, frozenset[str]] = field(default_factory=dict)
    defined: frozenset[str] = frozenset()
    tables: tuple[Table, ...] = ()


def canonical(node: Any) -> str:
    """Write a syntax tree, or a part of one, as text that is the same on every Python.

    Args:
        node: A tree; it is not changed.
    """
    return _written(node, [])


def _written(node: Any, nodes: list[ast.AST]) -> str:
    """Do what `canonical` does, and add every node that runs to `nodes`; one walk for both, as a run begins with it."""
    if isinstance(node, list):
        return f"[{', '.join([_written(each, nodes) for each in node])}]"
    if not isinstance(node, ast.AST):
        return ascii(node)
    nodes.append(node)
    said = []
    for name in node._fields:
        value: Any = getattr(node, name, None)
        if name in _SILENT:
            continue
        if name == "values" and isinstance(node, ast.JoinedStr):
            value = _pieces(value)
        elif name == "format_spec" and isinstance(value, ast.JoinedStr) and not _pieces(value.values):
            continue
        elif name in ("body", "orelse", "finalbody") and isinstance(value, list):
            value = _run_only(value, documented=isinstance(node, _DOCUMENTED) and name == "body")
        # What is empty says nothing; None does in a constant alone.
        if value == [] or (value is None and not (name == "value" and isinstance(node, _CONSTANTS))):
            continue
        said.append(f"{name}={_written(value, nodes)}")
    return f"{type(node).__name__}({', '.join(said)})"


_CONSTANTS = (ast.Constant, ast.MatchSingleton)


def _pieces(values: Iterable[ast.expr]) -> list[ast.expr]:
    """Join the constant pieces of an f-string that stand side by side, and leave out empty ones."""
    pieces: list[ast.expr] = []
    text = ""
    for value in values:
        if isinstance(value, ast.Constant) and isinstance(value.value, str):
            text += value.value
        else:
            pieces += [ast.Constant(text), value] if text else [value]
            text = ""
    return [*pieces, ast.Constant(text)] if text else pieces


def _run_only(body: list[Any], documented: bool) -> list[Any]:
    """Return the statements that run: no docstring, nothing that only type checkers read."""
    kept: list[Any] = []
    for position, statement in enumerate(body):
        if isinstance(statement, ast.If) and _for_type_checkers(statement.test):
            kept += _run_only(statement.orelse, documented=False)
        elif not (documented and position == 0 and _is_docstring(statement)):
            kept.append(statement)
    return kept or ([ast.Pass()] if body and documented else [])


def _is_docstring(statement: Any) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)


def _for_type_checkers(test: ast.expr) -> bool:
    name = test.id if isinstance(test, ast.Name) else test.attr if isinstance(test, ast.Attribute) else ""
    return name == "TYPE_CHECKING"


def read(tree: ast.Module, name: str = "", is_package: bool = False) -> Syntax:
    """Read what a module runs and refers to.

    Args:
        tree: Its syntax tree; it is not changed.
        name: Its absolute dotted name, which relative imports start from; empty for a notebook.
        is_package: Whether it is a package's `__init__`.
    """
    package = name if is_package else name.rpartition(".")[0]
    body = _run_only(tree.body, documented=True)
    dicts = {name: value for each in body for name, value in _assigned(each) if isinstance(value, ast.Dict)}
    served: dict[str, frozenset[str]] = {}
    tables, rest, functions = [], [], {}
    for statement in body:
        names = dict(_assigned(statement))
        late = _served(statement, dicts)
        if late is None and "__getattr__" in names:  # from modules that cannot be read off: any that is written out
            written = (_constant(node) for each in body for node in ast.walk(each))
            served[ANY] = frozenset(text for text in written if _MODULE_NAME.fullmatch(text))
        if late is not None:
            served |= late
        elif "__version__" in names:
            continue
        elif table := _table(names):
            tables.append(Table(*table, canonical(statement)))
        else:
            rest.append(statement)
            if is_package and isinstance(statement, _FUNCTIONS):
                functions[statement.name] = statement
    deferred = _deferred(rest, functions)
    nodes: dict[ast.stmt, list[ast.AST]] = {each: [] for each in rest}
    texts = [_written(each, nodes[each]) for each in rest]
    aliases = _aliases(itertools.chain.from_iterable(nodes.values()), package)
    for function in deferred:
        served[ANY if function == "__getattr__" else function] = frozenset().union(
            *(_references(nodes[functions[each]], aliases, package) for each in _reached({function}, functions))
        )
    eager = [node for each in rest if getattr(each, "name", None) not in deferred for node in nodes[each]]
    defined = {name for each in body for name in _bound(each)} if ANY in served else ()
    return Syntax(
        f"[{', '.join(texts)}]",
        frozenset(_references(eager, aliases, package)),
        served,
        frozenset(defined),
        tuple(tables),
    )


def _assigned(statement: ast.stmt) -> list[tuple[str, ast.expr]]:
    """List the plain names that a statement assigns, with the value."""
    targets: list[ast.expr] = []
    if isinstance(statement, ast.AnnAssign):
        targets = [statement.target]
    elif isinstance(statement, ast.Assign):
        targets = statement.targets
    value = getattr(statement, "value", None)
    return [(target.id, value) for target in targets if isinstance(target, ast.Name) and value is not None]


def _bound(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, (*_FUNCTIONS, ast.ClassDef)):
        yield statement.name
    else:
        yield from (n.id for n in ast.walk(statement) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
        yield from (a.asname or a.name for n in ast.walk(statement) if isinstance(n, ast.ImportFrom) for a in n.names)


def _words(value: ast.expr | None) -> dict[str, str] | None:
    """Return a dict of constant strings by constant strings; None for anything else, or an empty one."""
    if not isinstance(value, ast.Dict) or not value.keys:
        return None
    words = {_constant(k): _constant(v) for k, v in zip(value.keys, value.values, strict=True)}
    return words if len(words) == len(value.keys) and all(words) and all(words.values()) else None


def _table(names: Mapping[str, ast.expr]) -> tuple[str, tuple[tuple[str, str], ...]] | None:
    for name, value in names.items():
        words = _words(value)
        if words and all(_MODULE_NAME.fullmatch(module) for module in words.values()):
            return name, tuple(words.items())
    return None


def _served(statement: ast.stmt, dicts: Mapping[str, ast.expr]) -> dict[str, frozenset[str]] | None:
    """Read `__getattr__ = attributes(__name__, {name: module})`; None if the statement is no such thing."""
    for name, value in _assigned(statement):
        if name == "__getattr__" and isinstance(value, ast.Call):
            given = [*value.args, *(keyword.value for keyword in value.keywords)]
            for argument in given:
                homes = _words(dicts.get(argument.id) if isinstance(argument, ast.Name) else argument)
                if homes:
                    return {name: frozenset({_dotted(home, name)}) for name, home in homes.items()}
    return None


def _dotted(home: str, name: str) -> str:
    """Return "module" or "module:attribute" as one dotted reference to the attribute, or to `name` in the module."""
    module, colon, attribute = home.partition(":")
    return f"{module}.{attribute if colon else name}"


def _deferred(body: Iterable[ast.stmt], functions: Mapping[str, ast.stmt]) -> set[str]:
    """Name the functions of a package that importing it does not call; what they import is imported when one is."""
    if not functions:
        return set()
    called = {node.id for each in body if each not in functions.values() for node in ast.walk(each)
              if isinstance(node, ast.Name)}  # fmt: skip
    called |= {node.id for each in functions.values() for decorator in getattr(each, "decorator_list", ())
               for node in ast.walk(decorator) if isinstance(node, ast.Name)}  # fmt: skip
    return functions.keys() - _reached(called & functions.keys(), functions)


def _reached(names: set[str], functions: Mapping[str, ast.stmt]) -> set[str]:
    """Return some functions and all that they name, at any depth."""
    seen: set[str] = set()
    queue = sorted(names)
    while queue:
        if (name := queue.pop()) not in seen:
            seen.add(name)
            named = {node.id for node in ast.walk(functions[name]) if isinstance(node, ast.Name)}
            queue += sorted((named & functions.keys()) - seen)
    return seen


def _absolute(node: ast.ImportFrom, package: str) -> str:
    """Return the module that a `from` names, as an absolute name."""
    if not node.level:
        return node.module or ""
    parts = package.split(".") if package else []
    parts = parts[: len(parts) - node.level + 1] if node.level <= len(parts) else []
    return ".".join([*parts, *([node.module] if node.module else [])])


def _aliases(nodes: Iterable[ast.AST], package: str) -> dict[str, set[str]]:
    """Map each name that an import binds, anywhere in the nodes of a module, to what it may stand for."""
    aliases: dict[str, set[str]] = {}
    for node in nodes:
        if isinstance(node, ast.Import):
            for each in node.names:
                name = each.asname or each.name.partition(".")[0]
                aliases.setdefault(name, set()).add(each.name if each.asname else name)
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package)
            for each in node.names:
                aliases.setdefault(each.asname or each.name, set()).add(f"{module}.{each.name}")
    return aliases


def _references(nodes: Iterable[ast.AST], aliases: Mapping[str, set[str]], package: str) -> set[str]:
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = _absolute(node, package)
            found |= {module} | {f"{module}.{each.name}" for each in node.names}
        elif isinstance(node, ast.Attribute):
            found |= set(_chains(node, aliases))
        elif isinstance(node, ast.Call):
            found |= set(_by_name(node, aliases, package))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= set(_COMMAND.findall(node.value))
        if isinstance(node, (ast.Call, ast.List, ast.Tuple)):
            words = [_constant(each) for each in (node.args if isinstance(node, ast.Call) else node.elts)]
            found |= {module for flag, module in itertools.pairwise(words) if flag == "-m" and module}
    return found


def _constant(node: ast.AST | None) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _chains(node: ast.expr, aliases: Mapping[str, set[str]]) -> Iterator[str]:
    """Yield what `name.attribute.attribute` may stand for, where an import binds the name."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    if isinstance(node, ast.Name):
        yield from (".".join([start, *reversed(parts)]) for start in aliases.get(node.id, ()))


def _by_name(call: ast.Call, aliases: Mapping[str, set[str]], package: str) -> Iterator[str]:
    """Yield what a call imports, starts or reads by a name that is written out in it."""
    function = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    given = {keyword.arg: keyword.value for keyword in call.keywords}
    first = call.args[0] if call.args else given.get("name")
    if function in _IMPORTERS | _STARTERS and (name := _constant(first)):
        level = len(name) - len(name.lstrip("."))
        base = _constant(call.args[1] if len(call.args) > 1 else given.get("package")) or package
        node = ast.ImportFrom(module=name.lstrip(".") or None, names=[], level=level)
        yield _absolute(node, base).replace(":", ".")
    elif function == "getattr" and len(call.args) > 1 and (name := _constant(call.args[1])):
        yield from (f"{start}.{name}" for start in _chains(call.args[0], aliases))
