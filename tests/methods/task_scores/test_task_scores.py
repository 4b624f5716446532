"""Scores of tasks against the same numbers worked out by hand; the rule that takes tasks; what they cost."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import asking
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.methods import arm_plans, forecasting, ranking, registry
from auxlearn.methods.task_scores import base, logme, surrogate, tag_affinity, taskemb
from auxlearn.models import multitask
from auxlearn.signals import pass_store
from auxlearn.studies import parameters
from auxlearn.training import counting, training_cache

NAMES = ["topic_name", "away_topic", "side_share"]
GIVEN = {
    "auxiliaries": NAMES, "n": 12, "batch_size": 8, "embed_rows": 10, "source_rows": 16,
    "source_epochs": 1, "fisher_rows": 6, "subsets": 4, "joint_rows": 16, "joint_epochs": 2,
    "lookaheads": 2, "threads": 1, "rows": 0, "holdout": 0.2,
}  # fmt: skip
SCORES = [name for name in registry.names() if registry.get(name).family == "task_scores"]


@pytest.fixture(scope="module")
def suite(planted):
    """Few short tasks, so that every row can be worked out by itself."""
    few = planted.capped(40)
    short = {name: replace(few[name], dev=few[name].dev.select(range(40))) for name in ("topic_side", *NAMES)}
    return Suite("few", short, "few-40-40")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(autouse=True)
def shared_runs(home, runs_folder, monkeypatch):
    """What several tests read is trained once."""
    monkeypatch.setenv("AUXLEARN_RUNS", str(home))


def told(name, suite, **given):
    p = asking.arm(name, **GIVEN | given)
    return p, asking.Told(suite, p, 0, asking.everything(suite))


def scored(name, suite, **given):
    """A method's scores by task, and the context that was charged for them."""
    p, asked = told(name, suite, **given)
    return p.method.task_scores(asked, asked.cell, p.options(p.method)), asked


def parameters_of(name, suite, **given):
    """The maker of what a score reads, and its parameters."""
    p, asked = told(name, suite, **given)
    (need,) = p.method.needs(asked.cell, p.options(p.method))
    return registry.maker(need.artifact), asked.parameters(need), asked


def batch_of(model, suite, name, rows):
    return multitask.collate([suite[name].train[int(row)] for row in rows], suite[name], model)


# --- the rule --------------------------------------------------------------------------------------------------------


def test_the_best_tasks_are_taken_or_those_above_a_threshold():
    scores = {"d": 0.5, "a": 0.2, "c": 0.5, "b": -1.0}
    options = base.TaskScoreOptions
    assert base.selected(scores, options()) == ("c", "d")
    assert base.selected(scores, options(top_tasks=9)) == ("c", "d", "a", "b")
    assert base.selected(scores, options(tasks_by="threshold")) == ("c", "d", "a")
    assert base.selected(scores, options(tasks_by="threshold", above=0.2)) == ("c", "d")
    assert base.selected(scores, options(tasks_by="threshold", above=0.5)) == ()
    for bad in (float("nan"), float("inf")):
        with pytest.raises(InputError, match=r"task 'a' has the score (nan|inf); a task score must be finite"):
            base.selected(scores | {"a": bad}, options())


def test_rows_are_drawn_as_gradts_draws_them_and_carry_their_task_s_score(suite, monkeypatch):
    p, asked = told("textemb", suite, top_tasks=2)
    told_scores = {"topic_name": 0.1, "away_topic": 0.9, "side_share": 0.4}
    monkeypatch.setattr(type(p.method), "task_scores", lambda *_: told_scores)
    chosen = p.method.select(asked, asked.cell, p.options(p.method))
    assert chosen.tasks == ("away_topic", "side_share")
    assert chosen.why == {"scores": told_scores}
    drawn = ranking.draw(asked.pool(), chosen.tasks, 12, 0)
    assert chosen.rows[["task", "row"]].values.tolist() == drawn[["task", "row"]].values.tolist()
    assert chosen.scored()["score"].tolist() == [told_scores[name] for name in drawn["task"]]
    p, asked = told("textemb", suite, tasks_by="threshold", above=2.0)
    nothing = p.method.select(asked, asked.cell, p.options(p.method))
    assert (nothing.rows, nothing.tasks) == (None, ())


