"""Labels: names or ids, decided once over all splits; every value that may be read one way is read so, others not."""

import datetime
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auxlearn.data import suites
from auxlearn.data.reading import class_names, labels, raw_rows
from auxlearn.errors import InputError
from own_rows import SCORE, SPEC, TAGS, arrow, csv, rows, suite_file, task, write

NUMBERS = SPEC | {"labels": ["1", "2"]}


def both(make, train, dev):
    return {f"train.{make[0]}": make[1](train), f"dev.{make[0]}": make[1](dev, "dev")}


JSONL, CSV = ("jsonl", rows), ("csv", csv)
PARQUET = ("parquet", arrow)


@pytest.mark.parametrize("form", [JSONL, CSV, PARQUET], ids=["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(
    ("names", "train", "dev", "ids"),
    [
        (["1", "2"], [0, 1, 0], [1], [0, 1, 0]),
        (["1", "2"], [1, 2, 1], [2], [0, 1, 0]),
        (["1", "2"], [1, 1, 1], [2], [0, 0, 0]),  # dev alone tells that these are names
        (["1", "2"], [1, 1, 1], [0], [1, 1, 1]),  # and here that they are ids
        (["0", "1", "2"], [0, 2, 1], [1], [0, 2, 1]),  # both, which agree
        (["-1", "0", "1"], [-1, 1, 0], [0], [0, 2, 1]),
        (["0.5", "1.0"], [0.5, 1.0], [0.5], [0, 1]),
        (["0.5", "1"], [0.5, 1.0], [0.5], [0, 1]),
        (["5", "10"], ["5", "10"], ["10"], [0, 1]),
        (["01", "02"], [1, 2], [2], [0, 1]),
        (["1", "2"], ["01", "02"], ["02"], [0, 1]),
        (["bad", "good"], [0, 1, 1], [0], [0, 1, 1]),
        (["bad", "good"], [0.0, 1.0], [1.0], [0, 1]),
        (["bad", "good"], ["good", "bad"], ["bad"], [1, 0]),
        (["false", "true"], [False, True], [True], [0, 1]),
        (["True", "False"], [False, True], [True], [1, 0]),
        (["no", "yes"], [False, True], [True], [0, 1]),
        (["0", "1"], [True, False], [True], [1, 0]),
    ],
)
def test_values_that_fit_one_reading_are_read_so(tmp_path, form, names, train, dev, ids):
    if form is CSV and names in (["no", "yes"], ["0", "1"]) and isinstance(train[0], bool):
        pytest.skip("the words True and False are not these labels")
    read = task(tmp_path, both(form, train, dev), SPEC | {"labels": names})
    assert read.train["label"][:] == ids


@pytest.mark.parametrize("form", [JSONL, CSV, PARQUET], ids=["jsonl", "csv", "parquet"])
@pytest.mark.parametrize(("names", "values"), [(["1", "0"], [0, 1]), (["1", "2"], [1, 1]), (["-1", "0", "1"], [0, 1])])
def test_values_that_fit_both_readings_and_differ_are_an_error_until_settled(tmp_path, form, names, values):
    files = both(form, values, values)
    with pytest.raises(InputError, match="may hold names or ids") as caught:
        task(tmp_path, files, SPEC | {"labels": names})
    first = values[0]
    for part in ("task 't'", f"is {str(first)!r} if read as a name", f"{names[first]!r} if read as an id",
                 "train row 0", "`label_values: names` or `label_values: ids`"):  # fmt: skip
        assert part in str(caught.value)
    by_name = task(tmp_path, files, SPEC | {"labels": names, "label_values": "names"})
    assert by_name.train["label"][:] == [names.index(str(value)) for value in values]
    by_id = task(tmp_path, files, SPEC | {"labels": names, "label_values": "ids"})
    assert by_id.train["label"][:] == values


@pytest.mark.parametrize(
    ("train", "dev"), [(rows(["good", "bad"]), rows([0, 1], "dev")), (rows(["good", 0]), rows(["bad"], "dev"))]
)
def test_names_in_some_rows_and_ids_in_others_are_an_error(tmp_path, train, dev):
    with pytest.raises(InputError, match=r"holds both names \(train row 0: 'good'.*and ids 0 to 1 \((dev|train) row"):
        task(tmp_path, {"train.jsonl": train, "dev.jsonl": dev})


@pytest.mark.parametrize(
    ("names", "value", "message"),
    [
        (["bad", "good"], "Good", "unknown label 'Good'; labels are bad, good or ids 0 to 1; did you mean 'good'"),
        (["bad", "good"], " good", "unknown label ' good'.*did you mean 'good'"),
        (["bad", "good"], "goood", ".*did you mean 'good'"),
        (["bad", "good"], 2, "unknown label 2; labels are bad, good or ids 0 to 1$"),
        (["bad", "good"], True, "unknown label True;.*`label_values: ids` takes false as 0 and true as 1"),
        (["bad", "good"], ["good", "bad"], r"unknown label \['good', 'bad'\]: one label per row.*multi-label"),
        (["bad", "good"], [], ".*multi-label"),
        (["bad", "good"], {"name": "good"}, ".*multi-label"),
        (["1.5", "01.5", "x"], 1.5, "unknown label 1.5"),
    ],
)
def test_what_is_no_label_is_named_with_what_was_meant(tmp_path, names, value, message):
    given = rows([names[0], value, value])
    with pytest.raises(InputError, match="train row 1: " + message):
        task(tmp_path, {"train.jsonl": given, "dev.jsonl": rows([names[0]], "dev")}, SPEC | {"labels": names})


def test_booleans_are_ids_where_the_suite_says_so(tmp_path):
    files = {"train.jsonl": rows([True, False]), "dev.jsonl": rows([1], "dev")}
    assert task(tmp_path, files, SPEC | {"label_values": "ids"}).train["label"][:] == [1, 0]


def test_a_class_called_minus_one_keeps_its_label_in_test(tmp_path):
    names = ["-1", "0", "1"]
    files = {f"{split}.csv": csv([-1, 0, 1], split) for split in ("train", "dev", "test")}
    assert task(tmp_path, files, SPEC | {"labels": names}).test["label"][:] == [0, 1, 2]
    files = {f"{split}.csv": csv([0, 1, 1], split) for split in ("train", "dev")} | {"test.csv": csv([-1, 0, -1])}
    assert task(tmp_path, files).test["label"][:] == [None, 0, None]


def test_the_words_false_and_true_of_a_csv_are_the_labels_false_and_true(tmp_path):
    files = {f"{split}.csv": csv(["False", "True", "TRUE"], split) for split in ("train", "dev")}
    assert task(tmp_path, files, SPEC | {"labels": ["true", "false"]}).train["label"][:] == [1, 0, 0]


def test_tags_are_decided_over_all_splits_too(tmp_path):
    spec = TAGS | {"labels": ["1", "2", "3"]}

    def made(train, dev):
        files = {f"{s}.jsonl": [{"tokens": ["a", "b"], "tags": t}] for s, t in (("train", train), ("dev", dev))}
        return task(tmp_path, files, spec).train["tags"][:]

    assert made([1, 2], [2, 3]) == [[0, 1]]
    assert made([1, 2], [0, 1]) == [[1, 2]]
    assert made(["1", "2"], [2, 3]) == [[0, 1]]
    with pytest.raises(InputError, match="'tags' may hold names or ids"):
        made([1, 2], [1, 2])
    with pytest.raises(InputError, match=r"dev row 0: unknown label 7"):
        made([1, 3], [7, 2])


# --- names that files carry --------------------------------------------------------------------------------------


def test_names_of_a_file_are_mapped_split_by_split(tmp_path):
    """The splits number them differently, and otherwise than the suite."""
    files = {
        "train.parquet": arrow([0, 1, 1], names=["good", "bad"]),
        "dev.parquet": arrow([0, 1], "dev", names=["bad", "good"]),
        "test.parquet": arrow([-1, 0], "test", pa.int8(), names=["good", "bad"]),
    }
    read = task(tmp_path, files)
    assert read.train["label"][:] == [1, 0, 0]
    assert read.dev["label"][:] == [0, 1]
    assert read.test["label"][:] == [None, 1]


@pytest.mark.parametrize("kind", [
    pa.int64(), pa.float64(), pa.float32(), pa.decimal128(22, 1), pa.string(), pa.large_string(),
    pa.dictionary(pa.int8(), pa.int64()), pa.dictionary(pa.int8(), pa.string()),
])  # fmt: skip
def test_ids_are_named_as_their_file_names_them_however_they_are_stored(tmp_path, kind):
    """As numbers with a point, which is what nulls make of them in tables, or as text: the suite's order is another."""

    def stored(values, split, kind=kind):
        table = arrow([0] * len(values), split, names=["good", "bad"])
        ids = pa.array(values, pa.int64())
        if pa.types.is_dictionary(kind):
            ids = ids.cast(kind.value_type).dictionary_encode().cast(kind)
        place = table.column_names.index("label")
        return table.set_column(place, "label", ids.cast(kind)).replace_schema_metadata(table.schema.metadata)

    files = {"train.parquet": stored([0, 1, 1], "train"), "dev.parquet": stored([0, 1], "dev")}
    files["test.parquet"] = stored([None, 0], "test")
    read = task(tmp_path, files)
    assert (read.train["label"][:], read.dev["label"][:], read.test["label"][:]) == ([1, 0, 0], [1, 0], [None, 1])


def test_ids_as_text_are_named_whatever_parts_of_the_file_hold_none(tmp_path):
    """A part without any label is not taken for names."""
    whole, names = arrow([0] * 4, names=["good", "bad"]), ["good", "bad"]
    place, kind = whole.column_names.index("label"), pa.string()
    parts = pa.chunked_array([pa.array(["0", "1"], kind), pa.array([None, None], kind)])
    rows_read = raw_rows.of_table(whole.set_column(place, "label", parts), whole.column_names)
    read = class_names.in_place(rows_read, {"label": names}, "file")
    assert read.table.column("label").to_pylist() == ["good", "bad", None, None]
    assert read.named["label"] == ("good", "bad")


def test_ids_that_are_not_whole_are_refused_and_names_in_their_place_are_names(tmp_path):
    def stored(values, kind, split="train"):
        table = arrow([0] * len(values), split, names=["good", "bad"])
        place = table.column_names.index("label")
        return table.set_column(place, "label", pa.array(values, kind)).replace_schema_metadata(table.schema.metadata)

    files = {
        "train.parquet": stored([0.0, 0.5], pa.float64()),
        "dev.parquet": arrow([0, 1], "dev", names=["good", "bad"]),
    }
    with pytest.raises(InputError, match=r"train\.parquet: 'label' has names for its ids \(good, bad\), and holds num"):
        task(tmp_path, files)
    files["train.parquet"] = stored(["good", "bad", "bad"], pa.string())
    assert task(tmp_path, files).train["label"][:] == [1, 0, 0]


def test_tags_of_every_list_type_are_read_by_their_names(tmp_path):
    import datasets

    names = ["I", "O", "B"]
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(datasets.ClassLabel(names=names))}
    )
    datasets.Dataset.from_list([{"tokens": ["a", "b", "c"], "tags": [2, 0, 1]}], features=features).to_parquet(
        tmp_path / "plain.parquet"
    )
    plain = pq.read_table(tmp_path / "plain.parquet")
    for kind in (pa.list_(pa.int64(), 3), pa.large_list(pa.float64()), pa.list_(pa.int8())):
        place = plain.column_names.index("tags")
        table = plain.set_column(place, "tags", plain.column("tags").cast(kind)).replace_schema_metadata(
            plain.schema.metadata
        )
        files = {"train.parquet": table, "dev.parquet": table}
        assert task(tmp_path, files, TAGS).train["tags"][:] == [[1, 2, 0]]


