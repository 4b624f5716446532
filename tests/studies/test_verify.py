"""The verdict on a report: what makes it fail, stale, stand or untold, and the status that follows."""

import json
import shutil

import pytest

from auxlearn.paths import PROJECT
from auxlearn.records import code_hash, runs
from auxlearn.studies import golden_values, provenance, verify
from auxlearn.studies.golden_history import Checkout, Evidence

COMMIT = "a" * 40


class Told:
    """A checkout that says what it is told to, and remembers what it was asked."""

    def __init__(self, *evidence):
        self.evidence, self.asked = list(evidence), []

    def as_it_was(self, commit, root):
        return None

    def since(self, commit, families, code, recorded):
        self.asked.append((commit, families, code, recorded))
        return self.evidence.pop(0)


def never(name, rows):
    pytest.fail("no data are asked for")


@pytest.fixture
def made(tmp_path):
    """A report of given runs, each as (label, roots, hash, further fields); by default of today's code."""

    def report(*given, results="", **more):
        folder = tmp_path / "reports" / "s"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / "index.html").write_text("<title>s</title>")
        if results:
            (folder / "results.csv").write_text(results)
        out = {}
        for label, roots, hash, *fields in given:
            code = {"roots": list(roots), "notebook": None, "hash": hash or code_hash.code_hash(roots)}
            out[label] = {
                "manifest": "0" * 64, "outputs": {}, "code": code, "git": {"commit": COMMIT, "dirty": False},
            } | dict(*fields)  # fmt: skip
        content = {
            "schema": 1, "study": "s", "title": "s", "written": "2026-11-28", "runs": out, "suites": {},
            "environments": {}, "figures": {}, "files": provenance.files(folder),
        } | more  # fmt: skip
        provenance.write(folder, content)
        return folder

    return report


def test_code_that_is_as_it_was_stands_whatever_golden_values_say(made):
    found = verify.check(made(("train/a", ["errors"], "")), Told(), never)
    assert (found.verdict, found.status, found.reason) == ("stands", 0, "nothing changed")
    assert found.counts() == "files of the report 1, hashes of code 1"


MOVED = ("train/a", ["errors"], "1" * 16)
FINE, BAD = Evidence(True, "golden values of x"), Evidence(True, "golden values of x", ("data/a at b: 1, now 2",))
NONE = Evidence(False, "its runs are older than golden values")


@pytest.mark.parametrize(
    ("evidence", "altered", "verdict", "status"),
    [
        (FINE, False, "stands", 0), (BAD, False, "stale", 1), (NONE, False, "cannot be told", 0),
        (FINE, True, "failed", 1), (BAD, True, "failed", 1), (NONE, True, "failed", 1),
    ],
)  # fmt: skip
def test_code_that_has_moved_on_is_judged_by_golden_values_and_altered_files_before_all(
    made, evidence, altered, verdict, status
):
    folder = made(MOVED)
    if altered:
        (folder / "index.html").write_text("other")
    found = verify.check(folder, Told(evidence), never)
    assert (found.verdict, found.status) == (verdict, status)
    shown = found.shown().splitlines()
    assert "code has moved on: errors since commit aaaaaaaaaa: train/a" in shown
    assert ("golden value moved: data/a at b: 1, now 2" in shown) == bool(evidence.moved)
    assert shown[-1].startswith(f"{folder}: {verdict}: ")


@pytest.mark.parametrize(
    ("evidence", "verdict"), [((FINE, BAD), "stale"), ((NONE, BAD), "stale"), ((NONE, FINE), "cannot be told")]
)
def test_runs_of_several_commits_are_each_judged_by_their_own(made, evidence, verdict):
    other = ("train/b", ["errors"], "1" * 16, {"git": {"commit": "b" * 40, "dirty": False}})
    told = Told(*evidence)
    assert verify.check(made(MOVED, other), told, never).verdict == verdict
    assert [commit for commit, *_ in told.asked] == [COMMIT, "b" * 40]


def test_what_is_asked_of_golden_values(made):
    """The families of the runs whose code has moved on; all of a report's code, for runs that name too few roots."""
    stage = ("02_td_proxy/a", ["reporting.notebook"], "1" * 16)
    fine = ("importance/a", ["errors"], "")
    told = Told(FINE)
    golden = {"arms": {"single, seed 0": "0" * 16}}
    verify.check(made(MOVED, stage, fine, golden=golden), told, never)
    assert told.asked == [
        (COMMIT, {"fastmtl"}, {(("errors",), None), (("reporting.notebook",), None)}, golden),
    ]


@pytest.mark.parametrize(
    ("arm", "results", "families"),
    [
        ("gradts_fg", "", {"gradts"}),
        ("gradts_fg", "arm,score\ntd_bce,1\n", {"gradts"}),
        (None, "arm,score\nsingle,1\ntd_bce,1\ntawt_joint,1\n", {"fastmtl", "tawt"}),
        (None, "arm,score\nsingle,1\n", set()),
        (None, "", None),  # any
        (None, "score\n1\n", None),
        (None, '"\0', None),
    ],
)
def test_arms_are_those_recorded_or_else_those_that_the_report_compares(made, arm, results, families):
    run = ("06_mtl/a", ["errors"], "1" * 16, {"arm": arm} if arm else {})
    told = Told(FINE)
    verify.check(made(run, results=results), told, never)
    assert told.asked[0][1] == families


def test_runs_that_no_commit_holds_are_told_by_none(made):
    told = Told(NONE)
    run = ("train/a", ["errors"], "1" * 16, {"git": {"commit": COMMIT, "dirty": True}})
    found = verify.check(made(run), told, never)
    assert told.asked[0][0] == ""
    assert "made from a tree that no commit holds" in found.shown()


