"""The table of every published comparison, and the sentences that are made of it."""

import csv
import html

import pytest

from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from auxlearn.reporting.pages import all_results, conclusions

COLUMNS = [
    "arm",
    "score",
    "tflop",
    "seeds",
    "added",
    "difference",
    "low",
    "high",
    "verdict",
    "primary",
    "n",
    "run",
    "of",
]
SINGLE = {"arm": "single", "score": 0.6, "tflop": 1, "seeds": 10, "added": 0, "verdict": "baseline", "primary": "a"}


def published(home, name, rows, data="real", floors=(0.5,)):
    folder = home / name
    folder.mkdir(parents=True)
    with open(folder / "results.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, restval="")
        writer.writeheader()
        writer.writerows(rows)
    floors = "".join(f"<p>A constant answer scores {floor:.3f}. Run x.</p>" for floor in floors)
    (folder / "index.html").write_text(f"{floors}<p>Data {data} 0123.</p>")


def write_suites(folder):
    """With and without a twin, one that extends the first, and one that is no YAML."""
    own = "name: s\nroot: .\ntasks:\n  a: {kind: classification, inputs: [text], label: l, labels: [x, y], "
    own += "metric: accuracy, resplit: {train: 9, rest: leave}, source: {files: {train: a.csv}}}\n"
    (folder / "none.yaml").write_text(own + "  # no twin_of here\n")
    (folder / "twins.yaml").write_text(own + "  b: {source: {twin_of: a, rows: 3}}\n")
    (folder / "more of them.yaml").write_text("name: more\nextends: twins.yaml\ntasks: {}\n")
    (folder / "no yaml.yaml").write_bytes(b"\xff\x00: twin_of")


def arm(name, difference, verdict, **given):
    interval = {"low": difference - 0.01, "high": difference + 0.01}
    own = {"arm": name, "score": 0.6 + difference, "difference": difference, "verdict": verdict, "added": 100}
    return SINGLE | own | interval | given


def test_rows_are_those_of_every_comparison_with_its_constant_answer(tmp_path):
    published(
        tmp_path, "one", [SINGLE, arm("x", 0.1, "better", n=50), SINGLE | {"primary": "b"}], floors=(0.5, 0.3, 0.2)
    )
    published(tmp_path, "two", [SINGLE, arm("y", -0.1, "chose nothing (2 of 3 seeds); undecided (3 seeds)", seeds=3)])
    found = all_results.rows(tmp_path)
    assert [(row.study, row.arm, row.constant) for row in found] == [
        ("one", "single", 0.5), ("one", "x", 0.3), ("one", "single", 0.2), ("two", "single", 0.5), ("two", "y", 0.5)
    ]  # fmt: skip
    assert found[1].interval == pytest.approx((0.09, 0.11))
    assert found[0].difference is found[0].interval is None
    assert found[4].kind == "undecided"


def test_comparisons_of_one_primary_have_constants_of_their_own(tmp_path):
    one, two = ({"run": run, "of": of} for run, of in (("k1", "rows 400"), ("k2", "rows 800")))
    published(tmp_path, "one", [SINGLE | one, arm("x", 0.1, "better") | one, SINGLE | two], floors=(0.5, 0.3))
    assert [(row.of, row.constant) for row in all_results.rows(tmp_path)] == [
        ("rows 400", 0.5), ("rows 400", 0.5), ("rows 800", 0.3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        ("planted", "planted"),
        ("params/suites/sentence.yaml", "real"),
        ("params/suites/sentence.yaml 12ab, planted", "planted"),  # no number of both passes for one of real data
        ("planted-like/suite.yaml", "real"),
        ("suites/twins.yaml", "twins"),
        ("suites/none.yaml", "real"),
        ("params/suites/sentence.yaml 12ab, suites/twins.yaml", "twins"),
        ("suites/more of them.yaml", "twins"),  # by the suite that it extends
        ("suites/no yaml.yaml", "real"),
    ],
)
def test_the_kind_of_data_is_known_by_the_suite(tmp_path, data, kind):
    (tmp_path / "suites").mkdir()
    write_suites(tmp_path / "suites")
    published(tmp_path / "reports", "one", [SINGLE], data=data)
    assert [row.data for row in all_results.rows(tmp_path / "reports")] == [kind]


def test_reports_with_a_test_come_first_and_planted_ones_last(tmp_path):
    published(tmp_path, "a", [arm("x", 0.1, "better")], data="planted")
    published(tmp_path, "b", [arm("x", 0.1, "undecided (3 seeds)")])
    published(tmp_path, "c", [SINGLE, arm("x", 0.1, "not tested"), arm("y", 0.1, "no difference shown")])
    assert [row.study for row in all_results.rows(tmp_path)] == ["c", "c", "c", "b", "a"]


def test_what_is_no_table_is_named(tmp_path):
    published(tmp_path, "one", [SINGLE | {"score": "many"}])
    with pytest.raises(InputError, match=r"one/results.csv: ValueError .*publish the study again"):
        all_results.rows(tmp_path)


def test_only_what_a_test_shows_of_arms_that_add_rows_is_advised(tmp_path):
    published(tmp_path, "real", [SINGLE, arm("x", 0.2, "no difference shown")])
    published(tmp_path, "few", [arm("z", 0.5, "undecided (3 seeds)", seeds=3)])
    published(tmp_path, "planted", [
        arm("longer", 0.02, "better", added=0, tflop=0.1), arm("idle", 0.03, "chose nothing (8 of 10 seeds); better"),
        arm("cheap", 0.05, "better", tflop=2), arm("dear", 0.09, "better", tflop=7), arm("bad", -0.1, "worse"),
    ], data="planted")  # fmt: skip
    (real, none), (never, _), (planted, evidence) = conclusions.advice(all_results.rows(tmp_path))
    assert (
        real
        == "On real data: no evidence yet, as none of 1 tested arms is shown to be better than single-task training."
    )
    assert none == []
    assert never.startswith("No evidence yet there of FastMTL, GradTS, AUTOSEM, TAWT, row scores, task")
    assert "2 of 3 tested arms are better" in planted
    assert "The cheapest is cheap on a, +0.050 (+0.040 to +0.060), at 2 TFLOP per seed" in planted
    assert planted.endswith("the largest difference is dear on a, +0.090 (+0.080 to +0.100), at 7.")
    assert [row.arm for row in evidence] == ["cheap", "dear"]


def test_of_arms_that_cost_the_same_the_better_is_named_and_one_shown_twice_counts_once(tmp_path):
    rows = [arm("joint", 0.05, "better", tflop=0.15974), arm("normalised", 0.09, "better", tflop=0.15976)]
    published(tmp_path, "one", [SINGLE, *rows, arm("random", 0.0, "worse")], data="planted")
    published(tmp_path, "two", [SINGLE, rows[0], arm("random", 0.0, "worse")], data="planted")
    ((text, _),) = [each for each in conclusions.advice(all_results.rows(tmp_path)) if "planted" in each[0]]
    assert "2 of 3 tested arms are better" in text
    assert text.endswith("The cheapest is normalised on a, +0.090 (+0.080 to +0.100), at 0.16 TFLOP per seed.")


def test_twins_are_answered_apart_with_the_methods_that_no_test_has_met(tmp_path):
    write_suites(tmp_path)
    rows = [SINGLE, arm("all_data", 0.03, "better"), arm("gradts_top", 0.04, "not tested")]
    home = tmp_path / "reports"
    published(home, "one", rows, data="twins.yaml")
    with open(home / "one" / "index.html", "a") as page:
        page.write('<p class="found">The one tested pair of arms, td_bce − random, is not shown to differ.</p>')
    answers = [text for text, _ in conclusions.advice(all_results.rows(home), conclusions.between(home))]
    assert answers[0] == "On real data: no evidence yet."
    assert answers[1].startswith(
        "On real data among twins, a pool that holds other rows of the primary's own task, as "
    )
    assert "the one tested arm is better than single-task training, all_data on a, +0.030" in answers[1]
    assert answers[2] == (
        "No evidence yet there of FastMTL, AUTOSEM, TAWT, row scores, task scores, balanced weights: no arm of theirs "
        "was trained."
    )


def test_pairs_of_arms_that_a_test_tells_apart_are_advised_too(tmp_path):
    pair = {"arm": "x", "baseline": "random", "difference": 0.1, "low": 0.05, "high": 0.15, "p": 0.01}
    told = conclusions.finding_between(
        [pair | {"verdict": "better"}, pair | {"arm": "y", "verdict": "no difference shown"}]
    )
    assert told == "Of 2 tested pairs of arms 1 is shown to differ: x − random +0.100 (+0.050 to +0.150)."
    none = conclusions.finding_between([pair | {"verdict": "no difference shown"}])
    assert none == "The one tested pair of arms, x − random, is not shown to differ."
    for name, text, data in (("real", told, "real"), ("also", none, "real"), ("made", told, "planted")):
        published(tmp_path, name, [SINGLE, arm("x", 0.2, "not tested")], data=data)
        with open(tmp_path / name / "index.html", "a") as page:
            page.write(f'<p class="found">{text}</p>')
    assert set(conclusions.between(tmp_path)) == {"real", "also", "made"}
    sentences = dict(conclusions.advice(all_results.rows(tmp_path), conclusions.between(tmp_path)))
    pairs = {text: {row.study for row in rows} for text, rows in sentences.items() if text.startswith("Tested against")}
    assert pairs == {
        "Tested against each other on a: x − random +0.100 (+0.050 to +0.150).": {"real"},
        "Tested against each other on a (planted): x − random +0.100 (+0.050 to +0.150).": {"made"},
    }


def test_what_methods_chose_is_a_sentence():
    row = {"low": None, "high": None, "auc": None, "TFLOP": 1.0}
    found = {
        "a": row | {"mean": 0.2, "seeds": 10},
        "b": row | {"mean": 0.8, "seeds": 6},
        "c": row | {"mean": None, "seeds": 0},
    }
    told = conclusions.finding_chosen({"class": "twin", "pool": 0.17, "found": found})
    assert told == "Share of twin rows (17% of the pool) in what each method chose: a 20%, b 80% (in 6 of 10 seeds)."
    for name, share in (("a", 0.19), ("b", 0.0)):
        found[name]["shares"] = {"twin": found[name]["mean"], "shuffled": share}
    assert conclusions.finding_chosen({"class": "twin", "pool": 0.17, "found": found}) == (
        "Share of twin rows, and of those with permuted labels, (17% of the pool) in what each method chose: "
        "a 20% and 19%, b 80% and 0% (in 6 of 10 seeds)."
    )
    pools = {"twin": 0.17, "shuffled": 0.09, "other": 0.74}
    told = conclusions.finding_chosen({"class": "twin", "pool": 0.17, "found": found, "pools": pools})
    assert "(17% and 9% of the pool)" in told
    assert conclusions.finding_chosen({"class": "twin", "pool": 0.17, "found": {"c": found["c"]}}) == ""


@pytest.mark.parametrize("verdict", [
    "not tested", "undecided (10 seeds for 12 tests)", "no test (7 seeds; needs 8)",
    "chose nothing (1 of 10 seeds); better", "chose nothing (10 of 10 seeds)",
])  # fmt: skip
def test_an_arm_that_was_not_tested_counts_as_none_that_was(tmp_path, verdict):
    published(tmp_path, "real", [SINGLE, arm("x", 0.2, verdict)])
    assert conclusions.advice(all_results.rows(tmp_path))[0] == (
        "On real data: no evidence yet, as none of 1 arms in 1 studies was tested.", [],
    )  # fmt: skip
    kind = all_results.rows(tmp_path)[1].kind
    assert kind == {"chose nothing (1 of 10 seeds); better": "better"}.get(verdict, verdict.partition(" (")[0])


def test_a_study_s_finding_is_a_sentence(tmp_path):
    published(tmp_path, "one", [SINGLE, arm("x", 0.1, "better"), arm("y", -0.1, "worse"), arm("z", 0.0, "better")])
    published(tmp_path, "two", [SINGLE, arm("x", 0.1, "undecided (3 seeds)", seeds=3)])
    found = all_results.rows(tmp_path)
    one, two = ([row for row in found if row.study == name] for name in ("one", "two"))
    assert conclusions.finding(one) == (
        "Of 3 arms 2 (x, z) are better and 1 (y) is worse than single-task training; the largest difference is x on "
        "a, +0.100 (+0.090 to +0.110)."
    )
    assert conclusions.finding(two) == (
        "The one arm, x, is not shown to be better or worse than single-task training; the largest difference is x on "
        "a, +0.100 (+0.090 to +0.110); 3 seeds, which decide nothing."
    )
    assert conclusions.finding(one[:1]) == ""
    published(tmp_path, "three", [SINGLE, arm("x", 0.1, "no difference shown"), arm("y", 0.05, "better")])
    three = [row for row in all_results.rows(tmp_path) if row.study == "three"]
    assert conclusions.finding(three).startswith("Of 2 arms 1 (y) is better than single-task training; the largest")
    assert conclusions.finding(three).endswith("x on a, +0.100 (+0.090 to +0.110), which no test shows.")
    published(tmp_path, "four", [SINGLE, arm("x", 0.1, "not tested"), arm("y", 0.05, "chose nothing; not tested")])
    assert conclusions.finding([row for row in all_results.rows(tmp_path) if row.study == "four"]) == (
        "None of 2 arms was tested against single-task training; the largest difference is x on "
        "a, +0.100 (+0.090 to +0.110)."
    )


def test_a_finding_tells_tested_arms_from_those_that_were_not(tmp_path):
    rows = [SINGLE, arm("x", 0.1, "not tested"), arm("y", 0.05, "better"), arm("z", 0.0, "no difference shown")]
    published(tmp_path, "one", rows)
    assert conclusions.finding(all_results.rows(tmp_path)) == (
        "Of 2 tested arms (y, z) 1 (y) is better than single-task training; the largest difference of all 3 arms is x "
        "on a, +0.100 (+0.090 to +0.110), not tested."
    )


def test_a_finding_counts_an_arm_that_chose_nothing_as_untested(tmp_path):
    rows = [SINGLE, arm("x", 0.1, "chose nothing (4 of 4 seeds)", seeds=4), arm("y", 0.05, "not tested", seeds=4)]
    published(tmp_path, "one", rows)
    assert conclusions.finding(all_results.rows(tmp_path)) == (
        "None of 2 arms was tested against single-task training; the largest difference is x on "
        "a, +0.100 (+0.090 to +0.110), which chose no row in any seed; 4 seeds, which decide nothing."
    )


def test_every_published_table_is_on_the_front_page():
    found = all_results.rows(PROJECT / "reports")
    assert {row.study for row in found} == {file.parent.name for file in (PROJECT / "reports").glob("*/results.csv")}
    assert all(row.constant is not None for row in found)
    text = html.unescape((PROJECT / "reports" / "index.html").read_text(encoding="utf-8"))
    assert text.count('<th scope="row"') == len(found)
    assert '<th scope="row" title="the n rows that the proxy takes for the primary' in text
    for sentence, _ in conclusions.advice(found, conclusions.between(PROJECT / "reports")):
        assert sentence in text, "write it again: auxlearn verify --page"
