"""Golden cases of the building blocks: each function's numbers on small fixed input, every rule and switch of it."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import yaml

import arms_and_switches
import pipeline
from auxlearn import cost, seeding
from auxlearn.data import auxiliary_rows, batch_order, batching, leakage, suites
from auxlearn.evaluation import agreement, counting, metrics, stats, verdicts
from auxlearn.methods import arm_plans, controls, pairs_of_arms, ranking, task_plans
from auxlearn.methods.autosem import bandits, ratio_search, selectors
from auxlearn.methods.fastmtl import calibration, cascade, discriminator, ngram_scorer, proxy_plans, ridge_student
from auxlearn.methods.gradts import choices, correlation
from auxlearn.methods.tawt import cosine, policies, task_weights, weight_rule
from auxlearn.models import multitask
from auxlearn.paths import PROJECT
from auxlearn.records import runs
from auxlearn.signals import (
    example_gradients,
    feature_map,
    features,
    gradient_moments,
    head_importance,
    row_signals,
    target_gradients,
)
from auxlearn.studies import forecasts
from auxlearn.studies.parameters import MODELS
from auxlearn.training import linear_head, mixing, prediction

KINDS = ("topic_side", "side_share", "word_class")  # classification, regression, tagging
Cases = dict[str, Any]


def rng(*name: Any) -> np.random.Generator:
    return np.random.default_rng(np.frombuffer("/".join(map(str, name)).encode(), np.uint8))


@functools.cache
def net() -> multitask.MultiTaskModel:
    """The tiny encoder with larger weights than it starts with, so that heads and gradients differ."""
    made = multitask.build("tiny", pipeline.suite())
    noise = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for p in made.parameters():
            p += 0.05 * torch.randn(p.shape, generator=noise)
    return made


def batch(name: str, rows: Any) -> dict[str, Any]:
    task = pipeline.suite()[name]
    return multitask.collate([task.train[int(i)] for i in rows], task, net())


def scores_and_groups(size: int = 60) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Scores with ties, three groups, two folds, four fifths eligible."""
    draw = rng("scores")
    scores = np.round(draw.normal(size=size) * 3) / 3
    return scores, draw.choice(["a", "b", "c"], size, p=[0.5, 0.3, 0.2]), np.arange(size) % 2, draw.random(size) < 0.8


def selection_cases() -> Cases:
    scores, groups, folds, eligible = scores_and_groups()
    made: Cases = {}
    for seed in pipeline.SEEDS:
        made[f"top_n, seed {seed}"] = ranking.top_n(scores, 12, seed, eligible)
        made[f"random_n, seed {seed}"] = ranking.random_n(60, 12, seed, eligible)
        made[f"matched_random, seed {seed}"] = ranking.matched_random(np.arange(0, 60, 5), groups, seed)
        for rule in ("global", "quota", "calibrated"):
            for name, of in (("two proxies", folds), ("one proxy", np.zeros(60, int))):
                made[f"choose, {rule}, {name}, seed {seed}"] = ranking.choose(
                    rule, scores, 12, groups, of, seed, eligible
                )
    made["fold_ranks"] = ranking.fold_ranks(scores, folds, eligible)
    made["standardised"] = ranking.standardised(scores, groups, eligible)
    pool = auxiliary_rows.pool(pipeline.suite(), list(KINDS))
    made["strata"] = controls.strata(pipeline.suite(), pool)[::7]
    chosen = ranking.table(pool, np.arange(0, len(pool), 9), rng("table").normal(size=len(pool)))
    made["table"] = chosen.tail(4)
    made["shares"] = ranking.shares(chosen, pool)
    for seed in pipeline.SEEDS:
        drawn = ranking.draw(pool, ("side_share", "topic_side"), 6, seed)
        made[f"draw of two tasks, seed {seed}"] = drawn[["task", "row"]]
        shared = selectors.shared_out(pool, {"topic_side": 3, "side_share": 1, "word_class": 0}, 7, seed)
        made[f"shared_out, seed {seed}"] = shared[["task", "row"]]
    return made


