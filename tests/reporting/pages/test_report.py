"""Reports of real runs that ended in every way: what they show, what they came from, and whether they still stand."""

import json
import re
import shutil
from html.parser import HTMLParser
from types import SimpleNamespace

import nbformat
import pytest
from markupsafe import Markup

from auxlearn import cli
from auxlearn.errors import InputError
from auxlearn.paths import NOTEBOOKS, PROJECT
from auxlearn.records import checkout, runs
from auxlearn.reporting.pages import front_page, opening, pages, report, study_comparisons, study_findings
from auxlearn.studies import golden_values, headlines, provenance, run_status, verify
from auxlearn.studies.run_status import Outcome

ENDINGS = {
    ("01_data_prep", 60): "finished", ("01_data_prep", 70): "stale", ("01_data_prep", 80): "damaged",
    ("01_data_prep", 90): "interrupted", ("02_td_proxy", 60): "failed", ("02_td_proxy", 70): "not run",
    ("02_td_proxy", 80): "not run", ("02_td_proxy", 90): "not run",
}  # fmt: skip


class Elements(HTMLParser):
    """Every element of a page, as (tag, attributes)."""

    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def of(self, *tags):
        return [attributes for tag, attributes in self.found if tag in tags]


def fetched(text):
    """What a browser would fetch for a page, but for what is in the page itself or beside it."""
    page = Elements(text)
    links = [
        a.get(name, "") for tag, a in page.found if tag != "a" for name in ("src", "href", "srcset", "poster", "data")
    ]
    styles = re.findall(r"url\(([^)]*)\)|@import", text)
    return [x for x in links if x and not re.fullmatch(r"data:.*|[\w.-]+", x, re.S)] + styles


@pytest.fixture(scope="module")
def rendered(mixed_runs, tmp_path_factory):
    """The report of `mixed`, written once: a page's file, and the outcomes that it shows. Not to be written to."""
    folder = tmp_path_factory.mktemp("rendered") / "runs"
    shutil.copytree(mixed_runs, folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(folder))
        return report.render("mixed"), by_cell(run_status.read(c) for c in report.plan("mixed")["cells"])


def by_cell(rows):
    return {(row.stage, row.params["rows"]): row for row in rows}


def cell(**params):
    base = {"primary": "a", "n": 10, "suite": "params/suites/x.yaml", "rows": 0, "primary_rows": 0, "encoder": "tiny"}
    stage = params.pop("stage", "07_efficiency")
    return Outcome(
        {"stage": stage, "key": params.pop("key", "k"), "label": "l", "params": base | params}, "finished", None
    )


@pytest.mark.parametrize(
    ("params", "suffixes"),
    [
        ([{}], [""]),
        ([{}, {"primary": "b"}], ["-a-10", "-b-10"]),
        ([{"rows": 5}, {"rows": 7}], ["-a-10-5", "-a-10-7"]),
        ([{}, {"suite": "params/suites/y.yaml", "rows": 3}], ["-a-10-x-0", "-a-10-y-3"]),
        ([{"primary_rows": 5}, {"primary_rows": 7}], ["-a-10-5", "-a-10-7"]),
        (
            [{"max_length": 5, "key": "0123456789"}, {"max_length": 7, "key": "abcdef0123"}, {"n": 20}],
            ["-a-10-01234567", "-a-10-abcdef01", "-a-20"],
        ),
    ],
)
def test_comparisons_are_told_apart_by_what_differs(params, suffixes):
    rows = [*(cell(**p) for p in params), cell(stage="06_mtl")]
    assert [study_comparisons.suffix(rows, row) for row in rows[:-1]] == suffixes


def test_every_ending_is_told(mixed):
    rows = by_cell(run_status.read(c) for c in report.plan("mixed")["cells"])
    assert {at: row.status for at, row in rows.items()} == ENDINGS
    assert rows["02_td_proxy", 60].error.startswith("InputError: ")
    assert "is not finite at epoch 1" in rows["02_td_proxy", 60].error
    assert rows["01_data_prep", 60].headline.value == 60 * 8
    assert set(ENDINGS.values()) == set(run_status.MEANING)


