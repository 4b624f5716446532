"""Import a plug-in's module, name it, and forget it again; what it registers is `registry`'s affair.

A plug-in is a dotted name of a module, or a path of a .py file. Those that are loaded stand in an environment variable,
from which processes that this one starts load them too.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterable
from pathlib import Path

from auxlearn.errors import InputError
from auxlearn.records import code_hash
from auxlearn.records import plugins as plugin_files

VARIABLE = "AUXLEARN_PLUGINS"


def told() -> list[str]:
    """List the plug-ins that the environment names."""
    return [name for name in os.environ.get(VARIABLE, "").split(os.pathsep) if name]


def tell(plugins: Iterable[str]) -> None:
    """Name plug-ins to processes that this one starts; none of them in place of those told before."""
    if names := list(dict.fromkeys(plugins)):
        os.environ[VARIABLE] = os.pathsep.join(names)
    else:
        os.environ.pop(VARIABLE, None)


def whole(plugin: str) -> str:
    """Return a plug-in's whole path, which other processes find from any folder; a module's name as it is."""
    return str(Path(plugin).resolve()) if plugin.endswith(".py") else plugin


def is_loaded(plugin: str) -> bool:
    """Say whether a plug-in, by its whole path or name, has been imported."""
    return _module(plugin) in sys.modules


def load(plugin: str) -> None:
    """Import a plug-in's module.

    Args:
        plugin: As from `whole`.

    Raises:
        InputError: It cannot be imported, or would run a module of another in place of its own.
    """
    try:
        if plugin.endswith(".py"):
            name = _module(plugin)
            if (folder := str(Path(plugin).parent)) not in sys.path:
                sys.path.append(folder)  # for what it imports that lies beside it
            spec = importlib.util.spec_from_file_location(name, plugin)
            assert spec is not None, "a path that ends in .py has a loader"
            assert spec.loader is not None, "a path that ends in .py has a loader"
            module = sys.modules[name] = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
        else:
            module = importlib.import_module(plugin)
        taken = next(plugin_files.elsewhere(module, by_name=not plugin.endswith(".py")), None)
        if taken is None:
            code_hash.root_of(module)  # remembers the file as it is now
    except (Exception, SystemExit) as error:
        raise InputError(f"plugins: {plugin}: {type(error).__name__}: {error}") from error
    if taken is not None:  # its results would be recorded as those of code that did not run
        helper, file, other = taken
        raise InputError(
            f"plugins: {plugin}: its {helper} would be {other}, not {file}, as a process has one module of a name; "
            "rename one of the two where it is imported too, and start anew"
        )


def unload(plugin: str, before: Iterable[str]) -> None:
    """Forget a plug-in's module and those of its own that it imported, so that it can be loaded anew.

    Args:
        plugin: As from `whole`.
        before: Names of the modules that there were before it was loaded.
    """
    new = {name: getattr(sys.modules[name], "__file__", None) for name in set(sys.modules) - set(before)}
    sys.modules.pop(_module(plugin), None)
    if plugin.endswith(".py"):
        try:
            own = plugin_files.read(f"{plugin_files.FILE}{plugin}").files
        except (OSError, ValueError, SyntaxError):  # nor could it be run
            own = frozenset()
        theirs = [name for name, file in new.items() if file and Path(file).resolve() in own]
    else:
        theirs = [name for name in new if name.startswith(f"{plugin.partition('.')[0]}.")]
    for name in theirs:
        sys.modules.pop(name, None)


def _module(plugin: str) -> str:
    """Name a plug-in's module; two files of one name, in different folders, are two modules."""
    if not plugin.endswith(".py"):
        return plugin
    return f"auxlearn_plugin_{Path(plugin).stem}_{hashlib.sha256(plugin.encode()).hexdigest()[:8]}"
