"""Executed notebooks and manifests become HTML: an index of a study and a page a notebook run.

Pages stand alone: no script, no style sheet and no font from elsewhere. Whatever comes from data is escaped.
"""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jinja2
import nbformat

from . import runs, stats
from .errors import InputError
from .paths import PROJECT, runs_root

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = ("text/plain", "image/png")  # the only outputs that reach a page: neither can carry markup
STAGES = {
    "01_data_prep": "data", "02_td_proxy": "proxy", "03_ranking": "ranking",
    "04_gradts_correlation": "head importance", "05_tawt_weighting": "task weights", "06_mtl": "training",
    "07_efficiency": "comparison",
}  # fmt: skip


def _environment() -> jinja2.Environment:
    loader = jinja2.FileSystemLoader(TEMPLATES)
    return jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)


def page(notebook: Path, title: str, manifest: runs.Manifest | None) -> str:
    """One executed notebook as a stand-alone HTML page."""
    from nbconvert import HTMLExporter

    exporter = HTMLExporter(template_name="basic", exclude_input_prompt=True, exclude_output_prompt=True)
    node = nbformat.read(notebook, as_version=4)
    tags = lambda cell: cell.metadata.get("tags", [])  # noqa: E731
    if any("injected-parameters" in tags(cell) for cell in node.cells):
        node.cells = [cell for cell in node.cells if "parameters" not in tags(cell)]
    for cell in node.cells:
        for output in cell.get("outputs", []):
            if "data" in output:
                output["data"] = {k: v for k, v in output["data"].items() if k in SHOWN}
                # A figure's values are always in a table printed beside it.
                output.setdefault("metadata", {})["image/png"] = {"alt": _alt(cell.source)}
    body, _ = exporter.from_notebook_node(node)
    return _environment().get_template("page.html").render(title=title, body=body, run=manifest, short=_short)


def _alt(source: str) -> str:
    found = re.search(r"plots\w*\.(\w+)", source)
    return (
        f"figure: {found.group(1).replace('_', ' ')}; its values are in the table printed below it"
        if found
        else "figure"
    )


def _short(commit: dict[str, Any]) -> str:
    return commit.get("commit", "no git")[:10] + (" with uncommitted changes" if commit.get("dirty") else "")


def _cells(plan: dict[str, Any]) -> list[dict[str, Any]]:
    """The plan's cells with status, headline and cost, for the index."""
    rows = []
    for cell in plan["cells"]:
        status, manifest = runs.read(cell["stage"], cell["key"])
        row = cell | {"status": status, "manifest": manifest, "headline": "", "seconds": None, "tflop": None}
        if manifest is not None:
            row["headline"] = _headline(cell["stage"], manifest.metrics)
            row["seconds"] = sum(x["seconds"] for x in manifest.ledger)
            row["tflop"] = sum(x["flops"] for x in manifest.ledger) / 1e12
        rows.append(row)
    return rows


def _headline(stage: str, metrics: dict[str, Any]) -> str:
    if stage == "01_data_prep":
        return f"{metrics['tasks']} tasks, {metrics['rows']:,} training rows, {metrics['leaking']:,} of them leaks"
    if stage == "02_td_proxy":
        values = [v for v in metrics["auc"].values() if v is not None]
        form = [v for v in metrics["surface_auc"].values() if v is not None]
        return (
            f"column AUC {min(values):.2f} to {max(values):.2f}; from surface cues alone "
            f"{min(form):.2f} to {max(form):.2f}"
        )
    if stage == "03_ranking":
        top = sorted(metrics["shares"].items(), key=lambda x: -x[1])[:3]
        text = ", ".join(f"{name} {share:.0%}" for name, share in top)
        if "truth_auc" in metrics:
            text += (
                f"; AUC against the planted truth {metrics['truth_auc']:.2f} "
                f"({metrics['truth_auc_low']:.2f} to {metrics['truth_auc_high']:.2f})"
            )
        return text
    if stage == "04_gradts_correlation":
        order = sorted(metrics["tau"].items(), key=lambda x: -x[1])[:3]
        return "tau " + ", ".join(f"{name} {tau:.2f}" for name, tau in order)
    if stage == "05_tawt_weighting":
        seeds = list(metrics["final"].values())
        weights = {task: [seed[task] for seed in seeds] for task in seeds[0]}
        top = sorted(((sum(v) / len(v), task) for task, v in weights.items()), reverse=True)[:3]
        return "final weights " + ", ".join(f"{task} {weight:.2f}" for weight, task in top)
    if stage == "06_mtl":
        name = metrics["metric"]
        return f"{name} by seed: " + ", ".join(f"{s['dev'][name]:.3f}" for s in metrics["seeds"].values())
    return "; ".join(f"{arm}: {row['verdict']}" for arm, row in metrics["arms"].items() if row["verdict"] != "baseline")


