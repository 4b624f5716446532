"""`auxlearn check FILE --data`: what a suite's data holds, and all that is wrong with it at once."""

import pytest
import yaml

from auxlearn import cli
from auxlearn.data import suites
from auxlearn.errors import InputError
from auxlearn.reporting import data_check, summaries
from auxlearn.studies import graph
from own_rows import SCORE, SPEC, TAGS, csv, rows, suite_file, write


def suite_of(folder, **tasks):
    """A suite of several tasks, each of a spec and its files."""
    content = {"name": "s", "tasks": {}}
    for name, (spec, files) in tasks.items():
        for file, text in files.items():
            write(folder / name / file, text)
        content["tasks"][name] = spec | {"source": {"folder": name}}
    return write(folder / "suite.yaml", yaml.safe_dump(content, sort_keys=False))


GOOD = {"train.jsonl": rows([1, 0, 1, 1]), "dev.csv": csv(["0"], "dev"), "test.jsonl": rows([None, 1, -1], "test")}


def test_all_problems_are_reported_at_once(tmp_path, capsys):
    path = suite_of(
        tmp_path,
        fine=(SPEC, GOOD),
        labels=(
            SPEC,
            {"train.jsonl": rows([1, "x", 0, *"yzabcdef"]), "dev.jsonl": [{"text": 7, "label": 1}, {"label": 1}]},
        ),
        range=(SCORE, {"train.csv": csv([1, 9, 2, "high"]), "dev.csv": csv([""])}),
        gone=(SPEC, {}),
        twice=(SPEC, GOOD | {"valid.jsonl": rows([1])}),
        tags=(
            TAGS,
            {"train.jsonl": [{"tokens": ["a", "b"], "tags": ["O"]}], "dev.jsonl": [{"tokens": ["a"], "tags": ["O"]}]},
        ),
    )
    assert cli.main(["check", str(path), "--data"]) == 1
    said = capsys.readouterr().out
    for part in (
        "task 'labels', train row 1: unknown label 'x'; labels are bad, good or ids 0 to 1 (rows 1, 3, 4, 5, 6 and 4 m",
        "task 'labels', dev row 0: 'text' must be text, not 7",
        "task 'labels', dev row 1: no 'text' in this row",
        "task 'range', train row 3: the label 'high' is not a number",
        "task 'range', train row 1: the label 9.0 is outside the range 0.0 to 5.0",
        "task 'range', dev row 0: the label is missing",
        "gone: no such folder",
        "dev exists more than once (dev.csv, valid.jsonl)",
        "task 'tags', train row 0: 'tags' must list one tag per token",
        "9 problems:",
    ):
        assert part in said
    (line,) = (line for line in said.splitlines() if line.startswith("fine"))
    assert line.split()[1:6] == ["classification", "4", "1", "3", "dev"]
    assert line.endswith("good 75%, bad 25%")


def test_a_sound_suite_is_a_table_and_status_0(tmp_path, capsys):
    spec = SPEC | {"drop_unlabelled": True}
    files = {"train.jsonl": [{"text": "three words here", "label": i % 2} for i in range(40)] + rows([None, -1])}
    path = suite_of(tmp_path, one=(spec, files), two=(SCORE, {"train.csv": csv([1, 2.5]), "dev.csv": csv([3])}))
    assert cli.main(["check", str(path), "--data"]) == 0
    assert "2 tasks" in capsys.readouterr().out
    suite = suites.Suite.from_yaml(path)
    table = data_check.table(suite)
    assert table.loc["one"].to_dict() == {
        "kind": "classification", "train": 36, "dev": 4, "test": 0, "dev from": "train", "unlabelled": 0, "dropped": 2,
        "longest": 3, "labels": table.loc["one", "labels"],
    }  # fmt: skip
    assert table.loc["two", "labels"] == "1 to 2.5, mean 1.75"
    assert summaries.sizes(suite)["dropped"].to_dict() == {"one": 2, "two": 0}


def test_a_suite_s_own_faults_are_problems_too(tmp_path, capsys):
    path = suite_file(tmp_path, {"train.jsonl": rows([1])}, SPEC | {"metric": "pearson"})
    assert cli.main(["check", str(path), "--data"]) == 1
    assert "pearson does not judge a classification task" in capsys.readouterr().out
    assert cli.main(["check", str(path)]) == 2
    path = suite_file(tmp_path, {"train.jsonl": rows(["x"])})
    assert cli.main(["check", str(path)]) == 0  # whose rows are not looked at


