"""`auxlearn init` guesses suites and studies from folders as people have them."""

import csv
import gzip
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


def written(folder):
    """The task entries of a suite as init writes it, without their sources."""
    starting.start(folder)
    return (folder / "suite.yaml").read_text(encoding="utf-8")


def test_spreadsheets_saved_with_semicolons_and_decimal_commas(tmp_path):
    rng = random.Random(7)
    moods = [f"{10001 + i};{text(rng)}, sehr;{rng.choice(['schön', 'mäßig'])}\r\n" for i in range(60)]
    marks = [f"{i + 1};{text(rng)};{(i % 9 + 2) / 2}\r\n".replace(".", ",") for i in range(63)]
    for name, head, body in (
        ("Müller Stimmung 2023", "lfd. Nr.;Text;Stimmung", moods),
        ("Noten", "ID;Text;Note", marks),
    ):
        (tmp_path / f"{name}.csv").write_bytes(("\ufeff" + head + "\r\n" + "".join(body)).encode())
    (tmp_path / "Übersicht.xlsx").write_bytes(b"PK")
    (tmp_path / "~$Übersicht.xlsx").write_bytes(b"")
    suite = read_back(tmp_path)
    assert suite.names == ["muller_stimmung_2023", "noten"]
    assert suite["muller_stimmung_2023"].labels == ("mäßig", "schön")
    assert (suite["noten"].kind, suite["noten"].range, suite["noten"].label) == ("regression", (1.0, 5.0), "Note")
    assert sorted(suite["noten"].train["Note"][:] + suite["noten"].dev["Note"][:])[:8] == [1.0] * 7 + [1.5]
    assert "# Not read: Übersicht.xlsx\n" in (tmp_path / "suite.yaml").read_text(encoding="utf-8")


def test_names_of_columns_may_be_numbers_or_empty_beside_usual_ones(tmp_path):
    rng = random.Random(13)
    table(tmp_path / "a.csv", [{"": i, "text": text(rng), "2019": i % 3, "label": i % 2} for i in range(40)])
    assert (suite := read_back(tmp_path))["a"].inputs == ("text",)
    assert suite["a"].label == "label"


def test_folders_in_folders_are_looked_into(tmp_path):
    import datasets

    rng = random.Random(8)

    def frame(size):
        return datasets.Dataset.from_dict({
        "text": [text(rng) for _ in range(size)], "label": [i % 2 for i in range(size)],
    })  # fmt: skip

    for name in ("dialog/emotion/data/train-0000{}-of-00002", "similar/default/train/000{}", "train-0000{}-of-00002"):
        for i in range(2):
            path = tmp_path / (name.format(i) + ".parquet")
            path.parent.mkdir(parents=True, exist_ok=True)
            frame(20 + i).to_parquet(path)
    (tmp_path / "tagging" / "pos").mkdir(parents=True)
    with gzip.open(tmp_path / "tagging" / "pos" / "train.jsonl.gz", "wt") as file:
        for _ in range(30):
            words = text(rng).split()
            file.write(json.dumps({"tokens": words, "ner_tags": [len(w) % 3 for w in words]}) + "\n")
    table(tmp_path / "mails" / "de" / "spam_train.csv", [{"text": text(rng), "spam": i % 2} for i in range(40)])
    table(tmp_path / "mails" / "en" / "spam_train.csv", [{"text": text(rng), "spam": i % 2} for i in range(30)])
    table(tmp_path / ".cache" / "train.csv", [{"text": text(rng), "label": 1}])
    suite = read_back(tmp_path)
    own = tmp_path.name.strip("_").lower()
    assert set(suite.names) == {"emotion", "similar", own, "pos", "mails_de_spam", "mails_en_spam"}
    for name in ("emotion", "similar", own):
        assert len(suite[name].train) + len(suite[name].dev) == 41
    assert "labels: ['0', '1', '2']   # ? the ids in the file; put the tags here, in this order" in (
        tmp_path / "suite.yaml").read_text()  # fmt: skip


