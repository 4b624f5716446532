"""Choices against a known truth: classes of rows, shares, AUC and agreement with what tasks are worth, by hand."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import spearmanr

from auxlearn.data import auxiliary_rows, row_texts
from auxlearn.errors import InputError
from auxlearn.methods import context, ranking, registry
from auxlearn.methods.base import Method, Selection
from auxlearn.methods.context import Context
from auxlearn.methods.scores import dsir
from auxlearn.methods.scores.base import target_table
from auxlearn.reporting import judged_choices, validity
from auxlearn.studies import forecasts, graph, headlines, parameters
from auxlearn.studies.validity import Validity

AUXILIARIES = ["topic_name", "topic_mixed", "look_alike"]


class ByTruth(Method):
    """Scores rows by whether they help, a little by their place: so the best come first, or last."""

    name, title, scores, cost, use = "by_truth", "rows that help", "rows", "nothing", "in tests"
    sign = 1

    def select(self, context, cell, options):
        pool = context.pool()
        scores = self.sign * pool["helpful"].to_numpy(float) - 1e-6 * np.arange(len(pool))
        return Selection(ranking.table(pool.drop(columns="helpful"), ranking.top_n(scores, cell.n), scores))


class Against(ByTruth):
    name, sign = "against", -1


class ByTask(Method):
    """Takes one task; of another it has no score."""

    name, title, level, scores, cost, use = "by_task", "a task", "tasks", "tasks", "nothing", "in tests"

    def select(self, context, cell, options):
        rows = ranking.draw(context.pool(), ("topic_name",), cell.n, cell.seed)
        return Selection(rows, ("topic_name",), why={"taus": {"topic_name": 0.9, "look_alike": 0.1}})


class Nothing(Method):
    name, title, level, cost, use = "nothing", "no rows", "tasks", "nothing", "in tests"

    def select(self, context, cell, options):
        return Selection()


def opened(p, suite, upstream=()):
    """A session as 08 opens it, with no run and no workers."""
    context = lambda seed: Context(suite, p, seed)  # noqa: E731
    contexts = lambda: {seed: context(seed) for seed in p.seeds}  # noqa: E731
    return SimpleNamespace(
        params=p, suite=suite, upstream=list(upstream), progress=None, context=context, contexts=contexts
    )


@pytest.fixture
def board(small, monkeypatch):
    for method in (ByTruth(), Against(), ByTask(), Nothing()):
        monkeypatch.setitem(registry._METHODS, method.name, method)
    names = ["random", "by_truth", "against", "by_task", "nothing"]
    p = Validity(auxiliaries=AUXILIARIES, n=60, selectors=names, rows=80, keep_leaks=True).resolved()
    return opened(p, small)


class Longest(ByTruth):
    """Takes the rows of the most words, whatever they say."""

    name = "longest"

    def select(self, context, cell, options):
        pool = context.pool()
        lengths = np.array([len(text.split()) for text in row_texts.stream(context.suite, pool)], float)
        return Selection(ranking.table(pool, ranking.top_n(lengths, cell.n), lengths))


def test_many_words_are_no_nearness_to_the_primary(small, monkeypatch):
    """Against as many random rows the longest would be nearest, as they lack fewest words."""
    for method in (ByTruth(), Longest()):
        monkeypatch.setitem(registry._METHODS, method.name, method)
    p = Validity(auxiliaries=AUXILIARIES, n=60, selectors=["by_truth", "longest"], rows=80, keep_leaks=True).resolved()
    board = opened(p, small)
    kl = judged_choices.judge(board).rows.set_index(["method", "seed"])["kl"].unstack("seed").mean(axis=1)
    asked = Context(small, p.arms[1], 0)
    chosen = context.choose(asked).rows
    pool, own = asked.pool(), target_table(asked, asked.cell, 0)
    target, every, longest = (dsir.counts(row_texts.stream(small, table)) for table in (own, pool, chosen))
    order = asked.rng("sample", "kl", "0").permutation(len(pool))
    as_many_rows = dsir.kl_reduction(target, every[order[:60]], longest)
    assert longest.sum() > 1.1 * every[order[:60]].sum()
    assert kl["longest"] < as_many_rows
    assert kl["by_truth"] > kl["longest"]


def test_shares_and_auc_of_methods_whose_choice_is_known(board, small):
    choices = judged_choices.judge(board)
    rows, tasks = choices.rows, choices.tasks
    pool = judged_choices.pool_shares(board)
    helpful = {name: np.mean(small[name].train["helpful"][:]) for name in AUXILIARIES}
    assert (helpful["topic_name"], helpful["look_alike"]) == (1, 0)
    assert pool.to_dict() == pytest.approx(
        {"helpful": np.mean([*helpful.values()]), "unrelated": 1 - np.mean([*helpful.values()])}
    )
    mean = rows.groupby("method")[["rows", "helpful", "unrelated", "auc"]].mean()
    assert mean.loc["by_truth"].tolist() == [60, 1, 0, 1]
    assert mean.loc["against"].tolist() == [60, 0, 1, 0]
    assert mean.loc["by_task", ["rows", "helpful"]].tolist() == [60, 1]
    # Rows of topic_name are scored above those of look_alike, and those of topic_mixed not at all.
    assert mean.loc["by_task", "auc"] == 1
    assert np.isnan(mean.loc["random", "auc"])
    assert abs(mean.loc["random", "helpful"] - pool["helpful"]) < 0.2
    assert mean.loc["nothing", "rows"] == 0
    assert mean.loc["nothing", ["helpful", "unrelated", "auc"]].isna().all()
    assert (rows["TFLOP"] == 0).all()
    # Words of the primary's topic are what helpful rows of the planted suite have.
    kl = rows.groupby("method")["kl"].mean()
    assert kl["by_truth"] > kl["random"]
    assert kl["against"] < -0.2
    assert np.isnan(kl["nothing"])
    scores = tasks[tasks["seed"] == 0].pivot(index="method", columns="task", values="score").round(3)
    assert scores.loc["by_task"].to_dict() == {"topic_name": 0.9, "topic_mixed": 0.1, "look_alike": 0.1}
    assert set(scores.loc["nothing"]) == {0.0}
    assert scores.loc["by_truth", "topic_name"] == pytest.approx(3, abs=1e-3)  # all 60 are of a third of the pool


def test_methods_that_train_in_order_to_choose_cost_what_was_forecast(tmp_path, small):
    """With `trials`. A search is not made again for the order of all rows; every ledger's FLOPs are in the price."""
    study = {
        "study": "s",
        "base": {"suite": "planted", "primary": "topic_side", "size": "full", "rows": 80, "precision": "fp32",
                 "threads": 1, "device": "cpu", "seeds": [0]},
        "stages": ["08_validity"],
        "notebooks": {"04_gradts_correlation": {"tune_rows": 20, "importance_rows": 20, "epochs": 1},
                      "08_validity": {"selectors": ["surrogate", "autosem", "gradts_trial", "gradts_fg"], "n": 60,
                                      "stage2_epochs": 1, "tune_epochs": 1, "choose": "last"}},
        "methods": {"surrogate": {"subsets": 3, "subset_tasks": 1}, "gradts": {"trial_most": 2, "trial_patience": 2},
                    "autosem": {"bandit_rounds": 6, "bandit_batches": 2, "ratio_trials": 5}},
    }  # fmt: skip
    path = tmp_path / "s.yaml"
    path.write_text(yaml.safe_dump(study))
    price, cells = forecasts.price(path), graph.load(path).cells
    (p,) = (cell.params for cell in cells if cell.stage == "08_validity")
    by_stage = dict(zip([cell.stage for cell in cells], forecasts.by_cell(path, cells), strict=True))
    assert by_stage["08_validity"] == pytest.approx(price.total[["trial", "bandit"]].sum())
    assert by_stage["04_gradts_correlation"] == pytest.approx(price.total[["task_tuning", "importance"]].sum())
    choices = judged_choices.judge(opened(p, small, [cells[0].params]))
    units = {unit.label: unit for unit in choices.units}
    spent = sum(row["flops"] for unit in units.values() for row in unit.data["ledger"])
    assert spent <= price.most
    assert price.total.sum() == pytest.approx(spent, rel=0.25)
    assert choices.rows["TFLOP"].sum() * 1e12 > spent  # methods share trainings, and each is charged for all of its own


