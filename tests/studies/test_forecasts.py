"""What studies are forecast to cost: every stage by hand, what is shared, what is refused.

Rows of 10 tokens, and of 20 for the primary; an encoder of one layer and width 4. That what is run costs about as much
is in tests/methods/test_forecasting.py.
"""

import numpy as np
import pytest
import yaml

from auxlearn.errors import InputError
from auxlearn.methods import forecasting
from auxlearn.studies import forecasts, graph, sizing, unread_expansion
from auxlearn.studies.parameters import MTL, TAWT
from auxlearn.training.counting import Tokens

pytestmark = pytest.mark.usefixtures("planted_once")
SMALL = {"hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8}
TRAINING = {"stage2_epochs": 2, "tune_epochs": 3, "batch_size": 32, "holdout": 0.25, "looks": 0}
HEADS = {"tune_rows": 50, "importance_rows": 30, "epochs": 4, "batch_size": 8}
PROXY = {"proxy_rows": 30, "watch_rows": 10, "epochs": 2, "batch_size": 32, "map_rows": 40}


def forward(length):
    """FLOPs of a sequence: 8·16 L + 4·4 L² + 4·4·8 L."""
    return 256 * length + 16 * length**2


P, Q = forward(20), forward(10)  # a row of the primary, one of the seven others; all tasks have 100 rows
ALL = P + 7 * Q
TUNED = 4 * 50 * 3 * ALL
MEASURED = 30 * (2 * P + 64 * 20 + 7 * (2 * Q + 64 * 10))  # two passes, and 4 x 4² more per token
JUDGED = 25 * P
# Of the 75 rows that are not held out: tuning and its judges, after stage 2 with 20 more or as many steps alone.
TUNE = 3 * 3 * 75 * P + 3 * JUDGED
ONE = 2 * 3 * (75 * P + 20 * Q) + TUNE
ALONE = 3 * 2 * 75 * P + TUNE  # 2 x ceil(95 / 32) steps: two epochs of three batches


@pytest.fixture
def priced(tmp_path, planted):
    """The price of a study of a grid; `both` goes to 05 and 06."""

    def price(
        grid, stages=("06_mtl",), seeds=(0,), methods=None, base=None, blocks=None, tokens=None, rows=100, **both
    ):
        first = {"suite": "planted", "primary": "topic_side", "size": "full", "precision": "fp32", "device": "cpu"}
        tokens = tokens or dict.fromkeys(planted.names, 10) | {"topic_side": 20}
        expects = {
            "rows": {name: len(task.train) for name, task in planted.items()},
            "tokens": tokens,
            "encoder": SMALL,
        }
        own = {name: value for name, value in both.items() if name in TAWT.model_fields}
        arm = {name: value for name, value in both.items() if name in MTL.model_fields}
        assert not both.keys() - own.keys() - arm.keys()
        notebooks = {
            "02_td_proxy": PROXY, "04_gradts_correlation": HEADS, "06_mtl": TRAINING | arm,
            "05_tawt_weighting": {"steps": 0, "methods": methods or {}} | TRAINING | own,  # its own defaults are others
            "08_validity": {},
        }  # fmt: skip
        for stage, block in (blocks or {}).items():
            notebooks[stage] = notebooks[stage] | block
        content = {
            "study": "s", "base": first | {"rows": rows, "seeds": list(seeds)} | (base or {}), "grid": grid,
            "stages": list(stages), "notebooks": notebooks, "methods": methods or {}, "expects": expects,
        }  # fmt: skip
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content))
        return forecasts.price(path)

    return price


def row(price, arm, n=20, primary="topic_side"):
    return price.table.loc[(primary, arm, n)]


def used(cells):
    """The stages that some arm has."""
    return {name for name in cells.index if cells[name] and name not in forecasts.DERIVED}


# --- arms that train no more than rows --------------------------------------------------------------------------------


def test_trainings_are_counted_by_hand(priced):
    """Step-matched: 2 x ceil(120 / 32) = 8 steps, two epochs of the primary's four batches."""
    price = priced({"arm": ["single", "step_matched", "random", "all_data"], "n": [20]}, choose="last", seeds=[0, 1])
    full = 2 * 3 * 100 * ALL
    tune = 3 * 3 * 100 * P
    wanted = {
        ("single", 0): (0, 5 * 3 * 100 * P), ("step_matched", 20): (2 * 3 * 100 * P, tune),
        ("random", 20): (2 * 3 * (100 * P + 20 * Q), tune), ("all_data", 0): (full, tune),
    }  # fmt: skip
    for (arm, n), (stage2, tuned) in wanted.items():
        cells = row(price, arm, n)
        assert (cells["stage2"], cells["tune"]) == (stage2, tuned)
        assert used(cells) <= {"stage2", "tune"}
        assert cells["alone"] == cells["amortised"] == stage2 + tuned <= cells["at_most"]
        assert cells["speedup"] == cells["speedup_amortised"] == cells["ceiling"] == (full + tune) / (stage2 + tuned)
    assert price.table["all_data"].to_list() == [full + tune] * 4
    for arm, n in (("single", 0), ("all_data", 0), ("random", 20)):  # whatever rows are drawn, they are as long
        assert row(price, arm, n)["at_most"] == row(price, arm, n)["alone"]
    # Were four rows leaks, all batches would be full, and the steps still eight.
    assert row(price, "step_matched")["at_most"] == 3 * 8 * 32 * P + tune
    assert price.total.sum() == price.separately == 2 * price.table["alone"].sum()
    assert price.most == 2 * price.table["at_most"].sum()


