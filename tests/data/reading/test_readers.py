"""Readers: every format gives the same rows, and everything that cannot be read is one InputError that says where."""

import bz2
import gzip
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import own_rows
from auxlearn.data import suites
from auxlearn.data.reading import hub_sets, parsing, readers, split_files
from auxlearn.errors import InputError

ROWS = [{"text": 'say "no"', "label": 1}, {"text": "a, b\u2028c", "label": 0}, {"text": "ü", "label": None}]
CHUNKS = [
    {"tokens": ["-DOC", "of", "#", "1.1"], "tags": ["B-NP", "B-PP", "B-NP", "I-NP"]},
    {"tokens": ["End"], "tags": ["O"]},
]
# The headers of the GLUE files as published, and how their columns are called on the hub.
COLA, SST, QQP = "source label mark sentence", "sentence label", "id qid1 qid2 question1 question2 is_duplicate"
STS = "index genre filename year old_index source1 source2 sentence1 sentence2 score"
MNLI = (
    "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse sentence1_parse sentence2_parse "
    "sentence1 sentence2"
)
PAIR = "index sentence1 sentence2"
SAMES = {"sentence1": "sentence1", "sentence2": "sentence2"}
MRPC = "#1 ID;#2 ID;#1 String;#2 String"


def cells(header: str) -> list[str]:
    return header.split(";" if ";" in header else " ")


GLUE = [
    ("SST-2", SST, SST, "index sentence", {"sentence": "sentence"}, "label", "1"),
    ("MRPC", "Quality;" + MRPC, None, "index;" + MRPC, dict(zip(SAMES, cells(MRPC)[2:], strict=True)), "Quality", "0"),
    ("QQP", QQP, QQP, "id question1 question2", {c: c for c in ("question1", "question2")}, "is_duplicate", "1"),
    ("STS-B", STS, STS, STS.removesuffix(" score"), SAMES, "score", "3.800"),
    (
        "MNLI", MNLI + " label1 gold_label", MNLI + " label1 label2 label3 label4 label5 gold_label", MNLI,
        {"premise": "sentence1", "hypothesis": "sentence2"}, "gold_label", "neutral",
    ),
    ("QNLI", "index question sentence label", None, "index question sentence",
     {"question": "question", "sentence": "sentence"}, "label", "not_entailment"),
    ("RTE", PAIR + " label", None, PAIR, SAMES, "label", "entailment"),
    ("WNLI", PAIR + " label", None, PAIR, SAMES, "label", "1"),
]  # fmt: skip


def read(path: Path, *more) -> list[dict]:
    """The rows of a file as dicts."""
    return list(readers.read_file(path, *more).rows())


def read_glue(folder: Path) -> dict[str, list[dict]]:
    return {split: list(raw.rows()) for split, raw in readers.read_glue(folder).items()}


def write(path: Path, content: str | bytes) -> Path:
    """A file, packed if its name ends in .gz."""
    path.parent.mkdir(parents=True, exist_ok=True)
    data = content.encode() if isinstance(content, str) else content
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def glue_file(path: Path, header: str, **values: str) -> Path:
    """A GLUE file of two rows: `values`, and in every other column its own name and the row's number."""
    names = cells(header)
    lines = [[values.get(name, f"{name} {i}") for name in names] for i in range(2)]
    bom = "\ufeff" if "#1 ID" in names else ""  # as MRPC's files have
    return write(path, bom + "".join("\t".join(line) + "\n" for line in [names, *lines]))


# --- formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.jsonl", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("x.jsonl.gz", "\n".join(json.dumps(row, ensure_ascii=False) for row in ROWS)),
        ("x.csv", 'text,label\n"say ""no""",1\n"a, b\u2028c",0\n\nü,\n'),
        ("x.csv", '\ufefftext,label\r\n"say ""no""",1\r\n"a, b\u2028c",0\r\nü,'),
        ("x.tsv", 'text\tlabel\nsay "no"\t1\na, b\u2028c\t0\nü\t\n'),
        ("x.tsv", '\ufefftext\tlabel\r\nsay "no"\t1\r\na, b\u2028c\t0\r\nü\t'),
    ],
)
def test_formats_agree(tmp_path, name, content):
    label = (lambda x: x) if "jsonl" in name else lambda x: None if x is None else str(x)
    assert read(write(tmp_path / name, content)) == [row | {"label": label(row["label"])} for row in ROWS]


