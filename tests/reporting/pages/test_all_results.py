"""The table of every published comparison, and the sentences that are made of it."""

import csv
import html
import re
import sys

import pytest

from auxlearn.errors import InputError
from auxlearn.methods import plug_in_modules, registry
from auxlearn.paths import PROJECT
from auxlearn.reporting.pages import advice, all_results, arm_labels, front_page, published_tables, study_findings

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
    (folder / "far.yaml").write_text("name: far\nroot: ${NOT_SET_HERE}\nextends: twins.yaml\ntasks: {}\n")
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
        ("suites/far.yaml", "twins"),  # whose data are not here
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
    (real, none), (never, _), (planted, evidence) = advice.advice(all_results.rows(tmp_path))
    assert (
        real == "On real data, ordinary pool: no evidence yet, as none of 1 tested arms is shown to be better than "
        "single-task training."
    )
    assert none == []
    assert never.startswith("No evidence yet there of FastMTL, GradTS, AUTOSEM, TAWT, row scores, task")
    assert "2 of 3 tested arms are better" in planted
    assert "The cheapest is cheap on a, +0.050 (+0.040 to +0.060), at 2 TFLOP per seed" in planted
    assert planted.endswith("the highest difference of the tested is dear on a, +0.090 (+0.080 to +0.100), at 7.")
    assert [row.arm for row in evidence] == ["cheap", "dear"]


def test_what_was_not_tested_and_lies_higher_is_named_beside_the_best(tmp_path):
    rows = [arm("cheap", 0.05, "better", tflop=2), arm("u", 0.2, "not tested"), arm("v", 0.1, "not tested")]
    published(tmp_path, "one", [SINGLE, *rows, arm("few", 0.9, "undecided (3 seeds)", seeds=3)], data="planted")
    text, evidence = advice.advice(all_results.rows(tmp_path))[-1]
    assert text.endswith("; untested, u on a, +0.200 (+0.190 to +0.210), at 1, is the highest of 2 above it.")
    assert [row.arm for row in evidence] == ["cheap", "u"]


@pytest.mark.parametrize(("gained", "said"), [
    (
        0.2,
        "On planted data, made so that some rows help: no evidence yet that rows help: x on a, +0.050 (+0.040 to "
        "+0.060), is better than single-task training of fewer steps, and steps on the primary alone (step_matched) "
        "gain +0.200, not tested.",
    ),
    (
        0.04,
        "On planted data, made so that some rows help: the one tested arm is better than single-task training, x on "
        "a, +0.050 (+0.040 to +0.060), at 2 TFLOP per seed.",
    ),
])  # fmt: skip
def test_rows_that_steps_alone_equal_are_no_evidence(tmp_path, gained, said):
    control = arm("step_matched", gained, "not tested", added=0, tflop=1)
    published(tmp_path, "one", [SINGLE, control, arm("x", 0.05, "better", tflop=2)], data="planted")
    published(tmp_path, "other", [SINGLE, arm("step_matched", 0.9, "better", added=0)], data="planted")
    text, _ = advice.advice(all_results.rows(tmp_path))[-1]
    assert text == said


def test_another_encoder_is_another_training_and_is_held_beside_the_first(tmp_path):
    home = tmp_path / "reports"
    (tmp_path / "params" / "studies").mkdir(parents=True)
    for name, encoder, score, gained in (("one", "minilm", 0.6, 0.05), ("two", "models/big", 0.9, 0.01)):
        base = f"{{encoder: {encoder}, precision: bf16, primary_rows: 50, size: full}}"
        text = f"study: {name}\nbase: {base}\ngrid: {{arm: [random]}}\nnotebooks: {{06_mtl: {{steps: 20}}}}\n"
        (tmp_path / "params" / "studies" / f"{name}.yaml").write_text(text, encoding="utf-8")
        rows = [arm("random", gained / 2, "not tested"), arm("td_bce", gained, "not tested")]
        published(home, name, [SINGLE | {"score": score}, *rows])
    found = all_results.rows(home)
    assert {(row.study, row.encoder, row.setup) for row in found} == {
        ("one", "minilm", "bf16, 50 own rows, 20 steps"), ("two", "big", "bf16, 50 own rows, 20 steps")
    }  # fmt: skip
    (told,) = [text for text, _ in advice.advice(found) if text.startswith("By encoder")]
    assert told == (
        "By encoder, on a: minilm scores 0.600 alone, and the highest difference is td_bce, +0.050 (+0.040 to +0.060), "
        "10 seeds; big scores 0.900 alone, and the highest difference is td_bce, +0.010 (+0.000 to +0.020), 10 seeds."
    )


