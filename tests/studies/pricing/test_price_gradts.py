"""What GradTS and AUTOSEM are projected to cost: every stage by hand, whole studies, and the ledgers of a real 04."""

from types import SimpleNamespace

import numpy as np
import pytest
import yaml
from auxlearn.studies.pricing import price_gradts, price_sizes, prices
from auxlearn.studies.pricing.price_fastmtl import Encoder

from auxlearn.cost import Ledger
from auxlearn.data import usable_rows
from auxlearn.errors import InputError
from auxlearn.methods.gradts import head_store, head_tables
from auxlearn.studies.parameters import GradTS

pytestmark = pytest.mark.usefixtures("planted_once")
# One layer, width 4, feed-forward 8 (see test_pricing).
SMALL = Encoder(4, 1, 8)
ROWS = {"a": 1000, "b": 200, "c": 40}
LENGTH = {"a": 10, "b": 20, "c": 30}
EPOCHS = {"stage2_epochs": 3, "tune_epochs": 5, "batch_size": 32}


def forward(length):
    return 256 * length + 16 * length**2


A, B, C = map(forward, LENGTH.values())


def flops(table, stage):
    return float(table.loc[stage, "flops"])


# --- stages ----------------------------------------------------------------------------------------------------------


def test_heads_are_a_tuning_and_a_pass_of_each_task():
    """20 rows of a and all 10 of d tuned for 2 epochs, 30 and 10 measured at 4 x 4² more a token."""
    rows, length = {"a": 50, "d": 10}, {"a": 10, "d": 30}
    made = price_gradts.heads(rows, SMALL, length, tune_rows=20, importance_rows=30, epochs=2, batch_size=8)
    assert made["sequences"].to_dict() == {"task_tuning": 60, "importance": 40}
    assert made["steps"].to_dict() == {"task_tuning": 2 * (3 + 2), "importance": 0}
    assert flops(made, "task_tuning") == 2 * 3 * (20 * forward(10) + 10 * forward(30))
    measured = 30 * (2 * forward(10) + 64 * 10) + 10 * (2 * forward(30) + 64 * 30)
    assert flops(made, "importance") == measured
    whole = price_gradts.heads(rows, SMALL, length, epochs=2, batch_size=8)  # 0: all
    assert whole["sequences"].to_dict() == {"task_tuning": 120, "importance": 60}


def test_importance_is_priced_as_a_ledger_counts_it():
    config, ledger = SimpleNamespace(hidden_size=384, num_hidden_layers=6, intermediate_size=1536), Ledger("importance")
    head_store._count(ledger, config, np.full(25, 40))
    made = price_gradts.heads({"a": 25}, config, 40)
    assert flops(made, "importance") == pytest.approx(ledger.flops)


@pytest.mark.parametrize(("n", "steps", "seen"), [(20, 6, 3 * 40), (30, 9, 4 * 40 + 32)])
def test_the_primary_alone_takes_the_steps_of_stage_2(n, steps, seen):
    """3 x ceil((40 + n) / 32) steps, of two batches an epoch: 32 rows, then 8."""
    made = price_gradts.step_matched(ROWS, "c", n, SMALL, LENGTH, **EPOCHS)
    assert made.loc["stage2", ["sequences", "steps"]].to_list() == [seen, steps]
    assert flops(made, "stage2") == seen * 3 * C
    assert flops(made, "tune") == 5 * 40 * 3 * C


MIXED = 40 * C + 17 * A + 3 * B  # the primary and 20 rows of the pool: 17 of a and 3 of b
RATIOS = 6 * 32 * 3 * MIXED / 60  # 6 full batches, mixed alike
TUNE = 5 * 40 * 3 * C


def test_a_training_by_ratios_has_full_batches_of_the_same_number():
    made = price_gradts.shared_out(ROWS, "c", 20, SMALL, LENGTH, **EPOCHS)
    assert made.loc["stage2", ["sequences", "steps"]].to_list() == [192, 6]
    assert flops(made, "stage2") == pytest.approx(RATIOS)
    assert flops(made, "tune") == TUNE