def test_parquet_gives_plain_python_values(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [{"tokens": ["a", "b"], "tags": [1, 0], "score": 0.5}, {"tokens": ["c"], "tags": [2], "score": None}]
    folder = tmp_path / "kind=hive"  # a name that must not become a column
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), folder / "x.parquet")
    assert read(folder / "x.parquet") == rows
    assert type(read(folder / "x.parquet")[0]["tokens"]) is list


def test_cells_are_text_whatever_they_look_like(tmp_path):
    path = write(tmp_path / "x.csv", "a,b,c,d,e\n1,1.5,007,True,\n-2, 2,NA,null,\n,1e3,None,nan,\n")
    assert read(path) == [
        {"a": "1", "b": "1.5", "c": "007", "d": "True", "e": None},
        {"a": "-2", "b": " 2", "c": "NA", "d": "null", "e": None},
        {"a": None, "b": "1e3", "c": "None", "d": "nan", "e": None},
    ]


def as_suite(folder, *names, content):
    """The fingerprint of a suite, and the first cell, of files of such content one after the other."""
    for name in names:
        write(folder / name, content)
    write(folder / "dev.jsonl", '{"text": "z", "label": "good"}\n')
    source = {"files": {"train": list(names), "dev": "dev.jsonl"}}
    suite = suites.Suite.from_yaml(own_rows.suite_file(folder, {}, source=source))
    return suite.fingerprint, suite["t"].train["text"][0]


@pytest.mark.parametrize(
    ("content", "csv", "tsv"),
    [
        ('text\tlabel\n"a ""b"" c"\tbad\nx\tgood\n', 'a "b" c', '"a ""b"" c"'),
        ('label\ttext\nbad\t"a"\ngood\tx\n', "a", '"a"'),
        ("x,text,label,y\ttext\tlabel\n1,a,bad,y\tb\tgood\n", "a", "b"),
    ],
)
def test_bytes_that_are_read_differently_as_csv_and_as_tsv_have_two_fingerprints(tmp_path, content, csv, tsv):
    read = [as_suite(tmp_path, *names, content=content) for names in (["a.csv"], ["a.tsv"])]
    assert [text for _, text in read] == [csv, tsv]
    read += [as_suite(tmp_path, *names, content=content) for names in (["a.csv", "a.tsv"], ["a.tsv", "a.csv"])]
    assert len({fingerprint for fingerprint, _ in read}) == 4


@pytest.mark.parametrize(
    ("name", "content", "fingerprint"),
    [
        ("a.csv", "text\tlabel\nsay \"a\"\tbad\nx\tgood\n", "a6a85c7ac5c5b3d6"),
        ("a.tsv", "text\tlabel\nsay \"a\"\tbad\nx\tgood\n", "a6a85c7ac5c5b3d6"),
        ("a.tsv", 'text\tlabel\n"a"\tbad\nx\tgood\n', "17c545da0a9bbdf0"),
        ("a.csv", 'text,label\n"a, b",bad\nx,good\n', "676b0ced0c8810da"),
        ("a.csv", '"text"\t"label"\n"a"\tbad\nx\tgood\n', "0730c625ca958850"),
    ],
)  # fmt: skip
def test_bytes_that_are_read_in_one_way_have_the_fingerprint_that_they_had(tmp_path, name, content, fingerprint):
    assert as_suite(tmp_path, name, content=content)[0] == fingerprint


def test_csv_cells_may_span_lines_and_be_long(tmp_path):
    long = "word " * 40_000
    rows = read(write(tmp_path / "x.csv", f'text,label\n"one\ntwo",a\n{long},b\n'))
    assert rows == [{"text": "one\ntwo", "label": "a"}, {"text": long, "label": "b"}]


