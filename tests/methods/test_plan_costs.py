"""What plans cost over sizes: long phases by a part of them, and bounds that no selection of rows exceeds."""

from dataclasses import replace

import numpy as np
import pytest

from auxlearn import seeding
from auxlearn.methods import plan_costs
from auxlearn.studies.study_file import Shape
from auxlearn.training import counting
from auxlearn.training.counting import Tokens
from auxlearn.training.phases import Phase, Plan, Recipe, Rounds, Weighting

CONFIG = Shape(hidden_size=4, num_hidden_layers=1, intermediate_size=8)
POOL = ("a", "b", "long")
RECIPE = Recipe(lr=1e-3, batch_size=8)


def forward(length):
    """One layer, width 4, feed-forward 8: FLOPs of a sequence are 8·16 L + 4·4 L² + 4·4·8 L."""
    return 256 * length + 16 * length**2


def drawn(seed, sizes, split=False):
    """Lengths of the rows of tasks, at random; where asked some rows of `long` are several sequences."""
    rng, lengths = np.random.default_rng(seed), {}
    for name, count in sizes.items():
        longest = {"p": 30, "a": 12, "b": 25, "long": 60}[name]
        own = rng.integers(3, longest, count)
        rows = np.sort(np.concatenate([np.arange(count), rng.integers(0, count, count // 4)])) if split else None
        if name == "long" and rows is not None:
            own = rng.integers(3, longest, len(rows))
        train = Tokens(own, rows if name == "long" else None)
        lengths[name] = {"train": train, "dev": Tokens(rng.integers(3, longest, 17))}
    return lengths


def plan(*phases, **more):
    return Plan("", phases, seeding.record(0), "p", **({"holdout": np.arange(20)} | more))


def total(costs):
    return sum(flops for _, flops in costs)


def counted(made, lengths, **more):
    return [(ledger.stage, ledger.flops) for ledger in counting.count(made, lengths, CONFIG, **more)]


SIZES = {"p": 120, "a": 500, "b": 40, "long": 130}
ROWS = {"p": np.arange(20, 120)} | {name: np.arange(SIZES[name]) for name in POOL}
PHASE = Phase("stage2", ROWS, 4, RECIPE)
TUNE = Phase("tune", {"p": np.arange(20, 120)}, 6, RECIPE)
LONG = {
    "batches of a task": plan(PHASE),
    "mixed": plan(replace(PHASE, mixing="mixed")),
    "judged on held-out rows": plan(replace(PHASE, choose="holdout"), replace(TUNE, choose="holdout")),
    "looked at": plan(replace(PHASE, looks=10, choose="holdout"), replace(TUNE, looks=7, choose="holdout")),
    "judged on dev": plan(replace(PHASE, choose="dev")),
    "watched": plan(PHASE, watch={"a": np.arange(50), "long": np.arange(9)}),
    "by steps": plan(replace(PHASE, steps=331)),
    "by mixed steps": plan(replace(PHASE, steps=331, mixing="mixed", choose="holdout")),
    "the primary by steps": plan(replace(TUNE, steps=900, choose="holdout")),
    "in order": plan(replace(PHASE, order=np.resize([0, 1, 1, 3, 2], 700))),
    "a cycle": plan(replace(PHASE, order=np.resize([0, 0, 0, 1, 2, 3, 3], 700))),
}


@pytest.mark.parametrize("name", LONG)
@pytest.mark.parametrize("split", [False, True])
def test_a_part_stands_for_a_long_phase(name, split, monkeypatch):
    lengths, made = drawn(1, SIZES, split), LONG[name]
    whole = counted(made, lengths)
    assert plan_costs.usual(made, lengths, CONFIG) == whole  # few rows are counted as they are
    monkeypatch.setattr(plan_costs, "MANY", 400)
    part = plan_costs.usual(made, lengths, CONFIG)
    assert [stage for stage, _ in part] == [stage for stage, _ in whole]
    for (_, flops), (_, wanted) in zip(part, whole, strict=True):
        assert flops == pytest.approx(wanted, rel=0.05)  # which batches the last epoch has is drawn


@pytest.mark.parametrize("name", LONG)
def test_of_rows_that_are_alike_a_part_costs_exactly_its_share(name, monkeypatch):
    alike = {
        task: {"train": Tokens(np.full(count, 10)), "dev": Tokens(np.full(17, 10))} for task, count in SIZES.items()
    }
    made = LONG[name]
    whole = counted(made, alike)
    monkeypatch.setattr(plan_costs, "MANY", 100)
    exact = 0.02 if "steps" in name or name in ("in order", "a cycle") else 1e-9  # which batches come last is drawn
    assert total(plan_costs.usual(made, alike, CONFIG)) == pytest.approx(total(whole), rel=exact)


def test_a_million_rows_are_counted_in_no_time():
    """By hand: every row three times, forward and backward."""
    counts = {"p": 2_000, "a": 600_000, "b": 400_000}
    lengths = {name: {"train": Tokens(np.full(count, 16))} for name, count in counts.items()}
    rows = {name: np.arange(count) for name, count in counts.items()}
    ((_, flops),) = plan_costs.usual(plan(replace(PHASE, rows=rows, epochs=3)), lengths, CONFIG)
    assert flops == pytest.approx(3 * 3 * 1_002_000 * forward(16))
    ((_, most),) = plan_costs.dearest(plan(replace(PHASE, rows=rows, epochs=3)), lengths, CONFIG)
    assert most == pytest.approx(flops)


def test_a_bandit_s_rounds_draw_from_a_part(monkeypatch):
    lengths = drawn(0, SIZES)
    bandit = Phase("bandit", ROWS, 12, RECIPE, rounds=Rounds(2, 0.1))
    whole = counted(plan(bandit), lengths)
    assert plan_costs.usual(plan(bandit), lengths, CONFIG) == whole
    monkeypatch.setattr(plan_costs, "MANY", 60)
    assert total(plan_costs.usual(plan(bandit), lengths, CONFIG)) == pytest.approx(total(whole), rel=0.15)


# --- at most ---------------------------------------------------------------------------------------------------------


def selections(lengths, n, tries=12):
    """n rows of the pool in very different shares: of one task, of the smallest, of all."""
    rng = np.random.default_rng(n)
    sizes = {name: lengths[name]["train"].n_rows for name in POOL}
    for number in range(tries):
        order, left, rows = rng.permutation(POOL), n, {}
        for name in order:
            share = left if number % 3 == 0 else int(rng.integers(0, left + 1))
            own = min(sizes[name], share)
            rows[str(name)] = np.sort(rng.permutation(sizes[name])[:own])
            left -= own
        yield {name: own for name, own in rows.items() if len(own)}


def mixture(lengths, n):
    """About n rows as the pool is mixed."""
    sizes = {name: lengths[name]["train"].n_rows for name in POOL}
    return {name: np.arange(-(-n * count // sum(sizes.values()))) for name, count in sizes.items()}


def stage2(rows, **more):
    return plan(Phase("stage2", {"p": np.arange(20, 120)} | rows, 3, RECIPE, **more), replace(TUNE, choose="holdout"))


def weighted(rows, primary=True, parts=0, steps=None, choose="last", **more):
    own = {"p": np.arange(20, 120)} if primary else {}
    phase = Phase("joint", own | rows, 3, RECIPE, steps=steps, choose=choose)
    cut = {name: np.arange(len(each)) % min(parts, -(-len(each) // 4)) for name, each in rows.items()} if parts else {}
    groups = len(own) + (sum(int(part.max()) + 1 for part in cut.values()) if cut else len(rows))
    w = Weighting(tuple(np.full(groups, 1 / groups)), parts=cut, chunk_rows=6, **more)
    return plan(replace(phase, weighting=w), *([] if primary else [TUNE]))


def by_order(rows, tasks=(0, 1, 0, 1, 1)):
    return stage2(rows, order=np.resize([task % (len(rows) + 1) for task in tasks], 60))


AUTHORS = {"rule": "paper", "chunks": 1, "target_rows": "train", "itself": True, "combine": "scaled_then_clipped"}
SHAPES = {
    "by epochs": stage2,
    "mixed": lambda rows: stage2(rows, mixing="mixed"),
    "by steps": lambda rows: stage2(rows, steps=50),
    "by mixed steps": lambda rows: stage2(rows, steps=50, mixing="mixed", choose="holdout"),
    "in order": by_order,
    "joint": weighted,
    "joint by steps": lambda rows: weighted(rows, steps=50, every=7),
    "joint, judged": lambda rows: weighted(rows, steps=50, choose="dev"),
    "scaled": lambda rows: weighted(rows, combine="scaled", every=5),
    "sampled": lambda rows: weighted(rows, combine="sampled", every=4),
    "pre-training": lambda rows: weighted(rows, primary=False),
    "the authors'": lambda rows: weighted(rows, **AUTHORS),
    "reused": lambda rows: weighted(rows, combine="scaled", estimator="reused"),
    "parts": lambda rows: weighted(rows, parts=5),
    "parts by steps": lambda rows: weighted(rows, parts=5, steps=40, every=3),
    "no evidence": lambda rows: weighted(rows, evidence="null"),
}  # fmt: skip


@pytest.mark.parametrize("split", [False, True])
@pytest.mark.parametrize("n", [3, 20, 130])
@pytest.mark.parametrize("shape", SHAPES)
def test_no_selection_of_the_pool_costs_more_than_the_bound(shape, n, split):
    lengths, make = drawn(3, SIZES, split), SHAPES[shape]
    most = plan_costs.dearest(make(mixture(lengths, n)), lengths, CONFIG, POOL)
    for rows in selections(lengths, n):
        made = make(rows)
        for (stage, flops), (bounded, top) in zip(counted(made, lengths), most, strict=True):
            assert stage == bounded
            assert flops <= top


@pytest.mark.parametrize("shape", SHAPES)
def test_fewer_rows_cost_no_more_than_the_bound(shape):
    """Leaks that are left out make batches fuller and epochs shorter."""
    lengths, make = drawn(5, SIZES), SHAPES[shape]
    rows = {name: ROWS[name][:41] for name in ("a", "b")}
    most = plan_costs.dearest(make(rows), lengths, CONFIG)
    for gone in (1, 2, 9, 30):
        fewer = {name: own[: max(1, len(own) - gone)] for name, own in rows.items()}
        assert total(counted(make(fewer), lengths)) <= total(most)


@pytest.mark.parametrize("name", LONG)
def test_the_bound_of_known_rows_holds_for_them(name):
    lengths = drawn(4, SIZES)
    for (_, flops), (_, most) in zip(
        counted(LONG[name], lengths), plan_costs.dearest(LONG[name], lengths, CONFIG), strict=True
    ):
        assert flops <= most


def test_a_bound_by_hand():
    """100 rows of the primary of 30 tokens, 20 of a pool whose longest row has 60."""
    lengths = {"p": {"train": Tokens(np.full(120, 30))}, "a": {"train": Tokens(np.full(50, 10))},
               "long": {"train": Tokens(np.arange(11, 61))}}  # fmt: skip
    rows, pool = {"a": np.arange(20)}, ("a", "long")
    bound = lambda *given, **more: dict(plan_costs.dearest(*given, lengths, CONFIG, **more))  # noqa: E731
    once = 100 * forward(30)
    tune = 3 * 6 * once + 6 * 20 * forward(30)  # the held-out rows judge six epochs
    assert bound(stage2(rows)) == {"stage2": 3 * 3 * (once + 20 * forward(10)), "tune": tune}
    assert bound(stage2(rows), pool=pool)["stage2"] == 3 * 3 * (once + 20 * forward(60))
    assert bound(stage2(rows, mixing="mixed"), pool=pool)["stage2"] == 3 * 3 * 120 * forward(60)
    assert bound(stage2(rows, steps=50), pool=pool)["stage2"] == 50 * 3 * 8 * forward(60)
    assert bound(by_order(rows), pool=pool)["stage2"] == 60 * 3 * 8 * forward(60)
    joint = bound(weighted(rows), pool=pool)
    assert joint["joint"] == 3 * 3 * 120 * forward(60)
    # Two chunks of six rows of the target, held out and trained on, and of the pool's tasks as many, three times.
    assert joint["weighting"] == 3 * 3 * (2 * 12 * forward(30) + 20 * forward(60))
