"""What notebooks 02 to 06 do, in one process over a small planted suite: the way from parameters to a trained arm."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from auxlearn import cost, paths
from auxlearn.data import auxiliary_rows, suites, usable_rows
from auxlearn.methods import dispatch
from auxlearn.methods import ranking as selection
from auxlearn.methods.fastmtl import discriminator, proxy_plans, proxy_store
from auxlearn.methods.gradts import head_tables
from auxlearn.methods.tawt import weighted_plans
from auxlearn.models import encoders
from auxlearn.records import runs
from auxlearn.signals import pass_store
from auxlearn.studies.parameters import MODELS, validate
from auxlearn.training import phases, training_cache

SEEDS = (0, 1)
TRAIN, REST = 44, 30  # rows of each task's train, and of its dev and test
# As short as every phase still has an epoch to choose, a step to weigh and a row to hold out.
SMALL = {
    "rows": 0, "batch_size": 8, "lr": 1e-2, "proxy_rows": 12, "watch_rows": 8, "epochs": 1, "tune_rows": 24,
    "importance_rows": 16, "n": 24, "stage2_epochs": 1, "tune_epochs": 2, "single_epochs": 2, "holdout": 0.3,
    "bandit_rounds": 6, "bandit_batches": 1, "ratio_trials": 3, "trial_most": 2, "trial_patience": 2, "probe_rows": 4,
    "steps": 0, "weight_every": 16, "task_threshold": 0.0,
}  # fmt: skip


@functools.cache
def suite() -> suites.Suite:
    """The planted suite, cut; one training row also stands in the primary's dev, so that a leak is found."""
    whole, cut = suites.Suite.from_yaml("planted").capped(TRAIN), {}
    for name, task in whole.items():
        splits = {split: getattr(task, split).select(range(REST)) for split in ("dev", "test")}
        cut[name] = replace(task, **splits)
    primary, leaking = cut["topic_side"], cut["topic_name"]
    copied = [primary.dev[0][c] for c in primary.inputs]
    rows = [dict(zip(leaking.inputs, copied, strict=True)) if i == 3 else {} for i in range(TRAIN)]
    train = leaking.train.map(lambda row, i: row | rows[i], with_indices=True)
    cut["topic_name"] = replace(leaking, train=train)
    return suites.Suite("golden", cut, "golden-44-30")


@functools.cache
def encoder_with_pooler() -> str:
    """A folder with a tiny BERT that has a pooler, as "tiny" has none."""
    from transformers import BertModel

    body, tokenizer = encoders.load("tiny", suite(), "mean")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        made = BertModel(body.config)
    folder = paths.runs_root() / "encoder"
    made.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def params(stage: str, **given: Any) -> Any:
    """A notebook's parameters: the small ones of `SMALL` that it has, and `given`."""
    small = {name: value for name, value in SMALL.items() if name in MODELS[stage].model_fields}
    return validate(stage, small | given).resolved()


def usable(p: Any, target: str | None) -> dict[str, np.ndarray]:
    return usable_rows.usable(suite(), target, p.keep_leaks)


def training(plan: phases.Plan) -> training_cache.Training:
    """The plan's training; the run folder keeps it, so that what is asked for twice is trained once."""
    return training_cache.trained(plan, suite())


def finished(stage: str, p: Any, files: dict[str, Any], metrics: dict[str, Any] | None = None) -> runs.Manifest:
    """A run of a notebook with these parameters, its tables and arrays written."""
    key = runs.key(stage, p.key_params(), suite().fingerprint, [])
    run = runs.Run(stage, key, p.model_dump(), suite().fingerprint, [], p.key_params())
    for name, content in files.items():
        if name.endswith(".npz"):
            np.savez(run.path(name), **content)
        else:
            content.to_parquet(run.path(name))
    return run.finish(list(files), metrics or {})