@pytest.mark.parametrize(
    ("content", "names", "rows"),
    [
        ('id;text;label\n1;a, b;x\n2;"c;\nd";y\n', ["id", "text", "label"], [["1", "a, b", "x"], ["2", "c;\nd", "y"]]),
        ("text, short;score\na;1,5\nb;2\n", ["text, short", "score"], [["a", "1,5"], ["b", "2"]]),
        ("text\tlabel\na, b\tx\n", ["text", "label"], [["a, b", "x"]]),
        # Commas, whatever else the cells hold.
        ("text,label\na; b,x;\n", ["text", "label"], [["a; b", "x;"]]),
        ("text (a;b;c),label\nd,x\n", ["text (a;b;c)", "label"], [["d", "x"]]),
        ("a;b,c;d\n1;2,3;4\n", ["a;b", "c;d"], [["1;2", "3;4"]]),
        ("text\na; b\n", ["text"], [["a; b"]]),
    ],
)  # fmt: skip
def test_csv_is_separated_as_its_first_records_are(tmp_path, content, names, rows):
    path = write(tmp_path / "x.csv", "\ufeff" + content.replace("\n", "\r\n"))
    content = [[row[name].replace("\r\n", "\n") for name in names] for row in read(path)]
    assert list(readers.read_file(path).names) == names
    assert content == rows


def test_fields_of_nested_objects_are_columns_by_their_path(tmp_path):
    lines = [
        {"id": 1, "pair": {"a": "x", "more": {"b": ["y"]}}, "c.d": 1, "c": {"d": 2}},
        {"id": 2, "pair": {"a": "z"}, "late": {"e": 5}},
        {"id": 3, "pair": None, "c": {"d": 4}},
    ]
    path = write(tmp_path / "x.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    asked = readers.read_file(path, None, ("pair.a", "pair.more.b", "c.d", "late.e", "id.x"))
    assert list(asked.rows()) == [
        {"pair.a": "x", "pair.more.b": ["y"], "c.d": 1},  # a key that is spelt so comes first
        {"pair.a": "z", "late.e": 5},
        {"c.d": 4},
    ]
    assert {"pair.a", "pair.more.b", "pair", "late"} < set(asked.names)
    assert "id.x" not in asked.names
    whole = readers.read_file(path)
    assert whole.value("pair.a", 1) == "z"
    assert whole.value("pair", 1) == {"a": "z"}
    assert "late.e" not in whole.names  # all columns: those of the first row


def test_objects_nested_beyond_reason_give_no_columns(tmp_path):
    row = {"text": "x", "k" * 199: {"a": {"deep": 1}}}
    (only,) = read(write(tmp_path / "x.jsonl", json.dumps(row) + "\n"))
    assert {"text", "k" * 199, "k" * 199 + ".a"} == set(only)


def test_jsonl_rows_may_differ_in_keys(tmp_path):
    path = write(tmp_path / "x.jsonl", '{"a": "\\ud83d\\ude00", "b": 1}\n\n{"a": "y"}\n')
    assert read(path) == [{"a": "😀", "b": 1}, {"a": "y"}]


# --- CoNLL -------------------------------------------------------------------------------------------------------

SPACED = """-DOCSTART- -X- O

# a comment of three
-DOC NN B-NP
of IN B-PP
# # B-NP
# sent_id
1.1 CD I-NP

-DOCSTART- -X- O
End  NN O"""


@pytest.mark.parametrize("name", ["train.conll", "train.conll.gz"])
@pytest.mark.parametrize("text", [SPACED, SPACED.replace("\n", "\r\n"), SPACED + "\n\n \n\n"])
def test_conll_columns(tmp_path, name, text):
    path = write(tmp_path / "chunk" / name, text)
    assert read(path) == CHUNKS
    assert split_files.folder_files(path.parent) == {"train": [path]}


def test_conll_tabs_keep_spaces_and_other_white_space(tmp_path):
    path = write(tmp_path / "x.conll", "New York\tB-LOC\n\u00a0\tO\n#\tO\n\t\nx\tO\n")
    assert read(path) == [
        {"tokens": ["New York", "\u00a0", "#"], "tags": ["B-LOC", "O", "O"]},
        {"tokens": ["x"], "tags": ["O"]},
    ]


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("# O\n200 B-NP\n\n# comment\n# O\nof O\n\n# of two\nx O\n", [["#", "200"], ["#", "of"], ["x"]]),
        ("#\tO\n200\tB-NP\n\n# O\n#\tX\nof\tO\n", [["#", "200"], ["#", "of"]]),
        ("of O\n# X\n# of two\n", [["of", "#"]]),
    ],
)
def test_conll_token_hash_is_no_comment(tmp_path, text, tokens):
    """CoNLL-2000 and WNUT-17 have sentences with the token #, even as the first, which looks like a comment."""
    assert [row["tokens"] for row in read(write(tmp_path / "x.conll", text))] == tokens


