"""Which files of a folder are which split."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from auxlearn.data.reading import split_files
from auxlearn.errors import InputError
from own_rows import csv, rows, task, write


def found(folder):
    return {
        split: [str(file.relative_to(folder)) for file in files]
        for split, files in split_files.folder_files(folder).items()
    }


@pytest.mark.parametrize("name", [*split_files.NAMES["dev"], "Validation", "DEV"])
def test_every_usual_name_of_dev_is_read(tmp_path, name):
    """Dev is carved only where there is none."""
    for file, content in {"train.jsonl": rows([0, 1] * 15), f"{name}.jsonl": rows([1, 1, 0], "dev")}.items():
        write(tmp_path / "d" / file, content)
    read = task(tmp_path, {}, source={"folder": "d"})
    assert not read.dev_carved
    assert (len(read.train), read.dev["text"][:]) == (30, ["dev text 0", "dev text 1", "dev text 2"])
    (tmp_path / "d" / f"{name}.jsonl").unlink()
    assert task(tmp_path, {}, source={"folder": "d"}).dev_carved


@pytest.mark.parametrize("place", ["", "data/"])
def test_shards_of_the_hub_s_layout_are_read_in_order(tmp_path, place):
    for i, labels in enumerate([[0, 1], [1, 1], [0]]):
        table = pa.table({"text": [f"{i} {j}" for j in range(len(labels))], "label": labels})
        write(tmp_path / "d" / f"{place}train-{i:05d}-of-00003.parquet", table)
    write(tmp_path / "d" / f"{place}validation-00000-of-00001-0123456789abcdef.parquet", table)
    write(tmp_path / "d" / "README.md", "about train.jsonl")
    read = task(tmp_path, {}, source={"folder": "d"})
    assert read.train["text"][:] == ["0 0", "0 1", "1 0", "1 1", "2 0"]
    assert (read.train["label"][:], read.train["row_id"][:]) == ([0, 1, 1, 1, 0], [0, 1, 2, 3, 4])
    assert (read.dev["text"][:], read.test) == (["2 0"], None)
    (tmp_path / "d" / f"{place}train-00001-of-00003.parquet").unlink()
    with pytest.raises(InputError, match=r"not the 3 shards 0 to 2, each once \(train-00000-of-00003\.parquet"):
        task(tmp_path, {}, source={"folder": "d"})


def test_a_folder_may_be_a_split(tmp_path):
    for name in ("train/b.jsonl", "train/a.csv", "test/x.jsonl", "dev.jsonl", "train/notes.txt"):
        write(tmp_path / name, "x")
    assert found(tmp_path) == {
        "train": ["train/a.csv", "train/b.jsonl"],
        "dev": ["dev.jsonl"],
        "test": ["test/x.jsonl"],
    }


@pytest.mark.parametrize(
    "name",
    ["dev_mismatched.jsonl", "train-extra.csv", "valid.json", "dev.txt", "test.csv.gz", "train2.jsonl", "val.conllu",
     "train.jsonl.zst", "validation-0.arrow", "test_set.xlsx", "data/dev.old.tsv",
     "mytask_dev.jsonl", "my.test.csv", "x-validation.parquet", "2024 Dev.tsv.gz", "dev.zip", "test.tar", "tests.jsonl",
     "validate.csv", "held-out.jsonl", "holdout.tsv", "my_tune.jsonl", "dev/x.json", "dev/x.txt", "Test/x.csv.gz"],
)  # fmt: skip
def test_what_looks_like_a_split_and_is_not_read_is_an_error(tmp_path, name):
    write(tmp_path / "train.jsonl", "x")
    write(tmp_path / name, "x")
    with pytest.raises(InputError, match="looks like a split and is not read; a split is train, training") as caught:
        found(tmp_path)
    assert str(caught.value).startswith(str(tmp_path / name))


@pytest.mark.parametrize(
    "name",
    ["README.md", "train.log", "trainer_state.json", "valley.csv", "devices.tsv", "evaluate.json",
     "labels.txt", "train.py", "testimony.csv", ".train.jsonl.swp", "._dev.jsonl", "dev/README.md", "latest.csv",
     "how_to_test.txt", "requirements-dev.txt", "contest.csv", "tuned.csv", "raw/dev.jsonl", "dev/._x.csv"],
)  # fmt: skip
def test_what_is_no_split_is_passed_over(tmp_path, name):
    write(tmp_path / "train.jsonl", "x")
    write(tmp_path / name, "x")
    assert found(tmp_path) == {"train": ["train.jsonl"]}


def test_a_split_s_folder_is_read_whole_or_not_at_all(tmp_path):
    for name in ("train.jsonl", "dev/a.jsonl", "dev/dataset_info.json", "dev/notes.txt", "dev/.b.jsonl"):
        write(tmp_path / name, "x")
    assert found(tmp_path) == {"train": ["train.jsonl"], "dev": ["dev/a.jsonl"]}
    write(tmp_path / "dev" / "b.arrow", "x")
    with pytest.raises(InputError, match=r"dev/b.arrow: looks like a split and is not read"):
        found(tmp_path)


@pytest.mark.parametrize(
    "names",
    [["dev.jsonl", "valid.jsonl"], ["val.csv", "val.tsv"], ["test.csv", "test/a.csv"], ["dev.csv", "data/dev.csv"],
              ["train.parquet", "train-00000-of-00001.parquet"]],
)  # fmt: skip
def test_two_that_mean_one_split_are_an_error(tmp_path, names):
    for name in {"train.jsonl", *names} if "train" not in names[0] else names:
        write(tmp_path / name, "x")
    with pytest.raises(InputError, match=r"exists more than once \(.*\); keep one"):
        found(tmp_path)


def test_shards_whose_labels_differ_in_kind_are_decided_together(tmp_path):
    write(tmp_path / "d" / "train" / "a.csv", csv(["good", "bad"]))
    write(tmp_path / "d" / "train" / "b.jsonl", rows(["bad"]))
    write(tmp_path / "d" / "dev.jsonl", rows(["good"]))
    assert task(tmp_path, {}, source={"folder": "d"}).train["label"][:] == [1, 0, 0]
    write(tmp_path / "d" / "train" / "b.jsonl", rows([0]))
    with pytest.raises(InputError, match=r"holds both names .* and ids 0 to 1 \(train row 2: 0\)"):
        task(tmp_path, {}, source={"folder": "d"})


def test_a_hub_set_s_splits_go_by_the_same_names(tmp_path, monkeypatch):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    card = "---\nconfigs:\n- config_name: default\n  data_files:\n"
    for name, label in (("train", 0), ("val", 1), ("validation_mismatched", 0)):
        (tmp_path / "hub").mkdir(exist_ok=True)
        pq.write_table(pa.table({"text": [name], "label": [label]}), tmp_path / "hub" / f"{name}.parquet")
        card += f"  - split: {name}\n    path: {name}.parquet\n"
    write(tmp_path / "hub" / "README.md", card + "---\n")
    assert task(tmp_path, {}, source={"hub": "hub"}).dev["text"][:] == ["val"]
    write(tmp_path / "hub" / "README.md", card + "  - split: dev\n    path: val.parquet\n---\n")
    with pytest.raises(InputError, match="val and dev are both dev; download it and use `files`"):
        task(tmp_path, {}, source={"hub": "hub"})