def test_of_arms_that_cost_the_same_the_better_is_named_and_one_shown_twice_counts_once(tmp_path):
    rows = [arm("joint", 0.05, "better", tflop=0.15974), arm("normalised", 0.09, "better", tflop=0.15976)]
    published(tmp_path, "one", [SINGLE, *rows, arm("random", 0.0, "worse")], data="planted")
    published(tmp_path, "two", [SINGLE, rows[0], arm("random", 0.0, "worse")], data="planted")
    ((text, _),) = [each for each in advice.advice(all_results.rows(tmp_path)) if "planted" in each[0]]
    assert "2 of 3 tested arms are better" in text
    assert text.endswith("The cheapest is normalised on a, +0.090 (+0.080 to +0.100), at 0.16 TFLOP per seed.")


def test_of_studies_that_repeat_an_arm_the_middle_one_stands_and_idle_arms_are_not_counted(tmp_path):
    """A rerun in another precision is no second chance, and an arm without n is one arm at every n."""
    for study, gained, n in (("one", 0.031, 5), ("three", 0.040, 6), ("two", 0.033, 5)):
        rows = [arm("all_data", 0.02, "not tested", tflop=3) | {"n": n}]
        rows.append(arm("td_bce", gained, "not tested", tflop=9) | {"n": 5})
        rows.append(arm("autosem", 0.9, "chose nothing (1 of 9 seeds); not tested", tflop=1) | {"n": 5})
        published(tmp_path, study, [SINGLE, *rows])
    (text,) = [text for text, _ in advice.advice(all_results.rows(tmp_path)) if "no cheaper arm" in text]
    assert "all_data +0.020 (+0.010 to +0.030) at 3; td_bce +0.033 (+0.023 to +0.043) at 9. They were" in text
    assert "picked from 2 arms (each n counts)" in text


def test_twins_are_answered_apart_with_the_methods_that_no_test_has_met(tmp_path):
    write_suites(tmp_path)
    rows = [SINGLE, arm("all_data", 0.03, "better", tflop=3), arm("gradts_top", 0.04, "not tested", tflop=4)]
    rows += [arm("gradts_thres", 0.035, "not tested", tflop=4.5), arm("gradts_fg", 0.9, "not tested", seeds=5, tflop=5)]
    home = tmp_path / "reports"
    published(home, "one", rows, data="twins.yaml")
    show_pairs(home / "one", "a", [("td_bce", "random", "+0.010", "chose nothing (1 of 9 seeds); undecided, p = 0.2")])
    assert all_results.rows(home)[1].where == "a (twin pool)"
    answers = [text for text, _ in advice.advice(all_results.rows(home))]
    assert answers[0] == "On real data, ordinary pool: no evidence yet."
    assert answers[1].startswith("On real text, twin pool, which holds other rows of the primary's own task, as ")
    assert "the one tested arm is better than single-task training, all_data on a, +0.030" in answers[1]
    assert answers[2] == (
        "By intervals alone, on a (twin pool), what no cheaper arm equals, in TFLOP per seed: all_data +0.030 (+0.020 "
        "to +0.040) at 3; gradts_top +0.040 (+0.030 to +0.050) at 4. They were picked from 3 arms (each n counts) by "
        "these numbers, which flatters them; all their intervals overlap, and no test tells them apart."
    )
    assert answers[3] == (
        "No evidence yet there of FastMTL, AUTOSEM, TAWT, row scores, task scores, balanced weights: no published "
        "study trained an arm of theirs."
    )
    (told,) = advice.between(all_results.rows(home), all_results.pairs(home))
    assert (told.where, told.shown, told.studies) == ("a (twin pool)", False, ("one",))
    assert told.notes == ("td_bce chose nothing in 1 of 9 seeds",)


