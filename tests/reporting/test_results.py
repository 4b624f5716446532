"""What arms cost, and what follows from it."""

from types import SimpleNamespace

import pandas as pd
import pytest
import yaml

from auxlearn.cost import Ledger
from auxlearn.errors import InputError
from auxlearn.records import runs
from auxlearn.reporting import cost_tables, results
from auxlearn.studies import graph, parameters


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
    table = cost_tables.costs([arm])
    of = lambda seed: table[table["seed"] == seed].groupby("stage")["flops"].sum().to_dict()  # noqa: E731
    assert of(0) == {"proxy": 10, "scoring": 20, "ranking": 1, "weighting": 5, "joint": 100}
    assert of(1) == {"proxy": 11, "scoring": 21, "ranking": 2, "weighting": 7, "joint": 101}
    stages = cost_tables.by_stage(table, "flops", 2.0)
    assert list(stages.columns) == ["proxy", "scoring", "ranking", "weighting", "joint"]
    assert stages.iloc[0].tolist() == [10.5 / 2, 20.5 / 2, 1.5 / 2, 6 / 2, 100.5 / 2]
    assert cost_tables.stage_table(table).loc[("td_bce+final_joint", "proxy"), "TFLOP"] == pytest.approx(10.5e-12)


def test_stages_that_only_another_method_has_are_counted_too():
    part = {"ledger": [ledger("tune", 3.0)], "needed": [ledger("proxy", 1.0), ledger("simulated", 5.0)]}
    arm = SimpleNamespace(params={"arm": "mine"}, metrics={"seeds": {"0": part}})
    stages = cost_tables.by_stage(cost_tables.costs([arm]), "flops")
    assert stages.loc["mine"].to_dict() == {"proxy": 1.0, "tune": 3.0, "simulated": 5.0}
    assert cost_tables.amortised(stages, [2]).loc[2, "mine"] == 3 + 5 + 1 / 2  # what others share is not known of it
    assert cost_tables.speedups(stages, 1, "mine").loc["mine", "alone"] == 1


def test_speedups_by_hand():
    stages = pd.DataFrame(
        {"proxy": [0.0, 8.0], "scoring": [0.0, 4.0], "ranking": [0.0, 2.0], "stage2": [90.0, 8.0], "tune": [10.0, 2.0]},
        index=["all_data", "td_bce"],
    )
    speedup = cost_tables.speedups(stages, 4).loc["td_bce"]
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
    costs = cost_tables.new_candidate(stages, 4)
    assert costs.loc["td_bce"].tolist() == [4, 4]
    assert costs.loc["gradts_trial"].tolist() == [45, 15]
    assert costs.loc["autosem"].tolist() == [27, 27]
    assert costs.loc["gradts_proxy"].tolist() == [12, 12]  # a new task is a new column of its discriminator
    assert cost_tables.new_candidate(stages.drop(columns="proxy"), 4).loc["gradts_trial"].tolist() == [45, 15]
    assert "single" not in costs.index


def test_every_stage_that_trains_no_arm_is_a_cost_of_choosing():
    """What a score of tasks reads of each task alone is kept when a task joins, and shared by targets."""
    stages = pd.DataFrame(
        {"tune": 3.0, "embedding": [2.0, 0.0, 0.0], "joint_training": [0.0, 5.0, 0.0], "lookahead": [0.0, 1.0, 0.0],
         "task_tuning": [0.0, 0.0, 8.0], "fisher": [0.0, 0.0, 4.0]},
        index=["textemb", "tag_affinity", "taskemb"],
    )  # fmt: skip
    assert cost_tables.new_candidate(stages, 4).to_numpy().tolist() == [[2, 0.5], [6, 6], [12, 3]]
    assert cost_tables.amortised(stages, [2]).loc[2].tolist() == [3 + 1, 3 + 6, 3 + 6]


# --- auxiliaries that join -----------------------------------------------------------------------------------------


def test_what_is_run_again_when_a_task_joins_is_counted_from_the_trainings(monkeypatch):
    """GradTS reads back the importance of a task and a trial; a bandit over more tasks is another training."""
    flops = {"train/tuned_a": 4, "importance/a": 1, "train/tuned_b": 6, "importance/b": 2, "train/trial_a": 10,
             "train/trial_b": 12, "train/bandit_a": 8, "train/bandit_b": 9, "train/last": 3}  # fmt: skip

    def run(arm, auxiliaries, *units):
        inputs = [dict(zip(("stage", "key"), unit.split("/"), strict=True)) for unit in units]
        inputs.append({"stage": "04_gradts_correlation", "key": "of no cost"})
        keyed = {"auxiliaries": auxiliaries} if auxiliaries else {}
        return SimpleNamespace(params={"arm": arm, "seeds": [0, 1]}, key_params=keyed, inputs=inputs)

    def load(stage, key):
        each = [flops[f"{stage}/{key}"] * 1e12 / 4] * 4  # of two phases and two seeds, say
        return SimpleNamespace(data={"ledger": [{"flops": value} for value in each]})

    monkeypatch.setattr(runs, "load", load)
    first = ["train/tuned_a", "importance/a", "train/trial_a"]
    made = [
        run("single", [], "train/last"),
        run("gradts_trial", ["a", "b"], *first, "train/tuned_b", "importance/b", "train/trial_b"),
        run("gradts_trial", ["a"], *first),
        run("autosem", ["a", "b"], "train/bandit_b", "train/last"),
        run("autosem", ["a"], "train/bandit_a", "train/last"),
        run("random", ["a", "b"], "train/last"),
    ]
    now, before = results.by_pool(made, ["b"])
    assert [m.params["arm"] for m in now] == ["single", "gradts_trial", "autosem", "random"]
    assert [m.params["arm"] for m in before] == ["gradts_trial", "autosem"]
    table = results.run_again(now, before)
    assert table.loc["gradts_trial"].tolist() == pytest.approx([15 / 2, 35 / 2, 15 / 2, 20 / 2])
    assert table.loc["autosem"].tolist() == pytest.approx([11 / 2, 12 / 2, 3 / 2, 9 / 2])
    assert list(table.index) == ["gradts_trial", "autosem"]
    assert results.by_pool(made, []) == (made, [])
    assert results.run_again(made, []).empty


def test_a_comparison_reads_the_arms_from_before_a_task_joined(tmp_path):
    names = ["topic_name", "look_alike", "away_topic"]
    study = {
        "study": "s",
        "base": {"suite": "planted", "primary": "topic_side", "size": "full", "seeds": [0], "rows": 80,
                 "auxiliaries": names},
        "grid": {"arm": ["single", "random", "autosem_p1"], "n": [40]},
        "notebooks": {"07_efficiency": {"joined": ["topic_name"]}},
    }  # fmt: skip
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(study))
    cells = graph.load(tmp_path / "s.yaml").cells
    (compared,) = (cell for cell in cells if cell.stage == "07_efficiency")
    read = [(cell.params.arm, len(cell.params.auxiliaries)) for cell in compared.reads]
    assert read == [("single", 3), ("random", 3), ("autosem_p1", 3), ("random", 2), ("autosem_p1", 2)]
    for given in (["word_class"], names):
        with pytest.raises(InputError, match=r"joined: .*: name the auxiliaries there are now"):
            parameters.validate("07_efficiency", {"auxiliaries": names, "joined": given})
    assert "joined" not in parameters.validate("07_efficiency", {"auxiliaries": names}).key_params()
