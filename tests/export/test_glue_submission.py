"""The zip for the GLUE leaderboard: right to the byte, or not written."""

import zipfile

import numpy as np
import pandas as pd
import pytest

from auxlearn.errors import InputError
from auxlearn.export import glue_submission


def lines(path, name):
    with zipfile.ZipFile(path) as archive:
        return archive.read(name).decode().split("\n")


@pytest.fixture
def answers():
    rte = ["entailment", "not_entailment"] * 1500
    return {"RTE": rte, "CoLA": np.arange(1063) % 2, "WNLI": ["entailment"] * 146, "STS-B": np.linspace(-1, 6, 1379)}


def test_the_files_hold_what_was_given_and_fillers_are_named(tmp_path, answers):
    path = glue_submission.write(answers, tmp_path / "new" / "mine.zip")
    glue_submission.check(path)
    assert lines(path, "RTE.tsv")[:3] == ["index\tprediction", "0\tentailment", "1\tnot_entailment"]
    assert lines(path, "RTE.tsv")[-2:] == ["2999\tnot_entailment", ""]
    assert lines(path, "CoLA.tsv")[1:4] == ["0\t0", "1\t1", "2\t0"]
    assert lines(path, "WNLI.tsv")[1] == "0\t1"
    scores = lines(path, "STS-B.tsv")
    assert scores[1] == "0\t0.000"  # -1, clipped
    assert scores[1379] == "1378\t5.000"  # 6, clipped
    assert scores[690] == "689\t2.500"  # the middle
    assert scores[691] == "690\t2.505"  # 2.5 + 7 / 1378 = 2.50508
    sizes = {n: len(lines(path, f"{n}.tsv")) - 2 for n in glue_submission.FILES}
    assert sizes == {
        "CoLA": 1063, "SST-2": 1821, "MRPC": 1725, "QQP": 390965, "STS-B": 1379, "MNLI-m": 9796, "MNLI-mm": 9847,
        "QNLI": 5463, "RTE": 3000, "WNLI": 146, "AX": 1104,
    }  # fmt: skip
    assert set(lines(path, "MNLI-m.tsv")[1:-1]) == {f"{i}\tentailment" for i in range(9796)}
    absent = "SST-2, MRPC, QQP, MNLI-m, MNLI-mm, QNLI, AX"
    with zipfile.ZipFile(path) as archive:
        assert archive.comment.decode() == f"constant answers: {absent}"
    beside = (tmp_path / "new" / "mine.fillers.txt").read_text().splitlines()
    assert [line.split("\t")[0] for line in beside[1:]] == absent.split(", ")
    assert sorted(p.name for p in path.parent.iterdir()) == ["mine.fillers.txt", "mine.zip"]


def test_same_predictions_same_bytes(tmp_path, answers):
    first, again = (glue_submission.write(answers, tmp_path / f"{n}.zip").read_bytes() for n in "ab")
    assert first == again


def test_class_names_of_the_data_become_ones_and_zeros(tmp_path):
    words = ["equivalent"] * 1724 + ["not_equivalent"]
    path = glue_submission.write({"MRPC": words, "QQP": pd.Series(["1"] * 390965)}, tmp_path / "a.zip")
    assert lines(path, "MRPC.tsv")[1724:1726] == ["1723\t1", "1724\t0"]
    assert lines(path, "QQP.tsv")[390965] == "390964\t1"