def test_tags_that_are_lists_are_refused_by_their_row(tmp_path):
    table = pa.table({"tokens": [["a", "b"]], "tags": [[[0], [1]]]})
    with pytest.raises(InputError, match="train row 0"):
        task(tmp_path, {"train.parquet": table, "dev.parquet": table}, TAGS)


def test_what_datasets_writes_is_read_by_its_names(tmp_path):
    import datasets

    names = ["I", "O", "B"]
    features = datasets.Features(
        {"tokens": datasets.List(datasets.Value("string")), "tags": datasets.List(datasets.ClassLabel(names=names))}
    )
    made = datasets.Dataset.from_list([{"tokens": ["a", "b", "c"], "tags": [2, 0, 1]}], features=features)
    for split in ("train", "dev"):
        made.to_parquet(tmp_path / f"{split}.parquet")
    source = {"files": {"train": "train.parquet", "dev": "dev.parquet"}}
    assert task(tmp_path, {}, TAGS, source=source).train["tags"][:] == [[1, 2, 0]]
    tuples = TAGS | {"labels": ["O", "B", "X"]}
    with pytest.raises(InputError, match="train row 0: unknown label 'I': the source's own names are I, O, B; the s"):
        task(tmp_path, {}, tuples, source=source)


def test_names_of_a_file_that_are_not_the_suite_s_are_an_error_with_both_lists(tmp_path):
    files = {"train.parquet": arrow([0, 1], names=["negative", "positive"]), "dev.jsonl": rows(["bad"], "dev")}
    message = "unknown label 'negative': the source's own names are negative, positive; the suite's are bad, good"
    with pytest.raises(InputError, match=message):
        task(tmp_path, files)
    files["train.parquet"] = arrow([0, 1], names=["good", "-1"])  # a name, which does not stand for none
    files["test.parquet"] = files["train.parquet"]
    with pytest.raises(InputError, match="unknown label '-1'"):
        task(tmp_path, files)
    del files["test.parquet"]
    files["train.parquet"] = arrow([0, 2], names=["good", "bad"])
    with pytest.raises(InputError, match=r"train\.parquet: 'label' holds 2, for which its own names \(good, bad\)"):
        task(tmp_path, files)