def gradts_cases() -> Cases:
    made: Cases = {}
    for name in KINDS:
        some = batch(name, range(3))
        for definition in head_importance.DEFINITIONS:
            made[f"importance, {name}, {definition}"] = head_importance.head_importance(net(), some, definition)
        made[f"importance with dropout, {name}"] = head_importance.head_importance(
            net(), some, "gate", dropout=True, seed=1
        )
    values = rng("importance").gamma(1.0, size=(10, 3, 4)).astype(np.float32)
    values[3] = 0.5
    made["normalise"] = correlation.normalise(values[:4])
    made["task matrix, raw"] = correlation.task_matrix(values)
    made["task matrix, equal"] = correlation.task_matrix(values, "equal")
    flat = np.round(values.reshape(10, -1), 1)
    made["kendall_tau"] = correlation.kendall_tau(flat[:5], flat[5:])
    matrices = np.stack([correlation.task_matrix(values[i : i + 5]) for i in range(3)])
    made["task_taus"], made["task_taus, centred"] = (
        correlation.task_taus(matrices),
        correlation.task_taus(correlation.centre(matrices)),
    )
    for seed in pipeline.SEEDS:
        made[f"split_half, seed {seed}"] = correlation.split_half(values, 4, seed)
        for within in (True, False):
            tau, null, p = correlation.permutation_null(matrices[0], matrices[1], 99, seed, within)
            made[f"permutation_null, within layers {within}, seed {seed}"] = [tau, null[:5], p]
    taus = {"a": 0.7, "b": 0.7, "c": 0.2, "d": -0.4, "e": 0.5}
    made["thres"] = {str(level): choices.thres(taus, level) for level in (0.5, 0.7, -1.0)}
    helps = {0: (0.5, 0.4), 1: (0.6, 0.5), 2: (0.55, 0.55), 3: (0.55, 0.3), 4: (0.7, 0.7), 5: (0.6, 0.6)}
    for rule, patience in (("corrected", 1), ("corrected", 2), ("corrected", 4), ("code", 1)):
        asked = helps if rule == "code" else {k: best for k, (best, _) in helps.items()}
        found = choices.trial(taus, lambda names, asked=asked: asked[len(names)], rule=rule, patience=patience)
        made[f"trial, {rule}, patience {patience}"] = asdict(found)
    row_taus = np.round(rng("row taus").uniform(-1, 1, 20), 1)
    row_taus[4] = np.nan
    made["fg_threshold"] = choices.fg_threshold(row_taus, 0.2)
    for rule in ("corrected", "code"):
        for seed in pipeline.SEEDS:
            made[f"fg_fraction, {rule}, seed {seed}"] = choices.fg_fraction(row_taus, 0.4, seed, rule)
    return made


def fastmtl_cases() -> Cases:
    draw = rng("logits")
    logits, ids = draw.normal(size=(30, 4)).astype(np.float32), draw.integers(0, 4, 30)
    logits[np.arange(30), ids] += 1
    weight = discriminator.pos_weight([5, 10, 20, 40])
    z, t = torch.tensor(logits), torch.tensor(ids)
    made: Cases = {
        "pos_weight": weight, "bce_loss": discriminator.bce_loss(z, t, weight), "ce_loss": discriminator.ce_loss(z, t),
        "column_auc": metrics.column_auc(logits, ids),
    }  # fmt: skip
    for kind in ("sigmoid", "softmax", "margin"):
        made[f"scores, {kind}"] = discriminator.scores(logits, 2, kind)[:8]
    names = list("abcd")
    for kind, given in (("bce", weight.numpy()), ("bce", None), ("ce", None)):
        label = f"{kind}{', weighted' if given is not None else ''}"
        made[f"calibration, {label}"] = calibration.table(logits, ids, kind, names, given, 5)
    made["reliability"] = calibration.reliability(logits[:, 0].clip(0, 1), ids == 0, 4)
    return made


def cascade_cases() -> Cases:
    suite = pipeline.suite()
    rows = features.as_rows({name: np.arange(20) for name in suite.names})
    sample = {name: np.arange(20, 40) for name in suite.names}
    words, spent = ngram_scorer.logits(suite, sample, rows, ledger := cost.Ledger("words")), ledger.flops
    folds, eligible = np.arange(len(rows)) % 2, np.arange(len(rows)) % 7 > 0
    full = (words[:, 0] + rng("full").normal(size=len(rows)) * 0.3).astype(np.float32)
    made: Cases = {
        "words": words[::20], "words, FLOP": spent, "surface": features.surface_logits(suite, sample, rows)[::20],
        "surface cues": features.design(suite, rows)[::40], "subsample": feature_map.subsample(rows, 3, 1),
    }  # fmt: skip
    for seed in pipeline.SEEDS:
        made[f"sample, seed {seed}"] = np.flatnonzero(ridge_student.sample(folds, eligible, 0.2, seed))
    drawn, cues = ridge_student.sample(folds, eligible, 0.3, 0), ridge_student.cues(suite, rows)
    made["distilled"] = ridge_student.predict(cues, full, drawn, ledger)[::20]
    made["in rounds"] = ridge_student.in_rounds(cues, full, drawn, ledger)[::5]
    made["FLOP of fits"] = ledger.flops
    flops = cascade.row_flops(net().encoder.config, np.arange(len(rows)) % 30 + 5)
    none = np.zeros(len(rows), bool)
    scorers = {
        "words": cascade.Scorer(words[:, 0], none, cost.Ledger("words", flops=spent)),
        "drawn": cascade.Scorer(words[:, 1], drawn, cost.Ledger("drawn")),
    }
    for name, of in (("two proxies", folds), ("one proxy", np.zeros(len(rows), int))):
        made[f"recall, {name}"] = cascade.recall(full, scorers, 30, of, eligible, flops)
    made["fixed_costs"] = cascade.fixed_costs(scorers, flops, eligible).drop(columns="seconds")
    return made