@pytest.mark.parametrize(("prefixes", "most"), [(1, 1), (2, 2), (7, 2)])
def test_a_trial_trains_every_prefix_and_the_primary_alone(prefixes, most):
    """Each judged on 4 rows after each of 5 epochs of tuning; there are only two auxiliaries."""
    given = (ROWS, "c", 20, SMALL, LENGTH)
    one, empty, judged = 3 * 3 * MIXED + TUNE, 3 * 40 * 3 * C + TUNE, 5 * 4 * C
    made = price_gradts.trial(*given, prefixes=prefixes, held=4, **EPOCHS)
    assert list(made.index) == ["trial"]
    assert flops(made, "trial") == pytest.approx(most * (one + judged) + empty + judged)
    code = price_gradts.trial(*given, prefixes=prefixes, alone=False, held=4, **EPOCHS)
    assert flops(code, "trial") == pytest.approx(most * (one + judged))
    assert code.loc["trial", "sequences"] == most * (3 * 60 + 5 * 40 + 5 * 4)


def test_a_bandit_trains_rounds_and_scores_before_and_after_each():
    """10 batches, a third of them of each task, c's of its 40 rows only; 7 held-out rows scored 5 + 1 times."""
    made = price_gradts.bandit(ROWS, "c", SMALL, LENGTH, rounds=5, batches=2, held=7, batch_size=64)
    assert flops(made, "bandit") == pytest.approx(10 * 3 * (64 * A + 64 * B + 40 * C) / 3 + 6 * 7 * C)
    assert made.loc["bandit", ["sequences", "steps"]].to_list() == [560 + 42, 10]


def test_a_search_of_ratios_is_that_many_trainings():
    made = price_gradts.ratio_search(ROWS, "c", 20, SMALL, LENGTH, trials=6, held=4, **EPOCHS)
    assert flops(made, "trial") == pytest.approx(6 * (RATIOS + TUNE + 5 * 4 * C))
    assert made.loc["trial", "steps"] == 6 * (6 + 5 * 2)


def test_what_is_not_said_is_priced_as_the_authors_train():
    """65 rows are three batches of 32, and two of 33."""
    given = (ROWS, "c", 25, SMALL, LENGTH)
    for price, more in (
        (price_gradts.step_matched, {}), (price_gradts.shared_out, {}), (price_gradts.trial, {"prefixes": 2}),
        (price_gradts.ratio_search, {"trials": 2}),
    ):  # fmt: skip
        assert price(*given, **more).equals(price(*given, **more, **EPOCHS)), price.__name__
    rounds = {"rounds": 5, "batches": 2}
    bandit = price_gradts.bandit(ROWS, "c", SMALL, LENGTH, **rounds)
    assert bandit.equals(price_gradts.bandit(ROWS, "c", SMALL, LENGTH, **rounds, batch_size=32))
    assert price_gradts.heads(ROWS, SMALL, LENGTH).equals(
        price_gradts.heads(ROWS, SMALL, LENGTH, tune_rows=0, importance_rows=0, epochs=3, batch_size=4)
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: price_gradts.trial(*g, prefixes=0), "prefixes, held: 0 of 2 tasks"),
        (lambda g: price_gradts.trial(*g, prefixes=1, held=-1), "and -1 must be at least 1 and 0"),
        (lambda g: price_gradts.ratio_search(*g, trials=0), "trials, held: 0 and 0"),
        (lambda g: price_gradts.step_matched(g[0], "z", *g[2:]), "task 'z' has no rows"),
        (lambda g: price_gradts.bandit(g[0], "c", *g[3:], rounds=0, batches=1), "at least 1"),
        (lambda g: price_gradts.bandit(g[0], "c", *g[3:], rounds=1, batches=1, held=-2), "held: -2"),
        (lambda g: price_gradts.heads(g[0], *g[3:], tune_rows=-1), "must not be negative"),
        (lambda g: price_gradts.heads(g[0], *g[3:], epochs=0), "at least 1"),
    ],
)
def test_what_cannot_be_priced_is_one_clear_error(call, message):
    with pytest.raises(InputError, match=message):
        call((ROWS, "c", 20, SMALL, LENGTH))


