"""The one page over all published reports: which method to use, every comparison, and what `verify` says of each."""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from auxlearn.errors import InputError
from auxlearn.methods import registry
from auxlearn.paths import PROJECT
from auxlearn.records import checkout, runs
from auxlearn.reporting.pages import advice, all_results, arm_labels, pages, renewal
from auxlearn.studies import provenance, study_file, verify


def write() -> list[verify.Finding]:
    """Write reports/index.html: which method to use, every comparison, and every study with what `verify` says of it.

    Returns:
        The findings; the page says at which commit and on which day they were made.
    """
    home = PROJECT / "reports"
    studies, findings, results = [], verify.everything(home), all_results.rows(home)
    titles = known(results, {})
    said: dict[str, list[str]] = {}
    for finding in findings:
        own = [row for row in results if row.study == finding.folder.name]
        said[finding.folder.name] = renewal.renew(finding.folder, own, titles)
    titles = known(results, said)
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
            "found": arm_labels.marked(" ".join(said[index.parent.name]), titles, link=True),
        })  # fmt: skip
    marked = lambda told: [(arm_labels.marked(text, titles, link=True), rows) for text, rows in told]  # noqa: E731
    text = pages.environment().get_template("front.html").render(
        title="auxlearn: published studies", studies=studies, day=runs.now()[:10], git=checkout.state(),
        verdicts=Counter(finding.verdict for finding in findings), meaning=verify.MEANING,
        results=results, kinds=sorted({row.kind for row in results}), titles=titles, scripted=True,
        advice=marked(advice.advice(results)), tests=advice.between(results, all_results.pairs(home)),
    )  # fmt: skip
    (home / "index.html").write_text(text, encoding="utf-8")
    return findings


def known(results: Iterable[all_results.Row], said: Mapping[str, Sequence[str]]) -> dict[str, str]:
    """Say what each arm on the page is, those of the studies' plug-ins too.

    Args:
        results: All rows.
        said: Further sentences that name arms, by study.

    Returns:
        By arm, in the order of their names, what it is; "" where no study that has it names a file that tells.
    """
    arms: dict[str, set[str]] = {}  # with the studies that have them
    for row in results:
        arms.setdefault(row.arm, set()).add(row.study)
    for study, sentences in said.items():
        for arm in (arm for text in sentences for arm in arm_labels.labels(text)):
            arms.setdefault(arm, set()).add(study)
    titles = {arm: {arm_labels.title(arm)} - {""} for arm in arms}
    unknown = {arm: studies for arm, studies in arms.items() if not titles[arm]}
    # Each study by its own plug-ins: one name may be another arm in another's.
    for study in sorted(set().union(*unknown.values())):
        with registry.restored():
            if plug(study):
                for arm in (arm for arm, studies in unknown.items() if study in studies):
                    titles[arm] |= {arm_labels.title(arm)} - {""}
    return {arm: "; or ".join(sorted(titles[arm])) for arm in sorted(titles)}


def plug(study: str) -> bool:
    """Import the plug-ins that a study's file names, so that their arms are known here.

    Args:
        study: The name of the study and of its file.

    Returns:
        Whether there are any, and all could be imported.
    """
    file = study_file.committed(PROJECT, study)
    try:
        plugins = study_file.read(file).plugins if file else []
        registry.plug(plugins)
    except InputError:  # a page is no worse without a tooltip
        return False
    return bool(plugins)


def _declared(name: str) -> str:
    """Say what a report's study file declares: the file, suite, encoder, primaries and seeds; "" without a file."""
    file = study_file.committed(PROJECT, name)
    if file is None:
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
