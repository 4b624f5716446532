"""What golden values say of runs whose code has moved on: in small checkouts, and in this one."""

import json
import os
import subprocess

import pytest

from auxlearn.paths import PROJECT
from auxlearn.studies import golden_history, golden_values
from auxlearn.studies.golden_values import COMPARISON, EVERY, Cases

VALUES = {
    "arms": {"single, seed 0": {"x": 1.0}, "td_bce, seed 0": {"x": 2.0}, "gradts_fg, seed 0": {"x": 3.0}},
    "tawt": {"mirror_step": [0.5, 0.5]},
    "data": {"batches": [1, 2, 3]},
    "keys": {"06_mtl": "abc"},
    "switches": {"steps, seed 0": {"x": 4.0}, "scaled, seed 0": {"x": 5.0}},
}
CODE = {(("a",), None)}


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A checkout without golden values; `commit` writes files, values among them, and returns the commit."""
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    folder = tmp_path / "checkout"
    folder.mkdir()
    who = {f"GIT_{role}_{what}": "x@y" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    environment = os.environ | who | {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}

    def git(*arguments):
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=True
        )
        return done.stdout.strip()

    def write(values=None, **files):
        for name, text in files.items():
            path = folder / {"library": "lib/auxlearn/a.py", "cases": "tests/golden/cases.py"}.get(name, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        for group, cases in (values or {}).items():
            path = folder / golden_values.VALUES / f"{group}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(cases))

    def commit(values=None, **files):
        write(values, **files)
        git("add", "-A")
        git("commit", "--quiet", "--allow-empty", "-m", "x")
        return git("rev-parse", "HEAD")

    git("init", "--quiet")
    commit(
        library="ONE = 1\n", cases="CASES = 1\n", **{golden_values.INDEX: '{"steps": "td_bce", "scaled": "tawt_joint"}'}
    )
    commit.write, commit.folder, commit.git = write, folder, git
    return commit


def since(commit, start, families=frozenset(), recorded=None):
    return golden_history.Checkout(commit.folder).since(start, families, CODE, recorded or {})


def changed(group, case, value):
    """The values with one of them another; None for gone."""
    new = {name: dict(cases) for name, cases in VALUES.items()}
    if value is None:
        del new[group][case]
    else:
        new[group][case] = value
    return new


def test_values_that_are_as_they_were_are_told_so(project):
    start = project(VALUES)
    project(library="ONE = 2\n")
    evidence = since(project, start, None)
    assert evidence == golden_history.Evidence(True, f"golden values of {start[:10]}", ())


@pytest.mark.parametrize(
    ("group", "case", "value", "families"),
    [
        # group, case, value; the families that it counts for, of these
        ("arms", "td_bce, seed 0", {"x": 2.1}, {"fastmtl"}),
        ("arms", "gradts_fg, seed 0", {"x": 3.1}, {"gradts"}),
        ("arms", "single, seed 0", {"x": 1.1}, {"fastmtl", "gradts", "tawt", "autosem", "dsir"}),
        ("data", "batches", [1, 2, 4], {"fastmtl", "gradts", "tawt", "autosem", "dsir"}),
        ("data", "batches", None, {"fastmtl", "gradts", "tawt", "autosem", "dsir"}),
        ("tawt", "mirror_step", [0.4, 0.6], {"tawt"}),
        ("tawt", "mirror_step", [0.5], {"tawt"}),
        ("tawt", "mirror_step", None, {"tawt"}),
        ("switches", "scaled, seed 0", {"x": 5.1}, {"tawt"}),
        ("switches", "steps, seed 0", {"x": 4.1}, {"fastmtl", "gradts", "tawt", "autosem", "dsir"}),
        # within the tolerance, a key, one more case
        ("tawt", "mirror_step", [0.5 + 1e-7, 0.5], set()),
        ("keys", "06_mtl", "def", set()),
        ("tawt", "new", [1], set()),
    ],
)  # fmt: skip
def test_a_value_that_moves_with_the_library_counts_for_its_own_runs(project, group, case, value, families):
    start = project(VALUES)
    moved = project(changed(group, case, value), library="ONE = 2\n")
    project(library="ONE = 3\n")
    for family in ("fastmtl", "gradts", "tawt", "autosem", "dsir"):
        evidence = since(project, start, {family})
        assert evidence.told
        assert bool(evidence.moved) == (family in families), family
        assert all(line.startswith(f"{group}/{case} at {moved[:10]}: ") for line in evidence.moved)
    assert bool(since(project, start, None).moved) == bool(families)  # of what is not known, any may be


def test_a_switch_that_moves_with_its_arm_says_nothing_of_other_methods(project):
    start = project(VALUES)
    both = changed("switches", "steps, seed 0", {"x": 4.1})
    both["arms"]["td_bce, seed 0"] = {"x": 2.1}
    project(both, library="ONE = 2\n")
    assert len(since(project, start, {"fastmtl"}).moved) == 2
    assert not since(project, start, {"tawt"}).moved


def test_cases_written_anew_move_values_and_no_results(project):
    start = project(VALUES)
    project(changed("data", "batches", [9]), cases="CASES = 2\n")
    assert since(project, start, None) == golden_history.Evidence(True, f"golden values of {start[:10]}", ())
    project(library="# what it does\nONE = 1\n\n")  # a comment, and with it
    project(changed("data", "batches", [8]), cases="CASES = 3\n", library="ONE = 1  # no more\n")
    assert not since(project, start, None).moved
    late = project(changed("data", "batches", [7]), cases="CASES = 4\n", library="ONE = 10\n")
    assert since(project, start, None).moved == (f"data/batches at {late[:10]}: 3 values, now 1",)


def test_a_comment_in_the_cases_or_another_version_excuses_nothing(project):
    start = project(VALUES)
    commented = project(changed("data", "batches", [9]), cases="CASES = 1  # as before\n")
    assert since(project, start, None).moved == (f"data/batches at {commented[:10]}: 3 values, now 1",)
    start = project(VALUES)
    lock = project(changed("data", "batches", [8]), cases="CASES = 2\n", **{"requirements.lock": "torch==2\n"})
    assert since(project, start, None).moved == (f"data/batches at {lock[:10]}: 3 values, now 1",)


def test_a_case_that_is_given_up_counts_even_where_cases_were_written_anew(project):
    start = project(VALUES)
    (project.folder / golden_values.VALUES / "tawt.json").unlink()
    gone = project(cases="CASES = 2\n")
    assert since(project, start, {"tawt"}).moved == (f"tawt/mirror_step at {gone[:10]}: gone",)
    assert not since(project, start, {"gradts"}).moved


def test_values_that_move_alone_are_results_that_moved(project):
    """Neither the library nor the cases changed: an earlier commit of the library did it, or what it stands on."""
    start = project(VALUES)
    project(library="ONE = 2\n")
    project(changed("data", "batches", [9, 9, 9]))
    assert since(project, start).moved


def test_values_that_moved_and_moved_back_have_not(project):
    start = project(VALUES)
    project(changed("data", "batches", [9, 9, 9]), library="ONE = 2\n")
    assert since(project, start).moved
    project(VALUES, library="ONE = 1\n")
    assert not since(project, start).moved


def test_steps_within_the_tolerance_add_up(project):
    start = project(VALUES)
    for step in (1, 2, 3):
        project(changed("data", "batches", [1, 2, 3 + 2e-5 * step]), library=f"ONE = {1 + step}\n")
        moved = since(project, start).moved
    assert len(moved) == 1
    assert moved[0].startswith("data/batches at ")


def test_a_commit_beside_the_line_has_moved_where_its_values_are_others(project):
    main = project.git("rev-parse", "--abbrev-ref", "HEAD")
    project(VALUES)
    project.git("checkout", "--quiet", "-b", "beside")
    start = project(changed("data", "batches", [9, 2, 3]), library="ONE = 9\n")
    project.git("checkout", "--quiet", main)
    project(library="ONE = 2\n")
    project.git("merge", "--quiet", "--strategy", "ours", "beside")
    evidence = since(project, start)
    assert evidence.told
    assert [line.split(" ")[0] for line in evidence.moved] == ["data/batches"]


def test_cases_written_anew_excuse_their_own_step_alone(project):
    start = project(VALUES)
    project(changed("data", "batches", [4, 2, 3]), library="ONE = 2\n")
    project(changed("data", "batches", [5, 2, 3]), cases="CASES = 2\n")
    assert since(project, start).moved
    assert not since(project, project.git("rev-parse", "HEAD^")).moved


def test_files_that_no_commit_holds_yet_count(project):
    start = project(VALUES)
    project.write(changed("data", "batches", [1, 2, 4]), library="ONE = 2\n")
    assert since(project, start).moved == ("data/batches since the last commit: [2]: 3, now 4",)
    project.write(cases="CASES = 2\n", library="ONE = 1\n")
    assert not since(project, start).moved


def test_a_commit_older_than_golden_values_is_told_by_the_first_where_the_code_was_the_same(project):
    older = project.git("rev-parse", "HEAD")
    same = project(library="ONE = 1  # one\n", README="x")
    first = project(VALUES)
    project(library="ONE = 2\n")
    for start in (older, same):
        assert since(project, start) == golden_history.Evidence(
            True, f"golden values of {first[:10]}, the first, made of the same code", ()
        )
    project(changed("data", "batches", [9, 9, 9]), library="ONE = 3\n")
    assert since(project, older).moved


def test_a_commit_older_than_golden_values_of_other_code_is_not_told(project):
    older = project.git("rev-parse", "HEAD")
    first = project(VALUES, library="ONE = 2\n")
    evidence = since(project, older)
    assert not evidence.told
    assert (
        evidence.said == f"its runs are older than golden values, which were first made at {first[:10]}, of other code"
    )
    assert not golden_history.Checkout(project.folder).since(older, (), {(("gone",), None)}, {}).told


def test_what_a_report_recorded_tells_where_its_commit_is_not_here(project):
    project(VALUES)
    recorded = golden_values.digests(project.folder)
    assert set(recorded) == set(VALUES)
    away = "0" * 40
    assert not since(project, away).told
    assert since(project, away).said == "commit 0000000000 is not here, nor did the report record golden values"
    assert since(project, away, {"tawt"}, recorded) == golden_history.Evidence(
        True, "golden values that the report recorded", ()
    )
    project(changed("tawt", "mirror_step", [0.4, 0.6]) | {"more": {"x": 1}})
    assert since(project, away, {"tawt"}, recorded).moved == ("tawt/mirror_step: another value",)
    assert not since(project, away, {"gradts"}, recorded).moved
    (project.folder / golden_values.VALUES / "tawt.json").unlink()
    assert since(project, away, {"tawt"}, recorded).moved == ("tawt/mirror_step: gone",)


@pytest.mark.parametrize("commit", ["", "--output=x", "HEAD", "a; touch x", "A" * 40])
def test_a_commit_that_is_none_reaches_no_command(project, commit):
    project(VALUES)
    assert not since(project, commit).told
    assert not (project.folder / "x").exists()


def test_without_golden_values_or_git_nothing_is_told(project, tmp_path):
    start = project.git("rev-parse", "HEAD")
    assert since(project, start).said == "there are no golden values here to tell by"
    assert golden_values.digests(project.folder) == {}
    project.write(VALUES)
    (project.folder / ".git").rename(tmp_path / "away")
    assert not since(project, start).told
    assert since(project, start, (), golden_values.digests(project.folder)).told


def test_a_plugin_is_told_by_what_it_imports_while_its_file_is_as_it_was(project):
    plugin, root = {"params/mine.py": "from auxlearn.methods.gradts import trial\nimport json\n"}, "file:params/mine.py"
    start = project(VALUES, **plugin)
    told = golden_history.Checkout(project.folder).as_it_was
    assert any(one.startswith("methods.gradts") for one in told(start, root))
    assert all(not one.startswith("json") for one in told(start, root))
    assert golden_values.of_run("06_mtl", "single", told(start, root)) == {"gradts"}
    project(library="ONE = 2\n")  # other files may change
    assert told(start, root)
    assert told("f" * 40, root) is None
    assert told("", root) is None
    for other in ("file:params/none.py", "file:/params/mine.py", "external:mine", "file:../mine.py"):
        assert told(start, other) is None
    project.write(**{"params/json.py": ""})  # what it imports from beside it would have to be as it was too
    assert told(start, root) is None
    (project.folder / "params/json.py").unlink()
    assert told(start, root)
    project.write(**{"params/mine.py": plugin["params/mine.py"] + "x = 1\n"})
    assert told(start, root) is None


# --- which cases count ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arm", "families"),
    [
        ("single", set()), ("all_data", set()), ("td_ce", {"fastmtl"}), ("matched_bce", {"fastmtl"}),
        ("gradts_trial", {"gradts"}), ("autosem_p1", {"autosem"}), ("autosem", {"autosem"}), ("joint", {"tawt"}),
        ("tawt_pretrain", {"tawt"}), ("share_25", {"tawt"}), ("random+tawt_joint", {"tawt"}),
        ("td_bce+scored", {"fastmtl", "tawt"}),
        ("gradts_fg+tawt_deciles", {"gradts", "tawt"}), ("dsir", {"dsir"}), ("dsir+null_joint", {"dsir", "tawt"}),
    ],
)  # fmt: skip
def test_the_families_of_an_arm(arm, families):
    assert golden_values.of_arm(arm) == families


@pytest.mark.parametrize(
    ("stage", "arm", "roots", "families"),
    [
        ("01_data_prep", None, ("reporting.notebook",), set()),
        ("02_td_proxy", None, ("reporting.notebook",), {"fastmtl"}),
        ("03_ranking", None, (), {"fastmtl", COMPARISON}), ("04_gradts_correlation", None, (), {"gradts", COMPARISON}),
        (
            "08_validity", None, ("methods.scores.bm25", "methods.gradts.selectors"),
            {"scores", "bm25", "gradts", COMPARISON},
        ),
        (
            "06_mtl", "decile", ("methods.oracle", "methods.task_scores.logme"),
            {"oracle", "task_scores", "logme", "decile"},
        ),
        ("05_tawt_weighting", None, (), {"tawt"}), ("06_mtl", "td_bce", (), {"fastmtl"}),
        ("06_mtl", "single", (), set()), ("06_mtl", None, (), None), ("07_efficiency", None, (), {COMPARISON}),
        ("train", None, ("training.train",), set()), ("score", None, (), set()),
        ("train", None, ("training.training_cache", "methods.tawt.weighted_trainer"), {"tawt"}),
        ("train", None, ("weighted_training",), {"tawt"}), ("train", None, ("bandit_training",), {"autosem"}),
        ("importance", None, ("importance",), {"gradts"}), ("early_exit", None, (), {"fastmtl"}),
    ],
)  # fmt: skip
def test_the_families_of_a_run(stage, arm, roots, families):
    assert golden_values.of_run(stage, arm, roots) == families


@pytest.mark.parametrize(
    ("group", "case", "families"),
    [
        ("selection", "top_n, seed 0", {EVERY}), ("gradients", "draw", {EVERY}), ("minilm fp32", "proxy", {EVERY}),
        ("statistics", "metrics, binary", {EVERY}), ("statistics", "by counts, binary, f1", {EVERY}),
        ("statistics", "holm", {COMPARISON}), ("cost", "encoder_flops", {EVERY}), ("cost", "price, tawt, total", set()),
        ("keys", "06_mtl", set()), ("autosem", "schedule, cycle", {EVERY}), ("autosem", "reward", {"autosem"}),
        ("proxies", "proxy, bce, seed 0", {"fastmtl"}), ("heads", "heads, tasks", {"gradts"}),
        ("weights", "td_bce+scored, seed 1", {"fastmtl", "tawt"}), ("combined", "random+tawt_joint, seed 0", {"tawt"}),
        ("switches", "not in the index, seed 0", {EVERY}), ("a new group", "x", {EVERY}), ("ranking", "x", {"ranking"}),
    ],
)  # fmt: skip
def test_the_families_that_a_case_counts_for(group, case, families):
    assert Cases({}).families(group, case) == families


# --- this checkout ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkout():
    found = golden_history.Checkout(PROJECT)
    first = "08324dfe87a54477811ef75e2e1d6de6f0e27cb5"
    if not found._has(first):
        pytest.skip("this checkout does not hold the commits that reports were published from")
    return found


def test_every_switch_is_in_the_index(checkout):
    assert {case.rpartition(", seed")[0] for case in checkout.now["switches"]} == set(checkout.cases.index)


def test_golden_values_of_a_smaller_suite_are_cases_written_anew(checkout):
    smaller = "e214264254c9e1f4f1d161d8d213405a96ec5fd9"
    assert golden_values.moved(checkout._values(f"{smaller}^"), checkout._values(smaller))
    assert checkout._rewritten(f"{smaller}^", smaller)