def test_agreement_with_what_each_task_is_worth(board):
    tasks = judged_choices.judge(board).tasks
    truth = {"topic_name": 0.8, "topic_mixed": 0.7, "look_alike": 0.6}
    agreed = validity.agreements(tasks, truth)
    first = agreed[agreed["seed"] == 0].set_index("method")
    assert first.loc["by_task", ["tau", "regret"]].tolist() == pytest.approx([2 / np.sqrt(6), 0.0])
    assert first.loc["nothing", "regret"] == pytest.approx(0.1)  # any task may come first: (0 + 0.1 + 0.2) / 3
    assert first.loc["against", "regret"] > 0.05
    assert first.loc["nothing", "regret_2"] == pytest.approx(
        0.1 / 3
    )  # the best is among two of three in two orders of three
    assert first.loc["by_task", "regret_2"] == 0
    for few in ({}, {"topic_name": 0.8, "topic_mixed+look_alike": 0.7}):  # one task has no order
        assert validity.agreements(tasks, few).empty


def test_the_oracle_is_the_mean_score_of_each_auxiliary_alone():
    def run(task, *scores, arm="only"):
        seeds = {str(i): {"dev": {"accuracy": score}} for i, score in enumerate(scores)}
        params = {"arm": arm, "methods": {"only": {"task": task}}}
        return SimpleNamespace(stage="06_mtl", params=params, metrics={"seeds": seeds})

    inputs = [SimpleNamespace(stage="03_ranking"), run("a", 0.5, 0.7), run("b", 0.9, 0.8), run("c", 0.1, arm="single")]
    assert validity.oracle(inputs, "accuracy") == pytest.approx({"a": 0.6, "b": 0.85})
    worth = validity.worth(inputs, "accuracy", 0.95)
    assert worth.index.tolist() == ["b", "a"]
    assert worth["mean"].tolist() == pytest.approx([0.85, 0.6])
    assert (worth["seeds"] == 2).all()
    assert (worth["low"] < worth["mean"]).all()
    assert validity.worth([], "accuracy", 0.95).empty


