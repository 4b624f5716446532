"""What a study's index shows of its comparisons: tables, pictures, what they are told apart by, and what they found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from auxlearn.evaluation import stats
from auxlearn.records import runs
from auxlearn.reporting.pages import opening, result_pictures, shapes
from auxlearn.reporting.pages.all_results import Row
from auxlearn.studies.run_status import Outcome

NAMING = ("suite", "rows", "primary_rows", "encoder")  # what comparisons are told apart by, beside primary and n
RANKING = ("discriminator", "proxies", "score", "proxy_layers", "proxy_rows")  # what a ranking is named by


def comparison(rows: list[Outcome], row: Outcome, target: Path) -> dict[str, Any] | None:
    """Collect what the index shows of a 07, and draw its figure; None for another stage or unreadable metrics."""
    metrics = row.manifest.data.get("metrics", {}) if row.stage == "07_efficiency" and row.manifest else {}
    arms, p = metrics.get("arms", {}), row.params
    if not arms or not shapes.fits(shapes.Metrics, metrics) or not set(p["arms"]) <= arms.keys():
        return None
    assert row.manifest is not None  # the metrics are its
    sized, told = row.sized, {arm: arms[arm] for arm in p["arms"]}
    figure = f"result{suffix(rows, row)}.png" if any(of["difference"] is not None for of in told.values()) else ""
    if figure:
        result_pictures.draw(
            target / figure, _arms(p, metrics | {"arms": told}, sized), metrics.get("pairs", ()), metrics["metric"]
        )
    single = metrics["arms"][p["arms"][0]]
    noise = single.get("score_low") is not None and single["score_low"] <= metrics["floor"]
    texts = [f"{arm} {_signed(r['difference'])}{_between(r)}" for arm, r in arms.items() if r["difference"] is not None]
    alt = (
        f"Paired differences in {metrics['metric']} on dev to single-task training of {p['primary']}, one line per "
        f"arm, with intervals over seeds and over seeds and rows. {'; '.join(texts)}."
    )
    return {
        "row": row, "params": p, "metrics": metrics, "figure": figure, "alt": alt, "truth": _truth(rows, p),
        "sized": sized, "noise": single if noise else None, "of": differing(rows, row),
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


def suffix(rows: Sequence[Outcome], row: Outcome) -> str:
    """Tell several 07s apart, and failed runs from the one page of their notebook; empty where that is not needed."""
    if row.stage != "07_efficiency":
        return f"-{row.key}" if row.status == "failed" else ""
    same = [r.params for r in rows if r.stage == row.stage]
    if len(same) < 2:
        return ""
    parts = [row.params["primary"], *([row.params["n"]] if row.sized else [])]
    parts += [value for _, value in differing(rows, row)]
    others = [r for r in rows if r.stage == row.stage and r is not row]
    if any(_names(r) == _names(row) for r in others):  # what they differ in is in no file's name: their keys are
        parts.append(row.key[:8])
    return "".join(f"-{part}" for part in parts)


def differing(rows: Sequence[Outcome], row: Outcome) -> list[tuple[str, str]]:
    """Name what else the comparisons of a study differ in, with the values of one of them."""
    same = [r.params for r in rows if r.stage == row.stage]
    differ = [name for name in NAMING if len({str(p.get(name)) for p in same}) > 1]
    return [(name.replace("_", " "), Path(str(row.params.get(name))).stem) for name in differ]


def _names(row: Outcome) -> list[str]:
    n = [row.params["n"]] if row.sized else []
    return [str(row.params.get("primary")), *map(str, n), *(Path(str(row.params.get(k))).stem for k in NAMING)]


def findings(
    comparisons: Sequence[dict[str, Any]], boards: Sequence[Outcome], rows: Sequence[Outcome]
) -> list[str]:  # fmt: skip
    """Say what the comparisons found, of arms against single-task and of pairs of arms, and what methods chose."""
    sized = [
        (str(m["params"]["n"]), m["params"].get("margin", 0.0), m["metrics"] | {"primary": m["params"]["primary"]})
        for m in comparisons if all(not made["of"] for made in comparisons)
    ]  # fmt: skip
    return opening.sentences(
        [row for made in comparisons for row in _arms(made["params"], made["metrics"], made["sized"])],
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


def curves(comparisons: Sequence[dict[str, Any]], rows: Sequence[Outcome]) -> list[result_pictures.Curves]:
    """Find what the scores say along the number of rows, or along parts of rankings."""
    metric = next((row.headline.name.partition(",")[0] for row in rows if row.stage == "06_mtl"), "score")
    arms = [
        row for made in comparisons if not made["of"]
        for row in _arms(made["params"], made["metrics"], made["sized"])
    ]  # fmt: skip
    metrics = {made["params"]["primary"]: made["metrics"]["metric"] for made in comparisons}
    return [*result_pictures.of_parts(_parts(rows), metric), *result_pictures.of_sizes(arms, metrics)]


def _arms(p: dict[str, Any], metrics: dict[str, Any], sized: bool) -> list[Row]:
    return [
        Row(
            "", p["primary"], str(p["n"]) if sized else "", arm, "real", of["score"], metrics["floor"],
            of["difference"], _interval(of, ""), of["verdict"], of["tflop"], len(p["seeds"]), of["added"],
            score_interval=_interval(of, "score_"), row_interval=_interval(of, "row_"),
        )
        for arm, of in metrics["arms"].items()
    ]  # fmt: skip


def _interval(arm: dict[str, Any], of: str) -> tuple[float, float] | None:
    low, high = (arm.get(f"{of}{end}") for end in ("low", "high"))
    return None if low is None or high is None else (low, high)
