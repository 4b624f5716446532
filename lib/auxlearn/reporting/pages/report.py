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
from auxlearn.evaluation import stats
from auxlearn.files import bounded_files, documents, writing
from auxlearn.methods import registry
from auxlearn.paths import PROJECT, runs_root
from auxlearn.records import runs
from auxlearn.reporting.pages import (
    all_results,
    arm_labels,
    front_page,
    opening,
    pages,
    result_pictures,
    shapes,
    study_findings,
)
from auxlearn.studies import provenance, run_status
from auxlearn.studies.run_status import Outcome

AGAIN = "run `make study` again"
NAMING = ("suite", "rows", "primary_rows", "encoder")  # what comparisons are told apart by, beside primary and n
RANKING = ("discriminator", "proxies", "score", "proxy_layers", "proxy_rows")  # what a ranking is named by


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
            row.link = f"{row.stage}-{row.key}.html" if everything else f"{row.stage}{_suffix(rows, row)}.html"
            record = provenance.run(row.manifest, row.status) if row.manifest else None
            text = pages.page(row.notebook, row.label, record, row.status, row.cell, row.other_primary)
            (target / row.link).write_text(text, encoding="utf-8")
            figures[row.link] = [f"{row.stage}/{row.key}"]
    comparisons = [entry for row in rows if (entry := _comparison(rows, row, target)) is not None]
    boards = [row for row in rows if _is_board(row)]
    figures |= {each["figure"]: [f"07_efficiency/{each['row'].key}"] for each in comparisons if each["figure"]}
    manifests = [(row.status, row.manifest) for row in rows if row.manifest is not None]
    index = target / "index.html"
    with registry.restored():
        front_page.plug(name)  # for tooltips
        found = _findings(comparisons, boards, rows)
        titles = {arm: arm_labels.title(arm) for made in comparisons for arm in made["metrics"]["arms"]}
        titles |= {arm: arm_labels.title(arm) for text in found for arm in arm_labels.labels(text)}
        file, design = opening.declared(name)
        curves = _curves(comparisons, rows)
        top = opening.top(title, found, titles, design, file, not everything, curves)
    for curve in curves:
        curve.draw(target)
        figures[curve.name] = [f"{row.stage}/{row.key}" for row in rows if row.stage in ("06_mtl", "07_efficiency")]
    records = [provenance.run(manifest, status) for status, manifest in manifests]
    text = pages.environment().get_template("index.html").render(
        title=title, scripted=True, name=name, rows=list(zip(rows, run_status.parameters(rows), strict=True)),
        comparisons=comparisons, counts=Counter(row.status for row in rows), meaning=run_status.MEANING,
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


def _findings(
    comparisons: Sequence[dict[str, Any]], boards: Sequence[Outcome], rows: Sequence[Outcome]
) -> list[str]:  # fmt: skip
    """Say what the comparisons found, of arms against single-task and of pairs of arms, and what methods chose."""
    sized = [
        (str(m["params"]["n"]), m["params"].get("margin", 0.0), m["metrics"] | {"primary": m["params"]["primary"]})
        for m in comparisons if all(not made["of"] for made in comparisons)
    ]  # fmt: skip
    return opening.sentences(
        [row for made in comparisons for row in _arms(made)],
        [pair for made in comparisons for pair in made["metrics"].get("pairs", ())],
        sized, [row.manifest.metrics for row in boards if row.manifest],
        {method: [mean for mean, *_ in own] for method, own in _parts(rows).items()},
    )  # fmt: skip


def _parts(rows: Sequence[Outcome]) -> dict[str, list[tuple[float, float, float]]]:
    """Collect by method the scores of parts of its ranking that were trained alone, in their order."""
    found: dict[str, dict[int, tuple[float, float, float]]] = {}
    for row in rows:
        told = row.headline
        if row.stage == "06_mtl" and row.params.get("arm") == "decile" and told.value is not None:
            own = row.params.get("methods", {}).get("decile", {})
            low, high = (told.value if end is None else end for end in (told.low, told.high))
            found.setdefault(own.get("of", "td_bce"), {})[own.get("part", 1)] = told.value, low, high
    return {method: [own[at] for at in sorted(own)] for method, own in found.items()}


def _curves(comparisons: Sequence[dict[str, Any]], rows: Sequence[Outcome]) -> list[result_pictures.Curves]:
    """Find what the scores say along the number of rows, or along parts of rankings."""
    metric = next((row.headline.name.partition(",")[0] for row in rows if row.stage == "06_mtl"), "score")
    arms = [row for made in comparisons if not made["of"] for row in _arms(made)]
    told = [arm for made in comparisons if not made["of"] for arm in made["metrics"]["arms"].values()]
    ends = [(arm.get("score_low"), arm.get("score_high")) for arm in told]
    spans = [None if low is None or high is None else (low, high) for low, high in ends]
    metrics = {made["params"]["primary"]: made["metrics"]["metric"] for made in comparisons}
    return [*result_pictures.of_parts(_parts(rows), metric), *result_pictures.of_sizes(arms, spans, metrics)]


def _arms(made: dict[str, Any]) -> list[all_results.Row]:
    p, metrics = made["params"], made["metrics"]
    return [
        all_results.Row(
            "", p["primary"], str(p["n"]) if made["sized"] else "", arm, "real", of["score"], metrics["floor"],
            of["difference"], None if of["low"] is None else (of["low"], of["high"]), of["verdict"], of["tflop"],
            len(p["seeds"]), of["added"],
        )
        for arm, of in metrics["arms"].items()
    ]  # fmt: skip


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


def _comparison(rows: list[Outcome], row: Outcome, target: Path) -> dict[str, Any] | None:
    """Collect what the index shows of a 07, and draw its figure; None for another stage or unreadable metrics."""
    metrics = row.manifest.data.get("metrics", {}) if row.stage == "07_efficiency" and row.manifest else {}
    arms, p = metrics.get("arms", {}), row.params
    if not arms or not shapes.fits(shapes.Metrics, metrics) or not set(p["arms"]) <= arms.keys():
        return None
    assert row.manifest is not None  # the metrics are its
    own = {arm: arms[arm] for arm in p["arms"]}
    figure = f"result{_suffix(rows, row)}.png" if any(each["difference"] is not None for each in own.values()) else ""
    if figure:
        result_pictures.draw(target / figure, own, metrics.get("pairs", ()), metrics["metric"], len(p["seeds"]))
    single = metrics["arms"][p["arms"][0]]
    noise = single.get("score_low") is not None and single["score_low"] <= metrics["floor"]
    texts = [f"{arm} {_signed(r['difference'])}{_between(r)}" for arm, r in arms.items() if r["difference"] is not None]
    alt = (
        f"Paired differences in {metrics['metric']} on dev to single-task training of {p['primary']}, one line per "
        f"arm, with intervals over seeds and over seeds and rows. {'; '.join(texts)}."
    )
    return {
        "row": row, "params": p, "metrics": metrics, "figure": figure, "alt": alt, "truth": _truth(rows, p),
        "sized": row.sized, "noise": single if noise else None, "of": _differing(rows, row),
    }  # fmt: skip


def _signed(value: float) -> str:
    return f"{value:+.3f}"


def _between(arm: dict[str, Any]) -> str:
    return "" if arm["low"] is None else f" ({_signed(arm['low'])} to {_signed(arm['high'])})"


def _truth(rows: list[Outcome], p: dict[str, Any]) -> list[dict[str, Any]]:
    """Summarise over seeds how well each ranking behind a comparison finds the planted suite's helpful rows."""
    alike = ("primary", "n", "suite", "rows", "encoder", "primary_rows", "auxiliaries")
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}  # by all that makes a ranking: its name, its seeds
    for row in rows:
        if row.stage != "03_ranking" or row.manifest is None or any(row.params.get(k) != p.get(k) for k in alike):
            continue
        if shapes.fits(shapes.Truths, row.manifest.data.get("metrics", {})):
            proxies = next(
                (r.params for r in rows if r.stage == "02_td_proxy" and r.key in row.params.get("inputs", ())), {}
            )
            given = {
                k: v for k, v in (proxies | row.params).items() if k not in ("seeds", "inputs", "workers", "stage")
            }
            name = {k: given.get(k) for k in RANKING}
            found.setdefault(runs.digest(given), (name, {}))[1].update(row.manifest.metrics["seeds"])
    differ = [k for k in RANKING if len({str(name[k]) for name, _ in found.values()}) > 1]
    truths = []
    for name, seeds in found.values():
        if len(seeds) < 2:
            continue
        auc = [m["truth_auc"] for m in seeds.values()]
        low, high = stats.t_interval(auc, p["level"])
        chosen, pool = (sum(m[k] for m in seeds.values()) / len(seeds) for k in ("helpful_chosen", "helpful_pool"))
        truths.append({
            "name": ", ".join(f"{k} {name[k]}" for k in differ), "auc": sum(auc) / len(auc), "low": low, "high": high,
            "seeds": len(auc), "chosen": chosen, "pool": pool,
        })  # fmt: skip
    return truths