def test_what_is_set_aside_to_run_anew_is_still_stale_until_it_begins(mixed):
    """`runner.prepare` renames a stale manifest; the notebook that lies there is its own, and complete."""
    stale = by_cell(run_status.read(c) for c in report.plan("mixed")["cells"])["01_data_prep", 70]
    stale.manifest.path("manifest.json").rename(stale.folder / "manifest.stale.json")
    again = run_status.read(stale.cell)
    assert (again.status, again.manifest.key) == ("stale", stale.key)
    notebook = json.loads((stale.folder / "notebook.ipynb").read_text())
    notebook["metadata"]["papermill"]["start_time"] = "2999-01-01T00:00:00"
    (stale.folder / "notebook.ipynb").write_text(json.dumps(notebook))
    assert run_status.read(stale.cell).status == "interrupted"


def test_a_run_that_died_before_its_notebook_was_saved_has_failed(mixed):
    waiting = by_cell(run_status.read(c) for c in report.plan("mixed")["cells"])["02_td_proxy", 70]
    (waiting.folder / "papermill.log").write_text("Traceback\nModuleNotFoundError: no module\n")
    outcome = run_status.read(waiting.cell)
    assert (outcome.status, outcome.error) == ("failed", "ModuleNotFoundError: no module")


def test_the_index_shows_every_run_and_links_what_there_is(rendered):
    index, rows = rendered
    text = index.read_text()
    page = Elements(text)
    assert "Runs that ended in &lt;every&gt; way" in text
    statuses = {(a["data-words"].split()[1]): a["data-status"] for a in page.of("tr") if "data-words" in a}
    assert statuses == {row.key: row.status for row in rows.values()}
    assert "parameters" in text
    assert "rows 70" in text  # what tells the runs apart
    assert "is not finite at epoch 1" in text
    linked = {a["href"].split("#")[0] for a in page.of("a") if a["href"].endswith(".html") or ".html#" in a["href"]}
    assert linked == {f"{r.stage}-{r.key}.html" for r in rows.values() if r.status != "not run"}
    assert all((index.parent / name).is_file() for name in linked)
    failed = (index.parent / f"02_td_proxy-{rows['02_td_proxy', 60].key}.html").read_text()
    assert 'id="failed"' in failed
    assert "Traceback" not in failed  # an InputError is its message
    assert "InputError: phase" in failed
    assert "An Exception was encountered" not in failed  # papermill's own note
    assert "has no manifest" in failed


def test_a_small_report_shows_the_first_run_of_each_notebook_and_whatever_failed(mixed, tmp_path):
    outcomes = [run_status.read(c) for c in report.plan("mixed")["cells"]]
    rows = by_cell(outcomes)
    rows["01_data_prep", 90].status = "failed"
    index = report._render("mixed", outcomes, tmp_path / "small", everything=False)
    failed = [rows[at] for at in (("01_data_prep", 90), ("02_td_proxy", 60))]
    names = {path.name for path in index.parent.glob("*.html")}
    assert names == {"index.html", "01_data_prep.html", *(f"{row.stage}-{row.key}.html" for row in failed)}
    first = (index.parent / "01_data_prep.html").read_text()
    assert rows["01_data_prep", 60].key in first
    assert rows["01_data_prep", 80].key not in first


def test_the_arm_that_gains_most_stands_for_all_of_06():
    """The primary alone comes first, and its page shows no row that was chosen."""

    def run(stage, key, **params):
        return SimpleNamespace(stage=stage, key=key, params=params, notebook=True, manifest=None)

    arms = [run("06_mtl", arm, arm=arm) for arm in ("single", "random", "td_bce", "longer")]
    compared = run("07_efficiency", "c", inputs=[row.key for row in arms])
    gains = {"single": (None, 0), "random": (0.1, 9), "td_bce": (0.2, 9), "longer": (0.3, 0)}
    metrics = {"arms": {arm: {"difference": gain, "added": added} for arm, (gain, added) in gains.items()}}
    compared.manifest = SimpleNamespace(data={"metrics": metrics})
    data = run("01_data_prep", "d")
    assert [row.key for row in report._examples([data, *arms, compared])] == ["c", "td_bce", "d"]
    assert [row.key for row in report._examples([data, *arms])] == ["single", "d"]


