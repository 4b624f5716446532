"""Arms: which auxiliary rows each one adds, and that its controls are matched in what they say they match."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from asking import arm, everything, planned, selected
from auxlearn.data import auxiliary_rows, suites
from auxlearn.errors import InputError
from auxlearn.methods import controls, pairs_of_arms, ranking
from auxlearn.training import phases


def task(name, kind, texts, values, **more):
    rows = [{"row_id": i, "x": text, "y": label} for i, (text, label) in enumerate(zip(texts, values, strict=True))]
    data = Dataset.from_list(rows)
    given = {"labels": ("n", "p"), "range": None} | more
    return suites.Task(
        name, kind, ("x",), "y", given["labels"], given["range"], "accuracy", ("accuracy",), data, data, None
    )


@pytest.fixture(scope="module")
def handmade():
    """Texts of 1 to 10 characters and two labels; a regression over texts of one length; two tagged sentences."""
    one = task("one", "classification", ["x" * k for k in range(1, 11)], [0, 1] * 5)
    share = task("share", "regression", ["same"] * 5, [-1.0, -0.7, 0.0, 0.61, 1.0], labels=None, range=(-1.0, 1.0))
    tags = task("tags", "tagging", [["ab", "c"], ["abc"] * 20], [[0, 1], [1] * 20])
    return suites.Suite("handmade", {"one": one, "share": share, "tags": tags}, "0" * 16)


def test_strata_are_task_label_and_fifth_of_length(handmade):
    made = controls.strata(handmade, auxiliary_rows.pool(handmade, ["one", "share", "tags"]))
    lengths = [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]
    assert made[:10].tolist() == [f"one/{i % 2}/{b}" for i, b in enumerate(lengths)]
    # A regression's label by its fifth of the range, the top of the range in the last fifth.
    assert [word.split("/")[1] for word in made[10:15]] == ["0", "0", "2", "4", "4"]
    assert len({word.split("/")[2] for word in made[10:15]}) == 1  # no length tells them apart
    assert [word.split("/")[:2] for word in made[15:]] == [["tags", "0"]] * 2
    assert made[15] != made[16]


def test_strata_follow_their_rows_in_any_order(handmade):
    rows = auxiliary_rows.pool(handmade, ["one", "tags", "share"])
    order = np.random.default_rng(0).permutation(len(rows))
    assert controls.strata(handmade, rows.iloc[order]).tolist() == controls.strata(handmade, rows)[order].tolist()
    assert controls.strata(handmade, rows.iloc[order].reset_index(drop=True)).tolist() == [
        controls.strata(handmade, rows)[i] for i in order
    ]


def test_the_pool_marks_what_may_not_be_used(small):
    mask = {name: np.arange(80) % 2 == 0 for name in small.names}
    rows = auxiliary_rows.pool(small, ["look_alike", "away_topic"], mask)
    assert rows["task"].tolist() == ["look_alike"] * 80 + ["away_topic"] * 80
    assert rows["usable"].tolist() == [True, False] * 80
    assert rows["row_id"].tolist()[:80] == small["look_alike"].train["row_id"][:]
    assert auxiliary_rows.pool(small, ["look_alike"])["usable"].all()


# --- chosen ------------------------------------------------------------------------------------------------------

NAMES = ["look_alike", "away_topic", "side_share"]


@pytest.fixture
def ranked(small):
    """Rankings of seeds 0 and 1 over usable rows, unequal by task: as artifacts; the masks; and the selections."""
    rng, mask = np.random.default_rng(5), {name: np.ones(80, bool) for name in small.names}
    for name in NAMES:
        mask[name][rng.permutation(80)[:30]] = False
    best = {}
    for seed in (0, 1):
        pool = auxiliary_rows.pool(small, NAMES, mask)
        scores = rng.normal(size=240) + np.repeat([1.5, 0.0, 0.5], 80)
        at = ranking.top_n(scores, 40, seed, pool.pop("usable").to_numpy())
        best[seed] = ranking.table(pool, at, scores)
    known = {seed: rows.assign(usable=True, in_proxy=False) for seed, rows in best.items()}
    return {"ranking": lambda seed: SimpleNamespace(chosen=known[seed])}, mask, best


def chosen(name, small, ranked, seed=0, n=40):
    artifacts, mask, _ = ranked
    return selected(arm(name, n=n, auxiliaries=NAMES), small, seed, mask, **artifacts)[0].rows


def places(rows):
    return list(zip(rows["task"], rows["row"], strict=True))


@pytest.mark.parametrize("name", ["td_bce", "quota_ce", "calibrated_bce"])
def test_ranking_arms_take_the_selection_of_their_seed(small, ranked, name):
    best = ranked[2]
    for seed in (0, 1):
        assert chosen(name, small, ranked, seed).equals(best[seed])
    assert not best[0].equals(best[1])


@pytest.mark.parametrize("name", ["random", "all_data", "cie_bce", "matched_ce"])
def test_no_arm_draws_a_row_that_may_not_be_used(small, ranked, name):
    mask = ranked[1]
    for n, seed in ((40, 0), (40, 1), (150, 0)):
        rows = chosen(name, small, ranked, seed, n)
        assert not rows.duplicated(["task", "row"]).any()
        assert all(mask[task][row] for task, row in places(rows))
        assert len(rows) == {"random": n, "all_data": 150}.get(name, 40)
        if len(rows) == 150:  # everything that may be used
            assert set(places(rows)) == {(task, row) for task in NAMES for row in np.flatnonzero(mask[task])}
        assert [small[task].train[row]["row_id"] for task, row in places(rows)] == rows["row_id"].tolist()


def test_more_random_rows_than_may_be_used_are_refused(small, ranked):
    with pytest.raises(ValueError, match="151 rows asked for, but 150 are eligible"):
        chosen("random", small, ranked, n=151)


def test_cie_keeps_the_ranking_s_tasks_and_nothing_else(small, ranked):
    for seed in (0, 1):
        best, drawn = ranked[2][seed], chosen("cie_bce", small, ranked, seed)
        assert drawn["task"].value_counts().to_dict() == best["task"].value_counts().to_dict()
        shared = set(places(drawn)) & set(places(best))
        assert 0 < len(shared) < len(best)  # drawn from all usable rows of the task, chosen ones included
        assert chosen("cie_ce", small, ranked, seed).equals(drawn)
    assert not chosen("cie_bce", small, ranked, 1).equals(chosen("cie_bce", small, ranked, 0))


def test_matched_keeps_the_ranking_s_tasks_labels_and_lengths(small, ranked):
    best, drawn = ranked[2][0], chosen("matched_bce", small, ranked)
    assert set(places(drawn)) != set(places(best))

    def counted(rows):
        """Rows by task and label (a fifth of the range), without the library's strata."""
        words = []
        for name, row in places(rows):
            label = small[name].train[row][small[name].label]
            words.append((name, min(4, int(label)) if small[name].kind == "regression" else label))
        return pd.Series(words).value_counts().to_dict()

    assert small["side_share"].range == (0, 5)
    assert counted(drawn) == counted(best)
    assert counted(chosen("cie_bce", small, ranked)) != counted(best)  # which only keeps tasks
    pool = auxiliary_rows.pool(small, NAMES)
    words = pd.Series(controls.strata(small, pool), index=pd.MultiIndex.from_frame(pool[["task", "row"]]))
    by_stratum = [words.loc[places(rows)].value_counts().to_dict() for rows in (drawn, best)]
    assert by_stratum[0] == by_stratum[1]