def test_sets_are_foretold_by_sums_of_scores_and_choices_held_against_the_best_set():
    """Two tasks of 60 rows and one of 120; 90 rows of each set, so that a task's share is that of its rows."""
    sizes = pd.Series({"a": 60, "b": 60, "c": 120})
    truth = {"a": 0.9, "b": 0.6, "c": 0.5, "b+a": 0.8, "a+c": 0.7, "b+c": 0.55, "a+b+c": 0.65}
    rows = [{"method": m, "seed": 0, "tasks": tasks} for m, tasks in
            (("right", "a+b"), ("wrong", "c"), ("rows", ""), ("odd", "a+c+d"), ("some", "a"))]  # fmt: skip
    scores = {"right": (9, 6, 5), "wrong": (5, 6, 9), "rows": (0.9, 0.6, 0.5), "odd": (np.nan,) * 3, "some": (1, 0, 0)}
    tasks = [{"method": m, "seed": 0, "task": t, "mean": s} for m, own in scores.items()
             for t, s in zip("abc", own, strict=True)]  # fmt: skip
    made = validity.set_scores(judged_choices.Choices(pd.DataFrame(rows), pd.DataFrame(tasks), [], sizes), truth, 90)
    made = made.set_index("method")
    taken = {"a": (60, 0, 0), "b": (0, 60, 0), "c": (0, 0, 90), "b+a": (45, 45, 0), "a+c": (30, 0, 60),
             "b+c": (0, 30, 60), "a+b+c": (22.5, 22.5, 45)}  # fmt: skip
    for name in ("right", "wrong", "some"):
        sums = [np.dot(taken[which], scores[name]) for which in truth]
        assert made.loc[name, "lds"] == pytest.approx(spearmanr(sums, list(truth.values())).statistic)
    assert made.loc["rows", "lds"] == pytest.approx(made.loc["right", "lds"])
    assert np.isnan(made.loc["odd", "lds"])
    assert made["worth"].fillna(-1).tolist() == [0.8, 0.5, -1, -1, 0.9]
    assert made["regret"].fillna(-1).tolist() == pytest.approx([0.1, 0.4, -1, -1, 0.0])
    assert validity.set_scores(judged_choices.Choices(pd.DataFrame(rows), pd.DataFrame(tasks), [], sizes), {}, 90).empty


