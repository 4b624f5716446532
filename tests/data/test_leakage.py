"""Duplicates between training rows and the targets' dev and test rows, on small suites and on pairs known to leak."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import yaml

from auxlearn.data import leakage, suites
from auxlearn.errors import InputError
from helpers import write_jsonl

LONG = "the quick brown fox jumps over the lazy dog while seven small birds sing in the old tree"  # 18 words, 16 grams
OTHER = "nobody expected that the parliament would vote on such a bill before the end of the year"
FILL = "this filler text number {} stands for nothing else"
ONE = {"kind": "classification", "inputs": ["a"], "label": "y", "labels": ["n", "p"], "metric": "accuracy"}
PAIR = {**ONE, "inputs": ["a", "b"]}
TAGGING = {"kind": "tagging", "inputs": ["a"], "label": "y", "labels": ["n", "p"], "metric": "accuracy"}


@pytest.fixture
def build(tmp_path):
    """A suite of given texts: task -> split -> rows, a row being a text, a pair of texts or a list of tokens."""

    def make(**content):
        specs = {}
        for name, splits in content.items():
            form = type(splits["train"][0])
            specs[name] = {str: ONE, tuple: PAIR, list: TAGGING}[form] | {"source": {"folder": name}}
            for split in ("train", "dev", "test"):
                filler = f"{name} {split}" if form is str else form([f"{name} {split}"] * 2)
                texts = splits.get(split, [filler])
                write_jsonl(tmp_path / name / f"{split}.jsonl", [row(text) for text in texts])
        path = tmp_path / "suite.yaml"
        path.write_text(yaml.safe_dump({"name": "demo", "tasks": specs}, sort_keys=False))
        return suites.Suite.from_yaml(path)

    return make


def row(text):
    if isinstance(text, str):
        return {"a": text, "y": 0}
    if isinstance(text, tuple):
        return {"a": text[0], "b": text[1], "y": 0}
    return {"a": text, "y": [0] * len(text)}


def kind(build, train, dev):
    """The kind of the one hit between a training row and a dev row of two tasks, or None."""
    filler = FILL.format(1)
    own = filler if isinstance(dev, str) else (filler, filler)
    hits = leakage.find(build(pool={"train": [train]}, target={"train": [own], "dev": [dev]}))
    assert len(hits) <= 1
    return hits["kind"].iloc[0] if len(hits) else None


@pytest.mark.parametrize(
    ("tokenised", "plain"),
    [
        ("I do n't know , Mr. O'Neil .", "I don't know, Mr. O'Neil."),
        ("`` John 's '' house -LRB- old -RRB-", '"John’s" house (old)'),
        ("they 'll go , wo n't they ?", "They'll go, won't they?"),
        ("at & amp ; t costs $ 5 , 000", "AT&T costs $5,000"),
        ("Ｆｕｌｌ width ﬁne", "full width fine"),
        ("what ' s that", "What's that?"),
    ],
)
def test_normalise_makes_tokenised_and_plain_text_equal(tokenised, plain):
    a, b = leakage.normalise(tokenised), leakage.normalise(plain)
    assert a == b or a.replace(" ", "") == b.replace(" ", "")
    assert leakage.normalise(a) == a


def test_normalise_keeps_words_apart():
    assert leakage.normalise("  A well-known U.S. film; don't! ") == "a well known u s film dont"
    assert leakage.normalise("“…” ?!") == ""


def test_columns_positions_and_ids(build):
    suite = build(
        pool={"train": [FILL.format(0), LONG, "An  Other"]},
        target={"train": [FILL.format(1)], "dev": ["z", "an other ."], "test": [LONG]},
    )
    hits = leakage.find(suite)
    assert tuple(hits.columns) == leakage.COLUMNS
    assert hits.to_dict("records") == [
        dict(zip(leakage.COLUMNS, values, strict=True))
        for values in [("pool", 2, 2, "target", "dev", 1, "normalised", 1.0),
                       ("pool", 1, 1, "target", "test", 0, "exact", 1.0)]
    ]  # fmt: skip


def test_strongest_kind_and_case(build):
    assert kind(build, LONG, LONG) == "exact"
    assert kind(build, LONG.title() + " .", LONG) == "normalised"
    assert kind(build, LONG + " today", LONG) == "near"
    assert kind(build, OTHER, LONG) is None


def test_pairs_match_in_any_order(build):
    assert kind(build, (LONG, OTHER), (OTHER, LONG)) == "exact"
    assert kind(build, (LONG, OTHER + " ."), (OTHER, LONG)) == "normalised"
    assert kind(build, (LONG, "well " + OTHER), (OTHER, LONG)) == "near"
    assert kind(build, (LONG, LONG), (OTHER, LONG)) is None


def test_a_pair_is_not_its_texts(build):
    assert kind(build, LONG, (LONG, LONG)) is None
    assert kind(build, (LONG, OTHER), LONG) is None
    assert kind(build, LONG + " " + OTHER, (LONG, OTHER)) is None


def test_a_long_text_does_not_speak_for_a_short_one(build):
    assert kind(build, (LONG + " and " + OTHER, "a bill was passed"), (LONG + " and " + OTHER, "birds sing")) is None


@pytest.mark.parametrize(("near", "is_hit"), [(0.88, True), (0.89, False)])
def test_near_threshold(build, near, is_hit):
    more = " ".join([LONG, "and", "again"])  # 18 n-grams, 16 of them LONG's: 0.889
    suite = build(pool={"train": [more]}, target={"train": [FILL.format(1)], "dev": [LONG]})
    hits = leakage.find(suite, near=near)
    assert len(hits) == is_hit
    assert hits["similarity"].tolist() == ([16 / 18] if is_hit else [])


def test_near_pairs_are_near_in_each_text(build):
    long = LONG + " and " + OTHER
    first = (long, "a bill was passed here today")
    assert kind(build, first, (long, "a bill was passed there again")) is None  # of 6 trigrams of the two 2 are shared
    assert kind(build, first, (long, "a bill was passed here again")) == "near"  # 3 of 5


def test_near_rows_share_six_n_grams(build):
    assert kind(build, "a man is playing a red guitar outside", "a man is playing a red guitar") is None  # 5 of 6
    assert kind(build, "a man is playing a red guitar outside now", "a man is playing a red guitar outside") == "near"


def test_near_must_be_a_similarity(build):
    suite = build(pool={"train": [LONG]})
    for near in (0, 1.1):
        with pytest.raises(InputError, match="near"):
            leakage.find(suite, near=near)


def test_short_texts_match_only_as_a_whole(build):
    assert kind(build, "I am fine .", "I am fine today .") is None
    assert kind(build, "a man is playing a guitar outside", "a man is playing a guitar") is None
    assert kind(build, "yes", "no") is None
    assert kind(build, "Yes .", "yes") == "normalised"
    assert kind(build, "?", "!") is None
    assert kind(build, "?", "?") == "exact"


def test_own_train_and_all_targets_count(build):
    suite = build(one={"train": ["z", LONG], "dev": [LONG]}, two={"train": [OTHER], "dev": [LONG], "test": [OTHER]})
    hits = leakage.find(suite)
    assert set(zip(hits["task"], hits["row"], hits["target"], hits["split"], strict=True)) == {
        ("one", 1, "one", "dev"), ("one", 1, "two", "dev"), ("two", 0, "two", "test"),
    }  # fmt: skip
    only = leakage.find(suite, ["one"])
    pd.testing.assert_frame_equal(only, hits[hits["target"] == "one"].reset_index(drop=True))
    with pytest.raises(InputError, match="three"):
        leakage.find(suite, ["three"])


def test_a_missing_test_split_is_no_trouble(build, tmp_path):
    suite = build(one={"train": [LONG], "dev": [LONG]})
    (tmp_path / "one" / "test.jsonl").unlink()
    assert suite["one"].test is not None
    suite = suites.Suite.from_yaml(tmp_path / "suite.yaml")
    assert suite["one"].test is None
    assert leakage.find(suite)["split"].tolist() == ["dev"]


def test_tagging_rows_match_as_text(build):
    suite = build(tags={"train": [[*LONG.split(), "."]], "dev": [LONG.title().split()]}, one={"train": [LONG]})
    hits = leakage.find(suite)
    assert list(zip(hits["task"], hits["kind"], strict=True)) == [("tags", "normalised"), ("one", "normalised")]


def test_copies_are_counted_once_a_row(build):
    suite = build(pool={"train": [LONG, LONG, OTHER]}, target={"train": ["z"], "dev": [LONG, LONG + " ."]})
    hits = leakage.find(suite)
    assert len(hits) == 4
    assert leakage.counts(hits, suite).loc["pool"].to_dict() == {"pool": 0, "target": 2}
    masks = leakage.flagged(hits, suite, "target")
    assert {name: mask.tolist() for name, mask in masks.items()} == {"pool": [True, True, False], "target": [False]}
    assert not any(mask.any() for mask in leakage.flagged(hits, suite, "pool").values())
    assert leakage.flagged(hits, suite)["pool"].tolist() == [True, True, False]


def test_shared_sentences_are_reported_apart(build):
    suite = build(
        pair={"train": [(LONG, "yes"), (LONG, OTHER), ("a b", "c d")], "test": [(OTHER, LONG), ("a b", "e f")]},
        one={"train": [OTHER + "!", "a b"]},
    )
    table = leakage.shared_sentences(suite, "pair")
    assert table.to_dict("index") == {"pair": {"rows": 3, "shared": 1}, "one": {"rows": 2, "shared": 1}}


def test_a_shared_sentence_has_five_words(build):
    suite = build(pair={"train": [("x", "y")], "test": [("four words of it", "five words of it now")]},
                  one={"train": ["four words of it", "Five words of it , now"]})  # fmt: skip
    assert leakage.shared_sentences(suite, "pair").loc["one"].to_dict() == {"rows": 2, "shared": 1}


def test_chunks_change_nothing(planted, monkeypatch):
    """Dev rows put into the pool, their second text cut by a word, are all found as near, in one chunk or in many."""
    rows = leakage.rows(planted, planted.names[:1], ["dev"], 2)
    words = [(a, b.rsplit(" ", 1)[0]) for a, b in rows.words]
    cut = leakage.Rows(rows.place, words, words)
    whole = leakage.between(cut, rows, 0.5)
    assert set(whole["kind"]) == {"near"}
    assert whole["pool"].tolist() == whole["target"].tolist() == list(range(len(words)))
    monkeypatch.setattr(leakage, "CHUNK_CHARS", 500)
    monkeypatch.setattr(leakage, "CHUNK_PRODUCTS", 100)
    pd.testing.assert_frame_equal(leakage.between(cut, rows, 0.5), whole)


def test_common_phrases_do_not_count(build, monkeypatch):
    assert kind(build, "well " + LONG, LONG) == "near"
    monkeypatch.setattr(leakage, "COMMON", 0)
    assert kind(build, "well " + LONG, LONG) is None
    assert kind(build, LONG + " .", LONG) == "normalised"


def test_a_phrase_is_common_in_more_rows_than_that(build, monkeypatch):
    """Each n-gram stands in two rows of the target."""
    suite = build(pool={"train": ["well " + LONG]}, target={"train": [FILL.format(1)], "dev": [LONG, LONG]})
    for common, count in ((2, 2), (1, 0)):
        monkeypatch.setattr(leakage, "COMMON", common)
        assert len(leakage.find(suite, ["target"])) == count


def test_hashes_are_the_same_in_every_process():
    code = "from auxlearn.data import leakage as l; print(l._grams(['a b c d', 'x'])[1].tolist())"
    said = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                       capture_output=True, text=True).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert said == {f"{leakage._grams(['a b c d', 'x'])[1].tolist()}\n"}


@pytest.mark.data
def test_every_known_pair_is_found(data):
    suite = suites.load("params/suites/sentence.yaml")
    hits = leakage.find(suite, ["mrpc", "stsb"])
    rows = set(zip(*(hits[c] for c in ("task", "row", "target", "split", "target_row")), strict=True))
    known = json.loads(Path(data, "leakage_stsb_mrpc.json").read_text())
    assert sum(map(len, known.values())) == 781
    for way, pairs in known.items():
        (source, _), (target, split) = (side.split("/") for side in way.split(" -> "))
        missed = [(i, j) for i, j in pairs if (source, i, target, split, j) not in rows]
        assert missed == [], f"{way}: {len(missed)} of {len(pairs)} missed"
