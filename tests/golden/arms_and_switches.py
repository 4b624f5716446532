"""Golden cases of whole arms: for every arm, weighting and fidelity switch what it chooses, plans, trains and costs."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

import pipeline
from auxlearn.methods import registry
from auxlearn.methods.gradts import head_tables
from auxlearn.methods.tawt import weight_tables
from auxlearn.training import phases

Cases = dict[str, Any]
GIVEN = ["topic_side=2", "topic_name=1", "side_share=0.5", "word_class=0"]
# A weighted training measures every task's gradient at every update: three sources and few steps are enough.
SHORT = {
    "auxiliaries": ["topic_name", "side_share", "word_class"], "steps": 12, "tune_steps": 4, "weight_every": 3,
}  # fmt: skip
# Three epochs, the first after which such weights move.
BY_EPOCHS = {"steps": 0, "tune_steps": 0, "stage2_epochs": 3}
# Weights start by scores only on rows that have some.
ROWS = registry.names()
# TAWT's first, and new ones last, as seeds are dealt in turn.
NEW = ("gradnorm", "tuned_share", "sum_gradient")
_LAST = {name: at + 1 for at, name in enumerate(NEW)}
POLICIES = sorted(registry.policies(), key=lambda name: (registry.get(name).family != "tawt", _LAST.get(name, 0)))
WEIGHTED = [f"td_bce+{name}" if registry.get(name).by else name for name in POLICIES]
COMBINED = ["random+tawt_joint", "gradts_thres+tawt_normalised", "gradts_fg+tawt_deciles", "autosem_p1+normalised"]
ARMS = [*ROWS, *WEIGHTED, *COMBINED]
# Switches of 06, by the arm that has them.
SWITCHES: dict[str, tuple[str, dict[str, Any]]] = {
    "choose dev": ("td_bce", {"choose": "dev"}),
    "choose last": ("td_bce", {"choose": "last"}),
    "looks at epochs": ("td_bce", {"looks": 0}),
    "one proxy": ("td_ce", {"proxies": "one", "score": "sigmoid"}),
    "fixed seeds": ("td_bce", {"seed_policy": "fixed"}),
    "raw regression": ("td_bce", {"primary": "side_share", "regression": "raw"}),
    "regression": ("single", {"primary": "side_share"}),
    "tagging": ("td_bce", {"primary": "word_class"}),
    "mt-dnn's recipe": ("all_data", {"all_data_recipe": "mtdnn"}),
    "mixed batches": ("td_bce", {"mixing": "mixed"}),
    "losses by classes": ("random", {"loss_scale": "log_classes"}),
    "idle heads coast": ("td_bce", {"idle_heads": "coasts"}),
    "first token": ("single", {"pool": "cls"}),
    "leaks kept": ("all_data", {"keep_leaks": True}),
    "steps": ("td_bce", {"steps": 12, "tune_steps": 4}),
    "no tuning": ("random", {"steps": 10}),
    "two auxiliaries": ("random", {"auxiliaries": ["look_alike", "topic_name"]}),
    "rows of keys": ("gradts_thres", {"definition": "kv_rows"}),
    "columns of keys": ("gradts_thres", {"definition": "kv_columns"}),
    "threshold": ("gradts_thres", {"task_threshold": 0.3}),
    "another's candidates": ("random", {"candidates_of": "td_bce"}),
    "a drawn primary": ("td_bce", {"primary_rows": 30}),
    "cut at the null": ("gradts_thres", {"task_cut": "null"}),
    "most tasks": ("gradts_top", {"top_tasks": 1}),
    "trial by the code": ("gradts_trial", {"trial_rule": "code", "trial_patience": 1}),
    "patience": ("gradts_trial", {"trial_patience": 1, "trial_most": 3}),
    "fg of thres": ("gradts_fg", {"fg_tasks": "thres"}),
    "fg by the code": ("gradts_fg", {"fg_tasks": "all", "fg_fraction": 0.2, "fg_rule": "code"}),
    "fg of all": ("gradts_fg", {"fg_tasks": "all", "fg_fraction": 0.2}),
    "bandit by the code": ("autosem_p1", {"autosem_rule": "paper", "bandit_decay": 0.3}),
    "autosem by the code": ("autosem", {
        "autosem_rule": "paper", "bandit_most": 2, "ratio_highest": 5, "ratio_trials": 11,
    }),
    "tawt by the code": ("tawt_joint", {"tawt_rule": "paper"}),
    "tawt_pretrain by the code": ("tawt_pretrain", {"tawt_rule": "paper", "weight_c": 3.0}),
    "scaled": ("tawt_normalised", {"combine": "scaled"}),
    "scaled, then clipped": ("tawt_normalised", {"combine": "scaled_then_clipped"}),
    "sampled": ("tawt_normalised", {"combine": "sampled"}),
    "the whole encoder": ("tawt_pretrain", {"probe_parameters": "encoder"}),
    "last layer": ("tawt_normalised", {"probe_parameters": "last_layer"}),
    "gradients of training": ("tawt_normalised", {"probe_estimator": "reused", "combine": "scaled"}),
    "floor, decay, tau": ("tawt_pretrain", {"weight_floor": 0.1, "weight_decay": 0.2, "weight_tau": 0.5}),
    "once an epoch": ("tawt_pretrain", {"weight_every": 0, "steps": 0, "tune_steps": 0, "stage2_epochs": 2}),
    "all sources, by epochs": ("tawt_joint", {"auxiliaries": [], "steps": 0, "tune_steps": 0, "weight_every": 40}),
    "weighted by steps": ("tawt_pretrain", {"steps": 13, "tune_steps": 3, "weight_every": 4}),
    "power": ("power", {"prior_power": 0.5}),
    "temperature": ("td_bce+tawt_scored", {"score_temperature": 0.2}),
    "four buckets": ("td_bce+tawt_deciles", {"score_buckets": 4}),
    # New ones go to the end: seeds are dealt in turn.
    "rule top_mean": ("bm25", {"rule": "top_mean"}),
    "rule top_max": ("bm25", {"rule": "top_max"}),
    "rule quota": ("bm25", {"rule": "quota"}),
    "rule diverse": ("bm25", {"rule": "diverse"}),
    "rule transport": ("bm25", {"rule": "transport"}),
    "all target rows": ("tfidf", {"target_rows": 0}),
    "highest weights per word": ("dsir", {"resample": False, "per_word": True, "smoothing": 0.1}),
    "states of the encoder as it is": ("rds", {"model": "untrained"}),
    "gradients of length 1": ("graddot", {"unit": True, "rule": "top_max"}),
    "low losses": ("loss", {"take": "low"}),
    "middle losses": ("loss", {"take": "middle", "rule": "top_mean"}),
    "variances": ("uncertainty", {"variance_rate": 0.1}),
    "one temperature": ("dwa", {"dwa_temperature": 0.5}),
    "a faster famo": ("famo", {"famo_rate": 0.5, "famo_decay": 0.1}),
    "tasks above a threshold": ("textemb", {"tasks_by": "threshold", "above": 0.8, "embed_rows": 0}),
    "squares of batches": ("taskemb", {"squares": "batches", "fisher_rows": 0, "top_tasks": 1}),
    "evidence by the code": ("logme", {"evidence": "code"}),
    "evidence of a regression": ("logme", {"primary": "side_share", "target_rows": 0}),
    "tasks that help": ("surrogate", {"tasks_by": "threshold", "subset_tasks": 2, "ridge": 0.1}),
    "longer steps ahead": ("tag_affinity", {"look_rate": 0.1, "joint_epochs": 2}),
    "gradient of rows trained on": ("tawt_normalised", {"probe_target": "train", "choose": "last"}),
    "proxies above a frozen layer": ("td_ce", {"frozen_layers": 1}),
    "a faster gradnorm": ("gradnorm", {"gradnorm_alpha": 0.5, "gradnorm_rate": 0.3}),
    "two shares": ("random+tuned_share", {"shares": [0.2, 0.6], "choose": "last"}),
    "proxies of one layer and fewer rows": ("td_bce", {"proxy_layers": 1, "sample_rows": 8}),
    "plain steps of famo": ("famo", {"famo_step": "plain", "famo_smooth": 0.0}),
    "turns among the best by dsir": ("dsir", {"rule": "round_robin"}),
    "transport among the best by loss": ("loss", {"rule": "transport"}),
}  # fmt: skip


def needed(arm: str) -> dict[str, Any]:
    """What an arm cannot do without, or takes too long without."""
    weighted = arm.rpartition("+")[2] in registry.policies()
    return (
        (SHORT if weighted else {})
        | (BY_EPOCHS if arm == "dwa" else {})
        | ({"prior_given": GIVEN} if arm.endswith("given") else {})
    )


def arm_cases(names: list[str], seeds: Sequence[int] = pipeline.SEEDS) -> Cases:
    return {
        f"{name}, seed {seed}": _case(pipeline.params("06_mtl", arm=name, **needed(name)), seed)
        for name in names for seed in seeds
    }  # fmt: skip


def weight_cases(names: list[str]) -> Cases:
    """One seed each, in turn: a policy reads nothing of a seed that a method does not."""
    return {k: v for at, name in enumerate(names) for k, v in arm_cases([name], [_in_turn(at)]).items()}


def _in_turn(at: int) -> int:
    return pipeline.SEEDS[at % len(pipeline.SEEDS)]


def switch_cases() -> Cases:
    return {
        f"{name}, seed {_in_turn(at)}": _case(pipeline.params("06_mtl", arm=arm, **needed(arm) | given), _in_turn(at))
        for at, (name, (arm, given)) in enumerate(SWITCHES.items())
    } | {f"pooler, seed {pipeline.SEEDS[0]}": _case(_with_pooler(), pipeline.SEEDS[0])}  # fmt: skip


def _with_pooler() -> Any:
    given = {"encoder": pipeline.encoder_with_pooler(), "size": "full", "device": "cpu", "precision": "fp32"}
    return pipeline.params("06_mtl", arm="single", pool="pooler", **given)


def _case(p: Any, seed: int) -> dict[str, Any]:
    chosen, plan, training, searched = pipeline.arm(p, seed)
    rows = None if chosen.rows is None else {str(k): v["row"].tolist() for k, v in chosen.rows.groupby("task")}
    made = {"rows": _at_most(rows), "plan": [_phase(phase) for phase in plan.phases]}
    why = chosen.as_dict()
    steps = training.steps["task_loss"].tolist()
    made |= {
        "why": why, "holdout": hash_of(plan.holdout), "seeds": dict(plan.seeds),
        "losses of steps": [steps[0], steps[len(steps) // 2], steps[-1], sum(steps)],
        "history": training.history.to_dict("list"), "looks": training.looks.to_dict("list"), "scores": training.scores,
        "kept": training.manifest.metrics["chosen"], "predictions": digits(training.predictions),
        "target share": weight_tables.target_share(plan, training),
        "ledger": [_spent(row) for row in (*searched, *training.ledgers)],
    }  # fmt: skip
    if training.updates:
        made["weights"] = [{k: row.get(k) for k in ("step", "weights", "cosines")} for row in training.updates[-2:]]
    return made


def _at_most(rows: dict[str, list[int]] | None, most: int = 30) -> Any:
    """Positions by task, or their hash where they are many."""
    if rows is None or sum(map(len, rows.values())) <= most:
        return rows
    return {name: hash_of(np.array(at)) for name, at in rows.items()}


def _phase(phase: phases.Phase) -> dict[str, Any]:
    """What of a phase is not its default, rows and orders by hash."""
    out = {}
    for field in dataclasses.fields(phase):
        value = getattr(phase, field.name)
        if dataclasses.is_dataclass(value):
            value = _changed(value)
        if field.default is not dataclasses.MISSING and value is field.default:
            continue
        out[field.name] = {k: hash_of(v) for k, v in value.items()} if field.name == "rows" else value
    if phase.order is not None:
        out["order"] = hash_of(phase.order)
    return out


def _changed(value: Any) -> dict[str, Any]:
    out = {}
    for field in dataclasses.fields(value):
        given = getattr(value, field.name)
        if field.name == "parts":
            out |= {"parts": {k: hash_of(v) for k, v in given.items()}} if given else {}
        elif field.default is dataclasses.MISSING or given != field.default:
            out[field.name] = given
    return out


def hash_of(rows: np.ndarray) -> str:
    return f"{len(rows)} {hashlib.sha256(np.ascontiguousarray(rows, np.int64).tobytes()).hexdigest()[:8]}"


def digits(predictions: Any) -> Any:
    """Classes of the dev rows as one word a task, tags joined; regressions as numbers."""
    if isinstance(predictions, np.ndarray) and predictions.dtype.kind == "f":
        return predictions[:12]
    flat = np.concatenate(predictions) if np.ndim(predictions[0]) else predictions
    return "".join(map(str, flat))[:120]


def _spent(row: Any) -> list[Any]:
    return [row.stage, row.flops, row.tokens, row.padded_tokens, row.steps, row.examples]


def proxy_cases() -> Cases:
    """02 and 03 under every switch: the proxies' training, logits of some rows, the rows chosen."""
    made: Cases = {}
    for name, given in {
        "bce": {}, "ce": {"discriminator": "ce"}, "one proxy": {"proxies": "one"}, "mixed": {"mixing": "mixed"},
        "by classes": {"loss_scale": "log_classes"}, "disc_weight": {"disc_weight": 0.1},
        "one layer": {"proxy_layers": 1}, "a frozen layer": {"frozen_layers": 1},
    }.items():  # fmt: skip
        for seed in pipeline.SEEDS if name in ("bce", "ce") else (0,):
            proxies = pipeline.proxy(pipeline.params("02_td_proxy", **given), seed)
            store, trainings = proxies.store, proxies.trainings
            made[f"proxy, {name}, seed {seed}"] = {
                "history": [t.history.drop(columns="auc").to_dict("list") for t in trainings],
                "auc": trainings[0].history["auc"].iloc[-1], "logits": store.logits[::90],
                "features": store.features[::150, :4],
                "rows": store.rows.iloc[::60][["task", "row", "length", "proxy", "in_proxy"]],
                "trained on": int(store.rows["in_proxy"].sum()), "ledger": [_spent(row) for row in store.ledgers()],
            }  # fmt: skip
    for score in ("sigmoid", "softmax", "margin"):
        for rule in ("global", "quota", "calibrated"):
            for kind in ("bce", "ce"):
                p = pipeline.params("03_ranking", score=score, rule=rule, discriminator=kind, n=12)
                made[f"ranking, {kind}, {score}, {rule}"] = pipeline.ranking(p)[["task", "row", "score"]]
    return made


