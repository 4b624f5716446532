"""What arms cost, and what follows from it."""

from types import SimpleNamespace

import pandas as pd
import pytest

from auxlearn.cost import Ledger
from auxlearn.reporting import results


def ledger(stage, flops):
    return Ledger(stage, flops=flops).as_dict()


def test_a_seed_is_charged_its_own_artifacts_and_stages_are_means_over_seeds():
    own = {s: [ledger("joint", 100.0 + s)] for s in (0, 1)}
    needed = {s: [ledger("proxy", 10.0 + s), ledger("scoring", 20.0 + s), ledger("ranking", 1.0 + s),
                  ledger("weighting", 5.0 + 2 * s)] for s in (0, 1)}  # fmt: skip
    arm = SimpleNamespace(
        params={"arm": "td_bce+final_joint"},
        metrics={"seeds": {str(s): {"ledger": own[s], "needed": needed[s]} for s in (0, 1)}},
    )
    table = results.costs([arm])
    of = lambda seed: table[table["seed"] == seed].groupby("stage")["flops"].sum().to_dict()  # noqa: E731
    assert of(0) == {"proxy": 10, "scoring": 20, "ranking": 1, "weighting": 5, "joint": 100}
    assert of(1) == {"proxy": 11, "scoring": 21, "ranking": 2, "weighting": 7, "joint": 101}
    stages = results.by_stage(table, "flops", 2.0)
    assert list(stages.columns) == ["proxy", "scoring", "ranking", "weighting", "joint"]
    assert stages.iloc[0].tolist() == [10.5 / 2, 20.5 / 2, 1.5 / 2, 6 / 2, 100.5 / 2]
    assert results.stage_table(table).loc[("td_bce+final_joint", "proxy"), "TFLOP"] == pytest.approx(10.5e-12)


def test_stages_that_only_another_method_has_are_counted_too():
    part = {"ledger": [ledger("tune", 3.0)], "needed": [ledger("proxy", 1.0), ledger("simulated", 5.0)]}
    stages = results.by_stage(results.costs([SimpleNamespace(params={"arm": "mine"}, metrics={"seeds": {"0": part}})]),
                              "flops")  # fmt: skip
    assert stages.loc["mine"].to_dict() == {"proxy": 1.0, "tune": 3.0, "simulated": 5.0}
    assert results.amortised(stages, [2]).loc[2, "mine"] == 3 + 5 + 1 / 2  # what others share is not known of it
    assert results.speedups(stages, 1, "mine").loc["mine", "alone"] == 1


def test_speedups_by_hand():
    stages = pd.DataFrame(
        {"proxy": [0.0, 8.0], "scoring": [0.0, 4.0], "ranking": [0.0, 2.0], "stage2": [90.0, 8.0], "tune": [10.0, 2.0]},
        index=["all_data", "td_bce"],
    )
    speedup = results.speedups(stages, 4).loc["td_bce"]
    assert speedup.to_dict() == pytest.approx({"alone": 100 / 24, "amortised": 100 / 15, "ceiling": 100 / 10})


def test_a_curve_stands_at_the_mean_of_rows_added():
    seeds = {str(s): {"dev": {"f1": 0.5 + s / 10}, "added": added} for s, added in enumerate((0, 100, 100))}
    curve = results.curve([SimpleNamespace(params={"arm": "gradts_thres"}, metrics={"seeds": seeds})], "f1", 1000)
    assert curve[["n", "share", "seeds"]].iloc[0].tolist() == [67, 0.067, 3]


def test_a_curve_of_a_suite_of_one_task_has_no_pool_to_take_a_share_of():
    seeds = {"0": {"dev": {"f1": 0.5}, "added": 0}}
    runs = [SimpleNamespace(params={"arm": arm}, metrics={"seeds": seeds}) for arm in ("single", "step_matched")]
    assert results.curve(runs, "f1", 0)["share"].tolist() == [0.0, 0.0]


def test_what_choosing_costs_when_a_candidate_joins():
    stages = pd.DataFrame(
        {"proxy": [0.0, 4.0, 0.0, 0.0, 4.0], "task_tuning": [0.0, 0.0, 30.0, 0.0, 0.0],
         "importance": [0.0, 0.0, 10.0, 0.0, 8.0], "bandit": [0.0, 0.0, 0.0, 7.0, 0.0],
         "trial": [0.0, 0.0, 5.0, 20.0, 0.0], "tune": 3.0},
        index=["single", "td_bce", "gradts_trial", "autosem", "gradts_proxy"],
    )  # fmt: skip
    costs = results.new_candidate(stages, 4)
    assert costs.loc["td_bce"].tolist() == [4, 4]
    assert costs.loc["gradts_trial"].tolist() == [45, 15]
    assert costs.loc["autosem"].tolist() == [27, 27]
    assert costs.loc["gradts_proxy"].tolist() == [12, 12]  # a new task is a new column of its discriminator
    assert results.new_candidate(stages.drop(columns="proxy"), 4).loc["gradts_trial"].tolist() == [45, 15]
    assert "single" not in costs.index
