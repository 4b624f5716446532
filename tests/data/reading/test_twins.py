"""Twins: further rows of a task under another name, disjoint from it and from one another, labels kept or shuffled."""

import itertools
import random

import pytest
import yaml

from auxlearn import cli
from auxlearn.data import suites, usable_rows
from auxlearn.errors import InputError
from own_rows import SCORE, SPEC, TAGS, write

WORDS = [f"{a}{b}" for a, b in itertools.product("bdfgklmnp", ("a", "ei", "o", "u"))]
KEPT, SHUFFLED = {"twin_of": "t", "rows": 30}, {"twin_of": "t", "rows": 30, "labels": "shuffled"}
PAIR = SPEC | {"inputs": ["text", "other"], "labels": ["bad", "fair", "good"]}


def text(i, words=14):
    """A text of words that is no duplicate of another number's."""
    return " ".join(random.Random(i).choices(WORDS, k=words))


def labelled(i, labels=2):
    return {"text": text(i), "label": i * i % 7 % labels}


def suite_of(folder, spec=SPEC, row=labelled, train=range(160), source=None, **twins):
    """A suite of a task "t", 40 of whose training rows are kept, and twins of it."""
    write(folder / "t" / "train.jsonl", [row(i) for i in train])
    write(folder / "t" / "dev.jsonl", [row(i) for i in range(1000, 1010)])
    write(folder / "t" / "test.jsonl", [row(i) for i in range(2000, 2010)])
    task = spec | {"source": source or {"folder": "t"}, "resplit": {"train": 40, "rest": "leave"}}
    tasks = {"t": task} | {name: {"source": given} for name, given in twins.items()}
    return write(folder / "suite.yaml", yaml.safe_dump({"name": "s", "tasks": tasks}, sort_keys=False))


def opened(folder, spec=SPEC, row=labelled, **more):
    return suites.Suite.from_yaml(suite_of(folder, spec, row, **more))


def ids(task):
    return [*task.train["row_id"][:], *task.dev["row_id"][:]]


def test_a_twin_has_other_rows_of_the_same_training_split(tmp_path):
    suite = opened(tmp_path, a=KEPT, b=SHUFFLED)
    assert [(len(t.train), len(t.dev), t.test) for t in (suite["a"], suite["b"])] == [(30, 3, None)] * 2
    assert len(suite["t"].train) == 40
    used = [*suite["t"].train["row_id"][:], *ids(suite["a"]), *ids(suite["b"])]
    assert len(set(used)) == 40 + 33 + 33
    assert set(used) <= set(range(160))
    for row in (*suite["a"].train, *suite["a"].dev):
        assert row == {"row_id": row["row_id"], **labelled(row["row_id"])}
    twin, shuffled = suite["a"], suite["b"]
    assert (twin.twin_of, twin.shuffled, shuffled.shuffled) == ("t", False, True)
    assert (suite["t"].twin_of, suite["t"].shuffled) == (None, False)
    assert (twin.metric, twin.labels, twin.dev_carved) == ("accuracy", ("bad", "good"), True)


def shuffles(suite, label, row):
    """The shuffled twin's labels as they are in the file, and as they are; its texts are those of the file."""
    before, after = [], []
    for part in (suite["b"].train, suite["b"].dev):
        for given in part:
            own = row(given["row_id"])
            assert {column: given[column] for column in own if column != label} == {
                column: value for column, value in own.items() if column != label
            }
            before.append(own[label])
            after.append(given[label])
    return before, after


@pytest.mark.parametrize("split", ["train", "dev"])
def test_shuffled_labels_are_those_of_the_same_split(tmp_path, split):
    rows = getattr(opened(tmp_path, b=KEPT | {"rows": 100, "labels": "shuffled"})["b"], split)
    before = [labelled(i)["label"] for i in rows["row_id"][:]]
    assert sorted(rows["label"][:]) == sorted(before)
    if split == "train":
        same = sum(a == b for a, b in zip(rows["label"][:], before, strict=True))
        assert 35 <= same <= 75  # of 100, in expectation some 55