def autosem_cases() -> Cases:
    made: Cases = {}
    chances = np.tile([0.3, 0.7, 0.5], (40, 1))
    for seed in pipeline.SEEDS:
        for decay in (0.0, 0.3):
            bandit = bandits.Bandit(3, decay, seed)
            made[f"bandit, decay {decay}, seed {seed}"] = {
                "chosen": bandits.simulate(bandit, chances, seed), "utilities": bandit.utilities,
                "mean utilities": bandits.mean_utilities(bandit),
                "select": {rule: bandits.select(bandit, 0, 2, rule, seed=seed) for rule in ("corrected", "paper")},
            }  # fmt: skip
    earlier = [0.5, 0.7, 0.6]
    made["reward"] = {
        f"{rule}, {against}, {score}": bandits.reward(score, earlier, rule, against)
        for rule in ("corrected", "paper") for against in ("previous", "best") for score in (0.6, 0.65, 0.8)
    }  # fmt: skip
    made["reward, first"] = {rule: bandits.reward(0.5, [], rule) for rule in ("corrected", "paper")}
    for rule in ("corrected", "paper"):
        log: list[dict[str, Any]] = []
        held = iter(np.round(rng("held-out").uniform(0.4, 0.8, 12), 1))
        bandits.rounds(bandits.Bandit(3, 0.05, 1), lambda arm, held=held: next(held), 12, log, rule=rule, start=0.5)
        made[f"rounds, {rule}"] = [[row["arm"], row["reward"], row["score"]] for row in log]
        for seed in pipeline.SEEDS:
            search = ratio_search.Search(3, seed, 20, 3, rule)
            for _ in range(6):
                tried = search.suggest()
                search.observe(tried, 0.5 + 0.1 * tried[1] / sum(tried) - 0.2 * tried[2] / sum(tried))
            rows = [[row["ratios"], row["by"], row["gains"]] for row in search.log]
            made[f"ratios, {rule}, seed {seed}"] = {"trials": rows, "best": search.best()}
    for style in ("interleaved", "cycle", "blocks"):
        made[f"schedule, {style}"] = mixing.schedule([3, 1, 2], [4, 6, 2], 17, 1, style)
    return made