def show_pairs(folder, primary, pairs, last=False):
    """Write a page's table of pairs, its verdicts last as they once were."""
    order = (0, 1, 3, 4, 2) if last else (0, 1, 2, 3, 4)
    names = ("what is it that helps?", "difference", "verdict", "95% over seeds", "over seeds and rows")
    head = "".join(f'<th scope="col">{names[i]}</th>' for i in order)
    lines = []
    for arm, other, d, verdict in pairs:
        cells = [f'<th scope="row"><span title="of &gt;">{arm}</span> − <span>{other}</span></th>']
        cells += [f'<td class="number"><b>{d}</b></td>', f"<td>{verdict}</td>"]
        cells += ['<td class="number">+0.000 to +0.020</td>', '<td class="number">none</td>']
        lines.append(f"<tr>{''.join(cells[i] for i in order)}</tr>\n")
    with open(folder / "index.html", "a") as page:
        page.write(f'<div aria-label="Pairs of arms on {primary}"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n')
        page.write(f"{''.join(lines)}</tbody></table></div>")


@pytest.mark.parametrize("last", [False, True])
def test_pairs_of_arms_are_read_from_the_tables_of_a_study_s_page(tmp_path, last):
    published(tmp_path, "one", [SINGLE])
    both = [("x", "y", "+0.010", "better, p = 0.010"), ("x", "z", "-0.010", "not tested")]
    show_pairs(tmp_path / "one", "a", both, last)
    show_pairs(tmp_path / "one", "b&amp;", [("x", "y", "+0.020", "no difference shown, p = 0.900")], last)
    one, other = all_results.pairs(tmp_path)
    assert one == all_results.Pair("one", "a", "x", "y", "+0.010", "+0.000 to +0.020", "better", 0.01)
    assert (other.primary, other.verdict) == ("b&", "no difference shown")
    with open(tmp_path / "one" / "index.html", "a") as page:
        page.write('aria-label="Pairs of arms on c"><thead></thead><tbody><tr><td>?</td></tr></tbody>')
    with pytest.raises(InputError, match=r"one/index.html: not a table of pairs of arms; publish the study again"):
        all_results.pairs(tmp_path)


def test_pairs_that_a_test_tells_apart_are_advised_with_those_it_does_not_and_each_once(tmp_path):
    rows = [SINGLE, arm("x", 0.2, "not tested")]
    same, null = ("x", "random", "+0.010", "better, p = 0.010"), ("y", "x", "-0.001", "no difference shown, p = 0.900")
    for name, pairs, data in (("also", [null], "real"), ("made", [same], "planted"), ("real", [null, same], "real")):
        published(tmp_path, name, rows, data=data)
        show_pairs(tmp_path / name, "a", pairs)
    published(tmp_path, "twice", rows)
    show_pairs(tmp_path / "twice", "a", [same])
    told = advice.between(all_results.rows(tmp_path), all_results.pairs(tmp_path))
    assert [(each.where, each.pair.arm, each.shown, each.studies) for each in told] == [
        ("a", "x", True, ("real", "twice")),
        ("a", "y", False, ("also", "real")),
        ("a (planted)", "x", True, ("made",)),
    ]