def test_ids_beside_a_source_that_numbers_otherwise_are_an_error_until_settled(tmp_path):
    files = {"train.parquet": arrow([0, 1], names=["good", "bad"]), "dev.jsonl": rows([0, 1], "dev")}
    message = (
        r"ids without names \(dev row 0: 0, dev row 1: 1\), but the source of train numbers its labels good, bad, and"
    )
    with pytest.raises(InputError, match=message):
        task(tmp_path, files)
    read = task(tmp_path, files, label_values="ids")
    assert (read.train["label"][:], read.dev["label"][:]) == ([1, 0], [0, 1])
    files["train.parquet"] = arrow([0, 1], names=["bad", "good"])
    assert task(tmp_path, files).dev["label"][:] == [0, 1]


@pytest.mark.parametrize("metadata", [b"{", b"[]", b'{"info": {"features": {"label": 3}}}', b'{"info": 1}'])
def test_metadata_of_another_kind_is_passed_over(tmp_path, metadata):
    table = arrow([0, 1]).replace_schema_metadata({b"huggingface": metadata})
    assert task(tmp_path, {"train.parquet": table, "dev.parquet": table}).train["label"][:] == [0, 1]


def test_a_hub_folder_s_names_are_mapped(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    features = datasets.Features(
        {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["good", "bad"])}
    )
    for split in ("train", "validation"):
        made = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]}, features=features)
        (tmp_path / "hub").mkdir(exist_ok=True)
        made.to_parquet(tmp_path / "hub" / f"{split}-00000-of-00001.parquet")
    assert task(tmp_path, {}, source={"hub": "hub"}).train["label"][:] == [1, 0]