def _suffix(rows: Sequence[Outcome], row: Outcome) -> str:
    """Tell several 07s apart, and failed runs from the one page of their notebook; empty where that is not needed."""
    if row.stage != "07_efficiency":
        return f"-{row.key}" if row.status == "failed" else ""
    same = [r.params for r in rows if r.stage == row.stage]
    if len(same) < 2:
        return ""
    parts = [row.params["primary"], *([row.params["n"]] if row.sized else [])]
    parts += [value for _, value in _differing(rows, row)]
    others = [r for r in rows if r.stage == row.stage and r is not row]
    if any(_names(r) == _names(row) for r in others):  # what they differ in is in no file's name: their keys are
        parts.append(row.key[:8])
    return "".join(f"-{part}" for part in parts)


def _differing(rows: Sequence[Outcome], row: Outcome) -> list[tuple[str, str]]:
    """Name what else the comparisons of a study differ in, with the values of one of them."""
    same = [r.params for r in rows if r.stage == row.stage]
    differ = [name for name in NAMING if len({str(p.get(name)) for p in same}) > 1]
    return [(name.replace("_", " "), Path(str(row.params.get(name))).stem) for name in differ]


def _names(row: Outcome) -> list[str]:
    n = [row.params["n"]] if row.sized else []
    return [str(row.params.get("primary")), *map(str, n), *(Path(str(row.params.get(k))).stem for k in NAMING)]


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
            of=", ".join(map(" ".join, _differing(rows, row))),
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