def test_looks_are_judged_as_often_for_every_arm(priced):
    """Ten looks, or one per step where there are fewer steps: tuning has three epochs of three batches, single five."""
    price = priced({"arm": ["single", "random"], "n": [20]}, looks=10)
    assert row(price, "random")["tune"] == TUNE + 6 * JUDGED
    assert row(price, "single", n=0)["tune"] == 5 * 3 * 75 * P + 10 * JUDGED


@pytest.mark.parametrize(("n", "steps"), [(20, 8), (70, 12), (30, 10)])
def test_the_primary_alone_takes_the_steps_of_stage_2(priced, n, steps):
    """2 x ceil((100 + n) / 32) steps, of four batches of 25 rows per epoch."""
    rows = row(priced({"arm": ["step_matched"], "n": [n]}, choose="last"), "step_matched", n)["stage2"] / (3 * P)
    assert rows == 25 * steps


def test_rows_are_held_out_only_if_they_choose_the_epoch(priced):
    grid = {"arm": ["single", "random"], "n": [20]}
    held, whole = priced(grid), priced(grid, choose="last")
    assert row(held, "single", 0)["tune"] == 5 * (3 * 75 * P + JUDGED)
    assert row(whole, "single", 0)["tune"] == 5 * 3 * 100 * P
    assert row(held, "random")["stage2"] == 2 * 3 * (75 * P + 20 * Q)
    assert row(held, "random")["tune"] == TUNE


@pytest.mark.parametrize("n", [1, 7, 20, 699, 700])
def test_a_selection_is_exactly_n_rows(priced, n):
    """Of seven tasks alike; 700 rows are all that there are."""
    price = priced({"arm": ["random", "all_data"], "n": [n]}, choose="last")
    assert row(price, "random", n)["stage2"] == 2 * 3 * (100 * P + n * Q)
    if n == 700:
        assert row(price, "random", n)["alone"] == row(price, "all_data", 0)["alone"]


def test_cost_is_additive_in_rows_and_epochs(priced):
    stage2 = lambda n, epochs: row(  # noqa: E731
        priced({"arm": ["random"], "n": [n]}, choose="last", stage2_epochs=epochs), "random", n
    )["stage2"]
    assert stage2(300, 3) + stage2(100, 3) == stage2(399, 3) + stage2(1, 3)
    assert stage2(300, 2) + stage2(300, 4) == stage2(300, 6)


def test_lengths_decide_what_rows_cost(priced, planted):
    """20.5 tokens are rows of 20 and of 21; batches of eight of a length have no padding."""
    tokens = dict.fromkeys(planted.names, 10) | {"topic_side": 20.5}
    half = (forward(20) + forward(21)) / 2
    flops = row(priced({"arm": ["single"]}, choose="last", tokens=tokens, batch_size=1), "single", 0)["tune"]
    assert flops == 5 * 3 * 100 * half
    padded = row(priced({"arm": ["single"]}, choose="last", tokens=tokens, batch_size=32), "single", 0)["tune"]
    assert flops < padded <= 5 * 3 * 100 * forward(21)
    assert row(priced({"arm": ["single"]}, choose="last", tokens=10), "single", 0)["tune"] == 5 * 3 * 100 * Q


def test_steps_are_those_of_every_phase(priced):
    """60 steps, 10 of them on the primary. 95 rows are 3 + 7 batches of a task each, 75 rows 3."""
    price = priced({"arm": ["single", "step_matched", "random"], "n": [20]}, steps=60, tune_steps=10)
    assert row(price, "single", 0)["tune"] == 20 * (75 * 3 * P + JUDGED)
    once = 3 * (75 * P + 20 * Q)
    assert row(price, "random")["stage2"] == 5 * once
    tuned = row(price, "random")["tune"]
    assert tuned == row(price, "step_matched")["tune"]
    assert 3 * (3 * 75 + 11) * P <= tuned - 4 * JUDGED <= 3 * (3 * 75 + 32) * P  # a batch of the fourth epoch
    assert row(price, "random")["at_most"] >= row(price, "random")["alone"]
    assert row(price, "single", 0)["at_most"] == 60 * 32 * 3 * P + 20 * JUDGED  # leaks can make every batch full
    whole = priced({"arm": ["random"], "n": [20]}, steps=50, choose="last")
    assert used(row(whole, "random")) == {"stage2"}  # and no tuning
    mixed = row(priced({"arm": ["random"], "n": [20]}, steps=50, mixing="mixed", choose="last", tokens=10), "random")
    assert mixed["stage2"] == pytest.approx(50 / 4 * 3 * 120 * Q, rel=0.05)


# --- FastMTL ---------------------------------------------------------------------------------------------------------