def test_a_pair_that_a_larger_family_of_tests_does_not_show_is_advised_with_that(tmp_path):
    for name, verdict in (("large", "no difference shown, p = 0.062"), ("small", "better, p = 0.016")):
        published(tmp_path, name, [SINGLE, arm("x", 0.2, "not tested")])
        show_pairs(tmp_path / name, "a", [("x", "random", "+0.010", verdict)])
    (told,) = advice.between(all_results.rows(tmp_path), all_results.pairs(tmp_path))
    assert told.shown
    assert told.notes == ("not shown by the larger family of large, of the same runs",)
    assert told.studies == ("small", "large")


def test_what_pairs_of_arms_show_is_a_sentence():
    pair = {"arm": "x", "baseline": "random", "difference": 0.1, "low": 0.05, "high": 0.15, "p": 0.01}
    told = study_findings.finding_between(
        [pair | {"verdict": "better"}, pair | {"arm": "y", "verdict": "no difference shown"}]
    )
    assert told == "Of 2 tested pairs of arms 1 is shown to differ: x − random +0.100 (+0.050 to +0.150)."
    both = study_findings.finding_between([pair | {"verdict": "better"}, pair | {"arm": "y", "verdict": "worse"}])
    assert both.startswith("All 2 tested pairs of arms are shown to differ: x − random +0.100")
    none = study_findings.finding_between([pair | {"verdict": "no difference shown"}])
    assert none == "The one tested pair of arms, x − random, is not shown to differ."


def test_of_many_methods_the_highest_and_the_lowest_are_named_and_who_avoids_permuted_labels():
    found = {
        name: {"mean": 0.9 - i / 10, "seeds": 4, "shares": {"shuffled": 0.1 if name == "e" else 0.5}}
        for i, name in enumerate("abcdefg")
    }
    found["h"] = {"mean": 1.0, "seeds": 2, "shares": {"shuffled": 0.3}}  # in few seeds: neither high nor low
    assert study_findings.finding_chosen({"class": "twin", "pool": 0.2, "found": found}) == (
        "Share of twin rows (20% of the pool) in what each of 8 methods chose: the highest a 90%, b 80%, c 70%; the "
        "lowest g 30%. Of the same rows with permuted labels: e 10%, a 50%, b 50%, c 50%."
    )


def test_controls_and_what_fewer_seeds_showed_are_not_counted_again(tmp_path):
    rows = [arm("td_bce", 0.1, "no difference shown"), arm("null_joint", 0.2, "better"), arm("joint", 0.1, "better")]
    published(tmp_path, "all", [SINGLE, *rows, arm("td_bce+shuffled_joint", 0.2, "better")], data="planted")
    rows = [arm("td_bce", 0.2, "better", seeds=8, tflop=1.001), arm("joint", 0.2, "worse", tflop=3)]
    published(tmp_path, "some", [SINGLE, *rows, arm("only_b", 0.3, "better")], data="planted")
    text, _ = advice.advice(all_results.rows(tmp_path))[-1]
    # td_bce once, by the study with more seeds; joint twice, as it cost another amount.
    assert "1 of 3 tested arms is better than single-task training. The cheapest is joint on a, +0.100" in text


def test_controls_are_known_by_their_names():
    arms = (
        "step_matched",
        "step_matched_all",
        "matched_bce",
        "cie_ce",
        "only_b",
        "null_joint",
        "random+shuffled_joint",
    )
    assert all(map(advice.is_control, arms))
    others = ("random", "all_data", "td_bce", "tawt_joint", "random+joint", "tawt_deciles", "share_50", "pretrain")
    assert not any(map(advice.is_control, others))


