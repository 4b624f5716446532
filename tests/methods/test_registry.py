"""The registry: names, arms and options, and what installed packages and plug-in files add to it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import Field

from auxlearn.errors import InputError
from auxlearn.methods import plug_in_modules, registry
from auxlearn.methods.base import Maker, Method, Options, WeightPolicy
from auxlearn.paths import PROJECT
from auxlearn.studies import parameters

MINE = """from auxlearn.methods.base import Method
from auxlearn.methods.registry import register


@register
class Mine(Method):
    name, title = "mine", "of a file"
"""


@pytest.fixture(autouse=True)
def unchanged(monkeypatch):
    """What a test registers or plugs in is gone after it, here and for processes that others start."""
    registry.names()
    for table in ("_METHODS", "_POLICIES", "_MAKERS", "_HOMES"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(plug_in_modules.VARIABLE, os.environ.get(plug_in_modules.VARIABLE, ""))
    known = set(sys.modules)
    yield
    for name in set(sys.modules) - known:
        if not _stays(sys.modules[name]):
            del sys.modules[name]


def _stays(module):
    """Whether a module is the library's or an installed one: a second copy of torch in a process crashes it."""
    file = getattr(module, "__file__", None)
    homes = (sys.prefix, sys.base_prefix, str(PROJECT / "lib"))
    return file is None or str(Path(file).absolute()).startswith(homes)


def method(name, **attributes):
    return type("Made", (Method,), {"name": name} | attributes)


def policy(name, **attributes):
    return type("Weighs", (WeightPolicy,), {"name": name} | attributes)


# --- names -----------------------------------------------------------------------------------------------------------


def test_a_class_or_an_object_is_registered_under_its_name_and_returned():
    made = method("made")
    assert registry.register(made) is made
    assert isinstance(registry.get("made"), made)
    assert registry.names()[-1] == "made"
    other = policy("weighs")()
    assert registry.register(other) is other
    assert registry.get("weighs") is other
    assert registry.policies()[-1] == "weighs"
    maker = type("Makes", (Maker,), {"artifact": "thing"})
    registry.register(maker)
    assert isinstance(registry.maker("thing"), maker)


@pytest.mark.parametrize("name", ["", "a+b", "a b", "a/b", "+", "a.b"])
def test_a_name_that_can_be_no_arm_s_is_refused(name):
    with pytest.raises(InputError, match="cannot be a method's name"):
        registry.register(method(name))


def test_a_name_is_given_once_unless_the_same_class_comes_again():
    registry.register(method("made"))
    registry.register(method("made"))  # a file that is imported twice
    for taken in (policy("made"), policy("random"), method("tawt_joint"), type("Other", (Method,), {"name": "made"})):
        with pytest.raises(InputError, match="is registered already, as "):
            registry.register(taken)
    registry.register(type("Makes", (Maker,), {"artifact": "random"}))  # artifacts are no arms


def test_a_variant_is_its_method_with_other_defaults_that_a_family_s_options_leave_alone():
    made = registry.variant("trial_variant", "gradts_trial", trial_rule="code", trial_most=2)
    assert registry.parse("trial_variant") == (made, None)
    assert made.contrasts == ("gradts_trial",)
    base = registry.get("gradts_trial")
    assert base.name == "gradts_trial"
    for item, most, rule in ((made, 2, "code"), (base, 3, "corrected")):
        told = registry.options(item, {"gradts": {"trial_most": 3, "trial_patience": 5}})
        assert (told.trial_most, told.trial_rule, told.trial_patience) == (most, rule, 5)
    assert registry.options(made, {"trial_variant": {"trial_most": 7}}).trial_most == 7
    assert made.Options().trial_rule == "code"
    policy = registry.variant("tawt_variant", "tawt_joint", tawt_rule="paper")
    assert registry.parse("random+tawt_variant") == (registry.get("random"), policy)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("quota_bce", {"proxies": "one"}, "'quota_bce' is registered already"),
        ("td_variant", {"proxie": "one"}, "td_bce has no option 'proxie'; did you mean 'proxies'"),
        ("td_variant", {"proxies": "two"}, "td_variant: proxies: .*'any', 'crossfit' or 'one'"),
    ],
)
def test_a_variant_that_cannot_be_is_refused(name, options, words):
    with pytest.raises(InputError, match=words):
        registry.variant(name, "td_bce", **options)
    assert registry.get("quota_bce").name == "quota_bce"