def test_methods_tell_the_set_that_they_chose_and_what_their_rows_score(board):
    choices = judged_choices.judge(board)
    chosen = choices.rows[choices.rows["seed"] == 0].set_index("method")["tasks"]
    assert chosen.to_dict() == dict.fromkeys(chosen.index, "") | {"by_task": "topic_name"}
    means = choices.tasks[choices.tasks["seed"] == 0].pivot(index="method", columns="task", values="mean")
    assert means.loc["by_task"].to_dict() == {"topic_name": 0.9, "topic_mixed": 0.1, "look_alike": 0.1}
    assert means.loc["by_truth", ["topic_name", "look_alike"]].tolist() == pytest.approx([1, 0], abs=1e-3)
    assert means.loc[["random", "nothing"]].isna().all(axis=None)
    assert choices.sizes.to_dict() == dict.fromkeys(AUXILIARIES, 80)


def test_the_oracle_s_seeds_bound_what_can_be_foretold():
    def run(task, *scores):
        seeds = {str(i): {"dev": {"accuracy": score}} for i, score in enumerate(scores)}
        return SimpleNamespace(
            stage="06_mtl", params={"arm": "only", "methods": {"only": {"task": task}}}, metrics={"seeds": seeds}
        )

    inputs = [run("a", 0.1, 0.3, 0.5), run("b", 0.2, 0.1, 0.2), run("a+b", 0.9, 0.2, 0.9)]
    r = np.mean([spearmanr(*pair).statistic for pair in (
        ([0.1, 0.2, 0.9], [0.3, 0.1, 0.2]), ([0.1, 0.2, 0.9], [0.5, 0.2, 0.9]), ([0.3, 0.1, 0.2], [0.5, 0.2, 0.9]),
    )])  # fmt: skip
    assert validity.ceiling(inputs, "accuracy") == pytest.approx(np.sqrt(3 * r / (1 + 2 * r)))
    assert np.isnan(validity.ceiling(inputs[:1], "accuracy"))
    # A seed in which every set gave the same says nothing; one that not all sets have is left out.
    same = [run("a", 0.1, 0.5, 0.1), run("b", 0.2, 0.5, 0.3, 0.9), run("a+b", 0.9, 0.5, 0.7)]
    assert validity.ceiling(same, "accuracy") == pytest.approx(1)
    assert np.isnan(validity.ceiling([run("a", 0.1, 0.5), run("b", 0.2, 0.5)], "accuracy"))
    assert np.isnan(validity.ceiling([run("a", 0.1), run("b", 0.2)], "accuracy"))


def test_the_ceiling_is_what_the_truth_itself_would_reach():
    """Of 200 sets with as much noise in a seed as there is signal; the halves' own agreement would say some 0.55."""
    rng = np.random.default_rng(0)
    worth = rng.normal(size=200)
    scores = worth[:, None] + rng.normal(size=(200, 3))
    inputs = [
        SimpleNamespace(
            stage="06_mtl", params={"arm": "only", "methods": {"only": {"task": f"t{at}"}}},
            metrics={"seeds": {str(seed): {"dev": {"accuracy": value}} for seed, value in enumerate(values)}},
        )
        for at, values in enumerate(scores)
    ]  # fmt: skip
    reached = spearmanr(worth, scores.mean(1)).statistic
    assert validity.ceiling(inputs, "accuracy") == pytest.approx(reached, abs=0.04)