def test_arms_in_a_sentence_have_tooltips_and_other_words_have_none():
    titles = {"random": "rows & <more>", "single": "alone", "random+joint": "both", "x": ""}
    text = "Of 2 (random, x) <random> single-task: random+joint − single, -0.1."
    assert arm_labels.marked(text, titles) == (
        'Of 2 (<abbr title="rows &amp; &lt;more&gt;">random</abbr>, x) &lt;<abbr title="rows &amp; &lt;more&gt;">random'
        '</abbr>&gt; single-task: <abbr title="both">random+joint</abbr> − <abbr title="alone">single</abbr>, -0.1.'
    )
    assert arm_labels.marked("single", titles, link=True) == '<a href="#arm-single" title="alone">single</a>'
    assert arm_labels.title("random+tawt_joint").startswith("n rows drawn uniformly over the pool; joint: ")
    assert arm_labels.labels("random 5%, td_bce − nobody's, single-task") == ["random", "td_bce"]


def test_no_word_of_the_sentences_is_an_arm_s(tmp_path):
    """Such as `less` or `only`: a label is told from a word by nothing but its letters."""
    write_suites(tmp_path)
    for data in ("planted", "twins.yaml", "real"):
        rows = [arm("X", 0.2, "better"), arm("Y", -0.3, "worse"), arm("Z", 0.1, "chose nothing (2 of 9 seeds); better")]
        published(tmp_path / "reports", data, [SINGLE, *rows, arm("V", 0.4, "not tested")], data=data)
        show_pairs(tmp_path / "reports" / data, "a", [("X", "Y", "+0.010", "better, p = 0.010")])
    found = all_results.rows(tmp_path / "reports")
    texts = [text for text, _ in advice.advice(found)]
    for rows in (found, found[:2], [row for row in found if row.arm == "Y"], [row for row in found if row.arm == "V"]):
        texts.append(study_findings.finding(rows))
    assert [arm_labels.labels(text) for text in texts] == [[]] * len(texts)


def test_what_methods_chose_is_a_sentence():
    row = {"low": None, "high": None, "auc": None, "TFLOP": 1.0}
    found = {
        "a": row | {"mean": 0.2, "seeds": 10},
        "b": row | {"mean": 0.8, "seeds": 6},
        "c": row | {"mean": None, "seeds": 0},
    }
    told = study_findings.finding_chosen({"class": "twin", "pool": 0.17, "found": found})
    assert told == "Share of twin rows (17% of the pool) in what each method chose: a 20%, b 80% (in 6 of 10 seeds)."
    for name, share in (("a", 0.19), ("b", 0.0)):
        found[name]["shares"] = {"twin": found[name]["mean"], "shuffled": share}
    assert study_findings.finding_chosen({"class": "twin", "pool": 0.17, "found": found}) == (
        f"{told} Of the same rows with permuted labels: a 19%, b 0%."
    )
    pools = {"twin": 0.17, "shuffled": 0.09, "other": 0.74}
    more = study_findings.finding_chosen({"class": "twin", "pool": 0.17, "found": found, "pools": pools})
    assert more == f"{told} Of the same rows with permuted labels (9%): a 19%, b 0%."
    assert study_findings.finding_chosen({"class": "twin", "pool": 0.17, "found": {"c": found["c"]}}) == ""


@pytest.mark.parametrize("verdict", [
    "not tested", "undecided (10 seeds for 12 tests)", "no test (7 seeds; needs 8)",
    "chose nothing (1 of 10 seeds); better", "chose nothing (10 of 10 seeds)",
])  # fmt: skip
def test_an_arm_that_was_not_tested_counts_as_none_that_was(tmp_path, verdict):
    published(tmp_path, "real", [SINGLE, arm("x", 0.2, verdict)])
    assert advice.advice(all_results.rows(tmp_path))[0] == (
        "On real data, ordinary pool: nothing was tested: 1 arms in 1 studies have intervals alone.", [],
    )  # fmt: skip
    kind = all_results.rows(tmp_path)[1].kind
    assert kind == {"chose nothing (1 of 10 seeds); better": "better"}.get(verdict, verdict.partition(" (")[0])