def test_a_pair_a_score_and_tags_are_shuffled(tmp_path):
    def pair(i):
        return labelled(i, 3) | {"other": text(i + 5000)}

    before, after = shuffles(opened(tmp_path / "pair", PAIR, pair, b=SHUFFLED), "label", pair)
    assert (sorted(after) == sorted(before), after == before) == (True, False)

    def score(i):
        return {"text": text(i), "label": i % 50 / 10}

    before, after = shuffles(opened(tmp_path / "score", SCORE, score, b=SHUFFLED), "label", score)
    assert (sorted(after) == sorted(before), after == before) == (True, False)

    def tags(i):
        tokens = text(i, 8 + i % 7).split()
        return {"tokens": tokens, "tags": [(i + k) % 3 for k in range(len(tokens))]}

    before, after = shuffles(opened(tmp_path / "tags", TAGS, tags, b=SHUFFLED), "tags", tags)
    assert list(map(len, after)) == list(map(len, before))
    assert sorted(itertools.chain(*after)) == sorted(itertools.chain(*before))
    assert [sorted(row) for row in after] != [sorted(row) for row in before]


def test_no_row_of_a_twin_is_a_duplicate_of_the_task_s_or_of_another_twin_s(tmp_path):
    """Each text stands twice, 260 rows apart: the second time with a changed word, other case and stops."""

    def row(i):
        words = text(i % 260 if i < 520 else i).split()
        if 260 <= i < 520:
            words[0], words[3] = words[0].upper() + "!", "other"
        return {"text": " ".join(words), "label": i % 2}

    suite = opened(tmp_path, row=row, train=range(520), a=KEPT | {"rows": 80}, b=KEPT | {"rows": 50, "seed": 1})
    groups = [{i % 260 for i in part} for part in (suite["t"].train["row_id"][:], ids(suite["a"]), ids(suite["b"]))]
    assert len(groups[0] | groups[1] | groups[2]) == sum(map(len, groups))


def test_rows_like_those_of_dev_and_test_are_no_twin_s(tmp_path):
    copies = {3: 1003, 9: 2004, 20: 1001, 50: 2000, 51: 2001, 90: 1009, 111: 1000}

    def row(i):
        return {"text": text(copies.get(i, i)).title(), "label": i % 2}

    suite = opened(tmp_path, row=row, a=KEPT | {"rows": 100})
    own = set(suite["t"].train["row_id"][:])
    assert not set(ids(suite["a"])) & set(copies)
    usable = usable_rows.usable(suite, "t")
    assert usable["a"].all()
    assert not usable["t"].all()
    free = 120 - len(set(copies) - own)
    with pytest.raises(InputError, match=rf"task 'a': 110 training and 11 dev rows are wanted .* {free} are free"):
        opened(tmp_path, row=row, a=KEPT | {"rows": 110})


def test_what_is_declared_decides_the_keys_and_the_rows(tmp_path):
    def made(**twins):
        suite = opened(tmp_path, **twins)
        return suite.fingerprint, suite

    first, suite = made(a=KEPT, b=SHUFFLED)
    assert made(a=KEPT, b=SHUFFLED)[0] == first
    others = [
        {"a": KEPT | {"rows": 31}, "b": SHUFFLED}, {"a": KEPT | {"seed": 1}, "b": SHUFFLED}, {"a": KEPT, "b": KEPT},
        {"a": KEPT, "b": SHUFFLED | {"seed": 3}}, {"a": KEPT}, {"a": KEPT, "b": SHUFFLED, "c": KEPT},
    ]  # fmt: skip
    made_of = [made(**twins) for twins in others]
    assert len({first, *(mark for mark, _ in made_of)}) == 7
    # One more at the end leaves those before it as they were; a shuffled one has the rows of one that keeps its labels.
    assert ids(made_of[5][1]["b"]) == ids(suite["b"]) == ids(made_of[2][1]["b"])
    assert ids(made_of[3][1]["b"]) != ids(suite["b"])


@pytest.mark.parametrize("kind", ["files", "hub", "planted"])
def test_any_source_has_twins(tmp_path, kind):
    source = {"files": {"files": {"train": "t/train.jsonl"}}, "hub": {"hub": "t"}, "planted": "planted"}[kind]
    write(tmp_path / "t" / "README.md", "")
    path = suite_of(tmp_path, train=range(160), source=source, a=KEPT, b=SHUFFLED)
    if kind == "planted":
        content = yaml.safe_load(path.read_text())
        fields = {"inputs": ["sentence1", "sentence2"], "labels": ["left", "right"]}
        content["tasks"] = {"topic_side": content["tasks"]["t"] | fields} | {
            name: {"source": content["tasks"][name]["source"] | {"twin_of": "topic_side"}} for name in "ab"
        }
        path.write_text(yaml.safe_dump(content, sort_keys=False))
    suite = suites.Suite.from_yaml(path)
    original = suite[suite.names[0]]
    used = [*ids(original)[:40], *ids(suite["a"]), *ids(suite["b"])]
    if kind == "files":  # whose dev is a part of train
        used += original.dev["row_id"][:]
    assert len(set(used)) == len(used)
    assert "helpful" not in suite["a"].train.column_names
    assert not suite["a"].truth