def test_tenths_of_a_ranking_are_shown_from_the_best():
    def run(of, part, *scores, arm="decile"):
        keys = {"methods": {arm: {"of": of, "part": part, "parts": 10}, of: {}}}
        seeds = {str(i): {"dev": {"accuracy": score}} for i, score in enumerate(scores)}
        return SimpleNamespace(stage="06_mtl", params={"arm": arm}, key_params=keys, metrics={"seeds": seeds})

    made = validity.by_decile(
        [run("dsir", 2, 0.6, 0.8), run("dsir", 1, 0.9, 0.7), run("td_bce", 10, 0.5), run("x", 1, 0.1, arm="only")],
        "accuracy", 0.95,
    )  # fmt: skip
    assert made[["method", "decile", "score", "seeds"]].to_numpy().tolist() == [
        ["dsir", 1, 0.8, 2], ["dsir", 2, 0.7, 2], ["td_bce", 10, 0.5, 1]
    ]  # fmt: skip
    assert made["high"].fillna(-1).tolist() == pytest.approx([0.8 + 12.7062 * 0.1, 0.7 + 12.7062 * 0.1, -1], abs=1e-3)


def test_over_seeds_leaves_out_seeds_without_a_value():
    table = pd.DataFrame({"method": ["a", "a", "a", "b", "b"], "auc": [0.5, 0.7, np.nan, np.nan, 0.4]})
    made = validity.over_seeds(table, "auc", 0.95)
    assert made.loc["a", ["mean", "seeds"]].tolist() == pytest.approx([0.6, 2])
    assert made.loc["a", ["low", "high"]].tolist() == [0, 1]  # 0.6 +- 1.27 by t, cut at where an AUC ends
    cut = validity.over_seeds(table.assign(tau=-table["auc"]), "tau", 0.95)
    assert cut.loc["a", "low"] == -1
    assert cut.loc["a", "high"] == pytest.approx(-0.6 + 12.7062 * 0.1, abs=1e-3)  # t of one degree of freedom
    free = validity.over_seeds(table.assign(regret=table["auc"]), "regret", 0.95)
    assert free.loc["a", "high"] == pytest.approx(0.6 + 12.7062 * 0.1, abs=1e-3)
    assert made.loc["b", ["mean", "seeds"]].tolist() == [0.4, 1]
    assert made.loc["b", ["low", "high"]].isna().all()
    shares = pd.DataFrame({"twin": [0.6, 0.4], "shuffled": [0.1, np.nan]}, ["a", "b"])
    record = validity.board(made, made, pd.Series({"a": 1.0, "b": 2.0}), shares, pd.Series({"a": 0.5}))
    assert record["b"] == {
        "mean": 0.4, "low": None, "high": None, "seeds": 1, "auc": 0.4, "TFLOP": 2.0,
        "kl": None, "shares": {"twin": 0.4, "shuffled": None},
    }  # fmt: skip
    shown = headlines.headline("08_validity", {"class": "twin", "pool": 0.2, "found": record})
    assert (shown.name, shown.text) == ("share of twin rows, a", "0.600")


def test_rows_of_twins_are_known_by_their_task(small):
    def twin(of, shuffled=False, name="topic_side"):
        return SimpleNamespace(name=name, twin_of=of, shuffled=shuffled)

    tasks = {"a": twin("p"), "b": twin("p", True), "c": twin(None), "d": twin("c")}
    suite = SimpleNamespace(name="s", __getitem__=None)
    suite = type("Of", (dict,), {"name": "s"})(tasks)
    known = judged_choices.classes(suite, "p", pd.DataFrame({"task": ["a", "b", "c", "d", "a"]}))
    assert known.tolist() == ["twin", "shuffled", "other", "other", "twin"]
    with pytest.raises(InputError, match=r"nothing is known of the rows that may help 'q'.*twin_of: q"):
        judged_choices.classes(suite, "q", pd.DataFrame({"task": ["a", "c"]}))
    pool = auxiliary_rows.pool(small, ["topic_name", "away_topic"])
    classes = judged_choices.classes(small, "topic_side", pool)
    assert classes.value_counts().to_dict() == {"helpful": 80, "unrelated": 80}


# --- parameters --------------------------------------------------------------------------------------------------