# --- studies ---------------------------------------------------------------------------------------------------------

P, Q = forward(20), forward(10)  # a row of the primary, one of the seven others; all tasks have 100 rows
TRAINING = {"stage2_epochs": 2, "tune_epochs": 3, "batch_size": 32, "holdout": 0.25}
HEADS = {"tune_rows": 50, "importance_rows": 30, "epochs": 4, "batch_size": 8}
TUNED = 4 * 50 * 3 * (P + 7 * Q)
MEASURED = 30 * (2 * P + 64 * 20 + 7 * (2 * Q + 64 * 10))


@pytest.fixture
def priced(tmp_path, planted):
    def made(grid, base=(), stages=("06_mtl",), mtl=()):
        base = {
            "suite": "planted", "primary": "topic_side", "size": "full", "precision": "fp32", "rows": 100, "seeds": [0]
        } | dict(base)  # fmt: skip
        tokens = dict.fromkeys(planted.names, 10) | {"topic_side": 20}
        encoder = {"hidden_size": 4, "num_hidden_layers": 1, "intermediate_size": 8}
        content = {
            "study": "s", "base": base, "grid": grid, "stages": list(stages),
            "notebooks": {"04_gradts_correlation": HEADS, "06_mtl": TRAINING | dict(mtl)},
            "expects": {"rows": {n: len(task.train) for n, task in planted.items()}, "tokens": tokens,
                        "encoder": encoder},
        }  # fmt: skip
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(content))
        return prices.price(path)

    return made


def test_thres_is_04_and_the_n_rows(priced):
    made = priced({"arm": ["gradts_thres"], "n": [20]}, mtl={"choose": "last"})
    row = made.table.loc[("topic_side", "gradts_thres", 20)]
    assert row["heads"] == pytest.approx(TUNED + MEASURED)
    assert row["stage2"] == pytest.approx(2 * 3 * (100 * P + 20 * Q))
    assert row["tune"] == pytest.approx(3 * 3 * 100 * P)
    assert row[["proxy", "scoring", "bandit", "trial"]].to_list() == [0] * 4
    assert row["alone"] == row["amortised"] == pytest.approx(row[["heads", "stage2", "tune"]].sum())
    assert "UPPER BOUND" not in made.shown()


def test_an_arm_is_charged_for_its_candidates_and_the_study_for_every_task(priced):
    made = priced({"arm": ["gradts_thres"], "n": [20]}, {"auxiliaries": ["look_alike", "word_class"], "seeds": [0, 1]})
    own = 4 * 50 * 3 * (P + 2 * Q) + 30 * (2 * P + 64 * 20 + 2 * (2 * Q + 64 * 10))
    assert made.table["heads"].item() == pytest.approx(own)
    assert made.total["heads"] == pytest.approx(2 * (TUNED + MEASURED))


