"""The pool: truth about rows is the source's to declare, and no user's column is taken for it."""

import yaml

from auxlearn.data import auxiliary_rows, suites
from auxlearn.export import selections
from own_rows import SPEC, write

SAME = {"helpful": True, "row_id": "x", "origin": "here", "score": 9, "task": "other", "rank": 1, "usable": False}


def suite_of(folder):
    spec = SPEC | {"inputs": ["score", "rank"]}
    rows = [SAME | {"score": f"text {i}", "rank": f"more {i}", "label": i % 2} for i in range(4)]
    for name in ("main", "pool"):
        for split in ("train", "dev"):
            write(folder / name / f"{split}.jsonl", rows)
    tasks = {name: spec | {"source": {"folder": name}} for name in ("main", "pool")}
    tasks["topic_name"] = SPEC | {
        "inputs": ["sentence1", "sentence2"], "labels": [f"topic_{i}" for i in range(4)], "source": "planted",
    }  # fmt: skip
    return suites.Suite.from_yaml(write(folder / "s.yaml", yaml.safe_dump({"name": "s", "tasks": tasks})))


def test_truth_is_in_the_pool_only_where_every_source_declares_it(tmp_path, planted):
    own = suite_of(tmp_path)
    columns = ["task", "row", "row_id", "usable"]
    assert list(auxiliary_rows.pool(own, ["pool"])) == columns
    assert list(auxiliary_rows.pool(own, ["pool", "topic_name"])) == columns
    assert [task.truth for task in own.values()] == [False, False, True]
    pool = auxiliary_rows.pool(planted, ["topic_name", "away_topic"])
    assert pool.groupby("task")["helpful"].mean().to_dict() == {"topic_name": 1.0, "away_topic": 0.0}


def test_inputs_called_as_columns_of_a_selection_are_leave_these_as_they_are(tmp_path):
    import json

    import pandas as pd

    suite = suite_of(tmp_path)
    chosen = auxiliary_rows.pool(suite, ["pool"]).iloc[[2, 0]].assign(score=[0.5, 0.25], rank=[1, 2])
    selections.selection(chosen, suite, "main", tmp_path / "out", with_text=True)
    table = pd.read_parquet(tmp_path / "out" / "selection.parquet")
    assert table[["row", "score", "rank"]].to_dict("list") == {"row": [2, 0], "score": [0.5, 0.25], "rank": [1, 2]}
    assert (table["text1"].tolist(), table["text2"].tolist()) == (["text 2", "text 0"], ["more 2", "more 0"])
    ranks = json.loads((tmp_path / "out" / "rank_json" / "pool.json").read_text())
    assert ranks == {"for_main_rank": [2, -1, 1, -1]}