def test_a_dirty_tree_is_said_on_its_page_and_on_the_index(rendered):
    index, rows = rendered
    stale = (index.parent / f"01_data_prep-{rows['01_data_prep', 70].key}.html").read_text()
    assert "Uncommitted changes." in stale
    assert "differed from commit ffffffffff" in stale
    assert "Uncommitted changes." in index.read_text()


def test_pages_fetch_nothing_and_obey_only_the_tables_script(rendered):
    index, rows = rendered
    files = sorted(index.parent.glob("*.html"))
    assert len(files) == 1 + sum(row.status != "not run" for row in rows.values())
    for path in files:
        text = path.read_text()
        page = Elements(text)
        assert fetched(text) == []
        assert "default-src 'none'" in page.of("meta")[2]["content"]
        assert [a for a in page.of("script")] == ([{}] if path.name == "index.html" else [])
        assert all(a.get("alt") for a in page.of("img"))
        ids = [a["id"] for _, a in page.found if "id" in a]
        assert len(ids) == len(set(ids))


def test_without_its_script_the_table_is_whole(rendered):
    page = Elements(rendered[0].read_text())
    assert len([a for a in page.of("tr") if "data-status" in a]) == len(ENDINGS)
    assert not any("hidden" in a for a in page.of("tr"))
    assert not page.of("button")
    (box,) = (a for a in page.of("div") if a.get("id") == "filter")
    assert "hidden" in box
    assert {a["for"] for a in page.of("label")} == {"filter-text", "filter-status"}


def test_one_seed_has_no_interval_and_still_a_report(tmp_path):
    """Intervals over seeds of one seed are None in a manifest; the index says so and does not fail."""
    rest = {"verdict": "undecided (1 seed)", "p": None, "low": None, "high": None, "row_low": -0.01, "row_high": 0.05}
    arm = {"difference": 0.02, "score": 0.5, "added": 10, "tflop": 1.0} | rest
    base = dict.fromkeys(("difference", "low", "high", "row_low", "row_high", "p"))
    base |= {"score": 0.5, "added": 0, "tflop": 1.0, "verdict": "baseline"}
    pairs = [{"arm": "all_data", "baseline": "single", "difference": 0.02} | rest]
    metrics = {"metric": "accuracy", "floor": 0.5, "arms": {"single": base, "all_data": arm}, "pairs": pairs}
    row = cell(arms=["single", "all_data"], level=0.95, seeds=[0])
    row.manifest = runs.Manifest({"metrics": metrics}, tmp_path)
    entry = study_comparisons.comparison([row], row, tmp_path)
    assert entry["figure"] == "result.png"
    assert (tmp_path / "result.png").is_file()
    assert "all_data +0.020." in entry["alt"]
    text = pages.environment().get_template("index.html").render(
        title="t", rows=[(row, "")], comparisons=[entry], counts={}, meaning=run_status.MEANING, wrong=[], records=[],
        seconds=1.0, tflop=1.0,
    )  # fmt: skip
    assert "One seed, which has no interval over seeds" in text
    assert "Holm-corrected" in text
    none = entry | {"params": entry["params"] | {"tests": ["none"]}}
    untested = pages.environment().get_template("index.html").render(
        title="t", rows=[(row, "")], comparisons=[none], counts={}, meaning=run_status.MEANING, wrong=[], records=[],
        seconds=1.0, tflop=1.0,
    )  # fmt: skip
    assert "No test was declared: intervals alone." in untested
    assert "Holm-corrected" not in untested
    assert text.count(">none</td>") == 2
    assert "-0.010 to +0.050" in text
    del metrics["arms"]["all_data"]["row_low"]  # written by other code
    assert study_comparisons.comparison([row], row, tmp_path) is None