def test_every_stage_of_fastmtl_by_hand(priced):
    """Proxies of 30 rows x 2 epochs, two of them; rows that are only watched cost nothing; every row scored once."""
    price = priced({"arm": ["random", "td_bce", "cie_bce", "quota_bce"], "n": [20]}, choose="last")
    ranked = row(price, "td_bce")
    assert ranked["proxy"] == 2 * 2 * (30 * 3) * ALL
    assert ranked["scoring"] == 100 * ALL
    for stage in ("stage2", "tune"):
        assert ranked[stage] == row(price, "random")[stage]
    for arm in ("cie_bce", "quota_bce"):
        assert row(price, arm)[["proxy", "scoring", "stage2", "tune", "alone"]].equals(
            ranked[["proxy", "scoring", "stage2", "tune", "alone"]]
        )
    assert price.total["proxy"] == ranked["proxy"]
    assert price.total["scoring"] == ranked["scoring"]
    assert price.total["map"] == 2 * 30 * 3 * ALL + 40 * ALL  # of one proxy, watched by nothing
    assert price.total["stage2"] == 4 * ranked["stage2"]  # other rows, other trainings
    assert price.separately == price.table["alone"].sum()


def test_one_proxy_is_half_the_training_and_scores_every_row_too(priced):
    one = {"02_td_proxy": {"proxies": "one"}}
    crossed, plain = (row(priced({"arm": ["td_bce"], "n": [20]}, blocks=b), "td_bce") for b in ({}, one))
    assert crossed["proxy"] == 2 * plain["proxy"]
    assert crossed["scoring"] == plain["scoring"] == 100 * ALL


def test_too_small_tasks_share_their_rows_with_those_that_are_watched(priced):
    """Of 40 rows a quarter at most is watched, and each of two proxies has a half of the others."""
    sample = {"02_td_proxy": {"proxy_rows": 500, "watch_rows": 40}}
    price = priced({"arm": ["td_bce"], "n": [20]}, blocks=sample, rows=40)
    assert row(price, "td_bce")["proxy"] == 2 * (30 * 3) * ALL
    assert row(price, "td_bce")["scoring"] == 40 * ALL


def test_a_study_that_ends_with_rankings_is_priced(priced):
    price, whole = priced({}, ["02_td_proxy", "03_ranking"]), priced({"arm": ["td_bce"], "n": [20]})
    assert price.table.empty
    for stage in ("proxy", "scoring", "map"):
        assert price.total[stage] == whole.total[stage] > 0
    assert set(price.total[price.total > 0].index) == {"proxy", "scoring", "map"}
    assert "whole grid, all seeds, shared work once: " in price.shown()


def test_fixed_seeds_make_one_training_of_arms_that_draw_no_rows(priced):
    grid = {"arm": ["single", "step_matched", "random", "all_data", "joint"], "n": [20]}
    price = priced(grid, seeds=[0, 1, 2], choose="last", seed_policy="fixed")
    often = {"single": 1, "step_matched": 1, "all_data": 1, "random": 3, "joint": 3}
    for stage in ("stage2", "tune", "joint"):
        each = {arm: cells[stage] for (_, arm, _), cells in price.table.iterrows()}
        assert price.total[stage] == sum(often[arm] * flops for arm, flops in each.items())
    own = priced(grid, seeds=[0, 1, 2], choose="last")
    assert own.total.sum() == 3 * own.table["alone"].sum()
    held = priced(grid, seeds=[0, 1, 2], seed_policy="fixed")  # held-out rows are drawn by seed
    assert held.total.sum() == 3 * held.table["alone"].sum()


# --- GradTS and AUTOSEM -----------------------------------------------------------------------------------------------


def test_thres_is_head_importance_and_the_n_rows(priced):
    price = priced({"arm": ["gradts_thres"], "n": [20]}, choose="last")
    cells = row(price, "gradts_thres")
    assert cells["task_tuning"] == TUNED
    assert cells["importance"] == MEASURED
    assert cells["stage2"] == 2 * 3 * (100 * P + 20 * Q)
    assert cells["tune"] == 3 * 3 * 100 * P
    assert used(cells) == {"task_tuning", "importance", "stage2", "tune"}
    assert cells["alone"] == cells["amortised"] == TUNED + MEASURED + cells["stage2"] + cells["tune"]


def test_an_arm_is_charged_for_its_candidates_and_the_study_for_every_task(priced):
    base = {"auxiliaries": ["look_alike", "word_class"]}
    price = priced({"arm": ["gradts_thres"], "n": [20]}, base=base, seeds=[0, 1])
    assert price.table["task_tuning"].item() == 4 * 50 * 3 * (P + 2 * Q)
    assert price.table["importance"].item() == 30 * (2 * P + 64 * 20 + 2 * (2 * Q + 64 * 10))
    assert price.total["task_tuning"] == 2 * TUNED
    assert price.total["importance"] == 2 * MEASURED


@pytest.mark.parametrize("choose", ["holdout", "last"])
def test_a_trial_counts_its_own_last_training_once(priced, choose):
    """Two sets and the primary alone. Judged on held-out rows the arm is one of these trainings, else one more."""
    grid = {"arm": ["gradts_trial"], "n": [20]}
    cells = row(priced(grid, choose=choose, methods={"gradts_trial": {"trial_most": 2}}), "gradts_trial")
    search = 2 * ONE + ALONE
    last = ONE if choose == "holdout" else 2 * 3 * (100 * P + 20 * Q) + 3 * 3 * 100 * P
    assert cells["stage2"] + cells["tune"] == last
    assert cells["trial"] == search - (ONE if choose == "holdout" else 0)
    assert cells["alone"] - cells["task_tuning"] - cells["importance"] == cells["trial"] + last
    code = priced(grid, choose=choose, methods={"gradts": {"trial_most": 2, "trial_rule": "code"}})
    assert cells["trial"] - code.table["trial"].item() == ALONE


