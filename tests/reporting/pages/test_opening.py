"""The top of a study's page, as it is made and as pages that were published before are given it anew."""

import json
import re
import shutil

import pytest

from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from auxlearn.reporting.pages import all_results, opening, published_tables
from auxlearn.studies import provenance, study_file


@pytest.fixture
def shared(tmp_path):
    """A copy of the committed study that compares four sizes, with the sentences of older code."""
    folder = tmp_path / "reports" / "twins_share"
    shutil.copytree(PROJECT / "reports" / "twins_share", folder)
    index = folder / "index.html"
    old = '<p class="soft">auxlearn · which?</p>\n<h1>Old</h1>\n<p class="found">Of 1 arm, 1 is.</p>\n'
    page = opening.TOP.sub(old, index.read_text(encoding="utf-8"))
    page = opening.SPENT.sub(r"\1, in other words. ", page)
    index.write_text(opening.STYLE.sub("<style>old { }</style>", page), encoding="utf-8")
    return folder


def test_a_page_of_older_code_opens_as_today_s_do(shared):
    before = (shared / "index.html").read_text(encoding="utf-8")
    found = opening.renew(shared, all_results.rows(shared.parent), {})
    page = (shared / "index.html").read_text(encoding="utf-8")
    assert found[0] == (
        "The score of all data, of which an arm may lack 0.01: td_bce reaches it with 999 and 2,000 rows, and is not "
        "shown to with 333 and 4,500."
    )
    assert found[1].startswith(
        "None of 3 arms, in 12 comparisons, was tested against single-task training. The highest"
    )
    assert "Of 1 arm" not in page
    assert "in other words" not in page
    assert '<a href="../index.html">all studies</a>' in page
    assert "Design, as declared in params/studies/twins_share.yaml" in page
    assert "old { }" not in page
    assert page[page.index("<h2>sst2") :] == before[before.index("<h2>sst2") :]  # no number of its tables
    files = json.loads((shared / "provenance.json").read_text(encoding="utf-8"))["files"]
    assert files["index.html"] == provenance.file_hash(shared / "index.html")
    stamp = (shared / "index.html").stat().st_mtime_ns
    assert opening.renew(shared, all_results.rows(shared.parent), {}) == found
    assert (shared / "index.html").stat().st_mtime_ns == stamp  # nothing left to change


def test_pictures_are_drawn_anew_from_the_tables_and_hashed(shared):
    (shared / "result-sst2-333.png").write_bytes(b"old")
    assert "result-sst2-333.png" in opening._pictures(shared, (shared / "index.html").read_text(encoding="utf-8"))
    assert (shared / "result-sst2-333.png").read_bytes()[:4] == b"\x89PNG"
    (shared / "result-sst2-333.png").write_bytes(b"old")
    opening.renew(shared, all_results.rows(shared.parent), {})
    files = json.loads((shared / "provenance.json").read_text(encoding="utf-8"))["files"]
    assert files["result-sst2-333.png"] == provenance.file_hash(shared / "result-sst2-333.png")
    assert opening._pictures(shared, (shared / "index.html").read_text(encoding="utf-8")) == []


def test_scores_along_the_number_of_rows_are_drawn_where_a_study_has_several(shared):
    (shared / "curve.png").unlink()
    opening.renew(shared, all_results.rows(shared.parent), {})
    page = (shared / "index.html").read_text(encoding="utf-8")
    assert (shared / "curve.png").read_bytes()[:4] == b"\x89PNG"
    alt = re.search(r'<img src="curve.png" alt="([^"]*)"', page)[1]
    assert alt.startswith(
        "accuracy on dev by auxiliary rows added, mean over seeds with t intervals. single 0.731; random"
    )
    assert "td_bce 0.780, 0.739, 0.770, 0.758" in alt
    assert "all_data 0.761" in alt
    rows = all_results.rows(PROJECT / "reports")
    one = [row for row in rows if row.study == "twins_sst2"]
    assert opening._sizes(PROJECT / "reports" / "twins_sst2", one, "<h2>sst2: accuracy on dev, n = 999</h2>") == []


def test_parts_of_rankings_are_read_with_their_intervals():
    page = (PROJECT / "reports" / "planted_deciles" / "index.html").read_text(encoding="utf-8")
    parts, metric = published_tables.parts(page)
    assert (metric, {method: len(own) for method, own in parts.items()}) == (
        "accuracy", dict.fromkeys(("td_bce", "rds", "knn", "dsir"), 10)
    )  # fmt: skip
    assert parts["td_bce"][0] == (pytest.approx(0.83725), 0.816, 0.859)


def test_a_page_whose_tables_cannot_be_read_is_named(shared):
    index = shared / "index.html"
    text = index.read_text(encoding="utf-8").replace("what is it that helps?", "what?")
    index.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"twins_share/index\.html: not a table of pairs of arms; publish"):
        opening.renew(shared, [], {})


@pytest.mark.parametrize(
    "folder", sorted((PROJECT / "reports").glob("*/index.html")), ids=lambda path: path.parent.name
)
def test_every_published_page_says_what_its_tables_say_now(folder):
    rows = [row for row in all_results.rows(PROJECT / "reports") if row.study == folder.parent.name]
    page = folder.read_text(encoding="utf-8")
    pairs = [pair.as_metrics() for pair in published_tables.pairs(page, folder.parent.name)]
    boards, (parts, _) = published_tables.boards(page), published_tables.parts(page)
    said = re.sub("<[^>]*>", "", page).replace("&#39;", "'")
    means = {method: [mean for mean, *_ in own] for method, own in parts.items()}
    for sentence in opening.sentences(rows, pairs, [], boards, means):
        assert sentence in said, "write it again: auxlearn verify --page"


def test_what_methods_chose_is_read_as_the_page_has_it():
    page = (PROJECT / "reports" / "scoreboard_twins" / "index.html").read_text(encoding="utf-8")
    (board,) = published_tables.boards(page)
    assert (board["class"], board["pool"], len(board["found"])) == ("twin", 0.167, 12)
    assert board["found"]["logme"] == {"mean": 0.503, "seeds": 10, "of": None, "shares": {"shuffled": 0.0}}
    assert board["found"]["gradts_thres"]["seeds"] == 6


def test_a_study_file_s_own_words_are_its_paragraphs(tmp_path):
    file = tmp_path / "s.yaml"
    file.write_text("# One, on\n# two lines.\n#\n# Another: ö.\nstudy: s   # not this\n# nor this\n", encoding="utf-8")
    assert study_file.comment(file) == "One, on two lines.\n\nAnother: ö."
    file.write_text("study: s\n", encoding="utf-8")
    assert study_file.comment(file) == ""
    assert opening.declared("no_such_study") == ("", "")
