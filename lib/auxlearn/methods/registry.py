"""Every method, weight policy and maker by name: the library's own, those of installed packages and of plug-in files.

A package announces its own by an entry point of the group `auxlearn.methods`: the name of a module that registers them
when it is imported. A single file is named by a study's `plugins`.
"""

from __future__ import annotations

import contextlib
import copy
import difflib
import functools
import importlib
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import pydantic

from auxlearn import errors
from auxlearn.errors import InputError, meant
from auxlearn.methods import option_tables, plug_in_modules
from auxlearn.methods.base import Maker, Method, Options, WeightPolicy
from auxlearn.records import code_hash

GROUP = "auxlearn.methods"
BUILTIN = "auxlearn.methods.builtin"  # imported by name: what is registered there is no part of who asks for one of it
ALL_ROWS = "all_data"  # the method whose rows a policy weighs that is named alone

_METHODS: dict[str, Method] = {}
_POLICIES: dict[str, WeightPolicy] = {}
_MAKERS: dict[str, Maker] = {}
_HOMES: dict[str, str] = {}  # by name, the file that registered it
Registered = TypeVar("Registered")


def register(item: Registered) -> Registered:
    """Register a method, policy or maker under its name; may be used to decorate its class.

    Args:
        item: The object, or a class that is made without arguments.

    Returns:
        What was given.

    Raises:
        InputError: The name is taken by something else, or cannot be an arm's.
    """
    thing: Any = item() if isinstance(item, type) else item
    if not type(thing).__module__.startswith("auxlearn."):
        importlib.import_module(BUILTIN)  # first, so that another cannot take a name of theirs
    table: dict[str, Any] = (
        _MAKERS if isinstance(thing, Maker) else _POLICIES if isinstance(thing, WeightPolicy) else _METHODS
    )
    name = thing.artifact if isinstance(thing, Maker) else thing.name
    if not name or not name.replace("_", "a").replace("-", "a").isalnum():
        raise InputError(f"{type(thing).__name__}: {name!r} cannot be a method's name; use letters, digits, _ and -")
    taken = (_MAKERS if table is _MAKERS else _METHODS | _POLICIES).get(name)  # type: ignore[operator]
    home = _home(type(thing).__module__)
    if taken is not None and (type(taken).__qualname__, _HOMES.get(name)) != (type(thing).__qualname__, home):
        where = _HOMES.get(name, "")
        raise InputError(
            f"{name!r} is registered already, as {type(taken).__name__}{f' of {where}' if where else ''}; give the "
            "method another name"
        )
    table[name], _HOMES[name] = thing, home
    return item


def _other(taken: Method | WeightPolicy, of: str, defaults: Mapping[str, Any]) -> bool:
    """Tell whether a variant is another than one that is to have its name: two files may have the same."""
    return (tuple(taken.contrasts), taken.settled) != ((of,), defaults)


def _home(module: str) -> str:
    """Return the file of a module, by which two of one class name are told apart; its name where it has none."""
    return str(getattr(sys.modules.get(module), "__file__", None) or module)


def variant(name: str, of: str, title: str = "", **defaults: Any) -> Method | WeightPolicy:
    """Register a method or policy under another name with other defaults, so that one study can compare both.

    The variant is compared with the one that it is of, and weighs or chooses as that does.

    Args:
        name: The variant's name.
        of: The method or policy that it is a variant of.
        title: What it is, in a line; "" for the defaults that differ.
        defaults: Options by name, with the variant's values; options given to its family do not change them.

    Returns:
        The variant.

    Raises:
        InputError: There is no such method or option, or the name is taken.
    """
    base, taken = get(of), (_METHODS | _POLICIES).get(name)  # type: ignore[operator]
    home = _home(sys._getframe(1).f_globals["__name__"])
    if taken is not None and (not taken.settled or (_HOMES.get(name) != home and _other(taken, of, defaults))):
        raise InputError(f"{name!r} is registered already, as {taken.title!r}; give the variant another name")
    fields: dict[str, Any] = {}
    for option, value in defaults.items():
        if option not in base.Options.model_fields:
            raise InputError(f"{name}: {option_tables.lacking(of, option, base.Options.model_fields)}")
        field = copy.copy(base.Options.model_fields[option])
        field.default = value
        fields[option] = (field.annotation, field)
    model = pydantic.create_model(f"{base.Options.__name__}_{name}", __base__=base.Options, **fields)
    try:
        model.model_validate(model().model_dump())
    except pydantic.ValidationError as error:
        raise InputError(f"{name}: {errors.explain(error)}") from None
    item = copy.copy(base)
    item.name, item.Options, item.contrasts, item.settled = name, model, (of,), defaults
    item.title = title or f"{of} with " + ", ".join(f"{option} {value}" for option, value in defaults.items())
    for table in (_METHODS, _POLICIES):
        table.pop(name, None)  # its own, made anew
    register(item)
    _HOMES[name] = home
    return item


