"""DSIR's weights against its formula by hand and the authors' package, and the draw by these weights."""

import itertools
import json
from collections import Counter

import numpy as np
import pytest
from data_selection import HashedNgramDSIR

import asking
from auxlearn.methods.scores import dsir

MANY = 1 << 18  # buckets that no two of these words share
TARGET = ["The cat sat; the cat slept.", "A dog, a cat!"]
POOL = ["the cat sat.", "stocks fell 3 % today", "A dog, a dog", "the the the", ""]


def terms(text):
    """Words and pairs of them, split by eye."""
    words = text.lower().replace(".", " .").replace(",", " ,").replace(";", " ;").replace("!", " !").split()
    return Counter([*words, *map(" ".join, itertools.pairwise(words))])


def by_hand(target, pool, smoothing=0.0):
    here, there = sum(map(terms, target), Counter()), sum(map(terms, pool), Counter())
    sizes = here.total() + smoothing * MANY, there.total()
    return [
        sum(count * (np.log((here[t] + smoothing) / sizes[0] + 1e-8) - np.log(there[t] / sizes[1] + 1e-8))
            for t, count in terms(text).items())
        for text in pool
    ]  # fmt: skip


@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_weights_are_sums_of_log_ratios(smoothing):
    weights = dsir.log_weights(dsir.counts(TARGET, MANY), dsir.counts(POOL, MANY), smoothing)
    assert weights == pytest.approx(by_hand(TARGET, POOL, smoothing))
    assert weights[0] > weights[1]
    assert weights[4] == 0


def test_weights_are_those_of_the_authors_package(tmp_path):
    """Theirs hashes otherwise: with as many buckets no words collide in either. Its filter of short rows is at 0."""
    for name, rows in (("raw", POOL), ("target", TARGET)):
        (tmp_path / name).write_text("".join(json.dumps({"text": text}) + "\n" for text in rows))
    folders = [str(tmp_path / name) for name in ("raw", "target")]
    theirs = HashedNgramDSIR(
        [folders[0]], [folders[1]], str(tmp_path / "cache"), num_proc=1, num_buckets=MANY, min_example_length=0
    )
    theirs.fit_importance_estimator(num_tokens_to_fit="all")
    package = [theirs.importance_estimator(theirs.featurizer(text)) for text in POOL]
    ours = dsir.log_weights(dsir.counts(TARGET, MANY), dsir.counts(POOL, MANY))
    assert ours == pytest.approx(package)


def chosen(suite, seed=0, **options):
    p = asking.arm("dsir", n=24, methods={"dsir": options})
    return asking.selected(p, suite, seed, asking.everything(suite))[0].rows


def test_no_texts_have_no_counts():
    assert dsir.counts([]).shape == dsir.counts(iter(())).shape == (0, 10_000)
    assert (dsir.counts(iter(POOL)) != dsir.counts(POOL)).nnz == 0
    assert dsir.log_weights(dsir.counts(TARGET), dsir.counts([])).shape == (0,)


def test_a_draw_is_the_seed_s(small):
    drawn = chosen(small)
    assert drawn["score"].is_monotonic_decreasing
    assert chosen(small)[["task", "row"]].equals(drawn[["task", "row"]])
    assert not chosen(small, 1)[["task", "row"]].equals(drawn[["task", "row"]])
    best = chosen(small, resample=False)
    assert not best[["task", "row"]].equals(drawn[["task", "row"]])
    assert len(best) == len(drawn) == 24


def test_a_small_primary_s_sums_are_won_by_short_rows(small):
    """Words that the primary lacks cost 18 each, so that few words win; a mean over the words is no such prize."""
    length = {name: 2 if task.is_pair else 1 for name, task in small.items()}
    texts = {per_word: chosen(small, resample=False, per_word=per_word)["task"].map(length).mean()
             for per_word in (False, True)}  # fmt: skip
    assert texts[False] == 1
    assert texts[True] > 1.2
    assert chosen(small, resample=False, per_word=True)["helpful"].any()


def test_gumbel_noise_draws_without_replacement_by_the_weights():
    """The first row of a draw is each row as often as its weight says: of 4,000 draws within four standard errors."""
    weights = np.array([0.5, 0.3, 0.2])
    rng = np.random.default_rng(0)
    first = np.bincount([np.argmax(np.log(weights) + rng.gumbel(size=3)) for _ in range(4000)], minlength=3) / 4000
    assert first == pytest.approx(weights, abs=4 * np.sqrt(0.25 / 4000))


def test_kl_reduction_is_the_difference_of_two_divergences():
    from scipy.special import rel_entr

    target, pool = dsir.counts(TARGET, MANY), dsir.counts(POOL, MANY)

    def divergence(other):
        p, q = (np.asarray(rows.sum(0, dtype=float)).ravel() / rows.sum(dtype=float) for rows in (target, other))
        return rel_entr(p, q + dsir.FLOOR).sum()

    for rows in ([0], [1, 3], [0, 2], [0, 1, 2, 3, 4]):
        reduced = dsir.kl_reduction(target, pool, pool[rows])
        assert reduced == pytest.approx(divergence(pool) - divergence(pool[rows]), abs=1e-6)
    assert reduced == 0  # of all rows
    assert dsir.kl_reduction(target, pool, pool[[0, 2]]) > dsir.kl_reduction(target, pool, pool[[1, 3]])
    assert dsir.kl_reduction(target, target, target[[0, 1]]) == 0
    assert np.isnan(dsir.kl_reduction(target, pool, pool[[4]]))  # without a word
    assert np.isnan(dsir.kl_reduction(pool[[4]], pool, pool))
