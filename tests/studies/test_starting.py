"""`auxlearn init` guesses suites and studies from folders as people have them."""

import csv
import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auxlearn.cli import main
from auxlearn.data.suites import Suite
from auxlearn.errors import InputError
from auxlearn.studies import graph, starting

TEXT = "the parcel came late again and nobody at the desk could say why it was sent to another town"
WORDS = TEXT.split()


def text(rng, least=6):
    return " ".join(rng.choices(WORDS, k=rng.randint(least, least + 8)))


def table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def lines(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def read_back(folder):
    """The suite as written, its study checked."""
    starting.start(folder)
    stages = {stage for stage, _ in graph.validated(folder / "study.yaml")}
    assert {"06_mtl", "07_efficiency"} <= stages
    return Suite.from_yaml(folder / "suite.yaml")


def test_flat_csv_files_named_by_task_and_split(tmp_path):
    rng = random.Random(0)
    for split, count in (("train", 60), ("valid", 24)):
        table(tmp_path / f"reviews-{split}.csv", [
            {"id": i, "user": f"u{i}", "body": text(rng), "stars": i % 5 + 1} for i in range(count)
        ])  # fmt: skip
    for split, count in (("train", 90), ("dev", 30)):
        table(tmp_path / f"Duplicate Questions {split}.csv", [
            {"qid": i, "question1": text(rng), "question2": text(rng), "is_duplicate": i % 3 == 0} for i in range(count)
        ])  # fmt: skip
    suite = read_back(tmp_path)
    assert suite.names == ["duplicate_questions", "reviews"]
    reviews, pairs = suite["reviews"], suite["duplicate_questions"]
    assert (reviews.inputs, reviews.labels) == (("body",), ("1", "2", "3", "4", "5"))
    assert reviews.train["stars"][:6] == [0, 1, 2, 3, 4, 0]
    assert (len(reviews.train), len(reviews.dev)) == (60, 24)
    assert pairs.inputs == ("question1", "question2")
    assert [pairs.labels[i] for i in pairs.train["is_duplicate"][:3]] == ["True", "False", "False"]
    study = (tmp_path / "study.yaml").read_text()
    assert "primary: reviews " in study
    assert "arm: [single, step_matched, random, td_bce]" in study


def test_folders_of_json_lines_with_scores_and_rows_that_nobody_agreed_on(tmp_path):
    rng = random.Random(1)
    lines(tmp_path / "nli" / "train.jsonl", [
        {"premise": text(rng), "hypothesis": text(rng, 3), "gold_label": rng.choice(["entailment", "neutral", "-"])}
        for _ in range(80)
    ])  # fmt: skip
    lines(tmp_path / "similar" / "train.jsonl", [
        {"a": text(rng), "b": text(rng), "score": round(rng.uniform(0.2, 4.8), 2)} for _ in range(70)
    ])  # fmt: skip
    suite = read_back(tmp_path)
    nli, similar = suite["nli"], suite["similar"]
    assert nli.labels == ("entailment", "neutral")
    assert nli.dropped["train"] > 10
    assert nli.inputs == ("premise", "hypothesis")
    assert (similar.kind, similar.range, similar.metric) == ("regression", (0.0, 5.0), "pearson")


def test_parquet_that_names_its_labels_and_conll(tmp_path):
    import datasets

    rng = random.Random(2)
    features = datasets.Features({
        "sentence": datasets.Value("string"), "mood": datasets.ClassLabel(names=["sour", "mild", "sweet"]),
    })  # fmt: skip
    rows = {"sentence": [text(rng) for _ in range(60)], "mood": [i % 3 for i in range(60)]}
    (tmp_path / "moods").mkdir()
    datasets.Dataset.from_dict(rows, features).to_parquet(tmp_path / "moods" / "train-00000-of-00001.parquet")
    tagged = "\n\n".join(
        "\n".join(f"{w} {'B-LOC' if w == 'town' else 'O'}" for w in text(rng).split()) for _ in range(40)
    )
    (tmp_path / "places_train.conll").write_text(tagged + "\n")
    suite = read_back(tmp_path)
    assert suite["moods"].labels == ("sour", "mild", "sweet")
    assert suite["moods"].train["mood"][:4] == [0, 1, 2, 0]
    assert (suite["places"].kind, suite["places"].labels) == ("tagging", ("O", "B-LOC"))
    assert suite["places"].metric == "entity_f1"


def test_tags_as_ids_of_a_file_that_does_not_name_them(tmp_path):
    rng = random.Random(3)
    words = [text(rng).split() for _ in range(40)]
    tags = [[len(w) % 3 for w in row] for row in words]
    (tmp_path / "pos").mkdir()
    for split in ("train", "dev"):
        pq.write_table(pa.table({"tokens": words, "pos_tags": tags}), tmp_path / "pos" / f"{split}.parquet")
    table(tmp_path / "spam.csv", [{"sms": text(rng), "spam": int(i % 12 == 0)} for i in range(96)])
    suite = read_back(tmp_path)
    assert suite["pos"].labels == ("0", "1", "2")
    assert suite["pos"].train["pos_tags"][:5] == tags[:5]
    assert suite["pos"].metric == "accuracy"
    assert suite["spam"].metric == "macro_f1"  # 92 % of one class


def test_one_file_is_a_suite_of_one_task_that_says_so(tmp_path):
    rng = random.Random(4)
    table(tmp_path / "data.csv", [{"text": text(rng), "label": rng.choice("ab")} for _ in range(50)])
    suite = read_back(tmp_path)
    assert suite.names == ["data"]
    study = (tmp_path / "study.yaml").read_text()
    assert study.startswith("# suite.yaml has one task, so that nothing can help it yet")
    assert "arm: [single, step_matched]" in study


def test_a_folder_with_a_train_file_is_a_task_named_as_the_folder(tmp_path):
    rng = random.Random(5)
    home = tmp_path / "Support Mails"
    for split in ("train", "test"):
        table(home / f"{split}.csv", [{"text": text(rng), "label": rng.choice("ab")} for _ in range(30)])
    suite = read_back(home)
    assert suite.names == ["support_mails"]
    assert len(suite["support_mails"].test) == 30


def test_the_command_shows_the_suite_and_every_guess_has_its_reason(tmp_path, capsys):
    rng = random.Random(6)
    table(tmp_path / "a.csv", [{"text": text(rng), "label": rng.choice("ab")} for _ in range(50)])
    main(["init", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "    inputs: [text]   # ? the only text" in shown
    assert "    label: label   # ? its name" in shown
    assert f"auxlearn check {tmp_path / 'study.yaml'} --data" in shown


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no data in it; a task is a folder with a train file, or files such as NAME_train.csv"),
        ({"a_dev.csv": "text,label\nx y,1\n"}, "a_dev.csv: no train file of 'a' beside it"),
        ({"a.csv": "text,label\nx y,1\n", "a_train.csv": "text,label\nx y,1\n"}, "seem to be one split of 'a'"),
        ({"a.csv": "first,second\nx y z,some other words\nu v w,and yet more\n"}, "no column looks like a label"),
        ({"a.csv": "number,label\n1,a\n2,b\n"}, "no column looks like a text"),
        ({"suite.yaml": "name: mine\n"}, "suite.yaml exists; remove it, or move it away"),
    ],
)
def test_what_cannot_be_guessed_is_said(tmp_path, files, words):
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        starting.start(tmp_path)
    assert not (tmp_path / "study.yaml").exists()