@pytest.mark.parametrize(("low", "noise"), [(0.45, True), (0.55, False), (None, False)])
def test_a_comparison_says_first_what_it_found_and_whether_single_task_learns(tmp_path, low, noise):
    span = {"low": 0.01, "high": 0.19, "row_low": 0.0, "row_high": 0.2}
    base = dict.fromkeys(("difference", "low", "high", "row_low", "row_high", "p"))
    base |= {"score": 0.6, "score_low": low, "score_high": 0.7, "added": 0, "tflop": 1.0, "verdict": "baseline"}
    arm = {"difference": 0.1, "score": 0.7, "added": 9, "tflop": 2.0, "p": 0.01, "verdict": "better"} | span
    pairs = [
        {"arm": "x", "baseline": "y", "difference": 0.1, "p": 0.01, "verdict": "better"} | span,
        {"arm": "y", "baseline": "z", "difference": 0.1, "p": 0.4, "verdict": "no difference shown"} | span,
        {"arm": "x", "baseline": "z", "difference": 0.1, "p": None, "verdict": "not tested"} | span,
    ]
    metrics = {"metric": "accuracy", "floor": 0.5, "arms": {"single": base, "x": arm}, "pairs": pairs}
    row = cell(arms=["single", "x"], level=0.95, seeds=list(range(8)), primary="a")
    row.manifest = runs.Manifest({"metrics": metrics}, tmp_path)
    entry = study_comparisons.comparison([row], row, tmp_path)
    found = study_comparisons.findings([entry], [], [row])
    assert found == [
        "The one arm, x, is better than single-task training. The difference is x on a, +0.100 (+0.010 to +0.190).",
        "Of 2 tested pairs of arms 1 is shown to differ: x − y +0.100 (+0.010 to +0.190).",
    ]
    metrics["pairs"] = pairs[1:]
    assert (
        study_comparisons.findings([entry], [], [row])[1]
        == "The one tested pair of arms, y − z, is not shown to differ."
    )
    text = pages.environment().get_template("index.html").render(
        title="t", rows=[(row, "")], comparisons=[entry], counts={}, meaning=run_status.MEANING, wrong=[], records=[],
        seconds=1.0, tflop=1.0, top=Markup(opening.top("t", found, {"x": "an arm"}, "", "", False)),
    )  # fmt: skip
    assert '<p class="found">Of 2 tested pairs' in text
    assert "<div><dt>x</dt> <dd>an arm</dd></div>" in text
    assert ("It scores 0.600 (0.450 to 0.700 over seeds); a constant answer scores 0.500" in text) == noise


def test_the_rankings_of_the_planted_suite_are_held_against_its_truth(tmp_path):
    """Each ranking behind a comparison by its mean over seeds, and not by one of them alone."""

    def ranking(*aucs, first=0, **params):
        row = cell(stage="03_ranking", **params)
        truth = [{"truth_auc": auc, "helpful_chosen": 0.5 + auc / 2, "helpful_pool": 0.25} for auc in aucs]
        metrics = {"shares": {}, "seeds": {str(seed): each for seed, each in enumerate(truth, first)}}
        row.manifest = runs.Manifest({"metrics": metrics}, tmp_path)
        return row

    row = cell(arms=["single"], level=0.95, seeds=[0, 1])
    base = dict.fromkeys(("difference", "low", "high", "row_low", "row_high", "p"))
    base |= {"score": 0.5, "added": 0, "tflop": 1.0, "verdict": "baseline"}
    metrics = {"metric": "accuracy", "floor": 0.5, "arms": {"single": base}, "pairs": []}
    row.manifest = runs.Manifest({"metrics": metrics}, tmp_path)
    others = [ranking(0.1, primary="b"), ranking(0.1, n=20), ranking(0.9)]
    assert study_comparisons.comparison([row, *others], row, tmp_path)["truth"] == []
    entry = study_comparisons.comparison([row, *others, ranking(0.7, first=1)], row, tmp_path)  # a cell of each seed
    of_both = study_comparisons.comparison([row, *others[:2], ranking(0.9, 0.7)], row, tmp_path)  # one cell of both
    assert of_both["truth"] == [pytest.approx(one) for one in entry["truth"]]
    losses = [ranking(0.9, 0.7, discriminator="bce"), ranking(0.5, 0.6, discriminator="ce")]
    two = study_comparisons.comparison([row, *losses], row, tmp_path)["truth"]  # not four seeds of one
    assert [(one["name"], one["auc"], one["seeds"]) for one in two] == [
        ("discriminator bce", pytest.approx(0.8), 2), ("discriminator ce", pytest.approx(0.55), 2),
    ]  # fmt: skip
    text = pages.environment().get_template("index.html").render(
        title="t", rows=[(row, "")], comparisons=[entry], counts={}, meaning=run_status.MEANING, wrong=[], records=[],
        seconds=1.0, tflop=1.0,
    )  # fmt: skip
    # 12.706 x 0.1414 / sqrt(2) on either side
    assert "Against the planted truth, the discriminator's ranking has an AUC of 0.800 (95% t interval over 2" in text
    assert "2 seeds: -0.471 to 2.071; 0.5 is chance). 90% of the rows it chooses" in text
    assert "against 25% of the pool" in text


