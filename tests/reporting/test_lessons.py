"""Closing sentences, for made-up numbers: what is said, and what few seeds do not allow to say."""

import numpy as np
import pandas as pd
import pytest

from auxlearn.reporting import lessons


def lines(text):
    return text.splitlines()


def frame(index, **columns):
    return pd.DataFrame(columns, index=pd.Index(index, name="task"))


# --- 01 ----------------------------------------------------------------------------------------------------------


def of_data(train, leaking=0, metric="accuracy", score=0.5):
    names = ["rte", "mrpc", "qqp"][: len(train)]
    power = pd.DataFrame({"dev rows": 277, "rows alone": 0.075, "3 seeds": 0.0861, "8 seeds": 0.0771}, index=names)
    floor = pd.DataFrame({"constant answer": "entailment", "metric": metric, "scores": score}, index=names)
    return lines(lessons.data(frame(names, train=train, dev=[277] * len(names)), power, floor, leaking, "rte"))


def test_data_names_extremes_floor_and_what_could_be_shown():
    assert of_data([2490, 3668, 363846], leaking=12) == [
        "3 tasks: from 2,490 training rows (rte) to 363,846 (qqp); a random selection follows these sizes.",
        "12 training rows also stand in a dev or test split, and stay out of the pool.",
        "rte: always answering 'entailment' scores accuracy 0.500; a model that scores no more has learnt nothing.",
        "On its 277 dev rows a difference in accuracy of 0.086 with 3 seeds and 0.077 with 8 seeds is told from none "
        "four times in five, if it varies by 0.015 over seeds and two models differ on 20% of the rows; there are "
        "no tests under 8 seeds.",
    ]


def test_data_of_equal_tasks_one_leak_and_one_task():
    assert of_data([400, 400, 400], leaking=1)[:2] == [
        "3 tasks, each with 400 training rows.",
        "1 training row also stands in a dev or test split, and stays out of the pool.",
    ]
    assert of_data([1])[:2] == [
        "1 task, each with 1 training row.",
        "No training row also stands in a dev or test split.",
    ]
    assert of_data([400, 200, 400])[0].startswith("3 tasks: from 200 training rows (mrpc) to 400 (2 tasks)")


# --- 02 ----------------------------------------------------------------------------------------------------------


def of_proxy(auc, surface):
    names = ["rte", "mrpc", "cola"]
    return lines(lessons.proxy(pd.DataFrame(auc, index=names), pd.Series(surface, index=names), "rte"))


def test_proxy_says_where_format_does_as_well():
    text = of_proxy({0: [0.80, 0.90, 1.0], 1: [0.84, 0.94, 1.0]}, [0.60, 0.88, 1.0])
    assert text[0] == "The discriminator tells tasks apart with an AUC from 0.82 (rte) to 1.00 (cola), mean of 2 seeds."
    assert text[1] == (
        "A row of rte is placed above a row of another task 82% of the time; in the first seed 80%, by format alone "
        "60%."
    )
    assert text[2].startswith(
        "Format alone comes within 0.05 of it in the first seed, or does better, for mrpc and cola:"
    )


def test_proxy_that_is_blind_to_the_primary_promises_no_ranking():
    text = of_proxy({0: [0.52, 0.90, 0.95]}, [0.40, 0.5, 0.5])
    assert text[0].endswith("one seed.")
    assert text[1].startswith("It hardly tells rte from the rest (0.52; 0.5 is chance)")
    assert text[2] == "Format alone stays more than 0.05 below it for every task: it has learnt more than format."


def test_proxy_of_one_task_has_nothing_to_tell_apart():
    alone = lessons.proxy(pd.DataFrame({0: [np.nan]}, index=["rte"]), pd.Series([np.nan], index=["rte"]), "rte")
    assert alone == "There is one task: nothing to tell apart."


# --- 03 ----------------------------------------------------------------------------------------------------------


def truth(*auc, chosen=0.6, pool=0.2):
    return {str(s): {"truth_auc": a, "helpful_chosen": chosen, "helpful_pool": pool} for s, a in enumerate(auc)}


SHARES = frame(["a", "b", "c"], pool=[100, 100, 200], chosen=[30, 0, 70], share=[0.3, 0.0, 0.7], lift=[1.2, 0.0, 1.4])


def test_ranking_of_few_seeds_gives_a_range_and_no_verdict():
    assert lines(lessons.ranking(SHARES, 100, truth(0.78, 0.84))) == [
        "Of the 100 rows chosen (first seed), 70% are of c (1.4 times its share of the pool) and 30% are of a (1.2 "
        "times its share of the pool).",
        "None is of b.",
        "Most are of one task: rows drawn at random from c might do as well, which the arm cie_… tells.",
        "60% of the chosen rows were made to help, 20% of the pool (mean of 2 seeds).",
        "AUC against this truth: 0.81 (mean of 2 seeds, 0.78 to 0.84). That is above chance (0.5) in every seed; 2 "
        "seeds are too few for a verdict.",
    ]