def test_what_is_not_there_is_named_with_what_is():
    with pytest.raises(InputError, match=r"'gradts_tres' is no method; did you mean 'gradts_thres'\?"):
        registry.get("gradts_tres")
    with pytest.raises(InputError, match=r"'heads' is no artifact; there are .*ranking"):
        registry.maker("heads")


# As tests are collected, before any of this process has loaded a plug-in.
OWN_METHODS, OWN_POLICIES = registry.names(), registry.policies()


def test_every_contrast_need_and_family_of_the_library_s_own_is_there():
    for name in OWN_METHODS:
        assert all(isinstance(registry.get(other), Method) for other in registry.get(name).contrasts), name
    for name in OWN_POLICIES:
        contrasts = [other for other in registry.get(name).contrasts if other]
        assert all(isinstance(registry.get(other), WeightPolicy) for other in contrasts), name
    for name in [*OWN_METHODS, *OWN_POLICIES]:
        arm = f"td_bce+{name}" if getattr(registry.get(name), "by", None) else name
        p = parameters.validate("06_mtl", {"arm": arm, "methods": {"tawt": {"prior_given": ["topic_side=1"]}}})
        assert all(stage in parameters.MODELS for stage, _ in p.needs())
        assert registry.get(name).title


# --- arms ------------------------------------------------------------------------------------------------------------


def test_an_arm_is_a_method_a_policy_or_both():
    assert [each and each.name for each in registry.parse("td_bce")] == ["td_bce", None]
    assert [each.name for each in registry.parse("td_bce+tawt_joint")] == ["td_bce", "tawt_joint"]
    assert [each.name for each in registry.parse("tawt_joint")] == ["all_data", "tawt_joint"]
    registry.register(method("made-2"))
    registry.register(policy("weighs"))
    assert [each.name for each in registry.parse("made-2+weighs")] == ["made-2", "weighs"]
    assert registry.uses_n("made-2+weighs")
    assert not registry.uses_n("weighs")


@pytest.mark.parametrize(
    "arm", ["", "+", "td_bce+", "+joint", "joint+td_bce", "td_bce+random", "single+joint", "a+b+c"]
)
def test_other_words_are_no_arm(arm):
    with pytest.raises(ValueError, match=r"is no arm.*Methods: .*\bsingle, .*POLICY: .*\bjoint, "):
        registry.parse(arm)


def test_a_policy_that_reads_scores_wants_a_method_that_gives_them():
    registry.register(method("rated", scores="rows"))
    registry.register(method("by_task", scores="tasks"))
    registry.register(method("unrated"))
    registry.register(policy("reads_rows", by="rows"))
    registry.register(policy("reads_tasks", by="tasks"))
    for rows, weights in (("rated", "reads_rows"), ("rated", "reads_tasks"), ("by_task", "reads_tasks")):
        registry.parse(f"{rows}+{weights}")
    for arm in ("by_task+reads_rows", "unrated+reads_rows", "unrated+reads_tasks", "reads_rows"):
        with pytest.raises(ValueError, match="needs rows with scores, as METHOD"):
            registry.parse(arm)


# --- options ---------------------------------------------------------------------------------------------------------


class Knobs(Options):
    turns: int = Field(3, ge=1)
    """how often"""


class MoreKnobs(Knobs):
    speed: float = 1.0
    """how fast"""