def tawt_cases() -> Cases:
    made: Cases = {}
    log_w, g = np.log([0.5, 0.3, 0.2]), np.array([0.1, -0.4, 0.7])
    made["mirror_step"] = {str(eta): cosine.mirror_step(log_w, g, eta) for eta in (0.5, 1.0, 30.0)}
    made["mirror_step, fp32"] = cosine.mirror_step(torch.tensor(log_w, dtype=torch.float32), g, 1.0)
    sizes = {"a": 100, "b": 25, "c": 400}
    made["prior"] = {
        "uniform": cosine.prior("uniform", sizes), "inverse_size": cosine.prior("inverse_size", sizes),
        "power": cosine.prior("power", sizes, -0.5),
        "explicit": cosine.prior("explicit", sizes, weights={"a": 1, "b": 0, "c": 3}),
    }  # fmt: skip
    made["constant_share"] = weight_rule.constant_share(0.4, sizes, "b")
    made["effective_shares"] = weight_rule.effective_shares([0.2, 0.5, 0.3], list(sizes.values()))
    draw = rng("moments")
    vectors = draw.normal(size=(5, 40)) + np.linspace(0, 1, 40)
    target, own = vectors[:2], vectors[2:]
    moments = gradient_moments.Moments(target @ own.T, target @ target.T, own @ own.T)
    made["naive"], made["debiased"] = cosine.naive(moments), cosine.debiased(moments)
    made["attenuation"] = cosine.attenuation(moments)
    reads = np.c_[(target @ own.T).T, np.diag(own @ own.T)]
    made["reused"] = cosine.reused(reads, target @ target.T)
    for rule in ("corrected", "paper"):
        for itself in (False, True):
            made[f"cosines, {rule}, itself {itself}"] = cosine.cosines([moments, moments], rule, itself)
    cosines, errors = np.array([0.4, np.nan, -0.2]), np.array([0.1, np.nan, 0.3])
    for name, updater in {
        "plain": weight_rule.Updater(), "floor": weight_rule.Updater(floor=0.2), 
        "decay": weight_rule.Updater(decay=0.5),
        "tau": weight_rule.Updater(tau=0.3, c=2.0), "paper": weight_rule.Updater(rule="paper"),
        "spread": weight_rule.Updater.spread(3.0, 6),
    }.items():  # fmt: skip
        seen = np.array([0.4, 0.0, -0.2]) if name == "paper" else cosines
        used = updater.usable(seen, errors)
        made[f"update, {name}"] = np.exp(updater.step(np.log([0.2, 0.3, 0.5]), used, np.log([0.4, 0.4, 0.2])))
    made["null_schedule"] = weight_rule.null_schedule([0.25, 0.75], 3)
    made["trajectory"] = weight_rule.trajectory(np.array([0.5, 0.5]), np.array([[0.1, 0.2], [0.5, -0.5]]))
    for evidence in ("measured", "null", "shuffled", "fixed"):
        for seed in pipeline.SEEDS:
            moving = task_weights.Weights(
                names=["a", "b", "c", "t"], prior=np.full(4, 0.25), target="t", evidence=evidence, seed=seed
            )
            for step in (4, 8):
                moving.update(np.array([0.5, -0.5, 0.1, 0.9]), np.array([0.1, 0.1, 0.2, 0.1]), step)
            made[f"weights, {evidence}, seed {seed}"] = moving.values
    means = {"a": 0.5, "b": 2.0}
    made["score_prior"] = policies.score_prior(means, {"t": 5, "a": 10, "b": 20}, "t", 0.7)
    made["deciles"] = policies.deciles(np.round(rng("deciles").normal(size=25), 1), 10, 4)
    return made


def gradient_cases() -> Cases:
    made: Cases = {}
    for which in ("shared", "encoder", "last_layer"):
        probe = target_gradients.Probe(net(), which)
        made[f"probe target, {which}"] = probe.target(
            [[batch("topic_side", range(4))], [batch("topic_side", range(4, 8))]]
        )
        for name in KINDS:
            chunks = [[batch(name, range(8, 12))], [batch(name, range(12, 14)), batch(name, range(14, 16))]]
            found = probe.source(chunks)
            made[f"probe source, {which}, {name}"] = [found.dots, found.own]
        if which == "shared":
            for method in ("jvp", "difference"):
                made[f"probe scores, {method}"] = probe.scores(batch("side_share", range(5)), method)
            for name in KINDS:
                dots, squares = example_gradients.products(probe, batch(name, range(5)))
                made[f"row products, {name}"] = [dots, squares]
    made["draw"] = target_gradients.draw(np.arange(20), 3, 4, seeding.rng(1, "probe"))
    for name in KINDS:
        task = pipeline.suite()[name]
        inputs, labels = linear_head.head_inputs(net(), [batch(name, range(12))])
        head = linear_head.fit_head(inputs, labels, task.kind, task.n_outputs, ridge=0.1)
        made[f"fitted head, {name}"] = [head.weight.norm(), head.bias]
        encoded = batching.encode(task.train.select(range(9)), task, net().tokenizer, net().max_length)
        aims = row_signals.targets(net(), pipeline.suite(), {"topic_side": np.arange(6)})
        read = row_signals.over_rows(net(), encoded, task, row_signals.READS, probe=aims, budget=80)
        made[f"one pass, {name}"] = [{"rows": rows} | {k: _few(v) for k, v in values.items()} for rows, values in read]
        predicted = prediction.predict(net(), encoded, task)
        made[f"predictions, {name}"] = predicted
    return made


def _few(values: torch.Tensor) -> Any:
    return values.reshape(len(values), -1)[:, :3]