def test_nested_fields_and_labels_of_words_beside_minus_one(tmp_path):
    rng = random.Random(9)
    lines(tmp_path / "nli_train.jsonl", [
        {"premise": text(rng), "hypothesis": text(rng), "gold_label": ["entailment", "neutral", -1][min(2, i % 7 % 5)],
         "meta": {"genre": "travel"}} for i in range(70)
    ])  # fmt: skip
    lines(tmp_path / "nli_test.jsonl", [{"premise": text(rng), "hypothesis": text(rng), "gold_label": -1}] * 5)
    lines(tmp_path / "same_train.jsonl", [
        {"pair": {"question1": text(rng), "question2": text(rng)}, "annotation": {"is_duplicate": i % 2}}
        for i in range(40)
    ])  # fmt: skip
    suite = read_back(tmp_path)
    assert suite["nli"].labels == ("entailment", "neutral")
    assert suite["nli"].dropped["train"] == 30
    assert suite["same"].inputs == ("pair.question1", "pair.question2")
    assert suite["same"].label == "annotation.is_duplicate"
    said = (tmp_path / "suite.yaml").read_text()
    assert "all that occur, in alphabetical order; -1 is taken for no label" in said


@pytest.mark.parametrize(
    ("train", "test", "parts"),
    [
        # -1 of a test split alone marks rows without a label, and is no end of a range
        ([0.5, 4.2, 3.3], [-1.0], ["range: [0, 5]"]),
        ([0, 1], [-1], ["labels: ['0', '1']"]),
        (["no", "yes"], [-1], ["labels: ['no', 'yes']"]),
        # of train it may
        ([0.5, 4.2, 3.3, -1], [2.5], ["range: [0, 5]   # ? lowest and highest, rounded outwards; -1 is taken for no",
                                      "drop_unlabelled: true"]),
        ([1, 2, 3, -1], [1], ["labels: ['1', '2', '3']", "-1 is taken for no label", "drop_unlabelled: true"]),
        ([0, 1] * 5 + [-1], [1], ["labels: ['0', '1']", "-1 is taken for no label", "drop_unlabelled: true"]),
        # but negative, neutral and positive are three classes, as are numbers on both sides of zero
        ([-1, 0, 1], [0], ["labels: ['-1', '0', '1']", "-1 is taken for a class"]),
        ([-2, -1, 0, 1, 2], [0], ["labels: ['-2', '-1', '0', '1', '2']"]),
        ([-1, 1], [1], ["labels: ['-1', '1']"]),
        ([-1.0, -0.5, 0.7], [0.1], ["range: [-1, 1]"]),
    ],
)  # fmt: skip
def test_minus_one_is_a_class_or_no_label_and_which_is_said(tmp_path, train, test, parts):
    rng = random.Random(10)
    for split, values in (("train", train), ("test", test)):
        lines(tmp_path / f"a_{split}.jsonl", [{"text": text(rng), "label": v} for v in values * 30])
    said = written(tmp_path)
    for part in parts:
        assert part in said
    assert ("drop_unlabelled" in said) == any("drop_unlabelled" in part for part in parts) or "a class" in said


def test_of_several_columns_of_tags_and_of_named_labels_the_others_are_named(tmp_path):
    import datasets

    rng = random.Random(11)
    words = [text(rng).split() for _ in range(40)]
    tags = datasets.List(datasets.ClassLabel(names=["O", "B-LOC"]))
    features = datasets.Features(
        {"pos_tags": tags, "ner_tags": tags, "tokens": datasets.List(datasets.Value("string"))}
    )
    given = {name: [[int(w == "town") for w in row] for row in words] for name in ("pos_tags", "ner_tags")}
    (tmp_path / "conll").mkdir()
    datasets.Dataset.from_dict(given | {"tokens": words}, features).to_parquet(tmp_path / "conll" / "train.parquet")
    two = datasets.Features({"text": datasets.Value("string"), "topic": datasets.ClassLabel(names=["a", "b"]),
                             "label": datasets.ClassLabel(names=["c", "d"])})  # fmt: skip
    rows = {"text": [text(rng) for _ in range(40)], "topic": [0, 1] * 20, "label": [1, 0] * 20}
    (tmp_path / "two").mkdir()
    datasets.Dataset.from_dict(rows, two).to_parquet(tmp_path / "two" / "train.parquet")
    said = written(tmp_path)
    assert "inputs: [tokens]" in said
    assert "label: pos_tags   # ? one tag per word; ner_tags would be another" in said
    assert "label: label   # ? the file names its labels; topic would be another" in said