CONLLU = "# sent_id = 1\n# text = Don't go\n" + "".join(
    "\t".join([*row, *"_" * 6]) + "\n"
    for row in [
        ("1-2", "Don't", "_", "_"), ("1", "Do", "do", "AUX"), ("2", "n't", "not", "PART"),
        ("2.1", "you", "you", "PRON"), ("3", "go", "go", "VERB"),
    ]
)  # fmt: skip


@pytest.mark.parametrize(("columns", "tags"), [((1, 3), ["AUX", "PART", "VERB"]), ((-9, 2), ["do", "not", "go"])])
def test_conllu_by_columns_without_subwords(tmp_path, columns, tags):
    path = write(tmp_path / "x.conll", CONLLU)
    assert read(path, columns) == [{"tokens": ["Do", "n't", "go"], "tags": tags}]


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("a O\nb\n", None, r"x\.conll, line 2: 1 columns instead of 2"),
        ("a X O\n\nb X X O\n", None, r"x\.conll, line 3: 4 columns instead of 3"),
        ("# c\na\nb\n", None, r"x\.conll, line 2: 1 columns instead of 2"),
        ("a O\n", (0, 2), r"x\.conll, line 1: 2 columns; `columns` asks for \[0, 2\]"),
        ("a O\n", (-3, 0), r"x\.conll, line 1: 2 columns; `columns` asks for \[-3, 0\]"),
        ("a\tO\nb\t\n", None, r"x\.conll, line 2: the tag is empty"),
        ("a\tO\n\tO\n", None, r"x\.conll, line 2: the token is empty"),
        (CONLLU, None, r"x\.conll: its first column numbers the tokens; give `columns`"),
        ("", None, r"x\.conll: is empty or holds no rows"),
        ("-DOCSTART- O\n\n# x\n", None, r"x\.conll: is empty or holds no rows"),
    ],
)
def test_bad_conll_is_named(tmp_path, text, columns, message):
    with pytest.raises(InputError, match=message):
        readers.read_file(write(tmp_path / "x.conll", text), columns)


def test_columns_are_for_conll_only(tmp_path):
    path = write(tmp_path / "x.csv", "a,b\n1,2\n")
    with pytest.raises(InputError, match=r"x\.csv: `columns` is for \.conll files"):
        readers.read_file(path, (0, 1))


# --- the glue_data layout ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "train", "dev", "test", "inputs", "label", "value"), GLUE)
def test_glue_data_layout(tmp_path, name, train, dev, test, inputs, label, value):
    matched = "_matched" if name == "MNLI" else ""
    folder = tmp_path / name
    glue_file(folder / "train.tsv", train, **{label: value})
    glue_file(folder / f"dev{matched}.tsv", dev or train, **{label: value, next(iter(inputs.values())): 'one "quote'})
    glue_file(folder / f"test{matched}.tsv", test)
    if matched:
        glue_file(folder / "dev_mismatched.tsv", dev, gold_label="wrong file")
    splits = read_glue(folder)
    answer = float(value) if name == "STS-B" else value
    text = [{column: f"{own} {i}" for column, own in inputs.items()} for i in range(2)]
    assert list(splits) == ["train", "dev", "test"]
    assert splits["train"] == [{**row, "label": answer} for row in text]
    assert splits["dev"] == [{**row, next(iter(inputs)): 'one "quote', "label": answer} for row in text]
    assert splits["test"] == text
    assert readers.glue_files(folder)["dev"][0].name == f"dev{matched}.tsv"


def test_glue_cola_has_no_header_except_in_test(tmp_path, monkeypatch):
    for split in ("train", "dev"):
        write(tmp_path / "CoLA" / f"{split}.tsv", f'gj04\t1\t\tThe "{split}" one.\ngj04\t0\t*\tThe one the.\n')
    write(tmp_path / "CoLA" / "test.tsv", "index\tsentence\n0\tBill walked.\n")
    expected = {
        split: [{"sentence": f'The "{split}" one.', "label": "1"}, {"sentence": "The one the.", "label": "0"}]
        for split in ("train", "dev")
    }
    expected["test"] = [{"sentence": "Bill walked."}]
    assert read_glue(tmp_path / "CoLA") == expected
    monkeypatch.chdir(tmp_path / "CoLA")
    assert read_glue(Path()) == expected