@pytest.mark.parametrize("choose", ["holdout", "last"])
def test_a_trial_counts_its_own_last_training_once(priced, choose):
    """75 rows are trained on and 25 judge. With held-out choice the arm is one of its 3 trainings, else a fourth."""
    made = priced({"arm": ["gradts_trial"], "n": [20]}, mtl={"choose": choose, "trial_most": 2})
    row = made.table.loc[("topic_side", "gradts_trial", 20)]
    tune, judged = 3 * 3 * 75 * P, 3 * 25 * P
    one = 2 * 3 * (75 * P + 20 * Q) + tune
    alone = 3 * (2 * 75) * P + tune  # 2 x ceil(95 / 32) steps: two epochs of three batches
    search = 2 * one + alone + 3 * judged
    if choose == "holdout":
        assert row["stage2"] + row["tune"] == pytest.approx(one)
        assert row["trial"] == pytest.approx(search - one)
        assert row["alone"] - row["heads"] == pytest.approx(search)
    else:
        assert row["stage2"] + row["tune"] == pytest.approx(2 * 3 * (100 * P + 20 * Q) + 3 * 3 * 100 * P)
        assert row["trial"] == pytest.approx(search)
    assert "trial<=: UPPER BOUND" in made.shown()
    code = priced({"arm": ["gradts_trial"], "n": [20]}, mtl={"choose": choose, "trial_most": 2, "trial_rule": "code"})
    assert row["trial"] - code.table["trial"].item() == pytest.approx(alone + judged)


def test_fg_takes_measured_rows_and_pays_for_the_tasks_it_starts_from(priced):
    """A tenth of 30 measured rows of seven tasks: 21 rows of the 40 asked for. Of all tasks, or of those of a trial."""
    common = {"choose": "last", "trial_most": 1, "fg_fraction": 0.1}
    grid = {"arm": ["gradts_fg"], "n": [40], "fg_tasks": ["all", "thres", "trial"]}
    made = priced(grid, mtl=common).table
    assert made["stage2"].to_numpy() == pytest.approx(2 * 3 * (100 * P + 21 * Q))
    tune = 3 * 3 * 75 * P
    one, alone = 2 * 3 * (75 * P + 40 * Q) + tune, 3 * (2 * 75 + 2 * 32) * P + tune  # 8 steps, three an epoch
    assert made["trial"].to_numpy() == pytest.approx([0, 0, one + alone + 2 * 3 * 25 * P])
    nothing = priced({"arm": ["gradts_fg"], "n": [40], "fg_tasks": ["all"]}, mtl=common | {"fg_fraction": 0.01}).table
    assert nothing["stage2"].item() == pytest.approx(3 * (2 * 100 + 2 * 32) * P)  # 10 steps, four an epoch


SEARCH = {"bandit_rounds": 5, "bandit_batches": 2, "ratio_trials": 4}
BANDIT = 10 * 3 * 32 * (P + 7 * Q) / 8 + 6 * 25 * P


@pytest.mark.parametrize("choose", ["holdout", "last"])
def test_autosem_is_a_bandit_and_a_search_of_ratios(priced, choose):
    made = priced({"arm": ["autosem_p1", "autosem"], "n": [20]}, mtl=SEARCH | {"choose": choose}).table
    first, both = made.loc[("topic_side", "autosem_p1", 20)], made.loc[("topic_side", "autosem", 20)]
    assert first["bandit"] == both["bandit"] == pytest.approx(BANDIT)
    kept = 75 if choose == "holdout" else 100
    assert first["stage2"] == pytest.approx(2 * 3 * (kept * P + 20 * Q))
    assert first["tune"] == both["tune"] == pytest.approx(3 * 3 * kept * P)
    assert first[["heads", "trial"]].to_list() == [0, 0]
    by_ratios = lambda k, steps: steps * 32 * 3 * (k * P + 20 * Q) / (k + 20)  # noqa: E731
    assert both["stage2"] == pytest.approx(by_ratios(kept, 6 if kept == 75 else 8))
    one, judged = by_ratios(75, 6) + 3 * 3 * 75 * P, 3 * 25 * P
    assert both["trial"] == pytest.approx(4 * (one + judged) - (one if choose == "holdout" else 0))
    assert both["alone"] == both["amortised"] == pytest.approx(both[["bandit", "trial", "stage2", "tune"]].sum())