@pytest.mark.parametrize(
    ("twins", "message"),
    [
        ({"a": KEPT | {"twin_of": "tt"}}, r"tasks\.a\.source\.twin_of: there is no task 'tt'; did you mean 't'\?"),
        ({"a": KEPT, "b": KEPT | {"twin_of": "a"}}, r"tasks\.b\.source\.twin_of: a is a twin itself"),
        ({"a": KEPT | {"twin_of": "a"}}, r"tasks\.a\.source\.twin_of: a is a twin itself"),
        ({"a": KEPT | {"twin_of": "b"}, "b": KEPT | {"twin_of": "a"}}, r"twin_of: b is a twin itself"),
        ({"a": {"twin_of": "t"}}, r"tasks\.a\.source: twin_of needs rows"),
        ({"a": KEPT | {"rows": 0}}, r"tasks\.a\.source\.rows: "),
        ({"a": KEPT | {"labels": "flipped"}}, r"tasks\.a\.source\.labels: .*'kept' or 'shuffled'"),
        ({"a": KEPT | {"folder": "t"}}, r"tasks\.a\.source: give exactly one of folder, .*, twin_of"),
        ({"a": KEPT | {"rows": 111}}, r"task 'a': 111 training and 11 dev rows are wanted .* 120 are free"),
        ({"a": KEPT | {"rows": 80}, "b": KEPT}, r"task 'b': 30 training and 3 dev rows are wanted .* 32 are free"),
    ],
)
def test_a_twin_that_cannot_be_is_one_clear_error(tmp_path, twins, message):
    with pytest.raises(InputError, match=message):
        opened(tmp_path, **twins)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"t": {"resplit": None}}, r"t keeps all of its rows; give t resplit: \{train: N, rest: leave\}"),
        ({"t": {"resplit": {"train": 40}}}, "t keeps all of its rows"),
        ({"a": {"metric": "f1"}}, r"tasks\.a: a twin has all fields of t; give its source alone, not metric"),
        ({"t": {"source": {"folder": "t", "rows": 5}}}, r"tasks\.t\.source: rows is of a twin"),
    ],
)
def test_fields_that_do_not_go_with_a_twin_are_named(tmp_path, change, message):
    path = suite_of(tmp_path, a=KEPT)
    content = yaml.safe_load(path.read_text())
    for name, fields in change.items():
        content["tasks"][name] |= fields
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    with pytest.raises(InputError, match=message):
        suites.Suite.from_yaml(path)


def test_check_lists_twins_and_a_fault_of_their_rows_once(tmp_path, capsys):
    path = suite_of(tmp_path, a=KEPT, b=SHUFFLED)
    assert cli.main(["check", str(path), "--data"]) == 0
    lines = {line.split()[0]: line.split()[1:6] for line in capsys.readouterr().out.splitlines() if line}
    assert lines["a"] == lines["b"] == ["classification", "30", "3", "0", "train"]
    write(tmp_path / "t" / "dev.jsonl", [{"text": "x", "label": "odd"}])
    assert cli.main(["check", str(path), "--data"]) == 1
    assert "1 problem:" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["sst2", "mrpc", "stsb", "pos"])
def test_the_shipped_suites_of_twins_cut_their_primary_and_share_no_row(data, name, monkeypatch):
    monkeypatch.setenv("AUXLEARN_DATA", str(data))
    suite = suites.load(f"params/suites/twins_{name}.yaml")
    twins = {suite[f"{name}_twin"], suite[f"{name}_shuffled"]}
    assert {task.twin_of for task in twins} == {"pos_ewt" if name == "pos" else name}
    assert [task.name for task in twins if task.shuffled] == [f"{name}_shuffled"]
    original = suite[twins.pop().twin_of]
    assert len(original.train) <= 1000 <= len(suite[f"{name}_twin"].train) == len(suite[f"{name}_shuffled"].train)
    assert {len(task.train) for task in suite.values() if task is not original} == {len(suite[f"{name}_twin"].train)}
    used = [*original.train["row_id"][:], *ids(suite[f"{name}_twin"]), *ids(suite[f"{name}_shuffled"])]
    assert len(set(used)) == len(used)
    if name == "sst2":
        usable = usable_rows.usable(suite, "sst2")
        assert usable["sst2_twin"].all()
        assert usable["sst2_shuffled"].all()
