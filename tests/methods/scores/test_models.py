"""Scores that read a model, against the same numbers worked out row by row; what they cost is what was forecast."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

import asking
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.files import stored_arrays
from auxlearn.methods import arm_plans, forecasting, ranking, registry
from auxlearn.methods.base import Cell
from auxlearn.methods.scores import row_pass
from auxlearn.models import multitask
from auxlearn.signals import pass_store
from auxlearn.studies import parameters
from auxlearn.training import counting, training_cache

NAMES = ["topic_name", "away_topic"]
GIVEN = {
    "auxiliaries": NAMES, "n": 12, "batch_size": 8, "warm_rows": 16, "warm_epochs": 1, "target_rows": 12, "threads": 1,
    "rows": 0, "holdout": 0.2,
}  # fmt: skip
MODELS = ("knn", "rds", "graddot", "less", "loss", "delta_loss", "rho")


@pytest.fixture(scope="module")
def suite(planted):
    """Few short tasks, so that every row can be worked out by itself."""
    few = planted.capped(40)
    return Suite("few", {name: few[name] for name in ("topic_side", *NAMES)}, "few-40")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def shared_runs(home, runs_folder, monkeypatch):
    """Scores that read one model train it once."""
    monkeypatch.setenv("AUXLEARN_RUNS", str(home))


def scored(name, suite, **given):
    """All candidates with their similarities, float [N, Q]; the context, and the models that were read."""
    p = asking.arm(name, **GIVEN | given)
    asked = asking.Told(suite, p, 0, asking.everything(suite))
    pool, options = asked.pool(), p.options(p.method)
    similarities = p.method.similarities(asked, asked.cell, options, pool)
    models = []
    for need in p.method.needs(asked.cell, options):
        plan = registry.maker("row_pass").plan(asked, asked.parameters(need), 0)
        models.append(pass_store.load_model(training_cache.trained(plan, suite).manifest, plan, suite))
    return pool, np.asarray(similarities.at(slice(None)), float), asked, models


def output(model, suite, name, row):
    task = suite[name]
    batch = multitask.collate([task.train[int(row)]], task, model)
    return model(batch), batch["labels"]


def loss(model, suite, name, row):
    out, labels = output(model, suite, name, row)
    return F.cross_entropy(out.logits, labels)


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def some(pool):
    return pool.iloc[[0, 7, 39, 40, 55, 79]]


@pytest.mark.parametrize("name", ["knn", "rds"])
def test_knn_and_rds_are_cosines_of_features(name, suite):
    from auxlearn.methods.scores import base

    pool, values, asked, (model,) = scored(name, suite)
    targets = base.target_rows(asked, asked.cell, 12)
    assert values.shape == (80, 12)
    with torch.no_grad():
        here = [output(model, suite, "topic_side", row)[0].features[0].numpy() for row in targets]
        for at, row in some(pool).iterrows():
            own = output(model, suite, row["task"], row["row"])[0].features[0].numpy()
            assert values[at] == pytest.approx(unit(np.stack(here)) @ unit(own), abs=2e-3)  # features are kept in fp16


def test_an_untrained_model_is_the_encoder_as_it_is(suite):
    _, _, _, (model,) = scored("knn", suite)
    fresh = multitask.build("tiny", suite, registry.maker("row_pass").plan(*_plan_of("knn", suite)).seeds["init"])
    assert all(torch.equal(a, b) for a, b in zip(model.encoder.parameters(), fresh.encoder.parameters(), strict=True))


def _plan_of(name, suite, **given):
    p = asking.arm(name, **GIVEN | given)
    asked = asking.Told(suite, p, 0, asking.everything(suite))
    return asked, asked.parameters(p.method.needs(asked.cell, p.options(p.method))[0]), 0


def test_rds_of_the_untrained_model_is_knn_and_that_of_the_warmed_one_is_not(suite):
    knn, same, warmed = (scored(name, suite, **given)[1]
                         for name, given in (("knn", {}), ("rds", {"model": "untrained"}), ("rds", {})))  # fmt: skip
    assert np.array_equal(knn, same)
    assert np.abs(knn - warmed).max() > 1e-3


@pytest.mark.parametrize("cosine", [False, True])
def test_graddot_is_the_product_of_gradients(suite, cosine):
    pool, values, asked, (model,) = scored("graddot", suite, target_parts=2, unit=cosine)
    maker, (_, p, _) = registry.maker("row_pass"), _plan_of("graddot", suite, target_parts=2)
    shared = list(model.encoder.parameters())

    def gradient(losses):
        return torch.cat([g.flatten() for g in torch.autograd.grad(losses, shared, allow_unused=False)])

    targets = maker.targets(asked, p, 0, maker.plan(asked, p, 0))
    labels = [{suite["topic_side"].train[int(row)]["label"] for row in rows} for rows in targets.values()]
    assert list(targets) == ["topic_side#0", "topic_side#1"]
    assert sum(map(len, targets.values())) == 12
    assert max(labels[0]) <= min(labels[1])  # parts of like labels
    means = [gradient(torch.stack([loss(model, suite, "topic_side", row) for row in rows]).mean())
             for rows in targets.values()]  # fmt: skip
    for at, row in some(pool).iterrows():
        own = gradient(loss(model, suite, row["task"], row["row"]))
        own = own / own.norm() if cosine else own
        assert values[at] == pytest.approx([float(own @ mean) for mean in means], rel=1e-3, abs=1e-6)


def test_less_is_the_mean_cosine_of_adam_s_steps_over_epochs(suite):
    """By hand: gradients of linear layers by autograd, moments as the training left them."""
    pool, values, asked, models = scored("less", suite, target_parts=2, warm_epochs=2)
    maker, p = registry.maker("row_pass"), asking.arm("less", **GIVEN | {"target_parts": 2, "warm_epochs": 2})
    needs, expected = p.method.needs(asked.cell, p.options(p.method)), np.zeros((len(some(pool)), 2))
    assert [asked.parameters(need).warm_epochs for need in needs] == [1, 2]
    for need, model in zip(needs, models, strict=True):
        asks = asked.parameters(need)
        plan = maker.plan(asked, asks, 0)
        kept, _ = stored_arrays.tensors(training_cache.trained(plan, suite).manifest.path("moments.safetensors"))
        shared = {
            f"encoder.{name}.{own}": parameter
            for name, module in model.encoder.named_modules() if isinstance(module, torch.nn.Linear)
            for own, parameter in module.named_parameters(recurse=False)
        }  # fmt: skip
        m, v = (torch.cat([kept[f"{kind}:{name}"].flatten() for name in shared]) for kind in "mv")

        def gradient(losses, shared=shared):
            return torch.cat([g.flatten() for g in torch.autograd.grad(losses, list(shared.values()))])

        means = [gradient(torch.stack([loss(model, suite, "topic_side", row) for row in rows]).mean())
                 for rows in maker.targets(asked, asks, 0, plan).values()]  # fmt: skip
        for at, row in enumerate(some(pool).itertuples()):
            g = gradient(loss(model, suite, row.task, row.row))
            step = (0.9 * m + 0.1 * g) / torch.sqrt(0.999 * v + 0.001 * g**2 + 1e-8)
            expected[at] += [float(F.cosine_similarity(step, mean, dim=0)) / 2 for mean in means]
    assert values[some(pool).index] == pytest.approx(expected, abs=1e-4)


def test_moments_are_adam_s(suite):
    """After one step from zeros m = 0.1 g and v = 0.001 g^2, g the clipped gradient."""
    asked, p, seed = _plan_of("less", suite)
    plan = registry.maker("row_pass").plan(asked, p, seed)
    plan = replace(plan, phases=(replace(plan.phases[0], steps=1),))
    training = training_cache.trained(plan, suite)
    kept, _ = stored_arrays.tensors(training.manifest.path("moments.safetensors"))
    name = "encoder.encoder.layer.0.attention.self.query.weight"
    assert kept[f"v:{name}"].numpy() == pytest.approx(0.1 * kept[f"m:{name}"].numpy() ** 2, rel=1e-4, abs=1e-12)
    assert kept[f"m:{name}"].abs().max() > 0
    plain = training_cache.trained(replace(plan, keep_moments=False), suite)
    assert "moments.safetensors" not in plain.manifest.outputs
    assert plain.manifest.key != training.manifest.key


def test_cosines_and_products_are_not_read_together():
    from auxlearn.signals import row_signals

    with pytest.raises(InputError, match="cosines of Adam's steps; read them in two passes"):
        row_signals.check(["products", "cosines"], True)
    with pytest.raises(InputError, match="cosines are taken with targets' gradients"):
        row_signals.check(["cosines"], False)


def test_targets_are_neither_held_out_nor_warmed_up_on(suite):
    from auxlearn.methods import arm_plans

    asked, p, seed = _plan_of("graddot", suite, target_rows=0)
    maker = registry.maker("row_pass")
    plan = maker.plan(asked, p, seed)
    targets = np.concatenate(list(maker.targets(asked, p, seed, plan).values()))
    _, held = arm_plans.holdout(suite, "topic_side", 0.2, seed)
    warm = plan.phases[0].rows["topic_side"]
    assert len(held) == 8
    assert len(warm) == 16
    assert len(targets) >= 16
    assert not set(targets) & (set(held) | set(warm))


def test_losses_are_the_rows_own(suite):
    """Before the warm-up, after it, and after that on the primary alone."""
    pool, losses, _, (warmed,) = scored("loss", suite)
    _, delta, _, (untrained, same) = scored("delta_loss", suite)
    _, rho, _, (general, adapted) = scored("rho", suite)
    with torch.no_grad():
        for at, row in some(pool).iterrows():
            before, after, third, last = (
                float(loss(model, suite, row["task"], row["row"])) for model in (untrained, warmed, general, adapted)
            )
            assert losses[at] == pytest.approx([after], rel=1e-4)
            assert delta[at] == pytest.approx([before - after], abs=1e-4)
            assert rho[at] == pytest.approx([third - last], abs=1e-4)
    assert all(torch.equal(a, b) for a, b in zip(warmed.parameters(), same.parameters(), strict=True))
    assert np.abs(rho).max() > 1e-3
    low, middle = (scored("loss", suite, take=take)[1] for take in ("low", "middle"))
    assert np.array_equal(low, -losses)
    assert (middle <= 0).all()
    for name in NAMES:
        own = (pool["task"] == name).to_numpy()
        nearest = np.abs(losses[own] - np.median(losses[own])).argmin()
        assert middle[own].argmax() == nearest


@pytest.mark.parametrize("name", MODELS)
def test_it_costs_what_was_forecast_and_takes_n_rows(name, suite):
    p = asking.arm(name, **GIVEN)
    selection, asked = asking.selected(p, suite, 0, asking.everything(suite))
    assert len(selection.rows) == 12
    assert selection.rows["score"].notna().all()
    net = multitask.build("tiny", suite)
    sizes = forecasting.Sizes(counting.tokens(suite, net.tokenizer, 128), net.encoder.config, "measured")
    told = forecasting.SizedContext(sizes, p, 0)
    forecast = {}
    for charge in told.choosing(p.method):
        forecast[charge.stage] = forecast.get(charge.stage, 0.0) + charge.expected
    shared, own = {"warm_up", "scoring"}, {"graddot": {"warm_up", "targeting"}, "less": {"warm_up", "targeting"}}
    assert set(forecast) == own.get(name, shared | ({"adapting", "targeting"} if name == "rho" else set()))
    spent = {stage: sum(row.flops for row in asked.needed() if row.stage == stage) for stage in forecast}
    assert spent == {stage: pytest.approx(flops, rel=0.01) for stage, flops in forecast.items()}
    assert min(spent.values()) > 0
    assert sum(spent.values()) == sum(row.flops for row in asked.needed())


def test_no_notebook_is_read(suite):
    for name in MODELS:
        assert parameters.validate("06_mtl", {"arm": name}).needs() == []
        assert "scores" in " ".join(parameters.validate("06_mtl", {"arm": name}).code_roots())


def test_a_spread_over_one_target_is_refused_before_work():
    with pytest.raises(ValueError, match="'diverse' spreads over targets and needs two; raise target_parts"):
        asking.arm("graddot", methods={"graddot": {"rule": "diverse", "target_parts": 1}})


def test_the_highest_mean_is_taken(suite):
    pool, values, _, _ = scored("graddot", suite)
    chosen, asked = asking.selected(asking.arm("graddot", **GIVEN), suite, 0, asking.everything(suite))
    rows, unseen = chosen.rows, asked.candidates("graddot")[1]
    best = np.flatnonzero(unseen)[ranking.top_n(values.mean(1)[unseen], 12, 0)]
    assert rows[["task", "row"]].values.tolist() == pool.iloc[best][["task", "row"]].values.tolist()
    assert isinstance(asking.Told(suite, asking.arm("graddot"), 0).cell, Cell)


@pytest.mark.parametrize("name", ["loss", "delta_loss", "rho", "graddot", "less", "rds"])
def test_rows_that_a_model_was_warmed_up_on_are_no_candidates_of_its_scores(suite, name):
    chosen, asked = asking.selected(asking.arm(name, **GIVEN), suite, 0, asking.everything(suite))
    need = registry.get(name).needs(asked.cell, asking.arm(name, **GIVEN).options(registry.get(name)))[-1]
    seen = row_pass.warm_rows(asked, asked.parameters(need), 0)
    assert len(chosen.rows) == 12
    assert not any(row in seen[task] for task, row in zip(chosen.rows["task"], chosen.rows["row"], strict=True))
    left = sum(len(suite[task].train) - len(seen[task]) for task in NAMES)
    assert asked.candidates(name)[1].sum() == left
    with pytest.raises((ValueError, InputError), match=f"{left} are eligible"):
        asking.selected(asking.arm(name, **GIVEN | {"n": left + 1}), suite, 0, asking.everything(suite))


def test_an_encoder_that_was_not_trained_has_seen_no_row(suite):
    asked = asking.Told(suite, asking.arm("knn", **GIVEN), 0, asking.everything(suite))
    assert asked.candidates("knn")[1].all()


def test_rho_adapts_to_the_rows_that_its_arm_is_trained_on(suite):
    p = asking.arm("rho", **GIVEN)
    asked = asking.Told(suite, p, 0, asking.everything(suite))
    adapted = next(
        need for need in p.method.needs(asked.cell, p.options(p.method)) if need.parameters["model"] == "adapted"
    )
    plan = registry.maker("row_pass").plan(asked, asked.parameters(adapted), 0)
    trained, held = arm_plans.holdout(suite, "topic_side", 0.2, 0, asking.everything(suite)["topic_side"])
    assert plan.phases[1].rows["topic_side"].tolist() == sorted(trained)
    assert len(held) == 8


def test_a_primary_without_a_row_left_for_targets_is_refused_before_anything_is_trained(suite, monkeypatch):
    monkeypatch.setattr(training_cache, "trained", lambda *_: pytest.fail("trained"))
    all_warm = arm_plans.holdout(suite, "topic_side", 0.2, 0, asking.everything(suite)["topic_side"])[0]
    monkeypatch.setattr(row_pass, "warm_rows", lambda *_: {name: all_warm for name in suite.names})
    for name in ("graddot", "less"):
        with pytest.raises(InputError, match="no row is left whose gradient could be a target"):
            asking.selected(asking.arm(name, **GIVEN), suite, 0, asking.everything(suite))