@functools.cache
def _load() -> None:
    importlib.import_module(BUILTIN)
    for entry in sorted(importlib.metadata.entry_points(group=GROUP), key=lambda entry: entry.name):
        try:
            entry.load()
        except Exception as error:
            package = f", of {entry.dist.name}" if entry.dist else ""
            raise InputError(f"methods of {entry.value}{package}: {type(error).__name__}: {error}") from error
    plug(plug_in_modules.told())


def plug(plugins: Iterable[str]) -> None:
    """Import modules or files that register methods, here and in every process that this one starts.

    Args:
        plugins: Dotted names of modules, or paths of .py files.

    Raises:
        InputError: One cannot be imported, or would run a module of another in place of its own.
    """
    for plugin in map(plug_in_modules.whole, plugins):
        if plug_in_modules.is_loaded(plugin):
            continue
        before = _state()
        try:
            plug_in_modules.load(plugin)
        except InputError:
            _return_to(before, [plugin])
            raise
        plug_in_modules.tell([*plug_in_modules.told(), plugin])


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Forget the plug-ins that are loaded while the context lasts: who asks what arms are called runs none of them."""
    _load()
    before, loaded = _state(), plug_in_modules.told()
    try:
        yield
    finally:
        _return_to(before, [plugin for plugin in plug_in_modules.told() if plugin not in loaded])
        plug_in_modules.tell(loaded)


def require(plugins: Iterable[str]) -> None:
    """Refuse plug-ins that are not loaded: those that a run folder names, which may be anyone's, are not imported.

    Args:
        plugins: As for `plug`.

    Raises:
        InputError: One is not loaded; the message says how it can be.
    """
    _load()
    for plugin in plugins:
        if not plug_in_modules.is_loaded(plug_in_modules.whole(plugin)):
            raise InputError(
                f"plugins: the run was made with {plugin}, which is code that no study of this command names; if you "
                f"trust it, set {plug_in_modules.VARIABLE}={plugin}"
            )


State = tuple[tuple[dict[str, Method], dict[str, WeightPolicy], dict[str, Maker], dict[str, str]], frozenset[str]]


def _state() -> State:
    """Return what is registered, and which modules there are."""
    importlib.import_module(BUILTIN)  # so that what is registered from here on is a plug-in's
    return (dict(_METHODS), dict(_POLICIES), dict(_MAKERS), dict(_HOMES)), frozenset(sys.modules)


def _return_to(state: State, plugins: Iterable[str]) -> None:
    """Undo some plug-ins: what has been registered since, and their modules, which would register it but once."""
    tables: tuple[dict[str, Any], ...] = (_METHODS, _POLICIES, _MAKERS, _HOMES)
    known: tuple[dict[str, Any], ...] = state[0]
    for table, items in zip(tables, known, strict=True):
        table.clear()
        table.update(items)
    for plugin in plugins:
        plug_in_modules.unload(plugin, state[1])


def names() -> list[str]:
    """List the methods, in the order in which they were registered."""
    _load()
    return list(_METHODS)


def policies() -> list[str]:
    """List the weight policies, in the order in which they were registered."""
    _load()
    return list(_POLICIES)


def get(name: str) -> Method | WeightPolicy:
    """Return the method or policy of a name.

    Raises:
        InputError: There is none; the message has the nearest names.
    """
    _load()
    if name in _METHODS:
        return _METHODS[name]
    if name in _POLICIES:
        return _POLICIES[name]
    raise InputError(f"{name!r} is no method{_nearest(name, [*_METHODS, *_POLICIES])}")


def maker(artifact: str) -> Maker:
    """Return the maker of an artifact.

    Raises:
        InputError: There is none.
    """
    _load()
    if artifact not in _MAKERS:
        raise InputError(f"{artifact!r} is no artifact; there are {', '.join(_MAKERS)}")
    return _MAKERS[artifact]


def check_made(p: Any) -> None:
    """Refuse parameters of a maker that it cannot make its artifact with; those of anything else pass.

    Args:
        p: Parameters of a notebook.

    Raises:
        InputError: As from `Maker.check`.
    """
    _load()
    for each in _MAKERS.values():
        if type(p) is each.Parameters:
            each.check(p)


def parse(arm: str) -> tuple[Method, WeightPolicy | None]:
    """Read an arm's name: METHOD, METHOD+POLICY, or POLICY alone, which weighs all rows.

    Args:
        arm: The name.

    Returns:
        The method whose rows are trained, and what weighs them.

    Raises:
        ValueError: There is no such arm; the message says what there is.
    """
    _load()
    rows, plus, last = arm.rpartition("+")
    policy = _POLICIES.get(last)
    method = _METHODS.get(rows or ALL_ROWS) if policy else None if plus else _METHODS.get(arm)
    if method is None or (policy and not method.adds_rows) or arm.startswith("+"):
        near = _nearest(arm, [*_METHODS, *_POLICIES]) or "."
        raise ValueError(
            f"{arm!r} is no arm{near} Methods: {', '.join(_METHODS)}. Weights, of all rows or as METHOD+POLICY: "
            f"{', '.join(_POLICIES)}"
        )
    if policy and policy.by and method.scores not in ("rows", policy.by):
        fitting = [name for name, other in _METHODS.items() if other.scores in ("rows", policy.by)]
        raise ValueError(
            f"{arm!r} is no arm: {policy.name} needs rows with scores, as METHOD+{policy.name} of {', '.join(fitting)}"
        )
    return method, policy


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = "+".join((difflib.get_close_matches(part, names, 1) or [part])[0] for part in name.split("+"))
    return meant(name, [near] if near != name else [])


def _all() -> list[Method | WeightPolicy]:
    return [*_METHODS.values(), *_POLICIES.values()]


def uses_n(arm: str) -> bool:
    """Say whether another n gives an arm another training."""
    return parse(arm)[0].uses_n


def options(item: Method | WeightPolicy, tables: Mapping[str, Mapping[str, Any]]) -> Options:
    """Return a method's or policy's options (see `option_tables.read`); a variant's own come before its family's."""
    if item.settled:
        tables = {**tables, item.name: {**item.settled, **tables.get(item.name, {})}}
    return option_tables.read(item.Options, tables, item.family, item.name)


def check_tables(tables: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse tables of options with a name or an option that does not exist, or a value that is not allowed.

    Raises:
        ValueError: The message names it.
    """
    _load()
    known: dict[str, list[Method | WeightPolicy]] = {}
    for item in _all():
        known[item.name] = [item]
        if item.family:
            known.setdefault(item.family, []).append(item)
    for name, values in tables.items():
        if name not in known:
            raise ValueError(f"methods: {name!r} is no method or family of methods{_nearest(name, known)}")
        has = dict.fromkeys(field for item in known[name] for field in item.Options.model_fields)
        if unknown := [option for option in values if option not in has]:
            raise ValueError(option_tables.lacking(name, unknown[0], has))
        for item in known[name]:
            options(item, {name: values})


def home(option: str) -> list[str]:
    """List the families and methods under which an option may be given, for the message that says so."""
    _load()
    return list(dict.fromkeys(item.family or item.name for item in _all() if option in item.Options.model_fields))


def root(item: str | Method | WeightPolicy | Maker) -> str:
    """Name the code of a method, policy or maker, or of the method or policy of a name, for `code_hash`."""
    return code_hash.root_of(type(get(item) if isinstance(item, str) else item))
