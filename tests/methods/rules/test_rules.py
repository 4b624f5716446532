"""Each rule against its definition, worked out the slow way on the whole matrix; what all rules share."""

import numpy as np
import ot
import pytest

from auxlearn.methods import ranking
from auxlearn.methods.rules import by_name, similarities
from auxlearn.methods.rules.diverse import diverse
from auxlearn.methods.rules.round_robin import round_robin
from auxlearn.methods.rules.similarities import Similarities
from auxlearn.methods.rules.transport import transport

RNG = np.random.default_rng(5)
COSINES = RNG.uniform(-1, 1, (60, 7)).astype(np.float32)
TIED = np.round(COSINES, 1)  # many rows are alike
TASKS = np.array(["a", "b", "b", "c", "c", "c"] * 10)


@pytest.fixture(params=["one block", "many blocks"])
def blocks(request, monkeypatch):
    """Rules give the same whatever fits into memory at once."""
    if request.param == "many blocks":
        monkeypatch.setattr(similarities, "CELLS", 7 * 4)
        monkeypatch.setattr("auxlearn.methods.rules.diverse.CELLS", 60 * 4)


def choose(rule, matrix, n, seed=0):
    return by_name.choose(rule, Similarities.of(matrix, (-1, 1)), n, TASKS[: len(matrix)], seed)


# --- each rule against its definition --------------------------------------------------------------------------------


def best_first(scores, seed):
    hashes = ranking.tie_hash(np.arange(len(scores)), seed)
    return sorted(range(len(scores)), key=lambda row: (-scores[row], hashes[row]))


def slow_top_mean(matrix, n, seed):
    return best_first(matrix.astype(float).mean(1), seed)[:n]


def slow_top_max(matrix, n, seed):
    return best_first(matrix.max(1), seed)[:n]


def slow_quota(matrix, n, seed):
    """Tasks of 10, 20 and 30 of 60 rows: for 12 rows 2, 4 and 6."""
    order = best_first(matrix.astype(float).mean(1), seed)
    taken = [row for task, k in (("a", 2), ("b", 4), ("c", 6)) for row in [r for r in order if TASKS[r] == task][:k]]
    return sorted(taken, key=order.index)


def slow_round_robin(matrix, n, seed):
    from auxlearn import seeding

    turns = seeding.rng(seed, "ties", "targets").permutation(matrix.shape[1])
    taken = []
    while len(taken) < n:
        column = matrix[:, turns[len(taken) % len(turns)]]
        taken.append(next(row for row in best_first(column, seed) if row not in taken))
    return taken


def slow_diverse(matrix, n, seed):
    short = best_first(matrix.astype(float).mean(1), seed)[: 4 * n]
    unit = matrix[short].astype(float)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosines, taken = unit @ unit.T, []
    for _ in range(n):
        worth = [-np.inf if row in taken else cosines[[*taken, row]].max(0).sum() for row in range(len(short))]
        taken.append(int(np.argmax(worth)))
    return [short[row] for row in taken]


SLOW = {
    "top_mean": slow_top_mean, "top_max": slow_top_max, "quota": slow_quota, "round_robin": slow_round_robin,
    "diverse": slow_diverse,
}  # fmt: skip


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize("seed", [0, 3])
@pytest.mark.parametrize("rule", SLOW)
def test_a_rule_takes_what_its_definition_does(rule, seed):
    for matrix in (COSINES, TIED) if rule != "diverse" else (COSINES,):  # whose sums round apart where rows tie
        assert choose(rule, matrix, 12, seed).rows.tolist() == SLOW[rule](matrix, 12, seed)


@pytest.mark.usefixtures("blocks")
@pytest.mark.parametrize(("epsilon", "slack"), [(0.01, 1e-4), (0.2, 0.3)])
def test_transport_is_sinkhorn_s_scaling_of_the_whole_kernel(epsilon, slack):
    kernel = np.exp(-(1 - COSINES.astype(float)) / 2 / epsilon)
    rows, targets = np.ones(60), np.ones(7)
    for _ in range(500):
        targets = (1 / 7) / (kernel.T @ rows)
        rows = ((1 / 60) / (kernel @ targets)) ** (slack / (slack + epsilon))
    plan = rows[:, None] * kernel * targets
    choice = transport(Similarities.of(COSINES, (-1, 1)), 12, epsilon=epsilon, slack=slack)
    assert choice.scores == pytest.approx(plan.sum(1), rel=1e-6)
    assert choice.scores.sum() == pytest.approx(1)
    assert choice.rows.tolist() == np.argsort(-plan.sum(1))[:12].tolist()


