"""Sound files of other people, in the forms that they come in: each loads, with the values that were meant."""

import gzip
import json

import pyarrow as pa
import pytest

from own_rows import SCORE, SPEC, TAGS, arrow, csv, rows, task, write

PAIR = SPEC | {"inputs": ["a", "b"]}
TEXT = ["train text 0", "train text 1", "train text 2"]


def texts(values, labels=(0, 1, 0), kind=None):
    return pa.table({"text": pa.array(values, kind), "label": list(labels)})


def lists(tokens, tags, token_kind=None, tag_kind=None):
    return pa.table({"tokens": pa.array(tokens, token_kind), "tags": pa.array(tags, tag_kind)})


def lines(*values):
    return "".join(json.dumps(value, ensure_ascii=False) + "\n" for value in values)


SENTENCES, IDS = [["Ana", "runs"], ["Go"]], [[1, 0], [0]]
NESTED = [{"tokens": ["Ana", "runs"], "tags": [1, 0]}, {"tokens": ["Go"], "tags": [0]}]
CASES = {
    "CSV with a BOM, quotes and CRLF": (
        SPEC,
        "train.csv",
        '\ufefftext,label\r\n"say ""no"", now",good\r\n"two\nlines",bad\r\n',
        {"text": ['say "no", now', "two\nlines"], "label": [1, 0]},
    ),
    "CSV of digits": (
        SPEC,
        "train.csv",
        "text,label\n007,0\n12,1\n3.0,1\n",
        {"text": ["007", "12", "3.0"], "label": [0, 1, 1]},
    ),
    "CSV of words for missing": (
        SPEC,
        "train.csv",
        "text,label\nNA,good\nnull,bad\nNone,bad\nnan,good\n",
        {"text": ["NA", "null", "None", "nan"], "label": [1, 0, 0, 1]},
    ),
    "CSV with an index column without a name": (
        SPEC,
        "train.csv",
        ",text,label\n0,x,good\n1,y,bad\n",
        {"text": ["x", "y"], "label": [1, 0]},
    ),
    "CSV with one text of a pair empty": (
        PAIR,
        "train.csv",
        "a,b,label\nx,,good\n,y,bad\n",
        {"a": ["x", ""], "b": ["", "y"], "label": [1, 0]},
    ),
    "CSV of digits in a pair": (
        PAIR,
        "train.csv",
        "a,b,label\n1,2,1\n3,4,0\n",
        {"a": ["1", "3"], "b": ["2", "4"], "label": [1, 0]},
    ),
    "TSV with bare quotes": (
        SPEC,
        "train.tsv",
        'text\tlabel\n"no, he said\tgood\nx "y"\tbad\n',
        {"text": ['"no, he said', 'x "y"'], "label": [1, 0]},
    ),
    "CSV of whole floats": (SPEC, "train.csv", csv(["1.0", "0.0"]), {"label": [1, 0]}),
    "CSV of booleans as pandas writes them": (
        SPEC | {"labels": ["false", "true"]},
        "train.csv",
        csv(["True", "False"]),
        {"label": [1, 0]},
    ),
    "JSONL with more columns, nested and of other kinds in each row": (
        SPEC,
        "train.jsonl",
        lines(
            {"text": "x", "label": "good", "meta": {"a": [1, None]}},
            {"more": 1, "label": "bad", "text": "y", "meta": "z"},
        ),
        {"text": ["x", "y"], "label": [1, 0]},
    ),
    "JSONL with columns called as ours are": (
        SPEC,
        "train.jsonl",
        lines(
            *(
                {
                    "text": t,
                    "label": "bad",
                    "helpful": [2, 3],
                    "row_id": "x7",
                    "origin": 3,
                    "score": {},
                    "task": 1,
                    "rank": None,
                }
                for t in "xy"
            )
        ),
        {"row_id": [0, 1], "text": ["x", "y"], "label": [0, 0]},
    ),
    "JSONL with an input called helpful": (
        SPEC | {"inputs": ["helpful"]},
        "train.jsonl",
        [{"helpful": "x", "label": 1}, {"helpful": "y", "label": 0}],
        {"helpful": ["x", "y"], "label": [1, 0]},
    ),
    "JSONL with inputs called score and task": (
        SPEC | {"inputs": ["score", "task"], "label": "rank"},
        "train.jsonl",
        [{"score": "x", "task": "y", "rank": "good"}, {"score": "z", "task": "", "rank": "bad"}],
        {"score": ["x", "z"], "task": ["y", ""], "rank": [1, 0]},
    ),
    "gzipped JSONL with surrogate pairs": (
        SPEC,
        "train.jsonl.gz",
        gzip.compress(b'{"text": "\\ud83d\\ude00", "label": 1}\n{"text": "\xc3\xbc", "label": 0}\n'),
        {"text": ["😀", "ü"], "label": [1, 0]},
    ),
    "JSONL of whole and other scores": (
        SCORE,
        "train.jsonl",
        lines(*({"text": "x", "label": v} for v in (1, 2.5, 5))),
        {"label": [1.0, 2.5, 5.0]},
    ),
    "CSV of scores": (SCORE, "train.csv", csv(["1", " 2.50", "5e-1"]), {"label": [1.0, 2.5, 0.5]}),
    "int8 labels": (SPEC, "train.parquet", arrow([1, 0, 1], kind=pa.int8()), {"label": [1, 0, 1]}),
    "uint64 labels": (SPEC, "train.parquet", arrow([1, 0, 1], kind=pa.uint64()), {"label": [1, 0, 1]}),
    "boolean labels": (
        SPEC | {"labels": ["no", "yes"]},
        "train.parquet",
        arrow([True, False, True]),
        {"label": [1, 0, 1]},
    ),
    "labels of whole floats": (SPEC, "train.parquet", arrow([1.0, 0.0], kind=pa.float32()), {"label": [1, 0]}),
    "scores as float32 and decimal": (SCORE, "train.parquet", arrow([1, 2], kind=pa.int32()), {"label": [1.0, 2.0]}),
    "decimal scores": (
        SCORE,
        "train.parquet",
        arrow(pa.array(["1.50", "2.25"]).cast(pa.decimal128(5, 2))),
        {"label": [1.5, 2.25]},
    ),
    "large_string": (SPEC, "train.parquet", texts(TEXT, kind=pa.large_string()), {"text": TEXT, "label": [0, 1, 0]}),
    "string_view": (SPEC, "train.parquet", texts(TEXT, kind=pa.string_view()), {"text": TEXT}),
    "categorical text and labels": (
        SPEC,
        "train.parquet",
        pa.table(
            {"text": pa.array(TEXT).dictionary_encode(), "label": pa.array(["good", "bad", "good"]).dictionary_encode()}
        ),
        {"text": TEXT, "label": [1, 0, 1]},
    ),
    "text and labels as bytes": (
        SPEC,
        "train.parquet",
        pa.table({"text": [b"x", "ü".encode()], "label": [b"good", b"bad"]}),
        {"text": ["x", "ü"], "label": [1, 0]},
    ),
    "a column whose name has a dot": (
        SPEC | {"inputs": ["text.en"]},
        "train.parquet",
        pa.table({"text.en": ["x", "y"], "label": [1, 0], "text": [{"en": "no"}] * 2}),
        {"text.en": ["x", "y"], "label": [1, 0]},
    ),
    "Parquet lists": (TAGS, "train.parquet", lists(SENTENCES, IDS), {"tokens": SENTENCES, "tags": IDS}),
    "Parquet large lists of int8": (
        TAGS,
        "train.parquet",
        lists(SENTENCES, IDS, pa.large_list(pa.large_string()), pa.large_list(pa.int8())),
        {"tokens": SENTENCES, "tags": IDS},
    ),
    "Parquet lists of one length": (
        TAGS,
        "train.parquet",
        lists([["a", "b"], ["c", "d"]], [[0, 1], [2, 0]], pa.list_(pa.string(), 2), pa.list_(pa.int64(), 2)),
        {"tokens": [["a", "b"], ["c", "d"]], "tags": [[0, 1], [2, 0]]},
    ),
    "Parquet lists of categories": (
        TAGS,
        "train.parquet",
        pa.table(
            {
                "tokens": SENTENCES,
                "tags": pa.ListArray.from_arrays([0, 2, 3], pa.array(["B", "O", "O"]).dictionary_encode()),
            }
        ),
        {"tags": IDS},
    ),
    "JSONL of tags by name": (
        TAGS,
        "train.jsonl",
        [{"tokens": t, "tags": ["OB"[i] for i in g]} for t, g in zip(SENTENCES, IDS, strict=True)],
        {"tags": IDS},
    ),
    "JSONL of tags by id": (TAGS, "train.jsonl", NESTED, {"tokens": SENTENCES, "tags": IDS}),
    "CoNLL in IOB with document starts": (
        TAGS | {"labels": ["O", "B-PER", "I-PER"]},
        "train.conll",
        "-DOCSTART- -X- -X- O\n\nAna NNP B-NP B-PER\nMay NNP I-NP I-PER\nruns VBZ B-VP O\n\nGo VB B-VP O\n",
        {"tokens": [["Ana", "May", "runs"], ["Go"]], "tags": [[1, 2, 0], [0]]},
    ),
    "tokens that are empty or digits": (
        TAGS,
        "train.jsonl",
        [{"tokens": ["", "7"], "tags": [0, 1]}],
        {"tokens": [["", "7"]], "tags": [[0, 1]]},
    ),
    "labels called on and off": (SPEC | {"labels": ["on", "off"]}, "train.csv", csv(["off", "on"]), {"label": [1, 0]}),
}