@pytest.mark.parametrize(
    ("auc", "end"),
    [
        ([0.4], "That is below chance (0.5) in every seed; 1 seed is too few for a verdict."),
        ([0.4, 0.6], "That is above and below chance (0.5) by seed; 2 seeds are too few for a verdict."),
        ([0.6, 0.7, 0.6, 0.7, 0.6], "That is above chance (0.5) in every seed; 5 seeds are too few for a verdict."),
        ([0.6, 0.7, 0.6, 0.7, 0.6, 0.7], "Better than chance (0.5)."),
        ([0.3, 0.4, 0.3, 0.4, 0.3, 0.4], "Worse than chance (0.5)."),
        ([0.4, 0.6, 0.4, 0.6, 0.4, 0.61], "Not told from chance (0.5)."),
    ],
)
def test_a_verdict_against_chance_takes_six_seeds(auc, end):
    assert lines(lessons.ranking(SHARES, 100, truth(*auc)))[-1].endswith(end)


def test_an_interval_takes_six_seeds_too():
    text = lessons.ranking(SHARES, 100, truth(0.6, 0.7, 0.6, 0.7, 0.6, 0.7))
    assert "0.65 (mean of 6 seeds, 95% interval 0.59 to 0.71)" in text


def test_ranking_where_no_truth_is_known_leaves_it_to_training():
    even = SHARES.assign(share=[0.5, 0.0, 0.5])
    text = lines(lessons.ranking(even, 100, {}))
    assert text[-1] == "Which rows help is not known here: training (06) judges, and 08 on a suite with twins."
    assert not any("made to help" in line or "Most are" in line for line in text)


# --- 04 ----------------------------------------------------------------------------------------------------------


def of_heads(p, seeds=2, own=(0.7, 0.1, 0.6), itself=0.8):
    null = frame(["a", "b", "c"], tau=[0.5, 0.3, -0.2], null_95=[0.4, 0.4, 0.4], p=p)
    ceiling = frame(["rte", "a", "b", "c"], halves=[0.9] * 4, seeds=[itself, *own])
    return lines(lessons.heads(null, ceiling, "rte", seeds))


def test_heads_are_held_against_corrected_chance_and_a_tasks_own_seeds():
    assert of_heads([0.01, 0.04, 0.9]) == [
        "The highest tau with rte is that of a, 0.50; 95 % of permutations of the heads stay below 0.40 "
        "(mean of 2 seeds).",
        "Above chance in each seed, corrected for 3 tasks: a.",
        "b: two seeds of the task agree no better than the task with rte, so that this measure cannot rank it.",
        "Whether tasks with like heads help is for 06 to say.",
    ]


def test_heads_that_chance_explains_and_a_steady_measure():
    text = of_heads([0.02, 0.04, 0.9], own=(0.9, 0.9, 0.9))
    assert text[1] == "No task is above chance in each seed once corrected for 3 tasks."
    assert text[2] == "Every task agrees better with itself over two seeds than with rte."
    assert of_heads([0.02, 0.04, 0.9], itself=0.4)[2] == (
        "Two seeds of rte itself agree no better (0.40) than it does with a, so that no task can be ranked against it."
    )


def test_heads_of_one_seed_have_no_ceiling():
    text = of_heads([0.001, 0.04, 0.9], seeds=1, own=(np.nan,) * 3)
    assert text[1] == "Above chance in the one seed, corrected for 3 tasks: a."
    assert text[2].startswith("With one seed it is not known how far a task agrees with itself")


def test_heads_of_encoders_that_seeds_draw_have_their_halves_alone():
    text = of_heads([0.001, 0.04, 0.9], own=(np.nan,) * 3, itself=np.nan)
    assert text[2] == (
        "Every seed draws an encoder of its own, so that seeds share no heads to agree on; within a seed two halves of "
        "rte's rows agree by 0.90."
    )


def test_heads_of_one_task():
    none = frame([], tau=[], null_95=[], p=[])
    assert lessons.heads(none, frame(["rte"], halves=[0.9], seeds=[0.8]), "rte", 2).startswith("There is no other task")


def test_on_planted_data_it_is_said_whether_the_first_was_made_to_help(planted):
    assert lessons.made_to_help(planted, "topic_side") == ["topic_name", "topic_mixed"]
    null = frame(["a", "b"], tau=[0.5, 0.3], null_95=[0.4, 0.4], p=[0.01, 0.04])
    ceiling = frame(["rte", "a", "b"], halves=[0.9] * 3, seeds=[0.8] * 3)
    told = lines(lessons.heads(null, ceiling, "rte", 2, helpful=["a", "c"]))
    assert told[-2] == "Made to help were a and c; tau puts a first."
    missed = lines(lessons.heads(null, ceiling, "rte", 2, helpful=["b"]))
    assert missed[-2] == "Made to help were b; tau puts a first: this run does not find what was planted."


