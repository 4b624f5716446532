"""Executed notebooks and manifests become HTML: a study's index, one page per notebook run, and what they came from.

Pages stand alone: nothing is fetched from elsewhere, and only the index holds a script. Whatever comes from data is
escaped.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup
from pydantic import ValidationError

from auxlearn import errors
from auxlearn.data import parquet
from auxlearn.errors import InputError
from auxlearn.files import bounded_files, documents, writing
from auxlearn.methods import registry
from auxlearn.paths import PROJECT, runs_root
from auxlearn.records import runs
from auxlearn.reporting.pages import arm_labels, front_page, opening, pages, shapes, study_findings
from auxlearn.reporting.pages import study_comparisons as comparisons
from auxlearn.studies import provenance, run_status
from auxlearn.studies.run_status import Outcome

AGAIN = "run `make study` again"


def plan(name: str) -> dict[str, Any]:
    """Read a study's plan, as `runner.prepare` wrote it.

    Args:
        name: The study's name.

    Returns:
        The plan.

    Raises:
        InputError: If there is no plan, or the file is not one.
    """
    path = bounded_files.inside(runs_root() / "studies", name, "study") / "plan.json"
    content = documents.read_object(path, AGAIN)
    try:
        shapes.Plan.model_validate(content)
    except ValidationError as error:
        raise InputError(f"{path}: not a study's plan: {errors.explain(error)[:500]}; {AGAIN}") from None
    return content


def render(name: str, target: Path | None = None, everything: bool = True) -> Path:
    """Write a study's report from its plan.

    Args:
        name: The study's name.
        target: The report's folder; by default in the run folder.
        everything: Whether every run gets a page; otherwise 07s and failed runs do, and one run of each other notebook.

    Returns:
        Path of the report's index.

    Raises:
        InputError: If there is no such study.
    """
    return _render(name, [run_status.read(cell) for cell in plan(name)["cells"]], target, everything)


def _render(name: str, rows: list[Outcome], target: Path | None, everything: bool) -> Path:
    title = plan(name)["title"]
    target = target or runs_root() / "studies" / name / "report"
    target.mkdir(parents=True, exist_ok=True)
    figures, examples = {}, {id(row) for row in _examples(rows)}
    for row in rows:
        # A run that went wrong is shown whatever else is.
        due = everything or row.stage == "07_efficiency" or row.status == "failed" or id(row) in examples
        if row.notebook and due:
            row.link = (
                f"{row.stage}-{row.key}.html" if everything else f"{row.stage}{comparisons.suffix(rows, row)}.html"
            )
            record = provenance.run(row.manifest, row.status) if row.manifest else None
            text = pages.page(row.notebook, row.label, record, row.status, row.cell, row.other_primary)
            (target / row.link).write_text(text, encoding="utf-8")
            figures[row.link] = [f"{row.stage}/{row.key}"]
    made = [entry for row in rows if (entry := comparisons.comparison(rows, row, target)) is not None]
    boards = [row for row in rows if _is_board(row)]
    figures |= {each["figure"]: [f"07_efficiency/{each['row'].key}"] for each in made if each["figure"]}
    manifests = [(row.status, row.manifest) for row in rows if row.manifest is not None]
    index = target / "index.html"
    with registry.restored():
        front_page.plug(name)  # for tooltips
        found = comparisons.findings(made, boards, rows)
        titles = {arm: arm_labels.title(arm) for each in made for arm in each["metrics"]["arms"]}
        titles |= {arm: arm_labels.title(arm) for text in found for arm in arm_labels.labels(text)}
        file, design = opening.declared(name)
        curves = comparisons.curves(made, rows)
        top = opening.top(title, found, titles, design, file, not everything, curves)
    for curve in curves:
        curve.draw(target)
        figures[curve.name] = [f"{row.stage}/{row.key}" for row in rows if row.stage in ("06_mtl", "07_efficiency")]
    records = [provenance.run(manifest, status) for status, manifest in manifests]
    text = pages.environment().get_template("index.html").render(
        title=title, scripted=True, name=name, rows=list(zip(rows, run_status.parameters(rows), strict=True)),
        comparisons=made, counts=Counter(row.status for row in rows), meaning=run_status.MEANING,
        wrong=[row for row in rows if row.status != "finished"], records=records, about=_about(records),
        dirty=sum(bool(r["git"].get("dirty")) for r in records),
        seconds=sum(row.seconds or 0 for row in rows), tflop=sum(row.tflop or 0 for row in rows),
        failed=pages.FAILED, boards=boards, ranked=study_findings.ranked, permuted=study_findings.permuted,
        top=Markup(top), not_in=opening.NOT_IN, everything=everything,
    )  # fmt: skip
    index.write_text(text, encoding="utf-8")
    figures["index.html"] = [f"{row.stage}/{row.key}" for row in rows if row.manifest is not None]
    provenance.write(target, provenance.record(name, title, manifests, figures, target))
    return index


def _examples(rows: Sequence[Outcome]) -> list[Outcome]:
    """Pick the run of each notebook that stands for all: the first; of 06 the arm of the highest difference.

    The first of 06 is the primary alone, whose page shows no row that was chosen.
    """
    examples = {row.stage: row for row in reversed(rows) if row.notebook}
    best: tuple[float, Outcome] | None = None
    for made in (row for row in rows if row.stage == "07_efficiency" and row.manifest is not None):
        arms = made.manifest.data.get("metrics", {}).get("arms", {}) if made.manifest else {}
        for row in rows:
            if row.stage != "06_mtl" or not row.notebook or row.key not in made.params.get("inputs", ()):
                continue
            told = arms.get(row.params.get("arm"), {})
            gained = told.get("difference") if isinstance(told, dict) else None
            if isinstance(gained, (int, float)) and told.get("added") and (best is None or gained > best[0]):
                best = gained, row
    if best is not None:
        examples["06_mtl"] = best[1]
    return list(examples.values())


def _is_board(row: Outcome) -> bool:
    """Tell whether a run is an 08 whose metrics can be read."""
    return row.stage == "08_validity" and row.manifest is not None and shapes.fits(
        shapes.Board, row.manifest.data.get("metrics", {})
    )  # fmt: skip


def _about(records: Sequence[dict[str, Any]]) -> dict[str, list[str]]:
    """Collect what the runs of a study have in common or differ in: distinct values, each once."""
    texts = {
        "commit": [pages.commit(r["git"]) for r in records],
        "code": [f"{r['stage']} {r['code']['hash']}" for r in records],
        "data": [f"{r['suite']['name']} {r['suite']['fingerprint']}" for r in records],
        "device": [
            r["device"] + (f", {r['threads']} thread{'s' * (r['threads'] != 1)} per run" if r["threads"] else "")
            for r in records
        ],
        "versions": [", ".join(f"{k} {v}" for k, v in r["versions"].items()) for r in records],
    }
    return {name: list(dict.fromkeys(values)) for name, values in texts.items()}


def publish(name: str) -> Path:
    """Write the small report that is committed: index, 07, one page of each other notebook, tidy results.

    Args:
        name: The study's name.

    Returns:
        Path of the report's index.

    Raises:
        InputError: For demo, stale, unfinished or dirty runs.
    """
    target = bounded_files.inside(PROJECT / "reports", name, "report")
    _publishable(name)
    if target.exists():
        shutil.rmtree(target)
    rows = [run_status.read(cell) for cell in plan(name)["cells"]]
    _results(rows, target)
    index = _render(name, rows, target, everything=False)
    front_page.write()
    return index


def _publishable(name: str) -> None:
    if not (bounded_files.inside(runs_root() / "studies", name, "study") / "plan.json").is_file():
        raise InputError(f"study {name!r} has not been run here; `make study PARAMS=…` first")
    for cell in plan(name)["cells"]:
        manifest = runs.load(cell["stage"], cell["key"], "run `make study` again before publishing")
        if cell["params"].get("size") == "demo":
            raise InputError(f"{cell['label']}: demo results are not published")
        if manifest.git.get("dirty", True):
            why = manifest.git.get("unknown") or "made from a tree with uncommitted changes; commit them"
            raise InputError(f"{cell['label']}: {why}; remove {manifest.folder} and run the study again from a commit")


def _results(rows: Sequence[Outcome], target: Path) -> None:
    """Write results.csv: the table behind each comparison, one below the other."""
    import pandas as pd

    tables = [
        parquet.read_frame(row.manifest.path("results.parquet")).assign(
            primary=row.params["primary"],
            n=row.params["n"] if row.sized else None,
            run=row.key,
            of=", ".join(map(" ".join, comparisons.differing(rows, row))),
        )
        for row in rows
        if row.stage == "07_efficiency" and row.manifest is not None
    ]
    target.mkdir(parents=True, exist_ok=True)
    if tables:
        table = pd.concat(tables)
        table["n"] = table["n"].astype("Int64")
        # The index is the first column; without a name, as a data frame's own.
        names = [name or "" for name in table.index.names]
        table = table.reset_index(names=names)
        writing.write_csv(writing.safe(table), target / "results.csv")


def mark_stale(name: str, why: str) -> Path:
    """Say on a published report, and on the front page, that what it shows is out of date.

    Args:
        name: The report's name.
        why: The reason, as plain text.

    Returns:
        Path of the report's index.

    Raises:
        InputError: If there is no such report.
    """
    index = bounded_files.inside(PROJECT / "reports", name, "report") / "index.html"
    if not index.is_file():
        raise InputError(f"no report {name!r} in {PROJECT / 'reports'}")
    index.write_text(pages.marked_stale(index.read_text(encoding="utf-8"), why), encoding="utf-8")
    index.with_name("stale.txt").write_text(why + "\n", encoding="utf-8")
    provenance.rehash(index.parent, ["index.html", "stale.txt"])
    front_page.write()
    return index