def test_options_are_those_of_a_family_overridden_by_a_method_s_own():
    registry.register(method("slow", family="knobs", Options=Knobs))
    registry.register(method("fast", family="knobs", Options=MoreKnobs))
    tables = {"knobs": {"turns": 5, "speed": 2.0}, "fast": {"turns": 7}}
    registry.check_tables(tables)
    assert registry.options(registry.get("slow"), tables).model_dump() == {"turns": 5}
    assert registry.options(registry.get("fast"), tables).model_dump() == {"turns": 7, "speed": 2.0}
    assert registry.home("speed") == ["knobs"]
    assert registry.home("epochs") == ["single"]
    for wrong, words in (
        ({"slow": {"speed": 2.0}}, "slow has no option 'speed'; it has turns"),
        ({"knobs": {"sped": 2.0}}, r"knobs has no option 'sped'; did you mean 'speed'\?"),
        ({"knobs": {"turns": 0}}, "turns: .*greater than or equal to 1"),
        ({"knob": {}}, r"'knob' is no method or family of methods; did you mean 'knobs'\?"),
    ):
        with pytest.raises(ValueError, match=words):
            registry.check_tables(wrong)


# --- plug-ins --------------------------------------------------------------------------------------------------------


def test_a_file_registers_its_methods_once_here_and_in_processes_that_this_one_starts(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text(MINE + "print('imported')\n")
    monkeypatch.chdir(tmp_path)
    registry.plug(["mine.py"])
    registry.plug([str(tmp_path / "mine.py")])
    assert registry.get("mine").title == "of a file"
    assert registry.root("mine") == f"file:{tmp_path / 'mine.py'}"
    assert os.environ[plug_in_modules.VARIABLE].split(os.pathsep)[-1] == str(tmp_path / "mine.py")
    program = "from auxlearn.methods import registry; print(registry.get('mine').title)"
    (tmp_path / "elsewhere").mkdir()
    shown = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path / "elsewhere", capture_output=True, text=True, check=True
    ).stdout  # fmt: skip
    assert shown == "imported\nof a file\n"


def test_two_files_of_one_name_are_two_plug_ins_and_import_what_lies_beside_them(tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / f"beside_{name}.py").write_text(f"NAME = 'of_{name}'\n")
        text = MINE.replace('"mine"', "NAME").replace("class Mine", f"class Mine{name}")
        (tmp_path / name / "mine.py").write_text(f"from beside_{name} import NAME\n{text}")
    registry.plug([str(tmp_path / name / "mine.py") for name in ("one", "other")])
    assert {"of_one", "of_other"} <= set(registry.names())


HELPED = MINE.replace("class Mine", "class Mine_{0}").replace('"mine"', '"mine_{0}"')
EAGER = "{import_}\n" + HELPED
LATE = HELPED + "\n    def select(self, context, cell, options):\n        {import_}\n"


def helped(folder, text, import_, helper):
    """A plug-in in a folder of its own, with a helper beside it."""
    (folder / helper).parent.mkdir(parents=True)
    (folder / helper).write_text(f"NAME = {folder.name!r}\n")
    file = folder / "method.py"
    file.write_text(text.format(folder.name, import_=import_))
    return str(file)


@pytest.mark.parametrize(
    ("import_", "name", "helper"),
    [
        ("import a_helper", "a_helper", "a_helper.py"),
        ("from a_helper import NAME", "a_helper", "a_helper/__init__.py"),
        ("from a_helpers.deep import core", "a_helpers.deep.core", "a_helpers/deep/core.py"),
    ],
)
@pytest.mark.parametrize(("first", "second"), [(EAGER, EAGER), (EAGER, LATE), (LATE, EAGER), (LATE, LATE)])
def test_a_plug_in_that_would_run_the_helper_of_another_is_refused(tmp_path, first, second, import_, name, helper):
    one, other = (helped(tmp_path / each, text, import_, helper) for each, text in (("one", first), ("other", second)))
    registry.plug([one])
    for _ in range(2):
        with pytest.raises(InputError, match="rename one of the two") as refused:
            registry.plug([other])
        said, taken, own = str(refused.value), tmp_path / "one" / helper, tmp_path / "other" / helper
        assert f"plugins: {other}: its {name} would be {taken}, not {own}, " in said
    assert os.environ[plug_in_modules.VARIABLE].split(os.pathsep)[-1] == one
    assert "mine_one" in registry.names()
    assert "mine_other" not in registry.names()
    (tmp_path / "other" / helper).unlink()
    Path(other).write_text(HELPED.format("other"))
    registry.plug([other])
    assert "mine_other" in registry.names()