def test_headlines_have_intervals_where_there_are_seeds():
    seeds = {str(i): {"dev": {"f1": v}} for i, v in enumerate((0.5, 0.6, 0.7))}
    headline = headlines.headline("06_mtl", {"metric": "f1", "seeds": seeds})
    assert (headline.name, headline.text, headline.of) == ("f1, dev", "0.600", "95% t, 3 seeds")
    assert headline.interval == "0.352 to 0.848"  # 4.303 x 0.1 / sqrt(3)
    one = headlines.headline("06_mtl", {"metric": "f1", "seeds": {"0": {"dev": {"f1": 0.5}}}})
    assert (one.interval, one.of) == ("", "one seed has none")
    arms = {"single": {"difference": None}, "b": {"difference": 0.1, "low": 0.05, "high": 0.15, "verdict": "better"}}
    compared = headlines.headline("07_efficiency", {"arms": arms})
    assert (compared.name, compared.text, compared.interval) == ("b − single", "+0.100", "+0.050 to +0.150")
    odd = cell(stage="06_mtl")
    odd.manifest = runs.Manifest({"metrics": {"other": 1}, "ledger": []}, PROJECT)
    assert odd.headline.note == "not to be read from this manifest"


def test_n_is_shown_where_it_decides_something(tmp_path):
    def compared(key_params, n=200):
        row = cell(stage="07_efficiency", primary="rte", n=n)
        row.manifest = runs.Manifest({"key_params": key_params}, tmp_path)
        return row

    unused, used = compared({}), compared({"n": 200})
    assert (unused.sized, used.sized) == (False, True)
    other = compared({"n": 400}, n=400)
    assert ["· n " in text for text in run_status.parameters([unused, used, other])] == [False, True, True]
    assert [study_comparisons.suffix([unused, used], row) for row in (unused, used)] == ["-rte", "-rte-200"]
    unused.manifest = None  # not run yet
    assert unused.sized


def test_a_run_that_serves_several_primaries_says_whose_its_notebook_shows(tmp_path):
    row = cell(stage="04_gradts_correlation", primary="mrpc")
    tau = {"rte": {"mrpc": 0.3, "wnli": 0.8}, "mrpc": {"rte": 0.3, "wnli": 0.1}}
    row.manifest = runs.Manifest({"params": {"primary": "rte"}, "metrics": {"tau": tau}}, PROJECT)
    headline = row.headline
    assert (headline.name, headline.text, headline.note) == ("highest tau with mrpc", "0.300", "rte 0.30, wnli 0.10")
    assert row.other_primary == "rte"
    node = nbformat.read(NOTEBOOKS / "04_gradts_correlation.ipynb", as_version=4)
    for part in node.cells:
        part |= {"outputs": []} if part.cell_type == "code" else {}  # figures take time and say nothing here
    nbformat.write(node, notebook := tmp_path / "04_gradts_correlation.ipynb")
    assert "is of rte, and this study's is mrpc" in pages.page(notebook, "t", cell=row.cell, other_primary="rte")
    assert "serves several" not in pages.page(notebook, "t", cell=row.cell)
    row.manifest.data["params"]["primary"] = "mrpc"
    assert row.other_primary == ""


