"""The top of a study's page: what it found, its design and its arms, by the same rules as the front page's."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from auxlearn.paths import PROJECT
from auxlearn.reporting.pages import arm_labels, pages, result_pictures, study_findings
from auxlearn.reporting.pages.all_results import Row
from auxlearn.studies import study_file

NOT_IN = "; what a method ran within 06 or 08 in order to choose is in its arm's TFLOP below. "


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


def declared(name: str) -> tuple[str, str]:
    """Return a committed study's file, as it is called in the project, and what it says of itself; "" without one."""
    file = study_file.committed(PROJECT, name)
    return (file.relative_to(PROJECT).as_posix(), study_file.comment(file)) if file else ("", "")
