"""Published pages are given their top and their pictures anew."""

import json
import re
import shutil

import pytest

from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from auxlearn.reporting.pages import all_results, renewal, result_pictures
from auxlearn.studies import provenance


@pytest.fixture
def shared(tmp_path):
    """A copy of the committed study that compares four sizes, with the sentences of older code."""
    folder = tmp_path / "reports" / "twins_share"
    shutil.copytree(PROJECT / "reports" / "twins_share", folder)
    index = folder / "index.html"
    old = '<p class="soft">auxlearn · which?</p>\n<h1>Old</h1>\n<p class="found">Of 1 arm, 1 is.</p>\n'
    page = renewal.TOP.sub(old, index.read_text(encoding="utf-8"))
    page = renewal.SPENT.sub(r"\1, in other words. ", page)
    index.write_text(renewal.STYLE.sub("<style>old { }</style>", page), encoding="utf-8")
    provenance.rehash(folder, ["index.html"])
    return folder


def test_a_page_of_older_code_opens_as_today_s_do(shared):
    before = (shared / "index.html").read_text(encoding="utf-8")
    found = renewal.renew(shared, all_results.rows(shared.parent), {})
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
    assert renewal.renew(shared, all_results.rows(shared.parent), {}) == found
    assert (shared / "index.html").stat().st_mtime_ns == stamp  # nothing left to change


def test_pictures_are_drawn_anew_from_the_tables_and_hashed(shared):
    (shared / "result-sst2-333.png").write_bytes(b"old")
    provenance.rehash(shared, ["result-sst2-333.png"])  # as it was published
    renewal.renew(shared, all_results.rows(shared.parent), {})
    assert (shared / "result-sst2-333.png").read_bytes()[:4] == b"\x89PNG"
    files = json.loads((shared / "provenance.json").read_text(encoding="utf-8"))["files"]
    assert files["result-sst2-333.png"] == provenance.file_hash(shared / "result-sst2-333.png")


def test_scores_along_the_number_of_rows_are_drawn_where_a_study_has_several(shared):
    (shared / "curve.png").unlink()
    record = provenance.read(shared)
    del record["files"]["curve.png"]  # as published by older code
    provenance.write(shared, record)
    renewal.renew(shared, all_results.rows(shared.parent), {})
    page = (shared / "index.html").read_text(encoding="utf-8")
    assert (shared / "curve.png").read_bytes()[:4] == b"\x89PNG"
    alt = re.search(r'<img src="curve.png" alt="([^"]*)"', page)[1]
    assert alt.startswith(
        "accuracy on dev by auxiliary rows added, mean over seeds with t intervals. single 0.731; random"
    )
    assert "td_bce 0.780, 0.739, 0.770, 0.758" in alt
    assert "all_data 0.761" in alt
    one = [row for row in all_results.rows(PROJECT / "reports") if row.study == "twins_sst2"]
    assert result_pictures.of_sizes(one, {"sst2": "accuracy"}) == []


def test_a_page_whose_tables_cannot_be_read_is_named(shared):
    index = shared / "index.html"
    text = index.read_text(encoding="utf-8").replace("what is it that helps?", "what?")
    index.write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"twins_share/index\.html: not a table of pairs of arms; publish"):
        renewal.renew(shared, [], {})


@pytest.mark.parametrize("name", ["index.html", "result-sst2-333.png", "curve.png"])
def test_what_was_altered_since_it_was_recorded_is_left_as_it_is(shared, name):
    """Drawn or written anew and recorded, it would stand for what was published."""
    renewal.renew(shared, all_results.rows(shared.parent), {})
    altered = (shared / name).read_bytes().replace(b"+0.049", b"+0.490") + b" "
    (shared / name).write_bytes(altered)
    renewal.renew(shared, all_results.rows(shared.parent), {"td_bce": "another title"})
    assert (shared / name).read_bytes() == altered
    files = json.loads((shared / "provenance.json").read_text(encoding="utf-8"))["files"]
    assert files[name] != provenance.file_hash(shared / name)
