"""BM25 and TF-IDF against their formulas by hand and bm25s; what they choose on the planted suite."""

import math
import re
import unicodedata

import bm25s
import numpy as np
import pytest

import asking
from auxlearn.errors import InputError
from auxlearn.methods.rules import by_name
from auxlearn.methods.scores import bm25, tfidf
from auxlearn.methods.scores import words as scores_words

POOL = ["The cat sat on a mat", "the dog, the dog and the cat", "stocks fell 3 %", "Cat!", ""]
TARGETS = ["a cat sat", "the the dog", "unseen words"]


def words(text):
    return re.findall(r"\w+", text.lower())


def matrix(similarities):
    return np.concatenate([block for _, block in similarities.blocks()])


@pytest.mark.parametrize(("k1", "b"), [(1.5, 0.75), (0.5, 0.0)])
def test_bm25_is_its_formula(k1, b):
    rows = list(map(words, POOL))
    mean = sum(map(len, rows)) / len(rows)
    df = {word: sum(word in row for row in rows) for row in rows for word in row}
    expected = [
        [sum(math.log(1 + (len(rows) - df[w] + 0.5) / (df[w] + 0.5)) * row.count(w)
             / (row.count(w) + k1 * (1 - b + b * len(row) / mean)) for w in words(target) if w in row)
         for target in TARGETS]
        for row in rows
    ]  # fmt: skip
    assert matrix(bm25.similarities(POOL, TARGETS, k1, b)) == pytest.approx(np.array(expected), rel=1e-5)


def test_bm25_is_that_of_bm25s():
    index = bm25s.BM25(method="lucene", k1=1.2, b=0.6)
    index.index(list(map(words, POOL)), show_progress=False)
    expected = np.stack([index.get_scores(words(target)) for target in TARGETS[:2]], 1)
    assert matrix(bm25.similarities(POOL, TARGETS[:2], 1.2, 0.6)) == pytest.approx(expected, rel=1e-5)


def test_tfidf_is_its_formula():
    rows = list(map(words, POOL))
    df = {word: sum(word in row for row in rows) for row in rows for word in row}

    def vector(text):
        counts = np.array([text.count(w) * (math.log((1 + len(rows)) / (1 + df[w])) + 1) for w in df])
        return counts / (np.linalg.norm(counts) or 1)

    expected = np.array([[vector(row) @ vector(words(target)) for target in TARGETS] for row in rows])
    assert matrix(tfidf.cosines(POOL, TARGETS)) == pytest.approx(expected, rel=1e-5)
    assert (expected[:, 2] == 0).all()


def test_ascii_words_are_cut_alike_whatever_else_their_text_holds():
    """One dash, or curly quotes in place of straight ones, changes no other word."""
    text = "I don't know why it's broken: foo_bar, R&amp;B, the dog's 1990s"
    assert scores_words.split(text) == scores_words.split(text.replace("'", "’"))
    assert scores_words.split(f"{text} – é") == [*scores_words.split(text), "é"]
    assert scores_words.split("don't foo_bar") == ["don", "t", "foo", "bar"]
    straight, curly = "it's what they're made for", "it’s what they’re made for"
    assert matrix(tfidf.cosines([straight, curly, "else"], [straight]))[:2] == pytest.approx(1)


def test_products_are_the_same_with_targets_written_out_and_not(monkeypatch):
    pool, targets = [f"word{i} word{i % 7} common" for i in range(50)], [f"word{i} common" for i in range(20)]
    whole = matrix(tfidf.cosines(pool, targets))
    monkeypatch.setattr(scores_words, "DENSE", 10)
    assert matrix(tfidf.cosines(pool, targets)) == pytest.approx(whole, abs=1e-7)
    assert (whole > 0).any()


def test_rows_without_words_are_refused():
    for compare in (bm25.similarities, tfidf.cosines):
        with pytest.raises(InputError, match="no row of the auxiliaries has a word"):
            compare(["", "%"], TARGETS)


@pytest.mark.parametrize("name", ["bm25", "tfidf"])
@pytest.mark.parametrize("rule", by_name.RULES)
def test_the_primary_s_words_find_rows_of_its_topics(name, rule, planted):
    """Rows of the home domain, whatever the rule: four of eight tasks are of others, or of both."""
    suite = planted.capped(200)
    p = asking.arm(name, n=60, methods={name: {"rule": rule, "target_rows": 0}})
    rows, asked = asking.selected(p, suite, 0, asking.everything(suite))
    assert len(rows.rows) == 60
    share = rows.rows["task"].isin(["topic_name", "topic_mixed", "cross_group", "look_alike"]).mean()
    assert share > (0.5 if rule == "quota" else 0.6)  # a quota is 4/7
    assert asked.needed() == asked.searched() == []


def test_target_rows_are_drawn_from_those_that_are_trained_on(small):
    """Not from those that are held out, nor from rows that leak; another seed draws others."""
    from auxlearn.methods import arm_plans
    from auxlearn.methods.scores import base

    usable = asking.everything(small)
    usable["topic_side"][:40] = False
    drawn = {}
    for seed in (0, 1):
        asked = asking.Told(small, asking.arm("tfidf", holdout=0.25), seed, usable)
        drawn[seed] = base.target_rows(asked, asked.cell, 8)
        trained, held = arm_plans.holdout(small, "topic_side", 0.25, seed, usable["topic_side"])
        assert len(drawn[seed]) == 8
        assert set(drawn[seed]) <= set(trained)
        assert base.target_rows(asked, asked.cell, 0).tolist() == trained.tolist()
        assert len(held) == 10
    assert drawn[0].tolist() != drawn[1].tolist()
    last = asking.Told(small, asking.arm("tfidf", choose="last"), 0, usable)
    assert len(base.target_rows(last, last.cell, 0)) == 40


def test_a_primary_whose_rows_all_leak_has_none_to_compare_with(small):
    from auxlearn.methods.scores import base

    usable = asking.everything(small)
    usable["topic_side"][:] = False
    asked = asking.Told(small, asking.arm("tfidf", choose="last"), 0, usable)
    with pytest.raises(InputError, match=r"'topic_side': no training row is left to compare candidates with"):
        base.target_rows(asked, asked.cell, 0)


def test_words_of_any_script_are_found_whatever_form_they_are_written_in():
    chinese = matrix(tfidf.cosines(["今天天气很好", "我喜欢这部电影很好看"], ["这部电影很好看"]))[:, 0]
    assert chinese[1] > 2 * chinese[0] > 0
    rows = ["今天天气很好", "我喜欢这部电影很好看", "the cat"]
    assert matrix(bm25.similarities(rows, ["这部电影很好看"], 1.5, 0.75))[1, 0] > 0
    decomposed = unicodedata.normalize("NFD", "très élégant")
    assert matrix(tfidf.cosines([decomposed, "tres"], ["Très élégant"]))[:, 0] == pytest.approx([1, 0])
    hindi = matrix(tfidf.cosines(["हिन्दी में", "हाल की"], ["हिन्दी"]))[:, 0]
    assert hindi[0] > 0.5
    assert hindi[1] == 0  # of the same letters, and not one word alike
