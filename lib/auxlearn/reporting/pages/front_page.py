"""The one page over all published reports: which method to use, every comparison, and what `verify` says of each."""

from __future__ import annotations

import html
import re
from collections import Counter
from pathlib import Path
from typing import Any

from auxlearn.errors import InputError
from auxlearn.paths import PROJECT
from auxlearn.records import checkout, runs
from auxlearn.reporting.pages import all_results, conclusions, pages
from auxlearn.studies import provenance, study_file, verify


def write() -> list[verify.Finding]:
    """Write reports/index.html: which method to use, every comparison, and every study with what `verify` says of it.

    Returns:
        The findings; the page says at which commit and on which day they were made.
    """
    home = PROJECT / "reports"
    studies, findings, results = [], verify.everything(home), all_results.rows(home)
    said = conclusions.between(home)
    for finding in findings:
        index = finding.folder / "index.html"
        title = re.search(r"<title>(.*?)</title>", index.read_text(encoding="utf-8"), re.S)
        stale = index.with_name("stale.txt")
        studies.append({
            "folder": index.parent.name,
            "title": html.unescape(title.group(1)) if title else index.parent.name,
            "stale": stale.read_text(encoding="utf-8").strip() if stale.is_file() else "",
            "made": _record(index.parent), "finding": finding, "declared": _declared(index.parent.name),
            "pages": len(list(index.parent.glob("0*.html"))),
            "found": " ".join(filter(None, [
                conclusions.finding([row for row in results if row.study == index.parent.name]),
                *said.get(index.parent.name, ()),
            ])),
        })  # fmt: skip
    text = pages.environment().get_template("front.html").render(
        title="auxlearn: published studies", studies=studies, day=runs.now()[:10], git=checkout.state(),
        verdicts=Counter(finding.verdict for finding in findings), meaning=verify.MEANING,
        results=results, advice=conclusions.advice(results, said), kinds=sorted({row.kind for row in results}),
        scripted=True,
    )  # fmt: skip
    (home / "index.html").write_text(text, encoding="utf-8")
    return findings


def _declared(name: str) -> str:
    """Say what a report's study file declares: the file, suite, encoder, primaries and seeds; "" without a file."""
    file = PROJECT / "params" / "studies" / f"{name}.yaml"
    if not file.is_file():
        return ""
    declared = study_file.read(file)
    told = {"suite": "planted", "encoder": "tiny", "primary": "", "seeds": []} | declared.base
    primaries = declared.grid.get("primary", [told["primary"]])
    seeds = len(told["seeds"])
    parts = [f"suite {Path(told['suite']).stem}", f"encoder {told['encoder']}", ", ".join(filter(None, primaries))]
    parts.append(f"{seeds} seed{'s' * (seeds != 1)}")
    return f"{file.relative_to(PROJECT).as_posix()}: {'; '.join(filter(None, parts))}"


def _record(folder: Path) -> dict[str, Any] | None:
    try:
        return provenance.read(folder)
    except InputError:  # which its verdict says
        return None