def test_of_code_that_is_not_ours_golden_values_tell_nothing(made):
    run = ("06_mtl/a", ["errors", "file:/elsewhere/mine.py"], "1" * 16, {"arm": "mine"})
    found = verify.check(made(run), Told(), never)
    assert found.verdict == "cannot be told"
    assert found.reason == "code has moved on; no golden values are of file:mine.py"


def test_moved_values_are_counted_and_some_are_shown(made):
    many = Evidence(True, "x", tuple(f"data/{i} at b: 1, now 2" for i in range(9)))
    found = verify.check(made(MOVED), Told(many), never)
    assert found.shown().count("golden value moved: ") == verify.SHOWN
    assert "golden values moved: 4 more" in found.shown()
    assert found.reason.endswith(": 9")


def test_a_run_made_anew_by_other_code_is_not_the_reports(made, runs_folder):
    folder = made(MOVED)
    run = runs.Run("train", "a", {}, "s", code_roots=("errors",))
    run.path("x.txt").write_text("1")
    run.finish(["x.txt"], {})
    found = verify.check(folder, Told(FINE), never)
    assert found.verdict == "stands"
    assert "1 of 1 runs, made anew since, by other code: train/a" in found.unchecked
    folder = made(("train/a", ["errors"], ""))  # of the same code: another result is an alteration
    assert verify.check(folder, Told(), never).verdict == "failed"


def test_what_another_run_read_is_checked_by_its_manifest_which_alone_lists_its_files(tmp_path, runs_folder):
    unit = runs.Run("train", "b", {}, "s", code_roots=("errors",))
    unit.path("y.txt").write_text("1")
    read = unit.finish(["y.txt"], {})
    run = runs.Run("06_mtl", "a", {"arm": "td_bce"}, "s", inputs=[read], code_roots=("errors",))
    run.path("x.txt").write_text("1")
    folder = tmp_path / "reports" / "s"
    folder.mkdir(parents=True)
    content = provenance.record("s", "t", [("finished", run.finish(["x.txt"], {}))], {}, folder)
    assert content["runs"]["06_mtl/a"]["outputs"].keys() == {"x.txt"}
    assert not content["runs"]["train/b"].keys() & {"outputs", "seeds", "started"}
    provenance.write(folder, content)
    found = verify.check(folder, Told(), never)
    assert not found.changed
    assert "runs 2, outputs of runs 2" in found.counts()
    unit.path("y.txt").write_text("2")
    assert verify.check(folder, Told(), never).changed == ["run train/b: y.txt was altered"]
    unit.path("y.txt").unlink()
    assert verify.check(folder, Told(), never).changed == ["run train/b: y.txt is gone"]


def test_a_report_records_golden_values_only_of_runs_of_todays_code(tmp_path):
    run = runs.Run("06_mtl", "a", {"arm": "td_bce"}, "s", code_roots=("errors",))
    run.path("x.txt").write_text("1")
    manifest = run.finish(["x.txt"], {})
    (tmp_path / "r").mkdir()
    fine = provenance.record("s", "t", [("finished", manifest)], {}, tmp_path / "r")
    assert fine["golden"] == golden_values.digests(PROJECT)
    assert fine["runs"]["06_mtl/a"]["arm"] == "td_bce"
    assert provenance.record("s", "t", [("stale", manifest)], {}, tmp_path / "r")["golden"] == {}


@pytest.mark.parametrize(
    ("imports", "verdict"), [(frozenset({"methods.fastmtl.selectors"}), "stands"), (None, "cannot be told")]
)
def test_a_plugin_whose_file_has_not_changed_is_judged_by_the_methods_that_it_imports(made, imports, verdict):
    checkout = Told(FINE)
    checkout.as_it_was = lambda commit, root: imports if (commit, root) == (COMMIT, "file:p.py") else None
    folder = made(("06_mtl/a", ["errors", "file:p.py"], "1" * 16, {"arm": "gradts_fg"}))
    found = verify.check(folder, checkout, never)
    assert found.verdict == verdict
    assert [families for _, families, _, _ in checkout.asked] == ([{"gradts", "fastmtl"}] if imports else [])
    assert found.untold == ([] if imports else ["no golden values are of file:p.py"])


def test_a_report_shows_no_folder_of_a_users_plugin(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text("x = 1\n")
    run = runs.Run("06_mtl", "a", {}, "s", code_roots=("errors", f"file:{file}"))
    run.path("x.txt").write_text("1")
    manifest = run.finish(["x.txt"], {})
    (tmp_path / "r").mkdir()
    content = provenance.record("s", "t", [("finished", manifest)], {}, tmp_path / "r")
    assert content["runs"]["06_mtl/a"]["code"]["roots"] == ["errors", "file:mine.py"]
    assert str(tmp_path) not in json.dumps(content["runs"])
    assert manifest.code["roots"] == ["errors", f"file:{file}"]  # the run's own manifest still finds it


# --- the reports of this checkout -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["quickstart", "paper_planted"])
def test_published_reports_are_told_by_the_golden_values_of_this_checkout(name):
    checkout = Checkout(PROJECT)
    folder = PROJECT / "reports" / name
    content = provenance.read(folder)
    if content is None or any(not checkout._has(run["git"]["commit"]) for run in content["runs"].values()):
        pytest.skip("this checkout does not hold the commits that reports were published from")
    fingerprints = {suite["name"]: fingerprint for fingerprint, suite in content["suites"].items()}
    found = verify.check(folder, checkout, lambda suite, rows: fingerprints[suite])
    assert found.moved_on
    assert not found.changed
    assert found.verdict == "stands" or found.moved  # once results are meant to move, it is stale until it is run again