@pytest.mark.parametrize(("most", "patience", "expected"), [(1, 1, 1), (2, 1, 2), (7, 1, 2), (7, 2, 4), (9, 9, 7)])
def test_a_search_is_expected_to_stop_and_may_try_every_set(priced, most, patience, expected):
    """There are only seven auxiliaries."""
    methods = {"gradts": {"trial_most": most, "trial_patience": patience}}
    cells = row(priced({"arm": ["gradts_trial"], "n": [20]}, choose="last", methods=methods), "gradts_trial")
    assert cells["trial"] == expected * ONE + ALONE
    own = cells["alone"] - cells["trial"]
    # The primary's steps may all be of full batches, if it is chosen alone or leaks make it so.
    alone = 3 * 6 * 32 * P + TUNE
    last = 3 * 8 * 32 * P + 3 * 3 * 100 * P
    assert cells["at_most"] == pytest.approx(
        min(most, 7) * ONE + alone + own - cells["stage2"] - cells["tune"] + max(last, cells["stage2"] + cells["tune"])
    )


def test_fg_takes_measured_rows_and_pays_for_the_tasks_it_starts_from(priced):
    """A tenth of 30 measured rows of seven tasks: 21 rows of the 40 asked for. Of all tasks, or of those of a trial."""
    fine = {"trial_most": 1, "fg_fraction": 0.1}
    options = [{"gradts": fine | {"fg_tasks": tasks}} for tasks in ("all", "thres", "trial")]
    table = priced({"arm": ["gradts_fg"], "n": [40], "methods": options}, choose="last").table
    assert table["stage2"].to_list() == [2 * 3 * (100 * P + 21 * Q)] * 3
    one = 2 * 3 * (75 * P + 40 * Q) + TUNE
    *none, search = table["trial"]
    assert none == [0, 0]
    alone = search - one - TUNE  # eight steps, three an epoch
    assert 3 * (2 * 75 + 11 + 32) * P <= alone <= 3 * (2 * 75 + 64) * P
    nothing = {"gradts": {"fg_tasks": "all", "fg_fraction": 0.01}}
    stage2 = priced({"arm": ["gradts_fg"], "n": [40]}, methods=nothing, choose="last").table["stage2"].item()
    assert 3 * (2 * 100 + 36) * P <= stage2 <= 3 * (2 * 100 + 64) * P  # the primary alone: ten steps, four an epoch


SEARCH = {"autosem": {"bandit_rounds": 16, "bandit_batches": 2, "ratio_trials": 4}}


@pytest.mark.parametrize("choose", ["holdout", "last"])
def test_autosem_is_a_bandit_and_a_search_of_ratios(priced, choose):
    """Every task is played twice, two batches at a time, judged before the first round and after each."""
    price = priced({"arm": ["autosem_p1", "autosem"], "n": [20]}, choose=choose, methods=SEARCH)
    first, both = row(price, "autosem_p1"), row(price, "autosem")
    bandit = first["bandit"] - 17 * JUDGED
    assert bandit <= 4 * 32 * 3 * ALL
    assert (
        bandit >= 4 * 32 * 3 * 7 * Q + 2 * (32 + 11) * 3 * P - 2 * 7 * 28 * 3 * Q
    )  # the last batch of a task is small
    assert both["bandit"] == first["bandit"] == price.total["bandit"]
    kept = 75 if choose == "holdout" else 100
    assert first["stage2"] == 2 * 3 * (kept * P + 20 * Q)
    assert first["tune"] == both["tune"] == 3 * 3 * kept * P + (3 * JUDGED if choose == "holdout" else 0)
    assert used(first) == {"bandit", "stage2", "tune"}
    assert used(both) == {"bandit", "trial", "stage2", "tune"}
    assert both["stage2"] <= 8 * 32 * 3 * P  # full batches at most, of few rows fewer
    if choose == "holdout":
        assert both["trial"] == 3 * (both["stage2"] + both["tune"])
    assert both["alone"] == both["amortised"] == both[["bandit", "trial", "stage2", "tune"]].sum()
    assert price.total["trial"] == both["trial"]


def test_importance_is_shared_by_primaries_and_searches_are_not(priced):
    grid = {"primary": ["topic_side", "look_alike"], "arm": ["gradts_trial", "autosem"], "n": [20]}
    price = priced(grid, seeds=[0, 1, 2], methods=SEARCH)
    cells = row(price, "gradts_trial")
    assert cells["alone"] - cells["amortised"] == pytest.approx((TUNED + MEASURED) / 2)
    cells = row(price, "autosem")
    assert cells["alone"] == cells["amortised"]
    assert price.total["task_tuning"] == 3 * TUNED
    assert price.total["importance"] == 3 * MEASURED
    for stage in ("trial", "bandit"):
        assert price.total[stage] == pytest.approx(3 * price.table[stage].sum())
    assert price.separately == pytest.approx(3 * price.table["alone"].sum())
    assert price.primaries == ["topic_side", "look_alike"]