def test_glue_keeps_labels_that_a_test_file_has(tmp_path):
    for split in ("train", "test"):
        glue_file(tmp_path / "MRPC" / f"{split}.tsv", "index;Quality;#1 String;#2 String", Quality="1")
    assert [row["label"] for row in read_glue(tmp_path / "MRPC")["test"]] == ["1", "1"]


def test_glue_cell_that_is_empty_is_none(tmp_path):
    write(tmp_path / "SST-2" / "train.tsv", "sentence\tlabel\n\t1\na\t\n")
    expected = [{"sentence": None, "label": "1"}, {"sentence": "a", "label": None}]
    assert read_glue(tmp_path / "SST-2") == {"train": expected}


@pytest.mark.parametrize(
    ("folder", "file", "content", "message"),
    [
        ("WNLI", "train.tsv", "index\tsentence1\tsentence2\tlabel\n0\ta\tb\n", r"line 2: 3 columns instead of 4; mend"),
        ("CoLA", "train.tsv", "gj\t1\t\ta\ngj\t1\ta\n", r"train\.tsv, line 2: 3 columns instead of 4"),
        (
            "QQP", "train.tsv", QQP.replace(" ", "\t") + "\n" + "1\t2\t3\ta\tb\t0\n2\tx\n1\t2\t3\ta\tb\t0\n\ta\tb\n",
            r"line 3: 2 columns instead of 6 \(as 2 lines: 3, 5\); mend or delete every such line; QQP as published",
        ),
        ("SST-2", "train.tsv", "text\tlabel\na\t1\n", r"1: no 'sentence' in the header \(text, label\); is this SST-2"),
        ("SST-2", "train.tsv", "sentence\tlabl\na\t1\n", r"line 1: no 'label' in the header"),
        ("STS-B", "train.tsv", "sentence1\tsentence2\tscore\na\tb\t1\na\tb\tx\n", "line 3: the score 'x' is no number"),
        ("CoLA", "train.tsv", "", r"train\.tsv: is empty or holds no rows"),
        ("SST-2", "train.tsv", "sentence\tlabel\n", r"train\.tsv: is empty or holds no rows"),
        ("SST-2", "train.tsv", "sentence\tsentence\na\tb\n", r"train\.tsv: column 'sentence' is there twice"),
        ("SST-2", "train.tsv", b"sentence\tlabel\n\xff\t1\n", r"train\.tsv, line 2: not UTF-8"),
        ("MRPC", "msr_paraphrase_train.txt", "x", r"MRPC: holds no train file \(train\.tsv\)"),
        ("AX", "train.tsv", "x", "'AX' is no task of the glue_data layout; it has CoLA"),
    ],
)  # fmt: skip
def test_bad_glue_data_is_named(tmp_path, folder, file, content, message):
    write(tmp_path / folder / file, content)
    with pytest.raises(InputError, match=message):
        readers.read_glue(tmp_path / folder)


def test_glue_folder_must_exist(tmp_path):
    with pytest.raises(InputError, match="RTE: no such folder"):
        readers.read_glue(tmp_path / "RTE")