# --- 05 ----------------------------------------------------------------------------------------------------------


def of_weights(ends, primary="t", cosine=0.1, still=(0.9, 0.05, 0.05), helpful=()):
    """Weights of t, a, b that start even; `ends` by seed."""
    at = lambda u, w, **more: [{"update": u, "task": k, "weight": x, **more} for k, x in zip("tab", w, strict=True)]  # noqa: E731
    rows = []
    for seed, end in enumerate(ends):
        rows += at(0, (0.4, 0.3, 0.3), seed=seed, cosine=np.nan) + at(1, end, seed=seed, cosine=cosine)
    null = pd.DataFrame(at(0, (0.4, 0.3, 0.3)) + at(1, still))
    return lines(lessons.weights(pd.DataFrame(rows), null, primary, helpful))


def test_weights_beside_what_no_gradient_gives():
    assert of_weights([(0.5, 0.3, 0.2), (0.7, 0.2, 0.1)]) == [
        "The weight of t went from 0.400 to 0.600 (mean of 2 seeds, 0.500 to 0.700); without any gradient it would "
        "have gone to 0.900.",
        "Among the sources a ended highest in all 2 seeds (0.250).",
        "Of all weight 20% ended elsewhere than it began, and 30% elsewhere than the schedule alone, with no gradient, "
        "would have taken it (mean of 2 seeds).",
        "Whether weighted training scores better is for 06 and 07 to say.",
    ]


def test_seeds_that_disagree_on_a_source_and_cosines_that_are_noise():
    text = of_weights([(0.5, 0.3, 0.2), (0.5, 0.2, 0.3)], cosine=np.nan)
    assert text[1] == "The seeds disagree on which source should weigh most: a and b ended highest."
    assert text[3] == "6 of 6 cosines were not estimable, and moved nothing."


def test_sources_that_end_alike_are_not_put_in_an_order():
    text = of_weights([(0.5, 0.26, 0.24), (0.5, 0.24, 0.26)])
    assert text[1] == "No two sources ended more than 0.03 apart: none of them is told from the others."


@pytest.mark.parametrize(("ends", "told"), [
    ([(0.5, 0.3, 0.2), (0.7, 0.2, 0.1)], "Made to help were a; the weights put a first."),
    (
        [(0.5, 0.2, 0.3), (0.7, 0.1, 0.2)],
        "Made to help were a; the weights put b first: this run does not find what was planted.",
    ),
    (
        [(0.5, 0.26, 0.24), (0.5, 0.26, 0.24)],
        "Made to help were a; no source weighs most in every seed: this run does not find what was planted.",
    ),
])  # fmt: skip
def test_on_planted_data_it_is_said_whether_the_weights_find_it(ends, told):
    assert told in of_weights(ends, helpful=["a"])


def test_one_seed_of_weights_tells_no_agreement():
    text = of_weights([(0.5, 0.2, 0.3)])
    assert "0.500 (one seed)" in text[0]
    assert text[1] == "Among the sources b ended highest (0.300); one seed does not tell whether another would agree."


def test_weights_of_sources_alone_say_nothing_of_the_target():
    assert of_weights([(0.5, 0.3, 0.2)], primary="elsewhere")[0].startswith("Among the sources t ended highest")


# --- 06 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scores", "first", "second"),
    [
        ([0.7], "td_bce: f1 0.700 (one seed); a constant answer scores 0.500.", "What"),
        ([0.5], "td_bce: f1 0.500 (one seed); a constant answer scores 0.500.", "The one seed scores no more"),
        ([0.4, 0.6], "td_bce: f1 0.500 (mean of 2 seeds, 0.400 to 0.600); a constant", "1 of 2 seeds score no more"),
        ([0.6, 0.7] * 3, "td_bce: f1 0.650 (mean of 6 seeds, 95% interval 0.593 to 0.707); a constant", "What"),
    ],
)
def test_training_beside_a_constant_answer(scores, first, second):
    text = lines(lessons.training(scores, "f1", 0.5, "td_bce"))
    assert text[0].startswith(first)
    assert text[1].startswith(second)
    assert "07 sets" in text[-1]


# --- 07 ----------------------------------------------------------------------------------------------------------


def of_comparison(single=0.7, floor=0.5, **arms):
    rows = {
        name: {"difference": d, "row_low": d - 0.02, "row_high": d + 0.02, "verdict": v}
        for name, (d, v) in arms.items()
    }
    compared = pd.DataFrame.from_dict(rows, orient="index")
    costs = pd.Series({"single": 2.0} | dict.fromkeys(arms, 5.0))
    return lines(lessons.comparison(compared, costs, pd.Series({"single": single}), floor, "accuracy"))