def data_cases() -> Cases:
    suite = pipeline.suite()
    hits = leakage.find(suite)
    made: Cases = {
        "planted fingerprint": suites.Suite.from_yaml("planted").fingerprint, "leaks": hits,
        "capped": suites.Suite.from_yaml("planted").capped(5, seed=1)["away_topic"].train["row_id"][:],
        "first rows": {name: task.train[0] for name, task in suite.items()},
        "flagged": {k: np.flatnonzero(v) for k, v in leakage.flagged(hits, suite, "topic_side").items()},
        "shared sentences": leakage.shared_sentences(suite, "topic_side", hits),
    }  # fmt: skip
    texts = {
        "a": ["the cat sat on the mat today", "A totally different sentence, here.", "one two three four five six"],
        "b": ["The cat sat on the mat, today!", "the cat sat on the mat yesterday", "one two three four five seven"],
    }
    handmade = suites.Suite("pairs", {name: _task(name, rows, texts["b"]) for name, rows in texts.items()}, "0")
    made["leaks, by hand"] = {str(near): leakage.find(handmade, near=near) for near in (0.3, 0.8)}
    for seed in pipeline.SEEDS:
        for folds in (1, 2):
            train, held, _ = proxy_plans.proxy_sample(suite, 5, 3, seed, None, folds)
            made[f"proxy sample, {folds} folds, seed {seed}"] = [
                [part["side_share"] for part in train],
                held["side_share"],
            ]
        made[f"holdout, seed {seed}"] = arm_plans.holdout(suite, "topic_side", 0.2, seed)[1]
        made[f"measured rows, seed {seed}"] = task_plans.measured_rows(
            pipeline.params("04_gradts_correlation"), "side_share", seed, np.ones(pipeline.TRAIN, bool)
        )
        lengths = {"a": np.arange(3, 20), "b": np.arange(2, 9)}
        for name, cut in (("homogeneous", batch_order.homogeneous), ("mixed", batch_order.mixed)):
            made[f"batches, {name}, seed {seed}"] = cut(lengths, 6, np.random.default_rng(seed))
        order = batch_order.in_order(["a", "b", "b", "a", "b"], lengths, 3, np.random.default_rng(seed))
        made[f"batches in order, seed {seed}"] = order
    made["batches by tokens"] = batch_order.by_tokens(np.array([3, 9, 4, 4, 12, 1]), 16)
    for name in KINDS:
        some = batch(name, range(2))
        made[f"batch, {name}"] = {k: some[k] for k in ("input_ids", "token_type_ids", "labels") if k in some}
    made["seeds"] = [
        seeding.record(0),
        seeding.record(1),
        seeding.derive(0, "ties"),
        seeding.derive(3, "dropout", "a", 2),
    ]
    return made


def _task(name: str, train: list[str], judged: list[str]) -> suites.Task:
    from datasets import Dataset

    rows = [Dataset.from_list([{"row_id": i, "x": t, "y": 0} for i, t in enumerate(part)]) for part in (train, judged)]
    return suites.Task(name, "classification", ("x",), "y", ("n", "p"), None, "accuracy", ("accuracy",), *rows, None)