def hub_of(folder, monkeypatch, **names):
    """A hub folder whose splits number their labels by their own names; in each, a row of id 0 and one of id 1."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(folder / "cache"))
    (folder / "hub").mkdir(exist_ok=True)
    for split, own in names.items():
        kind = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=own)})
        made = datasets.Dataset.from_dict({"text": ["x", "y"], "label": [0, 1]}, features=kind)
        made.to_parquet(folder / "hub" / f"{split}.parquet")


def test_the_splits_of_a_hub_folder_may_number_their_labels_differently(tmp_path, monkeypatch):
    hub_of(tmp_path, monkeypatch, train=["good", "bad"], validation=["bad", "good"], test=["good", "bad"])
    read = task(tmp_path, {}, source={"hub": "hub"})
    assert [getattr(read, split)["label"][:] for split in ("train", "dev", "test")] == [[1, 0], [0, 1], [1, 0]]
    before = suites.Suite.from_yaml(tmp_path / "suite.yaml").fingerprint
    hub_of(tmp_path, monkeypatch, validation=["good", "bad"])  # the same ids under other names are other data
    assert task(tmp_path, {}, source={"hub": "hub"}).dev["label"][:] == [1, 0]
    assert suites.Suite.from_yaml(tmp_path / "suite.yaml").fingerprint != before


def test_a_revision_of_a_hub_folder_that_reorders_its_names_has_another_fingerprint(tmp_path, monkeypatch):
    """The ids of its rows are the same, and the labels are not."""
    read = {}
    for order in (("bad", "good"), ("good", "bad")):
        folder = tmp_path / order[0]
        folder.mkdir()
        hub_of(folder, monkeypatch, train=list(order), validation=list(order))
        read[order] = suites.Suite.from_yaml(suite_file(folder, {}, source={"hub": "hub"}))
    right, wrong = read.values()
    assert (right["t"].train["label"][:], wrong["t"].train["label"][:]) == ([0, 1], [1, 0])
    assert right.fingerprint != wrong.fingerprint
    assert right.fingerprint == "59e2265822957261"  # as it was before names counted
    given = datasets_of(tmp_path / "good" / "hub")
    same = suites.Suite.from_datasets({"t": given}, t={"labels": ["bad", "good"]})
    assert same.fingerprint == wrong.fingerprint


def test_scores_that_a_hub_folder_s_names_spell_are_in_its_fingerprint(tmp_path, monkeypatch):
    read = []
    for order in (["0", "1"], ["1", "5"]):
        folder = tmp_path / order[1]
        folder.mkdir()
        hub_of(folder, monkeypatch, train=order, validation=order)
        read.append(suites.Suite.from_yaml(suite_file(folder, {}, SCORE, source={"hub": "hub"})))
    assert [suite["t"].train["label"][:] for suite in read] == [[0, 1], [1, 5]]
    assert read[0].fingerprint != read[1].fingerprint


def datasets_of(folder):
    import datasets

    return {split: datasets.Dataset.from_parquet(str(folder / f"{split}.parquet")) for split in ("train", "validation")}


def test_files_of_one_hub_split_that_number_differently_are_an_error(tmp_path, monkeypatch):
    own = {"train-00000-of-00002": ["good", "bad"], "train-00001-of-00002": ["bad", "good"]}
    hub_of(tmp_path, monkeypatch, **own, validation=["good", "bad"])
    with pytest.raises(InputError, match="the files of train number their labels differently; list them under `files`"):
        task(tmp_path, {}, source={"hub": "hub"})
    files = {"train": [f"hub/{name}.parquet" for name in own], "dev": "hub/validation.parquet"}
    assert task(tmp_path, {}, source={"files": files}).train["label"][:] == [1, 0, 0, 1]


def test_numbers_beside_a_file_that_has_names_are_an_error(tmp_path):
    """In a list of files; read by name, 1 would be the first label here, and by id the second."""
    files = {"a.parquet": arrow([0, 1], names=["1", "2"]), "b.parquet": arrow([1, 1]), "dev.jsonl": rows(["1", "2"])}
    for name, content in files.items():
        write(tmp_path / name, content)
    source = {"files": {"train": ["a.parquet", "b.parquet"], "dev": "dev.jsonl"}}
    with pytest.raises(InputError, match=r"b.parquet: 'label' holds 1 without label names, which a.parquet has"):
        task(tmp_path, {}, NUMBERS, source=source)
    write(tmp_path / "b.parquet", arrow([1, 0], names=["1", "2"]))
    assert task(tmp_path, {}, NUMBERS, source=source).train["label"][:] == [0, 1, 1, 0]
    write(tmp_path / "b.parquet", arrow(pa.array([None, -1])))
    assert task(tmp_path, {}, NUMBERS, source=source, drop_unlabelled=True).train["label"][:] == [0, 1]


def test_json_values_of_an_arrow_type_of_their_own_are_read_by_value(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    write(tmp_path / "hub" / "train.jsonl", rows(["good", 1, {"x": 1}]))
    write(tmp_path / "hub" / "validation.jsonl", rows(["good"]))
    with pytest.raises(InputError, match=r"holds both names .*'good'\) and ids 0 to 1 \(train row 1: 1\)"):
        task(tmp_path, {}, source={"hub": "hub"})
    texts = pa.array(['"good"', '"bad"', None], pa.json_())
    table = pa.table({"text": ["x", "y", "z"], "label": texts})
    files = {"train.parquet": table, "dev.jsonl": rows(["bad"])}
    assert task(tmp_path, files, drop_unlabelled=True).train["label"][:] == [1, 0]


def test_a_hub_set_without_the_columns_says_so(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    for split in ("train", "validation"):
        write(tmp_path / "hub" / f"{split}.parquet", pa.table({"x": ["a"], "y": [1]}))
    with pytest.raises(InputError, match="train row 0: no column 'text'; it has x, y"):
        task(tmp_path, {}, source={"hub": "hub"})


def test_dictionary_encoded_labels_are_their_values(tmp_path):
    """With categories that no row has, as pandas keeps them."""
    categories = pa.DictionaryArray.from_arrays(pa.array([1, 2, 1], pa.int8()), pa.array(["unused", "good", "bad"]))
    numbers = pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int8()), pa.array([1, 0]))
    for given, dev, ids in ((categories, "bad", [1, 0, 1]), (numbers, 1, [0, 1])):
        files = {"train.parquet": arrow(given), "dev.jsonl": rows([dev], "dev")}
        assert task(tmp_path, files).train["label"][:] == ids


# --- rows without a label ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", [-1, None, "", "-"])
def test_rows_without_a_label_are_dropped_where_the_suite_says_so(tmp_path, mark):
    names = ["bad", "good"] if mark in (None, "", "-") else [0, 1]
    files = {"train.jsonl": rows([names[0], mark, names[1], mark]), "dev.jsonl": rows([mark, names[1]], "dev"),
             "test.jsonl": rows([names[0], None])}  # fmt: skip
    message = "unknown label '-'" if mark == "-" else r"train row 1: the label is missing.*`drop_unlabelled: true`"
    with pytest.raises(InputError, match=message):
        task(tmp_path, files)
    read = task(tmp_path, files, drop_unlabelled=True)
    assert read.train[:] == {"row_id": [0, 2], "text": ["train text 0", "train text 2"], "label": [0, 1]}
    assert (read.dev["row_id"][:], read.dropped) == ([1], {"train": 2, "dev": 1})
    assert read.test["label"][:] == [0, None]


def test_scores_and_tags_that_are_missing_are_dropped_too(tmp_path):
    read = task(tmp_path, {"train.csv": csv([1, "", 2.5]), "dev.csv": csv([3])}, SCORE, drop_unlabelled=True)
    assert (read.train["label"][:], read.dropped) == ([1.0, 2.5], {"train": 1})
    given = [{"tokens": ["a"], "tags": ["B"]}, {"tokens": ["b"], "tags": None}]
    read = task(tmp_path, {"train.jsonl": given, "dev.jsonl": given[:1]}, TAGS, drop_unlabelled=True)
    assert (read.train["tags"][:], read.dropped) == ([[1]], {"train": 1})
    given = [{"text": "x", "label": -1}]
    with pytest.raises(InputError, match=r"task 't': train is empty, 1 unlabelled rows left out"):
        task(tmp_path, {"train.jsonl": given, "dev.jsonl": rows([0])}, drop_unlabelled=True)


@pytest.mark.parametrize("none", [-1, None])
def test_a_test_sentence_without_any_tag_is_unlabelled(tmp_path, none):
    """As hub sets with hidden labels have it; one that lacks some of its tags is a fault."""
    sentences = [{"tokens": ["a", "b"], "tags": [0, 1]}, {"tokens": ["c"], "tags": [2]}]
    test = [{"tokens": ["a", "b"], "tags": [none, none]}, sentences[0], {"tokens": ["c"], "tags": [none]}]
    files = {"train.jsonl": sentences, "dev.jsonl": sentences, "test.jsonl": test}
    read = task(tmp_path, files, TAGS)
    assert read.test["tags"][:] == [None, [0, 1], None]
    assert read.test["tokens"][:] == [["a", "b"], ["a", "b"], ["c"]]
    files["test.jsonl"] = [*test, {"tokens": ["a", "b"], "tags": [0, none]}]
    with pytest.raises(InputError, match=f"test row 3: unknown label {none}"):
        task(tmp_path, files, TAGS)
    for split in ("train", "dev"):
        with pytest.raises(InputError, match=f"{split} row 0: unknown label {none}"):
            task(tmp_path, files | {f"{split}.jsonl": test, "test.jsonl": sentences}, TAGS)


def test_the_field_counts_in_the_fingerprint_only_where_it_is_given():
    from auxlearn.data.schema import Source, TaskSpec

    spec = TaskSpec(**SPEC, source=Source(planted=True))
    assert not {"label_values", "drop_unlabelled"} & spec.content().keys()
    assert TaskSpec(**SPEC, source=Source(planted=True), drop_unlabelled=True).content()["drop_unlabelled"] is True


def test_a_wrong_label_column_of_many_values_is_one_fault(tmp_path):
    from auxlearn.data.reading.faults import Faults

    files = {"train.jsonl": rows([f"text number {i}" for i in range(3000)]), "dev.jsonl": rows(["bad"])}
    with pytest.raises(Faults, match="train row 0: unknown label 'text number 0'") as caught:
        task(tmp_path, files)
    (fault,) = caught.value.faults
    assert len(fault.rows) == 3000
    assert fault.in_full().endswith("(rows 0, 1, 2, 3, 4 and 2,995 more)")


def test_numbers_of_any_size_are_no_labels_and_no_crash():
    names = labels.Names(["1", "2"])
    for value in (10**30, "9" * 400, float("inf"), "1e400", "²", "١"):
        assert names.by_name(value) is None
        assert names.by_id(value) is None


def test_whole_numbers_of_many_digits_are_names(tmp_path):
    names = [str(2**63), str(2**63 + 1)]
    for form in (rows, lambda values, split="train": arrow(pa.array(values, pa.uint64()), split)):
        suffix = "jsonl" if form is rows else "parquet"
        files = {f"train.{suffix}": form([2**63 + 1, 2**63]), f"dev.{suffix}": form([2**63], "dev")}
        assert task(tmp_path, files, SPEC | {"labels": names}).train["label"][:] == [1, 0]


def test_dates_are_names_in_iso_form(tmp_path):
    days = [datetime.date(2021, 1, 1), datetime.date(2020, 1, 1)]
    for values in (pa.array(days), pa.array(days).cast(pa.timestamp("us"))):
        files = {"train.parquet": arrow(values), "dev.csv": csv(["2020-01-01"])}
        assert task(tmp_path, files, SPEC | {"labels": ["2020-01-01", "2021-01-01"]}).train["label"][:] == [1, 0]


def test_a_name_is_the_same_in_every_unicode_form(tmp_path):
    composed, apart = "caf\u00e9", "cafe\u0301"
    files = {"train.jsonl": rows([apart, "tea", composed]), "dev.csv": csv([apart])}
    for name in (composed, apart):
        assert task(tmp_path, files, SPEC | {"labels": ["tea", name]}).train["label"][:] == [1, 0, 1]
    # Two labels that differ in nothing else are told apart as they are written.
    both = task(tmp_path, files | {"dev.csv": csv(["tea"])}, SPEC | {"labels": ["tea", composed, apart]})
    assert both.train["label"][:] == [2, 0, 1]


def test_a_number_that_several_names_spell_is_no_id_in_silence(tmp_path):
    names = SPEC | {"labels": ["1", "01"]}
    files = {"train.jsonl": rows([1, 1]), "dev.jsonl": rows([1])}
    with pytest.raises(InputError, match=r"1 \(train row 0\) is each of '1', '01' if read as a name; .*Say `label_val"):
        task(tmp_path, files, names)
    assert task(tmp_path, files, names, label_values="ids").train["label"][:] == [1, 1]
    assert task(tmp_path, files | {"dev.jsonl": rows([0])}, names).train["label"][:] == [1, 1]  # 0 is no name: all ids


def test_json_of_mixed_numbers_and_text_is_read_by_value(tmp_path):
    lines = "".join(json.dumps({"text": f"x {i}", "label": v}) + "\n" for i, v in enumerate([1, "1", 1.0, "2"]))
    assert task(tmp_path, {"train.jsonl": lines, "dev.jsonl": lines}, NUMBERS).train["label"][:] == [0, 0, 0, 1]


def test_scores_may_have_a_decimal_comma_but_not_one_before_three_digits(tmp_path):
    quoted = 'text,score\n"a","3,5"\n"b","-0,25"\n"c"," 4 "\n"d","1,2500"\n'
    files = {"train.csv": quoted, "dev.csv": quoted}
    spec = SCORE | {"range": [-5, 5], "label": "score"}
    assert task(tmp_path, files, spec).train["score"][:] == [3.5, -0.25, 4.0, 1.25]
    for bad in ("1,250", "1,2,3", ",5", "5,", "1.000,5"):
        wrong = {split: content.replace("3,5", bad) for split, content in files.items()}
        with pytest.raises(InputError, match=f"train row 0: the label '{bad}' is not a number"):
            task(tmp_path / f"{len(bad)}{bad}", wrong, spec)