def test_a_training_over_one_suite_serves_no_other(folder_suite, tmp_path):
    """Its key holds the suite, whose tasks all have a head in its model."""
    smaller = tmp_path / "smaller.yaml"
    smaller.write_text(
        "name: smaller\nextends: suite.yaml\ntasks:\n  one: {resplit: {train: 20, rest: leave}}\n", encoding="utf-8"
    )

    def tuning(suites):
        base = {"primary": "pair", "encoder": "tiny", "size": "full", "rows": 0, "seeds": [0, 1]}
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump({
            "study": "s", "base": base, "grid": {"suite": list(map(str, suites)), "arm": ["single"]},
            "stages": ["06_mtl"],
        }), encoding="utf-8")  # fmt: skip
        return forecasts.price(path).total["tune"]

    alone = tuning([folder_suite])
    assert alone > 0
    assert tuning([folder_suite, smaller]) == 2 * alone


def test_the_grid_counts_a_search_once_whoever_asks(priced):
    """trial and fg share trainings, p1 and autosem a bandit at any n, and all definitions one tuning and one pass."""
    price = priced({"arm": ["gradts_trial", "gradts_fg", "autosem_p1", "autosem"], "n": [20, 30]}, methods=SEARCH)
    table = price.table.loc["topic_side"]
    assert price.total["task_tuning"] == TUNED
    assert price.total["importance"] == MEASURED
    assert price.total["bandit"] == table.loc[("autosem", 20), "bandit"]
    assert price.total["trial"] == pytest.approx(table.loc[["gradts_trial", "autosem"], "trial"].sum())
    last = table.loc[("gradts_trial", 20), ["stage2", "tune"]].sum()
    # What the trial arm trains at last belongs to its own line; fg pays for the search whole.
    assert table.loc[("gradts_fg", 20), "trial"] == pytest.approx(table.loc[("gradts_trial", 20), "trial"] + last)
    assert price.total[["stage2", "tune"]].sum() == pytest.approx(table[["stage2", "tune"]].sum(axis=None))
    defined = {
        "arm": ["gradts_thres"],
        "n": [20],
        "methods": [{"gradts": {"definition": d}} for d in ("gate", "kv_rows")],
    }
    both = priced(defined)
    assert both.total[["task_tuning", "importance"]].to_list() == [TUNED, MEASURED]
    assert both.total["stage2"] == 2 * row(priced({"arm": ["gradts_thres"], "n": [20]}), "gradts_thres")["stage2"]


def test_other_ratios_are_another_search(priced):
    options = [{"autosem": SEARCH["autosem"] | {"ratio_highest": highest}} for highest in (10, 20)]
    price = priced({"arm": ["autosem"], "n": [20], "methods": options})
    assert price.total["bandit"] == price.table["bandit"].iloc[0]
    assert price.total["trial"] == pytest.approx(price.table["trial"].sum())
    assert price.total["stage2"] == pytest.approx(price.table["stage2"].sum())


def test_a_study_of_04_alone_is_priced(priced):
    """Another dropout is another pass over the same tuned models."""
    price = priced({"dropout": [False, True]}, ["04_gradts_correlation"], seeds=[0, 1])
    assert price.table.empty
    assert price.total.sum() == 2 * (TUNED + 2 * MEASURED) == price.most
    assert price.separately == 0
    shown = price.shown()
    assert "whole grid, all seeds, shared work once: " in shown
    assert "on its own" not in shown
    with pytest.raises(InputError, match=r"study\.yaml: stages: none among them trains anything, so there is nothing"):
        priced({}, ["01_data_prep"])


def test_importance_at_the_proxy_costs_the_proxy_and_no_tuning(priced):
    price = priced({"arm": ["td_bce", "gradts_proxy"], "n": [20]})
    ranked, read = row(price, "td_bce"), row(price, "gradts_proxy")
    assert read["proxy"] == ranked["proxy"] == price.total["proxy"] > 0
    assert (read["scoring"], read["task_tuning"], read["importance"]) == (0, 0, MEASURED)
    assert price.total["importance"] == MEASURED
    both = priced({"arm": ["gradts_thres", "gradts_proxy"], "n": [20]})
    assert both.total["importance"] == 2 * MEASURED
    assert both.total["task_tuning"] == TUNED


def test_another_encoder_s_order_of_the_tasks_is_priced_by_its_own_size(tmp_path, monkeypatch, priced):
    """tiny has two layers here, tiny:1 one; an encoder named twice is not priced twice."""

    def told(p):
        layers = 1 if p.encoder == "tiny:1" else 2
        shape = type("Shape", (), SMALL | {"num_hidden_layers": layers})
        lengths = {name: {"train": Tokens(np.full(40, 10)), "dev": Tokens(np.zeros(0, int))}
                   for name in ("topic_side", "look_alike")}  # fmt: skip
        return forecasting.Sizes(lengths, shape, "made up")

    monkeypatch.setattr(sizing, "measured", told)
    base = {"suite": "planted", "encoder": "tiny", "size": "full", "precision": "fp32", "seeds": [0]}
    content = {"study": "s", "stages": ["04_gradts_correlation"], "base": base}
    content["notebooks"] = {"04_gradts_correlation": HEADS | {"also": ["tiny:1", "tiny"]}}
    path = tmp_path / "encoders.yaml"
    path.write_text(yaml.safe_dump(content))
    layer = 2 * (4 * 40 * 3 * Q + 30 * (2 * Q + 64 * 10))
    assert forecasts.price(path).total.sum() == (2 + 1) * layer
    with pytest.raises(InputError, match="expects describes one encoder, but the study has tiny and tiny:1"):
        priced({"also": [["tiny:1"]]}, ["04_gradts_correlation"])