def test_a_column_of_texts_is_no_label_whatever_it_is_called(tmp_path):
    rng = random.Random(12)
    table(tmp_path / "qa.csv", [{"question": text(rng), "answer": text(rng), "right": i % 2} for i in range(40)])
    suite = read_back(tmp_path)
    assert (suite["qa"].inputs, suite["qa"].label) == (("question", "answer"), "right")


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, "no data in it; a task is a folder with a train file, or files such as NAME_train.csv"),
        ({"a_dev.csv": "text,label\nx y,1\n"}, "a_dev.csv: no train file of 'a' beside it"),
        ({"a.csv": "text,label\nx y,1\n", "a_train.csv": "text,label\nx y,1\n"}, "seem to be one split of 'a'"),
        ({"a.csv": "first,second\nx y z,some other words\nu v w,and yet more\n"}, "no column looks like a label"),
        ({"a.csv": "number,label\n1,a\n2,b\n"}, "no column looks like a text"),
        (
            {"a.tsv": "gj04\t1\tone two\ngj04\t0\tthree four\ngj04\t1\tfive\n"},
            "a.tsv, line 1: .*'gj04' stands in 2 more",
        ),
        ({"a.tsv": "1\tone two\n0\tthree four\n"}, "a.tsv, line 1: .*'1' is a number; put a line of names in front"),
        ({"a.xlsx": "PK", "b/data.json": "[]"}, "no data in it; .*; not read: a.xlsx, b/data.json"),
        ({"A.csv": "text,label\nx y,1\n", "a.tsv": "text\tlabel\nx y\t1\n"}, "would both be the task 'a'; rename one"),
        ({"a.csv": "a b,c\nd,e\n", "b.csv": "number,label\n1,a\n"}, "(?s)/a.csv: no column.*\n.*/b.csv: no column"),
        ({"train-00000-of-00002.csv": "text,label\nx y,1\n"}, "not the 2 shards 0 to 1"),
        ({"suite.yaml": "name: mine\n"}, "suite.yaml exists; remove it, or move it away"),
    ],
)
def test_what_cannot_be_guessed_is_said(tmp_path, files, words):
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=words):
        starting.start(tmp_path)
    assert not (tmp_path / "study.yaml").exists()


@pytest.mark.parametrize("stem", ["数据", "Row", "seed", "type"])
def test_a_name_that_no_task_can_have_is_another(tmp_path, stem):
    """Of another script nothing is left of it, and some are columns of tables that have one per task."""
    rng = random.Random(0)
    for split, count in (("train", 60), ("dev", 24)):
        table(tmp_path / f"{stem}_{split}.csv", [{"body": text(rng), "kind": "xy"[i % 2]} for i in range(count)])
    assert read_back(tmp_path).names == [{"数据": "task_1", "Row": "row_1", "seed": "seed_1", "type": "type_1"}[stem]]


def test_codes_with_leading_zeros_are_words(tmp_path):
    rng = random.Random(3)
    table(tmp_path / "codes.csv", [{"text": text(rng), "label": ("01", "1", "2")[i % 3]} for i in range(90)])
    codes = read_back(tmp_path)["codes"]
    assert codes.labels == ("01", "1", "2")
    assert [codes.labels[i] for i in codes.train["label"][:3]] == ["01", "1", "2"]


def test_the_label_in_words_and_marks_of_rows_are_no_inputs(tmp_path):
    rng, words = random.Random(0), ("very negative indeed", "not so sure at all")
    table(tmp_path / "t_train.csv", [
        {"sample": f"uuid-{i:04}-x", "text": text(rng), "label": i % 2, "label_text": words[i % 2]} for i in range(80)
    ])  # fmt: skip
    assert read_back(tmp_path)["t"].inputs == ("text",)


def test_labels_that_differ_in_case_or_spaces_alone_are_said(tmp_path):
    rng = random.Random(0)
    table(tmp_path / "t_train.csv", [
        {"text": text(rng), "label": ("pos", "Pos", "neg")[i % 3]} for i in range(90)
    ])  # fmt: skip
    starting.start(tmp_path)
    assert "'Pos' and 'pos' differ in case or spaces alone" in (tmp_path / "suite.yaml").read_text(encoding="utf-8")