def test_a_study_s_suites_are_read_and_its_own_faults_reported_with_theirs(tmp_path, capsys):
    suite = suite_of(tmp_path, main=(SPEC, GOOD), pool=(SPEC, GOOD | {"train.jsonl": rows([3])}))
    study = {"study": "s", "base": {"suite": str(suite), "primary": "main", "size": "full"}, "stages": ["01_data_prep"]}
    path = write(tmp_path / "study.yaml", yaml.safe_dump(study))
    assert cli.main(["check", str(path)]) == 0
    assert cli.main(["check", str(path), "--data"]) == 1
    said = capsys.readouterr().out
    assert "task 'pool', train row 0: unknown label 3" in said
    assert "study.yaml: valid; 01_data_prep 1" in said
    study["base"]["primary"] = "Main"
    write(path, yaml.safe_dump(study))
    assert cli.main(["check", str(path), "--data"]) == 1
    said = capsys.readouterr().out
    assert "task 'Main' is not in suite" in said
    assert "task 'pool', train row 0: unknown label 3" in said


@pytest.mark.parametrize("text", ["", "[1]", "study: [s\n", "name: x\n"])
def test_what_is_neither_study_nor_suite_is_one_problem(tmp_path, capsys, text):
    path = write(tmp_path / "x.yaml", text)
    assert cli.main(["check", str(path), "--data"]) == 1
    assert "1 problem:" in capsys.readouterr().out


def test_an_n_above_the_rows_to_choose_from_is_a_problem(tmp_path, capsys, runs_folder):
    """Of the pool's 30 rows two stand in the primary's dev; a single proxy is trained on some, and cannot rank them."""
    train = [{"text": f"of the pool {i}", "label": i % 2} for i in range(28)]
    leaks = [{"text": f"a leak {i}", "label": i} for i in range(2)]
    main = {"train.jsonl": rows([0, 1] * 10), "dev.jsonl": leaks}
    suite = suite_of(tmp_path, main=(SPEC, main), pool=(SPEC, GOOD | {"train.jsonl": [*train, *leaks]}))

    def checked(arm, n, *data, **more):
        base = {"suite": str(suite), "primary": "main", "size": "full", "rows": 0}
        grid = {"arm": ["single", arm], "n": n}
        path = write(tmp_path / "study.yaml", yaml.safe_dump({"study": "s", "base": base, "grid": grid} | more))
        status = cli.main(["check", str(path), *data])
        return status, capsys.readouterr().out

    status, said = checked("random", [28, 29, 30])
    assert (status, "not compared: n, or primary_rows, with the rows" in said) == (0, True)
    assert "not compared" not in checked("step_matched", [28])[1]
    status, said = checked("random", [28, 29, 30], "--data")
    assert (status, "2 problems:" in said, "not compared" in said) == (1, True, False)
    for n in (29, 30):
        assert (
            f"study.yaml: n: {n} rows asked for, but 06_mtl can choose from 28; lower n or give the tasks more rows"
            in said
        )
    assert checked("random", [28], "--data")[0] == 0
    one = {"notebooks": {"02_td_proxy": {"proxies": "one", "proxy_rows": 5}}}
    status, said = checked("td_bce", [24], "--data", **one)
    assert (status, "n: 24 rows asked for, but 03_ranking can choose from 23" in said) == (1, True)
    assert checked("td_bce", [23], "--data", **one)[0] == 0
    expects = {"expects": {"rows": {"main": 20, "pool": 31}, "tokens": 8, "encoder": {
        "hidden_size": 8, "num_hidden_layers": 1, "intermediate_size": 8}}}  # fmt: skip
    assert checked("random", [28], **expects)[0] == 0
    status, said = checked("random", [28], "--data", **expects)
    assert (status, "expects.rows: the suite" in said) == (1, True)