# --- what cannot be read -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.jsonl", '{"a": 1}\n{broken\n', "line 2: not JSON"),
        ("x.jsonl", '{"a": 1}\n[1]\n', "line 2: a JSON object is expected, not list"),
        ("x.jsonl", "[" * 100_000, "line 1: not JSON"),
        ("x.jsonl", '{"a": 1}\n{"a": 1, "b": 2, "a": 3}\n', r"line 2: not JSON \('a' is given twice"),
        ("x.jsonl", '{"a": "\\ud83d"}\n', "line 1: not JSON .*surrogates"),
        ("x.jsonl", '{"a": ' + "9" * 5000 + "}\n", "line 1: not JSON"),
        ("x.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', r"line 2: not UTF-8 \(invalid start byte at byte 7 of the line\)"),
        ("x.jsonl.gz", b'{"a": 1}\n{"a": "\xff"}\n', "line 2: not UTF-8"),
        ("x.conll.gz", b"a O\n\xe9 O\n", "line 2: not UTF-8"),
        ("x.csv", "a\n1\n".encode("utf-16"), "line 1: not text but UTF-16"),
        ("x.tsv", "a\tb\nc\té\n".encode("latin-1"), "line 2: not UTF-8"),
        ("x.jsonl", "", "is empty or holds no rows"),
        ("x.jsonl.gz", " \n\n", "is empty or holds no rows"),
        ("x.csv", "", "is empty or holds no rows"),
        ("x.csv", "a,b\n", "is empty or holds no rows"),
        ("x.tsv", "a\tb\n\n", "is empty or holds no rows"),
        ("x.csv", "a,b\n1,2\n3\n", "line 3: 1 columns instead of 2; mend or delete"),
        ("x.csv", 'a,b\n"1\n1",2\n1,2,3\n', "line 4: 3 columns instead of 2; mend or delete"),
        ("x.csv", "a,b\n1,2,3\n1,2,3\n", r"line 2: 3 columns instead of 2 \(as 2 lines: 2, 3\)"),
        ("x.tsv", "a\tb\n1\n", "line 2: 1 columns instead of 2"),
        ("x.csv", 'a,b\n1,2\n"open,3\n4,5\n', r"line 3: not CSV \(unexpected end of data\)"),
        ("x.csv", "a,b,a\n1,2,3\n", "column 'a' is there twice"),
        ("x.tsv", "a\ta\n1\t2\n", "column 'a' is there twice"),
        ("x.parquet", "a,b\n1,2\n", "not a readable Parquet file"),
        ("x.parquet", "", "not a readable Parquet file"),
        ("x.xlsx", "a", "unknown format; use one of .jsonl.gz"),
        ("x.csv.gz", "a\n1\n", "unknown format"),
    ],
)
def test_bad_file_is_named(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(InputError, match=message) as caught:
        readers.read_file(path)
    assert str(caught.value).startswith(str(path))


def test_bad_parquet_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    pq.write_table(pa.table([[1], [2]], names=["a", "a"]), path)
    with pytest.raises(InputError, match=r"x\.parquet: column 'a' is there twice"):
        readers.read_file(path)
    pq.write_table(pa.table({"a": pa.array([], pa.int64())}), path)
    with pytest.raises(InputError, match=r"x\.parquet: is empty or holds no rows"):
        readers.read_file(path)
    pq.write_table(pa.table({"a": ["some text"] * 100}), path)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"x\.parquet: not a readable Parquet file"):
        readers.read_file(path)