def test_a_cosine_is_that_of_vectors_and_0_with_nothing():
    vectors = {"p": np.array([3.0, 4.0]), "a": np.array([4.0, 3.0]), "b": np.zeros(2), "c": np.array([-6.0, -8.0])}
    assert base.cosines(vectors, "p") == pytest.approx({"a": 0.96, "b": 0.0, "c": -1.0})


# --- the scores ------------------------------------------------------------------------------------------------------


def test_textemb_is_the_cosine_of_mean_sentence_embeddings(suite):
    scores, asked = scored("textemb", suite)
    maker, p, _ = parameters_of("textemb", suite)
    model = multitask.build("tiny", suite, maker.plan(asked, p).seeds["init"]).eval()
    means = {}
    for name, rows in maker.rows(asked, p, 0).items():
        assert len(set(rows)) == 10
        with torch.no_grad():
            each = [model(batch_of(model, suite, name, [row])).features[0].numpy() for row in rows]
        means[name] = np.mean(each, 0)
    here = means.pop("topic_side")
    by_hand = {name: float(x @ here / np.linalg.norm(x) / np.linalg.norm(here)) for name, x in means.items()}
    assert scores == pytest.approx(by_hand, abs=1e-4)  # features are kept in fp16
    assert len({round(score, 4) for score in scores.values()}) == 3
    assert scored("textemb", suite, embed_rows=0)[0] != scores


def loss(model, suite, name, rows):
    batch = batch_of(model, suite, name, rows)
    return model.task_loss(batch, model(batch).logits)


def linear(model):
    return [p for m in model.encoder.modules() if isinstance(m, torch.nn.Linear) for p in m.parameters(recurse=False)]