def test_a_study_s_finding_is_a_sentence(tmp_path):
    published(tmp_path, "one", [SINGLE, arm("x", 0.1, "better"), arm("y", -0.1, "worse"), arm("z", 0.0, "better")])
    published(tmp_path, "two", [SINGLE, arm("x", 0.1, "undecided (3 seeds)", seeds=3)])
    found = all_results.rows(tmp_path)
    one, two = ([row for row in found if row.study == name] for name in ("one", "two"))
    assert study_findings.finding(one) == (
        "Of 3 arms 2 (x, z) are better and 1 (y) is worse than single-task training. The highest difference is x on "
        "a, +0.100 (+0.090 to +0.110)."
    )
    assert study_findings.finding(two) == (
        "The one arm, x, is not shown to be better or worse than single-task training. The difference is x on a, "
        "+0.100 (+0.090 to +0.110); 3 seeds, which decide nothing."
    )
    assert study_findings.finding(one[:1]) == ""
    published(tmp_path, "three", [SINGLE, arm("x", 0.1, "no difference shown"), arm("y", 0.05, "better")])
    three = [row for row in all_results.rows(tmp_path) if row.study == "three"]
    assert study_findings.finding(three).startswith("Of 2 arms 1 (y) is better than single-task training. The highest")
    assert study_findings.finding(three).endswith("x on a, +0.100 (+0.090 to +0.110), which no test shows.")
    published(tmp_path, "four", [SINGLE, arm("x", 0.1, "not tested"), arm("y", 0.05, "chose nothing; not tested")])
    assert study_findings.finding([row for row in all_results.rows(tmp_path) if row.study == "four"]) == (
        "None of 2 arms was tested against single-task training. The highest difference is x on "
        "a, +0.100 (+0.090 to +0.110)."
    )


def test_a_finding_tells_tested_arms_from_those_that_were_not(tmp_path):
    rows = [SINGLE, arm("x", 0.1, "not tested"), arm("y", 0.05, "better"), arm("z", 0.0, "no difference shown")]
    published(tmp_path, "one", rows)
    assert study_findings.finding(all_results.rows(tmp_path)) == (
        "Of 2 tested arms (y, z) 1 (y) is better than single-task training. The highest difference of all 3 arms is x "
        "on a, +0.100 (+0.090 to +0.110), not tested."
    )


def test_a_finding_over_several_comparisons_says_which(tmp_path):
    def both(at, **given):
        return [SINGLE | given, arm("step_matched", 0.2, "not tested", **given), arm("x", at, "better", **given)]

    rows = [*both(0.05, primary="a"), *both(0.06, primary="b")]
    rows[-1] |= {"verdict": "no difference shown"}
    published(tmp_path, "tasks", rows)
    published(tmp_path, "sizes", [*both(0.05, n=10), *both(0.06, n=20)])
    found = all_results.rows(tmp_path)
    told = {study: study_findings.finding([row for row in found if row.study == study]) for study in ("tasks", "sizes")}
    assert told["tasks"].startswith("Of 2 tested arms (x on a; x on b) 1 (x on a) is better than single-task training.")
    assert told["sizes"].startswith("Of 2 tested arms (x, n = 10; x, n = 20) 2 (x, n = 10; x, n = 20) are better than")


def test_a_finding_counts_an_arm_that_chose_nothing_as_untested(tmp_path):
    rows = [SINGLE, arm("x", 0.1, "chose nothing (4 of 4 seeds)", seeds=4), arm("y", 0.05, "not tested", seeds=4)]
    published(tmp_path, "one", rows)
    assert study_findings.finding(all_results.rows(tmp_path)) == (
        "None of 2 arms was tested against single-task training. Of arms that chose rows in any seed, the highest "
        "difference is y on a, +0.050 (+0.040 to +0.060); 4 seeds, which decide nothing."
    )
    assert study_findings.finding(all_results.rows(tmp_path)[:2]) == (
        "The one arm, x, was not tested against single-task training. The difference is x on a, +0.100 (+0.090 to "
        "+0.110), which chose no row in any seed; 4 seeds, which decide nothing."
    )