def statistics_cases() -> Cases:
    draw = rng("statistics")
    made: Cases = {}
    for seeds_ in (3, 8, 10):
        a, b = np.round(draw.uniform(0.5, 0.8, (2, seeds_)), 2)
        made[f"compare, {seeds_} seeds"] = asdict(stats.compare(a, b))
        made[f"bootstrap, {seeds_} seeds"] = stats.bootstrap_interval(a - b)
        p = stats.paired_permutation_test(a, b)
        made[f"tests, {seeds_} seeds"] = [p, stats.paired_t_test(a, b)]
        compared = stats.compare(a, b)
        made[f"verdicts, {seeds_} seeds"] = [
            verdicts.verdict(compared, q, comparisons=k) for q, k in ((None, 1), (0.01, 1), (0.2, 2), (0.2, 9))
        ]
    made["holm"] = stats.holm([0.01, 0.04, 0.03, 0.5])
    made["holm, of a larger family"] = stats.holm([0.01, 0.04, 0.03, 0.5], 7)
    d = draw.normal(size=(4, 30)) + 0.2
    spread = d.mean(0).std(ddof=1) / 30**0.5
    made["seeds and rows"] = [stats.seeds_and_rows_interval(part.mean(1), spread) for part in (d, d[:1])]
    made["auc_interval"] = stats.auc_interval(draw.normal(size=30) + np.arange(30) / 20, np.arange(30) > 14)
    scores, truth = np.array([0.3, 0.1, 0.7, 0.7, -0.2]), np.array([0.05, 0.0, 0.1, -0.02, 0.01])
    made["agreement"] = {
        "kendall_tau": agreement.kendall_tau(scores, truth), "ndcg": agreement.ndcg(scores, truth),
        "ndcg at 2": agreement.ndcg(scores, truth, 2), "regret": agreement.regret(scores, truth),
        "regret at 2": agreement.regret(scores, truth, 2), "auc": agreement.auc(scores, truth > 0.005),
        "linear datamodelling score": agreement.linear_datamodelling_score(
            scores, np.array([[1, 1, 0, 0, 0], [0, 0, 1, 1, 0], [1, 0, 0, 0, 1], [0, 1, 0, 1, 0]]), truth[:4]),
    }  # fmt: skip
    shapes = {
        "classification": (("a", "b", "c"), draw.integers(0, 3, 40), draw.integers(0, 3, 40),
                           ("accuracy", "macro_f1", "matthews")),
        "binary": (("n", "p"), draw.integers(0, 2, 40), draw.integers(0, 2, 40), ("accuracy", "f1", "matthews")),
        "regression": (None, draw.normal(size=40), draw.normal(size=40), ("pearson", "spearman")),
        "tagging": (("O", "B-x", "I-x"), [draw.integers(0, 3, 5).tolist() for _ in range(12)],
                    [draw.integers(0, 3, 5).tolist() for _ in range(12)], ("accuracy", "macro_f1", "entity_f1")),
    }  # fmt: skip
    for name, (labels, predicted, gold, asked) in shapes.items():
        kind = "classification" if name == "binary" else name
        task = SimpleNamespace(
            name=name, kind=kind, labels=labels, metric=asked[0], metrics=asked, n_outputs=len(labels or [0])
        )
        made[f"metrics, {name}"] = metrics.score(task, predicted, gold)
        for metric in set(asked) & set(counting.METRICS):
            sums = counting.counts(metric, labels, predicted, gold)
            made[f"by counts, {name}, {metric}"] = [sums.sum(0), counting.value(metric, sums.sum(0))]
        if name != "regression":
            made[f"by row, {name}"] = metrics.by_row(task, predicted, gold)
    made["contrasts"] = pairs_of_arms.contrasts(
        ["single", "random", "step_matched", "td_bce", "cie_bce", "matched_bce", "autosem"]
    )
    return made


def cost_cases() -> Cases:
    shape = SimpleNamespace(hidden_size=64, num_hidden_layers=2, intermediate_size=128)
    made: Cases = {
        "encoder_flops": [cost.encoder_flops(shape, [5, 9], training) for training in (False, True)],
    }
    for file in (*sorted((PROJECT / "params" / "published").glob("*.yaml")), PLANTED):
        price = priced(file)
        few = 1 if file == PLANTED else max(1, len(price.table) // 12)
        made[f"price, {file.stem}, arms"] = price.table.iloc[::few]
        made[f"price, {file.stem}, total"] = price.total
    return made


def priced(file: Path) -> forecasts.Price:
    """The price of a study on a processor: a GPU's batches of a pass are larger."""
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / file.name
        content["base"]["device"] = "cpu"
        copy.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")
        return forecasts.price(copy)


PLANTED = PROJECT / "params" / "studies" / "gradts_planted.yaml"


def key_cases() -> Cases:
    """Keys of the notebooks' defaults and of every arm: what they hold, and the hash."""
    made: Cases = {}
    for stage in MODELS:
        p = pipeline.params(stage)
        made[stage] = {"key": runs.key(stage, p.key_params(), "suite", []), "of": p.key_params()}
    for arm in arms_and_switches.ARMS:
        p = pipeline.params("06_mtl", arm=arm, **arms_and_switches.needed(arm))
        needs = [[stage, {k: v for k, v in wanted.items() if k not in SHARED}] for stage, wanted in p.needs()]
        made[f"06_mtl, {arm}"] = {
            "key": runs.key("06_mtl", p.key_params(), "suite", []),
            "of": sorted(p.key_params()),
            "needs": needs,
        }
    return made


SHARED = ("suite", "encoder", "device", "size", "rows", "threads", "precision", "max_length")
GROUPS: dict[str, Callable[[], Cases]] = {
    "selection": selection_cases, "gradts": gradts_cases, "fastmtl": fastmtl_cases, "cascade": cascade_cases,
    "autosem": autosem_cases, "tawt": tawt_cases, "gradients": gradient_cases, "data": data_cases,
    "statistics": statistics_cases, "cost": cost_cases, "keys": key_cases,
}  # fmt: skip