def render(name: str, target: Path | None = None, everything: bool = True) -> Path:
    """Write a study's index and pages from its plan; returns the index. `everything=False`: 07s, one of each other."""
    home = runs_root() / "studies" / name
    plan = json.loads((home / "plan.json").read_text(encoding="utf-8"))
    target = target or home / "report"
    target.mkdir(parents=True, exist_ok=True)
    rows, shown = _cells(plan), set()
    for row in rows:
        stage, folder = row["stage"], runs_root() / row["stage"] / row["key"]
        if (folder / "notebook.ipynb").is_file() and (everything or stage == "07_efficiency" or stage not in shown):
            shown.add(stage)
            row["link"] = f"{stage}-{row['key']}.html" if everything else f"{stage}{_suffix(rows, row)}.html"
            text = page(folder / "notebook.ipynb", row["label"], row["manifest"])
            (target / row["link"]).write_text(text, encoding="utf-8")
    comparisons = [row for row in rows if row["stage"] == "07_efficiency" and row["manifest"] is not None]
    for row in comparisons:
        row["figure"] = f"result{_suffix(rows, row)}.png"
        shutil.copyfile(row["manifest"].path("differences.png"), target / row["figure"])
        row["truth"] = _truth(rows, row["params"])
    first = next((row["manifest"] for row in rows if row["manifest"] is not None), None)
    index = target / "index.html"
    text = _environment().get_template("index.html").render(
        title=plan["title"], rows=rows, comparisons=comparisons, first=first, stages=STAGES, short=_short,
        commits=sorted({_short(r["manifest"].git) for r in rows if r["manifest"] is not None}),
        seconds=sum(r["seconds"] or 0 for r in rows),
    )  # fmt: skip
    index.write_text(text, encoding="utf-8")
    return index


def _truth(rows: list[dict[str, Any]], p: dict[str, Any]) -> dict[str, Any] | None:
    """On the planted suite: how well the rankings behind a comparison find the helpful rows, over their seeds."""
    made = [
        row["manifest"].metrics
        for row in rows
        if row["stage"] == "03_ranking"
        and row["manifest"] is not None
        and "truth_auc" in row["manifest"].metrics
        and all(row["params"][name] == p[name] for name in ("primary", "n"))
    ]
    if len(made) < 2:
        return None
    auc = [m["truth_auc"] for m in made]
    low, high = stats.t_interval(auc, p["level"])
    chosen, pool = (sum(m[name] for m in made) / len(made) for name in ("helpful_chosen", "helpful_pool"))
    mean = sum(auc) / len(auc)
    return {"auc": mean, "low": low, "high": high, "seeds": len(auc), "chosen": chosen, "pool": pool}


def _suffix(rows: list[dict[str, Any]], row: dict[str, Any]) -> str:
    """Tells several 07s apart; nothing where there is one."""
    same = [r["params"] for r in rows if r["stage"] == row["stage"] == "07_efficiency"]
    if len(same) < 2:
        return ""
    parts = [row["params"]["primary"], row["params"]["n"]]
    for name in ("suite", "rows", "encoder"):
        if len({p[name] for p in same}) > 1:
            parts.append(Path(str(row["params"][name])).stem)
    return "".join(f"-{part}" for part in parts)


def publish(name: str) -> Path:
    """Write the small report that is committed: index, 07, one page of each other notebook, tidy results."""
    target = PROJECT / "reports" / name
    if target.exists():
        shutil.rmtree(target)
    index = render(name, target, everything=False)
    plan = json.loads((runs_root() / "studies" / name / "plan.json").read_text(encoding="utf-8"))
    import pandas as pd

    tables = []
    for row in _cells(plan):
        if row["stage"] == "07_efficiency":
            tables.append(pd.read_parquet(row["manifest"].path("results.parquet")).assign(
                primary=row["params"]["primary"], n=row["params"]["n"], run=row["key"]
            ))  # fmt: skip
    if tables:
        pd.concat(tables).to_csv(target / "results.csv")
    _front_page()
    return index


def mark_stale(name: str, why: str) -> Path:
    """Say on a published report, and on the front page, that what it shows is out of date; returns its index."""
    index = PROJECT / "reports" / name / "index.html"
    if not index.is_file():
        raise InputError(f"no report {name!r} in {PROJECT / 'reports'}")
    text = index.read_text(encoding="utf-8")
    note = f'<p class="stale"><b>Stale.</b> {html.escape(why)}</p>'
    text = re.sub(r'<p class="stale">.*?</p>\n', "", text, flags=re.S)
    index.write_text(text.replace("<body>\n", f"<body>\n{note}\n", 1), encoding="utf-8")
    index.with_name("stale.txt").write_text(why + "\n", encoding="utf-8")
    _front_page()
    return index


def _front_page() -> None:
    """reports/index.html: every published study, by the title of its index."""
    home = PROJECT / "reports"
    found = []
    for index in sorted(home.glob("*/index.html")):
        title = re.search(r"<title>(.*?)</title>", index.read_text(encoding="utf-8"), re.S)
        stale = index.with_name("stale.txt")
        note = stale.read_text(encoding="utf-8").strip() if stale.is_file() else ""
        found.append((index.parent.name, html.unescape(title.group(1)) if title else index.parent.name, note))
    text = _environment().get_template("front.html").render(title="auxlearn: reports", studies=found)
    (home / "index.html").write_text(text, encoding="utf-8")