def test_arms_of_several_sizes_are_counted_once(tmp_path):
    rows = [arm(name, d, "not tested") | {"n": n} for n, d in ((1, 0.1), (2, 0.2)) for name in ("x", "y")]
    assert finding(tmp_path, "one", rows).startswith("None of 2 arms, in 4 comparisons, was tested against single-task")


def test_where_all_arms_lose_it_is_said(tmp_path):
    lose = [arm("x", -0.1, "not tested"), arm("y", -0.2, "not tested")]
    published(tmp_path, "one", [SINGLE, *lose, arm("only_b", 0.5, "not tested")])
    texts = [text for text, _ in advice.advice(all_results.rows(tmp_path))]
    assert (
        "By intervals alone, on a, each of 2 arms lies below single-task training, controls aside: x -0.100 (-0.110 to "
        "-0.090); y -0.200 (-0.210 to -0.190)."
    ) in texts
    published(tmp_path, "two", [SINGLE, arm("z", 0.002, "not tested")])
    assert not [text for text, _ in advice.advice(all_results.rows(tmp_path)) if "below" in text]


def test_one_arm_shown_better_on_one_of_several_tasks_is_no_cheapest(tmp_path):
    rows = [arm("random", 0.1, "better"), arm("random", 0.0, "no difference shown") | {"primary": "b"}]
    published(tmp_path, "one", [SINGLE, *rows])
    assert advice.advice(all_results.rows(tmp_path))[0][0] == (
        "On real data, ordinary pool: the one tested arm is better than single-task training once, random on a, +0.100 "
        "(+0.090 to +0.110), at 1 TFLOP per seed; not shown on b."
    )


@pytest.mark.parametrize(("lows", "told"), [
    ((-0.02, 0.0, -0.005), "td reaches it with 200 and 1,000 rows, and is not shown to with 30."),
    ((-0.02, -0.02, -0.03), "td is not shown to with 30, 200 and 1,000."),
    ((0.0, 0.0, 0.0), "td reaches it with 30, 200 and 1,000 rows."),
])  # fmt: skip
def test_what_share_of_the_pool_reaches_all_data_is_said_where_a_margin_is_declared(lows, told):
    pair = {"arm": "td", "baseline": "all_data"}
    made = [
        (n, 0.01, {"arms": {"all_data": {"difference": 0.03}}, "pairs": [pair | {"low": low}]})
        for n, low in zip(("30", "1000", "200"), lows, strict=True)
    ]
    assert study_findings.finding_reached(made) == f"The score of all data, of which an arm may lack 0.01: {told}"
    assert study_findings.finding_reached([(n, 0.0, metrics) for n, _, metrics in made]) == ""
    assert study_findings.finding_reached([(n, 0.04, metrics) for n, _, metrics in made]) == ""  # all data gains less


def finding(home, name, rows):
    published(home, name, [SINGLE, *rows])
    return study_findings.finding([row for row in all_results.rows(home) if row.study == name])


def test_a_finding_names_the_lowest_where_it_lies_further_from_single_task_training(tmp_path):
    rows = [arm("x", 0.006, "not tested"), arm("y", -0.08, "not tested"), arm("z", -0.004, "not tested")]
    assert finding(tmp_path, "one", rows) == (
        "None of 3 arms was tested against single-task training. The highest difference is x on a, +0.006 (-0.004 to "
        "+0.016); the lowest is y on a, -0.080 (-0.090 to -0.070)."
    )
    few = [arm(name, d, "undecided (3 seeds)", seeds=3) for name, d in (("x", -0.01), ("y", -0.16))]
    assert finding(tmp_path, "two", few) == (
        "Of 2 arms none is shown to be better or worse than single-task training. All 2 arms score below single-task "
        "training: the highest difference is x on a, -0.010 (-0.020 to +0.000); the lowest is y on a, -0.160 (-0.170 "
        "to -0.150); 3 seeds, which decide nothing."
    )
    assert "lowest" not in finding(tmp_path, "three", [arm("x", 0.1, "better"), arm("y", -0.1, "worse")])