# --- weights ---------------------------------------------------------------------------------------------------------

JOINT = 5 * (3 * (75 + 700) * Q + 25 * Q)  # where all rows are as long, which batches of several tasks need
# Two chunks of 12 of the 25 held-out rows, two of 32 of each task's training rows.
UPDATE = 3 * (24 * P + 64 * P + 7 * 64 * Q)
EVEN = 3 * (24 + 64 + 7 * 64) * Q


def test_each_prior_is_a_training_of_its_own(priced):
    for arm in ("power", "tawt_power"):
        methods = [{arm: {"prior_power": power}} for power in (-1, -0.5, 0)]
        one = priced({"arm": [arm], "methods": methods[:1]}).total.sum()
        assert priced({"arm": [arm], "methods": methods}).total.sum() == pytest.approx(3 * one)


def test_joint_training_is_one_phase_and_a_probe_per_epoch(priced):
    price = priced({"arm": ["tawt_joint", "tawt_normalised", "shuffled_joint"]}, tokens=10)
    for arm in ("tawt_joint", "tawt_normalised", "shuffled_joint"):
        cells = row(price, arm, 0)
        assert cells["joint"] == JOINT
        assert cells["weighting"] == 5 * EVEN
        assert cells["alone"] == cells["amortised"] == JOINT + 5 * EVEN
        assert cells["ceiling"] == cells["all_data"] / JOINT
        assert used(cells) == {"joint", "weighting"}
    full = 2 * 3 * 775 * Q + 3 * (3 * 75 + 25) * Q
    assert price.table["all_data"].to_list() == [full] * 3


def test_rows_of_other_lengths_in_a_batch_are_padded(priced):
    cells = row(priced({"arm": ["joint"]}, choose="last"), "joint", 0)
    plain, padded = 5 * 3 * 100 * ALL, 5 * 3 * 800 * P
    assert plain < cells["joint"] < padded == cells["at_most"]


@pytest.mark.parametrize("arm", ["joint", "null_joint", "normalised", "share_50", "null_normalised"])
def test_weights_that_nothing_measures_cost_no_probe(priced, arm):
    cells = row(priced({"arm": [arm]}, tokens=10), arm, 0)
    assert cells["alone"] == cells["joint"] == JOINT


def test_pre_training_has_two_phases_and_fits_the_head_for_each_update(priced):
    price = priced({"arm": ["pretrain", "tawt_pretrain"]})
    for arm, probe in (("pretrain", 0), ("tawt_pretrain", 2 * (3 * (24 * P + 448 * Q) + 75 * P))):
        cells = row(price, arm, 0)
        assert cells["pretrain"] == 2 * 3 * 700 * Q
        assert cells["tune"] == TUNE
        assert cells["weighting"] == probe


def test_the_probe_s_settings_are_priced(priced):
    def probe(**given):
        return row(priced({"arm": ["tawt_joint"]}, methods={"tawt": given}), "tawt_joint", 0)["weighting"]

    assert probe() == 5 * UPDATE
    # 5 x 25 steps of 32 of all 775 rows, so that every 20 steps are 6 updates.
    assert probe(weight_every=20) == 6 * UPDATE
    # Task-pure: 3 + 7 x 4 = 31 batches an epoch, 155 steps.
    assert probe(weight_every=20, combine="scaled") == 7 * UPDATE
    # Three chunks of 8 held-out rows, and of 5 of every task.
    assert probe(probe_chunks=3, probe_rows=5) == 5 * 3 * (15 * P + 15 * P + 7 * 15 * Q)
    assert probe(probe_chunks=3, probe_rows=9) == 5 * 3 * (24 * P + 27 * P + 7 * 27 * Q)
    # Training's own gradients are read: only the target's is measured, once an epoch.
    assert probe(probe_estimator="reused", combine="scaled", weight_every=20) == 5 * 3 * 24 * P
    # The authors': one chunk of 64 training rows, the target not against itself, once an epoch, whatever else is said.
    paper = 5 * 3 * (64 * P + 7 * 64 * Q)
    assert probe(tawt_rule="paper", weight_every=3, probe_rows=7, probe_estimator="reused") == paper


def test_weighted_training_by_steps(priced):
    """60 steps, 10 of them on the primary in pre-training. 775 rows are 25 mixed batches, 700 rows 22."""
    price = priced({"arm": ["tawt_joint", "tawt_pretrain"]}, steps=60, tune_steps=10, tokens=10)
    joint, pretrain = row(price, "tawt_joint", 0), row(price, "tawt_pretrain", 0)
    assert joint["joint"] == pytest.approx(
        (2 * 775 + 10 * 32) * 3 * Q + 3 * 25 * Q, rel=0.01
    )  # a batch may have 7 rows
    assert joint["weighting"] == 3 * EVEN
    assert pretrain["pretrain"] == pytest.approx((2 * 700 + 6 * 32) * 3 * Q, rel=0.01)
    assert pretrain["weighting"] == 3 * (3 * (24 + 448) * Q + 75 * Q)


