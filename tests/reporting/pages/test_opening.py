"""The top of a study's page, as it is made and as pages that were published before are given it anew."""

import re

import pytest

from auxlearn.paths import PROJECT
from auxlearn.reporting.pages import all_results, opening, published_tables
from auxlearn.studies import study_file


def test_parts_of_rankings_are_read_with_their_intervals():
    page = (PROJECT / "reports" / "planted_deciles" / "index.html").read_text(encoding="utf-8")
    parts, metric = published_tables.parts(page)
    assert (metric, {method: len(own) for method, own in parts.items()}) == (
        "accuracy", dict.fromkeys(("td_bce", "rds", "knn", "dsir"), 10)
    )  # fmt: skip
    assert parts["td_bce"][0] == (pytest.approx(0.83725), 0.816, 0.859)


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