def test_a_finding_says_of_an_arm_that_it_chose_nothing_in_some_seeds(tmp_path):
    idle = arm("fg", 0.05, "chose nothing (8 of 10 seeds); better")
    assert finding(tmp_path, "one", [idle, arm("x", 0.1, "better")]).startswith(
        "Of 2 arms 2 (fg, which chose nothing in 8 of 10 seeds; x) are better than single-task training. "
    )
    many = [arm(name, 0.01, "better") for name in "abcd"]
    assert finding(tmp_path, "two", [idle, *many]) == (
        "Of 5 arms 5 (among them fg, which chose nothing in 8 of 10 seeds) are better than single-task training. The "
        "highest difference is fg on a, +0.050 (+0.040 to +0.060), which chose nothing in 8 of 10 seeds."
    )
    assert finding(tmp_path, "three", [idle]).startswith(
        "The one arm, fg, which chose nothing in 8 of 10 seeds, is better than single-task training. "
    )


@pytest.fixture
def own_registry(monkeypatch):
    """Plug-ins that a test imports are there for no other."""
    registry.names()
    for table in ("_METHODS", "_POLICIES", "_MAKERS"):
        monkeypatch.setattr(registry, table, dict(getattr(registry, table)))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv(plug_in_modules.VARIABLE, "")


PLUGIN = "from auxlearn.methods.registry import variant\nvariant({!r}, 'td_bce', {!r}, proxy_layers=1)\n"


def test_arms_of_a_study_s_plug_ins_are_told_by_its_file(tmp_path, monkeypatch, own_registry):
    monkeypatch.setattr(front_page, "PROJECT", tmp_path)
    studies = tmp_path / "params" / "studies"
    studies.mkdir(parents=True)
    for name, plugin in (("one", PLUGIN.format("mine", "by <one>")), ("broken", "1 / 0")):
        (studies / f"{name}.py").write_text(plugin)
        (studies / f"{name}.yaml").write_text(f"study: {name}\nplugins: [{name}.py]\n")
    home = tmp_path / "reports"
    for name in ("one", "broken", "gone"):
        published(home, name, [SINGLE, arm("mine", 0.1, "better"), arm(f"of_{name}", 0.1, "better")])
    found = all_results.rows(home)
    told = {"gone": ["Of 2 tested pairs of arms knn − td_bce"]}
    titles = front_page.known([row for row in found if row.study != "one"], told)
    assert list(titles) == ["knn", "mine", "of_broken", "of_gone", "single", "td_bce"]
    assert titles["mine"] == titles["of_broken"] == titles["of_gone"] == ""  # no study that has it tells
    assert front_page.known(found, {})["mine"] == "by <one>"
    assert front_page.plug("broken") is front_page.plug("gone") is False


def test_every_published_table_is_on_the_front_page(own_registry):
    found = all_results.rows(PROJECT / "reports")
    titles = front_page.known(found, {})
    assert all(titles.values())
    assert {row.study for row in found} == {file.parent.name for file in (PROJECT / "reports").glob("*/results.csv")}
    assert all(row.constant is not None for row in found)
    page = (PROJECT / "reports" / "index.html").read_text(encoding="utf-8")
    assert page.count('<th scope="row" title="') == len(found), "write it again: auxlearn verify --page"
    assert '<th scope="row" title="the n rows that the proxy takes for the primary' in page
    assert set(re.findall('href="#(arm-[^"]*)"', page)) <= set(re.findall('id="(arm-[^"]*)"', page))
    text = html.unescape(published_tables.TAGS.sub("", page))
    for sentence, _ in advice.advice(found):
        assert sentence in text, "write it again: auxlearn verify --page"
    for told in advice.between(found, all_results.pairs(PROJECT / "reports")):
        assert f"{told.pair.arm} − {told.pair.baseline}\n{told.pair.difference}\n" in text