@pytest.mark.parametrize("text", [EAGER, LATE])
@pytest.mark.parametrize(("module", "where"), [("colorsys", "colorsys.py"), ("time", "a module without a file")])
def test_a_plug_in_that_would_run_an_installed_module_for_its_helper_is_refused(tmp_path, text, module, where):
    file = helped(tmp_path / "one", text, f"import {module}", f"{module}.py")
    with pytest.raises(InputError, match=f"its {module} would be .*{where}, not {tmp_path / 'one' / module}.py"):
        registry.plug([file])
    # Its own comes first where it says so.
    Path(file).write_text(f"import sys\nsys.path.insert(0, {str(tmp_path / 'one')!r})\n{Path(file).read_text()}")
    if module == "colorsys":
        sys.modules.pop(module, None)
        registry.plug([file])


def test_a_file_that_is_refused_leaves_the_methods_of_others_as_they_were(tmp_path):
    one = helped(tmp_path / "one", HELPED, "", "unused.py")
    registry.plug([one])
    other = helped(tmp_path / "other", HELPED + "raise OSError\n", "", "unused.py")
    known = registry.get("mine_one")
    with pytest.raises(InputError, match="OSError"):
        registry.plug([other])
    assert registry.get("mine_one") is known


def test_plug_ins_of_one_folder_share_its_helper_and_a_package_has_its_own(tmp_path):
    one = helped(tmp_path / "one", EAGER, "import a_helper", "a_helper.py")
    second = tmp_path / "one" / "second.py"
    second.write_text(EAGER.format("second", import_="import a_helper"))
    (tmp_path / "mine_of_name").mkdir()
    for name in ("__init__", "json", "a_helper"):
        (tmp_path / "mine_of_name" / f"{name}.py").write_text("")
    (tmp_path / "mine_of_name" / "methods.py").write_text(f"import json\nfrom . import a_helper\n{MINE}")
    sys.path.append(str(tmp_path))
    registry.plug([one, str(second), "mine_of_name.methods"])
    assert {"mine_one", "mine_second", "mine"} <= set(registry.names())


def test_a_module_is_plugged_in_by_its_dotted_name(tmp_path):
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / "methods.py").write_text(MINE)
    sys.path.append(str(tmp_path))
    registry.plug(["my_package.methods"])
    assert registry.get("mine").title == "of a file"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "FileNotFoundError"),
        ("import nothing_of_this_name\n", "ModuleNotFoundError: No module named 'nothing_of_this_name'"),
        ("def half(\n", "SyntaxError"),
        (MINE.replace('"mine"', '"random"'), "InputError: 'random' is registered already, as Random"),
    ],
)
def test_a_plug_in_that_cannot_be_imported_is_named_and_may_be_mended(tmp_path, text, words):
    file = tmp_path / "mine.py"
    if text:
        file.write_text(text)
    for _ in range(2):
        with pytest.raises(InputError, match=f"plugins: {file}: {words}"):
            registry.plug([str(file)])
    assert str(file) not in os.environ[plug_in_modules.VARIABLE]
    file.write_text(MINE)
    registry.plug([str(file)])
    assert registry.get("mine")


def test_a_run_folder_s_plug_ins_are_not_imported(tmp_path):
    """It may be anyone's; what this process has loaded already it may name."""
    file = tmp_path / "mine.py"
    file.write_text(f"{MINE}raise SystemExit('imported')\n")
    given = {"arm": "random", "plugins": [str(file)]}
    with pytest.raises(InputError, match=f"the run was made with {file}, which is code .* set AUXLEARN_PLUGINS={file}"):
        parameters.validate("06_mtl", given | {"arm": "mine"}, plug=False)
    with pytest.raises(InputError, match="the run was made with"):
        parameters.validate("06_mtl", given | {"methods": {"mine": {}}}, plug=False)
    # A run that is understood without them may be read by a study that has no plug-in.
    assert parameters.validate("06_mtl", given, plug=False).method.name == "random"
    file.write_text(MINE)
    parameters.validate("06_mtl", given)
    assert parameters.validate("06_mtl", given | {"arm": "mine"}, plug=False).method.title == "of a file"