@pytest.mark.parametrize("case", CASES)
def test_sound_input_loads_as_it_was_meant(tmp_path, case):
    spec, name, content, expected = CASES[case]
    read = task(tmp_path, {name: content, name.replace("train", "dev"): content}, spec)
    assert {column: read.train[column][:] for column in expected} == expected
    assert set(read.train.column_names) == {"row_id", *read.inputs, read.label}
    assert not read.truth


@pytest.mark.parametrize("end", ["jsonl", "csv", "parquet"])
def test_the_formats_of_splits_may_differ(tmp_path, end):
    made = {"jsonl": rows, "csv": csv, "parquet": arrow}[end]
    read = task(tmp_path, {"train.jsonl": rows([1, 0]), f"dev.{end}": made([0, 1, 1], "dev")})
    assert (read.train["label"][:], read.dev["label"][:]) == ([1, 0], [0, 1, 1])
    assert read.dev["text"][:] == ["dev text 0", "dev text 1", "dev text 2"]


def test_a_split_may_be_several_files(tmp_path):
    for name, content in {"a.jsonl": rows([1, 0]), "b.csv": csv(["1"]), "dev.jsonl": rows([0])}.items():
        write(tmp_path / name, content)
    read = task(tmp_path, {}, source={"files": {"train": ["a.jsonl", "b.csv"], "dev": "dev.jsonl"}})
    assert read.train[:] == {"row_id": [0, 1, 2], "text": [*TEXT[:2], TEXT[0]], "label": [1, 0, 1]}