# --- provenance and verification -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def published_once(mixed_runs, tmp_path_factory):
    """The finished 01 alone, published into a project of the tests' own, as one commit without changes made it."""
    home = tmp_path_factory.mktemp("published")
    shutil.copytree(mixed_runs, home / "runs")
    path = home / "runs" / "studies" / "mixed" / "plan.json"
    plan = json.loads(path.read_text())
    plan["cells"] = [c for c in plan["cells"] if (c["stage"], c["params"]["rows"]) == ("01_data_prep", 60)]
    path.write_text(json.dumps(plan))
    file = home / "runs" / "01_data_prep" / plan["cells"][0]["key"] / "manifest.json"
    record = json.loads(file.read_text())
    record["git"] = {"commit": "a" * 40, "dirty": False}
    file.write_text(json.dumps(record))
    (home / "project" / "reports").mkdir(parents=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AUXLEARN_RUNS", str(home / "runs"))
        patch.setattr(report, "PROJECT", home / "project")
        patch.setattr(front_page, "PROJECT", home / "project")
        assert report.publish("mixed").parent == home / "project" / "reports" / "mixed"
    return home, file.parent.name


@pytest.fixture
def published(published_once, runs_folder, tmp_path, monkeypatch):
    """A copy of it for the test to harm: the report's folder and that of its run."""
    home, key = published_once
    shutil.copytree(home / "runs", runs_folder)
    shutil.copytree(home / "project", tmp_path / "project")
    monkeypatch.setattr(report, "PROJECT", tmp_path / "project")
    monkeypatch.setattr(front_page, "PROJECT", tmp_path / "project")
    monkeypatch.setattr(verify, "PROJECT", tmp_path / "project")
    return tmp_path / "project" / "reports" / "mixed", runs_folder / "01_data_prep" / key


def test_the_provenance_of_a_published_report(published):
    folder, run = published
    origin = provenance.read(folder)
    label = f"01_data_prep/{run.name}"
    record = json.loads((run / "manifest.json").read_text())
    assert origin["figures"] == {"01_data_prep.html": [label], "index.html": [label]}
    assert set(origin["files"]) == {p.name for p in folder.iterdir()} - {"provenance.json"}
    one = origin["runs"][label]
    assert one["outputs"] == record["outputs"]
    assert one["code"] == record["code"]
    assert one["git"] == {"commit": "a" * 40, "dirty": False}
    assert origin["suites"] == {record["suite"]: {"name": "planted", "rows": 60}}
    assert origin["environments"][one["environment"]] == record["versions"]
    assert origin["golden"] == golden_values.digests(PROJECT)
    assert len(origin["golden"]["arms"]) >= 40
    page = (folder / "01_data_prep.html").read_text()
    for mark in (run.name, record["suite"], record["code"]["hash"], *record["outputs"].values()):
        assert mark in page
    assert "<details>" in page


def test_data_are_named_by_who_knows_their_file_whatever_reads_what(runs_folder, tmp_path):
    """A unit names its suite by its content, and comes after the run that reads it."""
    unit = runs.Run("importance", "b" * 16, {"suite": "f" * 16}, "f" * 16).finish([], {})
    params = {"suite": "params/suites/x.yaml", "rows": 60}
    manifest = runs.Run("04_gradts_correlation", "a" * 16, params, "f" * 16, [unit]).finish([], {})
    (tmp_path / "report").mkdir()
    record = provenance.record("s", "t", [("finished", manifest)], {}, tmp_path / "report")
    assert set(record["runs"]) == {f"importance/{unit.key}", f"04_gradts_correlation/{manifest.key}"}
    assert record["suites"] == {"f" * 16: {"name": "params/suites/x.yaml", "rows": 60}}


def test_nothing_changed(published, capsys):
    assert cli.main(["verify", "mixed"]) == 0
    out = capsys.readouterr().out
    assert "mixed: stands: nothing changed; checked: " in out
    assert "changed:" not in out
    assert "moved" not in out
    assert "fingerprints of data 1" in out
    assert "not checked" not in out


def test_each_change_is_a_line_and_the_status_is_1(published, capsys, monkeypatch):
    folder, run = published
    page = folder / "01_data_prep.html"
    page.write_text(page.read_text() + "<!-- -->")
    (folder / "more.txt").write_text("x")
    (run / "tasks.parquet").unlink()
    (run / "leaks.parquet").write_bytes(b"altered")
    content = provenance.read(folder)
    fingerprint, suite = content["suites"].popitem()
    content["suites"]["0" * 16] = suite
    content["runs"][f"01_data_prep/{run.name}"]["code"]["hash"] = "1" * 16
    provenance.write(folder, content)
    assert cli.main(["verify", "mixed"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[:-1] == [
        "changed: file 01_data_prep.html of the report was altered",
        "changed: file more.txt was added to the report",
        f"changed: run 01_data_prep/{run.name}: leaks.parquet was altered",
        f"changed: run 01_data_prep/{run.name}: tasks.parquet is gone",
        f"changed: data of planted: fingerprint {fingerprint}, was {'0' * 16}",
        f"code has moved on: 01_data_prep.ipynb since commit aaaaaaaaaa: 01_data_prep/{run.name}",
    ]
    assert "mixed: failed: 5 changed: file 01_data_prep.html of the report was altered, …; checked: " in lines[-1]


def test_what_is_not_here_is_not_said_to_be_as_it_was(published, capsys, monkeypatch, tmp_path):
    folder, run = published
    content = provenance.read(folder)
    content["suites"] = {"0" * 16: {"name": str(tmp_path / "gone.yaml"), "rows": 0}}
    content["runs"][f"01_data_prep/{run.name}"]["git"] = {}
    provenance.write(folder, content)
    monkeypatch.setenv("AUXLEARN_RUNS", str(tmp_path / "elsewhere"))
    assert cli.main(["verify", "mixed"]) == 0
    out = capsys.readouterr().out
    assert f"not checked: 1 of 1 runs, not in {tmp_path / 'elsewhere'}" in out
    assert "not checked: data of" in out
    assert "made from a tree that no commit holds" in out
    assert "outputs" not in out


def test_a_run_made_anew_is_a_change(published, capsys):
    _, run = published
    record = json.loads((run / "manifest.json").read_text())
    (run / "manifest.json").write_text(json.dumps(record | {"started": "2999"}))
    assert cli.main(["verify", "mixed"]) == 1
    assert "its manifest is another: the run was made anew" in capsys.readouterr().out
    (run / "manifest.json").unlink()
    assert cli.main(["verify", "mixed"]) == 1
    assert "its manifest is gone" in capsys.readouterr().out


def test_marking_a_report_stale_is_no_tampering(published, capsys):
    folder, _ = published
    report.mark_stale("mixed", "the <data> changed")
    report.mark_stale("mixed", "the <seed> changed")
    assert cli.main(["verify", "mixed"]) == 0
    text = (folder / "index.html").read_text()
    assert "the &lt;seed&gt; changed" in text
    assert "data" not in re.search(r'<p class="stale">.*', text).group()
    front = (folder.parent / "index.html").read_text()
    assert "the &lt;seed&gt; changed" in front
    assert fetched(front.replace("mixed/", "")) == []


def test_a_report_from_before_provenance_has_none(published, capsys):
    (published[0] / "provenance.json").unlink()
    assert cli.main(["verify", "mixed"]) == 0
    out = capsys.readouterr().out
    assert "this report has no provenance.json" in out
    assert "no provenance, no verdict; checked: nothing" in out


def test_no_such_report_and_no_such_record(published):
    with pytest.raises(InputError, match="no report 'nothing' in"):
        verify.verify("nothing")
    (published[0] / "provenance.json").write_text("{}")
    with pytest.raises(InputError, match="not a record of provenance"):
        verify.verify("mixed")


# --- the front page ---------------------------------------------------------------------------------------------------


def another(folder, name, **changes):
    """A copy of a published report under another name, its record changed; None for no record."""
    copy = folder.with_name(name)
    shutil.copytree(folder, copy)
    content = provenance.read(copy)
    (copy / "provenance.json").unlink()
    if changes.get("runs", "") is not None:
        provenance.write(copy, content | changes)
    return copy


@pytest.fixture
def shelf(published, monkeypatch):
    """Published reports with every verdict, as far as `verify` is told so."""
    folder, run = published
    content = provenance.read(folder)
    label = f"01_data_prep/{run.name}"
    moved = {label: content["runs"][label] | {"code": content["runs"][label]["code"] | {"hash": "1" * 16}}}
    another(folder, "told", runs=moved)
    another(folder, "untold", runs=moved, golden={})
    stale = {group: dict.fromkeys(cases, "0" * 16) for group, cases in content["golden"].items()}
    another(folder, "old", runs=moved, golden=stale)
    another(folder, "bare", runs=None)
    (another(folder, "altered") / "01_data_prep.html").write_text("<title>x</title>")
    (another(folder, "broken") / "provenance.json").write_text("{}")
    (folder.parents[1] / golden_values.VALUES).parent.mkdir(parents=True)
    shutil.copytree(PROJECT / golden_values.VALUES, folder.parents[1] / golden_values.VALUES)
    return folder.parent


VERDICTS = {
    "altered": "failed", "bare": "no provenance", "broken": "failed", "mixed": "stands", "old": "stale",
    "told": "stands", "untold": "cannot be told",
}  # fmt: skip


def test_verify_without_a_name_lists_every_report_with_its_verdict(shelf, capsys):
    assert cli.main(["verify"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ")[:2] for line in lines] == [list(pair) for pair in VERDICTS.items()]
    for name in ("altered", "broken", "old"):
        shutil.rmtree(shelf / name)
    assert cli.main(["verify"]) == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert said["mixed"] == "stands: nothing changed"
    assert said["told"] == (
        "stands: code has moved on; no golden value of its methods has moved since "
        "(golden values that the report recorded)"
    )
    assert said["untold"] == (
        "cannot be told: code has moved on; commit aaaaaaaaaa is not here, nor did the report record golden values"
    )
    for name in VERDICTS:
        shutil.rmtree(shelf / name, ignore_errors=True)
    assert cli.main(["verify"]) == 0
    assert capsys.readouterr().out == "no report is published here\n"


def test_the_front_page_says_what_verify_said_when_and_at_which_commit(shelf, capsys, monkeypatch):
    monkeypatch.setattr(checkout, "state", lambda: {"commit": "b" * 40, "dirty": False})
    monkeypatch.setattr(runs, "now", lambda: "2031-01-02T03:04:05+00:00")
    assert cli.main(["verify", "--page"]) == 1
    assert len(capsys.readouterr().out.splitlines()) == len(VERDICTS)
    text = (shelf / "index.html").read_text()
    assert "Verified on 2031-01-02 at commit bbbbbbbbbb, by" in text
    listed = re.findall(r'<h3><a href="(\w+)/index.html">.*?</a> <span class="status[ \w]*">([\w ]+)</span></h3>', text)
    assert dict(listed) == VERDICTS
    for verdict, meaning in verify.MEANING.items():
        count = list(VERDICTS.values()).count(verdict)
        assert re.search(rf">{verdict}</span> {count}: {re.escape(meaning)}", text), verdict
    assert re.search(r"Nothing can be verified of 1 report .*: <a href=\"bare/index.html\">bare</a>\.", text)
    assert re.search(r"Golden values of its methods with it: \d+|golden values of its methods with it: \d+", text)
    assert fetched(re.sub(r"\w+/", "", text)) == []


def test_publishing_and_marking_stale_write_the_verdicts(shelf):
    report.mark_stale("bare", "x")
    assert "Verified on" in (shelf / "index.html").read_text()


def test_a_study_of_choices_opens_with_what_each_method_chose(tmp_path):
    found = {
        name: {"mean": mean, "low": 0.1, "high": 0.3, "seeds": seeds, "auc": None, "TFLOP": 1.5}
        for name, mean, seeds in (("a", 0.2, 3), ("b", 0.75, 2))
    }
    row = cell(stage="08_validity", level=0.95, seeds=[0, 1, 2])
    row.manifest = runs.Manifest({"metrics": {"class": "twin", "pool": 0.17, "found": found}}, tmp_path)
    assert report._is_board(row)
    sentence = "Share of twin rows (17% of the pool) in what each method chose: a 20%, b 75% (in 2 of 3 seeds)."
    assert study_comparisons.findings([], [row], [row]) == [sentence]

    def page():
        return pages.environment().get_template("index.html").render(
            title="t", rows=[(row, "")], comparisons=[], counts={}, meaning=run_status.MEANING, wrong=[], records=[],
            seconds=1.0, tflop=1.0, boards=[row],
            ranked=study_findings.ranked, permuted=study_findings.permuted,
        )  # fmt: skip

    text = page()
    assert "chose rows in 2 of 3 seeds" in text
    assert re.findall(r"<th scope=\"row\">(\w)", text)[:2] == ["a", "b"]  # those that chose in every seed first
    assert "0.750</td>" in text
    assert "labels permuted" not in text
    row.manifest.metrics["found"]["a"]["shares"] = {"twin": 0.2, "shuffled": 0.125}
    assert "share, labels permuted" in page()
    assert "0.125</td>" in page()
    row.manifest = runs.Manifest({"metrics": {"class": "twin", "pool": "much", "found": found}}, tmp_path)
    assert not report._is_board(row)  # written by other code