@pytest.mark.parametrize(("squares", "size"), [("rows", 1), ("batches", 32)])
def test_taskemb_is_the_cosine_of_mean_squared_gradients(suite, squares, size):
    scores, asked = scored("taskemb", suite, squares=squares)
    maker, p, _ = parameters_of("taskemb", suite, squares=squares)
    fisher = {}
    for name, (plan, rows) in maker.plans(asked, p, 0).items():
        assert (len(rows), len(plan.phases[0].rows[name])) == (6, 16)
        model = pass_store.load_model(training_cache.trained(plan, suite).manifest, plan, suite)
        fisher[name] = 0
        for part in np.array_split(rows, len(rows) // min(size, len(rows))):
            gradients = torch.autograd.grad(loss(model, suite, name, part), linear(model))
            fisher[name] = fisher[name] + torch.cat([g.flatten() for g in gradients]) ** 2
    here = fisher.pop("topic_side")
    by_hand = {name: float(torch.cosine_similarity(x, here, dim=0)) for name, x in fisher.items()}
    assert scores == pytest.approx(by_hand, rel=1e-4)


def test_fisher_information_of_a_logistic_model_is_its_closed_form():
    """Of one linear layer and a sigmoid's loss: the mean of (p - y)^2 x^2, and of (p - y)^2 for the bias."""

    class Logistic(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.source = torch.nn.Sequential(torch.nn.Linear(3, 1)), SimpleNamespace(bits=None)
            self.kinds, self.device = {"t": "classification"}, torch.device("cpu")

        def forward(self, batch):
            right = self.encoder(batch["x"])
            return SimpleNamespace(logits=torch.cat([torch.zeros_like(right), right], 1))

        def task_loss(self, batch, logits):
            return torch.nn.functional.cross_entropy(logits, batch["labels"])

    torch.manual_seed(0)
    model, x, y = Logistic(), torch.randn(20, 3), torch.randint(0, 2, (20,))
    batches = [{"task": "t", "x": x[i : i + 1], "labels": y[i : i + 1]} for i in range(20)]
    with torch.no_grad():
        error = torch.sigmoid(model.encoder(x))[:, 0] - y
    closed = torch.cat([(error[:, None] ** 2 * x**2).mean(0), (error**2).mean()[None]])
    assert taskemb.fisher(model, batches) == pytest.approx(closed.numpy(), rel=1e-4)
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


@pytest.mark.parametrize("primary", ["topic_side", "side_share"])
def test_logme_is_the_evidence_of_the_primary_s_labels_by_each_model_s_features(suite, primary):
    others = [name for name in suite.names if name != primary]
    scores, asked = scored("logme", suite, primary=primary, auxiliaries=others, target_rows=24)
    maker, p, _ = parameters_of("logme", suite, primary=primary, auxiliaries=others, target_rows=24)
    rows = maker.rows(asked, p, 0)
    assert len(rows) == 24
    assert not set(rows) & set(arm_plans.holdout(suite, primary, 0.2, 0)[1])
    labels = np.array(suite[primary].train.select(rows.tolist())[suite[primary].label][:], float)
    columns = [labels == label for label in (0, 1)] if suite[primary].labels else [labels]
    for name, plan in maker.plans(asked, p, 0).items():
        model = pass_store.load_model(training_cache.trained(plan, suite).manifest, plan, suite)
        with torch.no_grad():
            features = model(batch_of(model, suite, primary, rows)).features.numpy()
        evidence = logme.log_evidence(features, np.array(columns, float).T)
        assert scores[name] == pytest.approx(np.mean(evidence), rel=5e-3)  # features are kept in fp16
    assert set(scores) == set(others)


@pytest.mark.parametrize(("rows", "width"), [(40, 5), (12, 12), (9, 14)])
def test_log_evidence_is_the_maximum_of_the_marginal_likelihood(rows, width):
    """By scipy: y is normal with covariance F F' / a + I / b; the best of many starts is what is found."""
    from scipy.optimize import minimize
    from scipy.stats import multivariate_normal

    draw = np.random.default_rng(rows)
    features = draw.normal(size=(rows, width))
    targets = np.stack([features @ draw.normal(size=width) + draw.normal(size=rows), draw.normal(size=rows)], 1)

    def marginal(precisions, y):
        a, b = np.exp(precisions)
        return multivariate_normal.logpdf(y, cov=features @ features.T / a + np.eye(rows) / b) / rows

    found = logme.log_evidence(features, targets)
    for at in range(2):
        best = max(-minimize(lambda at_, y=targets[:, at]: -marginal(at_, y), start, method="Nelder-Mead",
                             bounds=[(-12, 12)] * 2).fun for start in ([0, 0], [3, 0], [0, 3]))  # fmt: skip
        assert found[at] == pytest.approx(best, abs=2e-3)
    if rows > width:  # else the code's number is no evidence, and may be higher
        assert (logme.log_evidence(features, targets, "code") <= found + 1e-9).all()


@pytest.mark.parametrize(("rows", "width"), [(40, 5), (12, 12), (9, 14)])
def test_log_evidence_by_the_code_is_that_of_its_updates_in_matrices(rows, width):
    """The authors' updates over whole matrices; their determinant is that of the directions that rows have."""
    draw = np.random.default_rng(rows)
    features = draw.normal(size=(rows, width))
    y = features @ draw.normal(size=width) + draw.normal(size=rows)
    gram, a, b = features.T @ features, 1.0, 1.0
    values = np.linalg.eigvalsh(gram)[-min(rows, width) :]
    for _ in range(11):
        weights = b * np.linalg.solve(a * np.eye(width) + b * gram, features.T @ y)
        length, residual = weights @ weights, ((y - features @ weights) ** 2).sum()
        gamma, before = (values / (values + a / b)).sum(), a / b
        a, b = gamma / (length + 1e-5), (rows - gamma) / (residual + 1e-5)
        if abs(a / b - before) / before <= 1e-3:
            break
    twice = width * np.log(a) + rows * np.log(b / (2 * np.pi)) - np.log(a + b * values).sum()
    by_hand = (twice - b * residual - a * length) / 2 / rows
    assert logme.log_evidence(features, y[:, None], "code") == pytest.approx(by_hand, rel=1e-6)


def test_surrogate_is_a_ridge_regression_over_short_trainings_with_sets_of_tasks(suite):
    from sklearn.linear_model import Ridge

    p, asked = told("surrogate", suite, ridge=0.3, stage2_epochs=5, choose="last")
    chosen = p.method.select(asked, asked.cell, p.options(p.method))
    sets = [tasks for tasks, _ in chosen.visited]
    assert sets == [(), ("topic_name", "away_topic"), ("topic_name", "side_share"), ("away_topic", "side_share")]
    assert len(asked.trials) == 4
    values = [score for _, score in chosen.visited]
    design = [[name in tasks for name in NAMES] for tasks in sets]
    assert list(chosen.why["scores"].values()) == pytest.approx(Ridge(alpha=0.3).fit(design, values).coef_)
    plan = p.method.trial(asked, asked.cell, p.options(p.method), ranking.draw(asked.pool(), sets[1], 12, 0))
    assert [(phase.name, phase.epochs, phase.looks) for phase in plan.phases] == [("stage2", 1, 0), ("tune", 1, 1)]
    assert len(plan.holdout) == 8
    assert training_cache.trained(plan, suite).looks["score"].tolist() == [values[1]]
    assert len(training_cache.trained(plan, suite).steps) < 20


def test_sets_are_distinct_and_have_each_task_about_equally_often():
    names = [f"t{i}" for i in range(8)]
    for seed in range(3):
        drawn = surrogate.subsets(names, 16, 3, seed)
        assert len(set(drawn)) == 16
        assert all(len(set(tasks)) == 3 and list(tasks) == sorted(tasks) for tasks in drawn)
        often = [sum(name in tasks for tasks in drawn) for name in names]
        assert max(often) - min(often) <= 2
        assert drawn == surrogate.subsets(names, 16, 3, seed)
    assert surrogate.subsets(names, 16, 3, 0) != surrogate.subsets(names, 16, 3, 1)
    assert len(surrogate.subsets(names, 60, 3, 0)) == 56
    assert surrogate.subsets(["a"], 4, 3, 0) == [("a",)]
    assert surrogate.subsets(["a", "b"], 4, 3, 0) == [("a",), ("b",)]


def test_what_tasks_add_is_found_where_it_is_additive():
    names, worth = ["a", "b", "c", "d"], {"a": 0.1, "b": -0.2, "c": 0.0, "d": 0.05}
    sets = [(), *surrogate.subsets(names, 6, 2, 0)]
    tried = [(tasks, 0.6 + sum(worth[name] for name in tasks)) for tasks in sets]
    assert surrogate.added(names, tried, 1e-9) == pytest.approx(worth, abs=1e-6)
    drawn_to_0 = surrogate.added(names, tried, 10.0)
    assert all(abs(drawn_to_0[name]) < abs(worth[name]) for name in ("a", "b"))
    assert surrogate.added(["a"], [((), 0.5), (("a",), 0.7)], 1e-9) == pytest.approx({"a": 0.2})


def test_tag_affinity_is_the_share_of_the_primary_s_loss_that_a_step_takes_away(suite):
    scores, asked = scored("tag_affinity", suite, look_rate=0.05)
    maker, p, _ = parameters_of("tag_affinity", suite, look_rate=0.05)
    by_hand = dict.fromkeys(NAMES, 0.0)
    plans = maker.plans(asked, p, 0)
    assert [plan.phases[0].epochs for plan in plans] == [1, 2]
    held = arm_plans.holdout(suite, "topic_side", 0.2, 0)[1]
    assert not set(plans[0].phases[0].rows["topic_side"]) & set(held)
    for epoch, plan in enumerate(plans):
        manifest = training_cache.trained(plan, suite).manifest
        rows = maker.looked(asked, p, 0, plan, epoch)
        for name in NAMES:
            for number in (slice(0, 8), slice(8, 16)):
                model = pass_store.load_model(manifest, plan, suite)
                before = float(loss(model, suite, "topic_side", rows["topic_side"][number]))
                optimiser = torch.optim.SGD(model.encoder.parameters(), 0.05)
                loss(model, suite, name, rows[name][number]).backward()
                optimiser.step()
                after = float(loss(model, suite, "topic_side", rows["topic_side"][number]))
                by_hand[name] += (1 - after / before) / 4
    assert scores == pytest.approx(by_hand, rel=1e-2, abs=1e-5)
    assert min(map(abs, scores.values())) > 0


def test_a_step_on_the_target_s_own_batch_helps_and_leaves_the_model_as_found(suite):
    model = multitask.build("tiny", suite, 0).eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    own = [batch_of(model, suite, "topic_side", range(8))]
    assert tag_affinity.affinities(model, {"topic_side": own}, own, 0.1)[0, 0] > 0
    assert tag_affinity.affinities(model, {"topic_side": own}, own, 0.0).tolist() == [[0.0]]
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


def test_a_tagging_primary_has_no_labels_to_tell(planted, suite):
    tagging = Suite("tags", {name: planted.capped(20)[name] for name in ("word_class", "topic_name")}, "tags-20")
    p = asking.arm("logme", **GIVEN | {"primary": "word_class", "auxiliaries": ["topic_name"]})
    with pytest.raises(InputError, match=r"primary 'word_class' is a tagging task.*take taskemb or textemb"):
        asking.selected(p, tagging, 0, asking.everything(tagging))


# --- cost ------------------------------------------------------------------------------------------------------------

STAGES = {
    "textemb": {"embedding"}, "taskemb": {"task_tuning", "fisher"}, "logme": {"task_tuning", "targeting"},
    "surrogate": {"trial"}, "tag_affinity": {"joint_training", "lookahead"},
}  # fmt: skip


@pytest.mark.parametrize("name", SCORES)
def test_it_costs_what_was_forecast_and_takes_n_rows(name, suite):
    p = asking.arm(name, **GIVEN)
    selection, asked = asking.selected(p, suite, 0, asking.everything(suite))
    assert len(selection.rows) == 12
    assert set(selection.why["scores"]) == set(NAMES)
    assert selection.rows["score"].notna().all()
    net = multitask.build("tiny", suite)
    sizes = forecasting.Sizes(counting.tokens(suite, net.tokenizer, 128), net.encoder.config, "measured")
    forecast, most = {}, {}
    for charge in forecasting.SizedContext(sizes, p, 0).choosing(p.method):
        forecast[charge.stage] = forecast.get(charge.stage, 0.0) + charge.expected
        most[charge.stage] = most.get(charge.stage, 0.0) + charge.most
    assert set(forecast) == STAGES[name]
    ledgers = [*asked.needed(), *asked.searched()]
    spent = {stage: sum(row.flops for row in ledgers if row.stage == stage) for stage in forecast}
    if not p.method.searches(p.options(p.method)):  # else which rows are trained is not known
        assert spent == {stage: pytest.approx(flops, rel=0.01) for stage, flops in forecast.items()}
    assert all(0 < spent[stage] <= most[stage] for stage in forecast)
    assert sum(spent.values()) == sum(row.flops for row in ledgers)


def test_no_notebook_is_read(suite):
    for name in SCORES:
        assert parameters.validate("06_mtl", {"arm": name}).needs() == []
        assert "task_scores" in " ".join(parameters.validate("06_mtl", {"arm": name}).code_roots())


@pytest.mark.parametrize("name", SCORES)
def test_an_auxiliary_that_leaks_away_wholly_is_not_taken_and_stops_nothing(suite, name):
    mask = asking.everything(suite)
    mask["away_topic"][:] = False
    chosen, _ = asking.selected(asking.arm(name, **GIVEN | {"top_tasks": 2}), suite, 0, mask)
    assert sorted(chosen.tasks) == ["side_share", "topic_name"]
    assert chosen.why["unmeasured"] == ["away_topic"]
    assert len(chosen.rows) == 12


def test_logme_refuses_rows_of_one_label(suite):
    mask = asking.everything(suite)
    mask["topic_side"] = np.array(suite["topic_side"].train[suite["topic_side"].label][:]) == 1
    with pytest.raises(InputError, match="have one label, which any features tell; raise target_rows"):
        asking.selected(asking.arm("logme", **GIVEN), suite, 0, mask)