def test_a_method_is_on_the_board_by_being_registered(monkeypatch):
    names = [arm.arm for arm in Validity(selectors=[]).arms]
    assert {"random", "td_bce", "gradts_top", "quota_ce"} < set(names)
    assert not {"single", "all_data", "only", "cie_td_bce", "matched_td_bce", "gradts_trial", "autosem"} & set(names)
    assert {"gradts_trial", "autosem"} < {arm.arm for arm in Validity(selectors=[], trials=True).arms}
    monkeypatch.setitem(registry._METHODS, "by_truth", ByTruth())
    p = Validity(selectors=[])
    assert [arm.arm for arm in p.arms] == [*names, "by_truth"]
    assert p.key_params() == Validity(selectors=[*names, "by_truth"]).key_params()
    assert p.key_params() != Validity(selectors=names).key_params()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"selectors": ["td_bec"]}, "'td_bec' is no method that chooses; did you mean 'td_bce'"),
        ({"selectors": ["single"]}, "'single' is no method that chooses"),
        ({"selectors": ["random", "random"]}, "names one twice"),
        ({"oracle": ["look_alike"]}, "two auxiliaries, or sets of them, or more"),
        ({"oracle": ["look_alike+topic_name", "topic_name+look_alike", "word_class"]}, "each once"),
        ({"deciles": ["random"]}, "'random' gives rows no scores"),
        ({"methods": {"td_bce": {"no": 1}}}, "no"),
    ],
)
def test_parameters_that_do_not_fit_are_named(given, message):
    with pytest.raises(InputError, match=message):
        parameters.validate("08_validity", given)


def test_a_study_reads_the_runs_of_its_oracle_and_those_of_its_methods(tmp_path):
    study = {
        "study": "s",
        "base": {"suite": "planted", "primary": "topic_side", "size": "full", "seeds": [0, 1], "rows": 80},
        "grid": {"arm": ["only"], "n": [40], "methods.only.task": ["topic_name", "look_alike", "away_topic"]},
        "stages": ["06_mtl", "08_validity"],
        "notebooks": {"08_validity": {"selectors": ["random", "td_bce"], "oracle": ["topic_name", "look_alike"]}},
    }  # fmt: skip
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    cells = graph.load(tmp_path / "s.yaml").cells
    (board,) = (cell for cell in cells if cell.stage == "08_validity")
    alone = [cell.params.methods["only"]["task"] for cell in board.reads if cell.stage == "06_mtl"]
    assert alone == ["topic_name", "look_alike"]
    assert {cell.stage for cell in board.reads} == {"03_ranking", "06_mtl"}
    assert sum(cell.stage == "06_mtl" for cell in cells) == 3


def test_a_study_reads_the_runs_of_sets_and_of_tenths(tmp_path):
    """One cell per tenth, whatever n; options of the method that ranks are in its key, and so in what 08 asks for."""
    sets = ["topic_name", "topic_name+look_alike"]
    study = {
        "study": "s",
        "base": {"suite": "planted", "primary": "topic_side", "size": "full", "seeds": [0], "rows": 80},
        "grid": {"arm": ["decile"], "n": [40], "methods.decile.of": ["dsir"], "methods.decile.part": [*range(1, 11)]},
        "methods": {"dsir": {"resample": False}},
        "stages": ["06_mtl", "08_validity"],
        "notebooks": {"08_validity": {"selectors": ["random"], "oracle": sets, "deciles": ["dsir"]}},
    }  # fmt: skip
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    cells = graph.load(tmp_path / "s.yaml").cells
    (board,) = (cell for cell in cells if cell.stage == "08_validity")
    read = [cell.params for cell in board.reads]
    assert [p.methods["only"]["task"] for p in read if p.arm == "only"] == sets
    assert [p.methods["decile"]["part"] for p in read if p.arm == "decile"] == [*range(1, 11)]
    assert sum(cell.stage == "06_mtl" for cell in cells) == 12
    plain = parameters.validate("08_validity", {})
    assert "deciles" not in plain.key_params()
    assert parameters.validate("08_validity", {"deciles": ["td_bce"]}).key_params() != plain.key_params()


def test_options_of_a_method_that_is_not_judged_are_not_looked_at():
    """The authors' rule wants 11 trials or more, which matters only where the search is run."""
    few = {"autosem": {"autosem_rule": "paper", "ratio_trials": 3}}
    assert "autosem" not in {arm.arm for arm in Validity(selectors=[], methods=few).arms}
    with pytest.raises(ValueError, match="ratio_trials: 3 trials would all be drawn at random"):
        Validity(selectors=[], trials=True, methods=few)
