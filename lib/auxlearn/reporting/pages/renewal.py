"""Give published pages their top and their pictures anew, from the tables that they have.

So that all say the same in the same words, however old the code that made them. The runs of most are gone.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from auxlearn.reporting.pages import arm_labels, opening, pages, published_tables, result_pictures
from auxlearn.reporting.pages.all_results import Row
from auxlearn.studies import provenance, study_file

TOP = re.compile(r'<p class="soft">(?:<a [^>]*>)?auxlearn(?:</a>)? ·.*?(?=<p>\d[\d,]* runs?: )', re.S)
SPENT = re.compile(r"(TFLOP measured)[^<]*(?=<a href=\"#runs\">)")
RECORDS = re.compile(r"<details><summary>The record of every run</summary>.*?(?=</main>)", re.S)  # of provenance.json
PICTURE = re.compile(r'<img src="(result[^"]*\.png)"')
METRIC = re.compile(r"([^:<]*): ([^<]*?) on dev")  # of a heading
STYLE = re.compile(r"<style>.*?</style>", re.S)


def renew(folder: Path, rows: Sequence[Row], titles: Mapping[str, str]) -> list[str]:
    """Write the top of a published page anew, its style and its pictures, and record their hashes.

    Files that are other than as they were recorded are left as they are, so that `verify` goes on saying so.

    Args:
        folder: The report's folder.
        rows: Its arms.
        titles: By arm, what it is, of all arms that are known.

    Returns:
        What its tables say that the study found.

    Raises:
        InputError: A table of the page is not as pages have it; the message names the page.
    """
    index = folder / "index.html"
    page = index.read_text(encoding="utf-8")
    try:
        pairs = published_tables.pairs(page, folder.name)
    except ValueError as error:
        raise InputError(f"{index}: {error}; publish the study again") from None
    margin, (parts, metric) = _margin(folder.name), published_tables.parts(page)
    found = opening.sentences(
        rows, [pair.as_metrics() for pair in pairs], [(n, margin, made) for n, made in _sized(rows, pairs)],
        published_tables.boards(page), {method: [mean for mean, *_ in own] for method, own in parts.items()},
    )  # fmt: skip
    arms = dict.fromkeys([*(row.arm for row in rows), *(arm for text in found for arm in arm_labels.labels(text))])
    own = {arm: titles.get(arm) or arm_labels.title(arm) for arm in arms}
    title = re.search(r"<title>(.*?)</title>", page, re.S)
    metrics = {
        html.unescape(primary): html.unescape(name) for primary, name in re.findall(f"<h2>{METRIC.pattern}", page)
    }
    curves = [*result_pictures.of_parts(parts, metric), *result_pictures.of_sizes(rows, metrics)]
    file, design = opening.declared(folder.name)
    new = opening.top(html.unescape(title[1]) if title else folder.name, found, own, design, file, True, curves)
    altered = _altered(folder)
    changed = [each.name for each in curves if each.name not in altered and each.draw(folder)]
    changed += _pictures(folder, page, rows, altered)
    if "index.html" not in altered and (text := _rewritten(page, new)) != page:
        index.write_text(text, encoding="utf-8")
        changed.append("index.html")
    if changed:
        provenance.rehash(folder, changed)
    return found


def _altered(folder: Path) -> set[str]:
    """List the files of a report that are other than as they were recorded: all, where the record cannot be read."""
    try:
        record = provenance.read(folder)
    except InputError:  # which its verdict says
        return {path.name for path in folder.iterdir()}
    files = record["files"] if record else {}
    return {name for name, known in files.items() if provenance.file_hash(folder / name) != known}


def _rewritten(page: str, top: str) -> str:
    style = STYLE.search(pages.environment().get_template("layout.html").render(title="", scripted=False))
    assert style is not None, "the layout has a style"
    page = TOP.sub(lambda _: top, page, count=1)
    page = SPENT.sub(lambda match: match[1] + opening.NOT_IN, page, count=1)
    page = RECORDS.sub("", page, count=1)
    return STYLE.sub(lambda _: style[0], page, count=1)


def _pictures(folder: Path, page: str, rows: Sequence[Row], altered: set[str]) -> list[str]:
    """Draw the pictures of a page's comparisons anew; return those that changed."""
    comparisons: dict[tuple[str, ...], list[Row]] = {}
    for row in rows:
        comparisons.setdefault((row.primary, row.n, row.run), []).append(row)
    sections = [part for part in page.split("<h2>")[1:] if PICTURE.search(part)]
    if len(sections) != len(comparisons):
        return []
    changed = []
    for section, own in zip(sections, comparisons.values(), strict=True):
        picture, heading = PICTURE.search(section), METRIC.match(section)
        if picture is None or heading is None or picture[1] in altered:
            continue
        pairs = [pair.as_metrics() for pair in published_tables.pairs(section, folder.name)]
        if result_pictures.draw(folder / picture[1], own, pairs, html.unescape(heading[2])):
            changed.append(picture[1])
    return changed


def _margin(name: str) -> float:
    """Return by how much an arm of a committed study may miss all data's score; 0 where none is declared."""
    file = study_file.committed(PROJECT, name)
    return float(study_file.read(file).notebooks.get("07_efficiency", {}).get("margin", 0.0)) if file else 0.0


def _sized(rows: Sequence[Row], pairs: Sequence[published_tables.Pair]) -> list[tuple[str, dict[str, Any]]]:
    """Put arms and pairs together by primary and number of rows, as the metrics of a 07 each."""
    made: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        if not row.of:
            each = made.setdefault((row.primary, row.n), {"primary": row.primary, "arms": {}, "pairs": []})
            each["arms"][row.arm] = {"difference": row.difference}
    for pair in pairs:
        if (pair.primary, pair.n) in made:
            made[pair.primary, pair.n]["pairs"].append(pair.as_metrics())
    return [(n, each) for (_, n), each in made.items()]