@pytest.mark.parametrize("suffix", readers.SUFFIXES)
def test_missing_and_irregular_files_are_named(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    with pytest.raises(InputError, match="no such file; check the suite"):
        readers.read_file(path)
    path.mkdir()
    with pytest.raises(InputError, match="is not a regular file"):
        readers.read_file(path)


@pytest.mark.parametrize("suffix", readers.SUFFIXES)
def test_unreadable_file_is_named(tmp_path, monkeypatch, suffix):
    path = write(tmp_path / f"x{suffix}", "a\n1\n")
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything: refuse in its place

        def refuse(self, *_, **__):
            raise PermissionError(13, "Permission denied", str(self))

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(InputError, match=r"cannot be read \(Permission denied\); check its permissions"):
        readers.read_file(path)


def test_file_that_fails_while_it_is_read_is_named(tmp_path):
    path = tmp_path / "x.jsonl"
    path.symlink_to("/proc/self/mem")
    if not path.is_file():
        pytest.skip("no /proc here")
    with pytest.raises(InputError, match=r"x\.jsonl: cannot be read \(Input/output error\)"):
        readers.read_file(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[: len(data) // 2], r"truncated or damaged gzip \(Compressed file ended"),
        (lambda data: data[:-8] + b"\0" * 8, r"truncated or damaged gzip \(CRC check failed"),
        (lambda data: data[:40] + bytes(255 - b for b in data[40:60]) + data[60:], "truncated or damaged gzip"),
        (lambda data: b"PK" + data, r"after line 0: truncated or damaged gzip \(Not a gzipped file"),
    ],
)
def test_damaged_gzip_is_named(tmp_path, damage, message):
    path = tmp_path / "x.jsonl.gz"
    rows = [{"a": f"{i * 7919 % 1000} text"} for i in range(500)]
    whole = gzip.compress("".join(json.dumps(row) + "\n" for row in rows).encode(), mtime=0)
    path.write_bytes(whole)
    assert read(path) == rows
    path.write_bytes(damage(whole))
    with pytest.raises(InputError, match=message):
        readers.read_file(path)


def test_gzip_may_expand_by_any_ratio_up_to_a_bound_on_bytes(tmp_path, monkeypatch):
    data = (b'{"a": 1}' + b" " * 90 + b"\n") * 20_000
    path = write(tmp_path / "x.jsonl.gz", data)
    assert len(data) > 200 * path.stat().st_size
    monkeypatch.setattr(parsing, "GZIP_MOST", len(data))
    assert len(readers.read_file(path)) == 20_000
    monkeypatch.setattr(parsing, "GZIP_MOST", len(data) - 1)
    with pytest.raises(InputError, match=r"x\.jsonl\.gz, line 20000: expands beyond .*set AUXLEARN_MAX_BYTES"):
        readers.read_file(path)


def test_zip_bomb_is_refused_by_the_bounds_as_they_are(tmp_path):
    import zlib

    packer, path = zlib.compressobj(9, wbits=31), tmp_path / "x.jsonl.gz"
    with path.open("wb") as file:
        for _ in range(96):
            file.write(packer.compress(b" " * (1 << 20)))
        file.write(packer.flush())
    with pytest.raises(InputError, match="zip bomb"):
        readers.read_file(path)


# --- folders -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", readers.SUFFIXES)
def test_folder_files_finds_every_format(tmp_path, suffix):
    other = readers.SUFFIXES[readers.SUFFIXES.index(suffix) - 1]
    files = {split: [write(tmp_path / f"{split}{end}", "x")] for split, end in (("train", suffix), ("test", other))}
    assert split_files.folder_files(tmp_path) == files
    write(tmp_path / f"train{other}", "x")
    with pytest.raises(InputError, match=r"train exists more than once \(.*\); keep one"):
        split_files.folder_files(tmp_path)


def test_folder_files_needs_a_folder_with_train(tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        split_files.folder_files(tmp_path / "nowhere")
    write(tmp_path / "dev.jsonl", "{}")
    with pytest.raises(InputError, match=r"holds no train file \(train\.jsonl\.gz or "):
        split_files.folder_files(tmp_path)


def test_importing_readers_is_cheap():
    heavy = ("pandas", "pyarrow", "datasets", "torch")
    imports = "import sys; from auxlearn.data.reading import parsing, readers"
    code = f"{imports}; print([m for m in {heavy} if m in sys.modules])"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert process.stdout.strip() == "[]"


# --- the hub -----------------------------------------------------------------------------------------------------

CARD = """---
license: other
dataset_info:
{infos}configs:
{configs}---
# GLUE
"""
INFO = """- config_name: {name}
  features:
{inputs}  - name: label
    dtype:
      class_label:
        names:
          '0': {labels[0]}
          '1': {labels[1]}
  - name: idx
    dtype: int32
  splits:
{splits}"""
HUB = {
    "cola": (["sentence"], ["unacceptable", "acceptable"]),
    "rte": (["sentence1", "sentence2"], ["entailment", "not_entailment"]),
}
SIZES = {"train": 6, "validation": 4, "test": 3}


@pytest.fixture
def hub_copy(tmp_path, monkeypatch):
    """The layout of nyu-mll/glue: a card whose header lists the configs, a folder each, Parquet splits. Offline."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    folder, infos, configs = tmp_path / "glue", "", ""
    for name, (inputs, labels) in HUB.items():
        columns = {column: datasets.Value("string") for column in inputs}
        features = datasets.Features(
            {**columns, "label": datasets.ClassLabel(names=labels), "idx": datasets.Value("int32")}
        )
        (folder / name).mkdir(parents=True)
        for split, size in SIZES.items():
            rows = [
                {**{c: f"{name} {split} {c} {i}" for c in inputs}, "label": -1 if split == "test" else i % 2, "idx": i}
                for i in range(size)
            ]
            table = datasets.Dataset.from_list(rows, features=features)
            table.to_parquet(folder / name / f"{split}-00000-of-00001.parquet")
        infos += INFO.format(
            name=name,
            labels=labels,
            inputs="".join(f"  - name: {column}\n    dtype: string\n" for column in inputs),
            splits="".join(f"  - name: {s}\n    num_bytes: 1\n    num_examples: {n}\n" for s, n in SIZES.items()),
        )
        configs += f"- config_name: {name}\n  data_files:\n"
        configs += "".join(f"  - split: {split}\n    path: {name}/{split}-*\n" for split in SIZES)
    (folder / "README.md").write_text(CARD.format(infos=infos, configs=configs))
    return folder


def test_hub_layout_is_read_from_a_local_copy(hub_copy):
    hub = hub_sets.read_hub(str(hub_copy), "rte", None)
    assert {split: len(rows) for split, rows in hub.splits.items()} == {"train": 6, "dev": 4, "test": 3}
    splits = hub.rows(("sentence1", "label"))
    assert list(splits["train"].rows())[1] == {"sentence1": "rte train sentence1 1", "label": "not_entailment"}
    assert [row["label"] for row in splits["dev"].rows()] == ["entailment", "not_entailment"] * 2
    assert {row["label"] for row in splits["test"].rows()} == {None}
    assert splits["dev"].named == {"label": ("entailment", "not_entailment")}
    assert hub_sets.read_hub(str(hub_copy), "cola", None).splits["dev"][0]["sentence"] == "cola validation sentence 0"


def test_hub_failures_are_named(hub_copy):
    with pytest.raises(InputError, match=r"config 'nli'.*cannot be loaded"):
        hub_sets.read_hub(str(hub_copy), "nli", None)
    with pytest.raises(InputError, match=r"hub data set 'nyu-mll/glue'.* Is the hub reachable\? Otherwise download it"):
        hub_sets.read_hub("nyu-mll/glue", "rte", None)


def test_hub_data_needs_a_train_split(hub_copy):
    for split in ("train", "validation"):
        next((hub_copy / "rte").glob(f"{split}-*")).unlink()
    card = "---\nconfigs:\n- config_name: rte\n  data_files:\n  - split: test\n    path: rte/test-*\n---\n"
    (hub_copy / "README.md").write_text(card)
    with pytest.raises(InputError, match=r"has no train split \(it has test\)"):
        hub_sets.read_hub(str(hub_copy), "rte", None)


def test_what_is_no_text_is_named_by_what_it_is(tmp_path):
    text, packed = ("text,label\ncaf\u00e9,0\n" * 20).encode(), io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("a.csv", text)
    table = io.BytesIO()
    pq.write_table(pa.table({"text": ["x"], "label": [0]}), table)
    for content, kind in (
        (gzip.compress(text), "gzip; name it .gz"), (packed.getvalue(), "a zip archive"), (bz2.compress(text), "bzip2"),
        (lzma.compress(text), "xz"), (table.getvalue(), "Parquet; name it .parquet"),
        (text.decode().encode("utf-16"), "UTF-16; convert it"),
    ):  # fmt: skip
        for name in ("a.csv", "a.tsv", "a.jsonl", "a.conll"):
            (tmp_path / name).write_bytes(content)
            with pytest.raises(InputError, match=rf"{name}, line \d+: not text but {kind}"):
                readers.read_file(tmp_path / name)


def test_a_column_that_is_called_almost_so_is_named(tmp_path):
    spec = {"kind": "classification", "inputs": ["text"], "label": "label", "labels": ["a", "b"], "metric": "accuracy"}
    for head, near in (("Text,label", "'Text'"), (" text,label", "' text'"), ("texts,label", "'texts'")):
        with pytest.raises(InputError, match=f"no column 'text'; it has .*; did you mean {near}"):
            own_rows.task(tmp_path, {"train.csv": f"{head}\nx,a\n", "dev.csv": "text,label\nx,a\n"}, spec)


@pytest.mark.parametrize("name", ["train.tsv", "train.csv", "train.jsonl", "train.conll"])
def test_a_file_whose_lines_end_in_carriage_returns_alone_is_named(tmp_path, name):
    """As one line it would be a sentence of one word, or no row."""
    rows = {"tsv": "text\tlabel\ra b\tx\rc\ty\r", "csv": "text,label\ra b,x\rc,y\r", "jsonl": '{"a": 1}\r{"a": 2}\r',
            "conll": "John B-X\rruns O\r\rMary B-X\r"}  # fmt: skip
    path = tmp_path / name
    path.write_bytes(rows[name.partition(".")[2]].encode())
    with pytest.raises(InputError, match=r"its lines end in carriage returns alone; end them in newlines"):
        readers.read_files({"train": [path]})
    path.write_bytes(path.read_bytes().replace(b"\r", b"\r\n"))
    assert len(readers.read_files({"train": [path]})["train"]) == 2