def test_a_selection_s_rows_are_weighed_at_its_price(priced):
    """20 rows of seven tasks: two or three of each, and so two chunks of one row."""
    arms = ["td_bce", "td_bce+tawt_joint", "gradts_thres+joint"]
    price = priced({"arm": arms, "n": [20]}, tokens=10)
    plain, weighed, tasks = (row(price, arm) for arm in arms)
    assert weighed["joint"] == 5 * (3 * 95 * Q + 25 * Q)
    assert weighed["weighting"] == 5 * 3 * (24 + 64 + 7 * 2) * Q
    assert used(weighed) == {"proxy", "scoring", "joint", "weighting"}
    assert weighed["proxy"] == plain["proxy"] == price.total["proxy"] > 0
    assert weighed["scoring"] == plain["scoring"] == price.total["scoring"] > 0
    assert used(tasks) == {"task_tuning", "importance", "joint"}
    assert tasks["joint"] == weighed["joint"]
    assert price.total["joint"] == 2 * weighed["joint"]


def test_a_search_before_weighting_counts_all_of_its_trainings(priced):
    """Its own last training is none of the weighted arm's; the search itself is shared."""
    price = priced({"arm": ["gradts_trial", "gradts_trial+joint"], "n": [20]}, methods={"gradts": {"trial_most": 2}})
    plain, weighed = row(price, "gradts_trial"), row(price, "gradts_trial+joint")
    assert weighed["trial"] == plain["trial"] + plain["stage2"] + plain["tune"]
    assert price.total["trial"] == plain["trial"]


def test_best_rows_may_be_fewer_and_none_leaves_nothing_to_weigh(priced):
    given = {"fg_tasks": "all", "fg_fraction": 0.1}
    cells = row(priced({"arm": ["gradts_fg+joint"], "n": [90]}, methods={"gradts": given}, choose="last", tokens=10),
                "gradts_fg+joint", 90)  # fmt: skip
    assert cells["joint"] == 5 * 3 * (100 + 7 * 3) * Q  # a tenth of 30 measured rows a task
    given["fg_fraction"] = 0.001
    none = row(priced({"arm": ["gradts_fg+joint"], "n": [90]}, methods={"gradts": given}, choose="last"),
               "gradts_fg+joint", 90)  # fmt: skip
    assert (none["joint"], none["tune"]) == (0, 3 * 3 * 100 * P)


def test_final_weights_cost_the_training_that_they_are_from(priced):
    price = priced({"arm": ["tawt_joint", "final_joint", "joint"]}, seeds=[0, 1], tokens=10, blocks=QUIET)
    final = row(price, "final_joint", 0)
    assert final["weighting"] == JOINT + 5 * EVEN
    assert final["joint"] == JOINT
    # 05's training is tawt_joint's, and counts once: two seeds of it, of final_joint and of joint.
    assert price.total["joint"] == 2 * 3 * JOINT
    assert price.total["weighting"] == 2 * 5 * EVEN
    assert price.separately == 2 * (3 * JOINT + 5 * EVEN + JOINT + 5 * EVEN)


QUIET = {"05_tawt_weighting": {"compare_probes": False}}


def test_05_trains_what_06_trains_and_compares_probes_besides(priced):
    """For its first seed four trainings more, of task-pure batches; one of them reads training's own gradients."""
    both = ("05_tawt_weighting", "06_mtl")
    price = priced({"arm": ["tawt_joint"]}, both, seeds=[0, 1], tokens=10)
    assert price.total["joint"] == 2 * JOINT
    assert price.total["weighting"] == 2 * 5 * EVEN
    noisy = 3 * (25 + 64 * 8) * Q  # one chunk: all of the target's 25 rows, 64 of each task's
    assert price.total["compared"] == 4 * JOINT + 5 * (2 * noisy + 3 * 25 * Q + EVEN)
    alone = priced({}, both[:1], seeds=[0, 1], tokens=10)
    assert alone.table.empty
    assert alone.total.equals(price.total)
    # A training that keeps its model is another one.
    kept = priced({"arm": ["tawt_joint"], "keep_model": [True]}, both, seeds=[0, 1], tokens=10)
    assert kept.total["joint"] == 4 * JOINT
    assert priced({"arm": ["tawt_joint"]}, both, blocks=QUIET, tokens=10).total["compared"] == 0


def test_parts_by_score_are_each_probed(priced):
    """Of 280 chosen rows each of seven tasks has 40, in five parts of eight."""
    arms = ["td_bce+tawt_joint", "td_bce+tawt_deciles"]
    options = {"tawt_deciles": {"score_buckets": 5}, "tawt": {"probe_rows": 4}}
    joint, cut = (row(priced({"arm": arms, "n": [280]}, methods=options), arm, 280) for arm in arms)
    assert joint["joint"] == cut["joint"]
    target = 3 * (8 * P + 8 * P)  # two chunks of four rows, held out and trained on
    assert joint["weighting"] == 5 * (target + 7 * 3 * 8 * Q)
    assert cut["weighting"] == 5 * (target + 7 * 5 * 3 * 8 * Q)  # 40 rows a task in five parts


