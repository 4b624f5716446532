"""Duplicates between training rows and the targets' dev and test rows, on small suites and on pairs known to leak."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from auxlearn.data import duplicates, leakage, near_duplicates, normalisation, suites
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
        ("हिन्दी में", "हिन्दी, में"),
        ("كَتَبَ الوَلَدُ", "كتب الولد"),
        ("الســـلام عليكم", "السلام عليكم"),
        ("می\u200cخواهم", "میخواهم"),
        ("co\u00adoperate 1\ufe0f\u20e3", "cooperate 1"),
    ],
)
def test_normalise_makes_tokenised_and_plain_text_equal(tokenised, plain):
    a, b = leakage.normalise(tokenised), leakage.normalise(plain)
    assert a == b or a.replace(" ", "") == b.replace(" ", "")
    assert leakage.normalise(a) == a


def test_normalise_keeps_words_apart():
    assert leakage.normalise("  A well-known U.S. film; don't! ") == "a well known u s film dont"
    assert leakage.normalise("“…” ?!") == ""


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("हिन्दी में की", ["हिन्दी", "में", "की"]),  # vowel signs belong to their word
        ("Привет, мир", ["привет", "мир"]),
        ("Việt Nam", ["việt", "nam"]),
        ("우리는 어제 갔다.", ["우리는", "어제", "갔다"]),
        ("我在MIT看书。", ["我", "在", "mit", "看", "书"]),
        ("東京へ行く", ["東", "京", "へ", "行", "く"]),
        ("กิน ข้าว", list("กินข้าว")),
    ],
)
def test_words_of_every_script(text, words):
    assert normalisation.words(leakage.normalise(text)) == words


def test_a_vowel_sign_tells_words_apart():
    assert leakage.normalise("की") != leakage.normalise("का")
    assert leakage.normalise("กิน") != leakage.normalise("กัน")


def test_columns_positions_and_ids(build):
    suite = build(
        pool={"train": [FILL.format(0), LONG, "An  Other"]},
        target={"train": [FILL.format(1)], "dev": ["z", "an other ."], "test": [LONG]},
    )
    hits = leakage.find(suite)
    assert tuple(hits.columns) == leakage.COLUMNS
    assert hits.to_dict("records") == [
        dict(zip(leakage.COLUMNS, values, strict=True))
        for values in [("pool", 2, 2, "target", "dev", 1, "normalised", 1.0, 1),
                       ("pool", 1, 1, "target", "test", 0, "exact", 1.0, 1)]
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


def test_n_copies_against_m_are_compared_once(build, monkeypatch):
    """Of 300 x 200 pairs each training row lists five; all are counted."""
    copies = [LONG + " today", LONG.title() + " TODAY"] * 150
    suite = build(
        pool={"train": [*copies, OTHER]}, target={"train": ["z"], "dev": [LONG + " today"] * 200, "test": [LONG]}
    )
    hits = leakage.find(suite)
    dev, test = (hits[hits["split"] == split] for split in ("dev", "test"))
    assert len(dev) == 300 * duplicates.MATCHES
    assert dev.groupby("row")["target_row"].apply(list).tolist() == [list(range(duplicates.MATCHES))] * 300
    assert [dev[dev["row"] == row]["kind"].unique().tolist() for row in (0, 1)] == [["exact"], ["normalised"]]
    assert dev["pairs"].unique().tolist() == [200]
    assert (test["kind"].unique().tolist(), test["pairs"].unique().tolist(), len(test)) == (["near"], [1], 300)
    assert np.flatnonzero(leakage.flagged(hits, suite)["pool"]).tolist() == list(range(300))


def test_the_strongest_matches_are_listed(build):
    """Rows 0 to 2 are near, by one word or two; 3 to 8 are equal but for case, 9 to 11 as they stand."""
    near = [
        TWENTY.replace("geese", "white ducks"),
        TWENTY.replace("geese", "ducks"),
        TWENTY.replace("grey geese", "a b"),
    ]
    dev = [*near, *[TWENTY.upper()] * 6, *[TWENTY] * 3]
    hits = leakage.find(build(pool={"train": [TWENTY]}, target={"train": ["z"], "dev": dev}))
    assert hits["target_row"].tolist() == [3, 4, 9, 10, 11]
    assert hits["kind"].tolist() == ["normalised"] * 2 + ["exact"] * 3
    assert hits["pairs"].tolist() == [12] * 5
    few = leakage.find(build(pool={"train": [TWENTY]}, target={"train": ["z"], "dev": dev[:4]}))
    assert few["kind"].tolist() == ["near"] * 3 + ["normalised"]
    assert few["similarity"].tolist() == pytest.approx([19 / 21, 19 / 20, 18 / 20, 1])


def test_pairs_is_a_lower_bound_where_more_rows_are_near_than_are_compared(build):
    """Of 30 dev rows with a word of their own 20 are compared; fewer are all counted, equal ones among them."""
    dev = [TWENTY.replace("geese", f"geese{i}") for i in range(30)]
    hits = leakage.find(build(pool={"train": [TWENTY]}, target={"train": ["z"], "dev": dev}))
    assert (hits["kind"].unique().tolist(), len(hits)) == (["near"], duplicates.MATCHES)
    assert hits["pairs"].unique().tolist() == [near_duplicates.MOST_CANDIDATES]
    few = leakage.find(build(pool={"train": [TWENTY]}, target={"train": ["z"], "dev": [*dev[:18], *dev[:2], TWENTY]}))
    assert few["pairs"].unique().tolist() == [21]


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
    """Dev rows, their second text cut by a word, are all found as near, in one chunk or in many."""
    task = planted[planted.names[0]]
    rows = [tuple(leakage.normalise(row[c]) for c in task.inputs) for row in task.dev]
    cut = [(a, b.rsplit(" ", 1)[0]) for a, b in rows]

    def found():
        parts = [np.array(part) for part in near_duplicates.pairs(cut, rows, 0.5)]
        whole = np.concatenate(parts, axis=1)
        return len(parts), whole[:, np.lexsort(whole[1::-1])]

    count, whole = found()
    assert count == 1
    assert whole[0].tolist() == whole[1].tolist() == list(range(len(rows)))
    monkeypatch.setattr(near_duplicates, "CHUNK_CHARS", 500)
    monkeypatch.setattr(near_duplicates, "CHUNK_PRODUCTS", 100)
    count, again = found()
    assert count > 10
    assert again.tolist() == whole.tolist()


@given(*[st.lists(st.sampled_from("abcd"), max_size=80)] * 2)
def test_common_words_in_order_as_counted_by_the_textbook(left, right):
    table = np.zeros((len(left) + 1, len(right) + 1), int)
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            table[i + 1, j + 1] = table[i, j] + 1 if a == b else max(table[i, j + 1], table[i + 1, j])
    assert near_duplicates._common(left, right) == table[-1, -1]


TWENTY = (
    "one evening in march the old keeper of our lighthouse counted forty seven grey geese flying south over the bay"
)


@pytest.mark.parametrize(
    ("other", "similarity"),
    [
        (TWENTY.replace("forty", "thirty"), 19 / 20),
        (TWENTY.replace("forty", "thirty").replace("south", "north"), 18 / 20),
        (TWENTY.replace("grey geese", "geese grey"), 19 / 20),
        (TWENTY.replace("old ", "").replace("march", "late march"), 19 / 20),
        (TWENTY.replace("forty", "thirty").replace("south", "north").replace("march", "may"), None),
        (" ".join(sorted(TWENTY.split())), None),
    ],
)
def test_one_word_in_ten_may_be_changed(build, other, similarity):
    hits = leakage.find(build(pool={"train": [other]}, target={"train": ["z"], "dev": [TWENTY]}))
    assert hits["similarity"].tolist() == ([] if similarity is None else [pytest.approx(similarity)])
    assert set(hits["kind"]) <= {"near"}


def test_a_word_may_be_changed_from_twelve_words_on(build):
    twelve = "nobody had seen the keeper of the lighthouse since late last winter"
    assert kind(build, twelve, twelve.replace("seen", "met")) == "near"
    eleven = twelve.replace(" late", "")
    assert kind(build, eleven, eleven.replace("seen", "met")) is None


def test_a_changed_text_of_a_pair_is_long_enough_by_itself(build):
    changed = TWENTY.replace("forty", "thirty")
    assert kind(build, (TWENTY, OTHER), (OTHER, changed)) == "near"
    assert kind(build, (TWENTY, OTHER + " 1"), (changed, OTHER + " 2")) == "near"
    question = "how many geese did the keeper count"
    assert kind(build, (TWENTY, question), (TWENTY, question.replace("many", "few"))) is None


def test_one_character_of_a_chinese_sentence(build):
    sentence = "我昨天在图书馆里借了三本关于历史的书。"
    hits = leakage.find(
        build(pool={"train": [sentence]}, target={"train": ["z"], "dev": [sentence.replace("三", "两")]})
    )
    assert hits[["kind", "similarity"]].values.tolist() == [["near", pytest.approx(17 / 18)]]


def test_common_phrases_do_not_count(build, monkeypatch):
    assert kind(build, "well " + LONG, LONG) == "near"
    monkeypatch.setattr(near_duplicates, "COMMON", 0)
    assert kind(build, "well " + LONG, LONG) is None
    assert kind(build, LONG + " .", LONG) == "normalised"


def test_a_phrase_is_common_in_more_rows_than_that(build, monkeypatch):
    """Most n-grams stand in two different rows of the target; a row's copies are no template."""
    dev = [LONG, LONG, LONG + " there"]
    suite = build(pool={"train": ["well " + LONG]}, target={"train": [FILL.format(1)], "dev": dev})
    for common, count in ((2, 3), (1, 0)):
        monkeypatch.setattr(near_duplicates, "COMMON", common)
        assert len(leakage.find(suite, ["target"])) == count


def test_hashes_are_the_same_in_every_process():
    code = "from auxlearn.data import near_duplicates as l; print(l._grams(['a b c d', 'x'])[1].tolist())"
    said = {
        subprocess.run([sys.executable, "-c", code], env={**os.environ, "PYTHONHASHSEED": seed}, check=True,
                       capture_output=True, text=True).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert said == {f"{near_duplicates._grams(['a b c d', 'x'])[1].tolist()}\n"}


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