def test_04_is_shared_by_primaries_and_searches_are_not(priced):
    grid = {"primary": ["topic_side", "look_alike"], "arm": ["gradts_trial", "autosem"], "n": [20]}
    made = priced(grid, {"seeds": [0, 1, 2]}, mtl=SEARCH)
    row = made.table.loc[("topic_side", "gradts_trial", 20)]
    assert row["alone"] - row["amortised"] == pytest.approx((TUNED + MEASURED) / 2)
    row = made.table.loc[("topic_side", "autosem", 20)]
    assert row["alone"] == row["amortised"]
    assert made.total["heads"] == pytest.approx(3 * (TUNED + MEASURED))
    assert made.total["trial"] == pytest.approx(3 * made.table["trial"].sum())
    assert made.total["bandit"] == pytest.approx(3 * made.table["bandit"].sum())
    assert made.separately == pytest.approx(3 * made.table["alone"].sum())


def test_the_grid_counts_a_search_once_whoever_asks(priced):
    """trial and fg share trainings, p1 and autosem a bandit at any n, and all definitions one tuning and one pass."""
    grid = {"arm": ["gradts_trial", "gradts_fg", "autosem_p1", "autosem"], "n": [20, 30]}
    made = priced(grid, mtl=SEARCH)
    table = made.table.loc["topic_side"]
    assert made.total["heads"] == pytest.approx(TUNED + MEASURED)
    assert made.total["bandit"] == pytest.approx(BANDIT)
    own = table.loc[["gradts_trial", "autosem"], "trial"]
    assert made.total["trial"] == pytest.approx(own.sum())
    last = table.loc[("gradts_trial", 20), ["stage2", "tune"]].sum()
    # What the trial arm trains at last belongs to its own line; fg pays for the search whole.
    assert table.loc[("gradts_fg", 20), "trial"] == pytest.approx(table.loc[("gradts_trial", 20), "trial"] + last)
    defined = priced({"arm": ["gradts_thres"], "n": [20], "definition": ["gate", "kv_rows"]})
    assert defined.total["heads"] == pytest.approx(TUNED + MEASURED)
    dropped = priced({"arm": ["gradts_thres"], "n": [20]}, stages=["04_gradts_correlation", "06_mtl"])
    assert dropped.total.equals(priced({"arm": ["gradts_thres"], "n": [20]}).total)


def test_a_study_of_04_alone_is_priced(priced):
    """Another dropout is another pass over the same tuned models."""
    made = priced({"dropout": [False, True]}, {"seeds": [0, 1]}, stages=["04_gradts_correlation"])
    assert made.table.empty
    assert made.total.sum() == made.total["heads"] == pytest.approx(2 * (TUNED + 2 * MEASURED))
    assert "whole grid, all seeds, shared work once: " in made.shown()
    with pytest.raises(InputError, match="nothing to price"):
        priced({}, stages=["01_data_prep"])


def test_a_study_that_ends_with_rankings_is_priced(priced):
    made, whole = priced({}, stages=["02_td_proxy", "03_ranking"]), priced({"arm": ["td_bce"], "n": [20]})
    assert made.table.empty
    assert made.total["proxy"] == whole.total["proxy"] > 0
    assert made.total["scoring"] == whole.total["scoring"] > 0
    assert made.total[["stage2", "tune", "heads"]].sum() == 0
    assert "whole grid, all seeds, shared work once: " in made.shown()


def test_importance_at_the_proxy_costs_the_proxy_and_no_tuning(priced):
    made = priced({"arm": ["td_bce", "gradts_proxy"], "n": [20]})
    ranked, read = made.table.loc[("topic_side", "td_bce", 20)], made.table.loc[("topic_side", "gradts_proxy", 20)]
    assert read["proxy"] == ranked["proxy"] > 0
    assert (read["scoring"], read["heads"]) == (0, pytest.approx(MEASURED))
    assert made.total["heads"] == pytest.approx(MEASURED)
    assert made.total["proxy"] == read["proxy"]
    both = priced({"arm": ["gradts_thres", "gradts_proxy"], "n": [20]})
    assert both.total["heads"] == pytest.approx(TUNED + 2 * MEASURED)


