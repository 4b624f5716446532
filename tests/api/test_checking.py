"""What `auxlearn.check` tells of a suite."""

from dataclasses import replace

import datasets
import pytest

import auxlearn
from auxlearn import Suite
from auxlearn.errors import InputError


def texts(made, n=120):
    features = datasets.Features(text=datasets.Value("string"), label=datasets.ClassLabel(names=["a", "b"]))
    rows = {"text": [made(i) for i in range(n)], "label": [i % 2 for i in range(n)]}
    return datasets.Dataset.from_dict(rows, features)


def test_a_format_that_tells_its_task_is_named():
    suite = Suite.from_datasets({
        "plain": texts(lambda i: f"words of row {'x' * (i % 7)}"),
        "alike": texts(lambda i: f"lines of row {'y' * (i % 7)}"),
        "asked": texts(lambda i: f"is it so {'z' * (i % 7)}?"),
    })  # fmt: skip
    checked = auxlearn.check(suite)
    assert list(checked.tables) == ["leaks", "floors", "detectable", "cues"]
    assert checked.cues["format"]["asked"] == pytest.approx(1)
    assert checked.cues["cue"]["asked"] in ("ends_question_1", "question_1", "punctuation_1")
    assert checked.cues["alone"]["asked"] == pytest.approx(1)
    assert checked.cues["format"]["plain"] < 0.9
    assert "Format alone gives away asked: " in str(checked)


def test_leaks_floors_and_differences_are_the_notebook_s(small):
    tasks = dict(small)
    tasks["topic_name"] = replace(tasks["topic_name"], train=tasks["topic_side"].dev.select(range(40)))
    checked = auxlearn.check(Suite("leaky", tasks, "leaky"))
    assert checked.leaks.loc["topic_name", "topic_side"] == 40
    assert checked.floors.loc["topic_side", "scores"] == pytest.approx(0.5)
    assert checked.detectable.loc["topic_side", "dev rows"] == 1000
    assert "0.5" in repr(checked)


def test_a_single_task_has_no_other_to_be_told_from(small):
    checked = auxlearn.check(Suite("one", {"topic_side": small["topic_side"]}, "one"))
    assert checked.cues.empty
    assert "Format" not in str(checked)


def test_tasks_of_one_row_have_no_cues_to_judge():
    one = texts(str, 1)
    checked = auxlearn.check(Suite.from_datasets({name: {"train": one, "validation": one} for name in "ab"}))
    assert checked.cues.empty


def test_what_is_no_suite_is_refused():
    with pytest.raises(InputError, match=r"suite: a Suite is needed, such as auxlearn\.planted"):
        auxlearn.check("planted")