def proxy(p: Any) -> tuple[runs.Manifest, proxy_store.Scored, list[training_cache.Training]]:
    """02: proxies trained, every row scored."""
    made, folds = proxy_plans.proxies(p, suite(), usable(p, None))
    trainings = [training(plan) for plan in made]
    store = proxy_store.score(made, trainings, folds, suite())
    return (
        finished("02_td_proxy", p, {"rows.parquet": store.rows, "logits.npz": {"logits": store.logits}}),
        store,
        trainings,
    )


def pass_over_few(p: Any, rows: int) -> tuple[pass_store.Store, list[cost.Ledger]]:
    """One proxy trained, its pass over the first rows of each task, and what both cost."""
    (plan,), _ = proxy_plans.proxies(p, suite(), usable(p, None))
    made = training(plan)
    store = pass_store.scored(made.manifest, plan, suite(), only={name: np.arange(rows) for name in suite().names})
    return store, [*made.ledgers, *(cost.Ledger.from_dict(row) for row in store.manifest.ledger)]


def ranking(p: Any) -> tuple[runs.Manifest, Any]:
    """03: the n best rows of the pool."""
    ((_, wanted),) = p.needs()
    upstream = params("02_td_proxy", **_for("02_td_proxy", wanted))
    source, _, _ = proxy(upstream)
    names = suite().auxiliaries(p.primary, p.auxiliaries)
    pool, logits = proxy_store.candidates(source, suite(), names, usable(p, p.primary))
    eligible = (pool["usable"] & ~pool["in_proxy"]).to_numpy()
    kind, target = p.score_kind(), suite().index(p.primary)
    scores = discriminator.scores(logits, target, "margin") if kind in ("softmax", "margin") else logits[:, target]
    folds = pool["proxy"].to_numpy()
    best = selection.choose(p.rule, scores, p.n, pool["task"].to_numpy(str), folds, p.seed, eligible)
    chosen = selection.table(pool, best, scores)
    return finished("03_ranking", p, {"selection.parquet": chosen}), chosen


def correlations(p: Any) -> tuple[runs.Manifest, head_tables.Heads]:
    """04: head importance and its taus."""
    sources = [proxy(params("02_td_proxy", **_for("02_td_proxy", wanted)))[0] for _, wanted in p.needs()]
    made = head_tables.measure(p, suite(), usable(p, None), None, proxy_plans.of_runs(sources, suite()))
    tables = {
        "task_taus.parquet": head_tables.task_table(made, p.definition),
        "row_taus.parquet": head_tables.row_table(made, p.definition),
    }
    return finished("04_gradts_correlation", p, tables), made


def weights(p: Any) -> runs.Manifest:
    """05: the weights that a weighted training ends with."""
    final = {}
    for seed in p.seeds:
        mine = usable(p, p.primary)
        pool = auxiliary_rows.pool(suite(), suite().auxiliaries(p.primary, p.auxiliaries), mine)
        plan = weighted_plans.plan(p, suite(), seed, f"tawt_{p.paradigm}", pool[pool.pop("usable")], mine[p.primary])
        last = training(plan).updates[-1]
        final[str(seed)] = dict(zip(last["names"], last["weights"], strict=True))
    return finished("05_tawt_weighting", p, {}, {"final": final})


def arm(p: Any, seed: int) -> tuple[Any, phases.Plan, training_cache.Training]:
    """06 for one seed: the rows that an arm chooses, its plan, its training."""
    inputs = []
    for stage, wanted in p.needs():
        given = _for(stage, wanted)
        if stage == "03_ranking" and wanted["seed"] != seed:
            continue
        upstream = params(stage, **given)
        inputs.append(
            {"03_ranking": ranking, "04_gradts_correlation": correlations, "05_tawt_weighting": weights}[stage](
                upstream
            )
        )
    manifests = [found[0] if isinstance(found, tuple) else found for found in inputs]
    mine = usable(p, p.primary)
    chosen = dispatch.for_arm(p, suite(), seed, manifests, mine)
    plan = dispatch.plan(p, suite(), seed, chosen, mine)
    return chosen, plan, training(plan)


def _for(stage: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """What is wanted of a run upstream, as parameters that its model takes."""
    return {name: value for name, value in wanted.items() if name in MODELS[stage].model_fields}
