"""The hash of a run's code: what it covers, what it is blind to, and that it is the same on every Python."""

import ast
import importlib
import importlib.machinery
import importlib.util
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from auxlearn.data import usable_rows
from auxlearn.errors import InputError
from auxlearn.methods.fastmtl import proxy_plans
from auxlearn.methods.gradts import head_store
from auxlearn.paths import PROJECT
from auxlearn.records import code_hash, manifests, module_syntax, plugins, run_search, runs
from auxlearn.signals import pass_store
from auxlearn.studies.parameters import TDProxy
from auxlearn.training import launch, phases, training_cache


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An empty folder in the place of the package; call it with the text of each module, `/` for a folder."""
    folder = tmp_path / "auxlearn"

    def write(**modules):
        for name, text in modules.items():
            path = folder / f"{name.replace('__in__', '/')}.py"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    monkeypatch.setattr(code_hash, "PACKAGE", folder)
    write(__init__="", a="", b="ONE = 1\n", sub__in____init__="", sub__in__c="TWO = 2\n")
    return write


# --- what a module imports --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "also"),
    [
        ("import auxlearn.sub.c", {"sub", "sub.c"}),
        ("import auxlearn.sub.c as x", {"sub", "sub.c"}),
        ("from auxlearn import b", {"b"}),
        ("from auxlearn.sub import c", {"sub", "sub.c"}),
        ("from auxlearn.sub.c import TWO", {"sub", "sub.c"}),
        ("from . import b", {"b"}),
        ("from .sub import c as x", {"sub", "sub.c"}),
        ("def late():\n    from auxlearn import b", {"b"}),
        ("import importlib\nx = importlib.import_module('auxlearn.sub.c')", {"sub", "sub.c"}),
        ("import importlib\nx = importlib.import_module('.c', package='auxlearn.sub')", {"sub", "sub.c"}),
        ("import importlib\nx = importlib.import_module('.b', __package__)", {"b"}),
        ("x = __import__('auxlearn.b')", {"b"}),
        ("import pkgutil\nx = pkgutil.resolve_name('auxlearn.sub.c:TWO')", {"sub", "sub.c"}),
        ("import subprocess, sys\nsubprocess.run([sys.executable, '-m', 'auxlearn.b', 'x'])", {"b"}),
        ("import os\nos.system('python -m auxlearn.b x')", {"b"}),
        ("from auxlearn import processes\nprocesses.command('torch.distributed.run', '-m', 'auxlearn.b')", {"b"}),
        ("from auxlearn import processes\nprocesses.command('auxlearn.b')", {"b"}),
        ("import auxlearn\nx = auxlearn.sub.c.TWO", {"sub", "sub.c"}),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from auxlearn import b\n", set()),
        ("import typing\nif typing.TYPE_CHECKING:\n    import json\nelse:\n    from auxlearn import b\n", {"b"}),
        ("'''See auxlearn.b, or python -m auxlearn.b.'''\nx = 'auxlearn.b'", set()),
        ("from somewhere.auxlearn import b", set()),
    ],
)
def test_an_import_counts_however_it_is_written(package, source, also):
    package(a=source)
    assert code_hash.modules(["a"]) == {"", "a"} | also


LAZY = "from auxlearn import lazy\n__getattr__ = lazy.attributes(__name__, {homes})\n"


@pytest.mark.parametrize(
    "source",
    [
        "from auxlearn.sub import f",
        "from auxlearn.sub import *",
        "from auxlearn import sub\nx = sub.f(1)",
        "import auxlearn.sub as s\nx = s.f(1)",
        "import auxlearn\nx = auxlearn.sub.f(1)",
        "from auxlearn import sub\nx = getattr(sub, 'f')(1)",
        "def late():\n    from . import sub\n    return sub.f",
    ],
)
@pytest.mark.parametrize(
    "serves",
    [
        LAZY.replace("{homes}", "{'f': 'auxlearn.b', 'g': 'auxlearn.sub.c'}"),
        "HOMES = {'f': 'auxlearn.b', 'g': 'auxlearn.sub.c'}\n" + LAZY.replace("{homes}", "HOMES"),
        LAZY.replace("{homes}", "{'f': 'auxlearn.b:f'}"),
        "def __getattr__(name):\n    from auxlearn import b\n    return getattr(b, name)\n",
        LAZY.replace("{homes}", "dict(f='auxlearn.b')"),
        LAZY.replace("{homes}", "HOMES") + "HOMES = {name: 'auxlearn.b' for name in 'fg'}\n",
        "def f(x):\n    return _g(x)\n\n\ndef _g(x):\n    from auxlearn.b import ONE\n    return ONE + x\n",
    ],
)
def test_a_name_that_a_package_serves_late_leads_to_its_module(package, source, serves):
    package(a=source, lazy="", sub__in____init__=serves)
    assert "b" in code_hash.modules(["a"])
    package(a="from auxlearn.sub import c\nx = c.TWO")
    assert "b" not in code_hash.modules(["a"])  # the package is imported, the name is not asked for


def test_a_module_that_is_no_package_may_serve_names_late_too(package):
    package(a="from auxlearn.d import f", lazy="", d=LAZY.replace("{homes}", "{'f': 'auxlearn.b'}"))
    assert "b" in code_hash.modules(["a"])


def test_one_more_name_served_late_makes_nothing_stale_and_another_home_does(package):
    package(a="from auxlearn.sub import f", lazy="", d="ONE = 1\n")
    package(sub__in____init__=LAZY.replace("{homes}", "{'f': 'auxlearn.b'}"))
    before = code_hash.code_hash(["a"])
    package(sub__in____init__=LAZY.replace("{homes}", "{'f': 'auxlearn.b', 'g': 'auxlearn.d'}"))
    assert code_hash.code_hash(["a"]) == before
    package(sub__in____init__=LAZY.replace("{homes}", "{'f': 'auxlearn.d', 'g': 'auxlearn.d'}"))
    assert code_hash.code_hash(["a"]) != before


def test_importing_a_package_runs_its_init_and_what_that_calls(package):
    package(a="from auxlearn.sub import c", sub__in____init__="def _f():\n    from auxlearn import b\n\n\n_f()\n")
    assert "b" in code_hash.modules(["a"])
    before = code_hash.code_hash(["a"])
    package(__init__="import os\nos.environ['OMP_NUM_THREADS'] = '1'\n")
    assert code_hash.code_hash(["a"]) != before


def test_a_release_changes_no_hash(package):
    package(__init__='"""Doc."""\n__version__ = "0.1.0"\n')
    before = code_hash.code_hash(["a"])
    package(__init__='"""Doc, longer."""\n__version__ = "0.2.0"\n')
    assert code_hash.code_hash(["a"]) == before


def test_of_a_table_of_modules_the_entries_of_those_covered_count(package):
    table = "TRAINERS = {'rounds': 'sub.c', 'weights': 'b:Trainer'}\n"
    package(a=table)
    plain, chosen = code_hash.code_hash(["a"]), code_hash.code_hash(["a", "b"])
    package(a=table.replace("}", ", 'more': 'sub.c:More'}"))
    assert [code_hash.code_hash(["a"]), code_hash.code_hash(["a", "b"])] == [plain, chosen]
    package(a=table.replace("b:Trainer", "b:Other"))
    assert code_hash.code_hash(["a"]) == plain
    assert code_hash.code_hash(["a", "b"]) != chosen
    package(a="FILES = {'x': 'y.yaml'}\n")  # no table of modules: there is no such one
    before = code_hash.code_hash(["a"])
    package(a="FILES = {'x': 'y.json'}\n")
    assert code_hash.code_hash(["a"]) != before


def test_a_hash_is_found_anew_when_a_file_of_it_changes_or_appears(package):
    package(a="from auxlearn.sub import c, d")
    before = code_hash.code_hash(["a"])
    assert code_hash.code_hash(["a"]) == before
    package(sub__in__d="THREE = 3\n")
    assert "sub.d" in code_hash.modules(["a"])
    assert code_hash.code_hash(["a"]) != before


def test_asked_again_no_module_is_looked_for_until_a_file_changes(package, monkeypatch):
    """Every training and pass asks twice whether its code was edited."""
    package(a="from auxlearn.sub import c")
    imported = {code_hash._name(path): ((0, 0), path.read_bytes()) for path in code_hash.PACKAGE.rglob("*.py")}
    monkeypatch.setattr(code_hash, "_IMPORTED", imported)
    before = code_hash.code_hash(["a"])
    assert not code_hash.edited(["a"])
    looked, resolved = [], code_hash._Closure._resolved
    monkeypatch.setattr(code_hash._Closure, "_resolved", lambda *given: looked.append(given) or resolved(*given))
    assert not code_hash.edited(["a"])
    assert code_hash.code_hash(["a"]) == before
    assert looked == []
    package(sub__in__c="TWO = 22\n")
    assert code_hash.edited(["a"])
    assert code_hash.code_hash(["a"]) != before
    package(sub__in__c="TWO = 2  # as it was\n")
    assert not code_hash.edited(["a"])


def test_an_older_copy_of_the_package_is_hashed_where_it_lies(package, tmp_path):
    package(a="from auxlearn import b")
    shutil.copytree(tmp_path / "auxlearn", tmp_path / "old")
    assert code_hash.code_hash(["a"], package=tmp_path / "old") == code_hash.code_hash(["a"])
    package(b="ONE = 10\n")
    assert code_hash.code_hash(["a"], package=tmp_path / "old") != code_hash.code_hash(["a"])


# Modules that import what they learn only when they run. What they import has to be a root of whatever they make.
RUN_TIME = {
    "lazy",  # read off the package that calls it
    "training.extension_points",  # trainers, objectives, a pass's share: `training_cache.code_roots`, `pass_store`
    "methods.plug_in_modules",  # a plug-in, a root of the run that names what it registers
    "methods.registry",  # methods, policies and makers: roots of the run that names them
    "studies.engine.profiles",  # looks for a plugin of Snakemake
    "models.encoder_files",  # looks for a package of weights, whose content is in keys
    "records.plugins",  # finds files, imports nothing
    "processes",  # a module as a program: `command` names it
}


def test_no_other_module_imports_what_cannot_be_read_off():
    found = set()
    for path in code_hash.PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            called = getattr(node, "func", None)
            name = getattr(called, "attr", getattr(called, "id", ""))
            if name in module_syntax._IMPORTERS | {"exec", "eval", "run_path", "load_module", "exec_module"}:
                bare = name in ("exec", "eval") and isinstance(called, ast.Attribute)  # net.eval()
                if not bare and not (node.args and isinstance(node.args[0], ast.Constant)):
                    found.add(code_hash._name(path))
    assert found <= RUN_TIME, "what these import must be a root of what they make; see code_hash.root_of"


# --- the same on every Python -----------------------------------------------------------------------------------------


class FunctionDef(ast.FunctionDef):
    """As Python 3.12 has it."""

    _fields = (*ast.FunctionDef._fields, "type_params")


def as_on_3_12(tree):
    """Give each function of a tree the empty type parameters that Python 3.12 gives it."""
    for node in ast.walk(tree):
        for position, each in enumerate(getattr(node, "body", None) or () if not isinstance(node, ast.Lambda) else ()):
            if isinstance(each, ast.FunctionDef):
                fields = {name: value for name, value in ast.iter_fields(each)}
                node.body[position] = FunctionDef(**fields, type_params=[])
    return tree


SOURCE = '''
@decorated
def f(a, b=None, *c, d, **e):
    """Doc."""
    return f"{a!r:>{b}} {c=} {d:.2f}" + u"x" + "é\U0001fae8"


async def g():
    def inner():
        pass
    match inner():
        case None | [1, *_]:
            return
        case {"x": y, **rest}:
            return None


class C(Base):
    x: int = 1
'''


def test_empty_fields_and_type_parameters_that_other_pythons_add_say_nothing():
    tree, plain = ast.parse(SOURCE), module_syntax.canonical(ast.parse(SOURCE))
    dumped = ast.dump(as_on_3_12(tree))
    assert dumped.count("type_params=[]") == 2
    assert module_syntax.canonical(tree) == plain
    assert "type_params" not in plain
    for node in ast.walk(tree):  # 3.13 writes no field that is empty
        for name, value in list(ast.iter_fields(node)):
            if (value is None and not isinstance(node, (ast.Constant, ast.MatchSingleton))) or value == []:
                delattr(node, name)
    assert module_syntax.canonical(tree) == plain


def test_type_parameters_that_are_given_do_count():
    tree = as_on_3_12(ast.parse("def f(x):\n    return x"))
    plain = module_syntax.canonical(tree)
    tree.body[0].type_params = [ast.Name("T", ast.Load())]
    assert module_syntax.canonical(tree) != plain


@pytest.mark.parametrize(
    "pair",
    [("return", "return None"), ("x = None", "x = 1"), ("{**a}", "{None: a}"), ("f(x)", "f(*x)"), ("x = ''", "x = b''"),
     ("x = 1", "x = 1.0"), ("x = True", "x = 1"), ("def f(*, a, b=1): 0", "def f(*, a=1, b): 0"), ("f''", "''"),
     ("x: int", "x: int = None"), ("for x in y: 0", "async def f():\n async for x in y: 0"), ("f'{x!s}'", "f'{x!r}'"),
     ("f'{x:a}'", "f'{x}a'"), ("a or b", "a and b"), ("a[1:]", "a[:1]"), ("lambda: 0", "lambda: None"),
     ("from .a import b", "from a import b"), ("if a:\n b\nelse:\n c", "if a:\n b\n c")],
)  # fmt: skip
def test_what_differs_is_written_otherwise(pair):
    one, other = (module_syntax.canonical(ast.parse(text)) for text in pair)
    assert one != other


@pytest.mark.parametrize(
    "pair",
    [("u'x'", "'x'"), ("f'{x:}'", "f'{x}'"), ("f'a' 'b' f'{x}'", "f'ab{x}'"), ("x = (1)", "x = 1  # type: int"),
     ("def f():\n '''a'''\n return 1", "def f():\n return 1"), ("def f():\n '''a'''", "def f(): pass"),
     ("class A:\n '''a'''\n x = 1", "class A:\n x = 1"), ("'\\u00e9'", "'é'"), ("0x10", "16"), ("a = 1;", "a = 1")],
)  # fmt: skip
def test_what_runs_alike_is_written_alike(pair):
    one, other = (module_syntax.canonical(ast.parse(text)) for text in pair)
    assert one == other


def test_pieces_of_f_strings_are_joined_as_the_parsers_of_other_pythons_join_them():
    value = ast.FormattedValue(ast.Name("x", ast.Load()), -1, ast.JoinedStr([]))
    pieces = [ast.Constant("a"), ast.Constant(""), ast.Constant("b"), value, ast.Constant("")]
    whole = ast.parse("f'ab{x}'", mode="eval").body
    assert module_syntax.canonical(ast.JoinedStr(pieces)) == module_syntax.canonical(whole)


def test_letters_of_a_later_unicode_are_written_as_every_python_writes_them():
    text = module_syntax.canonical(ast.parse('x = "\U0001fae8 \u0378 é"'))  # printable since Unicode 15; never; always
    assert text.isascii()
    assert "\\U0001fae8 \\u0378 \\xe9" in text


def test_the_hash_of_a_known_module_is_the_one_that_it_has_everywhere(package):
    """The value was computed on 3.11; another Python, or another way to write trees, that gives another is at fault."""
    package(a=SOURCE.replace("@decorated\n", "from auxlearn import b\n\n\n").replace("async def g", "def g"))
    assert code_hash.code_hash(["a"]) == "3bbc1dcb132bccd2"


# --- what makes a unit ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def units(planted, tmp_path_factory):
    """A run folder with a finished training, a plain pass, a pass that reads gradients, heads and leaks."""
    suite = planted.capped(40)
    folder = tmp_path_factory.mktemp("units")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(folder))
        p = TDProxy(proxies="one", proxy_rows=8, watch_rows=4, epochs=1).resolved()
        (plan,), _ = proxy_plans.proxies(p, suite, 0)
        training = training_cache.trained(plan, suite).manifest
        rows = {"topic_side": np.arange(4)}
        made = {
            "training": training,
            "pass": pass_store.scored(training, plan, suite, only=rows).manifest,
            "losses": pass_store.scored(training, plan, suite, only=rows, reads=("loss",)).manifest,
            "heads": head_store.measured(training, plan, suite, "topic_side", np.arange(3))[0],
        }
        usable_rows.hits(suite)
        (made["leaks"],) = run_search.all_runs("leaks")
    return folder, made


@pytest.fixture
def status(units, tmp_path, monkeypatch):
    """The status of a unit, and a copy of the package to edit in place of the one that made it."""
    folder, made = units
    monkeypatch.setenv("AUXLEARN_RUNS", str(folder))
    shutil.copytree(code_hash.PACKAGE, tmp_path / "auxlearn", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(code_hash, "PACKAGE", tmp_path / "auxlearn")
    return tmp_path / "auxlearn", lambda unit: runs.read(made[unit].stage, made[unit].key)[0]


PASSES = ("pass", "losses")
EVERY = ("training", *PASSES, "heads")


@pytest.mark.parametrize(
    ("file", "old", "new", "stale"),
    [
        # The two that house.md names.
        ("training/training_cache.py", '"predictions": result.predictions', '"predictions": 1 - result.predictions',
         EVERY),
        ("signals/pass_store.py", ".to(plan.device).eval()", ".to(plan.device)", (*PASSES, "heads")),
        ("training/prediction.py", "    model.eval()\n", "", EVERY),
        ("signals/row_signals.py", "torch.inference_mode(not backward)", "torch.inference_mode(False)",
         (*PASSES, "heads")),
        # Read back otherwise than written.
        ("training/training_cache.py", "return predictions, gold", "return gold, gold", EVERY),
        # In several processes.
        ("training/worker.py", "if leading else {}", "if not leading else {}", EVERY),
        ("training/launch.py", "return arrays[value[6:]]", "return arrays[value[6:]] * 2", EVERY),
        ("processes.py", "POLL_SECONDS = 0.2", "POLL_SECONDS = 0.3", EVERY),
        # Named by a word in the plan, or by the key of a dict in a module that knows no method.
        ("methods/fastmtl/discriminator.py", "import torch\n", "import torch\n\nMORE = 1\n", EVERY),
        ("training/extension_points.py", '"methods.fastmtl.discriminator:BCE"', '"methods.fastmtl.discriminator:CE"',
         EVERY),
        # What units keep their arrays with.
        ("files/stored_arrays.py", "import numpy as np\n", "import numpy as np\n\nMORE = 1\n", EVERY),
        ("data/usable_rows.py", "near=NEAR)", "near=0.9)", ("leaks",)),
        ("methods/gradts/head_store.py", "head_importance.over_rows(net", "head_importance.over_rows(1 * net",
         ("heads",)),
    ],
)  # fmt: skip
def test_an_edit_of_what_decides_a_unit_makes_it_stale(status, file, old, new, stale):
    folder, of = status
    assert {of(unit) for unit in (*EVERY, "leaks")} == {"finished"}
    text = (folder / file).read_text()
    assert old in text
    (folder / file).write_text(text.replace(old, new))
    assert [unit for unit in (*EVERY, "leaks") if of(unit) == "stale"] == list(stale)


def test_a_method_added_makes_nothing_stale(status):
    folder, of = status
    (folder / "methods" / "another").mkdir()
    (folder / "methods" / "another" / "__init__.py").write_text('"""Another."""\n')
    (folder / "methods" / "another" / "trainer.py").write_text("def run():\n    pass\n")
    (folder / "methods" / "one_more.py").write_text("from auxlearn.methods import ranking\n")
    points = folder / "training" / "extension_points.py"
    text = points.read_text()
    added = text.replace('TRAINERS = {"', 'TRAINERS = {"more": "methods.another.trainer", "')
    assert added != text
    points.write_text(added)
    init = folder / "__init__.py"
    init.write_text(init.read_text().replace('{"Suite":', '{"more": "auxlearn.methods.one_more", "Suite":'))
    assert {of(unit) for unit in (*EVERY, "leaks")} == {"finished"}


@pytest.mark.parametrize(
    ("phase", "trainer"),
    [
        ({}, "training.train"),
        ({"weighting": phases.Weighting("topic_side", (1.0,), "measured")}, "methods.tawt.weighted_trainer"),
    ],
)
def test_a_training_names_itself_its_trainer_and_its_objectives(small, phase, trainer):
    (plan,), _ = proxy_plans.proxies(TDProxy(proxies="one", proxy_rows=20, watch_rows=10).resolved(), small, 0)
    plan = replace(plan, phases=tuple(replace(each, **phase) for each in plan.phases))
    roots = training_cache.code_roots(plan)
    assert set(roots) == {"training.training_cache", "methods.fastmtl.discriminator", trainer}
    assert "training.worker" in code_hash.modules(roots)


def test_the_program_that_launch_starts_is_covered_where_launch_is():
    assert "training.worker" in code_hash.modules([code_hash.name_of(launch)])


# --- code that is not ours --------------------------------------------------------------------------------------------


@pytest.fixture
def plugin(tmp_path, monkeypatch):
    """A user's file, imported from where it lies."""
    folder = tmp_path / "mine"
    folder.mkdir()
    file = folder / "my_method.py"
    (folder / "my_helper.py").write_text("ONE = 1\n")
    file.write_text("from auxlearn.methods import ranking\nimport my_helper\n\n\nclass Mine:\n    pass\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setattr(code_hash, "_PLUGINS", {})
    for name in ("my_method", "my_helper"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return file, importlib.import_module("my_method")


def test_a_users_file_is_a_root_by_its_name_and_bytes(plugin, tmp_path):
    file, module = plugin
    root = code_hash.root_of(module.Mine)
    assert root == code_hash.root_of(module) == f"file:{file}"
    assert {"methods", "methods.ranking"} <= code_hash.modules([root])
    before = code_hash.code_hash([root])
    shutil.copytree(file.parent, tmp_path / "elsewhere")
    elsewhere = f"file:{tmp_path / 'elsewhere' / 'my_method.py'}"
    assert code_hash.code_hash([elsewhere]) == before  # wherever it lies
    assert not code_hash.edited([root])
    (file.parent / "my_helper.py").write_text("ONE = 2\n")  # what it imports from beside it
    assert code_hash.code_hash([root]) != before
    assert code_hash.edited([root])
    (file.parent / "my_helper.py").write_text("ONE = 1\n")
    assert not code_hash.edited([root])
    file.write_text(file.read_text() + "# a comment: bytes are bytes\n")
    assert code_hash.code_hash([root]) != before
    assert code_hash.edited([root])
    file.rename(file.with_name("other.py"))
    assert code_hash.edited([root])
    with pytest.raises(OSError, match="my_method"):
        code_hash.code_hash([root])


@pytest.mark.parametrize(
    ("source", "files", "read"),
    [
        ("import helpers.core", {"helpers/__init__": "", "helpers/core": ""}, "helpers/__init__ helpers/core"),
        ("from helpers import core", {"helpers/__init__": "", "helpers/core": ""}, "helpers/__init__ helpers/core"),
        ("from helpers.core import X", {"helpers/core": "X = 1"}, "helpers/core"),  # no __init__ is needed
        ("from helpers.a.b import X", {"helpers/a/b": "X = 1", "helpers/a/c": ""}, "helpers/a/b"),
        ("def late():\n    import helpers.core", {"helpers/core": ""}, "helpers/core"),
        ("import importlib\nimportlib.import_module('helpers.core')", {"helpers/core": ""}, "helpers/core"),
        ("import helpers", {"helpers/__init__": "from .core import X", "helpers/core": "X = 1"},
         "helpers/__init__ helpers/core"),
        ("import helpers", {"helpers/__init__": "from . import core as x", "helpers/core": "", "core": ""},
         "helpers/__init__ helpers/core"),
        ("from helpers import *", {"helpers/__init__": "__all__ = ['core', 'X']", "helpers/core": "", "X": ""},
         "helpers/__init__ helpers/core"),
        ("import helpers.a.b", {"helpers/a/b": "from ..core import X", "helpers/core": "from . import more",
                                "helpers/more": "import beside", "beside": ""},
         "beside helpers/a/b helpers/core helpers/more"),
        ("import helpers", {"helpers/__init__": "", "helpers": "X = 1"}, "helpers/__init__"),  # as Python chooses
        ("import helpers.core", {"helpers": "X = 1", "helpers/core": ""}, "helpers"),
        ("import helpers", {"helpers/core": ""}, ""),
        ("import auxlearn.errors", {"auxlearn/__init__": "", "auxlearn/errors": ""}, ""),
        ("from . import helpers", {"helpers": ""}, "helpers"),
        ("import importlib\nimportlib.import_module('/etc.x')\nimport_module('../x')", {}, ""),
    ],
)  # fmt: skip
def test_a_users_file_is_hashed_with_the_packages_beside_it_that_it_imports(tmp_path, source, files, read):
    folder = tmp_path / "some.where"
    for name, text in ({"mine": source} | files).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.py").write_text(f"{text}\n")
    root = f"file:{folder / 'mine.py'}"
    before = code_hash.code_hash([root])
    shutil.copytree(folder, tmp_path / "else" / "where")
    assert code_hash.code_hash([f"file:{tmp_path / 'else' / 'where' / 'mine.py'}"]) == before
    stale = set()
    for name, text in files.items():
        (folder / f"{name}.py").write_text(f"{text}\nedited = 1\n")
        if code_hash.code_hash([root]) != before:
            stale.add(name)
        (folder / f"{name}.py").write_text(f"{text}\n")
    assert stale == set(read.split())


def test_a_class_in_a_package_of_a_users_is_hashed_with_what_that_imports(tmp_path):
    """A plug-in may leave its methods to a package beside it: the root of one is then a file of the package."""
    source = "from . import ONE\nfrom ..core import X\nfrom helpers.more import Y\nimport beside\n"
    for inits in ((), ("helpers/__init__", "helpers/a/__init__")):
        folder = tmp_path / f"with_{len(inits)}"
        for name in ("helpers/a/methods", "helpers/core", "helpers/more", "beside", "unused", *inits):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.py").write_text(source if name == "helpers/a/methods" else "")
        named = {"helpers/a/methods", "helpers/core", "helpers/more"}
        # Where no file says how far a package goes up, nothing says what else lay beside the plug-in.
        named |= {*inits, "beside"} if inits else set()
        read = plugins.read(f"file:{folder / 'helpers/a/methods.py'}").files
        assert {path.relative_to(folder).with_suffix("").as_posix() for path in read} == named


def test_what_is_installed_beside_a_users_file_is_no_part_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(plugins, "_distributions", lambda: {"theirs": ["their-methods"]})
    for home, count in (("site-packages", 2), ("mine", 3)):
        for name, text in (("method", "import theirs, my_helper"), ("theirs/__init__", ""), ("my_helper", "")):
            (tmp_path / home / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / home / f"{name}.py").write_text(text)
        assert len(plugins.read(f"file:{tmp_path / home / 'method.py'}").files) == count


def test_a_compiled_helper_counts_before_its_source(tmp_path):
    (tmp_path / "mine.py").write_text("import fast")
    (tmp_path / "fast.py").write_text("")
    compiled = tmp_path / f"fast{importlib.machinery.EXTENSION_SUFFIXES[0]}"
    compiled.write_bytes(b"\x7fELF")
    assert plugins.read(f"file:{tmp_path / 'mine.py'}").files == {tmp_path / "mine.py", compiled}


def test_a_file_of_the_project_is_named_from_there(monkeypatch, tmp_path, plugin):
    monkeypatch.setattr(plugins, "PROJECT", tmp_path)
    assert code_hash.root_of(plugin[1]) == "file:mine/my_method.py"
    assert code_hash.code_hash(["file:mine/my_method.py"])


def test_a_run_of_a_users_file_is_stale_once_that_changes(plugin):
    file, module = plugin
    run = runs.Run("06_mtl", "a" * 16, {}, "s", code_roots=("errors", code_hash.root_of(module)))
    run.path("x.txt").write_text("1")
    manifest = run.finish(["x.txt"], {})
    assert runs.read("06_mtl", run.key)[0] == "finished"
    assert manifests.read(manifest.path("manifest.json")).code["roots"] == ["errors", f"file:{file}"]
    file.write_text("class Mine:\n    x = 1\n")
    assert runs.read("06_mtl", run.key)[0] == "stale"
    with pytest.raises(InputError, match="was edited after this kernel"):
        run.check_unedited()


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A distribution of somebody else with a package of two modules and one that nothing imports."""
    site = tmp_path / "site"
    (site / "theirs").mkdir(parents=True)
    (site / "theirs" / "__init__.py").write_text("raise RuntimeError('run')\n")
    (site / "theirs" / "method.py").write_text("from auxlearn.evaluation import stats\nfrom .helper import x\n")
    (site / "theirs" / "helper.py").write_text("x = 1\n")
    (site / "theirs" / "unused.py").write_text("y = 1\n")

    def version(number):
        for old in site.glob("*.dist-info"):
            shutil.rmtree(old)
        info = site / f"their_methods-{number}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: their-methods\nVersion: {number}\n")
        (info / "top_level.txt").write_text("theirs\n")
        (info / "RECORD").write_text("theirs/__init__.py,,\ntheirs/method.py,,\n")
        importlib.invalidate_caches()
        plugins._distributions.cache_clear()

    version("1.0")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setattr(code_hash, "_PLUGINS", {})
    yield site / "theirs", version
    plugins._distributions.cache_clear()


def test_a_module_of_a_distribution_is_a_root_by_version_and_bytes_and_is_never_run(installed):
    folder, version = installed
    root = "external:theirs.method"
    assert "evaluation.stats" in code_hash.modules([root])
    before = code_hash.code_hash([root])
    assert "theirs" not in sys.modules
    (folder / "unused.py").write_text("y = 2\n")
    assert code_hash.code_hash([root]) == before
    version("1.1")
    assert code_hash.code_hash([root]) != before
    version("1.0")
    assert code_hash.code_hash([root]) == before
    (folder / "helper.py").write_text("x = 20\n")
    assert code_hash.code_hash([root]) != before
    (folder / "helper.py").write_text("x = 1\n")
    (folder / "method.py").write_text("from auxlearn.evaluation import stats\nfrom .helper import x as y\n")
    assert code_hash.code_hash([root]) != before
    for gone in ("external:theirs.gone", "external:no_such_package", "external:sys", "external:builtins"):
        with pytest.raises(OSError, match="module"):
            code_hash.code_hash([gone])


def test_which_root_a_module_is():
    import pydantic.fields

    assert code_hash.root_of(pydantic.fields.FieldInfo) == "external:pydantic.fields"
    assert code_hash.root_of(launch) == "training.launch"
    assert code_hash.root_of(runs.Run) == "records.runs"
    assert code_hash.root_of(importlib.import_module("auxlearn")) == ""
    # A test file is a file, whatever it is called, and so is what another project installs as `tests`.
    own = code_hash.root_of(sys.modules[FunctionDef.__module__])
    assert own == f"file:{Path(__file__).resolve().relative_to(PROJECT).as_posix()}"


def test_what_is_written_in_a_notebook_has_no_root():
    script = (
        "from auxlearn.records import code_hash\nclass A: pass\n"
        "try:\n    code_hash.root_of(A)\nexcept ValueError as e:\n    print(e)"
    )
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert re.search("__main__ has no file.*put it into one", said)


@pytest.mark.parametrize(
    ("root", "fine"),
    [
        ("training.train", True), ("external:a.b", True), ("file:a/b.py", True), ("file:/a b/c.py", True),
        ("external:a/b", False), ("external:", False), ("external:.a", False), ("file:a.txt", False),
        ("file:../a.py", False), ("file:/a/../b.py", False), ("file:a\0.py", False), ("other:a.py", False),
        ("../a", False), ("file:" + "a" * 1000 + ".py", False),
    ],
)  # fmt: skip
def test_a_manifest_may_name_such_roots_and_no_others(root, fine):
    record = {"roots": [root], "notebook": None, "hash": ""}
    if fine:
        assert manifests.Code.model_validate(record).roots == [root]
    else:
        with pytest.raises(ValueError, match="root"):
            manifests.Code.model_validate(record)


def test_a_root_that_is_no_regular_file_or_no_python_is_read_as_gone(tmp_path):
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "deep.py").write_text("(" * 5000 + ")" * 5000)
    for name, error in (("folder.py", OSError), ("deep.py", (ValueError, SyntaxError))):
        with pytest.raises(error):
            code_hash.code_hash([f"file:{tmp_path / name}"])
    assert code_hash.edited([f"file:{tmp_path / 'deep.py'}"])


def test_a_report_shows_no_folder_of_a_machine():
    assert plugins.without_folder("file:/elsewhere/x.py") == "file:x.py"
    assert plugins.without_folder("file:mine/x.py") == "file:mine/x.py"
    assert plugins.without_folder("external:a.b") == "external:a.b"
