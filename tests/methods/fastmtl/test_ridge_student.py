"""Distillation: a cheap regressor that learns the proxy's score from a sample of the pool."""

import numpy as np
import pandas as pd
import pytest
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge

from auxlearn.cost import Ledger
from auxlearn.methods.fastmtl import ridge_student


def test_the_sample_is_a_share_of_each_fold_and_repeats_with_its_seed():
    folds, eligible = np.arange(1000) % 2, np.arange(1000) >= 200
    drawn = ridge_student.sample(folds, eligible, 0.05, seed=3)
    assert not drawn[~eligible].any()
    assert [int(drawn[folds == fold].sum()) for fold in (0, 1)] == [20, 20]
    assert np.array_equal(drawn, ridge_student.sample(folds, eligible, 0.05, seed=3))
    assert not np.array_equal(drawn, ridge_student.sample(folds, eligible, 0.05, seed=4))
    assert ridge_student.sample(folds, eligible, 0.001, seed=3).sum() == 2 * ridge_student.HELD
    few = np.zeros(1000, bool)
    few[:3] = True
    assert np.array_equal(ridge_student.sample(folds, few, 0.5, seed=3), few)


@pytest.mark.parametrize("sparse", [False, True])
def test_a_planted_ranking_is_recovered(sparse):
    """Scores that are a linear function of the features, with noise, are ranked as they were, from a tenth of them."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2000, 20)) * (rng.random((2000, 20)) < (0.3 if sparse else 1))
    true = x @ rng.normal(size=20)
    scores = true + rng.normal(0, 0.1, 2000)
    drawn = ridge_student.sample(np.zeros(2000, int), np.ones(2000, bool), 0.1, seed=0)
    told = np.where(drawn, scores, np.nan)  # nothing else may be read
    ledger = Ledger("distilled")
    made = ridge_student.predict(csr_matrix(x) if sparse else x, told, drawn, ledger)
    assert made.dtype == np.float32
    assert np.corrcoef(made[~drawn], true[~drawn])[0, 1] > 0.99
    assert ledger.flops > 2 * np.count_nonzero(x[~drawn])
    assert np.array_equal(made, ridge_student.predict(csr_matrix(x) if sparse else x, told, drawn))


def test_noise_is_shrunk():
    """With nothing to learn, predictions vary less than the scores: a strong penalty is chosen."""
    rng = np.random.default_rng(0)
    x, scores = rng.normal(size=(400, 60)), rng.normal(size=400)
    drawn = np.arange(400) < 100
    made = ridge_student.predict(x, scores, drawn)
    assert made[~drawn].std() < 0.7 * scores.std()


def test_every_product_is_counted_and_nothing_else():
    """12 drawn rows, of which 2 judge seven penalties; a fit takes two products an iteration, 2 FLOPs a cell each."""
    rng = np.random.default_rng(0)
    x, scores, drawn = rng.normal(size=(50, 3)), rng.normal(size=50), np.arange(50) < 12
    ledger, held = Ledger("distilled"), [4, 9]
    made = ridge_student.predict(x, scores, drawn, ledger)
    fit = lambda penalty, rows: Ridge(penalty, solver="lsqr", tol=1e-4).fit(x[rows], scores[rows])  # noqa: E731
    first = [fit(penalty, np.delete(np.arange(12), held)) for penalty in ridge_student.PENALTIES]
    best = int(np.argmin([np.square(m.predict(x[held]) - scores[held]).mean() for m in first]))
    last = fit(ridge_student.PENALTIES[best], np.arange(12))
    assert made == pytest.approx(last.predict(x), rel=1e-5)
    fitting = 4 * 30 * sum(int(np.max(m.n_iter_)) for m in first) + 4 * 36 * int(np.max(last.n_iter_))
    assert ledger.flops == fitting + 2 * (7 * 2 * 3 + 38 * 3)


def test_cues_hold_words_form_and_task(small):
    rows = pd.concat([pd.DataFrame({"task": n, "row": np.arange(6)}) for n in small.names], ignore_index=True)
    made = ridge_student.cues(small, rows)
    assert made.shape[0] == len(rows)
    own = made[:, -len(small.names) :].toarray()  # the last columns say of which task a row is
    assert (own.sum(1) == 1).all()
    assert (own.sum(0) == 6).all()


def test_a_constant_column_becomes_zero():
    made = ridge_student.standardised(np.array([[1.0, 5], [3, 5]]))
    assert made.tolist() == [[-1, 0], [1, 0]]


def test_rounds_learn_from_what_they_have_scored():
    """The best rows follow a rule of their own, which a sample shows seldom: rounds find more of them, sooner."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(3000, 40))
    high = rng.random(3000) < 0.1
    x[:, 0] = high
    scores = 5.0 * high + np.where(high, 1, 0) * (x[:, 1:20] @ rng.normal(size=19)) + rng.normal(0, 0.1, 3000)
    drawn = ridge_student.sample(np.zeros(3000, int), np.ones(3000, bool), 0.02, seed=0)
    once = ridge_student.predict(x, np.where(drawn, scores, np.nan), drawn)
    rounds = ridge_student.in_rounds(x, scores, drawn)
    best = set(np.argsort(-scores)[:100])
    found = [len(best & set(np.argsort(-np.where(drawn, np.inf, made))[:240])) for made in (once, rounds)]
    assert found[1] > found[0] + 10
    assert np.array_equal(np.sort(rounds), np.arange(-2999, 1))  # each row has a turn of its own
    assert set(np.argsort(-rounds)[: drawn.sum()]) == set(np.flatnonzero(drawn))
    assert np.array_equal(rounds, ridge_student.in_rounds(x, scores, drawn))