def test_primary_rows_above_the_usable_ones_are_a_problem(tmp_path, capsys, runs_folder):
    """Of the primary's 20 rows three stand in its own dev."""
    train = rows([0, 1] * 10)
    suite = suite_of(tmp_path, main=(SPEC, {"train.jsonl": train, "dev.jsonl": train[:3]}), pool=(SPEC, GOOD))

    def checked(count, *data, stages=("06_mtl",), **base):
        base = {"suite": str(suite), "primary": "main", "size": "full", "rows": 0, "primary_rows": count} | base
        study = {"study": "s", "base": base, "grid": {"arm": ["single"]}, "stages": list(stages)}
        path = write(tmp_path / "study.yaml", yaml.safe_dump(study))
        status = cli.main(["check", str(path), *data])
        return status, capsys.readouterr().out, path

    for stages in (("06_mtl",), ("02_td_proxy",)):
        assert checked(17, "--data", stages=stages)[0] == 0
        status, said, path = checked(18, "--data", stages=stages)
        message = (
            "primary_rows: 18 asked for, but 'main' has 17 usable training rows; lower it or give the tasks more rows"
        )
        assert (status, f"1 problem:\n- {path}: {message}" in said) == (1, True)
        with pytest.raises(InputError, match="'main' has 17 usable training rows"):
            graph.load(path)
    status, said, _ = checked(18)  # without data nothing is known
    assert (status, "not compared: n, or primary_rows, with the rows" in said) == (0, True)
    assert checked(20, "--data", keep_leaks=True)[0] == 0
    status, said, _ = checked(21, "--data", keep_leaks=True)
    assert (status, "'main' has 20 usable" in said) == (1, True)
    planted = {"suite": "planted", "primary": "topic_side"}
    assert checked(200, **planted)[0] == 0
    with pytest.raises(InputError, match="'topic_side' has 200 usable"):
        graph.validated(checked(201, **planted)[2])


def test_a_dev_split_that_shows_little_is_warned_of(tmp_path, capsys):
    many = {"train.jsonl": rows([0, 1] * 100)}
    path = suite_of(
        tmp_path, carved=(SPEC, many), small=(SPEC, many | {"dev.jsonl": rows([0, 1] * 49, "dev")}),
        enough=(SPEC, many | {"dev.jsonl": rows([0, 1] * 50, "other")}),
    )  # fmt: skip
    assert cli.main(["check", str(path), "--data"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    # (1.960 + 0.842) x sqrt(0.2 / rows)
    assert said == [
        "warning: 'carved' has 20 dev rows: as a primary it can hardly show a difference in accuracy below 0.28; they "
        "are a part of its train file: give it a dev file",
        "warning: 'small' has 98 dev rows: as a primary it can hardly show a difference in accuracy below 0.13; give "
        "it more",
    ]


def test_a_dev_split_of_one_answer_is_warned_of(tmp_path, capsys):
    values = [i % 5 for i in range(40)]
    path = suite_of(
        tmp_path, scored=(SCORE, {"train.csv": csv(values), "dev.csv": csv([2] * 120, "dev")}),
        named=(SPEC, {"train.jsonl": rows([0, 1] * 20), "dev.jsonl": rows([1] * 120, "dev")}),
        both=(SPEC, {"train.jsonl": rows([0, 1] * 20), "dev.jsonl": rows([0, 1] * 60, "dev")}),
    )  # fmt: skip
    assert cli.main(["check", str(path), "--data"]) == 0
    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning")]
    names = suites.load(str(path))["named"].labels
    assert said == [
        "warning: 'scored' has 2 alone in dev: as a primary it tells no arm from another; mend its dev",
        f"warning: 'named' has {names[1]!r} alone in dev: as a primary it tells no arm from another; mend its dev",
    ]


def test_what_is_not_judged_by_accuracy_over_rows_has_no_difference_in_accuracy(tmp_path):
    values = [i % 5 for i in range(40)]
    suite = suites.load(str(suite_of(
        tmp_path, scored=(SCORE, {"train.csv": csv(values), "dev.csv": csv(values[:20], "dev")}),
        named=(SPEC, {"train.jsonl": rows([0, 1] * 20), "dev.jsonl": rows([0, 1] * 10, "dev")}),
    )))  # fmt: skip
    power = summaries.detectable(suite)
    assert power.loc["scored", ["rows alone", "8 seeds"]].isna().all()
    assert power.loc["named", "rows alone"] == pytest.approx(2.802 * (0.2 / 20) ** 0.5, abs=1e-3)
    of_scored, of_named = summaries.few_dev_rows(suite)
    assert "it can hardly show any but a large difference; give it more" in of_scored
    assert "below 0.28" in of_named