def head_cases() -> Cases:
    """04 under every switch: importances of some rows, the tables of correlations."""
    made: Cases = {}
    for name, given in {
        "tasks": {}, "proxy": {"at": "proxy"}, "dropout": {"dropout": True}, "rows of keys": {"definition": "kv_rows"},
        "columns of keys": {"definition": "kv_columns"},
        "all rows": {"importance_rows": 0, "tune_rows": 0, "seeds": [0]},
    }.items():  # fmt: skip
        p = pipeline.params("04_gradts_correlation", **given)
        found = pipeline.correlations(p)
        at = found.seeds[-1], "side_share"
        made[f"heads, {name}"] = {
            "measured": hash_of(found.rows[at]), "importance": found.importances[at][p.definition][:2],
            "matrices": found.matrices(found.seeds[0], p.definition)[:3],
            "taus": head_tables.task_table(found, p.definition).iloc[::11],
            "row taus": head_tables.row_table(found, p.definition).iloc[::50],
            "ceilings": head_tables.ceilings(found, p.definition),
            "nulls": head_tables.nulls(found, p.definition, p.primary, 49), "agreement": head_tables.agreement(found),
            "ledger": [_spent(row) for row in found.ledgers[at]],
        }  # fmt: skip
    return made


MINILM = {
    "encoder": "minilm", "size": "full", "device": "cpu", "batch_size": 8, "lr": 1e-4, "steps": 6, "tune_steps": 3,
    "auxiliaries": ["side_share", "word_class"], "n": 12,
}  # fmt: skip


def minilm_cases(precision: str) -> Cases:
    """A real encoder: one arm's training, a proxy's and its pass over the pool, and head importance."""
    p = pipeline.params("06_mtl", arm="random", precision=precision, **MINILM)
    made = {"random, seed 0": _case(p, 0)}
    same = {name: MINILM[name] for name in ("encoder", "size", "device", "batch_size", "lr")} | {"precision": precision}
    p = pipeline.params("02_td_proxy", proxies="one", proxy_rows=4, watch_rows=2, **same)
    store, ledgers = pipeline.pass_over_few(p, 4)
    return made | {
        "proxy": {"logits": store.logits, "features": store.features[:, :6], "ledger": list(map(_spent, ledgers))}
    }


GROUPS = {
    "minilm fp32": lambda: minilm_cases("fp32"), "minilm bf16": lambda: minilm_cases("bf16"),
    "proxies": proxy_cases, "heads": head_cases, "switches": switch_cases,
    "arms": lambda: arm_cases(list(ROWS)), "arms, seed 0": lambda: arm_cases(list(ROWS), (0,)),
    "weights": lambda: weight_cases(WEIGHTED), "combined": lambda: weight_cases(COMBINED),
}  # fmt: skip