def test_comparison_goes_by_the_corrected_verdict():
    text = of_comparison(random=(0.01, "no difference shown"), td=(0.05, "better"), bad=(-0.1, "worse"))
    assert text == [
        "Shown to be better than single, corrected for all tests: td (+0.050).",
        "Shown to be worse than single, corrected for all tests: bad (-0.100).",
        "No difference shown: random.",
        "The highest difference is td's, +0.050; other seeds and dev rows may give +0.030 to +0.070; it was looked for "
        "among the arms, which flatters it.",
        "Cost in FLOPs, in times that of single: random 2.5, td 2.5, bad 2.5.",
    ]


def test_comparison_of_few_seeds_is_undecided_whatever_the_differences():
    text = of_comparison(random=(0.3, "undecided (2 seeds)"), td=(0.4, "undecided (2 seeds)"))
    assert text[0] == "Undecided (2 seeds): random and td."


def test_comparison_of_too_few_seeds_to_test_and_of_what_is_not_tested_says_so():
    assert of_comparison(td=(0.3, "no test (7 seeds; needs 8)"))[0] == "No test (7 seeds; needs 8): td."
    assert of_comparison(td=(0.3, "not tested"))[0] == "Not tested: td."


def test_comparison_names_a_baseline_that_learnt_nothing_and_arms_that_chose_nothing():
    text = of_comparison(
        single=0.5, td=(0.2, "chose nothing (1 of 8 seeds); better"), gr=(0.0, "chose nothing (2 of 2 seeds)")
    )
    assert text[0] == "Shown to be better than single, corrected for all tests: td (+0.200)."
    assert text[1] == "Chose nothing (2 of 2 seeds): gr."
    assert "single scores no more than a constant answer (0.500): help is easy to show against it." in text


# --- 08 ----------------------------------------------------------------------------------------------------------


def of_validity(agreed=None, **shares):
    rows = [{"method": m, "seed": s, "helpful": v} for m, values in shares.items() for s, v in enumerate(values)]
    return lines(lessons.validity(pd.DataFrame(rows), "helpful", 0.2, agreed))


NOT_MEASURED = "What each task is worth was not measured: `oracle` names the auxiliaries to train with, one by one."


def test_validity_of_few_seeds_sorts_methods_without_a_verdict():
    assert of_validity(random=[0.1, 0.3], td=[0.5, 0.7], gradts=[0.0, 0.1], none=[np.nan, np.nan]) == [
        "Of the pool, 20.0% is helpful.",
        "More than that in every seed: td (60.0%).",
        "Less than that in every seed: gradts (5.0%).",
        "Above it in some seeds, below it in others: random (20.0%).",
        "With 2 seeds that is no verdict.",
        "Chose no row: none in 2 of 2 seeds.",
        NOT_MEASURED,
    ]


def test_validity_judges_each_method_by_the_rule_that_its_own_seeds_allow():
    text = of_validity(td=[0.6] * 7 + [0.55], knn=[0.5, 0.1] * 4, gradts=[0.5] * 3 + [np.nan] * 5, less=[0.5, 0.1])
    assert text[1:] == [
        "More than that: td (59.4%).",
        "Not told from the pool: knn (30.0%).",
        "By 95% t intervals over 8 seeds, not corrected for 2 methods.",
        "More than that in every seed: gradts (50.0%).",
        "Above it in some seeds, below it in others: less (30.0%).",
        "With 3 seeds (less over 2) that is no verdict.",
        "Chose no row: gradts in 5 of 8 seeds.",
        NOT_MEASURED,
    ]


def test_validity_names_methods_of_fewer_seeds():
    text = of_validity(td=[0.5, 0.7] * 4, random=[0.1, 0.31] * 3)
    assert "By 95% t intervals over 8 seeds (random over 6), not corrected for 2 methods." in text


def test_validity_says_which_methods_see_what_tasks_are_worth():
    agreed = pd.DataFrame(
        [("td", 0, 0.5, 0.0), ("td", 1, 0.7, 0.0), ("knn", 0, 0.9, 0.0), ("knn", 1, -0.9, 0.1)],
        columns=["method", "seed", "tau", "regret"],
    )
    assert of_validity(agreed, td=[0.5, 0.7], knn=[0.5, 0.7])[-2:] == [
        "Orders of the tasks by their worth, by Kendall's tau (mean of 2 seeds): td best (0.60), knn worst (0.00).",
        "The best task first in every seed: td.",
    ]
    assert of_validity(agreed[agreed["method"] == "knn"], knn=[0.5])[-1] == "The best task first in every seed: none."


def test_validity_where_no_method_chose():
    assert of_validity(td=[np.nan]) == ["Of the pool, 20.0% is helpful.", "No method chose a row."]