@pytest.mark.parametrize(("epsilon", "slack"), [(0.05, 1e-3), (0.2, 0.3)])
def test_transport_is_that_of_pot(epsilon, slack):
    distances, even = (1 - COSINES.astype(float)) / 2, (np.full(60, 1 / 60), np.full(7, 1 / 7))
    plan = ot.unbalanced.sinkhorn_unbalanced(
        *even, distances, epsilon, (slack, float("inf")), reg_type="entropy", numItermax=10_000, stopThr=1e-13
    )
    choice = transport(Similarities.of(COSINES, (-1, 1)), 12, epsilon=epsilon, slack=slack)
    assert choice.scores == pytest.approx(plan.sum(1), rel=1e-5)


def test_transport_of_unbounded_similarities_is_that_of_their_range():
    matrix = COSINES.astype(float)
    low, high = matrix.min(), matrix.max()
    scaled = (matrix - low) / (high - low) * 2 - 1
    told = transport(Similarities.of(scaled, (-1, 1)), 12)
    assert transport(Similarities.of(100 * matrix + 7), 12).scores == pytest.approx(told.scores)


def test_transport_says_where_it_does_not_settle():
    with pytest.raises(ValueError, match="not settled after 1000 rounds; raise epsilon or lower slack"):
        transport(Similarities.of(COSINES, (-1, 1)), 12, slack=10.0)


def test_round_robin_gives_each_target_as_many_turns():
    """A target that is most like every row takes no more than its turns."""
    matrix = COSINES.copy()
    matrix[:, 0] = 1
    rows = round_robin(Similarities.of(matrix), 14).rows
    best = [slow_top_max(matrix[:, [target]], 14, 0) for target in range(1, 7)]
    assert sum(any(row in wishes[:2] for wishes in best) for row in rows) >= 9


def test_diverse_takes_one_of_each_kind_before_a_second():
    kinds = np.repeat(np.eye(5), 12, 0)
    assert sorted((diverse(Similarities.of(kinds), 5, among=12).rows // 12).tolist()) == [0, 1, 2, 3, 4]


# --- what all rules share --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", by_name.RULES)
@pytest.mark.parametrize("n", [0, 1, 24, 60])
def test_a_rule_takes_exactly_n_distinct_rows_whatever_ties(rule, n):
    for matrix in (COSINES, TIED, np.zeros((60, 3))):
        choice = choose(rule, matrix, n)
        assert choice.rows.dtype == np.int64
        assert len(set(choice.rows.tolist())) == len(choice.rows) == n
        assert choice.scores.shape == (60,)


@pytest.mark.parametrize("rule", by_name.RULES)
def test_ties_are_the_seed_s(rule):
    first, same, other = (choose(rule, np.zeros((60, 3)), 12, seed).rows.tolist() for seed in (0, 0, 1))
    assert first == same
    assert first != other
    assert sorted(first) != list(range(12))


@pytest.mark.parametrize("rule", by_name.RULES)
def test_what_cannot_be_chosen_is_refused(rule):
    with pytest.raises(ValueError, match="61 rows asked for, but 60 are eligible"):
        choose(rule, COSINES, 61)
    matrix = COSINES.copy()
    matrix[41, 2] = np.nan
    with pytest.raises(ValueError, match="row 41 is NaN"):
        choose(rule, matrix, 3)


def test_one_score_per_row_is_a_column():
    scores = COSINES[:, 0]
    assert choose("top_mean", scores, 9).rows.tolist() == ranking.top_n(scores, 9).tolist()
    assert choose("quota", scores, 12).rows.tolist() == ranking.top_quota(scores, 12, TASKS).tolist()
    with pytest.raises(ValueError, match=r"rule diverse: .* needs two targets or more"):
        choose("diverse", scores, 9)