def test_snli_as_it_is_published_loads(tmp_path):
    names = ["entailment", "neutral", "contradiction"]
    spec = SPEC | {"inputs": ["sentence1", "sentence2"], "label": "gold_label", "labels": names}
    given = [{"annotator_labels": ["neutral"], "captionID": "3.jpg#4", "gold_label": label, "sentence1": "A man.",
              "sentence1_parse": "(ROOT)", "sentence2": f"A man {i}."} for i, label in
             enumerate(["neutral", "-", "contradiction", "entailment"])]  # fmt: skip
    files = {f"{split}.jsonl": given for split in ("train", "dev", "test")}
    read = task(tmp_path, files, spec, drop_unlabelled=True)
    assert (read.train["gold_label"][:], read.train["row_id"][:]) == ([1, 2, 0], [0, 2, 3])
    assert read.dropped == {"train": 1, "dev": 1}
    assert read.test["gold_label"][:] == [1, None, 2, 0]


def test_csv_of_a_hub_folder_is_text_as_with_files(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    table = "text,label\nNA,good\nnull,bad\nnan,bad\n007,good\n"
    write(tmp_path / "hub" / "train.csv", table)
    write(tmp_path / "hub" / "valid.csv", "text,label\n12,good\n7,bad\n")
    read = task(tmp_path, {}, source={"hub": "hub"})
    assert read.train["text"][:] == ["NA", "null", "nan", "007"]
    assert read.dev[:] == {"row_id": [0, 1], "text": ["12", "7"], "label": [1, 0]}
    write(tmp_path / "hub" / "train.csv", "text,label\n1,good\n2,bad\n")  # all digits: still text
    assert task(tmp_path, {}, source={"hub": "hub"}).train["text"][:] == ["1", "2"]
