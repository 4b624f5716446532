"""What notebooks 02 to 06 do, in one process over a small planted suite: the way from parameters to a trained arm."""

from __future__ import annotations

import functools
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from auxlearn import cost, paths
from auxlearn.data import suites, usable_rows
from auxlearn.methods import context, registry
from auxlearn.methods.base import Need
from auxlearn.methods.fastmtl import proxy_plans, proxy_store
from auxlearn.methods.gradts import head_tables
from auxlearn.models import encoders
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
    "warm_rows": 8, "warm_epochs": 1, "target_rows": 8, "embed_rows": 8, "source_rows": 16,
    "source_epochs": 1, "fisher_rows": 6, "subsets": 3, "joint_rows": 16, "joint_epochs": 1, "lookaheads": 2,
}  # fmt: skip
ALL_DATA = {"all_data_recipe": "recipe", "mtdnn_lr": "mtdnn_lr"}  # this module's word: the option's


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
    """A notebook's parameters: the small ones of `SMALL` that it has, and `given`; options go where they belong."""
    fields = MODELS[stage].model_fields
    values, methods = SMALL | given, {}
    if "methods" in fields:
        for option in sorted(values.keys() - fields.keys()):
            for name in registry.home(option):
                methods.setdefault(name, {})[option] = values[option]
        methods["single"] = {"epochs": values["single_epochs"]}
        methods["all_data"] = {o: values[n] for n, o in ALL_DATA.items() if n in values}
        values = {"methods": methods if stage == "06_mtl" else {"tawt": methods["tawt"]}} | values
    return validate(stage, {name: value for name, value in values.items() if name in fields}).resolved()


def usable(p: Any, target: str | None) -> dict[str, np.ndarray]:
    return usable_rows.usable(suite(), target, p.keep_leaks)


def training(plan: phases.Plan) -> training_cache.Training:
    """The plan's training; the run folder keeps it, so that what is asked for twice is trained once."""
    return training_cache.trained(plan, suite())


def asking(p: Any, seed: int) -> context.Context:
    """What a method is given; the artifacts that it asks for are made with small parameters."""
    upstream, queue = [], [p]
    while queue:
        reads = [params(stage, **_for(stage, wanted)) for stage, wanted in queue.pop().needs()]
        new = [q for q in reads if q not in upstream]
        upstream, queue = upstream + new, queue + new
    return context.Context(suite(), p, seed, upstream)


def proxy(p: Any, seed: int) -> proxy_store.Proxies:
    """02: proxies trained, every row scored."""
    return registry.maker("proxy").make(asking(p, seed), p, seed).value


def pass_over_few(p: Any, rows: int) -> tuple[pass_store.Store, list[cost.Ledger]]:
    """One proxy trained, its pass over the first rows of each task, and what both cost."""
    (plan,), _ = proxy_plans.proxies(p, suite(), 0, usable(p, None))
    made = training(plan)
    store = pass_store.scored(made.manifest, plan, suite(), only={name: np.arange(rows) for name in suite().names})
    return store, [*made.ledgers, *(cost.Ledger.from_dict(row) for row in store.manifest.ledger)]


def ranking(p: Any) -> Any:
    """03: the n best rows of the pool."""
    return registry.maker("ranking").make(asking(p, 0), p, 0).value.chosen


def correlations(p: Any) -> head_tables.Heads:
    """04: head importance of every task."""
    proxies = None
    if p.needs():
        made = {seed: asking(p, seed).make(Need("proxy", {"discriminator": "bce"})).value for seed in p.seeds}
        proxies = {seed: (each.plans, each.folds) for seed, each in made.items()}
    return head_tables.measure(p, suite(), usable(p, None), None, proxies)


def arm(p: Any, seed: int) -> tuple[Any, phases.Plan, training_cache.Training, list[cost.Ledger]]:
    """06 for one seed: the rows that an arm chooses, its plan, its training, what its search cost."""
    asked = asking(p, seed)
    chosen, plan = context.select(asked)
    return chosen, plan, training(plan), asked.searched()


def _for(stage: str, wanted: dict[str, Any]) -> dict[str, Any]:
    """What is wanted of a run upstream, as parameters that its model takes."""
    fields = MODELS[stage].model_fields
    return {name: value for name, value in wanted.items() if name in fields} | {"seeds": list(SEEDS)}