def test_a_small_source_is_cut_into_fewer_parts(priced):
    """Of 70 chosen rows each of seven tasks has ten: two parts of five rows, each with two chunks of two."""
    options = {"tawt_deciles": {"score_buckets": 5}, "tawt": {"probe_rows": 4}}
    arm = "td_bce+tawt_deciles"
    cells = row(priced({"arm": [arm], "n": [70]}, methods=options), arm, 70)
    assert cells["weighting"] == 5 * 3 * (16 * P + 7 * 2 * 4 * Q)


def test_a_source_of_one_row_is_not_probed(priced):
    arm = "td_bce+tawt_joint"
    cells = row(priced({"arm": [arm], "n": [7]}, methods={"tawt": {"probe_rows": 4}}), arm, 7)
    assert cells["weighting"] == 5 * 3 * 16 * P


# --- what is refused, what is shown, cell by cell ---------------------------------------------------------------------


@pytest.mark.parametrize(
    ("grid", "given", "message"),
    [
        ({"arm": ["random"], "n": [701]}, {}, "06_mtl can choose from 700"),
        ({"arm": ["tawt_pretrain"]}, {"steps": 20}, "pre-training needs steps for the primary alone"),
        ({"arm": ["joint"]}, {"holdout": 0.001}, "leaves nothing to hold out"),
        ({"arm": ["tawt_joint"]}, {"holdout": 0.01}, "1 rows for 2 disjoint chunks"),
        ({"arm": ["single"], "auxiliaries": [["nothing"]]}, {}, "nothing"),
    ],
)
def test_what_would_be_refused_has_no_price(priced, grid, given, message):
    with pytest.raises(InputError, match=message) as error:
        priced(grid, **given)
    assert "study.yaml: " in str(error.value)


def test_what_the_pool_lacks_is_refused_where_no_cell_was_asked(priced, tmp_path, monkeypatch):
    """As when a file's graph does not know how many rows there are."""
    monkeypatch.setattr(unread_expansion.Unread, "_pool", lambda *_: None)
    with pytest.raises(InputError, match=r"study\.yaml: n: 701 rows asked for, but the pool has 700"):
        priced({"arm": ["random"], "n": [701]})


def test_only_what_is_used_is_shown(priced):
    shown = priced({"arm": ["single", "random", "joint", "tawt_joint"], "n": [20]}).shown()
    assert shown.startswith("FORECAST in TFLOP")
    assert "shared\nby 1 primaries" in shown
    head = next(line for line in shown.splitlines() if line.split()[:1] == ["primary"])
    assert {"joint", "weighting", "stage2", "tune", "at_most"} <= set(head.split())
    assert not {"pretrain", "bandit", "trial", "proxy", "scoring"} & set(head.split())
    assert "whole grid, all seeds, shared work once: " in shown
    assert "at most " in shown
    assert "every seed of every arm on its own: " in shown


def test_arms_that_cost_the_same_share_a_line(priced):
    shown = priced({"arm": ["td_bce", "quota_bce", "random"], "n": [20]}).shown()
    assert "td_bce, quota_bce" in shown
    assert "mixed" in shown


def test_a_method_s_own_stages_stand_before_the_sums(priced):
    price = priced({"arm": ["single", "gradts_trial"], "n": [20]})
    names = list(price.table.columns)
    assert names.index("trial") < names.index("alone")
    assert tuple(names[-len(forecasts.DERIVED) :]) == forecasts.DERIVED
    assert not price.table.isna().any(axis=None)


def test_what_cells_add_is_the_price_of_the_study(priced, tmp_path):
    grid = {"arm": ["single", "td_bce", "gradts_trial", "final_joint", "tawt_joint"], "n": [20]}
    price = priced(grid, ["01_data_prep", "06_mtl"], seeds=[0, 1])
    cells = graph.load(tmp_path / "study.yaml").cells
    added = forecasts.by_cell(tmp_path / "study.yaml", cells)
    assert sum(added) == pytest.approx(price.total.sum())
    assert len(added) == len(cells)
    by = {(cell.stage, getattr(cell.params, "arm", "")): flops for cell, flops in zip(cells, added, strict=True)}
    assert by["01_data_prep", ""] == by["03_ranking", ""] == 0
    assert by["02_td_proxy", ""] == price.total[["proxy", "scoring", "map"]].sum()
    assert by["04_gradts_correlation", ""] == 2 * (TUNED + MEASURED)
    assert by["06_mtl", "tawt_joint"] == 0  # 05 has made it


def test_a_scoreboard_costs_what_its_methods_run_in_order_to_choose(priced):
    """An encoder as it is (a step of one row), which reads 30 rows of each task for textemb and all of them for knn."""
    given = {"selectors": ["random", "textemb", "knn"], "n": 20}
    price = priced({}, ("08_validity",), methods={"textemb": {"embed_rows": 30}}, blocks={"08_validity": given})
    assert price.table.empty
    once = 3 * Q  # of the first task by name
    assert price.total["embedding"] == pytest.approx(once + 30 * ALL)
    assert price.total["scoring"] == pytest.approx(100 * ALL)
    assert price.total.sum() == pytest.approx(once + 130 * ALL)
    assert price.most == pytest.approx(once + 130 * ALL)
    with pytest.raises(InputError, match="none among them trains"):
        priced({}, ("08_validity",), blocks={"08_validity": {"selectors": ["random", "bm25"], "n": 20}})