def listed(site, *more):
    """`auxlearn methods …` where a folder holds installed packages; its status and what it says."""
    path = os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-m", "auxlearn.cli", "methods", *more], capture_output=True, text=True,
        env=os.environ | {"PYTHONPATH": path},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def installed(site, text, version="1.0"):
    """A package that announces a module of methods by an entry point."""
    info = site / f"mine_pkg-{version}.dist-info"
    info.mkdir(parents=True)
    (site / "mine_pkg.py").write_text(text)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: mine-pkg\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[auxlearn.methods]\nmine = mine_pkg\n")
    return site


def test_a_package_announces_its_methods_by_an_entry_point(tmp_path):
    status, said = listed(installed(tmp_path / "site", MINE))
    assert status == 0
    assert "of a file" in said


def test_a_package_whose_methods_cannot_be_imported_is_named_in_one_line(tmp_path):
    status, said = listed(installed(tmp_path / "site", "import nothing_of_this_name\n"))
    missing = "ModuleNotFoundError: No module named 'nothing_of_this_name'"
    assert (status, said) == (2, f"auxlearn: methods of mine_pkg, of mine-pkg: {missing}\n")


def test_plug_ins_that_are_read_for_their_names_leave_no_trace(tmp_path):
    """Nor does a helper that registers in their place: it would not do so again."""
    file = tmp_path / "mine.py"
    file.write_text("import registering_helper\n")
    (tmp_path / "registering_helper.py").write_text(
        "from auxlearn.methods.registry import variant\nvariant('mine_alone', 'random', 'mine')\n"
    )
    before, told = registry.names(), plug_in_modules.told()
    for _ in range(2):
        with registry.restored():
            registry.plug([str(file)])
            assert registry.get("mine_alone").title == "mine"
        assert registry.names() == before
        assert plug_in_modules.told() == told
        with pytest.raises(InputError, match="'mine_alone' is no method"):
            registry.get("mine_alone")


def test_a_file_that_is_refused_leaves_no_variant(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("from auxlearn.methods.registry import variant\nvariant('half', 'random', 'mine')\nraise OSError\n")
    with pytest.raises(InputError, match="OSError"):
        registry.plug([str(file)])
    assert "half" not in registry.names()


def test_two_files_cannot_have_one_name_and_none_takes_a_built_in_one(tmp_path):
    """The one that was loaded last would choose for both."""
    random = "from auxlearn.methods.base import Method\nfrom auxlearn.methods.registry import register\n\n"
    random += "@register\nclass Random(Method):\n    name = 'random'\n"
    (tmp_path / "own.py").write_text(random)
    known = registry.get("random")
    with pytest.raises(InputError, match=r"'random' is registered already, as Random of .*controls\.py; give"):
        registry.plug([str(tmp_path / "own.py")])
    assert registry.get("random") is known
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "mine.py").write_text(MINE)
    registry.plug([str(tmp_path / "one" / "mine.py")])
    with pytest.raises(InputError, match=r"'mine' is registered already, as Mine of .*one.mine\.py"):
        registry.plug([str(tmp_path / "other" / "mine.py")])


def test_a_variant_of_two_files_is_one_if_it_is_the_same(tmp_path):
    text = "from auxlearn.methods.registry import variant\nvariant('half', 'td_bce', proxies='{}')\n"
    for name, value in (("one", "one"), ("same", "one"), ("other", "crossfit")):
        (tmp_path / f"{name}.py").write_text(text.format(value))
    registry.plug([str(tmp_path / "one.py"), str(tmp_path / "same.py")])
    with pytest.raises(InputError, match="'half' is registered already"):
        registry.plug([str(tmp_path / "other.py")])


def test_a_plug_in_that_exits_is_named_and_ends_nothing(tmp_path):
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    with pytest.raises(InputError, match=r"exits\.py: SystemExit: 3"):
        registry.plug([str(tmp_path / "exits.py")])
