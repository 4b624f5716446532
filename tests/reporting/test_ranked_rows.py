"""Rows shown to a reader: the right ones, with their own texts and labels."""

import pandas as pd
import pytest

from auxlearn.data import suites
from auxlearn.reporting import ranked_rows, results, summaries


@pytest.fixture(scope="module")
def suite():
    return suites.load("planted")


def test_extremes_are_the_first_of_the_selection_and_the_last_of_each_proxys_scores(suite):
    eligible = pd.DataFrame({
        "task": ["topic_name"] * 3 + ["side_share"] * 3, "row": [0, 1, 2, 5, 6, 7],
        "score": [0.9, 0.5, 0.1, -3.0, -2.0, -9.0], "proxy": [0, 0, 0, 1, 1, 1],
        "helpful": [True] * 3 + [False] * 3,
    })  # fmt: skip
    chosen = eligible.iloc[[4, 0]].assign(rank=[2, 1])
    table = ranked_rows.extremes(suite, "topic_side", chosen, eligible, 2)
    assert list(table.index) == ["best 1", "best 2", "worst 2", "worst 1"]
    assert table["score"].tolist()[:2] == [0.9, -2.0]
    assert sorted(table["score"].tolist()[2:]) == [-9.0, 0.1]  # the last of either proxy, not the two lowest
    assert table["helpful"].tolist()[:2] == ["yes", "no"]
    row = suite["topic_name"].train[0]
    first, second = table["text"].iloc[0].split(" | ")
    assert row["sentence1"].startswith(first.rstrip("…"))
    assert row["sentence2"].startswith(second.rstrip("…"))
    words = set(f"{row['sentence1']} {row['sentence2']}".split())
    own = suite["topic_side"].train
    known = {
        word for at in range(len(own)) for column in suite["topic_side"].inputs for word in own[at][column].split()
    }
    count, _, named = table["primary has"].iloc[0].partition(": ")
    assert count == f"{len(words & known)} of {len(words)}"
    assert set(named.split(", ")) <= words & known
    assert ranked_rows.reasons(suite, table["task"]).splitlines()[0].startswith("topic_name: pairs of home sentences")
    assert table["label"].iloc[0] == suite["topic_name"].labels[row["label"]]
    assert table["label"].iloc[1] == f"{suite['side_share'].train[6]['label']:.2f}"


def test_rows_without_scores_or_truth_are_shown_all_the_same(suite):
    table = ranked_rows.with_texts(suite, pd.DataFrame({"task": ["word_class"], "row": [3]}), width=10)
    assert list(table.columns) == ["task", "label", "text"]
    assert len(table["text"].iloc[0]) == 10
    assert " ".join(suite["word_class"].train[3]["tokens"]).startswith(table["text"].iloc[0][:-1])


def test_the_planted_design_is_its_own_declaration_and_no_other_suite_has_one(suite, tmp_path):
    table = summaries.design(suite)
    assert list(table.index) == suite.names
    assert table.loc[["topic_side", "topic_name", "cross_group", "look_alike"], "helpful"].tolist() == [1, 1, 0, 0]
    assert 0.4 < table.loc["topic_mixed", "helpful"] < 0.6
    assert table["why"].str.len().min() > 20
    (tmp_path / "mine.csv").write_text("text,label\n" + "a b,0\nc d,1\n" * 20)
    (tmp_path / "mine.yaml").write_text(
        "name: mine\nroot: .\ntasks: {mine: {kind: classification, inputs: [text], label: label, labels: [x, y],"
        " metric: accuracy, source: {files: {train: mine.csv}}}}\n"
    )
    assert summaries.design(suites.load(str(tmp_path / "mine.yaml"))) is None


def test_a_hundred_looks_are_thinned_and_kept_states_stay():
    looks = pd.DataFrame(
        {"seed": 0, "step": range(1, 101), "value": 0.5, "kept": [step == 38 for step in range(1, 101)]}
    )
    steps = results.thinned(looks)["step"].tolist()
    assert len(steps) == 11
    assert {1, 38, 100} <= set(steps)
    assert results.thinned(looks.head(10)).equals(looks.head(10))