def test_a_full_submission_has_no_fillers_and_drops_an_old_list(tmp_path):
    path = glue_submission.write({}, tmp_path / "a.zip")
    assert (tmp_path / "a.fillers.txt").is_file()
    full = {n: [f.filler] * f.rows for n, f in glue_submission.FILES.items()}
    glue_submission.write(full, path, fillers=False)
    assert not (tmp_path / "a.fillers.txt").exists()
    with zipfile.ZipFile(path) as archive:
        assert archive.comment == b""


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"RTE": ["entailment"] * 2999}, "RTE.tsv: 2999 predictions, but the test split has 3000 rows"),
        ({"RTE": ["entailment"] * 2999 + ["yes"]}, "RTE.tsv row 2999: 'yes' is not one of entailment, not_entailment"),
        ({"RTE": [0] * 3000}, "RTE.tsv row 0: 0 is not one of"),
        ({"AX": ["neutral"] * 1103 + ["not_entailment"]}, "AX.tsv row 1103: 'not_entailment'"),
        ({"CoLA": [1] * 1062 + [2]}, "CoLA.tsv row 1062: 2 is not one of"),
        ({"CoLA": [1] * 1062 + [float("nan")]}, "CoLA.tsv row 1062: nan"),
        ({"STS-B": [1.0] * 1378 + [float("nan")]}, "STS-B.tsv row 1378: nan is not a number"),
        ({"STS-B": ["high"] * 1379}, "STS-B.tsv row 0: 'high' is not a number"),
        ({"WNLI": pd.Series([1] * 146)[::-1]}, "WNLI.tsv row 0: index 145, not 0"),
        ({"rte": ["entailment"] * 3000}, "'rte' is no file of a GLUE submission"),
    ],
)
def test_nothing_is_written_when_anything_is_wrong(tmp_path, wrong, message):
    with pytest.raises(InputError) as error:
        glue_submission.write(wrong, tmp_path / "a.zip")
    assert message in str(error.value)
    assert list(tmp_path.glob("*.zip")) + list(tmp_path.glob("*.txt")) == []


def test_missing_files_can_be_refused(tmp_path, answers):
    with pytest.raises(InputError, match="no predictions for SST-2, MRPC, QQP"):
        glue_submission.write(answers, tmp_path / "a.zip", fillers=False)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = glue_submission.write({}, tmp_path_factory.mktemp("zip") / "good.zip")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name).decode() for name in archive.namelist()}


def broken(tmp_path, content):
    path = tmp_path / "broken.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in content.items():
            archive.writestr(name, text)
    return path


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("RTE.tsv", "index\tprediction", "id\tprediction", "RTE.tsv: the first line must be"),
        ("RTE.tsv", "\n7\t", "\n8\t", "RTE.tsv row 7: index 7 and a prediction are expected, not '8\\tentailment'"),
        ("RTE.tsv", "\n7\tentailment\n", "\n", "2999 predictions, but the test split has 3000"),
        ("AX.tsv", "\n9\tentailment", "\n9\tentailment\r", "AX.tsv row 9: 'entailment\\r' is not one of"),
        ("WNLI.tsv", "\n3\t0", "\n3\tnot_entailment", "WNLI.tsv row 3: 'not_entailment' is not one of 0, 1"),
        ("WNLI.tsv", "\n3\t0", "\n3 0", "WNLI.tsv row 3: index 3 and a prediction are expected, not '3 0'"),
        ("STS-B.tsv", "\n5\t2.500", "\n5\t5.001", "STS-B.tsv row 5: '5.001' is not a number in 0 to 5"),
    ],
)
def test_check_names_the_file_and_row_at_fault(tmp_path, good, name, old, new, message):
    assert good[name].count(old) == 1
    with pytest.raises(InputError) as error:
        glue_submission.check(broken(tmp_path, good | {name: good[name].replace(old, new)}))
    assert message in str(error.value)


def test_check_wants_exactly_the_eleven_files(tmp_path, good):
    glue_submission.check(broken(tmp_path, good))
    with pytest.raises(InputError, match=r"AX\.tsv is in it 0 times"):
        glue_submission.check(broken(tmp_path, {n: t for n, t in good.items() if n != "AX.tsv"}))
    with pytest.raises(InputError, match=r"FILLERS\.txt does not belong"):
        glue_submission.check(broken(tmp_path, good | {"FILLERS.txt": "AX"}))
    with pytest.raises(InputError, match="no such file"):
        glue_submission.check(tmp_path / "none.zip")
    (tmp_path / "text.zip").write_text("not a zip")
    with pytest.raises(InputError, match="not a readable zip"):
        glue_submission.check(tmp_path / "text.zip")
