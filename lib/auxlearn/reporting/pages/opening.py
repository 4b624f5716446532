"""The top of a study's page: what it found, its design and its arms, by the same rules as the front page's.

Pages that were published before are given theirs anew from the tables they have, so that all say the same in the same
words, however old the code that made them.
"""

from __future__ import annotations

import csv
import html
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from auxlearn.reporting.pages import arm_labels, pages, published_tables, result_pictures, study_findings
from auxlearn.reporting.pages.all_results import Row
from auxlearn.studies import provenance, study_file

TOP = re.compile(r'<p class="soft">(?:<a [^>]*>)?auxlearn(?:</a>)? ·.*?(?=<p>\d[\d,]* runs?: )', re.S)
SPENT = re.compile(r"(TFLOP measured)[^<]*(?=<a href=\"#runs\">)")
NOT_IN = "; what a method ran within 06 or 08 in order to choose is in its arm's TFLOP below. "
RECORDS = re.compile(r"<details><summary>The record of every run</summary>.*?(?=</main>)", re.S)  # of provenance.json
PICTURE = re.compile(r'<img src="(result[^"]*\.png)"')
HEADS = re.compile(r"<h2>([^:<]*): ([^<]*?) on dev")
METRIC = re.compile(r"[^:<]*: ([^<]*?) on dev")
STYLE = re.compile(r"<style>.*?</style>", re.S)


def sentences(
    rows: Sequence[Row], pairs: Sequence[Mapping[str, Any]], reached: Sequence[tuple[str, float, Mapping[str, Any]]],
    boards: Sequence[Mapping[str, Any]], parts: Mapping[str, Sequence[float]],
) -> list[str]:  # fmt: skip
    """Say what a study found.

    Args:
        rows: Its arms.
        pairs: Its pairs of arms, as a 07's metrics hold them.
        reached: As for `study_findings.finding_reached`, of all primaries.
        boards: Metrics of its 08s.
        parts: Scores of parts of rankings that were trained alone, by method.

    Returns:
        Sentences, the main one first.
    """
    primaries = dict.fromkeys(row.primary for row in rows)
    own = {name: [each for each in reached if each[2].get("primary", name) == name] for name in primaries}
    texts = [
        *(study_findings.finding_reached(each) for each in own.values()), study_findings.finding(rows),
        study_findings.finding_between(pairs), study_findings.finding_parts(parts),
        *(study_findings.finding_chosen(board) for board in boards),
    ]  # fmt: skip
    return [text for text in texts if text]


def top(
    title: str, found: Sequence[str], titles: Mapping[str, str], design: str, file: str, home: bool,
    curves: Sequence[result_pictures.Curves] = (),
) -> str:  # fmt: skip
    """Render the top of a page.

    Args:
        title: The study's title.
        found: Its sentences.
        titles: By arm, what it is.
        design: What the study's file says of it; "" for nothing.
        file: The study's file, as shown beside it.
        home: Whether the page lies below the front page.
        curves: Pictures of scores along what the study varies.

    Returns:
        HTML.
    """
    return pages.environment().get_template("opening.html").render(
        title=title, found=[arm_labels.marked(text, titles) for text in found], design=design, file=file, home=home,
        curves=curves,
        titles={arm: what for arm, what in titles.items() if what},
    )  # fmt: skip