def test_arms_without_auxiliary_rows_have_none(small, ranked):
    assert chosen("single", small, ranked) is None
    assert chosen("step_matched", small, ranked) is None


def test_an_auxiliary_named_twice_is_refused(small):
    with pytest.raises(InputError, match="twice"):
        small.auxiliaries("topic_side", ["look_alike", "look_alike"])


def test_all_data_has_a_control_of_as_many_steps(small):
    """2 epochs over 80 + 2 x 80 rows, in batches of 32; other auxiliaries are another training."""

    def steps(name, auxiliaries):
        p = arm(name, auxiliaries=auxiliaries, stage2_epochs=2, choose="last", mixing="mixed")
        phase = planned(p, small, 0, everything(small)).phases[0]
        return sum(phases.schedule(phase, {task: len(rows) for task, rows in phase.rows.items()}))

    assert steps("step_matched_all", NAMES[:2]) == steps("all_data", NAMES[:2]) == 2 * 8
    assert steps("step_matched_all", NAMES) == steps("all_data", NAMES) == 2 * 10
    keys = [arm("step_matched_all", auxiliaries=names, n=n).key_params() for names, n in
            ((NAMES, 20), (NAMES, 30), (NAMES[:2], 20))]  # fmt: skip
    assert keys[0] == keys[1] != keys[2]
    assert pairs_of_arms.contrasts(["single", "step_matched_all", "all_data"]) == [("all_data", "step_matched_all")]
