"""Pairs of arms: which are compared, and the authors' test over sentences beside the corpus metric."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import ttest_rel

from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.evaluation import metrics, stats
from auxlearn.methods import pairs_of_arms, registry
from auxlearn.reporting import comparison
from auxlearn.studies import parameters

LABELS = ("O", "B-X", "I-X")


def tagging(metric="entity_f1"):
    return suites.Task("t", "tagging", ("tokens",), "tags", LABELS, None, metric, (metric,), None, None, None)


def arm(folder, name, predictions, gold, task, seeds=(0, 1)):
    """A finished run of one arm with these sentences predicted, one list a seed; metrics as a manifest sorts them."""
    path = folder / f"{name}.npz"
    flat = lambda rows: np.concatenate([np.asarray(r, np.int64) for r in rows])  # noqa: E731
    np.savez(path, predictions=np.stack([flat(p) for p in predictions]), references=flat(gold),
             lengths=[len(g) for g in gold])  # fmt: skip
    dev = [{task.metric: metrics.FUNCTIONS[task.metric](p, gold, LABELS)} for p in predictions]
    by_seed = {str(s): {"dev": score, "step": 1, "added": 0} for s, score in zip(seeds, dev, strict=True)}
    params, metered = {"arm": name, "seeds": list(seeds)}, {"seeds": dict(sorted(by_seed.items()))}
    return SimpleNamespace(params=params, metrics=metered, path=lambda _: path)


def test_the_sentence_test_is_the_authors_and_may_contradict_the_corpus(tmp_path):
    """One long sentence right and three short ones wrong: more entities found, a lower mean over sentences."""
    gold = [[1, 0] * 5, [1], [1], [1]]
    long = [[1, 0] * 5, [0], [0], [0]]
    short = [[0] * 10, [1], [1], [0]]
    task = tagging()
    arms = [arm(tmp_path, "a", [long, short], gold, task), arm(tmp_path, "b", [short, short], gold, task)]
    table = comparison.sentence_tests(arms, [("a", "b")], task)
    assert list(table.index) == [("a", "b", 0), ("a", "b", 1)]
    first = table.loc[("a", "b", 0)]
    assert first["difference"] == pytest.approx(-0.25)
    assert first["corpus"] > 0
    assert first["p"] == pytest.approx(ttest_rel([1, 0, 0, 0], [0, 1, 1, 0]).pvalue)
    assert table.loc[("a", "b", 1), "p"] == 1  # the same model twice
    assert comparison.sentence_tests(arms, [], task).empty  # a study without pairs of arms to tell apart


def test_predictions_are_those_of_their_seed_whatever_order_text_puts_seeds_in(tmp_path):
    """Accuracy of sentences of one token each is the mean over sentences: both differences are one number."""
    task, gold, right, half = tagging("accuracy"), [[1], [1]], [[1], [1]], [[1], [0]]
    arms = [
        arm(tmp_path, "a", [right, half], gold, task, (9, 10)),
        arm(tmp_path, "b", [half, right], gold, task, (9, 10)),
    ]
    table = comparison.sentence_tests(arms, [("a", "b")], task)
    assert table["difference"].to_dict() == {("a", "b", 9): 0.5, ("a", "b", 10): -0.5}
    assert table["corpus"].to_dict() == table["difference"].to_dict()


def test_a_sentence_s_score_is_its_own_metric():
    task, gold = tagging(), [[1, 2, 0], [0, 0], [0, 0]]
    assert metrics.by_row(task, [[1, 2, 0], [0, 0], [1, 0]], gold).tolist() == [1, 0, 0]  # a made-up entity costs none
    assert metrics.by_row(tagging("accuracy"), [[1, 2, 1], [0, 0], [1, 0]], gold).tolist() == pytest.approx(
        [2 / 3, 1, 0.5]
    )
    pair = suites.Task(
        "p", "classification", ("x",), "y", ("n", "p"), None, "accuracy", ("accuracy",), None, None, None
    )
    assert metrics.by_row(pair, np.array([0, 1]), np.array([0, 0])).tolist() == [1, 0]
    graded = suites.Task("g", "regression", ("x",), "y", None, (0, 5), "pearson", ("pearson",), None, None, None)
    with pytest.raises(InputError, match="'g': pearson is not defined for one row"):
        metrics.by_row(graded, np.zeros(2), np.zeros(2))


def test_bad_pairs_are_refused():
    with pytest.raises(ValueError, match="two or more pairs"):
        stats.paired_t_test([1.0], [2.0])
    with pytest.raises(ValueError, match="finite"):
        stats.paired_t_test([1.0, np.nan], [0.0, 0.0])


def test_contrasts_are_those_of_which_both_arms_were_run():
    assert pairs_of_arms.contrasts(["single", "random", "step_matched"]) == [("random", "step_matched")]
    assert pairs_of_arms.contrasts(["single", "tawt_joint", "null_joint", "joint"]) == [
        ("tawt_joint", "joint"), ("tawt_joint", "null_joint"),
    ]  # fmt: skip
    names = ["single", "td_bce", "td_bce+tawt_joint", "td_bce+null_joint", "td_bce+tawt_deciles", "tawt_joint"]
    assert set(pairs_of_arms.contrasts(names)) == {
        ("td_bce+tawt_joint", "td_bce"), ("td_bce+tawt_joint", "td_bce+null_joint"),
        ("td_bce+tawt_deciles", "td_bce+tawt_joint"),
    }  # fmt: skip


def test_contrasts_are_what_methods_and_policies_say_of_themselves():
    """A method's by its own name; a policy's over the same rows, "" being these rows without weights."""
    for name in registry.names():
        wanted = [(name, other) for other in registry.get(name).contrasts]
        assert pairs_of_arms.contrasts([name, *registry.names()])[: len(wanted)] == wanted
    alone = [name for name in registry.policies() if registry.get(name).by is None]
    for name in registry.policies():
        others = registry.get(name).contrasts
        if registry.get(name).by is None:
            assert set(pairs_of_arms.contrasts([name, *alone])) >= {(name, o) for o in others if o}
        rows = f"td_bce+{name}"
        near = ["td_bce" if other == "" else f"td_bce+{other}" for other in others]
        assert pairs_of_arms.contrasts([rows, *near])[: len(near)] == [(rows, other) for other in near]


def graded(folder, name, right, dev=400, added=100):
    """An arm of accuracy: of each seed so many of the first dev rows are right."""
    path = folder / f"{name}.npz"
    predictions = np.stack([(np.arange(dev) < r).astype(int) for r in right])
    np.savez(path, predictions=predictions, references=np.ones(dev, int))
    seeds_ = {
        str(s): {"dev": {"accuracy": r / dev}, "step": 1, "added": added, "target_share": 1}
        for s, r in enumerate(right)
    }
    params = {"arm": name, "seeds": list(range(len(right)))}
    return SimpleNamespace(params=params, metrics={"seeds": seeds_}, path=lambda _: path)


def test_arms_against_the_first_are_paired_signed_and_corrected(tmp_path):
    task = suites.Task(
        "t", "classification", ("x",), "y", ("n", "p"), None, "accuracy", ("accuracy",), None, None, None
    )
    base = np.array([200, 210, 190, 205, 195, 200, 202, 198])
    better, mixed = base + np.arange(40, 48), base + np.array([9, -2, 7, -3, 8, 5, 6, 4])
    more = base + np.array([-3, 9, -2, 7, 8, 5, 6, 4])
    scores = {"single": base, "td_bce": better, "random": mixed, "all_data": more}
    table, others = comparison.comparisons([graded(tmp_path, n, r) for n, r in scores.items()], task)
    assert list(table.index) == ["td_bce", "random", "all_data"]
    assert table.loc["td_bce", "difference"] == pytest.approx(43.5 / 400)
    plain = [stats.paired_permutation_test(r / 400, base / 400) for r in (better, mixed, more)]
    assert plain[0] == 2 / 256
    assert 0.025 < plain[1] == plain[2] < 0.05
    # One family of five: td_bce is also compared with random and with all data.
    assert list(others.index) == [("td_bce", "random"), ("td_bce", "all_data")]
    raw = [*plain, *(stats.paired_permutation_test(better / 400, r / 400) for r in (mixed, more))]
    assert [*table["p"], *others["p"]] == pytest.approx(stats.holm(raw).tolist())
    assert table["p"].tolist() == pytest.approx([5 * plain[0], 2 * plain[1], 2 * plain[1]])
    assert table["verdict"].tolist() == ["better", "no difference shown", "no difference shown"]
    assert others["verdict"].tolist() == ["better", "better"]
    for name in table.index:
        assert table.loc[name, "row_low"] < table.loc[name, "difference"] < table.loc[name, "row_high"]
        assert table.loc[name, "low"] < table.loc[name, "difference"] < table.loc[name, "high"]
    assert table.loc["td_bce", "row_low"] > 0


@pytest.fixture
def task():
    return suites.Task(
        "t", "classification", ("x",), "y", ("n", "p"), None, "accuracy", ("accuracy",), None, None, None
    )


BASE = np.array([200, 210, 190, 205, 195, 200, 202, 198])


def test_only_declared_pairs_are_tested_over_the_study_s_whole_family(tmp_path, task):
    scores = {"single": BASE, "td_bce": BASE + np.arange(40, 48), "random": BASE + np.arange(20, 28)}
    arms = [graded(tmp_path, n, r) for n, r in scores.items()]
    table, others = comparison.comparisons(arms, task, tests=["td_bce - random"])
    assert table["p"].isna().all()
    assert table["verdict"].tolist() == ["not tested"] * 2
    assert others["p"].tolist() == [2 / 256]
    assert others["verdict"].tolist() == ["better"]
    for family, word in ((6, "better"), (7, "undecided (8 seeds for 7 tests)")):
        _, others = comparison.comparisons(arms, task, tests=["td_bce - random"], family=family)
        assert others["p"].tolist() == pytest.approx([family * 2 / 256])
        assert others["verdict"].tolist() == [word]
    _, others = comparison.comparisons(arms, task, tests=["random - td_bce"])
    assert others.loc[("random", "td_bce"), "verdict"] == "worse"  # a pair that no method names
    with pytest.raises(ValueError, match="as 'td_bce - random'"):
        comparison.comparisons(arms, task, tests=["td_bce"])


def test_an_arm_that_chose_nothing_is_not_tested_and_says_so(tmp_path, task):
    """It was trained on the primary alone for as many steps: not what its name says."""
    scores = {"single": BASE, "gradts_thres": BASE + np.arange(40, 48), "random": BASE + np.arange(20, 28)}
    arms = [graded(tmp_path, n, r, added=0 if n == "gradts_thres" else 50) for n, r in scores.items()]
    table, others = comparison.comparisons(arms, task)
    assert table.loc["gradts_thres", "verdict"] == "chose nothing (8 of 8 seeds)"
    assert np.isnan(table.loc["gradts_thres", "p"])
    assert others.loc[("gradts_thres", "random"), "verdict"] == "chose nothing (8 of 8 seeds)"
    assert table.loc["random", "p"] == pytest.approx(3 * 2 / 256)  # it was declared to be tested all the same
    arms[1].metrics["seeds"]["3"]["added"] = 50
    table, _ = comparison.comparisons(arms, task)
    assert table.loc["gradts_thres", "verdict"] == "chose nothing (7 of 8 seeds); better"


def test_other_rows_widen_the_interval_and_stand_alone_with_one_seed(tmp_path, task):
    one, base = graded(tmp_path, "random", [210]), graded(tmp_path, "single", [200])
    row = comparison.paired([base, one], [("random", "single")], task).iloc[0]
    assert row[["low", "high"]].isna().all()
    spread = np.sqrt(0.025 * 0.975 * 400 / 399 / 400)  # of 10 rows in 400 that one gets right
    assert row["row_high"] - row["difference"] == pytest.approx(1.959964 * spread)
    assert row["verdict"] == "undecided (1 seed)"


def test_no_pair_is_tested_where_a_study_says_none(tmp_path, task):
    scores = {"single": BASE, "td_bce": BASE + np.arange(40, 48), "random": BASE + np.arange(20, 28)}
    arms = [graded(tmp_path, n, r) for n, r in scores.items()]
    table, others = comparison.comparisons(arms, task, tests=["none"])
    for each in (table, others):
        assert each["p"].isna().all()
        assert set(each["verdict"]) == {"not tested"}
        assert each[["low", "high", "row_low"]].notna().all(axis=None)
    assert list(others.index) == [("td_bce", "random")]
    p = parameters.validate("07_efficiency", {"tests": ["none"]})
    assert p.tested == []
    assert len(parameters.validate("07_efficiency", {}).tested) == 5
    with pytest.raises(InputError, match="'none': name the arm"):
        parameters.validate("07_efficiency", {"tests": ["none", "td_bce - random"]})


def test_every_run_that_adds_rows_is_asked_whether_it_reaches_all_data(tmp_path, task):
    """By hand: all data gains 0.1 without spread; random lacks 0.02 of it at one n, and nothing at another."""
    steps = np.array([0, 1, 2, 3, 0, 1, 2, 3])  # of 400 dev rows: sd 0.00299 of a difference
    everything = BASE + 40
    scores = {"all_data": everything, "single": BASE, "step_matched": BASE, "random": everything - 8 + steps}
    arms = [graded(tmp_path, n, r) for n, r in scores.items()]
    arms.append(graded(tmp_path, "random", everything + steps, added=900))
    gain, table = comparison.reaching(arms, "accuracy", 0.01)
    assert (gain.difference, gain.low, gain.high) == pytest.approx((0.1, 0.1, 0.1))
    assert table[["arm", "n", "answer"]].to_numpy().tolist() == [
        ["random", 100, "falls short"], ["random", 900, "reaches"]
    ]  # fmt: skip
    assert table["difference"].tolist() == pytest.approx([-6.5 / 400, 1.5 / 400])
    half = 2.364624 * np.std(steps / 400, ddof=1) / np.sqrt(8)
    assert table["low"].tolist() == pytest.approx([-6.5 / 400 - half, 1.5 / 400 - half])
    _, table = comparison.reaching(arms, "accuracy", 0.1)
    assert set(table["answer"]) == {"not asked"}
    with pytest.raises(InputError, match="asks which arm reaches all_data, which is not among the arms"):
        parameters.validate("07_efficiency", {"margin": 0.01})
    asked = {"arms": ["single", "random", "all_data"]}
    plain, told = (parameters.validate("07_efficiency", asked | {"margin": m}).key_params() for m in (0.0, 0.01))
    assert told == plain | {"margin": 0.01}


def test_arms_are_judged_by_one_deviation_of_the_first(tmp_path):
    scores = {"single": BASE, "td_bce": BASE + 40, "random": BASE + 1, "all_data": BASE - 40}
    arms = [graded(tmp_path, n, r) for n, r in scores.items()]
    words = comparison.by_one_deviation(arms, "accuracy").to_dict()
    assert words == {"td_bce": "improved", "random": "neutral", "all_data": "dropped"}
    assert comparison.by_one_deviation([graded(tmp_path, n, r[:1]) for n, r in scores.items()], "accuracy").empty