def renew(folder: Path, rows: Sequence[Row], titles: Mapping[str, str]) -> list[str]:
    """Write the top of a published page anew, and its style, and record the page's hash.

    Args:
        folder: The report's folder.
        rows: Its arms.
        titles: By arm, what it is, of all arms that are known.

    Returns:
        What it now says that the study found.

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
    found = sentences(
        rows, [pair.as_metrics() for pair in pairs], [(n, margin, made) for n, made in _sized(rows, pairs)],
        published_tables.boards(page), {method: [mean for mean, *_ in own] for method, own in parts.items()},
    )  # fmt: skip
    curves = [*result_pictures.of_parts(parts, metric), *_sizes(folder, rows, page)]
    changed = [each.name for each in curves if each.draw(folder)]
    arms = dict.fromkeys([*(row.arm for row in rows), *(arm for text in found for arm in arm_labels.labels(text))])
    own = {arm: titles.get(arm) or arm_labels.title(arm) for arm in arms}
    title = re.search(r"<title>(.*?)</title>", page, re.S)
    file, design = declared(folder.name)
    new = top(html.unescape(title[1]) if title else folder.name, found, own, design, file, True, curves)
    style = re.search(STYLE, pages.environment().get_template("layout.html").render(title="", scripted=False))
    assert style is not None, "the layout has a style"
    page = TOP.sub(lambda _: new, page, count=1)
    page = SPENT.sub(lambda match: match[1] + NOT_IN, page, count=1)
    page = RECORDS.sub("", page, count=1)
    page = STYLE.sub(lambda _: style[0], page, count=1)
    changed += _pictures(folder, page)
    if page != index.read_text(encoding="utf-8"):
        index.write_text(page, encoding="utf-8")
        changed.append("index.html")
    if changed:
        provenance.rehash(folder, changed)
    return found


def _sizes(folder: Path, rows: Sequence[Row], page: str) -> list[result_pictures.Curves]:
    """Find the curves along the number of rows, of a page and its results.csv."""
    spans = {
        (line["primary"], line["n"], line["arm"]): (_number(line["score_low"]), _number(line["score_high"]))
        for line in _lines(folder) if "score_low" in line
    }  # fmt: skip
    own = [spans.get((row.primary, row.n, row.arm), (None, None)) for row in rows]
    metrics = {html.unescape(name): html.unescape(metric) for name, metric in HEADS.findall(page)}
    whole = [None if low is None or high is None else (low, high) for low, high in own]
    return result_pictures.of_sizes(rows, whole, metrics)


def _lines(folder: Path) -> list[dict[str, str]]:
    results = folder / "results.csv"
    if not results.is_file():
        return []
    with results.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _pictures(folder: Path, page: str) -> list[str]:
    """Draw the pictures of a page's comparisons anew, from its table and results.csv; return those that changed."""
    comparisons: dict[tuple[str, ...], list[dict[str, str]]] = {}
    for line in _lines(folder):
        comparisons.setdefault(tuple(line.get(name, "") for name in ("primary", "n", "run")), []).append(line)
    sections = [part for part in page.split("<h2>")[1:] if PICTURE.search(part)]
    if len(sections) != len(comparisons):
        return []
    changed = []
    for section, own in zip(sections, comparisons.values(), strict=True):
        picture, metric = PICTURE.search(section), METRIC.match(section)
        if picture is None or metric is None:
            continue
        arms = {
            line["arm"]: {name: _number(line[name]) for name in result_pictures.COLUMNS[:-1]}
            | {"verdict": line["verdict"]}
            for line in own
        }
        pairs = [pair.as_metrics() for pair in published_tables.pairs(section, folder.name)]
        seeds = max(int(line["seeds"]) for line in own)
        if result_pictures.draw(folder / picture[1], arms, pairs, html.unescape(metric[1]), seeds):
            changed.append(picture[1])
    return changed


def _number(text: str) -> float | None:
    return float(text) if text else None


def declared(name: str) -> tuple[str, str]:
    """Return a committed study's file, as it is called in the project, and what it says of itself; "" without one."""
    file = PROJECT / "params" / "studies" / f"{name}.yaml"
    if not file.is_file():
        return "", ""
    return file.relative_to(PROJECT).as_posix(), study_file.comment(file)


def _margin(name: str) -> float:
    """Return by how much an arm of a committed study may miss all data's score; 0 where none is declared."""
    file = PROJECT / "params" / "studies" / f"{name}.yaml"
    if not file.is_file():
        return 0.0
    return float(study_file.read(file).notebooks.get("07_efficiency", {}).get("margin", 0.0))


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