def test_another_encoder_s_order_of_the_tasks_is_priced_by_its_own_size(priced, tmp_path, monkeypatch):
    """tiny has two layers here, tiny:1 one; an encoder named twice is not priced twice."""
    rows = dict.fromkeys(("topic_side", "look_alike"), 40)
    shape = lambda encoder: Encoder(4, 1 if encoder == "tiny:1" else 2, 8)  # noqa: E731
    made_up = lambda encoder: price_sizes.Sizes(rows, 10.0, shape(encoder), "made up")  # noqa: E731
    monkeypatch.setattr(price_sizes, "measured", lambda p: made_up(p.encoder))
    base = {"suite": "planted", "encoder": "tiny", "size": "full", "precision": "fp32", "seeds": [0]}
    content = {"study": "s", "stages": ["04_gradts_correlation"], "base": base}
    content["notebooks"] = {"04_gradts_correlation": HEADS | {"also": ["tiny:1", "tiny"]}}
    path = tmp_path / "encoders.yaml"
    path.write_text(yaml.safe_dump(content))
    layer = 2 * (4 * 40 * 3 * Q + 30 * (2 * Q + 64 * 10))
    assert prices.price(path).total["heads"] == pytest.approx((2 + 1) * layer)
    with pytest.raises(InputError, match="expects describes one encoder, but the study has tiny and tiny:1"):
        priced({"also": [["tiny:1"]]}, stages=["04_gradts_correlation"])


def test_what_is_shown_names_the_stages_that_some_arm_has(priced):
    shown = priced({"arm": ["single", "gradts_thres", "random"], "n": [20]}).shown()
    assert "heads shared by 1 primaries" in shown
    assert not {"bandit", "trial<=", "proxy", "scoring"} & set(shown.split())
    shown = priced({"arm": ["autosem"], "n": [20]}, mtl=SEARCH).shown()
    assert {"bandit", "trial<="} <= set(shown.split())
    assert "mixed as the pool is" in shown


# --- against what is really run ---------------------------------------------------------------------------------------


def test_the_price_of_04_is_what_its_ledgers_count(planted, tmp_path):
    """A tuning of every planted task and its pass. A price leaves out padding within batches, of which ledgers tell."""
    sizes = {"tune_rows": 0, "importance_rows": 0, "epochs": 1, "batch_size": 4}
    p, suite = GradTS(seeds=[0], rows=24, **sizes).resolved(), planted.capped(24)
    made = head_tables.measure(p, suite, usable_rows.usable(suite, None, keep_leaks=True))
    base = {"suite": "planted", "rows": 24, "seeds": [0], "size": "full", "precision": "fp32", "keep_leaks": True}
    content = {"study": "s", "base": base, "stages": ["04_gradts_correlation", "06_mtl"]}
    content |= {"grid": {"arm": ["gradts_thres"], "n": [20]}, "notebooks": {"04_gradts_correlation": sizes}}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(content))
    price = prices.price(path)
    counted = [ledger for ledgers in made.ledgers.values() for ledger in ledgers]
    assert [ledger.stage for ledger in counted] == ["task_tuning", "importance"] * 8
    total = sum(ledger.flops for ledger in counted)
    assert 1 < total / price.total["heads"] < 1.15  # in so few rows lengths differ much
    bare = sum(ledger.flops * ledger.tokens / ledger.padded_tokens for ledger in counted)
    assert bare == pytest.approx(price.total["heads"], rel=0.01)
    assert price.table["heads"].item() == pytest.approx(price.total["heads"])  # every task is a candidate


@pytest.mark.parametrize("arm", ["gradts_trial", "gradts_fg", "autosem"])
def test_searches_by_steps_are_refused_and_not_wrong(priced, arm):
    """Other arms by steps, and weighted ones: test_pricing_weights."""
    with pytest.raises(InputError, match="trials that train by `steps` cannot be priced"):
        priced({"arm": [arm], "n": [20], "steps": [20]}, stages=["06_mtl"])
